//! A Parquet file in a bucket, read by row groups.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection, RowSelector};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use crate::input::storage::{Bucket, StoreError};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::guard;

/// Ranges closer than this are fetched with one request: the columns of a row group that is read whole lie side by side.
const MAX_GAP_BYTES: u64 = 4 * 1024;

/// A shard's footer and page index are mostly smaller, so that one request brings all of them.
const TAIL_BYTES: usize = 64 * 1024;

/// An object that could be read and is not the Parquet file it should be: it is cut off or altered.
///
/// It is the cause of the error that a reader returns; [`is_damaged`] finds it there.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Damaged(ParquetError);

/// Tells a damaged file from a file that could not be read, such as for want of permission.
#[must_use]
pub fn is_damaged(error: &Error) -> bool {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<Damaged>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// A Parquet file in a bucket with its footer read.
#[derive(Clone)]
pub struct ParquetObject {
    reader: Reader,
    metadata: ArrowReaderMetadata,
}

impl ParquetObject {
    /// Reads the footer of the file at `key`; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the object is not Parquet, see [`is_damaged`].
    pub async fn open(bucket: &Bucket, key: &str) -> Result<Option<Self>> {
        Self::open_with(bucket, key, ArrowReaderOptions::new()).await
    }

    /// As [`Self::open`], and reads where the pages begin: reads of a few rows then fetch only those
    /// that hold them.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_with_pages(bucket: &Bucket, key: &str) -> Result<Option<Self>> {
        Self::open_with(bucket, key, with_pages()).await
    }

    async fn open_with(bucket: &Bucket, key: &str, options: ArrowReaderOptions) -> Result<Option<Self>> {
        let size_bytes = match bucket.head(key).await {
            Ok(info) => info.size,
            Err(StoreError::Gone) => return Ok(None),
            Err(fault) => return Err(fault.into_error(key)),
        };
        Self::load(bucket, key, size_bytes, options).await.map(Some)
    }

    /// As [`Self::open`], for a file that was listed with this size, by one request less.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; `Unavailable` if the object is gone.
    pub async fn open_listed(bucket: &Bucket, key: &str, size_bytes: u64) -> Result<Self> {
        Self::load(bucket, key, size_bytes, ArrowReaderOptions::new()).await
    }

    /// As [`Self::open`], for a file that was listed with this size, and reads where the pages begin.
    ///
    /// # Errors
    ///
    /// As [`Self::open`]; `Unavailable` if the object is gone.
    pub async fn open_indexed(bucket: &Bucket, key: &str, size_bytes: u64) -> Result<Self> {
        Self::load(bucket, key, size_bytes, with_pages()).await
    }

    async fn load(bucket: &Bucket, key: &str, size_bytes: u64, options: ArrowReaderOptions) -> Result<Self> {
        let mut reader = Reader { bucket: bucket.clone(), key: key.into(), size_bytes };
        let footer = reader.get_metadata(Some(&options)).await.map_err(|error| unreadable(key, error))?;
        // arrow-ipc panics where the schema in a damaged footer names a type that there is not.
        let metadata = guard::catch_decoder_panic(|| Ok(ArrowReaderMetadata::try_new(footer, options)))
            .unwrap_or_else(|crash| Err(ParquetError::General(crash.detail)))
            .map_err(|error| unreadable(key, error))?;
        check_rows(metadata.metadata()).map_err(|error| unreadable(key, error))?;
        Ok(Self { reader, metadata })
    }

    /// Returns the object's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.reader.key
    }

    /// Returns the file's size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.reader.size_bytes
    }

    /// Says that the file is damaged, see [`is_damaged`].
    #[must_use]
    pub fn damaged(&self, what: &str) -> Error {
        unreadable(self.key(), ParquetError::General(what.to_owned()))
    }

    /// Returns the number of rows.
    #[must_use]
    pub fn num_rows(&self) -> u64 {
        self.parquet().file_metadata().num_rows().unsigned_abs()
    }

    /// Returns the file's metadata.
    #[must_use]
    pub fn parquet(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    /// Returns the Arrow schema.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// Returns the key-value metadata.
    #[must_use]
    pub fn key_values(&self) -> HashMap<String, String> {
        let pairs = self.parquet().file_metadata().key_value_metadata();
        pairs.into_iter().flatten().filter_map(|pair| Some((pair.key.clone(), pair.value.clone()?))).collect()
    }

    /// Returns `(rows, nulls)` of each row group of a column with one leaf, from the footer alone; `nulls`
    /// is `None` if the file does not say or has no such column.
    #[must_use]
    pub fn null_counts(&self, column: &str) -> Vec<(usize, Option<u64>)> {
        let leaves = self.parquet().file_metadata().schema_descr().columns();
        let leaf =
            leaves.iter().position(|leaf| leaf.path().parts().first().is_some_and(|root| root == column));
        let nulls_in = |group: &RowGroupMetaData| group.column(leaf?).statistics()?.null_count_opt();
        let groups = self.parquet().row_groups().iter();
        groups.map(|group| (group.num_rows() as usize, nulls_in(group))).collect()
    }

    /// Reads row groups, or `(skip, take)` rows of them.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the file is damaged or has no such row group.
    pub async fn read(&self, groups: Vec<usize>, rows: Option<(usize, usize)>) -> Result<Vec<RecordBatch>> {
        if groups.iter().any(|group| *group >= self.parquet().num_row_groups()) {
            return Err(Error::config(format!("{} has fewer row groups than expected", self.key())));
        }
        let mut builder = self.builder().with_row_groups(groups);
        if let Some((skip, take)) = rows {
            let selection = RowSelection::from(vec![RowSelector::skip(skip), RowSelector::select(take)]);
            builder = builder.with_row_selection(selection);
        }
        self.collect(builder).await
    }

    /// Reads some columns of the whole file.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the file is damaged, see [`is_damaged`].
    pub async fn read_columns(&self, names: &[&str]) -> Result<Vec<RecordBatch>> {
        self.collect(self.projected(names)).await
    }

    /// Reads some columns of `take` rows after the first `skip`.
    ///
    /// # Errors
    ///
    /// As [`Self::read_columns`].
    pub async fn read_slice(&self, names: &[&str], skip: usize, take: usize) -> Result<Vec<RecordBatch>> {
        let rows = RowSelection::from(vec![RowSelector::skip(skip), RowSelector::select(take)]);
        self.collect(self.projected(names).with_row_selection(rows)).await
    }

    /// Reads some columns of some rows, in the order of the file.
    ///
    /// - `rows`: rising numbers, counted from the file's first row
    ///
    /// # Errors
    ///
    /// As [`Self::read_columns`].
    pub async fn read_rows(&self, rows: &[usize], names: &[&str]) -> Result<Vec<RecordBatch>> {
        let ranges = rows.iter().map(|&row| row..row + 1);
        let selection = RowSelection::from_consecutive_ranges(ranges, self.num_rows() as usize);
        self.collect(self.projected(names).with_row_selection(selection)).await
    }

    /// Streams some columns of some rows of one row group, a hundred or so at a time.
    ///
    /// - `rows`: counted from the row group's first row
    ///
    /// # Errors
    ///
    /// `Config` if the file is damaged; as the store answers, in the stream.
    pub fn stream_rows(
        &self,
        group: usize,
        rows: Range<usize>,
        names: &[&str],
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let skip = RowSelector::skip(rows.start);
        let selection = RowSelection::from(vec![skip, RowSelector::select(rows.len())]);
        let builder = self.projected(names).with_row_groups(vec![group]).with_row_selection(selection);
        let key = self.reader.key.clone();
        let stream = builder.with_batch_size(128).build().map_err(|error| unreadable(&key, error))?;
        Ok(stream.map_err(move |error| unreadable(&key, error)).boxed())
    }

    /// Reads bytes of the file as they lie there.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn read_bytes(&self, range: Range<u64>) -> Result<Bytes> {
        self.reader.read(range).await
    }

    /// Streams all rows.
    ///
    /// # Errors
    ///
    /// `Config` if the file is damaged; as the store answers, in the stream.
    pub fn stream(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let key = self.reader.key.clone();
        let stream = self.builder().build().map_err(|error| unreadable(&key, error))?;
        Ok(stream.map_err(move |error| unreadable(&key, error)).boxed())
    }

    fn projected(&self, names: &[&str]) -> ParquetRecordBatchStreamBuilder<Reader> {
        let columns = self.parquet().file_metadata().schema_descr();
        self.builder().with_projection(ProjectionMask::columns(columns, names.iter().copied()))
    }

    fn builder(&self) -> ParquetRecordBatchStreamBuilder<Reader> {
        ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader.clone(), self.metadata.clone())
            .with_batch_size(8192)
    }

    async fn collect(&self, builder: ParquetRecordBatchStreamBuilder<Reader>) -> Result<Vec<RecordBatch>> {
        let stream = builder.build().map_err(|error| unreadable(self.key(), error))?;
        stream.try_collect().await.map_err(|error| unreadable(self.key(), error))
    }
}

/// Refuses a footer whose numbers of rows do not add up: they are what readers reckon with.
fn check_rows(file: &ParquetMetaData) -> std::result::Result<(), ParquetError> {
    let groups = file.row_groups().iter().map(|group| u64::try_from(group.num_rows()).ok());
    let total = groups.reduce(|total, rows| total?.checked_add(rows?)).unwrap_or(Some(0));
    if total != u64::try_from(file.file_metadata().num_rows()).ok() {
        return Err(ParquetError::General("its row groups do not have the stated numbers of rows".into()));
    }
    Ok(())
}

fn with_pages() -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional)
}

/// Keeps the store's own verdict where there is one, so that an outage stays exit 75; all else is
/// [`Damaged`].
fn unreadable(key: &str, error: ParquetError) -> Error {
    let damaged = |error| Error::config(format!("cannot read {key}: it is damaged")).because(Damaged(error));
    match error {
        ParquetError::External(cause) => match cause.downcast::<Error>() {
            Ok(error) => *error,
            Err(cause) => damaged(ParquetError::External(cause)),
        },
        error => damaged(error),
    }
}

/// Parquet's view of one object of a bucket.
#[derive(Clone)]
struct Reader {
    bucket: Bucket,
    key: Arc<str>,
    size_bytes: u64,
}

impl Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.bucket.get_range(&self.key, range.start, range.end - range.start).await;
        bytes.map_err(|fault| self.not_read(fault))
    }

    async fn read_all(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bytes = self.bucket.get_ranges(&self.key, ranges, MAX_GAP_BYTES).await;
        bytes.map_err(|fault| self.not_read(fault))
    }

    fn not_read(&self, fault: StoreError) -> Error {
        match fault {
            // It was there when it was listed or opened: whoever looks again finds out what became of it.
            StoreError::Gone => Error::unavailable(format!("{} has vanished", self.bucket.uri(&self.key)))
                .hint("it was listed before; try again"),
            fault => fault.into_error(&self.key),
        }
    }
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.read(range).await.map_err(|error| ParquetError::External(Box::new(error))) }.boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { self.read_all(&ranges).await.map_err(|error| ParquetError::External(Box::new(error))) }
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let size_bytes = self.size_bytes;
            let reader = ParquetMetaDataReader::new()
                .with_prefetch_hint(Some(TAIL_BYTES))
                .with_arrow_reader_options(options);
            let metadata = reader.load_and_finish(self, size_bytes).await?;
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    #[test]
    fn refused_access_is_no_damage() {
        let refused = Error::config("cannot read s3://b/k").because("access denied");
        let error = unreadable("k", ParquetError::External(Box::new(refused)));
        assert_eq!((error.kind(), is_damaged(&error)), (Kind::Config, false));
        let away = unreadable("k", ParquetError::External(Box::new(Error::unavailable("no answer"))));
        assert_eq!((away.kind(), is_damaged(&away)), (Kind::Unavailable, false));
    }

    /// Decompression reports through `io::Error`, which the store never does here.
    #[test]
    fn whatever_the_parquet_reader_says_is_damage() {
        let broken = std::io::Error::other("Unknown frame descriptor");
        for error in [ParquetError::EOF("cut off".into()), ParquetError::External(Box::new(broken))] {
            let text = error.to_string();
            let error = unreadable("k", error);
            assert!(is_damaged(&error) && error.render().contains(&text), "{}", error.render());
            assert!(is_damaged(&Error::config("outer").because(error)));
        }
    }
}
