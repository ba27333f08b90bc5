//! Where the blocks of a page lie in the file.

use std::ops::Range;

use super::page::Page;
use crate::format::bytes::Order;
use crate::format::image::{corrupt, truncated};
use crate::format::partial::{Parsed, Partial, View};
use crate::format::tags::Array;
use crate::reason::Rejection;

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
        match offset.checked_add(length).filter(|&end| end <= self.file_bytes) {
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

fn table(file: View<'_>, page: &Page, blocks: &[BlockId]) -> Result<BlockTable, Rejection> {
    let first = blocks.iter().map(|id| id.0).min().unwrap_or(0);
    let end = blocks.iter().map(|id| id.0 + 1).max().unwrap_or(0);
    let entries = u64::from(first)..u64::from(end);
    let offsets = integers(file, page.order, page.offsets, entries.clone());
    // Both are asked for before either is missed, so that neighbouring arrays come with one request.
    let counts = match page.byte_counts {
        Some(array) => integers(file, page.order, array, entries),
        None => Some(implied_counts(file, page, offsets.as_deref(), first..end)?),
    };
    let (Some(offsets), Some(counts)) = (offsets, counts) else {
        return Err(truncated("the object ends before its block table does"));
    };
    let ranges = offsets.into_iter().zip(counts).collect();
    Ok(BlockTable { first, ranges, file_bytes: file.len() as u64 })
}

/// Returns what the sizes must be where the tag is missing, as with the oldest writers.
fn implied_counts(
    file: View<'_>,
    page: &Page,
    offsets: Option<&[u64]>,
    entries: Range<u32>,
) -> Result<Vec<u64>, Rejection> {
    if page.compression == super::Compression::None {
        let rows = |id| u64::from(page.block_window(BlockId(id)).height);
        return Ok(entries.map(|id| rows(id) * page.stored_row_bytes()).collect());
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
