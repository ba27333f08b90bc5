//! `_tilefleet/<compaction>/replaces/<run>.json`: whether a compaction may delete a run that it replaces.
//!
//! ```text
//! compact:                  PUT replaces/<run>.json `delete` if absent ─▶ is the compaction deleted?
//!                                                    ─▶ PUT the run's deleted.json ─▶ delete its rows
//! delete of the compaction: PUT replaces/<run>.json `keep` if absent, for every run that it is to give
//!                           back, oldest first ─▶ PUT the compaction's deleted.json ─▶ delete its rows
//! ```
//!
//! The object is created once, and whoever creates it decides. So of two commands that know nothing of each
//! other, one stops before it has deleted anything: a compaction's rows and those that they were copied from
//! never both go. Both go through the runs in the same order, so that who is first at one run is so at all
//! that follow.
//!
//! The objects go with the compaction's record, after its tombstone. That is why a compaction looks for its
//! own tombstone once it has decided: finding none, it knows that nobody had decided before it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::input::storage::{Put, StoreError};
use crate::output::{Output, RunId};
use crate::vocabulary::error::{Error, Result};

/// Decisions are small; a larger one is not ours.
const MAX_DECISION_BYTES: u64 = 1 << 16;

/// What becomes of a run whose rows a compaction has copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The compaction deletes it.
    Delete,
    /// It stays, since the compaction is deleted.
    Keep,
}

/// What such an object says.
#[derive(Debug, Serialize, Deserialize)]
struct Decision {
    run_id: RunId,
    fate: Fate,
}

impl Output {
    /// Decides what becomes of a run that a compaction replaces, unless that is decided; returns what holds.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the decision that is there is damaged.
    pub async fn decide(&self, compaction: &RunId, replaced: &RunId, wanted: Fate) -> Result<Fate> {
        let decision = Decision { run_id: replaced.clone(), fate: wanted };
        let mut json = serde_json::to_vec_pretty(&decision)
            .map_err(|error| Error::bug("cannot write a decision").because(error))?;
        json.push(b'\n');
        let key = self.layout.replaces(compaction, replaced);
        match self.create(&key, Bytes::from(json)).await? {
            Put::Created => Ok(wanted),
            Put::Exists => self.decided(compaction, replaced).await?.ok_or_else(|| {
                Error::unavailable(format!("{key} was deleted: {compaction} is being deleted"))
                    .hint("try again")
            }),
        }
    }

    /// Returns what is decided of a run that a compaction replaces; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the decision is damaged.
    pub async fn decided(&self, compaction: &RunId, replaced: &RunId) -> Result<Option<Fate>> {
        let key = self.layout.replaces(compaction, replaced);
        let object = match self.bucket.get(&key, MAX_DECISION_BYTES).await {
            Ok(object) => object,
            Err(StoreError::Gone) => return Ok(None),
            Err(fault) => return Err(fault.into_error(&key)),
        };
        let damaged = || Error::config(format!("{key} is damaged")).hint("restore it from a copy");
        let decision: Decision =
            serde_json::from_slice(&object.bytes).map_err(|error| damaged().because(error))?;
        if decision.run_id != *replaced {
            return Err(damaged().because(format!("it is about run {}", decision.run_id)));
        }
        Ok(Some(decision.fate))
    }

    /// Takes back the decision of a compaction that turned out to be deleted: nobody asks for it any more.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn undecide(&self, compaction: &RunId, replaced: &RunId) -> Result<()> {
        self.bucket.delete(&self.layout.replaces(compaction, replaced)).await?;
        self.bucket.remove_empty_folders(&self.layout.record(compaction)).await
    }
}
