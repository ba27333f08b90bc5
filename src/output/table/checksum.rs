//! Checksums: a CRC in the header of each page, and one over everything except the pages of embeddings.
//!
//! ```text
//! file: [ pages of the other columns │ pages of the embedding │ … │ Bloom filters, indexes, footer ]
//!         each with its CRC             each with its CRC          `tilefleet.checksum` in the footer
//!         └────────── all but the embedding's pages: CRC-32 in `tilefleet.checksum` ──────────┘
//! ```
//!
//! Any reader may check a page's CRC (pyarrow does if asked). parquet-rs writes none, so its pages are kept here
//! until a column is whole, and their headers completed. Headers, indexes and footer have no checksum in the
//! format; ours covers them. Its eight digits count as zeros.
//!
//! # Reference
//!
//! parquet-format, `PageHeader.crc`: the CRC-32 of gzip over the page as it lies in the file, without its header.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use crc32fast::Hasher;
use parquet::arrow::arrow_writer::{PageKey, PageStore, PageStoreArgs, PageStoreFactory};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::ParquetMetaData;

/// The key of the checksum in a file's metadata, without `tilefleet.`.
pub(crate) const CHECKSUM: &str = "checksum";

/// Its value until it is known, and while it is computed.
pub(super) const NO_CHECKSUM: &str = "00000000";

/// Field of type i32, numbered one more than the one before (Thrift's compact protocol).
const NEXT_I32: u8 = 0x15;

/// Page type 2, a dictionary, as Thrift writes it.
const DICTIONARY_PAGE: u8 = 4;

/// Completes a page header with a checksum; `None` if it is not one that parquet-rs writes.
pub(super) fn with_crc(header: &[u8], crc: u32) -> Option<Vec<u8>> {
    // Type and both sizes come first; what follows is numbered from the last of them.
    let mut rest = header;
    for _ in 0..3 {
        rest = after_varint(rest.strip_prefix(&[NEXT_I32])?)?;
    }
    let (&next, rest) = rest.split_first()?;
    let one_nearer = next.checked_sub(0x10).filter(|field| field >> 4 > 0)?;
    let mut completed = header[..header.len() - rest.len() - 1].to_vec();
    push_crc(&mut completed, crc);
    completed.push(one_nearer);
    completed.extend(rest);
    Some(completed)
}

/// Appends the field `crc`, which follows the sizes: five bytes whatever it is, so that a header can be measured
/// before the checksum is known.
pub(super) fn push_crc(header: &mut Vec<u8>, crc: u32) {
    let signed = crc.cast_signed();
    let zigzag = ((signed << 1) ^ (signed >> 31)).cast_unsigned();
    header.push(NEXT_I32);
    header.extend([0, 7, 14, 21].map(|shift| (zigzag >> shift) as u8 | 0x80));
    header.push((zigzag >> 28) as u8);
}

fn after_varint(bytes: &[u8]) -> Option<&[u8]> {
    let last = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    Some(&bytes[last + 1..])
}

/// Keeps the pages of columns as parquet-rs writes them: header, body, header, body.
#[derive(Debug, Default)]
pub(super) struct KeptPages {
    columns: Mutex<HashMap<usize, Pieces>>,
}

type Pieces = Arc<Mutex<Vec<Bytes>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PageStoreFactory for KeptPages {
    fn create(&self, args: &PageStoreArgs<'_>) -> ParquetResult<Box<dyn PageStore>> {
        let pieces = Pieces::default();
        lock(&self.columns).insert(args.column_index(), Arc::clone(&pieces));
        Ok(Box::new(Kept(pieces)))
    }
}

struct Kept(Pieces);

impl PageStore for Kept {
    fn put(&mut self, value: Bytes) -> ParquetResult<PageKey> {
        let mut pieces = lock(&self.0);
        pieces.push(value);
        Ok(PageKey::new(pieces.len() as u64 - 1))
    }

    fn take(&mut self, key: PageKey) -> ParquetResult<Bytes> {
        lock(&self.0).get(key.get() as usize).cloned().ok_or_else(|| unexpected("a page is missing"))
    }
}

fn unexpected(what: &str) -> ParquetError {
    ParquetError::General(format!("parquet-rs wrote other pages than expected: {what}"))
}

impl KeptPages {
    /// Returns a column with the checksums of its pages, to be spliced into a row group.
    pub(super) fn summed(
        &self,
        column: usize,
        close: &ColumnCloseResult,
    ) -> ParquetResult<(Bytes, ColumnCloseResult)> {
        let pieces = lock(&self.columns).remove(&column).ok_or_else(|| unexpected("a column is missing"))?;
        let pieces = std::mem::take(&mut *lock(&pieces));
        let (mut dictionary, mut pages) = (Vec::new(), Vec::new());
        for page in pieces.chunks(2) {
            let [header, body] = page else { return Err(unexpected("a header has no page")) };
            let completed = with_crc(header, crc32fast::hash(body)).ok_or_else(|| unexpected("a header"))?;
            let is_dictionary = header.get(1) == Some(&DICTIONARY_PAGE);
            if is_dictionary { &mut dictionary } else { &mut pages }.push((completed, body.clone()));
        }
        lay_out(&dictionary, &pages, close)
    }
}

type SummedPage = (Vec<u8>, Bytes);

fn lay_out(
    dictionary: &[SummedPage],
    pages: &[SummedPage],
    close: &ColumnCloseResult,
) -> ParquetResult<(Bytes, ColumnCloseResult)> {
    let len =
        |pages: &[SummedPage]| pages.iter().map(|(header, body)| header.len() + body.len()).sum::<usize>();
    let first_page = len(dictionary);
    let mut bytes = Vec::with_capacity(first_page + len(pages));
    for (header, body) in dictionary.iter().chain(pages) {
        bytes.extend(header);
        bytes.extend_from_slice(body);
    }
    let mut close = close.clone();
    let added = bytes.len() as i64 - close.metadata.compressed_size();
    let uncompressed = close.metadata.uncompressed_size() + added;
    let metadata = close.metadata.into_builder();
    close.metadata = metadata
        .set_total_compressed_size(bytes.len() as i64)
        .set_total_uncompressed_size(uncompressed)
        .set_dictionary_page_offset((!dictionary.is_empty()).then_some(0))
        .set_data_page_offset(first_page as i64)
        .build()?;
    close.bytes_written = bytes.len() as u64;
    if let Some(offsets) = &mut close.offset_index {
        if offsets.page_locations.len() != pages.len() {
            return Err(unexpected("its index has other pages"));
        }
        let mut offset = first_page;
        for (location, (header, body)) in offsets.page_locations.iter_mut().zip(pages) {
            let page_len = header.len() + body.len();
            (location.offset, location.compressed_page_size) = (offset as i64, page_len as i32);
            offset += page_len;
        }
    }
    Ok((bytes.into(), close))
}

/// Writes the checksum of all but `embeddings`, the places of those columns, into a whole file.
pub(super) fn seal(file: &mut [u8], embeddings: &[Range<usize>]) -> ParquetResult<()> {
    let at = digits(file).ok_or_else(|| unexpected("its footer"))?;
    let mut hasher = Hasher::new();
    let mut next = 0;
    for column in embeddings {
        hasher.update(&file[next..column.start]);
        next = column.end;
    }
    hasher.update(&file[next..]);
    file[at..at + NO_CHECKSUM.len()].copy_from_slice(format!("{:08x}", hasher.finalize()).as_bytes());
    Ok(())
}

/// Finds the digits of the checksum in the last bytes of a file, which hold its footer.
fn digits(tail: &[u8]) -> Option<usize> {
    // Each with its length. The value is the next field, binary. A range of values may well hold the key's letters;
    // columns stand before the keys.
    const PAIR: &[u8] = b"\x12tilefleet.checksum\x18\x08";
    let end = tail.len().checked_sub(LENGTH_BYTES)?;
    let start = tail.len().checked_sub(usize::try_from(footer_bytes(tail)?).ok()?)?;
    let digits = memchr::memmem::rfind(&tail[start..end], PAIR)? + start + PAIR.len();
    (digits + NO_CHECKSUM.len() <= end).then_some(digits)
}

/// The length of the footer, and Parquet's mark.
const LENGTH_BYTES: usize = 8;

/// Returns how many bytes the footer takes at the end of a file, by its last eight.
#[must_use]
pub fn footer_bytes(tail: &[u8]) -> Option<u64> {
    let end = tail.len().checked_sub(LENGTH_BYTES)?;
    let length = u32::from_le_bytes(*tail[end..].first_chunk()?);
    Some(u64::from(length) + LENGTH_BYTES as u64)
}

/// Returns which bytes of a file its checksum covers: all but the embeddings' pages. None if its footer is not one
/// that such a file has.
#[must_use]
pub fn covered(file: &ParquetMetaData, size_bytes: u64) -> Option<Vec<Range<u64>>> {
    let mut covered = Vec::new();
    let mut next = 0;
    for group in file.row_groups() {
        let is_embedding = |path: &str| path == "embedding" || path.starts_with("embedding.");
        for column in group.columns().iter().filter(|column| is_embedding(&column.column_path().string())) {
            // Not by `byte_range`, which panics if a damaged footer has negative numbers.
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let start = u64::try_from(start).ok()?;
            let end = start.checked_add(u64::try_from(column.compressed_size()).ok()?)?;
            if start < next || end > size_bytes {
                return None;
            }
            covered.push(next..start);
            next = end;
        }
    }
    covered.push(next..size_bytes);
    Some(covered)
}

/// Compares the covered bytes of a file with the checksum that its footer says.
pub struct Check {
    hasher: Hasher,
    tail: Bytes,
    digits: usize,
}

impl Check {
    /// Begins with the last of these bytes, its whole footer among them; `None` if it says no checksum: a file of
    /// an earlier build.
    #[must_use]
    pub fn of(tail: Bytes) -> Option<Self> {
        let digits = digits(&tail)?;
        Some(Self { hasher: Hasher::new(), tail, digits })
    }

    /// Takes the next of the bytes before those, from the first on.
    pub fn add(&mut self, piece: &[u8]) {
        self.hasher.update(piece);
    }

    /// Returns whether the file has the checksum that it says.
    #[must_use]
    pub fn agrees(mut self) -> bool {
        let (before, rest) = self.tail.split_at(self.digits);
        let (said, after) = rest.split_at(NO_CHECKSUM.len());
        for piece in [before, NO_CHECKSUM.as_bytes(), after] {
            self.hasher.update(piece);
        }
        format!("{:08x}", self.hasher.finalize()).as_bytes() == said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_crc_goes_between_sizes_and_page() {
        // Type 0, sizes 10 and 10, then field 5, a struct.
        let header = [0x15, 0, 0x15, 20, 0x15, 20, 0x2c, 0x15, 2, 0, 0];
        let completed = with_crc(&header, 1).unwrap();
        let crc = [0x15, 0x82, 0x80, 0x80, 0x80, 0];
        assert_eq!(completed, [&header[..6], &crc, &[0x1c], &header[7..]].concat());
        let largest = with_crc(&header, 0x8000_0000).unwrap();
        assert_eq!(largest[6..12], [0x15, 0xff, 0xff, 0xff, 0xff, 0x0f], "the least number in zigzag");
        assert_eq!(with_crc(&completed, 1), None, "it has one already");
        assert_eq!(with_crc(&header[..5], 1), None);
        assert_eq!(with_crc(b"", 1), None);
    }
}
