//! `summary.json`: the final counts of a run, the same whoever writes them.
//!
//! Several workers may see that a run is complete. Whoever creates this object judges the run: it alone exits 65 if too
//! much was rejected.

use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::input::storage::{Put, StoreError};
use crate::output::provenance::read_counts;
use crate::output::{CommittedShard, Run, RunId};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::process::Process;
use crate::vocabulary::words::{counted, form};

/// A summary is small; a larger one is not ours.
const MAX_SUMMARY_BYTES: u64 = 1 << 20;

/// Requests for footers under way at once.
const FOOTERS_AT_ONCE: usize = 16;

/// The final counts of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The run.
    pub run_id: String,
    /// Number of sources.
    pub sources: u64,
    /// Number of shards.
    pub shards: u32,
    /// Number of tiles.
    pub tiles: u64,
    /// Their outcomes.
    #[serde(flatten)]
    pub counts: Counts,
    /// The process that judges the run: the first to sum it up. Summaries of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
}

impl Summary {
    /// Returns whether this process judges the run.
    #[must_use]
    pub fn is_judged_by(&self, process: &Process) -> bool {
        self.judge.as_deref() == Some(process.name())
    }

    /// Returns whether its totals are those of the run's plan.
    fn is_of(&self, run: &Run) -> bool {
        let (plan, counts) = (&run.record.plan, &self.counts);
        let reasons = counts.reasons.values().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let totals = (self.sources, self.shards, self.tiles, counts.tiles());
        self.run_id == run.id.to_string()
            && totals == (plan.sources, plan.shards, plan.tiles, plan.tiles)
            && reasons == counts.skipped + counts.rejected
    }
}

/// Returns the final counts of a complete run; writes them if nobody has. Everyone who does counts the same.
///
/// # Errors
///
/// `Unavailable` if the run is not complete; as the store answers otherwise.
pub async fn sum_up(run: &Run) -> Result<Summary> {
    if let Some(summary) = read(run).await? {
        return Ok(summary);
    }
    let (summary, key) = (count(run).await?, run.output.layout.summary(&run.id));
    if run.output.create(&key, encoded(&summary)?).await? == Put::Created {
        run.output.take_back_if_deleted(&run.id, &key).await?;
        return Ok(summary);
    }
    if let Some(first) = read(run).await? {
        // Ours too, if the answer to our write was lost.
        return Ok(first);
    }
    // What is there is damaged, and whoever wrote it has judged the run.
    let summary = Summary { judge: None, ..summary };
    run.output.bucket.put_replace(&key, encoded(&summary)?).await?;
    run.output.take_back_if_deleted(&run.id, &key).await?;
    Ok(summary)
}

fn encoded(summary: &Summary) -> Result<Bytes> {
    let mut json = serde_json::to_vec_pretty(summary)
        .map_err(|error| Error::bug("cannot write the summary").because(error))?;
    json.push(b'\n');
    Ok(json.into())
}

/// Returns the counts of a run as far as it has got, writing nothing.
///
/// - `committed`: its committed shards
///
/// # Errors
///
/// As the store answers.
pub async fn counts_so_far(run: &Run, committed: &[CommittedShard]) -> Result<Counts> {
    match read(run).await? {
        Some(summary) => Ok(summary.counts),
        None => add_up(run, committed).await,
    }
}

/// Returns the counts of a complete run, writing nothing.
///
/// # Errors
///
/// As the store answers.
pub async fn counts_of(run: &Run) -> Result<Counts> {
    match read(run).await? {
        Some(summary) => Ok(summary.counts),
        None => add_up(run, &run.committed().await?.shards).await,
    }
}

async fn read(run: &Run) -> Result<Option<Summary>> {
    let key = run.output.layout.summary(&run.id);
    match run.output.bucket.get(&key, MAX_SUMMARY_BYTES).await {
        // One that cannot be read, or is not of this run, is counted anew.
        Ok(object) => {
            let summary: Option<Summary> = serde_json::from_slice(&object.bytes).ok();
            Ok(summary.filter(|summary| summary.is_of(run)))
        }
        Err(StoreError::Gone) => Ok(None),
        Err(fault) => Err(fault.into_error(&key)),
    }
}

async fn count(run: &Run) -> Result<Summary> {
    let plan = &run.record.plan;
    let committed = run.committed().await?.shards;
    if run.output.is_deleted(&run.id).await? {
        return Err(deleted_meanwhile(&run.id));
    }
    let open = plan.shards as usize - committed.len();
    if open > 0 {
        let open = open as u64;
        let (shards, are) = (counted(open, "shard"), form(open, "is", "are"));
        let message = format!("{shards} of run {} {are} open, although each was processed", run.id);
        return Err(Error::unavailable(message).hint("run the same command again to resume"));
    }
    Ok(Summary {
        run_id: run.id.to_string(),
        sources: plan.sources,
        shards: plan.shards,
        tiles: plan.tiles,
        counts: add_up(run, &committed).await?,
        judge: Some(run.output.process.name().to_owned()),
    })
}

/// Says that a worker's run was deleted.
#[must_use]
pub fn deleted_meanwhile(id: &RunId) -> Error {
    Error::unavailable(format!("run {id} was deleted while it was in progress"))
        .hint("run the same command again to plan a new run")
}

/// Adds up what the footers of shards say.
async fn add_up(run: &Run, committed: &[CommittedShard]) -> Result<Counts> {
    let keys: Vec<String> = committed.iter().map(|shard| run.shard_key(shard.number)).collect();
    let footers = keys.into_iter().map(|key| async move { read_counts(&run.output.bucket, &key).await });
    let mut counts = Counts::default();
    let mut footers = futures::stream::iter(footers).buffered(FOOTERS_AT_ONCE);
    while let Some(shard) = footers.next().await {
        counts.merge(&shard?);
    }
    Ok(counts)
}
