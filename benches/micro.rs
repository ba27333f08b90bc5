//! Throughput of single steps, each alone: medians over rounds; contestants take turns.
//!
//! - decode, resize (images/s): 200 seeded JPEG files (quality 85, 4:2:0, 256 to 384 px a side, gradients
//!   with edges and texture, about 2 bits a pixel), resized to a short side of 256 and cropped to 224 as
//!   `uint8` NHWC; on one and on two threads
//! - encode (MB/s of embeddings): a shard of 4,096 rows with 2,048 floats, predictions and 1 % rejects,
//!   beside parquet-rs with its defaults writing the same record batch; one thread
//! - commit (MB/s): that file into a local output, create-only and synced
//! - similarity (million rows/s): the 4,096 embeddings to one of them, one thread

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};
use tilefleet::formats::image::{DecodeLimits, parse_header};
use tilefleet::stages::decode::recycle;
use tilefleet::stages::decode::{decode, decode_tile};
use tilefleet::stages::preprocess::{InputSlotMut, Preprocess};
use tilefleet::vocabulary::chip::Chip;
use tilefleet::vocabulary::contract::{Accept, Input, Interpolation, Layout, Resize, SampleType};
use tilefleet_testing::Random;

#[path = "micro/table.rs"]
mod table;

const NUM_IMAGES: usize = 200;
const ROUNDS: usize = 7;

fn main() {
    pixels();
    table::measure();
}

fn pixels() {
    let files: Vec<Vec<u8>> = (0..NUM_IMAGES as u64).map(jpeg).collect();
    let bytes: usize = files.iter().map(Vec::len).sum();
    println!("{NUM_IMAGES} JPEG files, {} bytes on average", bytes / NUM_IMAGES);
    let chips: Vec<Chip> = files.iter().map(|file| decoded(file)).collect();
    let bilinear = preprocess(Interpolation::Bilinear);
    let bicubic = preprocess(Interpolation::Bicubic);
    for threads in [1, 2] {
        measure("decode", threads, |index, _| recycle(decoded(&files[index])));
        measure("resize bilinear", threads, |index, slot| apply(&bilinear, &chips[index], slot));
        measure("resize bicubic", threads, |index, slot| apply(&bicubic, &chips[index], slot));
        measure("decode and resize bilinear", threads, |index, slot| {
            let header = parse_header(&files[index]).expect("a whole JPEG file");
            let needed = bilinear.needed(header.oriented_size());
            let chip = decode(&header, &files[index], &DecodeLimits::default(), needed);
            let chip = chip.expect("a whole JPEG file");
            apply(&bilinear, &chip, slot);
            recycle(chip);
        });
    }
}

/// Prints the median images/s of `work`, which is called for every image on every thread.
fn measure(name: &str, threads: usize, work: impl Fn(usize, &mut [u8]) + Sync) {
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        let mut slot = vec![0; 224 * 224 * 3];
                        (0..NUM_IMAGES).for_each(|index| work(index, &mut slot));
                        black_box(slot);
                    });
                }
            });
            (threads * NUM_IMAGES) as f64 / start.elapsed().as_secs_f64()
        })
        .collect();
    println!("{name}, {threads} threads: {:.0} images/s", median(&mut rates));
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn decoded(file: &[u8]) -> Chip {
    decode_tile(file, &DecodeLimits::default()).expect("a whole JPEG file").1
}

fn apply(preprocess: &Preprocess, chip: &Chip, slot: &mut [u8]) {
    preprocess.apply(chip, InputSlotMut::U8(slot)).expect("an RGB image");
}

fn preprocess(interpolation: Interpolation) -> Preprocess {
    let input = Input {
        tensor: "input".to_owned(),
        layout: Layout::Nhwc,
        sample_type: SampleType::Uint8,
        bands: ["red", "green", "blue"].map(str::to_owned).to_vec(),
        unit: "srgb8".to_owned(),
        units: None,
        width: 224,
        height: 224,
        resize: Some(Resize { short_side: 256, interpolation, keep_exact: false }),
        normalise: None,
        accept: Accept::default(),
    };
    Preprocess::new(&input).expect("a consistent contract")
}

/// Returns a JPEG file that depends on `seed` only.
fn jpeg(seed: u64) -> Vec<u8> {
    let mut random = Random(seed + 1);
    let (width, height) = (256 + random.below(129), 256 + random.below(129));
    let (cell, slope) = (9 + random.below(40), 1 + random.below(3));
    let mut pixels = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let edge = if (x / cell + y / cell).is_multiple_of(2) { 60 } else { 0 };
            let wave = (x * slope + 2 * y) % 256;
            for band in 0..3 {
                let value = 40 + edge + wave * (band + 1) / 4 + random.below(12);
                pixels.push(u8::try_from(value.min(255)).expect("at most 255"));
            }
        }
    }
    compress(&pixels, width, height, PixelFormat::Rgb, 85, Subsampling::S420).expect("a valid image")
}
