//! How far a run has got: planned, committed, open, rate and time left.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::output::current_rows::Standings;
use crate::output::{CommittedShard, DeletedRun, KnownRun, Limit, Origin, Run, RunId, RunState};

/// How far a run has got.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of what `status --json` prints")]
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
    /// False if it is complete and `tiles` shows nothing of it, since too much of it was rejected.
    pub accepted: bool,
    /// Whether it is not accepted, and newer runs cover all of its sources since.
    pub superseded: bool,
    /// Set if it covers only a part of what was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Whether no newer run of the same work has covered the rest since.
    #[serde(skip)]
    pub rest_is_open: bool,
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
    /// Seconds left at that rate; `None` where there is no rate or nobody seems to be at work, 0 when complete.
    pub seconds_left: Option<f64>,
    /// Seconds since the last commit, or since the run was planned; `None` when complete.
    pub seconds_without_commit: Option<f64>,
    /// Whether commits have stayed away for so long that nobody seems to be at work.
    pub stalled: bool,
}

/// Without a commit for less than this nobody is missed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nor for less than this many times the longest recent pause between two commits.
const LONGEST_PAUSES: u32 = 3;
/// Number of recent commits whose pauses count: an earlier pause of a day is forgotten.
const RECENT_COMMITS: usize = 32;

impl Status {
    /// Returns how far a run has got by now.
    #[must_use]
    pub fn of(standing: &RunState, among: &Standings<'_>, now: SystemTime) -> Self {
        let status = match &standing.run {
            KnownRun::Planned(run) => Self::of_planned(run, &standing.found.shards, now),
            KnownRun::Planning(run) => Self::begin(&run.id, run.origin.clone()),
        };
        Self {
            accepted: among.is_accepted(standing),
            superseded: among.is_superseded(standing),
            rest_is_open: among.leaves_rest(standing),
            ..status
        }
    }

    /// Returns what is left of a deleted run.
    #[must_use]
    pub fn of_deleted(run: &DeletedRun) -> Self {
        Self { left_of_deleted: Some(run.num_left()), ..Self::begin(&run.id, Origin::default()) }
    }

    fn begin(id: &RunId, origin: Origin) -> Self {
        Self { run_id: id.to_string(), origin, accepted: true, ..Self::default() }
    }

    fn of_planned(run: &Run, committed: &[CommittedShard], now: SystemTime) -> Self {
        let plan = &run.record.plan;
        let tiles_of = |shard: &CommittedShard| run.num_tiles(shard.number);
        let tiles_committed: u64 = committed.iter().map(tiles_of).sum();
        let rate = rate(committed, tiles_of);
        let complete = committed.len() == plan.shards as usize;
        let left = plan.tiles.saturating_sub(tiles_committed) as f64;
        let (without_commit, stalled) = pause(run.planned_at().into(), committed, now);
        let stalled = stalled && !complete;
        Self {
            planned: true,
            complete,
            limit: run.record.limit,
            shards: plan.shards,
            committed: committed.len() as u32,
            open: plan.shards - committed.len() as u32,
            tiles: plan.tiles,
            tiles_committed,
            bytes: committed.iter().map(|shard| shard.size_bytes).sum(),
            tiles_per_second: rate,
            seconds_left: if complete {
                Some(0.0)
            } else {
                rate.filter(|_| !stalled).map(|rate| left / rate)
            },
            seconds_without_commit: (!complete).then_some(without_commit.as_secs_f64()),
            stalled,
            ..Self::begin(&run.id, run.record.origin.clone())
        }
    }
}

/// Returns for how long nothing was committed, and whether that is far longer than it ever took before.
///
/// A run of which nothing is committed may be at its first shard, for as long as that takes.
fn pause(planned_at: SystemTime, committed: &[CommittedShard], now: SystemTime) -> (Duration, bool) {
    let mut moments: Vec<SystemTime> = committed.iter().map(|shard| shard.committed_at).collect();
    moments.sort_unstable();
    let since = |moment: SystemTime| now.duration_since(moment).unwrap_or_default();
    let Some(last) = moments.last() else { return (since(planned_at), false) };
    let recent = &moments[moments.len().saturating_sub(RECENT_COMMITS)..];
    let between = |(a, b): (SystemTime, SystemTime)| b.duration_since(a).unwrap_or_default();
    let pauses = recent.windows(2).map(|pair| between((pair[0], pair[1])));
    let longest = pauses.max().unwrap_or_else(|| between((planned_at, *last)));
    let without_commit = since(*last);
    (without_commit, without_commit > PATIENCE.max(longest * LONGEST_PAUSES))
}

/// Returns tiles per second from the first commit to the last; the first shard's own time is not known.
fn rate(committed: &[CommittedShard], tiles_of: impl Fn(&CommittedShard) -> u64) -> Option<f64> {
    let first = committed.iter().min_by_key(|shard| shard.committed_at)?;
    let last = committed.iter().max_by_key(|shard| shard.committed_at)?;
    let took = last.committed_at.duration_since(first.committed_at).unwrap_or(Duration::ZERO);
    let tiles: u64 = committed.iter().filter(|shard| shard.number != first.number).map(&tiles_of).sum();
    (took > Duration::ZERO && tiles > 0).then(|| tiles as f64 / took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards that were committed so many seconds after the run was planned.
    fn commits(at: &[u64]) -> Vec<CommittedShard> {
        let shard = |(number, seconds): (usize, &u64)| CommittedShard {
            number: number as u32,
            size_bytes: 1,
            committed_at: SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds),
        };
        at.iter().enumerate().map(shard).collect()
    }

    fn pause_at(now: u64, committed: &[u64]) -> (u64, bool) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let (pause, stalled) = pause(SystemTime::UNIX_EPOCH, &commits(committed), now);
        (pause.as_secs(), stalled)
    }

    #[test]
    fn a_run_without_commits_is_stalled_once_that_is_unusual() {
        assert_eq!(pause_at(45, &[6, 8, 10]), (35, true), "the only worker died 35 s ago");
        assert_eq!(pause_at(18, &[6, 8, 10]), (8, false), "any store may be slow for a moment");
        assert_eq!(pause_at(400, &[100, 200, 300]), (100, false));
        assert_eq!(pause_at(601, &[100, 200, 300]), (301, true));
        assert_eq!(pause_at(900, &[100, 100, 100, 400, 400, 400]), (500, false), "workers in step");
        assert_eq!(pause_at(500, &[]), (500, false), "at its first shard");
        assert_eq!((pause_at(60, &[50]), pause_at(300, &[50])), ((10, false), (250, true)));
        assert_eq!(pause_at(9, &[6, 8, 10]), (0, false), "the store's clock is ahead");
        let mut resumed = vec![0, 86_400];
        resumed.extend((1..40).map(|number| 86_400 + 2 * number));
        assert_eq!(pause_at(86_400 + 78 + 35, &resumed), (35, true));
    }
}
