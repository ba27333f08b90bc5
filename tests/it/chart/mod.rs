//! The Helm chart: rendered for many values, compared with the schemas of Kubernetes and of custom resources, and asked what it
//! makes of exit codes, graces, memory and secrets. Nothing is installed: `kube` does that.

mod aws_batch;
mod form;
mod monitoring;
mod promises;
mod refusals;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;

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

/// What Helm printed, and the manifests in it.
type Rendered = (Vec<u8>, Manifests);

/// The manifests of the whole matrix and of the examples: each case is rendered once for all tests.
static RENDERED: LazyLock<Option<BTreeMap<String, Rendered>>> = LazyLock::new(|| {
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

/// The schema of the values.
fn root_schema() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap()
    });
    &SCHEMA
}
