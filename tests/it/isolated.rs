//! Tiles that crash, hang or eat the memory of whoever decodes them cost themselves, and no row of another tile.
//!
//! No file is known that does so. Builds for tests die of tiles with a mark (`stages/decode/poison.rs`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::fixture::{Job, Row, assert_exit, jpeg, rows, stderr, wait_until};
use crate::support;

const ALWAYS: [&str; 2] = ["--set", "run.isolate=always"];
/// What a child may take: little enough for a test, and more than a small tile needs.
const LIMITS: [&str; 6] =
    ["--set", "limits.decode_memory=512MiB", "--set", "limits.decode_time=1s", "--set", "run.grace=1s"];
const ACCEPTED: [&str; 2] = ["--set", "limits.max_reject_ratio=1"];

/// A JPEG with a comment.
fn poisoned(mark: &str) -> Vec<u8> {
    let jpeg = jpeg(7);
    let (start, rest) = jpeg.split_at(2);
    let length = (2 + mark.len() as u16).to_be_bytes();
    [start, &[0xFF, 0xFE], &length, mark.as_bytes(), rest].concat()
}

/// A run whose decoders die of marks.
fn run(job: &Job, more: &[&[&str]]) -> Output {
    poisonous(&mut job.run_command(&[])).args(more.concat()).output().unwrap()
}

fn poisonous(command: &mut Command) -> &mut Command {
    command.env("TILEFLEET_TEST_POISON", "1")
}

fn by_file(table: &Path) -> BTreeMap<String, Row> {
    rows(table).into_iter().map(|row| (row.file().to_owned(), row)).collect()
}

/// What else is in `_tilefleet/RUN/begun/`: shards that were begun and not ended.
fn notes(job: &Job) -> Vec<PathBuf> {
    let records = job.path("table/_tilefleet");
    let runs = fs::read_dir(records).into_iter().flatten().map(|entry| entry.unwrap().path().join("begun"));
    runs.flat_map(|folder| fs::read_dir(folder).into_iter().flatten())
        .map(|entry| entry.unwrap().path())
        .collect()
}

/// What each mark comes to.
const DEATHS: [(&str, &str, &str); 4] = [
    ("poison:crash", "decoder_crash", "the decoder ended with signal: 6 (SIGABRT)"),
    ("poison:memory", "too_large", "decoding it takes more than limits.decode_memory (512.0 MiB)"),
    ("poison:loop", "decoder_timeout", "decoding it takes longer than limits.decode_time (1 s)"),
    ("poison:sleep", "decoder_timeout", "decoding it takes longer than limits.decode_time (1 s)"),
];

/// Memory of a process is limited by Linux alone.
#[test]
fn a_tile_that_kills_its_decoder_is_rejected_and_no_other() {
    let job = Job::new(40, "[plan]\nshard_tiles = 16");
    for (mark, ..) in DEATHS {
        job.write_image(&format!("{}.jpg", mark.replace(':', "-")), &poisoned(mark));
    }
    let output = run(&job, &[&ALWAYS, &LIMITS, &ACCEPTED]);
    assert_exit(&output, 0);
    job.verify_ok();
    let rows = by_file(&job.table());
    for (mark, reason, detail) in DEATHS {
        let row = &rows[&format!("{}.jpg", mark.replace(':', "-"))];
        assert_eq!(row.reason.as_deref(), Some(reason), "{mark}: {:?}", row.detail);
        assert!(row.detail.as_deref().unwrap().starts_with(detail), "{mark}: {:?}", row.detail);
    }
    assert_eq!(rows.values().filter(|row| row.status == "ok").count(), 40);
    assert!(notes(&job).is_empty(), "all that was begun has ended: {:?}", notes(&job));
}

/// The first run decodes in its own process and dies of the tile, or gives up on it; the second knows that, and is whole.
#[test]
fn what_a_run_dies_of_is_rejected_by_the_next() {
    for (mark, code, reason) in [
        ("poison:crash", None, "decoder_crash"),
        ("poison:loop", Some(75), "decoder_timeout"),
        ("poison:sleep", Some(75), "decoder_timeout"),
    ] {
        let job = Job::new(20, "[plan]\nshard_tiles = 8");
        job.write_image("00009-poison.jpg", &poisoned(mark));
        let first = run(&job, &[&LIMITS, &ACCEPTED, &["--log-format", "text"]]);
        assert_eq!(first.status.code(), code, "{mark}: {}", stderr(&first));
        if code.is_some() {
            let said = stderr(&first);
            assert!(
                said.contains("longer than limits.decode_time (1 s)") && said.contains("hint: run it again"),
                "{said}"
            );
        }
        assert!(!notes(&job).is_empty(), "{mark}: shards were begun and not ended");
        assert_exit(&run(&job, &[&LIMITS, &ACCEPTED]), 0);
        job.verify_ok();
        let rows = by_file(&job.table());
        assert_eq!(rows.len(), 21);
        assert_eq!(rows["00009-poison.jpg"].reason.as_deref(), Some(reason), "{mark}");
        assert_eq!(rows.values().filter(|row| row.status == "ok").count(), 20, "{mark}");
    }
}

/// Whatever is decoded in child processes is what would be decoded here.
#[test]
fn rows_are_the_same_from_child_processes() {
    let Some(data) = support::test_data() else { return };
    let frames = "[privacy]\npolicy = \"none\"\n[tiles]\ngrid = \"frames\"";
    let windows = "[tiles]\ngrid = \"regular\"\nsize = 64\ngsd = \"native\"";
    for (input, settings, least) in [
        ("photos", "", 100),
        ("faults", "", 10),
        ("satellite/geotiff", windows, 20),
        ("medical/dicom", frames, 60),
    ] {
        let input = data.join(input);
        let job = Job::new(0, settings);
        let run_into = |table: &str, isolate: &str| {
            let table = job.path(table);
            let isolate = format!("run.isolate={isolate}");
            let arguments =
                ["--input", input.to_str().unwrap(), "--output", table.to_str().unwrap(), "--set", &isolate];
            assert_exit(&job.run(&[&arguments[..], &ACCEPTED].concat()), 0);
            rows(&table).into_iter().map(|row| (row.tile_id.clone(), row)).collect::<BTreeMap<_, _>>()
        };
        let (here, there) = (run_into("here", "never"), run_into("there", "always"));
        assert!(here.len() >= least, "{} rows of {}", here.len(), input.display());
        assert!(here.keys().eq(there.keys()));
        for (id, row) in &here {
            assert_eq!(row, &there[id], "{}", row.source);
        }
    }
}

/// A worker that is stopped has begun nothing any more; one that is killed has.
#[test]
fn only_a_death_leaves_a_note() {
    let job = Job::new(600, "[plan]\nshard_tiles = 8\n[run]\nthreads = 1\nbatch = 2");
    for (signal, is_left) in [("-TERM", false), ("-KILL", true)] {
        let mut worker = job.run_command(&[]).spawn().unwrap();
        wait_until("a shard is begun", || !notes(&job).is_empty());
        let pid = worker.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        worker.wait().unwrap();
        assert_eq!(!notes(&job).is_empty(), is_left, "{signal}: {:?}", notes(&job));
    }
    let output = job.run(&["-v", "--log-format", "text"]);
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("its tiles are decoded in child processes"), "{}", stderr(&output));
    job.verify_ok();
}

/// A child that is waiting goes with the worker that is killed.
#[test]
fn no_child_is_left_behind() {
    let job = Job::new(600, "[run]\nthreads = 2");
    let mut worker = job.run_command(&ALWAYS).spawn().unwrap();
    let parent = worker.id().to_string();
    let children = || {
        let output = Command::new("pgrep").args(["-f", " decoder ", "-P", &parent]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    wait_until("children decode", || !children().is_empty());
    let pids = children();
    worker.kill().unwrap();
    worker.wait().unwrap();
    let is_gone = |pid: &String| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.is_empty() || status.contains("State:\tZ")
    };
    wait_until("they are gone", || pids.iter().all(is_gone));
}
