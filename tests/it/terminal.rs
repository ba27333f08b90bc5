//! What other people wrote reaches no terminal raw, and nothing that is asked ends in a crash.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::Output;

use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use serde_json::Value;

use crate::fixture::{Job, assert_exit, shard_files, stderr};
use crate::query::query;
use crate::support;

/// Sets a title, changes colours in eight bits, and turns the direction of writing.
const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}gpj";

fn command(arguments: &[&str], job: &Job) -> Output {
    support::tilefleet().current_dir(job.folder.path()).args(arguments).output().unwrap()
}

/// Checks that nothing in text would steer a terminal; returns standard output and standard error.
fn harmless(output: &Output) -> String {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output));
    let steers = |letter: char| {
        (letter.is_control() && letter != '\n' && letter != '\t')
            || ('\u{202a}'..='\u{202e}').contains(&letter)
    };
    assert!(!said.contains(steers), "{said:?}");
    said
}

#[test]
fn names_and_values_of_others_are_shown_and_not_obeyed() {
    let job = Job::new(1, "[limits]\nmax_reject_ratio = 0.9");
    let name = format!("{HOSTILE}.jpg");
    job.write_image(&name, b"\xff\xd8\xff not");
    let manifest = format!("uri,{HOSTILE}\nimages/00000.jpg,{HOSTILE}\nimages/{name},{HOSTILE}\n");
    fs::write(job.path("manifest.csv"), manifest).unwrap();
    let run = ["run", "photos.toml", "--set", "input.uris=[]", "--set", "input.manifest=manifest.csv"];
    for arguments in [
        &run[..],
        &["rejects", "table"],
        &["inspect", &format!("images/{name}")],
        &["inspect", &format!("images/{HOSTILE}.missing")],
        &["status", "table"],
        &["query", "table", "SELECT source, extra, detail FROM tiles_all"],
        &["query", "table", &format!("SELECT 1 AS \"{HOSTILE}\"")],
        &["query", "table", &format!("SELECT \"{HOSTILE}\" FROM tiles")],
        &["status", HOSTILE],
        &[HOSTILE],
        &["run", "photos.toml", "--set", &format!("run.{HOSTILE}=1")],
    ] {
        let text = command(&[arguments, &["--log-format", "text"]].concat(), &job);
        harmless(&text);
        let json = command(&[arguments, &["--log-format", "json"]].concat(), &job);
        harmless(&json);
        for line in stderr(&json).lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
    }
    let rejects = harmless(&command(&["rejects", "table"], &job));
    assert!(rejects.contains(r"owned%07\x9b31m\u{202e}gpj.jpg"), "{rejects}");
    // Values that a program reads are as they are.
    let json = command(&["query", "table", "SELECT extra FROM tiles_all", "--json"], &job);
    let rows: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(rows[0]["extra"][HOSTILE], HOSTILE);
    let csv = command(
        &["query", "table", &format!("SELECT extra['{HOSTILE}'] AS it FROM tiles_all"), "--format", "csv"],
        &job,
    );
    assert!(String::from_utf8(csv.stdout).unwrap().contains(HOSTILE));
}

fn chain(terms: usize, term: &str, between: &str) -> String {
    vec![term; terms].join(between)
}

/// Each of these overflowed the stack, which ends a process without a word of its own.
#[test]
fn long_queries_are_answered_or_refused() {
    let job = Job::new(2, "");
    job.run_ok(&[]);
    let sum = format!("SELECT {} AS sum", chain(500, "1", " + "));
    let answered = query(&job.table(), &sum, &["--json"]);
    assert_exit(&answered, 0);
    let rows: Value = serde_json::from_slice(&answered.stdout).unwrap();
    assert_eq!(rows[0]["sum"], 500);
    let of_rows = format!("SELECT count(*) AS n FROM tiles WHERE {} >= 0", chain(200, "width", " + "));
    let any = format!("SELECT count(*) AS n FROM tiles WHERE {}", chain(200, "width + x = 3", " OR "));
    for sql in [of_rows, any] {
        assert_exit(&query(&job.table(), &sql, &["--json"]), 0);
    }
    let sum = format!("SELECT {}", chain(30_000, "1", " + "));
    let any = format!("SELECT * FROM tiles WHERE {}", chain(6000, "width = 3", " OR "));
    let union = chain(3000, "SELECT 1", " UNION ALL ");
    let brackets = format!("SELECT {}1{}", "(".repeat(40_000), ")".repeat(40_000));
    let signs = format!("SELECT {}1", "- ".repeat(40_000));
    let cases = format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(1500), " END".repeat(1500));
    for sql in [sum, any, union, brackets, signs, cases] {
        let refused = query(&job.table(), &sql, &["--log-format", "text"]);
        assert_exit(&refused, 64);
        assert!(stderr(&refused).starts_with("error: the query "), "{}", stderr(&refused));
    }
}

/// Alters the Arrow schema in a shard's footer in one letter, so that the library that reads it crashes.
fn damage_schema(shard: &Path) {
    let sound = fs::read(shard).unwrap();
    let key = b"ARROW:schema";
    let at = sound.windows(key.len()).rposition(|bytes| bytes == key).unwrap();
    let is_crash = |bytes: Vec<u8>| {
        let load = move || ArrowReaderMetadata::load(&Bytes::from(bytes), ArrowReaderOptions::new()).is_ok();
        catch_unwind(load).is_err()
    };
    let letters = (at + key.len() + 8..sound.len() - 8).filter(|at| sound[*at].is_ascii_alphanumeric());
    let altered = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] = if bytes[at] == b'z' { b'y' } else { b'z' };
        bytes
    };
    let crash = letters.map(altered).find(|bytes| is_crash(bytes.clone())).expect("some letter names a type");
    fs::write(shard, crash).unwrap();
}

#[test]
fn a_damaged_schema_is_an_error_that_names_its_file() {
    let job = Job::new(3, "[plan]\nshard_tiles = 1");
    job.run_ok(&[]);
    let (name, shard) = shard_files(&job.table()).into_iter().nth(1).unwrap();
    damage_schema(&shard);
    for sql in [
        "SELECT count(*) FROM tiles",
        "SELECT * FROM tiles_all",
        "SELECT source, embedding FROM tiles ORDER BY source",
        "SELECT status, count(*) FROM tiles GROUP BY status",
    ] {
        let told = query(&job.table(), sql, &["--log-format", "text"]);
        assert_exit(&told, 75);
        let said = stderr(&told);
        assert!(said.contains(name.rsplit('/').next().unwrap()) && !said.contains("panicked"), "{said}");
    }
}
