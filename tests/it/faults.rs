//! The README of the test data's `faults`, run as one command: each file through the binary as a user would, and what
//! came of it beside what is right.
//!
//! `cargo test --test it faults -- --nocapture` prints the table. Samples are compared with those of GDAL and Pillow
//! (`scripts/oracles/faults_oracle.py`); the rest is what the README says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;

use crate::agree::{Case, Echo, Row, SIDE};
use crate::fixture::{self, Job, assert_exit, png, shown_columns, stderr};
use crate::support;

/// A file that failed once.
struct Fault {
    file: &'static str,
    /// What lies there for it to refer to.
    with: &'static [&'static str],
    /// The README's column of this name.
    right: &'static str,
    /// Compares what is seen with what is right, and says it in short.
    see: fn(&Faults, &str) -> String,
}

const fn fault(file: &'static str, right: &'static str, see: fn(&Faults, &str) -> String) -> Fault {
    Fault { file, with: &[], right, see }
}

const SAMPLES: &str = "the samples (GDAL, Pillow)";
const ONE_REJECT: &str = "one reject row, the run goes on";
const TEXT: &str = "kept as text";
const REFUSED: &str = "78";
const PILLOW: &str = "Pillow's pixels";

const FAULTS: &[Fault] = &[
    fault("tiff/scalenan.tif", ONE_REJECT, unconvertible),
    fault("tiff/nan_z_nocrs.tif", ONE_REJECT, misplaced),
    fault("tiff/scale0.tif", "reject", unconvertible),
    fault("tiff/one_count0.tif", SAMPLES, samples),
    fault("tiff/plain_one_count0.tif", SAMPLES, samples),
    fault("tiff/count_all_full.tif", "the samples (GDAL, Pillow, tifffile)", samples),
    fault("tiff/no_photometric.tif", SAMPLES, samples),
    fault(
        "scene/mask_and_nodata.tif",
        "mask alone decides (GDAL): mean 100 at twice the pixel size",
        mask_decides,
    ),
    fault("scene/alpha_nodata0.tif", "alpha decides", alpha_decides),
    fault("scene/era5_like.tif", "with `aoi=\"11,48,12,49\"` one window", one_window),
    fault("whole/g_band.tif", "a row under `grid = \"whole\"` too", samples),
    fault("whole/orient6_geo.tif", "`inspect`, `chip`, run agree", turned),
    Fault {
        file: "stac/mix2",
        with: &["base.json", "nir.tif", "red.tif", "scl.tif", "visual.tif", "with space.tif"],
        right: "a row each",
        see: row_each,
    },
    fault("stac/two.json", "two sources", two_sources),
    Fault {
        file: "stac/space_encoded.json",
        with: &["nir.tif", "red.tif", "with space.tif"],
        right: "read",
        see: stacked,
    },
    fault("csv/bad_dates.csv", TEXT, text),
    fault("csv/sci_ids.csv", TEXT, text),
    fault("csv/versions.csv", TEXT, text),
    fault("jpeg/no_dht.jpg", PILLOW, picture),
    fault("jpeg/base_y_cbcr_2x2.jpg", PILLOW, picture),
    fault("jpeg/out_1x1_2x1_2x1.jpg", PILLOW, picture),
    fault("png/apng_bad_fctl.png", "the first image (Pillow)", picture),
    fault("onnx/binary.onnx", "sigmoid, or a refusal", sigmoid),
    Fault { file: "onnx/transposed.onnx", with: &["transposed.contract.toml"], right: REFUSED, see: refused },
    fault("onnx/features_4d.onnx", "C features", features),
    Fault { file: "onnx/external.onnx", with: &["external.onnx.data"], right: "runs", see: runs },
    fault("onnx/batch_zero.onnx", REFUSED, refused),
];

impl Fault {
    /// The file and what belongs to it, all relative to the folder of faults.
    fn files(&self) -> Vec<String> {
        let file = Path::new(self.file);
        let is_folder = file.extension().is_none();
        let folder = if is_folder { file } else { file.parent().unwrap() };
        let itself = (!is_folder).then(|| self.file.to_owned());
        let others = self.with.iter().map(|name| folder.join(name).to_str().unwrap().to_owned());
        itself.into_iter().chain(others).collect()
    }
}

/// Samples as an oracle wrote them, `[height, width, bands]`.
struct Image {
    width: usize,
    bands: usize,
    values: Vec<f32>,
}

impl Image {
    /// Reads a `.npy` file of bytes, 16-bit samples or floats.
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let head = str::from_utf8(&bytes[10..start]).unwrap();
        let (_, shape) = head.split_once("'shape': (").unwrap();
        let shape: Vec<usize> = shape.split(')').next().unwrap().split(',').map_while(number).collect();
        let values = &bytes[start..];
        let values = match () {
            () if head.contains("|u1") => values.iter().map(|&value| f32::from(value)).collect(),
            () if head.contains("<u2") => {
                values.as_chunks().0.iter().map(|&pair| f32::from(u16::from_le_bytes(pair))).collect()
            }
            () => values.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect(),
        };
        Self { width: shape[1], bands: shape.get(2).copied().unwrap_or(1), values }
    }

    /// Returns the samples of a window, row by row.
    fn window(&self, [x, y, width, height]: [usize; 4]) -> Vec<f32> {
        let row = |row: usize| {
            let start = (row * self.width + x) * self.bands;
            self.values[start..start + width * self.bands].iter().copied()
        };
        (y..y + height).flat_map(row).collect()
    }
}

fn number(text: &str) -> Option<usize> {
    text.trim().parse().ok()
}

/// The folder, and what the oracle says of its images.
struct Faults {
    data: PathBuf,
    told: tempfile::TempDir,
}

impl Faults {
    fn new() -> Option<Self> {
        let (data, python) = (support::test_data()?, support::python()?);
        let told = tempfile::tempdir().unwrap();
        let is_told = |name: &String| {
            [".tif", ".jpg", ".png", ".onnx"].iter().any(|extension| name.ends_with(extension))
        };
        let scenes = ["RGB", "RGB2"].map(|name| format!("satellite/geotiff/rasterio/{name}.byte.tif"));
        let files = found(&data.join("faults")).into_iter().map(|name| format!("faults/{name}"));
        let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/faults_oracle.py");
        let mut command = Command::new(&python);
        command.arg(oracle).args([&data, told.path()]).args(files.filter(is_told)).args(scenes);
        support::stdout_of(&mut command);
        Some(Self { data, told })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.data.join("faults").join(file)
    }

    /// What GDAL or Pillow reads of a file of the test data.
    fn told(&self, file: &str, kind: &str) -> Image {
        Image::read(&self.told.path().join(format!("{file}{kind}.npy")))
    }

    fn told_of_fault(&self, file: &str) -> Image {
        self.told(&format!("faults/{file}"), "")
    }

    /// Holds the samples that `chip` writes to be those of GDAL or Pillow.
    fn compare_chip(&self, file: &str) {
        self.compare_chip_with(file, "");
    }

    fn compare_chip_with(&self, file: &str, kind: &str) {
        let out = tempfile::tempdir().unwrap();
        let npy = out.path().join("chip.npy");
        let mut command = support::tilefleet();
        assert_exit(&command.arg("chip").arg(self.path(file)).arg("--out").arg(&npy).output().unwrap(), 0);
        let (chip, told) = (Image::read(&npy), self.told(&format!("faults/{file}"), kind));
        assert_eq!((chip.width, chip.bands), (told.width, told.bands), "{file}");
        assert_eq!(chip.values, told.values, "{file}");
    }
}

/// All files below a folder but its texts, relative to it.
fn found(folder: &Path) -> BTreeSet<String> {
    let mut folders = vec![folder.to_owned()];
    let mut files = BTreeSet::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_none_or(|extension| extension != "md") {
                files.insert(entry.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files
}

fn value_model(folder: &Path) -> Echo {
    Echo::numbers(folder, &["value"])
}

fn two_band_model(folder: &Path) -> Echo {
    Echo::numbers(folder, &["red", "nir"])
}

fn reflectance_model(folder: &Path) -> Echo {
    Echo::write(folder, "reflectance", "nchw", "float32", "reflectance", &["value"])
}

/// The only source's rows.
fn rows_of_one(case: &Case) -> Vec<Row> {
    let rows = case.run();
    assert_eq!(rows.len(), 1);
    rows.into_values().next().unwrap()
}

fn window_of(row: &Row) -> [usize; 4] {
    row.window.unwrap().map(|edge| usize::try_from(edge).unwrap())
}

fn windows(count: usize) -> String {
    format!("{count} windows")
}

/// A TIFF that holds what GDAL reads: by `chip`, in a run's windows and as a whole, all of which agree with `inspect`.
fn samples(faults: &Faults, file: &str) -> String {
    faults.compare_chip(file);
    format!("GDAL's samples by chip, of {} and as a whole; inspect agrees", windows(run_both(faults, file)))
}

/// As a whole it is seen as Pillow turns it, in windows as it is stored, where GDAL reads it.
fn turned(faults: &Faults, file: &str) -> String {
    faults.compare_chip_with(file, ".seen");
    format!(
        "turned as by Pillow as a whole, GDAL's samples of {}; all agree",
        windows(run_both(faults, file))
    )
}

/// Runs a TIFF as a whole and in windows, whose samples are to be GDAL's; returns the number of windows.
fn run_both(faults: &Faults, file: &str) -> usize {
    let told = faults.told_of_fault(file);
    let (model, bands): (fn(&Path) -> Echo, _) =
        if told.bands == 3 { (Echo::picture, "tiles.bands=1,2,3") } else { (value_model, "tiles.bands=1") };
    let whole = Case::of(vec![faults.path(file)], model, &[]);
    assert_eq!(whole.compare(), BTreeSet::new());
    assert_eq!(rows_of_one(&whole)[0].status, "ok");
    let scene = Case::of(vec![faults.path(file)], model, &["tiles.grid=regular", bands]);
    assert_eq!(scene.compare(), BTreeSet::new());
    let rows = rows_of_one(&scene);
    for row in &rows {
        let expected = told.window(window_of(row));
        assert_eq!(row.embedding.as_ref(), Some(&expected), "{file} {:?}", row.window);
    }
    rows.len()
}

/// A row with this reason beside a good file's; `inspect` and `chip` say the same.
fn rejected_beside_a_good_one(
    faults: &Faults,
    file: &str,
    model: fn(&Path) -> Echo,
    settings: &[&str],
    reason: &str,
) -> String {
    let good = faults.path("tiff/no_photometric.tif");
    let settings = [&["tiles.grid=regular", "tiles.bands=1"], settings].concat();
    let case = Case::of(vec![good.clone(), faults.path(file)], model, &settings);
    assert_eq!(case.compare(), BTreeSet::new());
    let rows = case.run();
    let [good, bad] = [good, faults.path(file)].map(|path| &rows[&format!("file://{}", path.display())]);
    assert!(good.len() == 6 && good.iter().all(|row| row.status == "ok"));
    let of_bad: Vec<_> = bad.iter().map(|row| (row.status.as_str(), row.reason.as_deref())).collect();
    assert_eq!(of_bad, [("rejected", Some(reason))]);
    format!("one row, {reason}; {} of the good file beside it", windows(good.len()))
}

/// What a file says of its scale converts nothing.
fn unconvertible(faults: &Faults, file: &str) -> String {
    // The good one's scale has to be said, as nobody says it.
    rejected_beside_a_good_one(faults, file, reflectance_model, &["tiles.scale=0.5"], "unit_mismatch")
}

fn misplaced(faults: &Faults, file: &str) -> String {
    rejected_beside_a_good_one(faults, file, value_model, &[], "corrupt")
}

fn mask_decides(faults: &Faults, file: &str) -> String {
    faults.compare_chip(file);
    let settings = ["tiles.grid=regular", "tiles.bands=1,2,3", "tiles.gsd=20"];
    let case = Case::of(vec![faults.path(file)], Echo::picture, &settings);
    assert_eq!(case.compare(), BTreeSet::new());
    let rows = rows_of_one(&case);
    let half = faults.told(&format!("faults/{file}"), ".half");
    for row in &rows {
        let window = window_of(row).map(|edge| edge / 2);
        let embedding = row.embedding.as_ref().unwrap();
        assert_eq!(embedding, &half.window(window));
        assert!(embedding.chunks(3).all(|pixel| pixel == [100.0, 200.0, 200.0]));
    }
    assert_eq!(valid_fractions(&case), vec![1.0; rows.len()]);
    format!("red is 100 in all of {}, and all is valid", windows(rows.len()))
}

/// In order of the windows.
fn valid_fractions(case: &Case) -> Vec<f32> {
    let columns = shown_columns(&case.table(), "valid_fraction, source, tile_id, x, y");
    columns["valid_fraction"].as_primitive::<Float32Type>().values().to_vec()
}

fn alpha_decides(faults: &Faults, file: &str) -> String {
    faults.compare_chip(file);
    let case = Case::of(vec![faults.path(file)], Echo::picture, &["tiles.grid=regular", "tiles.bands=1,2,3"]);
    assert_eq!(case.compare(), BTreeSet::new());
    let valid = faults.told(&format!("faults/{file}"), ".valid");
    let (mut expected, mut seen) = (Vec::new(), Vec::new());
    for row in rows_of_one(&case) {
        let valid = valid.window(window_of(&row));
        let samples = faults.told_of_fault(file).window(window_of(&row));
        let shown: Vec<f32> = samples
            .chunks(4)
            .zip(&valid)
            .flat_map(|(pixel, valid)| [0, 1, 2].map(|band| pixel[band] * valid))
            .collect();
        assert_eq!(row.embedding, Some(shown), "{:?}", row.window);
        expected.push(valid.iter().sum::<f32>() / valid.len() as f32);
    }
    seen.extend(valid_fractions(&case));
    expected.sort_by(f32::total_cmp);
    seen.sort_by(f32::total_cmp);
    assert!(
        expected.iter().zip(&seen).all(|(told, seen)| (told - seen).abs() < 1e-6),
        "{expected:?} {seen:?}"
    );
    assert_eq!(expected.len(), seen.len());
    format!("valid fractions {seen:?}, those of alpha")
}

fn one_window(faults: &Faults, file: &str) -> String {
    faults.compare_chip(file);
    let settings = ["tiles.grid=regular", "tiles.bands=1"];
    let all = rows_of_one(&Case::of(vec![faults.path(file)], value_model, &settings));
    let settings = [&settings[..], &["tiles.aoi=11,48,12,49"]].concat();
    let rows = rows_of_one(&Case::of(vec![faults.path(file)], value_model, &settings));
    // 90.5 − 48.5 is row 42, 11.5 + 0.5 column 12: in the third row of windows of 20, the first column.
    assert_eq!(rows.iter().map(window_of).collect::<Vec<_>>(), [[0, 40, 20, 20]]);
    assert_eq!(rows[0].embedding, Some(faults.told_of_fault(file).window([0, 40, 20, 20])));
    format!("1 window of {}, GDAL's samples", all.len())
}

/// One good item, and others with a flaw each, made from it.
fn row_each(faults: &Faults, file: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(faults.path(file)).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let good = fs::read_to_string(folder.path().join("base.json")).unwrap();
    let flaws = [
        ("empty.json", String::new()),
        ("no_zone.json", good.replace("2024-06-01T10:00:00Z", "2024-06-01T10:00:00")),
        ("not_a_number.json", good.replace("\"eo:cloud_cover\": 5", "\"eo:cloud_cover\": NaN")),
        ("torn.json", good[..good.len() / 2].to_owned()),
    ];
    for (name, text) in &flaws {
        assert_ne!(*text, good, "{name}");
        fs::write(folder.path().join(name), text).unwrap();
    }
    let settings = ["tiles.grid=regular", "tiles.bands=red,nir"];
    let rows = Case::of(vec![folder.path().join("*.json")], two_band_model, &settings).run();
    let mut reasons = Vec::new();
    for (source, rows) in &rows {
        if source.ends_with("base.json") {
            assert!(rows.iter().all(|row| row.status == "ok"));
            compare_stacked(faults, rows, ["stac/mix2/red.tif", "stac/mix2/nir.tif"]);
        } else {
            assert_eq!((rows.len(), rows[0].status.as_str()), (1, "rejected"), "{source}");
            reasons.push(rows[0].reason.clone().unwrap());
        }
    }
    assert_eq!(reasons.len(), flaws.len());
    reasons.dedup();
    format!("the good item's samples, and {} flawed ones a row each, {}", flaws.len(), reasons.join(", "))
}

/// Holds bands one after another to be the samples of these files.
fn compare_stacked(faults: &Faults, rows: &[Row], files: [&str; 2]) {
    let bands = files.map(|file| faults.told_of_fault(file));
    for row in rows {
        let expected = bands.iter().flat_map(|band| band.window(window_of(row))).collect::<Vec<_>>();
        assert_eq!(row.embedding.as_ref(), Some(&expected), "{:?}", row.window);
    }
}

fn two_sources(faults: &Faults, file: &str) -> String {
    let settings = ["tiles.grid=regular", "tiles.stride=200", "tiles.bands=red,green,blue"];
    let rows = Case::of(vec![faults.path(file)], Echo::picture, &settings).run();
    let ends: Vec<&str> = rows.keys().map(|source| source.rsplit('/').next().unwrap()).collect();
    assert_eq!(ends, ["two.json#S2A_1", "two.json#S2A_1@l2a"]);
    let mut num_ok = 0;
    // The first by its collection, l1c, is the one that keeps the name.
    for (rows, scene) in rows.values().zip(["RGB2", "RGB"]) {
        let told = faults.told(&format!("satellite/geotiff/rasterio/{scene}.byte.tif"), "");
        for row in rows.iter().filter(|row| row.status == "ok") {
            // Each asset describes one band, which is the file's first.
            let pixels = told.window(window_of(row));
            let expected: Vec<f32> = pixels.chunks(3).flat_map(|pixel| [pixel[0]; 3]).collect();
            assert!(row.embedding.as_ref() == Some(&expected), "{scene} {:?}", row.window);
            num_ok += 1;
        }
    }
    assert!(num_ok > 10, "{num_ok}");
    format!("two sources, {num_ok} windows with the samples of their own file")
}

fn stacked(faults: &Faults, file: &str) -> String {
    let settings = ["tiles.grid=regular", "tiles.bands=red,nir"];
    let rows = rows_of_one(&Case::of(vec![faults.path(file)], two_band_model, &settings));
    assert!(rows.iter().all(|row| row.status == "ok"));
    compare_stacked(faults, &rows, ["stac/with space.tif", "stac/nir.tif"]);
    format!("{} with the samples of `with space.tif`", windows(rows.len()))
}

/// A manifest whose values reach the table as they stand in it.
fn text(faults: &Faults, file: &str) -> String {
    let job = Job::new(0, "");
    for (index, name) in ["a.png", "c space.png"].iter().enumerate() {
        fs::write(job.path(name), png(index, false)).unwrap();
    }
    let manifest = job.path("list.csv");
    fs::copy(faults.path(file), &manifest).unwrap();
    let manifest = format!("input.manifest={}", manifest.display());
    job.run_ok(&["--set", "input.uris=[]", "--set", &manifest]);
    job.verify_ok();
    let sql = "SELECT extra['v'] AS v, arrow_typeof(extra['v']) AS t FROM tiles ORDER BY source";
    let mut query = support::tilefleet();
    let found = support::stdout_of(query.arg("query").arg(job.table()).args([sql, "--format", "csv"]));
    let said = fs::read_to_string(faults.path(file)).unwrap();
    let expected: Vec<String> =
        said.lines().skip(1).map(|line| format!("{},Utf8", line.split_once(',').unwrap().1)).collect();
    assert_eq!(found.lines().skip(1).collect::<Vec<_>>(), expected);
    format!("text, {}", expected.join("; ").replace(",Utf8", ""))
}

/// A picture that holds what Pillow decodes, and reaches the model as Pillow resizes it.
fn picture(faults: &Faults, file: &str) -> String {
    faults.compare_chip(file);
    let case = Case::of(vec![faults.path(file)], Echo::picture, &[]);
    assert_eq!(case.compare(), BTreeSet::new());
    let row = &rows_of_one(&case)[0];
    assert_eq!(row.embedding, Some(faults.told(&format!("faults/{file}"), ".input").values));
    format!("Pillow's samples by chip, and its {SIDE}×{SIDE} in a row; inspect agrees")
}

/// Runs a model over one photo of its size.
fn run_of_model(faults: &Faults, file: &str, more: &[&str]) -> (Job, Output) {
    let job = Job::new(0, "");
    let photo = faults.told.path().join("photo.png");
    let model = faults.path(file);
    let arguments = ["--model", model.to_str().unwrap(), "--input", photo.to_str().unwrap()];
    let output = job.run(&[&arguments, more].concat());
    (job, output)
}

/// What ONNX Runtime by itself gives for that photo.
fn told_of_model(faults: &Faults, file: &str) -> Vec<f32> {
    Image::read(&faults.told.path().join(format!("faults/{file}.npy"))).values
}

fn refused(faults: &Faults, file: &str) -> String {
    let (job, output) = run_of_model(faults, file, &[]);
    assert_exit(&output, 78);
    assert!(!job.table().join("tiles").exists(), "nothing is written");
    let said = stderr(&output);
    let error = said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap();
    assert!(said.contains("\n  hint: "), "{said}");
    format!("78: {}", error.replace(faults.data.to_str().unwrap(), "…"))
}

/// The one row of a run that went well.
fn row_of(job: &Job, output: &Output) -> fixture::Row {
    assert_exit(output, 0);
    job.verify_ok();
    let [row] = &fixture::rows(&job.table())[..] else { panic!("not one row") };
    assert_eq!(row.status, "ok");
    row.clone()
}

fn near(found: &[f32], told: &[f32]) -> bool {
    found.len() == told.len() && found.iter().zip(told).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0))
}

fn sigmoid(faults: &Faults, file: &str) -> String {
    let (job, output) = run_of_model(faults, file, &[]);
    let row = row_of(&job, &output);
    let [logit] = told_of_model(faults, file)[..] else { panic!("not one logit") };
    let score = row.score.unwrap();
    assert!(near(&[score], &[1.0 / (1.0 + (-logit).exp())]), "{score} of {logit}");
    assert!(score < 0.999, "not the softmax of one class");
    format!("score {score:.4}, the sigmoid of ONNX Runtime's {logit:.4}")
}

fn features(faults: &Faults, file: &str) -> String {
    // It has neither contract nor classifier, so that its embedding has to be named.
    let (job, output) = run_of_model(faults, file, &["--set", "model.embedding=feat"]);
    let embedding = row_of(&job, &output).embedding.unwrap();
    let told = told_of_model(faults, file);
    assert!(near(&embedding, &told), "{embedding:?} {told:?}");
    format!("{} features, ONNX Runtime's", embedding.len())
}

fn runs(faults: &Faults, file: &str) -> String {
    let (job, output) = run_of_model(faults, file, &[]);
    let row = row_of(&job, &output);
    let told = told_of_model(faults, file);
    let exps: Vec<f32> = told.iter().map(|logit| logit.exp()).collect();
    let (class, best) = exps.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    assert_eq!(row.class_id, Some(class as i32));
    assert!(near(&[row.score.unwrap()], &[best / exps.iter().sum::<f32>()]), "{row:?} {told:?}");
    format!("class {class} of {}, with ONNX Runtime's score", told.len())
}

/// The README's column "right" by file; files after the first of a line lie in the same folder.
fn right(readme: &str) -> BTreeMap<String, String> {
    let mut right = BTreeMap::new();
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    let lines = readme.lines().filter(|line| line.starts_with("| ")).skip(1);
    for cells in lines.map(cells).filter(|cells: &Vec<String>| cells.len() == 3) {
        let mut folder = String::new();
        for name in cells[0].split(", ").map(|name| name.split(" (").next().unwrap().trim_end_matches('/')) {
            if let Some((before, _)) = name.rsplit_once('/') {
                before.clone_into(&mut folder);
            }
            let name = if name.contains('/') { name.to_owned() } else { format!("{folder}/{name}") };
            right.insert(name, cells[2].clone());
        }
    }
    right
}

/// Whoever adds a file or changes what is right has to say here how it shows.
#[test]
fn every_faulty_file_has_the_outcome_of_the_readme() {
    let Some(faults) = Faults::new() else { return };
    let readme = fs::read_to_string(faults.path("README.md")).unwrap();
    let told: BTreeMap<_, _> =
        FAULTS.iter().map(|fault| (fault.file.to_owned(), fault.right.to_owned())).collect();
    assert_eq!(right(&readme), told, "the README's table and this test's");
    let covered: BTreeSet<_> = FAULTS.iter().flat_map(Fault::files).collect();
    assert_eq!(found(&faults.path("")), covered, "the files and those of this test");

    let mut table = String::from("| file | right | seen |\n|---|---|---|\n");
    let mut wrong = Vec::new();
    for Fault { file, right, see, .. } in FAULTS {
        let seen = catch_unwind(AssertUnwindSafe(|| see(&faults, file)));
        let seen = seen.unwrap_or_else(|_| {
            wrong.push(*file);
            "WRONG, see above".to_owned()
        });
        writeln!(table, "| {file} | {right} | {seen} |").unwrap();
    }
    println!("{table}");
    assert!(wrong.is_empty(), "not as the README says: {wrong:?}\n{table}");
}
