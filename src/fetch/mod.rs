//! Fetch: brings a tile's bytes, and tells one bad object from a store that is away.
//!
//! Goes in: a planned tile. Comes out: [`FetchedTile`], the bytes that decoding needs, or the verdict
//! that this object is gone, forbidden or another than was planned. It never decodes.
//!
//! One object that answers 404 or 403 is a reject only if its store is seen to work after that: see
//! `judge`. Otherwise a folder that is not mounted, or a key that was revoked, would turn a whole
//! run into rejects.

mod judge;
mod shared;
mod witness;

use std::sync::Arc;

use bytes::Bytes;

use self::judge::{Judge, Memory, Missing};
use crate::error::{Error, Result};
use crate::plan::{Run, Source, Tile};
use crate::reason::{Reason, Rejection};
use crate::storage::{Expected, Fault, ObjectUri, Storage};

/// The bytes of one tile's source, as stored.
#[derive(Clone, Debug)]
pub struct FetchedTile {
    /// The encoded image.
    pub bytes: Bytes,
}

/// Why a tile's bytes did not come.
#[derive(Debug)]
pub enum FetchError {
    /// The object cannot be had however often one tries.
    Rejected(Rejection),
    /// The store is away or the access is wrong; the run stops and the shard stays open.
    Failed(Error),
}

impl FetchError {
    fn rejected(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Rejected(Rejection::new(reason, detail))
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Fetches the sources of one run.
pub struct Fetcher {
    storage: Storage,
    run: Arc<Run>,
    max_object_bytes: u64,
    memory: Memory,
}

impl Fetcher {
    /// Creates a fetcher; objects above `max_object_bytes` are rejected unread.
    #[must_use]
    pub fn new(storage: Storage, run: Arc<Run>, max_object_bytes: u64) -> Self {
        Self { storage, run, max_object_bytes, memory: Memory::default() }
    }

    /// Fetches the bytes of a tile.
    ///
    /// # Errors
    ///
    /// [`FetchError::Rejected`] for what would fail again tomorrow, [`FetchError::Failed`] otherwise.
    pub async fn fetch(&self, tile: &Tile) -> Result<FetchedTile, FetchError> {
        let source = &tile.source;
        let uri = ObjectUri::parse(&source.uri)?;
        let expected = Expected { size: source.size_bytes, version: source.version.clone() };
        let bucket = self.storage.bucket(&uri);
        match bucket.get_expected(uri.key(), &expected, self.max_object_bytes).await {
            Ok(object) => {
                self.memory.was_read(&uri);
                Ok(FetchedTile { bytes: object.bytes })
            }
            Err(Fault::TooLarge { size }) => {
                Err(FetchError::Rejected(too_large(size, self.max_object_bytes)))
            }
            Err(Fault::Changed { version }) => Err(changed(version.as_deref())),
            Err(Fault::Gone) => Err(self.judge_gone(source, &uri).await?),
            Err(Fault::Forbidden) => Err(self.judge_forbidden(&uri).await?),
            Err(Fault::Failed(error)) => Err(FetchError::Failed(error)),
        }
    }

    async fn judge_gone(&self, source: &Source, uri: &ObjectUri) -> Result<FetchError> {
        let missing = if source.version.is_some() { Missing::SincePlanned } else { Missing::AllAlong };
        if self.judge().store_answers(uri, missing).await? {
            return Ok(FetchError::rejected(Reason::Gone, "the object is not there (404)"));
        }
        let message = format!("{uri} is gone, and so is all that would show that its folder is there");
        Ok(FetchError::Failed(Error::unavailable(message).hint(
            "if the folder is mounted or the bucket restored, run the same command again; if the images \
             were removed on purpose, put any file into that folder and run again; if they were moved, \
             plan them into another output",
        )))
    }

    async fn judge_forbidden(&self, uri: &ObjectUri) -> Result<FetchError> {
        if self.judge().others_are_readable(uri).await? {
            let detail = "the object may not be read (403), others of its store can";
            return Ok(FetchError::rejected(Reason::Forbidden, detail));
        }
        let message = format!("access to {uri} is denied, and to every other object asked for");
        Ok(FetchError::Failed(
            Error::config(message).hint("check the credentials and their rights to read the input"),
        ))
    }

    fn judge(&self) -> Judge<'_> {
        Judge {
            storage: &self.storage,
            sources: &self.run.sources,
            output: &self.run.output.uri,
            memory: &self.memory,
        }
    }
}

/// Rejects an object that has more bytes than `limits.max_object` allows.
pub(crate) fn too_large(num_bytes: u64, limit: u64) -> Rejection {
    let detail = format!("the object has {num_bytes} bytes, limits.max_object allows {limit}");
    Rejection::new(Reason::TooLarge, detail)
}

fn changed(version: Option<&str>) -> FetchError {
    let now = version.map_or_else(String::new, |version| format!(" and is now version {version}"));
    FetchError::rejected(
        Reason::Changed,
        format!("the object has changed since it was planned{now}; the next run covers it"),
    )
}
