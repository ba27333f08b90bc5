//! Decodes a file on one thread, and prints how long it takes: `decode FILE [TIMES [OUTPUT]]`.
//!
//! The output is the samples of each component after another, as little-endian `i32`.

use std::time::{Duration, Instant};

use tilefleet_jpeg2000::{Decoder, Limits, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let data = std::fs::read(arguments.first().ok_or("no file")?)?;
    let times: u32 = arguments.get(1).map_or(Ok(1), |times| times.parse())?;
    let limits = Limits { max_pixels: 1 << 30, max_decoded_bytes: 1 << 33 };
    let options = Options { limits, skipped_levels: 0, strict: true };
    let mut decoder = Decoder::new();
    let mut best = Duration::MAX;
    for _ in 0..times {
        let start = Instant::now();
        let image = decoder.decode(&data, &options)?;
        best = best.min(start.elapsed());
        if let Some(output) = arguments.get(2) {
            let samples = image.planes.iter().flat_map(|plane| &plane.samples);
            std::fs::write(output, samples.flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>())?;
        }
        decoder.recycle(image);
    }
    println!("{:.4}", best.as_secs_f64());
    Ok(())
}
