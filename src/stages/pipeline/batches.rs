//! The way from the decoding threads to the sessions: chips go in one by one and come out as batches.
//!
//! A session's thread sleeps until a whole batch is there: waking it for every chip costs more than
//! decoding part of one.

use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// However short `max_wait` is, an idle session looks no more often.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// Makes a way for chips; it ends when every [`ChipSender`] is gone.
///
/// - `size`: chips a batch
/// - `max_wait`: a partial batch leaves so long after its first chip came
#[must_use]
pub fn batches<T>(size: NonZeroUsize, max_wait: Duration) -> (ChipSender<T>, Batches<T>) {
    let state = State { chips: Vec::new(), first_at: None, senders: 1, paused: 0 };
    let shared = Arc::new(Shared { state: Mutex::new(state), ready: Condvar::new() });
    (ChipSender { shared: shared.clone(), size }, Batches { shared, size, max_wait })
}

/// Sends chips; each clone keeps the way open.
pub struct ChipSender<T> {
    shared: Arc<Shared<T>>,
    size: NonZeroUsize,
}

/// Receives batches; clones take turns.
pub struct Batches<T> {
    shared: Arc<Shared<T>>,
    size: NonZeroUsize,
    max_wait: Duration,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    ready: Condvar,
}

struct State<T> {
    chips: Vec<T>,
    /// When the oldest of `chips` came.
    first_at: Option<Instant>,
    senders: usize,
    /// How many of them wait before they send more.
    paused: usize,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl<T> ChipSender<T> {
    /// Sends one chip; never waits.
    pub fn send(&self, chip: T) {
        let mut state = self.shared.lock();
        state.first_at.get_or_insert_with(Instant::now);
        state.chips.push(chip);
        let is_whole = state.chips.len().is_multiple_of(self.size.get());
        drop(state);
        if is_whole {
            self.shared.ready.notify_one();
        }
    }
}

impl<T> ChipSender<T> {
    /// Says that this sender waits: while all others are gone, or wait too, a partial batch leaves at once.
    #[must_use]
    pub fn pause(&self) -> Pause<'_, T> {
        self.shared.lock().paused += 1;
        self.shared.ready.notify_all();
        Pause(self)
    }
}

/// A sender waits until this is dropped.
pub struct Pause<'a, T>(&'a ChipSender<T>);

impl<T> Drop for Pause<'_, T> {
    fn drop(&mut self) {
        self.0.shared.lock().paused -= 1;
    }
}

impl<T> Clone for ChipSender<T> {
    fn clone(&self) -> Self {
        self.shared.lock().senders += 1;
        Self { shared: self.shared.clone(), size: self.size }
    }
}

impl<T> Drop for ChipSender<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.senders -= 1;
        if state.senders == state.paused {
            self.shared.ready.notify_all();
        }
    }
}

impl<T> Clone for Batches<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), size: self.size, max_wait: self.max_wait }
    }
}

impl<T> Batches<T> {
    /// Waits for the next batch: a whole one, or what there is after `max_wait`; `None` at the end.
    #[must_use]
    pub fn next(&self) -> Option<Vec<T>> {
        let mut state = self.shared.lock();
        loop {
            let since = state.first_at.map_or(Duration::ZERO, |first| first.elapsed());
            let is_due = state.first_at.is_some() && since >= self.max_wait;
            let all_wait = !state.chips.is_empty() && state.senders == state.paused;
            if state.chips.len() >= self.size.get() || state.senders == 0 || all_wait || is_due {
                return state.take(self.size.get());
            }
            // A chip that comes meanwhile is not due before this wakes.
            let left = self.max_wait.saturating_sub(since).max(SHORTEST_WAIT);
            let waited = self.shared.ready.wait_timeout(state, left);
            (state, _) = waited.expect("no holder of this lock panics");
        }
    }
}

impl<T> State<T> {
    fn take(&mut self, size: usize) -> Option<Vec<T>> {
        let rest = self.chips.split_off(self.chips.len().min(size));
        let batch = std::mem::replace(&mut self.chips, rest);
        self.first_at = (!self.chips.is_empty()).then(Instant::now);
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(10);

    fn queues(size: usize, max_wait: Duration) -> (ChipSender<u32>, Batches<u32>) {
        batches(NonZeroUsize::new(size).unwrap(), max_wait)
    }

    #[test]
    fn whole_batches_leave_at_once_and_the_rest_at_the_end() {
        let (sender, batches) = queues(3, LONG);
        (0..7).for_each(|chip| sender.send(chip));
        drop(sender);
        let all: Vec<_> = std::iter::from_fn(|| batches.next()).collect();
        assert_eq!(all, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    }

    #[test]
    fn a_partial_batch_leaves_after_a_while() {
        let (sender, batches) = queues(3, Duration::from_millis(20));
        sender.send(1);
        assert_eq!(batches.next(), Some(vec![1]));
    }

    #[test]
    fn a_partial_batch_leaves_at_once_while_all_senders_wait() {
        let (sender, batches) = queues(3, LONG);
        let other = sender.clone();
        sender.send(1);
        let pause = sender.pause();
        drop(other);
        assert_eq!(batches.next(), Some(vec![1]));
        drop(pause);
        (2..5).for_each(|chip| sender.send(chip));
        assert_eq!(batches.next(), Some(vec![2, 3, 4]));
        drop(sender);
        assert_eq!(batches.next(), None);
    }

    #[test]
    fn several_senders_and_sessions_lose_nothing() {
        let (sender, batches) = queues(16, LONG);
        let received = std::thread::scope(|scope| {
            for first in [0, 1000, 2000] {
                let sender = sender.clone();
                scope.spawn(move || (first..first + 1000).for_each(|chip| sender.send(chip)));
            }
            drop(sender);
            let sessions: Vec<_> = (0..2)
                .map(|_| {
                    let batches = batches.clone();
                    scope.spawn(move || std::iter::from_fn(|| batches.next()).flatten().collect::<Vec<_>>())
                })
                .collect();
            sessions.into_iter().flat_map(|session| session.join().unwrap()).collect::<Vec<_>>()
        });
        let mut received = received;
        received.sort_unstable();
        assert!(received.into_iter().eq(0..3000));
    }
}
