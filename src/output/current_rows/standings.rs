//! What to say of each run of an output when they are listed.

use std::collections::BTreeSet;

use super::{Current, waiting};
use crate::output::{Origin, RunId, RunState, Snapshot, Timestamp};
use crate::vocabulary::error::Result;

/// The runs of an output, as lists of them tell.
pub struct Standings<'a> {
    snapshot: &'a Snapshot,
    current: Current<'a>,
    waiting: BTreeSet<RunId>,
}

impl<'a> Standings<'a> {
    /// Judges the runs of an output.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(snapshot: &'a Snapshot) -> Result<Self> {
        let current = Current::of(&snapshot.runs).await?;
        let waiting = waiting(snapshot, &current.withheld).await?;
        Ok(Self { snapshot, current, waiting })
    }

    /// Returns the runs in the order in which they were planned; those whose plan is not complete come last.
    #[must_use]
    pub fn oldest_first(&self) -> Vec<&'a RunState> {
        let planned_at = |standing: &RunState| -> (bool, Option<Timestamp>, u32, RunId) {
            let at = standing.run.planned().map(crate::output::Run::planned_at);
            let id = standing.run.id();
            (at.is_none(), at, id.sequence(), id.clone())
        };
        let mut runs: Vec<&RunState> = self.snapshot.runs.iter().collect();
        runs.sort_by_cached_key(|standing| planned_at(standing));
        runs
    }

    /// Returns whether `tiles` may show a run.
    #[must_use]
    pub fn is_accepted(&self, standing: &RunState) -> bool {
        !self.current.withheld.contains(standing.run.id())
    }

    /// Returns whether a run is not accepted and need not be: newer ones cover its sources.
    #[must_use]
    pub fn is_superseded(&self, standing: &RunState) -> bool {
        !self.is_accepted(standing) && !self.waiting.contains(standing.run.id())
    }

    /// Returns whether no newer run of the same pipeline and fingerprint has looked at the input since: what a limit
    /// left out is still to be covered.
    #[must_use]
    pub fn leaves_rest(&self, standing: &RunState) -> bool {
        let id = standing.run.id();
        let is_newer = |other: &RunState| {
            let same_work = other.run.id().family() == id.family() && *other.run.origin() == Origin::Pipeline;
            same_work && other.run.id().sequence() > id.sequence() && self.is_accepted(other)
        };
        !self.snapshot.runs.iter().any(is_newer)
    }
}
