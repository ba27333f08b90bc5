//! One shard as one Parquet file in memory.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::StructArray;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowWriterOptions, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::checksum::{self, CHECKSUM, KeptPages, NO_CHECKSUM};
use super::embedding;
use super::groups::{Column, groups};
use super::schema::{SCHEMA_VERSION, TableSpec, schema};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::TileRow;

/// Approximate bytes per row group: few enough to be read at once, enough to be worth a request.
const ROW_GROUP_BYTES: usize = 128 * 1024 * 1024;

/// What a row is taken to need beside its embedding, generously.
const OTHER_BYTES_PER_ROW: usize = 512;

/// Where readers find out what wrote a file: "application version number".
const CREATED_BY: &str = concat!("tilefleet version ", env!("CARGO_PKG_VERSION"));

/// Every key of ours in the file metadata starts with it.
const KEY_PREFIX: &str = "tilefleet.";

/// The key that makes a Parquet file one of ours.
const VERSION_KEY: &str = "schema_version";

/// The rows of one shard, in the order of the plan.
#[derive(Clone, Copy, Debug)]
pub struct ShardRows<'a> {
    /// Number of the shard.
    pub shard: u32,
    /// One row per tile.
    pub rows: &'a [TileRow],
    /// `[n, embedding_length]`, row-major; `Outcome::Ok` says which one is a row's own.
    pub embeddings: &'a [f32],
    /// The manifest's additional columns, one entry per row; present if and only if the spec says so.
    pub extra: Option<&'a StructArray>,
}

/// Encodes a shard as one Parquet file.
///
/// - `provenance`: what is constant in the shard, for the file metadata, without the prefix
///   `tilefleet.`
/// - returns: the whole file, the same bytes for the same input
///
/// Embeddings are plain and uncompressed, without dictionary, and their
/// statistics are but the number of nulls; all else is zstd, with
/// page index; `tile_id` has a Bloom filter. Every page has its CRC, see [`checksum`].
///
/// # Errors
///
/// [`crate::vocabulary::error::Kind::Bug`] if the rows do not fit the spec: they come from our own pipeline.
pub fn encode(spec: &TableSpec, shard: &ShardRows<'_>, provenance: &[(String, String)]) -> Result<Bytes> {
    let groups = groups(spec);
    let ours = provenance.iter().map(|(key, value)| (format!("{KEY_PREFIX}{key}"), value.clone()));
    let metadata: Vec<_> = ours.chain(groups.iter().flat_map(|group| group.metadata(shard))).collect();
    let mut columns = Vec::new();
    for group in &groups {
        columns.extend(group.columns(shard)?);
    }
    let broken = |cause| Error::bug(format!("cannot encode shard {}", shard.shard)).because(cause);
    write(spec, shard.rows.len(), &columns, &metadata).map_err(broken)
}

impl ShardRows<'_> {
    /// Returns the error of rows that do not fit their table.
    pub(super) fn wrong(&self, what: &str) -> Error {
        Error::bug(format!("shard {}: {what}", self.shard))
    }
}

fn write(
    spec: &TableSpec,
    num_rows: usize,
    columns: &[Column<'_>],
    metadata: &[(String, String)],
) -> ParquetResult<Bytes> {
    let schema = schema(spec);
    let bytes_per_row = spec.embedding_length * spec.embedding_type.num_bytes() + OTHER_BYTES_PER_ROW;
    let rows_per_group = (ROW_GROUP_BYTES / bytes_per_row).max(1);
    let properties = properties(&schema, num_rows.min(rows_per_group), metadata)?;
    let pages = Arc::new(KeptPages::default());
    let options =
        ArrowWriterOptions::new()
            .with_properties(properties)
            .with_page_store_factory(Arc::<KeptPages>::clone(&pages));
    let file = Vec::with_capacity(num_rows * bytes_per_row + 64 * 1024);
    let (mut file, factory) =
        ArrowWriter::try_new_with_options(file, Arc::clone(&schema), options)?.into_serialized_writer()?;
    let mut embeddings = Vec::new();
    for start in (0..num_rows).step_by(rows_per_group) {
        let rows = start..num_rows.min(start + rows_per_group);
        let writers = factory.create_column_writers(file.flushed_row_groups().len())?;
        embeddings.push(write_row_group(spec, &schema, &mut file, writers, &pages, columns, rows)?);
    }
    let mut file = file.into_inner()?;
    checksum::seal(&mut file, &embeddings)?;
    Ok(Bytes::from(file))
}

/// Writes one row group; returns where in the file its embeddings lie.
fn write_row_group(
    spec: &TableSpec,
    schema: &SchemaRef,
    file: &mut SerializedFileWriter<Vec<u8>>,
    writers: Vec<ArrowColumnWriter>,
    pages: &KeptPages,
    columns: &[Column<'_>],
    rows: Range<usize>,
) -> ParquetResult<Range<usize>> {
    let mut leaf_writers = writers.into_iter().enumerate();
    let mut leaf_descriptors = file.schema_descr().columns().to_vec().into_iter();
    let mut group = file.next_row_group()?;
    let mut embedding = None;
    for (field, column) in schema.fields().iter().zip(columns) {
        match column {
            Column::Embedding(embeddings) => {
                embedding = leaf_writers.next().map(|(leaf, _)| leaf);
                let leaf = leaf_descriptors.next().ok_or_else(no_leaf)?;
                let (kind, length) = (spec.embedding_type, spec.embedding_length);
                let chunk = embedding::chunk(&leaf, kind, length, &embeddings[rows.clone()])?;
                group.append_column(&chunk.pages, chunk.close)?;
            }
            Column::Array(array) => {
                for leaf in compute_leaves(field, &array.slice(rows.start, rows.len()))? {
                    leaf_descriptors.next();
                    let (number, mut writer) = leaf_writers.next().ok_or_else(no_leaf)?;
                    writer.write(&leaf)?;
                    let (bytes, close) = pages.summed(number, writer.close()?.close())?;
                    group.append_column(&bytes, close)?;
                }
            }
        }
    }
    let written = group.close()?;
    let (start, length) = written.column(embedding.ok_or_else(no_leaf)?).byte_range();
    Ok(start as usize..(start + length) as usize)
}

/// The pair of the metadata that becomes the checksum.
pub(super) fn checksum_pair() -> (String, String) {
    (format!("{KEY_PREFIX}{CHECKSUM}"), NO_CHECKSUM.to_owned())
}

pub(super) fn no_leaf() -> ParquetError {
    ParquetError::General("the schema has fewer leaves than the columns".into())
}

fn properties(
    schema: &SchemaRef,
    rows_per_group: usize,
    metadata: &[(String, String)],
) -> ParquetResult<WriterProperties> {
    let version = (format!("{KEY_PREFIX}{VERSION_KEY}"), SCHEMA_VERSION.to_owned());
    let checksum = checksum_pair();
    let metadata = [&version, &checksum].into_iter().chain(metadata);
    let metadata = metadata.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let tile_id = ColumnPath::from("tile_id");
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_key_value_metadata(Some(metadata.collect()))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        // Ids are all different: a dictionary would be a second copy, and their range says nothing.
        .set_column_dictionary_enabled(tile_id.clone(), false)
        .set_column_bloom_filter_enabled(tile_id.clone(), true)
        .set_column_bloom_filter_fpp(tile_id.clone(), 0.01)
        .set_column_bloom_filter_max_ndv(tile_id, rows_per_group.max(1) as u64);
    // Nor do scores repeat.
    for leaf in ArrowSchemaConverter::new().convert(schema)?.columns() {
        if leaf.name() == "score" {
            properties = properties.set_column_dictionary_enabled(leaf.path().clone(), false);
        }
    }
    Ok(properties.build())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Int64Array, RecordBatch, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{DataType, Field, Fields, Float16Type, Float32Type, Int32Type};
    use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
    use parquet::file::metadata::RowGroupMetaData;
    use proptest::prelude::*;

    use super::*;
    use crate::config::EmbeddingType;
    use crate::vocabulary::error::Kind;
    use crate::vocabulary::geometry::Window;
    use crate::vocabulary::outcome::{Outcome, Prediction};
    use crate::vocabulary::reason::{Reason, Rejection};
    use crate::vocabulary::tile_id::TileId;

    fn spec(embedding_length: usize) -> TableSpec {
        TableSpec {
            embedding_length,
            embedding_type: EmbeddingType::Float32,
            classifier: true,
            labels: Some(["river", "forest"].map(String::from).to_vec().into()),
            top_k: 2,
            extra: None,
            domains: Vec::new(),
        }
    }

    fn row(number: u32, outcome: Outcome) -> TileRow {
        let uri = format!("s3://scenes/{number}.jpg");
        let window = (number % 2 == 1).then_some(Window { x: number, y: 2, width: 3, height: 4 });
        let tile_id = TileId::of(&uri, 0, 0, window);
        TileRow {
            tile_id,
            source: uri.into(),
            source_version: None,
            level: 0,
            frame: 0,
            window,
            outcome,
            geo: None,
            medical: None,
        }
    }

    fn ok(embedding: usize) -> Outcome {
        let prediction = Prediction { class_id: 1, score: 0.75, top_k: vec![(1, 0.75), (0, 0.25)] };
        Outcome::Ok { detail: None, prediction: Some(prediction), embedding }
    }

    fn rejected() -> Outcome {
        Outcome::Rejected(Rejection::new(Reason::Truncated, "ends in row 3"))
    }

    fn shard<'a>(rows: &'a [TileRow], embeddings: &'a [f32]) -> ShardRows<'a> {
        ShardRows { shard: 42, rows, embeddings, extra: None }
    }

    fn read(file: &Bytes) -> RecordBatch {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
        let schema = Arc::clone(builder.schema());
        let batches: Vec<_> = builder.build().unwrap().collect::<Result<_, _>>().unwrap();
        concat_batches(&schema, &batches).unwrap()
    }

    fn read_embeddings(file: &Bytes) -> Vec<Option<Vec<f32>>> {
        let table = read(file);
        let lists: &FixedSizeListArray = table.column_by_name("embedding").unwrap().as_fixed_size_list();
        lists.iter().map(|list| Some(list?.as_primitive::<Float32Type>().values().to_vec())).collect()
    }

    #[test]
    fn all_kinds_of_rows_come_back_as_written() {
        let skipped = Outcome::Skipped { reason: Reason::Empty, detail: None };
        let rows = [row(0, ok(1)), row(1, rejected()), row(2, skipped), row(3, ok(0))];
        let file = encode(&spec(3), &shard(&rows, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), &[]).unwrap();
        let table = read(&file);
        assert_eq!(table.schema().fields(), schema(&spec(3)).fields());
        let text = |column: &str| -> Vec<Option<String>> {
            let column = table.column_by_name(column).unwrap().as_string::<i32>();
            column.iter().map(|value| value.map(str::to_owned)).collect()
        };
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(text("tile_id")[1], Some(rows[1].tile_id.to_string()));
        assert_eq!(text("source")[3], some("s3://scenes/3.jpg"));
        assert_eq!(text("status"), ["ok", "rejected", "skipped", "ok"].map(some));
        assert_eq!(text("reason"), [None, some("truncated"), some("empty"), None]);
        assert_eq!(text("detail"), [None, some("ends in row 3"), None, None]);
        assert_eq!(text("label"), [some("forest"), None, None, some("forest")]);
        let x: Vec<_> = table.column_by_name("x").unwrap().as_primitive::<Int32Type>().iter().collect();
        assert_eq!(x, [None, Some(1), None, Some(3)]);
        let top_k = table.column_by_name("top_k").unwrap().as_list::<i32>();
        assert_eq!((top_k.value_length(0), top_k.is_null(1)), (2, true));
        let best = top_k.value(3);
        let scores = best.as_struct().column_by_name("score").unwrap().as_primitive::<Float32Type>();
        assert_eq!(scores.values(), &[0.75, 0.25]);
        let first = vec![1.0, 2.0, 3.0];
        assert_eq!(read_embeddings(&file), [Some(vec![4.0, 5.0, 6.0]), None, None, Some(first)]);
    }

    #[test]
    fn the_same_input_gives_the_same_bytes() {
        let rows: Vec<_> = (0..300).map(|number| row(number, ok(number as usize))).collect();
        let embeddings: Vec<f32> = (0..300 * 16).map(|value| value as f32).collect();
        let provenance = [("model".to_owned(), "abc".to_owned())];
        let encoded = || encode(&spec(16), &shard(&rows, &embeddings), &provenance).unwrap();
        assert_eq!(encoded(), encoded());
    }

    #[test]
    fn float16_is_rounded_to_nearest() {
        let spec = TableSpec { embedding_type: EmbeddingType::Float16, ..spec(2) };
        let file = encode(&spec, &shard(&[row(0, ok(0)), row(1, rejected())], &[0.1, -3.0]), &[]).unwrap();
        let table = read(&file);
        let lists = table.column_by_name("embedding").unwrap().as_fixed_size_list();
        let halves = lists.value(0);
        let expected = [half::f16::from_f32(0.1), half::f16::from_f32(-3.0)];
        assert_eq!(halves.as_primitive::<Float16Type>().values(), &expected);
        assert!(lists.is_null(1));
    }

    #[test]
    fn a_headless_model_leaves_the_prediction_null() {
        let spec = TableSpec { classifier: false, labels: None, ..spec(1) };
        let outcome = Outcome::Ok { detail: Some("jpeg named .png".into()), prediction: None, embedding: 0 };
        let table = read(&encode(&spec, &shard(&[row(0, outcome)], &[1.0]), &[]).unwrap());
        for column in ["class_id", "label", "score", "top_k"] {
            assert_eq!(table.column_by_name(column).unwrap().null_count(), 1, "{column}");
        }
    }

    #[test]
    fn extra_columns_travel_along() {
        let fields = Fields::from(vec![
            Field::new("site", DataType::Utf8, true),
            Field::new("age", DataType::Int64, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("Kiel"), None])),
            Arc::new(Int64Array::from(vec![Some(7), Some(9)])),
        ];
        let extra = StructArray::new(fields.clone(), columns, None);
        let spec = TableSpec { extra: Some(fields), ..spec(1) };
        let rows = [row(0, ok(0)), row(1, rejected())];
        let shard = ShardRows { extra: Some(&extra), ..shard(&rows, &[1.0]) };
        let table = read(&encode(&spec, &shard, &[]).unwrap());
        assert_eq!(table.column_by_name("extra").unwrap().as_struct(), &extra);
    }

    #[test]
    fn large_shards_have_several_row_groups_that_can_be_skipped_into() {
        let length = ROW_GROUP_BYTES / 4 / 8;
        let rows: Vec<_> = (0..20).map(|number| row(number, ok(0))).collect();
        let file = encode(&spec(length), &shard(&rows, &vec![0.5; length]), &[]).unwrap();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let groups: Vec<_> = builder.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect();
        assert_eq!(groups, [7, 7, 6]);
        let last = RowSelection::from(vec![RowSelector::skip(19), RowSelector::select(1)]);
        let batch = builder.with_row_selection(last).build().unwrap().next().unwrap().unwrap();
        let source = batch.column_by_name("source").unwrap().as_string::<i32>().value(0);
        assert_eq!((batch.num_rows(), source), (1, "s3://scenes/19.jpg"));
    }

    /// From the footer alone one can tell how many rows of a row group have no embedding.
    #[test]
    fn the_footer_counts_the_rows_without_embedding() {
        for embedding_type in [EmbeddingType::Float32, EmbeddingType::Float16] {
            let spec = TableSpec { embedding_type, ..spec(1) };
            let rows = [row(0, ok(0)), row(1, rejected()), row(2, rejected())];
            let file = encode(&spec, &shard(&rows, &[1.0]), &[]).unwrap();
            let metadata = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().metadata().clone();
            let leaf = metadata
                .row_group(0)
                .columns()
                .iter()
                .find(|leaf| leaf.column_path().string().starts_with("embedding"));
            let statistics = leaf.unwrap().statistics().unwrap();
            assert_eq!((statistics.null_count_opt(), statistics.min_bytes_opt()), (Some(2), None));
        }
    }

    #[test]
    fn rows_that_do_not_fit_the_spec_are_a_bug() {
        let bug = |spec: &TableSpec, rows: &[TileRow], embeddings: &[f32]| {
            let error = encode(spec, &shard(rows, embeddings), &[]).unwrap_err();
            assert_eq!(error.kind(), Kind::Bug);
            error.to_string()
        };
        assert_eq!(bug(&spec(2), &[row(0, ok(1))], &[1.0; 3]), "shard 42: embedding 1 of 1");
        let headless = TableSpec { classifier: false, ..spec(1) };
        assert!(bug(&headless, &[row(0, ok(0))], &[1.0]).contains("no classifier"));
        let short = TableSpec { top_k: 1, ..spec(1) };
        assert_eq!(bug(&short, &[row(0, ok(0))], &[1.0]), "shard 42: a row has more than 1 classes in top_k");
        let extra = TableSpec { extra: Some(Fields::empty()), ..spec(1) };
        assert!(bug(&extra, &[row(0, ok(0))], &[1.0]).contains("extra columns are None"));
        let mut wide = row(1, ok(0));
        wide.frame = u32::MAX;
        assert_eq!(bug(&spec(1), &[wide], &[1.0]), "frame 4294967295 does not fit the table's Int32");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// Whatever the length of an embedding and wherever nulls stand, over several pages.
        #[test]
        fn embeddings_survive_in_any_mixture(
            length in prop_oneof![Just(1usize), 2usize..9, 60usize..70, 3000usize..3002],
            present in prop::collection::vec(any::<bool>(), 0..300),
        ) {
            let num_ok = present.iter().filter(|present| **present).count();
            let embeddings: Vec<f32> = (0..num_ok * length).map(|value| value as f32).collect();
            let mut next = 0..num_ok;
            let rows: Vec<_> = (0..).zip(&present).map(|(number, &present)| {
                row(number, if present { ok(next.next().unwrap()) } else { rejected() })
            }).collect();
            let file = encode(&spec(length), &shard(&rows, &embeddings), &[]).unwrap();
            let mut expected = embeddings.chunks(length);
            let expected: Vec<_> =
                present.iter().map(|&present| present.then(|| expected.next().unwrap().to_vec())).collect();
            prop_assert_eq!(read_embeddings(&file), expected);
        }
    }
}
