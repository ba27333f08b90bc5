//! Throughput of the model alone: one session on input that lies in memory, in images/s.
//!
//! `bare_session --model FILE.onnx --batch N --threads N --runs N` prints one line of JSON. Input: one
//! batch of seeded noise, run again and again after one run that does not count. Loading is left out.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use tilefleet::models::{Overrides, load};
use tilefleet::runtime;
use tilefleet::stages::infer::{InputBatch, SamplesMut, Session, SessionOptions};
use tilefleet::vocabulary::error::Result;
use tilefleet::vocabulary::provider::Provider;
use tilefleet_testing::Random;

fn main() {
    let argument = |name: &str| {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        arguments.nth(1)
    };
    let Some(model) = argument("--model") else {
        println!("SKIPPED: bare_session needs --model FILE.onnx; `make bench` passes it");
        return;
    };
    let number = |name: &str, default: usize| {
        let value = argument(name).map_or(default, |value| value.parse().expect("a number"));
        NonZeroUsize::new(value).expect("a positive number")
    };
    match measure(model.as_ref(), number("--batch", 16), number("--threads", 2), number("--runs", 20)) {
        Ok(rate) => println!("{{\"images_per_second\": {rate:.3}}}"),
        Err(error) => {
            eprintln!("{}", error.render());
            std::process::exit(error.kind().exit_code().into());
        }
    }
}

fn measure(model: &Path, batch: NonZeroUsize, threads: NonZeroUsize, runs: NonZeroUsize) -> Result<f64> {
    let model = load(model, &Overrides::default())?;
    let options = SessionOptions::new(Provider::Cpu, threads);
    let mut session = Session::open(runtime::load()?, &model.bytes, &model.contract, &options)?;
    let mut input = InputBatch::new(&model.contract.input, batch);
    fill(input.samples_mut());
    input.set_len(batch.get());
    session.run(&input)?;
    let start = Instant::now();
    for _ in 0..runs.get() {
        session.run(&input)?;
    }
    Ok((runs.get() * batch.get()) as f64 / start.elapsed().as_secs_f64())
}

/// Fills a batch with noise.
fn fill(samples: SamplesMut<'_>) {
    let mut random = Random(1);
    match samples {
        SamplesMut::U8(samples) => samples.fill_with(|| random.byte()),
        SamplesMut::F32(samples) => samples.fill_with(|| (f32::from(random.byte()) - 128.0) / 64.0),
    }
}
