//! What may be wrong with an open run: who works on it, what takes too long, what was tried in vain.
//!
//! Goes in: the notes of shards begun, the attempts, and the footers of the last commits. It reads a few dozen small
//! objects, however large the run is. Nothing of it decides anything.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::begun::NotedShard;
use super::provenance::{REQUEST_SECONDS, SECONDS, WORKER, in_file};
use super::shard_times::median;
use super::{CommittedShard, ParquetObject, Run};
use crate::vocabulary::error::Result;
use crate::vocabulary::time::Timestamp;

/// So many of the last commits tell who works and how fast.
const RECENT_COMMITS: usize = 32;
/// How many of them are read at once.
const READS_AT_ONCE: usize = 16;
/// A shard that has been worked on for so many times what others take is late,
const LATE: f64 = 3.0;
/// if it is at least so long.
const AT_LEAST: Duration = Duration::from_mins(1);

/// What may be wrong with an open run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trouble {
    /// Workers of the last commits and of shards begun.
    pub workers: Vec<WorkerSeen>,
    /// Shards that are being worked on, or whose worker has died.
    pub begun: Vec<BegunShard>,
    /// Seconds from the first fetch to the last outcome of a shard; the median of the last commits.
    pub shard_seconds: Option<f64>,
    /// Mean seconds of a request for a source, as the worker found; the median of the last commits.
    pub request_seconds: Option<f64>,
    /// Sources that were tried in vain.
    pub sources_in_vain: u64,
}

/// A process that works on a run, or did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerSeen {
    /// A name that no other process has.
    pub worker: String,
    /// When it last committed, of the last commits.
    pub last_commit: Option<Timestamp>,
    /// How many of the last commits are its own.
    pub recent_commits: u64,
    /// Shards that it has begun and not ended.
    pub begun: Vec<u32>,
}

/// A shard that is being worked on, or whose worker has died.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BegunShard {
    /// Its number.
    pub shard: u32,
    /// How many processes have begun it, and not ended.
    pub begun: u64,
    /// When the first of them began.
    pub since: Timestamp,
    /// Whether that is far longer than a shard takes.
    pub late: bool,
}

/// What the footer of a shard says of its making.
struct Making {
    worker: Option<String>,
    committed_at: Timestamp,
    seconds: Option<f64>,
    request_seconds: Option<f64>,
}

impl Trouble {
    /// Looks at a run.
    ///
    /// - `committed`: its shards
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn of(run: &Run, committed: &[CommittedShard], now: Timestamp) -> Result<Self> {
        let mut recent: Vec<&CommittedShard> = committed.iter().collect();
        recent.sort_unstable_by_key(|shard| std::cmp::Reverse(shard.committed_at));
        recent.truncate(RECENT_COMMITS);
        let reading: Vec<_> = recent.into_iter().map(|shard| making(run, shard)).collect();
        let makings: Vec<Option<Making>> =
            stream::iter(reading).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        let makings: Vec<Making> = makings.into_iter().flatten().collect();
        let notes = run.noted_shards().await?;
        let shard_seconds = median(makings.iter().filter_map(|making| making.seconds));
        Ok(Self {
            workers: workers(&makings, &notes),
            begun: begun(&notes, shard_seconds, now),
            shard_seconds,
            request_seconds: median(makings.iter().filter_map(|making| making.request_seconds)),
            sources_in_vain: run.attempted_sources().await?.len() as u64,
        })
    }
}

/// Reads the footer of a shard; `None` if it is gone meanwhile.
async fn making(run: &Run, shard: &CommittedShard) -> Result<Option<Making>> {
    let found = ParquetObject::open(&run.output.bucket, &run.shard_key(shard.number)).await?;
    Ok(found.map(|object| {
        let mut said = object.key_values();
        let mut take = |key| said.remove(&in_file(key));
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        Making {
            worker: take(WORKER),
            committed_at: shard.committed_at.into(),
            seconds: number(take(SECONDS)),
            request_seconds: number(take(REQUEST_SECONDS)),
        }
    }))
}

fn workers(makings: &[Making], notes: &[NotedShard]) -> Vec<WorkerSeen> {
    let mut workers = BTreeMap::<&str, WorkerSeen>::new();
    let unseen = |worker: &str| WorkerSeen {
        worker: worker.to_owned(),
        last_commit: None,
        recent_commits: 0,
        begun: Vec::new(),
    };
    for making in makings {
        let Some(name) = making.worker.as_deref() else { continue };
        let worker = workers.entry(name).or_insert_with(|| unseen(name));
        worker.recent_commits += 1;
        worker.last_commit = worker.last_commit.max(Some(making.committed_at));
    }
    for note in notes {
        workers.entry(&note.worker).or_insert_with(|| unseen(&note.worker)).begun.push(note.shard);
    }
    workers.into_values().collect()
}

fn begun(notes: &[NotedShard], shard_seconds: Option<f64>, now: Timestamp) -> Vec<BegunShard> {
    let mut shards = BTreeMap::<u32, BegunShard>::new();
    for note in notes {
        let found = BegunShard { shard: note.shard, begun: 0, since: note.at, late: false };
        let shard = shards.entry(note.shard).or_insert(found);
        shard.begun += 1;
        shard.since = shard.since.min(note.at);
    }
    let patience = shard_seconds.map_or(f64::INFINITY, |seconds| seconds * LATE).max(AT_LEAST.as_secs_f64());
    let is_late = |since| now.since(since).as_secs_f64() > patience;
    shards.into_values().map(|shard| BegunShard { late: is_late(shard.since), ..shard }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into()
    }

    fn note(shard: u32, worker: &str, since: u64) -> NotedShard {
        NotedShard { shard, worker: worker.to_owned(), at: at(since) }
    }

    #[test]
    fn a_shard_is_late_that_takes_far_longer_than_others() {
        let notes = [note(7, "a", 0), note(7, "b", 900), note(8, "b", 850)];
        let late =
            |seconds| begun(&notes, seconds, at(1000)).iter().map(|shard| shard.late).collect::<Vec<_>>();
        assert_eq!(late(Some(40.0)), [true, true]);
        assert_eq!(late(Some(100.0)), [true, false]);
        assert_eq!(late(None), [false, false], "nobody knows how long a shard takes");
        let found = &begun(&notes, None, at(1000))[0];
        assert_eq!((found.shard, found.begun, found.since), (7, 2, at(0)));
    }

    #[test]
    fn workers_are_known_by_their_commits_and_their_notes() {
        let making = |worker: &str, second| Making {
            worker: Some(worker.to_owned()),
            committed_at: at(second),
            seconds: None,
            request_seconds: None,
        };
        let seen = workers(&[making("a", 5), making("a", 3)], &[note(9, "b", 4)]);
        let [a, b] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((a.recent_commits, a.last_commit, a.begun.len()), (2, Some(at(5)), 0));
        assert_eq!((b.recent_commits, b.last_commit, &b.begun[..]), (0, None, &[9][..]));
    }
}
