//! Takes people out of an output: the rows of their sources in every run, and the URIs in the vault.
//!
//! ```text
//! PUT erasures/….json ─▶ for each run: vault's sources.parquet ─▶ the output's ─▶ shards, one by one ─▶ summary ─▶ verify
//! ```
//!
//! A row is not removed but emptied, to `skipped` with the reason `erased`: each planned tile keeps its row. Files are
//! replaced one by one, each as a whole; an erasure that is interrupted is finished by the next one, which begins with the
//! record. Copies elsewhere, and earlier versions that a bucket keeps, are out of reach.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray, StructArray};
use serde::Serialize;

use crate::config::Pipeline;
use crate::maintenance::rows::{Computed, RowReader};
use crate::maintenance::verify::{Depth, verify};
use crate::output;
use crate::output::provenance::{COUNTS, in_file};
use crate::output::sources::nulled;
use crate::output::summary::sum_up;
use crate::output::table::{self, ShardRows, StoredColumns, TableSpec, text_at};
use crate::output::{Output, ParquetObject, Run, RunId, RunState, Scope, Snapshot};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::{Counts, Outcome};
use crate::vocabulary::reason::Reason;

/// Whose rows are to be erased.
#[derive(Clone, Debug)]
pub struct Request {
    /// The column of the table that has the keys, such as `patient_key`, or `extra.NAME`.
    pub column: String,
    /// The keys.
    pub keys: BTreeSet<String>,
}

/// What erasing would do, or has done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Erased {
    /// Sources with a row that has one of the keys, in any run.
    pub sources: u64,
    /// Keys that no row has.
    pub unknown_keys: u64,
    /// What was done, run by run; empty if nothing was.
    pub runs: Vec<ErasedRun>,
}

/// What was erased of one run.
#[derive(Clone, Debug, Serialize)]
pub struct ErasedRun {
    /// The run.
    pub run_id: RunId,
    /// Rows that were emptied now.
    pub rows: u64,
    /// Files of the table that were replaced.
    pub files: u64,
}

/// Returns the names of the sources that have a row with one of the keys, and how many keys no row has.
///
/// # Errors
///
/// `Config` if no run has such a column of text, or sources have no pseudonyms; `Unavailable` if a run is not complete:
/// its workers would write such rows; as the store answers otherwise.
pub async fn find(output: &Output, request: &Request) -> Result<(BTreeSet<String>, u64)> {
    let runs = runs_of(output).await?;
    let (mut names, mut found, mut has_column) = (BTreeSet::new(), BTreeSet::new(), false);
    for run in &runs {
        for number in 0..run.num_shards() {
            let object = open(run, number).await?;
            if !has(&object, &request.column) {
                continue;
            }
            has_column = true;
            let root = request.column.split('.').next().unwrap_or(&request.column);
            for batch in object.read_columns(&["source", root]).await? {
                let damaged = |what: &str| Error::config(format!("{}: {what}", object.key()));
                let keys = column(&batch, &request.column)
                    .ok_or_else(|| damaged(&format!("the column `{}` is not text", request.column)))?;
                let sources =
                    StoredColumns(&batch).text("source").map_err(|bad| damaged(&bad.to_string()))?;
                for row in 0..batch.num_rows() {
                    if let Some(key) = text_at(keys, row).filter(|key| request.keys.contains(*key)) {
                        found.insert(key.to_owned());
                        names.insert(sources.value(row).to_owned());
                    }
                }
            }
        }
    }
    if !has_column {
        return Err(Error::config(format!("no run of {} has a column `{}`", output.uri, request.column))
            .hint("columns of a manifest are named as `extra.NAME`"));
    }
    Ok((names, (request.keys.len() - found.len()) as u64))
}

/// Erases these sources, and finishes erasures that were interrupted. Returns what was done of each run.
///
/// Memory: a shard with its embeddings and its encoded file, and the table of sources of a run.
///
/// # Errors
///
/// As [`find`]; `Bug` if a run is not verified afterwards.
pub async fn erase(output: &Output, names: &BTreeSet<String>) -> Result<Vec<ErasedRun>> {
    let _ = runs_of(output).await?;
    if !names.is_empty() {
        output.record_erasure(names).await?;
    }
    let all = Arc::new(output.erased().await?);
    let mut done: Vec<ErasedRun> = Vec::new();
    // A compaction that began before the record was written may have copied what was not erased yet.
    loop {
        let is_new = |run: &Run| done.iter().all(|done| done.run_id != run.id);
        let Some(run) = runs_of(output).await?.into_iter().find(is_new) else { return Ok(done) };
        done.push(erase_in(output, run, &all).await?);
    }
}

/// Returns the runs, all of them complete.
async fn runs_of(output: &Output) -> Result<Vec<Run>> {
    if !output.has_vault() || !output.naming.is_secret() {
        output.check_unlocked().await?;
        return Err(Error::config(format!("the sources in {} have no pseudonyms", output.uri)).hint(
            "nothing is erased where URIs are shown: `tilefleet runs OUTPUT delete` deletes whole runs",
        ));
    }
    let Snapshot { runs, .. } = output.snapshot(Scope::All).await?;
    let open = runs.iter().find(|standing| standing.completed().is_none());
    if let Some(open) = open {
        let id = open.run.id();
        return Err(Error::unavailable(format!("run {id} is not complete: its workers write rows")).hint(
            format!("finish it, or delete it: `tilefleet runs {} delete {id} --yes --force`", output.uri),
        ));
    }
    Ok(runs.iter().filter_map(RunState::completed).map(Run::handle).collect())
}

async fn open(run: &Run, number: u32) -> Result<ParquetObject> {
    let key = run.shard_key(number);
    let vanished = || Error::unavailable(format!("{key} has vanished")).hint("try again");
    ParquetObject::open(&run.output.bucket, &key).await?.ok_or_else(vanished)
}

fn has(object: &ParquetObject, name: &str) -> bool {
    let (root, child) = name.split_once('.').map_or((name, None), |(root, child)| (root, Some(child)));
    let Ok(field) = object.schema().field_with_name(root) else { return false };
    match (field.data_type(), child) {
        (arrow::datatypes::DataType::Struct(fields), Some(child)) => fields.find(child).is_some(),
        (_, child) => child.is_none(),
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StringArray> {
    match name.split_once('.') {
        None => batch.column_by_name(name)?.as_string_opt(),
        Some((root, child)) => {
            batch.column_by_name(root)?.as_struct_opt()?.column_by_name(child)?.as_string_opt()
        }
    }
}

async fn erase_in(output: &Output, run: Run, all: &Arc<BTreeSet<String>>) -> Result<ErasedRun> {
    let mut done = ErasedRun { run_id: run.id.clone(), rows: 0, files: 0 };
    let erased = run.sources.erase(all.clone()).await?;
    if erased.num_erased == 0 {
        return Ok(done);
    }
    let mut run = run;
    if erased.num_new > 0 {
        let vault = output.vault().await?;
        vault.bucket.put_replace(&vault.layout.sources(&run.id), erased.bytes).await?;
        run = reopened(output, &run.id).await?;
    }
    let names = output::sources::encode_names(&run.sources).await?;
    output.bucket.put_replace(&output.layout.sources(&run.id), names).await?;
    output.bucket.delete(&output.layout.summary(&run.id)).await?;
    let run = Arc::new(run);
    for number in 0..run.num_shards() {
        let rows = erase_in_shard(&run, number, all).await?;
        done.rows += rows;
        done.files += u64::from(rows > 0);
    }
    sum_up(&run).await?;
    verify(&run, Depth::Rows).await?.check()?;
    Ok(done)
}

async fn reopened(output: &Output, id: &RunId) -> Result<Run> {
    let gone = || Error::unavailable(format!("run {id} was deleted in the meantime")).hint("try again");
    Run::open(output, id).await?.ok_or_else(gone)
}

/// Empties the rows of a shard that are to be erased and are not; returns how many.
async fn erase_in_shard(run: &Arc<Run>, number: u32, all: &BTreeSet<String>) -> Result<u64> {
    let object = open(run, number).await?;
    let is_left = rows_left(&object, all).await?;
    let num_left = is_left.iter().filter(|left| **left).count() as u64;
    if num_left == 0 {
        return Ok(0);
    }
    let mut reader = RowReader::new(run.clone());
    let pipeline = Pipeline::recorded(&run.record.pipeline, &run.id.to_string())?;
    let spec = TableSpec::new(&run.record.model.contract, &pipeline, run.sources.extra_fields());
    let (mut rows, mut embeddings, mut extra) = (Vec::new(), Vec::new(), None);
    let (mut counts, mut computed) = (Counts::default(), Computed::default());
    for (at, tile) in run.shard(number).await?.tiles.iter().enumerate() {
        let next = embeddings.len() / spec.embedding_length;
        let mut copied = reader.read(number, at, tile, next, &mut computed).await?;
        extra = extra.or(copied.extra);
        if is_left.get(at).copied().unwrap_or(false) {
            copied.row.outcome = Outcome::Skipped { reason: Reason::Erased, detail: None };
            (copied.row.source_version, copied.row.geo) = (None, None);
            copied.row.medical = None;
        } else {
            embeddings.extend(copied.embedding);
        }
        counts.add(&copied.row.outcome);
        rows.push(copied.row);
    }
    // The table says by null that a row has no columns of a manifest.
    let extra = extra.map(|extra| nulled(&extra, |row| is_left.get(row).copied().unwrap_or(false)));
    let extra: Option<StructArray> = extra.filter(|_| spec.extra.is_some());
    let pairs = pairs(&object, &counts);
    let encode = move || {
        let rows = ShardRows { shard: number, rows: &rows, embeddings: &embeddings, extra: extra.as_ref() };
        table::encode(&spec, &rows, &pairs)
    };
    let encoded = tokio::task::spawn_blocking(encode).await;
    let bytes = encoded.map_err(|error| Error::bug("encoding crashed").because(error))??;
    run.output.bucket.put_replace(&run.shard_key(number), bytes).await?;
    Ok(num_left)
}

/// Returns of each row whether it is to be erased and is not.
async fn rows_left(object: &ParquetObject, all: &BTreeSet<String>) -> Result<Vec<bool>> {
    let mut is_left = Vec::new();
    for batch in object.read_columns(&["source", "reason"]).await? {
        let stored = StoredColumns(&batch);
        let damaged = |bad: table::BadColumn| Error::config(format!("{}: {bad}", object.key()));
        let sources = stored.text("source").map_err(damaged)?;
        let reasons = stored.text("reason").map_err(damaged)?;
        is_left.extend((0..batch.num_rows()).map(|row| {
            all.contains(sources.value(row)) && text_at(reasons, row) != Some(Reason::Erased.code())
        }));
    }
    Ok(is_left)
}

/// Returns what a file says of itself, with other counts.
fn pairs(object: &ParquetObject, counts: &Counts) -> Vec<(String, String)> {
    let written_anew = [COUNTS, "checksum", "schema_version"].map(in_file);
    let kept = object.key_values().into_iter().filter(|(key, _)| !written_anew.contains(key));
    let ours = kept.filter_map(|(key, value)| Some((key.strip_prefix("tilefleet.")?.to_owned(), value)));
    let counts = serde_json::to_string(counts).expect("counts are plain numbers and text");
    let mut pairs: Vec<_> = ours.chain([(COUNTS.to_owned(), counts)]).collect();
    pairs.sort();
    pairs
}
