//! Which rows are the newest: what the table `tiles` shows.
//!
//! ```text
//! completed runs ─▶ current ones ─▶ newest first: what newer runs cover is replaced
//!                   (see `current`)               (by source, or by tile)
//! ```
//!
//! Runs are compared by [`Run::age`]. A run covers its sources as a whole: what older runs that cut them into
//! the same windows say of them is replaced. Of older runs with another area, other bands or another grid only
//! tiles of equal id are, and rows that say why a source could not be cut. A retry covers its tiles only: the
//! other tiles of their sources stay those of the run before. Only scenes that a retry has cut anew it covers
//! as a whole.

mod change;
mod counts;
mod covered_up;
mod current;
mod cuts;
mod standings;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use self::cuts::Cuts;
use crate::output::{Origin, Run, RunId, Snapshot, Source, Tile};
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::tile_id::TileId;

pub use change::{Change, stay_as_they_are};
pub use counts::{Shown, count_shown};
pub use covered_up::covered_up;
pub use current::{Current, how_to_accept, settle, sum_up_if_there, withheld_of_family};
pub use standings::Standings;
pub use waiting::waiting;

/// Sources looked at in one go.
const SOURCES_AT_ONCE: u64 = 1 << 13;

/// The rows that are the newest.
#[derive(Debug, Default)]
pub struct CurrentRows {
    /// Current runs of which any row may be the newest, and what of them is not.
    pub runs: BTreeMap<RunId, Replaced>,
    /// Completed runs that are not current, since nobody has accepted them.
    pub withheld: BTreeSet<RunId>,
}

/// Rows of one run that newer runs replace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// All tiles of these sources, by their names in rows.
    pub sources: HashSet<Arc<str>>,
    /// These tiles.
    pub tiles: HashSet<TileId>,
}

impl Replaced {
    fn is_current(&self, source: &str, tile: TileId) -> bool {
        !self.sources.contains(source) && !self.tiles.contains(&tile)
    }

    /// Returns whether the row of a planned tile is the newest.
    fn shows(&self, tile: &Tile) -> bool {
        self.is_current(&tile.source.uri.name(), tile.id)
    }
}

impl CurrentRows {
    /// Compares the current runs of an output.
    ///
    /// Memory: as [`Self::among`].
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(snapshot: &Snapshot) -> Result<Self> {
        let Current { runs, withheld } = Current::of(&snapshot.runs).await?;
        Ok(Self { withheld, ..Self::among(&runs).await? })
    }

    /// Compares runs that are current.
    ///
    /// Memory: the URIs of all sources and the tiles of retries, if there is more than one run; also the tiles
    /// of the sources that runs have cut differently.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn among(runs: &[&Run]) -> Result<Self> {
        Self::in_order(&newest_first(runs)).await
    }

    /// Compares runs as if each were newer than all that come after it.
    async fn in_order(runs: &[&Run]) -> Result<Self> {
        let mut newest = Self::default();
        if let [only] = runs {
            newest.runs.insert(only.id.clone(), Replaced::default());
            return Ok(newest);
        }
        let cuts = Cuts::of(runs);
        let mut seen = Seen { mixed: cuts.mixed(runs).await?, ..Seen::default() };
        for run in runs {
            if let Some(replaced) = seen.add(run, cuts.of_run(run)).await? {
                newest.runs.insert(run.id.clone(), replaced);
            }
        }
        Ok(newest)
    }

    /// Returns whether a row is the newest of its tile.
    #[must_use]
    pub fn is_current(&self, run: &RunId, source: &str, tile: TileId) -> bool {
        self.runs.get(run).is_some_and(|replaced| replaced.is_current(source, tile))
    }

    /// Returns whether the row that a run has of a planned tile is the newest.
    #[must_use]
    pub fn shows(&self, run: &RunId, tile: &Tile) -> bool {
        self.runs.get(run).is_some_and(|replaced| replaced.shows(tile))
    }
}

fn newest_first<'a>(runs: &[&'a Run]) -> Vec<&'a Run> {
    let mut runs = runs.to_vec();
    runs.sort_by(|a, b| b.age().cmp(&a.age()));
    runs
}

/// What newer runs cover.
#[derive(Default)]
struct Seen {
    /// Sources that a run covers as a whole, and how it cuts them.
    covered: HashSet<(SourceUri, usize)>,
    /// Tiles of retries whose source no newer run covers as a whole; each is to be taken out of the next
    /// older run that covers its source.
    retried: HashMap<SourceUri, HashSet<TileId>>,
    /// Sources that runs have cut differently.
    mixed: HashSet<SourceUri>,
    /// Those of them that any run covers as a whole.
    mixed_covered: HashSet<SourceUri>,
    /// Their tiles.
    mixed_tiles: HashSet<TileId>,
}

impl Seen {
    /// Goes on to an older run; returns `None` if all of it is replaced.
    async fn add(&mut self, run: &Run, cut: usize) -> Result<Option<Replaced>> {
        match run.record.origin {
            Origin::Retry => self.retry(run, cut).await,
            Origin::Pipeline | Origin::Compaction { .. } => self.whole(run, cut).await,
        }
    }

    /// Goes on to an older run that covers whole sources; returns `None` if all of it is replaced.
    async fn whole(&mut self, run: &Run, cut: usize) -> Result<Option<Replaced>> {
        let (mut replaced, mut mixed, mut num_shown) = (Replaced::default(), HashSet::new(), 0_u64);
        let num_sources = run.record.plan.sources;
        for first in (0..num_sources).step_by(SOURCES_AT_ONCE as usize) {
            let range = first..(first + SOURCES_AT_ONCE).min(num_sources);
            for source in run.sources.read(range).await?.sources {
                let is_new = self.covered.insert((source.uri.clone(), cut));
                if !is_new || self.is_outdated(&source) {
                    replaced.sources.insert(source.uri.shared_name());
                } else if self.mixed.contains(&source.uri) {
                    mixed.insert(source.uri);
                } else {
                    num_shown += 1;
                    replaced.tiles.extend(self.retried.remove(&source.uri).into_iter().flatten());
                }
            }
        }
        if !mixed.is_empty() {
            num_shown += self.mixed(run, &mixed, &mut replaced).await?;
            self.mixed_covered.extend(mixed);
        }
        Ok((num_shown > 0).then_some(replaced))
    }

    /// Goes on to the tiles of sources that newer runs have cut otherwise; returns how many are shown.
    async fn mixed(
        &mut self,
        run: &Run,
        sources: &HashSet<SourceUri>,
        replaced: &mut Replaced,
    ) -> Result<u64> {
        let mut num_shown = 0;
        for number in 0..run.num_shards() {
            for tile in run.shard(number).await?.tiles {
                if sources.contains(&tile.source.uri) {
                    num_shown += self.mixed_tile(&tile, replaced);
                }
            }
        }
        Ok(num_shown)
    }

    /// Returns 1 if the tile is shown, else 0.
    fn mixed_tile(&mut self, tile: &Tile, replaced: &mut Replaced) -> u64 {
        let shown = self.mixed_tiles.insert(tile.id);
        if !shown {
            replaced.tiles.insert(tile.id);
        }
        shown.into()
    }

    /// Returns whether all that a run says of a source is why it could not be cut, and a newer one could say more.
    fn is_outdated(&self, source: &Source) -> bool {
        source.scene().is_none() && self.mixed_covered.contains(&source.uri)
    }

    /// Goes on to an older retry; returns `None` if all of it is replaced.
    async fn retry(&mut self, run: &Run, cut: usize) -> Result<Option<Replaced>> {
        let (mut replaced, mut whole, mut num_shown) = (Replaced::default(), HashSet::new(), 0_u64);
        for number in 0..run.num_shards() {
            for tile in run.shard(number).await?.tiles {
                let uri = &tile.source.uri;
                let is_whole = tile.source.is_whole_scene();
                if self.covered.contains(&(uri.clone(), cut)) || self.is_outdated(&tile.source) {
                    replaced.sources.insert(uri.shared_name());
                } else if self.mixed.contains(uri) {
                    num_shown += self.mixed_tile(&tile, &mut replaced);
                } else if is_whole {
                    num_shown += self.retried_whole(&tile, &mut replaced);
                } else if self.retried.entry(uri.clone()).or_default().insert(tile.id) {
                    num_shown += 1;
                } else {
                    replaced.tiles.insert(tile.id);
                }
                if is_whole {
                    whole.insert(tile.source.uri);
                }
            }
        }
        for uri in whole {
            self.retried.remove(&uri);
            if self.mixed.contains(&uri) {
                self.mixed_covered.insert(uri.clone());
            }
            self.covered.insert((uri, cut));
        }
        Ok((num_shown > 0).then_some(replaced))
    }

    /// Returns 1 if the tile of a scene that was cut anew is shown, else 0.
    fn retried_whole(&self, tile: &Tile, replaced: &mut Replaced) -> u64 {
        let retried = self.retried.get(&tile.source.uri);
        let shown = retried.is_none_or(|tiles| !tiles.contains(&tile.id));
        if !shown {
            replaced.tiles.insert(tile.id);
        }
        shown.into()
    }
}
