//! `tilefleet demo`: the whole job on generated images.

mod head;
mod images;
mod radiology;
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;

use crate::cli::{block_on, show};
use crate::config::{Overrides, Pipeline};
use crate::maintenance::verify::{Depth, verify};
use crate::models::build::{BuildOptions, build};
use crate::models::resnet::Architecture;
use crate::models::weights::Weights;
use crate::output::{ParquetObject, Run, RunId};
use crate::runtime::{InstallOptions, install, locate};
use crate::stages::worker::{Job, Report};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::Provider;

/// The seed of the demo's weights.
const SEED: u64 = 152;

/// Runs the whole job on generated images: model, plan, run, verify, a head, a scene, radiology
///
/// Needs no accelerator, and a network only to fetch ONNX Runtime. Exits 0 although it contains rejects on purpose.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  tilefleet demo
  tilefleet demo --folder /tmp/demo")]
pub struct Args {
    /// The folder to write to
    #[arg(long, value_name = "FOLDER", default_value = "tilefleet-demo")]
    folder: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let folder = std::path::absolute(&args.folder).map_err(|error| {
        Error::config(format!("{} is not a folder", args.folder.display())).because(error)
    })?;
    step("ONNX Runtime");
    if locate(Provider::Cpu).is_err() {
        install(&InstallOptions::default())?;
    }
    step(&format!(
        "{} images, {} of them broken on purpose",
        images::NUM_SOUND + images::NUM_BROKEN,
        images::NUM_BROKEN
    ));
    images::write_all(&folder.join("images"))?;
    step(&format!("ResNet-152 with weights from seed {SEED}"));
    write_model(&folder.join("resnet152.onnx"))?;
    let pipeline = write_pipeline(&folder)?;

    step("plan and run");
    let job = Job::open(&Pipeline::load(Some(&pipeline), &Overrides::default())?)?;
    let report = crate::cli::run::work(&job)?;
    crate::cli::run::print(&job, &report);
    job.check_rejects(&report)?;

    step("verify");
    let (verdict, found) = block_on(async {
        let id = RunId::parse(run_id_of(&report))?;
        let run = Run::open(job.output(), &id).await?.ok_or_else(|| Error::bug("the run has no record"))?;
        Ok((verify(&run, Depth::Rows).await?, Found::read(&run).await?))
    })?;
    crate::cli::verify::print(&verdict);
    verdict.check()?;
    found.print();

    step("a head: a classifier of the images' kinds, fitted on their embeddings");
    let made = head::fit(&folder, job.output())?;
    println!(
        "fitted on {}; kinds.onnx is the network with it",
        show::counted(made.survey.num_fitted as u64, "labelled tile")
    );
    step(&format!("{} new images, by kinds.onnx", images::NUM_NEW));
    head::run_on_new(&folder, &pipeline, &made)?.print();

    step("a scene: windows of a four-band COG, and a map of their classes");
    scene::run(&folder)?;

    step("radiology: DICOM phantoms of patients whom nobody has met, with pseudonyms");
    radiology::run(&folder, &args.folder)?;
    say_what_next(&folder, &args.folder, &report);
    Ok(())
}

fn step(what: &str) {
    println!("\n── {what}");
}

fn write_model(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let architecture = Architecture::Resnet152;
    let weights = Weights::from_seed(SEED, architecture, 3, Some(1000));
    let options = BuildOptions::new(architecture, "resnet152-seeded", 3);
    build(&weights, &options)?.write(path, false)
}

/// Writes the pipeline file that this demo runs, for people to look at and change.
fn write_pipeline(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("demo.toml");
    let text = "# The pipeline of `tilefleet demo`: paths are relative to this file.\n\n\
                [input]\nuris = [\"images\"]\n\n\
                [plan]\nshard_tiles = 64             # small, so that the demo has several shards\n\n\
                [model]\nfile = \"resnet152.onnx\"\n\n\
                [output]\nuri = \"table\"\n";
    fs::write(&path, text)
        .map_err(|error| Error::unavailable(format!("cannot write {}", path.display())).because(error))?;
    Ok(path)
}

/// Reads some columns of all rows of a run.
async fn shard_rows(run: &Run, columns: &[&str]) -> Result<Vec<arrow::array::RecordBatch>> {
    let mut batches = Vec::new();
    for shard in run.committed().await?.shards {
        let key = run.shard_key(shard.number);
        let object = ParquetObject::open(&run.output.bucket, &key)
            .await?
            .ok_or_else(|| Error::unavailable(format!("{key} was listed, but does not exist any more")))?;
        batches.extend(object.read_columns(columns).await?);
    }
    Ok(batches)
}

/// What the table says, for printing.
#[derive(Default)]
struct Found {
    classes: BTreeMap<i32, u64>,
    rejects: Vec<(String, String, String)>,
}

impl Found {
    async fn read(run: &Run) -> Result<Self> {
        let mut found = Self::default();
        for batch in shard_rows(run, &["source", "status", "reason", "detail", "class_id"]).await? {
            found.add(&batch);
        }
        Ok(found)
    }

    fn add(&mut self, batch: &arrow::array::RecordBatch) {
        let text = |name: &str| batch[name].as_string::<i32>();
        let classes = batch["class_id"].as_primitive::<Int32Type>();
        for row in 0..batch.num_rows() {
            if classes.is_valid(row) {
                *self.classes.entry(classes.value(row)).or_default() += 1;
            }
            if text("status").value(row) == "rejected" {
                let source = text("source").value(row);
                let name = source.rsplit('/').next().unwrap_or(source).to_owned();
                self.rejects.push((name, text("reason").value(row).into(), text("detail").value(row).into()));
            }
        }
    }

    fn print(&self) {
        let mut classes: Vec<_> = self.classes.iter().collect();
        classes.sort_by_key(|(class, count)| (std::cmp::Reverse(**count), **class));
        println!("\nTiles by predicted class, the first of {}:", classes.len());
        for (class, count) in classes.iter().take(8) {
            println!("  {:>5}  class {class}", show::count(**count));
        }
        println!("\nRejects, each one row of the table:");
        for (name, reason, detail) in &self.rejects {
            println!("  {name:<22} {reason:<20} {detail}");
        }
    }
}

fn say_what_next(folder: &Path, as_given: &Path, report: &Report) {
    let shown = as_given.display();
    let question = if cfg!(feature = "query") {
        format!(
            "tilefleet query {shown}/table 'SELECT class_id, count(*) FROM predictions GROUP BY class_id'\n  "
        )
    } else {
        String::new()
    };
    println!(
        "\nThe table lies in {}/table/tiles, one Parquet file per shard.\n\
         The weights are random, so that the network's own classes mean nothing; what the head says of the\n\
         images' kinds does. Better embeddings come with trained weights:\n  \
         tilefleet model build --arch resnet152 --weights resnet152.safetensors --out resnet152.onnx\n\n\
         Try next:\n  \
         tilefleet run {shown}/demo.toml\n  \
         tilefleet rejects {shown}/table\n  \
         {question}\
         tilefleet verify {shown}/table --run {}\n  \
         tilefleet inspect {shown}/scene/scene.tif\n  \
         tilefleet inspect {shown}/studies --set tiles.grid=frames\n  \
         tilefleet model head {shown}/table --labels {shown}/labels.csv --held-out 0.5 --out my-kinds.onnx\n  \
         tilefleet run pipelines/tiles.toml --input FOLDER --model {shown}/resnet152.onnx --output my-table\n\
         The first finds nothing new; add an image to {shown}/images, and it covers just that.",
        folder.display(),
        run_id_of(report)
    );
}

fn run_id_of(report: &Report) -> &str {
    report.run_id.as_deref().unwrap_or_default()
}
