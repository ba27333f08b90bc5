//! The embedding column, written as Parquet pages by hand.
//!
//! Values are plain and uncompressed: zstd takes a fifth off the floats of a network, byte stream
//! split or not, and three quarters off the speed of writing and two thirds off that of reading them.
//! parquet-rs's own writer would spell out two levels for every float of every row; here a row costs
//! a few bytes of run lengths and one copy, because a fixed-size list repeats the same levels in every
//! row.

use std::io::{self, Read};
use std::sync::Arc;

use arrow::datatypes::ToByteSlice;
use bytes::Bytes;
use crc32fast::Hasher;
use half::f16;
use half::slice::HalfFloatSliceExt;
use parquet::basic::{Encoding, PageType};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::checksum::push_crc;
use crate::config::EmbeddingType;
use crate::vocabulary::reason::{Reason, Rejection};

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

/// A column chunk, to be spliced into a row group.
pub(super) struct Chunk<'a> {
    pub(super) pages: Pages<'a>,
    pub(super) close: ColumnCloseResult,
}

/// Lays out the embeddings of one row group; `rows` yields each row's embedding or null.
///
/// The levels are those of `optional group (LIST) { repeated group { required float } }`:
/// definition [`NULL`] for a null row and [`PRESENT`] for a value, repetition 0 for a row's first value and 1 after.
///
/// # Reference
///
/// parquet-format, `Encodings.md`: plain, and the run-length half of the RLE/bit-packing hybrid.
pub(super) fn chunk<'a>(
    column: &ColumnDescPtr,
    kind: EmbeddingType,
    length: usize,
    rows: &'a [Option<&'a [f32]>],
) -> ParquetResult<Chunk<'a>> {
    let rows_per_page = (PAGE_BYTES / (length * kind.num_bytes()).max(1)).max(1);
    let pages: Vec<Page<'a>> = rows.chunks(rows_per_page).map(|rows| Page::new(kind, length, rows)).collect();
    let mut offsets = OffsetIndexBuilder::new();
    let mut size = 0;
    for page in &pages {
        offsets.append_row_count(page.rows.len() as i64);
        offsets.append_offset_and_size(size, page.num_bytes as i32);
        size += page.num_bytes as i64;
    }
    let metadata = ColumnChunkMetaData::builder(Arc::clone(column))
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
        .set_page_encoding_stats(vec![PageEncodingStats {
            page_type: PageType::DATA_PAGE,
            encoding: Encoding::PLAIN,
            count: pages.len() as i32,
        }])
        .set_num_values(pages.iter().map(|page| page.num_levels as i64).sum())
        .set_statistics(null_count(kind, rows.iter().filter(|row| row.is_none()).count()))
        .set_total_compressed_size(size)
        .set_total_uncompressed_size(size)
        .set_data_page_offset(0)
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: size as u64,
        rows_written: rows.len() as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: Some(offsets.build()),
    };
    Ok(Chunk { pages: Pages { kind, pages: pages.into() }, close })
}

/// States the number of null rows, and no range: those of floats in a list are of no use to anybody.
///
/// `verify` compares it with the outcomes without reading an embedding.
fn null_count(kind: EmbeddingType, num_nulls: usize) -> Statistics {
    let num_nulls = Some(num_nulls as u64);
    match kind {
        EmbeddingType::Float32 => Statistics::float(None, None, None, num_nulls, false),
        EmbeddingType::Float16 => Statistics::fixed_len_byte_array(None, None, None, num_nulls, false),
    }
}

/// One data page: header, repetition levels, definition levels, values.
struct Page<'a> {
    levels: Vec<u8>,
    rows: &'a [Option<&'a [f32]>],
    num_levels: usize,
    /// Bytes of levels and values.
    body_len: usize,
    num_bytes: usize,
}

impl<'a> Page<'a> {
    fn new(kind: EmbeddingType, length: usize, rows: &'a [Option<&'a [f32]>]) -> Self {
        let num_present = rows.iter().flatten().count();
        let num_levels = num_present * length + rows.len() - num_present;
        let mut levels = Vec::with_capacity(8 * rows.len() + 32);
        push_levels(&mut levels, length, rows.iter().map(Option::is_some));
        let body_len = levels.len() + num_present * length * kind.num_bytes();
        // A header is as long whatever its checksum.
        let num_bytes = header(body_len, num_levels, 0).len() + body_len;
        Self { levels, rows, num_levels, body_len, num_bytes }
    }

    /// Returns all before the values. They are read for the checksum here, just before they are copied: that way
    /// they come out of memory once.
    fn front(&self, kind: EmbeddingType) -> Vec<u8> {
        let mut crc = Hasher::new();
        crc.update(&self.levels);
        self.rows.iter().flatten().for_each(|row| crc.update(Piece::of(kind, row).bytes()));
        let mut front = header(self.body_len, self.num_levels, crc.finalize());
        front.extend(&self.levels);
        front
    }
}

/// Returns the header of an uncompressed data page (parquet-format, `PageHeader` in Thrift's compact protocol).
pub(super) fn header(num_bytes: usize, num_levels: usize, crc: u32) -> Vec<u8> {
    const DATA_PAGE: usize = 0;
    const PLAIN: usize = 0;
    const RLE: usize = 3;
    const NEXT_STRUCT: u8 = 0x1C;
    const STOP: u8 = 0;
    let mut header = Vec::with_capacity(40);
    push_fields(&mut header, &[DATA_PAGE, num_bytes, num_bytes]);
    push_crc(&mut header, crc);
    header.push(NEXT_STRUCT);
    push_fields(&mut header, &[num_levels, PLAIN, RLE, RLE]);
    header.extend([STOP, STOP]);
    header
}

/// Appends fields of 32 bits, each numbered one more than the one before; no value is negative.
fn push_fields(header: &mut Vec<u8>, values: &[usize]) {
    const NEXT_I32: u8 = 0x15;
    for value in values {
        header.push(NEXT_I32);
        // Zigzag doubles what is not negative.
        push_varint(header, 2 * value);
    }
}

/// Appends a number as ULEB128.
fn push_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Pages whose values are copied, or converted, only when they are read: into the file.
#[derive(Clone)]
pub(super) struct Pages<'a> {
    kind: EmbeddingType,
    pages: Arc<[Page<'a>]>,
}

impl<'a> Pages<'a> {
    /// Returns the bytes of all pages, piece by piece.
    fn pieces(self) -> impl Iterator<Item = Piece<'a>> {
        let Self { kind, pages } = self;
        (0..pages.len()).flat_map(move |page| {
            let (pages, rows) = (Arc::clone(&pages), pages[page].rows);
            let front = std::iter::once_with(move || Piece::Front(pages[page].front(kind)));
            front.chain(rows.iter().flatten().map(move |row| Piece::of(kind, row)))
        })
    }
}

/// Some bytes of a page.
enum Piece<'a> {
    Front(Vec<u8>),
    Values(&'a [f32]),
    Halves(Vec<f16>),
}

impl<'a> Piece<'a> {
    /// Returns the values of one row in the plain encoding: little-endian, one after the other.
    fn of(kind: EmbeddingType, embedding: &'a [f32]) -> Self {
        const { assert!(cfg!(target_endian = "little"), "values are copied as they lie in memory") };
        match kind {
            EmbeddingType::Float32 => Self::Values(embedding),
            EmbeddingType::Float16 => {
                let mut halves = vec![f16::ZERO; embedding.len()];
                halves.convert_from_f32_slice(embedding);
                Self::Halves(halves)
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Front(front) => front,
            Self::Values(values) => values.to_byte_slice(),
            Self::Halves(halves) => halves.to_byte_slice(),
        }
    }
}

impl Length for Pages<'_> {
    fn len(&self) -> u64 {
        self.pages.iter().map(|page| page.num_bytes as u64).sum()
    }
}

impl<'a> ChunkReader for Pages<'a> {
    type T = PagesReader<'a>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let mut reader =
            PagesReader { pieces: Box::new(self.clone().pieces()), piece: Piece::Values(&[]), at: 0 };
        io::copy(&mut reader.by_ref().take(start), &mut io::sink())?;
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let mut bytes = vec![0; length];
        self.get_read(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Reads pages from front to back.
pub(super) struct PagesReader<'a> {
    pieces: Box<dyn Iterator<Item = Piece<'a>> + 'a>,
    piece: Piece<'a>,
    at: usize,
}

impl Read for PagesReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            let rest = &self.piece.bytes()[self.at..];
            if rest.is_empty() {
                let Some(next) = self.pieces.next() else { break };
                (self.piece, self.at) = (next, 0);
                continue;
            }
            let len = rest.len().min(out.len() - filled);
            out[filled..filled + len].copy_from_slice(&rest[..len]);
            filled += len;
            self.at += len;
        }
        Ok(filled)
    }
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
        push_varint(&mut self.encoded, self.count << 1);
        self.encoded.push(self.level);
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
    use parquet::column::page::{CompressedPage, Page as ReferencePage, PageWriter};
    use parquet::file::writer::{SerializedPageWriter, TrackedWrite};

    use super::super::checksum::with_crc;
    use super::*;

    /// parquet-rs writes the same bytes around the same body, but for the checksum.
    #[test]
    fn headers_are_those_of_parquet_rs() {
        let values = [vec![1.5; 40], vec![-2.0; 40]];
        for num_rows in [1, 2, 3, 300, 40_000] {
            let rows: Vec<Option<&[f32]>> =
                (0..num_rows).map(|row| values.get(row % 3).map(Vec::as_slice)).collect();
            for kind in [EmbeddingType::Float32, EmbeddingType::Float16] {
                let page = Page::new(kind, 40, &rows);
                let num_levels = page.num_levels;
                let pages = Pages { kind, pages: [page].into() };
                let ours = pages.get_bytes(0, pages.len() as usize).unwrap();
                let body_of = |len: usize| &ours[len..];
                let is_header = |len: &usize| {
                    let body = body_of(*len);
                    header(body.len(), num_levels, crc32fast::hash(body)) == ours[..*len]
                };
                let body_len = ours.len() - (0..40).find(is_header).unwrap();
                let mut sink = TrackedWrite::new(Vec::new());
                let page = ReferencePage::DataPage {
                    buf: ours.slice(ours.len() - body_len..),
                    num_values: num_levels as u32,
                    encoding: Encoding::PLAIN,
                    def_level_encoding: Encoding::RLE,
                    rep_level_encoding: Encoding::RLE,
                    statistics: None,
                };
                let page = CompressedPage::new(page, body_len);
                let written = SerializedPageWriter::new(&mut sink).write_page(page).unwrap();
                let theirs = sink.into_inner().unwrap();
                let (header, body) = theirs.split_at(written.compressed_size - body_len);
                let summed = with_crc(header, crc32fast::hash(body)).unwrap();
                assert!([&summed, body].concat() == ours, "{num_rows} rows");
            }
        }
    }

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
