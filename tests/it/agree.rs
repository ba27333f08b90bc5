//! `inspect`, `chip`, a calibration and a run say the same of every file of the test data, under either grid; the first
//! two and a run also of every STAC item whose files are there.
//!
//! The model costs nothing: its embedding is its input, so that a row's embedding is to be what `chip --stage input`
//! writes, value by value. Where a run rejects, `chip` gives the same reason, and so does `inspect` as far as the header
//! tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost::Message;
use serde_json::{Value, json};
use tilefleet::calibrate::{Reader, Split, TileSelection, Tiles};
use tilefleet::config::looking;
use tilefleet::models::onnx::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto,
};
use tilefleet::stages::infer::{InputBatch, Samples};
use tilefleet::vocabulary::contract::Contract;
use tilefleet::vocabulary::error::Result;

use crate::fixture::{assert_exit, shard_files, stderr};
use crate::support;

/// Width and height of the model's input.
pub const SIDE: i64 = 20;
/// Codes of ONNX's element types.
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
/// So many windows of a scene are compared: the first, the last and some between.
const WINDOWS: usize = 3;
/// Reasons that only the samples tell, or the model.
const BEYOND_THE_HEADER: [&str; 4] = ["truncated", "corrupt", "unsupported", "not_finite"];

/// A model whose embedding is its input.
pub struct Echo {
    contract: PathBuf,
    model: PathBuf,
}

impl Echo {
    /// Three bands of 8 bits, as people see them.
    pub fn picture(folder: &Path) -> Self {
        Self::write(folder, "picture", "nhwc", "uint8", "srgb8", &["red", "green", "blue"])
    }

    /// Bands as they are stored, of any type.
    pub fn numbers(folder: &Path, bands: &[&str]) -> Self {
        Self::write(folder, &format!("numbers{}", bands.len()), "nchw", "float32", "dn", bands)
    }

    pub fn write(
        folder: &Path,
        name: &str,
        layout: &str,
        sample_type: &str,
        unit: &str,
        bands: &[&str],
    ) -> Self {
        let num_bands = bands.len() as i64;
        let (shape, element) = match layout {
            "nhwc" => ([SIDE, SIDE, num_bands], UINT8),
            _ => ([num_bands, SIDE, SIDE], FLOAT),
        };
        let length = shape.iter().product::<i64>();
        let model = folder.join(format!("{name}.onnx"));
        fs::write(&model, echo(element, &shape, length).encode_to_vec()).unwrap();
        let contract = folder.join(format!("{name}.contract.toml"));
        let text = format!(
            "contract = 1\nname = \"{name}\"\n[input]\ntensor = \"input\"\nlayout = \"{layout}\"\n\
             sample_type = \"{sample_type}\"\nbands = {bands:?}\nunit = \"{unit}\"\nwidth = {SIDE}\nheight = {SIDE}\n\
             [input.resize]\nshort_side = {SIDE}\ninterpolation = \"bilinear\"\n\
             [output]\nembedding = \"embedding\"\nembedding_length = {length}\n"
        );
        fs::write(&contract, text).unwrap();
        Self { contract, model }
    }
}

fn echo(element: i32, shape: &[i64], length: i64) -> ModelProto {
    let value = |name: &str, elem_type: i32, sizes: &[i64]| {
        let axes = sizes.iter().map(|&size| Dimension::fixed(size as usize));
        let axes = std::iter::once(Dimension::named("n")).chain(axes).collect();
        ValueInfoProto::new(name, elem_type, axes)
    };
    let node = |op_type: &str, from: &str, to: &str, attribute: &str, number: i64| {
        NodeProto::new(op_type, &[from], to, vec![AttributeProto::int(attribute, number)])
    };
    let graph = GraphProto {
        name: Some("echo".to_owned()),
        node: vec![
            node("Cast", "input", "numbers", "to", FLOAT.into()),
            node("Flatten", "numbers", "embedding", "axis", 1),
        ],
        input: vec![value("input", element, shape)],
        output: vec![value("embedding", FLOAT, &[length])],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto::onnx(13)],
        ..ModelProto::default()
    }
}

/// One row of a run.
pub struct Row {
    pub status: String,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub window: Option<[i32; 4]>,
    pub embedding: Option<Vec<f32>>,
}

/// All rows by source.
fn rows(table: &Path) -> BTreeMap<String, Vec<Row>> {
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for path in shard_files(table).values() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                let source = batch["source"].as_string::<i32>().value(row).to_owned();
                rows.entry(source).or_default().push(row_of(&batch, row));
            }
        }
    }
    rows
}

fn row_of(batch: &RecordBatch, row: usize) -> Row {
    let text = |name: &str| {
        let column = batch[name].as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let number = |name: &str| {
        let column = batch[name].as_primitive::<Int32Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let [x, y, width, height] = ["x", "y", "width", "height"].map(number);
    let embeddings = batch["embedding"].as_fixed_size_list();
    let embedding = embeddings.is_valid(row).then(|| embeddings.value(row));
    Row {
        status: text("status").unwrap(),
        reason: text("reason"),
        detail: text("detail"),
        window: (|| Some([x?, y?, width?, height?]))(),
        embedding: embedding.map(|values| values.as_primitive::<Float32Type>().values().to_vec()),
    }
}

/// Returns the values of a `.npy` file of bytes or 32-bit floats.
fn values_of(npy: &Path) -> Vec<f32> {
    let bytes = fs::read(npy).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (head, values) = bytes.split_at(start);
    if head.windows(3).any(|text| text == b"|u1") {
        return values.iter().map(|&value| f32::from(value)).collect();
    }
    values.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

/// The files, a model and settings.
pub struct Case {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
    model: Echo,
    settings: Vec<String>,
}

impl Case {
    fn new(model: fn(&Path) -> Echo, settings: &[&str]) -> Option<Self> {
        Some(Self::of(files()?, model, settings))
    }

    pub fn of(files: Vec<PathBuf>, model: fn(&Path) -> Echo, settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = model(folder.path());
        let set = |setting: &&str| ["--set".to_owned(), (*setting).to_owned()];
        Self { files, model, settings: settings.iter().flat_map(set).collect(), folder }
    }

    /// Runs, inspects and cuts chips; returns of which files only decoding told what is wrong.
    pub fn compare(&self) -> BTreeSet<String> {
        let (rows, said) = (self.run(), self.inspect());
        assert!(rows.len() >= self.files.len(), "{} sources", rows.len());
        assert!(rows.keys().eq(said.keys()), "other sources: {:?} and {:?}", rows.keys(), said.keys());
        if self.files.iter().all(|file| file.extension().is_none_or(|extension| extension != "json")) {
            self.compare_calibration(&rows);
        }
        let sources: Vec<&String> = rows.keys().collect();
        let next = AtomicUsize::new(0);
        let told_late = Mutex::new(BTreeSet::new());
        std::thread::scope(|scope| {
            for worker in 0..3 {
                let (next, told_late, rows, said, sources) = (&next, &told_late, &rows, &said, &sources);
                scope.spawn(move || {
                    let out = self.folder.path().join(format!("{worker}.npy"));
                    while let Some(&source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let file = Path::new(source.strip_prefix("file://").unwrap());
                        if self.compare_source(file, &rows[source], &said[source], &out) {
                            told_late.lock().unwrap().insert(name(file));
                        }
                    }
                });
            }
        });
        told_late.into_inner().unwrap()
    }

    /// A calibration on all tiles is given what the run gave to the model, and leaves out what the run did.
    fn compare_calibration(&self, rows: &BTreeMap<String, Vec<Row>>) {
        let all: Vec<(&String, &Row)> =
            rows.iter().flat_map(|(source, rows)| rows.iter().map(move |row| (source, row))).collect();
        let good = all.iter().find(|(_, row)| row.embedding.is_some()).expect("some tile is usable").0;
        let copy = self.folder.path().join("held-out.tif");
        fs::copy(good.strip_prefix("file://").unwrap(), &copy).unwrap();
        let is_cut = self.settings.iter().any(|setting| setting == "tiles.grid=regular");
        let num_tiles = all.iter().filter(|(_, row)| !is_cut || row.window.is_some()).count();
        let Tiles { batches, left_out } = self.calibration_tiles(&copy, num_tiles);

        let taken = batches.iter().flat_map(chips_of).collect::<Vec<_>>();
        let mut left: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        for chip in &taken {
            *left.entry(chip.clone()).or_default() += 1;
        }
        for (source, row) in &all {
            let Some(embedding) = &row.embedding else { continue };
            let chip: Vec<u32> = embedding.iter().map(|value| value.to_bits()).collect();
            let count = left.get_mut(&chip).filter(|count| **count > 0);
            *count.unwrap_or_else(|| panic!("a calibration has no {:?} of {source}", row.window)) -= 1;
        }
        // What is not finite only the model tells.
        let is_left_out = |row: &Row| row.embedding.is_none() && row.reason.as_deref() != Some("not_finite");
        let expected = all.iter().filter(|(_, row)| is_left_out(row));
        let mut expected: Vec<(String, String)> =
            expected.map(|(source, row)| ((*source).clone(), row.reason.clone().unwrap())).collect();
        let mut found: Vec<(String, String)> = left_out
            .iter()
            .map(|tile| (tile.source.to_string(), tile.why.reason.code().to_owned()))
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
        assert_eq!(taken.len() + found.len(), all.len());
    }

    /// Reads all tiles as a calibration does.
    ///
    /// - `held_out`: a source to compare on, which is none of them
    fn calibration_tiles(&self, held_out: &Path, num_tiles: usize) -> Tiles {
        let split = self.calibration(&[held_out], NonZeroUsize::new(num_tiles));
        split.unwrap().calibration
    }

    /// Reads tiles as a calibration does.
    ///
    /// - `held_out`: sources to compare on
    fn calibration(&self, held_out: &[&Path], num_calibration: Option<NonZeroUsize>) -> Result<Split> {
        let set: Vec<String> = self.settings.iter().filter(|word| *word != "--set").cloned().collect();
        let settings = looking(&set).unwrap();
        let mut input = Contract::load(&self.model.contract).unwrap().input;
        input.accept = settings.tiles.over(input.accept);
        let reader = Reader::new(&settings, &input, NonZeroUsize::new(16).unwrap()).unwrap();
        let wanted = TileSelection {
            calibration: self.files.iter().map(|file| file.display().to_string()).collect(),
            held_out: held_out.iter().map(|file| file.display().to_string()).collect(),
            num_calibration,
            num_held_out: None,
        };
        tokio::runtime::Runtime::new().unwrap().block_on(reader.read(&wanted))
    }

    /// Compares one source; returns whether a run rejects what its header lets pass.
    fn compare_source(&self, file: &Path, rows: &[Row], said: &Value, out: &Path) -> bool {
        let all: BTreeSet<_> = rows
            .iter()
            .map(|row| (row.status.as_str(), row.reason.as_deref(), row.detail.as_deref()))
            .collect();
        if said["status"] == "rejected" {
            let why = ("rejected", said["reason"].as_str(), said["detail"].as_str());
            assert_eq!(all, BTreeSet::from([why]), "{}: {said}", file.display());
        } else {
            if let Some(windows) = said["windows"].as_object() {
                assert_eq!(windows["count"], rows.len(), "{}", file.display());
            }
            assert_eq!(said["status"], "ok", "{}", file.display());
        }
        let step = (rows.len() - 1).div_ceil(WINDOWS - 1).max(1);
        let some =
            rows.iter().step_by(step).chain(rows.last().filter(|_| !(rows.len() - 1).is_multiple_of(step)));
        some.for_each(|row| self.compare_row(file, row, out));
        let rejected = |row: &&Row| row.status == "rejected";
        let late: Vec<&Row> = rows.iter().filter(rejected).filter(|_| said["status"] == "ok").collect();
        for row in &late {
            let reason = row.reason.as_deref().unwrap();
            assert!(BEYOND_THE_HEADER.contains(&reason), "inspect passes {}, {reason}", file.display());
        }
        !late.is_empty()
    }

    fn compare_row(&self, file: &Path, row: &Row, out: &Path) {
        let place = format!("{} {:?}", file.display(), row.window);
        let mut command = support::tilefleet();
        command.arg("chip").arg(file).args(["--stage", "input", "--json", "--force", "--out"]).arg(out);
        command.arg("--model").arg(&self.model.contract).args(&self.settings);
        if let Some(window) = row.window {
            command.args(["--window", &window.map(|edge| edge.to_string()).join(",")]);
        }
        let output = command.output().unwrap();
        let reason = row.reason.as_deref().unwrap_or_default();
        if row.status == "rejected" && reason != "not_finite" {
            assert_eq!(output.status.code(), Some(65), "{place}, {reason}: {}", stderr(&output));
            let because = format!("\n  because: {reason}: ");
            assert!(stderr(&output).contains(&because), "{place}, {reason}: {}", stderr(&output));
            return;
        }
        assert_eq!(output.status.code(), Some(0), "{place}: {}", stderr(&output));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let skipped = if row.status == "skipped" { Value::from(reason) } else { Value::Null };
        assert_eq!(said["skipped"], skipped, "{place}");
        let chip = values_of(out);
        match &row.embedding {
            Some(embedding) => assert_eq!(&chip, embedding, "{place}"),
            None => {
                assert!(row.status == "skipped" || chip.iter().any(|value| !value.is_finite()), "{place}");
            }
        }
    }

    /// Runs, and returns all rows by source.
    pub fn run(&self) -> BTreeMap<String, Vec<Row>> {
        let pipeline = self.folder.path().join("job.toml");
        let uris: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let model = self.model.model.display();
        fs::write(
            &pipeline,
            format!("[input]\nuris = {uris:?}\n[model]\nfile = \"{model}\"\n[output]\nuri = \"table\"\n"),
        )
        .unwrap();
        let mut command = support::tilefleet();
        command.arg("run").arg(&pipeline).args(["--set", "limits.max_reject_ratio=1"]).args(&self.settings);
        assert_exit(&command.output().unwrap(), 0);
        rows(&self.table())
    }

    pub fn table(&self) -> PathBuf {
        self.folder.path().join("table")
    }

    /// What `inspect --json` says, by source.
    fn inspect(&self) -> BTreeMap<String, Value> {
        let mut command = support::tilefleet();
        command.arg("inspect").args(&self.files).arg("--json").arg("--model").arg(&self.model.contract);
        let output = command.args(&self.settings).output().unwrap();
        let said: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let any_rejected = said.iter().any(|said| said["status"] == "rejected");
        assert_exit(&output, if any_rejected { 65 } else { 0 });
        said.into_iter().map(|said| (said["source"].as_str().unwrap().to_owned(), said)).collect()
    }
}

/// Returns the chips of a batch, bit by bit.
fn chips_of(batch: &InputBatch) -> Vec<Vec<u32>> {
    let values: Vec<u32> = match batch.samples() {
        Samples::U8(samples) => samples.iter().map(|&sample| f32::from(sample).to_bits()).collect(),
        Samples::F32(samples) => samples.iter().map(|sample| sample.to_bits()).collect(),
    };
    values.chunks_exact(batch.chip_len()).take(batch.len()).map(<[u32]>::to_vec).collect()
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_string_lossy().into_owned()
}

/// All files that are or might be images.
fn files() -> Option<Vec<PathBuf>> {
    let data = support::test_data()?;
    let mut folders = vec![data.join("satellite"), data.join("faults")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let extension = entry.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            if entry.is_dir() {
                folders.push(entry);
            } else if ["tif", "tiff", "jpg", "png", "txt"].contains(&extension.as_str()) {
                files.push(entry);
            }
        }
    }
    files.sort();
    assert!(files.len() > 120, "{} files", files.len());
    Some(files)
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// A grey TIFF of the model's size without a place on the Earth.
fn grey(bits: u16, white_is_zero: bool) -> Vec<u8> {
    let side = SIDE as usize;
    let row_bytes = (side * usize::from(bits)).div_ceil(8);
    let strip: Vec<u8> = (0..side * row_bytes).map(|at| (at * 37 % 251) as u8).collect();
    let mut file = b"II*\0\x08\0\0\0\x08\0".to_vec();
    let end = 8 + 2 + 8 * 12 + 4;
    let entries: [(u16, u32); 8] = [
        (256, side as u32),
        (257, side as u32),
        (258, bits.into()),
        (262, u32::from(!white_is_zero)),
        (273, end),
        (277, 1),
        (278, side as u32),
        (279, strip.len() as u32),
    ];
    for (tag, value) in entries {
        file.extend([tag.to_le_bytes(), 4_u16.to_le_bytes()].concat());
        file.extend([1_u32.to_le_bytes(), value.to_le_bytes()].concat());
    }
    file.extend(0_u32.to_le_bytes());
    file.extend(strip);
    file
}

/// White stays white, and few bits become eight, whether a file is a picture or a scene.
#[test]
fn a_patch_is_the_same_as_a_picture_and_as_a_scene() {
    type Model = fn(&Path) -> Echo;
    let folder = tempfile::tempdir().unwrap();
    let write = |bits, white_is_zero| {
        let path = folder.path().join(format!("{bits}-{white_is_zero}.tif"));
        fs::write(&path, grey(bits, white_is_zero)).unwrap();
        path
    };
    let pictures: Vec<PathBuf> =
        [1, 2, 4, 8].into_iter().flat_map(|bits| [write(bits, true), write(bits, false)]).collect();
    let numbers = vec![write(8, true), write(16, true), write(16, false), write(32, true)];
    let grey_model = |folder: &Path| Echo::write(folder, "grey", "nhwc", "uint8", "srgb8", &["grey"]);
    let number_model = |folder: &Path| Echo::numbers(folder, &["value"]);
    let cases: [(Vec<PathBuf>, Model); 2] = [(pictures, grey_model), (numbers, number_model)];
    for (files, model) in cases {
        let whole = Case::of(files.clone(), model, &[]).run();
        let windows = Case::of(files, model, &["tiles.grid=regular", "tiles.bands=[1]"]).run();
        for (source, rows) in whole {
            let embedding = rows[0].embedding.as_ref().unwrap();
            assert_eq!(windows[&source][0].embedding.as_ref(), Some(embedding), "{source}");
            assert!(
                embedding.iter().any(|value| value.total_cmp(&embedding[0]).is_ne()),
                "{source} shows something"
            );
        }
    }
}

/// Scenes that lie nowhere are rejected where an area is asked for; one that lies elsewhere has no window in it.
#[test]
fn a_calibration_on_scenes_without_a_window_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere.tif");
    fs::write(&nowhere, grey(8, false)).unwrap();
    let elsewhere = Path::new("tests/fixtures/earlier/bucket/scenes/placed.tif").to_owned();
    let model = |folder: &Path| Echo::numbers(folder, &["value"]);
    let settings = ["tiles.grid=regular", "tiles.bands=[1]", "tiles.aoi=0.25,0.25,0.5,0.5"];
    for (files, why) in [
        (vec![nowhere], "grid_mismatch: it is not known whether it touches the area of interest"),
        (vec![elsewhere], "none of their windows touches `tiles.aoi`"),
    ] {
        let case = Case::of(files, model, &settings);
        let others = case.folder.path().join("others.tif");
        fs::copy(&case.files[0], &others).unwrap();
        for held_out in [&[][..], &[others.as_path()]] {
            let error = case.calibration(held_out, None).unwrap_err();
            assert_eq!(error.kind().exit_code(), 78, "{error}");
            assert_eq!(error.to_string(), "a run would cut no window out of 1 scene");
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert!(cause.starts_with(why), "{cause}");
        }
    }
}

#[test]
fn whole_images_agree_for_a_model_of_pictures() {
    let Some(case) = Case::new(Echo::picture, &[]) else { return };
    let mut told_late = case.compare();
    // Which damage of JPEG and PNG is none is for other tests.
    told_late.retain(|name| name.to_lowercase().contains(".tif"));
    assert_eq!(told_late, set(&["corrupt.tif"]));
}

#[test]
fn whole_images_agree_for_a_model_of_numbers() {
    let Some(case) = Case::new(|folder| Echo::numbers(folder, &["value"]), &[]) else { return };
    // What is NaN stays NaN: nodata is for windows.
    assert_eq!(case.compare(), set(&["cog_nodata_nan.tif", "float_nan.tif"]));
}

#[test]
fn windows_agree_for_a_model_of_pictures() {
    let settings = ["tiles.grid=regular", "tiles.size=1024", "tiles.bands=[1, 2, 3]"];
    let Some(case) = Case::new(Echo::picture, &settings) else { return };
    assert_eq!(case.compare(), set(&["corrupt.tif"]));
}

#[test]
fn windows_agree_for_a_model_of_numbers() {
    let settings = ["tiles.grid=regular", "tiles.size=1024", "tiles.bands=[1]"];
    let Some(case) = Case::new(|folder| Echo::numbers(folder, &["value"]), &settings) else { return };
    assert_eq!(case.compare(), set(&["corrupt.tif"]));
}

/// Writes items, each with one thing wrong, and one document of several; returns them.
fn faulty_items(folder: &Path, data: &Path) -> Vec<PathBuf> {
    let red = data.join("faults/stac/red.tif");
    let asset = |href: &str, band: &str| json!({"href": href, "eo:bands": [{"name": band}]});
    let item = |id: &str, assets: Value| {
        json!({"type": "Feature", "stac_version": "1.0.0", "id": id, "geometry": null, "links": [], "assets": assets,
               "properties": {"datetime": "2024-06-01T10:00:00Z"}})
    };
    let good = |band: &str| asset(red.to_str().unwrap(), band);
    let pictures = folder.join("pictures");
    fs::create_dir(&pictures).unwrap();
    fs::write(pictures.join("a.png"), crate::fixture::png(1, false)).unwrap();
    let mut untyped = item("untyped", json!({"red": good("red")}));
    untyped["type"] = Value::Null;
    let documents = [
        ("other-band", item("other-band", json!({"blue": good("blue")}))),
        ("gone", item("gone", json!({"red": asset("nowhere.tif", "red")}))),
        ("picture", item("picture", json!({"red": asset("pictures/a.png", "red")}))),
        ("text", item("text", json!({"red": asset("good.json", "red")}))),
        ("no-scheme", item("no-scheme", json!({"red": asset("ftp://h/red.tif", "red")}))),
        ("twice", item("twice", json!({"a": good("red"), "b": good("red")}))),
        (
            "many-bands",
            item(
                "many-bands",
                json!({"red": {"href": data.join("satellite/geotiff/rasterio/RGB.byte.tif")}}),
            ),
        ),
        ("untyped", untyped),
        (
            "undated",
            json!({"type": "Feature", "stac_version": "1.0.0", "id": "undated", "links": [],
                           "properties": {"datetime": "yesterday"}, "assets": {"red": good("red")}}),
        ),
        ("good", item("good", json!({"red": good("red")}))),
        (
            "several",
            json!({"type": "FeatureCollection", "features": [
                item("one", json!({"red": good("red")})), item("two", json!({"blue": good("blue")})),
            ]}),
        ),
    ];
    let write = |(name, document): (&str, Value)| {
        let path = folder.join(format!("{name}.json"));
        fs::write(&path, document.to_string()).unwrap();
        path
    };
    documents.into_iter().map(write).collect()
}

/// All STAC documents of the test data whose items have files that are there, and items with faults.
fn items(folder: &Path) -> Option<Vec<PathBuf>> {
    let data = support::test_data()?;
    let documents = [
        "satellite/stac/landsat8-local/collection.json",
        "faults/stac/two.json",
        "faults/stac/space_encoded.json",
        "faults/stac/mix2/base.json",
    ];
    let mut files: Vec<PathBuf> = documents.iter().map(|name| data.join(name)).collect();
    files.extend(faulty_items(folder, &data));
    Some(files)
}

/// Of items, too: which files are taken, what their windows hold, and why a run rejects one, word for word.
#[test]
fn stac_items_agree() {
    let folder = tempfile::tempdir().unwrap();
    let Some(files) = items(folder.path()) else { return };
    for (bands, num_rejected) in [("red", 10), ("B04", 15)] {
        let named = format!("tiles.bands=[\"{bands}\"]");
        let settings = ["tiles.grid=regular", "tiles.size=512", named.as_str()];
        let case = Case::of(files.clone(), |folder| Echo::numbers(folder, &["value"]), &settings);
        assert_eq!(case.compare(), set(&[]), "headers tell all");
        let said = case.inspect();
        assert_eq!(said.len(), files.len() + 2, "two documents have two items");
        let rejected = said.values().filter(|said| said["status"] == "rejected").count();
        assert_eq!(rejected, num_rejected, "{bands}: {said:#?}");
        for item in said.values().filter(|said| said["status"] == "ok") {
            let assets = item["item"]["assets"].as_array().unwrap();
            assert!(
                !assets.is_empty() && assets.iter().all(|asset| asset["image"]["width"].is_u64()),
                "{item}"
            );
        }
    }
}

/// Bands of several files, the finer one first, and clouds beside them.
#[test]
fn stac_items_of_several_files_agree() {
    let folder = tempfile::tempdir().unwrap();
    let Some(files) = items(folder.path()) else { return };
    let clouds = ["tiles.cloud_band=BQA", "tiles.cloud_bits=[4]", "tiles.max_cloud_fraction=0.2"];
    for (bands, more) in [("[\"pan\", \"red\"]", &clouds[..]), ("[\"nir\", \"red\"]", &[])] {
        let bands = format!("tiles.bands={bands}");
        let settings = [&["tiles.grid=regular", "tiles.size=512", bands.as_str()], more].concat();
        let case = Case::of(files.clone(), |folder| Echo::numbers(folder, &["a", "b"]), &settings);
        assert_eq!(case.compare(), set(&[]));
        let said = case.inspect();
        let read: Vec<usize> =
            said.values().filter_map(|said| Some(said["item"]["assets"].as_array()?.len())).collect();
        assert_eq!(read.iter().max(), Some(&(2 + more.len() / 3)), "files of an item");
    }
}
