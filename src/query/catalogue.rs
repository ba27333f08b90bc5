//! Makes the tables of an output known to DataFusion.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;

use super::newest::Newest;
use super::{ROOT, fault};
use crate::error::{Error, Result};
use crate::plan::{KnownRun, Layout, Output, ParquetObject, Run};

/// Run and source of rows that newer runs replace.
const REPLACED: &str = "tilefleet_replaced";
const PLACE: &str = "run, tile_id, source, source_version, level, frame, x, y, width, height";

/// Registers all tables; returns what whoever asks should know.
pub(super) async fn register(context: &SessionContext, output: &Output) -> Result<Vec<String>> {
    // The table before the runs, see `Output::table`.
    let mut table = output.table(None).await?;
    let mut known = Vec::new();
    for run in output.runs(None).await? {
        let committed = match &run {
            KnownRun::Planned(run) => run.committed_in(&mut table).shards,
            KnownRun::Planning(_) => Vec::new(),
        };
        known.push((run, committed));
    }
    if known.is_empty() {
        return Err(output.no_run(None));
    }
    let first = known.iter().find_map(|(run, committed)| match run {
        KnownRun::Planned(run) => Some((run, committed.first()?.number)),
        KnownRun::Planning(_) => None,
    });
    let Some((run, shard)) = first else {
        return Err(Error::unavailable(format!("nothing is committed in {} yet", output.uri))
            .hint("`tilefleet status OUTPUT` tells how far its runs are; run the pipeline to go on"));
    };
    let root = ObjectStoreUrl::parse(ROOT).map_err(|cause| fault(&cause))?;
    context.register_object_store(root.as_ref(), output.bucket.folder(output.uri.key()).await?);
    tiles_all(context, run, shard).await?;
    let states: Vec<State<'_>> = known.iter().map(|(run, shards)| State::of(run, shards.len())).collect();
    register_batch(context, "runs", runs(&states)?)?;
    let completed: Vec<&Run> = states.iter().filter_map(State::completed).collect();
    tiles(context, &Newest::of(output, &completed).await?).await?;
    Ok(states.iter().filter_map(State::note).collect())
}

/// A run and how much of it is committed.
struct State<'a> {
    id: String,
    run: Option<&'a Run>,
    committed: usize,
}

impl<'a> State<'a> {
    fn of(run: &'a KnownRun, committed: usize) -> Self {
        match run {
            KnownRun::Planned(run) => Self { id: run.id.to_string(), run: Some(run), committed },
            KnownRun::Planning(id) => Self { id: id.to_string(), run: None, committed },
        }
    }

    fn completed(&self) -> Option<&'a Run> {
        self.run.filter(|run| run.num_shards() as usize == self.committed)
    }

    fn note(&self) -> Option<String> {
        let open = self.run.filter(|_| self.completed().is_none())?;
        Some(format!(
            "run {} is not complete: {} of its {} shards are committed, and only `tiles_all` shows them",
            self.id,
            self.committed,
            open.num_shards()
        ))
    }
}

/// Registers all committed files; the schema is that of one shard, as one output has one.
async fn tiles_all(context: &SessionContext, run: &Run, shard: u32) -> Result<()> {
    let key = run.shard_key(shard);
    let Some(file) = ParquetObject::open(&run.output.bucket, &key).await? else {
        return Err(Error::unavailable(format!("{key} has vanished")).hint("ask again"));
    };
    let schema = Arc::new(Schema::new(file.schema().fields().clone()));
    let options = ListingOptions::new(Arc::new(ParquetFormat::default()))
        .with_file_extension(".parquet")
        .with_table_partition_cols(vec![("run".to_owned(), DataType::Utf8)]);
    let register = || {
        let folder = ListingTableUrl::parse(format!("{ROOT}/{}", Layout::new("").table()))?;
        let config = ListingTableConfig::new(folder).with_listing_options(options).with_schema(schema);
        context.register_table("tiles_all", Arc::new(ListingTable::try_new(config)?))
    };
    register().map(|_| ()).map_err(|cause| fault(&cause))
}

async fn tiles(context: &SessionContext, newest: &Newest) -> Result<()> {
    let runs: Vec<String> = newest.runs.iter().map(|run| format!("'{run}'")).collect();
    let shown = if runs.is_empty() { "false".to_owned() } else { format!("run IN ({})", runs.join(", ")) };
    let still_newest = if newest.replaced.is_empty() {
        String::new()
    } else {
        register_batch(context, REPLACED, replaced(newest)?)?;
        format!(
            " AND NOT EXISTS (SELECT 1 FROM {REPLACED} AS newer \
             WHERE newer.run = tiles_all.run AND newer.source = tiles_all.source)"
        )
    };
    let views = [
        format!("CREATE VIEW tiles AS SELECT * FROM tiles_all WHERE {shown}{still_newest}"),
        format!(
            "CREATE VIEW predictions AS SELECT {PLACE}, class_id, label, score, top_k \
             FROM tiles WHERE status = 'ok'"
        ),
        format!("CREATE VIEW rejects AS SELECT {PLACE}, reason, detail FROM tiles WHERE status = 'rejected'"),
    ];
    for view in views {
        context.sql(&view).await.map_err(|cause| fault(&cause))?;
    }
    Ok(())
}

fn replaced(newest: &Newest) -> Result<RecordBatch> {
    let runs: StringArray = newest.replaced.iter().map(|(run, _)| Some(run)).collect();
    let sources: StringArray = newest.replaced.iter().map(|(_, source)| Some(source)).collect();
    batch([("run", Arc::new(runs) as ArrayRef), ("source", Arc::new(sources))])
}

fn runs(states: &[State<'_>]) -> Result<RecordBatch> {
    let text = |value: fn(&Run) -> &str| -> ArrayRef {
        Arc::new(states.iter().map(|state| state.run.map(value)).collect::<StringArray>())
    };
    let number = |value: fn(&Run) -> u64| -> ArrayRef {
        Arc::new(states.iter().map(|state| state.run.map(|run| value(run) as i64)).collect::<Int64Array>())
    };
    let ids: StringArray = states.iter().map(|state| Some(&state.id)).collect();
    let complete: BooleanArray = states.iter().map(|state| Some(state.completed().is_some())).collect();
    let committed: Int64Array = states.iter().map(|state| Some(state.committed as i64)).collect();
    batch([
        ("run", Arc::new(ids) as ArrayRef),
        ("complete", Arc::new(complete)),
        ("sources", number(|run| run.record.plan.sources)),
        ("tiles", number(|run| run.record.plan.tiles)),
        ("shards", number(|run| u64::from(run.record.plan.shards))),
        ("committed_shards", Arc::new(committed)),
        ("model", text(|run| &run.record.model.contract.name)),
        ("model_file", text(|run| &run.record.model.file)),
        ("model_digest", text(|run| &run.record.model.digest)),
        ("fingerprint", text(|run| &run.record.fingerprint)),
        ("tool_version", text(|run| &run.record.tool_version)),
    ])
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch> {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true)))
        .map_err(|cause| Error::bug("cannot make a table of the runs").because(cause))
}

fn register_batch(context: &SessionContext, name: &str, batch: RecordBatch) -> Result<()> {
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(|cause| fault(&cause))?;
    context.register_table(name, Arc::new(table)).map(|_| ()).map_err(|cause| fault(&cause))
}
