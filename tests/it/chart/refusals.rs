//! What is refused before anything is installed.

use serde_json::{Value, json};

use super::{all_manifests, at, refusal, root_schema};

/// Adds a key that nobody knows to every object of the values that has known ones, and notes where.
fn add_unknown(schema: &Value, place: &str, places: &mut Vec<String>) -> Value {
    let properties = schema["properties"].as_object().unwrap();
    let mut values = serde_json::Map::new();
    for (key, below) in properties {
        let below = match below["$ref"].as_str() {
            Some("#/definitions/settings") => at(root_schema(), "/definitions/settings"),
            _ => below,
        };
        if below["properties"].is_object() && below["additionalProperties"] == false {
            values.insert(key.clone(), add_unknown(below, &format!("{place}/{key}"), places));
        }
    }
    values.insert("nonsense".to_owned(), json!(1));
    places.push(place.to_owned());
    Value::Object(values)
}

#[test]
fn unknown_values_are_refused_at_every_level() {
    let mut places = Vec::new();
    let values = add_unknown(root_schema(), "", &mut places);
    assert!(places.len() >= 40 && places.contains(&"/pipeline/settings/input/stac".to_owned()), "{places:?}");
    let Some(said) = refusal(&values.to_string()) else { return };
    for place in places {
        let line = format!("at '{place}': additional properties 'nonsense' not allowed");
        assert!(said.contains(&line), "{line} is not in\n{said}");
    }
}

#[test]
fn words_that_are_none_of_the_choices_are_refused() {
    let values = "mode: jobs\nimage: {pullPolicy: Sometimes}\ngpu: {provider: rocm, tolerations: [{operator: Is, effect: Never}]}\n\
        credentials: {external: {storeKind: Store}}\nengineCache: {accessMode: RWX}\ngrace: 0\njob: {workers: 0, planWait: soon}\n\
        cronjob: {schedule: nightly}\nqueue: {url: 'http://x', lease: '60'}\nsecurityContext: {user: 0}\nresources: {reserve: 1.5Gi}\n\
        nats: {memory: lots}\nmetrics: {alerts: {rejectRatio: 2}}\npodDisruptionBudget: {minAvailable: 50%}";
    let Some(said) = refusal(values) else { return };
    for place in [
        "/mode",
        "/image/pullPolicy",
        "/gpu/provider",
        "/gpu/tolerations/0/operator",
        "/gpu/tolerations/0/effect",
        "/credentials/external/storeKind",
        "/engineCache/accessMode",
        "/grace",
        "/job/workers",
        "/job/planWait",
        "/cronjob/schedule",
        "/queue/url",
        "/queue/lease",
        "/securityContext/user",
        "/resources/reserve",
        "/nats/memory",
        "/metrics/alerts/rejectRatio",
        "/podDisruptionBudget/minAvailable",
    ] {
        assert!(said.contains(&format!("at '{place}'")), "{place} is not in\n{said}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused_with_advice() {
    for (values, advice) in [
        ("mode: deployment", "set one of queue.url, queue.existingSecret and nats.enabled"),
        ("mode: deployment\nqueue: {url: 'nats://a'}\nnats: {enabled: true}", "and only one"),
        ("gpu: {enabled: true}", "or `--set mode=job`"),
        ("mode: scaledjob\nqueue: {url: 'nats://a'}", "needs scaledjob.monitoring"),
        ("nats: {enabled: true}", "leave it out"),
        ("pipeline: {text: 'x = 1', existingConfigMap: a}", "keep one of them"),
        ("pipeline: {text: 'x = '}", "pipeline.text is not valid TOML"),
        ("pipeline: {settings: {run: {provider: cuda}}}", "set gpu.enabled=true"),
        ("pipeline: {settings: {run: {grace: soon}}}", "write a duration"),
        ("pipeline: {settings: {run: {memory: 1.5GiB}}}", "write a whole number with a unit"),
        ("podDisruptionBudget: {enabled: true, maxUnavailable: 1}", "set minAvailable"),
        ("credentials: {external: {enabled: true}}", "name the SecretStore"),
    ] {
        let Some(said) = refusal(values) else { return };
        assert!(said.contains(advice), "{values}: {advice} is not in\n{said}");
    }
}

/// Values lie in the release's history and in whatever file they come from.
#[test]
fn secrets_are_refused_as_values() {
    for (values, advice) in [
        ("queue: {url: 'nats://me:secret@nats:4222'}", "name that in queue.existingSecret"),
        ("credentials: {env: {AWS_SECRET_ACCESS_KEY: x}}", "name that in credentials.existingSecret"),
        ("credentials: {env: {AZURE_STORAGE_ACCOUNT_KEY: x}}", "name that in credentials.existingSecret"),
        ("env: [{name: TILEFLEET_PRIVACY_KEY, value: x}]", "take it from there with valueFrom.secretKeyRef"),
    ] {
        let Some(said) = refusal(values) else { return };
        assert!(said.contains(advice), "{values}: {advice} is not in\n{said}");
    }
    assert!(all_manifests().all(|(_, manifest)| manifest["kind"] != "Secret"));
}
