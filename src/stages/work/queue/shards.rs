//! The shards of one run, from a queue.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Broker, Delivery, Kept, Patience, give_back, take_away};
use crate::output::Run;
use crate::stages::work::{
    Backlog, Lease, Next, PutBack, WorkSource, is_committed, is_committed_by_another, open_shards,
};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::{Clock, Timestamp};

/// A pull waits so long for a message: meanwhile nobody need ask what is in the queue.
const PULL: Duration = Duration::from_secs(1);

/// A shard with an object that cannot be read now may be had again after so long.
const LATER: Duration = Duration::from_secs(3);

/// A shard that this worker has tried often enough may be had by others after so long.
const FOR_OTHERS: Duration = Duration::from_secs(30);

/// While others hold all that is left, the queue is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The shards of a run that a queue gives to this worker.
///
/// It is done once every shard is committed, or the queue has a message of another run, or there was nothing for it so long
/// while other workers held what is left.
pub struct QueueShards {
    broker: Arc<dyn Broker>,
    run: Arc<Run>,
    /// Without work for so long, this worker leaves the rest to the others.
    idle: Duration,
    backlog: Backlog,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Delivered before the run was opened.
    first: Option<Kept>,
    held: HashMap<u64, Held>,
    num_leases: u64,
    left_open: BTreeSet<u32>,
    /// Found to be committed by others, and not told yet.
    elsewhere: VecDeque<u32>,
    is_done: bool,
    idle_since: Option<Timestamp>,
    patience: Patience,
}

/// A delivery, and since when this worker has it.
#[derive(Debug)]
pub struct Held {
    /// The delivery.
    pub delivery: Delivery,
    /// A moment before it was delivered, or extended.
    pub extended: Timestamp,
}

impl QueueShards {
    /// Begins with a message that was delivered already, if any.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(
        broker: Arc<dyn Broker>,
        run: Arc<Run>,
        first: Option<Kept>,
        idle: Duration,
    ) -> Result<Self> {
        let open = open_shards(&run).await?;
        let next = first.as_ref().map(|kept| kept.delivery().message.shard);
        let backlog = Backlog {
            first: next.filter(|shard| open.contains(shard)).or_else(|| open.first().copied()),
            tiles: open.iter().map(|shard| run.num_tiles(*shard)).sum(),
        };
        let state = State { first, ..State::default() };
        Ok(Self { broker, run, idle, backlog, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        self.run.output.process.clock()
    }

    async fn ask(&self) -> Result<Next, Trouble> {
        loop {
            if let Some(next) = self.state().known() {
                return Ok(next);
            }
            let next = match self.deliver().await.map_err(Trouble::Broker)? {
                Some(held) => {
                    self.state().patience.served();
                    self.take(held).await.map_err(Trouble::Store)?
                }
                None => self.without_work().await?,
            };
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    async fn deliver(&self) -> Result<Option<Held>> {
        let first = self.state().first.take();
        if let Some(first) = first.map(Kept::take).filter(|first| !self.has_expired(first)) {
            return Ok(Some(first));
        }
        let extended = self.clock().now();
        let delivery = self.broker.pull(PULL).await?;
        Ok(delivery.map(|delivery| Held { delivery, extended }))
    }

    /// Takes a message; `None` if there is nothing to do for it here.
    async fn take(&self, held: Held) -> Result<Option<Next>> {
        let Held { delivery, .. } = &held;
        let shard = delivery.message.shard;
        if delivery.message.run != self.run.id {
            give_back(&*self.broker, delivery, Duration::ZERO).await;
            self.state().is_done = true;
            return Ok(None);
        }
        if shard >= self.run.num_shards() {
            tracing::warn!(run = %self.run.id, shard, "the queue names a shard that the run does not have");
            take_away(&*self.broker, delivery).await;
            return Ok(None);
        }
        if self.state().left_open.contains(&shard) {
            give_back(&*self.broker, delivery, FOR_OTHERS).await;
            return Ok(None);
        }
        match is_committed(&self.run, shard).await {
            Ok(false) => Ok(self.lease(held)),
            Ok(true) => {
                take_away(&*self.broker, delivery).await;
                Ok(Some(Next::Elsewhere(shard)))
            }
            Err(error) => {
                give_back(&*self.broker, delivery, Duration::ZERO).await;
                Err(error)
            }
        }
    }

    /// Leases the shard. If this worker holds it, that is the same work by a newer message, and there is nothing to do.
    fn lease(&self, held: Held) -> Option<Next> {
        let mut state = self.state();
        state.idle_since = None;
        let shard = held.delivery.message.shard;
        let same = state.held.iter().find(|(_, held)| held.delivery.message.shard == shard);
        let same = same.map(|(&id, held)| (id, self.has_expired(held)));
        if let Some((id, false)) = same {
            state.held.insert(id, held);
            return None;
        }
        if let Some((expired, true)) = same {
            state.held.remove(&expired);
        }
        state.num_leases += 1;
        let id = state.num_leases;
        state.held.insert(id, held);
        Some(Next::Shard(Lease { shard, id, renew_every: Some(self.broker.lease() / 3) }))
    }

    /// Answers where no message was to be had; `None`: ask again.
    async fn without_work(&self) -> Result<Option<Next>, Trouble> {
        let standing = self.broker.standing().await.map_err(Trouble::Broker)?;
        if standing.pending > 0 {
            let now = self.clock().now();
            self.state().patience.bear_vain_pull(standing, now).map_err(Trouble::InVain)?;
            return Ok(Some(Next::Wait(ASK_AGAIN)));
        }
        if self.holds_any() {
            return Ok(Some(Next::Wait(PULL)));
        }
        if standing.held > 0 {
            return Ok(Some(self.wait_for_others()));
        }
        let was_lost = self.store_again().await?;
        // Else there are messages that the broker does not count, and the next pull may bring one.
        Ok(if was_lost { None } else { Some(self.wait_for_others()).filter(|next| *next == Next::Done) })
    }

    fn wait_for_others(&self) -> Next {
        let now = self.clock().now();
        let mut state = self.state();
        let since = *state.idle_since.get_or_insert(now);
        state.is_done = now.since(since) >= self.idle;
        if state.is_done { Next::Done } else { Next::Wait(ASK_AGAIN) }
    }

    /// Stores again what is open though the queue is empty: a broker may lose messages, or be wiped. If nothing is, all is
    /// done. Returns false if there are messages that the broker does not count.
    async fn store_again(&self) -> Result<bool, Trouble> {
        let open = self.lost().await.map_err(Trouble::Store)?;
        if open.is_empty() {
            self.state().is_done = true;
            return Ok(true);
        }
        let run = &self.run.id;
        tracing::warn!(%run, shards = open.len(), "the queue has lost messages about open shards, which are stored again");
        let stored = self.broker.store(run, &open).await.map_err(Trouble::Broker)?;
        Ok(stored.new > 0)
    }

    async fn lost(&self) -> Result<Vec<u32>> {
        if self.run.output.is_deleted(&self.run.id).await? {
            return Ok(Vec::new());
        }
        let mut open = open_shards(&self.run).await?;
        let state = self.state();
        open.retain(|shard| !state.left_open.contains(shard));
        Ok(open)
    }

    /// Forgets leases that have expired; returns whether any is left.
    fn holds_any(&self) -> bool {
        let mut state = self.state();
        state.held.retain(|_, held| !self.has_expired(held));
        !state.held.is_empty()
    }

    fn has_expired(&self, held: &Held) -> bool {
        self.clock().now().since(held.extended) >= self.broker.lease()
    }

    /// Returns the message of a lease that still stands.
    fn holding(&self, lease: &Lease) -> Result<Delivery> {
        let state = self.state();
        let held = state.held.get(&lease.id).filter(|held| !self.has_expired(held));
        held.map(|held| held.delivery.clone()).ok_or_else(|| lease.ended())
    }

    /// Ends a lease; returns its message if it still stood.
    fn end(&self, lease: &Lease) -> Result<Delivery> {
        let holding = self.holding(lease);
        self.state().held.remove(&lease.id);
        holding
    }

    async fn extend(&self, lease: &Lease) -> Result<()> {
        let delivery = self.holding(lease)?;
        let asked = self.clock().now();
        // Before the store, which may be slow: meanwhile the lease would end.
        self.broker.extend(&delivery).await?;
        if let Some(held) = self.state().held.get_mut(&lease.id) {
            held.extended = asked;
        }
        // Where the store does not answer, that is not known.
        if is_committed_by_another(&self.run, lease.shard).await.unwrap_or(false) {
            self.state().held.remove(&lease.id);
            self.state().elsewhere.push_back(lease.shard);
            take_away(&*self.broker, &delivery).await;
            return Err(lease.is_useless());
        }
        Ok(())
    }

    async fn finish(&self, lease: &Lease) -> Result<()> {
        let delivery = self.end(lease)?;
        take_away(&*self.broker, &delivery).await;
        Ok(())
    }

    async fn return_to_queue(&self, lease: &Lease, how: PutBack) -> Result<()> {
        if how == PutBack::LeftOpen {
            self.state().left_open.insert(lease.shard);
        }
        let after = match how {
            PutBack::Now => Duration::ZERO,
            PutBack::Later => LATER,
            PutBack::LeftOpen => FOR_OTHERS,
        };
        let delivery = self.end(lease)?;
        give_back(&*self.broker, &delivery, after).await;
        Ok(())
    }

    /// Lets a broker be away for a while: what is leased goes on meanwhile, and is committed.
    fn bear(&self, trouble: Trouble) -> Result<Next> {
        let error = match trouble {
            Trouble::Broker(error) => error,
            Trouble::InVain(error) | Trouble::Store(error) => return Err(error),
        };
        self.state().patience.bear(error, self.clock().now())?;
        Ok(Next::Wait(Patience::PAUSE))
    }
}

impl State {
    /// Returns what there is to say without asking anybody.
    fn known(&mut self) -> Option<Next> {
        let elsewhere = self.elsewhere.pop_front().map(Next::Elsewhere);
        elsewhere.or_else(|| self.is_done.then_some(Next::Done))
    }
}

/// Who could not answer.
enum Trouble {
    Broker(Error),
    /// It answers, and gives nothing.
    InVain(Error),
    Store(Error),
}

impl WorkSource for QueueShards {
    fn backlog(&self) -> Backlog {
        self.backlog
    }

    fn next(&self) -> BoxFuture<'_, Result<Next>> {
        async {
            let asked = self.ask().await;
            match asked {
                Ok(next) => {
                    self.state().patience.answered();
                    Ok(next)
                }
                Err(trouble) => self.bear(trouble),
            }
        }
        .boxed()
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        self.extend(lease).boxed()
    }

    fn done<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        self.finish(lease).boxed()
    }

    fn put_back<'a>(&'a self, lease: &'a Lease, how: PutBack) -> BoxFuture<'a, Result<()>> {
        self.return_to_queue(lease, how).boxed()
    }
}
