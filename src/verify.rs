//! Proves from the plan and the files alone that every planned tile has exactly one row.
//!
//! Goes in: a published run. Comes out: a [`Verdict`]. It trusts no listing of the worker, no queue and
//! no summary, and it is the oracle of every fault test.

use std::collections::HashSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int32Type;
use serde::Serialize;

use crate::commit::Counts;
use crate::error::{Error, Kind, Result};
use crate::plan::{ParquetObject, PlannedTile, Run, TileId};
use crate::reason::Reason;

/// So many violations are listed one by one; the rest is counted.
const MAX_LISTED: usize = 100;

/// What [`verify`] found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// The run.
    pub run_id: String,
    /// Planned shards.
    pub shards: u32,
    /// Committed shards.
    pub committed: u32,
    /// Planned tiles.
    pub tiles: u64,
    /// Rows found in committed shards.
    pub rows: u64,
    /// Their outcomes.
    pub counts: Counts,
    /// How many things are wrong.
    pub num_violations: u64,
    /// The first of them.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Returns whether every planned tile has its row.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.committed == self.shards
    }

    /// Turns the verdict into the command's result.
    ///
    /// # Errors
    ///
    /// `Bug` (70) if the invariant is violated, `Unavailable` (75) if the run is not complete.
    pub fn check(&self) -> Result<()> {
        if self.num_violations > 0 {
            let message =
                format!("run {} violates the invariant in {} places", self.run_id, self.num_violations);
            return Err(Error::new(Kind::Bug, message)
                .hint("the places are listed above; keep the output as it is and report this"));
        }
        if !self.complete() {
            let open = self.shards - self.committed;
            return Err(Error::unavailable(format!(
                "run {} is not complete: {open} of {} shards are open",
                self.run_id, self.shards
            ))
            .hint("run the pipeline again to go on"));
        }
        Ok(())
    }

    fn violation(&mut self, what: String) {
        self.num_violations += 1;
        if self.violations.len() < MAX_LISTED {
            self.violations.push(what);
        }
    }
}

/// Checks a run: the plan holds each tile once, each committed shard holds exactly its tiles in order,
/// each row is well formed, and nothing else lies in the run's folder.
///
/// Memory: 16 bytes a planned tile, and one shard's identity and outcome columns.
///
/// # Errors
///
/// As the store answers. What is wrong with the run is in the verdict instead.
pub async fn verify(run: &Run) -> Result<Verdict> {
    let plan = &run.record.plan;
    let mut verdict =
        Verdict { run_id: run.id.to_string(), shards: plan.shards, tiles: plan.tiles, ..Verdict::default() };
    let folder = run.committed().await?;
    for stray in &folder.strays {
        verdict.violation(format!("{stray} is no shard of the plan"));
    }
    let committed: HashSet<u32> = folder.shards.iter().map(|shard| shard.number).collect();
    let mut seen: HashSet<TileId> = HashSet::new();
    let mut num_planned = 0;
    for number in 0..plan.shards {
        let planned = run.planned_tiles(number).await?;
        num_planned += planned.len() as u64;
        for tile in &planned {
            if !seen.insert(tile.id) {
                verdict.violation(format!("tile {} is planned twice", tile.id));
            }
        }
        if committed.contains(&number) {
            verdict.committed += 1;
            check_shard(run, number, &planned, &mut verdict).await?;
        }
    }
    if num_planned != plan.tiles {
        verdict.violation(format!("the plan holds {num_planned} tiles, its record says {}", plan.tiles));
    }
    Ok(verdict)
}

async fn check_shard(run: &Run, number: u32, planned: &[PlannedTile], verdict: &mut Verdict) -> Result<()> {
    let key = run.shard_key(number);
    let rows = match read_rows(run, &key).await {
        Ok(rows) => rows,
        Err(error) if error.kind() == Kind::Config => {
            verdict.violation(format!("{key}: {}", error.render().replace('\n', ";")));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let Some((object, batches)) = rows else {
        verdict.violation(format!("{key} was listed and is gone"));
        return Ok(());
    };
    let metadata = object.key_values();
    let says = |name: &str| metadata.get(name).map_or("", String::as_str);
    let expected = [
        ("tilefleet.run_id", run.id.to_string()),
        ("tilefleet.fingerprint", run.record.fingerprint.clone()),
        ("tilefleet.plan_digest", run.record.plan.digest.clone()),
        ("tilefleet.shard", number.to_string()),
    ];
    for (name, expected) in expected {
        if says(name) != expected {
            verdict.violation(format!("{key}: {name} is `{}`, expected `{expected}`", says(name)));
        }
    }
    let mut counts = Counts::default();
    let mut next = planned.iter();
    for batch in &batches {
        check_batch(&key, batch, number, &mut next, &mut counts, verdict);
    }
    let missing = next.len();
    if missing > 0 {
        verdict.violation(format!("{key}: {missing} planned tiles have no row"));
    }
    let stated: Option<Counts> = serde_json::from_str(says("tilefleet.counts")).ok();
    if stated.as_ref() != Some(&counts) {
        verdict.violation(format!("{key}: its counts are not those of its rows"));
    }
    verdict.counts.merge(&counts);
    Ok(())
}

async fn read_rows(run: &Run, key: &str) -> Result<Option<(ParquetObject, Vec<RecordBatch>)>> {
    let Some(object) = ParquetObject::open(&run.output.bucket, key).await? else { return Ok(None) };
    let batches = object.read_columns(&["tile_id", "shard", "status", "reason"]).await?;
    Ok(Some((object, batches)))
}

fn check_batch(
    key: &str,
    batch: &RecordBatch,
    number: u32,
    planned: &mut std::slice::Iter<'_, PlannedTile>,
    counts: &mut Counts,
    verdict: &mut Verdict,
) {
    let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let shards = batch.column_by_name("shard").and_then(|column| column.as_primitive_opt::<Int32Type>());
    let (Some(ids), Some(statuses), Some(reasons), Some(shards)) =
        (text("tile_id"), text("status"), text("reason"), shards)
    else {
        verdict.violation(format!("{key}: a column is missing or of another type"));
        return;
    };
    for row in 0..batch.num_rows() {
        verdict.rows += 1;
        let id = ids.value(row);
        match planned.next() {
            Some(tile) if tile.id.to_string() == id => {}
            Some(tile) => verdict.violation(format!("{key}: row for tile {id} where {} is planned", tile.id)),
            None => verdict.violation(format!("{key}: tile {id} is not in the plan of this shard")),
        }
        if shards.value(row) != number as i32 {
            verdict.violation(format!("{key}: tile {id} says shard {}", shards.value(row)));
        }
        let reason = reasons.is_valid(row).then(|| reasons.value(row));
        if let Err(what) = count_row(statuses.value(row), reason, counts) {
            verdict.violation(format!("{key}: tile {id} {what}"));
        }
    }
}

/// Counts one row; says what is wrong with its outcome.
fn count_row(status: &str, reason: Option<&str>, counts: &mut Counts) -> Result<(), String> {
    match (status, reason) {
        ("ok", None) => counts.ok += 1,
        ("skipped" | "rejected", Some(reason)) => {
            if !Reason::ALL.iter().any(|known| known.code() == reason) {
                return Err(format!("has the unknown reason `{reason}`"));
            }
            let count = if status == "skipped" { &mut counts.skipped } else { &mut counts.rejected };
            *count += 1;
            *counts.reasons.entry(reason.to_owned()).or_default() += 1;
        }
        ("ok", Some(reason)) => return Err(format!("is ok and yet has the reason `{reason}`")),
        ("skipped" | "rejected", None) => return Err(format!("is {status} without a reason")),
        _ => return Err(format!("has the unknown status `{status}`")),
    }
    Ok(())
}
