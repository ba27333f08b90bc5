//! Devices that nobody has: slow ones, small ones, lost ones. Whatever they do, every tile has one row.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tilefleet::config::{Overrides, Pipeline};
use tilefleet::input::storage::Storage;
use tilefleet::observe::Progress;
use tilefleet::runtime::Failure;
use tilefleet::stages::infer::{BatchRunner, Device, InputBatch, Outputs, Samples, SessionSlot};
use tilefleet::stages::pipeline::Stop;
use tilefleet::stages::worker::{Inference, Job as Worker, Report, Sessions};
use tilefleet::vocabulary::contract::Contract;
use tilefleet::vocabulary::error::{Error, Kind, Result};
use tilefleet::vocabulary::process::Process;
use tilefleet::vocabulary::provider::Provider;

use crate::fixture::{Job, Row, rows};
use crate::support::s3_server::block_on;

const NUM_IMAGES: usize = 40;

/// What a device does to its batches.
#[derive(Clone)]
pub struct Habits {
    /// The largest batch that fits.
    pub memory: usize,
    /// How long a batch takes.
    pub takes: Duration,
    /// After so many batches it is lost.
    pub lost_after: usize,
    /// Happens before each batch.
    pub before: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Default for Habits {
    fn default() -> Self {
        Self { memory: usize::MAX, takes: Duration::ZERO, lost_after: usize::MAX, before: None }
    }
}

/// A device whose "embedding" is the mean of the chip's samples, repeated.
struct FakeDevice {
    contract: Contract,
    habits: Habits,
    /// The batch that it was made ready for.
    ready_for: usize,
    batches: usize,
    chips: Arc<AtomicUsize>,
    capacities: Arc<Mutex<Vec<usize>>>,
}

impl BatchRunner for FakeDevice {
    fn static_batch(&self) -> Option<usize> {
        None
    }

    fn new_batch(&self, capacity: NonZeroUsize) -> Result<InputBatch> {
        Ok(InputBatch::new(&self.contract.input, capacity))
    }

    fn run(&mut self, batch: &InputBatch) -> Result<Outputs, Failure> {
        assert_eq!(batch.capacity(), self.ready_for, "a batch for which nobody prepared");
        self.batches += 1;
        if let Some(before) = &self.habits.before {
            before();
        }
        if self.batches > self.habits.lost_after {
            return Err(Failure::Other(Error::unavailable("the device is lost").because("CUDA failure 719")));
        }
        if batch.capacity() > self.habits.memory {
            return Err(Failure::OutOfMemory(
                Error::unavailable("the model failed").because("out of memory"),
            ));
        }
        std::thread::sleep(self.habits.takes);
        self.chips.fetch_add(batch.len(), Ordering::Relaxed);
        self.capacities.lock().unwrap().push(batch.capacity());
        let means = means(batch);
        let repeated = |length: usize| means.iter().flat_map(|mean| vec![*mean; length]).collect();
        let output = &self.contract.output;
        let logits = output.classifier.as_ref().map(|classifier| repeated(classifier.num_classes));
        Ok(Outputs::new(repeated(output.embedding_length), logits, batch.len()))
    }

    fn shrink(&mut self, capacity: NonZeroUsize) -> Result<()> {
        self.ready_for = capacity.get();
        Ok(())
    }
}

fn means(batch: &InputBatch) -> Vec<f32> {
    let samples: Vec<f32> = match batch.samples() {
        Samples::U8(samples) => samples.iter().map(|sample| f32::from(*sample)).collect(),
        Samples::F32(samples) => samples.to_vec(),
    };
    let chips = samples.chunks_exact(batch.chip_len()).take(batch.len());
    chips.map(|chip| chip.iter().sum::<f32>() / chip.len() as f32).collect()
}

/// One run on made-up devices.
pub struct Attempt {
    pub result: Result<Report>,
    devices: Vec<Arc<Device>>,
    /// Chips of each lane.
    chips: Vec<usize>,
    /// Sizes of all batches that ran.
    capacities: Vec<usize>,
}

/// Runs a job; `devices` are each device's habits, one for each of its sessions.
fn attempt(job: &Job, batch: usize, devices: &[&[Habits]]) -> Attempt {
    attempt_by(open_worker(job, Process::real()), batch, devices)
}

/// A worker on a job, for a process of the caller's.
pub fn open_worker(job: &Job, process: Arc<Process>) -> Worker {
    let loaded = Pipeline::load(Some(&job.pipeline), &Overrides::default()).unwrap();
    let storage = Storage::new(loaded.pipeline.storage.clone()).unwrap();
    block_on(Worker::open_as(process, storage, &loaded)).unwrap()
}

/// As [`attempt`], by a worker that was opened before.
pub fn attempt_by(worker: Worker, batch: usize, devices: &[&[Habits]]) -> Attempt {
    let size = NonZeroUsize::new(batch).unwrap();
    let (mut slots, mut shared, mut counters) = (Vec::new(), Vec::new(), Vec::new());
    let capacities = Arc::new(Mutex::new(Vec::new()));
    for (number, sessions) in devices.iter().enumerate() {
        let device = Device::new(format!("fake:{number}"), size);
        for habits in *sessions {
            let chips = Arc::new(AtomicUsize::new(0));
            let runner = FakeDevice {
                contract: worker.model().contract.clone(),
                habits: habits.clone(),
                ready_for: batch,
                batches: 0,
                chips: chips.clone(),
                capacities: capacities.clone(),
            };
            slots.push(SessionSlot { runner: Box::new(runner), device: device.clone() });
            counters.push(chips);
        }
        shared.push(device);
    }
    let inference = Inference {
        provider: Provider::Cpu,
        devices: shared.iter().map(|device| device.name().to_owned()).collect(),
        sessions: slots.len(),
        threads: 1,
        spinning: false,
        batch,
        measured: Vec::new(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let run = worker.run_in(Sessions { slots, inference }, Arc::new(Progress::default()), Stop::default());
    let result = runtime.block_on(run);
    runtime.shutdown_background();
    let capacities = capacities.lock().unwrap().clone();
    let chips = counters.iter().map(|chips| chips.load(Ordering::Relaxed)).collect();
    Attempt { result, devices: shared, chips, capacities }
}

fn by_file(job: &Job) -> Vec<Row> {
    let mut rows = rows(&job.table());
    rows.sort_by_key(|row| row.file().to_owned());
    rows
}

/// The batch halves until it fits, and each tile keeps its own row and embedding.
#[test]
fn a_batch_that_does_not_fit_is_halved_until_it_does() {
    let reference = Job::new(NUM_IMAGES, "");
    attempt(&reference, 16, &[&[Habits::default()]]).result.unwrap();
    let job = Job::new(NUM_IMAGES, "");
    let small = Habits { memory: 5, ..Habits::default() };
    let attempt = attempt(&job, 16, &[&[small.clone(), small]]);
    attempt.result.unwrap();
    job.verify_ok();
    assert_eq!(attempt.devices[0].batch().get(), 4, "16, 8, 4: all sessions of the device follow");
    assert!(attempt.capacities.iter().all(|capacity| *capacity == 4), "{:?}", attempt.capacities);
    assert_eq!(attempt.chips.iter().sum::<usize>(), NUM_IMAGES);
    let (expected, found) = (by_file(&reference), by_file(&job));
    assert_eq!(found.len(), NUM_IMAGES);
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!((found.file(), &found.embedding), (expected.file(), &expected.embedding));
    }
    let different: std::collections::BTreeSet<_> =
        found.iter().map(|row| row.embedding.as_ref().unwrap()[0].to_bits()).collect();
    assert!(different.len() > NUM_IMAGES / 2, "the images differ, so a mix-up would show");
}

/// Devices halve each for itself.
#[test]
fn a_large_device_keeps_its_batch_beside_a_small_one() {
    let job = Job::new(NUM_IMAGES, "");
    // So long that chips wait for both.
    let takes = Duration::from_millis(50);
    let small = Habits { memory: 2, takes, ..Habits::default() };
    let attempt = attempt(&job, 4, &[&[Habits { takes, ..Habits::default() }], &[small]]);
    attempt.result.unwrap();
    job.verify_ok();
    let batches: Vec<_> = attempt.devices.iter().map(|device| device.batch().get()).collect();
    assert!(attempt.chips.iter().all(|chips| *chips > 0), "both worked: {:?} chips", attempt.chips);
    assert_eq!(batches, [4, 2]);
}

#[test]
fn a_chip_that_does_not_fit_alone_is_75() {
    let job = Job::new(2, "");
    let attempt = attempt(&job, 4, &[&[Habits { memory: 0, ..Habits::default() }]]);
    assert_eq!(attempt.result.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(attempt.devices[0].batch().get(), 1);
}

/// A lost device ends the process with 75; its tiles stay open, and the next run finishes them.
#[test]
fn a_lost_device_leaves_its_shards_open() {
    let job = Job::new(NUM_IMAGES, "[plan]\nshard_tiles = 10");
    let lost = Habits { lost_after: 3, ..Habits::default() };
    let first = attempt(&job, 4, &[&[lost]]);
    assert_eq!(first.chips, [12], "three batches, then it is lost");
    let error = first.result.unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (Kind::Unavailable, 75));
    assert_eq!(error.to_string(), "the device is lost");
    assert_eq!(job.verify().status.code(), Some(75), "incomplete, not violated");
    let second = attempt(&job, 4, &[&[Habits::default()]]);
    let report = second.result.unwrap();
    assert_eq!(report.summary.as_ref().unwrap().counts.ok, NUM_IMAGES as u64);
    assert_eq!(second.chips[0] as u64, 10 * report.this_process.shards_ours, "only what was open");
    assert!(report.this_process.shards_ours >= 3, "of 12 tiles at most one shard of 10 was whole");
    job.verify_ok();
}

/// Work goes to whoever is free: a device that is ten times as slow gets less.
#[test]
fn the_faster_device_gets_more() {
    let job = Job::new(NUM_IMAGES, "");
    let slow = |millis| Habits { takes: Duration::from_millis(millis), ..Habits::default() };
    let attempt = attempt(&job, 1, &[&[slow(10)], &[slow(100)]]);
    attempt.result.unwrap();
    job.verify_ok();
    let [fast, slow] = attempt.chips[..] else { panic!("two devices") };
    assert_eq!(fast + slow, NUM_IMAGES);
    assert!(slow > 0, "both worked");
    assert!(fast > 2 * slow, "{fast} and {slow} chips");
}
