//! Which pages of a file are the levels of one scene: overviews and masks, by `NewSubfileType` (TIFF 6.0,
//! tag 254) and size, as GDAL takes them.

use std::collections::HashSet;

use super::header::Level;
use super::page::Page;
use super::tag as own;
use crate::formats::image::truncated;
use crate::formats::raster::BlockGrid;
use crate::formats::tags::Directory;
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::Rejection;
use crate::vocabulary::sample::SampleKind;

/// Pages after so many are not looked at.
const MAX_PAGES: usize = 512;
/// Bits of `NewSubfileType`.
const REDUCED: u64 = 1;
const PAGE: u64 = 2;
const MASK: u64 = 4;

/// Sorts the pages from `first` on into levels, the largest first; returns also how many pages there are.
///
/// - `pixels`: what the first directory says
/// - `notes`: takes what is left out, and why
pub(super) fn levels(
    first: Directory<'_>,
    pixels: Page,
    file_bytes: u64,
    notes: &mut Vec<String>,
) -> Result<(Vec<Level>, u32), Rejection> {
    let mut levels = vec![Level { pixels, mask: None }];
    let mut masks = Vec::new();
    let others = others(first, notes)?;
    let num_pages = others.len() as u32 + 1;
    for (number, directory) in others {
        let kind = directory.unsigned(own::NEW_SUBFILE_TYPE).unwrap_or(0);
        // Other bits are vendors': Aperio's photo of the whole slide has one.
        if kind & (REDUCED | MASK) == 0 || kind & !(REDUCED | PAGE | MASK) != 0 {
            notes.push(format!("page {number} is another image"));
            continue;
        }
        match Page::parse(&directory, file_bytes) {
            Err(rejection) => notes.push(format!("page {number} is not used: {rejection}")),
            Ok(page) if kind & MASK != 0 => masks.push((number, page)),
            Ok(page) if is_overview(&page.grid, &levels[0].pixels.grid) => {
                levels.push(Level { pixels: page, mask: None });
            }
            Ok(page) => {
                notes.push(format!(
                    "page {number} is not an overview: {} {}",
                    page.grid.size, page.grid.stored.kind
                ));
            }
        }
    }
    levels[1..].sort_by_key(|level| std::cmp::Reverse(level.pixels.grid.size.num_pixels()));
    for (number, mask) in masks {
        let fits = |level: &&mut Level| level.mask.is_none() && level.pixels.grid.size == mask.grid.size;
        match levels.iter_mut().find(fits) {
            Some(level) if mask.grid.num_bands == 1 && mask.grid.stored.kind == SampleKind::U8 => {
                level.mask = Some(mask);
            }
            _ => notes.push(format!("page {number} is a mask that fits no level: {}", mask.grid.size)),
        }
    }
    leave_out_lone_masks(&mut levels, notes);
    if levels[0].mask.is_some() {
        let without = levels.iter().enumerate().filter(|(_, level)| level.mask.is_none());
        notes.extend(
            without.map(|(number, _)| format!("level {number} has no mask: all of its pixels are valid")),
        );
    }
    Ok((levels, num_pages))
}

/// Leaves out masks of overviews where full size has none: full size decides how pixels are valid, as in GDAL.
fn leave_out_lone_masks(levels: &mut [Level], notes: &mut Vec<String>) {
    if levels[0].mask.is_some() {
        return;
    }
    for (number, level) in levels.iter_mut().enumerate().filter(|(_, level)| level.mask.is_some()) {
        level.mask = None;
        notes.push(format!("the mask of level {number} is not used: level 0 has none"));
    }
}

fn is_overview(page: &BlockGrid, full: &BlockGrid) -> bool {
    let Size { width, height } = full.size;
    let smaller = page.size.width <= width && page.size.height <= height && page.size != full.size;
    smaller
        && shows_all(page.size, full.size)
        && page.num_bands == full.num_bands
        && page.stored.kind == full.stored.kind
}

/// Tells whether one factor leads from full size to both sides, up to a pixel of rounding: the label of a slide, or
/// another picture, has other proportions.
fn shows_all(reduced: Size, full: Size) -> bool {
    // Cross-multiplied, so that whole numbers decide: full / (reduced + 1) ≤ full' / (reduced' − 1).
    let may_be = |(full, reduced): (u32, u32), (other_full, other): (u32, u32)| {
        u64::from(full) * u64::from(other - 1) <= u64::from(other_full) * (u64::from(reduced) + 1)
    };
    let (across, down) = ((full.width, reduced.width), (full.height, reduced.height));
    may_be(across, down) && may_be(down, across)
}

/// Returns the directories after the first one: of the chain, then those that the first one points to.
fn others<'a>(
    first: Directory<'a>,
    notes: &mut Vec<String>,
) -> Result<Vec<(usize, Directory<'a>)>, Rejection> {
    let mut found = Vec::new();
    let mut seen = HashSet::from([first.offset()]);
    let mut next = first.next();
    while next != 0 {
        if !seen.insert(next) {
            notes.push("the directories form a loop: each is read once".to_owned());
            break;
        }
        if found.len() + 1 == MAX_PAGES {
            notes.push(format!("only the first {MAX_PAGES} pages are read"));
            break;
        }
        let directory =
            first.open(next).ok_or_else(|| truncated("the object ends before its last directory"))?;
        found.push((found.len() + 1, directory));
        next = directory.next();
    }
    for offset in first.unsigned_list(own::SUB_IFDS).unwrap_or_default() {
        if seen.insert(offset) && found.len() + 1 < MAX_PAGES {
            let directory =
                first.open(offset).ok_or_else(|| truncated("the object ends before its last directory"))?;
            found.push((found.len() + 1, directory));
        }
    }
    Ok(found)
}
