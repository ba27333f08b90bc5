//! Fetch: brings a tile's bytes, and tells one bad object from a store that is away.
//!
//! Goes in: a planned tile. Comes out: [`FetchedTile`], the bytes that decoding needs, or the verdict
//! that this object is gone or forbidden. It never decodes.
//!
//! One object that answers 404 or 403 is a reject only if its store is seen to work: some other object
//! of the run has been read from it, or can be. Otherwise a folder that is not mounted, or a key that
//! was revoked, would turn a whole run into rejects.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::plan::{Run, Tile};
use crate::reason::{Reason, Rejection};
use crate::storage::{Bucket, Fault, ObjectUri, Storage};

/// So many other sources are asked whether their store works.
const NUM_WITNESSES: u64 = 16;

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
    /// By store: whether any object was read from it.
    readable: Mutex<HashMap<String, Arc<AtomicBool>>>,
}

impl Fetcher {
    /// Creates a fetcher; objects above `max_object_bytes` are rejected unread.
    #[must_use]
    pub fn new(storage: Storage, run: Arc<Run>, max_object_bytes: u64) -> Self {
        Self { storage, run, max_object_bytes, readable: Mutex::default() }
    }

    /// Fetches the bytes of a tile.
    ///
    /// # Errors
    ///
    /// [`FetchError::Rejected`] for what would fail again tomorrow, [`FetchError::Failed`] otherwise.
    pub async fn fetch(&self, tile: &Tile) -> Result<FetchedTile, FetchError> {
        let uri = ObjectUri::parse(&tile.source.uri)?;
        let bucket = self.storage.bucket(&uri);
        match bucket.get(uri.key(), self.max_object_bytes).await {
            Ok(object) => {
                self.health(&uri).store(true, Ordering::Relaxed);
                check_version(tile.source.version.as_deref(), object.version.as_deref())?;
                Ok(FetchedTile { bytes: object.bytes })
            }
            Err(Fault::TooLarge { size }) => {
                let limit = self.max_object_bytes;
                let detail = format!("the object has {size} bytes, limits.max_object allows {limit}");
                Err(FetchError::Rejected(Rejection::new(Reason::TooLarge, detail)))
            }
            Err(Fault::Gone) => self.judge_gone(&bucket, &uri).await,
            Err(Fault::Forbidden) => self.judge_forbidden(&uri).await,
            Err(Fault::Failed(error)) => Err(FetchError::Failed(error)),
        }
    }

    async fn judge_gone(&self, bucket: &Bucket, uri: &ObjectUri) -> Result<FetchedTile, FetchError> {
        if !uri.scheme().is_http() && !self.store_works(uri).await? {
            bucket.probe(uri.parent().key()).await?;
            if self.run.sources.num_sources() > 1 {
                let message =
                    format!("none of {NUM_WITNESSES} sources asked for in the store of {uri} is there");
                return Err(FetchError::Failed(Error::unavailable(message).hint(
                    "if the folder is mounted or the bucket restored, run the same command again; \
                     if the images were moved, plan them into another output",
                )));
            }
        }
        Err(FetchError::Rejected(Rejection::new(Reason::Gone, "the object is not there (404)")))
    }

    async fn judge_forbidden(&self, uri: &ObjectUri) -> Result<FetchedTile, FetchError> {
        if self.store_works(uri).await? {
            let detail = "the object may not be read (403), others of its store can";
            return Err(FetchError::Rejected(Rejection::new(Reason::Forbidden, detail)));
        }
        Err(FetchError::Failed(
            Error::config(format!("access to {uri} is denied, and to every other source asked for"))
                .hint("check the credentials and their rights to read the input"),
        ))
    }

    /// Returns whether any source of the run in this store can be read.
    async fn store_works(&self, uri: &ObjectUri) -> Result<bool> {
        let health = self.health(uri);
        if health.load(Ordering::Relaxed) {
            return Ok(true);
        }
        for id in witnesses(self.run.sources.num_sources()) {
            let range = self.run.sources.read(id..id + 1).await?;
            let witness = ObjectUri::parse(&range.sources[0].uri)?;
            if witness.bucket_key() != uri.bucket_key() {
                continue;
            }
            let bucket = self.storage.bucket(&witness);
            match bucket.get(witness.key(), self.max_object_bytes).await {
                Ok(_) | Err(Fault::TooLarge { .. }) => {
                    health.store(true, Ordering::Relaxed);
                    return Ok(true);
                }
                Err(Fault::Gone | Fault::Forbidden) => {}
                Err(Fault::Failed(error)) => return Err(error),
            }
        }
        Ok(false)
    }

    fn health(&self, uri: &ObjectUri) -> Arc<AtomicBool> {
        let mut readable = self.readable.lock().expect("no holder of this lock panics");
        if let Some(known) = readable.get(uri.bucket_key()) {
            return known.clone();
        }
        readable.entry(uri.bucket_key().to_owned()).or_default().clone()
    }
}

/// Spreads the witnesses over all sources.
fn witnesses(num_sources: u64) -> impl Iterator<Item = u64> {
    let step = num_sources.div_ceil(NUM_WITNESSES).max(1);
    (0..num_sources).step_by(usize::try_from(step).unwrap_or(usize::MAX))
}

fn check_version(planned: Option<&str>, found: Option<&str>) -> Result<(), FetchError> {
    match (planned, found) {
        (Some(planned), Some(found)) if planned != found => Err(FetchError::Rejected(Rejection::new(
            Reason::Changed,
            format!("the object is now version {found}; the next run covers it"),
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witnesses_are_spread_and_few() {
        assert_eq!(witnesses(3).collect::<Vec<_>>(), [0, 1, 2]);
        let many: Vec<u64> = witnesses(1_000_000).collect();
        assert!(many.len() <= 16 && many[15] > 900_000, "{many:?}");
    }

    #[test]
    fn only_a_known_difference_is_a_change() {
        assert!(check_version(Some("a"), Some("a")).is_ok());
        assert!(check_version(None, Some("a")).is_ok());
        assert!(check_version(Some("a"), None).is_ok());
        assert!(check_version(Some("a"), Some("b")).is_err());
    }
}
