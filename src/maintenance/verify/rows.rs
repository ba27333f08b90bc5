//! One committed shard against its part of the plan.

use std::collections::HashMap;

use arrow::array::{Int32Array, RecordBatch, StringArray};

use super::Verdict;
use super::plan::Planned;
use crate::output::provenance::{COUNTS, FINGERPRINT, PLAN_DIGEST, RUN_ID, SHARD, in_file};
use crate::output::table::{BadColumn, StoredColumns, text_at};
use crate::output::{ParquetObject, Run};
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::reason::Reason;
use crate::vocabulary::words::{counted, form};

/// Checks a committed shard: it is of this run and plan, its rows are its planned tiles in order, and
/// its outcomes hold together. Reads the columns of identity and outcome; of embeddings only the number
/// of nulls.
///
/// # Errors
///
/// As the store answers, a damaged file included.
pub(super) async fn check_shard(
    run: &Run,
    number: u32,
    planned: &[Planned],
    verdict: &mut Verdict,
) -> Result<()> {
    let key = run.shard_key(number);
    let Some(object) = ParquetObject::open(&run.output.bucket, &key).await? else {
        verdict.violation(format!("{key} was listed, but does not exist any more"));
        return Ok(());
    };
    let batches = object.read_columns(&["tile_id", "source", "shard", "status", "reason"]).await?;
    let metadata = object.key_values();
    check_provenance(run, number, &key, &metadata, verdict);

    let mut shard = ShardCheck {
        key: &key,
        number,
        planned: planned.iter(),
        counts: Counts::default(),
        is_ok: Vec::with_capacity(planned.len()),
        verdict,
    };
    for batch in &batches {
        shard.follow(batch);
    }
    shard.finish(&object, &metadata);
    Ok(())
}

fn check_provenance(
    run: &Run,
    number: u32,
    key: &str,
    metadata: &HashMap<String, String>,
    verdict: &mut Verdict,
) {
    let expected = [
        (RUN_ID, run.id.to_string()),
        (FINGERPRINT, run.record.fingerprint.clone()),
        (PLAN_DIGEST, run.record.plan.digest.clone()),
        (SHARD, number.to_string()),
    ];
    for (name, expected) in expected {
        let name = in_file(name);
        let found = metadata.get(&name).map_or("", String::as_str);
        if found != expected {
            verdict.violation(format!("{key}: {name} is `{found}`, expected `{expected}`"));
        }
    }
}

/// Follows a shard from its first row to its last.
struct ShardCheck<'a> {
    key: &'a str,
    number: u32,
    /// The tiles whose rows are still to come.
    planned: std::slice::Iter<'a, Planned>,
    counts: Counts,
    /// Whether each row so far says `ok`.
    is_ok: Vec<bool>,
    verdict: &'a mut Verdict,
}

impl ShardCheck<'_> {
    fn violation(&mut self, what: &str) {
        self.verdict.violation(format!("{}: {what}", self.key));
    }

    /// Takes the next rows.
    fn follow(&mut self, batch: &RecordBatch) {
        let columns = match Columns::of(batch) {
            Ok(columns) => columns,
            Err(bad) => return self.violation(&bad.to_string()),
        };
        for row in 0..batch.num_rows() {
            self.check_place(&columns, row);
            self.check_outcome(&columns, row);
        }
    }

    /// Holds a row's identity against the tile that is planned there.
    fn check_place(&mut self, columns: &Columns<'_>, row: usize) {
        let id = columns.tile_ids.value(row);
        match self.planned.next() {
            None => self.violation(&format!("tile {id} is not in the plan of this shard")),
            Some(Planned { tile, .. }) if tile.id.to_string() != id => {
                self.violation(&format!("row for tile {id} where {} is planned", tile.id));
            }
            Some(Planned { uri: Some(uri), .. }) if uri.name() != columns.sources.value(row) => {
                self.violation(&format!("the source of tile {id} differs from the plan"));
            }
            Some(_) => {}
        }
        let shard = columns.shards.value(row);
        if i64::from(shard) != i64::from(self.number) {
            self.violation(&format!("tile {id} has shard {shard}"));
        }
    }

    fn check_outcome(&mut self, columns: &Columns<'_>, row: usize) {
        let status = columns.statuses.value(row);
        let reason = text_at(columns.reasons, row);
        self.verdict.rows += 1;
        self.is_ok.push(status == "ok");
        if let Err(what) = count_row(status, reason, &mut self.counts) {
            self.violation(&format!("tile {} {what}", columns.tile_ids.value(row)));
        }
    }

    /// Compares the whole shard with the plan and with what its footer says.
    fn finish(mut self, object: &ParquetObject, metadata: &HashMap<String, String>) {
        let missing = self.planned.len();
        if missing > 0 {
            let missing = missing as u64;
            let (tiles, have) = (counted(missing, "planned tile"), form(missing, "has", "have"));
            self.violation(&format!("{tiles} {have} no row"));
        }
        let stated = metadata.get(&in_file(COUNTS)).and_then(|counts| serde_json::from_str(counts).ok());
        if stated.as_ref() != Some(&self.counts) {
            self.violation("its counts do not match its rows");
        }
        self.check_embeddings(&object.null_counts("embedding"));
        self.verdict.counts.merge(&self.counts);
    }

    /// Checks that as many rows of each row group have an embedding as say `ok`.
    fn check_embeddings(&mut self, groups: &[(usize, Option<u64>)]) {
        let mut first = 0;
        for (number, (num_rows, num_nulls)) in groups.iter().enumerate() {
            let rows = self.is_ok.iter().skip(first).take(*num_rows);
            let expected = rows.filter(|is_ok| !**is_ok).count() as u64;
            match num_nulls {
                Some(found) if *found == expected => {}
                Some(found) => self.violation(&format!(
                    "{} of row group {number} {} no embedding, and {expected} {} not ok",
                    counted(*found, "row"),
                    form(*found, "has", "have"),
                    form(expected, "is", "are")
                )),
                None => self.violation(&format!("row group {number} has no count of null embeddings")),
            }
            first += num_rows;
        }
    }
}

/// The columns that are read of a shard.
struct Columns<'a> {
    tile_ids: &'a StringArray,
    sources: &'a StringArray,
    shards: &'a Int32Array,
    statuses: &'a StringArray,
    reasons: &'a StringArray,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, BadColumn> {
        let stored = StoredColumns(batch);
        Ok(Self {
            tile_ids: stored.text("tile_id")?,
            sources: stored.text("source")?,
            shards: stored.numbers("shard")?,
            statuses: stored.text("status")?,
            reasons: stored.text("reason")?,
        })
    }
}

/// What is wrong with the outcome of a row.
#[derive(Debug, thiserror::Error)]
enum BadOutcome<'a> {
    #[error("has the unknown reason `{0}`")]
    UnknownReason(&'a str),
    #[error("is ok but has the reason `{0}`")]
    NeedlessReason(&'a str),
    #[error("is {0} without a reason")]
    NoReason(&'a str),
    #[error("has the unknown status `{0}`")]
    UnknownStatus(&'a str),
}

/// Counts one row.
fn count_row<'a>(
    status: &'a str,
    reason: Option<&'a str>,
    counts: &mut Counts,
) -> Result<(), BadOutcome<'a>> {
    match (status, reason) {
        ("ok", None) => counts.ok += 1,
        ("skipped" | "rejected", Some(reason)) => {
            let Some(known) = Reason::of_code(reason) else {
                return Err(BadOutcome::UnknownReason(reason));
            };
            let count = if status == "skipped" { &mut counts.skipped } else { &mut counts.rejected };
            *count += 1;
            *counts.reasons.entry(known.code().to_owned()).or_default() += 1;
        }
        ("ok", Some(reason)) => return Err(BadOutcome::NeedlessReason(reason)),
        ("skipped" | "rejected", None) => return Err(BadOutcome::NoReason(status)),
        _ => return Err(BadOutcome::UnknownStatus(status)),
    }
    Ok(())
}
