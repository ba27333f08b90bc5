//! `nearest('tile_id', k)`: the tiles whose embeddings are most like that of one tile, or like a vector.
//!
//! ```text
//! tile id ─▶ its embedding ─▶ scan: every embedding, the best k stay ─▶ the other columns of those
//! ```
//!
//! In place of an id it takes a beginning of one that no other tile has, a subquery that gives an id or a
//! vector, or a list of numbers.
//!
//! `tiles` is asked as anybody would ask it for the first step and for what it shows; only the embeddings,
//! nearly all of the bytes, are read by a way of their own, see [`super::scan`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::{DataFrame, SessionContext, col, lit};

use super::fault;
use super::scan::{Files, Hit, tile_ids};
use super::target::Target;
use crate::input::storage::Bucket;
use crate::output::table::StoredColumns;
use crate::vocabulary::error::{Error, Result as OurResult};
use crate::vocabulary::tile_id::TileId;

/// What a neighbour says of itself, beside its run and its similarity; its centre where the table has it.
const COLUMNS: [&str; 11] =
    ["tile_id", "source", "level", "frame", "x", "y", "width", "height", "centre_lon", "centre_lat", "label"];
const CENTRE: [&str; 2] = ["centre_lon", "centre_lat"];
const RUN: &str = "run";
const SIMILARITY: &str = "similarity";

/// The files in which the rows of `tiles` lie.
pub(super) struct Shown {
    pub(super) bucket: Bucket,
    pub(super) runs: Vec<ShownRun>,
}

/// A run of which `tiles` shows any row.
pub(super) struct ShownRun {
    pub(super) id: String,
    /// Whether it shows all of them.
    pub(super) wholly: bool,
    /// Keys and sizes in bytes of its shards, in order.
    pub(super) shards: Vec<(String, u64)>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.runs.iter().map(|run| &run.id)).finish()
    }
}

/// Makes the function known; it looks at the table `tiles`.
pub(super) async fn register(context: &SessionContext, shown: Shown) -> Result<()> {
    let tiles = context.table("tiles").await?;
    let has = |name: &str| tiles.schema().has_column_with_unqualified_name(name);
    let names = COLUMNS.into_iter().filter(|name| !CENTRE.contains(name) || has(name));
    let column = |name: &str| tiles.schema().field_with_unqualified_name(name).cloned();
    let mut fields = names.chain([RUN]).map(column).collect::<Result<Vec<FieldRef>>>()?;
    fields.push(Arc::new(Field::new(SIMILARITY, DataType::Float32, true)));
    let schema = Arc::new(Schema::new(fields));
    context.register_udtf("nearest", Arc::new(Nearest { tiles, shown: shown.into(), schema }));
    Ok(())
}

#[derive(Debug)]
struct Nearest {
    tiles: DataFrame,
    shown: Arc<Shown>,
    schema: SchemaRef,
}

impl TableFunctionImpl for Nearest {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let (target, count) = match args.exprs() {
            [target, Expr::Literal(count, _)] => (Target::of(target)?, number(count)),
            _ => (None, None),
        };
        let (Some(target), Some(count)) = (target, count) else {
            return Err(DataFusionError::Plan(
                "nearest takes a tile id, a subquery that gives one, or a list of numbers, then the number of tiles: \
                 nearest('0123…', 10)"
                    .to_owned(),
            ));
        };
        let (tiles, shown, schema) = (self.tiles.clone(), self.shown.clone(), self.schema.clone());
        let search = Search { tiles, shown, schema: schema.clone(), target, count };
        let best_first = col(SIMILARITY).sort(false, false);
        let table = StreamingTable::try_new(schema, vec![Arc::new(search)])?;
        Ok(Arc::new(table.with_sort_order(vec![best_first])))
    }
}

fn number(value: &ScalarValue) -> Option<usize> {
    match value {
        ScalarValue::Int64(Some(number)) => usize::try_from(*number).ok(),
        ScalarValue::UInt64(Some(number)) => usize::try_from(*number).ok(),
        _ => None,
    }
}

/// One search, not yet begun.
#[derive(Clone, Debug)]
struct Search {
    tiles: DataFrame,
    shown: Arc<Shown>,
    schema: SchemaRef,
    target: Target,
    count: usize,
}

impl PartitionStream for Search {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let search = self.clone();
        let answer =
            async move { search.answer().await.map_err(|error| DataFusionError::External(error.into())) };
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::once(answer)))
    }
}

impl Search {
    async fn answer(&self) -> OurResult<RecordBatch> {
        let (itself, embedding) = self.target.resolve(&self.tiles).await?;
        let files = self.files().await?;
        // One more, because the tile itself is among them.
        let hits = files.best(embedding, self.count.saturating_add(1)).await?;
        self.rows(&files, &hits, itself.as_deref()).await
    }

    /// Names the files to scan, and which of their rows `tiles` shows.
    async fn files(&self) -> OurResult<Files> {
        let columns = self.schema.fields().iter().take(self.columns().count()).cloned().collect();
        let mut files = Files::new(self.shown.bucket.clone(), columns);
        for run in &self.shown.runs {
            let shown = if run.wholly { None } else { Some(Arc::new(self.tiles_of(&run.id).await?)) };
            for (key, size_bytes) in &run.shards {
                files.add(key, *size_bytes, &run.id, shown.clone());
            }
        }
        Ok(files)
    }

    /// Asks which tiles of a run are shown; needs 16 bytes of memory and a little more each.
    async fn tiles_of(&self, run: &str) -> OurResult<HashSet<TileId>> {
        let looked_up = async {
            let tiles = self.tiles.clone().filter(col(RUN).eq(lit(run)))?;
            tiles.select_columns(&["tile_id"])?.collect().await
        };
        let batches = looked_up.await.map_err(|cause| fault(&cause))?;
        let mut ids = HashSet::new();
        for batch in &batches {
            ids.extend(tile_ids(batch).map_err(|bad| damaged(run).because(bad))?);
        }
        Ok(ids)
    }

    /// Names the columns that are read from the files.
    fn columns(&self) -> impl Iterator<Item = &str> {
        let names = self.schema.fields().iter().map(|field| field.name().as_str());
        names.filter(|name| ![RUN, SIMILARITY].contains(name))
    }

    /// Reads the other columns of what was found; the tile itself is left out.
    async fn rows(&self, files: &Files, hits: &[Hit], itself: Option<&str>) -> OurResult<RecordBatch> {
        let columns: Vec<&str> = self.columns().collect();
        let mut by_file: HashMap<usize, Vec<usize>> = HashMap::new();
        for hit in hits {
            by_file.entry(hit.file).or_default().push(hit.row);
        }
        let mut batches = Vec::new();
        let mut places = HashMap::new();
        for (file, mut rows) in by_file {
            rows.sort_unstable();
            let mut numbers = rows.iter();
            for batch in files.read_rows(file, &rows, &columns).await? {
                let places_of = (0..batch.num_rows()).zip(numbers.by_ref());
                places.extend(places_of.map(|(at, &row)| ((file, row), (batches.len(), at))));
                batches.push(with_run(&batch, &columns, files.run(file)).map_err(unexpected)?);
            }
        }
        let place = |hit: &Hit| Some((*places.get(&(hit.file, hit.row))?, hit.similarity));
        let ids = batches.iter().map(|batch| StoredColumns(batch).text("tile_id"));
        let ids = ids.collect::<Result<Vec<_>, _>>().map_err(unexpected)?;
        let is_itself = |(batch, at): (usize, usize)| Some(ids[batch].value(at)) == itself;
        let ranked = hits.iter().filter_map(place).filter(|(place, _)| !is_itself(*place));
        let ranked = ranked.take(self.count);
        let (order, similarities): (Vec<_>, Vec<_>) = ranked.unzip();
        self.ranked(&batches, &order, similarities).map_err(unexpected)
    }

    fn ranked(
        &self,
        batches: &[RecordBatch],
        order: &[(usize, usize)],
        similarities: Vec<Option<f32>>,
    ) -> Result<RecordBatch, ArrowError> {
        if order.is_empty() {
            return Ok(RecordBatch::new_empty(self.schema.clone()));
        }
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        let rows = interleave_record_batch(&batches, order)?;
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(Float32Array::from(similarities)));
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

/// Puts the columns into their order and adds the run.
fn with_run(batch: &RecordBatch, columns: &[&str], run: &str) -> Result<RecordBatch, ArrowError> {
    let run: ArrayRef = Arc::new(StringArray::from_iter_values(std::iter::repeat_n(run, batch.num_rows())));
    let columns = columns.iter().map(|&name| (name, batch[name].clone(), true)).chain([(RUN, run, true)]);
    RecordBatch::try_from_iter_with_nullable(columns)
}

fn damaged(run: &str) -> Error {
    Error::config(format!("the rows of run {run} are damaged"))
        .hint("`tilefleet verify OUTPUT` shows which file is damaged")
}

fn unexpected(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::bug("cannot join the nearest tiles").because(cause)
}
