//! Where the blocks of a page lie in the file.

use std::ops::Range;

use super::page::Page;
use crate::formats::bytes::Order;
use crate::formats::image::truncated;
use crate::formats::partial::{Parsed, Partial, View};
use crate::formats::raster::{BlockId, BlockTable, Codec, Entry};
use crate::formats::tags::Array;
use crate::vocabulary::reason::Rejection;

/// No block lies in so many bytes at the beginning of a file.
const HEADER_BYTES: u64 = 8;

/// Reads where blocks of a page lie; only the part of the table from the first to the last of them.
///
/// - `page`: of the header that was parsed from the same object
/// - `blocks`: at least one, in any order
#[must_use]
pub fn parse_blocks(object: &Partial, page: &Page, blocks: &[BlockId]) -> Parsed<BlockTable> {
    object.parse(|file| table(file, page, blocks))
}

pub(super) fn table(file: View<'_>, page: &Page, blocks: &[BlockId]) -> Result<BlockTable, Rejection> {
    let first = blocks.iter().map(|id| id.0).min().unwrap_or(0);
    let end = blocks.iter().map(|id| id.0 + 1).max().unwrap_or(0);
    let entries = if page.cut {
        let (first_strip, end_strip) = (first / page.grid.num_down(), end.div_ceil(page.grid.num_down()));
        let strips = stored(file, page, first_strip..end_strip)?;
        let strip_of = |id: u32| strips[(id / page.grid.num_down() - first_strip) as usize].clone();
        (first..end).map(|id| piece(page, id, strip_of(id))).collect()
    } else {
        stored(file, page, first..end)?
    };
    Ok(BlockTable::new(&page.grid, first, entries, file.object_bytes() as u64))
}

/// Returns the part of a strip, of all rows of a band or of all bands, that a block is cut out of.
fn piece(page: &Page, id: u32, strip: Entry) -> Entry {
    let Entry::At { offset, .. } = strip else { return strip };
    let window = page.grid.block_window(BlockId(id));
    let before = u64::from(window.y) * page.grid.stored_row_bytes();
    let length = u64::from(window.height) * page.grid.stored_row_bytes();
    Entry::At { offset: offset.saturating_add(before), length }
}

/// Reads a part of the offsets and of the sizes.
fn stored(file: View<'_>, page: &Page, numbers: Range<u32>) -> Result<Vec<Entry>, Rejection> {
    let (start, end) = (u64::from(numbers.start), u64::from(numbers.end));
    let of = |array: Array, end: u64| integers(file, page.grid.stored.order, array, start..end);
    let ends_early = || truncated("the object ends before its block table does");
    let offsets = of(page.offsets, end).ok_or_else(ends_early)?;
    let sizes = match page.byte_counts {
        Some(array) => {
            // Sizes that lack are 0, as in libtiff.
            let sizes = of(array, array.count.clamp(start, end)).ok_or_else(ends_early)?;
            let lacking = std::iter::repeat_n(0, offsets.len() - sizes.len());
            sizes.into_iter().chain(lacking).map(Some).collect()
        }
        // The oldest writers have none.
        None => vec![None; offsets.len()],
    };
    let rest = |offset: u64| (file.object_bytes() as u64).saturating_sub(offset);
    let entries = numbers.zip(offsets.into_iter().zip(sizes));
    Ok(entries.map(|(number, (offset, size))| entry(page, number, offset, size, rest(offset))).collect())
}

/// Says where a block lies.
///
/// Samples that are stored as they are take as many bytes as they take, whatever the size says: libtiff and Pillow
/// read those. A size of 0 is then none, unless the offset is 0, too, as GDAL writes it for a block that is all nodata.
/// A single compressed block may go on to the end of the file (libtiff, `EstimateStripByteCounts`).
///
/// - `rest`: number of bytes from the offset to the end of the file
fn entry(page: &Page, number: u32, offset: u64, size: Option<u64>, rest: u64) -> Entry {
    if (offset, size) == (0, Some(0)) {
        return Entry::Absent;
    }
    if offset < HEADER_BYTES {
        return Entry::Wrong("lies in the header of the file");
    }
    let length = match size.filter(|&size| size > 0) {
        _ if page.grid.stored.codec == Codec::None => stored_bytes(page, number),
        Some(size) => size,
        None if page.grid.num_blocks() == 1 => rest,
        None => return Entry::Wrong("has an offset, but no size"),
    };
    Entry::At { offset, length }
}

/// Returns how many bytes the samples of a block take that are not compressed.
fn stored_bytes(page: &Page, number: u32) -> u64 {
    let rows = if page.cut { page.grid.size.height } else { page.grid.block_window(BlockId(number)).height };
    u64::from(rows) * page.grid.stored_row_bytes()
}

fn integers(file: View<'_>, order: Order, array: Array, entries: Range<u64>) -> Option<Vec<u64>> {
    let width = array.width()?;
    let start = array.at.checked_add(entries.start.checked_mul(width as u64)?)?;
    let len = usize::try_from(entries.end - entries.start).ok()?.checked_mul(width)?;
    let values = file.slice(usize::try_from(start).ok()?, len)?;
    let integer = |value: &[u8]| match width {
        1 => Some(u64::from(value[0])),
        2 => order.u16(value, 0).map(u64::from),
        4 => order.u32(value, 0).map(u64::from),
        _ => order.u64(value, 0),
    };
    values.chunks_exact(width).map(integer).collect()
}
