//! `_tilefleet/<run-id>/begun/`: which shards are being worked on.
//!
//! ```text
//! begun/shard-00000042-<name>.json     a process works on this shard, create-only
//! ```
//!
//! A process notes that it begins a shard and takes the note back when it ends with it, one way or the other. A note that
//! stays is of a process that died meanwhile, perhaps of one of the shard's tiles: whoever takes the shard next decodes
//! them in child processes. A note decides nothing else, and two processes may work on one shard.

use bytes::Bytes;
use futures::TryStreamExt;
use serde::Serialize;

use super::run::Run;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::Timestamp;

/// A shard that this process has begun.
#[derive(Debug)]
pub struct Begun {
    key: String,
    /// How many others have begun it, and not ended.
    pub num_others: usize,
}

#[derive(Serialize)]
struct Note<'a> {
    worker: &'a str,
    at: Timestamp,
    tool_version: &'static str,
}

impl Run {
    /// Notes that this process begins a shard.
    ///
    /// # Errors
    ///
    /// As the store answers; `Unavailable` if the run is deleted.
    pub async fn begin_shard(&self, shard: u32) -> Result<Begun> {
        let process = &self.output.process;
        let note =
            Note { worker: process.name(), at: process.now(), tool_version: env!("CARGO_PKG_VERSION") };
        let json =
            serde_json::to_vec(&note).map_err(|error| Error::bug("cannot write a note").because(error))?;
        let folder = self.output.layout.begun(&self.id);
        let of_shard = format!("{folder}shard-{shard:08}-");
        let key = format!("{of_shard}{}.json", process.unique_name());
        self.create_in_record(&key, Bytes::from(json)).await?;
        let notes = self.output.list(&folder);
        let others =
            notes.try_filter(|note| std::future::ready(note.key.starts_with(&of_shard) && note.key != key));
        let num_others = others.try_fold(0, |num, _| std::future::ready(Ok(num + 1))).await?;
        Ok(Begun { key, num_others })
    }

    /// Takes the note back: the shard is committed, or stays open through no fault of its tiles.
    pub async fn end_shard(&self, begun: &Begun) {
        if let Err(error) = self.output.bucket.delete(&begun.key).await {
            // It costs whoever takes the shard next a little time, nothing else.
            tracing::debug!("a note of a shard stays: {error}");
        }
    }
}
