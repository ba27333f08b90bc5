//! The Helm chart on a real Kubernetes API server with its real controllers: pods are processes that run the binary under test, and
//! work from bucket to bucket. Each test ends with a `verify` that finds nothing wrong, and a release that leaves nothing behind.
//!
//! `docs/how-to/run-on-kubernetes.md` has a table of what is shown here, and what cannot be.

mod cronjob;
mod deployment;
mod exit_codes;
mod indexed_job;
mod keda;

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fixture::{assert_exit, small_model};
use crate::stores::RemoteJob;
use crate::support::cluster::{IMAGE, Namespace, cluster, eventually, name_of};
use crate::support::fault_proxy::{Fault, FaultProxy, Rule};
use crate::support::nats_server::NatsServer;
use crate::support::{self, S3Server, stdout_of};

/// For what controllers and pods do in seconds, unless the machine is busy.
const SOON: Duration = Duration::from_mins(2);

/// For a pod that is replaced because its node is lost, or a schedule that begins.
const LATER: Duration = Duration::from_mins(5);

const TILES_PER_SHARD: usize = 4;

/// Has the label of the pods that compute.
const WORKERS: &str = "app.kubernetes.io/component=worker";

/// A bucket with images and a model, and a namespace to install the chart into.
struct Fleet {
    // Dropped before the servers that its pods use.
    namespace: Namespace,
    remote: RemoteJob,
    /// Pods reach the bucket through it.
    proxy: FaultProxy,
}

impl Fleet {
    fn new(name: &'static str, num_images: usize) -> Option<Self> {
        let cluster = cluster()?;
        let remote = RemoteJob::new(num_images, "")?;
        for file in [small_model(), small_model().with_extension("contract.toml").as_path()] {
            let key = format!("models/{}", file.file_name().unwrap().display());
            remote.server.put("scenes", &key, fs::read(file).unwrap());
        }
        let proxy = FaultProxy::before_server(&remote.server);
        let fleet = Self { namespace: Namespace::new(cluster, name), remote, proxy };
        let keys = S3Server::OWNER;
        fleet.namespace.apply(&json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "bucket"},
            "stringData": {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key},
        }));
        Some(fleet)
    }

    /// What all tests set: the image, the bucket, and shards that are soon done.
    fn values(&self) -> Value {
        json!({
            "image": {"repository": IMAGE, "tag": "1"},
            "pipeline": {"name": "photos", "settings": {
                "input": {"uris": ["s3://scenes/images/"]},
                "model": {"file": "s3://scenes/models/small.onnx"},
                "output": {"uri": "s3://scenes/table"},
                "plan": {"shard_tiles": TILES_PER_SHARD},
                "run": {"batch": 1, "fetch_concurrency": 1},
                "storage": {"max_retries": 1, "retry_timeout": "2s"},
            }},
            "credentials": {"existingSecret": "bucket", "env": {
                "AWS_ENDPOINT_URL": self.proxy.endpoint(),
                "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true",
            }},
            "resources": {"cpu": "100m", "scratch": "64Mi", "cache": "256Mi"},
            // All pods are on one machine.
            "metrics": {"address": "$(POD_IP)"},
        })
    }

    /// Installs the chart, or changes what is installed.
    fn install(&self, values: &Value) {
        let mut command = self.namespace.helm();
        command.args(["upgrade", "--install", "photos"]);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/helm/tilefleet"));
        for (name, values) in [("all.json", &self.values()), ("own.json", values)] {
            let file = self.remote.job.path(name);
            fs::write(&file, values.to_string()).unwrap();
            command.arg("--values").arg(file);
        }
        stdout_of(&mut command);
    }

    /// Removes the release; of it nothing is left.
    fn uninstall(&self) {
        stdout_of(self.namespace.helm().args(["uninstall", "photos"]));
        eventually("nothing is left of the release", SOON, || {
            (self.namespace.everything() == ["secret/bucket"]).then_some(())
        });
    }

    /// From now on each image takes its time, so that pods are at work for long.
    fn slow_down(&self, delay: Duration) {
        self.proxy.add(Rule::new(Fault::Delay(delay)).on_method("GET").on_key("/scenes/images/"));
    }

    fn num_committed(&self) -> usize {
        self.remote.server.keys("scenes", "table/tiles/").len()
    }

    fn wait_until_committed(&self, num_shards: usize) {
        eventually("some shards are committed", SOON, || (self.num_committed() >= num_shards).then_some(()));
    }

    /// The pods of the workers, the oldest first.
    fn workers(&self) -> Vec<Value> {
        self.namespace.selected("pods", WORKERS)
    }

    /// The only Job of workers.
    fn job(&self) -> Value {
        let [job] = &self.namespace.selected("jobs", WORKERS)[..] else { panic!("one Job of workers") };
        job.clone()
    }

    /// Waits until the only Job of workers is complete.
    fn wait_until_complete(&self, limit: Duration) -> Value {
        eventually("the Job is complete", limit, || {
            let job = self.job();
            assert_eq!(condition(&job, "Failed"), None, "{job:#}");
            condition(&job, "Complete").is_some().then_some(job)
        })
    }

    /// Asks `verify`, and whether so many images have a row.
    fn assert_whole(&self, num_images: usize) {
        assert_exit(&self.remote.verify(), 0);
        assert_eq!(self.remote.rows().len(), num_images);
    }
}

/// Starts a NATS server, which also tells KEDA how much there is to do.
fn nats() -> Option<NatsServer> {
    let program = support::project().join(".venv/bin/nats-server");
    if program.is_file() {
        Some(NatsServer::start_with(program, &["--http_port=-1"]))
    } else {
        support::skip("no .venv/bin/nats-server: run scripts/test-env")
    }
}

/// Returns why a condition of a Job is true, if it is.
fn condition(job: &Value, kind: &str) -> Option<String> {
    let conditions = job["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|found| found["type"] == kind && found["status"] == "True")?;
    Some(found["reason"].as_str().unwrap_or_default().to_owned())
}

/// Returns an annotation or label of the Job controller.
fn index_note<'a>(pod: &'a Value, name: &str) -> Option<&'a str> {
    pod["metadata"]["annotations"][format!("batch.kubernetes.io/{name}")].as_str()
}

/// Returns which index of its Job a pod has.
fn index_of(pod: &Value) -> &str {
    index_note(pod, "job-completion-index").unwrap_or_else(|| panic!("{} has no index", name_of(pod)))
}

fn kill(process: u32) {
    assert!(Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success());
}
