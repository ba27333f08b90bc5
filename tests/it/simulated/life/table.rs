//! The table, change by change, as somebody reads it who knows the formats and nothing of this crate.
//!
//! What must hold after each change: nothing that was written is overwritten, rows go only after their run's tombstone,
//! and no tile that a reader has seen vanishes or grows older, unless somebody deletes its run by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use arrow::array::{Array as _, AsArray, RecordBatch};
use arrow::datatypes::Float32Type;
use bytes::Bytes;
use object_store::PutResult;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use super::super::store::Observer;
use super::cast::embedding_of;

/// Where a row's run stands among the others: later is newer.
type Age = (String, u32);

/// A row as far as it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    tile: String,
    source: String,
    version: String,
    status: String,
    embedding: Option<Vec<f32>>,
}

/// What a tile's newest row is.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    age: Age,
    run: String,
    row: Row,
}

#[derive(Clone, Debug, Deserialize)]
struct Plan {
    shards: usize,
    tiles: usize,
}

#[derive(Clone, Debug, Deserialize)]
struct Record {
    as_of: String,
    origin: serde_json::Value,
    plan: Plan,
}

#[derive(Deserialize)]
struct Tombstone {
    why: serde_json::Value,
}

#[derive(Deserialize)]
struct Summary {
    ok: usize,
    skipped: usize,
    rejected: usize,
    tiles: usize,
}

/// One run, as far as it has come.
#[derive(Clone, Debug, Default)]
struct RunSeen {
    record: Option<Record>,
    is_deleted: bool,
    by_hand: bool,
    shards: BTreeMap<String, Arc<Vec<Row>>>,
}

impl RunSeen {
    fn is_complete(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.plan.shards == self.shards.len())
    }

    fn is_shown(&self) -> bool {
        !self.is_deleted && self.is_complete()
    }
}

/// All that lies in the store, and what was wrong with it at any time.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub objects: BTreeMap<String, Bytes>,
    runs: BTreeMap<String, RunSeen>,
    /// Versions of the inputs.
    inputs: BTreeMap<String, String>,
    shown: BTreeMap<String, Shown>,
    /// Which actor has put an object.
    put_by: BTreeMap<String, usize>,
    /// Runs that a command says it has deleted.
    said_deleted: BTreeSet<String>,
    pub violations: Vec<String>,
}

/// Sees each change of the store.
#[derive(Default)]
pub struct Table(Mutex<Seen>);

impl Table {
    pub fn of(seen: Seen) -> Self {
        Self(Mutex::new(seen))
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    pub fn violation(&self, what: String) {
        self.seen().violations.push(what);
    }
}

impl Observer for Table {
    fn put(&self, by: Option<usize>, key: &Path, bytes: &Bytes, answer: &PutResult) {
        let mut seen = self.seen();
        // What is carried out late is of a request that failed.
        match by {
            Some(actor) => seen.put_by.insert(key.to_string(), actor),
            None => seen.put_by.remove(key.as_ref()),
        };
        seen.put(key.as_ref(), bytes, answer);
    }

    fn deleted(&self, key: &Path) {
        self.seen().deleted(key.as_ref());
    }
}

/// What lies at a key of a run.
enum Part<'a> {
    /// Below its record.
    Record(&'a str, &'a str),
    /// Below its rows.
    Rows(&'a str, &'a str),
    Other,
}

fn part_of(key: &str) -> Part<'_> {
    let record = key.strip_prefix("table/_tilefleet/").and_then(|key| key.split_once('/'));
    let rows = key.strip_prefix("table/tiles/run=").and_then(|key| key.split_once('/'));
    match (record, rows) {
        (Some((run, name)), _) => Part::Record(run, name),
        (None, Some((run, name))) => Part::Rows(run, name),
        (None, None) => Part::Other,
    }
}

impl Seen {
    fn put(&mut self, key: &str, bytes: &Bytes, answer: &PutResult) {
        let before = self.objects.insert(key.to_owned(), bytes.clone());
        match part_of(key) {
            Part::Record(run, "run.json") => {
                let record = serde_json::from_slice(bytes).expect("it is the record of a run");
                self.runs.entry(run.to_owned()).or_default().record = Some(record);
            }
            Part::Record(run, "deleted.json") => {
                let tombstone: Tombstone = serde_json::from_slice(bytes).expect("it is a tombstone");
                let seen = self.runs.entry(run.to_owned()).or_default();
                seen.is_deleted = true;
                seen.by_hand = tombstone.why == "deleted";
            }
            Part::Rows(run, name) => {
                let rows = rows_of(bytes);
                self.runs.entry(run.to_owned()).or_default().shards.insert(name.to_owned(), rows);
            }
            Part::Record(..) => {}
            Part::Other => {
                if let Some(name) = key.strip_prefix("input/") {
                    let version = answer.e_tag.clone().expect("the store gives entity tags");
                    self.inputs.insert(name.to_owned(), version.replace('"', ""));
                    return;
                }
            }
        }
        // A summary is the same whoever writes it.
        if before.is_some_and(|before| before != *bytes) {
            self.violations.push(format!("{key} was overwritten"));
        }
        self.look(key);
    }

    fn deleted(&mut self, key: &str) {
        if self.objects.remove(key).is_none() {
            return;
        }
        match part_of(key) {
            Part::Record(run, "run.json") => {
                self.runs.entry(run.to_owned()).or_default().record = None;
            }
            Part::Record(_, "deleted.json") => {
                self.violations.push(format!("the tombstone {key} was deleted"));
            }
            Part::Rows(run, name) => {
                let seen = self.runs.entry(run.to_owned()).or_default();
                seen.shards.remove(name);
                if !seen.is_deleted {
                    self.violations.push(format!("{key} was deleted, and its run has no tombstone"));
                }
            }
            Part::Record(..) | Part::Other => {}
        }
        self.look(key);
    }

    /// Looks at what the table shows now, and what it has shown before.
    fn look(&mut self, key: &str) {
        let shown = self.newest();
        let given_up = match part_of(key) {
            Part::Record(run, "deleted.json") if self.runs[run].by_hand => Some(run),
            _ => None,
        };
        let mut wrong = Vec::new();
        for (tile, before) in &self.shown {
            let now = shown.get(tile);
            if now.is_none_or(|now| now.age < before.age) && given_up != Some(before.run.as_str()) {
                let now = now.map(|now| now.run.as_str());
                wrong.push(format!("{tile} of {} is shown by {now:?} after a change of {key}", before.run));
            }
            wrong.extend(now.and_then(|now| self.wrongly_copied(before, now)));
        }
        self.violations.extend(wrong);
        self.shown = shown;
    }

    /// Says that a compaction has changed a row.
    fn wrongly_copied(&self, before: &Shown, now: &Shown) -> Option<String> {
        let record = self.runs.get(&now.run)?.record.as_ref()?;
        let of = record.origin.pointer("/compaction/of")?.as_array()?;
        let copied = of.iter().any(|run| *run == *before.run);
        (copied && before.row != now.row && !self.any_by_hand())
            .then(|| format!("{} has {:?} instead of {:?} of {}", now.run, now.row, before.row, before.run))
    }

    fn any_by_hand(&self) -> bool {
        self.runs.values().any(|run| run.by_hand)
    }

    /// Returns the newest row of each tile.
    fn newest(&self) -> BTreeMap<String, Shown> {
        let mut newest: BTreeMap<String, Shown> = BTreeMap::new();
        for (id, run) in self.runs.iter().filter(|(_, run)| run.is_shown()) {
            let sequence = id.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            let as_of = run.record.as_ref().map_or_else(String::new, |record| record.as_of.clone());
            for row in run.shards.values().flat_map(|rows| rows.iter()) {
                let shown = Shown { age: (as_of.clone(), sequence), run: id.clone(), row: row.clone() };
                match newest.get(&row.tile) {
                    Some(known) if known.age > shown.age => {}
                    _ => drop(newest.insert(row.tile.clone(), shown)),
                }
            }
        }
        newest
    }

    /// Returns whether every shard of a run is there, or the run is deleted.
    pub fn is_done(&self, run: &str) -> bool {
        self.runs.get(run).is_some_and(|run| run.is_deleted || run.is_complete())
    }

    pub fn is_deleted(&self, run: &str) -> bool {
        self.runs.get(run).is_some_and(|run| run.is_deleted)
    }

    /// Notes that a command says it has deleted a run.
    pub fn says_deleted(&mut self, run: &str) {
        self.said_deleted.insert(run.to_owned());
    }

    /// Returns what is left of runs that commands say they have deleted, and was put by actors that nothing has happened
    /// to.
    pub fn left_without_reason(&self, has_failed: impl Fn(usize) -> bool) -> Vec<String> {
        let run_of = |key: &str| match part_of(key) {
            Part::Record(run, _) | Part::Rows(run, _) => run.to_owned(),
            Part::Other => String::new(),
        };
        let is_sound = |key: &String| self.put_by.get(key).is_some_and(|actor| !has_failed(*actor));
        let left = self.left_of_deleted().into_iter();
        left.filter(|key| is_sound(key) && self.said_deleted.contains(&run_of(key))).collect()
    }

    pub fn num_completed(&self) -> usize {
        self.runs.values().filter(|run| run.is_shown()).count()
    }

    pub fn num_deleted(&self) -> usize {
        self.runs.values().filter(|run| run.is_deleted).count()
    }

    /// Returns what is left of deleted runs.
    pub fn left_of_deleted(&self) -> Vec<String> {
        let is_left = |key: &&String| match part_of(key) {
            Part::Record(run, name) => self.is_deleted(run) && name != "deleted.json",
            Part::Rows(run, _) => self.is_deleted(run),
            Part::Other => false,
        };
        self.objects.keys().filter(is_left).cloned().collect()
    }

    /// Returns whether a run is planned, and not complete.
    pub fn has_open_run(&self) -> bool {
        self.runs.values().any(|run| !run.is_deleted && run.record.is_some() && !run.is_complete())
    }

    /// Says what is wrong once all is done.
    pub fn check_end(&self) -> Vec<String> {
        let mut wrong = self.violations.clone();
        wrong.extend(self.left_of_deleted().iter().map(|key| format!("{key} is left of a deleted run")));
        wrong.extend(self.runs.iter().filter_map(|(id, run)| self.check_run(id, run)));
        wrong.extend(self.check_inputs());
        wrong
    }

    fn check_run(&self, id: &str, run: &RunSeen) -> Option<String> {
        if run.is_deleted {
            return None;
        }
        let rows: Vec<&Row> = run.shards.values().flat_map(|rows| rows.iter()).collect();
        let tiles: BTreeSet<&str> = rows.iter().map(|row| row.tile.as_str()).collect();
        let planned = run.record.as_ref().map(|record| record.plan.tiles);
        if planned != Some(rows.len()) || tiles.len() != rows.len() || !run.is_complete() {
            return Some(format!(
                "{id} has {} rows of {} tiles, {planned:?} planned",
                rows.len(),
                tiles.len()
            ));
        }
        self.check_summary(id, &rows)
    }

    fn check_summary(&self, id: &str, rows: &[&Row]) -> Option<String> {
        let of = |status: &str| rows.iter().filter(|row| row.status == status).count();
        let bytes = self.objects.get(&format!("table/_tilefleet/{id}/summary.json"))?;
        let summary: Summary = serde_json::from_slice(bytes).expect("it is a summary");
        let said = [summary.tiles, summary.ok, summary.skipped, summary.rejected];
        let found = [rows.len(), of("ok"), of("skipped"), of("rejected")];
        (said != found).then(|| format!("the summary of {id} says {said:?}, its rows {found:?}"))
    }

    /// Compares the table with the inputs: each has one row, of its version, with its embedding.
    fn check_inputs(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, version) in &self.inputs {
            let source = format!("s3://simulated/input/{name}");
            let rows: Vec<&Row> =
                self.shown.values().map(|shown| &shown.row).filter(|row| row.source == source).collect();
            match rows[..] {
                [row] if row.version != *version => {
                    wrong.push(format!("{name} is shown as it was in version {}", row.version));
                }
                [row] if row.status == "ok" && row.embedding != Some(embedding_of(&row.tile, version)) => {
                    wrong.push(format!("{name} has the embedding {:?}", row.embedding));
                }
                [_] => {}
                _ => wrong.push(format!("{name} has {} current rows", rows.len())),
            }
        }
        wrong
    }
}

/// Reads a shard; the same bytes are read once for all schedules.
fn rows_of(file: &Bytes) -> Arc<Vec<Row>> {
    static KNOWN: OnceLock<Mutex<HashMap<u64, Arc<Vec<Row>>>>> = OnceLock::new();
    let mut hasher = DefaultHasher::new();
    file.hash(&mut hasher);
    let (known, digest) = (KNOWN.get_or_init(Mutex::default), hasher.finish());
    if let Some(rows) = known.lock().unwrap().get(&digest) {
        return Arc::clone(rows);
    }
    let rows = Arc::new(read(file));
    known.lock().unwrap().insert(digest, Arc::clone(&rows));
    rows
}

fn read(file: &Bytes) -> Vec<Row> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let names = ["tile_id", "source", "source_version", "status", "embedding"];
    let columns = parquet::arrow::ProjectionMask::columns(reader.parquet_schema(), names);
    let batches = reader.with_projection(columns).build().unwrap();
    batches.flat_map(|batch| rows_of_batch(&batch.unwrap())).collect()
}

fn rows_of_batch(batch: &RecordBatch) -> Vec<Row> {
    let text = |name: &str, row: usize| batch[name].as_string::<i32>().value(row).to_owned();
    let embeddings = batch["embedding"].as_fixed_size_list();
    let embedding = |row: usize| {
        let values = (!embeddings.is_null(row)).then(|| embeddings.value(row));
        values.map(|values| values.as_primitive::<Float32Type>().values().to_vec())
    };
    let row = |row| Row {
        tile: text("tile_id", row),
        source: text("source", row),
        version: text("source_version", row),
        status: text("status", row),
        embedding: embedding(row),
    };
    (0..batch.num_rows()).map(row).collect()
}
