//! The end of a run that several workers see: one of them reads all footers, sums up, and says what was rejected.

use std::process::Command;
use std::time::Duration;

use super::{Bench, Fault, OF_SHARDS, Worker, at_put};
use crate::fixture::{assert_exit, wait_until};

const SUMMARY: &str = "summary.json";

/// Images that are none, so many that the run is beyond its limit.
fn spoil(bench: &Bench) {
    for index in 0..4 {
        bench.remote.server.put("scenes", &format!("images/broken-{index}.jpg"), "no image");
    }
}

/// Four workers end together: one reads the footers, and the others wait for what it writes.
#[test]
fn of_workers_that_end_together_one_sums_up() {
    const NUM_SHARDS: usize = 48;
    let Some(bench) = Bench::new(NUM_SHARDS, "[plan]\nshard_tiles = 1") else { return };
    assert_exit(&bench.plan(), 0);
    bench.proxy.add(at_put(Fault::Delay(Duration::from_secs(1)), SUMMARY));
    let shares = ["0/4", "1/4", "2/4", "3/4"];
    let workers = shares.map(|share| Worker::start(&mut bench.command(&["--share", share])));
    for worker in workers {
        worker.ended_with(0);
    }
    bench.assert_sound(NUM_SHARDS);
    let requests = bench.proxy.requests();
    let of = |method: &str, key: &str| {
        requests.iter().filter(|request| request.starts_with(method) && request.contains(key)).count()
    };
    assert_eq!(of("PUT ", SUMMARY), 1);
    let num_reads = of("GET ", &format!("{OF_SHARDS}run="));
    assert!(num_reads < 2 * NUM_SHARDS, "{num_reads} reads of {NUM_SHARDS} footers: every worker reads all");
}

/// Whoever is to sum up dies over it: of the others one does, and says what was rejected.
#[test]
fn who_dies_before_it_has_summed_up_is_replaced_by_another_worker() {
    let Some(first) = Bench::new(12, "[plan]\nshard_tiles = 1") else { return };
    spoil(&first);
    assert_exit(&first.plan(), 0);
    let second = first.beside("table");
    let benches = [&first, &second];
    for bench in benches {
        bench.proxy.add(at_put(Fault::Held, SUMMARY));
    }
    let workers = ["0/2", "1/2"].iter().zip(benches);
    let mut workers: Vec<Worker> =
        workers.map(|(share, bench)| Worker::start(&mut bench.command(&["--share", share]))).collect();
    let dies = || benches.iter().position(|bench| !bench.proxy.befallen().is_empty());
    wait_until("one of them sums up", || dies().is_some());
    let dies = dies().unwrap();
    workers.remove(dies).kill();
    benches[1 - dies].proxy.clear();
    let said = workers.remove(0).ended_with(65);
    assert!(said.contains("limits.max_reject_ratio allows 10.0 %"), "{said}");
    first.assert_verdict(0);
}

/// The judge dies after the summary is there, and before it has said anything: its engine starts the task again, and that
/// one says it. Others do not, nor do tasks of the next job.
#[test]
fn a_judge_that_dies_before_it_could_say_65_says_it_when_it_is_started_again() {
    let Some(bench) = Bench::new(6, "[plan]\nshard_tiles = 2") else { return };
    spoil(&bench);
    let task = |job: &str, id: &str| -> Command {
        let mut command = bench.command(&["--share", "auto"]);
        let slurm = [("ID", id), ("COUNT", "2"), ("MIN", "0"), ("MAX", "1")];
        command.envs(slurm.map(|(name, value)| (format!("SLURM_ARRAY_TASK_{name}"), value)));
        command.env("SLURM_ARRAY_JOB_ID", job);
        command
    };
    bench.meets(at_put(Fault::DoneInSilence, SUMMARY), task("7", "1")).kill();
    bench.proxy.clear();
    for (job, id, code) in [("7", "0", 0), ("7", "1", 65), ("8", "1", 0)] {
        assert_exit(&task(job, id).output().unwrap(), code);
    }
    bench.assert_verdict(0);
}
