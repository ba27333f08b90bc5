//! What the table says of the phantoms, for printing: keys where names were.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;

use super::writer::Syntax;
use crate::cli::demo::shard_rows;
use crate::cli::show;
use crate::output::Run;
use crate::vocabulary::error::Result;

/// Columns that are read.
const COLUMNS: [&str; 9] = [
    "source",
    "status",
    "reason",
    "detail",
    "modality",
    "patient_key",
    "study_key",
    "transfer_syntax",
    "slice_position",
];

/// Frames of one study that a modality made.
struct Frames {
    patient: String,
    study: String,
    modality: String,
    num: u64,
    /// Positions of its slices, in mm.
    slices: Vec<f64>,
}

/// What the table says.
#[derive(Default)]
pub(super) struct Found {
    /// In the order of the table: sources are in the order of their URIs.
    frames: Vec<Frames>,
    by_syntax: BTreeMap<String, u64>,
    rejects: Vec<[String; 3]>,
}

/// Returns as much of a key as tells it from the others of a small table.
fn short(key: &str) -> &str {
    key.get(..8).unwrap_or(key)
}

impl Found {
    pub(super) async fn read(run: &Run) -> Result<Self> {
        let mut found = Self::default();
        for batch in shard_rows(run, &COLUMNS).await? {
            (0..batch.num_rows()).for_each(|row| found.add(&batch, row));
        }
        Ok(found)
    }

    fn add(&mut self, batch: &RecordBatch, row: usize) {
        let text = |name: &str| batch[name].as_string::<i32>().value(row);
        if text("status") == "rejected" {
            self.rejects.push([short(text("source")), text("reason"), text("detail")].map(str::to_owned));
            return;
        }
        *self.by_syntax.entry(text("transfer_syntax").to_owned()).or_default() += 1;
        let positions = batch["slice_position"].as_primitive::<Float64Type>();
        let position = positions.is_valid(row).then(|| positions.value(row));
        let frames = self.frames_of([text("patient_key"), text("study_key"), text("modality")]);
        frames.num += 1;
        frames.slices.extend(position);
    }

    fn frames_of(&mut self, [patient, study, modality]: [&str; 3]) -> &mut Frames {
        let is_it = |it: &Frames| it.study == study && it.modality == modality;
        let at = self.frames.iter().position(is_it).unwrap_or_else(|| {
            let [patient, study, modality] = [patient, study, modality].map(str::to_owned);
            self.frames.push(Frames { patient, study, modality, num: 0, slices: Vec::new() });
            self.frames.len() - 1
        });
        &mut self.frames[at]
    }

    pub(super) fn print(&self) {
        println!("\nFrames by patient and study, whose keys begin with:");
        self.frames.iter().for_each(Frames::print);
        println!("\nFrames by transfer syntax:");
        for syntax in Syntax::ALL {
            let num = self.by_syntax.get(syntax.uid()).copied().unwrap_or_default();
            println!("  {:<23} {}", syntax.name(), show::count(num));
        }
        println!("\nRejects, each one row of the table:");
        for [source, reason, detail] in &self.rejects {
            println!("  {source:<10} {reason:<10} {detail}");
        }
    }
}

impl Frames {
    fn print(&self) {
        let (least, greatest) =
            (self.slices.iter().copied().reduce(f64::min), self.slices.iter().copied().reduce(f64::max));
        let slices = match (least, greatest) {
            (Some(least), Some(greatest)) if least < greatest => {
                format!(", slices from {least} to {greatest} mm")
            }
            (Some(position), _) => format!(", slice at {position} mm"),
            _ => String::new(),
        };
        let (patient, study) = (short(&self.patient), short(&self.study));
        println!(
            "  patient {patient}  study {study}  {}  {}{slices}",
            self.modality,
            show::counted(self.num, "frame")
        );
    }
}
