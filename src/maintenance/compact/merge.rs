//! The newest tiles of several runs, walked in step in the order of their sources.
//!
//! ```text
//! run 12  a…   c…      ─┐
//! run 11     b   c  d  ─┼─▶ a (12)  b (11)  c (12)  d (11)  e (3)
//! run  3  a  b       e ─┘
//! ```
//!
//! Goes in: runs of one family, all complete. Comes out: each source once, with its tiles and where their
//! rows are. It is a function of the runs alone, so that whoever resumes a compaction walks the same
//! way. Memory: the tiles of one shard a run, and of one source.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, StructArray};

use crate::output::{Origin, Run, Shard, Source, Tile};
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::tile_id::TileId;

/// Walks the sources of several runs.
pub(super) struct Merge {
    /// Newest run first.
    cursors: Vec<Cursor>,
}

/// One source of a merge.
pub(super) struct Merged {
    /// The source as the newest run that covers it as a whole saw it.
    pub(super) source: Source,
    /// Its manifest columns, one row.
    pub(super) extra: Option<StructArray>,
    /// Its tiles in order.
    pub(super) tiles: Vec<Placed>,
    /// Whether a run covers the source as a whole, so that these are all of its tiles.
    pub(super) whole: bool,
}

/// A tile and where its newest row is.
pub(super) struct Placed {
    /// The tile.
    pub(super) tile: Tile,
    /// Which of the runs holds the row, by its place among them.
    pub(super) run: usize,
    /// The shard.
    pub(super) shard: u32,
    /// The row within the shard.
    pub(super) row: usize,
}

/// What one run says of one source.
struct Group {
    whole: bool,
    extra: Option<StructArray>,
    tiles: Vec<Placed>,
}

impl Merge {
    /// Begins before the first source; `runs` are newest first.
    pub(super) fn of(runs: &[Arc<Run>]) -> Self {
        let cursor = |run: &Arc<Run>| Cursor { run: run.clone(), next_shard: 0, shard: None, at: 0 };
        Self { cursors: runs.iter().map(cursor).collect() }
    }

    /// Goes on to the next source; `None` after the last.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub(super) async fn next(&mut self) -> Result<Option<Merged>> {
        let mut first: Option<SourceUri> = None;
        for cursor in &mut self.cursors {
            if let Some(uri) = cursor.uri().await?
                && first.as_ref().is_none_or(|first| uri < *first)
            {
                first = Some(uri);
            }
        }
        let Some(uri) = first else { return Ok(None) };
        let mut groups = Vec::new();
        for (index, cursor) in self.cursors.iter_mut().enumerate() {
            groups.extend(cursor.take(&uri, index).await?);
        }
        Ok(Some(choose(groups)))
    }
}

/// Chooses among what the runs say of one source, newest first.
///
/// The newest run that covers the source as a whole says which tiles there are, and in which order; newer
/// retries replace some of them. Older runs say nothing any more.
fn choose(mut groups: Vec<Group>) -> Merged {
    let whole = groups.iter().position(|group| group.whole);
    groups.truncate(whole.map_or(groups.len(), |index| index + 1));
    let base = groups.pop().expect("the source was found in a run");
    let mut retried: HashMap<TileId, Placed> = HashMap::new();
    for placed in groups.into_iter().flat_map(|group| group.tiles) {
        retried.entry(placed.tile.id).or_insert(placed);
    }
    let seen = base.tiles[0].tile.source.clone();
    let kept = base.tiles.into_iter().map(|placed| retried.remove(&placed.tile.id).unwrap_or(placed));
    let mut tiles: Vec<Placed> = kept.collect();
    let mut others: Vec<Placed> = retried.into_values().collect();
    others.sort_by_key(|placed| placed.tile.id);
    tiles.extend(others);
    // A source that one run retried as a whole is the one that this run saw.
    let agreed = tiles.iter().all(|placed| placed.run == tiles[0].run);
    let source = if agreed { tiles[0].tile.source.clone() } else { seen };
    Merged { source, extra: base.extra, tiles, whole: whole.is_some() }
}

/// Walks the tiles of one run in the order of its plan.
struct Cursor {
    run: Arc<Run>,
    next_shard: u32,
    shard: Option<Shard>,
    at: usize,
}

impl Cursor {
    /// Returns the source of the next tile.
    async fn uri(&mut self) -> Result<Option<SourceUri>> {
        loop {
            if let Some(tile) = self.shard.as_ref().and_then(|shard| shard.tiles.get(self.at)) {
                if !tile.source.is_erased() {
                    return Ok(Some(tile.source.uri.clone()));
                }
                // Its URI is in no order, and there is nothing to copy.
                self.at += 1;
                continue;
            }
            if self.next_shard == self.run.num_shards() {
                return Ok(None);
            }
            self.shard = Some(self.run.shard(self.next_shard).await?);
            self.next_shard += 1;
            self.at = 0;
        }
    }

    /// Takes all tiles of a source, if it is the next one.
    async fn take(&mut self, uri: &SourceUri, run: usize) -> Result<Option<Group>> {
        let whole = self.run.record.origin != Origin::Retry;
        let mut group = Group { whole, extra: None, tiles: Vec::new() };
        while self.uri().await?.is_some_and(|next| next == *uri) {
            let shard = self.shard.as_ref().expect("`uri` found a tile in it");
            let tile = shard.tiles[self.at].clone();
            if group.tiles.is_empty() {
                let extra = shard.extra.as_ref().filter(|extra| extra.is_valid(self.at));
                group.extra = extra.map(|extra| extra.slice(self.at, 1));
                group.whole |= tile.source.is_whole_scene();
            }
            group.tiles.push(Placed { tile, run, shard: shard.number, row: self.at });
            self.at += 1;
        }
        Ok((!group.tiles.is_empty()).then_some(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::geometry::Window;

    fn group(run: usize, whole: bool, xs: &[u32]) -> Group {
        let placed = |x: &u32| {
            let window = Some(Window { x: *x, y: 0, width: 1, height: 1 });
            let version = Some(format!("v{run}").into());
            let source = Source { uri: "s3://a/b".into(), version, size_bytes: None, ..Source::default() };
            let id = TileId::of(&source.uri.name(), 0, 0, window);
            Placed {
                tile: Tile { id, source_id: 0, source, level: 0, frame: 0, window },
                run,
                shard: 0,
                row: 0,
            }
        };
        Group { whole, extra: None, tiles: xs.iter().map(placed).collect() }
    }

    fn chosen(groups: Vec<Group>) -> (Vec<(u32, usize)>, String) {
        let merged = choose(groups);
        let tiles = merged.tiles.iter().map(|placed| (placed.tile.window.unwrap().x, placed.run));
        (tiles.collect(), merged.source.version.unwrap().to_string())
    }

    #[test]
    fn retries_replace_tiles_and_runs_replace_sources() {
        let newest_whole = vec![group(0, true, &[3, 1]), group(1, false, &[1]), group(2, true, &[1, 2, 3])];
        assert_eq!(chosen(newest_whole), (vec![(3, 0), (1, 0)], "v0".into()));
        let some = vec![group(0, false, &[2]), group(1, false, &[2, 3]), group(2, true, &[1, 2, 3])];
        assert_eq!(
            chosen(some),
            (vec![(1, 2), (2, 0), (3, 1)], "v2".into()),
            "two versions: the whole one's"
        );
        let all = vec![group(0, false, &[2, 1]), group(1, true, &[1, 2])];
        assert_eq!(chosen(all), (vec![(1, 0), (2, 0)], "v0".into()));
        let alone = vec![group(0, false, &[2]), group(1, false, &[2])];
        assert_eq!(chosen(alone), (vec![(2, 0)], "v0".into()), "the run before was deleted");
    }
}
