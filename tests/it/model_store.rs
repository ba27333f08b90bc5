//! Models in a store: fetched once for all processes of a machine, compared with the plan, and used by every command.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tilefleet::runtime::Build;

use crate::fixture::{Job, assert_exit, model, small_model, stderr, wait_until};
use crate::support;
use crate::support::small_disk::SmallDisk;
use crate::support::store_server::StoreServer;
use crate::support::{Fault, FaultProxy, Rule, S3Server};

const URI: &str = "s3://models/nets/small.onnx";
const NETWORK: &str = "/models/nets/small.onnx";
const CONTRACT: &str = "/models/nets/small.contract.toml";
const FAST_RETRIES: [&str; 4] = ["--set", "storage.max_retries=1", "--set", "storage.retry_timeout=2s"];

/// A cache that has ONNX Runtime, and no model yet.
pub struct Cache(tempfile::TempDir);

impl Cache {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Build::Cpu.library_dir().unwrap();
        symlink(&runtime, folder.path().join(runtime.file_name().unwrap())).unwrap();
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes a command use it.
    pub fn of(&self, command: &mut Command) {
        command.env("TILEFLEET_CACHE", self.0.path());
    }

    fn models(&self) -> PathBuf {
        self.0.path().join("models")
    }

    fn blobs(&self) -> BTreeSet<String> {
        names(&self.models().join("blobs"))
    }

    /// What is being fetched, or was left.
    fn staged(&self) -> usize {
        names(&self.models()).iter().filter(|name| name.starts_with(".stage-")).count()
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A model of another seed, which fits the same contract.
pub fn other_model() -> PathBuf {
    let arguments =
        ["--arch", "resnet18", "--classes", "10", "--size", "64", "--resize", "72", "--seed", "8"];
    model("small-other", &arguments)
}

/// A local job whose model lies in a bucket, behind a proxy.
struct ModelJob {
    job: Job,
    server: S3Server,
    proxy: FaultProxy,
    cache: Cache,
}

impl ModelJob {
    fn new(num_images: usize, settings: &str) -> Option<Self> {
        let server = support::seaweedfs()?;
        server.create_bucket("models");
        let proxy = FaultProxy::before_server(&server);
        let new = Self { job: Job::new(num_images, settings), server, proxy, cache: Cache::new() };
        new.put("small.onnx", small_model());
        new.put("small.contract.toml", &small_model().with_extension("contract.toml"));
        let text = fs::read_to_string(&new.job.pipeline).unwrap();
        fs::write(&new.job.pipeline, text.replace(small_model().to_str().unwrap(), URI)).unwrap();
        Some(new)
    }

    fn put(&self, name: &str, file: &Path) {
        self.server.put("models", &format!("nets/{name}"), fs::read(file).unwrap());
    }

    /// `tilefleet`, with this cache and access to the bucket.
    fn tilefleet(&self, arguments: &[&str]) -> Command {
        self.tilefleet_at(&self.proxy.endpoint(), arguments)
    }

    fn tilefleet_at(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = support::tilefleet();
        command.args(arguments).envs(S3Server::variables(endpoint, S3Server::OWNER));
        command.current_dir(self.job.folder.path());
        self.cache.of(&mut command);
        command
    }

    fn call(&self, arguments: &[&str]) -> Output {
        self.tilefleet(arguments).output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.call(&[&["run", "photos.toml"], arguments].concat())
    }

    /// Calls it, which fails; returns what it says.
    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.call(arguments);
        assert_exit(&output, code);
        let said = stderr(&output);
        assert!(said.contains("\n  hint: "), "it does not say what to do:\n{said}");
        said
    }

    /// How often an object was asked for.
    fn requests(&self, method: &str, path: &str) -> usize {
        let line = format!("{method} {path}");
        self.proxy.requests().iter().filter(|request| **request == line).count()
    }
}

/// Two workers that start at once ask for the content once, the next one not at all.
#[test]
fn a_model_is_fetched_once_for_all_workers() {
    let Some(remote) = ModelJob::new(30, "[plan]\nshard_tiles = 3") else { return };
    remote
        .proxy
        .add(Rule::new(Fault::Delay(Duration::from_secs(1))).on_method("GET").on_key("small.onnx").times(1));
    let mut workers = [(); 2].map(|()| {
        let mut command = remote.tilefleet(&["run", "photos.toml"]);
        command.stdout(Stdio::null()).spawn().unwrap()
    });
    for worker in &mut workers {
        assert_eq!(worker.wait().unwrap().code(), Some(0));
    }
    remote.job.verify_ok();
    let requests = remote.proxy.requests();
    assert_eq!(remote.requests("GET", NETWORK), 1, "{requests:?}");
    assert_eq!(remote.requests("GET", CONTRACT), 1, "{requests:?}");
    assert_eq!(remote.requests("HEAD", NETWORK), 2, "{requests:?}");
    assert_eq!((remote.cache.blobs().len(), remote.cache.staged()), (2, 0));

    assert_exit(&remote.run(&[]), 0);
    let later = &remote.proxy.requests()[requests.len()..];
    assert_eq!(later, [format!("HEAD {NETWORK}"), format!("HEAD {CONTRACT}")]);
}

/// There was room when the fetch began, and something else fills the disk in its middle: 75, nothing half-written is left, and
/// with room the same command goes on.
#[test]
fn a_disk_that_fills_up_while_a_model_is_fetched_leaves_no_part_of_it() {
    const DISK_BYTES: u64 = 64 << 20;
    let Some(remote) = ModelJob::new(2, "") else { return };
    let size = fs::metadata(small_model()).unwrap().len();
    assert!((16 << 20..DISK_BYTES).contains(&size), "a model of {size} bytes has no middle here");
    let Some(disk) = SmallDisk::mount(&remote.cache.models(), &DISK_BYTES.to_string()) else { return };
    let wait = Fault::Delay(Duration::from_secs(2));
    remote.proxy.add(Rule::new(wait).on_method("GET").on_key("small.onnx"));
    let fetching = remote.tilefleet(&["run", "photos.toml"]).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the network is asked for", || remote.requests("GET", NETWORK) > 0);
    let filler = disk.0.join("filler");
    fs::write(&filler, vec![0; (DISK_BYTES - size / 2) as usize]).unwrap();
    let output = fetching.wait_with_output().unwrap();
    assert_exit(&output, 75);
    let said = stderr(&output);
    let written = format!("cannot write {}", remote.cache.models().display());
    assert!(said.contains(&written) && said.contains("  hint: check the disk"), "{said}");
    assert_eq!((remote.cache.blobs().len(), remote.cache.staged()), (0, 0));
    fs::remove_file(filler).unwrap();
    assert_exit(&remote.run(&[]), 0);
    remote.job.verify_ok();
}

/// The rows are those of the model on disk, and the record says where it lay and no secret.
#[test]
fn a_fetched_model_gives_the_rows_of_a_local_one() {
    let Some(remote) = ModelJob::new(4, "") else { return };
    let output = remote.run(&["-vv"]);
    assert_exit(&output, 0);
    let rows = crate::fixture::rows(&remote.job.table());
    let local = small_model().to_str().unwrap();
    assert_exit(&remote.run(&["--model", local, "--output", "local"]), 0);
    assert_eq!(crate::fixture::rows(&remote.job.path("local")), rows);

    let records = remote.job.table().join("_tilefleet");
    let run = names(&records).into_iter().find(|name| name.starts_with("photos-")).unwrap();
    let record = fs::read_to_string(records.join(run).join("run.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(json["pipeline"]["model"]["file"], URI);
    assert_eq!(json["model"]["file"], "small");
    assert_eq!(json["model"]["contract_origin"], "file");
    let told = format!("{record}{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    for secret in [S3Server::OWNER.secret_key, S3Server::OWNER.access_key, "Signature", "Authorization"] {
        assert!(!told.contains(secret), "`{secret}` was told");
    }
    assert!(told.contains("fetching s3://models/nets/small.onnx"), "{told}");
}

/// A run is finished with the model that it was planned with, or not at all.
#[test]
fn a_model_that_changed_since_the_run_was_planned_is_78() {
    let Some(remote) = ModelJob::new(4, "") else { return };
    assert_exit(&remote.call(&["plan", "photos.toml"]), 0);
    let runs =
        || names(&remote.job.table().join("_tilefleet")).into_iter().filter(|it| it.starts_with("photos-"));
    remote.put("small.onnx", &other_model());
    remote.put("small.contract.toml", &other_model().with_extension("contract.toml"));
    for command in
        [&["run", "photos.toml"][..], &["plan", "photos.toml"], &["plan", "photos.toml", "--dry-run"]]
    {
        let said = remote.refused(command, 78);
        let run = runs().next().unwrap();
        let expected = format!("the model {URI} has changed since run {run} was planned");
        assert!(said.contains(&expected) && said.contains(" delete "), "{said}");
    }
    assert_eq!(runs().count(), 1, "no other run was begun");
    assert!(crate::fixture::rows(&remote.job.table()).is_empty());

    // A copy of the old one finishes it, wherever it lies.
    assert_exit(&remote.run(&["--model", small_model().to_str().unwrap()]), 0);
    remote.job.verify_ok();
    // Nothing is unfinished now: the new model is another run over everything.
    assert_exit(&remote.run(&[]), 0);
    assert_eq!((runs().count(), crate::fixture::rows(&remote.job.table()).len()), (2, 8));
}

/// What a class id means is the contract's part.
#[test]
fn a_contract_that_changed_since_the_run_was_planned_is_78() {
    let Some(remote) = ModelJob::new(2, "") else { return };
    assert_exit(&remote.call(&["plan", "photos.toml"]), 0);
    let written = fs::read_to_string(small_model().with_extension("contract.toml")).unwrap();
    let changed = written.replace("activation = \"softmax\"", "activation = \"none\"");
    assert_ne!(changed, written);
    remote.server.put("models", "nets/small.contract.toml", changed);
    // Another activation is another table, too.
    let said = remote.refused(&["run", "photos.toml"], 78);
    assert!(said.contains("activation"), "{said}");
    let changed = written.replace("name = ", "name = \"x\" # ");
    remote.server.put("models", "nets/small.contract.toml", changed);
    let said = remote.refused(&["run", "photos.toml"], 78);
    assert!(said.contains("the network is the same, but its contract is another"), "{said}");
    remote.server.put("models", "nets/small.contract.toml", written);
    assert_exit(&remote.run(&[]), 0);
}

/// Rejects are tried again with the run's own model.
#[test]
fn a_retry_with_a_changed_model_is_78() {
    let Some(remote) = ModelJob::new(3, "[limits]\nmax_reject_ratio = 1.0") else { return };
    remote.job.write_image("empty.jpg", b"");
    assert_exit(&remote.run(&[]), 0);
    remote.job.write_image("empty.jpg", &crate::fixture::jpeg(9));
    remote.put("small.onnx", &other_model());
    remote.put("small.contract.toml", &other_model().with_extension("contract.toml"));
    let said = remote.refused(&["rejects", "table", "--retry"], 78);
    assert!(said.contains("has changed since run") && said.contains("--model"), "{said}");
    remote.put("small.onnx", small_model());
    remote.put("small.contract.toml", &small_model().with_extension("contract.toml"));
    assert_exit(&remote.call(&["rejects", "table", "--retry"]), 0);
    assert_eq!(crate::fixture::rows(&remote.job.table()).len(), 5, "one tile was tried again");
}

/// Weights in an object of their own, a contract that is missing, and one that is there: as locally.
#[test]
fn whatever_lies_beside_a_model_is_used_as_locally() {
    let (Some(remote), Some(data)) = (ModelJob::new(0, ""), support::test_data()) else { return };
    let folder = data.join("faults/onnx");
    remote.put("external.onnx", &folder.join("external.onnx"));
    remote.put("external.onnx.data", &folder.join("external.onnx.data"));
    let report = |file: &str| {
        let mut command = remote.tilefleet(&["model", "inspect", "--json", file]);
        serde_json::from_str::<serde_json::Value>(&support::stdout_of(&mut command)).unwrap()
    };
    let local = folder.join("external.onnx");
    let fetched = report("s3://models/nets/external.onnx");
    let mut expected = report(local.to_str().unwrap());
    expected["file"] = fetched["file"].clone();
    assert_eq!(fetched, expected);
    assert_eq!(fetched["contract"]["origin"], "assumed");
    assert_eq!(report(URI)["contract"]["origin"], "file");
    // Without the file its metadata says the same.
    remote.server.delete("models", "nets/small.contract.toml");
    assert_eq!(report(URI)["contract"]["origin"], "metadata");

    remote.server.delete("models", "nets/external.onnx.data");
    let said = remote.refused(&["model", "inspect", "s3://models/nets/external.onnx"], 78);
    assert!(said.contains("s3://models/nets/external.onnx.data does not exist"), "{said}");
}

/// What breaks off is fetched again; what is away for good is 75.
#[test]
fn trouble_on_the_way_is_waited_out_or_75() {
    let Some(remote) = ModelJob::new(2, "") else { return };
    remote.proxy.add(Rule::new(Fault::BreakOff).on_method("GET").on_key("small.onnx").times(2));
    remote.proxy.add(Rule::new(Fault::Status(503)).on_key("small.contract.toml").times(1));
    assert_exit(&remote.run(&[]), 0);
    assert_eq!(remote.cache.staged(), 0);
    let fetched = remote.cache.blobs();

    remote.proxy.add(Rule::new(Fault::BreakOff).on_method("GET").on_key("small.onnx"));
    remote.put("small.onnx", &other_model());
    let said = remote.refused(&[&["run", "photos.toml"], &FAST_RETRIES[..]].concat(), 75);
    assert!(said.contains(URI), "{said}");
    assert_eq!((remote.cache.blobs(), remote.cache.staged()), (fetched, 0), "nothing half is left");
    remote.proxy.clear();
    remote.proxy.refuse(true);
    let said = remote.refused(&[&["model", "inspect", URI], &FAST_RETRIES[..]].concat(), 75);
    assert!(said.contains(&format!("cannot fetch {URI}")), "{said}");
}

/// What is killed while it fetches leaves nothing that the next one takes for whole.
#[test]
fn a_killed_fetch_leaves_nothing_half() {
    let Some(remote) = ModelJob::new(2, "") else { return };
    remote.proxy.add(Rule::new(Fault::Drip(Duration::from_millis(20))).on_method("GET").on_key("small.onnx"));
    let mut worker = remote.tilefleet(&["run", "photos.toml"]).stderr(Stdio::null()).spawn().unwrap();
    let has_some = || {
        let staged = fs::read_dir(remote.cache.models()).into_iter().flatten().flatten();
        let mut sizes = staged.filter(|it| it.file_name().to_string_lossy().starts_with(".stage-"));
        sizes.any(|it| it.metadata().is_ok_and(|it| it.len() > 0))
    };
    wait_until("a part of the model has come", has_some);
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert_eq!((remote.cache.blobs().len(), remote.cache.staged()), (0, 1));

    remote.proxy.clear();
    assert_exit(&remote.run(&[]), 0);
    assert_eq!((remote.cache.blobs().len(), remote.cache.staged()), (2, 0));
}

/// A copy that was damaged on disk is noticed, and fetched again.
#[test]
fn a_damaged_copy_is_fetched_again() {
    let Some(remote) = ModelJob::new(2, "") else { return };
    assert_exit(&remote.run(&[]), 0);
    for blob in remote.cache.blobs() {
        let path = remote.cache.models().join("blobs").join(blob);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let output = remote.run(&[]);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("is damaged, and is fetched again"), "{}", stderr(&output));
    assert_eq!(remote.requests("GET", NETWORK), 2);
}

/// What a person has to mend is said with the object's name, before anything is written.
#[test]
fn a_model_that_is_not_to_be_had_is_78() {
    let Some(remote) = ModelJob::new(1, "") else { return };
    let inspect = |uri: &str| remote.refused(&["model", "inspect", uri], 78);
    let said = inspect("s3://models/nets/none.onnx");
    assert!(said.contains("s3://models/nets/none.onnx does not exist"), "{said}");
    let said = inspect("s3://no-such-bucket/small.onnx");
    assert!(said.contains("there is no such bucket"), "{said}");
    remote.proxy.add(Rule::new(Fault::Status(403)).on_key("small.onnx"));
    let said = inspect(URI);
    assert!(said.contains(&format!("{URI} may not be read (access denied)")), "{said}");
    remote.proxy.clear();
    // S3 answers so, if there is none, to who may not list.
    remote.proxy.add(Rule::new(Fault::Status(403)).on_key("small.contract.toml"));
    let said = inspect(URI);
    assert!(said.contains("small.contract.toml may not be read") && said.contains("s3:ListBucket"), "{said}");
    remote.proxy.clear();
    let wrong = support::s3_server::Credentials { access_key: "owner-access-key", secret_key: "wrong" };
    let mut command = remote.tilefleet(&["run", "photos.toml"]);
    let output = command.envs(S3Server::variables(&remote.proxy.endpoint(), wrong)).output().unwrap();
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("the credentials were refused"), "{}", stderr(&output));
    assert!(!remote.job.table().exists());

    for uri in
        ["https://user:secret@host/m.onnx", "https://host/m.onnx?sig=secret", "s3://k:secret@models/m.onnx"]
    {
        for command in [
            &["model", "inspect", uri][..],
            &["run", "photos.toml", "--model", uri],
            &["config", "photos.toml", "--model", uri],
        ] {
            let said = remote.refused(command, 78);
            assert!(!said.contains("secret"), "{said}");
        }
    }
}

/// Every command that takes a model file takes one of a store; what writes, writes files.
#[test]
fn every_command_takes_a_model_of_a_store() {
    let Some(remote) = ModelJob::new(12, "") else { return };
    assert_exit(&remote.run(&[]), 0);
    let labels: Vec<_> = (0..12).map(|index| format!("images/{index:05}.jpg,{}\n", index % 2)).collect();
    let labels = labels.concat();
    fs::write(remote.job.path("labels.csv"), format!("source,label\n{labels}")).unwrap();
    let head = |more: &[&'static str]| [&["model", "head", "table", "--labels", "labels.csv"], more].concat();
    for command in [
        &["config", "photos.toml"][..],
        &["inspect", "images/00000.jpg", "--model", URI],
        &["inspect", "images/00000.jpg", "--model", "s3://models/nets/small.contract.toml"],
        &["chip", "images/00000.jpg", "--stage", "input", "--model", URI, "--out", "chip.npy"],
        &["model", "quantize", URI, "--calibration", "images", "--out", "int8.onnx", "--keep-worst", "0"],
        &["runtime", "bench", "photos.toml", "--seconds", "0.1"],
    ] {
        assert_exit(&remote.call(command), 0);
    }
    assert_exit(&remote.call(&head(&["--out", "head.onnx"])), 0);
    assert_exit(&remote.call(&head(&["--out", "again.onnx", "--model", URI])), 0);
    let file = format!("file://{}", small_model().display());
    assert_exit(&remote.call(&["model", "inspect", &file]), 0);
    assert_eq!(remote.requests("GET", NETWORK), 1);
    for command in [
        vec!["model", "build", "--arch", "resnet18", "--seed", "1", "--out", "s3://models/new.onnx"],
        vec!["model", "quantize", URI, "--calibration", "images", "--out", "s3://models/new.onnx"],
        head(&["--out", "s3://models/new.onnx"]),
    ] {
        let said = remote.refused(&command, 64);
        assert!(said.contains("--out takes the path of a local file"), "{said}");
    }
    assert_eq!(names(remote.job.folder.path()).iter().filter(|name| name.contains("s3:")).count(), 0);

    // The embeddings were made by the model as it was.
    remote.put("small.onnx", &other_model());
    remote.put("small.contract.toml", &other_model().with_extension("contract.toml"));
    let said = remote.refused(&head(&["--out", "third.onnx"]), 78);
    assert!(said.contains(URI) && said.contains("is not the model of the run"), "{said}");
}

/// Weights by plain HTTP, from a server that tells an `ETag`.
#[test]
fn a_model_is_fetched_once_from_a_web_server() {
    let job = Job::new(2, "[storage]\nallow_http = true");
    let (web, cache) = (FaultProxy::before_folder(small_model().parent().unwrap()), Cache::new());
    let uri = format!("{}/small.onnx", web.endpoint());
    for _ in 0..2 {
        let mut command = job.run_command(&["--model", &uri]);
        cache.of(&mut command);
        assert_exit(&command.output().unwrap(), 0);
    }
    let requests = web.requests();
    let gets = requests.iter().filter(|request| request.starts_with("GET "));
    assert_eq!(gets.collect::<Vec<_>>(), ["GET /small.onnx", "GET /small.contract.toml"], "{requests:?}");
}

/// As [`a_model_is_fetched_once_for_all_workers`], of any kind of store.
pub fn a_model_is_fetched_once(server: &dyn StoreServer) {
    let (job, cache) = (Job::new(2, ""), Cache::new());
    let folder = tempfile::tempdir().unwrap();
    for ending in ["onnx", "contract.toml"] {
        let file = small_model().with_extension(ending);
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    server.make_bucket("models");
    server.put_files("models", "nets", folder.path());
    let proxy = FaultProxy::before_server(server);
    let uri = format!("{}://models/nets/small.onnx", server.scheme());
    for _ in 0..2 {
        let mut command = job.run_command(&["--model", &uri]);
        command.envs(server.variables_at(&proxy.address()));
        cache.of(&mut command);
        assert_exit(&command.output().unwrap(), 0);
    }
    let requests = proxy.requests();
    let gets = requests.iter().filter(|request| request.starts_with("GET ")).count();
    assert_eq!(gets, 2, "the network and its contract: {requests:?}");
}
