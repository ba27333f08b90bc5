//! Where the blocks of a page lie in the file.

use std::ops::Range;

use super::compression::Compression;
use super::page::Page;
use crate::format::bytes::Order;
use crate::format::image::{corrupt, truncated};
use crate::format::partial::{Parsed, Partial, View};
use crate::format::tags::Array;
use crate::reason::Rejection;

/// What a block may be larger than twice what it decodes to: headers and tables.
const OVERHEAD_BYTES: u64 = 64 << 10;

/// One block of a page: its place in the block table. Row by row, band after band if they are separate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// Where some of a page's blocks lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTable {
    first: u32,
    /// Offset and number of bytes of each block from `first` on.
    ranges: Vec<(u64, u64)>,
    file_bytes: u64,
    /// So many bytes of a block are read at most.
    most: u64,
}

impl BlockTable {
    /// Returns the bytes of a block; `None` if it is not stored and means fill values only.
    ///
    /// # Errors
    ///
    /// [`crate::reason::Reason::Truncated`] if they are not all in the file.
    ///
    /// # Panics
    ///
    /// If the table was not read for this block.
    pub fn range(&self, id: BlockId) -> Result<Option<Range<u64>>, Rejection> {
        let (offset, length) = self.ranges[(id.0 - self.first) as usize];
        if length == 0 {
            return Ok(None);
        }
        // What comes after so much is no part of what the block decodes to.
        match offset.checked_add(length.min(self.most)).filter(|&end| end <= self.file_bytes) {
            Some(end) => Ok(Some(offset..end)),
            None => Err(truncated(format!("the object ends before block {} does", id.0))),
        }
    }
}

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
    let ranges = if page.cut {
        let (first_strip, end_strip) = (first / page.num_down(), end.div_ceil(page.num_down()));
        let strips = stored_ranges(file, page, first_strip..end_strip)?;
        (first..end)
            .map(|id| piece(page, id, strips[(id / page.num_down() - first_strip) as usize]))
            .collect()
    } else {
        stored_ranges(file, page, first..end)?
    };
    let most = page.max_block_bytes().saturating_mul(2).saturating_add(OVERHEAD_BYTES);
    Ok(BlockTable { first, ranges, file_bytes: file.len() as u64, most })
}

/// Returns the part of a strip, of all rows of a band or of all bands, that a block is cut out of.
fn piece(page: &Page, id: u32, (offset, length): (u64, u64)) -> (u64, u64) {
    let window = page.block_window(BlockId(id));
    let before = u64::from(window.y) * page.stored_row_bytes();
    let wanted = u64::from(window.height) * page.stored_row_bytes();
    // One that is not stored stays so.
    let there = if length == 0 { 0 } else { wanted.min(length.saturating_sub(before)).max(1) };
    (offset.saturating_add(before), there)
}

/// Reads a part of the offsets and of the sizes.
fn stored_ranges(file: View<'_>, page: &Page, entries: Range<u32>) -> Result<Vec<(u64, u64)>, Rejection> {
    let of = |array| integers(file, page.order, array, entries.start.into()..entries.end.into());
    let offsets = of(page.offsets);
    let counts = match page.byte_counts {
        Some(array) => of(array),
        None => Some(implied_counts(file, page, offsets.as_deref(), entries.clone())?),
    };
    match (offsets, counts) {
        (Some(offsets), Some(counts)) => Ok(offsets.into_iter().zip(counts).collect()),
        _ => Err(truncated("the object ends before its block table does")),
    }
}

/// Returns what the sizes must be where the tag is missing, as with the oldest writers.
fn implied_counts(
    file: View<'_>,
    page: &Page,
    offsets: Option<&[u64]>,
    entries: Range<u32>,
) -> Result<Vec<u64>, Rejection> {
    if page.compression == Compression::None {
        let rows = |id| if page.cut { page.size.height } else { page.block_window(BlockId(id)).height };
        return Ok(entries.map(|id| u64::from(rows(id)) * page.stored_row_bytes()).collect());
    }
    match offsets {
        Some(&[offset]) if page.num_blocks() == 1 => Ok(vec![(file.len() as u64).saturating_sub(offset)]),
        None => Ok(Vec::new()),
        _ => Err(corrupt("the sizes of the blocks are missing")),
    }
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
