//! Times lossless files against pylibjpeg-libjpeg and libjpeg-turbo, one thread each, one after the other:
//! `cargo run --release -p tilefleet-jpeg --example lossless_peers`.
//!
//! The files have 16 bits, predictor 1 as DICOM's 1.2.840.10008.1.2.4.70, and noise of several strengths.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use tilefleet_jpeg::{Limits, decode_samples};

/// Each file is decoded over and over for so long.
const TIME: Duration = Duration::from_secs(2);

fn main() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = env::temp_dir().join(format!("tilefleet-lossless-{}", std::process::id()));
    let peers = Command::new(project.join(".venv/bin/python"))
        .arg(project.join("scripts/oracles/jpeg_samples_oracle.py"))
        .arg("time")
        .arg(&folder)
        .output()
        .expect("scripts/test-env has made .venv");
    assert!(peers.status.success(), "{}", String::from_utf8_lossy(&peers.stderr));
    for line in String::from_utf8_lossy(&peers.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, theirs, turbo] = words[..] else { panic!("{line}") };
        let file = fs::read(folder.join(name)).expect("the script wrote the file");
        let ours = best_milliseconds(&file);
        let ratio = |peer: &str| peer.parse::<f64>().expect("a number") / ours;
        println!(
            "{name}: {ours:.2} ms; pylibjpeg takes {:.1} times as long, libjpeg-turbo {:.1}",
            ratio(theirs),
            ratio(turbo)
        );
    }
    fs::remove_dir_all(folder).expect("the folder can be removed");
}

fn best_milliseconds(file: &[u8]) -> f64 {
    let limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };
    let (begin, mut best) = (Instant::now(), Duration::MAX);
    while begin.elapsed() < TIME {
        let start = Instant::now();
        black_box(decode_samples(black_box(file), &limits).expect("the file is sound"));
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e3
}
