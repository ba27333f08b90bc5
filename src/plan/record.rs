//! `run.json`: what a run is. Written create-only, last; where it exists, the plan is complete.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::contract::Contract;
use crate::plan::layout::{Layout, RunId};
use crate::plan::origin::{Moment, Origin};
use crate::storage::{Bucket, Fault};

/// Records are small; a larger one is not ours.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// The immutable description of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this format.
    pub format: u32,
    /// The run's id.
    pub run_id: String,
    /// The whole fingerprint, of which the id holds 8 digits.
    pub fingerprint: String,
    /// Version of the tool that planned.
    pub tool_version: String,
    /// Why the run exists.
    #[serde(default)]
    pub origin: Origin,
    /// When it was planned; records of older versions do not say.
    #[serde(default)]
    pub planned_at: Option<Moment>,
    /// Of two rows for one tile, that of the run with the later moment is the newer. A pipeline's run is
    /// as of when it was planned. A retry is as of just after the newest run of its family, a compaction as
    /// of the newest run that it replaces: neither makes an old family newest.
    #[serde(default)]
    pub as_of: Option<Moment>,
    /// Share of rejects, 0 to 1, above which the run is not current until it is accepted. `None`: however many
    /// there are, as in records of older versions; retries and compactions have no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_reject_ratio: Option<f64>,
    /// The model.
    pub model: ModelRecord,
    /// The plan's totals.
    pub plan: PlanRecord,
    /// The resolved pipeline.
    pub pipeline: serde_json::Value,
}

/// The model of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelRecord {
    /// File name, without folders.
    pub file: String,
    /// SHA-256 of the file's bytes.
    pub digest: String,
    /// SHA-256 of the contract in force.
    pub contract_digest: String,
    /// Where the contract came from: `file`, `metadata` or `assumed`.
    pub contract_origin: String,
    /// The contract in force.
    pub contract: Contract,
}

/// The totals of a run's plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Number of sources.
    pub sources: u64,
    /// Their bytes, as far as known when planning.
    pub source_bytes: u64,
    /// Number of tiles.
    pub tiles: u64,
    /// Number of shards.
    pub shards: u32,
    /// Tiles of a full shard.
    pub shard_tiles: u32,
    /// SHA-256 over the tile ids in order.
    pub digest: String,
}

impl RunRecord {
    /// Reads the record of a run; `None` if its plan is not complete.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the record is damaged.
    pub async fn read(bucket: &Bucket, layout: &Layout, run: &RunId) -> Result<Option<Self>> {
        let key = layout.run_json(run);
        let object = match bucket.get(&key, MAX_RECORD_BYTES).await {
            Ok(object) => object,
            Err(Fault::Gone) => return Ok(None),
            Err(fault) => return Err(fault.into_error(&key)),
        };
        let record: Self = serde_json::from_slice(&object.bytes).map_err(|error| {
            Error::config(format!("the run record {} is damaged or of a newer version", bucket.uri(&key)))
                .because(error)
                .hint("use the tilefleet version that wrote it, or another output")
        })?;
        Ok(Some(record))
    }

    /// Encodes the record.
    ///
    /// # Errors
    ///
    /// `Bug` if it cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::bug("cannot write the run record").because(error))?;
        json.push(b'\n');
        Ok(json)
    }
}
