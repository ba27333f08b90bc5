//! Clocks that are hours off.

use std::collections::BTreeSet;
use std::fs;

use super::{Bench, Worker};
use crate::attempts::{FAST, WebJob};
use crate::fixture::{Job, assert_exit, jpeg, rows, stderr};
use crate::support::fault_proxy::{Fault, Rule};
use crate::support::skew::skewed;

/// How many hours the clocks of three workers are ahead.
const HOURS: [i64; 3] = [0, -7, 30];

/// Workers whose clocks differ share one run, in a folder that they all see; none takes the files that another one is
/// writing for leftovers.
#[test]
fn workers_whose_clocks_differ_share_a_run() {
    let job = Job::new(60, "[plan]\nshard_tiles = 3");
    let staged = job.path("table/_tilefleet/.staging/put-in-progress");
    fs::create_dir_all(staged.parent().unwrap()).unwrap();
    fs::write(&staged, b"begun").unwrap();
    let workers = HOURS.map(|hours| Worker::start(skewed(&mut job.run_command(&[]), hours)));
    for worker in workers {
        worker.ended_with(0);
    }
    job.verify_ok();
    let all = rows(&job.table());
    assert_eq!(all.iter().map(|row| &row.tile_id).collect::<BTreeSet<_>>().len(), 60);
    assert_eq!(all.len(), 60);
    assert!(staged.exists(), "another worker is writing this");
}

/// Whoever plans last has the newest rows, however its clock goes.
#[cfg(feature = "query")]
#[test]
fn a_later_run_is_newer_though_its_clock_is_behind() {
    let job = Job::new(3, "");
    assert_exit(&skewed(&mut job.run_command(&[]), 30).output().unwrap(), 0);
    job.write_image("00001.jpg", &jpeg(17));
    assert_exit(&skewed(&mut job.run_command(&[]), -7).output().unwrap(), 0);
    job.verify_ok();
    let newest = rows(&job.table()).pop().unwrap();
    assert_eq!(newest.file(), "00001.jpg");
    let shown = crate::fixture::shown(&job.table());
    assert_eq!(shown.len(), 3);
    assert_eq!(shown[1], newest);
}

/// Tries of two workers whose clocks are more than a day apart are no tries over a day.
#[test]
fn an_object_is_not_given_up_because_clocks_differ() {
    let web = WebJob::new(14, "[plan]\nshard_tiles = 2\n[limits]\nmax_reject_ratio = 0.5");
    web.web.add(Rule::new(Fault::Status(500)).on_method("GET").on_key("00005.jpg"));
    let run = |hours| skewed(&mut web.job.run_command(&FAST), hours).output().unwrap();
    for hours in [0, 30] {
        let output = run(hours);
        assert_exit(&output, 75);
        assert!(stderr(&output).contains("1 object cannot be read for now"), "{}", stderr(&output));
        assert!(rows(&web.job.table()).iter().all(|row| row.status == "ok"));
    }
    // The third run gives it up, as ever.
    assert_exit(&run(-7), 0);
    web.job.verify_ok();
    assert_eq!(web.reason("00005.jpg").as_deref(), Some("unreadable"));
}

/// A store refuses what was signed at another time. That is said as what it is, and nothing is rejected.
#[test]
fn a_clock_that_the_store_refuses_is_named() {
    let Some(bench) = Bench::new(4, "[plan]\nshard_tiles = 2") else { return };
    assert_exit(&bench.plan(), 0);
    let output = skewed(&mut bench.command(&[]), 7).output().unwrap();
    assert_exit(&output, 78);
    let said = stderr(&output);
    assert!(said.contains("this machine's clock is wrong") && said.contains("set the clock (NTP)"), "{said}");
    assert!(bench.shards().is_empty());
    assert_exit(&bench.run(&[]), 0);
    bench.assert_sound(4);
}
