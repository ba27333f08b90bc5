//! `run.json`: what a run is. Written create-only, last; where it exists, the plan is complete.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::input::storage::{Bucket, StoreError};
use crate::output::election::MAX_SHARD_TILES;
use crate::output::layout::{Layout, RunId};
use crate::output::origin::Origin;
use crate::output::privacy::PrivacyRecord;
use crate::vocabulary::contract::Contract;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::Timestamp;
use crate::vocabulary::words;

/// Records are small; a larger one is not ours.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// The format of records that this build reads and writes.
pub const FORMAT: u32 = 1;

/// No run has more shards: what is kept for each would not fit in memory.
const MAX_SHARDS: u32 = 1 << 24;

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
    pub planned_at: Option<Timestamp>,
    /// Of two rows for one tile, that of the run with the later moment is the newer. A pipeline's run is
    /// as of when it was planned. A retry is as of just after the newest run of its family, a compaction as
    /// of the newest run that it replaces: neither makes an old family newest.
    #[serde(default)]
    pub as_of: Option<Timestamp>,
    /// Share of rejects, 0 to 1, above which the run is not current until it is accepted. `None`: however many
    /// there are, as in records of older versions; retries and compactions have no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_reject_ratio: Option<f64>,
    /// Set if it covers only a part of what was found, as `--limit` asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// How sources are named, if the pipeline says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PrivacyRecord>,
    /// The model.
    pub model: ModelRecord,
    /// The plan's totals.
    pub plan: PlanRecord,
    /// The resolved pipeline.
    pub pipeline: serde_json::Value,
}

/// That a run covers only the first sources of what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// How many were read, including those that earlier runs had covered.
    pub sources: u64,
    /// How many were found.
    pub of: u64,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of the first {} of {}", words::count(self.sources), words::counted(self.of, "source"))
    }
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

impl PlanRecord {
    fn check(&self) -> Result<(), Error> {
        let Self { tiles, shards, shard_tiles, .. } = *self;
        if shard_tiles == 0 || shard_tiles > MAX_SHARD_TILES {
            let message = format!("`plan.shard_tiles` is {shard_tiles}, not between 1 and {MAX_SHARD_TILES}");
            return Err(Error::config(message));
        }
        if shards > MAX_SHARDS || u64::from(shards) != tiles.div_ceil(shard_tiles.into()) {
            return Err(Error::config(format!(
                "`plan.shards` is {shards}, but {tiles} tiles (`plan.tiles`) in shards of {shard_tiles} make \
                 another number"
            )));
        }
        if self.sources > tiles {
            return Err(Error::config(format!(
                "`plan.sources` is {}, more than {tiles} tiles",
                self.sources
            )));
        }
        Ok(())
    }
}

impl RunRecord {
    /// Returns whether the pipeline left open how large shards are.
    #[must_use]
    pub fn leaves_shard_tiles_open(&self) -> bool {
        self.pipeline["plan"]["shard_tiles"] == "auto"
    }

    /// Reads the record of a run; `None` if its plan is not complete.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the record is damaged.
    pub async fn read(bucket: &Bucket, layout: &Layout, run: &RunId) -> Result<Option<Self>> {
        let key = layout.run_json(run);
        let object = match bucket.get(&key, MAX_RECORD_BYTES).await {
            Ok(object) => object,
            Err(StoreError::Gone) => return Ok(None),
            Err(fault) => return Err(fault.into_error(&key)),
        };
        let damaged = || {
            Error::config(format!("the run record {} is damaged or of a newer version", bucket.uri(&key)))
                .hint("use the tilefleet version that wrote it, or another output")
        };
        let record: Self = serde_json::from_slice(&object.bytes).map_err(|error| damaged().because(error))?;
        record.check(run).map_err(|wrong| damaged().because(wrong))?;
        Ok(Some(record))
    }

    /// Checks what others rely on: that it is this run's record, and that its numbers agree with each other.
    fn check(&self, run: &RunId) -> Result<(), Error> {
        if self.format != FORMAT {
            return Err(Error::config(format!("`format` is {}, but this build reads {FORMAT}", self.format)));
        }
        if self.run_id != run.to_string() {
            return Err(Error::config(format!("`run_id` is `{}`", self.run_id)));
        }
        self.origin.check(run)?;
        self.plan.check()?;
        self.model
            .contract
            .validate()
            .map_err(|cause| Error::config("`model.contract` is wrong").because(cause))
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
