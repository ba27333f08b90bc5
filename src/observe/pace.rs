//! How fast a run is, and which stage holds it up.
//!
//! A stage is as busy as its threads, or its requests under way, are on average: busy time ÷ (width ×
//! wall time). The stage that is busiest has the least to spare: it would be the first to reach its limit,
//! so it is the slowest. That holds for a run of any length, since the ratio between two stages does not
//! depend on the wall time.

use std::fmt;

use serde::Serialize;

use crate::observe::ProgressSnapshot;

/// A stage of a run, as people are told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Requests to the stores of the sources.
    Fetch,
    /// Decoding and preprocessing.
    Decode,
    /// The network.
    Model,
    /// Encoding and committing shards.
    Write,
}

impl Stage {
    /// Every stage, in the order of the flow.
    pub const ALL: [Self; 4] = [Self::Fetch, Self::Decode, Self::Model, Self::Write];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fetch => "fetch",
            Self::Decode => "decode",
            Self::Model => "model",
            Self::Write => "write",
        })
    }
}

/// How many things a stage does at once when it is at its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Widths {
    /// Requests.
    pub fetch: f64,
    /// Threads.
    pub decode: f64,
    /// Sessions.
    pub model: f64,
    /// Shards.
    pub write: f64,
}

impl Default for Widths {
    fn default() -> Self {
        Self { fetch: 1.0, decode: 1.0, model: 1.0, write: 1.0 }
    }
}

/// How busy each stage was, in 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Busy {
    /// Requests to the stores of the sources.
    pub fetch: f64,
    /// Decoding and preprocessing.
    pub decode: f64,
    /// The network.
    pub model: f64,
    /// Encoding and committing shards.
    pub write: f64,
}

impl Busy {
    /// Returns how busy one stage was.
    #[must_use]
    pub fn of(&self, stage: Stage) -> f64 {
        match stage {
            Stage::Fetch => self.fetch,
            Stage::Decode => self.decode,
            Stage::Model => self.model,
            Stage::Write => self.write,
        }
    }

    /// Returns the busiest stage; `None` before any has done something.
    #[must_use]
    pub fn slowest(&self) -> Option<Stage> {
        let busiest = Stage::ALL.into_iter().max_by(|a, b| self.of(*a).total_cmp(&self.of(*b)))?;
        (self.of(busiest) > 0.0).then_some(busiest)
    }
}

/// How fast a run was between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Tiles settled a second.
    pub tiles_per_second: f64,
    /// Whether any of them went through the model. Rejects and tiles that are left out cost next to nothing: as long as
    /// there are no others, neither their rate nor the stages say how the run will continue.
    pub is_typical: bool,
    /// Seconds until all tiles are settled at that rate; `None` where it is not typical.
    pub seconds_left: Option<f64>,
    /// The stages.
    pub busy: Busy,
}

impl Pace {
    /// Returns the busiest stage; `None` before that tells anything.
    #[must_use]
    pub fn slowest(&self) -> Option<Stage> {
        self.busy.slowest().filter(|_| self.is_typical)
    }

    /// Compares two moments of a run.
    #[must_use]
    pub fn between(earlier: &ProgressSnapshot, now: &ProgressSnapshot) -> Self {
        let took = (now.seconds - earlier.seconds).max(1e-9);
        let rate = (now.settled - earlier.settled) as f64 / took;
        let left = now.planned.saturating_sub(now.done()) as f64;
        let is_typical = now.inferred > earlier.inferred && rate > 0.0;
        let widths = &now.widths;
        let busy = |seconds: f64, width: f64| (seconds / (width * took)).clamp(0.0, 1.0);
        Self {
            tiles_per_second: rate,
            is_typical,
            seconds_left: is_typical.then(|| left / rate),
            busy: Busy {
                fetch: busy(now.fetch_seconds - earlier.fetch_seconds, widths.fetch),
                decode: busy(now.decode_seconds - earlier.decode_seconds, widths.decode),
                model: busy(now.infer_seconds - earlier.infer_seconds, widths.model),
                write: busy(now.commit_seconds - earlier.commit_seconds, widths.write),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64, settled: u64, busy: [f64; 4]) -> ProgressSnapshot {
        let [fetch_seconds, decode_seconds, infer_seconds, commit_seconds] = busy;
        ProgressSnapshot {
            seconds,
            settled,
            inferred: settled,
            planned: 100,
            fetch_seconds,
            decode_seconds,
            infer_seconds,
            commit_seconds,
            widths: Widths { fetch: 32.0, decode: 2.0, model: 1.0, write: 3.0 },
            ..ProgressSnapshot::default()
        }
    }

    #[test]
    fn busy_time_counts_by_the_stage_width() {
        let pace = Pace::between(&at(0.0, 0, [0.0; 4]), &at(10.0, 20, [32.0, 10.0, 6.0, 3.0]));
        assert_eq!(pace.busy, Busy { fetch: 0.1, decode: 0.5, model: 0.6, write: 0.1 });
        assert_eq!(pace.busy.slowest(), Some(Stage::Model));
        assert_eq!((pace.tiles_per_second, pace.seconds_left), (2.0, Some(40.0)));
    }

    /// Five tiles or five thousand: the same work gives the same answer, whatever the wall time.
    #[test]
    fn the_slowest_does_not_depend_on_the_length_of_the_run() {
        let one_tile = [0.5, 0.002, 0.005, 0.0001];
        for (tiles, seconds) in [(5, 0.6), (5000, 80.0)] {
            let busy = one_tile.map(|seconds| seconds * f64::from(tiles));
            let pace = Pace::between(&at(0.0, 0, [0.0; 4]), &at(seconds, tiles as u64, busy));
            assert_eq!(pace.busy.slowest(), Some(Stage::Fetch));
        }
    }

    #[test]
    fn only_what_happened_between_the_moments_counts() {
        let earlier = at(100.0, 50, [0.0, 0.0, 100.0, 0.0]);
        let pace = Pace::between(&earlier, &at(110.0, 60, [0.0, 16.0, 101.0, 0.0]));
        assert_eq!(pace.busy.slowest(), Some(Stage::Decode));
        assert!((pace.tiles_per_second - 1.0).abs() < 1e-9);
    }

    #[test]
    fn before_the_first_tile_nothing_is_known() {
        let start = at(0.0, 0, [0.0; 4]);
        let pace = Pace::between(&start, &start);
        assert_eq!((pace.slowest(), pace.seconds_left), (None, None));
    }

    /// Broken images come first in the listing: 15 of them in a tenth of a second say nothing of the 85 others.
    #[test]
    fn rejects_alone_tell_neither_time_left_nor_the_slowest() {
        let start = at(0.0, 0, [0.0; 4]);
        let rejects = ProgressSnapshot { rejected: 15, inferred: 0, ..at(0.1, 15, [0.05, 0.01, 0.0, 0.0]) };
        let pace = Pace::between(&start, &rejects);
        assert_eq!((pace.slowest(), pace.seconds_left), (None, None));
        let skipped = ProgressSnapshot { skipped: 15, inferred: 0, ..at(0.1, 15, [0.05, 0.01, 0.0, 0.0]) };
        assert_eq!(Pace::between(&start, &skipped).seconds_left, None);
        let first_batch =
            ProgressSnapshot { rejected: 15, inferred: 5, ..at(10.0, 20, [0.05, 0.1, 9.0, 0.0]) };
        let pace = Pace::between(&start, &first_batch);
        assert_eq!((pace.slowest(), pace.seconds_left), (Some(Stage::Model), Some(40.0)));
    }
}
