//! The plan against its record and its sources.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::Verdict;
use crate::output::{PlannedTile, Run};
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::tile_id::TileId;
use crate::vocabulary::words::{counted, counted_of};

/// A planned tile and its source's URI; `None` if the table of sources does not hold that source.
pub(super) struct Planned {
    pub(super) tile: PlannedTile,
    pub(super) uri: Option<SourceUri>,
}

/// Reads a shard's planned tiles together with the URIs of their sources.
///
/// # Errors
///
/// As the store answers, damaged files included.
pub(super) async fn planned_tiles(run: &Run, number: u32, verdict: &mut Verdict) -> Result<Vec<Planned>> {
    let tiles = run.planned_tiles(number).await?;
    let num_sources = run.sources.num_sources();
    let (known, unknown): (Vec<u64>, Vec<u64>) =
        tiles.iter().map(|tile| tile.source_id).partition(|id| *id < num_sources);
    for id in unknown {
        verdict.violation(format!("shard {number} is planned with source {id}, but there are {num_sources}"));
    }
    let first = known.iter().min().copied().unwrap_or(0);
    let end = known.iter().max().map_or(first, |last| last + 1);
    // An empty range is not a row group to ask for.
    let sources = if first < end { run.sources.read(first..end).await?.sources } else { Vec::new() };
    let uri_of = |id: u64| sources.get(id.checked_sub(first)? as usize).map(|source| source.uri.clone());
    Ok(tiles.into_iter().map(|tile| Planned { uri: uri_of(tile.source_id), tile }).collect())
}

/// Follows a plan from its first tile to its last.
///
/// Tile ids are recomputed from the names of sources, which no two URIs share. So where the sources' ids and URIs both
/// increase, tiles of two sources differ, and only those of one source need to be compared with each other.
#[derive(Default)]
pub(super) struct PlanCheck {
    digest: Sha256,
    num_tiles: u64,
    num_sources: u64,
    source: Option<(u64, Option<SourceUri>)>,
    /// The ids of the current source's tiles.
    ids: HashSet<TileId>,
    /// Whether a tile may be planned twice.
    is_suspect: bool,
}

impl PlanCheck {
    /// Takes the tiles of the next shard.
    pub(super) fn follow(&mut self, planned: &[Planned], verdict: &mut Verdict) {
        for Planned { tile, uri } in planned {
            self.digest.update(tile.id.to_string());
            self.num_tiles += 1;
            if uri.as_ref().is_some_and(|uri| id_of(tile, uri) != tile.id) {
                let id = tile.source_id;
                verdict.violation(format!("tile {} is not in the tiling of source {id}", tile.id));
            }
            self.enter(tile.source_id, uri.as_ref());
            self.is_suspect |= !self.ids.insert(tile.id);
        }
    }

    /// Begins a new source, unless it is still the same.
    fn enter(&mut self, id: u64, uri: Option<&SourceUri>) {
        let increases = match &self.source {
            Some((last, _)) if *last == id => return,
            Some((last, last_uri)) => *last < id && last_uri.as_ref() < uri,
            None => true,
        };
        if increases {
            self.ids.clear();
        } else {
            self.is_suspect = true;
        }
        self.num_sources += 1;
        self.source = Some((id, uri.cloned()));
    }

    /// Compares the whole plan with its record.
    ///
    /// # Errors
    ///
    /// As the store answers, damaged files included.
    pub(super) async fn finish(self, run: &Run, verdict: &mut Verdict) -> Result<()> {
        let record = &run.record.plan;
        if self.num_tiles != record.tiles {
            let (found, said) = (self.num_tiles, record.tiles);
            verdict.violation(format!("the plan has {}, its record says {said}", counted(found, "tile")));
        }
        if hex::encode(self.digest.finalize()) != record.digest {
            verdict.violation(format!("the plan's tiles do not match its digest {}", record.digest));
        }
        if run.sources.num_sources() != record.sources {
            let (found, said) = (run.sources.num_sources(), record.sources);
            verdict.violation(format!("the table has {}, its record says {said}", counted(found, "source")));
        }
        if self.is_suspect {
            return report_repeated(run, verdict).await;
        }
        if self.num_sources != record.sources {
            let (planned, all) = (self.num_sources, record.sources);
            verdict.violation(format!("the plan has tiles of {}", counted_of(planned, all, "source")));
        }
        Ok(())
    }
}

fn id_of(tile: &PlannedTile, uri: &SourceUri) -> TileId {
    TileId::of(&uri.name(), tile.level, tile.frame, tile.window)
}

/// Reads the plan once more and names every tile that is planned more than once.
async fn report_repeated(run: &Run, verdict: &mut Verdict) -> Result<()> {
    let mut ids: Vec<TileId> = Vec::new();
    for number in 0..run.num_shards() {
        ids.extend(run.planned_tiles(number).await?.iter().map(|tile| tile.id));
    }
    ids.sort_unstable();
    for pair in ids.windows(2).filter(|pair| pair[0] == pair[1]) {
        verdict.violation(format!("tile {} is planned twice", pair[0]));
    }
    Ok(())
}
