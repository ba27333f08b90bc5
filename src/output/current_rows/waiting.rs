//! Which runs that nobody has accepted would show rows if somebody did: of the others nobody need hear.

use std::collections::{BTreeSet, HashSet};

use super::cuts::Cuts;
use super::{SOURCES_AT_ONCE, Seen, newest_first};
use crate::output::{Run, RunId, Snapshot, Tile};
use crate::vocabulary::error::Result;

/// Returns those runs that newer current ones do not cover altogether.
///
/// - `withheld`: completed runs that are not current
///
/// Memory: as [`super::CurrentRows::among`], if a current run is newer than one that is not.
///
/// # Errors
///
/// As the store answers.
pub async fn waiting(snapshot: &Snapshot, withheld: &BTreeSet<RunId>) -> Result<BTreeSet<RunId>> {
    waiting_among(&snapshot.completed(), withheld).await
}

/// As [`waiting`], of these completed runs.
pub(super) async fn waiting_among(runs: &[&Run], withheld: &BTreeSet<RunId>) -> Result<BTreeSet<RunId>> {
    let mut waiting = withheld.clone();
    let withheld = |run: &Run| withheld.contains(&run.id);
    let order = newest_first(runs);
    // Runs that are older than all of these replace nothing of them.
    let Some(oldest) = order.iter().rposition(|run| withheld(run)) else { return Ok(waiting) };
    let order = &order[..=oldest];
    if order.iter().all(|run| withheld(run)) {
        return Ok(waiting);
    }
    let cuts = Cuts::of(order);
    let mut seen = Seen { mixed: cuts.mixed(order).await?, ..Seen::default() };
    for run in order {
        let cut = cuts.of_run(run);
        if !withheld(run) {
            seen.add(run, cut).await?;
        } else if !seen.would_show(run, cut).await? {
            waiting.remove(&run.id);
        }
    }
    Ok(waiting)
}

impl Seen {
    /// Returns whether any row of a run that covers whole sources would be shown.
    async fn would_show(&self, run: &Run, cut: usize) -> Result<bool> {
        let mut by_tile = HashSet::new();
        let num_sources = run.record.plan.sources;
        for first in (0..num_sources).step_by(SOURCES_AT_ONCE as usize) {
            let range = first..(first + SOURCES_AT_ONCE).min(num_sources);
            for source in run.sources.read(range).await?.sources {
                if self.covered.contains(&(source.uri.clone(), cut)) || self.is_outdated(&source) {
                    continue;
                }
                if !self.mixed.contains(&source.uri) && !self.retried.contains_key(&source.uri) {
                    return Ok(true);
                }
                by_tile.insert(source.uri);
            }
        }
        if by_tile.is_empty() {
            return Ok(false);
        }
        for number in 0..run.num_shards() {
            let tiles = run.shard(number).await?.tiles;
            if tiles.iter().any(|tile| by_tile.contains(&tile.source.uri) && !self.has(tile)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether a newer run has this very tile.
    fn has(&self, tile: &Tile) -> bool {
        let retried = self.retried.get(&tile.source.uri);
        self.mixed_tiles.contains(&tile.id) || retried.is_some_and(|tiles| tiles.contains(&tile.id))
    }
}
