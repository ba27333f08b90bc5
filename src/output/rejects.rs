//! Rejected tiles: which there are, and why.
//!
//! Goes in: an output, or one run of it. Comes out: the rejected rows, those that `tiles` shows or those of
//! the run. It reads the footers of shards, and of those that hold rejects the columns of identity and
//! outcome.

use arrow::array::{RecordBatch, StringArray};
use serde::Serialize;

use crate::output::current_rows::CurrentRows;
use crate::output::provenance::{COUNTS, in_file};
use crate::output::table::{BadColumn, StoredColumns, text_at, tile_id_at};
use crate::output::{Output, ParquetObject, Run, RunId, Scope, Snapshot};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::reason::Reason;
use crate::vocabulary::tile_id::TileId;

/// The columns that are read.
const COLUMNS: [&str; 6] = ["tile_id", "source", "source_version", "status", "reason", "detail"];

/// Where the row of a rejected tile is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retry {
    /// Its run.
    pub run: RunId,
    /// Its shard.
    pub shard: u32,
    /// The tile.
    pub tile: TileId,
}

/// One rejected tile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// The tile.
    pub tile_id: String,
    /// Its source.
    pub source: String,
    /// The source's version.
    pub source_version: Option<String>,
    /// The run.
    pub run: RunId,
    /// The shard.
    pub shard: u32,
    /// The fixed code.
    pub reason: String,
    /// Particulars for people.
    pub detail: Option<String>,
}

impl Reject {
    /// Returns where its row is.
    ///
    /// # Errors
    ///
    /// `Config` if the tile's id is not valid.
    pub fn place(&self) -> Result<Retry> {
        let tile = self
            .tile_id
            .parse::<TileId>()
            .map_err(|error| Error::config(format!("a row of run {} is damaged", self.run)).because(error))?;
        Ok(Retry { run: self.run.clone(), shard: self.shard, tile })
    }
}

/// Which rejects are asked for.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Only this run's, whether newer ones replace them or not.
    pub run: Option<RunId>,
    /// Only these reasons; empty: all.
    pub reasons: Vec<Reason>,
}

/// Finds the rejects that are asked for, in the order of runs and shards.
///
/// Memory: the rejects, and what [`CurrentRows::of`] needs.
///
/// # Errors
///
/// `Config` if there is no such run or a file is damaged; as the store answers otherwise.
pub async fn find(output: &Output, question: &Question) -> Result<Vec<Reject>> {
    let scope = Scope::of(question.run.as_ref());
    output.consistently(scope, async |snapshot: Snapshot| find_in(output, &snapshot, question).await).await
}

async fn find_in(output: &Output, snapshot: &Snapshot, question: &Question) -> Result<Vec<Reject>> {
    if snapshot.runs.is_empty() {
        return Err(snapshot.nothing(output, question.run.as_ref()));
    }
    let newest = match &question.run {
        Some(_) => None,
        None => Some(CurrentRows::of(snapshot).await?),
    };
    let mut rejects = Vec::new();
    for standing in &snapshot.runs {
        let Some(run) = standing.run.planned() else { continue };
        if newest.as_ref().is_some_and(|newest| !newest.runs.contains_key(&run.id)) {
            continue;
        }
        for shard in &standing.found.shards {
            append_shard(run, shard.number, newest.as_ref(), question, &mut rejects).await?;
        }
    }
    Ok(rejects)
}

async fn append_shard(
    run: &Run,
    number: u32,
    newest: Option<&CurrentRows>,
    question: &Question,
    rejects: &mut Vec<Reject>,
) -> Result<()> {
    let key = run.shard_key(number);
    let object = ParquetObject::open(&run.output.bucket, &key).await?.ok_or_else(|| {
        Error::unavailable(format!("{key} was listed, but does not exist any more")).hint("ask again")
    })?;
    if !may_hold(&object, &question.reasons) {
        return Ok(());
    }
    for batch in object.read_columns(&COLUMNS).await? {
        let columns = Columns::of(&batch).map_err(|bad| bad.in_shard(&key))?;
        for row in (0..batch.num_rows()).filter(|row| columns.is_asked_for(*row, &question.reasons)) {
            let id = tile_id_at(columns.tile_ids, row).map_err(|bad| bad.in_shard(&key))?;
            if newest.is_none_or(|newest| newest.is_current(&run.id, columns.sources.value(row), id)) {
                rejects.push(columns.reject(row, &run.id, number));
            }
        }
    }
    Ok(())
}

/// Returns whether the footer leaves it open that there are such rejects.
fn may_hold(object: &ParquetObject, reasons: &[Reason]) -> bool {
    let counts = object.key_values().remove(&in_file(COUNTS));
    let counts: Option<Counts> = counts.and_then(|counts| serde_json::from_str(&counts).ok());
    counts.is_none_or(|counts| {
        let any = reasons.is_empty() || reasons.iter().any(|it| counts.reasons.contains_key(it.code()));
        counts.rejected > 0 && any
    })
}

struct Columns<'a> {
    tile_ids: &'a StringArray,
    sources: &'a StringArray,
    versions: &'a StringArray,
    statuses: &'a StringArray,
    reasons: &'a StringArray,
    details: &'a StringArray,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, BadColumn> {
        let stored = StoredColumns(batch);
        Ok(Self {
            tile_ids: stored.text("tile_id")?,
            sources: stored.text("source")?,
            versions: stored.text("source_version")?,
            statuses: stored.text("status")?,
            reasons: stored.text("reason")?,
            details: stored.text("detail")?,
        })
    }

    /// Returns the reason's code; that of an earlier build is replaced by today's.
    fn reason(&self, row: usize) -> &'a str {
        Reason::current_code(self.reasons.value(row))
    }

    fn is_asked_for(&self, row: usize, reasons: &[Reason]) -> bool {
        self.statuses.value(row) == "rejected"
            && (reasons.is_empty() || reasons.iter().any(|it| it.code() == self.reason(row)))
    }

    fn reject(&self, row: usize, run: &RunId, shard: u32) -> Reject {
        let text = |column| text_at(column, row).map(str::to_owned);
        Reject {
            tile_id: self.tile_ids.value(row).to_owned(),
            source: self.sources.value(row).to_owned(),
            source_version: text(self.versions),
            run: run.clone(),
            shard,
            reason: self.reason(row).to_owned(),
            detail: text(self.details),
        }
    }
}
