//! Which tiles are held out.

use sha2::{Digest, Sha256};

use crate::plan::TileId;

/// What a labelled tile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To fit on.
    Train,
    /// Held out, to see how good the classifier is.
    Test,
}

/// A number that depends on the tile and the seed alone, evenly spread.
pub(super) fn rank(tile: TileId, seed: u64) -> [u8; 8] {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(tile.as_bytes()).finalize();
    std::array::from_fn(|at| digest[at])
}

/// Says of each tile whether it is held out: the lowest ranks of each class.
///
/// So the choice does not depend on the order of rows; tiles that come in later move only those at the
/// border. Each class keeps at least one tile to fit on.
///
/// - `tiles`: class and rank of each
/// - `share`: of each class, from 0 to below 1
pub(super) fn held_out(tiles: &[(u32, [u8; 8])], num_classes: usize, share: f64) -> Vec<bool> {
    let mut by_class: Vec<Vec<([u8; 8], usize)>> = vec![Vec::new(); num_classes];
    for (at, (class, rank)) in tiles.iter().enumerate() {
        by_class[*class as usize].push((*rank, at));
    }
    let mut held_out = vec![false; tiles.len()];
    for mut ranked in by_class {
        ranked.sort_unstable();
        let num = ((ranked.len() as f64 * share).round() as usize).min(ranked.len().saturating_sub(1));
        ranked[..num].iter().for_each(|(_, at)| held_out[*at] = true);
    }
    held_out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles(num: usize) -> Vec<(u32, [u8; 8])> {
        let id = |at: usize| TileId::of(&format!("s3://b/{at}"), 0, 0, None);
        (0..num).map(|at| (u32::from(at % 10 == 0), rank(id(at), 7))).collect()
    }

    #[test]
    fn each_class_gives_its_share_and_keeps_one() {
        let tiles = tiles(200);
        let held_out = held_out(&tiles, 2, 0.25);
        for (class, num) in [(0, 45), (1, 5)] {
            let held = tiles.iter().zip(&held_out).filter(|((of, _), held)| *of == class && **held);
            assert_eq!(held.count(), num);
        }
        assert_eq!(super::held_out(&tiles[..1], 2, 0.9), [false]);
        assert!(!super::held_out(&tiles, 2, 0.0).contains(&true));
    }

    /// Of 100 more tiles only those at the border change sides.
    #[test]
    fn later_tiles_hardly_change_the_choice() {
        let (few, many) = (held_out(&tiles(900), 2, 0.2), held_out(&tiles(1000), 2, 0.2));
        let changed = few.iter().zip(&many).filter(|(few, many)| few != many).count();
        assert!(changed < 20, "{changed} changed");
    }

    #[test]
    fn another_seed_chooses_others() {
        let id = TileId::of("s3://b/a", 0, 0, None);
        assert_ne!(rank(id, 0), rank(id, 1));
    }
}
