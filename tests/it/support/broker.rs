//! A broker that the tests have made up, after JetStream: a message is known by its place in the stream, so that an answer
//! to an old delivery is taken for one to the newest, even if the stream was wiped and filled again meanwhile. It fails as
//! often as it is told to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use tilefleet::output::RunId;
use tilefleet::stages::work::queue::{Broker, Delivery, ShardMessage, Standing, Stored};
use tilefleet::vocabulary::error::{Error, Result};
use tilefleet::vocabulary::time::{Clock, Timestamp};
use tilefleet_testing::Random;

/// One stream, for any number of workers.
pub struct FakeBroker<C> {
    pub clock: Arc<C>,
    lease: Duration,
    state: Mutex<State>,
    pub num_deliveries: AtomicUsize,
    num_ends: AtomicUsize,
    /// The first worker is given nothing for now.
    pub cuts_off_first: AtomicBool,
}

/// A worker's end of it.
pub struct BrokerEnd<C> {
    broker: Arc<FakeBroker<C>>,
    is_first: bool,
}

#[derive(Default)]
struct State {
    /// By their place in the stream.
    messages: BTreeMap<u64, Kept>,
    last_place: u64,
    trouble: Option<Random>,
}

struct Kept {
    message: ShardMessage,
    visible_at: Timestamp,
    is_held: bool,
}

impl<C: Clock> FakeBroker<C> {
    /// A broker that does what it should.
    pub fn new(clock: Arc<C>, lease: Duration) -> Arc<Self> {
        Self::with(clock, lease, None)
    }

    /// A broker to which everything happens that may.
    pub fn faulty(clock: Arc<C>, lease: Duration, seed: u64) -> Arc<Self> {
        Self::with(clock, lease, Some(Random(seed)))
    }

    fn with(clock: Arc<C>, lease: Duration, trouble: Option<Random>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            lease,
            state: Mutex::new(State { trouble, ..State::default() }),
            num_deliveries: AtomicUsize::new(0),
            num_ends: AtomicUsize::new(0),
            cuts_off_first: AtomicBool::new(false),
        })
    }

    pub fn end(self: &Arc<Self>) -> BrokerEnd<C> {
        let is_first = self.num_ends.fetch_add(1, Ordering::Relaxed) == 0;
        BrokerEnd { broker: Arc::clone(self), is_first }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn deliver(&self) -> Option<Delivery> {
        let now = self.clock.now();
        let mut state = self.state();
        let again = state.happens(16);
        let (place, message) = state.messages.iter_mut().find(|(_, message)| message.visible_at <= now)?;
        if !again {
            message.visible_at = later(now, self.lease);
        }
        message.is_held = true;
        let delivery = Delivery { message: message.message.clone(), receipt: place.to_string() };
        self.num_deliveries.fetch_add(1, Ordering::Relaxed);
        Some(delivery)
    }

    /// Does something to the message of a delivery, if it is in a worker's hands: whoever's.
    fn answer(&self, delivery: &Delivery, what: impl FnOnce(&mut State, u64)) -> Result<()> {
        let mut state = self.trouble()?;
        let answer_is_lost = state.happens(12);
        if answer_is_lost {
            return Ok(());
        }
        let place: u64 = delivery.receipt.parse().unwrap();
        if state.messages.get(&place).is_some_and(|message| message.is_held) {
            what(&mut state, place);
        }
        Ok(())
    }

    /// What may happen at any time.
    fn trouble(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let (is_wiped, is_away) = (state.happens(60), state.happens(20));
        if is_wiped {
            state.wipe();
        }
        if is_away {
            return Err(Error::unavailable("the broker is away"));
        }
        Ok(state)
    }
}

impl State {
    /// Returns whether something happens that does once in so many times.
    fn happens(&mut self, once_in: usize) -> bool {
        self.trouble.as_mut().is_some_and(|random| random.below(once_in) == 0)
    }

    fn wipe(&mut self) {
        self.messages.clear();
        self.last_place = 0;
    }

    fn store(&mut self, message: ShardMessage, visible_at: Timestamp) -> bool {
        if self.messages.values().any(|stored| stored.message == message) {
            return false;
        }
        self.last_place += 1;
        let is_lost = self.happens(16);
        if !is_lost {
            self.messages.insert(self.last_place, Kept { message, visible_at, is_held: false });
        }
        true
    }
}

fn later(moment: Timestamp, time: Duration) -> Timestamp {
    (SystemTime::from(moment) + time).into()
}

impl<C: Clock> Broker for BrokerEnd<C> {
    fn lease(&self) -> Duration {
        self.broker.lease
    }

    /// Nobody has to wait.
    fn pull(&self, _at_most: Duration) -> BoxFuture<'_, Result<Option<Delivery>>> {
        let is_cut_off = self.is_first && self.broker.cuts_off_first.load(Ordering::Relaxed);
        let pulled = self.broker.trouble().map(drop);
        let pulled = pulled.map(|()| if is_cut_off { None } else { self.broker.deliver() });
        std::future::ready(pulled).boxed()
    }

    fn extend<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        let visible_at = later(self.broker.clock.now(), self.broker.lease);
        let extended = self.broker.answer(delivery, |state, place| {
            state.messages.get_mut(&place).unwrap().visible_at = visible_at;
        });
        std::future::ready(extended).boxed()
    }

    fn finish<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<()>> {
        let finished = self.broker.answer(delivery, |state, place| drop(state.messages.remove(&place)));
        std::future::ready(finished).boxed()
    }

    fn put_back<'a>(&'a self, delivery: &'a Delivery, after: Duration) -> BoxFuture<'a, Result<()>> {
        let visible_at = later(self.broker.clock.now(), after);
        let put_back = self.broker.answer(delivery, |state, place| {
            let message = state.messages.get_mut(&place).unwrap();
            message.visible_at = visible_at;
            message.is_held = !after.is_zero();
        });
        std::future::ready(put_back).boxed()
    }

    fn store<'a>(&'a self, run: &'a RunId, shards: &'a [u32]) -> BoxFuture<'a, Result<Stored>> {
        let visible_at = self.broker.clock.now();
        let stored = self.broker.trouble().map(|mut state| {
            let mut stored = Stored::default();
            for &shard in shards {
                let is_new = state.store(ShardMessage { run: run.clone(), shard }, visible_at);
                *(if is_new { &mut stored.new } else { &mut stored.there_before }) += 1;
            }
            stored
        });
        std::future::ready(stored).boxed()
    }

    fn standing(&self) -> BoxFuture<'_, Result<Standing>> {
        let now = self.broker.clock.now();
        let standing = self.broker.trouble().map(|state| {
            let pending = state.messages.values().filter(|message| message.visible_at <= now).count() as u64;
            Standing { pending, held: state.messages.len() as u64 - pending }
        });
        std::future::ready(standing).boxed()
    }
}
