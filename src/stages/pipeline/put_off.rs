//! Shards that stay open since an object cannot be read, and what has to end before that is known.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{Receiver, Sender, channel};

/// The numbers of shards that were put off.
#[derive(Default)]
pub(super) struct PutOff {
    shards: Mutex<BTreeSet<u32>>,
}

impl PutOff {
    fn shards(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a shard, once.
    pub(super) fn add(&self, shard: u32) {
        self.shards().insert(shard);
    }

    /// Returns how many there are.
    pub(super) fn num_left(&self) -> usize {
        self.shards().len()
    }

    /// Takes all of them out.
    pub(super) fn take(&self) -> Vec<u32> {
        std::mem::take(&mut *self.shards()).into_iter().collect()
    }
}

/// Tasks that fetch: when all of them have ended, no shard is put off any more.
pub(super) struct UnderWay {
    guard: Sender<Infallible>,
    ended: Receiver<Infallible>,
}

impl Default for UnderWay {
    fn default() -> Self {
        let (guard, ended) = channel(1);
        Self { guard, ended }
    }
}

impl UnderWay {
    /// Returns what a task holds until it has ended.
    pub(super) fn guard(&self) -> Sender<Infallible> {
        self.guard.clone()
    }

    /// Waits until no task holds anything.
    pub(super) async fn wait(&mut self) {
        let (guard, _) = channel(1);
        drop(std::mem::replace(&mut self.guard, guard));
        while self.ended.recv().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_waits_waits_for_all() {
        let mut under_way = UnderWay::default();
        let (first, second) = (under_way.guard(), under_way.guard());
        drop(first);
        let early = tokio::time::timeout(Duration::from_millis(20), under_way.wait()).await;
        assert!(early.is_err(), "one task is still under way");
        drop(second);
        under_way.wait().await;
    }

    #[test]
    fn a_shard_is_put_off_once() {
        let put_off = PutOff::default();
        for shard in [3, 1, 3] {
            put_off.add(shard);
        }
        assert_eq!((put_off.num_left(), put_off.take(), put_off.num_left()), (2, vec![1, 3], 0));
    }
}
