//! Clocks that nobody has to wait for.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use tilefleet::vocabulary::time::{Clock, Timestamp};
use tokio::sync::watch;

fn beginning() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

/// A clock that passes by being looked at and by sleeping, and at no other time: whoever does the same reads the same.
#[derive(Debug)]
pub struct SimulatedClock(Mutex<Timestamp>);

impl SimulatedClock {
    /// Begins so long after a fixed moment.
    pub fn ahead_by(time: Duration) -> Self {
        Self(Mutex::new((beginning() + time).into()))
    }

    fn pass(&self, time: Duration) -> Timestamp {
        let mut now = self.0.lock().unwrap();
        *now = (SystemTime::from(*now) + time).into();
        *now
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.pass(Duration::from_millis(1))
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.pass(time);
        tokio::task::yield_now().boxed()
    }
}

/// A clock that a test sets; who sleeps wakes when it has come so far.
#[derive(Debug)]
pub struct ManualClock(watch::Sender<Timestamp>);

impl Default for ManualClock {
    fn default() -> Self {
        Self(watch::Sender::new(beginning().into()))
    }
}

impl ManualClock {
    pub fn advance(&self, time: Duration) {
        self.0.send_modify(|now| *now = (SystemTime::from(*now) + time).into());
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.sleep_since(self.now(), time)
    }

    fn sleep_since(&self, moment: Timestamp, time: Duration) -> BoxFuture<'static, ()> {
        let until = Timestamp::from(SystemTime::from(moment) + time);
        let mut changes = self.0.subscribe();
        // The sender is gone only with the test.
        async move { drop(changes.wait_for(|now| *now >= until).await) }.boxed()
    }
}
