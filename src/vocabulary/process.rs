//! The process that acts: its clock, names that nobody else has, and its share of chance.
//!
//! Whatever is planned, committed, compacted or deleted takes these from here and from nowhere else. So a
//! simulation that passes its own clock and seed plays the same each time.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::random::SplitMix64;
use super::time::{Clock, SystemClock, Timestamp};

/// One process, real or simulated.
#[derive(Debug)]
pub struct Process {
    clock: Arc<dyn Clock>,
    name: String,
    began: Timestamp,
    seed: u64,
    chance: Mutex<SplitMix64>,
    num_names: AtomicU64,
}

impl Process {
    /// Describes this process, on this machine, from now on.
    #[must_use]
    pub fn real() -> Arc<Self> {
        let began = SystemClock.now();
        let nanos = SystemTime::from(began).duration_since(SystemTime::UNIX_EPOCH);
        let nanos = nanos.map_or(0, |time| time.as_nanos());
        let seed = RandomState::new().hash_one(std::process::id());
        let name = format!("{nanos:x}-{:x}-{:x}", std::process::id(), seed & 0xffff);
        Self::new(Arc::new(SystemClock), name, seed)
    }

    /// Describes a process.
    ///
    /// - `name`: no other process has it
    /// - `seed`: decides what is left to chance
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, name: impl Into<String>, seed: u64) -> Arc<Self> {
        let (name, began) = (name.into(), clock.now());
        let chance = Mutex::new(SplitMix64(seed));
        Arc::new(Self { clock, name, began, seed, chance, num_names: AtomicU64::new(0) })
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns when it began.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Returns its clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Returns the present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits until this much time has passed.
    pub async fn sleep(&self, time: Duration) {
        self.clock.sleep(time).await;
    }

    /// Returns a pause made up to half as long again: processes that failed together do not come back together.
    #[must_use]
    pub fn jittered(&self, pause: Duration) -> Duration {
        let share = self.chance.lock().unwrap_or_else(PoisonError::into_inner).unit();
        pause.mul_f32(1.0 + share / 2.0)
    }

    /// Returns a name that was never given before, by this process or another.
    #[must_use]
    pub fn unique_name(&self) -> String {
        format!("{}-{:x}", self.name, self.num_names.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns whether it has given this name.
    #[must_use]
    pub fn has_given(&self, name: &str) -> bool {
        name.rsplit_once('-').is_some_and(|(giver, _)| giver == self.name)
    }

    /// Returns a number below `num`, left to chance; 0 if there is none.
    #[must_use]
    pub fn below(&self, num: usize) -> usize {
        let bits = self.chance.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        ((u128::from(bits) * num as u128) >> 64) as usize
    }

    /// Returns where among things in a row this process begins, in 0 to 1: each process somewhere else.
    #[must_use]
    pub fn beginning(&self) -> f64 {
        self.seed as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_name_is_given_twice() {
        let processes = [Process::real(), Process::real()];
        let names: BTreeSet<String> =
            processes.iter().flat_map(|it| [it.unique_name(), it.unique_name()]).collect();
        assert_eq!(names.len(), 4);
        let [first, second] = &processes;
        let name = first.unique_name();
        assert_eq!((first.has_given(&name), second.has_given(&name)), (true, false));
        assert!(processes.iter().all(|it| (0.0..=1.0).contains(&it.beginning())));
    }

    #[test]
    fn a_seed_decides_all_that_is_left_to_chance() {
        let [first, second] = [7, 7].map(|seed| Process::new(Arc::new(SystemClock), "it", seed));
        assert_eq!(first.unique_name(), second.unique_name());
        assert!((first.beginning() - second.beginning()).abs() < f64::EPSILON);
        assert_eq!(first.jittered(Duration::from_secs(1)), second.jittered(Duration::from_secs(1)));
    }

    #[test]
    fn what_is_left_to_chance_is_below_its_limit() {
        let process = Process::new(Arc::new(SystemClock), "it", 7);
        let numbers: BTreeSet<usize> = (0..200).map(|_| process.below(5)).collect();
        assert_eq!(numbers, (0..5).collect());
        assert_eq!(process.below(0), 0);
    }

    #[test]
    fn a_pause_is_never_shorter_than_asked_for() {
        let process = Process::new(Arc::new(SystemClock), "it", 7);
        let pauses: BTreeSet<Duration> =
            (0..100).map(|_| process.jittered(Duration::from_millis(100))).collect();
        assert!(pauses.len() > 90, "{pauses:?}");
        let longest = Duration::from_millis(150);
        assert!(pauses.iter().all(|pause| (Duration::from_millis(100)..=longest).contains(pause)));
    }
}
