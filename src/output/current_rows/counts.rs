//! How many rows `tiles` shows, and what became of them.

use arrow::array::RecordBatch;
use serde::Serialize;

use super::{CurrentRows, Replaced};
use crate::output::provenance::{COUNTS, in_file};
use crate::output::summary::counts_so_far;
use crate::output::table::{BadColumn, StoredColumns, text_at, tile_id_at};
use crate::output::{Output, ParquetObject, Run, Scope, Snapshot};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::reason::Reason;

/// The columns that are read of files in which some rows are replaced.
const COLUMNS: [&str; 4] = ["tile_id", "source", "status", "reason"];

/// The rows that `tiles` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Their number.
    pub tiles: u64,
    /// Their outcomes.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Counts the rows that `tiles` shows; `None` if the runs have more sources than `most_sources`.
///
/// ```
/// use tilefleet::input::storage::{ObjectUri, Storage, StorageOptions};
/// use tilefleet::output::Output;
/// use tilefleet::output::current_rows::count_shown;
/// use tilefleet::vocabulary::process::Process;
///
/// let storage = Storage::new(StorageOptions::default())?;
/// let uri = ObjectUri::parse("tests/fixtures/earlier/bucket/photos")?;
/// let output = Output::open(&storage, &uri, Process::real());
///
/// let shown = tokio::runtime::Runtime::new()?.block_on(count_shown(&output, u64::MAX))?.expect("few sources");
/// assert_eq!((shown.tiles, shown.counts.ok, shown.counts.rejected), (9, 8, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Memory: as [`CurrentRows::of`].
///
/// # Errors
///
/// `Config` if a file is damaged; as the store answers otherwise.
pub async fn count_shown(output: &Output, most_sources: u64) -> Result<Option<Shown>> {
    if most_sources == 0 {
        return Ok(None);
    }
    let count = async |snapshot: Snapshot| {
        let runs = snapshot.runs.iter().filter_map(|standing| standing.run.planned());
        if runs.map(|run| run.record.plan.sources).sum::<u64>() > most_sources {
            return Ok(None);
        }
        CurrentRows::of(&snapshot).await?.count(&snapshot).await.map(Some)
    };
    output.consistently(Scope::All, count).await
}

impl CurrentRows {
    /// Counts the rows that `tiles` shows.
    ///
    /// # Errors
    ///
    /// `Config` if a file is damaged; as the store answers otherwise.
    pub async fn count(&self, snapshot: &Snapshot) -> Result<Shown> {
        let mut counts = Counts::default();
        for standing in &snapshot.runs {
            let Some(run) = standing.run.planned() else { continue };
            let Some(replaced) = self.runs.get(&run.id) else { continue };
            if *replaced == Replaced::default() {
                counts.merge(&counts_so_far(run, &standing.found.shards).await?);
                continue;
            }
            for shard in &standing.found.shards {
                counts.merge(&count_shard(run, shard.number, replaced).await?);
            }
        }
        Ok(Shown { tiles: counts.tiles(), counts })
    }
}

async fn count_shard(run: &Run, number: u32, replaced: &Replaced) -> Result<Counts> {
    let key = run.shard_key(number);
    let object = ParquetObject::open(&run.output.bucket, &key).await?.ok_or_else(|| {
        Error::unavailable(format!("{key} was listed, but does not exist any more")).hint("ask again")
    })?;
    let said = object.key_values().remove(&in_file(COUNTS));
    let said: Option<Counts> = said.and_then(|said| serde_json::from_str(&said).ok());
    let mut counts = Counts::default();
    if said.is_some_and(|said| said.skipped + said.rejected == 0) {
        let tiles = run.shard(number).await?.tiles;
        counts.ok = tiles.iter().filter(|tile| replaced.shows(tile)).count() as u64;
        return Ok(counts);
    }
    for batch in object.read_columns(&COLUMNS).await? {
        add_rows(&batch, replaced, &mut counts).map_err(|bad| bad.in_shard(&key))?;
    }
    Ok(counts)
}

/// Counts the rows of a record batch that are not replaced.
fn add_rows(batch: &RecordBatch, replaced: &Replaced, counts: &mut Counts) -> Result<(), BadColumn> {
    let stored = StoredColumns(batch);
    let (tiles, sources) = (stored.text("tile_id")?, stored.text("source")?);
    let (statuses, reasons) = (stored.text("status")?, stored.text("reason")?);
    for row in 0..batch.num_rows() {
        if !replaced.is_current(sources.value(row), tile_id_at(tiles, row)?) {
            continue;
        }
        match statuses.value(row) {
            "ok" => counts.ok += 1,
            "skipped" => counts.skipped += 1,
            _ => counts.rejected += 1,
        }
        if let Some(reason) = text_at(reasons, row) {
            *counts.reasons.entry(Reason::current_code(reason).to_owned()).or_default() += 1;
        }
    }
    Ok(())
}
