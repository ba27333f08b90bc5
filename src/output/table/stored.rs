//! The embedding column read back as [`super::embedding`] wrote it: bytes to floats, nothing between.
//!
//! A general reader decodes two levels a float and copies every value several times. Pages of ours
//! have levels that say little: which rows are null. They are read first, and the page is taken as
//! ours only if laying out such rows again gives the same bytes; any other page is left to a general
//! reader, which also is the one to say what is wrong with a damaged file.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use bytes::Bytes;
use half::f16;
use half::slice::HalfFloatSliceExt;
use parquet::basic::{Compression, Encoding};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;

use super::embedding::{NULL, PRESENT, header, push_levels};
use crate::config::EmbeddingType;

/// The embedding column of one row group, as far as the footer tells: it may be of our layout.
#[derive(Clone, Debug)]
pub struct StoredEmbeddings {
    chunk: Arc<ColumnChunkMetaData>,
    pages: Vec<StoredPage>,
    kind: EmbeddingType,
    length: usize,
}

/// Some pages of one row group that lie one after the other.
#[derive(Clone, Debug)]
pub struct StoredPart {
    /// Its rows, counted from the row group's first.
    pub rows: Range<usize>,
    /// Its bytes in the file.
    pub bytes: Range<u64>,
    chunk: Arc<ColumnChunkMetaData>,
    pages: Vec<StoredPage>,
    kind: EmbeddingType,
    length: usize,
}

/// Where a page lies in the file, its header included, and which rows of the group it holds.
#[derive(Clone, Debug)]
struct StoredPage {
    rows: Range<usize>,
    bytes: Range<u64>,
}

impl StoredEmbeddings {
    /// Looks at a row group's footer and offset index; `None` if its pages cannot be of our layout, or do
    /// not make up the whole group.
    #[must_use]
    pub fn of(file: &ParquetMetaData, schema: &Schema, group: usize) -> Option<Self> {
        let (kind, length) = stored_as(schema.field_with_name("embedding").ok()?.data_type())?;
        let leaves = file.file_metadata().schema_descr().columns();
        let leaf = leaves.iter().position(|leaf| leaf.path().parts()[0] == "embedding")?;
        let chunk = file.row_group(group).column(leaf);
        let levels = (chunk.column_descr().max_def_level(), chunk.column_descr().max_rep_level());
        let plain = chunk.compression() == Compression::UNCOMPRESSED;
        if levels != (i16::from(PRESENT), 1) || !plain || chunk.dictionary_page_offset().is_some() {
            return None;
        }
        let locations = file.offset_index()?.get(group)?.get(leaf)?.page_locations();
        let pages = pages_of(locations, usize::try_from(file.row_group(group).num_rows()).ok()?)?;
        Some(Self { chunk: Arc::new(chunk.clone()), pages, kind, length })
    }

    /// Divides the column into parts of about so many bytes, at least a page each.
    #[must_use]
    pub fn parts(&self, part_bytes: u64) -> Vec<StoredPart> {
        let mut parts = Vec::new();
        let mut rest = &self.pages[..];
        while let [first, ..] = rest {
            let within = |page: &&StoredPage| page.bytes.end - first.bytes.start <= part_bytes;
            let (pages, after) = rest.split_at(rest.iter().take_while(within).count().max(1));
            parts.push(self.part(pages));
            rest = after;
        }
        parts
    }

    fn part(&self, pages: &[StoredPage]) -> StoredPart {
        let (first, last) = (&pages[0], &pages[pages.len() - 1]);
        let Self { chunk, kind, length, .. } = self;
        let (rows, bytes) = (first.rows.start..last.rows.end, first.bytes.start..last.bytes.end);
        StoredPart { rows, bytes, chunk: chunk.clone(), pages: pages.to_vec(), kind: *kind, length: *length }
    }
}

/// Checks an offset index; `None` unless its pages lie one after the other and hold all rows in order.
fn pages_of(locations: &[PageLocation], num_rows: usize) -> Option<Vec<StoredPage>> {
    let first_row = |page: &PageLocation| usize::try_from(page.first_row_index).ok();
    let mut pages: Vec<StoredPage> = Vec::with_capacity(locations.len());
    let mut next_row = 0;
    for (index, page) in locations.iter().enumerate() {
        let start = u64::try_from(page.offset).ok()?;
        let end = start.checked_add(u64::try_from(page.compressed_page_size).ok()?)?;
        let rows = next_row..locations.get(index + 1).map_or(Some(num_rows), first_row)?;
        let follows = pages.last().is_none_or(|before| before.bytes.end == start);
        if !follows || first_row(page)? != rows.start || rows.start > rows.end {
            return None;
        }
        next_row = rows.end;
        pages.push(StoredPage { rows, bytes: start..end });
    }
    (next_row == num_rows).then_some(pages)
}

impl StoredPart {
    /// Returns the number of floats of one embedding.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Hands each row's embedding, or `None` for a null, to `visit`, with the row's number in the group.
    ///
    /// - `bytes`: what lies at [`Self::bytes`]
    /// - returns: whether all pages are of our layout; if not, what was visited is to be forgotten
    pub fn visit(&self, bytes: &Bytes, mut visit: impl FnMut(usize, Option<&[f32]>)) -> bool {
        self.visit_pages(bytes, &mut visit).is_some()
    }

    /// Returns whether each page is what the sink writes, to the last byte, with the checksum of its content.
    ///
    /// - `bytes`: what lies at [`Self::bytes`]; pages of builds that wrote no checksums have none
    #[must_use]
    pub fn is_sound(&self, bytes: &Bytes) -> bool {
        self.pages.iter().all(|page| {
            let [start, end] = [page.bytes.start, page.bytes.end].map(|at| (at - self.bytes.start) as usize);
            let page_is = |bytes: &[u8]| is_summed(bytes, self.length, page.rows.len());
            bytes.get(start..end).and_then(page_is).unwrap_or(false)
        })
    }

    fn visit_pages(&self, bytes: &Bytes, visit: &mut impl FnMut(usize, Option<&[f32]>)) -> Option<()> {
        let mut reader = self.reader(bytes)?;
        let mut row = self.rows.start;
        let mut scratch =
            Scratch { kind: self.kind, halves: vec![f16::ZERO; self.length], floats: vec![0.0; self.length] };
        for stored in &self.pages {
            let page = reader.get_next_page().ok()??;
            let (present, values) = rows_of(&page, self.kind, self.length, stored.rows.len())?;
            let mut values = values.chunks_exact(self.length * self.kind.num_bytes());
            for present in present {
                let embedding = if present { Some(scratch.floats(values.next()?)) } else { None };
                visit(row, embedding);
                row += 1;
            }
        }
        Some(())
    }

    /// Reads pages from the part alone: offsets are counted from its first byte.
    fn reader(&self, bytes: &Bytes) -> Option<SerializedPageReader<Bytes>> {
        let location = |page: &StoredPage| PageLocation {
            offset: (page.bytes.start - self.bytes.start) as i64,
            compressed_page_size: (page.bytes.end - page.bytes.start) as i32,
            first_row_index: page.rows.start as i64,
        };
        let pages: Vec<PageLocation> = self.pages.iter().map(location).collect();
        let chunk =
            ColumnChunkMetaData::clone(&self.chunk).into_builder().set_data_page_offset(0).build().ok()?;
        SerializedPageReader::new(bytes.clone().into(), &chunk, self.rows.len(), Some(pages)).ok()
    }
}

/// Returns type and number of the floats of an embedding; `None` if this sink writes no such column.
fn stored_as(column: &DataType) -> Option<(EmbeddingType, usize)> {
    let DataType::FixedSizeList(element, length) = column else { return None };
    let kind = match element.data_type() {
        DataType::Float32 => EmbeddingType::Float32,
        DataType::Float16 => EmbeddingType::Float16,
        _ => return None,
    };
    usize::try_from(*length).ok().filter(|length| *length > 0).map(|length| (kind, length))
}

/// Takes a page apart: which of its rows are present, and their values; `None` if it is not of our layout.
fn rows_of(page: &Page, kind: EmbeddingType, length: usize, num_rows: usize) -> Option<(Vec<bool>, &[u8])> {
    let Page::DataPage { buf, encoding: Encoding::PLAIN, .. } = page else { return None };
    let present = presence(definition_levels(buf)?, length, num_rows)?;
    let mut levels = Vec::new();
    push_levels(&mut levels, length, present.iter().copied());
    let values = buf.strip_prefix(&levels[..])?;
    let num_present = present.iter().filter(|present| **present).count();
    (values.len() == num_present * length * kind.num_bytes()).then_some((present, values))
}

/// Compares a page with its checksum; `None` if it is taken apart differently than it was put together.
fn is_summed(page: &[u8], length: usize, num_rows: usize) -> Option<bool> {
    let (found, body) = page.split_at(page.len().checked_sub(body_len(page)?)?);
    let present = presence(definition_levels(body)?, length, num_rows)?;
    let num_present = present.iter().filter(|present| **present).count();
    let num_levels = num_present * length + num_rows - num_present;
    Some(header(body.len(), num_levels, crc32fast::hash(body)) == found)
}

/// Returns the size that a page header gives its body: the third of its numbers.
fn body_len(header: &[u8]) -> Option<usize> {
    const NEXT_I32: u8 = 0x15;
    let (mut number, mut rest) = (0, header);
    for _ in 0..3 {
        (number, rest) = uleb128(rest.strip_prefix(&[NEXT_I32])?)?;
    }
    Some(number / 2)
}

/// Finds the definition levels of a version 1 data page: they follow the repetition levels.
fn definition_levels(body: &[u8]) -> Option<&[u8]> {
    let (_, rest) = after_length(body)?;
    after_length(rest).map(|(levels, _)| levels)
}

fn after_length(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

/// Reads runs of definition levels as rows; `None` unless they are `num_rows`, each whole or null.
fn presence(mut runs: &[u8], length: usize, num_rows: usize) -> Option<Vec<bool>> {
    // Not reserved by what a footer claims: the runs pay for each row.
    let mut present = Vec::new();
    while !runs.is_empty() {
        let (header, rest) = uleb128(runs)?;
        let (&level, rest) = rest.split_first()?;
        let (num_levels, packed) = (header >> 1, header & 1 == 1);
        let count = if level == PRESENT { num_levels / length } else { num_levels };
        if packed || (level != PRESENT && level != NULL) || count > num_rows - present.len() {
            return None;
        }
        present.resize(present.len() + count, level == PRESENT);
        runs = rest;
    }
    (present.len() == num_rows).then_some(present)
}

/// Reads a number of at most 32 bits.
fn uleb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (index, &byte) in bytes.iter().enumerate().take(5) {
        number |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

/// One embedding at a time, aligned and in single precision.
struct Scratch {
    kind: EmbeddingType,
    halves: Vec<f16>,
    floats: Vec<f32>,
}

impl Scratch {
    fn floats(&mut self, bytes: &[u8]) -> &[f32] {
        match self.kind {
            EmbeddingType::Float32 => {
                for (float, bytes) in self.floats.iter_mut().zip(bytes.as_chunks().0) {
                    *float = f32::from_le_bytes(*bytes);
                }
            }
            EmbeddingType::Float16 => {
                for (half, bytes) in self.halves.iter_mut().zip(bytes.as_chunks().0) {
                    *half = f16::from_le_bytes(*bytes);
                }
                self.halves.convert_to_f32_slice(&mut self.floats);
            }
        }
        &self.floats
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
    use arrow::datatypes::Field;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
    use parquet::file::metadata::PageIndexPolicy;
    use parquet::file::properties::WriterProperties;
    use proptest::prelude::*;

    use super::super::{ShardRows, TableSpec, encode};
    use super::*;
    use crate::vocabulary::outcome::{Outcome, TileRow};
    use crate::vocabulary::reason::{Reason, Rejection};
    use crate::vocabulary::tile_id::TileId;

    /// A file of ours with an embedding a row, or null.
    fn file(kind: EmbeddingType, length: usize, rows: &[Option<Vec<f32>>]) -> Bytes {
        let spec = TableSpec {
            embedding_length: length,
            embedding_type: kind,
            classifier: false,
            labels: None,
            top_k: 0,
            extra: None,
            domains: Vec::new(),
        };
        let embeddings: Vec<f32> = rows.iter().flatten().flatten().copied().collect();
        let mut next = 0..;
        let row = |present: bool| TileRow {
            tile_id: TileId::of("a", 0, 0, None),
            source: "a".into(),
            source_version: None,
            level: 0,
            frame: 0,
            window: None,
            geo: None,
            medical: None,
            outcome: if present {
                let embedding = next.next().expect("numbers do not end");
                Outcome::Ok { detail: None, prediction: None, embedding }
            } else {
                Outcome::Rejected(Rejection::new(Reason::Empty, ""))
            },
        };
        let tiles: Vec<TileRow> = rows.iter().map(Option::is_some).map(row).collect();
        let shard = ShardRows { shard: 0, rows: &tiles, embeddings: &embeddings, extra: None };
        encode(&spec, &shard, &[]).unwrap()
    }

    fn metadata(file: &Bytes) -> ArrowReaderMetadata {
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Required);
        ArrowReaderMetadata::load(file, options).unwrap()
    }

    /// Reads a file of one row group in parts; `None` if a page is not of our layout.
    fn read(file: &Bytes, part_bytes: u64) -> Option<Vec<Option<Vec<f32>>>> {
        let metadata = metadata(file);
        let mut rows = Vec::new();
        for part in StoredEmbeddings::of(metadata.metadata(), metadata.schema(), 0)?.parts(part_bytes) {
            let bytes = file.slice(part.bytes.start as usize..part.bytes.end as usize);
            let ours = part.visit(&bytes, |row, embedding| {
                assert_eq!(row, rows.len());
                rows.push(embedding.map(<[f32]>::to_vec));
            });
            if !ours {
                return None;
            }
        }
        Some(rows)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Whatever the length, wherever nulls stand, and however the pages fall into parts.
        #[test]
        fn what_was_written_is_read(
            half in any::<bool>(),
            length in prop_oneof![Just(1usize), 2usize..9, 3000usize..3002],
            present in prop::collection::vec(any::<bool>(), 1..300),
            part_bytes in prop_oneof![Just(1u64), Just(2_000_000), Just(u64::MAX >> 1)],
        ) {
            let kind = if half { EmbeddingType::Float16 } else { EmbeddingType::Float32 };
            let embedding = |row: usize| (0..length).map(|at| ((row * 7 + at) % 2000) as f32).collect();
            let rows: Vec<Option<Vec<f32>>> =
                present.iter().enumerate().map(|(row, present)| present.then(|| embedding(row))).collect();
            prop_assert_eq!(read(&file(kind, length, &rows), part_bytes), Some(rows));
        }

        /// A damaged page is either read as what it says, or left to others; it never panics.
        #[test]
        fn damage_is_left_to_others(at in 4usize..2000, value in any::<u8>()) {
            let rows = vec![Some(vec![1.0; 100]), None, Some(vec![2.0; 100])];
            let sound = file(EmbeddingType::Float32, 100, &rows);
            let part = StoredEmbeddings::of(metadata(&sound).metadata(), metadata(&sound).schema(), 0)
                .unwrap().parts(1).remove(0);
            let mut bytes = sound[part.bytes.start as usize..part.bytes.end as usize].to_vec();
            let at = at % bytes.len();
            bytes[at] = value;
            let mut num_rows = 0;
            let ours = part.visit(&bytes.into(), |_, _| num_rows += 1);
            prop_assert!(num_rows == 3 || !ours);
        }
    }

    /// Other writers' pages have the same rows in another layout.
    #[test]
    fn other_peoples_pages_are_left_to_others() {
        let element = Arc::new(Field::new("element", DataType::Float32, false));
        let values = Float32Array::from_iter_values((0..4000).map(|value| value as f32));
        let list = FixedSizeListArray::new(element, 8, Arc::new(values), None);
        let batch =
            RecordBatch::try_from_iter_with_nullable([("embedding", Arc::new(list) as ArrayRef, true)]);
        let batch = batch.unwrap();
        for dictionary in [true, false] {
            let properties = WriterProperties::builder().set_dictionary_enabled(dictionary).build();
            let mut bytes = Vec::new();
            let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();
            assert_eq!(read(&bytes.into(), 1 << 20), None, "dictionary {dictionary}");
        }
    }

    /// An index that leaves rows out, or has them twice, is not believed.
    #[test]
    fn pages_make_up_the_whole_group() {
        let page =
            |offset, first_row_index| PageLocation { offset, compressed_page_size: 10, first_row_index };
        let rows = |pages: &[PageLocation]| {
            pages_of(pages, 9).map(|pages| pages.into_iter().map(|page| page.rows).collect::<Vec<_>>())
        };
        assert_eq!(rows(&[page(4, 0), page(14, 5)]), Some(vec![0..5, 5..9]));
        assert_eq!(rows(&[]), None);
        assert_eq!(rows(&[page(4, 1)]), None);
        assert_eq!(rows(&[page(4, 0), page(15, 5)]), None, "a gap");
        assert_eq!(rows(&[page(4, 0), page(14, 10)]), None);
        assert_eq!(rows(&[page(4, 0), page(14, -1)]), None);
        assert_eq!(rows(&[page(-4, 0)]), None);
        assert_eq!(rows(&[page(i64::MAX, 0), page(i64::MAX, 5)]), None);
        assert_eq!(pages_of(&[], 0).unwrap().len(), 0);
    }

    #[test]
    fn half_a_row_is_no_row() {
        let levels = |count: u8, level: u8| [count << 1, level];
        assert_eq!(presence(&levels(6, PRESENT), 3, 2), Some(vec![true, true]));
        assert_eq!(presence(&levels(2, NULL), 3, 2), Some(vec![false, false]));
        assert_eq!(presence(&levels(2, NULL), 3, 3), None);
        assert_eq!(presence(&levels(3, NULL), 3, 2), None);
        assert_eq!(presence(&levels(6, 1), 3, 2), None);
        assert_eq!(presence(&[3, 0xff], 3, 2), None, "packed");
        assert_eq!(presence(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 3, 2), None);
    }
}
