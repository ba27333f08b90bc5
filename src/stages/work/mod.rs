//! Where a worker gets its shards from.
//!
//! ```text
//! next ─▶ a lease ─┬─▶ renew, renew, … ─▶ done       its rows are committed
//!                  ├─▶ put back                      it cannot be finished here and now
//!                  └─▶ lost                          another worker has it: drop the work, take the next
//! ```
//!
//! A lease keeps two workers from doing the same work; it is no lock. Whether a shard has rows is decided by the
//! create-only PUT of its object alone, so a worker whose lease is lost harms nobody.
//!
//! [`OpenShards`] is whatever is still open of a run, on this machine. [`ShareFirst`] is a worker's share of an array
//! job, then what others have left open. [`queue::QueueShards`] is what a queue gives to one of its workers. Each passes the
//! contract suite in `tests/it/work.rs`.

mod engines;
mod local;
pub mod queue;
mod share;
mod share_first;

use std::collections::HashSet;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::input::storage::StoreError;
use crate::output::Run;
use crate::output::provenance::is_our_own;
use crate::vocabulary::error::{Error, Kind, Result};

pub use engines::{ArrayTask, COUNT_VARIABLE, JOB_VARIABLE};
pub use local::OpenShards;
pub use share::Share;
pub use share_first::ShareFirst;

/// A shard that the holder works on until it is done, put back or lost.
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: u32,
    /// Tells this lease from all others of its source, also of the same shard.
    pub id: u64,
    /// The holder renews it this often, and is told whether it is lost; it may be lost because nobody renews it.
    /// `None`: it cannot be lost.
    pub renew_every: Option<Duration>,
}

impl Lease {
    /// Says that it has ended.
    fn ended(&self) -> Error {
        Error::new(Kind::LeaseLost, format!("the lease of shard {} has ended", self.shard))
    }

    /// Says that it is of no use any more.
    fn is_useless(&self) -> Error {
        Error::new(Kind::LeaseLost, format!("another worker has committed shard {}", self.shard))
    }
}

/// What a source answers a worker that wants work.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This shard is the caller's.
    Shard(Lease),
    /// This shard was open, and is committed by another worker: ask again at once.
    Elsewhere(u32),
    /// Nothing for now: all that is open is leased. Ask again after this long, or when a lease of the caller ends.
    Wait(Duration),
    /// Nothing is left, nor will be, for this worker.
    Done,
}

/// How a shard is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutBack {
    /// Anybody may take it at once: this worker stops.
    Now,
    /// It needs an object that cannot be read for now: whoever takes it works on others first.
    Later,
    /// This worker has tried it often enough, and is not to get it again.
    LeftOpen,
}

/// What was open when the source was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// The shard that this worker may be given first.
    pub first: Option<u32>,
    /// Tiles of all that this worker may be given.
    pub tiles: u64,
}

/// Hands out the shards of one run.
///
/// - Each open shard is handed out until it is done or committed by somebody, and is leased to one holder at a time.
/// - A shard whose lease is put back, or expires, is handed out again. Done is final.
/// - It prints and counts nothing: what is to be told is in the answers.
///
/// All methods may be called by several tasks at once. Dropping the future of [`Self::next`] may leave a shard leased
/// to nobody.
pub trait WorkSource: Send + Sync {
    /// Returns what was open at first.
    fn backlog(&self) -> Backlog;

    /// Returns how many tiles this worker is likely to work on, if others work beside it.
    fn likely_tiles(&self) -> u64 {
        self.backlog().tiles
    }

    /// Returns a shard to work on, unless there is none.
    ///
    /// # Errors
    ///
    /// As the store or the queue answers; nothing is leased then.
    fn next(&self) -> BoxFuture<'_, Result<Next>>;

    /// Extends a lease; one that does not expire always is.
    ///
    /// # Errors
    ///
    /// `LeaseLost` if it has ended; as the queue answers otherwise, and the lease stands until it expires.
    fn renew<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>>;

    /// Tells that another worker was the first to commit the shard of a lease: both work on the same part of the run.
    fn another_was_first(&self, _lease: &Lease) {}

    /// Ends the lease of a shard whose rows are committed, by the holder or by anybody else.
    ///
    /// # Errors
    ///
    /// `LeaseLost` if it has ended; the rows are committed all the same. As the queue answers otherwise.
    fn done<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>>;

    /// Ends the lease of a shard that stays open.
    ///
    /// # Errors
    ///
    /// `LeaseLost` if it has ended; as the queue answers otherwise.
    fn put_back<'a>(&'a self, lease: &'a Lease, how: PutBack) -> BoxFuture<'a, Result<()>>;
}

/// Returns the shards that nobody has committed, in order.
///
/// # Errors
///
/// As the store answers.
pub async fn open_shards(run: &Run) -> Result<Vec<u32>> {
    let committed: HashSet<u32> = run.committed().await?.shards.iter().map(|shard| shard.number).collect();
    Ok((0..run.num_shards()).filter(|number| !committed.contains(number)).collect())
}

/// Returns whether a shard is committed, by whomever.
///
/// # Errors
///
/// As the store answers.
pub async fn is_committed(run: &Run, shard: u32) -> Result<bool> {
    let key = run.shard_key(shard);
    match run.output.bucket.head(&key).await {
        Ok(_) => Ok(true),
        Err(StoreError::Gone) => Ok(false),
        Err(error) => Err(error.into_error(&key)),
    }
}

/// Returns whether another worker has committed a shard: the rest of the work on it can be saved.
async fn is_committed_by_another(run: &Run, shard: u32) -> Result<bool> {
    Ok(is_committed(run, shard).await? && !is_our_own(run, shard).await?)
}
