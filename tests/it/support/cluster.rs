//! A real Kubernetes cluster on this machine: API server, controllers and scheduler, and nodes whose pods are processes.
//!
//! `tests/kube/README.md` says what these nodes do and what they do not.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};
use tilefleet::vocabulary::provider::Provider;

use super::s3_server::kept;
use super::{is_root, project, skip, stdout_of};

/// The image of the binary under test, with any tag.
pub const IMAGE: &str = "example.test/tilefleet";

/// Where its files are in a container: the one folder of `PATH` in which the machine may have programs of its own.
const IMAGE_FOLDER: &str = "/usr/local/bin";

/// A running cluster; it stops on drop, and its pods with it.
pub struct Cluster {
    script: Child,
    nodes: Mutex<BTreeMap<String, Child>>,
    folder: TempDir,
}

/// Returns the cluster that all tests share. The first test starts it, and it stops with the last one.
pub fn cluster() -> Option<Arc<Cluster>> {
    static RUNNING: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let cluster = running.upgrade().or_else(|| Cluster::start().map(Arc::new))?;
    *running = Arc::downgrade(&cluster);
    Some(cluster)
}

impl Cluster {
    fn start() -> Option<Self> {
        if !is_root() {
            // Not `skip`: CI must not need to be root.
            tilefleet_testing::skipped::not_on_this_machine(
                "only root can start a node whose pods are processes",
            );
            return None;
        }
        if !["localkube", "localnode", "kubectl", "helm"].iter().all(|name| program(name).is_file()) {
            return skip("no Kubernetes in .kube/bin: run make kube-build");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = start_script("cluster", folder.path());
        let cluster = Self { script, nodes: Mutex::default(), folder };
        cluster.make_image();
        cluster.start_node("first", &[]);
        Some(cluster)
    }

    /// Lays out what the image has: the binary, and ONNX Runtime beside it. Everybody may read it.
    fn make_image(&self) {
        let image = self.image_folder();
        fs::create_dir(&image).expect("a writable folder");
        let runtime = tilefleet::runtime::locate(Provider::Cpu).expect("ONNX Runtime is installed").path;
        let library = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        for (source, name) in
            [(Path::new(env!("CARGO_BIN_EXE_tilefleet")), "tilefleet"), (&runtime, &library)]
        {
            let file = image.join(name);
            fs::copy(source, &file).expect("a file that can be read");
            fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("a file of ours");
        }
        fs::set_permissions(&image, Permissions::from_mode(0o755)).expect("a folder of ours");
    }

    fn image_folder(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// Starts a node and waits until pods can be scheduled to it.
    ///
    /// - `options`: further ones of `localnode`
    pub fn start_node(&self, name: &str, options: &[&str]) {
        let log =
            fs::File::create(self.folder.path().join(format!("node-{name}.log"))).expect("a writable folder");
        let node = kept(&program("localnode"))
            .arg("-kubeconfig")
            .arg(self.config())
            .arg("-root")
            .arg(self.folder.path().join("nodes").join(name))
            .args(["-name", name, "-cpu", "256", "-memory", "1Ti"])
            .args(["-image", &format!("{IMAGE}={IMAGE_FOLDER}/tilefleet")])
            .args(["-bind", &format!("{}={IMAGE_FOLDER}", self.image_folder().display())])
            .args(options)
            .stderr(log)
            .spawn()
            .expect("a shell");
        self.nodes.lock().unwrap().insert(name.to_owned(), node);
        eventually("the node is ready", Duration::from_secs(30), || {
            let answer = self.kubectl().args(["get", "node", name, "--output=json"]).output().ok()?;
            let node: Value = serde_json::from_slice(&answer.stdout).ok()?;
            let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
            (!taints.iter().any(|taint| taint["key"] == "node.kubernetes.io/not-ready")).then_some(())
        });
    }

    /// Ends a node and all its pods without a word, as a machine that is lost; then deletes its object, as clouds do.
    pub fn lose_node(&self, name: &str) {
        end(self.nodes.lock().unwrap().get_mut(name).expect("a node of ours"));
        stdout_of(self.kubectl().args(["delete", "node", name]));
    }

    /// Returns `kubectl`, ready for arguments.
    pub fn kubectl(&self) -> Command {
        self.client("kubectl")
    }

    /// Returns `helm`, ready for arguments.
    pub fn helm(&self) -> Command {
        self.client("helm")
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command.env("KUBECONFIG", self.config()).env("HOME", self.folder.path());
        command
    }

    /// Returns the file that tells clients how to reach the API server.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).values_mut().for_each(end);
        end(&mut self.script);
    }
}

/// KEDA's operator; it stops on drop.
pub struct Keda(Child);

impl Keda {
    /// Starts it beside a cluster.
    pub fn start(cluster: &Cluster) -> Option<Self> {
        if !program("keda-operator").is_file() {
            return skip("no .kube/bin/keda-operator: run tests/kube/build keda");
        }
        Some(Self(start_script("keda-operator", cluster.folder.path())))
    }
}

impl Drop for Keda {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// Runs a script of `tests/kube` until it says that what it starts is ready.
fn start_script(name: &str, folder: &Path) -> Child {
    let mut script = Command::new(project().join("tests/kube").join(name))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the script starts");
    let mut line = String::new();
    let said = BufReader::new(script.stdout.take().expect("a pipe")).read_line(&mut line);
    assert!(said.is_ok() && line == "ready\n", "{name} does not start: {line}");
    script
}

/// A script ends what it started when its input closes.
fn end(script: &mut Child) {
    drop(script.stdin.take());
    let _ = script.wait();
}

/// Returns a program that `make kube-build` made.
pub fn program(name: &str) -> PathBuf {
    project().join(".kube/bin").join(name)
}

/// Waits until something can be had.
pub fn eventually<T>(what: &str, limit: Duration, get: impl Fn() -> Option<T>) -> T {
    let give_up = Instant::now() + limit;
    loop {
        if let Some(found) = get() {
            return found;
        }
        assert!(Instant::now() < give_up, "waited in vain for {limit:?} until {what}");
        // Mostly `kubectl` is asked, which takes a tenth of a second of a processor to start.
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// A namespace of one test. If the test fails, what was in it is printed.
pub struct Namespace {
    pub cluster: Arc<Cluster>,
    name: &'static str,
}

impl Namespace {
    /// Makes an empty one.
    pub fn new(cluster: Arc<Cluster>, name: &'static str) -> Self {
        stdout_of(cluster.kubectl().args(["create", "namespace", name]));
        let namespace = Self { cluster, name };
        // The controllers make it, and pods need it.
        eventually("there is a service account", Duration::from_secs(30), || {
            let mut asked = namespace.kubectl();
            asked.args(["get", "serviceaccount", "default"]).output().ok()?.status.success().then_some(())
        });
        namespace
    }

    /// Returns `kubectl` in this namespace, ready for arguments.
    pub fn kubectl(&self) -> Command {
        let mut command = self.cluster.kubectl();
        command.args(["--namespace", self.name]);
        command
    }

    /// Returns `helm` in this namespace, ready for arguments.
    pub fn helm(&self) -> Command {
        let mut command = self.cluster.helm();
        command.args(["--namespace", self.name]);
        command
    }

    /// Returns the objects of a kind, such as `pods`, the oldest first.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        self.selected(kind, "")
    }

    /// Returns those with these labels.
    pub fn selected(&self, kind: &str, labels: &str) -> Vec<Value> {
        let mut command = self.kubectl();
        command.args(["get", kind, "--output=json", "--sort-by=.metadata.creationTimestamp"]);
        command.args(["--selector", labels]);
        let listed: Value = serde_json::from_str(&stdout_of(&mut command)).expect("kubectl prints JSON");
        listed["items"].as_array().expect("a list").clone()
    }

    /// Makes or changes an object.
    pub fn apply(&self, object: &Value) {
        fed(self.kubectl().args(["apply", "--filename=-"]), object);
    }

    /// Asks the API server to evict a pod, as a drain of its node does.
    pub fn evict(&self, pod: &str) {
        let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", self.name);
        let eviction = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": self.name},
        });
        fed(self.cluster.kubectl().args(["create", "--raw", &path, "--filename=-"]), &eviction);
    }

    /// Follows what pods end with, those included that are deleted then.
    pub fn follow_ends(&self) -> Ends {
        let lines = NamedTempFile::new().expect("a temporary folder");
        let mut kubectl = self.kubectl();
        kubectl.args(["get", "pods", "--watch", "--no-headers"]);
        kubectl.arg(
            "--output=custom-columns=:.metadata.name,:.status.containerStatuses[0].state.terminated.exitCode",
        );
        let kubectl =
            kubectl.stdout(lines.reopen().expect("a file of ours")).spawn().expect("kubectl starts");
        Ends { kubectl, lines }
    }

    /// Returns the names of all objects of all kinds, such as `pod/x`, without what every namespace has.
    pub fn everything(&self) -> Vec<String> {
        let kinds = stdout_of(self.kubectl().args([
            "api-resources",
            "--namespaced",
            "--verbs=list",
            "--output=name",
        ]));
        let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
        let names = stdout_of(self.kubectl().args(["get", &kinds.join(","), "--output=name"]));
        let of_everybody = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
        names.lines().filter(|name| !of_everybody.contains(name)).map(str::to_owned).collect()
    }

    /// Prints what there is and what it said. It does not panic: the test already does.
    fn tell(&self) {
        let said = |arguments: &[&str]| {
            let output = self.kubectl().args(arguments).output();
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
        };
        for arguments in [
            &["get", "all", "--output=wide"][..],
            &["get", "events", "--sort-by=.metadata.creationTimestamp"],
            &["describe", "jobs,cronjobs"],
        ] {
            eprintln!("{arguments:?}\n{}", said(arguments));
        }
        for pod in said(&["get", "pods", "--output=name"]).lines() {
            eprintln!("{pod}\n{}", said(&["logs", "--all-containers", pod]));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        let _ = self.kubectl().args(["delete", "namespace", "--wait=false", self.name]).output();
    }
}

/// What the pods of a namespace end with.
pub struct Ends {
    kubectl: Child,
    lines: NamedTempFile,
}

impl Ends {
    /// Returns the exit code of the first container of each pod that has ended.
    pub fn codes(&self) -> BTreeMap<String, i64> {
        let lines = fs::read_to_string(self.lines.path()).expect("a file of ours");
        let ended = |line: &str| {
            let (pod, code) = line.split_once(char::is_whitespace)?;
            Some((pod.to_owned(), code.trim().parse().ok()?))
        };
        lines.lines().filter_map(ended).collect()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

/// Runs a command that reads an object.
fn fed(command: &mut Command, object: &Value) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the command starts");
    child.stdin.take().expect("a pipe").write_all(object.to_string().as_bytes()).expect("it is read");
    assert!(child.wait().expect("a child").success(), "{command:?} fails for {object}");
}

/// Returns the name of an object.
pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("every object has a name")
}

/// Returns the process of a pod's first container, if it runs.
pub fn process_of(pod: &Value) -> Option<u32> {
    let status = &pod["status"]["containerStatuses"][0];
    status["state"].get("running")?;
    // Such as `process://worker-0-4711`.
    status["containerID"].as_str()?.rsplit('-').next()?.parse().ok()
}

/// Returns what a pod's first container ended with.
pub fn exit_code_of(pod: &Value) -> Option<i64> {
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"].as_i64()
}
