//! Clocks that nobody has to wait for.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use tilefleet::vocabulary::time::{Clock, Timestamp};

/// A clock that passes by being looked at and by sleeping, and at no other time: whoever does the same reads the same.
#[derive(Debug)]
pub struct SimulatedClock(Mutex<Timestamp>);

impl SimulatedClock {
    /// Begins so long after a fixed moment.
    pub fn ahead_by(time: Duration) -> Self {
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + time;
        Self(Mutex::new(moment.into()))
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
