//! Compares one embedding with all others, and keeps the best.
//!
//! ```text
//! files ─▶ footers, a few ahead ─▶ parts of some MiB ─▶ fetch and compare, several at once ─▶ the best k
//! ```
//!
//! Our own pages are read as they lie in the file ([`crate::output::table::StoredEmbeddings`]); what another writer
//! has laid out otherwise goes through Parquet's general reader. Memory: the parts under way, the best k,
//! and the footers of the files under way.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::thread::available_parallelism;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Fields};
use datafusion::common::runtime::SpawnedTask;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::fault;
use super::similarity::Direction;
use super::vectors::Vectors;
use crate::input::storage::Bucket;
use crate::output::ParquetObject;
use crate::output::table::{BadColumn, StoredColumns, StoredEmbeddings, StoredPart, tile_id_at};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::tile_id::TileId;

/// Read and compared in one go: worth a request, and few enough for several at once.
const PART_BYTES: u64 = 4 << 20;
/// Parts under way over a network, whose answers take a while.
const REMOTE_PARTS: usize = 16;
/// Files whose footers are read ahead.
const FILES_AHEAD: usize = 4;
const EMBEDDING: &str = "embedding";

/// One row that was compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hit {
    /// `None` where the cosine is not defined, because the embedding is zero.
    pub(super) similarity: Option<f32>,
    /// Number of the file.
    pub(super) file: usize,
    /// Number of the row in the file.
    pub(super) row: usize,
}

impl Hit {
    /// Orders the most similar first and what has no similarity last; of equals, as they lie in the table.
    fn rank(&self, other: &Self) -> Ordering {
        let similarity = |hit: &Self| hit.similarity.unwrap_or(f32::NEG_INFINITY);
        let by_place = || (self.file, self.row).cmp(&(other.file, other.row));
        similarity(other).total_cmp(&similarity(self)).then_with(by_place)
    }
}

/// The best so far, and some that may still drop out.
struct Best {
    keep: usize,
    hits: Vec<Hit>,
}

impl Best {
    /// Sorting out fewer is not worth it.
    const MIN_SLACK: usize = 1024;

    fn new(keep: usize) -> Self {
        Self { keep, hits: Vec::new() }
    }

    fn extend(&mut self, hits: impl IntoIterator<Item = Hit>) {
        self.hits.extend(hits);
        if self.hits.len() > self.keep.saturating_mul(2).max(Self::MIN_SLACK) {
            self.hits.select_nth_unstable_by(self.keep, Hit::rank);
            self.hits.truncate(self.keep);
        }
    }

    fn into_ranked(mut self) -> Vec<Hit> {
        self.hits.sort_unstable_by(Hit::rank);
        self.hits.truncate(self.keep);
        self.hits
    }
}

/// The files to scan.
pub(super) struct Files {
    bucket: Bucket,
    /// Columns that each has, beside the embedding.
    columns: Fields,
    all: Vec<File>,
}

struct File {
    key: String,
    size_bytes: u64,
    run: String,
    /// The tiles that count; `None`: all of them.
    shown: Option<Arc<HashSet<TileId>>>,
}

impl Files {
    pub(super) fn new(bucket: Bucket, columns: Fields) -> Self {
        Self { bucket, columns, all: Vec::new() }
    }

    pub(super) fn add(&mut self, key: &str, size_bytes: u64, run: &str, shown: Option<Arc<HashSet<TileId>>>) {
        self.all.push(File { key: key.to_owned(), size_bytes, run: run.to_owned(), shown });
    }

    /// Returns the run that wrote a file.
    pub(super) fn run(&self, file: usize) -> &str {
        &self.all[file].run
    }

    /// Reads some columns of some rows of one file; the rows rise.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the file is damaged.
    pub(super) async fn read_rows(
        &self,
        file: usize,
        rows: &[usize],
        columns: &[&str],
    ) -> Result<Vec<RecordBatch>> {
        let File { key, size_bytes, .. } = &self.all[file];
        ParquetObject::open_indexed(&self.bucket, key, *size_bytes).await?.read_rows(rows, columns).await
    }

    /// Returns the `count` rows whose embeddings are most like this one, best first.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if a file is damaged.
    pub(super) async fn best(&self, embedding: Vec<f32>, count: usize) -> Result<Vec<Hit>> {
        let query = Arc::new(Query { embedding, count });
        let at_once = if self.bucket.is_local() { num_cores() } else { num_cores().max(REMOTE_PARTS) };
        let files = stream::iter(0..self.all.len()).map(|file| self.open(file)).buffered(FILES_AHEAD);
        let parts = files.map_ok(|file| stream::iter(file.parts()).map(Ok)).try_flatten();
        let compared = parts.map_ok(|part| {
            let query = query.clone();
            async move { joined(SpawnedTask::spawn(async move { part.compare(&query).await })).await }
        });
        let kept =
            compared.try_buffer_unordered(at_once).try_fold(Best::new(count), async |mut best, hits| {
                best.extend(hits);
                Ok(best)
            });
        Ok(kept.await?.into_ranked())
    }

    async fn open(&self, number: usize) -> Result<Arc<Opened>> {
        let File { key, size_bytes, shown, .. } = &self.all[number];
        let object = ParquetObject::open_indexed(&self.bucket, key, *size_bytes).await?;
        self.check(&object)?;
        let shown = match shown {
            Some(shown) => Some(rows_of(&object, shown).await?),
            None => None,
        };
        Ok(Arc::new(Opened { number, object, shown }))
    }
}

impl Files {
    /// Refuses a file whose columns are not those of the table.
    fn check(&self, object: &ParquetObject) -> Result<()> {
        let schema = object.schema();
        let has = |field: &FieldRef| {
            schema.field_with_name(field.name()).is_ok_and(|found| found.data_type() == field.data_type())
        };
        let other = self.columns.iter().find(|field| !has(field)).map(|field| field.name().as_str());
        match other.or_else(|| schema.field_with_name(EMBEDDING).is_err().then_some(EMBEDDING)) {
            None => Ok(()),
            Some(name) => Err(Error::unavailable("the query could not read a file of the output")
                .because(format!("the column {name} of {} differs from the table's", object.key()))
                .hint("`tilefleet verify OUTPUT` shows which file is damaged")),
        }
    }
}

/// Returns the tiles of some rows.
pub(super) fn tile_ids(batch: &RecordBatch) -> Result<Vec<TileId>, BadColumn> {
    let ids = StoredColumns(batch).text("tile_id")?;
    (0..batch.num_rows()).map(|row| tile_id_at(ids, row)).collect()
}

/// Tells row by row whether its tile is among those shown.
async fn rows_of(object: &ParquetObject, shown: &HashSet<TileId>) -> Result<Vec<bool>> {
    let mut rows = Vec::new();
    for batch in object.read_columns(&["tile_id"]).await? {
        let ids = tile_ids(&batch).map_err(|bad| bad.in_shard(object.key()))?;
        rows.extend(ids.iter().map(|id| shown.contains(id)));
    }
    Ok(rows)
}

async fn joined<T: Send + 'static>(task: SpawnedTask<Result<T>>) -> Result<T> {
    let aborted = |cause| Error::bug("a part of the search did not finish").because(cause);
    task.join_unwind().await.map_err(aborted)?
}

fn num_cores() -> usize {
    available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What all embeddings are compared with.
struct Query {
    embedding: Vec<f32>,
    /// How many of the most similar to return.
    count: usize,
}

/// A file whose footer was read.
struct Opened {
    number: usize,
    object: ParquetObject,
    /// Row by row, whether it counts; `None`: all of them.
    shown: Option<Vec<bool>>,
}

/// Rows that are read and compared in one go.
struct Part {
    file: Arc<Opened>,
    group: usize,
    /// Number in the file of the row group's first row.
    first_row: usize,
    rows: PartRows,
}

enum PartRows {
    /// Pages of our layout, by all that the footer tells.
    Stored(StoredPart),
    /// Rows of the group that only a general reader can read.
    Other(Range<usize>),
}

impl Opened {
    fn parts(self: Arc<Self>) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut first_row = 0;
        for (group, metadata) in self.object.parquet().row_groups().iter().enumerate() {
            let num_rows = metadata.num_rows() as usize;
            let stored = StoredEmbeddings::of(self.object.parquet(), self.object.schema(), group);
            let rows = match stored {
                Some(stored) => stored.parts(PART_BYTES).into_iter().map(PartRows::Stored).collect(),
                None => vec![PartRows::Other(0..num_rows)],
            };
            parts.extend(rows.into_iter().map(|rows| Part { file: self.clone(), group, first_row, rows }));
            first_row += num_rows;
        }
        parts
    }
}

impl Part {
    /// Compares all rows of this part, and returns those that may be among the best.
    async fn compare(&self, query: &Query) -> Result<Vec<Hit>> {
        let rows = match &self.rows {
            PartRows::Stored(part) => match self.compare_stored(part, query).await? {
                Some(hits) => return Ok(hits),
                None => part.rows.clone(),
            },
            PartRows::Other(rows) => rows.clone(),
        };
        self.compare_others(rows, query).await
    }

    /// `None` if the pages are not of our layout after all.
    async fn compare_stored(&self, part: &StoredPart, query: &Query) -> Result<Option<Vec<Hit>>> {
        let bytes = self.file.object.read_bytes(part.bytes.clone()).await?;
        let direction = Direction::of(&query.embedding);
        let mut best = Best::new(query.count);
        if part.length() != direction.len() {
            return Err(self.other_length(part.length(), direction.len()));
        }
        let ours = part.visit(&bytes, |row, embedding| {
            let row = self.first_row + row;
            if let Some(embedding) = embedding.filter(|_| self.counts(row)) {
                best.extend([self.hit(row, direction.cosine(embedding))]);
            }
        });
        Ok(ours.then(|| best.into_ranked()))
    }

    async fn compare_others(&self, rows: Range<usize>, query: &Query) -> Result<Vec<Hit>> {
        let direction = Direction::of(&query.embedding);
        let mut best = Best::new(query.count);
        let mut row = self.first_row + rows.start;
        let mut batches = self.file.object.stream_rows(self.group, rows, &[EMBEDDING])?;
        while let Some(batch) = batches.try_next().await? {
            let vectors = Vectors::of_array(&batch[EMBEDDING], false).map_err(|cause| fault(&cause))?;
            for at in 0..batch.num_rows() {
                if let Some(embedding) = vectors.row(at).filter(|_| self.counts(row)) {
                    if embedding.len() != direction.len() {
                        return Err(self.other_length(embedding.len(), direction.len()));
                    }
                    best.extend([self.hit(row, direction.cosine(embedding))]);
                }
                row += 1;
            }
        }
        Ok(best.into_ranked())
    }

    fn counts(&self, row: usize) -> bool {
        self.file.shown.as_ref().is_none_or(|shown| shown.get(row).is_some_and(|shown| *shown))
    }

    fn hit(&self, row: usize, similarity: Option<f32>) -> Hit {
        Hit { similarity, file: self.file.number, row }
    }

    fn other_length(&self, found: usize, wanted: usize) -> Error {
        Error::config(format!("embeddings in {} have {found} values", self.file.object.key()))
            .because(format!("that of the tile has {wanted}, but one output has one length"))
            .hint("`tilefleet verify OUTPUT` shows which files do not belong there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_those_of_a_full_sort() {
        let similarity = |row: usize| (!row.is_multiple_of(7)).then(|| (row * 7919 % 1000) as f32 / 1000.0);
        let hits: Vec<Hit> =
            (0..5000).map(|row| Hit { similarity: similarity(row), file: row % 3, row }).collect();
        let mut sorted = hits.clone();
        sorted.sort_by(Hit::rank);
        assert_eq!(sorted[0].similarity, Some(0.999));
        assert_eq!(sorted.last().unwrap().similarity, None);
        for keep in [0, 1, 11, 2000, 9000] {
            let mut best = Best::new(keep);
            hits.chunks(600).for_each(|hits| best.extend(hits.iter().copied()));
            assert_eq!(best.into_ranked(), sorted[..keep.min(5000)]);
        }
    }
}
