//! Workers that die at a write, and writes whose answers are missing or wrong.

use std::thread;

use super::{Bench, Fault, OF_SHARDS, Rule, at_put};
use crate::fixture::{assert_exit, wait_until};

/// All that a run writes, in its order: names, or folders of names that differ from process to process.
static WRITES: [&str; 8] = [
    "create-only-probe.txt",
    "output.json",
    "sources.parquet",
    "/plan/",
    "/run.json",
    "/begun/",
    OF_SHARDS,
    "summary.json",
];

/// A worker is killed before each object is written, and right after it. None of them leaves anything that the next
/// one cannot go on from.
#[test]
fn whoever_is_killed_before_a_write_or_after_it_loses_nothing() {
    let Some(bench) = Bench::new(32, "[plan]\nshard_tiles = 2") else { return };
    let clean = bench.beside("clean");
    assert_exit(&clean.run(&[]), 0);
    let requests = clean.proxy.requests();
    let written: Vec<&String> = requests.iter().filter(|request| request.starts_with("PUT ")).collect();
    let unknown = written.iter().find(|put| !WRITES.iter().any(|key| put.contains(key)));
    assert_eq!(unknown, None, "a run writes what is not in the list");
    for key in WRITES {
        assert!(written.iter().any(|put| put.contains(key)), "{key} is written");
        for fault in [Fault::Silence, Fault::DoneInSilence] {
            bench.worker_that_meets(at_put(fault.clone(), key)).kill();
            bench.proxy.clear();
            let code = bench.ask(&["verify"]).status.code();
            // 78: there is no run as yet. 0: it lacks no more than its summary, which says nothing of its rows.
            assert!(matches!(code, Some(0 | 75 | 78)), "verify says {code:?} after {fault:?} at {key}");
        }
    }
    assert_exit(&bench.run(&[]), 0);
    bench.assert_sound(32);
}

/// The network holds writes back until their worker is dead and another one has done its work.
#[test]
fn a_write_that_lands_after_its_worker_has_died_replaces_nothing() {
    let Some(bench) = Bench::new(12, "[plan]\nshard_tiles = 3") else { return };
    bench.worker_that_meets(at_put(Fault::Held, OF_SHARDS)).kill();
    assert!(bench.shards().is_empty());
    assert_exit(&bench.command_beside().output().unwrap(), 0);
    let shards = bench.shards();
    let num_held = bench.proxy.befallen().len();
    bench.proxy.clear();
    wait_until("what was held has been done", || bench.proxy.answers_after_hold().len() == num_held);
    assert_eq!(bench.proxy.answers_after_hold(), vec![412; num_held]);
    assert!(bench.shards() == shards, "the shards are those of the other worker");
    bench.assert_sound(12);
}

/// Each write of a run is done and answered as if it was not: by an error, by a conflict with itself, or not at all.
/// The run goes on.
#[test]
fn an_answer_that_hides_what_was_done_ends_no_run() {
    let faults = [
        Fault::DoneBut(500),
        Fault::DoneBut(503),
        Fault::DoneBut(409),
        Fault::DoneBut(412),
        Fault::LostReply,
        Fault::DoneInSilence,
    ];
    let Some(first) = Bench::new(4, "[plan]\nshard_tiles = 2") else { return };
    thread::scope(|scope| {
        for (number, fault) in faults.into_iter().enumerate() {
            let bench = first.beside(&format!("table-{number}"));
            scope.spawn(move || assert_is_seen_through(&bench, &fault));
        }
    });
}

fn assert_is_seen_through(bench: &Bench, fault: &Fault) {
    // Of the probe no answer may be guessed: it shows what the store can do. The summary is no create-only write, so
    // that nothing conflicts with it.
    let conflicts = matches!(fault, Fault::DoneBut(409 | 412));
    let keys = if conflicts { &WRITES[1..WRITES.len() - 1] } else { &WRITES[1..] };
    for key in keys {
        bench.proxy.add(at_put(fault.clone(), key).times(1));
    }
    let output = bench.run(&["--json"]);
    assert_exit(&output, 0);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["this_process"]["shards_ours"], 2, "{fault:?}: {report}");
    assert_eq!(bench.proxy.befallen().len(), keys.len(), "{fault:?}");
    bench.assert_sound(4);
}

/// Shards that the store does not take stay open, whatever it says: the next run has nothing but them to do.
#[test]
fn a_write_that_does_not_land_leaves_its_shard_open() {
    let faults =
        [Fault::Status(500), Fault::Status(507), Fault::Status(412), Fault::Status(429), Fault::Silence];
    let Some(first) = Bench::new(6, "[plan]\nshard_tiles = 2") else { return };
    thread::scope(|scope| {
        for (number, fault) in faults.into_iter().enumerate() {
            let bench = first.beside(&format!("table-{number}"));
            scope.spawn(move || {
                bench.proxy.add(at_put(fault.clone(), "shard-00000001.parquet"));
                assert_exit(&bench.run(&[]), 75);
                assert!(!bench.shards().keys().any(|key| key.contains("shard-00000001")), "{fault:?}");
                bench.assert_verdict(75);
                bench.proxy.clear();
                assert_exit(&bench.run(&[]), 0);
                bench.assert_sound(6);
            });
        }
    });
}

/// Whoever may write but not delete, as where nothing may be taken away for a while, can work all the same.
#[test]
fn a_store_that_deletes_nothing_ends_no_run() {
    let Some(bench) = Bench::new(4, "[plan]\nshard_tiles = 2") else { return };
    bench.proxy.add(Rule::new(Fault::Status(403)).on_method("DELETE"));
    bench.proxy.add(Rule::new(Fault::Status(403)).on_method("POST").on_key("?delete"));
    assert_exit(&bench.run(&[]), 0);
    assert!(!bench.proxy.befallen().is_empty(), "it tried to");
    bench.assert_sound(4);
}
