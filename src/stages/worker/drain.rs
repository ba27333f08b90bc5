//! A worker of a queue: fills it with a run's open shards, or takes shards of whichever run from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Inference, Job, Report, spool_folder};
use crate::observe::{Progress, ProgressSnapshot};
use crate::output::current_rows::sum_up_if_there;
use crate::output::summary::sum_up_in_turn;
use crate::output::{Limit, Run, RunId};
use crate::stages::pipeline::Stop;
use crate::stages::plan::{Decision, check_fingerprint};
use crate::stages::work::queue;
use crate::stages::work::queue::{Broker, Delivery, Held, Patience, QueueShards, Stored};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::words::counted;

/// How long a message is waited for before anybody asks what is in the queue.
const PULL: Duration = Duration::from_secs(2);

/// A shard of another pipeline may be had by others after so long.
const FOR_OTHERS: Duration = Duration::from_secs(5);

/// What was put into a queue.
#[derive(Clone, Debug, Serialize)]
pub struct Submitted {
    /// The run; `None` if no source was found and there was none before.
    pub run_id: Option<String>,
    /// Whether there was nothing new to do.
    pub nothing_new: bool,
    /// Shards of the run.
    pub shards: u64,
    /// Of these, put into the queue now.
    pub queued: u64,
    /// Of these, in the queue already, or in the hands of a worker.
    pub queued_before: u64,
    /// Set if the run covers only a part of what was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
}

/// What this worker did of one run, and how the run stands.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Drained {
    /// The run is complete.
    Complete(Box<Report>),
    /// Other workers have the rest of it.
    Part(Box<Part>),
}

/// A part of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// The run.
    pub run_id: String,
    /// Its shards.
    pub shards: u64,
    /// Of these, committed by whomever.
    pub committed_shards: u64,
    /// What this process did.
    pub this_process: ProgressSnapshot,
    /// How it ran the model.
    pub inference: Inference,
}

impl Job {
    /// Plans if needed, and puts the open shards of the run into a queue.
    ///
    /// # Errors
    ///
    /// As planning, the store and the broker.
    pub async fn submit(&self, broker: &dyn Broker) -> Result<Submitted> {
        self.output.check_folders().await?;
        let spool = spool_folder()?;
        let (run, limit) = match self.planner(spool.path()).decide().await? {
            Decision::Continue(run) => (run, None),
            Decision::New { run, previous } => {
                if let Some(previous) = previous {
                    sum_up_if_there(&previous).await?;
                }
                (run, None)
            }
            Decision::NothingNew { run, limit } => {
                // Whoever completed it may have ended before it was summed up.
                sum_up_if_there(&run).await?;
                return Ok(Submitted::of(&run, true, Stored::default(), limit));
            }
            Decision::OfThisJob(run) => return Ok(Submitted::of(&run, true, Stored::default(), None)),
            Decision::NothingFound => return Ok(Submitted::nothing()),
        };
        self.accept_beforehand(&run).await?;
        let stored = queue::submit(broker, &run).await?;
        Ok(Submitted::of(&run, false, stored, limit.or(run.record.limit)))
    }

    /// Works on what a queue has of this pipeline's runs, run by run, and tells of each.
    ///
    /// - `waits`: whether to stay when the queue is empty; otherwise this worker ends then, or when others have held all
    ///   that is left for `queue.idle`
    ///
    /// # Errors
    ///
    /// The stop's cause if it was stopped; `Config` if all that is left is of another pipeline; else as the stages.
    pub async fn drain(
        &self,
        broker: &Arc<dyn Broker>,
        waits: bool,
        tell: &mut (dyn FnMut(Drained) -> Result<()> + Send),
        progress: Arc<Progress>,
        stop: Stop,
    ) -> Result<()> {
        let idle = self.pipeline.queue.as_ref().map_or(Duration::ZERO, |queue| queue.idle);
        let patience = if waits { None } else { Some(idle) };
        let mut foreign = BTreeMap::new();
        loop {
            progress.waits_for_work();
            let Some(first) = stop.or(self.await_work(&**broker, patience)).await? else {
                return nothing_of_ours(foreign);
            };
            let Some(run) = stop.or(self.run_of(&**broker, &first.delivery, &mut foreign)).await? else {
                continue;
            };
            let slots = stop.or(self.prepare()).await?;
            foreign.clear();
            let work = QueueShards::of(broker.clone(), run.clone(), Some(first), idle).await?;
            let inference = Box::pin(self.process(&run, Arc::new(work), slots, &progress, &stop)).await?;
            tell(self.standing_of(&run, inference, &progress, &stop).await?)?;
        }
    }

    /// Waits for a message; `None` if this worker is to end instead.
    ///
    /// - `patience`: how long to wait for what others hold; `None`: stay for ever
    ///
    /// # Errors
    ///
    /// As the broker, once it was away for long.
    async fn await_work(&self, broker: &dyn Broker, patience: Option<Duration>) -> Result<Option<Held>> {
        let clock = self.output.process.clock();
        let since = clock.now();
        let mut away = Patience::default();
        loop {
            let extended = clock.now();
            // Only a pull brings what was put back and may be had again: no count tells.
            if let Some(delivery) = broker.pull(PULL).await.unwrap_or_default() {
                return Ok(Some(Held { delivery, extended }));
            }
            match broker.standing().await {
                Ok(standing) => {
                    away.answered();
                    let is_over = |patience| standing.held == 0 || clock.now().since(since) >= patience;
                    if standing.pending == 0 && patience.is_some_and(is_over) {
                        return Ok(None);
                    }
                }
                Err(error) => {
                    away.bear(error, clock.now())?;
                    clock.sleep(Patience::PAUSE).await;
                }
            }
        }
    }

    /// Opens the run of a message; `None` if this worker cannot work on it.
    async fn run_of(
        &self,
        broker: &dyn Broker,
        first: &Delivery,
        foreign: &mut BTreeMap<RunId, Error>,
    ) -> Result<Option<Arc<Run>>> {
        let id = &first.message.run;
        let Some(run) = Run::open(&self.output, id).await?.filter(|run| !run.record.origin.is_compaction())
        else {
            return self.take_away(broker, first, "it is not there").await;
        };
        if self.output.is_deleted(id).await? {
            return self.take_away(broker, first, "it is deleted").await;
        }
        let same = self.changed_model(&run).map_or(Ok(()), Err);
        let same = same.and_then(|()| check_fingerprint(id, &run.record.fingerprint, self.fingerprint()));
        match same {
            Ok(()) => Ok(Some(Arc::new(run))),
            Err(error) => {
                broker.put_back(first, FOR_OTHERS).await?;
                if foreign.insert(id.clone(), error).is_none() {
                    tracing::warn!(run = %id, "the queue has shards of a run of another pipeline, which are left to others");
                }
                Ok(None)
            }
        }
    }

    async fn take_away(&self, broker: &dyn Broker, first: &Delivery, why: &str) -> Result<Option<Arc<Run>>> {
        tracing::warn!(run = %first.message.run, shard = first.message.shard, "the queue names a run, but {why}");
        broker.finish(first).await?;
        Ok(None)
    }

    async fn standing_of(
        &self,
        run: &Run,
        inference: Inference,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Drained> {
        let committed = stop.or(run.committed()).await?.shards.len() as u64;
        if committed == u64::from(run.num_shards()) {
            let summary = stop.or(sum_up_in_turn(run, &self.judge())).await?;
            let report = self.report(run, summary, false, inference, progress, stop).await?;
            return Ok(Drained::Complete(Box::new(report)));
        }
        Ok(Drained::Part(Box::new(Part {
            run_id: run.id.to_string(),
            shards: run.num_shards().into(),
            committed_shards: committed,
            this_process: progress.snapshot(),
            inference,
        })))
    }
}

impl Submitted {
    fn of(run: &Run, nothing_new: bool, stored: Stored, limit: Option<Limit>) -> Self {
        Self {
            run_id: Some(run.id.to_string()),
            nothing_new,
            shards: run.num_shards().into(),
            queued: stored.new,
            queued_before: stored.there_before,
            limit,
        }
    }

    fn nothing() -> Self {
        Self { run_id: None, nothing_new: true, shards: 0, queued: 0, queued_before: 0, limit: None }
    }
}

/// Ends well, unless all that was left is of other pipelines.
fn nothing_of_ours(foreign: BTreeMap<RunId, Error>) -> Result<()> {
    let num = foreign.len() as u64;
    let Some((id, error)) = foreign.into_iter().next() else { return Ok(()) };
    let message =
        format!("the queue has only shards of {} of other pipelines, such as {id}", counted(num, "run"));
    Err(Error::new(Kind::Config, message)
        .because(error)
        .hint("give each pipeline and output a queue of its own (`queue.name`), or start workers with that pipeline"))
}
