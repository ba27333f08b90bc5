//! Proves from the plan and the files alone that every planned tile has exactly one row.
//!
//! Goes in: an output, or one run of it. Comes out: a [`Verdict`] a run. It trusts no listing of the
//! worker, no queue and no summary, and it is the oracle of every fault test.
//!
//! ```text
//! tiles/ listed ─▶ records ─▶ each plan: its digest, its sources,  ─▶ each committed shard:
//! (nothing else               no tile twice, no source without        the planned tiles, in order,
//!  lies there)                                                         with outcomes that hold together
//! ```
//!
//! That `ok` rows have an embedding and no others do is proven by number for each row group, from the
//! footer; which row a null stands in, and what the embeddings are, is not read.

mod plan;
mod rows;

use serde::Serialize;

use crate::commit::Counts;
use crate::error::{Error, Kind, Result};
use crate::plan::{Committed, KnownRun, Output, Run, RunId, Table, is_damaged};

/// So many violations are listed one by one; the rest is counted.
const MAX_LISTED: usize = 100;

/// What [`verify`] found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The run; `None` for what lies in the table's folder and belongs to no run.
    pub run_id: Option<String>,
    /// Whether the plan is complete; until then there is nothing to compare with.
    pub planned: bool,
    /// Planned shards.
    pub shards: u32,
    /// Committed shards.
    pub committed: u32,
    /// Planned tiles.
    pub tiles: u64,
    /// Rows found in committed shards.
    pub rows: u64,
    /// Their outcomes.
    pub counts: Counts,
    /// How many things are wrong.
    pub num_violations: u64,
    /// The first of them.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Returns whether every planned tile has its row.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.planned && self.committed == self.shards
    }

    /// Returns what the verdict is about, for messages.
    #[must_use]
    pub fn subject(&self) -> String {
        self.run_id.as_ref().map_or_else(|| "the table's folder".to_owned(), |id| format!("run {id}"))
    }

    /// Turns the verdict into the command's result.
    ///
    /// # Errors
    ///
    /// `Bug` (70) if the invariant is violated, `Unavailable` (75) if the run or its plan is not complete.
    pub fn check(&self) -> Result<()> {
        if self.num_violations > 0 {
            let message =
                format!("{} violates the invariant in {} places", self.subject(), self.num_violations);
            return Err(Error::new(Kind::Bug, message)
                .hint("the places are listed above; keep the output as it is and report this"));
        }
        if self.complete() {
            return Ok(());
        }
        let what = if self.planned {
            format!("{} of {} shards are open", self.shards - self.committed, self.shards)
        } else {
            "its plan is not published yet".to_owned()
        };
        Err(Error::unavailable(format!("{} is not complete: {what}", self.subject()))
            .hint("run the pipeline again to go on"))
    }

    fn violation(&mut self, what: String) {
        self.num_violations += 1;
        if self.violations.len() < MAX_LISTED {
            self.violations.push(what);
        }
    }
}

/// Checks all runs of an output and that nothing else lies in the table's folder, or only one run and
/// its folder. Returns a verdict a run, and one more if something belongs to no run; none if there is
/// no such run.
///
/// Memory: 32 bytes a committed shard of the whole listing and the keys of all that is no shard; the footers
/// of all runs' tables of sources; and what [`verify`] needs for one run.
///
/// # Errors
///
/// As the store answers. What is wrong with the runs is in the verdicts instead.
pub async fn verify_output(output: &Output, only: Option<&RunId>) -> Result<Vec<Verdict>> {
    // The table before the runs, see `Output::table`: a run that begins meanwhile is no stranger.
    let mut table = output.table(only).await?;
    let mut verdicts = Vec::new();
    for run in output.runs(only).await? {
        verdicts.push(match run {
            KnownRun::Planned(run) => verify_listed(&run, &run.committed_in(&mut table)).await?,
            KnownRun::Planning(id) => verdict_without_plan(output, &id, &table.take(&id)),
        });
    }
    if !verdicts.is_empty() {
        verdicts.extend(verdict_without_run(output, &table));
    }
    Ok(verdicts)
}

fn verdict_without_plan(output: &Output, id: &RunId, found: &Committed) -> Verdict {
    let mut verdict = Verdict { run_id: Some(id.to_string()), ..Verdict::default() };
    for key in found.keys(&output.layout, id) {
        verdict.violation(format!("{key} is there, but the plan of its run is not"));
    }
    verdict
}

/// Returns a verdict on what is left of a listing once every run has taken its own.
fn verdict_without_run(output: &Output, table: &Table) -> Option<Verdict> {
    let mut verdict = Verdict { planned: true, ..Verdict::default() };
    for key in table.rest(&output.layout) {
        verdict.violation(format!("{key} belongs to no run of this output"));
    }
    (verdict.num_violations > 0).then_some(verdict)
}

/// Checks a run: its plan is the one that was published, holds each tile once and agrees with its
/// sources; each committed shard holds exactly its tiles in order; each row is well formed; nothing else
/// lies in the run's folder.
///
/// Memory: one shard's tiles with the URIs of their sources, its identity and outcome columns, and the
/// ids of one source's tiles. It does not grow with the run, unless its plan is not in the order of its
/// sources or holds a tile twice: then finding out which takes another 16 bytes a tile, up to twice that
/// while the list grows.
///
/// # Errors
///
/// As the store answers. What is wrong with the run is in the verdict instead.
pub async fn verify(run: &Run) -> Result<Verdict> {
    verify_listed(run, &run.committed().await?).await
}

async fn verify_listed(run: &Run, found: &Committed) -> Result<Verdict> {
    let plan = &run.record.plan;
    let mut verdict = Verdict {
        run_id: Some(run.id.to_string()),
        planned: true,
        shards: plan.shards,
        tiles: plan.tiles,
        ..Verdict::default()
    };
    for stray in &found.strays {
        verdict.violation(format!("{stray} is no shard of the plan"));
    }
    violation_if_damaged(check(run, found, &mut verdict).await, &mut verdict)?;
    Ok(verdict)
}

async fn check(run: &Run, found: &Committed, verdict: &mut Verdict) -> Result<()> {
    let mut plan = plan::PlanCheck::default();
    let mut committed = found.shards.iter().map(|shard| shard.number).peekable();
    for number in 0..run.num_shards() {
        let planned = plan::planned_tiles(run, number, verdict).await?;
        plan.follow(&planned, verdict);
        if committed.next_if_eq(&number).is_some() {
            verdict.committed += 1;
            let checked = rows::check_shard(run, number, &planned, verdict).await;
            violation_if_damaged(checked, verdict)?;
        }
    }
    plan.finish(run, verdict).await
}

/// A damaged file is a violation; whatever keeps us from reading one proves nothing and is passed on.
fn violation_if_damaged(checked: Result<()>, verdict: &mut Verdict) -> Result<()> {
    match checked {
        Err(error) if is_damaged(&error) => {
            verdict.violation(error.render().trim_start_matches("error: ").replace("\n ", ";"));
            Ok(())
        }
        checked => checked,
    }
}
