//! Queues bounded in bytes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit stands for so many bytes.
const UNIT_BYTES: u64 = 1024;

/// The bytes that one queue may hold.
///
/// An item larger than the whole budget is admitted when the queue is empty, so nothing can wait for
/// ever. Waiting is first come, first served.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    units: Arc<Semaphore>,
    capacity: u32,
}

/// Bytes taken from a budget, given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    _permit: OwnedSemaphorePermit,
}

impl ByteBudget {
    /// Creates a budget of so many bytes.
    #[must_use]
    pub fn new(num_bytes: u64) -> Self {
        let capacity = u32::try_from(num_bytes / UNIT_BYTES).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3);
        Self { units: Arc::new(Semaphore::new(capacity as usize)), capacity }
    }

    /// Returns what holding so many bytes takes from a budget.
    #[must_use]
    pub fn rounded(num_bytes: u64) -> u64 {
        num_bytes.next_multiple_of(UNIT_BYTES)
    }

    /// Waits until the bytes fit.
    pub async fn reserve(&self, num_bytes: u64) -> Reservation {
        let units = self.units_for(num_bytes);
        let permit = self.units.clone().acquire_many_owned(units).await;
        Reservation { _permit: permit.expect("the semaphore is never closed") }
    }

    fn units_for(&self, num_bytes: u64) -> u32 {
        u32::try_from(num_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).clamp(1, self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn an_oversized_item_is_admitted_alone() {
        let budget = ByteBudget::new(10 * UNIT_BYTES);
        let small = budget.reserve(1).await;
        let pending = tokio::time::timeout(Duration::from_millis(20), budget.reserve(1 << 40)).await;
        assert!(pending.is_err(), "admitted beside another item");
        drop(small);
        let _large = budget.reserve(1 << 40).await;
    }
}
