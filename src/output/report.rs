//! How a run stands: one report, which the terminal and JSON show, whichever command asks.
//!
//! Goes in: runs as an output's [`Snapshot`] has them. Comes out: a [`RunReport`] a run. It reads nothing of the rows;
//! how they turned out is added where it is wanted, since that costs a request per shard of an unfinished run. That a
//! run is proven is not said here: `maintenance::verify` trusts no report.

use std::time::{Duration, SystemTime};

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::output::current_rows::Standings;
use crate::output::summary::counts_so_far;
use crate::output::{
    CommittedShard, DeletedRun, KnownRun, Limit, Origin, Output, Run, RunId, RunState, Scope, Snapshot,
    Trouble,
};
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::time::Timestamp;

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// The run.
    pub run_id: RunId,
    /// Why it exists.
    pub origin: Origin,
    /// How far it has got; in JSON also as `planned` and `complete`.
    #[serde(flatten)]
    pub state: RunPhase,
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
    /// When it was planned; `None` as long as it is not.
    pub planned_at: Option<Timestamp>,
    /// The model's file.
    pub model: Option<String>,
    /// Planned sources.
    pub sources: u64,
    /// Those of them that their headers rejected when they were planned.
    pub rejected_sources: u64,
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
    /// Their outcomes; `None` where nobody asked for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Its files in the table; of a deleted run, all objects that are left.
    pub files: u64,
    /// Bytes of its files in the table.
    pub bytes: u64,
    /// Objects that are left of a deleted run; `None` for a run that is not deleted.
    pub left_of_deleted: Option<u64>,
    /// How fast it gets on.
    #[serde(flatten)]
    pub pace: CommitPace,
    /// What may be wrong with an open run; `None` where nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// How far a run has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunPhase {
    /// Every shard is committed.
    Complete,
    /// Some shards are not committed.
    Open,
    /// Its plan is not published yet; until then nothing else is known.
    Planning,
    /// It is deleted, and something of it is left.
    Deleted,
}

impl RunPhase {
    /// Returns its word in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Open => "open",
            Self::Planning => "planning",
            Self::Deleted => "deleted",
        }
    }
}

impl Serialize for RunPhase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("RunPhase", 3)?;
        fields.serialize_field("state", self.name())?;
        fields.serialize_field("planned", &matches!(self, Self::Complete | Self::Open))?;
        fields.serialize_field("complete", &(*self == Self::Complete))?;
        fields.end()
    }
}

/// How fast the shards of a run are committed, by the store's clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CommitPace {
    /// Tiles a second over the committed shards; `None` before two are committed.
    pub tiles_per_second: Option<f64>,
    /// Seconds left at that rate; `None` where there is no rate or nobody seems to be at work, 0 when complete.
    pub seconds_left: Option<f64>,
    /// Seconds since the last commit, or since the run was planned; `None` when complete.
    pub seconds_without_commit: Option<f64>,
    /// Whether commits have stayed away for so long that nobody seems to be at work.
    pub stalled: bool,
}

/// How much a report says, and so what it costs: `status` asks for progress alone, `runs` for outcomes, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportDetail {
    /// How far runs have got, and no [`RunReport::counts`]: no row and no footer is read.
    Progress,
    /// Of an open run also what may be wrong with it, from notes and the footers of its last commits.
    Trouble,
    /// How their rows turned out, too, from the summary or the footers of the committed shards.
    Outcomes,
}

/// Without a commit for less than this nobody is missed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Nor for less than this many times the longest recent pause between two commits.
const LONGEST_PAUSES: u32 = 3;
/// Number of recent commits whose pauses count: an earlier pause of a day is forgotten.
const RECENT_COMMITS: usize = 32;

/// Reports on the runs of an output in the order in which they were planned: those that are not deleted, then those that
/// are not quite.
///
/// - `only`: the one run that is wanted
///
/// # Errors
///
/// `Config` if there is none; as the store answers otherwise.
pub async fn report(output: &Output, only: Option<&RunId>, detail: ReportDetail) -> Result<Vec<RunReport>> {
    // Which runs are current only all of them tell, also if one is asked for.
    let look = async |snapshot: Snapshot| report_on(output, &snapshot, only, detail).await;
    output.consistently(Scope::All, look).await
}

async fn report_on(
    output: &Output,
    snapshot: &Snapshot,
    only: Option<&RunId>,
    detail: ReportDetail,
) -> Result<Vec<RunReport>> {
    let wanted = |id: &RunId| only.is_none_or(|only| only == id);
    let (mut reports, standings) = (Vec::new(), Standings::of(snapshot).await?);
    for standing in standings.oldest_first() {
        if wanted(standing.run.id()) {
            reports.push(RunReport::of(standing, &standings, output.process.now(), detail).await?);
        }
    }
    let leftovers = snapshot.deleted.iter().filter(|run| run.num_left() > 0 && wanted(&run.id));
    reports.extend(leftovers.map(|run| RunReport::of_deleted(run, detail)));
    if reports.is_empty() { Err(snapshot.nothing(output, only)) } else { Ok(reports) }
}

impl RunReport {
    /// Reports on one run among all of its output.
    ///
    /// # Errors
    ///
    /// As the store answers where outcomes are counted.
    pub async fn of(
        standing: &RunState,
        among: &Standings<'_>,
        now: Timestamp,
        detail: ReportDetail,
    ) -> Result<Self> {
        let shards = &standing.found.shards;
        let mut report = Self {
            accepted: among.is_accepted(standing),
            superseded: among.is_superseded(standing),
            rest_is_open: among.leaves_rest(standing),
            committed: shards.len() as u32,
            files: shards.len() as u64,
            bytes: shards.iter().map(|shard| shard.size_bytes).sum(),
            ..Self::begin(standing.run.id(), standing.run.origin(), RunPhase::Planning)
        };
        if let KnownRun::Planned(run) = &standing.run {
            report.add_plan(run, shards, now.into());
        }
        if let KnownRun::Planned(run) = &standing.run
            && detail == ReportDetail::Trouble
            && report.state == RunPhase::Open
        {
            report.trouble = Some(Trouble::of(run, shards, now).await?);
        }
        if detail == ReportDetail::Outcomes {
            report.counts = Some(match &standing.run {
                KnownRun::Planned(run) => counts_so_far(run, shards).await?,
                KnownRun::Planning(_) => Counts::default(),
            });
        }
        Ok(report)
    }

    /// Reports on what is left of a deleted run: its outcomes count no more, so they are none where they are asked for.
    #[must_use]
    pub fn of_deleted(run: &DeletedRun, detail: ReportDetail) -> Self {
        Self {
            counts: (detail == ReportDetail::Outcomes).then(Counts::default),
            files: run.num_left(),
            bytes: run.found.shards.iter().map(|shard| shard.size_bytes).sum(),
            left_of_deleted: Some(run.num_left()),
            ..Self::begin(&run.id, &Origin::default(), RunPhase::Deleted)
        }
    }

    /// Returns the report of a run of which nothing is known but its id, origin and phase.
    pub fn begin(id: &RunId, origin: &Origin, state: RunPhase) -> Self {
        Self {
            run_id: id.clone(),
            origin: origin.clone(),
            state,
            accepted: true,
            superseded: false,
            limit: None,
            rest_is_open: false,
            planned_at: None,
            model: None,
            sources: 0,
            rejected_sources: 0,
            shards: 0,
            committed: 0,
            open: 0,
            tiles: 0,
            tiles_committed: 0,
            counts: None,
            files: 0,
            bytes: 0,
            left_of_deleted: None,
            pace: CommitPace::default(),
            trouble: None,
        }
    }

    fn add_plan(&mut self, run: &Run, shards: &[CommittedShard], now: SystemTime) {
        let plan = &run.record.plan;
        self.limit = run.record.limit;
        self.planned_at = Some(run.planned_at());
        self.model = Some(run.record.model.file.clone());
        self.sources = plan.sources;
        self.rejected_sources = run.sources.num_rejected();
        self.shards = plan.shards;
        self.open = plan.shards - self.committed;
        self.state = if self.open == 0 { RunPhase::Complete } else { RunPhase::Open };
        self.tiles = plan.tiles;
        self.tiles_committed = shards.iter().map(|shard| run.num_tiles(shard.number)).sum();
        let left = plan.tiles.saturating_sub(self.tiles_committed);
        self.pace = if self.open == 0 {
            CommitPace {
                tiles_per_second: rate(run, shards),
                seconds_left: Some(0.0),
                ..CommitPace::default()
            }
        } else {
            CommitPace::of_open(run, shards, left, now)
        };
    }
}

impl CommitPace {
    fn of_open(run: &Run, shards: &[CommittedShard], tiles_left: u64, now: SystemTime) -> Self {
        let (rate, (without_commit, stalled)) =
            (rate(run, shards), pause(run.planned_at().into(), shards, now));
        Self {
            tiles_per_second: rate,
            seconds_left: rate.filter(|_| !stalled).map(|rate| tiles_left as f64 / rate),
            seconds_without_commit: Some(without_commit.as_secs_f64()),
            stalled,
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
fn rate(run: &Run, committed: &[CommittedShard]) -> Option<f64> {
    let first = committed.iter().min_by_key(|shard| shard.committed_at)?;
    let last = committed.iter().max_by_key(|shard| shard.committed_at)?;
    let took = last.committed_at.duration_since(first.committed_at).unwrap_or(Duration::ZERO);
    let others = committed.iter().filter(|shard| shard.number != first.number);
    let tiles: u64 = others.map(|shard| run.num_tiles(shard.number)).sum();
    (took > Duration::ZERO && tiles > 0).then(|| tiles as f64 / took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(phase: RunPhase) -> RunReport {
        RunReport::begin(&RunId::parse("photos-0123abcd-0007").unwrap(), &Origin::default(), phase)
    }

    /// Programs read these names, with `planned` and `complete` since before `state` was there.
    #[test]
    fn json_says_how_far_a_run_has_got() {
        let json = |phase| {
            let json = serde_json::to_value(example(phase)).unwrap();
            let bit = |name: &str| json[name].as_bool().unwrap();
            (json["state"].as_str().unwrap().to_owned(), bit("planned"), bit("complete"), bit("stalled"))
        };
        assert_eq!(json(RunPhase::Complete), ("complete".into(), true, true, false));
        assert_eq!(json(RunPhase::Open), ("open".into(), true, false, false));
        assert_eq!(json(RunPhase::Planning), ("planning".into(), false, false, false));
        assert_eq!(json(RunPhase::Deleted), ("deleted".into(), false, false, false));
    }

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
