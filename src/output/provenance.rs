//! Whose rows the file of a shard holds, and how many: its file metadata.

use std::collections::HashMap;

use super::version::tool_version;
use super::{CommittedShard, ParquetObject, PrivacyRecord, Run, is_damaged};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::{CommittedBy, Counts};

/// Whose rows an object holds: what is constant in a shard, as its file metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    pairs: Vec<(String, String)>,
}

/// Returns a key as the sink writes it into the file.
pub fn in_file(key: &str) -> String {
    format!("tilefleet.{key}")
}

/// The run that the shard is of.
pub const RUN_ID: &str = "run_id";
/// What the run's settings come to; see [`super::fingerprint`].
pub const FINGERPRINT: &str = "fingerprint";
/// SHA-256 of the run's plan.
pub const PLAN_DIGEST: &str = "plan_digest";
/// The shard's number.
pub const SHARD: &str = "shard";
const ATTEMPT: &str = "attempt";
/// From the first tile's fetch to the last one's outcome.
pub const SECONDS: &str = "seconds";
/// The process that made it.
pub const WORKER: &str = "worker";
/// Mean seconds of its requests for sources, so far.
pub const REQUEST_SECONDS: &str = "request_seconds";
/// Rows by status, as JSON.
pub const COUNTS: &str = "counts";

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
        provenance.set("version", tool_version());
        provenance.set("model_digest", record.model.digest.clone());
        provenance.set("contract", record.model.contract.name.clone());
        provenance.set("contract_digest", record.model.contract_digest.clone());
        provenance.set("contract_origin", record.model.contract_origin.clone());
        if let Some(PrivacyRecord { policy, key_id }) = &record.privacy {
            provenance.set("privacy", policy.clone());
            if let Some(id) = key_id {
                provenance.set("privacy_key_id", id.clone());
            }
        }
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

    /// Compares with what an object says of itself; `None` if its rows are of another run, fingerprint, plan or shard.
    #[must_use]
    pub fn compare(&self, found: &HashMap<String, String>) -> Option<CommittedBy> {
        let same = |key: &str| found.get(&in_file(key)).is_some_and(|value| value == self.get(key));
        if ![RUN_ID, FINGERPRINT, PLAN_DIGEST, SHARD].into_iter().all(same) {
            return None;
        }
        Some(if same(ATTEMPT) { CommittedBy::Ours } else { CommittedBy::Theirs })
    }
}

/// Returns whether this process itself wrote a committed shard.
///
/// # Errors
///
/// As the store answers.
pub async fn is_our_own(run: &Run, shard: u32) -> Result<bool> {
    let object = match ParquetObject::open(&run.output.bucket, &run.shard_key(shard)).await {
        Err(error) if is_damaged(&error) => None,
        object => object?,
    };
    let attempt = object.and_then(|object| object.key_values().remove(&in_file(ATTEMPT)));
    Ok(attempt.is_some_and(|attempt| run.output.process.has_given(&attempt)))
}

/// Reads the counts of a committed shard from its footer.
///
/// # Errors
///
/// As the store answers; `Config` if the object is not a shard of ours.
pub async fn read_counts(run: &Run, shard: &CommittedShard) -> Result<Counts> {
    let key = run.shard_key(shard.number);
    let missing = || Error::config(format!("{key} has no counts"));
    let object = ParquetObject::open_listed(&run.output.bucket, &key, shard.size_bytes).await?;
    let counts = object.key_values().remove(&in_file(COUNTS)).ok_or_else(missing)?;
    serde_json::from_str(&counts).map_err(|error| missing().because(error))
}
