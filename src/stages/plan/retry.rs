//! Plans a run over rejected tiles.
//!
//! Goes in: where the rejected rows are. Comes out: a run whose rows replace those tiles and no others.
//! The sources are looked up anew, since a file that was repaired has another version; one that is still
//! gone is planned, and rejected again. Scenes are surveyed anew: of one that is the same the windows are planned
//! that were rejected, and no others; one that has changed, or could not be cut before, is planned as a whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, StructArray};
use futures::{StreamExt, TryStreamExt, stream};

use super::planner::{MAX_ELECTIONS, OpenRun, Planner, RunSeries, lost_every_election};
use crate::input::source;
use crate::input::source::{Entry, ExtraCodec};
use crate::input::storage::ObjectUri;
use crate::output::RunState;
use crate::output::current_rows::CurrentRows;
use crate::output::rejects::Retry;
use crate::output::sources;
use crate::output::{Election, SOURCE_BYTES_KEY};
use crate::output::{Origin, RunId};
use crate::output::{Run, Tile};
use crate::output::{Source, Surveyed};
use crate::scene::{FrameWindow, Scene, SceneLayout};
use crate::stages::survey::windows::num_tiles_of;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::tile_id::TileId;

/// How many sources are looked up at a time.
const LOOKUPS: usize = 32;

/// A run of retries.
pub struct Retried {
    /// It.
    pub run: Run,
    /// Whether it was planned before, and not finished.
    pub continued: bool,
}

impl Planner<'_> {
    /// Continues the unfinished retry of this pipeline and fingerprint; else plans one over those of these tiles
    /// that no newer run has replaced since they were found. `None` if all of them are.
    ///
    /// Memory: the tiles, the tiles of one shard, and what [`CurrentRows::among`] needs.
    ///
    /// # Errors
    ///
    /// `Unavailable` if a run that is not a retry has to be finished first; as the stores answer otherwise.
    pub async fn retry(&self, rejected: &[Retry]) -> Result<Option<Retried>> {
        for _ in 0..MAX_ELECTIONS {
            let family = self.family().await?;
            if let Some(open) = &family.open {
                self.check_open(open, family.snapshot.standing(open.id()))?;
                match self.go_on(&family).await? {
                    Some(run) => return Ok(Some(Retried { run, continued: true })),
                    None => continue,
                }
            }
            let encoded = match self.encode_rejected(rejected, &family).await {
                Ok(encoded) if encoded.num_sources == 0 => return Ok(None),
                Ok(encoded) => encoded,
                Err(error) => {
                    self.unless_deleted(&family, error).await?;
                    continue;
                }
            };
            match self.elect(&family.next, encoded).await? {
                Some(run) if run.record.origin == Origin::Retry => {
                    return Ok(Some(Retried { run, continued: false }));
                }
                // A pipeline's run was faster, or a compaction, or this one is deleted: look again.
                _ => {}
            }
        }
        Err(lost_every_election())
    }

    fn check_open(&self, open: &OpenRun, standing: Option<&RunState>) -> Result<()> {
        if standing.is_some_and(|standing| *standing.run.origin() == Origin::Retry) {
            return Ok(());
        }
        Err(Error::unavailable(format!("run {} of {} is not complete", open.id(), self.output.uri))
            .hint("run its pipeline again to finish it, then retry"))
    }

    async fn encode_rejected(
        &self,
        rejected: &[Retry],
        family: &RunSeries,
    ) -> Result<sources::EncodedSources> {
        let covered = family.covered();
        let newest = CurrentRows::among(&covered).await?;
        let mut found = Rejected::default();
        let mut checked = None;
        for ((id, shard), tiles) in by_shard(rejected) {
            let run = covered.iter().find(|run| run.id == *id).ok_or_else(|| vanished(id))?;
            // Values of the manifest are copied from there; shards come run by run.
            if checked.replace(id) != Some(id) {
                run.check_plan().await?;
            }
            found.add_shard(run, shard, &tiles, &newest).await?;
        }
        let entries = self.look_up(found.entries).await?;
        let tiling = self.cutting.map(|cutting| cutting.tiling.as_ref());
        let num_tiles = entries.iter().map(|entry| num_tiles_of(entry.survey.as_ref(), tiling)).sum();
        let election = Election {
            shard_tiles: self.shard_size().of(num_tiles),
            fingerprint: self.draft.fingerprint.clone(),
            origin: Origin::Retry,
            planned_at: Some(self.output.process.now()),
            as_of: family.just_after(),
            // What it replaces is rejected already.
            max_reject_ratio: None,
            limit: None,
        };
        let entries = entries.into_iter().map(Ok);
        sources::encode(entries, found.codec.as_ref(), || election.metadata(), SOURCE_BYTES_KEY)
    }

    /// Returns the sources as they are now, in order of URI.
    async fn look_up(&self, sources: BTreeMap<SourceUri, Again>) -> Result<Vec<Surveyed>> {
        let looked_up = stream::iter(sources).map(|(uri, again)| self.look_up_one(uri, again));
        looked_up.buffered(LOOKUPS).try_collect().await
    }

    async fn look_up_one(&self, uri: SourceUri, again: Again) -> Result<Surveyed> {
        let Again { planned, extra, windows } = again;
        let entry = if let Some(item) = &planned.item {
            // What a STAC item says is what it said: an item that has changed the next run covers.
            let version = planned.version.as_deref().map(str::to_owned);
            let item = Some(item.as_bytes().to_vec());
            Entry { uri, version, extra, item, ..Entry::default() }
        } else {
            let found = source::look_up(self.storage, &ObjectUri::of(&uri)?).await?;
            Entry { uri, extra, ..found }
        };
        match self.cutting {
            None => Ok(entry.into()),
            Some(cutting) => {
                let surveyed = limited(cutting.surveyor.survey(entry).await?, &planned, windows);
                let tiling = Some(cutting.tiling.as_ref());
                let is_inside = num_tiles_of(surveyed.survey.as_ref(), tiling) > 0;
                Ok(if is_inside { surveyed } else { outside(surveyed) })
            }
        }
    }
}

/// Limits a scene to the windows that were rejected, if it is the one that was planned. One that is another by
/// now is planned anew as a whole; one that does not answer stays as it was planned, and reading it says why.
fn limited(surveyed: Surveyed, planned: &Source, windows: Vec<FrameWindow>) -> Surveyed {
    let scene = match (&surveyed.survey, planned.scene()) {
        (Some(SceneLayout::Scene(now)), Some(before)) if is_same(now, before, planned) => now,
        (Some(SceneLayout::Unanswered { .. }) | None, Some(before)) => before,
        _ => return surveyed,
    };
    let only = Scene { only: Some(windows), ..Scene::clone(scene) };
    Surveyed { survey: Some(SceneLayout::Scene(Arc::new(only))), ..surveyed }
}

/// A file that was repaired is another version of the same scene, and the next run covers it as a whole. No run
/// does so behind an item that has not changed: there another version is another scene.
fn is_same(now: &Scene, before: &Scene, planned: &Source) -> bool {
    let versions = |scene: &Scene| scene.objects.iter().map(|it| it.version.clone()).collect::<Vec<_>>();
    now.is_again(before) && (planned.item.is_none() || versions(now) == versions(before))
}

/// Of a scene that has moved out of the area of interest a row remains that says so.
fn outside(surveyed: Surveyed) -> Surveyed {
    let detail = "no window of the scene touches the area of interest any more";
    Surveyed { survey: Some(Rejection::new(Reason::GridMismatch, detail).into()), ..surveyed }
}

fn by_shard(rejected: &[Retry]) -> BTreeMap<(&RunId, u32), HashSet<TileId>> {
    let mut shards: BTreeMap<(&RunId, u32), HashSet<TileId>> = BTreeMap::new();
    for reject in rejected {
        shards.entry((&reject.run, reject.shard)).or_default().insert(reject.tile);
    }
    shards
}

/// The sources of rejected tiles.
#[derive(Default)]
struct Rejected {
    entries: BTreeMap<SourceUri, Again>,
    codec: Option<ExtraCodec>,
}

/// A source that is tried again.
struct Again {
    /// As it was planned.
    planned: Source,
    /// The manifest's columns.
    extra: Option<Vec<u8>>,
    /// Its rejected windows; none if it was one tile.
    windows: Vec<FrameWindow>,
}

impl Rejected {
    /// Adds the sources of those tiles whose rows are still the newest.
    async fn add_shard(
        &mut self,
        run: &Run,
        number: u32,
        wanted: &HashSet<TileId>,
        newest: &CurrentRows,
    ) -> Result<()> {
        if let (None, Some(fields)) = (&self.codec, run.sources.extra_fields()) {
            self.codec = Some(ExtraCodec::new(&fields)?);
        }
        let shard = run.shard(number).await?;
        let is_wanted = |tile: &Tile| wanted.contains(&tile.id) && newest.shows(&run.id, tile);
        for (row, tile) in shard.tiles.iter().enumerate().filter(|(_, tile)| is_wanted(tile)) {
            let extra = encoded(self.codec.as_ref(), shard.extra.as_ref(), row)?;
            let again = self.entries.entry(tile.source.uri.clone()).or_insert_with(|| Again {
                planned: tile.source.clone(),
                extra,
                windows: Vec::new(),
            });
            again.windows.extend(tile.window.map(|window| FrameWindow { frame: tile.frame, window }));
        }
        Ok(())
    }
}

/// Encodes one row of the manifest's columns; `None` if the source had no row in the manifest.
pub(crate) fn encoded(
    codec: Option<&ExtraCodec>,
    extra: Option<&StructArray>,
    row: usize,
) -> Result<Option<Vec<u8>>> {
    match (codec, extra.filter(|extra| extra.is_valid(row))) {
        (Some(codec), Some(extra)) => {
            let rows = codec.encode(extra.slice(row, 1).columns())?;
            Ok(Some(rows.row(0).data().to_vec()))
        }
        _ => Ok(None),
    }
}

fn vanished(run: &RunId) -> Error {
    Error::unavailable(format!("run {run} has vanished")).hint("try again")
}
