//! Many workers on one plan, each with a device that sleeps: what coordination costs.
//!
//! `fleet --pipeline FILE --workers N [--seconds S] [--leavers N] [--set key=value]…`: N workers of one process, each with
//! threads of its own, begin with their shares, or drain the queue if `queue.url` is set; each shard is one batch that takes S
//! seconds on its device. So many leavers are told to go when a third of the run is committed. Prints the commits as a share of
//! the ideal, workers ÷ seconds of a shard, from the first commit to the last, and requests per shard where a proxy counts them
//! (`benches/fleet.py`).

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tilefleet::config::{Overrides, Pipeline, Queue};
use tilefleet::input::storage::Storage;
use tilefleet::observe::Progress;
use tilefleet::output::{Run, Scope};
use tilefleet::runtime::Failure;
use tilefleet::stages::infer::{BatchRunner, Device, InputBatch, Outputs, SessionSlot};
use tilefleet::stages::pipeline::Stop;
use tilefleet::stages::work::queue::{Nats, QueueShards};
use tilefleet::stages::work::{Share, WorkSource};
use tilefleet::stages::worker::{Inference, Job, OpenWork, Sessions};
use tilefleet::vocabulary::contract::Contract;
use tilefleet::vocabulary::error::{Error, Kind, Result};
use tilefleet::vocabulary::process::Process;
use tilefleet::vocabulary::provider::Provider;

struct Asked {
    pipeline: PathBuf,
    workers: u32,
    seconds: f64,
    leavers: u32,
    set: Vec<String>,
}

impl Asked {
    /// Reads the command line; `None` without one, as when cargo runs all benches.
    fn read() -> Option<Self> {
        let mut asked =
            Self { pipeline: PathBuf::new(), workers: 0, seconds: 2.0, leavers: 0, set: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--pipeline" => asked.pipeline = words.next()?.into(),
                "--workers" => asked.workers = words.next()?.parse().ok()?,
                "--seconds" => asked.seconds = words.next()?.parse().ok()?,
                "--leavers" => asked.leavers = words.next()?.parse().ok()?,
                "--set" => asked.set.push(words.next()?),
                _ => {}
            }
        }
        (asked.workers > 0).then_some(asked)
    }
}

/// A device that knows nothing, and takes its time.
struct Sleeper {
    contract: Contract,
    takes: Duration,
}

impl BatchRunner for Sleeper {
    fn static_batch(&self) -> Option<usize> {
        None
    }

    fn new_batch(&self, capacity: NonZeroUsize) -> Result<InputBatch> {
        Ok(InputBatch::new(&self.contract.input, capacity))
    }

    fn run(&mut self, batch: &InputBatch) -> Result<Outputs, Failure> {
        std::thread::sleep(self.takes);
        let output = &self.contract.output;
        let zeros = |length: usize| vec![0.5; batch.len() * length];
        let logits = output.classifier.as_ref().map(|classifier| zeros(classifier.num_classes));
        Ok(Outputs::new(zeros(output.embedding_length), logits, batch.len()))
    }

    fn shrink(&mut self, _: NonZeroUsize) -> Result<()> {
        Err(Error::bug("nobody runs out of memory here"))
    }
}

fn main() {
    let Some(asked) = Asked::read() else {
        println!("SKIPPED: fleet needs --pipeline FILE and --workers N; benches/fleet.py passes them");
        return;
    };
    if let Err(error) = measure(&Arc::new(asked)) {
        eprintln!("{}", error.render());
        std::process::exit(error.kind().exit_code().into());
    }
}

fn measure(asked: &Arc<Asked>) -> Result<()> {
    let first = alone(open(asked, 0))?;
    alone(fill(&first))?;
    let leave = Stop::default();
    let worker = |index| {
        let (asked, leave) = (asked.clone(), leave.clone());
        let stop = if index < asked.leavers { leave } else { Stop::default() };
        std::thread::spawn(move || alone(work(asked, index, stop)))
    };
    let workers: Vec<_> = (0..asked.workers).map(worker).collect();
    if asked.leavers > 0 {
        alone(await_a_third(&first))?;
        leave.request(Kind::Drained);
    }
    for worker in workers {
        let ended = worker.join().map_err(|_| Error::bug("a worker crashed"))?;
        ended.or_else(|error| if error.kind() == Kind::Drained { Ok(()) } else { Err(error) })?;
    }
    alone(say(asked, &first))
}

/// Publishes the plan, or its shards.
async fn fill(job: &Job) -> Result<()> {
    match &job.pipeline().queue {
        Some(queue) => {
            let queue = Nats::connect(queue, &job.output().uri.to_string(), &job.series()).await?;
            job.submit(&queue).await.map(|_| ())
        }
        None => job.plan().await.map(|_| ()),
    }
}

async fn await_a_third(job: &Job) -> Result<()> {
    let run = run_of(job).await?;
    while 3 * run.committed().await?.shards.len() < run.num_shards() as usize {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Takes shards from the queue of the pipeline, until the run is complete.
fn from_queue(queue: Queue, output: String, series: String) -> OpenWork {
    Arc::new(move |run| {
        let (queue, output, series) = (queue.clone(), output.clone(), series.clone());
        Box::pin(async move {
            let broker = Arc::new(Nats::connect(&queue, &output, &series).await?);
            let shards = QueueShards::of(broker, run, None, Duration::MAX).await?;
            Ok(Arc::new(shards) as Arc<dyn WorkSource>)
        })
    })
}

/// Runs a future as a process of its own would.
fn alone<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| Error::unavailable("cannot start a thread").because(error))?.block_on(future)
}

async fn open(asked: &Asked, index: u32) -> Result<Job> {
    let overrides = Overrides { set: asked.set.clone(), ..Overrides::default() };
    let loaded = Pipeline::load(Some(&asked.pipeline), &overrides)?;
    let storage = Storage::new(loaded.pipeline.storage.clone())?;
    let share = Share::new(index, asked.workers).expect("it is below");
    let job = Job::open_as(Process::real(), storage, &loaded).await?;
    Ok(match job.pipeline().queue.clone() {
        Some(queue) => {
            let (output, series) = (job.output().uri.to_string(), job.series());
            job.taking_work_from(from_queue(queue, output, series))
        }
        None => job.sharing(share, None),
    })
}

async fn work(asked: Arc<Asked>, index: u32, stop: Stop) -> Result<()> {
    let job = open(&asked, index).await?;
    let batch = job.pipeline().plan.shard_tiles.expect("the pipeline says how many tiles a batch has");
    let takes = Duration::from_secs_f64(asked.seconds);
    let runner = Box::new(Sleeper { contract: job.model().contract.clone(), takes });
    let device = Device::new(format!("sleeper:{index}"), batch);
    let inference = Inference {
        provider: Provider::Cpu,
        devices: vec![device.name().to_owned()],
        sessions: 1,
        threads: 1,
        spinning: false,
        batch: batch.get(),
        measured: Vec::new(),
    };
    let sessions = Sessions { slots: vec![SessionSlot { runner, device }], inference };
    Box::pin(job.run_in(sessions, Arc::new(Progress::default()), stop)).await.map(|_| ())
}

async fn say(asked: &Asked, job: &Job) -> Result<()> {
    let run = run_of(job).await?;
    let moments: Vec<SystemTime> =
        run.committed().await?.shards.iter().map(|shard| shard.committed_at).collect();
    let (first, last) = (moments.iter().min(), moments.iter().max());
    let took = first.zip(last).and_then(|(first, last)| last.duration_since(*first).ok()).unwrap_or_default();
    let ideal = f64::from(asked.workers) / asked.seconds;
    // The first of each worker come at once.
    let later = moments.len() as f64 - f64::from(asked.workers);
    let share = later / took.as_secs_f64() / ideal;
    println!(
        "{{\"workers\": {}, \"shards\": {}, \"seconds\": {:.2}, \"share_of_ideal\": {share:.4}}}",
        asked.workers,
        moments.len(),
        took.as_secs_f64()
    );
    Ok(())
}

async fn run_of(job: &Job) -> Result<Run> {
    let snapshot = job.output().snapshot(Scope::All).await?;
    let id = snapshot.runs.first().map(|standing| standing.run.id().clone());
    let missing = || Error::bug("there is no run");
    Run::open(job.output(), &id.ok_or_else(missing)?).await?.ok_or_else(missing)
}
