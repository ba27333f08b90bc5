//! The part of the demo that makes random weights say something: a head, and what it says of new images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::{images, shard_rows};
use crate::answers::head::{LabelFile, Labels, Request};
use crate::cli::model::head::{Job, Made};
use crate::cli::{block_on, show};
use crate::config::{Overrides, Pipeline};
use crate::input::storage::{Storage, StorageOptions};
use crate::output::{Output, Run, RunId};
use crate::vocabulary::contract::HeadKind;
use crate::vocabulary::error::{Error, Result};

/// What the head came to.
pub(super) struct Kinds {
    /// Share of right predictions on the tiles held out.
    accuracy: f64,
    num_held_out: usize,
    /// Of each kind: new images, and how many got the right label.
    new: BTreeMap<String, (u64, u64)>,
}

/// Fits a head on the kinds of the images in `output`, and writes labels and model into `folder`.
pub(super) fn fit(folder: &Path, output: &Output) -> Result<Made> {
    let labels = folder.join("labels.csv");
    fs::write(&labels, images::labels("images"))
        .map_err(|error| Error::unavailable(format!("cannot write {}", labels.display())).because(error))?;
    let storage = Storage::new(StorageOptions::default())?;
    let labels = block_on(LabelFile::read(&storage, &labels.display().to_string(), None, None, None))?;
    let request = Request {
        run: None,
        kind: HeadKind::Logistic,
        l2: 1.0,
        held_out: 0.2,
        group: None,
        seed: 0,
        max_tiles: None,
    };
    let (labels, storage) = (Labels::File(labels), StorageOptions::default());
    let job = Job { output: output.clone(), storage, labels, request };
    let made = job.make(None, Some("demo-kinds"), |_| Ok(()))?;
    made.built.write(&folder.join("kinds.onnx"), true)?;
    Ok(made)
}

/// Runs the model with the head on images that nobody has labelled.
pub(super) fn run_on_new(folder: &Path, pipeline: &Path, made: &Made) -> Result<Kinds> {
    images::write_more(&folder.join("new"))?;
    let path = |name: &str| folder.join(name).display().to_string();
    let overrides = Overrides {
        inputs: vec![path("new")],
        model: Some(PathBuf::from(path("kinds.onnx"))),
        output: Some(path("kinds-table")),
        ..Overrides::default()
    };
    let job = crate::cli::run::open(&Pipeline::load(Some(pipeline), &overrides)?)?;
    let report = crate::cli::run::work(&job)?;
    job.check_rejects(&report)?;
    let new = block_on(async {
        let id = RunId::parse(super::run_id_of(&report))?;
        let run = Run::open(job.output(), &id).await?.ok_or_else(|| Error::bug("the run has no record"))?;
        let mut new = BTreeMap::new();
        for batch in shard_rows(&run, &["source", "label"]).await? {
            count_right(&batch, &mut new);
        }
        Ok(new)
    })?;
    let accuracy = made.trained.on_held_out.accuracy.unwrap_or_default();
    Ok(Kinds { accuracy, num_held_out: made.survey.num_held_out(), new })
}

/// Counts by kind, which is the name of an image's folder.
fn count_right(batch: &arrow::array::RecordBatch, new: &mut BTreeMap<String, (u64, u64)>) {
    use arrow::array::AsArray;
    let (sources, labels) = (batch["source"].as_string::<i32>(), batch["label"].as_string::<i32>());
    for (source, label) in sources.iter().zip(labels).filter_map(|(source, label)| source.zip(label)) {
        let kind = source.rsplit('/').nth(1).unwrap_or_default();
        let (all, right) = new.entry(kind.to_owned()).or_default();
        *all += 1;
        *right += u64::from(kind == label);
    }
}

impl Kinds {
    pub(super) fn print(&self) {
        println!(
            "Of {} held out, the head gets {:.0} % right. Of new images:",
            show::counted(self.num_held_out as u64, "labelled image"),
            100.0 * self.accuracy
        );
        for (kind, (all, right)) in &self.new {
            println!("  {kind:<8} {right} of {all}");
        }
    }
}
