//! `_tilefleet/<run-id>/attempts/`: what was tried in vain.
//!
//! ```text
//! attempts/source-00000042/<name>.json     one try to read the source with this id, create-only
//! ```
//!
//! An object that its store does not give keeps its shard open. So that this ends, each try is written down, by
//! whichever process made it; who finds enough of them gives the object up, see [`AttemptState::is_given_up`]. An
//! attempt names no place: `sources.parquet` says which source an id is. It goes with its run.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::run::Run;
use super::version::tool_version;
use crate::config::Unreadable;
use crate::input::storage::{ObjectInfo, StoreError};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::process::Process;
use crate::vocabulary::time::Timestamp;

/// Attempts are small; a larger one is not ours.
const MAX_ATTEMPT_BYTES: u64 = 64 << 10;
/// How many are read at once.
const READS_AT_ONCE: usize = 16;
/// A clock that is so near to the store's is right; stores tell times to the second, some only that.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

/// One try that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The source, as in `sources.parquet`.
    pub source_id: u64,
    /// When it failed.
    pub at: Timestamp,
    /// The process that tried, by a name that no other has.
    pub worker: String,
    /// When that process began.
    pub worker_since: Timestamp,
    /// What failed, as a code without names: `answered_500`, `no_answer`, `broken_off`.
    pub failure: String,
    /// Version of the tool that tried.
    pub tool_version: String,
}

impl Attempt {
    /// Describes a try of this process that fails now.
    #[must_use]
    pub fn now(source_id: u64, failure: String, by: &Process) -> Self {
        let (worker, worker_since) = (by.name().to_owned(), by.began());
        let tool_version = tool_version();
        Self { source_id, at: by.now(), worker, worker_since, failure, tool_version }
    }

    /// Tells its times by the store's clock, which is one for all, if that of its process was wrong: attempts of processes
    /// whose clocks differ must not look as if days lay between them.
    ///
    /// - `stored`: when the store took it, by its own clock
    fn by_store(self, stored: Timestamp) -> Self {
        let difference = self.at.since(stored).max(stored.since(self.at));
        let before = SystemTime::from(stored).checked_sub(self.at.since(self.worker_since));
        match before {
            Some(began) if difference > CLOCK_TOLERANCE => {
                Self { at: stored, worker_since: began.into(), ..self }
            }
            _ => self,
        }
    }
}

/// What the attempts on one source amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptState {
    /// How many there are.
    pub tries: usize,
    /// In how many runs of the command, one after another: processes side by side count as one.
    pub runs: usize,
    /// From the first to the last.
    pub span: Duration,
}

impl AttemptState {
    /// Sums attempts up.
    #[must_use]
    pub fn of(mut attempts: Vec<Attempt>) -> Self {
        attempts.sort_unstable_by_key(|attempt| attempt.at);
        let (mut runs, mut ended) = (0, None);
        for attempt in &attempts {
            // What began before the last run had failed for the last time is not a later run.
            if ended.is_none_or(|(worker, last)| attempt.worker != worker && attempt.worker_since > last) {
                runs += 1;
                ended = Some((attempt.worker.as_str(), attempt.at));
            } else if let Some((worker, last)) = &mut ended
                && attempt.worker == *worker
            {
                *last = attempt.at;
            }
        }
        let span = match (attempts.first(), attempts.last()) {
            (Some(first), Some(last)) => last.at.since(first.at),
            _ => Duration::ZERO,
        };
        Self { tries: attempts.len(), runs, span }
    }

    /// Returns whether that is enough.
    #[must_use]
    pub fn is_given_up(&self, rule: &Unreadable) -> bool {
        self.tries >= rule.tries && (self.runs >= rule.runs || self.span >= rule.after)
    }
}

impl Run {
    /// Writes down that this process tried a source in vain; returns what all attempts on it amount to.
    ///
    /// - `failure`: as [`Attempt::failure`]
    ///
    /// # Errors
    ///
    /// As the store answers; `Unavailable` if the run is deleted.
    pub async fn record_attempt(&self, source_id: u64, failure: String) -> Result<AttemptState> {
        let output = &self.output;
        let attempt = Attempt::now(source_id, failure, &output.process);
        let mut json = serde_json::to_vec_pretty(&attempt)
            .map_err(|error| Error::bug("cannot write an attempt").because(error))?;
        json.push(b'\n');
        let folder = output.layout.attempts_on(&self.id, source_id);
        let key = format!("{folder}{}.json", output.process.unique_name());
        self.create_in_record(&key, Bytes::from(json)).await?;
        Ok(AttemptState::of(self.attempts_on(source_id).await?))
    }

    /// Creates an object in the run's record, unless the run is deleted.
    ///
    /// # Errors
    ///
    /// As the store answers; `Unavailable` if the run is deleted.
    pub(super) async fn create_in_record(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.output.create(key, bytes).await?;
        self.output.take_back_if_deleted(&self.id, key).await
    }

    /// Reads the attempts on a source.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if one is damaged.
    pub async fn attempts_on(&self, source_id: u64) -> Result<Vec<Attempt>> {
        let found = self.attempt_objects(&self.output.layout.attempts_on(&self.id, source_id)).await?;
        let reading: Vec<_> = found.into_iter().map(|object| self.read_attempt(object)).collect();
        let found: Vec<Option<Attempt>> =
            stream::iter(reading).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Returns the ids of all sources that were tried in vain.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn attempted_sources(&self) -> Result<Vec<u64>> {
        let root = self.output.layout.attempts(&self.id);
        let found = self.attempt_objects(&root).await?;
        let id = |object: &ObjectInfo| -> Option<u64> {
            object.key.strip_prefix(&root)?.split('/').next()?.strip_prefix("source-")?.parse().ok()
        };
        let mut ids: Vec<u64> = found.iter().filter_map(id).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    async fn attempt_objects(&self, folder: &str) -> Result<Vec<ObjectInfo>> {
        let is_attempt =
            |object: &ObjectInfo| object.key.rsplit_once('.').is_some_and(|(_, end)| end == "json");
        let objects = self.output.list(folder);
        objects.try_filter(|object| std::future::ready(is_attempt(object))).try_collect().await
    }

    async fn read_attempt(&self, ObjectInfo { key, modified, .. }: ObjectInfo) -> Result<Option<Attempt>> {
        let object = match self.output.bucket.get(&key, MAX_ATTEMPT_BYTES).await {
            Ok(object) => object,
            Err(StoreError::Gone) => return Ok(None),
            Err(fault) => return Err(fault.into_error(&key)),
        };
        let attempt = serde_json::from_slice(&object.bytes);
        let attempt = attempt.map(|attempt: Attempt| Some(attempt.by_store(modified.into())));
        attempt.map_err(|error| Error::config(format!("{key} is damaged")).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    /// A try of `worker`, which began at `since`, that failed at `at`, in seconds.
    fn attempt(worker: &str, since: u64, at: u64) -> Attempt {
        let moment = |seconds| Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let (at, worker_since) = (moment(at), moment(since));
        let failure = "answered_500".to_owned();
        let tool_version = String::new();
        Attempt { source_id: 7, at, worker: worker.to_owned(), worker_since, failure, tool_version }
    }

    /// A day seems to lie between the tries of two processes, of which one began while the other worked.
    #[test]
    fn a_clock_that_is_hours_off_makes_no_day_of_a_minute() {
        let store = |seconds| Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let day = 24 * HOUR;
        let wrong = attempt("b", day + 15, day + 25).by_store(store(2 * day + 26));
        assert_eq!(wrong, attempt("b", 2 * day + 16, 2 * day + 26));
        let ahead = attempt("b", 2 * day + 15, 2 * day + 25).by_store(store(26));
        assert_eq!(ahead, attempt("b", 16, 26));
        let tries = vec![attempt("a", 0, 10).by_store(store(10)), attempt("a", 0, 20), ahead];
        let state = AttemptState { tries: 3, runs: 1, span: Duration::from_secs(16) };
        assert_eq!(AttemptState::of(tries), state);
        let right = attempt("a", 100, 190);
        assert_eq!(right.clone().by_store(store(150)), right, "to the second, and a little more");
    }

    #[test]
    fn five_tries_in_three_runs_or_a_day_are_enough() {
        let rule = Unreadable::default();
        let given_up = |attempts: &[Attempt]| AttemptState::of(attempts.to_vec()).is_given_up(&rule);
        let three_runs = [
            attempt("a", 0, 10),
            attempt("a", 0, 20),
            attempt("b", 30, 40),
            attempt("b", 30, 50),
            attempt("c", 60, 70),
        ];
        assert!(given_up(&three_runs));
        assert!(!given_up(&three_runs[..4]), "four tries");
        let one_run: Vec<Attempt> = (0..20).map(|minute| attempt("a", 0, 60 * minute)).collect();
        assert!(!given_up(&one_run), "one run, twenty minutes");
        let a_day: Vec<Attempt> = (0..5).map(|time| attempt("a", 0, 6 * HOUR * time)).collect();
        assert!(given_up(&a_day), "one run, a day");
        assert!(!given_up(&a_day[..4]));
    }

    #[test]
    fn workers_side_by_side_are_one_run() {
        let side_by_side: Vec<Attempt> =
            (0..8).map(|worker| attempt(&worker.to_string(), worker, 100 + worker)).collect();
        let standing = AttemptState::of(side_by_side.clone());
        assert_eq!((standing.tries, standing.runs), (8, 1));
        let mut later = side_by_side;
        later.push(attempt("later", 500, 600));
        later.push(attempt("later still", 700, 800));
        assert_eq!(AttemptState::of(later).runs, 3);
        assert_eq!(AttemptState::of(Vec::new()), AttemptState::default());
    }

    #[test]
    fn an_attempt_reads_back_and_names_no_place() {
        let attempt = Attempt::now(42, "answered_500".to_owned(), &Process::real());
        let json = serde_json::to_string(&attempt).unwrap();
        assert_eq!(serde_json::from_str::<Attempt>(&json).unwrap(), attempt);
        assert!(!json.contains("://"), "{json}");
    }
}
