//! Commits a shard: one create-only PUT makes its rows exist.
//!
//! ```text
//! PUT if absent ─▶ created ───────────────▶ ours
//!       │
//!       ├─▶ exists ─┐
//!       └─▶ unclear ┴▶ look ─▶ absent ────▶ again
//!                       ├────▶ same run ──▶ ours, or that of a worker beside us
//!                       └────▶ another ───▶ stop loudly
//! ```
//!
//! Goes in: an encoded shard. Comes out: who committed it. Rejects travel in the same object, since a
//! store cannot commit two keys together.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::plan::{ParquetObject, Run, contradicts_itself};
use crate::sink::Outcome;
use crate::storage::{Bucket, Put};

/// An unclear answer is asked about so often before the shard is left open.
const MAX_ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Who made a shard's rows exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// This worker.
    Ours,
    /// A worker beside us was faster with the same run's rows; ours are dropped.
    Theirs,
}

/// Counts of a shard or of a run, as in a shard's file metadata and in `summary.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Tiles with a prediction or an embedding.
    pub ok: u64,
    /// Tiles left out on purpose.
    pub skipped: u64,
    /// Tiles that cannot be processed.
    pub rejected: u64,
    /// Skipped and rejected tiles by reason code.
    pub reasons: BTreeMap<String, u64>,
}

impl Counts {
    /// Counts one tile's outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        let reason = match outcome {
            Outcome::Ok { .. } => {
                self.ok += 1;
                return;
            }
            Outcome::Skipped { reason, .. } => {
                self.skipped += 1;
                *reason
            }
            Outcome::Rejected(rejection) => {
                self.rejected += 1;
                rejection.reason
            }
        };
        *self.reasons.entry(reason.code().to_owned()).or_default() += 1;
    }

    /// Adds other counts to these.
    pub fn merge(&mut self, other: &Self) {
        // Counts are read back from files: what no table holds must not end the command.
        self.ok = self.ok.saturating_add(other.ok);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.rejected = self.rejected.saturating_add(other.rejected);
        for (reason, count) in &other.reasons {
            let sum = self.reasons.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Returns the number of tiles counted.
    #[must_use]
    pub fn tiles(&self) -> u64 {
        self.ok.saturating_add(self.skipped).saturating_add(self.rejected)
    }

    /// Returns the rejected share of all tiles, 0 where there are none.
    #[must_use]
    pub fn reject_ratio(&self) -> f64 {
        if self.tiles() == 0 { 0.0 } else { self.rejected as f64 / self.tiles() as f64 }
    }
}

/// Whose rows an object holds: what is constant in a shard, as its file metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    pairs: Vec<(String, String)>,
}

/// Returns a key as the sink writes it into the file.
pub(crate) fn in_file(key: &str) -> String {
    format!("tilefleet.{key}")
}

pub(crate) const RUN_ID: &str = "run_id";
pub(crate) const FINGERPRINT: &str = "fingerprint";
pub(crate) const PLAN_DIGEST: &str = "plan_digest";
pub(crate) const SHARD: &str = "shard";
const ATTEMPT: &str = "attempt";
pub(crate) const COUNTS: &str = "counts";

impl Provenance {
    /// Describes a shard of a run, written by the attempt with this unique name.
    #[must_use]
    pub fn new(run: &Run, shard: u32, attempt: &str) -> Self {
        let record = &run.record;
        let mut provenance = Self { pairs: Vec::new() };
        provenance.set(RUN_ID, run.id.to_string());
        provenance.set(FINGERPRINT, record.fingerprint.clone());
        provenance.set(PLAN_DIGEST, record.plan.digest.clone());
        provenance.set(SHARD, shard.to_string());
        provenance.set(ATTEMPT, attempt);
        provenance.set("version", env!("CARGO_PKG_VERSION"));
        provenance.set("model_digest", record.model.digest.clone());
        provenance.set("contract", record.model.contract.name.clone());
        provenance.set("contract_digest", record.model.contract_digest.clone());
        provenance.set("contract_origin", record.model.contract_origin.clone());
        provenance
    }

    /// Adds or replaces one value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.pairs.retain(|(name, _)| name != key);
        self.pairs.push((key.to_owned(), value.into()));
    }

    /// Adds the shard's counts.
    pub fn set_counts(&mut self, counts: &Counts) {
        self.set(COUNTS, serde_json::to_string(counts).expect("counts are plain numbers and text"));
    }

    /// Returns the pairs as file metadata.
    #[must_use]
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    fn get(&self, key: &str) -> &str {
        self.pairs.iter().find(|(name, _)| name == key).map_or("", |(_, value)| value)
    }

    /// Compares with what an object says of itself.
    fn compare(&self, found: &HashMap<String, String>) -> Option<Committed> {
        let same = |key: &str| found.get(&in_file(key)).is_some_and(|value| value == self.get(key));
        if ![RUN_ID, FINGERPRINT, PLAN_DIGEST, SHARD].into_iter().all(same) {
            return None;
        }
        Some(if same(ATTEMPT) { Committed::Ours } else { Committed::Theirs })
    }
}

/// Returns a name that no other attempt has: process, time and a counter.
#[must_use]
pub fn attempt_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{SystemTime, UNIX_EPOCH};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    format!("{:x}-{:x}-{:x}", std::process::id(), nanos, COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// Makes a shard's rows exist, unless their run is deleted: then nothing of them stays.
///
/// The deletion of a run lists what to remove after its tombstone is there. So whoever sees no tombstone
/// after the PUT leaves nothing that the deletion does not remove.
///
/// # Errors
///
/// `Unavailable` if the run is deleted; else as [`commit`].
pub async fn commit_shard(run: &Run, shard: u32, bytes: Bytes, provenance: &Provenance) -> Result<Committed> {
    let (output, key) = (&run.output, run.shard_key(shard));
    let deleted = || Error::unavailable(format!("run {} is deleted, and {key} with it", run.id));
    if output.is_deleted(&run.id).await? {
        return Err(deleted());
    }
    let committed = commit(&output.bucket, &key, bytes, provenance).await?;
    if output.is_deleted(&run.id).await? {
        output.bucket.delete(&key).await?;
        output.bucket.remove_empty_folders(&output.layout.rows(&run.id)).await?;
        return Err(deleted());
    }
    Ok(committed)
}

/// Makes a shard's rows exist.
///
/// - `bytes`: the whole Parquet file, with `provenance` as its metadata
///
/// # Errors
///
/// `Unavailable` if the store gives no clear answer: the shard stays open. `Config` if the object
/// exists and is of another run or fingerprint.
pub async fn commit(bucket: &Bucket, key: &str, bytes: Bytes, provenance: &Provenance) -> Result<Committed> {
    let mut attempt = 1;
    loop {
        let failure = match bucket.put_new(key, bytes.clone()).await {
            Ok(Put::Created) => return Ok(Committed::Ours),
            Ok(Put::Exists) => None,
            Err(error) if error.kind() == Kind::Unavailable => Some(error),
            Err(error) => return Err(error),
        };
        match look(bucket, key, provenance).await {
            Ok(Some(committed)) => return Ok(committed),
            Err(error) if error.kind() != Kind::Unavailable => return Err(error),
            Ok(None) if attempt == MAX_ATTEMPTS => {
                return Err(failure.unwrap_or_else(|| contradicts_itself(bucket, key)));
            }
            Err(error) if attempt == MAX_ATTEMPTS => return Err(error),
            Ok(None) | Err(_) => {}
        }
        tokio::time::sleep(PAUSE * attempt).await;
        attempt += 1;
    }
}

/// Reads whose object lies at `key`; `None` if there is none.
async fn look(bucket: &Bucket, key: &str, provenance: &Provenance) -> Result<Option<Committed>> {
    let Some(found) = ParquetObject::open(bucket, key).await? else { return Ok(None) };
    match provenance.compare(&found.key_values()) {
        Some(committed) => Ok(Some(committed)),
        None => Err(Error::config(format!("{key} exists already and holds rows of another run"))
            .hint("nothing was overwritten; move that object away or choose another output")),
    }
}

/// Reads the counts of a committed shard from its footer.
///
/// # Errors
///
/// As the store answers; `Config` if the object is no shard of ours.
pub async fn read_counts(bucket: &Bucket, key: &str) -> Result<Counts> {
    let missing = || Error::config(format!("{key} carries no counts"));
    let object = ParquetObject::open(bucket, key)
        .await?
        .ok_or_else(|| Error::unavailable(format!("{key} was listed and is gone")))?;
    let counts = object.key_values().remove(&in_file(COUNTS)).ok_or_else(missing)?;
    serde_json::from_str(&counts).map_err(|error| missing().because(error))
}
