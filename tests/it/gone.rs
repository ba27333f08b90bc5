//! Objects that go away while a run is under way: one object is a row, a folder is an outage.

use std::fs;
use std::process::{Child, Output, Stdio};

use crate::fixture::{Job, assert_exit, ended, rows, shard_files, stderr, wait_until};

/// Many small shards and one slow thread, so that there is time to take the input away.
const SLOW: &str =
    "[plan]\nshard_tiles = 4\n[run]\nthreads = 1\nbatch = 1\nfetch_concurrency = 1\nmemory = \"64MB\"";

fn started(job: &Job) -> Child {
    let mut command = job.run_command(&[]);
    let worker = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the first shard is committed", || !shard_files(&job.table()).is_empty());
    worker
}

/// The run stops with 75 and no reject; once the folder is back, it goes on to the end.
fn assert_goes_on(job: &Job, output: &Output) {
    assert_exit(output, 75);
    assert!(stderr(output).contains("hint: mount the folder or restore the bucket"), "{}", stderr(output));
    assert!(rows(&job.table()).iter().all(|row| row.status == "ok"), "an outage made rejects");
    let _ = fs::remove_dir(job.path("images"));
    fs::rename(job.path("away"), job.path("images")).unwrap();
    job.run_ok(&[]);
    job.verify_ok();
    assert!(rows(&job.table()).iter().all(|row| row.status == "ok"));
}

/// The input folder is renamed in mid-run, after sources were read from it.
#[test]
fn a_folder_that_goes_away_in_mid_run_is_no_reject() {
    let job = Job::new(400, SLOW);
    let worker = started(&job);
    fs::rename(job.path("images"), job.path("away")).unwrap();
    assert_goes_on(&job, &ended(worker));
}

/// An unmounted folder is there and empty.
#[test]
fn a_folder_that_becomes_empty_in_mid_run_is_no_reject() {
    let job = Job::new(400, SLOW);
    let worker = started(&job);
    fs::rename(job.path("images"), job.path("away")).unwrap();
    fs::create_dir(job.path("images")).unwrap();
    assert_goes_on(&job, &ended(worker));
}

/// Single images that are removed in mid-run are rows.
#[test]
fn images_that_are_removed_in_mid_run_are_rows() {
    let job = Job::new(200, &format!("{SLOW}\n[limits]\nmax_reject_ratio = 1.0"));
    let worker = started(&job);
    for index in 0..150 {
        fs::remove_file(job.path("images").join(format!("{index:05}.jpg"))).unwrap();
    }
    assert_exit(&ended(worker), 0);
    job.verify_ok();
    let rows = rows(&job.table());
    assert_eq!(rows.len(), 200);
    assert!(rows.iter().all(|row| row.status == "ok" || row.reason.as_deref() == Some("not_found")));
    assert!(rows.iter().any(|row| row.status != "ok"));
}

/// A run of nothing but what is gone ends: a typing error must not wedge the output.
#[test]
fn a_manifest_of_mistyped_names_is_rejected() {
    let job = Job::new(3, "");
    fs::write(job.path("list.csv"), "uri\nimages/typo-1.jpg\nno-such-folder/typo-2.jpg\n").unwrap();
    let text = fs::read_to_string(&job.pipeline).unwrap();
    fs::write(&job.pipeline, text.replace("uris = [\"images\"]", "manifest = \"list.csv\"")).unwrap();
    assert_exit(&job.run(&["--set", "limits.max_reject_ratio=0.5"]), 65);
    job.verify_ok();
    let reasons: Vec<_> = rows(&job.table()).into_iter().map(|row| row.reason).collect();
    assert_eq!(reasons, [Some("not_found".to_owned()), Some("not_found".to_owned())]);
}

/// An output inside the input does not become input.
#[test]
fn an_output_inside_the_input_is_left_out() {
    let job = Job::new(3, "");
    let table = job.path("images/table");
    let arguments = ["--output", table.to_str().unwrap()];
    job.run_ok(&arguments);
    assert!(job.run_ok(&arguments).contains("nothing new"));
    assert_eq!(rows(&table).len(), 3);
}
