//! `summary.json`: the final counts of a run, the same whoever writes them.
//!
//! Several workers may see that a run is complete. Whoever creates this object judges the run: it alone exits 65 if too
//! much was rejected.
//!
//! ```text
//! every shard is committed ─▶ by this worker the last one? ─ yes ─▶ read all footers ─▶ PUT summary.json if absent
//!                                         └─ no ─▶ look for summary.json, for a while ─▶ not there: do it
//! ```

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};

use crate::input::storage::{Put, StoreError};
use crate::output::provenance::{is_our_own, read_counts};
use crate::output::{CommittedShard, Run, RunId};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::words::{counted, form};

/// A summary is small; a larger one is not ours.
const MAX_SUMMARY_BYTES: u64 = 1 << 20;

/// Requests for footers under way at once.
const FOOTERS_AT_ONCE: usize = 16;

/// A worker waits at least so long for another one's summary.
const PATIENCE: Duration = Duration::from_secs(5);

/// And so much longer for each shard: two requests of 80 ms, as many shards at a time as above.
const PATIENCE_PER_SHARD: Duration = Duration::from_millis(10);

/// But no longer than this: that worker may have died.
const MAX_PATIENCE: Duration = Duration::from_mins(1);

/// Time to the first look for another one's summary; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

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
    /// Who judges the run, the first to sum it up: a process, or a task of an array job, which is the same one when it is
    /// started again. Summaries of older versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<String>,
}

impl Summary {
    /// Returns whether this process or task judges the run.
    #[must_use]
    pub fn is_judged_by(&self, name: &str) -> bool {
        self.judge.as_deref() == Some(name)
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
    sum_up_as(run, run.output.process.name()).await
}

/// Sums up a run that this worker has worked on, as others may have that end in the same moment: whoever has committed
/// last does it, and the others wait for that.
///
/// - `judge`: what this process or task is called
///
/// # Errors
///
/// As [`sum_up`].
pub async fn sum_up_in_turn(run: &Run, judge: &str) -> Result<Summary> {
    if let Some(summary) = read(run).await? {
        return Ok(summary);
    }
    if another_was_last(run).await?
        && let Some(summary) = wait_for_another(run).await?
    {
        return Ok(summary);
    }
    count_and_write(run, judge).await
}

/// Returns whether another process has committed the last shard of a complete run.
async fn another_was_last(run: &Run) -> Result<bool> {
    let committed = run.committed().await?.shards;
    if committed.len() < run.num_shards() as usize {
        return Ok(false);
    }
    // Stores tell whole seconds: the number decides, so that it is the same shard for everybody.
    match committed.iter().max_by_key(|shard| (shard.committed_at, shard.number)) {
        Some(last) => Ok(!is_our_own(run, last.number).await?),
        None => Ok(false),
    }
}

async fn wait_for_another(run: &Run) -> Result<Option<Summary>> {
    let process = &run.output.process;
    // If nobody comes, not all of those that wait are to begin at once.
    let patience = (PATIENCE + PATIENCE_PER_SHARD * run.num_shards()).min(MAX_PATIENCE);
    let patience = process.jittered(patience);
    let (mut waited, mut pause) = (Duration::ZERO, FIRST_PAUSE);
    while waited < patience {
        let now = process.jittered(pause).min(patience.saturating_sub(waited));
        process.sleep(now).await;
        if let Some(summary) = read(run).await? {
            return Ok(Some(summary));
        }
        waited += now;
        pause *= 2;
    }
    Ok(None)
}

/// Sums up at once.
///
/// - `judge`: what this process or task is called
///
/// # Errors
///
/// As [`sum_up`].
pub async fn sum_up_as(run: &Run, judge: &str) -> Result<Summary> {
    match read(run).await? {
        Some(summary) => Ok(summary),
        None => count_and_write(run, judge).await,
    }
}

/// Sums up where nobody has, unless another one is quicker.
async fn count_and_write(run: &Run, judge: &str) -> Result<Summary> {
    let (summary, key) = (count(run, judge).await?, run.output.layout.summary(&run.id));
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

async fn count(run: &Run, judge: &str) -> Result<Summary> {
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
        judge: Some(judge.to_owned()),
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
    let footers = committed.iter().copied().map(|shard| async move { read_counts(run, &shard).await });
    let mut counts = Counts::default();
    let mut footers = futures::stream::iter(footers).buffered(FOOTERS_AT_ONCE);
    while let Some(shard) = footers.next().await {
        counts.merge(&shard?);
    }
    Ok(counts)
}
