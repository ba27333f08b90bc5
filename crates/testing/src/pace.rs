//! How long decoding takes at best, alone and beside other people's decoders.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::files::Scratch;
use crate::oracle::oracle;

/// Work is done over and over for so long.
const TIME: Duration = Duration::from_secs(2);

/// Repeats work for two seconds; returns the shortest time, and what the last run yielded.
pub fn best_of<T>(mut work: impl FnMut() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let mut run = || {
        let start = Instant::now();
        let result = black_box(work());
        (start.elapsed(), result)
    };
    let (mut best, mut last) = run();
    while begin.elapsed() < TIME {
        let (time, result) = run();
        (best, last) = (best.min(time), result);
    }
    (best, last)
}

/// Prints how long files take here, and how many times as long two other decoders take, one after the other.
///
/// - `script`: in `scripts/oracles`; its command `time` writes files into a folder, and a line for each: its name, and the
///   milliseconds of both decoders
///
/// # Panics
///
/// If there is no Python, the script fails, or a line is of another form.
pub fn beside<T>(script: &str, decoders: [&str; 2], decode: impl Fn(&[u8]) -> T) {
    let folder = Scratch::new("pace");
    let lines = oracle(script, &[&"time", &folder.path()]).expect("the oracle is installed");
    for line in String::from_utf8_lossy(&lines).lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, first, second] = words[..] else { panic!("{line}") };
        let file = fs::read(folder.path().join(name)).expect("the script wrote the file");
        let (best, _) = best_of(|| decode(black_box(&file)));
        let ours = best.as_secs_f64() * 1e3;
        let [first, second] = [first, second].map(|peer| peer.parse::<f64>().expect("a number") / ours);
        let [one, other] = decoders;
        println!("{name}: {ours:.2} ms; {one} takes {first:.2} times as long, {other} {second:.2}");
    }
}
