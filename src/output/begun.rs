//! `_tilefleet/<run-id>/begun/`: which shards are being worked on.
//!
//! ```text
//! begun/shard-00000042-<name>.json     a process works on this shard, create-only
//! ```
//!
//! A process notes that it begins a shard and takes the note back when it ends with it, one way or the other. A note that
//! stays is of a process that died meanwhile, perhaps of one of the shard's tiles: whoever takes the shard next decodes
//! them in child processes. A note decides nothing else, and two processes may work on one shard.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::run::Run;
use super::version::tool_version;
use crate::input::storage::StoreError;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::Timestamp;

/// That this process works on a shard.
#[derive(Debug)]
pub struct BegunNote {
    key: String,
    of_shard: String,
}

#[derive(Serialize, Deserialize)]
struct Note {
    worker: String,
    at: Timestamp,
    tool_version: String,
}

/// A shard that some process has begun, and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotedShard {
    pub shard: u32,
    pub worker: String,
    pub at: Timestamp,
}

/// Notes are small; a larger one is not ours.
const MAX_NOTE_BYTES: u64 = 4 << 10;
/// How many are read at once.
const READS_AT_ONCE: usize = 16;

impl Run {
    /// Names a note that this process works on a shard; there is none yet.
    #[must_use]
    pub fn begun_note(&self, shard: u32) -> BegunNote {
        let of_shard = format!("{}shard-{shard:08}-", self.output.layout.begun(&self.id));
        BegunNote { key: format!("{of_shard}{}.json", self.output.process.unique_name()), of_shard }
    }

    /// Writes the note; returns how many other processes have begun the shard, and not ended.
    ///
    /// # Errors
    ///
    /// As the store answers; `Unavailable` if the run is deleted.
    pub async fn write_note(&self, note: &BegunNote) -> Result<usize> {
        let process = &self.output.process;
        let (worker, tool_version) = (process.name().to_owned(), tool_version());
        let json = serde_json::to_vec(&Note { worker, at: process.now(), tool_version });
        let json = json.map_err(|error| Error::bug("cannot write a note").because(error))?;
        self.create_in_record(&note.key, Bytes::from(json)).await?;
        let notes = self.output.list(&self.output.layout.begun(&self.id));
        let is_other = |key: &String| key.starts_with(&note.of_shard) && *key != note.key;
        let others = notes.try_filter(|found| std::future::ready(is_other(&found.key)));
        others.try_fold(0, |num, _| std::future::ready(Ok(num + 1))).await
    }

    /// Removes the note: the shard is committed, or stays open through no fault of its tiles.
    pub async fn remove_note(&self, note: &BegunNote) {
        if let Err(error) = self.output.bucket.delete(&note.key).await {
            // It costs whoever takes the shard next a little time, nothing else.
            tracing::debug!("a note of a shard stays: {error}");
        }
    }

    /// Returns the shards that some process has begun, and not ended.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn begun_shards(&self) -> Result<BTreeSet<u32>> {
        let folder = self.output.layout.begun(&self.id);
        let keys: Vec<String> = self.output.list(&folder).map_ok(|note| note.key).try_collect().await?;
        Ok(keys.iter().filter_map(|key| shard_of_note(key.strip_prefix(&folder)?)).collect())
    }

    /// Reads all notes; those that are damaged are left out, for they decide nothing.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub(super) async fn noted_shards(&self) -> Result<Vec<NotedShard>> {
        let folder = self.output.layout.begun(&self.id);
        let keys: Vec<String> = self.output.list(&folder).map_ok(|note| note.key).try_collect().await?;
        let reading: Vec<_> = keys.iter().map(|key| self.noted_shard(&folder, key)).collect();
        let notes: Vec<Option<NotedShard>> =
            stream::iter(reading).buffered(READS_AT_ONCE).try_collect().await?;
        Ok(notes.into_iter().flatten().collect())
    }

    async fn noted_shard(&self, folder: &str, key: &str) -> Result<Option<NotedShard>> {
        let Some(shard) = key.strip_prefix(folder).and_then(shard_of_note) else { return Ok(None) };
        let note: Option<Note> = match self.output.bucket.get(key, MAX_NOTE_BYTES).await {
            Ok(object) => serde_json::from_slice(&object.bytes).ok(),
            Err(StoreError::Gone) => None,
            Err(fault) => return Err(fault.into_error(key)),
        };
        Ok(note.map(|Note { worker, at, .. }| NotedShard { shard, worker, at }))
    }
}

/// Returns the shard that a note is about, by the last part of its key.
fn shard_of_note(name: &str) -> Option<u32> {
    name.strip_prefix("shard-")?.split('-').next()?.parse().ok()
}
