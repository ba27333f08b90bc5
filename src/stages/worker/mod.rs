//! One worker: checks a job, plans or adopts its run, works on open shards, sums up.
//!
//! Goes in: a checked pipeline. Comes out: a [`Report`]. Whatever is wrong with the pipeline, the
//! model, the runtime or the output is found before any image is read.

mod drain;
mod sessions;
pub(crate) mod tiling;
mod tune;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::config::{self, Dates, Loaded, Pipeline, Privacy};
use crate::formats::image::DecodeLimits;
use crate::input::byte_ranges::ReadOptions;
use crate::input::source::{InputSpec, ItemSpec};
use crate::input::storage::{ObjectUri, Storage};
use crate::model_cache;
use crate::models;
use crate::models::Model;
use crate::observe::{Progress, ProgressSnapshot, announce, keep_to_own_lines};
use crate::output;
use crate::output::current_rows::{Shown, count_shown, how_to_accept, settle, sum_up_if_there};
use crate::output::fingerprint::{FingerprintInput, OutputSchemaId, PrivacyMeaning};
use crate::output::rejects::Retry;
use crate::output::summary::{Summary, deleted_meanwhile, sum_up_as, sum_up_in_turn};
use crate::output::table;
use crate::output::table::TableSpec;
use crate::output::{AcceptedBecause, ArrayJob, Limit, ModelRecord, Origin, Output, PrivacyRecord, Run};
use crate::scene::{BurnedIn, MedicalRules, Tiling};
use crate::stages::child;
use crate::stages::child::{Program, memory_of_this_process};
use crate::stages::fetch::Fetcher;
use crate::stages::infer::arithmetic;
use crate::stages::infer::arithmetic::Products;
use crate::stages::pipeline::{Isolation, SpareTensors, Stages, Stop, process};
use crate::stages::plan;
use crate::stages::plan::{Decision, Planner, Preview, Retried, RunSpec, SceneSurvey};
use crate::stages::preprocess::Preprocess;
use crate::stages::sink::Scorer;
use crate::stages::survey::HeaderReader;
use crate::stages::work::{OpenShards, Share, ShareFirst, WorkSource};
use crate::vocabulary::contract::Contract;
use crate::vocabulary::contract::Target;
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::identity::Naming;
use crate::vocabulary::keys::Keys;
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::process::Process;
use crate::vocabulary::provider::Provider;
use crate::vocabulary::words::{by_header, counted_of, form};

pub use drain::{Drained, Submitted};
pub use sessions::{Inference, Sessions};
pub use tune::Trial;

/// With more sources than this, whose addresses would have to be held, a run does not count the whole table.
const MAX_COUNTED_SOURCES: u64 = 1_000_000;

use sessions::SessionRequest;

/// A job that has been checked as far as it can be without reading images.
pub struct Job {
    pipeline: Pipeline,
    storage: Storage,
    input: InputSpec,
    output: Output,
    model: Model,
    draft: RunSpec,
    cutting: Option<SceneSurvey>,
    accepts: bool,
    work: OpenWork,
    array: Option<ArrayJob>,
    /// Whether planning is first of all up to another worker of the array job.
    defers_planning: bool,
}

/// Makes the source of a run's work.
pub type OpenWork = Arc<dyn Fn(Arc<Run>) -> BoxFuture<'static, Result<Arc<dyn WorkSource>>> + Send + Sync>;

/// Whatever is open of a run, on this machine.
fn open_shards() -> OpenWork {
    Arc::new(|run| {
        let begin = run.output.process.beginning();
        OpenShards::of(run, begin).map_ok(|work| Arc::new(work) as Arc<dyn WorkSource>).boxed()
    })
}

/// The shards of a share first, then whatever is open.
fn share_first(share: Share) -> OpenWork {
    Arc::new(move |run| {
        ShareFirst::of(run, share).map_ok(|work| Arc::new(work) as Arc<dyn WorkSource>).boxed()
    })
}

/// What a worker did and how the run stands.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The run; `None` if no source was found and there was none before.
    pub run_id: Option<String>,
    /// Whether there was nothing new to do.
    pub nothing_new: bool,
    /// Whether `tiles` shows the run; false if too much of it was rejected, and nobody has accepted it.
    pub current: bool,
    /// The run's final counts.
    pub summary: Option<Summary>,
    /// Whether this worker judges what was rejected of the run: of several workers, one does.
    pub judges: bool,
    /// Set if the run covers only a part of what was found, as `--limit` asks for; where nothing is new, if only a part
    /// was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Sources of the run that their headers rejected when it was planned.
    pub rejected_sources: u64,
    /// The rows that `tiles` shows now, of whichever run; `None` if a run has added to them, or there are too many
    /// sources to tell in passing.
    pub table: Option<Shown>,
    /// What this process did.
    pub this_process: ProgressSnapshot,
    /// How it ran the model.
    pub inference: Inference,
}

impl Job {
    /// Checks a pipeline: model, contract, preprocessing, output. A model in a store is brought to this machine.
    ///
    /// # Errors
    ///
    /// `Config` for whatever a person has to change; `Unavailable` if the model cannot be fetched for now.
    pub async fn open(loaded: &Loaded) -> Result<Self> {
        let Pipeline { storage, input, .. } = &loaded.pipeline;
        let process = Process::real();
        let keys = keys(&loaded.pipeline)?;
        // What inputs may lead to does not limit the model, whose name is no secret.
        let models_in = Storage::of(storage.clone(), Arc::clone(&process))?;
        let storage = named(models_in.clone(), keys.as_ref()).allowing(&input.allow)?;
        Self::open_with(process, storage, &models_in, loaded, keys.as_ref()).await
    }

    /// Checks a pipeline as [`Self::open`], for a process whose clock, seed and stores are the caller's. If its sources
    /// have secret names, the process logs no lines of other crates any more.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub async fn open_as(process: Arc<Process>, storage: Storage, loaded: &Loaded) -> Result<Self> {
        let keys = keys(&loaded.pipeline)?;
        let named = named(storage.clone(), keys.as_ref());
        Self::open_with(process, named, &storage, loaded, keys.as_ref()).await
    }

    /// - `models_in`: access to where models lie
    async fn open_with(
        process: Arc<Process>,
        storage: Storage,
        models_in: &Storage,
        loaded: &Loaded,
        keys: Option<&Keys>,
    ) -> Result<Self> {
        if storage.naming().is_secret() {
            keep_to_own_lines();
        }
        let pipeline = loaded.pipeline.clone();
        let output = open_output(&storage, &pipeline, process)?;
        let names = models::Overrides {
            embedding: pipeline.model.embedding.clone(),
            logits: pipeline.model.logits.clone(),
        };
        let model = Box::pin(model_cache::bring(pipeline.model_place()?, models_in)).await?;
        let mut model = model.read(|path| models::load(path, &names))?;
        model.contract.input.accept = pipeline.tiles.over(model.contract.input.accept);
        // Found wrong now rather than at the first tile.
        Preprocess::new(&model.contract.input)?;
        let tiling = tiling::resolve(&pipeline.grid, &model.contract.input)?.map(Arc::new);
        let input = InputSpec {
            uris: pipeline.input.uris.clone(),
            manifest: pipeline.input.manifest.clone(),
            allow: pipeline.input.allow.clone(),
            look_up: true,
            limit: pipeline.input.limit,
            items: tiling
                .as_deref()
                .filter(|tiling| !tiling.is_of_frames())
                .map(|tiling| items(&pipeline, tiling, storage.naming()))
                .transpose()?,
            keep_columns: keys.is_some().then(|| keep_columns(&pipeline)),
            exclude: output.places().cloned().collect(),
        };
        model.precision = Precision::agreed(pipeline.run.precision, model.precision)?;
        check_provider(pipeline.run.provider, &model)?;
        check_arithmetic(&pipeline.run, &model)?;
        let draft = draft(loaded, &model, tiling.as_deref(), keys)?;
        let requests = pipeline.run.fetch_concurrency;
        let cutting = tiling.map(|tiling| SceneSurvey {
            surveyor: Arc::new(
                HeaderReader::new(
                    storage.clone(),
                    tiling.clone(),
                    pipeline.limits.max_windows,
                    ReadOptions::new(Arc::new(Semaphore::new(requests.get())), Arc::default()),
                )
                .telling(medical_rules(&pipeline, keys)),
            ),
            tiling,
        });
        Ok(Self {
            pipeline,
            storage,
            input,
            output,
            model,
            draft,
            cutting,
            accepts: false,
            work: open_shards(),
            array: None,
            defers_planning: false,
        })
    }

    /// Accepts the run beforehand, however much of it will be rejected.
    #[must_use]
    pub fn accepting(self, accepts: bool) -> Self {
        Self { accepts, ..self }
    }

    /// Begins with a share of the shards, and then helps with those of others.
    ///
    /// - `array`: the job that it is a task of; once a run is complete that others of its tasks have worked on, it has
    ///   nothing left to do. Its first task plans, the others wait for that as long as `plan.wait` says
    #[must_use]
    pub fn sharing(self, share: Share, array: Option<ArrayJob>) -> Self {
        let defers_planning = array.is_some() && !share.is_first();
        Self { array, defers_planning, ..self.taking_work_from(share_first(share)) }
    }

    /// Takes its shards from there instead of whatever is open.
    #[must_use]
    pub fn taking_work_from(self, work: OpenWork) -> Self {
        Self { work, ..self }
    }

    /// Returns how many CPU threads decode, infer, and do input and output, each.
    #[must_use]
    pub fn threads(&self) -> NonZeroUsize {
        self.request().threads()
    }

    /// Returns the model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Returns where the table goes.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Returns the settings.
    #[must_use]
    pub fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Returns the stores that its sources lie in.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Returns what planning would do, writing nothing.
    ///
    /// # Errors
    ///
    /// As [`Planner::preview`].
    pub async fn preview(&self) -> Result<Preview> {
        let spool = spool_folder()?;
        let planner = self.planner(spool.path());
        Ok(planner.with_shard_time(planner.preview().await?).await)
    }

    /// Publishes the plan if needed, and returns how its run stands.
    ///
    /// # Errors
    ///
    /// As [`Planner::decide`]; `Config` if a folder of the output is a link.
    pub async fn plan(&self) -> Result<Preview> {
        self.output.check_folders().await?;
        let spool = spool_folder()?;
        let planner = self.planner(spool.path());
        match self.decide_by(&planner).await? {
            Decision::Continue(run) | Decision::New { run, .. } => {
                Ok(planner.with_shard_time(planner.preview_of(&run).await?).await)
            }
            Decision::OfThisJob(run) => planner.preview_of(&run).await,
            Decision::NothingNew { run, limit } => {
                Ok(Preview { nothing_new: true, limit, ..planner.preview_of(&run).await? })
            }
            Decision::NothingFound => planner.preview().await,
        }
    }

    /// Returns the error that a planned run will end with, as far as headers tell.
    ///
    /// # Errors
    ///
    /// `RejectsAboveLimit` if what headers reject is beyond `limits.max_reject_ratio`.
    pub fn check_preview(&self, preview: &Preview) -> Result<()> {
        let (rejected, limit) = (preview.num_rejected(), self.pipeline.limits.max_reject_ratio);
        let worst = match preview.looked_at {
            Some(looked_at) => Rejected::new(rejected, looked_at, "source").among(" looked at"),
            None => Rejected::worst(vec![
                Rejected::new(rejected, preview.tiles, "tile"),
                Rejected::new(rejected, preview.sources, "source"),
            ]),
        };
        if preview.nothing_new || worst.ratio() <= limit {
            return Ok(());
        }
        let message = worst.above(&format!("would be rejected {}", by_header(rejected)), limit);
        Err(Error::new(Kind::RejectsAboveLimit, message).hint(format!(
            "`tilefleet inspect SOURCE --model {}` with the same `tiles` says why; the run would commit \
                 and exit 65, and `tiles` would keep showing earlier rows until the run is accepted",
            self.pipeline.model_place()?
        )))
    }

    async fn decide(&self) -> Result<Decision> {
        let spool = spool_folder()?;
        self.decide_by(&self.planner(spool.path())).await
    }

    async fn decide_by(&self, planner: &Planner<'_>) -> Result<Decision> {
        if self.defers_planning
            && let Some(decision) = planner.join_within(self.pipeline.plan.wait).await?
        {
            return Ok(decision);
        }
        let decision = planner.decide().await?;
        if let (Decision::NothingNew { run, .. }, Some(array)) = (&decision, &self.array) {
            // So that the others of this job need not list the input to learn the same.
            self.output.note_array_job(&run.id, array).await?;
        }
        Ok(decision)
    }

    fn planner<'a>(&'a self, spool_dir: &'a std::path::Path) -> Planner<'a> {
        Planner {
            output: &self.output,
            draft: &self.draft,
            storage: &self.storage,
            input: &self.input,
            spool_dir,
            cutting: self.cutting.as_ref(),
            array: self.array.as_ref(),
        }
    }

    /// Plans if needed, works on all open shards, sums up.
    ///
    /// A retry that was not finished is, before anything new is planned: it covers nothing of the input.
    ///
    /// # Errors
    ///
    /// The stop's cause if it was stopped; else as the stages.
    pub async fn run(&self, progress: Arc<Progress>, stop: Stop) -> Result<Report> {
        loop {
            let (report, more) = Box::pin(self.run_once(self.prepare().await?, &progress, &stop)).await?;
            if !more {
                return Ok(report);
            }
        }
    }

    /// Plans if needed and works on all open shards in sessions that the caller has opened: on devices of its
    /// own.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_in(&self, slots: Sessions, progress: Arc<Progress>, stop: Stop) -> Result<Report> {
        Box::pin(self.run_once(slots, &progress, &stop)).await.map(|(report, _)| report)
    }

    /// Measures the rate of the model alone, in chips per second, with the sessions of a run.
    ///
    /// # Errors
    ///
    /// As opening and running sessions.
    pub async fn bare_rate(&self, at_least: std::time::Duration) -> Result<(f64, Inference)> {
        let mut slots = self.request().open().await?;
        let rate = tune::bare_rate(&mut slots, at_least)?;
        Ok((rate, slots.inference))
    }

    /// Works on one run; returns whether another is to be looked for, since this one was a retry, or limited.
    async fn run_once(
        &self,
        slots: Sessions,
        progress: &Arc<Progress>,
        stop: &Stop,
    ) -> Result<(Report, bool)> {
        let started = Instant::now();
        let decision = Box::pin(stop.or(self.decide())).await?;
        progress.planning_took(started.elapsed());
        let run = match decision {
            Decision::Continue(run) => run,
            Decision::OfThisJob(run) => {
                let summary = stop.or(sum_up_as(&run, &self.judge())).await?;
                return Ok((
                    self.report(&run, summary, false, slots.inference, progress, stop).await?,
                    false,
                ));
            }
            Decision::NothingNew { run, limit } => {
                let summary = stop.or(sum_up_as(&run, &self.judge())).await?;
                let report = self.report(&run, summary, true, slots.inference, progress, stop).await?;
                return Ok((Report { limit, ..report }, false));
            }
            Decision::NothingFound => return Ok((nothing_found(slots.inference, progress), false)),
            Decision::New { run, previous } => {
                if let Some(previous) = previous {
                    stop.or(sum_up_if_there(&previous)).await?;
                }
                run
            }
        };
        if let Some(array) = &self.array {
            stop.or(self.output.note_array_job(&run.id, array)).await?;
        }
        stop.or(self.accept_beforehand(&run)).await?;
        // Neither covers what was asked for.
        let is_limited = run.record.limit.is_some() && self.input.limit.is_none();
        let more = is_limited || run.record.origin == Origin::Retry;
        let run = Arc::new(run);
        let work = (self.work)(run.clone()).await?;
        Ok((Box::pin(self.work_on(&run, work, slots, progress, stop)).await?, more))
    }

    /// Accepts a run, if that was asked for, before the work: whoever finishes it instead of us finds it accepted.
    async fn accept_beforehand(&self, run: &Run) -> Result<()> {
        if !self.accepts {
            return Ok(());
        }
        self.output.accept_run(&run.id, AcceptedBecause::Asked).await
    }

    /// Tries rejected tiles again, or finishes the retry that was not finished; `None` if newer runs have
    /// replaced all of them.
    ///
    /// # Errors
    ///
    /// As [`Planner::retry`] and [`Self::run`].
    pub async fn retry(
        &self,
        rejected: &[Retry],
        progress: Arc<Progress>,
        stop: Stop,
    ) -> Result<Option<Report>> {
        let slots = self.prepare().await?;
        let spool = spool_folder()?;
        let planner = self.planner(spool.path());
        let started = Instant::now();
        let retried = stop.or(planner.retry(rejected)).await?;
        progress.planning_took(started.elapsed());
        let Some(Retried { run, continued }) = retried else {
            return Ok(None);
        };
        if continued {
            tracing::info!(run = %run.id, "an unfinished retry is resumed; no new one is planned");
        }
        let run = Arc::new(run);
        let work = (self.work)(run.clone()).await?;
        Box::pin(self.work_on(&run, work, slots, &progress, &stop)).await.map(Some)
    }

    /// Opens the sessions: a provider that does not work must be told before anything is written, and so must a
    /// folder from which nothing could be deleted.
    async fn prepare(&self) -> Result<Sessions> {
        self.output.check_folders().await?;
        let slots = self.request().open().await?;
        self.output.bucket.sweep_staging().await;
        Ok(slots)
    }

    fn request(&self) -> SessionRequest<'_> {
        let Self { pipeline, model, output, storage, .. } = self;
        SessionRequest { run: &pipeline.run, model, output, storage }
    }

    async fn work_on(
        &self,
        run: &Arc<Run>,
        work: Arc<dyn WorkSource>,
        slots: Sessions,
        progress: &Arc<Progress>,
        stop: &Stop,
    ) -> Result<Report> {
        let inference = self.process(run, work, slots, progress, stop).await?;
        self.report_completed(run, inference, progress, stop).await
    }

    /// Sums up a run that this worker has worked on, and that is complete.
    async fn report_completed(
        &self,
        run: &Run,
        inference: Inference,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Report> {
        let summary = stop.or(sum_up_in_turn(run, &self.judge())).await?;
        self.report(run, summary, false, inference, progress, stop).await
    }

    /// Returns what this worker is called as the judge of a run. An engine that starts a task again, because its process
    /// was killed before it could exit 65, is to hear it from that task.
    fn judge(&self) -> String {
        self.array.as_ref().map_or_else(|| self.output.process.name().to_owned(), ArrayJob::task_name)
    }

    /// Works on the shards of a run that a source of work gives.
    async fn process(
        &self,
        run: &Arc<Run>,
        work: Arc<dyn WorkSource>,
        slots: Sessions,
        progress: &Arc<Progress>,
        stop: &Stop,
    ) -> Result<Inference> {
        let num_open = work.backlog().tiles;
        progress.begin(run.record.plan.tiles, run.record.plan.tiles - num_open);
        let limit = run.record.limit.map(|limit| limit.to_string());
        let (tiles, shards) = (run.record.plan.tiles, run.num_shards().into());
        announce::run_begins(&run.id.to_string(), tiles, shards, num_open, limit.as_deref());
        output::warn_if_short(&self.output, num_open * plan::row_bytes(self.draft.embedding_bytes));
        let mut stages = self.stages(run, progress, stop)?;
        stop.or(stages.fetcher.learn_of_attempts()).await?;
        let Sessions { slots, inference } = stop.or(self.tuned(slots, &stages, &*work, stop)).await?;
        stages.batch = NonZeroUsize::new(inference.batch).unwrap_or(NonZeroUsize::MIN);
        match process(Arc::new(stages), slots, work).await {
            // Whatever was missing was deleted with the run.
            Err(error) if !error.kind().is_stop() && run.output.is_deleted(&run.id).await? => {
                return Err(deleted_meanwhile(&run.id).because(error));
            }
            done => done?,
        }
        Ok(inference)
    }

    /// Finds out how the CPU is used best, if there is enough to do.
    async fn tuned(
        &self,
        slots: Sessions,
        stages: &Stages,
        work: &dyn WorkSource,
        stop: &Stop,
    ) -> Result<Sessions> {
        let tiles = work.likely_tiles();
        let Some(shard) = work.backlog().first.filter(|_| tune::may_pay(&self.request(), tiles)) else {
            return Ok(slots);
        };
        let sample = stages.sample(shard).await?;
        let turn = AtomicUsize::new(0);
        let decode = || {
            if let Some(at) = turn.fetch_add(1, Ordering::Relaxed).checked_rem(sample.len()) {
                stages.decode_for_nothing(&sample[at]);
            }
        };
        // Nothing else runs yet.
        tune::tune(&self.request(), slots, tiles, &decode, &|| stop.stopped())
    }

    async fn report(
        &self,
        run: &Run,
        summary: Summary,
        nothing_new: bool,
        inference: Inference,
        progress: &Progress,
        stop: &Stop,
    ) -> Result<Report> {
        let this_process = progress.snapshot();
        let allowed = Some(self.pipeline.limits.max_reject_ratio);
        let current = stop.or(settle(run, &summary.counts, allowed)).await?;
        let id = run.id.to_string();
        if nothing_new {
            announce::nothing_to_do(Some(&id));
        } else {
            let Counts { ok, skipped, rejected, .. } = summary.counts;
            let outcomes = announce::Outcomes { tiles: summary.tiles, ok, skipped, rejected };
            announce::run_ends(&id, &outcomes, current, &this_process);
        }
        let most_sources = match (&run.record.origin, nothing_new) {
            (_, true) => MAX_COUNTED_SOURCES,
            (Origin::Retry, false) => u64::MAX,
            _ => 0,
        };
        let table = stop.or(count_shown(&self.output, most_sources)).await?;
        Ok(Report {
            run_id: Some(id),
            nothing_new,
            judges: summary.is_judged_by(&self.judge()),
            current,
            summary: Some(summary),
            limit: run.record.limit,
            rejected_sources: run.sources.num_rejected(),
            table,
            this_process,
            inference,
        })
    }

    /// Returns the error that a run cannot be continued with, if it has another model or contract although this
    /// job's lie at the same place of a store.
    #[must_use]
    pub fn changed_model(&self, run: &Run) -> Option<Error> {
        plan::changed_model(run, &self.draft)
    }

    /// Returns the whole fingerprint of this job's runs.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.draft.fingerprint
    }

    /// Returns the error that a complete run deserves, if any.
    ///
    /// A retry is judged by the table that it leaves. Of several workers one judges, so that one alone fails: whoever
    /// sums the run up first, which is mostly the one that has committed the last shard.
    ///
    /// # Errors
    ///
    /// `RejectsAboveLimit` beyond `limits.max_reject_ratio`.
    pub fn check_rejects(&self, report: &Report) -> Result<()> {
        let (Some(id), Some(summary)) = (&report.run_id, &report.summary) else { return Ok(()) };
        let parts = match &report.table {
            Some(Shown { tiles, counts }) => {
                vec![Rejected::new(counts.rejected, *tiles, "tile").among(" of the table")]
            }
            None => vec![
                Rejected::new(summary.counts.rejected, summary.tiles, "tile"),
                Rejected::new(report.rejected_sources, summary.sources, "source"),
            ],
        };
        let worst = Rejected::worst(parts);
        // Finding nothing new is success, whatever the run before said of its rejects: its judge has told.
        if (worst.ratio() <= self.pipeline.limits.max_reject_ratio && report.current) || !report.judges {
            return Ok(());
        }
        let limit = self.pipeline.limits.max_reject_ratio;
        let message = worst.above(&worst.were_rejected(), limit);
        let uri = &self.output.uri;
        let hint = if report.current {
            let lists = format!("`tilefleet rejects {uri}` lists them, `tilefleet runs {uri}` counts them");
            match worst.limit_above() {
                Some(enough) if worst.ratio() > limit => format!(
                    "every row is in the table with its reason: {lists}; if so many are expected, give `--set \
                     limits.max_reject_ratio={enough}`"
                ),
                _ => format!("every row is in the table with its reason: {lists}"),
            }
        } else {
            format!(
                "every row is committed, but `tiles` shows what it showed before: look at `tilefleet rejects {uri} \
                 --run {id}` and `tilefleet runs {uri}`; {}, else the next run plans its sources again",
                how_to_accept(uri, id)
            )
        };
        Err(Error::new(Kind::RejectsAboveLimit, message).hint(hint))
    }

    fn stages(&self, run: &Arc<Run>, progress: &Arc<Progress>, stop: &Stop) -> Result<Stages> {
        let (pipeline, contract) = (&self.pipeline, &self.model.contract);
        let scorer = contract
            .output
            .classifier
            .as_ref()
            .map(|classifier| Scorer { activation: classifier.activation, top_k: pipeline.output.top_k });
        Ok(Stages {
            run: run.clone(),
            fetcher: Arc::new(Fetcher::new(
                self.storage.clone(),
                run.clone(),
                &pipeline.limits,
                pipeline.run.fetch_concurrency,
                progress.traffic(),
            )),
            tiling: self.cutting.as_ref().map(|cutting| cutting.tiling.clone()),
            limits: DecodeLimits::of_pixels(pipeline.limits.max_pixels),
            isolation: isolation(pipeline, self.threads()),
            input: contract.input.clone(),
            preprocess: Preprocess::new(&contract.input)?,
            spare: Arc::new(SpareTensors::new(contract.input.sample_type, contract.input.num_samples())),
            scorer,
            table: TableSpec::new(contract, pipeline, run.sources.extra_fields()),
            constants: constants(pipeline.run.provider, &self.model),
            batch: NonZeroUsize::MIN,
            max_wait: pipeline.run.max_wait,
            grace: pipeline.run.grace,
            fetch_concurrency: pipeline.run.fetch_concurrency,
            decode_threads: self.threads(),
            memory_bytes: pipeline.run.memory_bytes,
            progress: progress.clone(),
            stop: stop.clone(),
        })
    }
}

/// How many of something are rejected.
struct Rejected {
    num: u64,
    of: u64,
    /// What is counted, one of it.
    thing: &'static str,
    /// Which of them, said behind their number.
    among: &'static str,
}

impl Rejected {
    fn new(num: u64, of: u64, thing: &'static str) -> Self {
        Self { num, of, thing, among: "" }
    }

    fn among(self, among: &'static str) -> Self {
        Self { among, ..self }
    }

    fn ratio(&self) -> f64 {
        self.num as f64 / self.of.max(1) as f64
    }

    /// Returns the largest part, the first of equal ones.
    fn worst(parts: Vec<Self>) -> Self {
        let worse = |one: Self, other: Self| if other.ratio() > one.ratio() { other } else { one };
        parts.into_iter().reduce(worse).unwrap_or(Self::new(0, 0, "tile"))
    }

    /// Says what became of them in a run: a source is rejected by its header, when it is planned.
    fn were_rejected(&self) -> String {
        let were = form(self.num, "was", "were");
        match self.thing {
            "source" => format!("{were} rejected {}", by_header(self.num)),
            _ => format!("{were} rejected"),
        }
    }

    /// Returns the next limit in whole percent that allows so many; `None` where nearly all are rejected: no limit is
    /// meant for that.
    fn limit_above(&self) -> Option<f64> {
        let percent = (100.0 * self.ratio()).ceil();
        (percent <= 90.0).then_some(percent / 100.0)
    }

    fn above(&self, are_rejected: &str, limit: f64) -> String {
        format!(
            "{}{} {are_rejected} ({:.1} %), limits.max_reject_ratio allows {:.1} %",
            counted_of(self.num, self.of, self.thing),
            self.among,
            100.0 * self.ratio(),
            100.0 * limit
        )
    }
}

/// Parses the output's URI; a web server, which takes no files, is refused before any work.
fn writable(uri: &str) -> Result<ObjectUri> {
    let uri = ObjectUri::parse(uri)?;
    if uri.scheme().is_http() {
        return Err(Error::config(format!("{uri} cannot be an output"))
            .because("web servers do not accept files")
            .hint("write to a local folder, s3://, gs:// or az://"));
    }
    Ok(uri)
}

/// Refuses what the provider cannot compute with.
fn check_provider(provider: Provider, model: &Model) -> Result<()> {
    if model.precision == Precision::Tf32 && provider == Provider::Cpu {
        return Err(Error::config("`run.precision` is \"tf32\", which the CPU does not support")
            .hint("leave the precision at \"auto\", or choose `--provider cuda`"));
    }
    let target = model.contract.quantisation.as_ref().map(|quantisation| quantisation.target);
    if provider == Provider::Tensorrt && target == Some(Target::Cpu) {
        return Err(Error::config(
            "the model was quantised for the CPU: its activations are unsigned, but TensorRT needs signed \
             ones",
        )
        .hint(
            "make another one from the fp32 file: `tilefleet model quantize --target tensorrt`, or run it on \
             the CPU",
        ));
    }
    Ok(())
}

/// Refuses a model whose rows would be others here than where it was made, unless that is allowed.
fn check_arithmetic(run: &config::Run, model: &Model) -> Result<()> {
    let on_cpu = run.provider == Provider::Cpu || run.providers.cpu_fallback;
    let Some(operands) = model.operands.filter(|_| on_cpu) else { return Ok(()) };
    arithmetic::check(operands, Products::here(), run.allow_saturation)
}

/// What children may have together where nobody knows how much memory there is.
const UNKNOWN_MEMORY: u64 = 4 << 30;

fn isolation(pipeline: &Pipeline, threads: NonZeroUsize) -> Isolation {
    let all = || memory_of_this_process().map_or(UNKNOWN_MEMORY, |bytes| bytes / 4 * 3);
    let (memory_bytes, memory_alone_bytes) = match pipeline.limits.decode_memory_bytes {
        Some(bytes) => (bytes, bytes),
        None => (all() / threads.get() as u64, all()),
    };
    let limits = child::Limits { memory_bytes, memory_alone_bytes, time: pipeline.limits.decode_time };
    Isolation::new(pipeline.run.isolate, Program::this(), limits)
}

fn constants(provider: Provider, model: &Model) -> Vec<(String, String)> {
    let arithmetic = match model.operands {
        Some(operands) if provider == Provider::Cpu => arithmetic::name(operands, Products::here()),
        _ => model.precision.name().to_owned(),
    };
    vec![
        ("provider".to_owned(), provider.name().to_owned()),
        ("precision".to_owned(), model.precision.name().to_owned()),
        ("arithmetic".to_owned(), arithmetic),
    ]
}

fn draft(loaded: &Loaded, model: &Model, tiling: Option<&Tiling>, keys: Option<&Keys>) -> Result<RunSpec> {
    let pipeline = &loaded.pipeline;
    let privacy = pipeline.privacy.as_ref();
    let contract = model.contract.meaning();
    let meaning = FingerprintInput {
        model_digest: &model.digest,
        contract: &contract,
        precision: model.precision.name(),
        embedding_type: pipeline.output.embedding.name(),
        top_k: pipeline.output.top_k,
        tiling,
        privacy: privacy.and_then(|privacy| meaning_of(privacy, keys)),
    };
    let classifier = model.contract.output.classifier.as_ref();
    let lineage = OutputSchemaId {
        schema: format!("{:?}", table::schema(&TableSpec::new(&model.contract, pipeline, None)).fields()),
        activation: classifier.map(|classifier| classifier.activation),
        num_classes: classifier.map(|classifier| classifier.num_classes),
        labels: classifier.and_then(|classifier| classifier.labels.as_deref()),
        key_id: keys.map(Keys::id),
    };
    let embedding_bytes = model.contract.output.embedding_length * pipeline.output.embedding.num_bytes();
    Ok(RunSpec {
        name: pipeline.name.clone(),
        fingerprint: meaning.fingerprint()?,
        lineage: lineage.digest()?,
        lineage_description: describe(&model.contract),
        model: ModelRecord {
            file: model.name.clone(),
            digest: model.digest.clone(),
            contract_digest: model.contract.digest()?,
            contract_origin: model.contract_origin.to_string(),
            contract: model.contract.clone(),
        },
        pipeline: recorded(loaded.settings.to_json(), keys),
        privacy: privacy.map(|privacy| PrivacyRecord::new(privacy, keys)),
        shard_tiles: pipeline
            .plan
            .shard_tiles
            .map(|tiles| u32::try_from(tiles.get()).expect("checked by config: at most a million")),
        embedding_bytes: embedding_bytes as u64,
        max_reject_ratio: pipeline.limits.max_reject_ratio,
    })
}

/// Reads the key of the pseudonyms, if sources have any.
fn keys(pipeline: &Pipeline) -> Result<Option<Keys>> {
    Ok(pipeline.privacy.as_ref().map(Privacy::keys).transpose()?.flatten())
}

fn named(storage: Storage, keys: Option<&Keys>) -> Storage {
    match keys {
        Some(keys) => storage.naming_sources(keys.naming()),
        None => storage,
    }
}

/// Opens the output with its vault, if it has one.
fn open_output(storage: &Storage, pipeline: &Pipeline, process: Arc<Process>) -> Result<Output> {
    let output = Output::open(storage, &writable(&pipeline.output.uri)?, process);
    match pipeline.privacy.as_ref().and_then(|privacy| privacy.secrets.vault.as_deref()) {
        Some(vault) => output.with_vault_at(storage, vault),
        None => Ok(output),
    }
}

fn keep_columns(pipeline: &Pipeline) -> Vec<String> {
    pipeline.privacy.as_ref().map_or_else(Vec::new, |privacy| privacy.keep_columns.clone())
}

/// Returns what of `[privacy]` changes rows; `None` if nothing does.
fn meaning_of<'a>(privacy: &'a Privacy, keys: Option<&Keys>) -> Option<PrivacyMeaning<'a>> {
    let Privacy { policy, dates, keep_tags, burned_in, .. } = privacy;
    let is_as_without =
        keys.is_none() && (*dates, *burned_in) == (Dates::Kept, BurnedIn::Allow) && keep_tags.is_empty();
    let meaning = || PrivacyMeaning {
        policy: policy.name(),
        key_id: keys.map(Keys::id).unwrap_or_default(),
        dates: dates.name(),
        keep_tags: keep_tags.iter().map(|kept| kept.keyword).collect(),
        burned_in: burned_in.name(),
    };
    (!is_as_without).then(meaning)
}

/// Returns what the table may tell of medical images.
fn medical_rules(pipeline: &Pipeline, keys: Option<&Keys>) -> MedicalRules {
    let Some(privacy) = &pipeline.privacy else { return MedicalRules::default() };
    MedicalRules {
        keys: keys.cloned(),
        tells_dates: privacy.dates != Dates::Absent,
        burned_in: privacy.burned_in,
        keep_tags: privacy.keep_tags.clone(),
    }
}

/// Settings that lead to sources, as they lie in the record of a pipeline.
const LEADING_TO_SOURCES: [&str; 5] =
    ["/input/uris", "/input/manifest", "/input/allow", "/input/stac/api", "/input/stac/collections"];

/// Settings that lead to the key, or to what tells the URIs of sources: no reader of the table needs to know.
const LEADING_TO_SECRETS: [&str; 2] = ["/privacy/key_file", "/privacy/vault"];

/// Returns the settings as a run records them: what leads to sources is named, what leads to secrets left out.
fn recorded(mut settings: serde_json::Value, keys: Option<&Keys>) -> serde_json::Value {
    let Some(keys) = keys else { return settings };
    let naming = keys.naming();
    for setting in LEADING_TO_SECRETS {
        if let Some(place) = settings.pointer_mut(setting) {
            *place = "".into();
        }
    }
    let name = |value: &mut serde_json::Value| {
        // An empty text is a setting that is not set.
        if let serde_json::Value::String(uri) = value
            && !uri.is_empty()
        {
            *uri = naming.name(uri).into_owned();
        }
    };
    for setting in LEADING_TO_SOURCES {
        match settings.pointer_mut(setting) {
            Some(serde_json::Value::Array(uris)) => uris.iter_mut().for_each(name),
            Some(uri) => name(uri),
            None => {}
        }
    }
    settings
}

/// Says what a table of this contract holds.
fn describe(contract: &Contract) -> String {
    let classes = contract.output.classifier.as_ref().map_or(0, |classifier| classifier.num_classes);
    format!(
        "embeddings of {} floats and {classes} classes ({})",
        contract.output.embedding_length, contract.name
    )
}

/// Reports that there is nothing to do, and never was.
fn nothing_found(inference: Inference, progress: &Progress) -> Report {
    announce::nothing_to_do(None);
    let this_process = progress.snapshot();
    Report {
        run_id: None,
        nothing_new: true,
        current: false,
        summary: None,
        judges: false,
        limit: None,
        rejected_sources: 0,
        table: None,
        this_process,
        inference,
    }
}

fn num_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Returns which STAC items are taken.
fn items(pipeline: &Pipeline, tiling: &Tiling, naming: &Naming) -> Result<ItemSpec> {
    tiling::items(&pipeline.input.stac, &pipeline.limits, tiling.aoi.as_ref(), naming)
}

pub(crate) fn spool_folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("tilefleet-spool-")
        .tempdir()
        .map_err(|error| Error::unavailable("cannot create a temporary folder").because(error))
}
