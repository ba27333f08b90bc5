//! Jobs against servers of stores and through a proxy that makes trouble: SeaweedFS (S3) first, then what S3, Azure
//! (Azurite) and Google (fake-gcs-server) must do alike.

use std::process::{Command, Output};
use std::time::Duration;

use crate::fixture::{Job, Row, assert_exit, rows, rows_of_batch, signal, stderr, wait_until};
use crate::model_store::a_model_is_fetched_once;
use crate::support;
use crate::support::fault_proxy::{Fault, FaultProxy, Rule};
use crate::support::s3_server::S3Server;
use crate::support::store_server::StoreServer;

/// A job whose images also lie in a bucket.
pub struct RemoteJob {
    pub job: Job,
    pub server: S3Server,
}

pub const FAST_RETRIES: [&str; 4] = ["--set", "storage.max_retries=1", "--set", "storage.retry_timeout=2s"];

impl RemoteJob {
    pub fn new(num_images: usize, settings: &str) -> Option<Self> {
        let server = support::seaweedfs()?;
        let job = Job::new(num_images, settings);
        server.create_bucket("scenes");
        server.put_dir("scenes", "images", &job.path("images"));
        Some(Self { job, server })
    }

    pub fn command(&self, endpoint: &str, arguments: &[&str]) -> Command {
        let mut command = self.job.run_command(arguments);
        command.envs(S3Server::variables(endpoint, S3Server::OWNER));
        command
    }

    /// Runs from bucket to bucket.
    pub fn run_at(&self, endpoint: &str, arguments: &[&str]) -> Output {
        let places = ["--input", "s3://scenes/images/", "--output", "s3://scenes/table"];
        self.command(endpoint, &[&places, arguments].concat()).output().unwrap()
    }

    pub fn verify(&self) -> Output {
        let mut command = support::tilefleet();
        command.args(["verify", "s3://scenes/table"]);
        command.envs(S3Server::variables(&self.server.endpoint(), S3Server::OWNER)).output().unwrap()
    }

    #[cfg(feature = "query")]
    pub fn ask(&self, sql: &str) -> serde_json::Value {
        let mut command = support::tilefleet();
        command.args(["query", "s3://scenes/table", sql, "--json"]);
        command.envs(S3Server::variables(&self.server.endpoint(), S3Server::OWNER));
        serde_json::from_str(&support::stdout_of(&mut command)).unwrap()
    }

    pub fn rows(&self) -> Vec<Row> {
        let keys = self.server.keys("scenes", "table/tiles/");
        keys.iter().flat_map(|key| rows_of_bytes(self.server.get("scenes", key))).collect()
    }
}

pub fn rows_of_bytes(bytes: Vec<u8>) -> Vec<Row> {
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
    reader.unwrap().build().unwrap().flat_map(|batch| rows_of_batch(&batch.unwrap())).collect()
}

/// The same run gives the same rows but for what names the place, and no credential is printed.
#[test]
fn a_bucket_gives_the_rows_of_a_folder_and_no_secret_leaks() {
    let Some(remote) = RemoteJob::new(24, "[plan]\nshard_tiles = 10") else { return };
    remote.job.run_ok(&[]);
    let output = remote.run_at(&remote.server.endpoint(), &["-vv"]);
    assert_exit(&output, 0);
    assert_exit(&remote.verify(), 0);
    let (local, remote_rows) = (rows(&remote.job.table()), remote.rows());
    assert_eq!((local.len(), remote_rows.len()), (24, 24));
    for (left, right) in local.iter().zip(&remote_rows) {
        assert_eq!(left.file(), right.file());
        assert!(right.source.starts_with("s3://scenes/images/"), "{}", right.source);
        let left = Row { tile_id: right.tile_id.clone(), source: right.source.clone(), ..left.clone() };
        let left = Row { source_version: right.source_version.clone(), ..left };
        assert_eq!(&left, right, "equal but for the place");
    }
    #[cfg(feature = "query")]
    {
        let count = remote.ask("SELECT count(embedding) AS n FROM tiles");
        assert_eq!(count, serde_json::json!([{ "n": 24 }]));
        let nearest = |row: &Row| format!("SELECT similarity FROM nearest('{}', 23)", row.tile_id);
        let found = remote.ask(&nearest(&remote_rows[7]));
        assert_eq!(found, crate::query::ask(&remote.job.table(), &nearest(&local[7])));
        assert_eq!(found.as_array().unwrap().len(), 23);
    }
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(printed.contains("committed"), "-vv says what happens:\n{printed}");
    for secret in [S3Server::OWNER.secret_key, S3Server::OWNER.access_key, "Signature", "Authorization"] {
        assert!(!printed.contains(secret), "`{secret}` was printed");
    }
}

/// The store takes the commit but the reply is lost: the worker finds its own commit.
#[test]
fn a_lost_commit_reply_is_not_a_conflict() {
    let Some(remote) = RemoteJob::new(6, "[plan]\nshard_tiles = 2") else { return };
    let proxy = FaultProxy::before_server(&remote.server);
    proxy.add(Rule::new(Fault::LostReply).on_method("PUT").on_key("shard-00000001").times(1));
    let output = remote.run_at(&proxy.endpoint(), &["--json"]);
    assert_exit(&output, 0);
    assert_exit(&remote.verify(), 0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["this_process"]["shards_ours"], 3, "{report}");
    let lost = proxy.befallen();
    assert!(
        matches!(&lost[..], [put] if put.starts_with("PUT") && put.contains("shard-00000001")),
        "{lost:?}"
    );
    let requests = proxy.requests();
    let of_shard = |request: &&String| request.contains("shard-00000001");
    let after = requests.iter().skip_while(|request| **request != lost[0]).skip(1);
    assert!(after.filter(of_shard).count() > 0, "whoever got no reply looks what became of it: {requests:?}");
}

/// One object that answers 404 or 403 is a row while the others are read.
#[test]
fn gone_and_forbidden_objects_are_rows() {
    let Some(remote) = RemoteJob::new(8, "[limits]\nmax_reject_ratio = 0.5") else { return };
    let proxy = FaultProxy::before_server(&remote.server);
    proxy.add(Rule::new(Fault::Status(404)).on_method("GET").on_key("images/00003.jpg"));
    proxy.add(Rule::new(Fault::Status(403)).on_method("GET").on_key("images/00005.jpg"));
    assert_exit(&remote.run_at(&proxy.endpoint(), &[]), 0);
    assert_exit(&remote.verify(), 0);
    let rows = remote.rows();
    let reason = |file: &str| rows.iter().find(|row| row.file() == file).unwrap().reason.clone();
    assert_eq!(reason("00003.jpg").as_deref(), Some("not_found"));
    assert_eq!(reason("00005.jpg").as_deref(), Some("forbidden"));
    assert_eq!(rows.iter().filter(|row| row.status == "ok").count(), 6);
}

/// When nothing can be read, it is the credentials or the store: no rejects, the run stays open.
#[test]
fn when_every_object_is_refused_nothing_is_rejected() {
    let Some(remote) = RemoteJob::new(5, "") else { return };
    for (status, code) in [(403, 78), (404, 75), (503, 75)] {
        let proxy = FaultProxy::before_server(&remote.server);
        proxy.add(Rule::new(Fault::Status(status)).on_method("GET").on_key("/scenes/images/0"));
        let output = remote.run_at(&proxy.endpoint(), &FAST_RETRIES);
        assert_exit(&output, code);
        assert_eq!(remote.rows().len(), 0, "status {status} made rows");
        assert_exit(&remote.verify(), 75);
    }
    assert_exit(&remote.run_at(&remote.server.endpoint(), &[]), 0);
    assert_exit(&remote.verify(), 0);
}

/// A run whose objects were all removed after planning, from a folder that others still lie in, ends.
#[test]
fn a_run_of_nothing_but_gone_objects_ends() {
    let Some(remote) = RemoteJob::new(4, "[limits]\nmax_reject_ratio = 1.0") else { return };
    assert_exit(&remote.run_at(&remote.server.endpoint(), &[]), 0);
    let image = crate::fixture::jpeg(7);
    for key in ["images/new-1.jpg", "images/new-2.jpg"] {
        remote.server.put("scenes", key, image.clone());
    }
    let proxy = FaultProxy::before_server(&remote.server);
    proxy.add(Rule::new(Fault::Status(404)).on_method("GET").on_key("/scenes/images/new-"));
    assert_exit(&remote.run_at(&proxy.endpoint(), &[]), 0);
    assert_exit(&remote.verify(), 0);
    let reasons: Vec<_> = remote.rows().into_iter().filter_map(|row| row.reason).collect();
    assert_eq!(reasons, ["not_found", "not_found"]);
}

/// Objects that did not answer when planned are rejects while their bucket answers.
#[test]
fn mistyped_objects_of_a_bucket_are_rejected() {
    let Some(remote) = RemoteJob::new(1, "[limits]\nmax_reject_ratio = 1.0") else { return };
    let list = "uri\nimages/typo.jpg\nno-such-folder/typo.jpg\n";
    remote.server.put("scenes", "list.csv", list);
    let text = std::fs::read_to_string(&remote.job.pipeline).unwrap();
    let text = text.replace("uris = [\"images\"]", "manifest = \"s3://scenes/list.csv\"");
    std::fs::write(&remote.job.pipeline, text).unwrap();
    let output = remote.command(&remote.server.endpoint(), &["--output", "s3://scenes/table"]).output();
    assert_exit(&output.unwrap(), 0);
    let reasons: Vec<_> = remote.rows().into_iter().map(|row| row.reason.unwrap()).collect();
    assert_eq!(reasons, ["not_found", "not_found"]);
}

/// Many refusals at once share one search for a witness.
#[test]
fn many_forbidden_objects_cost_few_requests() {
    let Some(remote) = RemoteJob::new(100, "[limits]\nmax_reject_ratio = 1.0") else { return };
    let proxy = FaultProxy::before_server(&remote.server);
    proxy.add(Rule::new(Fault::Status(403)).on_method("GET").on_key("/scenes/images/0000"));
    proxy.add(Rule::new(Fault::Status(403)).on_method("GET").on_key("/scenes/images/0001"));
    proxy.add(Rule::new(Fault::Status(403)).on_method("GET").on_key("/scenes/images/0002"));
    assert_exit(&remote.run_at(&proxy.endpoint(), &[]), 0);
    let forbidden = remote.rows().iter().filter(|row| row.reason.as_deref() == Some("forbidden")).count();
    assert_eq!(forbidden, 30);
    let is_read = |request: &&String| request.starts_with("GET /scenes/images/");
    let num_reads = proxy.requests().iter().filter(is_read).count();
    assert!(num_reads <= 100 + 60, "{num_reads} reads of 100 images");
}

/// Throttling and slow answers pass: the store is asked again.
#[test]
fn passing_trouble_is_waited_out() {
    let Some(remote) = RemoteJob::new(6, "[plan]\nshard_tiles = 3") else { return };
    let proxy = FaultProxy::before_server(&remote.server);
    proxy.add(Rule::new(Fault::Status(503)).on_key("images/00002").times(2));
    proxy.add(Rule::new(Fault::Hangup).on_key("images/00004").times(1));
    proxy.add(Rule::new(Fault::Delay(Duration::from_millis(300))).on_key("images/00001").times(1));
    proxy.add(Rule::new(Fault::Status(503)).on_method("PUT").on_key("shard-00000000").times(1));
    assert_exit(&remote.run_at(&proxy.endpoint(), &[]), 0);
    assert_exit(&remote.verify(), 0);
    assert!(remote.rows().iter().all(|row| row.status == "ok"));
}

/// Two workers on one bucket: one plan, every tile once.
#[test]
fn two_workers_on_a_bucket_share_one_run() {
    let Some(remote) = RemoteJob::new(30, "[plan]\nshard_tiles = 3") else { return };
    let places = ["--input", "s3://scenes/images/", "--output", "s3://scenes/table"];
    let workers: Vec<_> = (0..2)
        .map(|_| remote.command(&remote.server.endpoint(), &places))
        .map(|mut command| command.stdout(std::process::Stdio::null()).spawn().unwrap())
        .collect();
    for mut worker in workers {
        assert_eq!(worker.wait().unwrap().code(), Some(0));
    }
    assert_exit(&remote.verify(), 0);
    assert_eq!(remote.rows().len(), 30);
    assert_eq!(
        remote
            .server
            .keys("scenes", "table/_tilefleet/")
            .iter()
            .filter(|key| key.ends_with("run.json"))
            .count(),
        1
    );
}

/// What is wrong with the access is said before any work, with the code that says who acts.
#[test]
fn wrong_access_is_told_before_any_work() {
    let Some(remote) = RemoteJob::new(2, "") else { return };
    let endpoint = remote.server.endpoint();
    let run = |credentials, arguments: &[&str]| {
        let mut command = remote.job.run_command(&[arguments, &FAST_RETRIES].concat());
        command.envs(S3Server::variables(&endpoint, credentials)).output().unwrap()
    };
    let no_bucket = run(S3Server::OWNER, &["--input", "s3://no-such-bucket/images/"]);
    assert_exit(&no_bucket, 78);
    assert!(stderr(&no_bucket).contains("no-such-bucket"), "{}", stderr(&no_bucket));
    let wrong = support::s3_server::Credentials { access_key: "owner-access-key", secret_key: "wrong" };
    assert_exit(&run(wrong, &["--input", "s3://scenes/images/"]), 78);
    let read_only = run(S3Server::READER, &["--output", "s3://scenes/table"]);
    assert_exit(&read_only, 78);
    let mut away = remote.job.run_command(&["--input", "s3://scenes/images/"]);
    away.args(FAST_RETRIES).envs(S3Server::variables("http://127.0.0.1:9", S3Server::OWNER));
    assert_exit(&away.output().unwrap(), 75);
    assert!(!remote.job.table().join("tiles").exists(), "no row was written");
}

/// Explicit URLs are read over plain HTTP.
#[test]
fn images_are_read_over_http() {
    let job = Job::new(3, "[storage]\nallow_http = true");
    let web = FaultProxy::before_folder(&job.path("images"));
    let urls: Vec<String> = (0..3).map(|index| format!("{}/{index:05}.jpg", web.endpoint())).collect();
    let inputs: Vec<&str> = urls.iter().flat_map(|url| ["--input", url.as_str()]).collect();
    job.run_ok(&inputs);
    job.verify_ok();
    let rows = rows(&job.table());
    assert_eq!(rows.iter().map(|row| row.source.as_str()).collect::<Vec<_>>(), urls);
}

/// SIGTERM while the store is silent during planning ends the process as promptly as at any other time.
#[test]
fn a_signal_ends_planning_too() {
    let Some(remote) = RemoteJob::new(2, "") else { return };
    let proxy = FaultProxy::before_server(&remote.server);
    proxy.add(Rule::new(Fault::Delay(Duration::from_secs(30))).on_key("list-type"));
    let places = ["--input", "s3://scenes/images/", "--output", "s3://scenes/table"];
    let mut worker = remote.command(&proxy.endpoint(), &places).spawn().unwrap();
    wait_until("the listing is asked for", || {
        proxy.requests().iter().any(|request| request.contains("list-type"))
    });
    let started = std::time::Instant::now();
    signal(&worker, "TERM");
    assert_eq!(worker.wait().unwrap().code(), Some(143));
    assert!(started.elapsed() < Duration::from_secs(20), "it waited for the store");
}

/// What a store answers 409 to has not landed: each election is held again.
#[test]
fn a_conflict_at_an_election_is_tried_again() {
    let Some(remote) = RemoteJob::new(4, "[plan]\nshard_tiles = 2") else { return };
    let proxy = FaultProxy::before_server(&remote.server);
    let elections = ["create-only-probe.txt", "output.json", "sources.parquet", "run.json", "shard-00000001"];
    for key in elections {
        proxy.add(Rule::new(Fault::Status(409)).on_method("PUT").on_key(key).times(1));
    }
    assert_exit(&remote.run_at(&proxy.endpoint(), &[]), 0);
    assert_exit(&remote.verify(), 0);
    assert_eq!(remote.rows().len(), 4);
    for key in elections {
        let puts = |request: &&String| request.starts_with("PUT") && request.contains(key);
        assert!(proxy.requests().iter().filter(puts).count() >= 2, "{key} was tried again");
    }
}

/// A store that says "exists" of what is not there ends the run, with the object's name, and harms nothing.
#[test]
fn a_lasting_conflict_at_an_election_ends_with_its_name() {
    for key in ["create-only-probe.txt", "output.json", "sources.parquet", "run.json", "shard-00000000"] {
        let Some(remote) = RemoteJob::new(2, "") else { return };
        let proxy = FaultProxy::before_server(&remote.server);
        proxy.add(Rule::new(Fault::Status(409)).on_method("PUT").on_key(key));
        let output = remote.run_at(&proxy.endpoint(), &[]);
        assert_exit(&output, 75);
        let said = stderr(&output);
        assert!(said.contains("s3://scenes/table/") && said.contains(key), "{said}");
        assert_eq!(remote.rows().len(), 0);
        assert_exit(&remote.run_at(&remote.server.endpoint(), &[]), 0);
        assert_eq!(remote.rows().len(), 2);
    }
}

/// A job whose images also lie in a bucket of any kind of store.
pub struct StoreJob<'a> {
    job: Job,
    server: &'a dyn StoreServer,
}

impl<'a> StoreJob<'a> {
    pub fn new(server: &'a dyn StoreServer, num_images: usize, settings: &str) -> Self {
        let job = Job::new(num_images, settings);
        server.make_bucket("scenes");
        server.put_files("scenes", "images", &job.path("images"));
        Self { job, server }
    }

    fn uri(&self, key: &str) -> String {
        format!("{}://scenes/{key}", self.server.scheme())
    }

    /// `tilefleet run` from bucket to bucket, the server being at this address.
    fn command_at(&self, address: &str, arguments: &[&str]) -> Command {
        let (input, output) = (self.uri("images/"), self.uri("table"));
        let mut command =
            self.job.run_command(&[&["--input", &input, "--output", &output], arguments].concat());
        command.envs(self.server.variables_at(address));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command_at(&self.server.address(), arguments).output().unwrap()
    }

    pub fn run_through(&self, proxy: &FaultProxy, arguments: &[&str]) -> Output {
        self.command_at(&proxy.address(), arguments).output().unwrap()
    }

    pub fn verify(&self) -> Output {
        let mut command = support::tilefleet();
        command.args(["verify", &self.uri("table")]);
        command.envs(self.server.variables_at(&self.server.address())).output().unwrap()
    }

    pub fn rows(&self) -> Vec<Row> {
        let keys = self.server.keys_of("scenes", "table/tiles");
        keys.iter().flat_map(|key| rows_of_bytes(self.server.content("scenes", key))).collect()
    }
}

/// The same run gives the same rows but for what names the place, and no credential is printed.
fn rows_are_those_of_a_folder(server: &dyn StoreServer) {
    let remote = StoreJob::new(server, 24, "[plan]\nshard_tiles = 10");
    remote.job.run_ok(&[]);
    let output = remote.run(&["-vv"]);
    assert_exit(&output, 0);
    assert_exit(&remote.verify(), 0);
    let (local, found) = (rows(&remote.job.table()), remote.rows());
    assert_eq!((local.len(), found.len()), (24, 24));
    for (left, right) in local.iter().zip(&found) {
        assert_eq!(right.source, remote.uri(&format!("images/{}", left.file())));
        let left = Row { tile_id: right.tile_id.clone(), source: right.source.clone(), ..left.clone() };
        let left = Row { source_version: right.source_version.clone(), ..left };
        assert_eq!(&left, right, "equal but for the place");
    }
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(printed.contains("committed"), "-vv says what happens:\n{printed}");
    for secret in server.secrets().into_iter().chain(["Signature", "Authorization"]) {
        assert!(!printed.contains(secret), "`{secret}` was printed:\n{printed}");
    }
}

/// Two workers at once: one plan, every tile once.
fn two_workers_share_one_run_of(server: &dyn StoreServer) {
    let remote = StoreJob::new(server, 30, "[plan]\nshard_tiles = 3");
    let mut workers = [(); 2].map(|()| {
        let mut command = remote.command_at(&server.address(), &[]);
        command.stdout(std::process::Stdio::null()).spawn().unwrap()
    });
    for worker in &mut workers {
        assert_eq!(worker.wait().unwrap().code(), Some(0));
    }
    assert_exit(&remote.verify(), 0);
    let mut files: Vec<_> = remote.rows().iter().map(|row| row.file().to_owned()).collect();
    files.sort();
    assert_eq!(files, (0..30).map(|index| format!("{index:05}.jpg")).collect::<Vec<_>>());
    let records = server.keys_of("scenes", "table/_tilefleet");
    assert_eq!(records.iter().filter(|key| key.ends_with("run.json")).count(), 1, "{records:?}");
}

/// A run that could not write one shard goes on later, and writes only that one.
fn a_run_resumes(server: &dyn StoreServer) {
    let remote = StoreJob::new(server, 6, "[plan]\nshard_tiles = 2");
    let proxy = FaultProxy::before_server(server);
    proxy.add(Rule::new(Fault::Status(503)).on_method("PUT").on_key("00000001"));
    assert_exit(&remote.run_through(&proxy, &FAST_RETRIES), 75);
    assert_exit(&remote.verify(), 75);
    assert!(remote.rows().len() < 6);
    assert_exit(&remote.run(&[]), 0);
    assert_exit(&remote.verify(), 0);
    assert_eq!(remote.rows().len(), 6);
}

/// Answers in chunks, without a length.
fn chunked_answers_are_read(server: &dyn StoreServer) {
    let remote = StoreJob::new(server, 3, "");
    let proxy = FaultProxy::before_server(server);
    proxy.add(Rule::new(Fault::Chunked).on_method("GET").on_key("0000"));
    assert_exit(&remote.run_through(&proxy, &[]), 0);
    assert_exit(&remote.verify(), 0);
    assert!(remote.rows().iter().all(|row| row.status == "ok"));
}

/// An object that is stored with a content encoding is what its stored bytes are, in every store.
fn an_object_stored_with_gzip_is_one_row(server: &dyn StoreServer) {
    let remote = StoreJob::new(server, 8, "[limits]\nmax_reject_ratio = 0.5");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, &crate::fixture::jpeg(99)).unwrap();
    server.put_encoded("scenes", "images/zipped.jpg", gzip.finish().unwrap(), "gzip");
    assert_exit(&remote.run(&[]), 0);
    assert_exit(&remote.verify(), 0);
    let rows = remote.rows();
    assert_eq!(rows.len(), 9);
    assert!(rows.iter().all(|row| row.status == "ok" || row.file() == "zipped.jpg"));
    let zipped = rows.iter().find(|row| row.file() == "zipped.jpg").unwrap();
    // Not `changed`: Google unpacks it on the way, so that its size is not that of the listing.
    assert_eq!(zipped.reason.as_deref(), Some("not_an_image"), "{:?}", zipped.detail);
}

/// A store that replaces what it is asked to keep is refused before anything is planned.
fn a_store_without_create_only_writes_is_refused(server: &dyn StoreServer) {
    let remote = StoreJob::new(server, 2, "");
    let proxy = FaultProxy::before_server(server);
    proxy.add(Rule::new(Fault::ClaimsCreation).on_method("PUT"));
    for _ in 0..2 {
        let output = remote.run_through(&proxy, &[]);
        assert_exit(&output, 78);
        let said = stderr(&output);
        assert!(
            said.contains(&format!("the store of {} ignores create-only writes", remote.uri("table"))),
            "{said}"
        );
        let keys = server.keys_of("scenes", "table");
        assert_eq!(keys, ["table/_tilefleet/create-only-probe.txt"], "no run was begun");
    }
    assert_exit(&remote.run(&[]), 0);
    assert_exit(&remote.verify(), 0);
}

/// Makes a test of each check for the server that an expression starts.
macro_rules! checks {
    ($kind:ident, $server:expr, $($check:ident),+) => {
        mod $kind {
            $(
                #[test]
                fn $check() {
                    let Some(server) = $server else { return };
                    super::$check(&server);
                }
            )+
        }
    };
    ($($kind:ident: $server:expr),+) => {
        $(
            checks!(
                $kind,
                $server,
                rows_are_those_of_a_folder,
                two_workers_share_one_run_of,
                a_run_resumes,
                chunked_answers_are_read,
                an_object_stored_with_gzip_is_one_row,
                a_store_without_create_only_writes_is_refused,
                a_model_is_fetched_once
            );
        )+
    };
}

checks!(s3: crate::support::seaweedfs(), azure: crate::support::azurite(), google: crate::support::fake_gcs());

/// Without credentials Google's store is read, and a write is refused at once, with what to do.
#[test]
fn anonymous_access_to_google_cannot_write() {
    let Some(server) = support::fake_gcs() else { return };
    let remote = StoreJob::new(&server, 2, "[storage]\nanonymous = true");
    let run = |arguments: &[&str]| {
        let mut command = remote.job.run_command(arguments);
        command.env("GOOGLE_BASE_URL", format!("http://{}", server.address()));
        command.output().unwrap()
    };
    let input = remote.uri("images/");
    assert_exit(&run(&["--input", &input]), 0);
    assert_eq!(rows(&remote.job.table()).len(), 2);
    let started = std::time::Instant::now();
    let refused = run(&["--input", &input, "--output", &remote.uri("table")]);
    assert_exit(&refused, 78);
    let said = stderr(&refused);
    assert!(said.contains("anonymous access to gs:// can only read"), "{said}");
    assert!(said.contains("GOOGLE_SERVICE_ACCOUNT"), "{said}");
    assert!(started.elapsed() < Duration::from_secs(10), "no token was waited for");
}

/// Requests of a worker that joins a run which is planned, up to its first image.
fn joining(num_images: usize) -> Option<(Vec<String>, Vec<u64>)> {
    let remote = RemoteJob::new(num_images, "[plan]\nshard_tiles = 1")?;
    let places = ["--input", "s3://scenes/images/", "--output", "s3://scenes/table"];
    let mut plan = support::tilefleet();
    plan.arg("plan").arg(&remote.job.pipeline).args(places);
    plan.envs(S3Server::variables(&remote.server.endpoint(), S3Server::OWNER));
    assert_exit(&plan.output().unwrap(), 0);
    let proxy = FaultProxy::before_server(&remote.server);
    assert_exit(&remote.run_at(&proxy.endpoint(), &["--share", "1/4"]), 0);
    assert_exit(&remote.verify(), 0);
    let is_image = |request: &String| request.starts_with("GET /scenes/images/");
    let before = proxy.requests().into_iter().take_while(|request| !is_image(request)).collect();
    Some((before, proxy.ranges_of("plan/part-00000.parquet")))
}

/// However many sources and shards a run has, a worker joins it by the same few requests. It neither lists the input
/// again nor reads more of the plan than its shards.
#[test]
fn joining_a_run_that_is_planned_takes_a_few_requests() {
    let Some(((few, _), (many, ranges))) = joining(6).zip(joining(120)) else { return };
    assert!(!many.iter().any(|request| request.contains("prefix=images")), "{many:#?}");
    // Shards are begun side by side: how many requests of the next ones come before the first image is a matter of luck.
    assert!(many.len() <= few.len() + 8, "{few:#?}\n{many:#?}");
    assert!(many.len() < 40, "{many:#?}");
    let (shards, footer): (Vec<u64>, Vec<u64>) = ranges.into_iter().partition(|bytes| *bytes < 2048);
    println!(
        "{} requests before the first image; plan: footer {footer:?} bytes, shards {shards:?}",
        many.len()
    );
    assert!(footer.len() <= 2 && shards.len() <= 120, "{footer:?}, {} requests for 120 shards", shards.len());
}
