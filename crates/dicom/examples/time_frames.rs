//! How many milliseconds the steps of a frame take at best: `cargo run --release --example time_frames FILE…`

use std::time::Instant;
use std::{env, fs};

use tilefleet_dicom::{Error, Limits, Step, decode_frame, display, parse};

const TRIES: usize = 15;
const LIMITS: Limits = Limits { max_pixels: 1 << 28, max_decoded_bytes: 1 << 32 };

fn done<T>(step: Step<T>) -> Result<T, Error> {
    match step {
        Step::Done(result) => result,
        Step::Needs(_) => unreachable!("all of the file is there"),
    }
}

fn times(bytes: &[u8]) -> Result<[f64; 3], Error> {
    let start = Instant::now();
    let instance = done(parse(&bytes))?;
    let found = done(instance.locate(&bytes, &[0]))?;
    let spec = instance.frame_spec(0)?;
    let parsed = start.elapsed();
    let range = &found[0].ranges[0];
    let start = Instant::now();
    let stored = decode_frame(&spec, &bytes[range.start as usize..range.end as usize], &LIMITS)?;
    let decoded = start.elapsed();
    let start = Instant::now();
    let shown = display::<u8>(&spec, &stored, None)?;
    let rendered = start.elapsed();
    assert!(!shown.values.is_empty());
    Ok([parsed, decoded, rendered].map(|time| time.as_secs_f64() * 1000.0))
}

fn main() {
    for file in env::args().skip(1) {
        let bytes = fs::read(&file).expect("the file can be read");
        let all: Vec<_> = (0..TRIES).map(|_| times(&bytes).expect("the file is an image")).collect();
        let best = |step: usize| all.iter().map(|times| times[step]).fold(f64::INFINITY, f64::min);
        println!("parse {:.3} ms, decode {:.3} ms, display {:.3} ms: {file}", best(0), best(1), best(2));
    }
}
