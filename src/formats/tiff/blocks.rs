//! Where the blocks of a page lie in the file.

use std::ops::Range;

use super::compression::Compression;
use super::page::Page;
use crate::formats::bytes::Order;
use crate::formats::image::{corrupt, truncated};
use crate::formats::partial::{Parsed, Partial, View};
use crate::formats::tags::Array;
use crate::vocabulary::reason::Rejection;

/// What a block may be larger than twice what it decodes to: headers and tables.
const OVERHEAD_BYTES: u64 = 64 << 10;
/// No block lies in so many bytes at the beginning of a file.
const HEADER_BYTES: u64 = 8;

/// One block of a page: its place in the block table. Row by row, band after band if they are separate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// Where some of a page's blocks lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockTable {
    first: u32,
    /// Of each block from `first` on.
    entries: Vec<Entry>,
    file_bytes: u64,
    /// Maximum number of bytes that are read of a block.
    most: u64,
    /// Whether a block has to have all of its bytes: samples that are stored as they are, and those of codecs that do
    /// not tell a short block from a damaged one.
    whole: bool,
}

/// Where one block lies, by its offset and its size together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Nowhere: both are 0.
    Absent,
    /// There; a compressed block may be shorter.
    At { offset: u64, length: u64 },
    /// The offset is one of the file's header.
    InHeader,
    /// The block is compressed, and nothing says where it ends.
    WithoutSize,
}

impl BlockTable {
    /// Returns the bytes of a block; `None` if it is not stored and means fill values only.
    ///
    /// # Errors
    ///
    /// [`crate::vocabulary::reason::Reason::Truncated`] if the file ends before it begins, or before all samples that are
    /// stored as they are; [`crate::vocabulary::reason::Reason::Corrupt`] if offset and size contradict each other.
    ///
    /// # Panics
    ///
    /// If the table was not read for this block.
    pub fn range(&self, id: BlockId) -> Result<Option<Range<u64>>, Rejection> {
        let (offset, length) = match self.entries[(id.0 - self.first) as usize] {
            Entry::Absent => return Ok(None),
            Entry::InHeader => {
                return Err(corrupt(format!("block {} lies in the header of the file", id.0)));
            }
            Entry::WithoutSize => {
                return Err(corrupt(format!("block {} has an offset, but no size", id.0)));
            }
            Entry::At { offset, length } => (offset, length),
        };
        // What comes after so much is no part of what the block decodes to.
        let wanted = length.min(self.most);
        let end = offset.saturating_add(wanted).min(self.file_bytes);
        let found = end.saturating_sub(offset);
        // Whether other blocks are whole, decoding tells: writers that do not know a size give too much.
        if found == 0 || (self.whole && found < wanted) {
            return Err(truncated(format!("the object ends before block {} does", id.0)));
        }
        Ok(Some(offset..end))
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
    let entries = if page.cut {
        let (first_strip, end_strip) = (first / page.num_down(), end.div_ceil(page.num_down()));
        let strips = stored(file, page, first_strip..end_strip)?;
        let strip_of = |id: u32| strips[(id / page.num_down() - first_strip) as usize];
        (first..end).map(|id| piece(page, id, strip_of(id))).collect()
    } else {
        stored(file, page, first..end)?
    };
    let most = page.max_block_bytes().saturating_mul(2).saturating_add(OVERHEAD_BYTES);
    let whole = matches!(page.compression, Compression::None | Compression::WebP | Compression::Lerc(_));
    Ok(BlockTable { first, entries, file_bytes: file.len() as u64, most, whole })
}

/// Returns the part of a strip, of all rows of a band or of all bands, that a block is cut out of.
fn piece(page: &Page, id: u32, strip: Entry) -> Entry {
    let Entry::At { offset, .. } = strip else { return strip };
    let window = page.block_window(BlockId(id));
    let before = u64::from(window.y) * page.stored_row_bytes();
    let length = u64::from(window.height) * page.stored_row_bytes();
    Entry::At { offset: offset.saturating_add(before), length }
}

/// Reads a part of the offsets and of the sizes.
fn stored(file: View<'_>, page: &Page, numbers: Range<u32>) -> Result<Vec<Entry>, Rejection> {
    let (start, end) = (u64::from(numbers.start), u64::from(numbers.end));
    let of = |array: Array, end: u64| integers(file, page.order, array, start..end);
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
    let rest = |offset: u64| (file.len() as u64).saturating_sub(offset);
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
        return Entry::InHeader;
    }
    let length = match size.filter(|&size| size > 0) {
        _ if page.compression == Compression::None => stored_bytes(page, number),
        Some(size) => size,
        None if page.num_blocks() == 1 => rest,
        None => return Entry::WithoutSize,
    };
    Entry::At { offset, length }
}

/// Returns how many bytes the samples of a block take that are not compressed.
fn stored_bytes(page: &Page, number: u32) -> u64 {
    let rows = if page.cut { page.size.height } else { page.block_window(BlockId(number)).height };
    u64::from(rows) * page.stored_row_bytes()
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
