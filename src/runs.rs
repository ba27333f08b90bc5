//! The life of an output's runs: what they are, and how they end.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use crate::commit::Counts;
use crate::error::{Error, Result};
use crate::newest::Newest;
use crate::plan::{
    DeletedRun, KnownRun, Moment, Origin, Output, Removed, Run, RunId, Scope, Snapshot, Standing, TileId, Why,
};
use crate::summary::counts_so_far;

/// How far a run has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Every shard is committed.
    Complete,
    /// Some shards are not committed.
    Open,
    /// Its plan is not published yet.
    Planning,
    /// It is deleted, and something of it is left.
    Deleted,
}

/// One run as `tilefleet runs` lists it.
#[derive(Clone, Debug, Serialize)]
pub struct RunInfo {
    /// The run.
    pub run_id: RunId,
    /// Why it exists.
    pub origin: Origin,
    /// How far it has got.
    pub state: State,
    /// Planned shards.
    pub shards: u32,
    /// Planned tiles.
    pub tiles: u64,
    /// Outcomes of the committed ones.
    pub counts: Counts,
    /// Its files in the table; of a deleted run, all objects that are left.
    pub files: u64,
    /// Bytes of its files in the table.
    pub bytes: u64,
    /// When it was planned; `None` as long as it is not.
    pub planned_at: Option<Moment>,
    /// The model's file.
    pub model: Option<String>,
}

impl RunInfo {
    async fn of(standing: &Standing) -> Result<Self> {
        let (id, origin) = (standing.run.id(), standing.run.origin());
        let shards = &standing.found.shards;
        let mut info = Self::begin(id, origin, shards.len() as u64, State::Planning);
        info.bytes = shards.iter().map(|shard| shard.size_bytes).sum();
        if let KnownRun::Planned(run) = &standing.run {
            info.state = if standing.completed().is_some() { State::Complete } else { State::Open };
            info.shards = run.num_shards();
            info.tiles = run.record.plan.tiles;
            info.counts = counts_so_far(run, shards).await?;
            info.planned_at = Some(run.planned_at());
            info.model = Some(run.record.model.file.clone());
        }
        Ok(info)
    }

    fn of_deleted(run: &DeletedRun) -> Self {
        let bytes = run.found.shards.iter().map(|shard| shard.size_bytes).sum();
        Self { bytes, ..Self::begin(&run.id, &Origin::default(), run.num_left(), State::Deleted) }
    }

    fn begin(id: &RunId, origin: &Origin, files: u64, state: State) -> Self {
        Self {
            run_id: id.clone(),
            origin: origin.clone(),
            state,
            shards: 0,
            tiles: 0,
            counts: Counts::default(),
            files,
            bytes: 0,
            planned_at: None,
            model: None,
        }
    }
}

/// Lists the runs of an output: those that are not deleted, and those that are not quite.
///
/// # Errors
///
/// `Config` if there is none; as the store answers otherwise.
pub async fn list(output: &Output) -> Result<Vec<RunInfo>> {
    output.consistently(Scope::All, async |snapshot: Snapshot| list_of(output, &snapshot).await).await
}

async fn list_of(output: &Output, snapshot: &Snapshot) -> Result<Vec<RunInfo>> {
    if snapshot.is_empty() {
        return Err(snapshot.nothing(output, None));
    }
    let mut runs = Vec::new();
    for standing in &snapshot.runs {
        runs.push(RunInfo::of(standing).await?);
    }
    runs.extend(snapshot.deleted.iter().filter(|run| run.num_left() > 0).map(RunInfo::of_deleted));
    Ok(runs)
}

/// What deleting runs would do.
#[derive(Clone, Debug, Serialize)]
pub struct Proposal {
    /// The runs to go, as they are.
    pub runs: Vec<RunInfo>,
    /// Tiles that `tiles` shows of them and would show of another run then.
    pub fall_back: u64,
    /// Tiles that `tiles` shows of them and would not show any more.
    pub vanish: u64,
}

/// Says what deleting these runs would do.
///
/// Memory: the URIs of all sources and the tiles of retries.
///
/// # Errors
///
/// `Config` if there is no such run; `Unavailable` if one is being compacted; as the store answers
/// otherwise.
pub async fn propose(output: &Output, ids: &[RunId]) -> Result<Proposal> {
    output.consistently(Scope::All, async |snapshot: Snapshot| propose_of(output, &snapshot, ids).await).await
}

async fn propose_of(output: &Output, snapshot: &Snapshot, ids: &[RunId]) -> Result<Proposal> {
    let mut runs = Vec::new();
    for id in ids {
        let deleted = snapshot.deleted.iter().find(|run| run.id == *id);
        match (snapshot.standing(id), deleted) {
            (Some(standing), _) => runs.push(RunInfo::of(standing).await?),
            (None, Some(deleted)) => runs.push(RunInfo::of_deleted(deleted)),
            (None, None) => return Err(output.no_run(Some(id))),
        }
    }
    refuse_compacted(snapshot, ids)?;
    let (fall_back, vanish) = Coverage::compare(snapshot, ids).await?;
    Ok(Proposal { runs, fall_back, vanish })
}

/// A run whose rows a compaction copies, or has copied, is deleted by the compaction.
fn refuse_compacted(snapshot: &Snapshot, ids: &[RunId]) -> Result<()> {
    let kept = snapshot.runs.iter().filter(|standing| !ids.contains(standing.run.id()));
    let mut compacted = kept.flat_map(|standing| {
        let copied = standing.run.origin().replaced().iter().filter(|id| ids.contains(id));
        let live = copied.filter(|id| snapshot.standing(id).is_some());
        live.map(move |id| (id, standing.run.id()))
    });
    compacted.next().map_or(Ok(()), |(id, into)| {
        Err(Error::unavailable(format!("run {id} is being compacted into {into}")).hint(format!(
            "`tilefleet runs OUTPUT compact` finishes that and deletes it; to give the compaction up, delete {into} first"
        )))
    })
}

/// What would be left to show for tiles.
#[derive(Default)]
struct Coverage {
    sources: HashSet<Arc<str>>,
    retried: HashSet<TileId>,
}

impl Coverage {
    /// Counts the tiles that `tiles` shows of the runs to go: those that others cover, and those that
    /// none does.
    async fn compare(snapshot: &Snapshot, ids: &[RunId]) -> Result<(u64, u64)> {
        let completed = snapshot.completed();
        let newest = Newest::of(&completed).await?;
        let (going, staying): (Vec<&Run>, Vec<&Run>) =
            completed.into_iter().partition(|run| ids.contains(&run.id));
        let (mut fall_back, mut vanish) = (0, 0);
        if going.is_empty() {
            return Ok((fall_back, vanish));
        }
        let covered = Self::of(&staying).await?;
        for run in going {
            for number in 0..run.num_shards() {
                for tile in run.shard(number).await?.tiles {
                    if newest.shows(&run.id, &tile.source.uri, tile.id) {
                        let stays = covered.holds(&tile.source.uri, tile.id);
                        *(if stays { &mut fall_back } else { &mut vanish }) += 1;
                    }
                }
            }
        }
        Ok((fall_back, vanish))
    }

    async fn of(runs: &[&Run]) -> Result<Self> {
        let mut coverage = Self::default();
        for run in runs {
            for number in 0..run.num_shards() {
                let tiles = run.shard(number).await?.tiles;
                if run.record.origin == Origin::Retry {
                    coverage.retried.extend(tiles.iter().map(|tile| tile.id));
                } else {
                    coverage.sources.extend(tiles.into_iter().map(|tile| tile.source.uri));
                }
            }
        }
        Ok(coverage)
    }

    fn holds(&self, source: &str, tile: TileId) -> bool {
        self.sources.contains(source) || self.retried.contains(&tile)
    }
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
/// - `ids`: as [`propose`] has found them
///
/// # Errors
///
/// As the store answers; deleting them again removes what is left then.
pub async fn delete(output: &Output, ids: &[RunId]) -> Result<Vec<Deleted>> {
    let mut deleted = Vec::new();
    for id in ids {
        let removed = output.delete_run(id, Why::Deleted).await?;
        deleted.push(Deleted { run_id: id.clone(), removed });
    }
    Ok(deleted)
}
