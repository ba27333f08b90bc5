//! `_tilefleet/<run-id>/deleted.json`: a deleted run.
//!
//! ```text
//! PUT deleted.json if absent ─▶ delete tiles/run=<id>/… ─▶ plan, sources, summary ─▶ run.json
//! (from here on nobody counts                                                        (last)
//!  the run among the runs)
//! ```
//!
//! The tombstone stays for ever, so that an id is never given to another run. Whoever is interrupted
//! leaves objects that belong to a deleted run; deleting it again removes them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::version::tool_version;
use crate::input::storage::{Put, StoreError};
use crate::output::{Output, RunId};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::Timestamp;

/// Tombstones are small; a larger one is not ours.
const MAX_TOMBSTONE_BYTES: u64 = 1 << 20;

/// Why a run was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Somebody wanted it.
    Deleted,
    /// Its rows were copied into this run.
    CompactedInto(RunId),
}

/// What `deleted.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The run.
    pub run_id: RunId,
    /// Version of the tool that deleted it.
    pub tool_version: String,
    /// When.
    pub deleted_at: Timestamp,
    /// Why.
    pub why: Why,
}

impl Tombstone {
    /// Describes a deletion.
    #[must_use]
    pub fn new(run: &RunId, why: Why, deleted_at: Timestamp) -> Self {
        let tool_version = tool_version();
        Self { run_id: run.clone(), tool_version, deleted_at, why }
    }

    /// Reads the tombstone of a run; `None` if the run is not deleted.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the tombstone is damaged.
    pub async fn read(output: &Output, run: &RunId) -> Result<Option<Self>> {
        let key = output.layout.tombstone(run);
        let object = match output.bucket.get(&key, MAX_TOMBSTONE_BYTES).await {
            Ok(object) => object,
            Err(StoreError::Gone) => return Ok(None),
            Err(fault) => return Err(fault.into_error(&key)),
        };
        let damaged = || Error::config(format!("{key} is damaged")).hint("restore it from a copy");
        let tombstone: Self =
            serde_json::from_slice(&object.bytes).map_err(|error| damaged().because(error))?;
        if tombstone.run_id != *run {
            return Err(damaged().because(format!("`run_id` is {}", tombstone.run_id)));
        }
        Ok(Some(tombstone))
    }
}

/// What a deletion removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Objects of the table.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Output {
    /// Checks, before anything is written, that these runs can be deleted.
    ///
    /// # Errors
    ///
    /// `Config` if their folders are reached by way of a link.
    pub async fn check_deletable(&self, runs: impl IntoIterator<Item = &RunId>) -> Result<()> {
        let folders = runs.into_iter().flat_map(|run| [self.layout.rows(run), self.layout.record(run)]);
        self.bucket.check_owned(folders).await
    }

    /// Checks that what is written here can be deleted again: neither the table nor the records are a link.
    ///
    /// # Errors
    ///
    /// `Config` if one is.
    pub async fn check_folders(&self) -> Result<()> {
        let checked = self.bucket.check_owned([self.layout.table(), self.layout.records()]).await;
        checked
            .map_err(|error| Error::new(error.kind(), format!("cannot write to {}", self.uri)).because(error))
    }

    /// Deletes a run, or resumes its deletion; returns also why it is deleted: whoever was first says so.
    ///
    /// # Errors
    ///
    /// `Config` if a folder of the run is a link: nothing has changed then. As the store answers; what is left then
    /// is removed by deleting once more.
    pub async fn delete_run(&self, run: &RunId, why: Why) -> Result<(Removed, Why)> {
        self.check_deletable([run]).await?;
        let mut tombstone = serde_json::to_vec_pretty(&Tombstone::new(run, why.clone(), self.process.now()))
            .map_err(|error| Error::bug("cannot write a tombstone").because(error))?;
        tombstone.push(b'\n');
        let why = match self.create(&self.layout.tombstone(run), Bytes::from(tombstone)).await? {
            Put::Created => why,
            Put::Exists => Tombstone::read(self, run).await?.map_or(why, |first| first.why),
        };
        let mut removed = Removed::default();
        for (key, size_bytes) in self.bucket.list_own(&self.layout.rows(run)).await? {
            self.bucket.delete(&key).await?;
            removed.files += 1;
            removed.bytes += size_bytes;
        }
        self.bucket.remove_empty_folders(&self.layout.rows(run)).await?;
        if self.has_vault() {
            self.delete_uris(run).await?;
        }
        self.delete_record(run).await?;
        Ok((removed, why))
    }

    /// Removes what tells the URIs of a run's sources.
    async fn delete_uris(&self, run: &RunId) -> Result<()> {
        let vault = self.vault().await?;
        vault.bucket.delete(&vault.layout.sources(run)).await?;
        vault.bucket.remove_empty_folders(&vault.layout.record(run)).await
    }

    /// Takes back what was just written into a run's record, if the run is deleted: its deletion has listed what to remove,
    /// perhaps before that was there.
    ///
    /// # Errors
    ///
    /// `Unavailable` if it is deleted; as the store answers otherwise.
    pub(super) async fn take_back_if_deleted(&self, run: &RunId, key: &str) -> Result<()> {
        if !self.is_deleted(run).await? {
            return Ok(());
        }
        self.bucket.delete(key).await?;
        self.bucket.remove_empty_folders(&self.layout.record(run)).await?;
        Err(Error::unavailable(format!("run {run} is deleted"))
            .hint(format!("`tilefleet runs {}` lists the runs", self.uri)))
    }

    /// Removes the record but for its tombstone, `run.json` last: as long as there is anything, it says
    /// what it was.
    pub(super) async fn delete_record(&self, run: &RunId) -> Result<()> {
        let (tombstone, run_json) = (self.layout.tombstone(run), self.layout.run_json(run));
        for (key, _) in self.bucket.list_own(&self.layout.record(run)).await? {
            if key != tombstone && key != run_json {
                self.bucket.delete(&key).await?;
            }
        }
        self.bucket.delete(&run_json).await?;
        self.bucket.remove_empty_folders(&self.layout.record(run)).await
    }

    /// Returns whether a run has a tombstone.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn is_deleted(&self, run: &RunId) -> Result<bool> {
        let key = self.layout.tombstone(run);
        match self.bucket.head(&key).await {
            Ok(_) => Ok(true),
            Err(StoreError::Gone) => Ok(false),
            Err(fault) => Err(fault.into_error(&key)),
        }
    }
}
