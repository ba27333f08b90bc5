//! A small job in a temporary folder: images, a small ResNet, a pipeline file and an output.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int32Type};
use libjpeg_turbo_rs::{PixelFormat, Subsampling};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support;

/// A job in a folder of its own.
pub struct Job {
    pub folder: tempfile::TempDir,
    pub pipeline: PathBuf,
}

/// One row as the tests look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub tile_id: String,
    pub source: String,
    pub source_version: Option<String>,
    pub status: String,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub class_id: Option<i32>,
    pub label: Option<String>,
    pub score: Option<f32>,
    pub embedding: Option<Vec<f32>>,
}

impl Row {
    /// The last part of the source's URI.
    pub fn file(&self) -> &str {
        self.source.rsplit('/').next().unwrap()
    }
}

impl Job {
    /// Makes `num_images` sound JPEGs below `images/`, and a pipeline over them.
    pub fn new(num_images: usize, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        let pipeline = folder.path().join("photos.toml");
        let text = format!(
            "[input]\nuris = [\"images\"]\n[model]\nfile = \"{}\"\n[output]\nuri = \"table\"\n{settings}\n",
            small_model().display()
        );
        fs::write(&pipeline, text).unwrap();
        let job = Self { folder, pipeline };
        (0..num_images).for_each(|index| job.write_image(&format!("{index:05}.jpg"), &jpeg(index)));
        job
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn table(&self) -> PathBuf {
        self.path("table")
    }

    pub fn write_image(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path("images").join(name), bytes).unwrap();
    }

    /// `tilefleet run`, with further arguments.
    pub fn run_command(&self, arguments: &[&str]) -> Command {
        let mut command = support::tilefleet();
        command.arg("run").arg(&self.pipeline).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_command(arguments).output().unwrap()
    }

    pub fn verify(&self) -> Output {
        support::tilefleet().arg("verify").arg(self.table()).arg("--json").output().unwrap()
    }

    /// Runs and expects success.
    pub fn run_ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_exit(&output, 0);
        String::from_utf8(output.stdout).unwrap()
    }

    /// `verify` proves the output, and each of so many images has one row.
    pub fn each_image_has_one_row(&self, num_images: usize) {
        self.verify_ok();
        let rows = rows(&self.table());
        let ids: BTreeSet<&String> = rows.iter().map(|row| &row.tile_id).collect();
        assert_eq!((rows.len(), ids.len()), (num_images, num_images));
    }

    pub fn verify_ok(&self) -> serde_json::Value {
        let output = self.verify();
        assert_exit(&output, 0);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Sends a signal to a worker, by its name.
pub fn signal(worker: &Child, name: &str) {
    let pid = worker.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
}

/// Waits for the end of a worker.
pub fn ended(worker: Child) -> Output {
    worker.wait_with_output().unwrap()
}

/// Waits until something is so, a minute at most.
pub fn wait_until(what: &str, so: impl Fn() -> bool) {
    let give_up = Instant::now() + Duration::from_mins(1);
    while !so() {
        assert!(Instant::now() < give_up, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails with everything the command printed.
pub fn assert_exit(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout:\n{}\nstderr:\n{}",
        String::from_utf8_lossy(&output.stdout),
        stderr(output)
    );
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A seeded ResNet-18 for 64×64 inputs and 10 classes: real, and fast enough for many runs.
pub fn small_model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    let arguments = ["--arch", "resnet18", "--classes", "10", "--size", "64", "--resize", "72"];
    MODEL.get_or_init(|| model("small", &arguments))
}

/// Builds a model once for all tests of this process.
pub fn model(name: &str, arguments: &[&str]) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap();
    built.entry(name.to_owned()).or_insert_with(|| build_model(name, arguments)).clone()
}

fn build_model(name: &str, arguments: &[&str]) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("models-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.onnx"));
    let mut command = support::tilefleet();
    let seed = if arguments.contains(&"--seed") { &[][..] } else { &["--seed", "7"] };
    command.args(["model", "build"]).args(seed).args(arguments).arg("--out").arg(&path);
    assert_exit(&command.output().unwrap(), 0);
    path
}

/// The 480 `MedNIST` images through a seeded ResNet-152, computed once for all tests of this process.
pub struct Mednist {
    pub folder: PathBuf,
}

impl Mednist {
    pub fn of(data: &Path) -> &'static Self {
        static MEDNIST: OnceLock<Mednist> = OnceLock::new();
        MEDNIST.get_or_init(|| {
            let folder =
                PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("mednist-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let images = data.join("medical/mednist");
            let text = format!(
                "[input]\nuris = [\"{}\"]\n[model]\nfile = \"{}\"\n[output]\nuri = \"table\"\n[plan]\nshard_tiles = 100\n",
                images.display(),
                model("resnet152", &["--arch", "resnet152"]).display()
            );
            fs::write(folder.join("mednist.toml"), text).unwrap();
            let mut command = support::tilefleet();
            command.arg("run").arg(folder.join("mednist.toml"));
            assert_exit(&command.output().unwrap(), 0);
            Self { folder }
        })
    }

    pub fn table(&self) -> PathBuf {
        self.folder.join("table")
    }
}

/// A JPEG whose size, colours and pattern depend on the index.
pub fn jpeg(index: usize) -> Vec<u8> {
    let (width, height) = (70 + index % 37, 64 + index % 23);
    let pixels = pixels(index, width, height);
    libjpeg_turbo_rs::compress(&pixels, width, height, PixelFormat::Rgb, 90, Subsampling::S420).unwrap()
}

/// An RGB PNG of 8 or 16 bits.
pub fn png(index: usize, sixteen_bit: bool) -> Vec<u8> {
    let (width, height) = (80, 72);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut samples = pixels(index, width as usize, height as usize);
    if sixteen_bit {
        encoder.set_depth(png::BitDepth::Sixteen);
        samples = samples.into_iter().flat_map(|sample| [sample, sample]).collect();
    }
    encoder.write_header().unwrap().write_image_data(&samples).unwrap();
    bytes
}

fn pixels(index: usize, width: usize, height: usize) -> Vec<u8> {
    let pixel = |x: usize, y: usize| {
        let wave = (x * (1 + index % 7) + y * (1 + index % 5)) % 256;
        [wave as u8, (wave / 2 + index * 13 % 128) as u8, ((x ^ y) + index * 7) as u8]
    };
    (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect()
}

/// All shard files of an output, by run id and file name.
pub fn shard_files(table: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for run in fs::read_dir(table.join("tiles")).into_iter().flatten().map(Result::unwrap) {
        // A folder may be deleted while it is looked at.
        for file in fs::read_dir(run.path()).into_iter().flatten().flatten() {
            let name = format!("{}/{}", run.file_name().display(), file.file_name().display());
            files.insert(name, file.path());
        }
    }
    files
}

/// All rows of an output in order of run, shard and row.
pub fn rows(table: &Path) -> Vec<Row> {
    shard_files(table).values().flat_map(|path| rows_of_file(path)).collect()
}

/// All rows that `tiles` shows, in order of source.
#[cfg(feature = "query")]
pub fn shown(table: &Path) -> Vec<Row> {
    rows_of_batch(&shown_columns(table, "*"))
}

/// Some columns of `tiles`, in order of source; embeddings come as they lie in the files.
#[cfg(feature = "query")]
pub fn shown_columns(table: &Path, columns: &str) -> RecordBatch {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("tiles.parquet");
    let mut command = support::tilefleet();
    command.arg("query").arg(table).arg(format!("SELECT {columns} FROM tiles ORDER BY source, tile_id"));
    command.args(["--format", "parquet", "--out"]).arg(&out);
    assert_exit(&command.output().unwrap(), 0);
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&out).unwrap()).unwrap();
    let schema = reader.schema().clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// Reads all rows of one file.
pub fn rows_of_file(path: &Path) -> Vec<Row> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    reader.build().unwrap().flat_map(|batch| rows_of_batch(&batch.unwrap())).collect()
}

/// Reads the rows of one record batch.
pub fn rows_of_batch(batch: &RecordBatch) -> Vec<Row> {
    let text = |name: &str, row: usize| {
        let column = batch[name].as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let classes = batch["class_id"].as_primitive::<Int32Type>();
    let scores = batch["score"].as_primitive::<Float32Type>();
    let embeddings = batch["embedding"].as_fixed_size_list();
    let row = |row: usize| Row {
        tile_id: text("tile_id", row).unwrap(),
        source: text("source", row).unwrap(),
        source_version: text("source_version", row),
        status: text("status", row).unwrap(),
        reason: text("reason", row),
        detail: text("detail", row),
        class_id: classes.is_valid(row).then(|| classes.value(row)),
        label: text("label", row),
        score: scores.is_valid(row).then(|| scores.value(row)),
        embedding: embeddings
            .is_valid(row)
            .then(|| embeddings.value(row).as_primitive::<Float32Type>().values().to_vec()),
    };
    (0..batch.num_rows()).map(row).collect()
}
