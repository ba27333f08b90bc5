//! Fetch: brings a tile's bytes, and tells one bad object from a store that is away.
//!
//! Goes in: a planned tile. Comes out: [`FetchedTile`], the bytes that decoding needs, or a [`Miss`]: the verdict
//! that this object is gone, forbidden, another than was planned or given up, or that it is put off. It never
//! decodes.
//!
//! One object that answers 404 or 403 is a reject only if its store is seen to work after that (a web server's 404 is
//! taken at its word): see `OutageCheck`. Otherwise a folder that is not mounted, or a key that was revoked, would turn a whole
//! run into rejects.

mod outage_check;
mod read_plan;
mod readable_siblings;
mod scenes;
mod shared;
mod troubles;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Semaphore;

pub use self::read_plan::{BlockKey, ReadGroup, ReadPlan, blocks_of, check_size, sample_bytes};
pub(crate) use self::scenes::crashed;
pub use self::scenes::{FetchedBlock, OpenObject, OpenScene, Tables};

use self::outage_check::{Missing, OutageCheck, RecentReads};
use self::scenes::Scenes;
use self::troubles::Troubles;
use crate::config::Limits;
use crate::input::byte_ranges::{ReadError, too_large};
use crate::input::storage::{Expected, Object, ObjectUri, Storage, StoreError, split_scheme};
use crate::output::{Run, Source, Tile};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::traffic::Traffic;

/// The bytes of one tile's source, as stored.
#[derive(Clone, Debug)]
pub struct FetchedTile {
    /// The encoded image.
    pub bytes: Bytes,
}

/// Why a tile did not come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// It would fail again tomorrow, or has failed for long enough.
    Rejected(Rejection),
    /// Its object cannot be read for now: its shard stays open.
    PutOff,
    /// It is larger than there was room for: so many bytes at least are needed.
    Room(u64),
}

impl From<Rejection> for Miss {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Why something of a tile could not be had.
#[derive(Debug)]
pub enum FetchError {
    /// This tile does not come; others may.
    Missed(Miss),
    /// All stores are away or the access is wrong: the run stops and the shard stays open.
    Failed(Error),
}

impl From<Miss> for FetchError {
    fn from(miss: Miss) -> Self {
        Self::Missed(miss)
    }
}

impl From<Rejection> for FetchError {
    fn from(rejection: Rejection) -> Self {
        Self::Missed(rejection.into())
    }
}

impl From<Error> for FetchError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl FetchError {
    /// Returns why the tile does not come, for those who go on without it.
    ///
    /// # Errors
    ///
    /// If the run has to stop.
    pub fn miss(self) -> Result<Miss> {
        match self {
            Self::Missed(miss) => Ok(miss),
            Self::Failed(error) => Err(error),
        }
    }
}

/// The bytes of a tile, or why they do not come.
pub type TileOutcome = Result<FetchedTile, Miss>;

/// Local files of so many bytes together are fetched in one go.
const GROUP_BYTES: u64 = 256 << 10;
/// So many files at most are fetched in one go.
const MAX_IN_GROUP: usize = 16;

/// Fetches the sources of one run.
pub struct Fetcher {
    storage: Storage,
    run: Arc<Run>,
    max_object_bytes: u64,
    reads: RecentReads,
    scenes: Scenes,
    troubles: Troubles,
}

impl Fetcher {
    /// Creates a fetcher.
    ///
    /// - `limits`: which objects are too large, and when one that cannot be read is given up
    /// - `requests`: how many parts of objects are asked for at once
    /// - `traffic`: counts them
    #[must_use]
    pub fn new(
        storage: Storage,
        run: Arc<Run>,
        limits: &Limits,
        requests: NonZeroUsize,
        traffic: Arc<Traffic>,
    ) -> Self {
        let scenes = Scenes::new(Arc::new(Semaphore::new(requests.get())), traffic);
        let (max_object_bytes, troubles) = (limits.max_object_bytes, Troubles::new(limits.unreadable));
        Self { storage, run, max_object_bytes, reads: RecentReads::default(), scenes, troubles }
    }

    /// Returns how many of the first of these tiles, one at least, are best fetched in one go: small local
    /// files cost less to read than to hand from thread to thread.
    #[must_use]
    pub fn group_len(tiles: &[Tile]) -> usize {
        let mut num_bytes = 0_u64;
        let fits = |tile: &&Tile| {
            num_bytes = num_bytes.saturating_add(tile.source.size_bytes.unwrap_or(u64::MAX));
            let is_local =
                split_scheme(tile.source.uri.for_reading()).is_some_and(|(scheme, _)| scheme == "file");
            is_local && num_bytes <= GROUP_BYTES
        };
        tiles.iter().take(MAX_IN_GROUP).take_while(fits).count().max(1)
    }

    /// Fetches the bytes of tiles: of one, or of a group of [`Self::group_len`].
    ///
    /// - `room`: most bytes of a tile whose size is not known, if it is one tile
    /// - returns: for each tile its bytes, or why they do not come
    ///
    /// # Errors
    ///
    /// If all stores are away or the access is wrong: the run stops and the shard stays open.
    pub async fn fetch(&self, tiles: &[Tile], room: u64) -> Result<Vec<TileOutcome>> {
        let uris: Vec<ObjectUri> =
            tiles.iter().map(|tile| ObjectUri::of(&tile.source.uri)).collect::<Result<_>>()?;
        if let ([tile], [uri]) = (tiles, &uris[..]) {
            return Ok(vec![outcome(self.fetch_one(tile, uri, room).await)?]);
        }
        let began = Instant::now();
        let objects = self.read_files(tiles, &uris).await?;
        let mut fetched = Vec::with_capacity(tiles.len());
        for ((tile, uri), object) in tiles.iter().zip(&uris).zip(objects) {
            fetched.push(outcome(self.arrived(object, tile, uri, began).await)?);
        }
        Ok(fetched)
    }

    async fn fetch_one(&self, tile: &Tile, uri: &ObjectUri, room: u64) -> Result<FetchedTile, FetchError> {
        if let Some(miss) = self.troubles.known(tile.source_id, uri) {
            return Err(miss.into());
        }
        let began = Instant::now();
        let most = if tile.source.size_bytes.is_some() { u64::MAX } else { room }.min(self.max_object_bytes);
        let object = self.storage.bucket(uri).get_expected(uri.key(), &expected(tile), most).await;
        match object {
            // An answer in chunks does not say how large it is: eight times as much is tried then.
            Err(StoreError::TooLarge { size })
                if most < self.max_object_bytes && size <= self.max_object_bytes =>
            {
                Err(Miss::Room(size.max(most.saturating_mul(8)).min(self.max_object_bytes)).into())
            }
            object => self.arrived(object, tile, uri, began).await,
        }
    }

    async fn read_files(
        &self,
        tiles: &[Tile],
        uris: &[ObjectUri],
    ) -> Result<Vec<Result<Object, StoreError>>> {
        let wanted = tiles.iter().zip(uris).map(|(tile, uri)| (uri.key().to_owned(), expected(tile)));
        self.storage.bucket(&uris[0]).get_local_files(wanted.collect(), self.max_object_bytes).await
    }

    async fn arrived(
        &self,
        object: Result<Object, StoreError>,
        tile: &Tile,
        uri: &ObjectUri,
        began: Instant,
    ) -> Result<FetchedTile, FetchError> {
        let from = Origin { source: &tile.source, source_id: tile.source_id, began };
        let object = self.judged(object, &from, uri).await?;
        self.reads.was_read(uri);
        self.troubles.was_read(tile.source_id);
        Ok(FetchedTile { bytes: object.bytes })
    }

    /// Tells what is wrong with one object from what is wrong with its store.
    async fn judged<T>(
        &self,
        read: Result<T, impl Into<ReadError>>,
        from: &Origin<'_>,
        uri: &ObjectUri,
    ) -> Result<T, FetchError> {
        match ReadError::answer(read.map_err(Into::into)) {
            Ok(read) => Ok(read?),
            Err(fault) => Err(self.judge_fault(fault, from, uri).await?.into()),
        }
    }

    async fn judge_fault(&self, fault: StoreError, from: &Origin<'_>, uri: &ObjectUri) -> Result<Miss> {
        match fault {
            StoreError::TooLarge { size } => Ok(too_large(size, self.max_object_bytes).into()),
            StoreError::Changed { version } => Ok(changed(version.as_deref()).into()),
            StoreError::Gone => self.judge_gone(from.source, uri).await.map(Miss::Rejected),
            StoreError::Forbidden => self.judge_forbidden(uri).await.map(Miss::Rejected),
            StoreError::Failed(error) => self.judge_trouble(error, from.source_id, uri, from.began).await,
        }
    }

    async fn judge_gone(&self, source: &Source, uri: &ObjectUri) -> Result<Rejection> {
        let missing = if source.version.is_some() { Missing::SincePlanned } else { Missing::NeverSeen };
        if self.outage_check().store_answers(uri, missing).await? {
            return Ok(gone());
        }
        let message = format!(
            "{uri} was not found, and nothing else in its folder can be read: is the folder mounted?"
        );
        Err(Error::unavailable(message).hint(
            "mount the folder or restore the bucket, then run the same command again; if the images were \
             removed on purpose, put any file into that folder and run again; if they were moved, plan them \
             into another output",
        ))
    }

    async fn judge_forbidden(&self, uri: &ObjectUri) -> Result<Rejection> {
        if self.outage_check().others_are_readable(uri).await? {
            return Ok(forbidden());
        }
        let message = format!("access to {uri} and to all other requested objects is denied");
        Err(Error::config(message).hint("check the credentials and their rights to read the input"))
    }

    fn outage_check(&self) -> OutageCheck<'_> {
        OutageCheck {
            storage: &self.storage,
            sources: &self.run.sources,
            output: &self.run.output.uri,
            reads: &self.reads,
        }
    }
}

/// Takes a tile that does not come for an answer of its own.
fn outcome(fetched: Result<FetchedTile, FetchError>) -> Result<TileOutcome> {
    match fetched {
        Ok(tile) => Ok(Ok(tile)),
        Err(error) => error.miss().map(Err),
    }
}

/// What an object is read for, and since when.
struct Origin<'a> {
    source: &'a Source,
    source_id: u64,
    began: Instant,
}

fn expected(tile: &Tile) -> Expected {
    Expected { size: tile.source.size_bytes, version: tile.source.version.clone() }
}

/// Asks whether an object is there, and for its first byte: the first answer may say nothing of what reading it does.
///
/// # Errors
///
/// As the store answers.
pub(crate) async fn probe(storage: &Storage, uri: &ObjectUri) -> Result<(), StoreError> {
    let bucket = storage.bucket(uri);
    bucket.head(uri.key()).await?;
    bucket.get_range(uri.key(), 0, 1).await.map(|_| ())
}

/// Rejects an object that is not there, while its store answers.
pub(crate) fn gone() -> Rejection {
    Rejection::new(Reason::NotFound, "the object was not found (404)")
}

/// Rejects an object that may not be read, while others of its store can.
pub(crate) fn forbidden() -> Rejection {
    Rejection::new(
        Reason::Forbidden,
        "access to the object is denied (403), but others of its store can be read",
    )
}

fn changed(version: Option<&str>) -> Rejection {
    let now = version.map_or_else(String::new, |version| format!(" and is now version {version}"));
    Rejection::new(
        Reason::Changed,
        format!(
            "the object has changed since it was planned{now}; `tilefleet rejects OUTPUT --retry` reads it \
             again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::tile_id::TileId;

    fn tiles(sources: &[(&str, Option<u64>)]) -> Vec<Tile> {
        let tile = |&(uri, size_bytes): &(&str, Option<u64>)| Tile {
            id: TileId::of(uri, 0, 0, None),
            source_id: 0,
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
        assert_eq!(Fetcher::group_len(&tiles(&[small; 40])), MAX_IN_GROUP);
        for other in [("s3://b/a", Some(1000)), ("file:///b", None), ("file:///b", Some(GROUP_BYTES))] {
            assert_eq!(Fetcher::group_len(&tiles(&[small, other, small])), 1, "{other:?}");
            assert_eq!(Fetcher::group_len(&tiles(&[other, small])), 1, "{other:?}");
        }
        assert_eq!(Fetcher::group_len(&tiles(&[("file:///b", Some(GROUP_BYTES)), small])), 1);
    }
}
