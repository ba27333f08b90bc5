//! Rejected tiles: listed, repaired and tried again.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use tilefleet::config::{Overrides, Pipeline};
use tilefleet::output::rejects::{Question, find};
use tilefleet::stages::pipeline::Stop;
use tilefleet::stages::worker::Job as WorkerJob;

use crate::fixture::{Job, assert_exit, jpeg, model, shard_files, shown, stderr, wait_until};
use crate::support;

const LENIENT: &str = "[limits]\nmax_reject_ratio = 1.0";

fn rejects(table: &Path, arguments: &[&str]) -> Output {
    support::tilefleet().arg("rejects").arg(table).args(arguments).output().unwrap()
}

fn listed(table: &Path, arguments: &[&str]) -> Vec<Value> {
    let output = rejects(table, &[arguments, &["--json"]].concat());
    assert_exit(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(output: &Output) -> String {
    assert_exit(output, 0);
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The reports of a retry, which ends with 0.
fn retried(table: &Path, arguments: &[&str]) -> Vec<Value> {
    listed(table, &[arguments, &["--retry"]].concat())
}

fn with_rejects(num_images: usize, num_empty: usize, settings: &str) -> Job {
    let job = Job::new(num_images, settings);
    (0..num_empty).for_each(|index| job.write_image(&format!("empty-{index:03}.jpg"), b""));
    job
}

#[test]
fn rejects_are_listed_by_reason() {
    let job = with_rejects(4, 3, LENIENT);
    job.write_image("text.jpg", b"not an image at all");
    job.run_ok(&[]);
    let said = text(&rejects(&job.table(), &["--limit", "2"]));
    assert!(said.contains("empty  3 tiles\n") && said.contains("not_an_image  1 tile\n"), "{said}");
    assert!(said.contains("and 1 more") && said.matches("empty-").count() == 2, "{said}");
    assert_eq!(text(&rejects(&job.table(), &["--all"])).matches("empty-").count(), 3);

    let all = listed(&job.table(), &[]);
    assert_eq!(all.len(), 4);
    let keys: Vec<&String> = all[0].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["detail", "reason", "run", "shard", "source", "source_version", "tile_id"]);
    let one = listed(&job.table(), &["--reason", "not_an_image"]);
    assert!(one.len() == 1 && one[0]["source"].as_str().unwrap().ends_with("text.jpg"), "{one:?}");
    assert_exit(&rejects(&job.table(), &["--reason", "bad_luck"]), 64);
    assert_exit(&rejects(&job.table(), &["--run", "photos-00000000-0001"]), 78);
    assert_exit(&rejects(&job.path("nowhere"), &[]), 78);

    // A newer run replaces a reject; the older run still has it.
    let run = all[0]["run"].as_str().unwrap().to_owned();
    job.write_image("text.jpg", &jpeg(7));
    job.run_ok(&[]);
    assert_eq!(listed(&job.table(), &[]).len(), 3);
    assert_eq!(listed(&job.table(), &["--run", &run]).len(), 4);
}

#[test]
fn repaired_sources_are_retried_once() {
    let job = with_rejects(6, 3, LENIENT);
    job.run_ok(&[]);
    for index in 0..2 {
        job.write_image(&format!("empty-{index:03}.jpg"), &jpeg(100 + index));
    }
    let reports = retried(&job.table(), &["--set", "limits.max_reject_ratio=0.5"]);
    assert_eq!((&reports[0]["summary"]["tiles"], &reports[0]["summary"]["ok"]), (&3.into(), &2.into()));
    assert_eq!(reports[0]["this_process"]["settled"], 3, "nothing else was computed");
    job.verify_ok();
    let rows = shown(&job.table());
    assert_eq!((rows.len(), rows.iter().filter(|row| row.status == "ok").count()), (9, 8));
    let repaired = rows.iter().find(|row| row.file() == "empty-000.jpg").unwrap();
    let size = format!("{}-", jpeg(100).len());
    assert!(repaired.source_version.as_ref().unwrap().starts_with(&size), "{repaired:?}");
    assert!(job.run_ok(&[]).contains("nothing new"), "the retry saw the repaired files");

    // What is still broken is rejected again; the table it leaves is judged, not the one tile of it.
    let output = rejects(&job.table(), &["--retry", "--set", "limits.max_reject_ratio=0.5"]);
    assert!(text(&output).contains("in the table: 9 tiles: 8 ok, 0 skipped, 1 rejected"));
    let output = rejects(&job.table(), &["--retry", "--set", "limits.max_reject_ratio=0.1"]);
    assert_exit(&output, 65);
    assert_eq!(shown(&job.table()).len(), 9);
    job.write_image("empty-002.jpg", &jpeg(102));
    assert_eq!(text(&rejects(&job.table(), &["--retry", "--reason", "not_found"])), "nothing to retry\n");
    let said = text(&rejects(&job.table(), &["--retry", "--reason", "empty"]));
    assert!(said.contains("complete: 1 tile in 1 shard"), "{said}");
    assert_eq!(text(&rejects(&job.table(), &["--retry"])), "nothing to retry\n");
    assert!(shown(&job.table()).iter().all(|row| row.status == "ok"));
    job.verify_ok();
}

/// Rejects that were repaired between the question and the retry are left alone, whatever became of their files.
#[test]
fn what_was_repaired_meanwhile_is_not_retried() {
    let job = with_rejects(3, 2, LENIENT);
    job.run_ok(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let loaded = Pipeline::load(Some(&job.pipeline), &Overrides::default()).unwrap();
    let worker = runtime.block_on(WorkerJob::open(&loaded)).unwrap();
    let found = runtime.block_on(find(worker.output(), &Question::default())).unwrap();
    let places: Vec<_> = found.iter().map(|reject| reject.place().unwrap()).collect();
    job.write_image("empty-000.jpg", &jpeg(1));
    retried(&job.table(), &[]);
    let before = (shown(&job.table()), shard_files(&job.table()).len());

    let retry =
        |places: &[_]| runtime.block_on(worker.retry(places, Arc::default(), Stop::default())).unwrap();
    job.write_image("empty-000.jpg", b"");
    assert!(retry(&places).is_none(), "there is nothing to retry of what newer runs have replaced");
    assert!(retry(&[]).is_none());
    assert_eq!((shown(&job.table()), shard_files(&job.table()).len()), before);
    job.verify_ok();
}

/// A source that is still gone is planned and rejected again; so is one that has gone since.
#[test]
fn what_is_gone_is_rejected_again() {
    let job = with_rejects(3, 2, LENIENT);
    job.run_ok(&[]);
    fs::remove_file(job.path("images/empty-000.jpg")).unwrap();
    job.write_image("empty-001.jpg", &jpeg(1));
    retried(&job.table(), &[]);
    job.verify_ok();
    let rows = shown(&job.table());
    let reason = |file: &str| rows.iter().find(|row| row.file() == file).unwrap().reason.clone();
    assert_eq!(
        (rows.len(), reason("empty-000.jpg").as_deref(), reason("empty-001.jpg")),
        (5, Some("not_found"), None)
    );
}

/// A retry that is killed goes on, be it by the same command or by the pipeline.
#[test]
fn a_killed_retry_goes_on() {
    let slow = format!("{LENIENT}\n[plan]\nshard_tiles = 2\n[run]\nthreads = 1\nbatch = 1");
    for pipeline in [false, true] {
        let job = with_rejects(3, 200, &slow);
        job.run_ok(&[]);
        let before = shard_files(&job.table()).len();
        (0..200).for_each(|index| job.write_image(&format!("empty-{index:03}.jpg"), &jpeg(index)));
        let mut command = support::tilefleet();
        command.arg("rejects").arg(job.table()).arg("--retry");
        let mut worker = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_until("some of it is committed", || shard_files(&job.table()).len() > before + 5);
        worker.kill().unwrap();
        assert!(!worker.wait().unwrap().success(), "it ended before the kill; make the job longer");
        let verdict = job.verify();
        assert_exit(&verdict, 75);
        assert!(stderr(&verdict).contains("rejects OUTPUT --retry"), "{}", stderr(&verdict));
        assert_eq!(shown(&job.table()).len(), 203);
        if pipeline {
            job.write_image("new.jpg", &jpeg(9));
            let report: Value = serde_json::from_str(&job.run_ok(&["--json"])).unwrap();
            assert_eq!(report["summary"]["tiles"], 1, "after the retry the new image is covered: {report}");
        } else {
            let report = &retried(&job.table(), &[])[0];
            assert_eq!(report["summary"]["tiles"], 200);
            assert!(report["this_process"]["settled"].as_u64().unwrap() < 200, "{report}");
        }
        let rows = shown(&job.table());
        assert_eq!(rows.len(), 203 + usize::from(pipeline));
        assert!(rows.iter().all(|row| row.status == "ok"));
        job.verify_ok();
        assert_eq!(text(&rejects(&job.table(), &["--retry"])), "nothing to retry\n");
    }
}

/// Things may lie elsewhere today; but rows that would have another meaning are refused.
#[test]
fn the_pipeline_is_the_recorded_one() {
    let job = with_rejects(3, 1, LENIENT);
    let moved = job.path("moved.onnx");
    let network = crate::fixture::small_model();
    fs::copy(network, &moved).unwrap();
    fs::copy(network.with_extension("contract.toml"), moved.with_extension("contract.toml")).unwrap();
    job.run_ok(&["--model", moved.to_str().unwrap()]);
    fs::remove_file(&moved).unwrap();
    fs::rename(job.table(), job.path("elsewhere")).unwrap();
    let table = job.path("elsewhere");

    let lost = rejects(&table, &["--retry"]);
    assert_exit(&lost, 78);
    assert!(stderr(&lost).contains("moved.onnx"), "{}", stderr(&lost));
    let sizes = ["--arch", "resnet18", "--classes", "10", "--size", "64", "--resize", "72"];
    let other = model("retrained-for-retry", &[&["--seed", "8"], &sizes[..]].concat());
    let refused = rejects(&table, &["--retry", "--model", other.to_str().unwrap()]);
    assert_exit(&refused, 78);
    assert!(stderr(&refused).contains("would have another meaning"), "{}", stderr(&refused));
    assert_exit(&rejects(&table, &["--retry", "--set", "output.top_k=3"]), 78);
    assert_exit(&rejects(&table, &["--model", other.to_str().unwrap()]), 64);
    assert_exit(&rejects(&table, &["--set", "run.batch=3"]), 78);

    job.write_image("empty-000.jpg", &jpeg(5));
    retried(&table, &["--model", network.to_str().unwrap(), "--set", "run.batch=3"]);
    let rows = shown(&table);
    assert!(rows.len() == 4 && rows.iter().all(|row| row.status == "ok"));
}

/// A run that is not complete has to be finished by its own pipeline first.
#[test]
fn an_unfinished_run_comes_first() {
    let job = with_rejects(3, 1, LENIENT);
    job.run_ok(&[]);
    job.write_image("new.jpg", &jpeg(3));
    assert_exit(&support::tilefleet().arg("plan").arg(&job.pipeline).output().unwrap(), 0);
    let output = rejects(&job.table(), &["--retry"]);
    assert_exit(&output, 75);
    assert!(stderr(&output).contains("run its pipeline again to finish it"), "{}", stderr(&output));
}

/// Rejects of two pipelines in one output are retried one after the other, each by its own.
#[test]
fn each_pipeline_retries_its_own() {
    let job = with_rejects(2, 1, LENIENT);
    job.run_ok(&[]);
    fs::create_dir(job.path("more")).unwrap();
    fs::write(job.path("more/empty.jpg"), b"").unwrap();
    let more = job.path("more");
    job.run_ok(&["--set", "name=second", "--input", more.to_str().unwrap()]);
    for file in ["images/empty-000.jpg", "more/empty.jpg"] {
        fs::write(job.path(file), jpeg(4)).unwrap();
    }
    let reports = retried(&job.table(), &[]);
    let ids: Vec<&str> = reports.iter().map(|report| report["run_id"].as_str().unwrap()).collect();
    assert!(ids[0].starts_with("photos-") && ids[1].starts_with("second-") && ids.len() == 2, "{ids:?}");
    assert!(shown(&job.table()).iter().all(|row| row.status == "ok"));
    job.verify_ok();
}
