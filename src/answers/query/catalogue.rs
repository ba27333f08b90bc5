//! Makes the tables of an output known to DataFusion.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::prelude::SessionContext;

use super::frozen::Frozen;
use super::nearest::{Shown, ShownRun};
use super::{ROOT, fault};
use crate::output::current_rows::{CurrentRows, Replaced, how_to_accept, waiting};
use crate::output::{Layout, Output, ParquetObject, Run, RunId, RunState, Scope, Snapshot};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::{counted_of, form};

/// Run and source of rows that newer runs replace.
const REPLACED: &str = "tilefleet_replaced";
/// Run and tile of rows that newer retries replace.
const RETRIED: &str = "tilefleet_retried";
const PLACE: &str = "run, tile_id, source, source_version, level, frame, x, y, width, height";

/// Registers all tables; returns what whoever asks should know, where the rows of `tiles` lie, and keys and
/// sizes of all files.
///
/// What the tables hold is decided here: runs that are planned, committed or deleted later change nothing.
pub(super) async fn register(
    context: &SessionContext,
    output: &Output,
) -> Result<(Vec<String>, Shown, Vec<(String, u64)>)> {
    let (snapshot, newest, waiting) = output
        .consistently(Scope::All, async |snapshot: Snapshot| {
            let newest = CurrentRows::of(&snapshot).await?;
            let waiting = waiting(&snapshot, &newest.withheld).await?;
            Ok((snapshot, newest, waiting))
        })
        .await?;
    if snapshot.runs.is_empty() {
        return Err(snapshot.nothing(output, None));
    }
    let first = snapshot.runs.iter().find_map(|standing| {
        let shard = standing.found.shards.first()?.number;
        Some((standing.run.planned()?, shard))
    });
    let Some((run, shard)) = first else {
        let uri = &output.uri;
        return Err(Error::unavailable(format!("nothing is committed in {uri} yet")).hint(format!(
            "`tilefleet status {uri}` shows the progress of its runs; run the pipeline to resume"
        )));
    };
    let root = ObjectStoreUrl::parse(ROOT).map_err(|cause| fault(&cause))?;
    let files = output.bucket.folder(output.uri.key()).await?;
    context.register_object_store(root.as_ref(), Arc::new(Frozen::new(files, &snapshot)));
    tiles_all(context, run, shard).await?;
    register_batch(context, "runs", runs(&snapshot.runs, &newest)?)?;
    tiles(context, &newest).await?;
    let notes = snapshot.runs.iter().filter_map(|standing| note(output, standing, &waiting)).collect();
    let shown = Shown { bucket: output.bucket.clone(), runs: shown(&snapshot, &newest) };
    Ok((notes, shown, files_of(&snapshot)))
}

/// Names all committed files, with their sizes in bytes.
fn files_of(snapshot: &Snapshot) -> Vec<(String, u64)> {
    let files_of = |standing: &RunState| {
        let run = standing.run.planned()?;
        let shards = standing.found.shards.iter();
        Some(shards.map(|shard| (run.shard_key(shard.number), shard.size_bytes)).collect::<Vec<_>>())
    };
    snapshot.runs.iter().filter_map(files_of).flatten().collect()
}

/// Names the files in which the rows of `tiles` lie.
fn shown(snapshot: &Snapshot, newest: &CurrentRows) -> Vec<ShownRun> {
    let shown = |standing: &RunState| {
        let run = standing.run.planned()?;
        let replaced = newest.runs.get(&run.id)?;
        let shards = standing.found.shards.iter();
        Some(ShownRun {
            id: run.id.to_string(),
            wholly: *replaced == Replaced::default(),
            shards: shards.map(|shard| (run.shard_key(shard.number), shard.size_bytes)).collect(),
        })
    };
    snapshot.runs.iter().filter_map(shown).collect()
}

/// - `waiting`: the runs of which `tiles` would show rows if they were accepted
fn note(output: &Output, standing: &RunState, waiting: &BTreeSet<RunId>) -> Option<String> {
    let id = standing.run.id();
    if waiting.contains(id) {
        let how = how_to_accept(&output.uri, id);
        return Some(format!("run {id} has too many rejects, so only `tiles_all` shows it; {how}"));
    }
    let open = standing.run.planned().filter(|_| standing.completed().is_none())?;
    let committed = standing.found.shards.len() as u64;
    Some(format!(
        "run {} is not complete: {} {} committed, so only `tiles_all` shows {}",
        open.id,
        counted_of(committed, open.num_shards().into(), "shard"),
        form(committed, "is", "are"),
        form(committed, "it", "them")
    ))
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

async fn tiles(context: &SessionContext, newest: &CurrentRows) -> Result<()> {
    let runs: Vec<String> = newest.runs.keys().map(|run| format!("'{run}'")).collect();
    let mut shown =
        if runs.is_empty() { "false".to_owned() } else { format!("run IN ({})", runs.join(", ")) };
    let replaced = newest.runs.iter().flat_map(|(run, rows)| rows.sources.iter().map(move |it| (run, &**it)));
    shown += &still_newest(context, REPLACED, "source", replaced)?;
    let tiles = newest.runs.iter().flat_map(|(run, rows)| rows.tiles.iter().map(move |it| (run, it)));
    let tiles: Vec<(&RunId, String)> = tiles.map(|(run, tile)| (run, tile.to_string())).collect();
    shown += &still_newest(context, RETRIED, "tile_id", tiles.iter().map(|(run, tile)| (*run, &**tile)))?;
    let views = [
        format!("CREATE VIEW tiles AS SELECT * FROM tiles_all WHERE {shown}"),
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

/// Registers which rows are replaced, named by run and the column `key`; returns the condition that leaves
/// them out.
fn still_newest<'a>(
    context: &SessionContext,
    name: &str,
    key: &str,
    replaced: impl Iterator<Item = (&'a RunId, &'a str)>,
) -> Result<String> {
    let (runs, keys): (Vec<String>, Vec<&str>) = replaced.map(|(run, key)| (run.to_string(), key)).unzip();
    if runs.is_empty() {
        return Ok(String::new());
    }
    let runs = Arc::new(StringArray::from(runs)) as ArrayRef;
    register_batch(context, name, batch([("run", runs), (key, Arc::new(StringArray::from(keys)))])?)?;
    Ok(format!(
        " AND NOT EXISTS (SELECT 1 FROM {name} AS newer \
         WHERE newer.run = tiles_all.run AND newer.{key} = tiles_all.{key})"
    ))
}

fn runs(standings: &[RunState], newest: &CurrentRows) -> Result<RecordBatch> {
    let planned = || standings.iter().map(|standing| standing.run.planned());
    let text = |value: fn(&Run) -> &str| -> ArrayRef {
        Arc::new(planned().map(|run| run.map(value)).collect::<StringArray>())
    };
    let number = |value: fn(&Run) -> u64| -> ArrayRef {
        Arc::new(planned().map(|run| run.map(|run| value(run) as i64)).collect::<Int64Array>())
    };
    let words = |word: fn(&RunState) -> Option<String>| -> ArrayRef {
        Arc::new(standings.iter().map(word).collect::<StringArray>())
    };
    let complete: BooleanArray = standings.iter().map(|it| Some(it.completed().is_some())).collect();
    let accepted: BooleanArray =
        standings.iter().map(|it| Some(!newest.withheld.contains(it.run.id()))).collect();
    let committed: Int64Array = standings.iter().map(|it| Some(it.found.shards.len() as i64)).collect();
    batch([
        ("run", words(|standing| Some(standing.run.id().to_string()))),
        ("complete", Arc::new(complete)),
        ("accepted", Arc::new(accepted)),
        ("origin", words(|standing| Some(standing.run.origin().name().to_owned()))),
        ("planned_at", words(|standing| Some(standing.run.planned()?.planned_at().to_string()))),
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
        .map_err(|cause| Error::bug("cannot build the table of the runs").because(cause))
}

fn register_batch(context: &SessionContext, name: &str, batch: RecordBatch) -> Result<()> {
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(|cause| fault(&cause))?;
    context.register_table(name, Arc::new(table)).map(|_| ()).map_err(|cause| fault(&cause))
}
