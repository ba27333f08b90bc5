//! Counters of a run in this process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::observe::{Busy, Pace, Stage, Widths};
use crate::vocabulary::outcome::{CommittedBy, Counts, Outcome};
use crate::vocabulary::traffic::Traffic;

/// Counters that the stages write and people read.
#[derive(Debug, Default)]
pub struct Progress {
    started: OnceLock<Instant>,
    widths: OnceLock<Widths>,
    /// Tiles of the run.
    planned: AtomicU64,
    /// Tiles of shards that were committed before this process began, or by workers beside it.
    elsewhere: AtomicU64,
    settled: AtomicU64,
    rejected: AtomicU64,
    skipped: AtomicU64,
    traffic: Arc<Traffic>,
    fetch_nanos: AtomicU64,
    decode_nanos: AtomicU64,
    infer_nanos: AtomicU64,
    infer_wait_nanos: AtomicU64,
    inferred: AtomicU64,
    commit_nanos: AtomicU64,
    ours: AtomicU64,
    theirs: AtomicU64,
    planning_nanos: AtomicU64,
    /// Rows of the shards that this process has committed.
    rows: Mutex<Counts>,
    /// Tiles settled in runs before this one.
    settled_before: AtomicU64,
    waits: AtomicBool,
    stops: AtomicBool,
}

/// Whether this process works on shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet: it plans, loads its model, opens its sessions.
    Starting,
    /// It has nothing to do, and takes whatever comes into its queue.
    Waiting,
    /// It does.
    Working,
    /// It was told to stop.
    Stopping,
}

impl Readiness {
    /// Tells whether it works on shards, or would if there were any.
    #[must_use]
    pub fn is_ready(self) -> bool {
        matches!(self, Self::Waiting | Self::Working)
    }

    /// Returns its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Working => "working",
            Self::Stopping => "stopping",
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct ProgressSnapshot {
    /// Since work on shards began, in seconds; models are loaded and the plan is published before.
    pub seconds: f64,
    /// Seconds spent finding the run or planning it, the listing of the input included.
    pub planning_seconds: f64,
    /// Tiles settled a second since then.
    pub tiles_per_second: f64,
    /// Tiles of the run.
    pub planned: u64,
    /// Tiles whose shards were committed before or elsewhere.
    pub elsewhere: u64,
    /// Tiles that have their outcome from this process.
    pub settled: u64,
    /// Of these, rejected.
    pub rejected: u64,
    /// Of these, left out for lack of data or for clouds.
    pub skipped: u64,
    /// Tiles that went through the model.
    pub inferred: u64,
    /// Bytes read from the sources.
    pub fetched_bytes: u64,
    /// Requests that brought them.
    pub fetch_requests: u64,
    /// Seconds spent fetching, added up over concurrent requests.
    pub fetch_seconds: f64,
    /// Seconds spent decoding and preprocessing, added up over threads.
    pub decode_seconds: f64,
    /// Seconds the model ran, added up over sessions.
    pub infer_seconds: f64,
    /// Seconds the sessions waited for chips.
    pub infer_wait_seconds: f64,
    /// Seconds spent encoding and committing, added up over shards.
    pub commit_seconds: f64,
    /// Shards this process committed.
    pub shards_ours: u64,
    /// Shards this process worked on and another committed first.
    pub shards_theirs: u64,
    /// How busy each stage was since work on shards began.
    pub busy: Busy,
    /// The busiest stage; `None` before any has done something.
    pub slowest: Option<Stage>,
    /// How many things each stage does at once.
    #[serde(skip)]
    pub widths: Widths,
    /// Tiles settled in runs before this one.
    #[serde(skip)]
    pub settled_before: u64,
}

impl ProgressSnapshot {
    /// Returns how long a request for a source took, on average; `None` before the first.
    #[must_use]
    pub fn seconds_per_request(&self) -> Option<f64> {
        (self.fetch_requests > 0).then(|| self.fetch_seconds / self.fetch_requests as f64)
    }

    /// Returns how many tiles have their outcome, here or elsewhere.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.elsewhere + self.settled.saturating_sub(self.settled_before)
    }
}

impl Progress {
    /// Notes how many things each stage does at once.
    pub fn set_widths(&self, widths: Widths) {
        self.widths.get_or_init(|| widths);
    }

    /// Notes that a run was found or planned.
    pub fn planning_took(&self, took: Duration) {
        add_time(&self.planning_nanos, took);
    }

    /// Notes that work begins, how much there is, and how much of it is done already.
    pub fn begin(&self, planned: u64, done: u64) {
        self.started.get_or_init(Instant::now);
        self.planned.store(planned, Relaxed);
        self.elsewhere.store(done, Relaxed);
        self.settled_before.store(self.settled.load(Relaxed), Relaxed);
        self.waits.store(false, Relaxed);
    }

    /// Notes that there is nothing to do until a queue has something.
    pub fn waits_for_work(&self) {
        self.waits.store(true, Relaxed);
    }

    /// Notes tiles of a shard that was committed elsewhere meanwhile.
    pub fn done_elsewhere(&self, num_tiles: u64) {
        self.elsewhere.fetch_add(num_tiles, Relaxed);
    }

    /// Notes an object brought.
    pub fn fetched(&self, num_bytes: usize) {
        self.traffic.add(num_bytes);
    }

    /// Returns the counter of requests, for those who read objects in parts.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    /// Notes a request that has ended.
    pub fn fetch_took(&self, took: Duration) {
        add_time(&self.fetch_nanos, took);
    }

    /// Notes a chip decoded, or not.
    pub fn decoded(&self, took: Duration) {
        add_time(&self.decode_nanos, took);
    }

    /// Notes a rejected tile.
    pub fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
        self.settled.fetch_add(1, Relaxed);
    }

    /// Notes a tile that is left out on purpose.
    pub fn skipped(&self) {
        self.skipped.fetch_add(1, Relaxed);
        self.settled.fetch_add(1, Relaxed);
    }

    /// Notes that a tile was rejected after it went through the model.
    pub fn not_finite(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    /// Takes back a tile's outcome: its shard stays open.
    pub fn taken_back(&self, outcome: &Outcome) {
        self.settled.fetch_sub(1, Relaxed);
        match outcome {
            Outcome::Ok { .. } => 0,
            Outcome::Rejected(_) => self.rejected.fetch_sub(1, Relaxed),
            Outcome::Skipped { .. } => self.skipped.fetch_sub(1, Relaxed),
        };
    }

    /// Notes a batch run.
    pub fn inferred(&self, num_chips: usize, took: Duration) {
        self.inferred.fetch_add(num_chips as u64, Relaxed);
        self.settled.fetch_add(num_chips as u64, Relaxed);
        add_time(&self.infer_nanos, took);
    }

    /// Notes that a session waited for chips.
    pub fn infer_waited(&self, took: Duration) {
        add_time(&self.infer_wait_nanos, took);
    }

    /// Notes a shard committed, and its rows.
    pub fn committed(&self, by: CommittedBy, rows: &Counts, took: Duration) {
        match by {
            CommittedBy::Ours => {
                self.ours.fetch_add(1, Relaxed);
                self.rows.lock().unwrap_or_else(PoisonError::into_inner).merge(rows);
            }
            CommittedBy::Theirs => _ = self.theirs.fetch_add(1, Relaxed),
        }
        add_time(&self.commit_nanos, took);
    }

    /// Returns the rows of the shards that this process has committed.
    #[must_use]
    pub fn rows(&self) -> Counts {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that this process was told to stop.
    pub fn stops(&self) {
        self.stops.store(true, Relaxed);
    }

    /// Returns a number that changes whenever a stage has done something.
    #[must_use]
    pub fn steps(&self) -> u64 {
        let counters = [
            &self.settled,
            &self.fetch_nanos,
            &self.decode_nanos,
            &self.infer_nanos,
            &self.commit_nanos,
            &self.elsewhere,
        ];
        let counted = counters.iter().map(|counter| counter.load(Relaxed)).fold(0, u64::wrapping_add);
        counted.wrapping_add(self.traffic.requests())
    }

    /// Returns whether this process works on shards.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match (self.stops.load(Relaxed), self.waits.load(Relaxed), self.started.get()) {
            (true, ..) => Readiness::Stopping,
            (false, true, _) => Readiness::Waiting,
            (false, false, None) => Readiness::Starting,
            (false, false, Some(_)) => Readiness::Working,
        }
    }

    /// Reads all counters.
    #[must_use]
    pub fn snapshot(&self) -> ProgressSnapshot {
        let seconds = |nanos: &AtomicU64| nanos.load(Relaxed) as f64 / 1e9;
        let took = self.started.get().map_or(0.0, |started| started.elapsed().as_secs_f64());
        let settled = self.settled.load(Relaxed);
        let mut now = ProgressSnapshot {
            seconds: took,
            planning_seconds: seconds(&self.planning_nanos),
            tiles_per_second: settled as f64 / took.max(1e-9),
            planned: self.planned.load(Relaxed),
            elsewhere: self.elsewhere.load(Relaxed),
            settled,
            settled_before: self.settled_before.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
            inferred: self.inferred.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            fetched_bytes: self.traffic.bytes(),
            fetch_requests: self.traffic.requests(),
            fetch_seconds: seconds(&self.fetch_nanos),
            decode_seconds: seconds(&self.decode_nanos),
            infer_seconds: seconds(&self.infer_nanos),
            infer_wait_seconds: seconds(&self.infer_wait_nanos),
            commit_seconds: seconds(&self.commit_nanos),
            shards_ours: self.ours.load(Relaxed),
            shards_theirs: self.theirs.load(Relaxed),
            widths: self.widths.get().copied().unwrap_or_default(),
            ..ProgressSnapshot::default()
        };
        now.busy = Pace::between(&ProgressSnapshot::default(), &now).busy;
        now.slowest = now.busy.slowest();
        now
    }
}

fn add_time(total: &AtomicU64, took: Duration) {
    total.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
}
