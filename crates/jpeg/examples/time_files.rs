//! Times the decoder on one thread: `cargo run --release -p tilefleet-jpeg --example time_files -- FILE…`.
//!
//! For each file: the best of several runs, in milliseconds and in million samples per second. 8-bit files are decoded
//! to RGB, others as they are stored.

use std::hint::black_box;
use std::{env, fs};

use tilefleet_jpeg::{Colours, Limits, Options, Process, Samples, decode, decode_samples, header, recycle};
use tilefleet_testing::pace::best_of;

fn main() {
    for path in env::args().skip(1) {
        let file = fs::read(&path).expect("the file can be read");
        let header = header(&file).expect("the file has a header");
        let in_rgb = header.precision == 8 && header.process != Process::Lossless;
        let (best, num_samples) =
            best_of(|| if in_rgb { rgb(black_box(&file)) } else { as_stored(black_box(&file)) });
        let milliseconds = best.as_secs_f64() * 1e3;
        println!("{path}: {milliseconds:.3} ms, {:.1} Msamples/s", num_samples as f64 / milliseconds / 1e3);
    }
}

fn rgb(file: &[u8]) -> usize {
    let limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };
    let options = Options { needed: None, colours: Colours::Rgb, limits };
    let samples = decode(file, &options).expect("the file is sound");
    let num_samples = samples.len();
    recycle(samples);
    num_samples
}

fn as_stored(file: &[u8]) -> usize {
    let limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };
    match decode_samples(file, &limits).expect("the file is sound").samples {
        Samples::U8(samples) => black_box(samples).len(),
        Samples::U16(samples) => black_box(samples).len(),
    }
}
