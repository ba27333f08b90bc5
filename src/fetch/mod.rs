//! Fetch: brings a tile's bytes, and tells one bad object from a store that is away.
//!
//! Goes in: a planned tile. Comes out: [`FetchedTile`], the bytes that decoding needs, or the verdict
//! that this object is gone, forbidden or another than was planned. It never decodes.
//!
//! One object that answers 404 or 403 is a reject only if its store is seen to work after that: see
//! `judge`. Otherwise a folder that is not mounted, or a key that was revoked, would turn a whole
//! run into rejects.

mod judge;
mod reading;
mod scenes;
mod shared;
mod witness;

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

pub use self::reading::{BlockKey, Group, Reading, block_bytes, blocks_of, sample_bytes};
pub(crate) use self::scenes::crashed;
pub use self::scenes::{Arrived, OpenObject, OpenScene, Tables};

use self::judge::{Judge, Memory, Missing};
use self::scenes::Scenes;
use crate::error::{Error, Result};
use crate::observe::Traffic;
use crate::plan::{Run, Source, Tile};
use crate::reason::{Reason, Rejection};
use crate::storage::{Expected, Fault, Object, ObjectUri, Storage, split_scheme};

/// The bytes of one tile's source, as stored.
#[derive(Clone, Debug)]
pub struct FetchedTile {
    /// The encoded image.
    pub bytes: Bytes,
}

/// Local files of so many bytes together are fetched in one go.
const GROUP_BYTES: u64 = 256 << 10;
/// So many files at most are fetched in one go.
const MOST_IN_GROUP: usize = 16;

/// Fetches the sources of one run.
pub struct Fetcher {
    storage: Storage,
    run: Arc<Run>,
    max_object_bytes: u64,
    memory: Memory,
    scenes: Scenes,
}

impl Fetcher {
    /// Creates a fetcher; objects that are read whole and have more than `max_object_bytes` are rejected unread.
    ///
    /// - `requests`: how many parts of objects are asked for at once
    /// - `traffic`: counts them
    #[must_use]
    pub fn new(
        storage: Storage,
        run: Arc<Run>,
        max_object_bytes: u64,
        requests: NonZeroUsize,
        traffic: Arc<Traffic>,
    ) -> Self {
        let scenes = Scenes::new(Arc::new(Semaphore::new(requests.get())), traffic);
        Self { storage, run, max_object_bytes, memory: Memory::default(), scenes }
    }

    /// Returns how many of the first of these tiles, one at least, are best fetched in one go: small local
    /// files cost less to read than to hand from thread to thread.
    #[must_use]
    pub fn group_len(tiles: &[Tile]) -> usize {
        let mut num_bytes = 0_u64;
        let fits = |tile: &&Tile| {
            num_bytes = num_bytes.saturating_add(tile.source.size_bytes.unwrap_or(u64::MAX));
            let is_local = split_scheme(&tile.source.uri).is_some_and(|(scheme, _)| scheme == "file");
            is_local && num_bytes <= GROUP_BYTES
        };
        tiles.iter().take(MOST_IN_GROUP).take_while(fits).count().max(1)
    }

    /// Fetches the bytes of tiles: of one, or of a group of [`Self::group_len`].
    ///
    /// - returns: for each tile its bytes, or why it would fail again tomorrow
    ///
    /// # Errors
    ///
    /// If a store is away or the access is wrong: the run stops and the shard stays open.
    pub async fn fetch(&self, tiles: &[Tile]) -> Result<Vec<Result<FetchedTile, Rejection>>> {
        let uris: Vec<ObjectUri> =
            tiles.iter().map(|tile| ObjectUri::parse(&tile.source.uri)).collect::<Result<_>>()?;
        let objects = self.read(tiles, &uris).await?;
        let mut fetched = Vec::with_capacity(tiles.len());
        for ((tile, uri), object) in tiles.iter().zip(&uris).zip(objects) {
            fetched.push(match object {
                Ok(object) => {
                    self.memory.was_read(uri);
                    Ok(FetchedTile { bytes: object.bytes })
                }
                Err(fault) => Err(self.judge_fault(fault, &tile.source, uri).await?),
            });
        }
        Ok(fetched)
    }

    async fn read(&self, tiles: &[Tile], uris: &[ObjectUri]) -> Result<Vec<Result<Object, Fault>>> {
        let expected =
            |tile: &Tile| Expected { size: tile.source.size_bytes, version: tile.source.version.clone() };
        let bucket = self.storage.bucket(&uris[0]);
        if let ([tile], [uri]) = (tiles, uris) {
            return Ok(vec![bucket.get_expected(uri.key(), &expected(tile), self.max_object_bytes).await]);
        }
        let wanted = tiles.iter().zip(uris).map(|(tile, uri)| (uri.key().to_owned(), expected(tile)));
        bucket.get_local_files(wanted.collect(), self.max_object_bytes).await
    }

    /// Tells what is wrong with one object from what is wrong with its store.
    async fn judge_fault(&self, fault: Fault, source: &Source, uri: &ObjectUri) -> Result<Rejection> {
        match fault {
            Fault::TooLarge { size } => Ok(too_large(size, self.max_object_bytes)),
            Fault::Changed { version } => Ok(changed(version.as_deref())),
            Fault::Gone => self.judge_gone(source, uri).await,
            Fault::Forbidden => self.judge_forbidden(uri).await,
            Fault::Failed(error) => Err(error),
        }
    }

    async fn judge_gone(&self, source: &Source, uri: &ObjectUri) -> Result<Rejection> {
        let missing = if source.version.is_some() { Missing::SincePlanned } else { Missing::AllAlong };
        if self.judge().store_answers(uri, missing).await? {
            return Ok(Rejection::new(Reason::Gone, "the object is not there (404)"));
        }
        let message = format!("{uri} is gone, and so is all that would show that its folder is there");
        Err(Error::unavailable(message).hint(
            "if the folder is mounted or the bucket restored, run the same command again; if the images \
             were removed on purpose, put any file into that folder and run again; if they were moved, \
             plan them into another output",
        ))
    }

    async fn judge_forbidden(&self, uri: &ObjectUri) -> Result<Rejection> {
        if self.judge().others_are_readable(uri).await? {
            let detail = "the object may not be read (403), others of its store can";
            return Ok(Rejection::new(Reason::Forbidden, detail));
        }
        let message = format!("access to {uri} is denied, and to every other object asked for");
        Err(Error::config(message).hint("check the credentials and their rights to read the input"))
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

fn changed(version: Option<&str>) -> Rejection {
    let now = version.map_or_else(String::new, |version| format!(" and is now version {version}"));
    Rejection::new(
        Reason::Changed,
        format!(
            "the object has changed since it was planned{now}; `tilefleet rejects OUTPUT --retry` reads it anew"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::TileId;

    fn tiles(sources: &[(&str, Option<u64>)]) -> Vec<Tile> {
        let tile = |&(uri, size_bytes): &(&str, Option<u64>)| Tile {
            id: TileId::of(uri, 0, 0, None),
            source: Source { uri: uri.into(), version: None, size_bytes, ..Source::default() },
            level: 0,
            frame: 0,
            window: None,
        };
        sources.iter().map(tile).collect()
    }

    #[test]
    fn only_small_local_files_are_fetched_together() {
        let small = ("file:///a", Some(1000));
        assert_eq!(Fetcher::group_len(&tiles(&[small; 3])), 3);
        assert_eq!(Fetcher::group_len(&tiles(&[small; 40])), MOST_IN_GROUP);
        for other in [("s3://b/a", Some(1000)), ("file:///b", None), ("file:///b", Some(GROUP_BYTES))] {
            assert_eq!(Fetcher::group_len(&tiles(&[small, other, small])), 1, "{other:?}");
            assert_eq!(Fetcher::group_len(&tiles(&[other, small])), 1, "{other:?}");
        }
        assert_eq!(Fetcher::group_len(&tiles(&[("file:///b", Some(GROUP_BYTES)), small])), 1);
    }
}
