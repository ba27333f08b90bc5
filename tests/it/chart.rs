//! The Helm chart: rendered for many values, compared with the schemas of Kubernetes and of custom resources, and asked what it
//! makes of exit codes, graces, memory and secrets. Nothing is installed: `kube` does that.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::{Value, json};
use tilefleet::observe::{Progress, metrics};

use crate::support;

/// Manifests of a release.
type Manifests = Vec<Value>;

/// Values that together use every template and nearly every branch of them: a name, and YAML.
const MATRIX: [(&str, &str); 19] = [
    ("none", "{}"),
    (
        "text",
        "pipeline: {text: \"name = 'x'\\n[run]\\ngrace = '20s'\\n\", settings: {run: {batch: 4}, input: {uris: [a, b]}}}",
    ),
    (
        "existing-map",
        "pipeline: {existingConfigMap: mine, key: photos.toml, settings: {run: {grace: 1m 30s, memory: 2GiB}}}",
    ),
    ("job", "job: {workers: 3, parallelism: 2, plan: false, ttl: -1, deadline: 3600}"),
    ("partial-admission", "kueue: {queue: imaging, minWorkers: 2, priorityClass: low}"),
    ("cronjob", "mode: cronjob\ncronjob: {suspend: true}\nkueue: {queue: imaging}"),
    ("deployment", "mode: deployment\nqueue: {url: 'nats://nats.nats.svc:4223', credentialsSecret: creds}"),
    (
        "deployment-secret",
        "mode: deployment\nqueue: {existingSecret: queue}\nsubmit: {enabled: false}\nmetrics: {enabled: false}",
    ),
    (
        "deployment-budget",
        "mode: deployment\nnats: {enabled: true, storage: ''}\npodDisruptionBudget: {enabled: true, maxUnavailable: 50%}",
    ),
    (
        "scaledjob",
        "mode: scaledjob\nnats: {enabled: true}\nscaledjob: {paused: true}\nkueue: {queue: imaging}",
    ),
    (
        "scaledjob-own-nats",
        "mode: scaledjob\nqueue: {url: 'nats://a:4222'}\nscaledjob: {monitoring: 'a:8222'}\nsubmit: {schedule: '@hourly'}",
    ),
    (
        "gpu",
        "gpu: {enabled: true, count: 2, runtimeClass: nvidia, nodeSelector: {gpu: l4}}\nnats: {enabled: true, storageClass: fast}",
    ),
    ("gpu-job", "mode: job\ngpu: {enabled: true, provider: tensorrt}\nengineCache: {enabled: true}"),
    ("engines", "mode: job\ngpu: {enabled: true}\nengineCache: {enabled: true, existingClaim: engines}"),
    (
        "identity",
        "workloadIdentity: {awsRoleArn: 'arn:aws:iam::1:role/x', gcpServiceAccount: a@b.c, azureClientId: id}\nserviceAccount: {annotations: {a: b}}",
    ),
    (
        "credentials",
        "credentials: {existingSecret: keys, filesSecret: files, env: {AWS_REGION: eu, N: 1}}\nserviceAccount: {create: false}",
    ),
    (
        "external",
        "credentials: {external: {enabled: true, store: vault, key: a/b}}\nimage: {digest: 'sha256:0123456789012345678901234567890123456789012345678901234567890123', pullSecrets: [pull]}",
    ),
    (
        "names-like-numbers",
        "mode: deployment\nnameOverride: '1e3'\nfullnameOverride: '42'\nimage: {pullSecrets: ['1']}\nqueue: {existingSecret: '7', secretKey: 'y', name: 'on'}\n\
         pipeline: {existingConfigMap: '8', key: 'no'}\nserviceAccount: {create: false, name: '9'}\npriorityClassName: '10'\n\
         credentials: {existingSecret: '11', filesSecret: '12', env: {N: 1, 'Y': true}}\nkueue: {queue: '13'}\npodLabels: {a: '14'}\nnodeSelector: {spot: 'true'}",
    ),
    (
        "all-else",
        "mode: scaledjob\nnats: {enabled: true}\nnetworkPolicy: {enabled: true, egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}\n\
         podDisruptionBudget: {enabled: true}\nmetrics: {podMonitor: {enabled: true}, alerts: {enabled: true}, dashboard: {enabled: true}}\n\
         priorityClassName: low\npodLabels: {a: b}\npodAnnotations: {c: d}\naffinity: {nodeAffinity: {}}\nresources: {cpuLimit: '4', memory: 3Gi}\n\
         env: [{name: A, value: b}]\nvolumes: [{name: v, emptyDir: {}}]\nvolumeMounts: [{name: v, mountPath: /v}]\n\
         topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]",
    ),
];

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart() -> PathBuf {
    project().join("helm/tilefleet")
}

/// A program that `scripts/kube-tools` installs.
fn tool(name: &str) -> Option<Command> {
    let program = project().join(".kube/bin").join(name);
    if program.is_file() {
        Some(Command::new(program))
    } else {
        support::skip(&format!("no .kube/bin/{name}: run scripts/kube-tools"))
    }
}

/// Renders the chart, or fails as Helm does.
fn helm_template(arguments: &[impl AsRef<OsStr>]) -> Option<Output> {
    let mut helm = tool("helm")?;
    helm.args(["template", "photos"]).arg(chart()).args(["--namespace", "imaging"]).args(arguments);
    Some(helm.output().unwrap())
}

fn parse(yaml: &[u8]) -> Manifests {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), yaml).unwrap();
    let program =
        "import json, sys, yaml; print(json.dumps([d for d in yaml.safe_load_all(open(sys.argv[1])) if d]))";
    let python = support::python().expect("whoever renders has Python");
    serde_json::from_str(&support::run_python(&python, program, &[file.path()])).unwrap()
}

/// Renders the chart with values as YAML; `None`, said aloud, without Helm or Python.
fn render(values: &str) -> Option<Manifests> {
    let output = rendered(values)?;
    assert!(output.status.success(), "{values}\n{}", String::from_utf8_lossy(&output.stderr));
    Some(parse(&output.stdout))
}

fn rendered(values: &str) -> Option<Output> {
    support::python()?;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), values).unwrap();
    helm_template(&[OsStr::new("--values"), file.path().as_os_str()])
}

/// What Helm says to values that it refuses.
fn refusal(values: &str) -> Option<String> {
    let output = rendered(values)?;
    assert!(!output.status.success(), "{values} was not refused");
    Some(String::from_utf8(output.stderr).unwrap())
}

/// The manifests of the whole matrix and of the examples: each case is rendered once for all tests.
static RENDERED: LazyLock<Option<BTreeMap<String, (Vec<u8>, Manifests)>>> = LazyLock::new(|| {
    let mut rendered_cases = BTreeMap::new();
    let examples = examples().into_iter().map(|path| {
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    });
    let cases = MATRIX.iter().map(|(name, values)| ((*name).to_owned(), (*values).to_owned()));
    for (name, values) in cases.chain(examples) {
        let output = rendered(&values)?;
        assert!(output.status.success(), "{name}\n{}", String::from_utf8_lossy(&output.stderr));
        let manifests = parse(&output.stdout);
        let earlier = rendered_cases.insert(name, (output.stdout, manifests));
        assert!(earlier.is_none(), "two cases of one name");
    }
    Some(rendered_cases)
});

fn examples() -> Vec<PathBuf> {
    let files = fs::read_dir(chart().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    files.collect()
}

fn case(name: &str) -> Option<&'static Manifests> {
    Some(&RENDERED.as_ref()?[name].1)
}

fn all_manifests() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let cases = RENDERED.iter().flatten();
    cases.flat_map(|(name, (_, manifests))| manifests.iter().map(move |manifest| (name.as_str(), manifest)))
}

fn of_kind<'a>(manifests: &'a Manifests, kind: &str) -> &'a Value {
    let found: Vec<_> = manifests.iter().filter(|manifest| manifest["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "one {kind} of {manifests:#?}");
    found[0]
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value:#}"))
}

/// Where a manifest has its pod, if it makes any.
fn pod(manifest: &Value) -> Option<&Value> {
    let path = match manifest["kind"].as_str()? {
        "Job" | "Deployment" | "StatefulSet" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "ScaledJob" => "/spec/jobTargetRef/template",
        _ => return None,
    };
    Some(at(manifest, path))
}

fn containers(pod: &Value) -> Vec<&Value> {
    let of = |key: &str| pod["spec"][key].as_array().into_iter().flatten().collect::<Vec<_>>();
    [of("initContainers"), of("containers")].concat()
}

/// A variable of the first container of a pod.
fn variable<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let variables = at(pod, "/spec/containers/0/env").as_array().unwrap();
    variables.iter().find(|variable| variable["name"] == name).unwrap_or(&Value::Null)
}

// ---------------------------------------------------------------------------------------------------------------
// Form

#[test]
fn lint_is_strict_for_the_chart_and_its_examples() {
    for values in [None].into_iter().chain(examples().into_iter().map(Some)) {
        let Some(mut helm) = tool("helm") else { return };
        helm.args(["lint", "--strict"]).arg(chart());
        if let Some(values) = &values {
            helm.arg("--values").arg(values);
        }
        support::stdout_of(&mut helm);
    }
}

/// Every manifest of every case, with every version of Kubernetes from the oldest that the chart allows.
#[test]
fn manifests_fit_the_schemas_of_kubernetes_and_of_custom_resources() {
    let Some(rendered_cases) = RENDERED.as_ref() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (name, (yaml, _)) in rendered_cases {
        fs::write(folder.path().join(format!("{name}.yaml")), yaml).unwrap();
    }
    let schemas = project().join(".kube/schemas");
    let location = |version: &str| {
        format!("{}/{version}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", schemas.display())
    };
    let versions =
        fs::read_dir(&schemas).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let versions: BTreeSet<_> = versions.filter(|version| version.starts_with("1.")).collect();
    assert_eq!(versions.first().map(String::as_str), Some("1.30"), "of kubeVersion in Chart.yaml");
    assert!(versions.len() >= 8, "{versions:?}");
    for version in versions {
        let Some(mut kubeconform) = tool("kubeconform") else { return };
        kubeconform.args(["-strict", "-summary", "-schema-location", &location(&version)]);
        kubeconform.args(["-schema-location", &location("custom")]).arg(folder.path());
        let said = support::stdout_of(&mut kubeconform);
        assert!(said.contains("Invalid: 0, Errors: 0, Skipped: 0"), "{version}: {said}");
    }
}

#[test]
fn without_values_there_is_one_indexed_job() {
    let Some(manifests) = case("none") else { return };
    let kinds: BTreeSet<_> = manifests.iter().map(|manifest| manifest["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["ConfigMap", "Job", "ServiceAccount"]));
    assert_eq!(of_kind(manifests, "Job")["spec"]["completionMode"], "Indexed");
}

#[test]
fn the_mode_follows_the_gpu() {
    let Some(manifests) = case("gpu") else { return };
    let scaled = of_kind(manifests, "ScaledJob");
    let pod = pod(scaled).unwrap();
    assert_eq!(at(pod, "/spec/containers/0/resources/limits/nvidia.com~1gpu"), "2");
    assert_eq!(at(pod, "/spec/nodeSelector/gpu"), "l4");
    assert_eq!(variable(pod, "TILEFLEET_RUN_PROVIDER")["value"], "cuda");
    // Planning needs none, and must not start a machine that has one.
    let submit = of_kind(manifests, "Job");
    assert!(!submit.to_string().contains("nvidia.com/gpu"), "{submit:#}");
    assert!(!submit.to_string().contains("l4"), "{submit:#}");
}

/// The README and the schema are made of other files, and so is the version.
#[test]
fn what_is_made_of_other_files_is_current() {
    let Some(python) = support::python() else { return };
    support::stdout_of(
        Command::new(python).current_dir(project()).args(["scripts/chart_docs.py", "--check"]),
    );
    let chart = fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        chart.contains(&format!("\nversion: {version}\n"))
            && chart.contains(&format!("\nappVersion: \"{version}\"\n"))
    );
}

/// The values that the page begins with are values, and so is whatever else it names.
#[test]
fn the_page_names_values_that_exist() {
    let page = fs::read_to_string(project().join("docs/how-to/run-on-kubernetes.md")).unwrap();
    let first = page.split("<<'END'\n").nth(1).unwrap().split("\nEND\n").next().unwrap();
    let Some(manifests) = render(first) else { return };
    assert_eq!(of_kind(&manifests, "Job")["spec"]["completions"], 8);
    let exists = |name: &str| {
        let mut schema = root_schema();
        name.split('.').all(|key| {
            schema = &schema["properties"][key];
            !schema.is_null()
        })
    };
    let is_name = |word: &&str| {
        word.contains('.') && word.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '.')
    };
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter(is_name).collect();
    // `run.memory` and the like are the pipeline's.
    let of_chart = |name: &&&str| !root_schema()["properties"][name.split('.').next().unwrap()].is_null();
    let named: BTreeSet<&str> = named.iter().filter(of_chart).copied().collect();
    assert!(named.len() > 25, "{named:?}");
    let unknown: Vec<_> = named.iter().filter(|name| !exists(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

// ---------------------------------------------------------------------------------------------------------------
// What is refused before anything is installed

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

fn root_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap()
    });
    &SCHEMA
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

// ---------------------------------------------------------------------------------------------------------------
// What is promised

fn policy(over_rejects: &str) -> Value {
    json!([
        {"action": over_rejects, "onExitCodes": {"operator": "In", "values": [65]}},
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [64, 70, 78]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [143]}},
    ])
}

/// Each Job does what docs/how-to/many-workers.md says of exit codes, and so says the table there.
#[test]
fn exit_codes_become_the_policy_of_jobs() {
    for (name, manifest) in all_manifests() {
        let (job, indexed) = match manifest["kind"].as_str().unwrap() {
            "Job" => (&manifest["spec"], manifest["spec"]["completionMode"] == "Indexed"),
            "CronJob" => {
                let job = at(manifest, "/spec/jobTemplate/spec");
                (job, job["completionMode"] == "Indexed")
            }
            "ScaledJob" => (at(manifest, "/spec/jobTargetRef"), false),
            _ => continue,
        };
        let over_rejects = if indexed { "FailIndex" } else { "FailJob" };
        assert_eq!(job["podFailurePolicy"]["rules"], policy(over_rejects), "{name}");
        assert_eq!(job["podReplacementPolicy"], "Failed", "{name}");
        assert_eq!(at(job, "/template/spec/restartPolicy"), "Never", "{name}");
        assert_eq!(job["backoffLimitPerIndex"].is_number(), indexed, "{name}");
        assert_eq!(job["backoffLimit"].is_number(), !indexed, "{name}");
    }
}

#[test]
fn a_pod_has_ten_seconds_beyond_the_grace_of_the_run() {
    for (name, seconds, grace) in [
        ("none", 22, "12s"),
        ("text", 30, "20s"),
        ("existing-map", 100, "1m 30s"),
        ("gke-spot-gpu", 15, "5s"),
    ] {
        let Some(manifests) = case(name) else { return };
        let pod = manifests.iter().find_map(pod_of_worker).unwrap();
        assert_eq!(at(pod, "/spec/terminationGracePeriodSeconds"), seconds, "{name}");
        assert_eq!(variable(pod, "TILEFLEET_RUN_GRACE")["value"], grace, "{name}");
    }
}

/// The pod of a worker, if a manifest makes any.
fn pod_of_worker(manifest: &Value) -> Option<&Value> {
    pod(manifest).filter(|pod| pod["metadata"]["labels"]["app.kubernetes.io/component"] == "worker")
}

/// `run.memory`, the model once per session, three shards of 8-KiB embeddings, and a reserve: docs/how-to/operate.md.
#[test]
fn memory_follows_the_run_and_the_model() {
    for (values, memory, run_memory) in [
        ("{}", 512 + 2 * 240 + 3 * 32 + 256, "512MiB"),
        ("pipeline: {settings: {run: {memory: 2GiB}}}", 2048 + 2 * 240 + 3 * 32 + 256, "2GiB"),
        ("pipeline: {text: \"[run]\\nmemory = '1GiB'\\nsessions = 1\"}", 1024 + 240 + 3 * 32 + 256, "1GiB"),
        ("resources: {cpu: 500m, model: 100Mi}", 512 + 100 + 3 * 32 + 256, "512MiB"),
        ("resources: {cpu: 16}", 512 + 4 * 240 + 3 * 32 + 256, "512MiB"),
        ("pipeline: {settings: {plan: {shard_tiles: 1024}}}", 512 + 2 * 240 + 3 * 8 + 256, "512MiB"),
    ] {
        let Some(manifests) = render(values) else { return };
        let pod = pod(of_kind(&manifests, "Job")).unwrap();
        for list in ["requests", "limits"] {
            let found = at(pod, &format!("/spec/containers/0/resources/{list}/memory"));
            assert_eq!(found, &format!("{memory}Mi"), "{values}");
        }
        assert_eq!(variable(pod, "TILEFLEET_RUN_MEMORY")["value"], run_memory, "{values}");
    }
}

/// A Job's template is immutable: what it runs is in its name. What it does not run is not.
#[test]
fn the_name_of_a_job_changes_with_what_it_runs() {
    let name = |values: &str| Some(of_kind(&render(values)?, "Job")["metadata"]["name"].as_str()?.to_owned());
    let Some(plain) = name("{}") else { return };
    assert_eq!(name("{}").unwrap(), plain);
    assert_eq!(name("metrics: {podMonitor: {enabled: true}}").unwrap(), plain);
    let mut names = BTreeSet::from([plain.clone()]);
    for values in [
        "image: {tag: '2'}",
        "pipeline: {settings: {run: {batch: 4}}}",
        "pipeline: {text: \"[run]\\nbatch = 5\"}",
        "job: {workers: 9}",
        "job: {rerun: again}",
        "resources: {cpu: '3'}",
        "mode: deployment\nnats: {enabled: true}",
        "mode: deployment\nnats: {enabled: true}\npipeline: {settings: {run: {batch: 4}}}",
    ] {
        assert!(names.insert(name(values).unwrap()), "{values} changes nothing");
    }
    assert!(plain.starts_with("photos-tilefleet-"), "{plain}");
}

#[test]
fn pods_are_of_no_privilege() {
    for (name, manifest) in all_manifests() {
        let Some(pod) = pod(manifest) else { continue };
        let spec = &pod["spec"];
        assert_eq!(at(spec, "/securityContext/runAsNonRoot"), true, "{name}");
        assert_eq!(at(spec, "/securityContext/seccompProfile/type"), "RuntimeDefault", "{name}");
        assert_ne!(at(spec, "/securityContext/runAsUser"), 0, "{name}");
        assert_eq!(spec["automountServiceAccountToken"], false, "{name}");
        for container in containers(pod) {
            let context = &container["securityContext"];
            let expected = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            });
            assert_eq!(*context, expected, "{name}");
        }
    }
}

/// The root file system is read-only: what the program writes to is a volume.
#[test]
fn what_the_program_writes_to_is_mounted() {
    let Some(manifests) = case("gpu-job") else { return };
    let pod = pod(of_kind(manifests, "Job")).unwrap();
    let mounts = at(pod, "/spec/containers/0/volumeMounts").as_array().unwrap();
    for (name, path) in [
        ("TMPDIR", "/tmp"),
        ("TILEFLEET_CACHE", "/var/cache/tilefleet"),
        ("TILEFLEET_TENSORRT_CACHE", "/var/cache/tilefleet-engines"),
    ] {
        assert_eq!(variable(pod, name)["value"], path);
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
        let volumes = at(pod, "/spec/volumes").as_array().unwrap();
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{path}");
    }
}

/// The settings of the values are those of the program: as its file, and as variables over a file of the user's.
#[test]
fn the_program_reads_the_settings_as_they_are_given() {
    let settings = "settings: {name: nightly, input: {uris: ['s3://a/b c/', 'gs://q\"uote'], limit: 1000000, stac: {collections: [a]}}, \
        limits: {max_reject_ratio: 0.25}, storage: {anonymous: true}, run: {batch: 32, threads: 3, grace: 1m 30s}}";
    for text in ["", "text: \"[run]\\nbatch = 7\\n[input]\\nlimit = 1\\n\", "] {
        let Some(manifests) = render(&format!("pipeline: {{{text}{settings}}}")) else { return };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.toml");
        fs::write(&file, at(of_kind(&manifests, "ConfigMap"), "/data/pipeline.toml").as_str().unwrap())
            .unwrap();
        let mut command = support::tilefleet();
        for variable in
            at(pod(of_kind(&manifests, "Job")).unwrap(), "/spec/containers/0/env").as_array().unwrap()
        {
            let (name, value) = (variable["name"].as_str().unwrap(), variable["value"].as_str());
            if let Some(value) = value.filter(|_| name.starts_with("TILEFLEET_") && name != "TILEFLEET_CACHE")
            {
                command.env(name, value);
            }
        }
        let said: Value =
            serde_json::from_str(&support::stdout_of(command.args(["config", "--json"]).arg(file))).unwrap();
        let found = |name: &str| at(&said["values"], &format!("/{}", name.replace('.', "/"))).clone();
        for (name, value) in [
            ("name", json!("nightly")),
            ("input.uris", json!(["s3://a/b c/", "gs://q\"uote"])),
            ("input.limit", json!(1_000_000)),
            ("input.stac.collections", json!(["a"])),
            ("limits.max_reject_ratio", json!(0.25)),
            ("storage.anonymous", json!(true)),
            ("run.batch", json!(32)),
            ("run.threads", json!(3)),
            ("run.grace", json!("1m 30s")),
            ("observe.listen", json!("0.0.0.0:9464")),
            ("plan.wait", json!("30m")),
        ] {
            assert_eq!(found(name), value, "{name}, {text}");
        }
    }
}

#[test]
fn a_worker_knows_its_job_and_has_the_threads_that_it_asks_for() {
    let Some(manifests) = case("none") else { return };
    let pod = pod(of_kind(manifests, "Job")).unwrap();
    assert_eq!(variable(pod, "TILEFLEET_SHARE_COUNT")["value"], "8");
    let job = variable(pod, "TILEFLEET_SHARE_JOB").to_string();
    assert!(job.contains("metadata.labels['batch.kubernetes.io/controller-uid']"), "{job}");
    assert_eq!(
        at(variable(pod, "TILEFLEET_RUN_THREADS"), "/valueFrom/resourceFieldRef/resource"),
        "requests.cpu"
    );
    let command = |path: &str| {
        at(pod, path).as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        command("/spec/initContainers/0/args"),
        ["plan", "/etc/tilefleet/pipeline.toml", "--share", "auto"]
    );
    assert_eq!(
        command("/spec/containers/0/args"),
        ["run", "/etc/tilefleet/pipeline.toml", "--share", "auto"]
    );
}

/// KEDA asks for the lag of the consumer that the workers take from, and takes off the workers that run.
#[test]
fn keda_looks_at_the_queue_of_the_workers() {
    let Some(manifests) = case("scaledjob") else { return };
    let scaled = of_kind(manifests, "ScaledJob");
    let trigger = at(scaled, "/spec/triggers/0/metadata");
    let queue = variable(pod(scaled).unwrap(), "TILEFLEET_QUEUE_NAME")["value"].clone();
    assert_eq!(queue, "tilefleet-imaging-photos");
    assert_eq!((&trigger["stream"], &trigger["consumer"]), (&queue, &queue));
    assert_eq!(trigger["natsServerMonitoringEndpoint"], "photos-tilefleet-nats.imaging.svc:8222");
    assert_eq!(at(scaled, "/spec/scalingStrategy/strategy"), "default");
    assert_eq!(at(scaled, "/metadata/annotations/autoscaling.keda.sh~1paused"), "true");
    // KEDA copies labels of a ScaledJob to its Jobs.
    assert_eq!(at(scaled, "/metadata/labels/kueue.x-k8s.io~1queue-name"), "imaging");
}

#[test]
fn kueue_may_admit_a_part() {
    let Some(manifests) = case("partial-admission") else { return };
    let metadata = &of_kind(manifests, "Job")["metadata"];
    assert_eq!(at(metadata, "/labels/kueue.x-k8s.io~1queue-name"), "imaging");
    assert_eq!(at(metadata, "/labels/kueue.x-k8s.io~1priority-class"), "low");
    assert_eq!(at(metadata, "/annotations/kueue.x-k8s.io~1job-min-parallelism"), "2");
}

/// Selectors of the policies match the pods, and the ports are those of the containers.
#[test]
fn the_network_policy_is_of_the_pods_of_the_release() {
    let Some(manifests) = case("all-else") else { return };
    let policies: Vec<_> = manifests.iter().filter(|manifest| manifest["kind"] == "NetworkPolicy").collect();
    let [workers, nats] = policies[..] else { panic!("{policies:#?}") };
    let component = |manifest: &Value| {
        at(pod(manifest).unwrap(), "/metadata/labels/app.kubernetes.io~1component").clone()
    };
    let components = at(workers, "/spec/podSelector/matchExpressions/0/values").as_array().unwrap();
    assert!(components.contains(&component(of_kind(manifests, "ScaledJob"))));
    assert!(components.contains(&component(of_kind(manifests, "Job"))));
    let server = of_kind(manifests, "StatefulSet");
    let selects_server = |labels: &Value| {
        let labels = labels.as_object().unwrap();
        labels.iter().all(|(key, value)| pod(server).unwrap()["metadata"]["labels"][key] == *value)
    };
    assert!(selects_server(at(nats, "/spec/podSelector/matchLabels")));
    assert!(selects_server(at(workers, "/spec/egress/3/to/0/podSelector/matchLabels")));
    assert_eq!(at(workers, "/spec/egress/3/ports/0/port"), 4222);
    assert_eq!(at(workers, "/spec/egress/4/to/0/ipBlock/cidr"), "10.0.0.0/8");
    for policy in [workers, nats] {
        assert_eq!(at(policy, "/spec/policyTypes"), &json!(["Ingress", "Egress"]));
    }
    let Some(manifests) = render(
        "mode: deployment\nqueue: {url: 'nats://a:4223,nats://b:4223'}\nnetworkPolicy: {enabled: true}",
    ) else {
        return;
    };
    assert_eq!(at(of_kind(&manifests, "NetworkPolicy"), "/spec/egress/3/ports/0/port"), 4223);
}

/// Kubernetes evicts no pod under a budget with `maxUnavailable` whose owner does not say how many it wants, as a Job does not.
#[test]
fn the_disruption_budget_is_one_that_kubernetes_can_count() {
    let budget = |name: &str| Some(&of_kind(case(name)?, "PodDisruptionBudget")["spec"]);
    let (Some(of_jobs), Some(of_deployment)) = (budget("all-else"), budget("deployment-budget")) else {
        return;
    };
    assert_eq!((&of_jobs["minAvailable"], &of_jobs["maxUnavailable"]), (&json!(1), &Value::Null));
    assert_eq!(
        (&of_deployment["minAvailable"], &of_deployment["maxUnavailable"]),
        (&Value::Null, &json!("50%"))
    );
}

#[test]
fn identities_are_annotations_of_the_service_account() {
    let Some(manifests) = case("identity") else { return };
    let account = of_kind(manifests, "ServiceAccount");
    let expected = json!({
        "a": "b", "azure.workload.identity/client-id": "id", "eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x",
        "iam.gke.io/gcp-service-account": "a@b.c",
    });
    assert_eq!(account["metadata"]["annotations"], expected);
    let pod = pod(of_kind(manifests, "Job")).unwrap();
    assert_eq!(at(pod, "/spec/serviceAccountName"), &account["metadata"]["name"]);
    assert_eq!(at(pod, "/metadata/labels/azure.workload.identity~1use"), "true");
}

#[test]
fn credentials_are_named_and_lie_in_secrets() {
    let Some(manifests) = case("credentials") else { return };
    let pod = pod(of_kind(manifests, "Job")).unwrap();
    assert_eq!(at(pod, "/spec/serviceAccountName"), "default");
    for container in containers(pod) {
        assert_eq!(at(container, "/envFrom/0/secretRef/name"), "keys");
    }
    let volumes = at(pod, "/spec/volumes").as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["secret"]["secretName"] == "files"));
    let Some(manifests) = case("external") else { return };
    let secret = at(of_kind(manifests, "ExternalSecret"), "/spec/target/name");
    let pod = pod_of_worker(of_kind(manifests, "Job")).unwrap();
    assert_eq!(at(pod, "/spec/containers/0/envFrom/0/secretRef/name"), secret);
    assert!(at(pod, "/spec/containers/0/image").as_str().unwrap().starts_with("tilefleet@sha256:"));
}

/// The server's own check of its configuration.
#[test]
fn nats_reads_its_configuration() {
    let server = project().join(".venv/bin/nats-server");
    if !server.is_file() {
        tilefleet_testing::skipped::missing("no .venv/bin/nats-server: run scripts/test-env");
        return;
    }
    let Some(manifests) = case("scaledjob") else { return };
    let is_configuration = |manifest: &&Value| manifest["data"]["nats.conf"].is_string();
    let configuration = manifests.iter().find(is_configuration).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    fs::write(&file, configuration["data"]["nats.conf"].as_str().unwrap()).unwrap();
    support::stdout_of(Command::new(server).arg("-t").arg("--config").arg(file));
}

// ---------------------------------------------------------------------------------------------------------------
// Alerts and dashboard

/// The rules as Prometheus reads them, in a file.
fn rules(folder: &Path) -> Option<PathBuf> {
    let file = folder.join("rules.yaml");
    // YAML reads JSON.
    fs::write(&file, of_kind(case("all-else")?, "PrometheusRule")["spec"].to_string()).unwrap();
    Some(file)
}

#[test]
fn prometheus_accepts_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let Some(rules) = rules(folder.path()) else { return };
    let Some(mut promtool) = tool("promtool") else { return };
    support::stdout_of(promtool.args(["check", "rules"]).arg(rules));
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    if rules(folder.path()).is_none() {
        return;
    }
    let Some(mut promtool) = tool("promtool") else { return };
    let file = folder.path().join("alerts.yaml");
    fs::copy(project().join("tests/chart/alerts.yaml"), &file).unwrap();
    support::stdout_of(promtool.args(["test", "rules"]).arg(file));
}

/// Splits a query at what can be no part of a name.
fn names(query: &str) -> impl Iterator<Item = &str> {
    query
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("tilefleet_"))
}

/// The labels that a query asks of our metrics, but those that Prometheus adds.
fn labels(query: &str) -> impl Iterator<Item = &str> {
    let braces = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let matched =
        braces.flat_map(|inside| inside.split(',')).filter_map(|matcher| matcher.split(['=', '!']).next());
    let grouped = query
        .split("by (")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .flat_map(|inside| inside.split(','));
    matched.chain(grouped).map(str::trim).filter(|label| !["namespace", "job", "pod"].contains(label))
}

#[test]
fn every_metric_that_alerts_and_dashboard_name_is_served() {
    let Some(manifests) = case("all-else") else { return };
    let groups = at(of_kind(manifests, "PrometheusRule"), "/spec/groups").as_array().unwrap();
    let alerts = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut queries: Vec<String> = alerts.map(|rule| rule["expr"].as_str().unwrap().to_owned()).collect();
    assert_eq!(queries.len(), 4);
    let is_dashboard = |manifest: &&Value| manifest["data"]["tilefleet.json"].is_string();
    let dashboard = manifests.iter().find(is_dashboard).unwrap()["data"]["tilefleet.json"].as_str().unwrap();
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let targets =
        dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    queries.extend(targets.map(|target| target["expr"].as_str().unwrap().to_owned()));
    let variables = at(&dashboard, "/templating/list").as_array().unwrap();
    queries.extend(variables.iter().filter_map(|variable| Some(variable["query"].as_str()?.to_owned())));
    assert!(queries.len() > 18, "{queries:#?}");

    let progress = Progress::default();
    progress.begin(1, 0);
    let counts = tilefleet::vocabulary::outcome::Counts {
        rejected: 1,
        reasons: [("corrupt".to_owned(), 1)].into(),
        ..Default::default()
    };
    progress.committed(tilefleet::vocabulary::outcome::CommittedBy::Ours, &counts, std::time::Duration::ZERO);
    let page = metrics(&progress);
    let served: BTreeSet<&str> = page.lines().filter_map(|line| line.split([' ', '{']).next()).collect();
    for query in &queries {
        for name in names(query) {
            assert!(served.contains(name), "{name} of {query} is not in\n{page}");
        }
        for label in labels(query) {
            let is_served = names(query).any(|name| {
                page.lines().any(|line| line.starts_with(name) && line.contains(&format!("{label}=\"")))
            });
            assert!(is_served, "label {label} of {query} is not in\n{page}");
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Beside the chart

/// What AWS would be sent, compared with the service's own model of it.
#[test]
fn the_templates_of_aws_batch_fit_its_interface() {
    let Some(python) = support::python() else { return };
    let program = "import json, sys, botocore.loaders, botocore.model, botocore.validate\n\
        model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model('batch', 'service-2'))\n\
        for operation, path in zip(sys.argv[1::2], sys.argv[2::2]):\n    \
            report = botocore.validate.ParamValidator().validate(json.load(open(path)), model.operation_model(operation).input_shape)\n    \
            assert not report.has_errors(), f'{path}: {report.generate_report()}'\n    \
            print(operation)";
    let folder = project().join("pipelines/aws-batch");
    let (definition, job) = (folder.join("job-definition.json"), folder.join("array-job.json"));
    let arguments = [
        OsStr::new("RegisterJobDefinition"),
        definition.as_os_str(),
        OsStr::new("SubmitJob"),
        job.as_os_str(),
    ];
    assert_eq!(support::run_python(&python, program, &arguments), "RegisterJobDefinition\nSubmitJob\n");
    let read = |path: &Path| serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap();
    let (definition, job) = (read(&definition), read(&job));
    // Batch retries what no rule matches.
    let rules = at(&definition, "/retryStrategy/evaluateOnExit").as_array().unwrap();
    let action = |code: &str| {
        rules.iter().find(|rule| rule["onExitCode"] == code).map(|rule| rule["action"].as_str().unwrap())
    };
    assert_eq!([action("75"), action("143"), action("*")], [Some("RETRY"), Some("RETRY"), Some("EXIT")]);
    assert_eq!(rules.last().unwrap()["onExitCode"], "*");
    let words = |value: &Value| {
        value.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let command = words(at(&definition, "/containerProperties/command"));
    assert_eq!(command[command.len() - 2..], ["--share", "auto"]);
    assert_eq!(job["jobDefinition"], definition["jobDefinitionName"]);
    assert!(at(&job, "/arrayProperties/size").as_u64().unwrap() > 1);
}
