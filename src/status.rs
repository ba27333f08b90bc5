//! How far a run has got: planned, committed, open, rate and time left.

use std::time::Duration;

use serde::Serialize;

use crate::plan::{CommittedShard, DeletedRun, KnownRun, Origin, Run, Standing};

/// How far a run has got.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// The run.
    pub run_id: String,
    /// Why it exists.
    pub origin: Origin,
    /// Objects that are left of a deleted run; `None` for a run that is not deleted.
    pub left_of_deleted: Option<u64>,
    /// Whether its plan is complete; until then nothing else is known.
    pub planned: bool,
    /// Whether every shard is committed.
    pub complete: bool,
    /// Planned shards.
    pub shards: u32,
    /// Committed shards.
    pub committed: u32,
    /// Open shards.
    pub open: u32,
    /// Planned tiles.
    pub tiles: u64,
    /// Tiles of committed shards.
    pub tiles_committed: u64,
    /// Bytes of committed shards.
    pub bytes: u64,
    /// Tiles a second over the committed shards, by the store's clock; `None` before two are committed.
    pub tiles_per_second: Option<f64>,
    /// Seconds left at that rate; `None` where there is no rate, 0 when complete.
    pub seconds_left: Option<f64>,
}

impl Status {
    /// Returns how far a run has got.
    #[must_use]
    pub fn of(standing: &Standing) -> Self {
        match &standing.run {
            KnownRun::Planned(run) => Self::of_planned(run, &standing.found.shards),
            KnownRun::Planning(run) => {
                Self { run_id: run.id.to_string(), origin: run.origin.clone(), ..Self::default() }
            }
        }
    }

    /// Returns what is left of a deleted run.
    #[must_use]
    pub fn of_deleted(run: &DeletedRun) -> Self {
        Self { run_id: run.id.to_string(), left_of_deleted: Some(run.num_left()), ..Self::default() }
    }

    fn of_planned(run: &Run, committed: &[CommittedShard]) -> Self {
        let plan = &run.record.plan;
        let tiles_of = |shard: &CommittedShard| run.num_tiles(shard.number);
        let tiles_committed: u64 = committed.iter().map(tiles_of).sum();
        let rate = rate(committed, tiles_of);
        let complete = committed.len() == plan.shards as usize;
        let left = plan.tiles.saturating_sub(tiles_committed) as f64;
        Self {
            run_id: run.id.to_string(),
            origin: run.record.origin.clone(),
            left_of_deleted: None,
            planned: true,
            complete,
            shards: plan.shards,
            committed: committed.len() as u32,
            open: plan.shards - committed.len() as u32,
            tiles: plan.tiles,
            tiles_committed,
            bytes: committed.iter().map(|shard| shard.size_bytes).sum(),
            tiles_per_second: rate,
            seconds_left: if complete { Some(0.0) } else { rate.map(|rate| left / rate) },
        }
    }
}

/// Returns tiles a second from the first commit to the last; the first shard's own time is not known.
fn rate(committed: &[CommittedShard], tiles_of: impl Fn(&CommittedShard) -> u64) -> Option<f64> {
    let first = committed.iter().min_by_key(|shard| shard.committed_at)?;
    let last = committed.iter().max_by_key(|shard| shard.committed_at)?;
    let took = last.committed_at.duration_since(first.committed_at).unwrap_or(Duration::ZERO);
    let tiles: u64 = committed.iter().filter(|shard| shard.number != first.number).map(&tiles_of).sum();
    (took > Duration::ZERO && tiles > 0).then(|| tiles as f64 / took.as_secs_f64())
}
