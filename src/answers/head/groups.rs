//! Tiles that belong together: which there are, and which of them are held out.

use std::collections::HashMap;

use serde::Serialize;

use super::split::{Rank, rank, rank_of_name};
use crate::vocabulary::tile_id::TileId;

/// Groups that are named in a message at most.
const MAX_NAMED: usize = 3;

/// How many groups are on which side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GroupCounts {
    /// With tiles to fit on.
    pub fitted: u64,
    /// With tiles that are held out.
    pub held_out: u64,
    /// Of these with tiles on both sides, because the labels say so.
    pub on_both_sides: u64,
}

/// The groups of labelled tiles, numbered as they are met.
#[derive(Debug, Default)]
pub(super) struct Groups {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
    ranks: Vec<Rank>,
}

impl Groups {
    /// Returns the number of the group of a source, whose rank is that of an image that is one tile.
    pub(super) fn of_source(&mut self, source: &str, seed: u64) -> u32 {
        self.number(source, || rank(TileId::of(source, 0, 0, None), seed))
    }

    /// Returns the number of a group that somebody named.
    pub(super) fn of_name(&mut self, name: &str, seed: u64) -> u32 {
        self.number(name, || rank_of_name(name, seed))
    }

    /// Returns the number of a group of one tile.
    pub(super) fn of_tile(&mut self, tile: TileId, seed: u64) -> u32 {
        self.add(String::new(), rank(tile, seed))
    }

    fn number(&mut self, name: &str, rank: impl FnOnce() -> Rank) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.add(name.to_owned(), rank());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn add(&mut self, name: String, rank: Rank) -> u32 {
        self.names.push(name);
        self.ranks.push(rank);
        (self.names.len() - 1) as u32
    }

    /// Returns the rank of each group, by number.
    pub(super) fn ranks(&self) -> &[Rank] {
        &self.ranks
    }

    /// Counts the groups, and names some of those that are on both sides.
    ///
    /// - `tiles`: group of each, and whether it is held out
    pub(super) fn count(&self, tiles: impl Iterator<Item = (u32, bool)>) -> (GroupCounts, Vec<&str>) {
        let mut sides = vec![[false; 2]; self.names.len()];
        for (group, is_held_out) in tiles {
            sides[group as usize][usize::from(is_held_out)] = true;
        }
        let count =
            |is_meant: fn(&[bool; 2]) -> bool| sides.iter().filter(|side| is_meant(side)).count() as u64;
        let counts = GroupCounts {
            fitted: count(|[fitted, _]| *fitted),
            held_out: count(|[_, held_out]| *held_out),
            on_both_sides: count(|side| *side == [true; 2]),
        };
        let divided = self.names.iter().zip(&sides).filter(|(_, side)| **side == [true; 2]);
        let mut divided: Vec<&str> = divided.map(|(name, _)| name.as_str()).collect();
        divided.sort_unstable();
        divided.truncate(MAX_NAMED);
        (counts, divided)
    }
}
