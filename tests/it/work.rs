//! Where work comes from: the contract that each source of work passes, and a queue through the real pipeline.
//!
//! The broker is one that the tests have made up: its leases expire by a clock, and it delivers again what it was not
//! told to be done. Real brokers are in `queue.rs`, shares through the real pipeline in `shares.rs`.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use tilefleet::config;
use tilefleet::output::Run;
use tilefleet::stages::work::queue::{Broker, Nats, QueueShards, submit};
use tilefleet::stages::work::{Backlog, Lease, Next, OpenShards, PutBack, Share, ShareFirst, WorkSource};
use tilefleet::stages::worker::{Job as Worker, OpenWork};
use tilefleet::vocabulary::error::{Kind, Result};
use tilefleet::vocabulary::process::Process;
use tilefleet::vocabulary::time::{Clock, SystemClock};

use crate::devices::{Attempt, Habits, attempt_by, open_worker};
use crate::fixture::{Job, assert_exit, rows, wait_until};
use crate::simulated::{Gate, loaded};
use crate::support;
use crate::support::broker::FakeBroker;
use crate::support::clock::ManualClock;
use crate::support::nats_server::NatsServer;

const NUM_SHARDS: u32 = 6;
const LEASE: Duration = Duration::from_mins(1);

// ---------------------------------------------------------------------------------------------------------------
// The contract

/// A planned run of six shards that nobody has worked on.
struct World {
    run: Arc<Run>,
    time: Time,
    store: Arc<InMemory>,
    store_is_broken: Arc<AtomicBool>,
}

/// The time that passes.
#[derive(Clone)]
enum Time {
    /// When the test says so.
    Manual(Arc<ManualClock>),
    /// As it does; real brokers have no other.
    Real,
}

impl Time {
    fn manual() -> Self {
        Self::Manual(Arc::default())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Manual(clock) => clock.clone(),
            Self::Real => Arc::new(SystemClock),
        }
    }

    async fn pass(&self, time: Duration) {
        match self {
            Self::Manual(clock) => clock.advance(time),
            Self::Real => tokio::time::sleep(time).await,
        }
    }

    /// How long a lease of a queue stands.
    fn lease(&self) -> Duration {
        match self {
            Self::Manual(_) => LEASE,
            Self::Real => Duration::from_secs(15),
        }
    }

    /// Without work for so long a worker of a queue ends: longer than a shard is put back for.
    fn idle(&self) -> Duration {
        self.lease() + Duration::from_secs(2)
    }
}

impl World {
    async fn new(time: Time) -> Self {
        static PLANNED: OnceLock<Job> = OnceLock::new();
        let job = PLANNED.get_or_init(|| {
            let job = Job::new(NUM_SHARDS as usize, "[plan]\nshard_tiles = 1");
            assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
            job
        });
        let base = loaded(&job.table()).await;
        let store = Arc::new(base.store);
        let gate = Gate::open(&store);
        let store_is_broken = gate.broken.clone();
        let output = gate.output(Process::new(time.clock(), "worker", 0));
        let run = Arc::new(Run::open(&output, &base.family).await.unwrap().unwrap());
        assert_eq!(run.num_shards(), NUM_SHARDS);
        Self { run, time, store, store_is_broken }
    }

    /// Another worker commits a shard.
    async fn commit(&self, shard: u32) {
        self.store.put(&Path::from(self.run.shard_key(shard)), "rows".into()).await.unwrap();
    }

    /// Takes leases until there is none to be had.
    async fn take(&self, work: &dyn WorkSource) -> Vec<Lease> {
        let mut leases = Vec::new();
        for _ in 0..100 {
            match work.next().await.unwrap() {
                Next::Shard(lease) => leases.push(lease),
                Next::Elsewhere(_) => {}
                Next::Wait(_) | Next::Done => return leases,
            }
        }
        panic!("there is no end: {leases:?}");
    }

    /// Commits all that is left, whatever waiting that takes; returns which shards they were, in order.
    async fn finish(&self, work: &dyn WorkSource) -> Vec<u32> {
        let mut shards = Vec::new();
        for _ in 0..100 {
            match work.next().await.unwrap() {
                Next::Shard(lease) => {
                    self.commit(lease.shard).await;
                    work.done(&lease).await.unwrap();
                    shards.push(lease.shard);
                }
                Next::Elsewhere(_) => {}
                Next::Wait(time) => self.time.pass(time).await,
                Next::Done => return shards,
            }
        }
        panic!("there is no end: {shards:?}");
    }
}

fn sorted(mut shards: Vec<u32>) -> Vec<u32> {
    shards.sort_unstable();
    shards
}

fn shards_of(leases: &[Lease]) -> Vec<u32> {
    sorted(leases.iter().map(|lease| lease.shard).collect())
}

fn all() -> Vec<u32> {
    (0..NUM_SHARDS).collect()
}

fn is_lost(result: Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == Kind::LeaseLost)
}

async fn each_shard_is_handed_out_once_and_then_all_is_done(world: &World, work: &dyn WorkSource) {
    assert_eq!(work.backlog().tiles, u64::from(NUM_SHARDS));
    assert!(work.backlog().first.is_some_and(|first| first < NUM_SHARDS));
    assert_eq!(sorted(world.finish(work).await), all());
    assert_eq!(work.next().await.unwrap(), Next::Done, "and it stays so");
}

async fn no_shard_is_leased_twice_at_a_time(world: &World, work: &dyn WorkSource) {
    let (first, second) = futures::join!(world.take(work), world.take(work));
    let leases: Vec<Lease> = first.into_iter().chain(second).collect();
    assert_eq!(shards_of(&leases), all());
    let ids: BTreeSet<u64> = leases.iter().map(|lease| lease.id).collect();
    assert_eq!(ids.len(), leases.len());
    assert!(matches!(work.next().await.unwrap(), Next::Wait(time) if time > Duration::ZERO));
    for lease in &leases {
        work.renew(lease).await.unwrap();
    }
}

async fn what_is_put_back_is_handed_out_again(world: &World, work: &dyn WorkSource) {
    let leases = world.take(work).await;
    work.put_back(&leases[0], PutBack::Now).await.unwrap();
    work.put_back(&leases[1], PutBack::Later).await.unwrap();
    let Next::Shard(again) = work.next().await.unwrap() else { panic!("it may be had at once") };
    assert_eq!(again.shard, leases[0].shard);
    assert!(is_lost(work.done(&leases[0]).await), "the first lease has ended");
    for lease in leases[2..].iter().chain([&again]) {
        world.commit(lease.shard).await;
        work.done(lease).await.unwrap();
    }
    assert_eq!(world.finish(work).await, [leases[1].shard]);
}

async fn what_is_left_open_is_not_handed_out_to_the_same_worker(world: &World, work: &dyn WorkSource) {
    let Next::Shard(left) = work.next().await.unwrap() else { panic!("six are open") };
    work.put_back(&left, PutBack::LeftOpen).await.unwrap();
    let finished = world.finish(work).await;
    assert_eq!(finished.len(), NUM_SHARDS as usize - 1);
    assert!(!finished.contains(&left.shard));
}

async fn done_is_final(world: &World, work: &dyn WorkSource) {
    let leases = world.take(work).await;
    for lease in &leases {
        world.commit(lease.shard).await;
        work.done(lease).await.unwrap();
        assert!(is_lost(work.done(lease).await));
        assert!(is_lost(work.renew(lease).await));
        assert!(is_lost(work.put_back(lease, PutBack::Now).await));
    }
    world.time.pass(world.time.lease() * 2).await;
    assert_eq!(work.next().await.unwrap(), Next::Done);
}

async fn what_others_commit_is_not_handed_out(world: &World, work: &dyn WorkSource) {
    world.commit(1).await;
    world.commit(4).await;
    let mut elsewhere = Vec::new();
    let mut leases = Vec::new();
    loop {
        match work.next().await.unwrap() {
            Next::Shard(lease) => leases.push(lease),
            Next::Elsewhere(shard) => elsewhere.push(shard),
            Next::Wait(_) | Next::Done => break,
        }
    }
    assert_eq!((sorted(elsewhere), shards_of(&leases)), (vec![1, 4], vec![0, 2, 3, 5]));
}

async fn an_error_of_the_store_is_passed_on_and_loses_no_shard(world: &World, work: &dyn WorkSource) {
    world.store_is_broken.store(true, Ordering::Relaxed);
    assert!(work.next().await.is_err());
    assert!(work.next().await.is_err(), "it is asked each time");
    world.store_is_broken.store(false, Ordering::Relaxed);
    assert_eq!(sorted(world.finish(work).await), all());
}

async fn an_expired_lease_is_handed_out_again(world: &World, work: &dyn WorkSource) {
    let leases = world.take(work).await;
    let every = leases[0].renew_every.unwrap();
    world.time.pass(every).await;
    work.renew(&leases[0]).await.unwrap();
    world.time.pass(world.time.lease().saturating_sub(every)).await;
    let again = world.take(work).await;
    assert_eq!(again.len(), NUM_SHARDS as usize - 1, "one was renewed");
    assert!(!shards_of(&again).contains(&leases[0].shard));
    for lease in &leases[1..] {
        assert!(is_lost(work.renew(lease).await));
        assert!(is_lost(work.done(lease).await));
        assert!(is_lost(work.put_back(lease, PutBack::Now).await));
    }
    for lease in again.iter().chain(&leases[..1]) {
        world.commit(lease.shard).await;
        work.done(lease).await.unwrap();
    }
    assert_eq!(world.finish(work).await, Vec::<u32>::new());
}

/// A lease that does not expire may be lost all the same: whoever holds it need not go on.
async fn a_shard_that_another_worker_commits_is_lost(world: &World, work: &dyn WorkSource) {
    let leases = world.take(work).await;
    world.commit(leases[0].shard).await;
    assert!(is_lost(work.renew(&leases[0]).await));
    assert!(is_lost(work.done(&leases[0]).await));
    assert_eq!(work.next().await.unwrap(), Next::Elsewhere(leases[0].shard), "it is told once");
    assert!(matches!(work.next().await.unwrap(), Next::Wait(_)));
    for lease in &leases[1..] {
        work.renew(lease).await.unwrap();
    }
}

/// What is committed before the source is made is no part of its work.
macro_rules! contract {
    ($name:ident, $time:expr, $open:expr, [$($fact:ident),* $(,)?]) => {
        mod $name {
            use super::*;

            fn play(
                committed: &[u32],
                check: impl AsyncFnOnce(&World, &dyn WorkSource),
            ) {
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                    let world = World::new($time).await;
                    for shard in committed {
                        world.commit(*shard).await;
                    }
                    let open: fn(&World) -> BoxFuture<'_, Option<Opened>> = $open;
                    let Some(opened) = open(&world).await else { return };
                    check(&world, &*opened.work).await;
                });
            }

            $(
                #[test]
                fn $fact() {
                    play(&[], super::$fact);
                }
            )*

            #[test]
            fn what_is_committed_at_first_is_no_work() {
                play(&[0, 3], async |world, work| {
                    assert_eq!(work.backlog().tiles, 4);
                    assert_eq!(sorted(world.finish(work).await), [1, 2, 4, 5]);
                });
                play(&all(), async |_, work| {
                    assert_eq!(work.backlog(), Backlog::default());
                    assert_eq!(work.next().await.unwrap(), Next::Done);
                });
            }
        }
    };
}

/// A source of work, and the server that it needs.
struct Opened {
    work: Arc<dyn WorkSource>,
    _server: Option<NatsServer>,
}

impl Opened {
    fn new(work: impl WorkSource + 'static) -> Self {
        Self { work: Arc::new(work), _server: None }
    }
}

macro_rules! contract_of {
    ($name:ident, $time:expr, $open:expr $(, $more:ident)*) => {
        contract!(
            $name,
            $time,
            $open,
            [
                each_shard_is_handed_out_once_and_then_all_is_done,
                no_shard_is_leased_twice_at_a_time,
                what_is_put_back_is_handed_out_again,
                what_is_left_open_is_not_handed_out_to_the_same_worker,
                done_is_final,
                what_others_commit_is_not_handed_out,
                an_error_of_the_store_is_passed_on_and_loses_no_shard,
                $($more,)*
            ]
        );
    };
}

contract_of!(local, Time::manual(), |world| {
    async { Some(Opened::new(OpenShards::of(world.run.clone(), 0.4).await.unwrap())) }.boxed()
});

async fn share_of(world: &World, share: &str) -> Option<Opened> {
    let share: Share = share.parse().unwrap();
    Some(Opened::new(ShareFirst::of(world.run.clone(), share).await.unwrap()))
}

contract_of!(
    share,
    Time::manual(),
    |world| share_of(world, "1/3").boxed(),
    a_shard_that_another_worker_commits_is_lost
);

// Six shards, eight workers.
contract_of!(
    share_without_shards,
    Time::manual(),
    |world| share_of(world, "0/8").boxed(),
    a_shard_that_another_worker_commits_is_lost
);

/// Fills a queue with what is open, and takes shards from it.
async fn queued(run: Arc<Run>, end: impl Broker + 'static, idle: Duration) -> Result<QueueShards> {
    submit(&end, &run).await?;
    QueueShards::of(Arc::new(end), run, None, idle).await
}

contract_of!(
    queue,
    Time::manual(),
    |world| {
        async {
            let Time::Manual(clock) = &world.time else { panic!("this broker has the time of the test") };
            let broker = FakeBroker::new(clock.clone(), world.time.lease());
            Some(Opened::new(queued(world.run.clone(), broker.end(), world.time.idle()).await.unwrap()))
        }
        .boxed()
    },
    an_expired_lease_is_handed_out_again,
    a_shard_that_another_worker_commits_is_lost
);

contract_of!(
    queue_in_nats,
    Time::Real,
    |world| {
        async {
            let program = support::project().join(".venv/bin/nats-server");
            if !program.is_file() {
                return support::skip("no .venv/bin/nats-server: run scripts/test-env");
            }
            let server = NatsServer::start(program);
            let options = config::Queue {
                servers: vec![server.url()],
                name: "shards".to_owned(),
                credentials: None,
                lease: world.time.lease(),
                idle: world.time.idle(),
                replicas: NonZeroUsize::MIN,
            };
            let nats = Nats::connect(&options, "a table", "photos-00000000").await.unwrap();
            let work = queued(world.run.clone(), nats, world.time.idle()).await.unwrap();
            Some(Opened { work: Arc::new(work), _server: Some(server) })
        }
        .boxed()
    },
    an_expired_lease_is_handed_out_again,
    a_shard_that_another_worker_commits_is_lost
);

// ---------------------------------------------------------------------------------------------------------------
// The queue through the real pipeline

const NUM_IMAGES: usize = 32;

/// What two workers have in common.
struct Shared {
    broker: Arc<FakeBroker<ManualClock>>,
    /// Whether workers renew their leases; one that is stopped for long does not.
    renews: bool,
    num_lost: AtomicUsize,
}

impl Shared {
    fn new(lease: Duration, renews: bool) -> Arc<Self> {
        Arc::new(Self {
            broker: FakeBroker::new(Arc::default(), lease),
            renews,
            num_lost: AtomicUsize::new(0),
        })
    }

    fn note(&self, ended: &Result<()>) {
        let is_lost = ended.as_ref().is_err_and(|error| error.kind() == Kind::LeaseLost);
        self.num_lost.fetch_add(usize::from(is_lost), Ordering::Relaxed);
    }
}

/// Counts the leases that are lost.
struct Observed {
    inner: QueueShards,
    shared: Arc<Shared>,
}

impl WorkSource for Observed {
    fn backlog(&self) -> Backlog {
        self.inner.backlog()
    }

    fn next(&self) -> BoxFuture<'_, Result<Next>> {
        let renewing =
            |lease: Lease| Lease { renew_every: lease.renew_every.filter(|_| self.shared.renews), ..lease };
        async move {
            Ok(match self.inner.next().await? {
                Next::Shard(lease) => Next::Shard(renewing(lease)),
                next => next,
            })
        }
        .boxed()
    }

    fn renew<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        self.inner.renew(lease).inspect(|ended| self.shared.note(ended)).boxed()
    }

    fn done<'a>(&'a self, lease: &'a Lease) -> BoxFuture<'a, Result<()>> {
        self.inner.done(lease).inspect(|ended| self.shared.note(ended)).boxed()
    }

    fn put_back<'a>(&'a self, lease: &'a Lease, how: PutBack) -> BoxFuture<'a, Result<()>> {
        self.inner.put_back(lease, how)
    }
}

fn working_from(shared: &Arc<Shared>, job: &Job) -> Worker {
    static NUM_WORKERS: AtomicUsize = AtomicUsize::new(0);
    let shared = shared.clone();
    let name = format!("worker-{}", NUM_WORKERS.fetch_add(1, Ordering::Relaxed));
    let process = Process::new(shared.broker.clock.clone(), name, 0);
    let work: OpenWork = Arc::new(move |run| {
        let shared = shared.clone();
        async move {
            let inner = queued(run, shared.broker.end(), LEASE).await?;
            Ok(Arc::new(Observed { inner, shared }) as Arc<dyn WorkSource>)
        }
        .boxed()
    });
    open_worker(job, process).taking_work_from(work)
}

/// One worker takes all shards and is stuck in the first batch while their leases expire; the other works on all of
/// them meanwhile.
fn stuck_while_leases_expire(renews: bool) -> (Job, Arc<Shared>, Attempt, Attempt) {
    let job = Arc::new(Job::new(NUM_IMAGES, "[plan]\nshard_tiles = 4"));
    let queue = Shared::new(LEASE, renews);
    let other = Arc::new(OnceLock::new());
    let meanwhile = {
        let (job, queue, other) = (job.clone(), queue.clone(), other.clone());
        move || {
            other.get_or_init(|| {
                let shards = NUM_IMAGES / 4;
                let taken = || queue.broker.num_deliveries.load(Ordering::Relaxed) == shards;
                wait_until("the first worker holds all shards", taken);
                queue.broker.cuts_off_first.store(true, Ordering::Relaxed);
                queue.broker.clock.advance(LEASE);
                let lost = || !renews || queue.num_lost.load(Ordering::Relaxed) == shards;
                wait_until("it knows that its leases are lost", lost);
                let second = attempt_by(working_from(&queue, &job), 4, &[&[Habits::default()]]);
                queue.broker.cuts_off_first.store(false, Ordering::Relaxed);
                Mutex::new(Some(second))
            });
        }
    };
    let stuck = Habits { before: Some(Arc::new(meanwhile)), ..Habits::default() };
    let first = attempt_by(working_from(&queue, &job), 4, &[&[stuck]]);
    let second = other.get().unwrap().lock().unwrap().take().unwrap();
    drop(other);
    (Arc::into_inner(job).unwrap_or_else(|| panic!("nobody else has it")), queue, first, second)
}

fn each_image_has_one_row(job: &Job) {
    job.verify_ok();
    let files: BTreeSet<String> = rows(&job.table()).iter().map(|row| row.file().to_owned()).collect();
    assert_eq!((files.len(), rows(&job.table()).len()), (NUM_IMAGES, NUM_IMAGES));
}

/// The worker drops what it has begun, and ends well: the run is complete.
#[test]
fn a_lease_lost_in_mid_shard_loses_and_doubles_no_row() {
    let (job, queue, first, second) = stuck_while_leases_expire(true);
    each_image_has_one_row(&job);
    let (first, second) = (first.result.unwrap(), second.result.unwrap());
    let shards = |report: &tilefleet::stages::worker::Report| {
        (report.this_process.shards_ours, report.this_process.shards_theirs)
    };
    assert_eq!((shards(&first), shards(&second)), ((0, 0), (8, 0)));
    assert_eq!(queue.num_lost.load(Ordering::Relaxed), 8);
    assert_eq!(first.this_process.settled, 0, "what it had computed is taken back");
    assert_eq!(first.summary.unwrap().counts.ok, NUM_IMAGES as u64);
}

/// A worker that was stopped for long does not know that it has lost its leases: it commits all the same, second.
#[test]
fn a_worker_that_wakes_up_late_doubles_no_row() {
    let (job, queue, first, second) = stuck_while_leases_expire(false);
    each_image_has_one_row(&job);
    let (first, second) = (first.result.unwrap(), second.result.unwrap());
    assert_eq!((first.this_process.shards_ours, first.this_process.shards_theirs), (0, 8));
    assert_eq!((second.this_process.shards_ours, second.this_process.shards_theirs), (8, 0));
    assert_eq!(queue.num_lost.load(Ordering::Relaxed), 8, "each is told when it is done");
}

/// Leases that expire at once: whatever is open is delivered to both workers, again and again.
#[test]
fn a_queue_that_delivers_all_of_it_again_doubles_no_row() {
    let job = Job::new(NUM_IMAGES, "[plan]\nshard_tiles = 4");
    let queue = Shared::new(Duration::ZERO, false);
    let slow = || Habits { takes: Duration::from_millis(2), ..Habits::default() };
    let work = || attempt_by(working_from(&queue, &job), 4, &[&[slow()]]).result.unwrap();
    let ended = AtomicBool::new(false);
    let reports = std::thread::scope(|scope| {
        // Who did not commit last waits for the summary.
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                queue.broker.clock.advance(Duration::from_millis(100));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let both = [scope.spawn(work), scope.spawn(work)];
        let reports = both.map(std::thread::ScopedJoinHandle::join);
        ended.store(true, Ordering::Relaxed);
        reports.map(|report| report.unwrap())
    });
    each_image_has_one_row(&job);
    let ours: u64 = reports.iter().map(|report| report.this_process.shards_ours).sum();
    let theirs: u64 = reports.iter().map(|report| report.this_process.shards_theirs).sum();
    assert_eq!(ours, 8);
    assert!(theirs > 0, "nothing was delivered twice");
}
