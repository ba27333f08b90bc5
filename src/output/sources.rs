//! `sources.parquet`: which source an id stands for, its version and its size when planned.
//!
//! Written once, in order of canonical URI, as one create-only object. It is also the election among
//! workers that plan at once: the plan is a pure function of this table, so whoever adopts it derives
//! the same plan.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::runtime::Handle;

use crate::input::source::{Entry, ExtraCodec};
use crate::input::storage::Bucket;
use crate::output::parquet_object::ParquetObject;
use crate::output::provenance::in_file;
use crate::output::table::checksum::CHECKSUM;
use crate::output::table::{BadColumn, StoredColumns, SummedFile, number_at, text_at};
use crate::scene::{Scene, SceneLayout};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::{ERASED, Naming, SourceUri};
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::words::{counted, counted_of};

/// Rows of a row group: what one shard of default size needs is one or two groups, and the limit of
/// 32,767 groups a file is 268 million sources away.
const ROWS_PER_GROUP: usize = 8192;

/// The metadata key under which the number of sources is written that their headers reject.
const REJECTED_KEY: &str = "tilefleet.rejected_sources";

/// One source as planned.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Canonical URI.
    pub uri: SourceUri,
    /// ETag or version when planned; `None` if the source did not answer then.
    pub version: Option<Arc<str>>,
    /// Size in bytes when planned.
    pub size_bytes: Option<u64>,
    /// What its headers say, if it was to be cut into windows.
    pub survey: Option<SceneLayout>,
    /// The STAC item that it is, as JSON: a retry surveys it again.
    pub item: Option<Arc<str>>,
}

impl Source {
    /// Returns what rows show of its version.
    #[must_use]
    pub fn shown_version(&self) -> Option<Arc<str>> {
        let version = self.version.as_ref()?;
        Some(match self.uri.version(version) {
            Cow::Borrowed(_) => version.clone(),
            Cow::Owned(shown) => shown.into(),
        })
    }

    /// Returns the scene that it is, if it is cut into windows.
    #[must_use]
    pub fn scene(&self) -> Option<&Arc<Scene>> {
        self.survey.as_ref().and_then(SceneLayout::scene)
    }

    /// Returns whether it was erased: nobody knows its URI, and it stands in no order among others.
    #[must_use]
    pub fn is_erased(&self) -> bool {
        self.uri.for_reading().starts_with(ERASED)
    }

    /// Returns whether only some windows of a scene are planned, as a retry does.
    #[must_use]
    pub fn is_part(&self) -> bool {
        self.scene().is_some_and(|scene| scene.only.is_some())
    }

    /// Returns whether its tiles are all that there is of a scene, so that they replace whatever was before, also if
    /// a retry has planned them.
    #[must_use]
    pub fn is_whole_scene(&self) -> bool {
        matches!(self.survey, Some(SceneLayout::Scene(_) | SceneLayout::Rejected { .. })) && !self.is_part()
    }
}

/// A contiguous range of sources with their manifest columns.
#[derive(Clone, Debug)]
pub struct SourceRange {
    /// Id of the first source.
    pub first_id: u64,
    /// The sources in order of id.
    pub sources: Vec<Source>,
    /// The manifest's additional columns, one row per source.
    pub extra: Option<StructArray>,
}

fn schema(extra: Option<&Fields>) -> SchemaRef {
    let mut fields = vec![
        Field::new("source_id", DataType::Int64, false),
        Field::new("uri", DataType::Utf8, false),
        Field::new("version", DataType::Utf8, true),
        Field::new("size", DataType::Int64, true),
        Field::new("survey", DataType::Utf8, true),
        Field::new("item", DataType::Utf8, true),
    ];
    if let Some(extra) = extra {
        fields.push(Field::new("extra", DataType::Struct(extra.clone()), true));
    }
    Arc::new(Schema::new(fields))
}

/// Encodes the table from sources in order of URI.
///
/// - `entries`: sorted, each URI once
/// - `metadata`: asked for when all entries are taken; written as the file's key-value metadata
/// - `bytes_key`: the metadata key under which the sources' bytes, added up, are written
/// - returns: the file, the number of sources and their bytes as far as known
///
/// # Errors
///
/// Whatever `entries` yields; `Bug` if Parquet cannot be written.
pub fn encode(
    entries: impl Iterator<Item = Result<Surveyed>>,
    extra: Option<&ExtraCodec>,
    metadata: impl FnOnce() -> Result<Vec<(String, String)>>,
    bytes_key: &str,
) -> Result<EncodedSources> {
    let schema = schema(extra.map(ExtraCodec::fields));
    let mut file = SummedFile::new(schema.clone(), properties()).map_err(bug)?;
    let mut num_sources = 0_u64;
    let mut num_bytes = 0_u64;
    let mut num_rejected = 0_u64;
    let mut chunk = Vec::with_capacity(ROWS_PER_GROUP);
    for entry in entries {
        let entry = entry?;
        num_bytes = u64::saturating_add(num_bytes, entry.entry.size.unwrap_or(0));
        num_rejected += u64::from(matches!(entry.survey, Some(SceneLayout::Rejected { .. })));
        chunk.push(entry);
        if chunk.len() == ROWS_PER_GROUP {
            file.write(&record_batch(&schema, num_sources, &chunk, extra)?).map_err(bug)?;
            num_sources += chunk.len() as u64;
            chunk.clear();
        }
    }
    if !chunk.is_empty() {
        file.write(&record_batch(&schema, num_sources, &chunk, extra)?).map_err(bug)?;
        num_sources += chunk.len() as u64;
    }
    let mut metadata = metadata()?;
    metadata.push((bytes_key.to_owned(), num_bytes.to_string()));
    metadata.push((REJECTED_KEY.to_owned(), num_rejected.to_string()));
    let bytes = file.finish(metadata).map_err(bug)?;
    Ok(EncodedSources { bytes, num_sources, num_bytes })
}

/// Encodes the table as those may see it who have neither key nor vault: names instead of URIs, and nothing by which a
/// listing of the bucket would tell which object is which.
///
/// # Errors
///
/// As the store answers; `Config` if the table is damaged.
pub async fn encode_names(table: &SourceTable) -> Result<Bytes> {
    let naming = table.naming.clone();
    rewrite(table, move |source| {
        let survey = source.survey.map(|survey| survey.without_uris(&naming));
        Source { uri: source.uri.name().into_owned().into(), survey, ..Source::default() }
    })
    .await
}

/// Encodes a table again, each of its sources as `map` returns it, and in its place.
async fn rewrite(table: &SourceTable, map: impl Fn(Source) -> Source + Send + 'static) -> Result<Bytes> {
    let (table, runtime) = (table.clone(), Handle::current());
    let encode = move || {
        let schema = schema(table.extra_fields().as_ref());
        let mut file = SummedFile::new(schema.clone(), properties()).map_err(bug)?;
        for group in 0..table.num_sources().div_ceil(ROWS_PER_GROUP as u64) {
            let first = group * ROWS_PER_GROUP as u64;
            let last = table.num_sources().min(first + ROWS_PER_GROUP as u64);
            let SourceRange { sources, extra, .. } = runtime.block_on(table.read(first..last))?;
            let sources: Vec<Source> = sources.into_iter().map(&map).collect();
            let extra = extra.map(|extra| nulled(&extra, |row| sources[row].is_erased()));
            file.write(&rewritten(&schema, first, sources, extra)?).map_err(bug)?;
        }
        let mut metadata: Vec<_> = table.metadata().into_iter().filter(|(key, _)| is_elected(key)).collect();
        metadata.sort();
        file.finish(metadata).map_err(bug)
    };
    let encoded = tokio::task::spawn_blocking(encode).await;
    encoded.map_err(|error| Error::bug("planning crashed").because(error))?
}

/// Returns the columns with null in some rows.
#[must_use]
pub fn nulled(columns: &StructArray, is_null: impl Fn(usize) -> bool) -> StructArray {
    let nulls = (0..columns.len()).map(|row| columns.is_valid(row) && !is_null(row)).collect::<Vec<_>>();
    StructArray::new(columns.fields().clone(), columns.columns().to_vec(), Some(nulls.into()))
}

/// A table of sources of which some are erased.
#[derive(Debug)]
pub struct ErasedSources {
    /// The Parquet file.
    pub bytes: Bytes,
    /// How many of its sources are erased.
    pub num_erased: u64,
    /// How many were not before.
    pub num_new: u64,
}

impl SourceTable {
    /// Encodes the table without what it tells of the sources with these names.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the table is damaged.
    pub async fn erase(&self, names: Arc<BTreeSet<String>>) -> Result<ErasedSources> {
        let (num_erased, num_new) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (naming, counted) = (self.naming.clone(), [num_erased.clone(), num_new.clone()]);
        let erased = move |source: Source| {
            if !names.contains(&*source.uri.name()) {
                return source;
            }
            counted[0].fetch_add(1, Ordering::Relaxed);
            counted[1].fetch_add(u64::from(!source.is_erased()), Ordering::Relaxed);
            let survey = source.survey.map(|_| SceneLayout::from(Rejection::new(Reason::Erased, "")));
            Source {
                uri: naming.source(format!("{ERASED}{}", source.uri.name())),
                survey,
                ..Source::default()
            }
        };
        let bytes = rewrite(self, erased).await?;
        let [num_erased, num_new] = [num_erased, num_new].map(|number| number.load(Ordering::Relaxed));
        Ok(ErasedSources { bytes, num_erased, num_new })
    }
}

/// Returns whether metadata were written with the sources, rather than by the writer of the file.
fn is_elected(key: &str) -> bool {
    key.starts_with("tilefleet.") && key != in_file(CHECKSUM)
}

fn rewritten(
    schema: &SchemaRef,
    first_id: u64,
    sources: Vec<Source>,
    extra: Option<StructArray>,
) -> Result<RecordBatch> {
    let last_id = first_id + sources.len() as u64;
    let sizes = sources.iter().map(|source| source.size_bytes.map(|size| size as i64));
    let columns: [ArrayRef; 4] = [
        Arc::new(Int64Array::from_iter_values((first_id as i64)..(last_id as i64))),
        Arc::new(StringArray::from_iter_values(sources.iter().map(|source| source.uri.for_reading()))),
        Arc::new(sources.iter().map(|source| source.version.as_deref()).collect::<StringArray>()),
        Arc::new(sizes.collect::<Int64Array>()),
    ];
    let items = sources.iter().map(|source| source.item.as_deref()).collect::<StringArray>();
    let surveys = sources.iter().map(|source| source.survey.as_ref().map(to_json).transpose());
    let surveys = surveys.collect::<Result<StringArray>>()?;
    let rest: [ArrayRef; 2] = [Arc::new(surveys), Arc::new(items)];
    let extra = extra.map(|extra| Arc::new(extra) as ArrayRef);
    RecordBatch::try_new(schema.clone(), columns.into_iter().chain(rest).chain(extra).collect()).map_err(bug)
}

/// Returns a record that reads back, whatever was surveyed: what is elected with a damaged one can never be read again.
fn to_json(survey: &SceneLayout) -> Result<String> {
    survey.to_json().or_else(|rejection| SceneLayout::from(rejection).to_json()).map_err(bug)
}

/// A source as discovered, and what its headers say.
#[derive(Clone, Debug, Default)]
pub struct Surveyed {
    /// It.
    pub entry: Entry,
    /// See [`Source::survey`].
    pub survey: Option<SceneLayout>,
}

impl From<Entry> for Surveyed {
    fn from(entry: Entry) -> Self {
        Self { entry, survey: None }
    }
}

/// The encoded table and what it counts.
#[derive(Debug)]
pub struct EncodedSources {
    /// The Parquet file.
    pub bytes: Bytes,
    /// Number of sources.
    pub num_sources: u64,
    /// Their sizes added up, as far as known.
    pub num_bytes: u64,
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROWS_PER_GROUP))
        .set_created_by(concat!("tilefleet ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

fn record_batch(
    schema: &SchemaRef,
    first_id: u64,
    surveyed: &[Surveyed],
    extra: Option<&ExtraCodec>,
) -> Result<RecordBatch> {
    let entries: Vec<&Entry> = surveyed.iter().map(|surveyed| &surveyed.entry).collect();
    let surveys = surveyed.iter().map(|surveyed| surveyed.survey.as_ref().map(to_json).transpose());
    let ids = Int64Array::from_iter_values((first_id as i64)..(first_id as i64 + entries.len() as i64));
    let uris = StringArray::from_iter_values(entries.iter().map(|entry| entry.uri.for_reading()));
    let versions = entries.iter().map(|entry| entry.version.as_deref()).collect::<StringArray>();
    let sizes = entries.iter().map(|entry| entry.size.map(|size| size as i64)).collect::<Int64Array>();
    let surveys = surveys.collect::<Result<StringArray>>()?;
    let items = entries.iter().map(|entry| entry.item.as_deref().map(str::from_utf8).transpose());
    let items = items.collect::<std::result::Result<StringArray, _>>().map_err(bug)?;
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(ids),
        Arc::new(uris),
        Arc::new(versions),
        Arc::new(sizes),
        Arc::new(surveys),
        Arc::new(items),
    ];
    if let Some(codec) = extra {
        let rows: Vec<Option<&[u8]>> = entries.iter().map(|entry| entry.extra.as_deref()).collect();
        columns.push(Arc::new(codec.decode(&rows)?));
    }
    RecordBatch::try_new(schema.clone(), columns).map_err(bug)
}

/// Some sources, with the manifest's columns where there are any.
pub type SourcesWithExtra = (Vec<Source>, Option<StructArray>);

/// A published table of sources, read by ranges.
#[derive(Clone)]
pub struct SourceTable {
    object: ParquetObject,
    naming: Naming,
}

impl SourceTable {
    /// Opens the table at `key`, whose sources are named so; `None` if there is none.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the object is no such table.
    pub async fn open(bucket: &Bucket, key: &str, naming: &Naming) -> Result<Option<Self>> {
        let object = ParquetObject::open(bucket, key).await?;
        Ok(object.map(|object| Self { object, naming: naming.clone() }))
    }

    /// Returns the object that it is.
    pub(super) fn object(&self) -> &ParquetObject {
        &self.object
    }

    /// Returns the number of sources.
    #[must_use]
    pub fn num_sources(&self) -> u64 {
        self.object.num_rows()
    }

    /// Returns how many sources their headers rejected when planned; early tables do not say.
    #[must_use]
    pub fn num_rejected(&self) -> u64 {
        self.metadata().get(REJECTED_KEY).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Returns the file's key-value metadata.
    #[must_use]
    pub fn metadata(&self) -> HashMap<String, String> {
        self.object.key_values()
    }

    /// Returns the manifest's additional columns, if there are any.
    #[must_use]
    pub fn extra_fields(&self) -> Option<Fields> {
        match self.object.schema().field_with_name("extra").ok()?.data_type() {
            DataType::Struct(fields) => Some(fields.clone()),
            _ => None,
        }
    }

    /// Reads the sources with ids in `ids`.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the table does not hold that range.
    pub async fn read(&self, ids: Range<u64>) -> Result<SourceRange> {
        if ids.end > self.num_sources() {
            let (key, num_sources, last) = (self.object.key(), self.num_sources(), ids.end - 1);
            let holds = counted(num_sources, "source");
            let message = format!("{key} has {holds}, but the plan refers to number {last}");
            return Err(Error::config(message).hint("the run's record is damaged; restore it from a copy"));
        }
        let groups = (ids.start / ROWS_PER_GROUP as u64)..=((ids.end.max(1) - 1) / ROWS_PER_GROUP as u64);
        let groups: Vec<usize> = groups.map(|group| group as usize).collect();
        let skipped = (ids.start % ROWS_PER_GROUP as u64) as usize;
        let wanted = (ids.end - ids.start) as usize;
        let batches = self.object.read(groups, Some((skipped, wanted))).await?;
        let mut range = SourceRange { first_id: ids.start, sources: Vec::with_capacity(wanted), extra: None };
        for batch in &batches {
            append_sources(batch, &self.naming, &mut range.sources)?;
        }
        if range.sources.len() != wanted {
            return Err(Error::config(format!(
                "{} has {} that the plan refers to",
                self.object.key(),
                counted_of(range.sources.len() as u64, wanted as u64, "source")
            )));
        }
        range.extra = concat_extra(&batches)?;
        Ok(range)
    }

    /// Streams all sources but those that were erased, in order of URI, some at a time, with the manifest's columns where there are any.
    ///
    /// # Errors
    ///
    /// As the store answers, in the stream.
    pub fn stream_with_extra(&self) -> Result<BoxStream<'static, Result<SourcesWithExtra>>> {
        let naming = self.naming.clone();
        let both_of = move |batch: RecordBatch| {
            let batch = without_erased(batch);
            let sources = sources_of(&batch, &naming);
            let extra = StoredColumns(&batch).structs("extra").ok().cloned();
            std::future::ready(sources.map(|sources| (sources, extra)))
        };
        Ok(self.object.stream()?.and_then(both_of).boxed())
    }

    /// Streams all sources but those that were erased, in order of URI.
    ///
    /// # Errors
    ///
    /// As the store answers, in the stream.
    pub fn stream(&self) -> Result<BoxStream<'static, Result<Vec<Source>>>> {
        let naming = self.naming.clone();
        let all_of =
            move |batch: RecordBatch| std::future::ready(sources_of(&without_erased(batch), &naming));
        Ok(self.object.stream()?.and_then(all_of).boxed())
    }
}

/// Leaves out sources that were erased: they are in no order.
fn without_erased(batch: RecordBatch) -> RecordBatch {
    let Ok(uris) = StoredColumns(&batch).text("uri") else { return batch };
    let is_kept: BooleanArray = uris.iter().map(|uri| uri.map(|uri| !uri.starts_with(ERASED))).collect();
    if is_kept.true_count() == batch.num_rows() {
        return batch;
    }
    arrow::compute::filter_record_batch(&batch, &is_kept).expect("there is a value for each row")
}

fn sources_of(batch: &RecordBatch, naming: &Naming) -> Result<Vec<Source>> {
    let mut sources = Vec::with_capacity(batch.num_rows());
    append_sources(batch, naming, &mut sources)?;
    Ok(sources)
}

fn append_sources(batch: &RecordBatch, naming: &Naming, sources: &mut Vec<Source>) -> Result<()> {
    let columns = Columns::of(batch).map_err(|bad| damaged().because(bad))?;
    for row in 0..batch.num_rows() {
        let size = number_at(columns.sizes, row).map(u64::try_from).transpose();
        let survey = columns.surveys.and_then(|surveys| text_at(surveys, row));
        let survey = survey.map(serde_json::from_str::<SceneLayout>).transpose();
        let survey = survey.map_err(|cause| damaged().because(naming.cause(cause)))?;
        sources.push(Source {
            uri: naming.source(columns.uris.value(row)),
            version: text_at(columns.versions, row).map(Into::into),
            size_bytes: size.map_err(|cause| damaged().because(cause))?,
            survey: survey.map(|survey| survey.named(naming)),
            item: columns.items.and_then(|items| text_at(items, row)).map(Into::into),
        });
    }
    Ok(())
}

/// The columns of the table.
struct Columns<'a> {
    uris: &'a StringArray,
    versions: &'a StringArray,
    sizes: &'a Int64Array,
    /// Tables of older versions have none, nor items.
    surveys: Option<&'a StringArray>,
    items: Option<&'a StringArray>,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, BadColumn> {
        let stored = StoredColumns(batch);
        Ok(Self {
            uris: stored.text("uri")?,
            versions: stored.text("version")?,
            sizes: stored.numbers("size")?,
            surveys: stored.text("survey").ok(),
            items: stored.text("item").ok(),
        })
    }
}

fn damaged() -> Error {
    Error::config("sources.parquet is damaged")
}

fn concat_extra(batches: &[RecordBatch]) -> Result<Option<StructArray>> {
    let parts = batches.iter().filter_map(|batch| StoredColumns(batch).structs("extra").ok());
    let parts: Vec<&dyn Array> = parts.map(|extra| extra as &dyn Array).collect();
    if parts.is_empty() {
        return Ok(None);
    }
    let whole = arrow::compute::concat(&parts).map_err(bug)?;
    Ok(Some(whole.as_struct().clone()))
}

fn bug(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::bug("cannot write the table of sources").because(error)
}
