//! A queue of shards: its leases expire by a clock, and it delivers again what it was not told to be done.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use tilefleet::output::Run;
use tilefleet::stages::work::{Backlog, Lease, Next, PutBack, WorkSource, is_committed, open_shards};
use tilefleet::vocabulary::error::{Error, Kind, Result};
use tilefleet::vocabulary::time::{Clock, Timestamp};

/// Messages about the open shards of a run, for any number of workers.
pub struct Queue<C> {
    pub clock: Arc<C>,
    /// How long a message stays hidden once it is delivered.
    lease: Duration,
    /// Whether workers are told to renew.
    renews: bool,
    state: Mutex<Messages>,
    pub num_lost: AtomicUsize,
    pub num_deliveries: AtomicUsize,
    num_consumers: AtomicUsize,
    /// The first consumer is given nothing for now.
    pub cuts_off_first: AtomicBool,
}

#[derive(Default)]
struct Messages {
    open: Vec<Message>,
    num_leases: u64,
    is_filled: bool,
}

struct Message {
    shard: u32,
    /// The lease it was delivered with last.
    lease: u64,
    visible_at: Timestamp,
}

/// One worker's end of the queue.
pub struct Consumer<C> {
    queue: Arc<Queue<C>>,
    run: Arc<Run>,
    backlog: Backlog,
    is_first: bool,
    left_open: Mutex<BTreeSet<u32>>,
}

impl<C: Clock> Queue<C> {
    pub fn new(clock: Arc<C>, lease: Duration, renews: bool) -> Arc<Self> {
        Arc::new(Self {
            clock,
            lease,
            renews,
            state: Mutex::default(),
            num_lost: AtomicUsize::new(0),
            num_deliveries: AtomicUsize::new(0),
            num_consumers: AtomicUsize::new(0),
            cuts_off_first: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, Messages> {
        self.state.lock().unwrap()
    }

    /// Stores the open shards, if nobody has, and returns an end of it.
    pub async fn consumer(self: Arc<Self>, run: Arc<Run>) -> Result<Consumer<C>> {
        let open = open_shards(&run).await?;
        let visible_at = self.clock.now();
        let messages = open.iter().map(|&shard| Message { shard, lease: 0, visible_at });
        let mut state = self.state();
        if !std::mem::replace(&mut state.is_filled, true) {
            state.open = messages.collect();
        }
        drop(state);
        let tiles = open.iter().map(|shard| run.num_tiles(*shard)).sum();
        let backlog = Backlog { first: open.first().copied(), tiles };
        let is_first = self.num_consumers.fetch_add(1, Ordering::Relaxed) == 0;
        Ok(Consumer { queue: self, run, backlog, is_first, left_open: Mutex::default() })
    }

    /// Returns the messages, if the lease still holds.
    fn holding(&self, lease: &Lease) -> Result<(MutexGuard<'_, Messages>, usize)> {
        let (state, now) = (self.state(), self.clock.now());
        let is_held = |message: &Message| message.lease == lease.id && message.visible_at > now;
        if let Some(index) = state.open.iter().position(is_held) {
            return Ok((state, index));
        }
        self.num_lost.fetch_add(1, Ordering::Relaxed);
        Err(Error::new(Kind::LeaseLost, "the message was delivered again"))
    }
}

impl Messages {
    fn deliver(
        &mut self,
        now: Timestamp,
        lease: Duration,
        left_open: &BTreeSet<u32>,
    ) -> Result<(u32, u64), Next> {
        self.num_leases += 1;
        let id = self.num_leases;
        let mut wanted: Vec<_> =
            self.open.iter_mut().filter(|message| !left_open.contains(&message.shard)).collect();
        // Those that were not seen for the longest time first.
        wanted.sort_by_key(|message| (message.visible_at, message.lease));
        match wanted.first_mut() {
            Some(message) if message.visible_at <= now => {
                (message.lease, message.visible_at) = (id, later(now, lease));
                Ok((message.shard, id))
            }
            Some(message) => Err(Next::Wait(message.visible_at.since(now))),
            None => Err(Next::Done),
        }
    }
}

fn later(moment: Timestamp, time: Duration) -> Timestamp {
    (SystemTime::from(moment) + time).into()
}

impl<C: Clock> WorkSource for Consumer<C> {
    fn backlog(&self) -> Backlog {
        self.backlog
    }

    fn next(&self) -> BoxFuture<'_, Result<Next>> {
        async {
            let Queue { clock, lease, renews, num_deliveries, .. } = &*self.queue;
            if self.is_first && self.queue.cuts_off_first.load(Ordering::Relaxed) {
                return Ok(Next::Wait(*lease));
            }
            let delivered = self.queue.state().deliver(clock.now(), *lease, &self.left_open.lock().unwrap());
            let (shard, id) = match delivered {
                Ok(delivered) => delivered,
                Err(next) => return Ok(next),
            };
            num_deliveries.fetch_add(1, Ordering::Relaxed);
            let lease = Lease { shard, id, renew_every: renews.then_some(*lease / 3) };
            match is_committed(&self.run, shard).await {
                Ok(false) => Ok(Next::Shard(lease)),
                Ok(true) => {
                    self.queue.state().open.retain(|message| message.shard != shard);
                    Ok(Next::Elsewhere(shard))
                }
                Err(error) => {
                    self.put_back(&lease, PutBack::Now).await?;
                    Err(error)
                }
            }
        }
        .boxed()
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        let renewed = self.queue.holding(lease).map(|(mut state, index)| {
            state.open[index].visible_at = later(self.queue.clock.now(), self.queue.lease);
        });
        std::future::ready(renewed).boxed()
    }

    fn done<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        let done = self.queue.holding(lease).map(|(mut state, index)| {
            state.open.remove(index);
        });
        std::future::ready(done).boxed()
    }

    fn put_back<'a>(&'a self, lease: &'a Lease, how: PutBack) -> BoxFuture<'a, Result<()>> {
        let delay = if how == PutBack::Later { Duration::from_secs(3) } else { Duration::ZERO };
        let put_back = self.queue.holding(lease).map(|(mut state, index)| {
            state.open[index].visible_at = later(self.queue.clock.now(), delay);
        });
        if how == PutBack::LeftOpen {
            self.left_open.lock().unwrap().insert(lease.shard);
        }
        std::future::ready(put_back).boxed()
    }
}
