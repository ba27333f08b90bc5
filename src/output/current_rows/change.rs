//! What `tiles` would show otherwise, if other runs were current.

use std::collections::HashSet;

use serde::Serialize;

use super::{CurrentRows, newest_first};
use crate::output::{Run, RunId};
use crate::vocabulary::error::Result;
use crate::vocabulary::tile_id::TileId;

/// Returns whether the rows of all other runs stay the newest or not, as they are, if these runs become one that is
/// as new as the newest of them.
///
/// - `merged`: some of the current runs
///
/// # Errors
///
/// As the store answers.
pub async fn stay_as_they_are(current: &[&Run], merged: &[&RunId]) -> Result<bool> {
    let order = newest_first(current);
    let is_merged = |run: &&Run| merged.contains(&&run.id);
    let (Some(first), Some(last)) = (order.iter().position(is_merged), order.iter().rposition(is_merged))
    else {
        return Ok(true);
    };
    let (inner, between): (Vec<&Run>, Vec<&Run>) = order[first..=last].iter().copied().partition(is_merged);
    if between.is_empty() {
        return Ok(true);
    }
    let moved = [&order[..first], &inner, &between, &order[last + 1..]].concat();
    let (was, is) = (CurrentRows::in_order(&order).await?, CurrentRows::in_order(&moved).await?);
    Ok(between.iter().all(|run| was.runs.get(&run.id) == is.runs.get(&run.id)))
}

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
    /// Memory: the tiles that differ, and twice what [`CurrentRows::among`] needs.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn between(before: &[&Run], after: &[&Run]) -> Result<Self> {
        let (was, is) = (CurrentRows::among(before).await?, CurrentRows::among(after).await?);
        let gone = before.iter().filter(|run| after.iter().all(|other| other.id != run.id));
        let (mut out, mut into) = (HashSet::<TileId>::new(), HashSet::<TileId>::new());
        for run in gone.chain(after) {
            if was.runs.get(&run.id) == is.runs.get(&run.id) {
                continue;
            }
            for number in 0..run.num_shards() {
                for tile in run.shard(number).await?.tiles {
                    match (was.shows(&run.id, &tile), is.shows(&run.id, &tile)) {
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
