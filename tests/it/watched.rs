//! What monitoring sees of a process, and what `status` says is wrong with a run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::fixture::{Job, assert_exit, shard_files, stderr, wait_until};
use crate::support;

/// Asks, and returns the status and the body.
fn ask(address: &str, request: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).unwrap();
    write!(connection, "{request} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Starts a run with a port of its own; returns it and where it answers.
fn watched(job: &Job) -> (Child, String) {
    let mut command = job.run_command(&["--set", "observe.listen=127.0.0.1:0", "-v", "--log-format", "json"]);
    let mut worker = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(worker.stderr.take().unwrap()).lines();
    let address = lines.by_ref().find_map(|line| {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        line["address"].as_str().map(str::to_owned)
    });
    // Whoever writes on standard error must not be stopped by a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (worker, address.expect("it says where it listens"))
}

fn sample(page: &str, name: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not in\n{page}")).parse().unwrap()
}

#[test]
fn a_process_answers_monitoring() {
    let job = Job::new(2000, "[plan]\nshard_tiles = 20\n[run]\nthreads = 1\nbatch = 4");
    job.write_image("broken.jpg", b"no image");
    let (mut worker, address) = watched(&job);
    assert_eq!(ask(&address, "GET /healthz"), (200, "ok\n".to_owned()));
    wait_until("it is ready", || ask(&address, "GET /readyz") == (200, "working\n".to_owned()));
    wait_until("shards are committed", || shard_files(&job.table()).len() > 3);
    let (status, page) = ask(&address, "GET /metrics");
    assert_eq!(status, 200);
    assert!((sample(&page, "tilefleet_run_tiles") - 2001.0).abs() < f64::EPSILON);
    for counter in [
        "tilefleet_rows_total{status=\"ok\"}",
        "tilefleet_shards_total{committed_by=\"this_process\"}",
        "tilefleet_source_bytes_total",
        "tilefleet_stage_seconds_total{stage=\"model\"}",
    ] {
        assert!(sample(&page, counter) > 0.0, "{counter}");
    }
    let run = job.path("images").display().to_string();
    assert!(!page.contains(&run) && !page.contains("photos-"), "no identifier in a label:\n{page}");
    assert_eq!(ask(&address, "HEAD /metrics"), (200, String::new()));
    assert_eq!(ask(&address, "POST /metrics").0, 405);
    assert_eq!(ask(&address, "GET /nothing").0, 404);
    worker.kill().unwrap();
    worker.wait().unwrap();
}

/// Tasks of an array may meet on one machine.
#[test]
fn a_port_that_is_taken_stops_no_run() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output =
        Job::new(3, "").run(&["--set", &format!("observe.listen={address}"), "--log-format", "text"]);
    assert_exit(&output, 0);
    let said = stderr(&output);
    assert!(
        said.contains(&format!("cannot listen at {address}, so nobody can watch this process")),
        "{said}"
    );
    let wrong = Job::new(1, "").run(&["--set", "observe.listen=9464", "--log-format", "text"]);
    assert_exit(&wrong, 78);
    assert!(stderr(&wrong).contains("an address and a port"), "{}", stderr(&wrong));
}

fn status(job: &Job) -> Value {
    let json = support::stdout_of(support::tilefleet().arg("status").arg(job.table()).arg("--json"));
    serde_json::from_str::<Value>(&json).unwrap()[0].take()
}

#[test]
fn status_says_who_works_and_which_shards_their_workers_left() {
    let job = Job::new(2000, "[plan]\nshard_tiles = 20\n[run]\nthreads = 1\nbatch = 4");
    for _ in 0..2 {
        let before = shard_files(&job.table()).len();
        let mut worker = job.run_command(&[]).stderr(Stdio::null()).spawn().unwrap();
        wait_until("shards are committed", || shard_files(&job.table()).len() > before + 3);
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let trouble = &status(&job)["trouble"];
    let workers = trouble["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2, "{trouble}");
    assert!(workers.iter().all(|worker| worker["recent_commits"].as_u64() > Some(0)));
    assert!(workers.iter().all(|worker| worker["last_commit"].is_string()));
    let begun = trouble["begun"].as_array().unwrap();
    assert!(!begun.is_empty() && begun.iter().all(|shard| shard["late"] == false), "{trouble}");
    assert!(trouble["shard_seconds"].as_f64() > Some(0.0));
    assert_eq!(trouble["sources_in_vain"], 0);
    let text = support::stdout_of(support::tilefleet().arg("status").arg(job.table()));
    assert!(text.contains("\n  2 workers seen of late, a shard takes "), "{text}");
    job.run_ok(&[]);
    assert!(status(&job)["trouble"].is_null(), "nothing is wrong with a run that is complete");
}
