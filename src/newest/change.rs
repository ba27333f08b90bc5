//! What `tiles` would show otherwise, if other runs were current.

use std::collections::HashSet;

use serde::Serialize;

use super::Newest;
use crate::error::Result;
use crate::plan::{Run, TileId};

/// How the table changes from one set of current runs to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Tiles that it does not show any more.
    pub lost: u64,
    /// Tiles of which it shows another run's row.
    pub replaced: u64,
    /// Tiles that it did not show before.
    pub gained: u64,
}

impl Change {
    /// Compares what `tiles` shows of these current runs and of those.
    ///
    /// Memory: the tiles that differ, and twice what [`Newest::among`] needs.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn between(before: &[&Run], after: &[&Run]) -> Result<Self> {
        let (was, is) = (Newest::among(before).await?, Newest::among(after).await?);
        let gone = before.iter().filter(|run| after.iter().all(|other| other.id != run.id));
        let (mut out, mut into) = (HashSet::<TileId>::new(), HashSet::<TileId>::new());
        for run in gone.chain(after) {
            if was.runs.get(&run.id) == is.runs.get(&run.id) {
                continue;
            }
            for number in 0..run.num_shards() {
                for tile in run.shard(number).await?.tiles {
                    let shows = |newest: &Newest| newest.shows(&run.id, &tile.source.uri, tile.id);
                    match (shows(&was), shows(&is)) {
                        (true, false) => out.insert(tile.id),
                        (false, true) => into.insert(tile.id),
                        _ => false,
                    };
                }
            }
        }
        let replaced = out.intersection(&into).count();
        let count = |number: usize| number as u64;
        Ok(Self {
            lost: count(out.len() - replaced),
            replaced: count(replaced),
            gained: count(into.len() - replaced),
        })
    }
}
