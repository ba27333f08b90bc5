//! SQL over an output, by DataFusion.
//!
//! Goes in: an [`Output`], local or remote, and a query. Comes out: record batches. It only reads.
//!
//! | table | rows |
//! |---|---|
//! | `tiles` | the newest of each tile among the runs that are current: see `output::current_rows`; `catalogue` makes the view |
//! | `tiles_all` | all committed rows, also of runs that are not complete, with the column `run` |
//! | `runs` | one per run |
//! | `predictions` | `tiles` that are `ok`, without the embedding |
//! | `rejects` | `tiles` that are `rejected`, with reason and detail |
//!
//! Files of whoever asks are tables beside them. Functions: [`cosine_similarity`](functions::CosineSimilarity),
//! [`mean_embedding`](mean::MeanEmbedding) and the table function `nearest('tile_id', k)`.

mod catalogue;
mod depth;
mod frozen;
pub mod functions;
mod geo;
mod geojson;
mod given;
pub mod mean;
mod members;
mod nearest;
mod scan;
pub mod show;
mod similarity;
mod target;
mod text_table;
mod vectors;

use std::any::Any;
use std::error::Error as StdError;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use parquet::errors::ParquetError;

use crate::input::storage::{Bucket, Storage};
use crate::output::{Output, ParquetObject, is_damaged};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::guard;

pub use depth::{MAX_BYTES, STACK_BYTES};
pub use given::Given;

/// Where the tables' files lie, for DataFusion: the output's own folder, wherever that is.
const ROOT: &str = "tilefleet://output";

/// An output that can be asked questions.
pub struct Queryable {
    context: SessionContext,
    /// What whoever asks should know of the output, such as runs that are not complete.
    pub notes: Vec<String>,
    bucket: Bucket,
    /// Keys and sizes in bytes of all files that a query may read.
    files: Vec<(String, u64)>,
}

impl Queryable {
    /// Lists the output and makes its tables known; no row is read.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if there is no run, `Unavailable` if nothing is committed yet.
    pub async fn open(output: &Output) -> Result<Self> {
        let mut config = SessionConfig::new().with_information_schema(true);
        // Answers are written to files, whose readers need not know views.
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        let parquet = &mut config.options_mut().execution.parquet;
        parquet.schema_force_view_types = false;
        // Embeddings are most of the bytes: read them only of the rows that are left.
        parquet.pushdown_filters = true;
        parquet.reorder_filters = true;
        let context = SessionContext::new_with_config(config);
        members::register(&context);
        context.register_udf(functions::CosineSimilarity::default().into());
        context.register_udaf(mean::MeanEmbedding::default().into());
        let (notes, shown, files) = catalogue::register(&context, output).await?;
        nearest::register(&context, shown).await.map_err(|cause| fault(&cause))?;
        Ok(Self { context, notes, bucket: output.bucket.clone(), files })
    }

    /// Makes a file known as a table of this query.
    ///
    /// # Errors
    ///
    /// `Usage` if its name is taken; `Config` if it is not a table; as the store answers.
    pub async fn add(&self, table: &Given, storage: &Storage) -> Result<()> {
        table.register(&self.context, storage).await
    }

    /// Plans a query and starts it; a statement that would change something is refused. Its threads, and
    /// the one that reads the answer, have stacks of [`STACK_BYTES`].
    ///
    /// # Errors
    ///
    /// `Usage` for what the query gets wrong, else as the store answers.
    pub async fn ask(&self, sql: &str) -> Result<SendableRecordBatchStream> {
        depth::check(sql)?;
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let asked = async { self.context.sql_with_options(sql, read_only).await?.execute_stream().await };
        asked.await.map_err(|cause| fault(&cause))
    }

    /// Looks for what made the engine fail: its libraries crash at a damaged footer. Other errors than
    /// bugs, and bugs for which no file is to blame, are returned as they are.
    pub async fn explain(&self, error: Error) -> Error {
        if error.kind() != Kind::Bug {
            return error;
        }
        for (key, size_bytes) in &self.files {
            match ParquetObject::open_indexed(&self.bucket, key, *size_bytes).await {
                Err(cause) if is_damaged(&cause) => return damaged(cause),
                _ => {}
            }
        }
        error
    }
}

/// Tells a wrong query from what went wrong while it ran: an error of our own, a store that is away,
/// a damaged file.
#[must_use]
pub fn fault(cause: &DataFusionError) -> Error {
    let root = cause.find_root();
    if let DataFusionError::External(cause) = root
        && let Some(ours) = cause.downcast_ref::<Error>()
    {
        return ours.again();
    }
    let said = root.strip_backtrace();
    match root {
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
            Error::unavailable("the query could not read the output")
                .because(said)
                .hint("check that the output can be reached, then run the query again")
        }
        DataFusionError::ParquetError(cause) if !computed(cause) => damaged(said),
        DataFusionError::ArrowError(cause, _) if !is_computation(cause) => damaged(said),
        DataFusionError::ResourcesExhausted(_) => Error::unavailable("the query needs more memory")
            .because(said)
            .hint("select fewer columns or rows"),
        DataFusionError::Internal(_) | DataFusionError::ExecutionJoin(_) => {
            Error::bug("the query engine failed").because(said)
        }
        _ if said.contains(" not supported: ") => Error::usage("the query is not valid")
            .because(said)
            .hint("queries are read-only: begin with SELECT, WITH, EXPLAIN, SHOW or DESCRIBE"),
        _ => Error::usage("the query is not valid").because(said).hint(
            "tables: tiles, tiles_all, runs, predictions, rejects; `SHOW COLUMNS FROM tiles` lists columns",
        ),
    }
}

/// Makes an error of a crash of the engine's.
#[must_use]
pub fn crash(payload: &(dyn Any + Send)) -> Error {
    Error::bug("the query engine failed")
        .because(guard::message(payload).to_owned())
        .hint("please report it with the query")
}

fn damaged(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::unavailable("the query could not read a file of the output")
        .because(cause)
        .hint("`tilefleet verify OUTPUT` shows which file is damaged")
}

/// Tells whether an error of the Parquet reader is one of the query's: it also evaluates filters.
fn computed(cause: &ParquetError) -> bool {
    match cause {
        ParquetError::External(cause) => cause.downcast_ref().is_some_and(is_computation),
        _ => false,
    }
}

/// Tells whether values were read and could not be computed with, as in a division by zero.
fn is_computation(cause: &ArrowError) -> bool {
    !matches!(cause, ArrowError::ParquetError(_) | ArrowError::IoError(..) | ArrowError::ExternalError(_))
}
