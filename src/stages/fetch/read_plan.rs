//! In which order the blocks of a shard's windows are read, and how long they are kept.
//!
//! Windows are taken in groups that lie side by side; each block is read with the first group that needs it
//! and dropped after the last, so that it is fetched and decoded once a shard.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::scenes::OpenScene;
use crate::formats::image::DecodeLimits;
use crate::formats::raster::{BlockId, GridId, Part};
use crate::scene::SourceWindow;
use crate::vocabulary::reason::{Reason, Rejection};

/// Windows of a group at most.
const GROUP: usize = 32;

/// One block of a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockKey {
    /// Which object of the scene.
    pub object: usize,
    /// Which frame and level, and whether it is of the mask.
    pub grid: GridId,
    /// Which block of those.
    pub id: BlockId,
}

/// Windows that are read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadGroup {
    /// Which of the windows.
    pub tiles: Range<usize>,
    /// Blocks that no group before has read.
    pub to_fetch: Vec<BlockKey>,
    /// Blocks that no group after this needs.
    pub to_evict: Vec<BlockKey>,
}

/// How some windows of one scene are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadPlan {
    /// The groups, in order.
    pub groups: Vec<ReadGroup>,
    /// Most bytes of decoded blocks that are kept at once.
    pub kept_bytes: u64,
}

impl ReadPlan {
    /// Plans the reading of windows.
    ///
    /// - `cuts`: for each window what it needs of each object
    /// - `most_bytes`: windows of a group take no more in memory, unless it is one
    #[must_use]
    pub fn of(scene: &OpenScene, cuts: &[Vec<SourceWindow>], most_bytes: u64) -> Self {
        let size = |tile: usize| cuts[tile].iter().map(|cut| sample_bytes(scene, cut)).sum();
        let needed: Vec<(Range<usize>, Vec<BlockKey>)> = groups(cuts, size, most_bytes)
            .map(|tiles| {
                let mut keys: Vec<BlockKey> =
                    cuts[tiles.clone()].iter().flatten().flat_map(|cut| blocks_of(scene, cut)).collect();
                keys.sort_unstable();
                keys.dedup();
                (tiles, keys)
            })
            .collect();
        Self::from_needed(needed, |key| decoded_bytes(scene, key))
    }

    fn from_needed(needed: Vec<(Range<usize>, Vec<BlockKey>)>, bytes: impl Fn(BlockKey) -> u64) -> Self {
        let mut last: HashMap<BlockKey, usize> = HashMap::new();
        for (group, (_, keys)) in needed.iter().enumerate() {
            last.extend(keys.iter().map(|key| (*key, group)));
        }
        let mut seen: HashSet<BlockKey> = HashSet::new();
        let mut reading = Self::default();
        let mut kept = 0;
        for (group, (tiles, keys)) in needed.into_iter().enumerate() {
            let to_fetch: Vec<BlockKey> = keys.iter().copied().filter(|key| seen.insert(*key)).collect();
            let to_evict: Vec<BlockKey> = keys.into_iter().filter(|key| last[key] == group).collect();
            kept += to_fetch.iter().map(|key| bytes(*key)).sum::<u64>();
            reading.kept_bytes = reading.kept_bytes.max(kept);
            kept -= to_evict.iter().map(|key| bytes(*key)).sum::<u64>();
            reading.groups.push(ReadGroup { tiles, to_fetch, to_evict });
        }
        reading
    }

    /// Returns all blocks that are read.
    pub fn blocks(&self) -> impl Iterator<Item = BlockKey> + '_ {
        self.groups.iter().flat_map(|group| group.to_fetch.iter().copied())
    }
}

/// Splits windows into runs that lie in one row and are not too large together.
fn groups(
    cuts: &[Vec<SourceWindow>],
    size: impl Fn(usize) -> u64,
    most_bytes: u64,
) -> impl Iterator<Item = Range<usize>> {
    let row = |tile: usize| cuts[tile].first().map(|cut| (cut.frame, cut.pixels.y));
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == cuts.len() {
            return None;
        }
        let mut bytes = 0_u64;
        let mut fits = |tile: usize| {
            bytes = bytes.saturating_add(size(tile));
            tile == start || (row(tile) == row(start) && bytes <= most_bytes)
        };
        let same = (start..cuts.len()).take(GROUP).take_while(|&tile| fits(tile)).count();
        let group = start..start + same;
        start = group.end;
        Some(group)
    })
}

/// Returns how many bytes the samples of a cut take, with those of the bands that come along in its blocks.
pub fn sample_bytes(scene: &OpenScene, cut: &SourceWindow) -> u64 {
    let page = scene.objects[cut.object].file().pixels(cut.frame, cut.level);
    let num_bands = if page.separate { cut.bands.len() as u64 } else { page.num_bands.into() };
    cut.pixels.size().num_pixels() * num_bands * page.stored.kind.num_bytes()
}

/// Rejects a window that covers more stored pixels, or lies in larger blocks, than an image may have.
///
/// - `cuts`: what the window needs of each object
///
/// # Errors
///
/// [`Reason::TooLarge`].
pub fn check_size(scene: &OpenScene, cuts: &[SourceWindow], limits: &DecodeLimits) -> Result<(), Rejection> {
    let pixels = cuts.iter().map(|cut| cut.pixels.size().num_pixels()).max().unwrap_or(0);
    // Only of a window that is no larger the blocks are few enough to be counted.
    let bytes = || cuts.iter().map(|cut| block_bytes(scene, cut)).fold(0, u64::saturating_add);
    let detail = if pixels > limits.max_pixels {
        format!("the window covers {pixels} stored pixels, limits.max_pixels allows {}", limits.max_pixels)
    } else {
        let (bytes, most) = (bytes(), limits.max_decoded_bytes);
        if bytes <= most {
            return Ok(());
        }
        format!("the blocks of the window decode to {bytes} bytes, limits.max_pixels allows {most}")
    };
    let advice = match scene.scene.medical {
        Some(_) => "raise it",
        None => "raise it, or ask for a smaller tiles.gsd or files with overviews",
    };
    Err(Rejection::new(Reason::TooLarge, format!("{detail}; {advice}")))
}

/// Returns how many bytes the blocks under a cut take once they are decoded.
fn block_bytes(scene: &OpenScene, cut: &SourceWindow) -> u64 {
    blocks_of(scene, cut).map(|key| decoded_bytes(scene, key)).fold(0, u64::saturating_add)
}

fn decoded_bytes(scene: &OpenScene, key: BlockKey) -> u64 {
    scene.objects[key.object].grid(key.grid).block_bytes(key.id)
}

/// Returns the blocks that a cut needs.
pub fn blocks_of<'a>(scene: &'a OpenScene, cut: &'a SourceWindow) -> impl Iterator<Item = BlockKey> + 'a {
    let (object, frame, level) = (cut.object, cut.frame, cut.level);
    let touched = cut.pixels.width > 0 && cut.pixels.height > 0;
    let file = scene.objects[object].file();
    let (pixels, masks) =
        if touched { file.blocks_for(frame, level, cut.pixels, &cut.bands) } else { Default::default() };
    let key = move |part| move |id| BlockKey { object, grid: GridId { frame, level, part }, id };
    pixels.into_iter().map(key(Part::Pixels)).chain(masks.into_iter().map(key(Part::Mask)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::geometry::{Rect, Window};

    fn key(id: u32) -> BlockKey {
        BlockKey { object: 0, grid: GridId { frame: 0, level: 0, part: Part::Pixels }, id: BlockId(id) }
    }

    #[test]
    fn groups_are_in_one_row_and_not_too_large() {
        let cut = |y| {
            let pixels = Window { x: 0, y, width: 1, height: 1 };
            let rect = Rect { x: 0.0, y: 0.0, width: 1.0, height: 1.0 };
            vec![SourceWindow { object: 0, frame: 0, level: 0, rect, pixels, bands: vec![0] }]
        };
        let cuts = [0, 0, 0, 7, 7].map(cut);
        let split = |most| groups(&cuts, |_| 10, most).collect::<Vec<_>>();
        assert_eq!(split(100), [0..3, 3..5]);
        assert_eq!(split(20), [0..2, 2..3, 3..5]);
        assert_eq!(split(5), [0..1, 1..2, 2..3, 3..4, 4..5]);
    }

    #[test]
    fn blocks_come_once_and_leave_after_their_last_use() {
        let keys = |ids: &[u32]| ids.iter().map(|id| key(*id)).collect::<Vec<_>>();
        let needed = vec![(0..2, keys(&[1, 2])), (2..4, keys(&[2, 3])), (4..6, keys(&[1]))];
        let reading = ReadPlan::from_needed(needed, |_| 10);
        let to_fetch: Vec<_> = reading.groups.iter().map(|group| group.to_fetch.clone()).collect();
        let to_evict: Vec<_> = reading.groups.iter().map(|group| group.to_evict.clone()).collect();
        assert_eq!(to_fetch, [keys(&[1, 2]), keys(&[3]), keys(&[])]);
        assert_eq!(to_evict, [keys(&[]), keys(&[2, 3]), keys(&[1])]);
        assert_eq!(reading.kept_bytes, 30);
        assert_eq!(reading.blocks().count(), 3);
    }
}
