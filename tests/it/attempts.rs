//! Objects that their store does not give: tries are written down, the rest goes on, and it ends.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::fixture::{Job, Row, assert_exit, rows, stderr};
use crate::support;
use crate::support::fault_proxy::{Fault, FaultProxy, Rule};
use crate::support::s3_server::S3Server;

/// Settings with which a try that fails takes little time.
pub const FAST: [&str; 8] = [
    "--set",
    "storage.max_retries=1",
    "--set",
    "storage.retry_timeout=1s",
    "--set",
    "storage.request_timeout=5s",
    "--set",
    "storage.allow_http=true",
];
/// Settings with which one try is enough.
const ONE_TRY: [&str; 4] = ["--set", "limits.unreadable_tries=1", "--set", "limits.unreadable_runs=1"];

/// A job over the images of a web server.
pub struct WebJob {
    pub job: Job,
    pub web: FaultProxy,
}

impl WebJob {
    pub fn new(num_images: usize, settings: &str) -> Self {
        Self::over(Job::new(num_images, settings), num_images, "jpg")
    }

    /// Serves what lies in the images' folder of a job.
    fn over(job: Job, num_images: usize, extension: &str) -> Self {
        let web = FaultProxy::before_folder(&job.path("images"));
        let this = Self { job, web };
        this.list((0..num_images).map(|index| format!("{}/{index:05}.{extension}", this.web.endpoint())));
        this
    }

    /// Makes these URLs the input.
    fn list(&self, urls: impl Iterator<Item = String>) {
        let list: Vec<String> = std::iter::once("uri".to_owned()).chain(urls).collect();
        fs::write(self.job.path("list.csv"), list.join("\n")).unwrap();
        let text = fs::read_to_string(&self.job.pipeline).unwrap();
        fs::write(&self.job.pipeline, text.replace("uris = [\"images\"]", "manifest = \"list.csv\""))
            .unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.job.run(&[&FAST[..], arguments].concat())
    }

    pub fn reason(&self, file: &str) -> Option<String> {
        reason(&rows(&self.job.table()), file)
    }
}

fn reason(rows: &[Row], file: &str) -> Option<String> {
    rows.iter().find(|row| row.file() == file).unwrap_or_else(|| panic!("no row of {file}")).reason.clone()
}

/// All attempts below a local output, as text.
fn attempts(table: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for run in fs::read_dir(table.join("_tilefleet")).into_iter().flatten().flatten() {
        for source in fs::read_dir(run.path().join("attempts")).into_iter().flatten().flatten() {
            let files = fs::read_dir(source.path()).unwrap().map(|file| file.unwrap().path());
            found.extend(files.map(|file| fs::read_to_string(file).unwrap()));
        }
    }
    found
}

/// All files below a folder.
fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn run_id(table: &Path) -> String {
    let output = support::stdout_of(support::tilefleet().arg("runs").arg(table).arg("--json"));
    let runs: serde_json::Value = serde_json::from_str(&output).unwrap();
    runs.as_array().or(runs["runs"].as_array()).unwrap()[0]["run_id"].as_str().unwrap().to_owned()
}

/// Against a real store: each object fails in its own way, for ever. The other shards are committed at once; the
/// third run gives these objects up; what answers again later is read by a retry.
#[test]
fn objects_that_a_store_never_gives_become_rejects_in_the_third_run() {
    let Some(server) = support::seaweedfs() else { return };
    let job = Job::new(30, "[plan]\nshard_tiles = 3\n[limits]\nmax_reject_ratio = 0.5");
    server.create_bucket("scenes");
    server.put_dir("scenes", "images", &job.path("images"));
    let proxy = FaultProxy::before_server(&server);
    let kinds = [
        ("00001.jpg", Fault::Status(400)),
        ("00004.jpg", Fault::Status(500)),
        ("00007.jpg", Fault::Status(503)),
        ("00010.jpg", Fault::BreakOff),
        ("00013.jpg", Fault::Hangup),
        ("00016.jpg", Fault::Redirect(format!("{}/scenes/images/00016.jpg", proxy.endpoint()))),
    ];
    for (file, fault) in &kinds {
        proxy.add(Rule::new(fault.clone()).on_method("GET").on_key(&format!("images/{file}")));
    }
    let command = |words: &[&str]| -> Command {
        let mut command = support::tilefleet();
        command.args(words).envs(S3Server::variables(&proxy.endpoint(), S3Server::OWNER));
        command
    };
    let pipeline = job.pipeline.to_str().unwrap();
    let places = ["run", pipeline, "--input", "s3://scenes/images/", "--output", "s3://scenes/table"];
    let run = || command(&[&places[..], &FAST].concat()).output().unwrap();
    let read_rows = || -> Vec<Row> {
        let keys = server.keys("scenes", "table/tiles/");
        keys.iter().flat_map(|key| crate::stores::rows_of_bytes(server.get("scenes", key))).collect()
    };
    let first = run();
    assert_exit(&first, 75);
    assert_eq!(read_rows().len(), 12, "the four shards without such an object are there");
    let said = stderr(&first);
    assert!(said.contains("6 objects cannot be read for now, so 6 shards stay open"), "{said}");
    assert!(
        said.contains("s3://scenes/images/00001.jpg: the store answered 400 (try 3 of 5, run 1 of 3)"),
        "{said}"
    );
    assert!(said.contains("after 5 tries in 3 runs or 1day, while 10 others"), "{said}");
    assert_exit(&command(&["verify", "s3://scenes/table"]).output().unwrap(), 75);
    assert_exit(&run(), 75);
    assert_exit(&run(), 0);
    assert_exit(&command(&["verify", "s3://scenes/table"]).output().unwrap(), 0);
    let rows = read_rows();
    assert_eq!(rows.len(), 30);
    for (file, fault) in &kinds {
        assert_eq!(reason(&rows, file).as_deref(), Some("unreadable"), "{fault:?}");
    }
    assert_eq!(rows.iter().filter(|row| row.status == "ok").count(), 24);
    let failure = |file: &str| rows.iter().find(|row| row.file() == file).unwrap().detail.clone().unwrap();
    assert!(failure("00001.jpg").ends_with("last: answered_400"), "{}", failure("00001.jpg"));
    assert!(failure("00010.jpg").ends_with("last: broken_off"), "{}", failure("00010.jpg"));
    assert!(failure("00016.jpg").ends_with("last: redirected"), "{}", failure("00016.jpg"));
    assert!(rows.iter().flat_map(|row| &row.detail).all(|detail| !detail.contains("://")));

    proxy.clear();
    assert_exit(&command(&["rejects", "s3://scenes/table", "--retry"]).output().unwrap(), 0);
    let again = read_rows().into_iter().filter(|row| row.status == "ok");
    assert_eq!(again.count(), 30, "the retry read all six");
}

/// Nothing of this host ever answers: nothing is counted, and nothing becomes a reject, however often it is tried.
#[test]
fn a_host_that_answers_nothing_never_yields_a_reject() {
    let web = WebJob::new(6, "[plan]\nshard_tiles = 2");
    for fault in [Fault::Status(500), Fault::Hangup, Fault::BreakOff] {
        web.web.clear();
        web.web.add(Rule::new(fault.clone()).on_method("GET"));
        for _ in 0..3 {
            assert_exit(&web.run(&ONE_TRY), 75);
        }
        assert_eq!(rows(&web.job.table()), [], "{fault:?}");
        assert_eq!(attempts(&web.job.table()), [""; 0], "{fault:?}");
    }
    web.web.clear();
    assert_exit(&web.run(&[]), 0);
}

/// One host of two refuses all connections: what lies on the other is committed, and what lies on it is never given
/// up.
#[test]
fn the_rest_goes_on_when_one_host_of_two_is_away() {
    let web = WebJob::new(12, "[plan]\nshard_tiles = 2");
    let other = FaultProxy::before_folder(&web.job.path("images"));
    let url = |index: usize| {
        let host = if index < 4 { &other } else { &web.web };
        format!("{}/{index:05}.jpg", host.endpoint())
    };
    web.list((0..12).map(url));
    // Planned while both are there.
    let mut plan = support::tilefleet();
    plan.arg("plan").arg(&web.job.pipeline).args(FAST);
    assert_exit(&plan.output().unwrap(), 0);
    other.refuse(true);
    for _ in 0..3 {
        let output = web.run(&ONE_TRY);
        assert_exit(&output, 75);
        assert!(stderr(&output).contains("does not answer"), "{}", stderr(&output));
        assert_eq!(rows(&web.job.table()).len(), 8, "all of the host that answers");
    }
    assert_eq!(attempts(&web.job.table()), [""; 0]);
    other.refuse(false);
    assert_exit(&web.run(&[]), 0);
    web.job.verify_ok();
    assert!(rows(&web.job.table()).iter().all(|row| row.status == "ok"));
}

/// Chunks without a length are read; a drip, redirects without end and answers to HEAD alone are not waited for.
#[test]
fn odd_answers_of_a_web_server_are_rows() {
    let web = WebJob::new(20, "[limits]\nmax_reject_ratio = 0.5");
    web.web.add(Rule::new(Fault::Chunked).on_key("00001.jpg"));
    web.web.add(Rule::new(Fault::Drip(Duration::from_millis(50))).on_method("GET").on_key("00002.jpg"));
    web.web.add(Rule::new(Fault::Redirect("/00003.jpg".to_owned())).on_key("00003.jpg"));
    web.web.add(Rule::new(Fault::Status(500)).on_method("HEAD").on_key("00004.jpg"));
    web.web.add(Rule::new(Fault::Status(500)).on_key("00005.jpg"));
    let output = web.run(&ONE_TRY);
    assert_exit(&output, 0);
    web.job.verify_ok();
    assert_eq!(web.reason("00001.jpg"), None);
    assert_eq!(web.reason("00002.jpg").as_deref(), Some("unreadable"));
    assert_eq!(web.reason("00003.jpg").as_deref(), Some("unreadable"));
    assert_eq!(web.reason("00004.jpg"), None, "it could be read, only not looked at");
    assert_eq!(web.reason("00005.jpg").as_deref(), Some("unreadable"));
    let tried = attempts(&web.job.table());
    assert_eq!(tried.len(), 3, "{tried:?}");
    // Nothing has changed, so nothing is planned again.
    let again = web.run(&["--json"]);
    assert_exit(&again, 0);
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(report["nothing_new"], true, "{report}");
}

/// An object whose size nobody knew beforehand, and that is larger than was reckoned with, is read all the same.
#[test]
fn large_objects_of_unknown_size_wait_for_their_room() {
    let web = WebJob::new(2, "[run]\nmemory = \"16MiB\"");
    let mut large = crate::fixture::jpeg(3);
    // What follows the image's end is ignored.
    large.resize(5 << 20, 0);
    web.job.write_image("00000.jpg", &large);
    web.job.write_image("00001.jpg", &large);
    for fault in [Fault::Chunked, Fault::Status(405)] {
        let _ = fs::remove_dir_all(web.job.table());
        web.web.clear();
        let rule = Rule::new(fault.clone());
        web.web.add(if fault == Fault::Chunked { rule } else { rule.on_method("HEAD") });
        assert_exit(&web.run(&[]), 0);
        assert!(rows(&web.job.table()).iter().all(|row| row.status == "ok"), "{fault:?}");
    }
    let _ = fs::remove_dir_all(web.job.table());
    let output = web.run(&["--set", "limits.max_object=4MiB", "--set", "limits.max_reject_ratio=1"]);
    assert_exit(&output, 0);
    assert_eq!(web.reason("00000.jpg").as_deref(), Some("too_large"));
}

/// A file that the disk does not give is given up as well; a path that can name nothing is gone.
#[test]
fn local_files_that_cannot_be_read_are_rows() {
    let job = Job::new(12, "[limits]\nmax_reject_ratio = 0.5");
    // Reading it at its beginning fails with EIO, as on a bad disk.
    std::os::unix::fs::symlink("/proc/self/mem", job.path("images/bad.jpg")).unwrap();
    let names: Vec<String> = (0..12).map(|index| format!("images/{index:05}.jpg")).collect();
    let names = names.join("\n");
    fs::write(job.path("list.csv"), format!("uri\n{names}\nimages/bad.jpg\nimages/nul\0nul.jpg\n")).unwrap();
    let text = fs::read_to_string(&job.pipeline).unwrap();
    fs::write(&job.pipeline, text.replace("uris = [\"images\"]", "manifest = \"list.csv\"")).unwrap();
    let output = job.run(&ONE_TRY);
    assert_exit(&output, 0);
    job.verify_ok();
    let rows = rows(&job.table());
    assert_eq!(reason(&rows, "bad.jpg").as_deref(), Some("unreadable"));
    assert_eq!(reason(&rows, "nul%00nul.jpg").as_deref(), Some("not_found"));
    assert_eq!(rows.iter().filter(|row| row.status == "ok").count(), 12);
}

/// Attempts name no place, do not disturb `verify`, and go with their run.
#[test]
fn attempts_go_with_their_run() {
    let web = WebJob::new(14, "[plan]\nshard_tiles = 2");
    web.web.add(Rule::new(Fault::Status(500)).on_method("GET").on_key("00005.jpg"));
    assert_exit(&web.run(&[]), 75);
    let table = web.job.table();
    let found = attempts(&table);
    assert_eq!(found.len(), 3);
    for attempt in &found {
        let attempt: serde_json::Value = serde_json::from_str(attempt).unwrap();
        assert_eq!(
            (attempt["source_id"].as_u64(), attempt["failure"].as_str()),
            (Some(5), Some("answered_500"))
        );
        assert!(!attempt.to_string().contains("jpg"), "{attempt}");
    }
    let verdict = web.job.verify();
    assert_exit(&verdict, 75);
    assert!(String::from_utf8_lossy(&verdict.stdout).contains("\"num_violations\": 0"));
    let id = run_id(&table);
    let mut delete = support::tilefleet();
    delete.arg("runs").arg(&table).args(["delete", &id, "--force", "--yes"]);
    assert_exit(&delete.output().unwrap(), 0);
    assert_eq!(attempts(&table), [""; 0]);
    assert!(!table.join("_tilefleet").join(&id).join("attempts").exists());
}

/// A signed URL is a secret: it is refused, and repeated nowhere.
#[test]
fn a_signature_in_a_manifest_is_told_to_nobody() {
    let web = WebJob::new(2, "");
    let url = format!("{}/00000.jpg?X-Amz-Signature=c0ffee&X-Amz-Credential=me", web.web.endpoint());
    web.list([format!("{}/00001.jpg", web.web.endpoint()), url].into_iter());
    let output = web.run(&["-vv"]);
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(!printed.contains("c0ffee") && !printed.contains("Credential"), "{printed}");
    for path in files_below(&web.job.table()) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|text| text == b"c0ffee"), "{} holds it", path.display());
    }
}

/// Scenes that fail while their headers are read, when planning, and while their blocks are, in the run.
#[test]
fn scenes_that_cannot_be_read_are_rows_and_the_others_are_cut() {
    let Some(data) = support::test_data() else { return };
    let settings = "[tiles]\ngrid = \"regular\"\nsize = 400\n[limits]\nmax_reject_ratio = 0.9";
    let job = Job::new(0, settings);
    for index in 0..14 {
        let scene = data.join("satellite/geotiff/rasterio/RGB.byte.tif");
        fs::copy(scene, job.path("images").join(format!("{index:05}.tif"))).unwrap();
    }
    let web = WebJob::over(job, 14, "tif");
    web.web.add(Rule::new(Fault::Status(500)).on_method("GET").on_key("00001.tif"));
    web.web.add(Rule::new(Fault::NoRanges).on_key("00002.tif"));
    let mut plan = support::tilefleet();
    plan.arg("plan").arg(&web.job.pipeline).args(FAST);
    assert_exit(&plan.output().unwrap(), 0);
    web.web.add(Rule::new(Fault::BreakOff).on_method("GET").on_key("00003.tif"));
    assert_exit(&web.run(&ONE_TRY), 0);
    web.job.verify_ok();
    let rows = rows(&web.job.table());
    let of = |file: &str| rows.iter().filter(|row| row.file() == file).collect::<Vec<_>>();
    for (file, num_rows) in [("00001.tif", 1), ("00002.tif", 1), ("00003.tif", 4)] {
        let found = of(file);
        assert_eq!(found.len(), num_rows, "{file}");
        assert!(found.iter().all(|row| row.reason.as_deref() == Some("unreadable")), "{found:?}");
    }
    assert!(of("00004.tif").iter().filter(|row| row.status == "ok").count() > 1);
    assert_eq!(rows.iter().filter(|row| row.status == "rejected").count(), 6);
}

/// What is bad lies together and comes first: the rest is committed all the same, and in the end the bad are rows.
#[test]
fn bad_objects_that_sort_first_hide_no_good_ones() {
    let web = WebJob::new(100, "[plan]\nshard_tiles = 5\n[limits]\nmax_reject_ratio = 0.9");
    for tens in 0..6 {
        web.web.add(Rule::new(Fault::Status(500)).on_key(&format!("/000{tens}")));
    }
    let run = || web.run(&["--set", "storage.max_retries=0"]);
    let first = run();
    assert_exit(&first, 75);
    assert_eq!(rows(&web.job.table()).len(), 40, "{}", stderr(&first));
    assert!(stderr(&first).contains("60 objects cannot be read for now, so 12 shards stay open"));
    assert_exit(&run(), 75);
    assert_exit(&run(), 0);
    web.job.verify_ok();
    let rows = rows(&web.job.table());
    let unreadable = rows.iter().filter(|row| row.reason.as_deref() == Some("unreadable")).count();
    assert_eq!((rows.len(), unreadable), (100, 60));
}

/// The same while scenes are planned, whose headers are read in the order of their names.
#[test]
fn scenes_that_do_not_answer_hide_no_others() {
    let Some(data) = support::test_data() else { return };
    let job = Job::new(0, "[tiles]\ngrid = \"regular\"\nsize = 400");
    let scene = data.join("satellite/geotiff/rasterio/RGB.byte.tif");
    for index in 0..160 {
        let file = job.path("images").join(format!("{index:05}.tif"));
        std::os::unix::fs::symlink(&scene, file).unwrap();
    }
    let web = WebJob::over(job, 160, "tif");
    for tens in 0..14 {
        web.web.add(Rule::new(Fault::Status(500)).on_method("GET").on_key(&format!("/00{tens:02}")));
    }
    let mut plan = support::tilefleet();
    plan.arg("plan").arg(&web.job.pipeline).args(FAST).args(["--set", "storage.max_retries=0"]);
    let planned = plan.output().unwrap();
    assert_exit(&planned, 0);
}

/// Many servers know no HEAD, and signatures may be for GET alone: what can be read is read.
#[test]
fn who_refuses_head_is_read_all_the_same() {
    let Some(data) = support::test_data() else { return };
    let job = Job::new(0, "[tiles]\ngrid = \"regular\"\nsize = 400");
    let refusals = [405, 404, 403, 501, 500, 400];
    for index in 0..refusals.len() {
        let scene = data.join("satellite/geotiff/rasterio/RGB.byte.tif");
        fs::copy(scene, job.path("images").join(format!("{index:05}.tif"))).unwrap();
    }
    let web = WebJob::over(job, refusals.len(), "tif");
    for (index, status) in refusals.into_iter().enumerate() {
        web.web.add(Rule::new(Fault::Status(status)).on_method("HEAD").on_key(&format!("{index:05}.tif")));
    }
    assert_exit(&web.run(&[]), 0);
    web.job.verify_ok();
    let rows = rows(&web.job.table());
    for (index, status) in refusals.into_iter().enumerate() {
        let file = format!("{index:05}.tif");
        let of: Vec<&Row> = rows.iter().filter(|row| row.file() == file).collect();
        assert!(of.len() == 4 && of.iter().any(|row| row.status == "ok"), "{status}: {of:?}");
        let mut inspect = support::tilefleet();
        inspect.arg("inspect").arg(format!("{}/{file}", web.web.endpoint())).args(FAST);
        assert_exit(&inspect.args(["--set", "tiles.grid=regular"]).output().unwrap(), 0);
    }
}

/// A refused request is no refused object: it is tried, and its row says what the answer was.
#[test]
fn a_web_servers_refusals_are_told_apart() {
    let web = WebJob::new(16, "[limits]\nmax_reject_ratio = 0.9");
    let refusals = [(0, 400), (1, 451), (2, 405), (3, 403), (4, 404)];
    for (index, status) in refusals {
        web.web.add(Rule::new(Fault::Status(status)).on_key(&format!("{index:05}.jpg")));
    }
    let first = web.run(&[]);
    assert_exit(&first, 75);
    assert!(stderr(&first).contains("00000.jpg: the store answered 400 (try 3 of 5"), "{}", stderr(&first));
    assert_exit(&web.run(&ONE_TRY), 0);
    web.job.verify_ok();
    let rows = rows(&web.job.table());
    for (index, status) in refusals {
        let expected = match status {
            403 => "forbidden",
            404 => "not_found",
            _ => "unreadable",
        };
        let row = rows.iter().find(|row| row.file() == format!("{index:05}.jpg")).unwrap();
        let detail = row.detail.as_deref().unwrap();
        assert_eq!(row.reason.as_deref(), Some(expected), "{status}");
        assert!(detail.contains(&status.to_string()), "{detail}");
    }
}

/// Who must say who he is has no bad objects: the run ends and tells so.
#[test]
fn a_web_server_that_wants_a_name_yields_no_reject() {
    for is_found_when_planning in [true, false] {
        let web = WebJob::new(14, "[plan]\nshard_tiles = 2");
        let refused = Rule::new(Fault::Status(401)).on_key("00003.jpg");
        web.web.add(if is_found_when_planning { refused } else { refused.on_method("GET") });
        let output = web.run(&ONE_TRY);
        assert_exit(&output, 78);
        assert!(stderr(&output).contains("401"), "{}", stderr(&output));
        assert!(rows(&web.job.table()).iter().all(|row| row.status == "ok"));
        assert_eq!(attempts(&web.job.table()), [""; 0]);
    }
}

/// Where `input.allow` is what stands in the way, it is named with what to add.
#[test]
fn a_redirect_that_is_not_allowed_names_the_setting() {
    let web = WebJob::new(2, "");
    let elsewhere = FaultProxy::before_folder(&web.job.path("images"));
    web.web.add(Rule::new(Fault::Redirect(format!("{}/00001.jpg?sig=SECRET", elsewhere.endpoint()))));
    let allowed = |places: &str| web.run(&["--set", &format!("input.allow={places}")]);
    let refused = allowed(&format!("{}/", web.web.endpoint()));
    assert_exit(&refused, 75);
    let said = stderr(&refused);
    assert!(said.contains("input.allow") && said.contains(&elsewhere.endpoint()), "{said}");
    assert!(!said.contains("SECRET") && !said.contains("storage.endpoint"), "{said}");
    assert!(elsewhere.requests().is_empty());
    let both = format!("[\"{}/\",\"{}/\"]", web.web.endpoint(), elsewhere.endpoint());
    assert_exit(&allowed(&both), 0);
}
