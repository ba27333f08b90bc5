//! The embedding column, written as Parquet pages by hand.
//!
//! Values are plain and uncompressed: zstd takes a fifth off the floats of a network, byte stream
//! split or not, and three quarters off the speed of writing and two thirds off that of reading them.
//! parquet-rs's own writer would spell out two levels for every float of every row; here a row costs
//! a few bytes of run lengths and one copy, because a fixed-size list repeats the same levels in every
//! row.

use std::sync::Arc;

use arrow::datatypes::ToByteSlice;
use bytes::Bytes;
use half::f16;
use half::slice::HalfFloatSliceExt;
use parquet::basic::{Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::config::EmbeddingType;
use crate::reason::{Reason, Rejection};

/// Definition level of a row that is null.
pub(super) const NULL: u8 = 0;
/// Definition level of a value.
pub(super) const PRESENT: u8 = 2;

/// Values of one page, about; a page never splits a row.
const PAGE_BYTES: usize = 1024 * 1024;

/// Says whether an embedding can be stored without changing into something else.
///
/// # Errors
///
/// [`Reason::NotFinite`] if a value is NaN or infinite, or would become infinite as float16.
pub fn check_embedding(kind: EmbeddingType, embedding: &[f32]) -> Result<(), Rejection> {
    // Half way between the largest float16 (65504) and the next step: from there on it rounds to ∞.
    let bound = match kind {
        EmbeddingType::Float32 => f32::INFINITY,
        EmbeddingType::Float16 => 65520.0,
    };
    // Without an early exit the loop compiles to vector instructions.
    if embedding.iter().fold(true, |fits, value| fits & (value.abs() < bound)) {
        return Ok(());
    }
    let place = embedding.iter().position(|value| value.is_nan() || value.abs() >= bound).unwrap_or_default();
    let detail = format!("value {place} of the embedding is {}", embedding[place]);
    Err(Rejection::new(Reason::NotFinite, detail))
}

/// A finished column chunk, to be spliced into a row group.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

/// Encodes the embeddings of one row group; `rows` yields each row's embedding or null.
///
/// The levels are those of `optional group (LIST) { repeated group { required float } }`:
/// definition [`NULL`] for a null row and [`PRESENT`] for a value, repetition 0 for a row's first value and 1 after.
///
/// # Reference
///
/// parquet-format, `Encodings.md`: plain, and the run-length half of the RLE/bit-packing hybrid.
pub(super) fn chunk(
    column: &ColumnDescPtr,
    kind: EmbeddingType,
    length: usize,
    rows: &[Option<&[f32]>],
) -> ParquetResult<Chunk> {
    let rows_per_page = (PAGE_BYTES / (length * kind.num_bytes()).max(1)).max(1);
    let mut sink = TrackedWrite::new(Vec::with_capacity(rows.len() * (length * kind.num_bytes() + 8)));
    let mut writer = SerializedPageWriter::new(&mut sink);
    let mut offsets = OffsetIndexBuilder::new();
    let (mut num_levels, mut num_pages) = (0i64, 0);
    for rows in rows.chunks(rows_per_page) {
        let written = writer.write_page(page(kind, length, rows))?;
        offsets.append_row_count(rows.len() as i64);
        offsets.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
        num_levels += i64::from(written.num_values);
        num_pages += 1;
    }
    let bytes = Bytes::from(sink.into_inner()?);
    let size = bytes.len() as i64;
    let metadata = ColumnChunkMetaData::builder(Arc::clone(column))
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
        .set_page_encoding_stats(vec![PageEncodingStats {
            page_type: PageType::DATA_PAGE,
            encoding: Encoding::PLAIN,
            count: num_pages,
        }])
        .set_num_values(num_levels)
        .set_statistics(null_count(kind, rows.iter().filter(|row| row.is_none()).count()))
        .set_total_compressed_size(size)
        .set_total_uncompressed_size(size)
        .set_data_page_offset(0)
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: bytes.len() as u64,
        rows_written: rows.len() as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: Some(offsets.build()),
    };
    Ok(Chunk { bytes, close })
}

/// States the number of null rows, and no range: those of floats in a list are of no use to anybody.
///
/// `verify` holds it against the outcomes without reading an embedding.
fn null_count(kind: EmbeddingType, num_nulls: usize) -> Statistics {
    let num_nulls = Some(num_nulls as u64);
    match kind {
        EmbeddingType::Float32 => Statistics::float(None, None, None, num_nulls, false),
        EmbeddingType::Float16 => Statistics::fixed_len_byte_array(None, None, None, num_nulls, false),
    }
}

/// Lays out one data page: repetition levels, definition levels, values.
fn page(kind: EmbeddingType, length: usize, rows: &[Option<&[f32]>]) -> CompressedPage {
    let num_present = rows.iter().flatten().count();
    let num_levels = num_present * length + rows.len() - num_present;
    let mut body = Vec::with_capacity(num_present * length * kind.num_bytes() + 8 * rows.len() + 32);
    push_levels(&mut body, length, rows.iter().map(Option::is_some));
    for embedding in rows.iter().flatten() {
        push_values(&mut body, kind, embedding);
    }
    let num_bytes = body.len();
    let page = Page::DataPage {
        buf: Bytes::from(body),
        num_values: num_levels as u32,
        encoding: Encoding::PLAIN,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    CompressedPage::new(page, num_bytes)
}

/// Appends the levels of rows that are `present` or null.
pub(super) fn push_levels(body: &mut Vec<u8>, length: usize, present: impl Iterator<Item = bool>) {
    let mut repetition = Runs::default();
    let mut definition = Runs::default();
    for present in present {
        repetition.push(0, 1);
        if present {
            repetition.push(1, length - 1);
            definition.push(PRESENT, length);
        } else {
            definition.push(NULL, 1);
        }
    }
    repetition.finish(body);
    definition.finish(body);
}

/// Appends values in the plain encoding: little-endian, one after the other.
fn push_values(body: &mut Vec<u8>, kind: EmbeddingType, embedding: &[f32]) {
    const { assert!(cfg!(target_endian = "little"), "values are copied as they lie in memory") };
    match kind {
        EmbeddingType::Float32 => body.extend_from_slice(embedding.to_byte_slice()),
        EmbeddingType::Float16 => {
            let mut halves = vec![f16::ZERO; embedding.len()];
            halves.convert_from_f32_slice(embedding);
            body.extend_from_slice(halves.to_byte_slice());
        }
    }
}

/// Levels as runs of equal values.
#[derive(Default)]
struct Runs {
    encoded: Vec<u8>,
    level: u8,
    count: usize,
}

impl Runs {
    fn push(&mut self, level: u8, count: usize) {
        if level != self.level {
            self.flush();
            self.level = level;
        }
        self.count += count;
    }

    /// Writes the pending run: its length shifted left as ULEB128, then the level in one byte.
    fn flush(&mut self) {
        if self.count == 0 {
            return;
        }
        let mut header = self.count << 1;
        while header >= 0x80 {
            self.encoded.push(header as u8 | 0x80);
            header >>= 7;
        }
        self.encoded.extend([header as u8, self.level]);
        self.count = 0;
    }

    /// Appends all runs after their length in bytes, as version 1 data pages want them.
    fn finish(mut self, body: &mut Vec<u8>) {
        self.flush();
        body.extend((self.encoded.len() as u32).to_le_bytes());
        body.extend(self.encoded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(runs: &[(u8, usize)]) -> Vec<u8> {
        let mut all = Runs::default();
        for &(level, count) in runs {
            all.push(level, count);
        }
        let mut body = Vec::new();
        all.finish(&mut body);
        body
    }

    #[test]
    fn equal_levels_become_one_run() {
        assert_eq!(encoded(&[(2, 3), (2, 4)]), [2, 0, 0, 0, 14, 2]);
        assert_eq!(encoded(&[(0, 1), (1, 2047)]), [5, 0, 0, 0, 2, 0, 0xfe, 0x1f, 1]);
        assert_eq!(encoded(&[(1, 0)]), [0, 0, 0, 0]);
    }

    #[test]
    fn an_embedding_must_stay_finite_in_its_type() {
        let reason = |kind, value| check_embedding(kind, &[0.0, value]).err().map(|bad| bad.reason);
        assert_eq!(reason(EmbeddingType::Float32, 1e38), None);
        assert_eq!(reason(EmbeddingType::Float32, f32::NAN), Some(Reason::NotFinite));
        assert_eq!(reason(EmbeddingType::Float32, f32::NEG_INFINITY), Some(Reason::NotFinite));
        assert_eq!(reason(EmbeddingType::Float16, 65519.9), None);
        assert_eq!(reason(EmbeddingType::Float16, -65520.0), Some(Reason::NotFinite));
        assert!(f16::from_f32(65519.9).is_finite() && f16::from_f32(65520.0).is_infinite());
        let text = check_embedding(EmbeddingType::Float16, &[0.0, 7e4]).unwrap_err().detail;
        assert_eq!(text, "value 1 of the embedding is 70000");
    }
}
