//! Deletion beside compaction, step by step: every request to the store waits for its turn, and a seed says whose
//! turn it is, who is killed when, and what each one's clock says.
//!
//! The store is in memory, the commands are the real ones. What has to hold in the end: deleting never loses more
//! than it said it would, and whoever exits 0 has done what it says.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arrow::array::AsArray;
use bytes::Bytes;
use futures::StreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use tilefleet::maintenance::compact;
use tilefleet::maintenance::compact::Compacted;
use tilefleet::maintenance::runs;
use tilefleet::maintenance::verify::{Depth, verify_output};
use tilefleet::output::provenance::Provenance;
use tilefleet::output::{Output, Run, RunId};
use tilefleet::stages::commit::commit_shard;
use tilefleet::vocabulary::error::{Kind, Result};
use tilefleet::vocabulary::outcome::CommittedBy;
use tilefleet::vocabulary::process::Process;
use tilefleet_testing::Random;
use tokio::task::{LocalSet, spawn_local};

use super::store::Gate;
use super::turns::{Turnstile, Who};
use crate::fixture::{Job, jpeg};
use crate::support::clock::SimulatedClock;

/// A process of a play: its clock, its names and its chance follow from the seed. Clocks of machines differ, by up
/// to an hour.
fn process(seed: u64, actor: usize) -> Arc<Process> {
    let mut random = Random(seed ^ actor as u64);
    let clock = SimulatedClock::ahead_by(Duration::from_secs(random.below(3600) as u64));
    Process::new(Arc::new(clock), format!("actor-{actor}"), random.0)
}

// ---------------------------------------------------------------------------------------------------------------
// Who acts

/// What one process does.
#[derive(Clone, Debug)]
enum Act {
    Compact,
    /// The runs with these sequence numbers.
    Delete(Vec<u32>),
    /// A worker that is about to commit the first shard of this run.
    Commit(u32),
}

/// How it ended; `None` if it was killed.
#[derive(Debug, Default)]
struct Ended {
    compacted: Option<Result<Vec<Compacted>>>,
    deleted: Option<Result<()>>,
    committed: Option<Result<CommittedBy>>,
    /// What the deletion said: tiles that are lost, tiles of other runs that are shown instead.
    said: Option<(u64, u64)>,
}

type Shared = Arc<Mutex<Ended>>;

async fn act(act: Act, output: Output, family: RunId, ended: Shared) {
    match act {
        Act::Compact => {
            let done = compact::compact(&output, &compact::Request::default()).await;
            ended.lock().unwrap().compacted = Some(done);
        }
        Act::Delete(numbers) => {
            let ids: Vec<RunId> = numbers.iter().map(|number| family.with_sequence(*number)).collect();
            let done = delete(&output, &ids, &ended).await;
            ended.lock().unwrap().deleted = Some(done);
        }
        Act::Commit(number) => {
            let bytes = Bases::get().shard.clone();
            let done = commit(&output, &family.with_sequence(number), bytes).await;
            ended.lock().unwrap().committed = Some(done);
        }
    }
}

async fn delete(output: &Output, ids: &[RunId], ended: &Shared) -> Result<()> {
    let proposal = runs::propose(output, ids).await?;
    ended.lock().unwrap().said = Some((proposal.vanish, proposal.fall_back));
    runs::delete(output, &proposal).await.map(|_| ())
}

async fn commit(output: &Output, id: &RunId, bytes: Bytes) -> Result<CommittedBy> {
    let run = Run::open(output, id).await?;
    let run = run.ok_or_else(|| tilefleet::vocabulary::error::Error::unavailable("the run is deleted"))?;
    commit_shard(&run, 0, bytes, &Provenance::new(&run, 0, "late")).await
}

// ---------------------------------------------------------------------------------------------------------------
// In which order

/// Says whose turn it is.
enum Order {
    /// Anybody's.
    Any(Random),
    /// That of the most important, who becomes the least important at some steps (Burckhardt and others, "A
    /// Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010).
    Ranked { ranks: Vec<usize>, changes: Vec<usize> },
    /// Each in turn so many steps, then to the end.
    Stretches(VecDeque<(usize, usize)>),
}

impl Order {
    fn next(&mut self, step: usize, able: &[usize]) -> usize {
        match self {
            Self::Any(random) => able[random.below(able.len())],
            Self::Ranked { ranks, changes } => {
                let first = *able.iter().max_by_key(|actor| ranks[**actor]).unwrap();
                if changes.contains(&step) {
                    for rank in ranks.iter_mut() {
                        *rank += 1;
                    }
                    ranks[first] = 0;
                }
                *able.iter().max_by_key(|actor| ranks[**actor]).unwrap()
            }
            Self::Stretches(stretches) => loop {
                match stretches.front_mut() {
                    Some((actor, steps)) if *steps > 0 && able.contains(actor) => {
                        *steps -= 1;
                        return *actor;
                    }
                    Some(_) => drop(stretches.pop_front()),
                    None => return able[0],
                }
            },
        }
    }
}

/// Who is killed, at which of its requests, and whether the store still carries that one out.
#[derive(Clone, Copy, Debug)]
struct Death {
    actor: usize,
    request: usize,
    carried_out: bool,
}

/// What is to be played.
struct Play {
    base: &'static Base,
    acts: Vec<Act>,
    order: Order,
    death: Option<Death>,
    /// The order of steps before there were decisions: whoever asks is told that it was first.
    forgetful: bool,
    /// Decides about clocks.
    seed: u64,
}

/// What came of it.
struct Played {
    store: Arc<InMemory>,
    ended: Vec<Shared>,
    /// Requests of each actor.
    requests: Vec<usize>,
    /// What was asked of the store, in order.
    trace: Vec<String>,
}

impl Play {
    async fn run(self) -> Played {
        LocalSet::new().run_until(self.played()).await
    }

    async fn played(mut self) -> Played {
        let store = Arc::new(self.base.store.fork());
        let turnstile = Turnstile::of(self.acts.len());
        let ended: Vec<Shared> = self.acts.iter().map(|_| Shared::default()).collect();
        let mut tasks = Vec::new();
        for (actor, what) in self.acts.iter().enumerate() {
            let who = Who { actor, incarnation: 0 };
            let gate = Gate::open(&store).taking_turns(&turnstile, who);
            let gate = gate.forgetting(self.forgetful.then(|| "/replaces/".to_owned()));
            let output = gate.output(process(self.seed, actor));
            let (turnstile, ended) = (Arc::clone(&turnstile), Arc::clone(&ended[actor]));
            let (what, family) = (what.clone(), self.base.family.clone());
            tasks.push(spawn_local(async move {
                act(what, output, family, ended).await;
                turnstile.finish(who);
            }));
        }
        let mut requests = vec![0; self.acts.len()];
        for step in 0.. {
            let able = turnstile.settled().await;
            if able.is_empty() {
                break;
            }
            let actor = self.order.next(step, &able);
            let dies = self.death.filter(|death| death.actor == actor && death.request == requests[actor]);
            requests[actor] += 1;
            if dies.is_none_or(|death| death.carried_out) {
                turnstile.grant(actor, false);
                turnstile.settled().await;
            }
            if dies.is_some() {
                tasks[actor].abort();
                turnstile.kill(actor);
            }
        }
        let trace = turnstile.take_trace();
        Played { store, ended, requests, trace }
    }
}

// ---------------------------------------------------------------------------------------------------------------
// What has to hold

/// What lies in the output, and what a reader who knows nothing of this crate makes of it.
struct Seen {
    objects: BTreeMap<String, Bytes>,
    /// The version of the image that each tile's newest row is from.
    tiles: BTreeMap<String, String>,
    /// Runs that are complete and not deleted.
    standing: BTreeSet<String>,
}

impl Seen {
    async fn of(store: &InMemory) -> Self {
        let mut objects = BTreeMap::new();
        let metas: Vec<_> = store.list(None).collect().await;
        for meta in metas {
            let key = meta.unwrap().location;
            let bytes = store.get(&key).await.unwrap().bytes().await.unwrap();
            objects.insert(key.to_string(), bytes);
        }
        let mut seen = Self { objects, tiles: BTreeMap::new(), standing: BTreeSet::new() };
        seen.look();
        seen
    }

    fn json(&self, run: &str, name: &str) -> Option<Value> {
        let bytes = self.objects.get(&format!("table/_tilefleet/{run}/{name}"))?;
        Some(serde_json::from_slice(bytes).unwrap())
    }

    fn was_deleted_by_hand(&self, run: &str) -> bool {
        self.json(run, "deleted.json").is_some_and(|tombstone| tombstone["why"] == "deleted")
    }

    fn rows_of(&self, run: &str) -> Vec<&Bytes> {
        let folder = format!("table/tiles/run={run}/");
        self.objects.iter().filter(|(key, _)| key.starts_with(&folder)).map(|(_, bytes)| bytes).collect()
    }

    fn look(&mut self) {
        let mut newest: HashMap<String, ((String, String), String)> = HashMap::new();
        let runs = self.objects.keys().filter_map(|key| {
            key.strip_prefix("table/_tilefleet/")?.strip_suffix("/run.json").map(str::to_owned)
        });
        for run in runs.collect::<Vec<_>>() {
            let record = self.json(&run, "run.json").unwrap();
            let files = self.rows_of(&run);
            let is_whole = files.len() as u64 == record["plan"]["shards"].as_u64().unwrap();
            if !is_whole || self.json(&run, "deleted.json").is_some() {
                continue;
            }
            let age = (record["as_of"].as_str().unwrap().to_owned(), run.clone());
            for (tile, version) in files.into_iter().flat_map(rows) {
                let row = (age.clone(), version);
                let known = newest.entry(tile).or_insert_with(|| row.clone());
                if known.0 < row.0 {
                    *known = row;
                }
            }
            self.standing.insert(run);
        }
        self.tiles = newest.into_iter().map(|(tile, (_, version))| (tile, version)).collect();
    }
}

/// The tiles of a shard, and of which version of their image they are.
fn rows(file: &Bytes) -> Vec<(String, String)> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap();
    let columns =
        parquet::arrow::ProjectionMask::columns(reader.parquet_schema(), ["tile_id", "source_version"]);
    let batches = reader.with_projection(columns).build().unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        let text = |name: &str| batch[name].as_string::<i32>().clone();
        let (ids, versions) = (text("tile_id"), text("source_version"));
        rows.extend(
            ids.iter()
                .zip(versions.iter())
                .map(|(id, version)| (id.unwrap().to_owned(), version.unwrap().to_owned())),
        );
    }
    rows
}

impl Played {
    /// Says what does not hold.
    async fn check(&self, base: &Base, acts: &[Act]) -> std::result::Result<(), String> {
        let seen = Seen::of(&self.store).await;
        let id = |number: &u32| base.family.with_sequence(*number).to_string();
        let (mut may_lose, mut may_change) = (0, 0);
        for (what, ended) in acts.iter().zip(&self.ended) {
            let (Act::Delete(numbers), ended) = (what, ended.lock().unwrap()) else { continue };
            if numbers.iter().any(|number| seen.was_deleted_by_hand(&id(number))) {
                let said = ended.said.unwrap_or_default();
                (may_lose, may_change) = (may_lose + said.0, may_change + said.1);
            }
            let gone = |number: &u32| seen.json(&id(number), "deleted.json").is_some();
            if matches!(ended.deleted, Some(Ok(()))) && !numbers.iter().all(gone) {
                return Err(format!("{numbers:?} are not deleted, and the deletion says so"));
            }
        }
        let lost = base.tiles.keys().filter(|tile| !seen.tiles.contains_key(*tile)).count() as u64;
        let changed = base
            .tiles
            .iter()
            .filter(|(tile, version)| seen.tiles.get(*tile).is_some_and(|now| now != *version));
        let changed = changed.count() as u64;
        if lost > may_lose || changed > may_change {
            return Err(format!(
                "{lost} tiles are lost where {may_lose} may be, {changed} older where {may_change} may be"
            ));
        }
        self.check_compactions(&seen, acts)
    }

    fn check_compactions(&self, seen: &Seen, acts: &[Act]) -> std::result::Result<(), String> {
        let deletes = acts.iter().any(|act| matches!(act, Act::Delete(_)));
        for ended in &self.ended {
            let ended = ended.lock().unwrap();
            for compacted in ended.compacted.iter().flatten().flatten() {
                let into = compacted.run_id.to_string();
                // A later one may have replaced it.
                let replaced = seen.json(&into, "deleted.json").is_some_and(|it| it["why"] != "deleted");
                if !seen.standing.contains(&into) && !replaced && !deletes {
                    return Err(format!("the compaction {into} does not stand"));
                }
                let left = compacted.replaced.iter().find(|old| !seen.rows_of(&old.to_string()).is_empty());
                if let Some(left) = left {
                    return Err(format!("{into} says that it has deleted {left}"));
                }
            }
        }
        Ok(())
    }

    /// Gives all commands again, alone, until nothing is left to do; then it has to hold still.
    async fn recover(&self, base: &Base, acts: &[Act]) -> std::result::Result<(), String> {
        let output = Gate::open(&self.store).output(process(0, acts.len()));
        for (what, ended) in acts.iter().zip(&self.ended) {
            let unfinished = ended.lock().unwrap().deleted.is_none();
            if let Act::Delete(numbers) = what
                && unfinished
            {
                let ids: Vec<RunId> =
                    numbers.iter().map(|number| base.family.with_sequence(*number)).collect();
                // What it says now is what counts from here on.
                let again = Shared::default();
                let done = delete(&output, &ids, &again).await;
                let mut ended = ended.lock().unwrap();
                let said = again.lock().unwrap().said.or(ended.said);
                let before = ended.said.unwrap_or_default();
                ended.said = said.map(|said| (said.0.max(before.0), said.1.max(before.1)));
                ended.deleted = Some(done);
            }
        }
        let mut done = compact::compact(&output, &compact::Request::default()).await;
        // One may finish what was begun, the next add to it what was committed meanwhile.
        for _ in 0..2 {
            if done.as_ref().is_ok_and(|left| !left.is_empty()) {
                done = compact::compact(&output, &compact::Request::default()).await;
            }
        }
        let by_hand = acts.iter().any(|act| matches!(act, Act::Delete(_)));
        match done {
            Ok(left) if left.is_empty() => {}
            Ok(left) => return Err(format!("compacting goes on: {left:?}")),
            // Somebody has deleted what was being compacted, or everything: that is said.
            Err(error) if by_hand && matches!(error.kind(), Kind::Config | Kind::Unavailable) => {}
            Err(error) => return Err(error.render()),
        }
        if let Ok(verdicts) = verify_output(&output, None, Depth::Rows).await
            && let Some(bad) = verdicts.iter().find(|verdict| verdict.num_violations > 0)
        {
            return Err(format!("{:?}", bad.violations));
        }
        self.check(base, acts).await
    }
}

// ---------------------------------------------------------------------------------------------------------------
// Where it begins

/// An output to begin with.
pub struct Base {
    pub store: InMemory,
    /// The id of one of its runs.
    pub family: RunId,
    tiles: BTreeMap<String, String>,
}

/// The outputs to begin with: three complete runs, and a compaction of them that has come so far.
struct Bases {
    whole: Base,
    /// One of two shards is copied.
    begun: Base,
    /// All are copied, nothing is deleted.
    copied: Base,
    /// It is decided that the oldest run goes.
    claimed: Base,
    /// The oldest run is deleted.
    partly: Base,
    /// No compaction, but a fourth run whose only shard is not committed.
    open: Base,
    /// That shard.
    shard: Bytes,
}

/// The compaction's number, and that of the open run.
const NEXT: u32 = 4;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

impl Bases {
    fn get() -> &'static Self {
        static BASES: OnceLock<Bases> = OnceLock::new();
        BASES.get_or_init(|| runtime().block_on(Self::make()))
    }

    async fn make() -> Self {
        let job = Job::new(3, "[plan]\nshard_tiles = 4\n");
        for night in 0..3 {
            job.write_image("00001.jpg", &jpeg(70 + night));
            job.write_image(&format!("n{night}.jpg"), &jpeg(80 + night));
            job.run_ok(&[]);
        }
        let whole = loaded(&job.table()).await;
        assert_eq!(whole.tiles.len(), 6);
        job.write_image("n3.jpg", &jpeg(83));
        job.run_ok(&[]);
        let open = loaded(&job.table()).await;
        let id = whole.family.with_sequence(NEXT);
        let key = Path::from(format!("table/tiles/run={id}/shard-00000000.parquet"));
        let shard = open.store.get(&key).await.unwrap().bytes().await.unwrap();
        open.store.delete(&key).await.unwrap();
        open.store.delete(&Path::from(format!("table/_tilefleet/{id}/summary.json"))).await.unwrap();
        let open = Base::new(open.store, &open.family).await;
        let until = async |key: &str| whole.compacted_until(key).await;
        Self {
            begun: until("-0004/shard-00000001").await,
            copied: until("-0004/replaces/").await,
            claimed: until("-0001/deleted.json").await,
            partly: until("-0002.json").await,
            whole,
            open,
            shard,
        }
    }
}

/// Takes an output from disk into memory.
pub async fn loaded(table: &FilePath) -> Base {
    let store = InMemory::new();
    let mut folders = vec![table.to_path_buf()];
    let mut family = None;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(table).unwrap().to_str().unwrap();
            let run = name.split('/').find_map(|part| RunId::parse(part).ok());
            family = family.or(run);
            let bytes = fs::read(&path).unwrap();
            store.put(&Path::from(format!("table/{name}")), bytes.into()).await.unwrap();
        }
    }
    Base::new(store, &family.unwrap()).await
}

impl Base {
    async fn new(store: InMemory, family: &RunId) -> Self {
        let tiles = Seen::of(&store).await.tiles;
        Self { store, family: family.clone(), tiles }
    }

    /// Compacts until something is to be put that cannot be.
    async fn compacted_until(&self, refused: &str) -> Self {
        let store = Arc::new(self.store.fork());
        let gate = Gate::open(&store).refusing(refused);
        let ended = compact::compact(&gate.output(process(0, 0)), &compact::Request::default()).await;
        assert_eq!(ended.unwrap_err().kind(), Kind::Unavailable);
        let base = Self::new(store.fork(), &self.family).await;
        assert!(base.tiles == self.tiles, "{refused}");
        base
    }
}

fn scenes() -> Vec<(&'static Base, Vec<Act>)> {
    let bases = Bases::get();
    let delete = |numbers: &[u32]| Act::Delete(numbers.to_vec());
    let late = Act::Commit(NEXT);
    vec![
        (&bases.begun, vec![Act::Compact, delete(&[NEXT])]),
        (&bases.begun, vec![Act::Compact, delete(&[NEXT]), Act::Compact]),
        (&bases.begun, vec![Act::Compact, delete(&[NEXT]), delete(&[NEXT])]),
        (&bases.begun, vec![Act::Compact, delete(&[2, NEXT])]),
        (&bases.copied, vec![Act::Compact, delete(&[NEXT]), Act::Compact]),
        (&bases.copied, vec![Act::Compact, delete(&[1, 2, 3, NEXT])]),
        (&bases.claimed, vec![Act::Compact, delete(&[NEXT])]),
        (&bases.partly, vec![Act::Compact, delete(&[NEXT]), Act::Compact]),
        (&bases.whole, vec![Act::Compact, delete(&[2]), Act::Compact]),
        (&bases.whole, vec![Act::Compact, delete(&[3])]),
        (&bases.whole, vec![Act::Compact, Act::Compact]),
        (&bases.open, vec![Act::Compact, delete(&[NEXT]), late.clone()]),
        (&bases.open, vec![Act::Compact, late]),
    ]
}

fn seeded(seed: u64, forgetful: bool) -> Play {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut scenes = scenes();
    let (base, acts) = scenes.swap_remove(random.below(scenes.len()));
    let actors = acts.len();
    let death = (random.below(2) == 0).then(|| Death {
        actor: random.below(actors),
        request: random.below(120),
        carried_out: random.below(2) == 0,
    });
    let order = if random.below(4) == 0 {
        Order::Any(Random(seed))
    } else {
        let mut ranks: Vec<usize> = (0..actors).collect();
        (0..actors).for_each(|place| ranks.swap(place, random.below(actors)));
        Order::Ranked { ranks, changes: (0..=random.below(4)).map(|_| random.below(250)).collect() }
    };
    Play { base, acts, order, death, forgetful, seed }
}

/// The race of old: a deletion that has looked, then a whole compaction, then the tombstone. Every way in which
/// one of the two interrupts the other once.
fn interrupted_once(forgetful: bool) -> (usize, Vec<String>) {
    let base = &Bases::get().begun;
    let acts = || vec![Act::Compact, Act::Delete(vec![NEXT])];
    let runtime = runtime();
    let (mut num_plays, mut failures) = (0, Vec::new());
    for first in [0, 1] {
        for steps in 0.. {
            let stretches = VecDeque::from([(first, steps), (1 - first, usize::MAX), (first, usize::MAX)]);
            let order = Order::Stretches(stretches);
            let (num_requests, failed) = runtime.block_on(async {
                let played = Play { base, acts: acts(), order, death: None, forgetful, seed: 0 }.run().await;
                let mut failed = played.check(base, &acts()).await;
                if failed.is_ok() && !forgetful {
                    failed = played.recover(base, &acts()).await;
                }
                (played.requests[first], failed)
            });
            num_plays += 1;
            failures.extend(failed.err().map(|what| format!("{first} for {steps} steps: {what}")));
            if steps > num_requests {
                break;
            }
        }
    }
    (num_plays, failures)
}

#[test]
fn a_deletion_and_a_compaction_that_interrupt_each_other_lose_nothing() {
    let (num_plays, failures) = interrupted_once(false);
    assert!(failures.is_empty(), "of {num_plays}: {failures:#?}");
    assert!(num_plays > 60, "{num_plays} plays");
}

/// The same without decisions, as it was: the simulation finds what it is for.
#[test]
fn without_decisions_the_race_loses_all_rows() {
    let (num_plays, failures) = interrupted_once(true);
    println!("{} of {num_plays} plays lose rows: {:?}", failures.len(), failures.first());
    assert!(failures.iter().any(|what| what.contains("6 tiles are lost where 0 may be")), "{failures:?}");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// A seed is all that a play depends on: the same requests in the same order, and the same bytes in the end.
#[test]
fn a_seed_plays_the_same_each_time() {
    let runtime = runtime();
    let play = |seed| {
        let play = seeded(seed, false);
        runtime.block_on(async {
            let played = play.run().await;
            (played.trace, Seen::of(&played.store).await.objects)
        })
    };
    for seed in 0..60 {
        let (first, second) = (play(seed), play(seed));
        assert_eq!(first.0, second.0, "seed {seed}");
        assert!(first.1 == second.1, "seed {seed}: objects differ");
    }
    assert!(play(0).0.len() > 20, "{:?}", play(0).0);
}

/// `TILEFLEET_SEEDS` plays more of them, `TILEFLEET_SEED` plays one and shows what was asked of the store.
#[test]
fn whoever_is_killed_whenever_no_row_is_lost() {
    let (only, seeds) = (number("TILEFLEET_SEED"), number("TILEFLEET_SEEDS").unwrap_or(400));
    let runtime = runtime();
    let mut num_killed = 0;
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let play = seeded(seed, false);
        let (base, acts) = (play.base, play.acts.clone());
        let what = format!("seed {seed}: {:?}, {:?}", play.death, acts);
        num_killed += u64::from(play.death.is_some());
        runtime.block_on(async {
            let played = play.run().await;
            if only.is_some() {
                println!("{}", played.trace.join("\n"));
            }
            let checked = played.check(base, &acts).await;
            assert_eq!(checked, Ok(()), "{what}, ended {:?}", played.ended);
            let recovered = played.recover(base, &acts).await;
            assert_eq!(recovered, Ok(()), "{what}, ended {:?}", played.ended);
        });
    }
    println!("{seeds} plays, {num_killed} with a death planned");
}
