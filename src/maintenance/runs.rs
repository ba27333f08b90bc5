//! How the runs of an output end: accepted or deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::maintenance::verify::{Depth, verify};
use crate::output::current_rows::{Change, Current, Standings};
use crate::output::report::{ReportDetail, RunPhase, RunReport};
use crate::output::{
    AcceptedBecause, Fate, KnownRun, Output, Removed, Run, RunId, RunState, Scope, Snapshot, Timestamp,
    Tombstone, Why,
};
use crate::vocabulary::error::{Error, Kind, Result};

/// Returns the complete runs that were planned longer ago than this.
///
/// - `open`: those that are not complete, too
///
/// # Errors
///
/// `Config` if the output has no run; as the store answers otherwise.
pub async fn older_than(output: &Output, age: Duration, now: Timestamp, open: bool) -> Result<Vec<RunId>> {
    let snapshot = output.snapshot(Scope::All).await?;
    if snapshot.is_empty() {
        return Err(snapshot.nothing(output, None));
    }
    let is_old = |standing: &&RunState| match &standing.run {
        KnownRun::Planned(run) => {
            (open || standing.completed().is_some()) && now.since(run.planned_at()) > age
        }
        KnownRun::Planning(_) => false,
    };
    Ok(snapshot.runs.iter().filter(is_old).map(|standing| standing.run.id().clone()).collect())
}

/// What deleting runs would do.
#[derive(Clone, Debug, Serialize)]
pub struct Proposal {
    /// The runs to go, as they are.
    pub runs: Vec<RunReport>,
    /// Tiles that `tiles` would show of other runs then.
    pub fall_back: u64,
    /// Tiles that `tiles` shows of them and would not show any more.
    pub vanish: u64,
    /// For each compaction to go the runs that it would have deleted and that stand, oldest first: their rows
    /// take the place of its own.
    #[serde(skip)]
    given_back: BTreeMap<RunId, Vec<RunId>>,
}

/// Says what deleting these runs would do.
///
/// Memory: twice what [`crate::output::current_rows::CurrentRows::of`] needs, and the ids of the tiles that `tiles` shows of them.
///
/// # Errors
///
/// `Config` if there is no such run; `Unavailable` if one is being compacted, or is a compaction that has
/// not deleted all that it replaces; as the store answers otherwise.
pub async fn propose(output: &Output, ids: &[RunId]) -> Result<Proposal> {
    output.consistently(Scope::All, async |snapshot: Snapshot| propose_of(output, &snapshot, ids).await).await
}

async fn propose_of(output: &Output, snapshot: &Snapshot, ids: &[RunId]) -> Result<Proposal> {
    let (mut runs, standings) = (Vec::new(), Standings::of(snapshot).await?);
    for id in ids {
        let deleted = snapshot.deleted.iter().find(|run| run.id == *id);
        match (snapshot.standing(id), deleted) {
            (Some(standing), _) => {
                let now = output.process.now();
                runs.push(RunReport::of(standing, &standings, now, ReportDetail::Outcomes).await?);
            }
            (None, Some(deleted)) => runs.push(RunReport::of_deleted(deleted, ReportDetail::Outcomes)),
            (None, None) => return Err(output.no_run(Some(id))),
        }
    }
    refuse_compacted(output, snapshot, ids)?;
    refuse_replacing(output, snapshot, ids).await?;
    let Change { lost, replaced, gained } = change_without(snapshot, ids).await?;
    let given_back = ids.iter().map(|id| (id.clone(), given_back(snapshot, id, ids))).collect();
    Ok(Proposal { runs, fall_back: replaced + gained, vanish: lost, given_back })
}

/// Returns the runs that stand and that a compaction replaces, but for those that go with it, oldest first.
fn given_back(snapshot: &Snapshot, id: &RunId, ids: &[RunId]) -> Vec<RunId> {
    let replaced = snapshot.standing(id).map_or(&[][..], |standing| standing.run.origin().replaced());
    let stays = |id: &&RunId| snapshot.standing(id).is_some() && !ids.contains(id);
    replaced.iter().rev().filter(stays).cloned().collect()
}

/// A run whose rows a compaction copies, or has copied, is deleted by the compaction.
fn refuse_compacted(output: &Output, snapshot: &Snapshot, ids: &[RunId]) -> Result<()> {
    let kept = snapshot.runs.iter().filter(|standing| !ids.contains(standing.run.id()));
    let mut compacted = kept.flat_map(|standing| {
        let copied = standing.run.origin().replaced().iter().filter(|id| ids.contains(id));
        let live = copied.filter(|id| snapshot.standing(id).is_some());
        live.map(move |id| (id, standing))
    });
    let Some((id, standing)) = compacted.next() else { return Ok(()) };
    let into = standing.run.id();
    let give_up = match standing.completed() {
        Some(_) => String::new(),
        None => format!("; to undo the compaction, delete {into} first"),
    };
    let hint = format!("`tilefleet runs {} compact` finishes that and deletes it{give_up}", output.uri);
    Err(Error::unavailable(format!("run {id} is being compacted into {into}")).hint(hint))
}

/// A complete compaction may be the only run to hold a row, or be about to: it deletes what it replaces. One
/// that cannot go on with that may be deleted, to give it up.
async fn refuse_replacing(output: &Output, snapshot: &Snapshot, ids: &[RunId]) -> Result<()> {
    for id in ids {
        let Some(run) = snapshot.standing(id).and_then(RunState::completed) else { continue };
        let mut of = run.record.origin.replaced().iter();
        let stays = |id: &&RunId| snapshot.standing(id).is_some() && !ids.contains(id);
        if let Some(left) = of.find(stays)
            && can_replace(output, snapshot, run).await?
        {
            let message =
                format!("compaction {id} is not finished: run {left}, which it replaces, still exists");
            return Err(Error::unavailable(message)
                .hint(format!("finish it with `tilefleet runs {} compact`, then delete {id}", output.uri)));
        }
    }
    Ok(())
}

/// Returns whether compacting would go on to delete what this compaction replaces: not if somebody has
/// deleted a part of it or begun to give it up, nor if it is not verified.
async fn can_replace(output: &Output, snapshot: &Snapshot, run: &Run) -> Result<bool> {
    let of = run.record.origin.replaced();
    for standing in of.iter().filter(|id| snapshot.standing(id).is_some()) {
        if output.decided(&run.id, standing).await? == Some(Fate::Keep) {
            return Ok(false);
        }
    }
    for deleted in snapshot.deleted.iter().filter(|deleted| of.contains(&deleted.id)) {
        let tombstone = Tombstone::read(output, &deleted.id).await?;
        if tombstone.is_some_and(|tombstone| tombstone.why == Why::Deleted) {
            return Ok(false);
        }
    }
    match verify(run, Depth::Rows).await.and_then(|verdict| verdict.check()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Kind::Unavailable => Err(error),
        Err(_) => Ok(false),
    }
}

/// Says how `tiles` changes when these runs go.
async fn change_without(snapshot: &Snapshot, ids: &[RunId]) -> Result<Change> {
    let staying = snapshot.runs.iter().filter(|standing| !ids.contains(standing.run.id()));
    let (before, after) = (Current::of(&snapshot.runs).await?, Current::of(staying).await?);
    Change::between(&before.runs, &after.runs).await
}

/// What accepting a run did.
#[derive(Clone, Debug, Serialize)]
pub struct Accepted {
    /// The run.
    pub run_id: RunId,
    /// Whether `tiles` could show it before.
    pub was_current: bool,
    /// Whether every shard is committed; until then `tiles` shows nothing of it.
    pub complete: bool,
    /// How `tiles` changed.
    #[serde(flatten)]
    pub change: Change,
}

/// Makes a run current, however much of it was rejected.
///
/// Memory: as [`Change::between`].
///
/// # Errors
///
/// `Config` if there is no such run; `Unavailable` if it is deleted meanwhile; as the store answers otherwise.
pub async fn accept(output: &Output, id: &RunId) -> Result<Accepted> {
    let work = async |snapshot: Snapshot| what_accepting_does(output, &snapshot, id).await;
    let accepted = output.consistently(Scope::All, work).await?;
    output.accept_run(id, AcceptedBecause::Asked).await?;
    Ok(accepted)
}

async fn what_accepting_does(output: &Output, snapshot: &Snapshot, id: &RunId) -> Result<Accepted> {
    let Some(standing) = snapshot.standing(id) else { return Err(snapshot.nothing(output, Some(id))) };
    let current = Current::of(&snapshot.runs).await?;
    let mut accepted = Accepted {
        run_id: id.clone(),
        was_current: !current.withheld.contains(id),
        complete: standing.completed().is_some(),
        change: Change::default(),
    };
    if let Some(run) = standing.completed().filter(|_| !accepted.was_current) {
        let after: Vec<&Run> = current.runs.iter().copied().chain([run]).collect();
        accepted.change = Change::between(&current.runs, &after).await?;
    }
    Ok(accepted)
}

/// What was deleted of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Deleted {
    /// The run.
    pub run_id: RunId,
    /// What was removed of the table.
    #[serde(flatten)]
    pub removed: Removed,
}

/// Deletes runs, or goes on with their deletion.
///
/// # Errors
///
/// `Config` if a folder of these runs is a link, in which case nothing has changed; `Unavailable` if what was
/// proposed does not hold any more: a run was compacted since, or a compaction has
/// begun to delete what it replaces; as the store answers otherwise. Deleting them again removes what is left
/// then.
pub async fn delete(output: &Output, proposal: &Proposal) -> Result<Vec<Deleted>> {
    output.check_deletable(proposal.runs.iter().map(|run| &run.run_id)).await?;
    let mut deleted = Vec::new();
    for RunReport { run_id, state, .. } in &proposal.runs {
        give_back(output, proposal, run_id).await?;
        let (removed, why) = output.delete_run(run_id, Why::Deleted).await?;
        if let Why::CompactedInto(into) = why
            && *state != RunPhase::Deleted
            && proposal.runs.iter().all(|run| run.run_id != into)
        {
            return Err(Error::unavailable(format!(
                "run {run_id} was compacted into {into} in the meantime"
            ))
            .hint(format!("its rows are now in {into}, and are deleted with that run")));
        }
        deleted.push(Deleted { run_id: run_id.clone(), removed });
    }
    check_not_copied(output, proposal).await?;
    Ok(deleted)
}

/// Makes sure that a compaction which is to go never deletes the runs whose rows are to take the place of its
/// own; see [`Fate`].
async fn give_back(output: &Output, proposal: &Proposal, id: &RunId) -> Result<()> {
    for replaced in proposal.given_back.get(id).into_iter().flatten() {
        if output.is_deleted(replaced).await?
            || output.decide(id, replaced, Fate::Keep).await? == Fate::Delete
        {
            return Err(Error::unavailable(format!(
                "run {id} has begun to delete the runs that it replaces: {replaced}"
            ))
            .hint(format!("finish that with `tilefleet runs {} compact`, then delete again", output.uri)));
        }
    }
    Ok(())
}

/// Makes sure that no compaction was begun since the question that holds, or will hold, rows of what was deleted.
async fn check_not_copied(output: &Output, proposal: &Proposal) -> Result<()> {
    let gone =
        |id: &RunId| proposal.runs.iter().any(|run| run.run_id == *id && run.state != RunPhase::Deleted);
    let snapshot = output.snapshot(Scope::All).await?;
    for standing in &snapshot.runs {
        if let Some(id) = standing.run.origin().replaced().iter().find(|id| gone(id)) {
            let into = standing.run.id();
            return Err(Error::unavailable(format!(
                "run {id} is deleted, but was being compacted into {into}"
            ))
            .hint(format!(
                "its rows may be in {into}: `tilefleet runs {} delete {into}` shows what deleting that \
                     run does",
                output.uri
            )));
        }
    }
    Ok(())
}
