//! DICOM objects from end to end: runs, chips, ranges, buckets as they are, bad input.
//!
//! `scripts/oracles/dicom_run_oracle.py` makes the objects, says what pydicom says of them, and compares chips. Values of
//! every syntax are compared in `crates/dicom`; names in objects are searched for in `canary.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::fixture::{Job, Row, assert_exit, model, rows, small_model, stderr};
use crate::support;
use crate::support::fault_proxy::FaultProxy;
use crate::support::s3_server::S3Server;

const FRAMES: &str =
    "[privacy]\npolicy = \"none\"\n[limits]\nmax_reject_ratio = 1.0\n[tiles]\ngrid = \"frames\"\n";
/// What chosen frames may take: a tenth more than they are, and the header, which planning and fetching read.
fn allowed_bytes(chosen: u64) -> u64 {
    chosen * 11 / 10 + (64 << 10)
}

/// A job whose tiles are frames.
fn job() -> Job {
    Job::new(0, FRAMES)
}

fn run(job: &Job, input: &Path, more: &[&str]) -> Value {
    let input = ["--input", input.to_str().unwrap(), "--json"];
    serde_json::from_str(&job.run_ok(&[&input, more].concat())).unwrap()
}

fn oracle(words: &[&str]) -> Option<String> {
    let python = support::python()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/dicom_run_oracle.py");
    Some(support::stdout_of(Command::new(python).arg(script).args(words)))
}

/// Has the oracle make objects in a folder of the job.
fn made(job: &Job, kind: &str) -> Option<PathBuf> {
    let folder = job.path(kind);
    fs::create_dir(&folder).unwrap();
    oracle(&["make", kind, folder.to_str().unwrap()])?;
    Some(folder)
}

fn dicom() -> Option<PathBuf> {
    support::test_data().map(|data| data.join("medical/dicom"))
}

fn query(table: &Path, sql: &str) -> Vec<Value> {
    let mut command = support::tilefleet();
    command.arg("query").arg(table).args([sql, "--json"]);
    serde_json::from_str(&support::stdout_of(&mut command)).unwrap()
}

fn file_of(row: &Value) -> String {
    row["source"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

/// Why each file has no prediction, or `ok`: one entry per frame, in their order.
fn reasons(table: &Path) -> BTreeMap<String, Vec<String>> {
    let mut reasons = BTreeMap::<_, Vec<String>>::new();
    let sql = "SELECT source, coalesce(reason, status) AS reason FROM tiles ORDER BY source, frame";
    for row in query(table, sql) {
        reasons.entry(file_of(&row)).or_default().push(row["reason"].as_str().unwrap().to_owned());
    }
    reasons
}

/// The row of a file that was rejected.
fn rejected(table: &Path, file: &str) -> Row {
    let found = rows(table).into_iter().find(|row| row.file() == file);
    found.filter(|row| row.status == "rejected").unwrap_or_else(|| panic!("{file} was not rejected"))
}

/// All columns that an object speaks of.
const SAID: &str = "source, frame, status, reason, width, height, modality, sop_class, transfer_syntax, photometric, \
                    bits_stored, pixel_spacing, orientation, slice_position, laterality, view_position, patient_key, \
                    study_key, series_key, instance_key, arrow_cast(study_date, 'Int32') AS study_date";

#[test]
fn rows_say_what_pydicom_says() {
    let Some(folder) = dicom() else { return };
    let Some(said) = oracle(&["expected", folder.to_str().unwrap()]) else { return };
    let expected: Vec<Value> = serde_json::from_str(&said).unwrap();
    let job = job();
    let report = run(&job, &folder, &[]);
    let num_images = expected.iter().filter(|file| file["reason"].is_null()).count();
    // A licence lies beside the objects: its name says what it is.
    assert_eq!((expected.len(), num_images), (67, 64));
    let num_frames: usize = expected.iter().map(|file| file["rows"].as_array().unwrap().len()).sum();
    let summary = &report["summary"];
    assert_eq!((&summary["tiles"], &summary["ok"]), (&(num_frames + 2).into(), &num_frames.into()));
    assert_eq!((&summary["sources"], &summary["reasons"]), (&66.into(), &json!({ "not_image": 2 })));
    job.verify_ok();
    assert_eq!(run(&job, &folder, &[])["nothing_new"], true);
    assert_table(&job.table(), expected.iter().filter(|file| file["reason"] != "not_an_image"));
}

/// Compares the rows of a table, file by file.
fn assert_table<'a>(table: &Path, expected: impl Iterator<Item = &'a Value>) {
    let mut found = BTreeMap::new();
    for row in query(table, &format!("SELECT {SAID} FROM tiles ORDER BY source, frame")) {
        found.entry(file_of(&row)).or_insert_with(Vec::new).push(row);
    }
    expected.for_each(|file| assert_rows(&found[file["file"].as_str().unwrap()], file));
}

/// Compares what is read of a folder of objects with what pydicom reads: all rows, and all stored values.
///
/// - `cut`: the file that has not all of its pixels; pydicom gives its header, and is not asked for more
/// - returns: number of frames compared
pub fn compare_with_pydicom(folder: &Path, cut: &str) -> Option<usize> {
    let expected: Vec<Value> = serde_json::from_str(&oracle(&["expected", folder.to_str()?])?).unwrap();
    let expected: Vec<&Value> = expected.iter().filter(|file| file["file"] != cut).collect();
    let job = job();
    run(&job, folder, &[]);
    assert_table(&job.table(), expected.into_iter());
    let mut chips = Chips::new();
    for row in query(&job.table(), "SELECT source, frame FROM tiles WHERE status = 'ok' ORDER BY 1, 2") {
        let source = row["source"].as_str().unwrap().strip_prefix("file://").unwrap();
        chips.take(Path::new(source), row["frame"].as_u64().unwrap() as u32, "stored", &[], json!({}));
    }
    chips.compare()?;
    Some(chips.entries.len())
}

/// Compares the rows of one file.
fn assert_rows(found: &[Value], expected: &Value) {
    let (file, rows) = (&expected["file"], expected["rows"].as_array().unwrap());
    if !expected["reason"].is_null() {
        assert_eq!((found.len(), &found[0]["reason"]), (1, &expected["reason"]), "{file}");
        return;
    }
    assert_eq!(found.len(), rows.len(), "{file}");
    for (found, expected) in found.iter().zip(rows) {
        assert_eq!(found["status"], "ok", "{found}");
        for (column, expected) in expected.as_object().unwrap() {
            let is_same = same(&found[column], expected);
            assert!(is_same, "{file}: {column} is {}, expected {expected}", found[column]);
        }
    }
}

/// Sums of products are rounded differently.
fn same(found: &Value, expected: &Value) -> bool {
    match (found.as_f64(), expected.as_f64()) {
        (Some(found), Some(expected)) => (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
        _ => match (found.as_array(), expected.as_array()) {
            (Some(found), Some(expected)) => {
                found.len() == expected.len()
                    && found.iter().zip(expected).all(|(found, expected)| same(found, expected))
            }
            _ => found == expected,
        },
    }
}

/// Nobody decides on one slice: what a query says of a study is the mean of its frames.
#[test]
fn a_study_is_the_mean_of_its_frames() {
    let Some(folder) = dicom() else { return };
    let job = job();
    run(&job, &folder.join("highdicom/sm_image.dcm"), &[]);
    let rows = rows(&job.table());
    let sum = |at: usize| rows.iter().map(|row| f64::from(row.embedding.as_ref().unwrap()[at])).sum::<f64>();
    for key in ["patient_key", "study_key", "series_key", "instance_key"] {
        let sql =
            format!("SELECT {key}, count(*) AS num, mean_embedding(embedding) AS mean FROM tiles GROUP BY 1");
        let found = query(&job.table(), &sql);
        assert_eq!((found.len(), &found[0]["num"]), (1, &rows.len().into()), "{key}");
        let mean = found[0]["mean"].as_array().unwrap();
        assert!(rows.len() > 20 && mean.len() == 512 && found[0][key].is_string(), "{key}");
        for (at, mean) in mean.iter().enumerate() {
            let away = mean.as_f64().unwrap() - sum(at) / rows.len() as f64;
            assert!(away.abs() < 1e-5, "{key}: number {at} is {away} away");
        }
    }
}

/// Lossless syntaxes hold the pixels of the uncompressed objects.
#[test]
fn lossless_syntaxes_give_the_embeddings_of_uncompressed_objects() {
    let Some(folder) = dicom() else { return };
    let job = job();
    let report = run(&job, &folder.join("WG04"), &[]);
    assert_eq!(report["summary"]["ok"], report["summary"]["tiles"]);
    let embeddings: BTreeMap<String, Option<Vec<f32>>> =
        rows(&job.table()).into_iter().map(|row| (row.file().to_owned(), row.embedding)).collect();
    let mut num_equal = BTreeMap::<&str, usize>::new();
    for (file, embedding) in &embeddings {
        let (image, syntax) = file.split_once('_').unwrap();
        if ["RLE", "J2KR", "JPLL", "JLSL"].contains(&syntax) {
            assert!(embedding.is_some() && *embedding == embeddings[&format!("{image}_UNC")], "{file}");
            *num_equal.entry(syntax).or_default() += 1;
        }
    }
    let expected = BTreeMap::from([("J2KR", 9), ("JLSL", 6), ("JPLL", 6), ("RLE", 9)]);
    assert_eq!(num_equal, expected);
    // What was compressed with loss is not the same, so that the comparison means something.
    assert_ne!(embeddings["CT1_J2KI"], embeddings["CT1_UNC"]);
}

fn chip(source: &Path, out: &Path, words: &[&str]) -> Output {
    let mut command = support::tilefleet();
    command.arg("chip").arg(source).arg("--out").arg(out).args(words);
    command.args(["--set", "tiles.grid=frames"]).output().unwrap()
}

/// Takes chips, and has the oracle compare them.
struct Chips {
    folder: tempfile::TempDir,
    entries: Vec<Value>,
}

impl Chips {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), entries: Vec::new() }
    }

    /// - `more`: what the oracle has to know besides
    fn take(&mut self, source: &Path, frame: u32, stage: &str, words: &[&str], more: Value) {
        let out = self.folder.path().join(format!("{}.npy", self.entries.len()));
        let number = frame.to_string();
        let output = chip(source, &out, &[&["--frame", &number, "--stage", stage], words].concat());
        assert_exit(&output, 0);
        let mut entry = json!({ "path": source, "frame": frame, "stage": stage, "chip": out });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.entries.push(entry);
    }

    fn compare(&self) -> Option<()> {
        let list = self.folder.path().join("chips.json");
        fs::write(&list, serde_json::to_vec(&self.entries).unwrap()).unwrap();
        let said = oracle(&["compare", list.to_str().unwrap()])?;
        assert_eq!(said.trim(), self.entries.len().to_string());
        Some(())
    }
}

#[test]
fn chips_are_the_values_of_pydicom() {
    let (job, Some(data)) = (job(), dicom()) else { return };
    let Some(folder) = made(&job, "looks") else { return };
    let mut chips = Chips::new();
    let made = ["plain", "inverse", "implicit", "window", "palette"];
    let real = ["WG04/REF/CT1_UNC", "WG04/J2KR/MR1_J2KR", "WG04/RLE/US1_RLE", "highdicom/dx_image.dcm"];
    let single = made.iter().map(|name| folder.join(format!("{name}.dcm")));
    for source in single.chain(real.iter().map(|name| data.join(name))) {
        let has_modality = !source.ends_with("palette.dcm") && !source.ends_with("US1_RLE");
        let stages = ["stored", "display", "modality"];
        for stage in stages.into_iter().take(if has_modality { 3 } else { 2 }) {
            chips.take(&source, 0, stage, &[], json!({}));
        }
    }
    for (name, frames) in [("frames", &[0, 3, 4][..]), ("big", &[0, 1]), ("deflated", &[0, 39])] {
        for frame in frames {
            for stage in ["stored", "modality", "display"] {
                chips.take(&folder.join(format!("{name}.dcm")), *frame, stage, &[], json!({}));
            }
        }
    }
    chips.compare();
    let out = job.path("none.npy");
    let beyond = chip(&folder.join("frames.dcm"), &out, &["--frame", "5"]);
    assert!(!beyond.status.success() && !out.exists(), "{}", stderr(&beyond));
}

fn grey_model() -> PathBuf {
    let arguments =
        ["--arch", "resnet18", "--classes", "10", "--channels", "1", "--size", "64", "--unit", "dn"];
    model("grey", &arguments)
}

/// What the model gets is what NumPy makes of pydicom's values, preset by preset.
#[test]
fn presets_are_what_the_model_gets() {
    let job = job();
    let Some(folder) = made(&job, "presets") else { return };
    let (ct, mammogram) = (folder.join("ct.dcm"), folder.join("mammogram.dcm"));
    let bytes = ["--model", small_contract(&job)].map(str::to_owned);
    let grey = grey_model();
    let floats = ["--model".to_owned(), grey.with_extension("contract.toml").to_str().unwrap().to_owned()];
    let mut chips = Chips::new();
    let mut take = |source: &Path, frame, model: &[String; 2], preset: &str, windows: &str| {
        let settings = [format!("dicom.preset={preset}"), format!("dicom.window={windows}")];
        let [preset_words, window_words] = &settings;
        let words: Vec<&str> = vec![&model[0], &model[1], "--set", preset_words, "--set", window_words];
        let numbers: Vec<f64> = serde_json::from_str(windows).unwrap();
        let pairs: Vec<[f64; 2]> = numbers.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        let num_bands = if model[1].contains("grey") { 1 } else { 3 };
        let more = json!({ "preset": preset, "windows": pairs, "bands": num_bands });
        chips.take(source, frame, "input", &words, more);
    };
    for frame in 0..2 {
        for preset in ["display", "minmax"] {
            take(&ct, frame, &bytes, preset, "[]");
        }
        take(&ct, frame, &bytes, "ct-window", "[40, 400]");
        take(&ct, frame, &bytes, "ct-window", "[-600, 1500, 40, 400, 400.5, 1800]");
        take(&ct, frame, &floats, "modality", "[]");
    }
    for preset in ["display", "minmax"] {
        take(&mammogram, 0, &bytes, preset, "[]");
    }
    take(&mammogram, 0, &floats, "xray-raw", "[]");
    chips.compare();
}

/// The contract of a model that takes 64 × 64 pixels as they are.
fn small_contract(job: &Job) -> &'static str {
    let text = fs::read_to_string(small_model().with_extension("contract.toml")).unwrap();
    let path = job.path("unscaled.toml");
    assert!(text.contains("short_side = 72"), "{text}");
    fs::write(&path, text.replace("short_side = 72", "short_side = 64")).unwrap();
    String::leak(path.to_str().unwrap().to_owned())
}

/// A preset is for images and models that it suits, and a row says which it was.
#[test]
fn presets_that_do_not_suit_are_rejected_with_a_reason() {
    let job = job();
    let Some(folder) = made(&job, "looks") else { return };
    let preset = |preset: &str, more: &[&str]| {
        let output = job.path(&format!("table-{preset}"));
        let words = ["--set", &format!("dicom.preset={preset}"), "--output", output.to_str().unwrap()];
        run(&job, &folder, &[&words, more].concat());
        reasons(&output)
    };
    let grey = grey_model();
    let model = ["--model", grey.to_str().unwrap()];
    let display = preset("display", &model);
    assert_eq!(display["palette.dcm"], ["bands_mismatch"], "{display:?}");
    run(&job, &folder, &["--set", "dicom.preset=ct-window", "--set", "dicom.window=[40, 400]"]);
    let presets = query(&job.table(), "SELECT DISTINCT preset FROM tiles");
    assert_eq!(presets, [json!({ "preset": "ct-window" })]);
    let refused = [
        (&["dicom.preset=ct-window"][..], "dicom.window"),
        (&["dicom.preset=ct-window", "dicom.window=[40, 400, 1]"], "dicom.window"),
        (&["dicom.preset=ct-window", "dicom.window=[40, 0]"], "dicom.window"),
        (&["dicom.preset=bone"], "dicom.preset"),
        // The model takes 8 bits as a display shows them.
        (&["dicom.preset=modality"], "dicom.preset"),
        (&["dicom.preset=xray-raw"], "dicom.preset"),
        (&["tiles.frames=first"], "tiles.frames"),
    ];
    for (settings, named) in refused {
        let words: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
        let output = job.run(&[&["--input", folder.to_str().unwrap()], &words[..]].concat());
        assert_exit(&output, 78);
        assert!(stderr(&output).contains(named), "{settings:?}: {}", stderr(&output));
    }
}

/// Returns which frames are rows, with their status.
fn frames(job: &Job, output: &str) -> Vec<(i64, String)> {
    let found = query(&job.path(output), "SELECT frame, status FROM tiles ORDER BY frame");
    let row = |row: &Value| (row["frame"].as_i64().unwrap(), row["status"].as_str().unwrap().to_owned());
    found.iter().map(row).collect()
}

#[test]
fn some_frames_are_tiles() {
    let job = job();
    let object = job.path("ten.dcm");
    if oracle(&["make", "frames", object.to_str().unwrap(), "10"]).is_none() {
        return;
    }
    let chosen = [
        ("all", (0..10).collect::<Vec<_>>()),
        ("middle", vec![5]),
        ("every:3", vec![0, 3, 6, 9]),
        ("[9, 2, 40, 2]", vec![2, 9]),
    ];
    let mut embeddings = Vec::new();
    for (number, (frames_of, expected)) in chosen.into_iter().enumerate() {
        let output = format!("table-{number}");
        let setting = format!("tiles.frames={frames_of}");
        run(&job, &object, &["--set", &setting, "--output", job.path(&output).to_str().unwrap()]);
        let expected: Vec<_> = expected.into_iter().map(|frame| (frame, "ok".to_owned())).collect();
        assert_eq!(frames(&job, &output), expected, "{frames_of}");
        let of_row = |row: Row| (row.tile_id, row.embedding.unwrap());
        embeddings.push(rows(&job.path(&output)).into_iter().map(of_row).collect::<BTreeMap<_, _>>());
    }
    // The same frame is the same tile, whoever asks for it.
    let all = embeddings.remove(0);
    assert!(embeddings.iter().flatten().all(|(tile, embedding)| all[tile] == *embedding));
    let output = job.path("table-beyond");
    let report =
        run(&job, &object, &["--set", "tiles.frames=[10, 11]", "--output", output.to_str().unwrap()]);
    assert_eq!(report["summary"]["reasons"], json!({ "outside_image": 1 }));
    assert!(rejected(&output, "ten.dcm").detail.unwrap().contains("it has 10 frames"));
}

/// One object on the S3 server, behind a proxy that counts; what a run asks of it.
struct Remote {
    server: S3Server,
    job: Job,
}

/// What a run fetched of an object.
#[derive(Debug)]
struct Fetched {
    /// By all requests, those of planning too.
    bytes: u64,
    requests: usize,
    /// The process's largest resident set.
    peak_kib: u64,
}

impl Remote {
    fn new() -> Option<Self> {
        let remote = Self { server: support::seaweedfs()?, job: job() };
        remote.server.create_bucket("archive");
        Some(remote)
    }

    fn put(&self, name: &str, path: &Path) {
        self.server.put("archive", name, fs::read(path).unwrap());
    }

    fn fetch(&self, name: &str, output: &str, more: &[&str]) -> Fetched {
        let proxy = FaultProxy::before_server(&self.server);
        let input = format!("s3://archive/{name}");
        let output = self.job.path(output);
        let words = ["--input", &input, "--json", "--output", output.to_str().unwrap()];
        let mut command = self.job.run_command(&[&words, more].concat());
        command.envs(S3Server::variables(&proxy.endpoint(), S3Server::OWNER));
        let (report, peak_kib) = peak_of(command);
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["summary"]["ok"], report["summary"]["tiles"], "{report}");
        let asked = proxy.ranges_of(name);
        let gets = proxy.requests().iter().filter(|line| *line == &format!("GET /archive/{name}")).count();
        assert_eq!(gets, asked.len(), "each request is for ranges");
        let bytes: u64 = asked.iter().sum();
        assert!(report["this_process"]["fetched_bytes"].as_u64().unwrap() <= bytes, "planning reads besides");
        Fetched { bytes, requests: asked.len(), peak_kib }
    }
}

/// Runs a command and returns its output, and its largest resident set by what the shell's `wait4` says.
fn peak_of(mut command: Command) -> (String, u64) {
    let time = "import resource, subprocess, sys\n\
                code = subprocess.call(sys.argv[1:])\n\
                print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n\
                sys.exit(code)";
    let python = support::python().expect("objects were made by it");
    let mut timed = Command::new(python);
    timed.args(["-c", time]).arg(command.get_program()).args(command.get_args()).env_clear();
    timed.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command = timed;
    let output = command.output().unwrap();
    assert_exit(&output, 0);
    let said = stderr(&output);
    let peak = said.lines().last().and_then(|line| line.parse().ok());
    (String::from_utf8(output.stdout).unwrap(), peak.unwrap_or_else(|| panic!("no peak in {said}")))
}

const FIVE: [&str; 2] = ["--set", "tiles.frames=[0, 10, 20, 30, 59]"];

/// Rows and columns of the large volume: 1024 makes 126 MB of it; with `TILEFLEET_DICOM_SIDE=2900` it has 1 GB.
fn side() -> u64 {
    std::env::var("TILEFLEET_DICOM_SIDE").map_or(1024, |side| side.parse().unwrap())
}

#[test]
fn five_frames_of_sixty_are_read_and_no_more() {
    let Some(remote) = Remote::new() else { return };
    let (volume, single) = (remote.job.path("volume.dcm"), remote.job.path("single.dcm"));
    let side_px = side().to_string();
    if oracle(&["make", "volume", volume.to_str().unwrap(), "60", &side_px]).is_none() {
        return;
    }
    oracle(&["make", "volume", single.to_str().unwrap(), "1", &side_px]).unwrap();
    remote.put("volume", &volume);
    remote.put("single", &single);
    let chosen = 5 * side().pow(2) * 2;
    let one = remote.fetch("single", "single", &[]);
    let five = remote.fetch("volume", "five", &FIVE);
    println!("{chosen} bytes of {}: {five:?}; a single frame: {one:?}", fs::metadata(&volume).unwrap().len());
    assert!(five.bytes <= allowed_bytes(chosen), "{five:?}");
    assert!(five.requests <= 5 + 3, "{five:?}");
    assert_eq!(frames(&remote.job, "five").len(), 5);
    // Most of a small job's memory is the model: the object must not come on top of it.
    let frames_kib = 4 * 3 * side().pow(2) * 2 / 1024;
    let allowed_kib = (one.peak_kib * 115 / 100).min(one.peak_kib + 12 * 1024) + frames_kib;
    assert!(five.peak_kib <= allowed_kib, "{} KiB, at most {allowed_kib} allowed", five.peak_kib);
}

/// Compressed frames lie wherever they lie: a table says where, or their items are walked by ranges, once for all shards.
#[test]
fn compressed_frames_are_found_with_a_table_and_without() {
    let Some(remote) = Remote::new() else { return };
    let folder = remote.job.path("encapsulated");
    fs::create_dir(&folder).unwrap();
    let words = ["make", "encapsulated", folder.to_str().unwrap(), "600", "180"];
    let Some(said) = oracle(&words) else { return };
    let frame_bytes: u64 = said.trim().parse().unwrap();
    assert!((60 << 10..70 << 10).contains(&frame_bytes));
    let chosen = 5 * frame_bytes;
    let mut embeddings = Vec::new();
    for (table, max_requests) in [("basic", 10), ("extended", 10), ("none", 10 + 600)] {
        let object = folder.join(format!("{table}.dcm"));
        let whole = fs::metadata(&object).unwrap().len();
        remote.put(table, &object);
        let words = ["--set", "tiles.frames=[0, 100, 200, 300, 599]", "--set", "plan.shard_tiles=1"];
        let fetched = remote.fetch(table, table, &words);
        println!("{table}: {chosen} bytes of {whole}: {fetched:?}");
        assert!(fetched.requests <= max_requests, "{table}: {fetched:?}");
        assert!(fetched.bytes <= allowed_bytes(chosen), "{table}: {fetched:?} of {whole}");
        let of_table: BTreeMap<_, _> =
            frames(&remote.job, table).into_iter().zip(rows_by_frame(&remote.job, table)).collect();
        embeddings.push(of_table);
    }
    assert!(embeddings.iter().all(|of_table| *of_table == embeddings[0] && of_table.len() == 5));
}

fn rows_by_frame(job: &Job, output: &str) -> Vec<Value> {
    query(&job.path(output), "SELECT embedding FROM tiles ORDER BY frame")
}

/// No extension, no preamble, sidecars, directories, a TIFF header in front; and other images.
#[test]
fn buckets_are_read_as_they_are() {
    let (job, Some(data)) = (job(), dicom()) else { return };
    let Some(folder) = made(&job, "bucket") else { return };
    fs::write(folder.join("photo.jpg"), crate::fixture::jpeg(1)).unwrap();
    for name in ["highdicom/sr_document.dcm", "highdicom/seg_image_ct_binary.dcm", "WG04/REF/CT1_UNC"] {
        fs::copy(data.join(name), folder.join(name.rsplit('/').next().unwrap())).unwrap();
    }
    let words = ["--input", folder.to_str().unwrap()];
    let output = job.run(&words);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("left out: 1 .head, 1 dicomdir"), "{}", stderr(&output));
    let found = reasons(&job.table());
    let ok = [
        "3f0c8a52-5c0b-4cf5-9a6b-0d6f5b1a7e11",
        "7d1be0b5.dcm",
        "CT1_UNC",
        "IM000001",
        "bare",
        "dual.tif",
        "older",
    ];
    let others = [
        ("film.dcm", "unsupported"),
        ("photo.jpg", "unsupported"),
        ("seg_image_ct_binary.dcm", "not_image"),
        ("sr_document.dcm", "not_image"),
    ];
    let expected: BTreeMap<String, Vec<String>> = (ok.iter().map(|name| (*name, "ok")))
        .chain(others)
        .map(|(name, reason)| (name.to_owned(), vec![reason.to_owned()]))
        .collect();
    assert_eq!(found, expected);
    let photo = rejected(&job.table(), "photo.jpg").detail.unwrap();
    assert!(photo.contains("tiles.grid = \"whole\""), "{photo}");
    job.verify_ok();
    // A name leads to a directory all the same: then it is said that it is no image.
    let directory = job.path("named");
    run(&job, &folder.join("DICOMDIR"), &["--output", directory.to_str().unwrap()]);
    assert_eq!(reasons(&directory)["DICOMDIR"], ["not_image"]);
}

/// Under another grid, and without `[privacy]`, objects are refused with what helps.
#[test]
fn dicom_is_read_as_frames_and_with_privacy_only() {
    let Some(data) = dicom() else { return };
    let object = data.join("WG04/REF/CT1_UNC");
    for grid in ["whole", "regular"] {
        let job = Job::new(0, "[limits]\nmax_reject_ratio = 1.0");
        run(&job, &object, &["--set", &format!("tiles.grid={grid}")]);
        let row = rejected(&job.table(), "CT1_UNC");
        let detail = row.detail.unwrap();
        assert_eq!(row.reason.as_deref(), Some("unsupported"), "{grid}: {detail}");
        assert!(detail.contains("[privacy]") && detail.contains("tiles.grid = \"frames\""), "{detail}");
    }
    let job = Job::new(0, "[tiles]\ngrid = \"frames\"");
    let output = job.run(&["--input", object.to_str().unwrap()]);
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("`privacy.policy`"), "{}", stderr(&output));
    assert!(!job.table().exists(), "nothing is written");
}

/// Bad objects are rows with a reason, and their neighbours are rows like any other.
#[test]
fn bad_objects_have_a_reason_each() {
    let job = job();
    let Some(folder) = made(&job, "broken") else { return };
    run(&job, &folder, &[]);
    job.verify_ok();
    let expected = [
        ("absurd-rle.dcm", "too_large", 1),
        // Its pixels have a length, which is too small.
        ("absurd.dcm", "truncated", 1),
        ("basic-outside.dcm", "truncated", 3),
        ("bits-40.dcm", "corrupt", 1),
        ("cut-in-header.dcm", "truncated", 1),
        ("deep.dcm", "corrupt", 1),
        ("empty.dcm", "empty", 1),
        ("extended-outside.dcm", "truncated", 3),
        ("fewer-frames.dcm", "truncated", 1),
        // Number of Frames of 0 is 1 by the pixels that are there.
        ("frames-0.dcm", "ok", 1),
        ("more-frames.dcm", "corrupt", 1),
        ("no-pixels.dcm", "not_image", 1),
        ("no-rows.dcm", "corrupt", 1),
        ("rle-fewer.dcm", "corrupt", 3),
        ("rows-0.dcm", "corrupt", 1),
        ("sound.dcm", "ok", 1),
        ("text.dcm", "truncated", 1),
    ];
    let mut expected: BTreeMap<String, Vec<String>> = (expected.into_iter())
        .map(|(file, reason, num)| (file.to_owned(), vec![reason.to_owned(); num]))
        .collect();
    // Frames before a cut are sound.
    expected.insert("cut-in-frame-1.dcm".to_owned(), vec!["ok".to_owned(), "truncated".to_owned()]);
    assert_eq!(reasons(&job.table()), expected);
    let has_detail = |row: &Row| row.status == "ok" || row.detail.as_ref().is_some_and(|it| !it.is_empty());
    assert!(rows(&job.table()).iter().all(has_detail));
}

/// What is asked of frames says nothing of how a scene is cut.
#[test]
fn a_scene_is_judged_as_one_whatever_is_asked_of_frames() {
    let job = job();
    let scene = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/earlier/bucket/scenes/placed.tif");
    let contract = job.path("dn.contract.toml");
    let text = "contract = 1\nname = \"dn\"\n[input]\ntensor = \"x\"\nlayout = \"nchw\"\nsample_type = \"float32\"\n\
                bands = [\"1\"]\nunit = \"dn\"\nwidth = 64\nheight = 64\n[output]\nembedding = \"e\"\n\
                embedding_length = 1\n";
    fs::write(&contract, text).unwrap();
    for grid in ["regular", "frames"] {
        let grid = format!("tiles.grid={grid}");
        let output = support::tilefleet()
            .args(["inspect", "--json", "--set", &grid, "--model"])
            .args([&contract, &scene])
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said[0]["grids"]["regular"]["status"], "ok", "{grid}: {said}");
        assert_eq!(said[0]["grids"]["frames"]["reason"], "unsupported", "{grid}: {said}");
    }
}
