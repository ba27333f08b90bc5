//! `_tilefleet/erasures/…`: which sources have been erased from an output, by their names.
//!
//! Written before anything is erased, so that an erasure that was interrupted is finished by the next one, and so that no
//! run covers these sources again. A name tells nobody what it stood for: the vault does not know it any more.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::version::tool_version;
use crate::output::run::Output;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::Timestamp;

/// A record of more sources than that is written in parts.
const NAMES_PER_RECORD: usize = 100_000;
/// What that many names need at most.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// One erasure, or a part of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Erasure {
    /// When it was asked for.
    erased_at: Timestamp,
    /// Version of the tool.
    tool_version: String,
    /// The sources.
    sources: Vec<String>,
}

impl Output {
    /// Records that these sources are to be erased.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn record_erasure(&self, names: &BTreeSet<String>) -> Result<()> {
        let names: Vec<&String> = names.iter().collect();
        for part in names.chunks(NAMES_PER_RECORD) {
            let erasure = Erasure {
                erased_at: self.process.now(),
                tool_version: tool_version(),
                sources: part.iter().map(|&name| name.clone()).collect(),
            };
            let json = serde_json::to_vec_pretty(&erasure)
                .map_err(|error| Error::bug("cannot write the record of an erasure").because(error))?;
            let key = format!("{}{}.json", self.layout.erasures(), self.process.unique_name());
            self.create(&key, Bytes::from(json)).await?;
        }
        Ok(())
    }

    /// Returns the names of all sources that have ever been erased.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if a record is damaged.
    pub async fn erased(&self) -> Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let mut records = self.list(&self.layout.erasures());
        while let Some(record) = records.try_next().await? {
            let object = self.bucket.get(&record.key, MAX_RECORD_BYTES).await;
            let object = object.map_err(|fault| fault.into_error(&record.key))?;
            let erasure: Erasure = serde_json::from_slice(&object.bytes).map_err(|error| {
                Error::config(format!("{} is damaged", self.bucket.uri(&record.key)))
                    .because(error)
                    .hint("restore the file: without it, sources that were erased would be read again")
            })?;
            names.extend(erasure.sources);
        }
        Ok(names)
    }
}
