//! Shards of a run from a queue that many workers drain.
//!
//! ```text
//! submit: open shards ─▶ messages ─┬─▶ pulled: a lease ─┬─▶ committed: finished, the message goes
//!                                  ▲                    ├─▶ put back, or not extended in time ─┐
//!                                  └────────────────────┴──────────────────────────────────────┘
//! ```
//!
//! The queue is a hint: the plan and the committed shards are the truth. A message may be lost, delivered twice or finished
//! by a worker that had it before the queue was wiped; so whoever finds the queue empty looks at what is committed, and
//! stores again what is still open. [`Broker`] is what a queue has to do; [`Nats`] does it with JetStream.

mod kept;
mod message;
mod nats;
mod patience;
mod shards;

use std::time::Duration;

use futures::future::BoxFuture;

use crate::output::{Run, RunId};
use crate::vocabulary::error::Result;

pub use kept::Kept;
pub use message::ShardMessage;
pub use nats::Nats;
pub use patience::Patience;
pub use shards::{Held, QueueShards};

/// A message that this worker has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The shard that is open.
    pub message: ShardMessage,
    /// Tells the broker which delivery it is.
    pub receipt: String,
}

/// What is in the queue, of all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Messages that nobody was given yet.
    pub pending: u64,
    /// Messages that workers hold, or that were put back: some of them anybody may be given now.
    pub held: u64,
}

/// What became of shards that were stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Messages that are new.
    pub new: u64,
    /// Shards that had a message already.
    pub there_before: u64,
}

/// Keeps one message per open shard, and gives each to one worker at a time, as far as it can.
///
/// Each method may fail with `Unavailable` while the broker is away, and with `Config` if it refuses this worker.
pub trait Broker: Send + Sync {
    /// Returns how long a delivery stands that is not extended.
    fn lease(&self) -> Duration;

    /// Waits for a message, at most so long.
    fn pull(&self, at_most: Duration) -> BoxFuture<'_, Result<Option<Delivery>>>;

    /// Extends a delivery by a whole lease.
    fn extend<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>>;

    /// Takes the message away.
    fn finish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>>;

    /// Gives a delivery back: anybody may have it after so long.
    fn put_back<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>>;

    /// Stores a message for each of these shards that has none.
    fn store<'a>(&'a self, run: &'a RunId, shards: &'a [u32]) -> BoxFuture<'a, Result<Stored>>;

    /// Returns what is in the queue.
    fn standing(&self) -> BoxFuture<'_, Result<Standing>>;
}

/// Stores the open shards of a run.
///
/// # Errors
///
/// As the store and the broker answer.
pub async fn submit(broker: &dyn Broker, run: &Run) -> Result<Stored> {
    broker.store(&run.id, &super::open_shards(run).await?).await
}

/// Takes a message away, as far as the broker can be reached; one that stays is delivered again, and found to be of no use.
async fn take_away(broker: &dyn Broker, delivery: &Delivery) {
    if let Err(error) = broker.finish(delivery).await {
        tracing::debug!(shard = delivery.message.shard, "a message stays in the queue: {error}");
    }
}

/// Gives a message back, as far as the broker can be reached; otherwise it is delivered again when its lease ends.
async fn give_back(broker: &dyn Broker, delivery: &Delivery, after: Duration) {
    if let Err(error) = broker.put_back(delivery, after).await {
        tracing::debug!(shard = delivery.message.shard, "a message has to expire: {error}");
    }
}
