//! A network and its contract are one: replaced together, whoever kills or reads meanwhile; weights beside it included.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest, Sha256};
use tilefleet::models::onnx::{
    AttributeProto, Dimension, FLOAT, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto,
};
use tilefleet::models::pair;
use tilefleet::models::pair::Step;
use tilefleet::models::{Overrides, load};
use tilefleet::vocabulary::contract::Contract;

use crate::fixture::{Job, Row, assert_exit, rows, small_model, stderr};
use crate::support;

/// Names the folder that a child process replaces a pair in, and the step at which it is killed.
const FOLDER: &str = "TILEFLEET_TEST_PAIR_FOLDER";
const KILLED_AT: &str = "TILEFLEET_TEST_PAIR_KILLED_AT";

/// A network that pools 32×32 pixels and multiplies them, then whatever else is asked for.
fn network(factor: f32, more: &[NodeProto]) -> ModelProto {
    let weights: Vec<f32> = (0..12_u8).map(|index| factor * f32::from(index % 5)).collect();
    let mut node = vec![
        NodeProto::new("GlobalAveragePool", &["pixels"], "pooled", vec![]),
        NodeProto::new("Flatten", &["pooled"], "features", vec![]),
        NodeProto::new("Gemm", &["features", "w"], "raw", vec![]),
    ];
    node.extend_from_slice(more);
    let last = node.last().unwrap().output[0].clone();
    let (batch, axis) = (|| Dimension::named("batch"), Dimension::fixed);
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto::onnx(17)],
        graph: Some(GraphProto {
            name: Some("g".to_owned()),
            node,
            initializer: vec![TensorProto::of_floats("w", &[3, 4], &weights)],
            input: vec![ValueInfoProto::new("pixels", FLOAT, vec![batch(), axis(3), axis(32), axis(32)])],
            output: vec![ValueInfoProto::new(&last, FLOAT, vec![batch(), axis(4)])],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// The pair of that name, `a` or `b`: other weights and other labels.
fn pair_of(name: &str) -> (Vec<u8>, String, Contract) {
    let factor = if name == "a" { 1.0 } else { -2.0 };
    let bytes = network(factor, &[]).encode_to_vec();
    let text = format!(
        r#"contract = 1
name = "{name}"
[input]
tensor = "pixels"
layout = "nchw"
sample_type = "float32"
bands = ["red", "green", "blue"]
unit = "srgb8"
width = 32
height = 32
resize = {{ short_side = 32, interpolation = "bilinear" }}
normalise = {{ scale = 0.01, mean = [0.0, 0.0, 0.0], std = [1.0, 1.0, 1.0] }}
[output]
embedding = "features"
embedding_length = 3
[output.classifier]
logits = "raw"
num_classes = 4
activation = "softmax"
labels = ["{name}0", "{name}1", "{name}2", "{name}3"]
"#
    );
    (bytes.clone(), sha256(&bytes), Contract::from_toml(&text).unwrap())
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn write_pair(path: &Path, name: &str, reached: impl FnMut(Step)) {
    let (bytes, digest, contract) = pair_of(name);
    pair::write(path, &bytes, &digest, &contract, true, reached).unwrap();
}

/// A pair of a version that named no digest.
fn write_without_digest(path: &Path, name: &str) {
    write_pair(path, name, |_| ());
    let (_, _, contract) = pair_of(name);
    fs::write(Contract::path_for(path), contract.to_toml().unwrap()).unwrap();
}

/// A child process: replaces the pair by `b` until it is killed at a step, or by turns until somebody kills it.
#[test]
#[ignore = "a process that other tests start and kill"]
fn replaces_a_pair_until_it_is_killed() {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    let path = folder.join("m.onnx");
    let killed_at = env::var(KILLED_AT).unwrap();
    if killed_at == "never" {
        loop {
            for name in ["a", "b"] {
                write_pair(&path, name, |_| ());
            }
        }
    }
    write_pair(&path, "b", |step| {
        if format!("{step:?}") == killed_at {
            // As `kill -9`: nothing is dropped, nothing is cleaned up.
            std::process::abort();
        }
    });
}

fn replacing(folder: &Path, killed_at: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "pair::replaces_a_pair_until_it_is_killed", "--ignored"]);
    command.env(FOLDER, folder).env(KILLED_AT, killed_at).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What a run with the pair in the job's folder gives: its rows, or what it said with 78.
fn outcome(job: &Job, output: &str) -> Result<Vec<Row>, String> {
    let (model, table) = (job.path("m.onnx"), job.path(output));
    let flags = ["--model", model.to_str().unwrap(), "--output", table.to_str().unwrap()];
    let done = job.run(&flags);
    if done.status.success() {
        return Ok(rows(&table).into_iter().map(|row| Row { tile_id: String::new(), ..row }).collect());
    }
    assert_exit(&done, 78);
    Err(stderr(&done))
}

/// Also where the old contract names no digest, as those of earlier versions.
#[test]
fn a_replacement_killed_at_any_step_leaves_the_old_pair_the_new_one_or_a_refusal() {
    let job = Job::new(3, "");
    let path = job.path("m.onnx");
    let expected = ["b", "a"].map(|name| {
        write_pair(&path, name, |_| ());
        outcome(&job, &format!("table-{name}")).unwrap()
    });
    let [new, old] = &expected;
    assert!(new[0].embedding == old[0].embedding && new[0].label != old[0].label);
    for names_a_digest in [true, false] {
        for step in Step::ALL {
            if names_a_digest {
                write_pair(&path, "a", |_| ());
            } else {
                write_without_digest(&path, "a");
            }
            let ended = replacing(job.folder.path(), &format!("{step:?}")).status().unwrap();
            assert!(!ended.success(), "the child was not killed at {step:?}");
            let table = format!("table-{step:?}-{names_a_digest}");
            let found = outcome(&job, &table);
            match step {
                Step::Begun | Step::ContractStaged | Step::BothStaged => {
                    assert_eq!(found.as_ref(), Ok(old), "{step:?}");
                }
                Step::ContractNamed => {
                    let said = found.unwrap_err();
                    let (network, contract) = (path.display(), Contract::path_for(&path));
                    assert!(
                        said.contains(&format!("{} is the contract of another", contract.display())),
                        "{said}"
                    );
                    assert!(
                        said.contains(&network.to_string()) && said.contains("again with --force"),
                        "{said}"
                    );
                }
                Step::BothNamed => assert_eq!(found.as_ref(), Ok(new), "{step:?}"),
            }
            // What was staged is nothing that anybody takes for a model, and running the command again mends the pair.
            for entry in fs::read_dir(job.folder.path()).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let is_left = name.starts_with(".tilefleet-") && Path::new(&name).extension().is_none();
                assert!(is_left || !name.starts_with('.'), "{name}");
            }
            write_pair(&path, "b", |_| ());
            assert_eq!(outcome(&job, &format!("{table}-again")).as_ref(), Ok(new));
        }
    }
}

/// Another process replaces the pair over and over: whoever reads finds one of both, or says that they do not fit.
#[test]
fn a_pair_that_is_read_while_it_is_replaced_is_one_pair() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    write_without_digest(&path, "a");
    let mut child = replacing(folder.path(), "never").spawn().unwrap();
    let (mut found, mut num_refused) = ([0, 0], 0);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) || found.contains(&0) {
        assert!(started.elapsed() < Duration::from_mins(1), "{found:?} read, {num_refused} refused");
        match load(&path, &Overrides::default()) {
            Ok(model) => {
                let place = ["a", "b"].iter().position(|name| *name == model.contract.name).unwrap();
                assert_eq!(model.digest, pair_of(&model.contract.name).1);
                found[place] += 1;
            }
            Err(error) => {
                assert!(error.render().contains("the contract of another network"), "{}", error.render());
                num_refused += 1;
            }
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    println!("{found:?} read, {num_refused} refused");
}

#[test]
fn a_pair_is_not_written_over_without_being_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let (bytes, digest, contract) = pair_of("a");
    let write = || pair::write(&path, &bytes, &digest, &contract, false, |_| ());
    fs::write(&path, "somebody's").unwrap();
    assert_eq!(write().unwrap_err().kind().exit_code(), 64);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no contract beside a network of others");
    fs::remove_file(&path).unwrap();
    write().unwrap();
    assert_eq!(write().unwrap_err().kind().exit_code(), 64);
}

/// A new network under an old contract, and the way out that the message names.
#[test]
fn a_contract_of_another_network_is_refused_until_it_says_nothing() {
    let job = Job::new(2, "");
    let path = job.path("m.onnx");
    write_pair(&path, "a", |_| ());
    fs::write(&path, pair_of("b").0).unwrap();
    let said = outcome(&job, "table").unwrap_err();
    assert!(said.contains("remove the line `model_digest`"), "{said}");
    let contract = Contract::path_for(&path);
    let text = fs::read_to_string(&contract).unwrap();
    fs::write(&contract, text.replace("model_digest", "# model_digest")).unwrap();
    assert!(outcome(&job, "table").unwrap()[0].label.as_ref().unwrap().starts_with('a'));
}

/// Rows of runs before contracts named their network go on: the run is the same.
#[test]
fn a_run_goes_on_where_its_contract_named_no_digest() {
    let job = Job::new(2, "");
    let path = job.path("m.onnx");
    write_without_digest(&path, "a");
    let flags = ["--model", path.to_str().unwrap(), "--json"];
    let first: serde_json::Value = serde_json::from_str(&job.run_ok(&flags)).unwrap();
    write_pair(&path, "a", |_| ());
    let second: serde_json::Value = serde_json::from_str(&job.run_ok(&flags)).unwrap();
    assert_eq!((&second["nothing_new"], &second["run_id"]), (&true.into(), &first["run_id"]));
}

#[test]
fn a_built_models_contract_names_it() {
    let contract = Contract::load(&Contract::path_for(small_model())).unwrap();
    assert_eq!(contract.model_digest, Some(sha256(&fs::read(small_model()).unwrap())));
}

fn faults(name: &str) -> Option<PathBuf> {
    Some(support::test_data()?.join("faults/onnx").join(name))
}

/// Copies a network, and what lies beside it by the same name, into the job's folder.
fn copy(job: &Job, names: &[&str]) -> Option<PathBuf> {
    for name in names {
        let to = job.path(name);
        let _ = fs::remove_file(&to);
        fs::write(&to, fs::read(faults(name)?).unwrap()).unwrap();
    }
    Some(job.path(names[0]))
}

/// The same network in one file, put together by the entries that its tensors hold.
fn in_one_file(network: &Path) -> ModelProto {
    let mut model = ModelProto::decode(Bytes::from(fs::read(network).unwrap())).unwrap();
    for tensor in &mut model.graph.as_mut().unwrap().initializer {
        let entry = |key: &str| {
            tensor.external_data.iter().find(|entry| entry.key() == key).unwrap().value().to_owned()
        };
        let (offset, length): (usize, usize) =
            (entry("offset").parse().unwrap(), entry("length").parse().unwrap());
        let data = fs::read(network.with_file_name(entry("location"))).unwrap();
        tensor.raw_data = Some(data[offset..offset + length].to_vec().into());
        (tensor.external_data, tensor.data_location) = (Vec::new(), None);
    }
    model
}

/// A network with weights beside it gives the rows of the same network in one file, and every command takes it.
#[test]
fn weights_beside_a_network_are_read() {
    let job = Job::new(12, "");
    let Some(network) = copy(&job, &["external.onnx", "external.onnx.data"]) else { return };
    let whole = job.path("whole.onnx");
    fs::write(&whole, in_one_file(&network).encode_to_vec()).unwrap();
    let run = |model: &Path, output: &str, settings: &[&str]| {
        let table = job.path(output);
        let flags = ["--model", model.to_str().unwrap(), "--output", table.to_str().unwrap()];
        job.run_ok(&[&flags, settings].concat());
        rows(&table).into_iter().map(|row| (row.embedding.unwrap(), row.class_id)).collect::<Vec<_>>()
    };
    let expected = run(&whole, "table-whole", &[]);
    assert_eq!(run(&network, "table-beside", &[]), expected);
    assert!(expected.iter().all(|(embedding, _)| embedding.iter().any(|value| *value != 0.0)));

    let data = fs::read(network.with_file_name("external.onnx.data")).unwrap();
    let own = fs::read(&network).unwrap();
    let digest = sha256(format!("{}\n{}\n", sha256(&own), sha256(&data)).as_bytes());
    let inspect = || {
        let text =
            support::stdout_of(support::tilefleet().args(["model", "inspect", "--json"]).arg(&network));
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let report = inspect();
    assert_eq!((&report["digest"], &report["unusable"]), (&digest.clone().into(), &serde_json::Value::Null));
    assert_eq!(report["num_bytes"], own.len() + data.len());

    let (head, int8) = (job.path("head.onnx"), job.path("int8.onnx"));
    let labels = job.path("labels.csv");
    let lines: Vec<_> = (0..12).map(|index| format!("images/{index:05}.jpg,{}", index % 2)).collect();
    fs::write(&labels, format!("source,label\n{}\n", lines.join("\n"))).unwrap();
    let mut fit = support::tilefleet();
    fit.args(["model", "head"])
        .arg(job.path("table-beside"))
        .arg("--labels")
        .arg(&labels)
        .arg("--out")
        .arg(&head);
    support::stdout_of(&mut fit);
    let mut quantize = support::tilefleet();
    quantize.args(["model", "quantize"]).arg(&network).arg("--calibration").arg(job.path("images"));
    support::stdout_of(quantize.arg("--out").arg(&int8));
    for (made, output) in [(&head, "table-head"), (&int8, "table-int8")] {
        let contract = Contract::load(&Contract::path_for(made)).unwrap();
        assert_eq!(contract.model_digest, Some(sha256(&fs::read(made).unwrap())));
        assert_eq!(run(made, output, &[]).len(), 12);
    }

    // Other weights are another model.
    let mut other = data;
    other[8] ^= 1;
    fs::write(network.with_file_name("external.onnx.data"), &other).unwrap();
    assert_ne!(inspect()["digest"], digest);
}

#[test]
fn weights_that_are_not_beside_the_network_are_missed_by_name() {
    let job = Job::new(1, "");
    let Some(network) = copy(&job, &["external.onnx"]) else { return };
    let output = job.run(&["--model", network.to_str().unwrap()]);
    assert_exit(&output, 78);
    let said = stderr(&output);
    assert!(
        said.contains("`external.onnx.data`, which does not exist in") && said.contains("copy both"),
        "{said}"
    );
}

#[test]
fn a_transposed_output_is_refused_with_both_shapes() {
    let job = Job::new(2, "");
    let Some(network) = copy(&job, &["transposed.onnx", "transposed.contract.toml"]) else { return };
    let output = job.run(&["--model", network.to_str().unwrap()]);
    assert_exit(&output, 78);
    let said = stderr(&output);
    // The file does not say; what comes out does.
    assert!(said.contains("a batch of 1 gave embedding of shape [8, 1], not [1, 8]"), "{said}");
}

#[test]
fn a_batch_of_0_is_refused() {
    let job = Job::new(2, "");
    let Some(network) = copy(&job, &["batch_zero.onnx"]) else { return };
    let output = job.run(&["--model", network.to_str().unwrap()]);
    assert_exit(&output, 78);
    assert!(stderr(&output).contains("float32 [0, 3, 32, 32]: a batch of 0"), "{}", stderr(&output));
}

#[test]
fn a_pooled_output_of_four_axes_is_an_embedding() {
    let job = Job::new(2, "");
    let Some(network) = copy(&job, &["features_4d.onnx"]) else { return };
    job.run_ok(&["--model", network.to_str().unwrap(), "--set", "model.embedding=feat"]);
    let found = rows(&job.table());
    assert!(found.iter().all(|row| row.embedding.as_ref().is_some_and(|embedding| embedding.len() == 8)));
    assert_ne!(found[0].embedding, found[1].embedding);
}

/// Of the right shape, and each row depends on its batch: refused before a tile is read, unless a batch is one chip.
#[test]
fn a_model_that_mixes_the_rows_of_a_batch_is_refused() {
    let job = Job::new(4, "");
    let network =
        network(1.0, &[NodeProto::new("Softmax", &["raw"], "scores", vec![AttributeProto::int("axis", 0)])]);
    fs::write(job.path("m.onnx"), network.encode_to_vec()).unwrap();
    let said = outcome(&job, "table").unwrap_err();
    assert!(said.contains("a row of this model depends on the other chips in the batch"), "{said}");
    assert!(!job.path("table").exists(), "nothing is written");
    job.run_ok(&["--model", job.path("m.onnx").to_str().unwrap(), "--set", "run.batch=1"]);
}
