//! Where the blocks of a grid lie in the file.

use std::ops::Range;

use super::codec::Codec;
use super::grid::{BlockGrid, BlockId};
use crate::formats::image::{corrupt, truncated};
use crate::vocabulary::reason::Rejection;

/// What a block may be larger than twice what it decodes to: headers and tables.
const OVERHEAD_BYTES: u64 = 64 << 10;

/// Where some of a grid's blocks lie.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nowhere: both are 0.
    Absent,
    /// There; a compressed block may be shorter.
    At {
        /// First byte, from the beginning of the object.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
    /// What is said of it makes no sense, in such words as follow "block 7".
    Wrong(&'static str),
    /// It cannot be read, and others of its object may be.
    Refused(Box<Rejection>),
}

impl BlockTable {
    /// Takes what a file says of blocks one after the other.
    ///
    /// - `first`: number of the first of them
    pub fn new(grid: &BlockGrid, first: u32, entries: Vec<Entry>, file_bytes: u64) -> Self {
        let most = match grid.stored.codec {
            // A deflated data set is one stream, in which all frames lie.
            Codec::Dicom => u64::MAX,
            _ => grid.max_block_bytes().saturating_mul(2).saturating_add(OVERHEAD_BYTES),
        };
        let whole = matches!(grid.stored.codec, Codec::None | Codec::WebP | Codec::Lerc(_));
        Self { first, entries, file_bytes, most, whole }
    }

    /// Returns the bytes of a block; `None` if it is not stored and means fill values only.
    ///
    /// # Errors
    ///
    /// [`crate::vocabulary::reason::Reason::Truncated`] if the file ends before it begins, or before all samples that are
    /// stored as they are; [`crate::vocabulary::reason::Reason::Corrupt`] if offset and size contradict each other; that of
    /// [`Entry::Refused`].
    ///
    /// # Panics
    ///
    /// If the table was not read for this block.
    pub fn range(&self, id: BlockId) -> Result<Option<Range<u64>>, Rejection> {
        let (offset, length) = match &self.entries[(id.0 - self.first) as usize] {
            Entry::Absent => return Ok(None),
            Entry::Wrong(what) => return Err(corrupt(format!("block {} {what}", id.0))),
            Entry::Refused(rejection) => return Err((**rejection).clone()),
            Entry::At { offset, length } => (*offset, *length),
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
