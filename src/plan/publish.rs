//! Decides which run to work on, and publishes its plan so that workers that race adopt one.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::plan::TileId;
use crate::plan::layout::RunId;
use crate::plan::lineage::OutputRecord;
use crate::plan::record::{ModelRecord, PlanRecord, RunRecord};
use crate::plan::run::{Output, Run};
use crate::plan::sources::{self, EncodedSources, Source, SourceTable};
use crate::plan::tiles::{PlanTotals, PlanWriter, PlannedTile};
use crate::source::{self, Discovered, Entry, InputSpec};
use crate::storage::{Fault, Put, Storage};

/// Key-value metadata of `sources.parquet` that adopters plan by, whatever their own settings.
const SHARD_TILES_KEY: &str = "tilefleet.shard_tiles";
const FINGERPRINT_KEY: &str = "tilefleet.fingerprint";
const SOURCE_BYTES_KEY: &str = "tilefleet.source_bytes";

/// A plan part is put so often before the store is taken to be in trouble.
const MAX_PUTS: u32 = 4;

/// Shards estimated above this are refused.
const MAX_SHARD_BYTES: u64 = 512 << 20;
/// What a row holds besides its embedding, generously.
const ROW_OVERHEAD_BYTES: u64 = 512;

/// Everything about a run to be, but its sources.
#[derive(Clone, Debug)]
pub struct Draft {
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
    /// Tiles of a full shard.
    pub shard_tiles: u32,
    /// Bytes of one written embedding.
    pub embedding_bytes: u64,
}

/// What there is to do.
pub enum Decision {
    /// An unfinished run goes on.
    Continue(Run),
    /// A new run was planned, by us or by a worker beside us.
    New {
        /// It.
        run: Run,
        /// The run before it, complete.
        previous: Option<Box<Run>>,
    },
    /// Every source has its row already; the newest run, complete.
    NothingNew(Run),
}

/// What a plan would amount to.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Preview {
    /// The run that would go on or be planned.
    pub run_id: String,
    /// Whether that run's plan is published already.
    pub published: bool,
    /// Number of sources to process.
    pub sources: u64,
    /// Their bytes, as far as known.
    pub source_bytes: u64,
    /// Number of tiles.
    pub tiles: u64,
    /// Number of shards.
    pub shards: u64,
    /// Shards committed already.
    pub committed_shards: u64,
    /// Estimated bytes of the table that is still to be written.
    pub table_bytes: u64,
}

/// Plans the runs of one output.
pub struct Planner<'a> {
    /// The output.
    pub output: &'a Output,
    /// The run to be.
    pub draft: &'a Draft,
    /// Access to the inputs.
    pub storage: &'a Storage,
    /// The inputs.
    pub input: &'a InputSpec,
    /// Where discovery may spill.
    pub spool_dir: &'a Path,
}

/// The runs of this family, as far as they have got.
enum Family {
    /// The newest run is published but not complete.
    Unfinished(Box<Run>),
    /// The newest run's sources are published, its plan is not.
    Elected(RunId),
    /// All runs are complete; oldest first.
    Complete(Vec<Run>),
}

impl Planner<'_> {
    /// Continues the unfinished run; else plans a new one over what is new or has changed.
    ///
    /// # Errors
    ///
    /// `Config` if the output is of another lineage, the inputs are wrong or nothing matches them;
    /// as the stores answer otherwise.
    pub async fn decide(&self) -> Result<Decision> {
        self.check_shard_size()?;
        match self.family().await? {
            Family::Unfinished(run) => Ok(Decision::Continue(*run)),
            Family::Elected(id) => Ok(Decision::Continue(self.publish_plan(&id).await?)),
            Family::Complete(runs) => self.plan_next(runs).await,
        }
    }

    /// Returns what [`Self::decide`] would do, without writing anything.
    ///
    /// # Errors
    ///
    /// As [`Self::decide`].
    pub async fn preview(&self) -> Result<Preview> {
        self.check_shard_size()?;
        match self.family().await? {
            Family::Unfinished(run) => self.preview_of(&run).await,
            Family::Elected(id) => {
                let table = self.elected_sources(&id).await?;
                Ok(self.preview_new(&id, table.num_sources(), source_bytes(&table)))
            }
            Family::Complete(runs) => {
                let encoded = self.encode_new_sources(self.discover().await?, &runs).await?;
                match runs.last().filter(|_| encoded.num_sources == 0) {
                    Some(newest) => self.preview_of(newest).await,
                    None => {
                        Ok(self.preview_new(&self.next_id(&runs), encoded.num_sources, encoded.num_bytes))
                    }
                }
            }
        }
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
        Ok(Preview {
            run_id: run.id.to_string(),
            published: true,
            sources: plan.sources,
            source_bytes: plan.source_bytes,
            tiles: plan.tiles,
            shards: plan.shards.into(),
            committed_shards: committed,
            table_bytes: tiles * self.row_bytes(),
        })
    }

    fn preview_new(&self, id: &RunId, num_sources: u64, source_bytes: u64) -> Preview {
        Preview {
            run_id: id.to_string(),
            published: false,
            sources: num_sources,
            source_bytes,
            tiles: num_sources,
            shards: num_sources.div_ceil(self.draft.shard_tiles.into()),
            committed_shards: 0,
            table_bytes: num_sources * self.row_bytes(),
        }
    }

    fn row_bytes(&self) -> u64 {
        self.draft.embedding_bytes + ROW_OVERHEAD_BYTES
    }

    fn check_shard_size(&self) -> Result<()> {
        let estimate = u64::from(self.draft.shard_tiles) * self.row_bytes();
        if estimate <= MAX_SHARD_BYTES {
            return Ok(());
        }
        let largest = MAX_SHARD_BYTES / self.row_bytes();
        Err(Error::config(format!(
            "a shard of {} tiles would be about {} MiB, above the limit of 512 MiB",
            self.draft.shard_tiles,
            estimate >> 20
        ))
        .hint(format!("set plan.shard_tiles to at most {largest}")))
    }

    async fn family(&self) -> Result<Family> {
        if let Some(record) = OutputRecord::read(self.output).await? {
            record.check_lineage(&self.draft.lineage, self.output)?;
        }
        let first = RunId::new(&self.draft.name, &self.draft.fingerprint, 1);
        let mut runs = Vec::new();
        for id in self.output.run_ids().await?.into_iter().filter(|id| id.family() == first.family()) {
            match Run::open(self.output, &id).await? {
                Some(run) => runs.push(run),
                None => return Ok(Family::Elected(id)),
            }
        }
        let Some(newest) = runs.last() else { return Ok(Family::Complete(runs)) };
        check_fingerprint(&newest.id, &newest.record.fingerprint, &self.draft.fingerprint)?;
        if newest.complete().await? {
            return Ok(Family::Complete(runs));
        }
        Ok(Family::Unfinished(Box::new(runs.pop().expect("`last` above found one"))))
    }

    fn next_id(&self, runs: &[Run]) -> RunId {
        match runs.last() {
            Some(newest) => newest.id.next(),
            None => RunId::new(&self.draft.name, &self.draft.fingerprint, 1),
        }
    }

    async fn plan_next(&self, mut runs: Vec<Run>) -> Result<Decision> {
        let discovered = self.discover().await?;
        let extra = discovered.extra.as_ref().map(|codec| codec.fields());
        let record = OutputRecord::new(&self.draft.lineage, &self.draft.lineage_description, extra);
        record.elect(self.output).await?;
        let encoded = self.encode_new_sources(discovered, &runs).await?;
        let id = self.next_id(&runs);
        let newest = runs.pop();
        if encoded.num_sources == 0
            && let Some(newest) = newest
        {
            return Ok(Decision::NothingNew(newest));
        }
        // The election: whoever creates this object decides what the run covers; the others adopt it.
        self.output.bucket.put_new(&self.output.layout.sources(&id), encoded.bytes).await?;
        Ok(Decision::New { run: self.publish_plan(&id).await?, previous: newest.map(Box::new) })
    }

    async fn discover(&self) -> Result<Discovered> {
        let discovered = source::discover(self.input, self.storage, self.spool_dir).await?;
        tracing::info!("{}", discovered.summary());
        discovered.require_some()?;
        Ok(discovered)
    }

    async fn encode_new_sources(&self, discovered: Discovered, runs: &[Run]) -> Result<EncodedSources> {
        let known = KnownSources::of(runs)?;
        let metadata = vec![
            (SHARD_TILES_KEY.to_owned(), self.draft.shard_tiles.to_string()),
            (FINGERPRINT_KEY.to_owned(), self.draft.fingerprint.clone()),
        ];
        tokio::task::spawn_blocking(move || encode_sources(&discovered, known, metadata))
            .await
            .map_err(|error| Error::bug("planning crashed").because(error))?
    }

    async fn elected_sources(&self, id: &RunId) -> Result<SourceTable> {
        let key = self.output.layout.sources(id);
        let table = SourceTable::open(&self.output.bucket, &key)
            .await?
            .ok_or_else(|| Error::unavailable(format!("{key} was written and cannot be seen")))?;
        let theirs = table.metadata().remove(FINGERPRINT_KEY).unwrap_or_default();
        check_fingerprint(id, &theirs, &self.draft.fingerprint)?;
        Ok(table)
    }

    /// Derives the plan from the elected sources and publishes it; every worker may do so at once.
    async fn publish_plan(&self, id: &RunId) -> Result<Run> {
        let table = self.elected_sources(id).await?;
        let metadata = table.metadata();
        let shard_tiles: u32 = metadata
            .get(SHARD_TILES_KEY)
            .and_then(|value| value.parse().ok())
            .filter(|value| *value > 0)
            .ok_or_else(|| {
                let uri = self.output.bucket.uri(&self.output.layout.sources(id));
                Error::config(format!("{uri} is damaged")).hint("restore the file, or choose another output")
            })?;
        let totals = self.publish_parts(id, &table, shard_tiles).await?;
        let plan = PlanRecord {
            sources: table.num_sources(),
            source_bytes: source_bytes(&table),
            tiles: totals.num_tiles,
            shards: totals.num_shards,
            shard_tiles,
            digest: totals.digest,
        };
        let record = self.record(id, plan);
        self.output.bucket.put_new(&self.output.layout.run_json(id), Bytes::from(record.to_json()?)).await?;
        Run::open(self.output, id).await?.ok_or_else(|| {
            Error::unavailable(format!("the record of run {id} was written and cannot be seen"))
        })
    }

    async fn publish_parts(&self, id: &RunId, table: &SourceTable, shard_tiles: u32) -> Result<PlanTotals> {
        let mut writer = PlanWriter::default();
        let mut shard = Vec::with_capacity(shard_tiles as usize);
        let mut next_id = 0_u64;
        let mut batches = table.stream()?;
        while let Some(batch) = batches.next().await {
            for source in batch? {
                shard.push(whole_tile(next_id, &source));
                next_id += 1;
                if shard.len() == shard_tiles as usize {
                    self.put_part(id, writer.push(&shard)?).await?;
                    shard.clear();
                }
            }
        }
        if !shard.is_empty() {
            self.put_part(id, writer.push(&shard)?).await?;
        }
        let (last, totals) = writer.finish()?;
        self.put_part(id, last).await?;
        Ok(totals)
    }

    async fn put_part(&self, id: &RunId, part: Option<(u32, Bytes)>) -> Result<()> {
        let Some((number, bytes)) = part else { return Ok(()) };
        let key = self.output.layout.plan_part(id, number);
        for _ in 0..MAX_PUTS {
            if self.output.bucket.put_new(&key, bytes.clone()).await? == Put::Created {
                return Ok(());
            }
            // Some stores say "exists" of what never landed, so look. A part that is there was written by
            // a worker beside us and holds the same tiles, being derived from the same table.
            match self.output.bucket.head(&key).await {
                Ok(_) => return Ok(()),
                Err(Fault::Gone) => {}
                Err(fault) => return Err(fault.into_error(&key)),
            }
        }
        Err(Error::unavailable(format!("the store says that {key} exists, and then that it does not")))
    }

    fn record(&self, id: &RunId, plan: PlanRecord) -> RunRecord {
        RunRecord {
            format: 1,
            run_id: id.to_string(),
            fingerprint: self.draft.fingerprint.clone(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            model: self.draft.model.clone(),
            plan,
            pipeline: self.draft.pipeline.clone(),
        }
    }
}

fn check_fingerprint(id: &RunId, theirs: &str, ours: &str) -> Result<()> {
    if theirs == ours {
        return Ok(());
    }
    Err(Error::config(format!("run {id} was planned for another fingerprint ({theirs}, not {ours})"))
        .hint("give the pipeline another name, or choose another output"))
}

fn source_bytes(table: &SourceTable) -> u64 {
    table.metadata().get(SOURCE_BYTES_KEY).and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn whole_tile(source_id: u64, source: &Source) -> PlannedTile {
    PlannedTile { id: TileId::of(&source.uri, 0, 0, None), source_id, level: 0, frame: 0, window: None }
}

fn encode_sources(
    discovered: &Discovered,
    mut known: KnownSources,
    metadata: Vec<(String, String)>,
) -> Result<EncodedSources> {
    let entries = discovered.sources.entries().filter_map(move |entry| match entry {
        Ok(entry) => match known.has(&entry) {
            Ok(true) => None,
            Ok(false) => Some(Ok(entry)),
            Err(error) => Some(Err(error)),
        },
        Err(error) => Some(Err(error)),
    });
    sources::encode(entries, discovered.extra.as_deref(), metadata, SOURCE_BYTES_KEY)
}

/// The sources that earlier runs covered, walked in step with a sorted listing: memory is one record
/// batch a run.
struct KnownSources {
    /// Oldest run first, so that the last hit is the newest version.
    cursors: Vec<Cursor>,
    runtime: Handle,
}

struct Cursor {
    batches: BoxStream<'static, Result<Vec<Source>>>,
    batch: Vec<Source>,
    next: usize,
}

impl KnownSources {
    fn of(runs: &[Run]) -> Result<Self> {
        let cursor = |run: &Run| Ok(Cursor { batches: run.sources.stream()?, batch: Vec::new(), next: 0 });
        Ok(Self { cursors: runs.iter().map(cursor).collect::<Result<_>>()?, runtime: Handle::current() })
    }

    /// Returns whether the newest run that covered this source saw the same version of it.
    fn has(&mut self, entry: &Entry) -> Result<bool> {
        let mut newest: Option<Option<Arc<str>>> = None;
        for cursor in &mut self.cursors {
            if let Some(source) = cursor.seek(&entry.uri, &self.runtime)? {
                newest = Some(source.version.clone());
            }
        }
        Ok(newest.is_some_and(|version| version.as_deref() == entry.version.as_deref()))
    }
}

impl Cursor {
    /// Moves on to `uri`; calls must come in order of URI.
    fn seek(&mut self, uri: &str, runtime: &Handle) -> Result<Option<&Source>> {
        loop {
            while self.next < self.batch.len() && *self.batch[self.next].uri < *uri {
                self.next += 1;
            }
            if self.next < self.batch.len() {
                return Ok(self.batch.get(self.next).filter(|source| *source.uri == *uri));
            }
            match runtime.block_on(self.batches.next()) {
                Some(batch) => (self.batch, self.next) = (batch?, 0),
                None => return Ok(None),
            }
        }
    }
}
