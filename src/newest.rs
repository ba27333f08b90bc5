//! Which rows are the newest: what the table `tiles` shows.
//!
//! Runs are compared by [`Run::age`]. A run covers its sources as a whole: what older runs say of them is
//! replaced. A retry covers its tiles only: the other tiles of their sources stay those of the run before.
//! Only scenes that a retry has cut anew it covers as a whole.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::error::Result;
use crate::plan::{Origin, Run, RunId, TileId};

/// Sources looked at in one go.
const SOURCES_AT_ONCE: u64 = 1 << 13;

/// The rows that are the newest.
#[derive(Debug, Default)]
pub struct Newest {
    /// Completed runs of which any row may be the newest, and what of them is not.
    pub runs: BTreeMap<RunId, Replaced>,
}

/// Rows of one run that newer runs replace.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// All tiles of these sources.
    pub sources: HashSet<Arc<str>>,
    /// These tiles.
    pub tiles: HashSet<TileId>,
}

impl Newest {
    /// Compares completed runs.
    ///
    /// Memory: the URIs of all sources and the tiles of retries, if there is more than one completed run.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(completed: &[&Run]) -> Result<Self> {
        if let [only] = completed {
            return Ok(Self { runs: BTreeMap::from([(only.id.clone(), Replaced::default())]) });
        }
        let mut newest_first = completed.to_vec();
        newest_first.sort_by(|a, b| b.age().cmp(&a.age()));
        let mut seen = Seen::default();
        let mut newest = Self::default();
        for run in newest_first {
            let any = match run.record.origin {
                Origin::Retry => seen.retry(run).await?,
                Origin::Pipeline | Origin::Compaction { .. } => seen.whole(run).await?,
            };
            if let Some(replaced) = any {
                newest.runs.insert(run.id.clone(), replaced);
            }
        }
        Ok(newest)
    }

    /// Returns whether a row is the newest of its tile.
    #[must_use]
    pub fn shows(&self, run: &RunId, source: &str, tile: TileId) -> bool {
        self.runs
            .get(run)
            .is_some_and(|replaced| !replaced.sources.contains(source) && !replaced.tiles.contains(&tile))
    }
}

/// What newer runs cover.
#[derive(Default)]
struct Seen {
    sources: HashSet<Arc<str>>,
    /// Tiles of retries whose source no newer run covers as a whole; each is to be taken out of the next
    /// older run that covers its source.
    retried: HashMap<Arc<str>, HashSet<TileId>>,
}

impl Seen {
    /// Goes on to an older run that covers whole sources; returns `None` if all of it is replaced.
    async fn whole(&mut self, run: &Run) -> Result<Option<Replaced>> {
        let mut replaced = Replaced::default();
        let num_sources = run.record.plan.sources;
        for first in (0..num_sources).step_by(SOURCES_AT_ONCE as usize) {
            let range = first..(first + SOURCES_AT_ONCE).min(num_sources);
            for source in run.sources.read(range).await?.sources {
                if !self.sources.insert(source.uri.clone()) {
                    replaced.sources.insert(source.uri);
                } else if let Some(tiles) = self.retried.remove(&source.uri) {
                    replaced.tiles.extend(tiles);
                }
            }
        }
        Ok(((replaced.sources.len() as u64) < num_sources).then_some(replaced))
    }

    /// Goes on to an older retry; returns `None` if all of it is replaced.
    async fn retry(&mut self, run: &Run) -> Result<Option<Replaced>> {
        let (mut replaced, mut whole) = (Replaced::default(), HashSet::new());
        let mut num_shown = 0_u64;
        for number in 0..run.num_shards() {
            for tile in run.shard(number).await?.tiles {
                if self.sources.contains(&tile.source.uri) {
                    replaced.sources.insert(tile.source.uri);
                } else if tile.source.is_whole_scene() {
                    let retried = self.retried.get(&tile.source.uri);
                    if retried.is_some_and(|tiles| tiles.contains(&tile.id)) {
                        replaced.tiles.insert(tile.id);
                    } else {
                        num_shown += 1;
                    }
                    whole.insert(tile.source.uri);
                } else if self.retried.entry(tile.source.uri).or_default().insert(tile.id) {
                    num_shown += 1;
                } else {
                    replaced.tiles.insert(tile.id);
                }
            }
        }
        for uri in whole {
            self.retried.remove(&uri);
            self.sources.insert(uri);
        }
        Ok((num_shown > 0).then_some(replaced))
    }
}
