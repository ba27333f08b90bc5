//! Decides which run of a pipeline to work on.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::input::source;
use crate::input::source::{Discovered, Entry, InputSpec};
use crate::input::storage::{ObjectUri, Storage};
use crate::observe::stderr::{Level, say};
use crate::output;
use crate::output::ArrayJob;
use crate::output::OutputRecord;
use crate::output::RunId;
use crate::output::current_rows::{Change, Current, covered_up, withheld_of_family};
use crate::output::sources;
use crate::output::{Described, Output, Run};
use crate::output::{Elected, Election, SOURCE_BYTES_KEY};
use crate::output::{EncodedSources, SourceTable, Surveyed};
use crate::output::{KnownRun, Scope, Snapshot};
use crate::output::{Limit, ModelRecord, RunRecord};
use crate::output::{Origin, Timestamp};
use crate::output::{OutputPrivacy, PrivacyRecord};
use crate::scene::{SceneLayout, Tiling};
use crate::stages::plan::differences;
use crate::stages::plan::differences::Side;
use crate::stages::plan::known::NewEntries;
use crate::stages::plan::tiles::{ShardSize, check_fingerprint, row_bytes, tiles};
use crate::stages::survey::windows::{num_tiles_of, num_unplaced};
use crate::stages::survey::{HeaderReader, Surveying};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::words::{counted, form};

/// Attempts before giving up.
pub(super) const MAX_ELECTIONS: u32 = 8;

/// Everything about a run to be, but its sources.
#[derive(Clone, Debug)]
pub struct RunSpec {
    /// The pipeline's name.
    pub name: String,
    /// The whole fingerprint.
    pub fingerprint: String,
    /// What all runs of the output share.
    pub lineage: String,
    /// The same for people.
    pub lineage_description: String,
    /// The model.
    pub model: ModelRecord,
    /// The resolved pipeline.
    pub pipeline: serde_json::Value,
    /// How sources are named, if the pipeline says so.
    pub privacy: Option<PrivacyRecord>,
    /// Tiles of a full shard; `None`: as the number of tiles suggests.
    pub shard_tiles: Option<u32>,
    /// Bytes of one written embedding.
    pub embedding_bytes: u64,
    /// Share of rejects above which the run is not current until it is accepted.
    pub max_reject_ratio: f64,
}

/// With more sources than this in all runs, whose addresses would have to be held, nobody looks for newer rows of
/// other pipelines.
const MAX_COMPARED: u64 = 1_000_000;

/// A shard that is longer in work is worth a warning: a machine that is lost takes as much work with it.
pub const MAX_SHARD_TIME: Duration = Duration::from_mins(1);

/// How often a worker looks for the plan that another one makes: a few requests each time.
const LOOK_FOR_PLAN: Duration = Duration::from_secs(5);

/// Number of sources that are sampled if planning reads no header.
const MAX_LOOKED_AT: u64 = 1000;

/// What there is to do.
pub enum Decision {
    /// An unfinished run is resumed.
    Continue(Run),
    /// Other tasks of this array job have completed their run: nothing is left for this one.
    OfThisJob(Run),
    /// A new run was planned, by us or by a worker beside us.
    New {
        /// It.
        run: Run,
        /// The run before it, complete.
        previous: Option<Box<Run>>,
    },
    /// Every source that was looked at has its row already.
    NothingNew {
        /// The newest run, complete.
        run: Run,
        /// Set if a part of what was found was looked at.
        limit: Option<Limit>,
    },
    /// No source passes what is asked of dates, clouds and area, and there is no run.
    NothingFound,
}

/// What a plan would amount to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Preview {
    /// The run that would be resumed or planned.
    pub run_id: String,
    /// Whether there is nothing to do: every source has its rows, or none was found.
    pub nothing_new: bool,
    /// Whether that run's plan is published already.
    pub published: bool,
    /// Number of sources to process.
    pub sources: u64,
    /// Their bytes, as far as known.
    pub source_bytes: u64,
    /// Number of tiles.
    pub tiles: u64,
    /// Sources that are rejected by their headers, by reason; each is one of the tiles.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected: BTreeMap<&'static str, u64>,
    /// Sources that were found and have no window in `tiles.aoi`; they are none of `sources`.
    #[serde(skip_serializing_if = "is_zero")]
    pub sources_outside: u64,
    /// Set if only a part of what was found is covered, as `--limit` asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Of how many sources the headers were looked at, where planning itself reads none: `rejected` counts among these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_at: Option<u64>,
    /// How many of these could not be looked at.
    #[serde(skip_serializing_if = "is_zero")]
    pub unanswered: u64,
    /// The sources to look at, spread evenly over all, where planning itself reads no header.
    #[serde(skip)]
    pub sample: Vec<SourceUri>,
    /// Windows that have no outline on the Earth, and so were left out of `tiles.aoi`.
    #[serde(skip_serializing_if = "is_zero")]
    pub windows_without_place: u64,
    /// Number of shards.
    pub shards: u64,
    /// Tiles of a full shard.
    pub shard_tiles: u32,
    /// How long a full shard is likely to be in work, as shards of earlier runs were; `None` if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_seconds: Option<f64>,
    /// Shards committed already.
    pub committed_shards: u64,
    /// Estimated bytes of the table that is still to be written.
    pub table_bytes: u64,
    /// How `tiles` changes once the run is complete and current; `None` if that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Change>,
}

impl Preview {
    /// Returns how many sources are rejected by their headers.
    #[must_use]
    pub fn num_rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Returns how many tiles a shard may have that is in work for [`MAX_SHARD_TIME`]; `None` if shards are not longer in
    /// work, as far as known.
    #[must_use]
    pub fn fitting_shard_tiles(&self) -> Option<u32> {
        let (seconds, limit) = (self.shard_seconds?, MAX_SHARD_TIME.as_secs_f64());
        let fitting = f64::from(self.shard_tiles) * limit / seconds;
        (seconds > limit && self.shard_tiles > 1).then_some((fitting as u32).max(1))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Sources that this pipeline has done, and of which `tiles` shows only what it made of them with other settings.
#[derive(Default)]
struct CoveredUp {
    sources: HashSet<SourceUri>,
    /// The moment just after the newest run with other settings, if there are such sources.
    just_after: Option<Timestamp>,
}

/// What sources amount to.
#[derive(Default)]
struct Tally {
    tiles: u64,
    unplaced: u64,
    outside: u64,
    limit: Option<Limit>,
    rejected: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Adds a source; returns the number of its tiles.
    fn add(&mut self, survey: Option<&SceneLayout>, tiling: Option<&Tiling>) -> u64 {
        let num_tiles = num_tiles_of(survey, tiling);
        self.tiles += num_tiles;
        self.outside += u64::from(num_tiles == 0);
        if let Some((scene, tiling)) = survey.and_then(SceneLayout::scene).zip(tiling) {
            self.unplaced += num_unplaced(scene, tiling);
        }
        if let Some(SceneLayout::Rejected { reason, .. }) = survey {
            *self.rejected.entry(reason.code()).or_default() += 1;
        }
        num_tiles
    }

    /// Says what an area of interest left out that it cannot judge.
    fn warn(&self) {
        if self.unplaced > 0 {
            tracing::warn!(
                "{} {} no geometry, so tiles.aoi leaves {} out",
                counted(self.unplaced, "window"),
                form(self.unplaced, "has", "have"),
                form(self.unplaced, "it", "them")
            );
        }
    }
}

/// Plans the runs of one output.
pub struct Planner<'a> {
    /// The output.
    pub output: &'a Output,
    /// The run to be.
    pub draft: &'a RunSpec,
    /// Access to the inputs.
    pub storage: &'a Storage,
    /// The inputs.
    pub input: &'a InputSpec,
    /// Where discovery may spill.
    pub spool_dir: &'a Path,
    /// How scenes are cut into windows; `None`: every source is one tile.
    pub cutting: Option<&'a SceneSurvey>,
    /// The array job that plans, if it is one.
    pub array: Option<&'a ArrayJob>,
}

/// How scenes are cut into windows.
pub struct SceneSurvey {
    /// Sizes, bands, units.
    pub tiling: Arc<Tiling>,
    /// Reads their headers.
    pub surveyor: Arc<HeaderReader>,
}

/// The runs of this family, as far as they have got.
pub(super) struct RunSeries {
    pub(super) snapshot: Snapshot,
    /// Sequence number of the run to be.
    pub(super) next: RunId,
    /// The run that has to be finished first, if any. An unfinished compaction is none: it adds nothing.
    pub(super) open: Option<OpenRun>,
    /// Runs that are complete and not current, since nobody has accepted them: their sources are not done.
    withheld: BTreeSet<RunId>,
}

/// A run that somebody has begun and that computes rows.
pub(super) enum OpenRun {
    /// Its plan is published; some shards are open.
    Planned(RunId),
    /// Its sources are elected, its plan is not published.
    Elected(RunId),
}

impl OpenRun {
    /// Returns the run's name.
    pub(super) fn id(&self) -> &RunId {
        match self {
            Self::Planned(id) | Self::Elected(id) => id,
        }
    }
}

impl RunSeries {
    /// Returns the current runs, oldest first by age.
    pub(super) fn covered(&self) -> Vec<&Run> {
        let planned = self.snapshot.runs.iter().filter_map(|standing| standing.run.planned());
        let unfinished = |run: &Run| self.open.as_ref().is_some_and(|open| *open.id() == run.id);
        let is_current = |run: &&Run| !unfinished(run) && !self.withheld.contains(&run.id);
        let mut runs: Vec<&Run> = planned.filter(is_current).collect();
        runs.sort_by(|a, b| a.age().cmp(&b.age()));
        runs
    }

    /// Returns the newest current run, one of the pipeline's rather than a retry of a few tiles.
    fn newest(&self) -> Option<&Run> {
        let covered = self.covered();
        let of_pipeline = covered.iter().rev().find(|run| run.record.origin != Origin::Retry);
        of_pipeline.or(covered.last()).copied()
    }

    /// Returns the moment that a new run of the pipeline speaks of: later than that of any run before it,
    /// however the clocks of the planners go.
    pub(super) fn as_of(&self, planned_at: Timestamp) -> Timestamp {
        self.just_after().map_or(planned_at, |after| after.max(planned_at))
    }

    /// Returns the moment just after the newest run.
    pub(super) fn just_after(&self) -> Option<Timestamp> {
        let planned = self.snapshot.runs.iter().filter_map(|standing| standing.run.planned());
        planned.map(|run| run.as_of).max().map(Timestamp::next)
    }
}

impl Planner<'_> {
    /// Continues the unfinished run; else plans a new one over what is new or has changed.
    ///
    /// # Errors
    ///
    /// `Config` if the output is of another lineage, the inputs are wrong or nothing matches them;
    /// as the stores answer otherwise.
    pub async fn decide(&self) -> Result<Decision> {
        self.shard_size().check()?;
        if let Some(decision) = self.join().await? {
            return Ok(decision);
        }
        for _ in 0..MAX_ELECTIONS {
            let family = self.family().await?;
            match self.decide_among(&family).await {
                Ok(Some(decision)) => return Ok(decision),
                Ok(None) => {}
                Err(error) => self.unless_deleted(&family, error).await?,
            }
        }
        Err(lost_every_election())
    }

    /// Joins the run that another worker plans, as soon as its plan is published; `None` if that takes longer.
    ///
    /// # Errors
    ///
    /// As [`Self::decide`].
    pub async fn join_within(&self, time: Duration) -> Result<Option<Decision>> {
        let process = &self.output.process;
        let began = process.now();
        let mut said = false;
        while process.now().since(began) < time {
            if let Some(decision) = self.join().await? {
                return Ok(Some(decision));
            }
            if !said {
                let at_most = humantime::format_duration(time);
                say(Level::Info, &format!("waiting for the plan of the first worker, for at most {at_most}"));
                said = true;
            }
            process.sleep(LOOK_FOR_PLAN.min(time)).await;
        }
        Ok(None)
    }

    /// Joins the newest run of the family if its plan is published and shards are open, or if this job has completed it.
    /// However many runs, sources and shards there are, that takes a few requests: many workers do so.
    async fn join(&self) -> Result<Option<Decision>> {
        self.check_output().await?;
        let first = RunId::new(&self.draft.name, &self.draft.fingerprint, 1);
        let newest = self.output.last_of_families(Scope::RunSeries(first.family())).await?.pop();
        let Some(id) = newest else { return Ok(None) };
        // It may be deleted meanwhile, or damaged: that is said where all runs are looked at.
        Ok(self.join_run(id).await.unwrap_or(None))
    }

    async fn join_run(&self, id: RunId) -> Result<Option<Decision>> {
        let Some(run) = Run::open(self.output, &id).await? else { return Ok(None) };
        check_fingerprint(&id, &run.record.fingerprint, &self.draft.fingerprint)?;
        if run.record.origin.is_compaction() || self.output.is_deleted(&id).await? {
            return Ok(None);
        }
        if !run.complete().await? {
            return self.resume(run).map(Some);
        }
        Ok(self.is_of_this_job(&run).await?.then_some(Decision::OfThisJob(run)))
    }

    /// Returns whether tasks of this array job have worked on a run, and it covers what they were to cover.
    async fn is_of_this_job(&self, run: &Run) -> Result<bool> {
        let Some(array) = self.array else { return Ok(false) };
        let is_limited = run.record.limit.is_some() && self.input.limit.is_none();
        let covers = run.record.origin == Origin::Pipeline && !is_limited;
        Ok(covers && self.output.has_array_job(&run.id, array).await?)
    }

    fn resume(&self, run: Run) -> Result<Decision> {
        self.check_limit(&run)?;
        self.say_what_stays(&run);
        Ok(Decision::Continue(run))
    }

    /// Passes an error on, unless runs were deleted in the meantime, which explains it.
    pub(super) async fn unless_deleted(&self, family: &RunSeries, error: Error) -> Result<()> {
        let now = self.output.snapshot(Scope::RunSeries(family.next.family())).await?;
        if now.deleted.len() == family.snapshot.deleted.len() { Err(error) } else { Ok(()) }
    }

    /// Returns `None` if the runs have changed meanwhile.
    async fn decide_among(&self, family: &RunSeries) -> Result<Option<Decision>> {
        if family.open.is_some() {
            let run = self.go_on(family).await?;
            return run.map(|run| self.resume(run)).transpose();
        }
        self.check_model(family).await?;
        let discovered = self.discover().await?;
        self.output_record(&discovered).elect(self.output).await?;
        let (encoded, tally) = self.encode_new_sources(discovered, family).await?;
        let newest = family.newest().map(|run| run.id.clone());
        if encoded.num_sources == 0 {
            return match newest {
                Some(newest) => {
                    let newest = Run::open(self.output, &newest).await?;
                    Ok(newest.map(|run| Decision::NothingNew { run, limit: tally.limit }))
                }
                None => Ok(Some(Decision::NothingFound)),
            };
        }
        let is_first = family.next.sequence() == 1;
        let others = if is_first { self.output.latest_record().await.ok().flatten() } else { None };
        let Some(run) = self.elect(&family.next, encoded).await? else { return Ok(None) };
        self.say_what_is_new(&run, others.as_ref());
        let previous = match newest {
            Some(id) => Run::open(self.output, &id).await?.map(Box::new),
            None => None,
        };
        Ok(Some(Decision::New { run, previous }))
    }

    /// A plan is kept until its run is complete, whatever is asked for meanwhile.
    fn say_what_stays(&self, run: &Run) {
        let planned = run.record.plan.shard_tiles;
        if let Some(asked) = self.draft.shard_tiles.filter(|asked| *asked != planned) {
            let id = &run.id;
            tracing::warn!(
                "run {id} is resumed as planned, in shards of {}, not {asked}; to plan it again delete it \
                 first: `tilefleet runs {} delete {id} --yes --force`",
                counted(planned.into(), "tile"),
                self.output.uri
            );
        }
    }

    /// An unfinished run is finished as it was planned: who asks for fewer sources must not get all of them.
    fn check_limit(&self, run: &Run) -> Result<()> {
        let planned = run.record.plan.sources;
        if self.input.limit.is_none_or(|limit| planned <= limit) {
            return Ok(());
        }
        let id = &run.id;
        let covers = counted(planned, "source");
        Err(Error::usage(format!("run {id} is not complete and covers {covers}: a limit cannot change \
             that")).hint(
            format!(
                "run it without --limit to finish it, or delete it: `tilefleet runs {} delete {id} --yes --force`",
                self.output.uri
            ),
        ))
    }

    /// Opens the unfinished run, its plan published if it is not yet; `None` if it is deleted.
    pub(super) async fn go_on(&self, family: &RunSeries) -> Result<Option<Run>> {
        let run = match &family.open {
            None => None,
            Some(OpenRun::Planned(id)) => Run::open(self.output, id).await?,
            Some(OpenRun::Elected(id)) => self.publish_elected(id).await?,
        };
        let Some(run) = run else { return Ok(None) };
        Ok((!self.output.is_deleted(&run.id).await?).then_some(run))
    }

    /// Makes these the sources of a run, or adopts the winner's, and publishes its plan.
    ///
    /// Returns `None` if the winner is a compaction, or the run is deleted.
    pub(super) async fn elect(&self, id: &RunId, sources: EncodedSources) -> Result<Option<Run>> {
        // The election: whoever creates this object decides what the run covers; the others adopt it.
        let vault = self.output.vault().await?;
        vault.elect(&vault.layout.sources(id), sources.bytes).await?;
        if self.output.is_deleted(id).await? {
            // Planned, worked on and deleted since we looked: these sources are nobody's.
            vault.bucket.delete(&vault.layout.sources(id)).await?;
            return Ok(None);
        }
        self.publish_elected(id).await
    }

    async fn publish_elected(&self, id: &RunId) -> Result<Option<Run>> {
        let elected = self.elected(id).await?;
        if elected.election.origin.is_compaction() {
            return Ok(None);
        }
        self.publish(self.output, id, &elected).await.map(Some)
    }

    async fn publish(&self, output: &Output, id: &RunId, elected: &Elected) -> Result<Run> {
        let described = Described {
            fingerprint: &self.draft.fingerprint,
            model: &self.draft.model,
            pipeline: &self.draft.pipeline,
            privacy: self.draft.privacy.as_ref(),
        };
        let tiles = tiles(&elected.table, self.tiling(), elected.election.shard_tiles)?;
        output::publish(output, id, elected, described, tiles).await
    }

    async fn elected(&self, id: &RunId) -> Result<Elected> {
        let elected = output::elected(self.output, id).await?;
        check_fingerprint(id, &elected.election.fingerprint, &self.draft.fingerprint)?;
        Ok(elected)
    }

    /// Returns what [`Self::decide`] would do, and how the table changes by it, without writing anything there.
    ///
    /// Memory: as [`Change::between`]. The plan is written into the folder for spooling.
    ///
    /// # Errors
    ///
    /// As [`Self::decide`].
    pub async fn preview(&self) -> Result<Preview> {
        self.shard_size().check()?;
        let family = self.family().await?;
        match &family.open {
            Some(OpenRun::Planned(id)) => {
                let run = family.planned(id);
                self.check_limit(run)?;
                self.say_what_stays(run);
                let (sample, table) = (self.sample(&run.sources).await?, Some(self.change_by(run).await?));
                Ok(Preview { sample, table, ..self.preview_of(run).await? })
            }
            Some(OpenRun::Elected(id)) => {
                let Elected { table, election } = self.elected(id).await?;
                let tally = self.tally(&table).await?;
                let vault = self.output.vault().await?;
                let (key, num_bytes) = (vault.layout.sources(id), output::source_bytes(&table));
                let sources = vault.bucket.get(&key, u64::MAX).await;
                let bytes = sources.map_err(|fault| fault.into_error(&key))?.bytes;
                let sources = EncodedSources { bytes, num_sources: table.num_sources(), num_bytes };
                self.preview_new(id, sources, tally, election.shard_tiles).await
            }
            None => {
                self.check_model(&family).await?;
                let discovered = self.discover().await?;
                self.output_record(&discovered).check_fits(self.output).await?;
                let (encoded, tally) = self.encode_new_sources(discovered, &family).await?;
                if let Some(newest) = family.newest().filter(|_| encoded.num_sources == 0) {
                    let preview = self.preview_of(newest).await?;
                    return Ok(Preview { nothing_new: true, limit: tally.limit, ..preview });
                }
                let shard_tiles = self.shard_size().of(tally.tiles);
                self.preview_new(&family.next, encoded, tally, shard_tiles).await
            }
        }
    }

    /// Plans a run beside the output.
    async fn plan_aside(&self, id: &RunId, sources: Bytes) -> Result<Run> {
        let folder = ObjectUri::from_path(&self.spool_dir.join("preview"))?;
        let scratch = Output::open(self.storage, &folder, self.output.process.clone());
        // It goes with this command.
        let scratch = scratch.keeping_uris();
        scratch.bucket.put_new(&scratch.layout.sources(id), sources).await?;
        let elected = output::elected(&scratch, id).await?;
        self.publish(&scratch, id, &elected).await
    }

    /// Adds how long a shard is likely to be in work: as in the newest run of the family that tells.
    pub async fn with_shard_time(&self, preview: Preview) -> Preview {
        if preview.nothing_new {
            return preview;
        }
        // It decides nothing: whatever is wrong with earlier runs is for others to say.
        let per_tile = self.seconds_per_tile().await.ok().flatten();
        let shard_seconds = per_tile.map(|seconds| seconds * f64::from(preview.shard_tiles));
        Preview { shard_seconds, ..preview }
    }

    async fn seconds_per_tile(&self) -> Result<Option<f64>> {
        let first = RunId::new(&self.draft.name, &self.draft.fingerprint, 1);
        let snapshot = self.output.snapshot(Scope::RunSeries(first.family())).await?;
        for run in snapshot.runs.iter().rev().filter_map(|standing| standing.run.planned()) {
            if let Some(seconds) = output::seconds_per_tile(run).await? {
                return Ok(Some(seconds));
            }
        }
        Ok(None)
    }

    /// Returns sources to look at, spread evenly over all; none where planning itself reads their headers.
    async fn sample(&self, table: &SourceTable) -> Result<Vec<SourceUri>> {
        let (mut sample, mut number, total) = (Vec::new(), 0, table.num_sources());
        if self.cutting.is_some() {
            return Ok(sample);
        }
        let mut batches = table.stream()?;
        while let Some(sources) = batches.try_next().await? {
            for source in sources {
                if number * MAX_LOOKED_AT % total < MAX_LOOKED_AT {
                    sample.push(source.uri);
                }
                number += 1;
            }
        }
        Ok(sample)
    }

    async fn change_by(&self, run: &Run) -> Result<Change> {
        let change = async |snapshot: Snapshot| {
            let current = Current::of(&snapshot.runs).await?;
            let others = current.runs.iter().copied().filter(|other| other.id != run.id);
            Change::between(&current.runs, &others.chain([run]).collect::<Vec<_>>()).await
        };
        self.output.consistently(Scope::All, change).await
    }

    /// Returns how a published run stands.
    ///
    /// # Errors
    ///
    /// As the store answers.
    pub async fn preview_of(&self, run: &Run) -> Result<Preview> {
        let plan = &run.record.plan;
        let committed = run.committed().await?.shards.len() as u64;
        let open = u64::from(plan.shards).saturating_sub(committed);
        let tiles = plan.tiles.min(open * u64::from(plan.shard_tiles));
        let tally = self.tally(&run.sources).await?;
        Ok(Preview {
            run_id: run.id.to_string(),
            nothing_new: false,
            published: true,
            sources: plan.sources,
            source_bytes: plan.source_bytes,
            tiles: plan.tiles,
            rejected: tally.rejected,
            sources_outside: 0,
            limit: run.record.limit,
            looked_at: None,
            unanswered: 0,
            sample: Vec::new(),
            windows_without_place: tally.unplaced,
            shards: plan.shards.into(),
            shard_tiles: plan.shard_tiles,
            shard_seconds: None,
            committed_shards: committed,
            table_bytes: tiles * self.row_bytes(),
            table: None,
        })
    }

    async fn preview_new(
        &self,
        id: &RunId,
        sources: EncodedSources,
        tally: Tally,
        shard_tiles: u32,
    ) -> Result<Preview> {
        let nothing_new = sources.num_sources == 0;
        let (mut table, mut sample) = (None, Vec::new());
        if !nothing_new {
            let run = self.plan_aside(id, sources.bytes).await?;
            (table, sample) = (Some(self.change_by(&run).await?), self.sample(&run.sources).await?);
        }
        Ok(Preview {
            run_id: id.to_string(),
            nothing_new,
            published: false,
            sources: sources.num_sources,
            source_bytes: sources.num_bytes,
            tiles: tally.tiles,
            rejected: tally.rejected,
            sources_outside: tally.outside,
            limit: tally.limit,
            looked_at: None,
            unanswered: 0,
            sample,
            windows_without_place: tally.unplaced,
            shards: tally.tiles.div_ceil(shard_tiles.into()),
            shard_tiles,
            shard_seconds: None,
            committed_shards: 0,
            table_bytes: tally.tiles * self.row_bytes(),
            table,
        })
    }

    /// Counts the tiles that these sources are cut into, and the sources that cannot be.
    async fn tally(&self, table: &SourceTable) -> Result<Tally> {
        let mut tally = Tally::default();
        let mut batches = table.stream()?;
        while let Some(sources) = batches.try_next().await? {
            for source in &sources {
                tally.add(source.survey.as_ref(), self.tiling().map(Arc::as_ref));
            }
        }
        Ok(tally)
    }

    /// Returns what decides how many tiles a shard has.
    pub(super) fn shard_size(&self) -> ShardSize {
        let RunSpec { shard_tiles, embedding_bytes, .. } = *self.draft;
        ShardSize { asked: shard_tiles, of_windows: self.cutting.is_some(), embedding_bytes }
    }

    fn row_bytes(&self) -> u64 {
        row_bytes(self.draft.embedding_bytes)
    }

    /// Looks at the runs of this pipeline and fingerprint.
    pub(super) async fn family(&self) -> Result<RunSeries> {
        self.check_output().await?;
        let first = RunId::new(&self.draft.name, &self.draft.fingerprint, 1);
        let mut snapshot = self.output.snapshot(Scope::RunSeries(first.family())).await?;
        let next = first.with_sequence(snapshot.next_sequence(first.family()));
        let mut open = None;
        let mut computed = None;
        let mut unfinished_copies = Vec::new();
        for standing in &snapshot.runs {
            match &standing.run {
                KnownRun::Planning(planning) if planning.origin.is_compaction() => {}
                KnownRun::Planning(planning) => open = Some(OpenRun::Elected(planning.id.clone())),
                KnownRun::Planned(run) => {
                    check_fingerprint(&run.id, &run.record.fingerprint, &self.draft.fingerprint)?;
                    if !run.record.origin.is_compaction() {
                        computed = Some(run);
                    } else if !run.complete().await? {
                        unfinished_copies.push(run.id.clone());
                    }
                }
            }
        }
        // A run is planned when all before it are complete, so only the last one can be open.
        if let (None, Some(run)) = (&open, computed)
            && !run.complete().await?
        {
            open = Some(OpenRun::Planned(run.id.clone()));
        }
        snapshot.runs.retain(|standing| !unfinished_copies.contains(standing.run.id()));
        let open_id = open.as_ref().map(OpenRun::id);
        let withheld = withheld_of_family(self.output, &snapshot, open_id).await?;
        Ok(RunSeries { snapshot, next, open, withheld })
    }

    /// Refuses an output that takes no rows of this run.
    async fn check_output(&self) -> Result<()> {
        let Some(record) = OutputRecord::read(self.output).await? else { return Ok(()) };
        record.check_privacy(self.draft.privacy.as_ref(), self.output)?;
        match record.check_lineage(&self.draft.lineage, self.output) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.with_differences(error).await),
        }
    }

    /// Says in a refusal which settings keep the rows out of this table.
    async fn with_differences(&self, error: Error) -> Error {
        let latest = self.output.latest_record().await.ok().flatten();
        let differences = latest.map(|latest| differences::of_tables(Side::of(&latest), self.side()));
        match differences.filter(|differences| !differences.is_empty()) {
            Some(differences) => error.because(differences.join("; ")),
            None => error,
        }
    }

    /// Says of a run that is the first of its family why it covers everything although the output has others.
    fn say_what_is_new(&self, run: &Run, others: Option<&RunRecord>) {
        let Some(other) = others else { return };
        let differences = differences::of_meanings(Side::of(other), self.side());
        if !differences.is_empty() {
            let (id, other) = (&run.id, &other.run_id);
            let message = format!(
                "{id} covers all sources, since its settings differ from those of {other}: {}",
                differences.join("; ")
            );
            say(Level::Info, &message);
        }
    }

    fn side(&self) -> Side<'_> {
        Side { model: &self.draft.model, pipeline: &self.draft.pipeline }
    }

    /// Describes an output that takes rows with these manifest columns.
    fn output_record(&self, discovered: &Discovered) -> OutputRecord {
        let extra = discovered.extra.as_ref().map(|codec| codec.fields());
        let privacy = OutputPrivacy::begin(self.draft.privacy.as_ref(), &self.output.process);
        OutputRecord::new(&self.draft.lineage, &self.draft.lineage_description, extra).with_privacy(privacy)
    }

    async fn discover(&self) -> Result<Discovered> {
        let discovered = source::discover(self.input, self.storage, self.spool_dir).await?;
        tracing::info!("{}", discovered.summary());
        discovered.require_some()?;
        say_what_is_left_out(discovered.columns_left_out as u64);
        Ok(discovered)
    }

    async fn encode_new_sources(
        &self,
        discovered: Discovered,
        family: &RunSeries,
    ) -> Result<(EncodedSources, Tally)> {
        let CoveredUp { sources, just_after } = self.covered_up(family).await?;
        let has_manifest = self.input.manifest.is_some();
        let new_entries = NewEntries::of(&discovered, &family.covered(), has_manifest, sources)?;
        let erased = self.erased().await?;
        let is_wanted = move |entry: &Result<Entry>| {
            entry.as_ref().map_or(true, |entry| erased.is_empty() || !erased.contains(&*entry.uri.name()))
        };
        let new_entries = new_entries.filter(is_wanted);
        let planned_at = self.output.process.now();
        let as_of = family.as_of(planned_at).max(just_after.unwrap_or(planned_at));
        let fingerprint = self.draft.fingerprint.clone();
        let (shard_size, max_reject_ratio) = (self.shard_size(), self.draft.max_reject_ratio);
        let of = discovered.sources.num_entries;
        let limit = discovered.limit().map(|sources| Limit { sources, of });
        let election = move |num_tiles| Election {
            shard_tiles: shard_size.of(num_tiles),
            fingerprint,
            origin: Origin::Pipeline,
            planned_at: Some(planned_at),
            as_of: Some(as_of),
            max_reject_ratio: Some(max_reject_ratio),
            limit,
        };
        let surveyor = self.cutting.map(|cutting| cutting.surveyor.clone());
        if let Some(surveyor) = &surveyor {
            surveyor.begin(&discovered.sources);
        }
        let asked = surveyor.clone();
        let tiling = self.tiling().cloned();
        let encode = move || {
            let (extra, tally) = (discovered.extra.clone(), RefCell::<Tally>::default());
            let in_area =
                |surveyed: &Surveyed| tally.borrow_mut().add(surveyed.survey.as_ref(), tiling.as_deref()) > 0;
            let surveyed = Surveying::of(new_entries, surveyor);
            let surveyed = surveyed.filter(|surveyed| surveyed.as_ref().map_or(true, in_area));
            let metadata = || election(tally.borrow().tiles).metadata();
            let encoded = sources::encode(surveyed, extra.as_deref(), metadata, SOURCE_BYTES_KEY)?;
            asked.map_or(Ok(()), |surveyor| surveyor.check_hosts())?;
            let tally = Tally { limit, ..tally.into_inner() };
            tally.warn();
            Ok((encoded, tally))
        };
        tokio::task::spawn_blocking(encode)
            .await
            .map_err(|error| Error::bug("planning crashed").because(error))?
    }

    /// Returns the names of sources that were erased: they are not read again.
    async fn erased(&self) -> Result<BTreeSet<String>> {
        let is_secret = self.draft.privacy.as_ref().is_some_and(PrivacyRecord::is_secret);
        if is_secret { self.output.erased().await } else { Ok(BTreeSet::new()) }
    }

    /// Looks for sources of which `tiles` shows only what this pipeline made of them with other settings, or what other
    /// pipelines did; of these it warns.
    async fn covered_up(&self, family: &RunSeries) -> Result<CoveredUp> {
        if !family.snapshot.is_part() || family.covered().is_empty() {
            return Ok(CoveredUp::default());
        }
        let id = &family.next;
        let look = async |snapshot: Snapshot| {
            let all = Current::of(&snapshot.runs).await?.runs;
            let of = |is_one: &dyn Fn(&RunId) -> bool| -> Vec<&Run> {
                all.iter().copied().filter(|run| is_one(&run.id)).collect()
            };
            let mine = of(&|run| run.family() == id.family());
            let siblings = of(&|run| run.name() == id.name());
            let sources = covered_up(&mine, &siblings).await?;
            let newest = siblings.iter().map(|run| run.as_of).max().filter(|_| !sources.is_empty());
            if all.iter().map(|run| run.record.plan.sources).sum::<u64>() <= MAX_COMPARED {
                self.warn_of_others(&covered_up(&siblings, &all).await?, &all).await?;
            }
            Ok(CoveredUp { sources, just_after: newest.map(Timestamp::next) })
        };
        self.output.consistently(Scope::All, look).await
    }

    /// Says that other pipelines have newer rows of sources that this one has done.
    async fn warn_of_others(&self, sources: &HashSet<SourceUri>, all: &[&Run]) -> Result<()> {
        let mut newer = BTreeSet::new();
        for run in all.iter().filter(|run| run.id.name() != self.draft.name && !sources.is_empty()) {
            let mut batches = run.sources.stream()?;
            while let Some(batch) = batches.try_next().await? {
                if batch.iter().any(|source| sources.contains(&source.uri)) {
                    newer.insert(run.id.to_string());
                }
            }
        }
        if !newer.is_empty() {
            let num_runs = newer.len() as u64;
            let runs = newer.into_iter().collect::<Vec<_>>().join(", ");
            tracing::warn!(
                "of {} of this pipeline `tiles` shows newer rows of another one ({} {runs}); \
                 `tilefleet runs {} delete ID` restores the rows from before, another output keeps both",
                counted(sources.len() as u64, "source"),
                form(num_runs, "run", "runs"),
                self.output.uri
            );
        }
        Ok(())
    }

    fn tiling(&self) -> Option<&Arc<Tiling>> {
        self.cutting.map(|cutting| &cutting.tiling)
    }
}

impl RunSeries {
    fn planned(&self, id: &RunId) -> &Run {
        let standing = self.snapshot.standing(id).and_then(|standing| standing.run.planned());
        standing.expect("an open run that is planned is one of the family")
    }
}

/// Says that the table does not get all of a manifest.
fn say_what_is_left_out(num_columns: u64) {
    if num_columns > 0 {
        let (columns, are) = (counted(num_columns, "column"), form(num_columns, "is", "are"));
        say(
            Level::Info,
            &format!(
                "{columns} of the manifest {are} left out of the table; `privacy.keep_columns` names those to keep"
            ),
        );
    }
}

/// Says that others were faster every time.
pub(super) fn lost_every_election() -> Error {
    Error::unavailable("other commands keep planning and deleting runs of this output")
        .hint("run it again when fewer commands use this output")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4096 tiles that are 100 s in work: 60 s are 2457 tiles.
    #[test]
    fn shards_that_take_long_are_given_a_size_that_fits() {
        let preview = |shard_tiles, shard_seconds| Preview {
            run_id: String::new(),
            nothing_new: false,
            published: false,
            sources: 0,
            source_bytes: 0,
            tiles: 0,
            rejected: BTreeMap::new(),
            sources_outside: 0,
            limit: None,
            looked_at: None,
            unanswered: 0,
            sample: Vec::new(),
            windows_without_place: 0,
            shards: 0,
            shard_tiles,
            shard_seconds,
            committed_shards: 0,
            table_bytes: 0,
            table: None,
        };
        let fitting = |tiles, seconds| preview(tiles, seconds).fitting_shard_tiles();
        assert_eq!(fitting(4096, Some(100.0)), Some(2457));
        assert_eq!(fitting(4096, Some(60.0)), None);
        assert_eq!(fitting(4096, None), None);
        assert_eq!(fitting(2, Some(1000.0)), Some(1));
        assert_eq!(fitting(1, Some(1000.0)), None, "it cannot be smaller");
    }
}
