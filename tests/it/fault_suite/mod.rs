//! The fault suite: one thing goes wrong at a definite moment, the worker says so, and the next run makes it whole.
//!
//! Real worker processes work on a real S3 server, behind a proxy that makes the trouble. In the end `verify` finds
//! nothing wrong, and every planned tile has one row. `docs/reference/faults.md` lists these tests, and those of
//! other files that show faults.

mod access;
mod clocks;
mod disk;
mod judges;
mod plans;
mod reads;
mod versions;
mod writes;

use std::collections::BTreeMap;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use crate::fixture::{Row, assert_exit, wait_until};
use crate::stores::{FAST_RETRIES, RemoteJob, rows_of_bytes};
use crate::support::fault_proxy::{Fault, FaultProxy, Rule};
use crate::support::{self, S3Server};

/// Answers that do not come are not waited for as long as in earnest.
const SHORT_WAIT: [&str; 2] = ["--set", "storage.request_timeout=2s"];

/// In the name of every committed shard, and of nothing else.
const OF_SHARDS: &str = "/tiles/";

/// A job from bucket to bucket, all requests of which pass a proxy.
struct Bench {
    remote: Arc<RemoteJob>,
    proxy: FaultProxy,
    /// The output, a folder of the bucket.
    table: String,
}

impl Bench {
    fn new(num_images: usize, settings: &str) -> Option<Self> {
        Some(Self::of(Arc::new(RemoteJob::new(num_images, settings)?), "table"))
    }

    fn of(remote: Arc<RemoteJob>, table: &str) -> Self {
        let proxy = FaultProxy::before_server(&remote.server);
        Self { remote, proxy, table: table.to_owned() }
    }

    /// The same job from the beginning, with an output and a proxy of its own.
    fn beside(&self, table: &str) -> Self {
        Self::of(Arc::clone(&self.remote), table)
    }

    fn command_at(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let output = format!("s3://scenes/{}", self.table);
        let places = ["--input", "s3://scenes/images/", "--output", &output];
        self.remote.command(endpoint, &[&places[..], &FAST_RETRIES, &SHORT_WAIT, arguments].concat())
    }

    /// A worker behind the proxy.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(&self.proxy.endpoint(), arguments)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A worker that the faults do not reach.
    fn command_beside(&self) -> Command {
        self.command_at(&self.remote.server.endpoint(), &[])
    }

    /// Publishes the plan, beside the proxy.
    fn plan(&self) -> Output {
        let output = format!("s3://scenes/{}", self.table);
        let mut command = support::tilefleet();
        command.arg("plan").arg(&self.remote.job.pipeline);
        command.args(["--input", "s3://scenes/images/", "--output", &output]);
        command.envs(S3Server::variables(&self.remote.server.endpoint(), S3Server::OWNER)).output().unwrap()
    }

    /// Any other command about the output, beside the proxy.
    fn asking(&self, words: &[&str]) -> Command {
        let mut command = support::tilefleet();
        command.arg(words[0]).arg(format!("s3://scenes/{}", self.table)).args(&words[1..]);
        command.envs(S3Server::variables(&self.remote.server.endpoint(), S3Server::OWNER));
        command
    }

    fn ask(&self, words: &[&str]) -> Output {
        self.asking(words).output().unwrap()
    }

    fn assert_verdict(&self, code: i32) {
        assert_exit(&self.ask(&["verify"]), code);
    }

    /// Brings a fault about, and waits until a request of a new worker has met it.
    fn worker_that_meets(&self, rule: Rule) -> Worker {
        self.meets(rule, self.command(&[]))
    }

    fn meets(&self, rule: Rule, mut command: Command) -> Worker {
        let before = self.proxy.befallen().len();
        self.proxy.add(rule);
        let worker = Worker::start(&mut command);
        wait_until("the fault is met", || self.proxy.befallen().len() > before);
        worker
    }

    /// Committed shards, by key.
    fn shards(&self) -> BTreeMap<String, Vec<u8>> {
        let server = &self.remote.server;
        let keys = server.keys("scenes", &format!("{}/tiles/", self.table));
        keys.into_iter().map(|key| (key.clone(), server.get("scenes", &key))).collect()
    }

    fn rows(&self) -> Vec<Row> {
        self.shards().into_values().flat_map(rows_of_bytes).collect()
    }

    /// `verify` proves the output, and each of so many images has one row.
    fn assert_whole(&self, num_images: usize) -> Vec<Row> {
        self.assert_verdict(0);
        let rows = self.rows();
        let mut files: Vec<&str> = rows.iter().map(Row::file).collect();
        files.sort_unstable();
        let expected: Vec<String> = (0..num_images).map(|index| format!("{index:05}.jpg")).collect();
        assert_eq!(files, expected);
        rows
    }

    /// The same, and no row is a reject.
    fn assert_sound(&self, num_images: usize) {
        assert!(self.assert_whole(num_images).iter().all(|row| row.status == "ok"));
    }
}

/// A worker process; it does not outlive its test.
struct Worker(Child);

impl Worker {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// kill -9.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end; returns what it said.
    fn ended_with(mut self, code: i32) -> String {
        let mut said = String::new();
        self.0.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(self.0.wait().unwrap().code(), Some(code), "{said}");
        said
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Befalls what writes this object, whose name or folder is `key`.
fn at_put(fault: Fault, key: &str) -> Rule {
    Rule::new(fault).on_method("PUT").on_key(key)
}

/// Befalls what reads an image.
fn at_image(fault: Fault, index: usize) -> Rule {
    Rule::new(fault).on_method("GET").on_key(&format!("images/{index:05}.jpg"))
}
