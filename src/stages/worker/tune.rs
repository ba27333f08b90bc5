//! How the CPU is used best: sessions, spinning and batch, found out by a short measured probe.
//!
//! The probe runs the model on noise while other threads decode real tiles of the run, one for each chip, so
//! that both share the cores as they will. It is worth its time in long runs only: it may take
//! [`WORTH`] of what the run is going to take, and tries fewer ways where that is less.
//!
//! ```text
//! sessions × threads, as now ─▶ other divisions ─▶ spinning, if a session has threads ─▶ other batches
//! ```
//!
//! Rows do not depend on what is chosen.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::sessions::{CpuShape, SessionRequest, Sessions, sessions_that_fit};
use crate::runtime;
use crate::stages::infer::{Device, InputBatch, SamplesMut, SessionSlot};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::guard;
use crate::vocabulary::provider::Provider;
use crate::vocabulary::random::SplitMix64;

/// The share of a run's time that finding out may take.
const WORTH: f64 = 0.02;
/// Minimum number of tiles for which measuring pays.
const FEWEST_TILES: u64 = 1000;
/// It never takes longer.
const MAX_TIME: Duration = Duration::from_secs(30);
/// Minimum time to measure a setting, and at least one batch per session.
const TRIAL: Duration = Duration::from_millis(300);
/// Minimum gain of another setting: less may be chance.
const CLEARLY: f64 = 1.03;
/// Maximum number of sessions to try.
const MAX_SESSIONS: usize = 16;
/// Batches that are tried, the likeliest first.
const BATCHES: [usize; 4] = [8, 32, 4, 1];

/// What one way of using the CPU brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Sessions side by side.
    pub sessions: usize,
    /// Whether idle threads span.
    pub spinning: bool,
    /// Chips per session run.
    pub batch: usize,
    /// Chips a second, decoding included.
    pub chips_per_second: f64,
}

/// Returns whether a run of `tiles` may be long enough to measure, and has settings to choose.
pub(super) fn may_pay(request: &SessionRequest<'_>, tiles: u64) -> bool {
    request.run.provider == Provider::Cpu && tiles >= FEWEST_TILES && !Choice::of(request).is_none()
}

/// Tries other ways of using the CPU as far as that is worth its time, and returns the fastest.
///
/// - `slots`: as they are open now
/// - `tiles`: tiles that this process has before it
/// - `decode`: decodes and preprocesses one tile
/// - `stop`: whether the process has been told to end
///
/// # Errors
///
/// As opening and running sessions.
pub(super) fn tune(
    request: &SessionRequest<'_>,
    mut slots: Sessions,
    tiles: u64,
    decode: &(dyn Fn() + Sync),
    stop: &dyn Fn() -> bool,
) -> Result<Sessions> {
    let (choice, shape, started) = (Choice::of(request), request.cpu_shape(), Instant::now());
    let Some(chip) = if_it_fits(first_look(&mut slots, shape.batch))? else { return Ok(slots) };
    let sessions = shape.sessions.get() as f64;
    let budget = Duration::from_secs_f64(WORTH * tiles as f64 * chip / sessions).min(MAX_TIME);
    let most = (TRIAL.as_secs_f64() / chip) as usize;
    let quick = NonZeroUsize::new(shape.batch.get().min(most)).unwrap_or(NonZeroUsize::MIN);
    let quick = if request.model.static_batch.is_some() { shape.batch } else { quick };
    // Warming up and measuring, at least twice, or nothing is compared.
    if budget < 4 * TRIAL {
        return Ok(slots);
    }
    let search =
        Search { request, decode, stop, started, budget, trials: Vec::new(), best: 0.0, shape, slots };
    let slots = search.run(&choice, quick)?;
    let chosen = &slots.inference;
    tracing::info!(
        sessions = chosen.sessions,
        threads = chosen.threads,
        spinning = chosen.spinning,
        batch = chosen.batch,
        tried = chosen.measured.len(),
        seconds = started.elapsed().as_secs_f64(),
        "measured how to use the CPU"
    );
    Ok(slots)
}

/// What nobody has fixed.
struct Choice {
    sessions: Vec<NonZeroUsize>,
    spinning: bool,
    batches: Vec<NonZeroUsize>,
}

impl Choice {
    fn of(request: &SessionRequest<'_>) -> Self {
        let run = request.run;
        let most = sessions_that_fit(request.threads(), request.model.bytes.len(), MAX_SESSIONS);
        let sessions = divisions(most).into_iter().filter(|_| run.sessions.is_none());
        let fixed = run.batch.is_some() || request.model.static_batch.is_some();
        let batches = BATCHES.into_iter().filter_map(NonZeroUsize::new).filter(|_| !fixed);
        Self { sessions: sessions.collect(), spinning: run.spinning.is_none(), batches: batches.collect() }
    }

    fn is_none(&self) -> bool {
        self.sessions.is_empty() && self.batches.is_empty() && !self.spinning
    }
}

/// Returns the numbers of sessions that are tried: the powers of two, and as many as there may be.
fn divisions(most: NonZeroUsize) -> Vec<NonZeroUsize> {
    let mut counts: Vec<_> =
        std::iter::successors(Some(NonZeroUsize::MIN), |count| count.checked_add(count.get()))
            .take_while(|count| *count < most)
            .collect();
    counts.push(most);
    counts
}

struct Search<'a> {
    request: &'a SessionRequest<'a>,
    decode: &'a (dyn Fn() + Sync),
    stop: &'a dyn Fn() -> bool,
    started: Instant,
    /// All trials end within it, as far as can be told before.
    budget: Duration,
    trials: Vec<Trial>,
    best: f64,
    /// The best way so far, its sessions open.
    shape: CpuShape,
    slots: Sessions,
}

impl Search<'_> {
    /// Tries what is left to choose, the batch last: divisions are compared at a batch of which several are done
    /// in the time of a trial.
    fn run(mut self, choice: &Choice, quick: NonZeroUsize) -> Result<Sessions> {
        let batch = self.shape.batch;
        self.shape.batch = quick;
        self.best = self.measure(self.shape, None)?.unwrap_or(0.0);
        for &sessions in &choice.sessions {
            self.reopened(CpuShape { sessions, ..self.shape })?;
        }
        if choice.spinning && self.shape.threads(self.request.threads()).get() > 1 {
            self.reopened(CpuShape { spinning: true, ..self.shape })?;
        }
        self.shape.batch = batch;
        self.choose_batch(choice)?;
        let Self { shape, mut slots, trials, .. } = self;
        let device = Device::new("cpu".into(), shape.batch);
        slots.slots.iter_mut().for_each(|slot| slot.device = device.clone());
        slots.inference.batch = shape.batch.get();
        slots.inference.measured = trials;
        Ok(slots)
    }

    /// Returns whether a trial is worth its time, going by what the slowest before took.
    fn is_worth(&self, slower: f64) -> bool {
        let spent = self.started.elapsed();
        let mean = spent / self.trials.len().max(1) as u32;
        !(self.stop)() && spent + mean.mul_f64(slower) <= self.budget
    }

    fn is_tried(&self, shape: CpuShape) -> bool {
        let like = |trial: &Trial| {
            (trial.sessions, trial.spinning, trial.batch)
                == (shape.sessions.get(), shape.spinning, shape.batch.get())
        };
        self.trials.iter().any(like)
    }

    /// Measures a way, in other sessions or in those that are the best so far; `None` if it does not fit into
    /// memory.
    fn measure(&mut self, shape: CpuShape, others: Option<&mut Sessions>) -> Result<Option<f64>> {
        let slots = others.unwrap_or(&mut self.slots);
        let load = Load { decode_threads: self.request.threads(), decode: self.decode, at_least: TRIAL };
        let Some(rate) = if_it_fits(rate(&mut slots.slots, shape.batch, load))? else { return Ok(None) };
        let (sessions, batch) = (shape.sessions.get(), shape.batch.get());
        self.trials.push(Trial { sessions, spinning: shape.spinning, batch, chips_per_second: rate });
        Ok(Some(rate))
    }

    /// Tries other sessions.
    fn reopened(&mut self, shape: CpuShape) -> Result<()> {
        if self.is_tried(shape) || !self.is_worth(1.0) {
            return Ok(());
        }
        let opened = self.request.open_cpu(runtime::load_for(Provider::Cpu)?, shape);
        let Some(mut slots) = if_it_fits(opened)? else { return Ok(()) };
        let rate = self.measure(shape, Some(&mut slots))?;
        if let Some(rate) = rate.filter(|rate| *rate > CLEARLY * self.best) {
            (self.best, self.shape, self.slots) = (rate, shape, slots);
        }
        Ok(())
    }

    /// Tries other batches in the best sessions, if there is time for the one they have to beat.
    fn choose_batch(&mut self, choice: &Choice) -> Result<()> {
        let Some(first) = self.trials.first().map(|trial| trial.batch) else { return Ok(()) };
        let slower = |batch: NonZeroUsize| (batch.get() as f64 / first as f64).max(1.0);
        if choice.batches.is_empty() || !self.is_worth(2.0 * slower(self.shape.batch)) {
            return Ok(());
        }
        if !self.is_tried(self.shape) {
            // What does not fit is halved when the run begins, and nothing larger is tried.
            let Some(rate) = self.measure(self.shape, None)? else { return Ok(()) };
            self.best = rate;
        }
        for &batch in &choice.batches {
            let shape = CpuShape { batch, ..self.shape };
            if self.is_tried(shape) || !self.is_worth(1.0) {
                continue;
            }
            let rate = self.measure(shape, None)?;
            if let Some(rate) = rate.filter(|rate| *rate > CLEARLY * self.best) {
                (self.best, self.shape) = (rate, shape);
            }
        }
        Ok(())
    }
}

/// Takes what does not fit into memory for a way that is not open: a probe must never end a run.
fn if_it_fits<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(error) if error.kind() == Kind::Unavailable => {
            tracing::debug!("no further trials: {}", error.render());
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Returns roughly how long one session takes for a chip, in seconds.
fn first_look(slots: &mut Sessions, batch: NonZeroUsize) -> Result<f64> {
    let Some(slot) = slots.slots.first_mut() else { return Err(Error::bug("there is no session")) };
    // A model for any batch takes one chip, one for a fixed batch takes no other.
    let batch = if slot.runner.static_batch().is_some() { batch } else { NonZeroUsize::MIN };
    let input = warm(slot, batch)?;
    let started = Instant::now();
    slot.runner.run(&input).map_err(Error::from)?;
    Ok(started.elapsed().as_secs_f64() / batch.get() as f64)
}

/// What is measured beside the sessions, and for how long.
#[derive(Clone, Copy)]
struct Load<'a> {
    decode_threads: NonZeroUsize,
    /// Decodes and preprocesses one tile.
    decode: &'a (dyn Fn() + Sync),
    at_least: Duration,
}

/// Measures the rate of the sessions alone, in chips per second, on noise in memory.
///
/// # Errors
///
/// As running sessions.
pub(super) fn bare_rate(slots: &mut Sessions, at_least: Duration) -> Result<f64> {
    let batch = NonZeroUsize::new(slots.inference.batch).unwrap_or(NonZeroUsize::MIN);
    rate(&mut slots.slots, batch, Load { decode_threads: NonZeroUsize::MIN, decode: &|| (), at_least })
}

/// Measures the rate of the sessions in chips per second while as many tiles are decoded.
fn rate(slots: &mut [SessionSlot], batch: NonZeroUsize, load: Load<'_>) -> Result<f64> {
    let Load { decode_threads, decode, at_least } = load;
    let owed = Owed::default();
    let barrier = Barrier::new(slots.len() + 1);
    std::thread::scope(|scope| {
        let decoders: Vec<_> =
            (0..decode_threads.get()).map(|_| scope.spawn(|| owed.work_off(decode))).collect();
        let sessions: Vec<_> = slots
            .iter_mut()
            .map(|slot| scope.spawn(|| run_for_a_while(slot, batch, at_least, &owed, &barrier)))
            .collect();
        barrier.wait();
        let started = Instant::now();
        let chips: Result<Vec<u64>> =
            sessions.into_iter().map(|session| session.join().map_err(|_| crashed())?).collect();
        owed.close();
        for decoder in decoders {
            decoder.join().map_err(|_| crashed())?;
        }
        Ok(chips?.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64())
    })
}

fn crashed() -> Error {
    Error::bug("a thread crashed while it was measured")
}

/// Runs a session again and again once all are warm; returns the chips that it inferred.
fn run_for_a_while(
    slot: &mut SessionSlot,
    batch: NonZeroUsize,
    at_least: Duration,
    owed: &Owed,
    barrier: &Barrier,
) -> Result<u64> {
    let warmed = catch_unwind(AssertUnwindSafe(|| warm(slot, batch))).unwrap_or_else(|_| Err(crashed()));
    // Whatever happened: the others wait for this one.
    barrier.wait();
    let input = warmed?;
    let started = Instant::now();
    let mut chips = 0;
    loop {
        slot.runner.run(&input).map_err(Error::from)?;
        chips += batch.get() as u64;
        owed.add(batch.get());
        if started.elapsed() >= at_least {
            return Ok(chips);
        }
    }
}

fn warm(slot: &mut SessionSlot, batch: NonZeroUsize) -> Result<InputBatch> {
    let mut input = slot.runner.new_batch(batch)?;
    fill(input.samples_mut());
    input.set_len(batch.get());
    slot.runner.run(&input).map_err(Error::from)?;
    Ok(input)
}

/// Fills a batch with noise: arithmetic on zeros may be faster than on pixels.
fn fill(samples: SamplesMut<'_>) {
    let mut random = SplitMix64(1);
    let mut next = || random.next_u64().to_be_bytes()[0];
    match samples {
        SamplesMut::U8(samples) => samples.fill_with(next),
        SamplesMut::F32(samples) => samples.fill_with(|| (f32::from(next()) - 128.0) / 64.0),
    }
}

/// Tiles that are still to be decoded: as many as chips were inferred.
#[derive(Default)]
struct Owed {
    tiles: Mutex<usize>,
    changed: Condvar,
    closed: AtomicBool,
}

/// A session waits when decoding is this many batches behind.
const MAX_BEHIND: usize = 4;

impl Owed {
    fn add(&self, chips: usize) {
        let mut tiles = self.tiles.lock().expect("no holder of this lock panics");
        *tiles += chips;
        self.changed.notify_all();
        while *tiles > MAX_BEHIND * chips {
            tiles = self.changed.wait(tiles).expect("no holder of this lock panics");
        }
    }

    /// Decodes what is owed until there is no more to come.
    fn work_off(&self, decode: &(dyn Fn() + Sync)) {
        loop {
            let mut tiles = self.tiles.lock().expect("no holder of this lock panics");
            while *tiles == 0 && !self.closed.load(Ordering::Acquire) {
                tiles = self.changed.wait(tiles).expect("no holder of this lock panics");
            }
            if self.closed.load(Ordering::Acquire) {
                return;
            }
            *tiles -= 1;
            drop(tiles);
            // A crash is that tile's, and the run will tell of it.
            let _ = guard::catch_decoder_panic(|| {
                decode();
                Ok(())
            });
            self.changed.notify_all();
        }
    }

    fn close(&self) {
        let _tiles = self.tiles.lock().expect("no holder of this lock panics");
        self.closed.store(true, Ordering::Release);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::runtime::{Failure, probe};
    use crate::stages::infer::{BatchRunner, Outputs};

    fn size(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    #[test]
    fn threads_are_divided_by_powers_of_two() {
        let counts = |most| divisions(size(most)).into_iter().map(NonZeroUsize::get).collect::<Vec<_>>();
        assert_eq!(counts(1), [1]);
        assert_eq!(counts(2), [1, 2]);
        assert_eq!(counts(12), [1, 2, 4, 8, 12]);
    }

    /// A session that computes nothing, and counts.
    struct Counting(std::sync::Arc<AtomicUsize>);

    impl BatchRunner for Counting {
        fn static_batch(&self) -> Option<usize> {
            None
        }

        fn new_batch(&self, capacity: NonZeroUsize) -> Result<InputBatch> {
            Ok(InputBatch::new(&probe::contract().input, capacity))
        }

        fn run(&mut self, batch: &InputBatch) -> Result<Outputs, Failure> {
            self.0.fetch_add(batch.len(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(2));
            Ok(Outputs::new(vec![0.0; batch.len()], None, batch.len()))
        }

        fn shrink(&mut self, _: NonZeroUsize) -> Result<()> {
            Ok(())
        }
    }

    /// What is measured is decoding and inference together: neither gets ahead of the other by much.
    #[test]
    fn as_many_tiles_are_decoded_as_chips_are_inferred() {
        let (inferred, decoded) = (std::sync::Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let device = Device::new("cpu".into(), size(4));
        let slot = || SessionSlot { runner: Box::new(Counting(inferred.clone())), device: device.clone() };
        let mut slots = [slot(), slot()];
        let decode = || {
            decoded.fetch_add(1, Ordering::Relaxed);
        };
        let load = Load { decode_threads: size(2), decode: &decode, at_least: TRIAL };
        let rate = rate(&mut slots, size(4), load).unwrap();
        assert!(rate > 0.0);
        let warming = 2 * 4;
        let (inferred, decoded) =
            (inferred.load(Ordering::Relaxed) - warming, decoded.load(Ordering::Relaxed));
        assert!(decoded <= inferred && inferred - decoded <= (MAX_BEHIND + 2) * 4, "{decoded} of {inferred}");
    }
}
