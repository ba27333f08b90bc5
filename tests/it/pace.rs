//! Which stage of a run is the slowest: what the report says is what was made slow.

use std::fs;
use std::time::Duration;

use libjpeg_turbo_rs::{PixelFormat, Subsampling, compress};
use serde_json::Value;

use crate::fixture::{Job, assert_exit, model, stderr};
use crate::support::fault_proxy::{Fault, FaultProxy, Rule};
use crate::support::{self, S3Server};

/// Returns what the report says of this process, and checks that the summary for people agrees.
fn this_process(job: &Job, arguments: &[&str]) -> Value {
    let report: Value = serde_json::from_str(&job.run_ok(&[arguments, &["--json"]].concat())).unwrap();
    let ours = &report["this_process"];
    let busy = ours["busy"].as_object().unwrap();
    assert!(busy.values().all(|busy| (0.0..=1.0).contains(&busy.as_f64().unwrap())), "{ours}");
    let busiest = busy.iter().max_by(|a, b| a.1.as_f64().unwrap().total_cmp(&b.1.as_f64().unwrap()));
    assert_eq!(ours["slowest"].as_str(), busiest.map(|(stage, _)| stage.as_str()), "{ours}");
    ours.clone()
}

#[test]
fn a_store_that_answers_slowly_is_fetch() {
    let job = Job::new(8, "[storage]\nallow_http = true\n[run]\nfetch_concurrency = 2");
    let web = FaultProxy::before_folder(&job.path("images"));
    web.add(Rule::new(Fault::Delay(Duration::from_millis(700))).on_method("GET"));
    let urls: Vec<String> = (0..8).map(|index| format!("{}/{index:05}.jpg", web.endpoint())).collect();
    let inputs: Vec<&str> = urls.iter().flat_map(|url| ["--input", url.as_str()]).collect();
    let ours = this_process(&job, &inputs);
    assert_eq!(ours["slowest"], "fetch", "{ours}");
}

#[test]
fn a_heavy_network_is_model() {
    let job = Job::new(12, "[run]\nthreads = 1\nbatch = 2");
    let heavy = model("heavy", &["--arch", "resnet50", "--classes", "10"]);
    let ours = this_process(&job, &["--model", heavy.to_str().unwrap()]);
    assert_eq!(ours["slowest"], "model", "{ours}");
}

#[test]
fn large_images_are_decode() {
    let job = Job::new(0, "");
    let (width, height) = (4000, 3000);
    let pixels: Vec<u8> = (0..width * height * 3).map(|index| (index * index / 7001) as u8).collect();
    let image = compress(&pixels, width, height, PixelFormat::Rgb, 90, Subsampling::S420).unwrap();
    (0..6).for_each(|index| job.write_image(&format!("{index}.jpg"), &image));
    let ours = this_process(&job, &[]);
    assert_eq!(ours["slowest"], "decode", "{ours}");
}

#[test]
fn an_output_that_takes_its_time_is_write() {
    let Some(server) = support::seaweedfs() else { return };
    server.create_bucket("tables");
    let proxy = FaultProxy::before_server(&server);
    proxy.add(Rule::new(Fault::Delay(Duration::from_secs(1))).on_method("PUT").on_key("shard-"));
    let job = Job::new(16, "[plan]\nshard_tiles = 2");
    let mut command = job.run_command(&["--output", "s3://tables/slow", "--json"]);
    command.envs(S3Server::variables(&proxy.endpoint(), S3Server::OWNER));
    let output = command.output().unwrap();
    assert_exit(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["this_process"]["slowest"], "write", "{report}");
}

/// The closing summary says what became of the tiles and why, how fast, and where the time went.
#[test]
fn the_closing_summary_says_where_the_time_went() {
    let job = Job::new(5, "[limits]\nmax_reject_ratio = 0.5");
    job.write_image("broken.jpg", b"");
    let said = job.run_ok(&[]);
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    assert!(lines[0].ends_with("complete: 6 tiles in 1 shard"), "{said}");
    assert_eq!(lines[1], "5 ok, 0 skipped, 1 rejected");
    assert_eq!(lines[2], "1  empty  The object has no bytes");
    assert!(lines[3].starts_with("6 tiles here in ") && lines[3].contains(" tiles/s, "), "{said}");
    assert!(lines[4].starts_with("busy: fetch ") && lines[4].ends_with(" is the slowest"), "{said}");
    assert!(lines[5].starts_with("table: file://"), "{said}");
    assert_eq!(lines.len(), 6, "{said}");
}

/// A run in which there was nothing to do has no slowest stage.
#[test]
fn nothing_new_has_no_slowest_stage() {
    let job = Job::new(1, "");
    job.run_ok(&[]);
    let output = job.run(&["--json"]);
    assert_exit(&output, 0);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["this_process"]["slowest"].is_null(), "{report}");
    assert!(fs::exists(job.table()).unwrap());
    let run = report["run_id"].as_str().unwrap();
    assert_eq!(stderr(&output), format!("run {run} covers every source: nothing to do\n"));
}
