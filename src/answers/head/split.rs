//! Which tiles are held out.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::vocabulary::tile_id::TileId;

/// What a labelled tile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// To fit on.
    Train,
    /// Held out, to see how good the classifier is.
    Test,
}

/// A number that is evenly spread; the lowest are held out.
pub(super) type Rank = [u8; 8];

/// A number that depends on the tile and the seed alone.
pub(super) fn rank(tile: TileId, seed: u64) -> Rank {
    rank_of(tile.as_bytes(), seed)
}

/// A number that depends on the name of a group and the seed alone.
pub(super) fn rank_of_name(name: &str, seed: u64) -> Rank {
    rank_of(name.as_bytes(), seed)
}

fn rank_of(bytes: &[u8], seed: u64) -> Rank {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(bytes).finalize();
    std::array::from_fn(|at| digest[at])
}

/// Says of each tile whether it is held out: groups of the lowest ranks, all of whose tiles go together.
///
/// So the choice does not depend on the order of rows; tiles that come in later move only those at the
/// border. A group is taken if it brings the classes nearer to their share; a class that gets nothing that way
/// takes the first group that it can. Each class keeps at least one tile to fit on. Where every tile is a group of its own,
/// those are the lowest ranks of each class.
///
/// - `tiles`: class and group of each
/// - `ranks`: of the groups
/// - `share`: of each class, from 0 to below 1
pub(super) fn held_out(tiles: &[(u32, u32)], ranks: &[Rank], num_classes: usize, share: f64) -> Vec<bool> {
    let mut order: Vec<(Rank, u32)> = ranks.iter().copied().zip(0..).collect();
    order.sort_unstable();
    let mut sizes: Vec<BTreeMap<usize, u64>> = vec![BTreeMap::new(); ranks.len()];
    let mut choice = Choice { classes: vec![Class::default(); num_classes], taken: vec![false; ranks.len()] };
    for (class, group) in tiles {
        *sizes[*group as usize].entry(*class as usize).or_default() += 1;
        choice.classes[*class as usize].size += 1;
    }
    for class in &mut choice.classes {
        class.target = ((class.size as f64 * share).round() as u64).min(class.size.saturating_sub(1));
    }
    for is_wanted in [Choice::comes_nearer, Choice::has_nothing_of_one] {
        for (_, group) in &order {
            let (group, sizes) = (*group as usize, &sizes[*group as usize]);
            if !choice.taken[group] && choice.may_take(sizes) && is_wanted(&choice, sizes) {
                choice.take(group, sizes);
            }
        }
    }
    tiles.iter().map(|(_, group)| choice.taken[*group as usize]).collect()
}

/// Tiles of a class: all, as many as should be held out, and as many as are.
#[derive(Clone, Copy, Default)]
struct Class {
    size: u64,
    target: u64,
    held_out: u64,
}

/// Which groups are held out so far.
struct Choice {
    classes: Vec<Class>,
    taken: Vec<bool>,
}

impl Choice {
    fn may_take(&self, sizes: &BTreeMap<usize, u64>) -> bool {
        sizes.iter().all(|(class, size)| self.classes[*class].held_out + size < self.classes[*class].size)
    }

    fn comes_nearer(&self, sizes: &BTreeMap<usize, u64>) -> bool {
        let distances = |added: &dyn Fn(&u64) -> u64| -> u64 {
            let distance = |(class, size): (&usize, &u64)| {
                let Class { held_out, target, .. } = self.classes[*class];
                target.abs_diff(held_out + added(size))
            };
            sizes.iter().map(distance).sum()
        };
        distances(&|size| *size) < distances(&|_| 0)
    }

    fn has_nothing_of_one(&self, sizes: &BTreeMap<usize, u64>) -> bool {
        sizes.keys().any(|class| self.classes[*class].held_out == 0 && self.classes[*class].target > 0)
    }

    fn take(&mut self, group: usize, sizes: &BTreeMap<usize, u64>) {
        self.taken[group] = true;
        for (class, size) in sizes {
            self.classes[*class].held_out += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles(num: usize) -> Vec<(u32, Rank)> {
        let id = |at: usize| TileId::of(&format!("s3://b/{at}"), 0, 0, None);
        (0..num).map(|at| (u32::from(at % 10 == 0), rank(id(at), 7))).collect()
    }

    /// Of tiles each of which is a group of its own.
    fn held_out(tiles: &[(u32, Rank)], num_classes: usize, share: f64) -> Vec<bool> {
        let ranks: Vec<Rank> = tiles.iter().map(|(_, rank)| *rank).collect();
        let tiles: Vec<(u32, u32)> = tiles.iter().map(|(class, _)| *class).zip(0..).collect();
        super::held_out(&tiles, &ranks, num_classes, share)
    }

    /// Of each class as many as ever, and the same ones: the lowest ranks.
    #[test]
    fn tiles_that_are_groups_of_their_own_are_chosen_by_rank_in_each_class() {
        let tiles = tiles(200);
        let chosen = held_out(&tiles, 2, 0.25);
        for (class, num) in [(0, 45), (1, 5)] {
            let mut ranks: Vec<Rank> =
                tiles.iter().filter(|tile| tile.0 == class).map(|tile| tile.1).collect();
            ranks.sort_unstable();
            let is_held_out = |tile: &(u32, Rank)| tile.0 == class && tile.1 < ranks[num];
            for (tile, held_out) in tiles.iter().zip(&chosen).filter(|(tile, _)| tile.0 == class) {
                assert_eq!(*held_out, is_held_out(tile));
            }
        }
    }

    /// No group is divided, the shares are nearly kept, and every class has tiles on both sides if it can.
    #[test]
    fn groups_stay_together() {
        let ranks: Vec<Rank> =
            (0..40).map(|group: u32| rank_of_name(&format!("patient {group}"), 3)).collect();
        let tiles: Vec<(u32, u32)> = (0..1000).map(|at| (at % 3 % 2, (at * at + at / 7) % 40)).collect();
        let chosen = super::held_out(&tiles, &ranks, 2, 0.2);
        let mut sides = [[false; 2]; 40];
        for ((_, group), held_out) in tiles.iter().zip(&chosen) {
            sides[*group as usize][usize::from(*held_out)] = true;
        }
        assert!(!sides.contains(&[true, true]));
        for class in 0..2 {
            let of_class: Vec<bool> = tiles
                .iter()
                .zip(&chosen)
                .filter(|(tile, _)| tile.0 == class)
                .map(|(_, held_out)| *held_out)
                .collect();
            let share = of_class.iter().filter(|held_out| **held_out).count() as f64 / of_class.len() as f64;
            assert!((0.1..0.3).contains(&share), "class {class}: {share}");
        }
    }

    #[test]
    fn few_large_groups_are_held_out_although_it_is_more_than_was_asked_for() {
        let ranks = [[1; 8], [2; 8]];
        let tiles: Vec<(u32, u32)> = (0..200).map(|at| (at % 2, at / 100)).collect();
        let held = super::held_out(&tiles, &ranks, 2, 0.2);
        assert_eq!(held.iter().filter(|held| **held).count(), 100, "one of two scenes");
        let one_scene: Vec<(u32, u32)> = (0..200).map(|at| (at % 2, 0)).collect();
        assert!(!super::held_out(&one_scene, &ranks[..1], 2, 0.2).contains(&true));
        assert!(!super::held_out(&tiles, &ranks, 2, 0.0).contains(&true));
    }

    #[test]
    fn each_class_gives_its_share_and_keeps_one() {
        let tiles = tiles(200);
        let chosen = held_out(&tiles, 2, 0.25);
        for (class, num) in [(0, 45), (1, 5)] {
            let held = tiles.iter().zip(&chosen).filter(|((of, _), held)| *of == class && **held);
            assert_eq!(held.count(), num);
        }
        assert_eq!(held_out(&tiles[..1], 2, 0.9), [false]);
        assert!(!held_out(&tiles, 2, 0.0).contains(&true));
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
