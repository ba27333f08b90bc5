//! Nothing of a source's URI is seen where its names are secret: a name is planted wherever one may stand, jobs over good
//! and bad sources run with and without pseudonyms, and all that they leave and say is searched for it.
//!
//! Each job is a process of its own, so that its standard error is whole: this test binary, asked for this test alone.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::Write as _;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};
use tilefleet::config::{Overrides, Pipeline};
use tilefleet::formats::cog_writer::{self, Band, Colours, Image, Reduce};
use tilefleet::observe::{LogFormat, init_logging, stderr};
use tilefleet::runtime::cache_dir;
use tilefleet::stages::worker::Job as Worker;
use tilefleet::vocabulary::error::Result;
use tilefleet::vocabulary::geometry::Size;

use crate::devices::{Habits, attempt_by};
use crate::fixture::{Row, jpeg, png, rows, small_model};
use crate::support::s3_server::block_on;
use crate::support::{Fault, FaultProxy, Rule};

/// What must not be seen. No other text of a run has it.
const PLANTED: &str = "Quimby";
/// As it stands in folders, files, columns and items.
const PATIENT: &str = "Quimby_Zoe";
/// Set for the process of one job: the folder that it works in, and whether its names are secret.
const JOB: [&str; 2] = ["TILEFLEET_TEST_IDENTITY", "TILEFLEET_TEST_IDENTITY_SECRET"];
/// What one job is worked on in, below its folder.
const PIPELINE: &str = "studies.toml";

// ---------------------------------------------------------------------------------------------------------------
// The process of one job

/// Plans, runs, runs again, and ends with the exit code that the command would have.
fn work(folder: &Path, secret: bool) -> ! {
    stderr::set_format(if secret { LogFormat::Json } else { LogFormat::Text });
    init_logging(3);
    let code = match plan_and_run(folder, secret) {
        Ok(()) => 0,
        Err(error) => {
            stderr::say_error(&error);
            error.kind().exit_code()
        }
    };
    std::process::exit(code.into());
}

fn plan_and_run(folder: &Path, secret: bool) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let worker = open(folder, secret)?;
    print(&runtime.block_on(worker.preview())?);
    for _ in 0..2 {
        let worker = open(folder, secret)?;
        let report = attempt_by(worker, 4, &[&[Habits::default()]]).result?;
        print(&report);
        open(folder, secret)?.check_rejects(&report)?;
    }
    Ok(())
}

fn open(folder: &Path, secret: bool) -> Result<Worker> {
    let place = |name: &str| folder.join(name).display().to_string();
    fs::write(place("key"), "a key of the hospital").unwrap();
    let privacy = || {
        vec![
            "privacy.policy=pseudonyms".to_owned(),
            format!("privacy.key_file={}", place("key")),
            format!("privacy.vault={}", place("vault")),
        ]
    };
    let set = if secret { privacy() } else { Vec::new() };
    let overrides = Overrides { set, ..Overrides::default() };
    block_on(Worker::open(&Pipeline::load(Some(&folder.join(PIPELINE)), &overrides)?))
}

fn print(value: &impl serde::Serialize) {
    let json = serde_json::to_string_pretty(value).unwrap();
    std::io::stdout().write_all(json.as_bytes()).unwrap();
}

// ---------------------------------------------------------------------------------------------------------------
// What it leaves and says

/// Where the planted name may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// A column of the table, or of the plan.
    Rows,
    /// The table of sources.
    Sources,
    /// The metadata of a Parquet file.
    Metadata,
    /// The bytes of any object.
    Bytes,
    /// The name of an object.
    Key,
    /// `run.json`.
    Record,
    /// Reports as JSON.
    Stdout,
    /// Logs of every level, and errors.
    Stderr,
}

/// A job that has ended.
struct Ended {
    folder: tempfile::TempDir,
    output: Output,
}

impl Ended {
    fn table(&self) -> PathBuf {
        self.folder.path().join("table")
    }

    fn rows(&self) -> Vec<Row> {
        rows(&self.table())
    }

    /// Returns all places where the planted name is seen.
    fn seen(&self) -> BTreeSet<Place> {
        let mut seen = BTreeSet::new();
        let mut see = |place, text: &[u8]| {
            if holds_name(text) {
                seen.insert(place);
            }
        };
        see(Place::Stdout, &self.output.stdout);
        see(Place::Stderr, &self.output.stderr);
        for path in files(&self.table()) {
            let bytes = fs::read(&path).unwrap();
            see(Place::Bytes, &bytes);
            see(Place::Key, path.strip_prefix(self.folder.path()).unwrap().as_os_str().as_encoded_bytes());
            if path.ends_with("run.json") {
                see(Place::Record, &bytes);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                let place = if path.ends_with("sources.parquet") { Place::Sources } else { Place::Rows };
                let (table, metadata) = texts(&path);
                see(place, table.as_bytes());
                see(Place::Metadata, metadata.as_bytes());
            }
        }
        seen
    }

    fn said(&self) -> String {
        let Output { stdout, stderr, .. } = &self.output;
        format!("{}\n{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
    }

    /// Returns the lines that hold the planted name.
    fn lines(&self) -> Vec<String> {
        self.said().lines().filter(|line| holds_name(line.as_bytes())).map(str::to_owned).collect()
    }
}

fn holds_name(text: &[u8]) -> bool {
    text.windows(PLANTED.len()).any(|part| part.eq_ignore_ascii_case(PLANTED.as_bytes()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// Returns all values of a Parquet file, and all its metadata.
fn texts(path: &Path) -> (String, String) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let metadata = format!("{:?} {:?}", reader.schema(), reader.metadata().file_metadata());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    (arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string(), metadata)
}

// ---------------------------------------------------------------------------------------------------------------
// Jobs

/// One job, made anew for each naming.
struct Canary {
    folder: tempfile::TempDir,
    /// Serves what lies in the folder.
    web: FaultProxy,
}

impl Canary {
    /// Makes good and bad images of one patient.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join(PATIENT);
        fs::create_dir(&images).unwrap();
        let write = |name: &str, bytes: &[u8]| {
            fs::write(images.join(format!("{PATIENT}-{name}")), bytes).unwrap();
        };
        (0..3).for_each(|number| write(&format!("{number}.jpg"), &jpeg(number)));
        write("renamed.jpg", &png(4, false));
        write("cut.jpg", &jpeg(5)[..700]);
        write("deep.png", &png(6, true));
        write("empty.png", b"");
        write("text.png", format!("{PATIENT} was not here").as_bytes());
        write("chart.json", b"{}");
        let web = FaultProxy::before_folder(folder.path());
        let mut canary = Self { folder, web };
        canary.settle("uris", &json!([images]), "");
        canary
    }

    fn images(&self) -> PathBuf {
        self.folder.path().join(PATIENT)
    }

    fn url(&self, name: &str) -> String {
        format!("{}/{PATIENT}/{PATIENT}-{name}", self.web.endpoint())
    }

    /// Writes the pipeline.
    fn settle(&mut self, input: &str, value: &Value, settings: &str) {
        let text = format!(
            "[input]\n{input} = {value}\n[model]\nfile = \"{}\"\n[output]\nuri = \"table\"\n[limits]\n\
             max_reject_ratio = 1.0\nunreadable_tries = 1\nunreadable_runs = 1\nunreadable_others = 1\n[storage]\n\
             max_retries = 1\nretry_timeout = \"1s\"\nallow_http = true\n{settings}\n",
            small_model().display()
        );
        fs::write(self.folder.path().join(PIPELINE), text).unwrap();
    }

    /// Makes these lines, below a header, the manifest.
    fn list(&mut self, header: &str, lines: impl IntoIterator<Item = String>) {
        let path = self.folder.path().join(format!("{PATIENT}.csv"));
        let lines: Vec<String> = std::iter::once(header.to_owned()).chain(lines).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        self.settle("manifest", &json!(path), "");
    }

    /// Makes a search of this archive the input.
    fn search(&mut self, api: &str) {
        let settings = "[tiles]\ngrid = \"regular\"\naoi = \"9.5,53.3,10.4,53.8\"\nbands = [1, 2, 3]";
        self.settle("stac", &json!({}), settings);
        let path = self.folder.path().join(PIPELINE);
        let text = fs::read_to_string(&path).unwrap();
        let stac = format!("[input.stac]\napi = \"{api}\"\ncollections = [\"{PATIENT}\"]\n");
        fs::write(&path, text.replace("stac = {}\n", &stac)).unwrap();
    }

    fn run(self, secret: bool) -> Ended {
        let Self { folder, web } = self;
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["identity::no_name_is_seen", "--exact", "--nocapture"]).env_clear();
        command.env(JOB[0], folder.path()).env(JOB[1], secret.to_string());
        command.env("HOME", "/nonexistent").env("TILEFLEET_CACHE", cache_dir().unwrap());
        // Other crates too: whoever looks for a fault asks for all there is.
        command.env("TILEFLEET_LOG", "trace");
        let output = command.output().unwrap();
        drop(web);
        Ended { folder, output }
    }
}

/// Local files, in a folder.
fn folder() -> Canary {
    Canary::new()
}

/// Local files and a web server, in a manifest with a column beside the URIs.
fn manifest() -> Canary {
    let mut canary = Canary::new();
    for (name, fault) in [
        ("forbidden", Fault::Status(403)),
        ("failing", Fault::Status(500)),
        ("broken", Fault::BreakOff),
        ("silent", Fault::Hangup),
        ("moved", Fault::Redirect(format!("https://{PLANTED}.example/{PATIENT}"))),
    ] {
        fs::copy(
            canary.images().join(format!("{PATIENT}-0.jpg")),
            canary.images().join(format!("{PATIENT}-{name}")),
        )
        .unwrap();
        canary.web.add(Rule::new(fault).on_key(name));
    }
    let images = fs::read_dir(canary.images()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: Vec<String> = images.map(|name| name.into_string().unwrap()).collect();
    let local = names.iter().map(|name| format!("{PATIENT}/{name}"));
    let remote = names.iter().map(|name| canary.url(name.strip_prefix(&format!("{PATIENT}-")).unwrap()));
    let gone = [format!("{PATIENT}/{PATIENT}-gone.jpg"), canary.url("gone.jpg")];
    let lines: Vec<String> =
        local.chain(remote).chain(gone).map(|uri| format!("{uri},{PATIENT},7")).collect();
    canary.list(&format!("uri,{PATIENT}_note,count"), lines);
    canary
}

/// STAC items and scenes, good and bad.
fn items() -> Canary {
    let mut canary = Canary::new();
    let band = |name: &str| Band { description: name.to_owned(), scale: None };
    let image = Image {
        size: Size { width: 128, height: 128 },
        bands: ["red", "green", "blue"].map(band).to_vec(),
        samples: (0..128 * 128 * 3).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        nodata: None,
        reduce: Reduce::Mean,
        colours: Colours::Values,
        place: None,
        notes: Vec::new(),
    };
    let scene = cog_writer::encode(&image).unwrap();
    fs::write(canary.images().join(format!("{PATIENT}.tif")), &scene).unwrap();
    fs::write(canary.images().join(format!("{PATIENT}-cut.tif")), &scene[..scene.len() / 2]).unwrap();
    fs::write(canary.images().join(format!("{PATIENT}-head.tif")), &scene[..12]).unwrap();
    let item = |name: &str, href: &str| {
        let item = json!({
            "type": "Feature", "stac_version": "1.0.0", "id": format!("{PATIENT}-{name}"), "links": [],
            "geometry": null, "properties": {"datetime": "2024-05-01T10:00:00Z", "title": PATIENT},
            "assets": {"scan": {"href": href, "type": "image/tiff", "title": PATIENT}},
        });
        fs::write(canary.images().join(format!("{PATIENT}-{name}-item.json")), item.to_string()).unwrap();
    };
    for name in ["", "-cut", "-head", "-gone"] {
        item(&format!("of{name}"), &format!("./{PATIENT}{name}.tif"));
    }
    item("elsewhere", &format!("ftp://{PATIENT}.example/{PATIENT}.tif"));
    fs::write(
        canary.images().join(format!("{PATIENT}-mad-item.json")),
        format!("{{\"stac_version\": \"1.0.0\", \"type\": \"Feature\", \"id\": \"{PATIENT}\", \"{PATIENT}\": nope}}"),
    )
    .unwrap();
    let bands = ["scan/1", "scan/2", "scan/3"];
    let pattern = format!("{}/*-item.json", canary.images().display());
    let settings = format!("[tiles]\ngrid = \"regular\"\nbands = {}", json!(bands));
    canary.settle("uris", &json!([pattern]), &settings);
    canary
}

/// A folder that is not there.
fn no_folder() -> Canary {
    let mut canary = Canary::new();
    let absent = canary.images().join(format!("{PATIENT}-absent/"));
    canary.settle("uris", &json!([absent]), "");
    canary
}

/// A pattern that is none.
fn no_pattern() -> Canary {
    let mut canary = Canary::new();
    let pattern = format!("{}/[{PATIENT}", canary.images().display());
    canary.settle("uris", &json!([pattern]), "");
    canary
}

/// A manifest whose row names nothing that can be read.
fn no_uri() -> Canary {
    let mut canary = Canary::new();
    canary.list("uri", [format!("ftp://host/{PATIENT}.jpg")]);
    canary
}

/// A manifest that is damaged.
fn no_manifest() -> Canary {
    let mut canary = Canary::new();
    canary.list("uri,patient", [format!("{PATIENT}.jpg,{PATIENT},\"{PATIENT}")]);
    canary
}

/// A manifest without a column `uri`.
fn no_header() -> Canary {
    let mut canary = Canary::new();
    canary.list(&format!("path,{PATIENT}_note"), [format!("{PATIENT}.jpg,7")]);
    canary
}

/// A web server that nobody reaches.
fn no_server() -> Canary {
    let mut canary = Canary::new();
    canary.web.add(Rule::new(Fault::Status(503)));
    let urls: Vec<String> = (0..40).map(|number| canary.url(&number.to_string())).collect();
    canary.list("uri", urls);
    canary
}

/// An archive that is no STAC API.
fn no_api() -> Canary {
    let mut canary = Canary::new();
    let api = format!("{}/{PATIENT}/{PATIENT}-chart.json", canary.web.endpoint());
    canary.search(&api);
    canary
}

/// An archive whose address is not that of a web server.
fn no_address() -> Canary {
    let mut canary = Canary::new();
    canary.search(&format!("s3://{PATIENT}/api"));
    canary
}

/// What became of a job's tiles, without what names them.
fn outcomes(rows: &[Row]) -> BTreeMap<(String, Option<String>), usize> {
    let mut outcomes = BTreeMap::new();
    for row in rows {
        *outcomes.entry((row.status.clone(), row.reason.clone())).or_default() += 1;
    }
    outcomes
}

/// A job's name, how it is made, the exit code of its run, and where its plain run shows the name.
type PlantedJob<'a> = (&'a str, fn() -> Canary, i32, &'a [Place]);

#[test]
fn no_name_is_seen() {
    use Place::{Bytes, Metadata, Record, Rows, Sources, Stderr};
    if let [Some(folder), Some(secret)] = JOB.map(env::var_os) {
        work(Path::new(&folder), secret == "true");
    }
    // With plain URIs the name is seen everywhere: so each search finds what it is to find.
    let everywhere: &[Place] = &[Rows, Sources, Bytes, Record, Stderr];
    let with_columns: &[Place] = &[Rows, Sources, Metadata, Bytes, Record, Stderr];
    let jobs: [PlantedJob<'_>; 11] = [
        ("folder", folder, 0, everywhere),
        ("manifest", manifest, 0, with_columns),
        ("items", items, 0, everywhere),
        ("no folder", no_folder, 78, &[Stderr]),
        ("no pattern", no_pattern, 78, &[Stderr]),
        ("no uri", no_uri, 78, &[Stderr]),
        ("no manifest", no_manifest, 78, &[Stderr]),
        ("no header", no_header, 78, &[Stderr]),
        ("no server", no_server, 75, &[Stderr]),
        ("no API", no_api, 78, &[Stderr]),
        ("no address", no_address, 78, &[Stderr]),
    ];
    let judge = |(name, make, code, expected): PlantedJob<'_>| {
        let plain = make().run(false);
        assert_eq!(plain.output.status.code(), Some(code), "{name}: {}", plain.said());
        assert_eq!(plain.seen(), expected.iter().copied().collect(), "{name}: {}", plain.said());
        let secret = make().run(true);
        assert_eq!(secret.output.status.code(), Some(code), "{name}: {}", secret.said());
        assert_eq!(secret.seen(), BTreeSet::new(), "{name}: {:#?}", secret.lines());
        check_rows(name, &plain.rows(), &secret.rows());
        let vault = files(&secret.folder.path().join("vault"));
        let keeps = vault.iter().any(|path| path.ends_with("sources.parquet"));
        assert_eq!(keeps, code == 0, "{name}: {vault:?}");
    };
    let failed = jobs.map(|job| catch_unwind(|| judge(job)).is_err().then_some(job.0));
    assert_eq!(failed.into_iter().flatten().collect::<Vec<_>>(), [""; 0], "what of them is said above");
}

/// The same becomes of all tiles; their names and ids are others, and one to one.
fn check_rows(job: &str, plain: &[Row], secret: &[Row]) {
    assert_eq!(outcomes(plain), outcomes(secret), "{job}");
    let sources = |rows: &[Row]| rows.iter().map(|row| row.source.clone()).collect::<BTreeSet<_>>();
    let ids = |rows: &[Row]| rows.iter().map(|row| row.tile_id.clone()).collect::<BTreeSet<_>>();
    for (before, after) in [(sources(plain), sources(secret)), (ids(plain), ids(secret))] {
        assert_eq!(before.len(), after.len(), "{job}");
        assert!(before.is_disjoint(&after), "{job}");
    }
    assert!(secret.iter().all(|row| row.source.len() == 32), "{job}: {secret:?}");
}
