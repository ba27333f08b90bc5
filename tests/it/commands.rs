//! Help, refusals and exit codes: what people and schedulers lean on.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use crate::fixture::{Job, assert_exit, jpeg, model, small_model, stderr};
use crate::support;

#[test]
fn wrong_usage_is_64_and_help_is_0() {
    let run = |arguments: &[&str]| support::tilefleet().args(arguments).output().unwrap();
    assert_exit(&run(&["--help"]), 0);
    assert_exit(&run(&["--version"]), 0);
    assert_exit(&run(&["run", "--no-such-flag"]), 64);
    assert_exit(&run(&["fly"]), 64);
    assert_exit(&run(&["verify", "table", "--run", "no-run-id"]), 64);
    for command in [
        "demo", "init", "run", "plan", "status", "verify", "inspect", "chip", "rejects", "runs", "model",
        "runtime", "config",
    ] {
        let help = run(&[command, "--help"]);
        assert_exit(&help, 0);
        assert!(help.stdout.len() > 100, "{command} explains itself");
    }
}

/// A misspelt key names the nearest one and where it stands; nothing is written.
#[test]
fn a_wrong_key_is_78_and_names_the_nearest() {
    let job = Job::new(1, "[run]\nbatchsize = 4");
    let output = job.run(&[]);
    assert_exit(&output, 78);
    let said = stderr(&output);
    assert!(said.contains("batchsize") && said.contains("batch") && said.contains("photos.toml:"), "{said}");
    assert!(!job.table().exists());
}

#[test]
fn wrong_values_are_78() {
    let job = Job::new(1, "");
    for set in
        ["run.batch=0", "run.precision=fp8", "output.embedding=float64", "limits.max_reject_ratio=2", "x.y=1"]
    {
        assert_exit(&job.run(&["--set", set]), 78);
    }
    assert_exit(&job.run(&["--provider", "abacus"]), 78);
    assert_exit(&job.run(&["--set", "plan.shard_tiles=900000"]), 78);
    assert!(!job.table().exists());
}

/// A provider that is not there ends the process before any work; the CPU never takes over.
#[test]
fn an_absent_provider_is_78_before_any_work() {
    let job = Job::new(1, "");
    for provider in ["cuda", "tensorrt"] {
        let output = job.run(&["--provider", provider]);
        assert_exit(&output, 78);
        let said = stderr(&output);
        assert!(said.contains(&format!("the execution provider `{provider}`")), "{said}");
        // Which library or which build, and what brings it.
        assert!(said.contains(" missing") || said.contains("built without it"), "{said}");
        assert!(said.contains("hint: ") && said.contains("`cpu`"), "{said}");
        assert!(output.stdout.is_empty());
    }
    assert!(!job.table().exists());
}

#[test]
fn inputs_that_match_nothing_are_78() {
    let job = Job::new(1, "");
    for input in ["no-such-folder", "images/*.nope", "ftp://host/x"] {
        let input =
            if input.contains("://") { input.to_owned() } else { job.path(input).display().to_string() };
        assert_exit(&job.run(&["--input", &input]), 78);
    }
    assert!(!job.table().join("tiles").exists());
}

/// A model that does not match its contract is refused, and both sides are named.
#[test]
fn a_model_that_does_not_match_its_contract_is_78() {
    let job = Job::new(1, "");
    let network =
        model("mismatched", &["--arch", "resnet18", "--classes", "10", "--size", "64", "--resize", "72"]);
    let contract = network.with_extension("contract.toml");
    let text = fs::read_to_string(&contract).unwrap();
    for (from, to) in [
        ("num_classes = 10", "num_classes = 11"),
        ("embedding_length = 512", "embedding_length = 2048"),
        ("\"red\", \"green\", \"blue\"", "\"red\", \"green\", \"blue\", \"nir\""),
        ("embedding = \"embedding\"", "embedding = \"pooled\""),
    ] {
        assert!(text.contains(from), "the contract says `{from}`:\n{text}");
        fs::write(&contract, text.replace(from, to)).unwrap();
        let output = job.run(&["--model", network.to_str().unwrap()]);
        assert_exit(&output, 78);
    }
    assert!(!job.table().exists());
}

/// Headless and multi-label networks fit the table: null predictions there, independent scores here.
#[test]
fn headless_and_multi_label_networks_fit() {
    let sizes = ["--arch", "resnet18", "--size", "64", "--resize", "72"];
    let job = Job::new(4, "");
    let headless = model("headless", &[&sizes[..], &["--headless"]].concat());
    job.run_ok(&["--model", headless.to_str().unwrap()]);
    let rows = crate::fixture::rows(&job.table());
    assert!(rows.iter().all(|row| row.class_id.is_none() && row.score.is_none() && row.embedding.is_some()));

    let job = Job::new(4, "");
    let labels = job.path("labels.txt");
    fs::write(&labels, "water\nforest\ncrops\n").unwrap();
    let labels = labels.to_str().unwrap().to_owned();
    let multi = [&sizes[..], &["--classes", "3", "--activation", "sigmoid", "--labels", &labels]].concat();
    job.run_ok(&["--model", model("multi-label", &multi).to_str().unwrap()]);
    let rows = crate::fixture::rows(&job.table());
    assert!(rows.iter().all(|row| matches!(row.label.as_deref(), Some("water" | "forest" | "crops"))));
    assert!(rows.iter().all(|row| row.score.is_some_and(|score| (0.0..=1.0).contains(&score))));
}

#[test]
fn the_runtime_is_explained() {
    let doctor = support::tilefleet().args(["runtime", "doctor", "--json"]).output().unwrap();
    assert_exit(&doctor, 0);
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert!(found.to_string().contains("1.32.0"), "{found}");
    let empty = tempfile::tempdir().unwrap();
    let mut lost = support::tilefleet();
    lost.args(["runtime", "doctor"]).env("ORT_DYLIB_PATH", empty.path().join("libonnxruntime.so"));
    let lost = lost.output().unwrap();
    assert_exit(&lost, 78);
    let said = format!("{}{}", String::from_utf8_lossy(&lost.stdout), stderr(&lost));
    assert!(said.contains("ORT_DYLIB_PATH"), "{said}");
}

/// The pipelines that ship are valid.
#[test]
fn shipped_pipelines_are_valid() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let pipelines: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    assert!(pipelines.len() >= 4, "{pipelines:?}");
    for pipeline in pipelines {
        assert_exit(&support::tilefleet().arg("config").arg(pipeline).output().unwrap(), 0);
    }
}

/// People get lines to read, programs ask for JSON.
#[test]
fn a_bench_is_printed_for_people_unless_json_is_asked_for() {
    let job = Job::new(1, "");
    let bench = |flags: &[&str]| {
        let mut command = support::tilefleet();
        command.args(["runtime", "bench"]).arg(&job.pipeline).args(["--seconds", "0.01"]).args(flags);
        support::stdout_of(&mut command)
    };
    let told = bench(&[]);
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    assert_eq!(names, ["rate", "provider", "sessions", "threads", "batch"], "{told}");
    assert!(lines[0][1].parse::<f64>().unwrap() > 0.0 && lines[0][2] == "chips/s", "{told}");
    let json: Value = serde_json::from_str(&bench(&["--json"])).unwrap();
    assert!(json["chips_per_second"].as_f64().unwrap() > 0.0, "{json}");
}

/// Flags alone, then the file that `init` writes, then flags again: one and the same run, which every command sees.
#[test]
fn a_run_needs_no_pipeline_file() {
    let job = Job::new(3, "");
    let small = small_model();
    let call = |words: &[&str]| {
        let mut command = support::tilefleet();
        command.current_dir(job.folder.path()).args(words).output().unwrap()
    };
    let flags = ["--input", "images", "--model", small.to_str().unwrap(), "--output", "table"];
    let with = |words: &[&str], more: &[&str]| call(&[words, &flags, more].concat());
    let told = |output: &Output| {
        assert_exit(output, 0);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };

    let config: Value = serde_json::from_str(&told(&with(&["config"], &["--json"]))).unwrap();
    assert_eq!((&config["values"]["name"], &config["origins"]["name"]), (&json!("tiles"), &json!("no file")));
    assert_eq!(config["missing"], json!([]));
    let planned = told(&with(&["plan"], &[]));
    let (run, _) = planned.split_once("  planned").unwrap();
    assert!(run.starts_with("tiles-") && run.ends_with("-0001"), "{planned}");
    assert!(told(&with(&["run"], &[])).contains(&format!("{run}  complete: 3 tiles")));
    job.verify_ok();
    assert!(told(&call(&["status", "table"])).contains(&format!("{run}  complete")));

    told(&with(&["init"], &[]));
    let written = fs::read_to_string(job.path("tiles.toml")).unwrap();
    assert!(told(&call(&["run", "tiles.toml"])).contains(&format!("{run}  nothing new")));
    assert_exit(&with(&["init"], &[]), 64);
    assert_eq!(fs::read_to_string(job.path("tiles.toml")).unwrap(), written);
    job.write_image("new.jpg", &jpeg(9));
    let next = run.replace("-0001", "-0002");
    assert!(told(&call(&["run", "tiles.toml"])).contains(&format!("{next}  complete: 1 tile")));
    assert!(told(&with(&["run"], &[])).contains(&format!("{next}  nothing new")));

    // What is missing is named, with the flag that says it.
    let without = call(&["run", "--input", "images", "--output", "table"]);
    assert_exit(&without, 64);
    assert!(
        stderr(&without).contains("no pipeline file is given, and no model: give --model FILE"),
        "{}",
        stderr(&without)
    );
}

/// Schedulers keep logs: what is no terminal hears when a run begins and how it ends.
#[test]
fn a_short_run_logs_its_beginning_and_its_end() {
    let job = Job::new(3, "[plan]\nshard_tiles = 2\n[limits]\nmax_reject_ratio = 0.5");
    job.write_image("bad.jpg", b"no image");
    let lines = |output: &Output| {
        assert_exit(output, 0);
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        stderr(output).lines().map(line).collect::<Vec<_>>()
    };
    let logged = lines(&job.run(&["--log-format", "json"]));
    assert_eq!(logged.len(), 2, "{logged:?}");
    let run = logged[0]["run"].as_str().unwrap().to_owned();
    let told = ["message", "tiles", "shards", "done"].map(|key| logged[0][key].clone());
    assert_eq!(told, [json!("run begins"), json!(4), json!(2), json!(0)]);
    let told = ["message", "run", "tiles", "ok", "skipped", "rejected", "done_here", "current"];
    let told = told.map(|key| logged[1][key].clone());
    let expected =
        [json!("run is complete"), json!(run), json!(4), json!(3), json!(0), json!(1), json!(4), json!(true)];
    assert_eq!(told, expected);
    let again = lines(&job.run(&["--log-format", "json"]));
    assert_eq!(
        (again.len(), &again[0]["message"], &again[0]["run"]),
        (1, &json!("nothing to do"), &json!(run))
    );

    fs::remove_dir_all(job.table()).unwrap();
    let text = stderr(&job.run(&[]));
    let [first, last] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(first, format!("run {run} begins: 4 tiles in 2 shards"));
    let told = format!("run {run} is complete: 4 tiles, 3 ok, 0 skipped, 1 rejected; 4 here in ");
    assert!(last.starts_with(&told), "{last}");
}

/// A variable that decides stands where the value would be looked for; a secret stands nowhere.
#[test]
fn config_names_variables_that_decide() {
    let job = Job::new(0, "");
    let mut command = support::tilefleet();
    command.arg("config").arg(&job.pipeline).env("AWS_ENDPOINT_URL", "http://me:SESAME@localhost:9000");
    command.env("AWS_SECRET_ACCESS_KEY", "SESAME").env("AWS_REGION", "eu-central-1");
    let told = support::stdout_of(&mut command);
    for part in [
        "# default, so AWS_ENDPOINT_URL decides: \"http://localhost:9000\"",
        "# default, so AWS_REGION decides: \"eu-central-1\"",
        "# AWS_SECRET_ACCESS_KEY = (a secret)",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
    let set = support::stdout_of(command.args(["--set", "storage.region=us"]));
    assert!(!set.contains("AWS_REGION decides"), "{set}");
    assert!(!set.contains("SESAME") && !told.contains("SESAME"));
}
