//! `kill -9` at random moments loses nothing, doubles nothing and leaves nothing half-written.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tilefleet_testing::Random;

use crate::fixture::{Job, rows, shard_files, wait_until};

const NUM_IMAGES: usize = 2500;
const NUM_KILLS: usize = 20;

/// One run over small shards, killed 20 times. After each kill every file in the table's folder is a
/// whole shard, none committed before has changed, and in the end every tile has one row.
#[test]
fn twenty_kills_lose_nothing() {
    let job = Job::new(NUM_IMAGES, "[plan]\nshard_tiles = 5\n[run]\nthreads = 1\nbatch = 2");
    let mut before: BTreeMap<String, (PathBuf, Vec<u8>)> = BTreeMap::new();
    let mut random = Random(0x9E37_79B9);
    for kill in 0..NUM_KILLS {
        let mut worker = job.run_command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Every fourth kill falls into the start, the others after some commits, at any instruction.
        if kill % 4 != 0 {
            let num_shards = before.len() + random.below(16);
            wait_until("some shards are committed", || shard_files(&job.table()).len() >= num_shards);
        }
        std::thread::sleep(Duration::from_millis(random.below(150) as u64));
        assert!(
            worker.try_wait().unwrap().is_none(),
            "the run ended before kill {kill}; make the job longer"
        );
        worker.kill().unwrap();
        worker.wait().unwrap();
        before = check_table(&job, &before);
    }
    assert!(5 * before.len() < NUM_IMAGES, "nothing was left for the last run; make the job longer");
    let report: serde_json::Value = serde_json::from_str(&job.run_ok(&["--json"])).unwrap();
    job.verify_ok();
    let ids: HashSet<_> = rows(&job.table()).into_iter().map(|row| row.tile_id).collect();
    assert_eq!(ids.len(), NUM_IMAGES);
    let done_before = 5 * before.len();
    let done_now = report["this_process"]["settled"].as_u64().unwrap() as usize;
    assert_eq!(done_now, NUM_IMAGES - done_before, "the last run did just what was open");
    println!("{NUM_KILLS} kills, {} shards committed before the last run", before.len());
}

/// Checks that the folder holds whole shards only and that none of the earlier ones changed.
fn check_table(
    job: &Job,
    before: &BTreeMap<String, (PathBuf, Vec<u8>)>,
) -> BTreeMap<String, (PathBuf, Vec<u8>)> {
    let mut now = BTreeMap::new();
    for (name, path) in shard_files(&job.table()) {
        assert!(name.ends_with(".parquet") && name.contains("/shard-"), "stray file {name}");
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{name} is not whole");
        now.insert(name, (path, bytes));
    }
    for (name, (_, bytes)) in before {
        assert_eq!(now.get(name).map(|(_, bytes)| bytes), Some(bytes), "{name} changed or went away");
    }
    if job.path("table/_tilefleet").exists() {
        let verdict = job.verify();
        let code = verdict.status.code().unwrap();
        // 78: killed before the plan was complete, so there is no run yet.
        assert!([0, 75, 78].contains(&code), "verify says {code}");
    }
    now
}
