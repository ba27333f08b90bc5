//! Sources whose rows `tiles` showed, until runs with other settings came.

use std::collections::HashSet;

use super::CurrentRows;
use crate::output::{Run, Tile};
use crate::scene::SceneLayout;
use crate::vocabulary::error::Result;
use crate::vocabulary::identity::SourceUri;

/// Returns the sources of which these runs alone would show tiles, and show none beside the others.
///
/// Where others have replaced some of a source's tiles only, as those of another area do, the rest stays, and the
/// source is left out. So is a scene of which these runs only say that it cannot be cut.
///
/// - `mine`: current runs
/// - `all`: current runs, those among them
///
/// Memory: the URIs of sources of which any tile is replaced, the tiles of one shard, and twice what
/// [`CurrentRows::among`] needs.
///
/// # Errors
///
/// As the store answers.
pub async fn covered_up(mine: &[&Run], all: &[&Run]) -> Result<HashSet<SourceUri>> {
    let (mut gone, mut left) = (HashSet::new(), HashSet::new());
    if mine.len() == all.len() {
        return Ok(gone);
    }
    let (alone, beside) = (CurrentRows::among(mine).await?, CurrentRows::among(all).await?);
    if mine.iter().all(|run| alone.runs.get(&run.id) == beside.runs.get(&run.id)) {
        return Ok(gone);
    }
    for run in mine.iter().filter(|run| alone.runs.contains_key(&run.id)) {
        for number in 0..run.num_shards() {
            for tile in run.shard(number).await?.tiles {
                let uri = &tile.source.uri;
                if beside.shows(&run.id, &tile) {
                    left.insert(uri.clone());
                } else if alone.shows(&run.id, &tile) && !is_rejected_scene(&tile) {
                    gone.insert(uri.clone());
                }
            }
        }
    }
    gone.retain(|uri| !left.contains(uri));
    Ok(gone)
}

/// Returns whether a tile stands for a scene whose header says that it cannot be cut.
fn is_rejected_scene(tile: &Tile) -> bool {
    matches!(tile.source.survey, Some(SceneLayout::Rejected { .. }))
}
