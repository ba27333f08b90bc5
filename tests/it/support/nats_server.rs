//! A real NATS server with JetStream, on a free loopback port, its streams in a temporary folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::s3_server::{START_LIMIT, kept};

/// A running server, which can be killed, started again on the same port, and wiped; it ends when it is dropped.
pub struct NatsServer {
    program: PathBuf,
    keeper: Child,
    folder: TempDir,
    address: String,
    arguments: Vec<String>,
}

impl NatsServer {
    /// Starts a server, and waits until it takes connections.
    pub fn start(program: PathBuf) -> Self {
        Self::start_with(program, &[])
    }

    /// As [`Self::start`], with further arguments.
    pub fn start_with(program: PathBuf, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let keeper = spawn(&program, &folder, "127.0.0.1:-1", &arguments);
        let mut server = Self { program, keeper, folder, address: String::new(), arguments };
        server.address = server.wait();
        server
    }

    /// Returns the URL for clients.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Returns host and port of its monitoring, if it was started with `--http_port=-1`.
    pub fn monitoring(&self) -> String {
        let url = self.port("monitoring").expect("it was asked for");
        url.trim_start_matches("http://").to_owned()
    }

    /// Ends the server as a lost machine does.
    pub fn kill(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = fs::remove_dir_all(self.ports());
    }

    /// Starts it again at the same address.
    pub fn start_again(&mut self) {
        self.keeper = spawn(&self.program, &self.folder, &self.address, &self.arguments);
        assert_eq!(self.wait(), self.address);
    }

    /// Removes all that it has stored; it must not be running.
    pub fn wipe(&self) {
        fs::remove_dir_all(self.folder.path().join("store")).expect("a folder with streams");
    }

    fn ports(&self) -> PathBuf {
        self.folder.path().join("ports")
    }

    /// Returns what the server has written down of where it listens.
    fn port(&self, name: &str) -> Option<String> {
        let files = fs::read_dir(self.ports()).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| fs::read(file.path()).ok());
        let mut ports = texts.filter_map(|text| serde_json::from_slice::<Value>(&text).ok());
        ports.find_map(|ports| Some(ports[name][0].as_str()?.to_owned()))
    }

    /// Waits until the server has written down where it listens.
    fn wait(&self) -> String {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if let Some(url) = self.port("nats") {
                return url.trim_start_matches("nats://").to_owned();
            }
            sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("{} does not start: {log}", self.program.display());
    }
}

fn spawn(program: &Path, folder: &TempDir, address: &str, arguments: &[String]) -> Child {
    let (host, port) = address.rsplit_once(':').expect("host and port");
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("ports")).expect("a temporary folder");
    kept(program)
        .args(["--addr", host, "--port", port, "--jetstream", "--store_dir"])
        .arg(at("store"))
        .arg("--ports_file_dir")
        .arg(at("ports"))
        .arg("--log")
        .arg(at("log"))
        .args(arguments)
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell")
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
