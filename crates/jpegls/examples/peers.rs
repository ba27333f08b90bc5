//! Times JPEG-LS files against CharLS (in pyjpegls) and pylibjpeg-libjpeg, one thread each, one after the other:
//! `cargo run --release -p tilefleet-jpegls --example peers`.

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use tilefleet_jpegls::{Limits, decode};
use tilefleet_testing::project;

/// Each file is decoded over and over for so long.
const TIME: Duration = Duration::from_secs(2);

fn main() {
    let folder = env::temp_dir().join(format!("tilefleet-jpegls-{}", std::process::id()));
    let peers = Command::new(project().join(".venv/bin/python"))
        .arg(project().join("scripts/oracles/jpegls_oracle.py"))
        .arg("time")
        .arg(&folder)
        .output()
        .expect("scripts/test-env has made .venv");
    assert!(peers.status.success(), "{}", String::from_utf8_lossy(&peers.stderr));
    for line in String::from_utf8_lossy(&peers.stdout).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, charls, pylibjpeg] = words[..] else { panic!("{line}") };
        let ours = best_milliseconds(&fs::read(folder.join(name)).expect("the script wrote the file"));
        let ratio = |peer: &str| peer.parse::<f64>().expect("a number") / ours;
        println!(
            "{name}: {ours:.2} ms; CharLS takes {:.2} times as long, pylibjpeg {:.2}",
            ratio(charls),
            ratio(pylibjpeg)
        );
    }
    fs::remove_dir_all(folder).expect("the folder can be removed");
}

fn best_milliseconds(file: &[u8]) -> f64 {
    let limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };
    let (begin, mut best) = (Instant::now(), Duration::MAX);
    while begin.elapsed() < TIME {
        let start = Instant::now();
        black_box(decode(black_box(file), &limits).expect("the file is sound"));
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e3
}
