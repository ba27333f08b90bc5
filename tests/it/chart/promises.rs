//! What the manifests promise: exit codes, graces, memory, names, privileges, credentials, scaling.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{all_manifests, at, case, containers, of_kind, pod, project, render, variable};
use crate::support;

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

/// KEDA stores a `ScaledJob` again, as Kubernetes writes it. What was written otherwise is KEDA's then, and Helm refuses the next
/// upgrade.
#[test]
fn quantities_are_as_kubernetes_writes_them() {
    for (key, given, written) in [
        ("cpu", "0.5", "500m"),
        ("cpu", "1.0", "1"),
        ("cpu", "2000m", "2"),
        ("cpu", "1500m", "1500m"),
        ("memory", "2048Mi", "2Gi"),
        ("memory", "3000M", "3G"),
        ("memory", "1500Mi", "1500Mi"),
    ] {
        let Some(manifests) = render(&format!("resources: {{{key}: {given:?}}}")) else { return };
        let pod = pod(of_kind(&manifests, "Job")).unwrap();
        assert_eq!(at(pod, &format!("/spec/containers/0/resources/requests/{key}")), written, "{given}");
        assert_eq!(at(variable(pod, "TILEFLEET_RUN_THREADS"), "/valueFrom/resourceFieldRef/divisor"), "1");
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
        with_settings(command.args(["config", "--json"]), pod(of_kind(&manifests, "Job")).unwrap());
        let said: Value = serde_json::from_str(&support::stdout_of(command.arg(file))).unwrap();
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

/// Of workers on a queue, too: an unknown key of a section that the program has would be an error.
#[test]
fn the_program_reads_the_variables_of_its_queue() {
    let values = "mode: deployment\nqueue: {url: 'nats://a:4222', name: photos, credentialsSecret: creds, lease: 90s, idle: 1m, replicas: 3}";
    let Some(manifests) = render(values) else { return };
    let pod = pod(of_kind(&manifests, "Deployment")).unwrap();
    for (name, value) in [
        ("URL", "nats://a:4222"),
        ("NAME", "photos"),
        ("CREDENTIALS", "/var/run/secrets/tilefleet-queue/nats.creds"),
        ("LEASE", "90s"),
        ("IDLE", "1m"),
        ("REPLICAS", "3"),
    ] {
        assert_eq!(variable(pod, &format!("TILEFLEET_QUEUE_{name}"))["value"], value);
    }
    support::stdout_of(with_settings(support::tilefleet().args(["config", "--json"]), pod));
}

/// Gives a command the settings of a pod that are variables.
fn with_settings<'a>(command: &'a mut Command, pod: &Value) -> &'a mut Command {
    for variable in at(pod, "/spec/containers/0/env").as_array().unwrap() {
        let (name, value) = (variable["name"].as_str().unwrap(), variable["value"].as_str());
        // The model cache of the tests is theirs.
        if let Some(value) = value.filter(|_| name.starts_with("TILEFLEET_") && name != "TILEFLEET_CACHE") {
            command.env(name, value);
        }
    }
    command
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
