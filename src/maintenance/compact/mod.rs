//! Merges completed runs of one family into one: the same rows in fewer files.
//!
//! ```text
//! PUT sources.parquet if absent ─▶ plan, run.json ─▶ copy shard after shard, PUT each if absent
//! (the election, as for any run)                               │ the last one: `tiles` shows this
//!                                                              ▼ run instead, at one stroke
//!        for each run it replaces, oldest first:      ◀─ verify it, sum it up
//!        PUT replaces/<run>.json ─▶ delete the run
//! ```
//!
//! Nothing is computed: rows are read back and encoded again, embeddings bit for bit. For every source the
//! rows are those of the newest of the runs; a compaction is as of that run (see
//! [`RunRecord::as_of`](crate::output::RunRecord::as_of)), so that it replaces these runs and nothing newer.
//! An interrupted command is resumed when it is given again; several may run at once.

mod extra;
mod merge;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use arrow::array::StructArray;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::runtime::Handle;

use self::extra::Extras;
use self::merge::{Merge, Merged, Placed};
use crate::config::Pipeline;
use crate::input::source::{Entry, ExtraCodec};
use crate::maintenance::rows::{Computed, RowReader, damaged};
use crate::maintenance::verify::{Depth, verify};
use crate::output;
use crate::output::current_rows::{Current, stay_as_they_are};
use crate::output::provenance::Provenance;
use crate::output::summary::{deleted_meanwhile, sum_up};
use crate::output::table;
use crate::output::table::{ShardRows, TableSpec};
use crate::output::{Described, Election, SOURCE_BYTES_KEY};
use crate::output::{
    Fate, Origin, Output, PlannedTile, Removed, Run, RunId, RunState, Scope, Snapshot, Surveyed, Tombstone,
    Why, is_damaged,
};
use crate::stages::commit::commit_shard;
use crate::stages::plan;
use crate::stages::plan::ShardSize;
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::outcome::Counts;
use crate::vocabulary::outcome::{Outcome, TileRow};

/// What to compact.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Only these runs; empty: all current ones.
    pub only: Vec<RunId>,
    /// Tiles of a full shard; `None`: as in the newest of the runs.
    pub shard_tiles: Option<u32>,
}

/// What a compaction came to.
#[derive(Clone, Debug, Serialize)]
pub struct Compacted {
    /// The run that holds the rows now.
    pub run_id: RunId,
    /// The runs that it replaces, newest first.
    pub replaced: Vec<RunId>,
    /// Whether it was begun before.
    pub continued: bool,
    /// Its tiles.
    pub tiles: u64,
    /// Rows that newer ones had replaced and that were dropped; `None` if that cannot be told any more.
    pub superseded: Option<u64>,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was deleted of the table.
    pub removed: Removed,
}

/// Compacts the runs of each family of an output.
///
/// Memory: one new shard of rows and embeddings with its encoded file; for each of the runs the tiles of
/// one shard, its rows without embeddings, and 2 MiB of these.
///
/// # Errors
///
/// `Usage` if the runs asked for cannot be compacted together; `Config` if sources have pseudonyms and the output was
/// opened without key and vault, if files are damaged, or a folder of a run to
/// be replaced is a link, in which case nothing is begun; `Bug` if the
/// new run is not verified, in which case nothing more is deleted; `Unavailable` if the new run is deleted
/// meanwhile; as the store answers otherwise.
pub async fn compact(output: &Output, request: &Request) -> Result<Vec<Compacted>> {
    output.check_unlocked().await?;
    let snapshot = output.snapshot(Scope::All).await?;
    if snapshot.runs.is_empty() {
        return Err(snapshot.nothing(output, None));
    }
    if let Some(unknown) = request.only.iter().find(|id| snapshot.standing(id).is_none()) {
        return Err(snapshot.nothing(output, Some(unknown)));
    }
    let asked =
        |id: &RunId| request.only.is_empty() || request.only.iter().any(|it| it.family() == id.family());
    let ids = snapshot.runs.iter().map(|standing| standing.run.id());
    let families: BTreeSet<String> = ids.filter(|id| asked(id)).map(|id| id.family().to_owned()).collect();
    if !request.only.is_empty() && families.len() > 1 {
        return Err(Error::usage("the runs belong to several pipelines or fingerprints")
            .hint("only runs whose ids differ in their last number can be compacted together"));
    }
    let mut all = Vec::new();
    for family in families {
        all.extend(Compaction { output, request }.family(&family).await?);
    }
    Ok(all)
}

struct Compaction<'a> {
    output: &'a Output,
    request: &'a Request,
}

/// What an attempt came to; an error in it is not taken up again.
type Ended = Result<Option<Compacted>>;

/// A compaction that is elected, and the runs it copies.
struct Begun {
    id: RunId,
    /// Those of the replaced runs that hold its rows, newest first.
    from: Vec<Arc<Run>>,
}

impl Compaction<'_> {
    /// Compacts one family; `None` if there is nothing to do.
    ///
    /// What fails because another command compacts or deletes beside us is taken up again.
    async fn family(&self, family: &str) -> Result<Option<Compacted>> {
        self.output
            .consistently(Scope::All, async |snapshot: Snapshot| self.attempt(&snapshot, family).await)
            .await?
    }

    /// Goes on with the unfinished compaction of a family, else begins one.
    async fn attempt(&self, snapshot: &Snapshot, family: &str) -> Result<Ended> {
        if let Some(standing) = unfinished(snapshot, family) {
            let done = self.go_on(snapshot, standing).await;
            return self.unless_given_up(standing.run.id(), done).await;
        }
        let current = Current::of(&snapshot.runs).await?;
        let mergeable = mergeable(snapshot, &current, family);
        let Some(mut runs) = self.chosen(&mergeable, &current)? else { return Ok(Ok(None)) };
        // Those of other pipelines have a say in what may become one run.
        for run in &current.runs {
            check_plan(run).await?;
        }
        while runs.len() > 1 {
            if self.may_merge(&runs, &current).await? {
                let older = mergeable.iter().any(|run| run.age() < runs[runs.len() - 1].age());
                let id = runs[0].id.with_sequence(snapshot.next_sequence(family));
                match self.begin(id.clone(), runs.clone(), older).await {
                    // A retry without the run that it corrects.
                    Err(error) if error.kind() == Kind::Usage && self.request.only.is_empty() => {}
                    begun => {
                        let done = self.finish(begun?, snapshot, false).await;
                        return self.unless_given_up(&id, done).await;
                    }
                }
            }
            runs.pop();
        }
        Ok(Ok(None))
    }

    /// Returns whether these runs may become one as new as the newest of them: rows of another pipeline's run
    /// that are newer than some of theirs must stay the newer. `Usage` if just these were asked for.
    async fn may_merge(&self, runs: &[Arc<Run>], current: &Current<'_>) -> Result<bool> {
        let ids: Vec<&RunId> = runs.iter().map(|run| &run.id).collect();
        let may = stay_as_they_are(&current.runs, &ids).await?;
        if may || self.request.only.is_empty() {
            return Ok(may);
        }
        Err(Error::usage(format!("{} to {} cannot be merged", runs[runs.len() - 1].id, runs[0].id))
            .because(
                "a run of another pipeline lies between them, and its rows for the same tiles must remain \
                 the newer ones",
            )
            .hint("leave out the older ones, or compact without --runs to merge all runs that can be merged"))
    }

    /// Whoever deletes a compaction gives it up: then what failed is not taken up again.
    async fn unless_given_up(&self, id: &RunId, done: Result<Compacted>) -> Result<Ended> {
        let error = match done {
            Ok(compacted) => return Ok(Ok(Some(compacted))),
            Err(error) if is_given_up(&error) => return Ok(Err(error)),
            Err(error) => error,
        };
        match Tombstone::read(self.output, id).await?.map(|tombstone| tombstone.why) {
            Some(Why::Deleted) => Ok(Err(deleted_meanwhile(id).because(error))),
            Some(Why::CompactedInto(_)) | None => Err(error),
        }
    }

    /// Chooses the runs to merge, newest first; `None` if there are fewer than two.
    ///
    /// - `runs`: those that may be merged, newest first
    fn chosen(&self, mut runs: &[&Run], current: &Current<'_>) -> Result<Option<Vec<Arc<Run>>>> {
        let only = &self.request.only;
        if !only.is_empty() {
            if let Some(missing) = only.iter().find(|id| !runs.iter().any(|run| run.id == **id)) {
                return Err(not_mergeable(missing, current));
            }
            let asked = |run: &&Run| only.contains(&run.id);
            let (first, last) = (runs.iter().position(asked), runs.iter().rposition(asked));
            if let (Some(first), Some(last)) = (first, last) {
                runs = &runs[first..=last];
            }
            if let Some(between) = runs.iter().find(|run| !asked(run)) {
                return Err(Error::usage(format!("run {} lies between the runs to compact", between.id))
                    .hint("add it to --runs: of two rows for one tile the newer must remain the newer"));
            }
        }
        let [newest, .., _] = runs else { return Ok(None) };
        if let Some(other) = runs.iter().find(|run| run.record.fingerprint != newest.record.fingerprint) {
            let (a, b) = (&newest.id, &other.id);
            return Err(Error::config(format!("the runs {a} and {b} have different fingerprints")));
        }
        Ok(Some(runs.iter().map(|run| Arc::new(run.handle())).collect()))
    }

    /// Elects a compaction of these runs.
    ///
    /// `Unavailable` if another run was elected, or this one is deleted: then look again. `Usage` if a retry
    /// would be copied without the rows that it corrects.
    ///
    /// - `older`: whether there are older runs, which are not copied
    async fn begin(&self, id: RunId, from: Vec<Arc<Run>>, older: bool) -> Result<Begun> {
        self.output.check_deletable(from.iter().map(|run| &run.id)).await?;
        let newest = &from[0];
        let size = self.shard_size(newest)?;
        size.check()?;
        let election = Election {
            // Copying resumes where it stopped, shard by shard, and costs little: the largest that are usual.
            shard_tiles: size.of(u64::MAX),
            fingerprint: newest.record.fingerprint.clone(),
            origin: Origin::Compaction { of: from.iter().map(|run| run.id.clone()).collect() },
            planned_at: Some(self.output.process.now()),
            as_of: Some(newest.as_of),
            max_reject_ratio: None,
            limit: None,
        };
        let vault = self.output.vault().await?;
        let key = vault.layout.sources(&id);
        vault.elect(&key, encode_sources(&from, &election, older).await?).await?;
        let lost =
            || Error::unavailable(format!("run {id} was started by another command")).hint("try again");
        if self.output.is_deleted(&id).await? {
            // Planned, worked on and deleted since we looked: these sources are nobody's.
            vault.bucket.delete(&key).await?;
            return Err(lost());
        }
        if output::elected(self.output, &id).await?.election.origin != election.origin {
            return Err(lost());
        }
        Ok(Begun { id, from })
    }

    /// Returns how large the shards are to be: as asked for, else as the newest run's pipeline fixes it.
    fn shard_size(&self, newest: &Run) -> Result<ShardSize> {
        let fixed = !newest.record.leaves_shard_tiles_open();
        let asked = self.request.shard_tiles.or(fixed.then_some(newest.record.plan.shard_tiles));
        Ok(ShardSize { asked, of_windows: false, embedding_bytes: embedding_bytes(newest)? })
    }

    /// Takes up a compaction where it was left.
    async fn go_on(&self, snapshot: &Snapshot, standing: &RunState) -> Result<Compacted> {
        let (id, origin) = (standing.run.id().clone(), standing.run.origin().clone());
        self.output.check_deletable(origin.replaced()).await?;
        if let Some(run) = standing.completed() {
            return self.replace(run, snapshot, true).await;
        }
        let mut from = Vec::new();
        for replaced in origin.replaced() {
            match snapshot.standing(replaced).and_then(RunState::completed) {
                Some(run) => {
                    check_plan(run).await?;
                    from.push(Arc::new(run.handle()));
                }
                None => self.check_absent(&id, replaced, origin.replaced()).await?,
            }
        }
        self.finish(Begun { id, from }, snapshot, true).await
    }

    /// Finds out why a run that is to be copied is not there. If its rows are in another of the runs,
    /// nothing is missing.
    async fn check_absent(&self, id: &RunId, replaced: &RunId, of: &[RunId]) -> Result<()> {
        match self.compacted_into(id, replaced, of).await? {
            Some(other) if other != *id => Ok(()),
            Some(_) => Err(Error::config(format!(
                "run {id} has lost shards, and the runs that it replaced are deleted"
            ))
            .hint("restore the shards from a copy; `tilefleet verify OUTPUT` shows how many are missing")),
            None => Err(Error::unavailable(format!("cannot compact run {replaced}: it is not complete"))
                .hint("`tilefleet verify OUTPUT` shows what is missing")),
        }
    }

    /// Returns which run the rows of a replaced one went into, this one or another of those that it
    /// replaces; `None` if that run is not deleted. `Config` if somebody has deleted it.
    async fn compacted_into(&self, id: &RunId, replaced: &RunId, of: &[RunId]) -> Result<Option<RunId>> {
        match Tombstone::read(self.output, replaced).await?.map(|tombstone| tombstone.why) {
            Some(Why::CompactedInto(other)) if other == *id || of.contains(&other) => Ok(Some(other)),
            Some(_) => Err(deleted_under(id, replaced)),
            None => Ok(None),
        }
    }

    /// Publishes the plan if need be, copies what is open, and replaces the old runs.
    async fn finish(&self, begun: Begun, snapshot: &Snapshot, continued: bool) -> Result<Compacted> {
        let run = match Run::open(self.output, &begun.id).await? {
            Some(run) => run,
            None => match self.publish(&begun).await {
                Ok(run) => run,
                // A compaction beside us may have published it, copied all, and begun to delete.
                Err(error) => Run::open(self.output, &begun.id).await?.ok_or(error)?,
            },
        };
        check_plan(&run).await?;
        if let Err(error) = copy(&run, &begun.from).await
            && !run.complete().await?
        {
            return Err(error);
        }
        self.replace(&run, snapshot, continued).await
    }

    async fn publish(&self, begun: &Begun) -> Result<Run> {
        let record = match begun.from.first() {
            Some(newest) => &newest.record,
            None => return Err(Error::bug(format!("nothing is left to copy into run {}", begun.id))),
        };
        let described = Described {
            fingerprint: &record.fingerprint,
            model: &record.model,
            pipeline: &record.pipeline,
            privacy: record.privacy.as_ref(),
        };
        let elected = output::elected(self.output, &begun.id).await?;
        let tiles = planned_tiles(&begun.from);
        output::publish(self.output, &begun.id, &elected, described, tiles).await
    }

    /// Verifies a complete compaction, then deletes the runs it replaces.
    async fn replace(&self, run: &Run, snapshot: &Snapshot, continued: bool) -> Result<Compacted> {
        verify(run, Depth::Pages).await?.check().map_err(|error| {
            Error::new(error.kind(), format!("run {} is not verified, so nothing more was deleted", run.id))
                .because(error)
        })?;
        let of = run.record.origin.replaced();
        for replaced in of {
            self.compacted_into(&run.id, replaced, of).await?;
        }
        for old in of.iter().filter_map(|id| snapshot.standing(id)?.run.planned()) {
            check_covers(run, old).await?;
        }
        sum_up(run).await?;
        let there = |id: &RunId| Some(snapshot.standing(id)?.run.planned()?.record.plan.tiles);
        let before: Option<u64> = of.iter().map(there).sum();
        let mut removed = Removed::default();
        // Oldest first, so that readers who do not know of tombstones see what is replaced go first.
        for id in of.iter().rev() {
            let left = snapshot.deleted.iter().find(|deleted| deleted.id == *id);
            if left.is_none() {
                self.claim(&run.id, id).await?;
            }
            if left.is_none_or(|deleted| deleted.num_left() > 0) {
                let (gone, why) = self.output.delete_run(id, Why::CompactedInto(run.id.clone())).await?;
                if why == Why::Deleted {
                    return Err(deleted_under(&run.id, id));
                }
                removed = Removed { files: removed.files + gone.files, bytes: removed.bytes + gone.bytes };
            }
        }
        let shards = run.committed().await?.shards;
        self.check_stands(&run.id).await?;
        Ok(Compacted {
            run_id: run.id.clone(),
            replaced: of.to_vec(),
            continued,
            tiles: run.record.plan.tiles,
            superseded: before.map(|before| before.saturating_sub(run.record.plan.tiles)),
            files: shards.len() as u64,
            bytes: shards.iter().map(|shard| shard.size_bytes).sum(),
            removed,
        })
    }

    /// Makes it this compaction's business to delete a run, so that from here on nobody gives the compaction
    /// up for that run's sake; see [`Fate`].
    async fn claim(&self, compaction: &RunId, replaced: &RunId) -> Result<()> {
        if self.output.decide(compaction, replaced, Fate::Delete).await? == Fate::Keep {
            return Err(given_up(compaction, replaced));
        }
        // Whoever gives the compaction up decides before its tombstone is there, and the decision goes after.
        let stands = self.check_stands(compaction).await;
        if stands.is_err() {
            self.output.undecide(compaction, replaced).await?;
        }
        stands
    }

    /// Makes sure that the compaction is not deleted.
    async fn check_stands(&self, id: &RunId) -> Result<()> {
        if self.output.is_deleted(id).await? {
            return Err(Error::unavailable(format!(
                "run {id} is deleted, so the runs that it replaces stay"
            )));
        }
        Ok(())
    }
}

/// The cause of an error that is not to be taken up again: somebody is about to delete the compaction.
#[derive(Debug, thiserror::Error)]
#[error("another command has begun to delete the compaction, so run {0} stays")]
struct GivenUp(RunId);

fn given_up(compaction: &RunId, replaced: &RunId) -> Error {
    Error::unavailable(format!("compaction {compaction} is being deleted, so it deletes nothing more"))
        .because(GivenUp(replaced.clone()))
        .hint(format!(
            "finish that with `tilefleet runs OUTPUT delete {compaction} --yes --force`, then compact again"
        ))
}

fn is_given_up(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<GivenUp>)
}

/// Says that somebody has deleted a run whose rows a compaction holds.
fn deleted_under(id: &RunId, replaced: &RunId) -> Error {
    Error::config(format!("run {replaced} was deleted while it was compacted into {id}")).hint(format!(
        "`tilefleet runs OUTPUT delete {id}` shows what deleting the compaction does; then compact again"
    ))
}

/// Makes sure that the plan of a run and its sources are what was written: rows are copied and deleted by them.
async fn check_plan(run: &Run) -> Result<()> {
    let hint = "nothing was copied or deleted; restore the file from a copy, or delete its run and compute \
         it again; `tilefleet verify OUTPUT --deep` shows what else is damaged";
    run.check_plan().await.map(drop).map_err(|error| {
        let stopped = format!("run {} is not compacted", run.id);
        if is_damaged(&error) { Error::new(error.kind(), stopped).because(error).hint(hint) } else { error }
    })
}

/// Makes sure, apart from how the compaction came about, that it holds every source of a run that is to go.
async fn check_covers(run: &Run, old: &Run) -> Result<()> {
    let uris = |run: &Run| -> Result<BoxStream<'static, Result<SourceUri>>> {
        let batches = run.sources.stream()?.map_ok(|batch| stream::iter(batch).map(|source| Ok(source.uri)));
        Ok(batches.try_flatten().boxed())
    };
    let (mut held, mut wanted) = (uris(run)?, uris(old)?);
    // Both are in order of URI.
    while let Some(uri) = wanted.try_next().await? {
        let mut found = false;
        while !found {
            let Some(next) = held.try_next().await?.filter(|next| *next <= uri) else { break };
            found = next == uri;
        }
        if !found {
            let message = format!("run {} leaves out {uri}, which run {} holds", run.id, old.id);
            return Err(Error::bug(message)
                .hint("nothing more was deleted; keep the output as it is and report this"));
        }
    }
    Ok(())
}

/// Returns the compaction of a family that is not complete, or has not deleted what it replaces.
fn unfinished<'a>(snapshot: &'a Snapshot, family: &str) -> Option<&'a RunState> {
    let is_left = |id: &RunId| {
        let left = snapshot.deleted.iter().any(|deleted| deleted.id == *id && deleted.num_left() > 0);
        left || snapshot.standing(id).is_some()
    };
    let of_family = snapshot.runs.iter().filter(|standing| standing.run.id().family() == family);
    let mut compactions = of_family.filter(|standing| standing.run.origin().is_compaction());
    compactions.find(|standing| {
        standing.completed().is_none() || standing.run.origin().replaced().iter().any(is_left)
    })
}

/// Returns the current runs of a family that are older than its open ones, newest first.
fn mergeable<'a>(snapshot: &'a Snapshot, current: &Current<'a>, family: &str) -> Vec<&'a Run> {
    let of_family = snapshot.runs.iter().filter(|standing| standing.run.id().family() == family);
    let open = of_family.filter(|standing| standing.completed().is_none());
    let first_open = open.filter_map(|standing| standing.run.planned().map(Run::age)).min();
    let of_family = current.runs.iter().copied().filter(|run| run.id.family() == family);
    let mut runs: Vec<&Run> =
        of_family.filter(|run| first_open.is_none_or(|open| run.age() < open)).collect();
    runs.sort_by(|a, b| b.age().cmp(&a.age()));
    runs
}

fn not_mergeable(id: &RunId, current: &Current<'_>) -> Error {
    let cannot = |why: &str| Error::usage(format!("run {id} cannot be compacted: {why}"));
    if current.withheld.contains(id) {
        return cannot("it has too many rejects and has not been accepted")
            .hint(format!("`tilefleet runs OUTPUT accept {id}` makes it current"));
    }
    cannot("it is not complete").hint("`tilefleet status OUTPUT` shows the progress of its runs")
}

fn embedding_bytes(run: &Run) -> Result<u64> {
    let pipeline = Pipeline::recorded(&run.record.pipeline, &run.id.to_string())?;
    let length = run.record.model.contract.output.embedding_length;
    Ok((length * pipeline.output.embedding.num_bytes()) as u64)
}

/// Encodes the table of sources that these runs cover.
///
/// - `older`: whether there are older runs, which are not copied; then each source must be covered as a whole
async fn encode_sources(from: &[Arc<Run>], election: &Election, older: bool) -> Result<bytes::Bytes> {
    let ids: Vec<RunId> = from.iter().map(|run| run.id.clone()).collect();
    let codec = from[0].sources.extra_fields().map(|fields| ExtraCodec::new(&fields)).transpose()?;
    let (mut merge, metadata, runtime) = (Merge::of(from), election.metadata()?, Handle::current());
    let encode = move || {
        let entries = std::iter::from_fn(|| {
            let merged = runtime.block_on(merge.next()).transpose()?;
            Some(merged.and_then(|merged| {
                if older && !merged.whole {
                    return Err(without_base(&ids[merged.tiles[0].run], &merged.source.uri));
                }
                entry(&merged, codec.as_ref())
            }))
        });
        output::encode(entries, codec.as_ref(), || Ok(metadata), SOURCE_BYTES_KEY)
    };
    let encoded = tokio::task::spawn_blocking(encode).await;
    Ok(encoded.map_err(|error| Error::bug("planning crashed").because(error))??.bytes)
}

/// A compaction covers whole sources: without the run that a retry corrects, it would hide that run's tiles.
fn without_base(retry: &RunId, uri: &SourceUri) -> Error {
    Error::usage(format!("run {retry} is a retry, but the run that it corrects in {uri} is not in --runs"))
        .hint("add the runs before it to --runs")
}

fn entry(merged: &Merged, codec: Option<&ExtraCodec>) -> Result<Surveyed> {
    let source = &merged.source;
    let entry = Entry {
        uri: source.uri.clone(),
        version: source.version.as_deref().map(str::to_owned),
        size: source.size_bytes,
        extra: plan::encoded_extra(codec, merged.extra.as_ref(), 0)?,
        item: source.item.as_deref().map(|item| item.as_bytes().to_vec()),
        identity: String::new(),
        in_trouble: false,
    };
    let survey =
        source.survey.as_ref().map(|survey| if merged.whole { survey.whole() } else { survey.clone() });
    Ok(Surveyed { entry, survey })
}

/// Returns the tiles of a compaction in the order of their sources.
fn planned_tiles(from: &[Arc<Run>]) -> BoxStream<'static, Result<PlannedTile>> {
    let sources = stream::try_unfold(Merge::of(from), |mut merge| async move {
        Ok::<_, Error>(merge.next().await?.map(|merged| (merged, merge)))
    });
    let numbered = sources.enumerate().map(|(id, merged)| merged.map(|merged| (id as u64, merged)));
    let tiles = numbered.map_ok(|(source_id, merged)| {
        let tiles = merged.tiles.into_iter().map(move |Placed { tile, .. }| {
            Ok(PlannedTile {
                id: tile.id,
                source_id,
                level: tile.level,
                frame: tile.frame,
                window: tile.window,
            })
        });
        stream::iter(tiles)
    });
    tiles.try_flatten().boxed()
}

/// Returns about how many bytes are still to be copied, as large as they are in the old runs.
async fn bytes_to_copy(run: &Run, from: &[Arc<Run>], num_committed: usize) -> Result<u64> {
    let mut num_bytes = 0;
    for old in from {
        num_bytes += old.committed().await?.shards.iter().map(|shard| shard.size_bytes).sum::<u64>();
    }
    let (all, open) = (u64::from(run.num_shards()), u64::from(run.num_shards()) - num_committed as u64);
    Ok(num_bytes / all.max(1) * open)
}

/// Copies the shards that are open, one after the other.
async fn copy(run: &Run, from: &[Arc<Run>]) -> Result<()> {
    let committed: HashSet<u32> = run.committed().await?.shards.iter().map(|shard| shard.number).collect();
    output::warn_if_short(&run.output, bytes_to_copy(run, from, committed.len()).await?);
    let pipeline = Pipeline::recorded(&run.record.pipeline, &run.id.to_string())?;
    let contract = &run.record.model.contract;
    let mut copy = Copy {
        run,
        table: TableSpec::new(contract, &pipeline, run.sources.extra_fields()),
        merge: Merge::of(from),
        ahead: VecDeque::new(),
        from: from.to_vec(),
        readers: from.iter().cloned().map(RowReader::new).collect(),
    };
    for number in 0..run.num_shards() {
        let placed = copy.next_tiles(run.num_tiles(number) as usize).await?;
        if !committed.contains(&number) {
            copy.shard(number, &placed).await?;
        }
    }
    Ok(())
}

/// What copying needs from shard to shard.
struct Copy<'a> {
    run: &'a Run,
    table: TableSpec,
    merge: Merge,
    /// Tiles of the source that the last shard ended in.
    ahead: VecDeque<Placed>,
    from: Vec<Arc<Run>>,
    readers: Vec<RowReader>,
}

impl Copy<'_> {
    async fn next_tiles(&mut self, count: usize) -> Result<Vec<Placed>> {
        while self.ahead.len() < count {
            let Some(merged) = self.merge.next().await? else { break };
            self.ahead.extend(merged.tiles);
        }
        let count = count.min(self.ahead.len());
        Ok(self.ahead.drain(..count).collect())
    }

    async fn shard(&mut self, number: u32, placed: &[Placed]) -> Result<()> {
        let planned = self.run.shard(number).await?;
        if !planned.tiles.iter().map(|tile| tile.id).eq(placed.iter().map(|placed| placed.tile.id)) {
            let id = &self.run.id;
            return Err(Error::config(format!(
                "shard {number} of run {id} is not planned from the runs it replaces"
            ))
            .hint(format!("`tilefleet runs OUTPUT delete {id} --yes --force`, then compact again")));
        }
        let (mut rows, mut embeddings) = (Vec::with_capacity(placed.len()), Vec::new());
        let (mut counts, mut computed) = (Counts::default(), Computed::default());
        let mut extras = Extras::default();
        let length = self.table.embedding_length;
        for Placed { tile, run, shard, row } in placed {
            let next = embeddings.len() / length;
            let copied = self.readers[*run].read(*shard, *row, tile, next, &mut computed).await?;
            if matches!(copied.row.outcome, Outcome::Ok { .. }) && copied.embedding.len() != length {
                return Err(Error::config(format!("the embedding of tile {} has another length", tile.id)));
            }
            embeddings.extend(copied.embedding);
            if let Some(extra) = copied.extra {
                extras.push(extra, *row);
            }
            counts.add(&copied.row.outcome);
            rows.push(copied.row);
        }
        let provenance = self.provenance(number, placed, &counts, &computed);
        let extra = match &planned.extra {
            Some(planned) => Some(self.extra(number, &extras, planned)?),
            None => None,
        };
        let bytes = self.encode(number, rows, embeddings, extra, &provenance).await?;
        let committed = commit_shard(self.run, number, bytes, &provenance).await?;
        tracing::info!(run = %self.run.id, shard = number, ?committed, "copied");
        Ok(())
    }

    /// Returns the manifest's columns of a shard. The runs' tables of sources, by which it is planned, have the same
    /// values as their rows, unless one of them is damaged.
    fn extra(&self, number: u32, extras: &Extras, planned: &StructArray) -> Result<StructArray> {
        let wrong = || {
            let ids: Vec<String> = self.from.iter().map(|run| run.id.to_string()).collect();
            let what = format!(
                "the column `extra` of the rows of {} differs from their sources.parquet",
                ids.join(", ")
            );
            damaged(&self.run.shard_key(number), &what)
        };
        extras.like(planned).map_err(|cause| wrong().because(cause))?.ok_or_else(wrong)
    }

    fn provenance(&self, number: u32, placed: &[Placed], counts: &Counts, computed: &Computed) -> Provenance {
        let joined = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(",");
        let runs: BTreeSet<String> =
            placed.iter().map(|placed| self.from[placed.run].id.to_string()).collect();
        let mut provenance = Provenance::new(self.run, number, &self.run.output.process.unique_name());
        provenance.set_counts(counts);
        provenance.set("provider", joined(&computed.providers));
        provenance.set("precision", joined(&computed.precisions));
        // Files of earlier versions do not say.
        if !computed.arithmetics.is_empty() {
            provenance.set("arithmetic", joined(&computed.arithmetics));
        }
        provenance.set("compacted_from", joined(&runs));
        provenance
    }

    async fn encode(
        &self,
        number: u32,
        rows: Vec<TileRow>,
        embeddings: Vec<f32>,
        extra: Option<StructArray>,
        provenance: &Provenance,
    ) -> Result<bytes::Bytes> {
        let (table, pairs) = (self.table.clone(), provenance.pairs().to_vec());
        let encode = move || {
            let rows =
                ShardRows { shard: number, rows: &rows, embeddings: &embeddings, extra: extra.as_ref() };
            table::encode(&table, &rows, &pairs)
        };
        let encoded = tokio::task::spawn_blocking(encode).await;
        encoded.map_err(|error| Error::bug("encoding crashed").because(error))?
    }
}
