//! Which completed runs are current: of which `tiles` may show rows.
//!
//! A run that a pipeline planned is not, as long as more of its tiles or of its sources were rejected than the
//! limit that was planned with it, and nobody has accepted it. The first run of an output has nothing to replace, and is current.
//! This follows from the run's record and its shards alone, so that everybody decides alike. Retries replace
//! what is rejected already, compactions copy rows that are current; records of older versions have no limit.

use std::collections::BTreeSet;
use std::fmt;

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::input::storage::ObjectUri;
use crate::output::summary::{counts_of, counts_so_far, sum_up};
use crate::output::{AcceptedBecause, Output, Run, RunId, RunState, Scope, Snapshot};
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::Counts;

/// How many runs are judged at a time.
const AT_ONCE: usize = 16;

/// The completed runs of an output.
#[derive(Default)]
pub struct Current<'a> {
    /// Those that are current, in the order they came.
    pub runs: Vec<&'a Run>,
    /// Those that wait for somebody to accept them.
    pub withheld: BTreeSet<RunId>,
}

impl<'a> Current<'a> {
    /// Judges the runs of an output.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(standings: impl IntoIterator<Item = &'a RunState>) -> Result<Self> {
        let completed = |standing: &'a RunState| Some((standing, standing.completed()?));
        let completed: Vec<(&RunState, &Run)> = standings.into_iter().filter_map(completed).collect();
        let first = first(completed.iter().map(|(_, run)| *run));
        let doubtful = completed.iter().filter(|(standing, run)| {
            !standing.accepted && first != Some(&run.id) && run.record.max_reject_ratio.is_some()
        });
        let judged = stream::iter(doubtful).map(|(standing, run)| async move {
            let counts = counts_so_far(run, &standing.found.shards).await?;
            Ok::<_, crate::vocabulary::error::Error>(is_above(run, &counts).then(|| run.id.clone()))
        });
        let judged: Vec<Option<RunId>> = judged.buffered(AT_ONCE).try_collect().await?;
        let withheld: BTreeSet<RunId> = judged.into_iter().flatten().collect();
        let runs = completed.into_iter().map(|(_, run)| run).filter(|run| !withheld.contains(&run.id));
        Ok(Self { runs: runs.collect(), withheld })
    }
}

/// Returns the run that had nothing to replace; a compaction had, whichever it copied.
fn first<'a>(completed: impl Iterator<Item = &'a Run> + Clone) -> Option<&'a RunId> {
    let any_copy = completed.clone().any(|run| run.record.origin.is_compaction());
    let oldest = completed.min_by(|a, b| a.age().cmp(&b.age()));
    oldest.filter(|_| !any_copy).map(|run| &run.id)
}

/// Returns the share of a run that is rejected: of its tiles, or of its sources by their headers, whichever is more.
fn reject_ratio(run: &Run, counts: &Counts) -> f64 {
    let of_sources = run.sources.num_rejected() as f64 / run.record.plan.sources.max(1) as f64;
    counts.reject_ratio().max(of_sources)
}

fn is_above(run: &Run, counts: &Counts) -> bool {
    run.record.max_reject_ratio.is_some_and(|limit| reject_ratio(run, counts) > limit)
}

/// Names the command that makes a run current.
#[must_use]
pub fn how_to_accept(output: &ObjectUri, id: impl fmt::Display) -> String {
    format!("`tilefleet runs {output} accept {id}` makes it current")
}

/// Returns the runs of a family that are not current; those in `open` are not complete.
///
/// # Errors
///
/// As the store answers.
pub async fn withheld_of_family(
    output: &Output,
    family: &Snapshot,
    open: Option<&RunId>,
) -> Result<BTreeSet<RunId>> {
    let planned = family.runs.iter().filter(|standing| !standing.accepted);
    let planned = planned.filter_map(|standing| standing.run.planned());
    let doubtful = planned.filter(|run| run.record.max_reject_ratio.is_some() && Some(&run.id) != open);
    let above = stream::iter(doubtful).map(|run| async move {
        Ok::<_, crate::vocabulary::error::Error>(is_above(run, &counts_of(run).await?))
    });
    if !above.buffered(AT_ONCE).try_fold(false, async |any, above| Ok(any || above)).await? {
        return Ok(BTreeSet::new());
    }
    // Whether one of them is the output's first, only all runs tell.
    let all = output.snapshot(Scope::All).await?;
    Ok(Current::of(&all.runs).await?.withheld)
}

/// Sums up and settles the run before a new one, unless it was compacted and deleted meanwhile.
///
/// # Errors
///
/// As the store answers.
pub async fn sum_up_if_there(run: &Run) -> Result<()> {
    let settled = async {
        let summary = sum_up(run).await?;
        settle(run, &summary.counts, None).await
    };
    match settled.await {
        Err(_) if run.output.is_deleted(&run.id).await? => Ok(()),
        settled => settled.map(|_| ()),
    }
}

/// Returns whether a run that is complete by now is current, and writes down what makes it so.
///
/// - `counts`: its final ones
/// - `allowed`: share of rejects that whoever completes it allows; to allow more than was planned is to accept
///
/// # Errors
///
/// As the store answers.
pub async fn settle(run: &Run, counts: &Counts, allowed: Option<f64>) -> Result<bool> {
    if !is_above(run, counts) {
        return Ok(true);
    }
    let snapshot = run.output.snapshot(Scope::All).await?;
    let Some(standing) = snapshot.standing(&run.id).filter(|standing| standing.completed().is_some()) else {
        return Ok(false);
    };
    if standing.accepted {
        return Ok(true);
    }
    let withheld = Current::of(&snapshot.runs).await?.withheld.contains(&run.id);
    let why = match allowed {
        Some(allowed) if reject_ratio(run, counts) <= allowed => AcceptedBecause::Asked,
        _ if withheld => return Ok(false),
        _ => AcceptedBecause::First,
    };
    run.output.accept_run(&run.id, why).await.map(|()| true)
}
