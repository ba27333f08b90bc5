//! A delivery that a worker keeps before it leases the shard: opening the run and loading the model take their time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::{Broker, Delivery, Held, give_back, take_away};
use crate::vocabulary::time::{Clock, Timestamp};

/// A delivery that is extended until it is taken or given back. If this is dropped, it has to expire.
pub struct Kept {
    broker: Arc<dyn Broker>,
    delivery: Delivery,
    extended: Arc<Mutex<Timestamp>>,
    keeper: AbortHandle,
}

impl Kept {
    /// Extends a delivery from now on.
    #[must_use]
    pub fn new(broker: Arc<dyn Broker>, held: Held, clock: Arc<dyn Clock>) -> Self {
        let Held { delivery, extended } = held;
        let extended = Arc::new(Mutex::new(extended));
        let keeping = keep(broker.clone(), delivery.clone(), extended.clone(), clock);
        Self { broker, delivery, extended, keeper: tokio::spawn(keeping).abort_handle() }
    }

    /// Returns the delivery.
    #[must_use]
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// Hands the delivery over to whoever extends it from now on.
    #[must_use]
    pub fn take(self) -> Held {
        let extended = *self.extended.lock().unwrap_or_else(PoisonError::into_inner);
        Held { delivery: self.delivery.clone(), extended }
    }

    /// Gives the delivery back, as far as the broker can be reached: anybody may have it after so long.
    pub async fn put_back(&self, after: Duration) {
        self.keeper.abort();
        give_back(&*self.broker, &self.delivery, after).await;
    }

    /// Takes the message away, as far as the broker can be reached.
    pub async fn finish(&self) {
        self.keeper.abort();
        take_away(&*self.broker, &self.delivery).await;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn keep(
    broker: Arc<dyn Broker>,
    delivery: Delivery,
    extended: Arc<Mutex<Timestamp>>,
    clock: Arc<dyn Clock>,
) {
    loop {
        clock.sleep(broker.lease() / 3).await;
        let asked = clock.now();
        match broker.extend(&delivery).await {
            Ok(()) => *extended.lock().unwrap_or_else(PoisonError::into_inner) = asked,
            Err(error) => tracing::debug!("a message could not be kept for now: {error}"),
        }
    }
}
