//! What processes do: the real commands, but for fetching, decoding and inference.
//!
//! A worker plans, takes shards from the real source of work, notes that it begins them, makes rows of a tile's id and
//! version, encodes them, commits them and sums up, in the order in which `stages/worker` and `stages/pipeline` do.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use tilefleet::config::{Overrides, Pipeline};
use tilefleet::input::source::InputSpec;
use tilefleet::input::storage::{ObjectUri, Storage};
use tilefleet::maintenance::compact;
use tilefleet::maintenance::runs;
use tilefleet::maintenance::verify::{Depth, verify_output};
use tilefleet::output::current_rows::{settle, sum_up_if_there};
use tilefleet::output::provenance::Provenance;
use tilefleet::output::summary::{sum_up, sum_up_in_turn};
use tilefleet::output::table::{ShardRows, TableSpec, encode};
use tilefleet::output::{BegunNote, ModelRecord, Output, Run, RunId, Scope, Shard, Tile};
use tilefleet::stages::commit::commit_shard;
use tilefleet::stages::plan::{Decision, Planner, RunSpec};
use tilefleet::stages::work::queue::{QueueShards, submit};
use tilefleet::stages::work::{Lease, Next, OpenShards, PutBack, Share, ShareFirst, WorkSource};
use tilefleet::vocabulary::contract::Contract;
use tilefleet::vocabulary::error::{Error, Kind, Result};
use tilefleet::vocabulary::outcome::{CommittedBy, Counts, Outcome, TileRow};
use tilefleet::vocabulary::process::Process;
use tilefleet::vocabulary::reason::{Reason, Rejection};
use tilefleet::vocabulary::time::{Clock, Timestamp};

use super::super::store::output_over;
use super::super::turns::{Request, Turnstile, Verb, Who};
use super::flaws::Flaw;
use super::table::Table;
use crate::support::broker::FakeBroker;

/// Number of floats of an embedding.
const LENGTH: usize = 2;

/// How long a shard of a queue is leased.
const LEASE: Duration = Duration::from_mins(1);

/// How long a worker of a queue waits for what others hold: until it is let down, and then it is not complete.
const IDLE: Duration = Duration::from_hours(1);

/// What one process is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `tilefleet run`, with this many tiles per shard if it is the one to plan, and holding so many shards at once.
    Run { shard_tiles: u32, num_held: usize },
    /// `tilefleet plan`.
    Plan { shard_tiles: u32 },
    /// `tilefleet runs compact`.
    Compact { shard_tiles: u32 },
    /// `tilefleet runs delete` of one of the runs that it finds, 0 is the newest.
    Delete { which: usize },
    /// `tilefleet verify`.
    Verify,
    /// No command of ours: an object comes into the input, or a new version of it.
    Arrive { name: &'static str, content: u64 },
}

/// Where the workers of a schedule get their shards from.
pub enum Work {
    /// Whatever is open, see [`OpenShards`].
    Open,
    /// A share first, see [`ShareFirst`]. Workers note what they begin, and some tiles kill who decodes them in its own
    /// process.
    Shares,
    /// A queue for each run, whose leases expire.
    Queues(Queues),
}

/// The queues of a schedule, by the run.
pub struct Queues {
    pub clock: Arc<LocalClock>,
    /// Whether workers renew their leases; else one that was paused commits late.
    pub renews: bool,
    /// What goes wrong with the broker follows from it; `None`: nothing does.
    pub troubled_by: Option<u64>,
    pub by_run: Mutex<BTreeMap<String, Arc<FakeBroker<LocalClock>>>>,
}

impl Work {
    async fn of(&self, run: &Arc<Run>, share: Share) -> Result<Arc<dyn WorkSource>> {
        let (of, beginning) = (Arc::clone(run), run.output.process.beginning());
        Ok(match self {
            Self::Open => Arc::new(OpenShards::of(of, beginning).await?),
            Self::Shares => Arc::new(ShareFirst::of(of, share).await?),
            Self::Queues(queues) => {
                let end = Arc::new(queues.broker_of(&run.id.to_string()).end());
                // What does not arrive is stored again by whoever finds the queue empty.
                let _ = submit(&*end, run).await;
                Arc::new(QueueShards::of(end, of, None, IDLE).await?)
            }
        })
    }

    /// Whether leases are renewed.
    fn renews(&self) -> bool {
        !matches!(self, Self::Queues(Queues { renews: false, .. }))
    }
}

/// A shard in a worker's hands.
struct Held {
    lease: Lease,
    /// That it is begun, if such notes are written.
    note: Option<BegunNote>,
    /// Whether some process has begun it before and not ended: its tiles are decoded in child processes.
    is_isolated: bool,
}

impl Queues {
    fn broker_of(&self, run: &str) -> Arc<FakeBroker<LocalClock>> {
        let mut by_run = self.by_run.lock().unwrap();
        let broker = || match self.troubled_by {
            Some(seed) => FakeBroker::faulty(Arc::clone(&self.clock), LEASE, seed),
            None => FakeBroker::new(Arc::clone(&self.clock), LEASE),
        };
        Arc::clone(by_run.entry(run.to_owned()).or_insert_with(broker))
    }
}

/// One process: a command with its clock, its name, and its view of the store.
pub struct Acting {
    pub storage: Storage,
    pub output: Output,
    pub table: Arc<Table>,
    pub work: Arc<Work>,
    /// The share that a worker believes it has.
    pub share: Share,
    pub flaw: Option<Flaw>,
    /// Whether it was asked to stop.
    pub stop: Arc<AtomicBool>,
    /// Whether a tile has killed it.
    pub is_dead: AtomicBool,
}

impl Acting {
    pub fn new(
        store: Arc<dyn ObjectStore>,
        process: Arc<Process>,
        table: &Arc<Table>,
        work: &Arc<Work>,
        share: Share,
        flaw: Option<Flaw>,
    ) -> Self {
        let (storage, output) = output_over(store, process);
        let (table, work) = (Arc::clone(table), Arc::clone(work));
        Self {
            storage,
            output,
            table,
            work,
            share,
            flaw,
            stop: Arc::default(),
            is_dead: AtomicBool::default(),
        }
    }

    /// Does what it is for; what it claims to have done must be so.
    pub async fn act(&self, command: &Command) -> Result<()> {
        match command {
            Command::Run { shard_tiles, num_held } => self.run(*shard_tiles, *num_held).await.map(|_| ()),
            Command::Plan { shard_tiles } => self.decide(*shard_tiles).await.map(|_| ()),
            Command::Compact { shard_tiles } => self.compact(*shard_tiles).await.map(|_| ()),
            Command::Delete { which } => self.delete_one(*which).await,
            Command::Verify => self.verify().await,
            Command::Arrive { name, content } => self.arrive(name, *content).await,
        }
    }

    /// Plans if needed and works on the run; returns whether there was nothing new.
    pub async fn run(&self, shard_tiles: u32, num_held: usize) -> Result<bool> {
        let (run, nothing_new) = match self.decide(shard_tiles).await? {
            Decision::Continue(run) => (run, false),
            Decision::New { run, previous } => {
                if let Some(previous) = previous {
                    sum_up_if_there(&previous).await?;
                }
                (run, false)
            }
            Decision::NothingNew { run, .. } | Decision::OfThisJob(run) => (run, true),
            Decision::NothingFound => return Ok(true),
        };
        let run = Arc::new(run);
        if !nothing_new {
            self.work_on(&run, num_held).await?;
        }
        let name = self.output.process.name();
        let summary = if nothing_new { sum_up(&run).await? } else { sum_up_in_turn(&run, name).await? };
        settle(&run, &summary.counts, Some(1.0)).await?;
        if !self.table.seen().is_done(&run.id.to_string()) {
            self.table.violation(format!("a worker exits 0, and {} is not complete", run.id));
        }
        Ok(nothing_new)
    }

    async fn decide(&self, shard_tiles: u32) -> Result<Decision> {
        let draft = RunSpec { shard_tiles: Some(shard_tiles), ..SPEC.clone() };
        let input = input_of(&self.output);
        let planner = Planner {
            output: &self.output,
            draft: &draft,
            storage: &self.storage,
            input: &input,
            // So few sources are never spooled.
            spool_dir: FilePath::new("/"),
            cutting: None,
            array: None,
        };
        Box::pin(planner.decide()).await
    }

    async fn work_on(&self, run: &Arc<Run>, num_held: usize) -> Result<()> {
        let work = self.work.of(run, self.share).await?;
        let mut held = Vec::new();
        let worked = self.work_through(run, &*work, num_held, &mut held).await;
        if !self.is_dead.load(Ordering::Relaxed) {
            for held in held {
                remove_note(run, &held).await;
                // Whatever was not put back expires.
                let _ = work.put_back(&held.lease, PutBack::Now).await;
            }
        }
        match worked {
            // Whatever was missing was deleted with the run.
            Err(error) if !error.kind().is_stop() && self.output.is_deleted(&run.id).await? => {
                Err(Error::unavailable(format!("run {} was deleted", run.id)).because(error))
            }
            worked => worked,
        }
    }

    /// Takes so many shards at once and commits them, the last one first, until none is left.
    async fn work_through(
        &self,
        run: &Run,
        work: &dyn WorkSource,
        num_held: usize,
        held: &mut Vec<Held>,
    ) -> Result<()> {
        loop {
            let next = if held.len() < num_held { Some(work.next().await?) } else { None };
            match next {
                Some(Next::Shard(lease)) if self.leaves_to_others(run, &lease) => {
                    work.put_back(&lease, PutBack::LeftOpen).await?;
                }
                Some(Next::Shard(lease)) => self.begin(run, lease, held).await?,
                Some(Next::Elsewhere(_)) => {}
                Some(Next::Wait(time)) if held.is_empty() => self.output.process.sleep(time).await,
                Some(Next::Done) if held.is_empty() => return Ok(()),
                Some(Next::Wait(_) | Next::Done) | None => self.commit_last(run, work, held).await?,
            }
        }
    }

    fn leaves_to_others(&self, run: &Run, lease: &Lease) -> bool {
        self.flaw == Some(Flaw::KeepsToItsShare)
            && matches!(*self.work, Work::Shares)
            && !self.share.shards(run.num_shards()).contains(&lease.shard)
    }

    /// Notes that it begins a shard.
    async fn begin(&self, run: &Run, lease: Lease, held: &mut Vec<Held>) -> Result<()> {
        let notes = matches!(*self.work, Work::Shares) && self.flaw != Some(Flaw::NotesNothing);
        let note = notes.then(|| run.begun_note(lease.shard));
        held.push(Held { lease, note, is_isolated: false });
        if let Some(Held { note: Some(note), is_isolated, .. }) = held.last_mut() {
            *is_isolated = run.write_note(note).await? > 0;
        }
        Ok(())
    }

    /// Commits the shard that was taken last, unless its lease is lost.
    async fn commit_last(&self, run: &Run, work: &dyn WorkSource, held: &mut Vec<Held>) -> Result<()> {
        let is_stopped = self.stop.load(Ordering::Relaxed);
        if is_stopped && self.flaw != Some(Flaw::CommitsParts) {
            return Err(Error::new(Kind::Drained, "drained after SIGTERM"));
        }
        let Some(last) = held.last() else { return Ok(()) };
        let lease = &last.lease;
        if self.work.renews() && lease.renew_every.is_some() && is_lost(&work.renew(lease).await) {
            remove_note(run, last).await;
            held.pop();
            return Ok(());
        }
        let mut shard = run.shard(lease.shard).await?;
        if is_stopped {
            shard.tiles.pop();
        }
        if matches!(*self.work, Work::Shares) && !last.is_isolated && shard.tiles.iter().any(kills) {
            self.is_dead.store(true, Ordering::Relaxed);
            return Err(Error::unavailable(format!("killed by a tile of shard {}", lease.shard)));
        }
        if self.commit(run, &shard).await? == CommittedBy::Theirs {
            work.another_was_first(lease);
        }
        remove_note(run, last).await;
        let ended = work.done(lease).await;
        held.pop();
        if is_lost(&ended) { Ok(()) } else { ended }
    }

    /// As `stages/pipeline` commits a shard whose tiles all have their outcome.
    async fn commit(&self, run: &Run, shard: &Shard) -> Result<CommittedBy> {
        let (rows, embeddings) = rows_of(shard);
        let mut counts = Counts::default();
        for row in &rows {
            counts.add(&row.outcome);
        }
        let attempt = run.output.process.unique_name();
        let mut provenance = Provenance::new(run, shard.number, &attempt);
        provenance.set_counts(&counts);
        for (key, value) in [("provider", "cpu"), ("precision", "fp32"), ("arithmetic", "fp32")] {
            provenance.set(key, value);
        }
        let rows = ShardRows { shard: shard.number, rows: &rows, embeddings: &embeddings, extra: None };
        let bytes: Bytes = encode(&SPEC_OF_TABLE, &rows, provenance.pairs())?;
        commit_shard(run, shard.number, bytes, &provenance).await
    }

    /// Compacts; returns whether there was anything to do.
    pub async fn compact(&self, shard_tiles: u32) -> Result<bool> {
        let request = compact::Request { only: Vec::new(), shard_tiles: Some(shard_tiles) };
        let compacted = compact::compact(&self.output, &request).await?;
        for done in &compacted {
            if !self.table.seen().is_done(&done.run_id.to_string()) {
                self.table.violation(format!("a compaction exits 0, and {} is not complete", done.run_id));
            }
            done.replaced.iter().for_each(|id| self.says_deleted(id));
        }
        Ok(!compacted.is_empty())
    }

    async fn delete_one(&self, which: usize) -> Result<()> {
        let snapshot = self.output.snapshot(Scope::All).await?;
        let standing = snapshot.runs.iter().rev().map(|standing| standing.run.id().clone());
        let ids: Vec<RunId> = standing.chain(snapshot.deleted.iter().map(|run| run.id.clone())).collect();
        match ids.get(which % ids.len().max(1)) {
            Some(id) => self.delete(id).await,
            None => Ok(()),
        }
    }

    pub async fn delete(&self, id: &RunId) -> Result<()> {
        let proposal = runs::propose(&self.output, std::slice::from_ref(id)).await?;
        runs::delete(&self.output, &proposal).await?;
        self.says_deleted(id);
        Ok(())
    }

    fn says_deleted(&self, id: &RunId) {
        let mut seen = self.table.seen();
        seen.says_deleted(&id.to_string());
        if !seen.is_deleted(&id.to_string()) {
            seen.violations.push(format!("a command exits 0, and {id} is not deleted"));
        }
    }

    /// Verifies while others work: that may show open shards, and nothing wrong.
    pub async fn verify(&self) -> Result<()> {
        for verdict in verify_output(&self.output, None, Depth::Rows).await? {
            if verdict.num_violations > 0 {
                self.table.violation(format!("verify: {:?}", verdict.violations));
            }
        }
        Ok(())
    }

    async fn arrive(&self, name: &str, content: u64) -> Result<()> {
        let uri = ObjectUri::parse(&format!("s3://simulated/input/{name}"))?;
        let bytes = Bytes::from(content.to_be_bytes().to_vec());
        self.storage.bucket(&uri).put_replace(uri.key(), bytes).await
    }
}

/// Whether a tile kills the process that decodes it, unless that is a child made for it. What its row says is not played.
fn kills(tile: &Tile) -> bool {
    ["/d.jpg", "/z.jpg"].iter().any(|name| tile.source.uri.name().ends_with(name))
}

async fn remove_note(run: &Run, held: &Held) {
    if let Some(note) = &held.note {
        run.remove_note(note).await;
    }
}

fn is_lost(ended: &Result<()>) -> bool {
    ended.as_ref().is_err_and(|error| error.kind() == Kind::LeaseLost)
}

fn input_of(output: &Output) -> InputSpec {
    InputSpec {
        uris: vec!["s3://simulated/input/".to_owned()],
        look_up: true,
        exclude: output.places().cloned().collect(),
        ..InputSpec::default()
    }
}

/// The trivial model: what it says of a version of a tile.
pub fn embedding_of(tile: &str, version: &str) -> Vec<f32> {
    let sum =
        |text: &str| text.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    [tile, version].map(|text| (sum(text) % 100_003) as f32).to_vec()
}

fn rows_of(shard: &Shard) -> (Vec<TileRow>, Vec<f32>) {
    let mut embeddings = Vec::new();
    let rows = shard.tiles.iter().map(|tile| row_of(tile, &mut embeddings)).collect();
    (rows, embeddings)
}

/// Of eight tiles one is rejected, and one left out.
fn row_of(tile: &Tile, embeddings: &mut Vec<f32>) -> TileRow {
    let version = tile.source.shown_version();
    let outcome = match tile.id.as_bytes()[0] % 8 {
        0 => Outcome::Rejected(Rejection::new(Reason::Corrupt, "it is no image")),
        1 => Outcome::Skipped { reason: Reason::Nodata, detail: None },
        _ => {
            embeddings.extend(embedding_of(&tile.id.to_string(), version.as_deref().unwrap_or_default()));
            Outcome::Ok { detail: None, prediction: None, embedding: embeddings.len() / LENGTH - 1 }
        }
    };
    TileRow {
        tile_id: tile.id,
        source: tile.source.uri.clone(),
        source_version: version,
        level: tile.level,
        frame: tile.frame,
        window: tile.window,
        outcome,
        geo: None,
        medical: None,
    }
}

fn contract() -> Contract {
    let text = format!(
        "contract = 1\nname = \"tiny\"\n[input]\ntensor = \"input\"\nlayout = \"nchw\"\nsample_type = \"float32\"\n\
         bands = [\"red\"]\nunit = \"srgb8\"\nwidth = 1\nheight = 1\n\
         [output]\nembedding = \"features\"\nembedding_length = {LENGTH}\n"
    );
    Contract::from_toml(&text).unwrap()
}

fn pipeline() -> tilefleet::config::Loaded {
    let overrides = Overrides {
        inputs: vec!["s3://simulated/input/".to_owned()],
        output: Some("s3://simulated/table".to_owned()),
        model: Some("tiny.onnx".into()),
        ..Overrides::default()
    };
    Pipeline::load(None, &overrides).unwrap()
}

/// What a run is planned by, as `stages/worker` has it of a pipeline and its model.
static SPEC: LazyLock<RunSpec> = LazyLock::new(|| {
    let (contract, loaded) = (contract(), pipeline());
    RunSpec {
        name: "photos".to_owned(),
        fingerprint: "5eed".repeat(16),
        lineage: "0ff1ce".to_owned(),
        lineage_description: "two floats".to_owned(),
        model: ModelRecord {
            file: "tiny.onnx".to_owned(),
            digest: "ab".repeat(32),
            contract_digest: contract.digest().unwrap(),
            contract_origin: "file".to_owned(),
            contract,
        },
        pipeline: loaded.settings.to_json(),
        privacy: None,
        shard_tiles: None,
        embedding_bytes: 4 * LENGTH as u64,
        max_reject_ratio: 1.0,
    }
});

static SPEC_OF_TABLE: LazyLock<TableSpec> =
    LazyLock::new(|| TableSpec::new(&contract(), &pipeline().pipeline, None));

/// The time that passes for all processes of a schedule.
#[derive(Debug, Default)]
pub struct WorldTime(AtomicU64);

impl WorldTime {
    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn reach(&self, moment: Duration) {
        self.0.fetch_max(moment.as_nanos() as u64, Ordering::Relaxed);
    }
}

/// A process's clock: that of the world, set wrongly. Sleeping lets others have their turn.
pub struct LocalClock {
    world: Arc<WorldTime>,
    ahead: Duration,
    turnstile: Option<(Arc<Turnstile>, Who)>,
    num_looks: AtomicU64,
}

impl LocalClock {
    pub fn new(
        world: &Arc<WorldTime>,
        ahead: Duration,
        turnstile: Option<(Arc<Turnstile>, Who)>,
    ) -> Arc<Self> {
        Arc::new(Self { world: Arc::clone(world), ahead, turnstile, num_looks: AtomicU64::new(0) })
    }
}

impl std::fmt::Debug for LocalClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a clock ahead by {:?}", self.ahead)
    }
}

impl Clock for LocalClock {
    fn now(&self) -> Timestamp {
        let looks = Duration::from_micros(self.num_looks.fetch_add(1, Ordering::Relaxed));
        let beginning = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        (beginning + self.world.now() + self.ahead + looks).into()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        let (world, until) = (Arc::clone(&self.world), self.world.now() + time);
        let turnstile = self.turnstile.clone();
        async move {
            let _turn = match &turnstile {
                Some((turnstile, who)) => turnstile.turn(*who, Request::new(Verb::Sleep, None)).await,
                None => None,
            };
            world.reach(until);
        }
        .boxed()
    }
}
