//! Tiles that crash, hang or eat the memory of their process: when they are decoded in child processes, and when this
//! process gives up on itself.
//!
//! A tile that this process dies of leaves the note that its shard was begun, and whoever takes the shard next decodes it in
//! child processes. One that hangs does not die by itself: a watch counts the seconds, and ends the process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::Stop;
use crate::config::Isolate;
use crate::stages::child::{Children, Limits, Program};
use crate::stages::decode::Decoder;
use crate::vocabulary::error::Error;

/// What a request for a source, or a batch of the model, may take.
const BESIDE_DECODING: Duration = Duration::from_mins(2);

/// When tiles are decoded in child processes.
#[derive(Clone, Debug)]
pub struct Isolation {
    when: Isolate,
    children: Option<Arc<Children>>,
    time: Duration,
}

impl Isolation {
    /// Starts no child yet.
    ///
    /// - `program`: whose processes decode; `None`: there is none, and all is decoded here
    #[must_use]
    pub fn new(when: Isolate, program: Option<&Program>, limits: Limits) -> Self {
        let children = program.map(|program| Arc::new(Children::new(program.clone(), limits)));
        Self { when, children, time: limits.time }
    }

    /// Returns after how long without any movement this process hangs: a tile may take all its time twice, and a request, or
    /// a batch of the model, some more.
    pub(super) fn hangs_after(&self) -> Duration {
        2 * self.time + BESIDE_DECODING
    }

    /// Tells whether it matters who has begun a shard.
    pub(super) fn keeps_notes(&self) -> bool {
        self.when != Isolate::Never
    }

    /// Returns who decodes the tiles of a shard.
    ///
    /// - `num_others`: processes that have begun it, and not ended
    pub(super) fn decoder(&self, shard: u32, num_others: usize) -> Decoder {
        let isolates = match self.when {
            Isolate::Auto => num_others > 0,
            Isolate::Always => true,
            Isolate::Never => false,
        };
        match &self.children {
            Some(children) if isolates => {
                if num_others > 0 {
                    tracing::info!(
                        shard,
                        begun = num_others,
                        "begun before and not ended: its tiles are decoded in child processes"
                    );
                }
                Decoder::InChildren(children.clone())
            }
            _ => Decoder::Here,
        }
    }

    /// Ends the process once a tile has been decoded in it for too long, if there is another way to decode it.
    pub(super) fn watch(&self, watch: &Arc<Watch>, stop: &Stop) -> Option<Watching> {
        if self.when != Isolate::Auto || self.children.is_none() {
            return None;
        }
        let (watch, stop, most) = (watch.clone(), stop.clone(), self.time);
        let task = tokio::spawn(async move {
            let mut ticks = interval(TICK);
            // A process that was stopped for long has not worked for long.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !watch.tick_is_too_long(most) {
                ticks.tick().await;
            }
            stop.fail(too_long(most));
        });
        Some(Watching(task.abort_handle()))
    }
}

/// How often the watch looks.
const TICK: Duration = Duration::from_secs(1);

fn too_long(most: Duration) -> Error {
    let most = most.as_secs_f64();
    Error::unavailable(format!("decoding a tile has taken longer than limits.decode_time ({most} s)"))
        .hint("run it again: the tiles of its shard are then decoded in child processes, and one that hangs is rejected")
}

/// Ends the watch when it is dropped.
pub(super) struct Watching(AbortHandle);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is being decoded in this process, and at how many ticks it was.
#[derive(Debug, Default)]
pub(super) struct Watch {
    state: Mutex<State>,
    has_seen_too_long: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    under_way: HashMap<u64, u32>,
    num_begun: u64,
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the time of a tile until the answer is dropped; children have their own limit.
    pub(super) fn begin(self: &Arc<Self>, decoder: &Decoder) -> Option<Watched> {
        match decoder {
            Decoder::InChildren(_) => None,
            Decoder::Here => {
                let mut state = self.state();
                state.num_begun += 1;
                let id = state.num_begun;
                state.under_way.insert(id, 0);
                Some(Watched { watch: self.clone(), id })
            }
        }
    }

    fn tick_is_too_long(&self, most: Duration) -> bool {
        let most = most.div_duration_f64(TICK).ceil();
        let mut state = self.state();
        state.under_way.values_mut().for_each(|ticks| *ticks += 1);
        let is_too_long = state.under_way.values().any(|ticks| f64::from(*ticks) > most + 1.0);
        self.has_seen_too_long.fetch_or(is_too_long, Ordering::Relaxed);
        is_too_long
    }

    /// Tells whether this process gives up on itself since a tile takes too long.
    pub(super) fn has_seen_too_long(&self) -> bool {
        self.has_seen_too_long.load(Ordering::Relaxed)
    }
}

/// A tile that is being decoded.
pub(super) struct Watched {
    watch: Arc<Watch>,
    id: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.state().under_way.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_tile_for_all_the_time_is_too_long() {
        let watch = Arc::new(Watch::default());
        let most = Duration::from_secs(3);
        for _ in 0..10 {
            let _short = watch.begin(&Decoder::Here);
            assert!(!watch.tick_is_too_long(most));
        }
        let long = watch.begin(&Decoder::Here);
        let ticks = (0..10).take_while(|_| !watch.tick_is_too_long(most)).count();
        assert_eq!(ticks, 4, "the first second may have been a moment");
        assert!(watch.has_seen_too_long());
        drop(long);
        assert!(!watch.tick_is_too_long(most));
    }
}
