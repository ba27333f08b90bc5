//! A worker of a queue: fills it with a run's open shards, or takes shards of whichever run from it.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Inference, Job, Report, Sessions, spool_folder};
use crate::observe::{Progress, ProgressSnapshot};
use crate::output::current_rows::sum_up_if_there;
use crate::output::{Limit, Run, RunId};
use crate::stages::pipeline::Stop;
use crate::stages::plan::{Decision, check_fingerprint};
use crate::stages::work::is_committed;
use crate::stages::work::queue;
use crate::stages::work::queue::{Broker, Held, Kept, Patience, QueueShards, Stored};
use crate::vocabulary::error::{Error, Result};

/// How long a message is waited for before anybody asks what is in the queue.
const PULL: Duration = Duration::from_secs(2);

/// A shard that could not be begun here may be had by others after so long.
const FOR_OTHERS: Duration = Duration::from_secs(5);

/// What was put into a queue.
#[derive(Clone, Debug, Default, Serialize)]
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
        let run = match self.planner(spool.path()).decide().await? {
            Decision::Continue(run) => run,
            Decision::New { run, previous } => {
                if let Some(previous) = previous {
                    sum_up_if_there(&previous).await?;
                }
                run
            }
            Decision::NothingNew { run, limit } => {
                return Ok(Submitted::of(&run, true, Stored::default(), limit));
            }
            Decision::OfThisJob(run) => return Ok(Submitted::of(&run, true, Stored::default(), None)),
            Decision::NothingFound => return Ok(Submitted { nothing_new: true, ..Submitted::default() }),
        };
        self.accept_beforehand(&run).await?;
        let stored = queue::submit(broker, &run).await?;
        Ok(Submitted::of(&run, false, stored, run.record.limit))
    }

    /// Returns what the ids of this pipeline's runs begin with.
    #[must_use]
    pub fn series(&self) -> String {
        RunId::new(&self.draft.name, &self.draft.fingerprint, 1).family().to_owned()
    }

    /// Works on what a queue has of this pipeline's runs, run by run, and tells of each.
    ///
    /// - `waits`: whether to stay when the queue is empty; otherwise this worker ends then, or when others have held all
    ///   that is left for `queue.idle`
    ///
    /// # Errors
    ///
    /// The stop's cause if it was stopped; `Config` if the queue has runs of another pipeline by now; `Unavailable` if it
    /// has a run that the output does not have; else as the stages.
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
        loop {
            progress.waits_for_work();
            let Some(first) = stop.or(self.await_work(&**broker, patience)).await? else { return Ok(()) };
            let first = Kept::new(broker.clone(), first, self.output.process.clock().clone());
            let Some((run, slots)) = self.begin_run(&first, &stop).await? else { continue };
            let work = stop.or(QueueShards::of(broker.clone(), run.clone(), Some(first), idle)).await?;
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
                Ok(standing) if standing.pending > 0 => away.bear_vain_pull(standing, clock.now())?,
                Ok(standing) => {
                    away.served();
                    let is_over = |patience| standing.held == 0 || clock.now().since(since) >= patience;
                    if patience.is_some_and(is_over) {
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

    /// Opens the run of a message, and sessions for it; `None` if there is nothing to do for it any more. If that fails, or
    /// takes too long for whoever has asked this worker to stop, others get the shard.
    async fn begin_run(&self, first: &Kept, stop: &Stop) -> Result<Option<(Arc<Run>, Sessions)>> {
        let begun = async {
            match self.run_of(first).await? {
                Some(run) => Ok(Some((run, self.prepare().await?))),
                None => Ok(None),
            }
        };
        let begun = stop.or(begun).await;
        match &begun {
            Ok(Some(_)) => {}
            Ok(None) => first.finish().await,
            // Not at once: whatever is wrong here may be right elsewhere, but not within this second.
            Err(error) if error.kind().is_stop() => first.put_back(Duration::ZERO).await,
            Err(_) => first.put_back(FOR_OTHERS).await,
        }
        begun
    }

    /// Opens the run of a message; `None` if it is deleted, or its shard committed.
    async fn run_of(&self, first: &Kept) -> Result<Option<Arc<Run>>> {
        let (id, shard) = (&first.delivery().message.run, first.delivery().message.shard);
        if self.output.is_deleted(id).await? {
            tracing::warn!(run = %id, shard, "the queue names a run that is deleted");
            return Ok(None);
        }
        let missing = || {
            Error::unavailable(format!("the queue names run {id}, which {} does not have", self.output.uri)).hint(
                "is the output mounted here, and is it the right store? If the run is gone for good, purge the queue",
            )
        };
        let run = Run::open(&self.output, id).await?.ok_or_else(missing)?;
        self.changed_model(&run).map_or(Ok(()), Err)?;
        check_fingerprint(id, &run.record.fingerprint, self.fingerprint())?;
        if shard < run.num_shards() && is_committed(&run, shard).await? && run.complete().await? {
            return Ok(None);
        }
        Ok(Some(Arc::new(run)))
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
            let report = self.report_completed(run, inference, progress, stop).await?;
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
}
