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
//! A run that is deleted must have nothing left; what its deletion or a late worker left is told, and not
//! taken for a violation: nobody counts it among the rows.
//!
//! That `ok` rows have an embedding and no others do is proven by number for each row group, from the
//! footer; which row a null stands in, and what the embeddings are, is not read, unless the proof is to be
//! [`Depth::Pages`]: then every page is decoded and compared with its checksum, and so are plan and sources.

mod pages;
mod plan;
mod rows;

use serde::Serialize;

use crate::output::{
    Checksums, Committed, DeletedRun, KnownRun, Origin, Output, ParquetObject, Planning, Run, RunId,
    RunState, Scope, Snapshot, is_damaged,
};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::words::{counted, counted_of, form};

/// Number of violations that are listed; the rest is counted.
const MAX_LISTED: usize = 100;

/// What is read of committed shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Footers, and the columns of identity and outcome.
    Rows,
    /// Every page of every column, and the plan and its sources as a whole.
    Pages,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The run; `None` for what lies in the table's folder and belongs to no run.
    pub run_id: Option<String>,
    /// Why the run exists.
    pub origin: Origin,
    /// Objects that are left of a deleted run; `None` for a run that is not deleted.
    pub left_of_deleted: Option<u64>,
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
    /// Files whose pages were decoded, those of the plan and its sources included, and that have no checksums to
    /// compare them with; `None` unless pages were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_checksums: Option<u64>,
    /// How many things are wrong.
    pub num_violations: u64,
    /// The first of them.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Returns whether every planned tile has its row, and a deleted run none.
    #[must_use]
    pub fn complete(&self) -> bool {
        match self.left_of_deleted {
            Some(num_left) => num_left == 0,
            None => self.planned && self.committed == self.shards,
        }
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
            let places = counted(self.num_violations, "place");
            let message = format!("{} violates the invariant in {places}", self.subject());
            return Err(Error::new(Kind::Bug, message)
                .hint("the violations are listed above; keep the output as it is and report this"));
        }
        if self.complete() {
            return Ok(());
        }
        if let (Some(num_left), Some(id)) = (self.left_of_deleted, &self.run_id) {
            let subject = self.subject();
            return Err(Error::unavailable(format!(
                "{subject} is deleted, but objects of it are left: {num_left}"
            ))
            .hint(format!("`tilefleet runs OUTPUT delete {id} --yes` removes them")));
        }
        let what = if self.planned {
            let open = u64::from(self.shards - self.committed);
            format!("{} {} open", counted_of(open, self.shards.into(), "shard"), form(open, "is", "are"))
        } else {
            "its plan is not published yet".to_owned()
        };
        Err(Error::unavailable(format!("{} is not complete: {what}", self.subject()))
            .hint(self.origin.how_to_go_on()))
    }

    fn violation(&mut self, what: String) {
        self.num_violations += 1;
        if self.violations.len() < MAX_LISTED {
            self.violations.push(what);
        }
    }
}

/// Checks all runs of an output and that nothing else lies in the table's folder, or only one run and
/// its folder. Returns a verdict a run, deleted ones only if something is left of them, and one more if
/// something belongs to no run.
///
/// Memory: as [`Output::snapshot`]; the keys of all that is not a shard; and what [`verify`] needs for one run.
///
/// # Errors
///
/// `Config` if there is no such run; as the store answers. What is wrong with the runs is in the verdicts
/// instead.
pub async fn verify_output(output: &Output, only: Option<&RunId>, depth: Depth) -> Result<Vec<Verdict>> {
    let snapshot = output.snapshot(Scope::of(only)).await?;
    if snapshot.is_empty() {
        return Err(snapshot.nothing(output, only));
    }
    let mut verdicts = Vec::new();
    for standing in &snapshot.runs {
        verdicts.extend(verdict_unless_deleted(output, standing, depth).await?);
    }
    let leftovers = snapshot.deleted.iter().filter(|run| run.num_left() > 0);
    verdicts.extend(leftovers.map(verdict_on_deleted));
    verdicts.extend(verdict_without_run(output, &snapshot));
    Ok(verdicts)
}

/// Checks a run. What is wrong with one that was deleted meanwhile proves nothing: then only what is left
/// of it is told, if anything is.
async fn verdict_unless_deleted(
    output: &Output,
    standing: &RunState,
    depth: Depth,
) -> Result<Option<Verdict>> {
    let verdict = match &standing.run {
        KnownRun::Planned(run) => verify_listed(run, &standing.found, depth).await,
        KnownRun::Planning(run) => Ok(verdict_without_plan(output, run, &standing.found)),
    };
    if verdict.as_ref().is_ok_and(|verdict| verdict.num_violations == 0) {
        return verdict.map(Some);
    }
    let id = standing.run.id();
    if !output.is_deleted(id).await? {
        return verdict.map(Some);
    }
    let now = output.snapshot(Scope::Run(id)).await?;
    Ok(now.deleted.iter().find(|run| run.num_left() > 0).map(verdict_on_deleted))
}

fn verdict_on_deleted(run: &DeletedRun) -> Verdict {
    Verdict { run_id: Some(run.id.to_string()), left_of_deleted: Some(run.num_left()), ..Verdict::default() }
}

fn verdict_without_plan(output: &Output, run: &Planning, found: &Committed) -> Verdict {
    let (run_id, origin) = (Some(run.id.to_string()), run.origin.clone());
    let mut verdict = Verdict { run_id, origin, ..Verdict::default() };
    for key in found.keys(&output.layout, &run.id) {
        verdict.violation(format!("{key} exists, but the plan of its run does not"));
    }
    verdict
}

/// Returns a verdict on what is left of a listing once every run has taken its own.
fn verdict_without_run(output: &Output, snapshot: &Snapshot) -> Option<Verdict> {
    let mut verdict = Verdict { planned: true, ..Verdict::default() };
    for key in snapshot.rest.rest(&output.layout) {
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
/// sources or holds a tile twice: then finding out which takes another 16 bytes per tile, up to twice that
/// while the list grows.
///
/// # Errors
///
/// As the store answers. What is wrong with the run is in the verdict instead.
pub async fn verify(run: &Run, depth: Depth) -> Result<Verdict> {
    verify_listed(run, &run.committed().await?, depth).await
}

async fn verify_listed(run: &Run, found: &Committed, depth: Depth) -> Result<Verdict> {
    let plan = &run.record.plan;
    let mut verdict = Verdict {
        run_id: Some(run.id.to_string()),
        origin: run.record.origin.clone(),
        planned: true,
        shards: plan.shards,
        tiles: plan.tiles,
        without_checksums: (depth == Depth::Pages).then_some(0),
        ..Verdict::default()
    };
    for stray in &found.strays {
        verdict.violation(format!("{stray} is not a shard of the plan"));
    }
    violation_if_damaged(check(run, found, &mut verdict).await, &mut verdict)?;
    Ok(verdict)
}

async fn check(run: &Run, found: &Committed, verdict: &mut Verdict) -> Result<()> {
    let before = verdict.num_violations;
    violation_if_damaged(check_plan(run, verdict).await, verdict)?;
    if verdict.num_violations > before {
        // What a damaged plan says of the shards proves nothing.
        return check_pages_alone(run, found, verdict).await;
    }
    let mut plan = plan::PlanCheck::default();
    let mut committed = found.shards.iter().map(|shard| shard.number).peekable();
    for number in 0..run.num_shards() {
        let planned = plan::planned_tiles(run, number, verdict).await?;
        plan.follow(&planned, verdict);
        if committed.next_if_eq(&number).is_some() {
            verdict.committed += 1;
            let before = verdict.num_violations;
            let checked = check_pages(run, number, verdict).await;
            violation_if_damaged(checked, verdict)?;
            // What a damaged file says of its rows proves nothing.
            if verdict.num_violations == before {
                let checked = rows::check_shard(run, number, &planned, verdict).await;
                violation_if_damaged(checked, verdict)?;
            }
        }
    }
    plan.finish(run, verdict).await
}

/// Compares plan and sources with their checksums, if that is wanted.
async fn check_plan(run: &Run, verdict: &mut Verdict) -> Result<()> {
    if let Some(without) = &mut verdict.without_checksums {
        *without += run.check_plan().await?;
    }
    Ok(())
}

async fn check_pages_alone(run: &Run, found: &Committed, verdict: &mut Verdict) -> Result<()> {
    for shard in &found.shards {
        verdict.committed += 1;
        violation_if_damaged(check_pages(run, shard.number, verdict).await, verdict)?;
    }
    Ok(())
}

/// Reads the pages of a shard, if that is wanted; one that has vanished was told already.
async fn check_pages(run: &Run, number: u32, verdict: &mut Verdict) -> Result<()> {
    let Some(without) = &mut verdict.without_checksums else { return Ok(()) };
    let object = ParquetObject::open_with_pages(&run.output.bucket, &run.shard_key(number)).await?;
    if let Some(object) = object
        && pages::check_pages(&object).await? == Checksums::Absent
    {
        *without += 1;
    }
    Ok(())
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
