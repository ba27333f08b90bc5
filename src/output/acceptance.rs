//! `_tilefleet/<run-id>/accepted.json`: `tiles` shows the run, however much of it was rejected.
//!
//! Whether a completed run is current follows from what is durable: its counts, the limit that was planned
//! with it, and this object. It is created once, by a person's command, by `--accept`, or by the worker that
//! completed the first run of an output; deleting the run removes it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::version::tool_version;
use crate::output::{Output, RunId};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::Timestamp;

/// Why a run is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptedBecause {
    /// Somebody asked for it.
    Asked,
    /// It was the first run of its output, which has nothing to replace.
    First,
}

/// What `accepted.json` says; that it exists is what counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The run.
    pub run_id: RunId,
    /// Version of the tool that accepted it.
    pub tool_version: String,
    /// When.
    pub accepted_at: Timestamp,
    /// Why.
    pub why: AcceptedBecause,
}

impl Output {
    /// Accepts a run, complete or not; accepting it again changes nothing.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the run is deleted; as the store answers otherwise.
    pub async fn accept_run(&self, run: &RunId, why: AcceptedBecause) -> Result<()> {
        let tool_version = tool_version();
        let accepted_at = self.process.now();
        let acceptance = Acceptance { run_id: run.clone(), tool_version, accepted_at, why };
        let mut json = serde_json::to_vec_pretty(&acceptance)
            .map_err(|error| Error::bug("cannot write an acceptance").because(error))?;
        json.push(b'\n');
        let key = self.layout.accepted(run);
        self.create(&key, Bytes::from(json)).await?;
        self.take_back_if_deleted(run, &key).await
    }
}
