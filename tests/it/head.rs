//! `model head`: classifiers fitted on embeddings, held against scikit-learn's, and run.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tilefleet::models::onnx::ModelProto;

use crate::fixture::{Job, Mednist, Row, assert_exit, jpeg, rows, stderr};
use crate::support;
use crate::support::s3_server::S3Server;

/// `tilefleet model head TABLE --out OUT`, with further arguments.
fn head_command(table: &Path, out: &Path, arguments: &[&str]) -> Command {
    let mut command = support::tilefleet();
    command.args(["model", "head"]).arg(table).arg("--out").arg(out).args(arguments);
    command
}

fn head(table: &Path, out: &Path, arguments: &[&str]) -> Value {
    let output = head_command(table, out, &[arguments, &["--json"]].concat()).output().unwrap();
    assert_exit(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn read_model(path: &Path) -> ModelProto {
    prost::Message::decode(fs::read(path).unwrap().as_slice()).unwrap()
}

/// Weights and bias of a head, as the file holds them.
fn weights(path: &Path) -> (Vec<f32>, Vec<f32>) {
    let graph = read_model(path).graph.unwrap();
    let floats = |name: &str| {
        let tensor = graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap();
        let bytes = tensor.raw_data.clone().unwrap();
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>()
    };
    (floats("head.weight"), floats("head.bias"))
}

/// The class that a head gives an embedding.
fn class_of(embedding: &[f32], (weights, bias): &(Vec<f32>, Vec<f32>)) -> usize {
    let score = |(weights, bias): (&[f32], &f32)| {
        let products = weights.iter().zip(embedding).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum::<f64>() + f64::from(*bias)
    };
    let scores: Vec<f64> = weights.chunks_exact(embedding.len()).zip(bias).map(score).collect();
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap()
}

/// Runs scikit-learn on the same embeddings and labels.
fn scikit_learn(table: &Path, labels: &Path) -> Option<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/head_oracle.py");
    let mut command = Command::new(support::python()?);
    command.arg(script).arg(table.join("tiles")).arg(labels);
    // Small matrices: threads would only wait for each other.
    command.env("OPENBLAS_NUM_THREADS", "1").env("OMP_NUM_THREADS", "1");
    Some(serde_json::from_str(&support::stdout_of(&mut command)).unwrap())
}

/// Every other image of each class to fit on, the rest held out: as good as scikit-learn's to a point.
#[test]
fn mednist_heads_are_as_good_as_scikit_learns() {
    let Some(data) = support::test_data() else { return };
    let mednist = Mednist::of(&data);
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.csv");
    let mut text = "source,label,split\n".to_owned();
    let mut sources: Vec<String> = rows(&mednist.table()).into_iter().map(|row| row.source).collect();
    sources.sort();
    for (number, source) in sources.iter().enumerate() {
        let path = source.strip_prefix("file://").unwrap();
        let class = path.rsplit('/').nth(1).unwrap();
        writeln!(text, "{path},{class},{}", ["train", "test"][number % 2]).unwrap();
    }
    fs::write(&labels, text).unwrap();
    let labels = labels.to_str().unwrap();
    let Some(theirs) = scikit_learn(&mednist.table(), Path::new(labels)) else { return };
    for kind in ["logistic", "ridge"] {
        let out = folder.path().join(format!("{kind}.onnx"));
        let ours = head(&mednist.table(), &out, &["--labels", labels, "--kind", kind]);
        assert_eq!((&ours["num_fitted"], &ours["num_held_out"]), (&240.into(), &240.into()));
        let accuracy = ours["accuracy"].as_f64().unwrap();
        let [their, plain] = [kind, "plain"].map(|name| theirs[name]["accuracy"].as_f64().unwrap());
        println!("{kind}: {accuracy:.4}, scikit-learn {their:.4}, as it comes {plain:.4}");
        println!("{}", ours["confusion"]);
        assert!(accuracy >= 0.85 && (accuracy - their).abs() <= 0.01, "{accuracy} {their}");
        assert!(kind == "ridge" || (accuracy - plain).abs() <= 0.01, "{accuracy} {plain}");
        let right: u64 = (0..6).map(|class| ours["confusion"][class][class].as_u64().unwrap()).sum();
        assert!((right as f64 / 240.0 - accuracy).abs() < 1e-12);
    }
}

/// A job of images whose label is a function of their pattern, and `labels.csv` beside it.
fn labelled(num_images: usize, num_classes: usize) -> (Job, PathBuf) {
    let job = Job::new(num_images, "");
    let mut text = "source,label,split\n".to_owned();
    let folder = fs::canonicalize(job.folder.path()).unwrap();
    for index in 0..num_images {
        let split = ["train", "train", "test"][index / num_classes % 3];
        let image = folder.join(format!("images/{index:05}.jpg"));
        writeln!(text, "{},pattern {},{split}", image.display(), index % num_classes).unwrap();
    }
    let labels = folder.join("labels.csv");
    fs::write(&labels, text).unwrap();
    (job, labels)
}

/// Runs a job's images through another model, into an output of its own.
fn run_with(job: &Job, model: &Path, output: &str) -> Vec<Row> {
    let table = job.path(output);
    job.run_ok(&["--model", model.to_str().unwrap(), "--output", table.to_str().unwrap()]);
    rows(&table)
}

/// The fitted head in a run: the same embeddings, the classes of its weights, the probabilities of
/// scikit-learn. Two classes, which scikit-learn treats apart, and more.
#[test]
fn a_head_predicts_in_a_run_what_was_fitted() {
    for num_classes in [2, 5] {
        let (job, labels) = labelled(60, num_classes);
        job.run_ok(&[]);
        let before: HashMap<String, Row> =
            rows(&job.table()).into_iter().map(|row| (row.tile_id.clone(), row)).collect();
        let theirs = scikit_learn(&job.table(), &labels);
        for (kind, tolerance) in [("logistic", 2e-3), ("ridge", 1e-4)] {
            let out = job.path(&format!("{kind}.onnx"));
            let flags = ["--labels", labels.to_str().unwrap(), "--kind", kind, "--name", "patterns"];
            let answer = head(&job.table(), &out, &flags);
            assert_eq!((&answer["num_fitted"], &answer["num_held_out"]), (&40.into(), &20.into()));
            let weights = weights(&out);
            let found = run_with(&job, &out, kind);
            assert_eq!(found.len(), 60);
            let mut right = 0;
            for (number, row) in found.iter().enumerate() {
                let embedding = row.embedding.as_ref().unwrap();
                assert_eq!(Some(embedding), before[&row.tile_id].embedding.as_ref());
                let class = class_of(embedding, &weights);
                assert_eq!(row.class_id, Some(class as i32));
                assert_eq!(row.label.as_deref(), Some(format!("pattern {class}").as_str()));
                let index: usize = row.file()[..5].parse().unwrap();
                let held_out = index / num_classes % 3 == 2;
                right += usize::from(held_out && class == index % num_classes);
                if let Some(scores) =
                    theirs.as_ref().and_then(|theirs| theirs[kind]["scores"].get(&row.source))
                {
                    let (score, their) = (f64::from(row.score.unwrap()), scores[class].as_f64().unwrap());
                    assert!((score - their).abs() < tolerance, "row {number}: {score}, scikit-learn {their}");
                }
            }
            let accuracy = answer["accuracy"].as_f64().unwrap();
            println!("{num_classes} classes, {kind}: {accuracy}");
            assert!((right as f64 / 20.0 - accuracy).abs() < 1e-12, "{right} right, {accuracy} reported");
            let contract = fs::read_to_string(out.with_extension("contract.toml")).unwrap();
            let activation = if kind == "ridge" { "none" } else { "softmax" };
            for part in [
                "name = \"patterns\"",
                "[output.classifier.fitted]",
                &format!("activation = \"{activation}\""),
                &format!("model_digest = {}", answer["digest"]),
            ] {
                assert!(contract.contains(part), "no `{part}` in:\n{contract}");
            }
        }
    }
}

/// Whatever the order of rows in files, and of numbers in the table of labels.
#[test]
fn a_head_does_not_depend_on_how_rows_lie_in_files() {
    let job = Job::new(20, "[plan]\nshard_tiles = 3");
    job.run_ok(&[]);
    (20..33).for_each(|index| job.write_image(&format!("{index:05}.jpg"), &jpeg(index)));
    job.run_ok(&[]);
    let line = |row: &Row| format!("{},{}\n", row.tile_id, row.file().as_bytes()[4] % 2);
    let mut text: Vec<String> = rows(&job.table()).iter().map(line).collect();
    let write = |name: &str, lines: &[String]| {
        fs::write(job.path(name), format!("tile_id,label\n{}", lines.concat())).unwrap();
        job.path(name).display().to_string()
    };
    let ordered = write("ordered.csv", &text);
    text.reverse();
    let reversed = write("reversed.csv", &text);
    let out = |name: &str| job.path(name);
    let first = head(&job.table(), &out("a.onnx"), &["--labels", &ordered]);
    head(&job.table(), &out("b.onnx"), &["--labels", &reversed]);
    assert_eq!(first["runs"].as_array().unwrap().len(), 2);
    assert_eq!((&first["num_fitted"], &first["num_held_out"]), (&27.into(), &6.into()));
    let compacted = support::tilefleet().arg("runs").arg(job.table()).arg("compact").output().unwrap();
    assert_exit(&compacted, 0);
    let last = head(&job.table(), &out("c.onnx"), &["--labels", &reversed]);
    assert_eq!(last["runs"].as_array().unwrap().len(), 1);
    assert_eq!(last["confusion"], first["confusion"]);
    let weights = ["a.onnx", "b.onnx", "c.onnx"].map(|name| weights(&out(name)));
    assert!(weights[0] == weights[1] && weights[1] == weights[2]);
}

/// Labels of a manifest's column, half-precision embeddings, a sample, and all that is left aside.
#[test]
fn a_manifests_column_holds_labels_and_what_is_not_used_is_counted() {
    let job = Job::new(30, "");
    job.write_image("broken.jpg", b"");
    let mut manifest = "uri,site\nimages/broken.jpg,north\n".to_owned();
    for index in 0..30 {
        let site = ["north", "south", ""][index % 3];
        writeln!(manifest, "images/{index:05}.jpg,{site}").unwrap();
    }
    fs::write(job.path("list.csv"), manifest).unwrap();
    let manifest = format!("input.manifest={}", job.path("list.csv").display());
    let half = ["--set", "output.embedding=float16", "--set", "limits.max_reject_ratio=1"];
    job.run_ok(&[&["--set", "input.uris=[]", "--set", &manifest], &half[..]].concat());
    let answer = head(&job.table(), &job.path("site.onnx"), &["--label-column", "site", "--held-out", "0.5"]);
    assert_eq!((&answer["num_fitted"], &answer["num_held_out"]), (&10.into(), &10.into()));
    assert_eq!(answer["not_used"]["unlabelled_tiles"], 10);
    assert_eq!(answer["not_used"]["without_embedding"], 1);
    let out = job.path("sample.onnx");
    let sampled = head(&job.table(), &out, &["--label-column", "extra.site", "--max-tiles", "12"]);
    assert_eq!(sampled["not_used"]["beyond_sample"], 8);
    assert_eq!(sampled["num_fitted"].as_u64().unwrap() + sampled["num_held_out"].as_u64().unwrap(), 12);

    let labels = "uri,class\nimages/00000.jpg,1\nimages/00001.jpg,2\nimages/00002.jpg,\nimages/gone.jpg,2\n";
    fs::write(job.path("some.csv"), labels).unwrap();
    let path = job.path("some.csv").display().to_string();
    let flags = ["--labels", &path, "--label-column", "class", "--held-out", "0"];
    let text = head_command(&job.table(), &job.path("some.onnx"), &flags).output().unwrap();
    assert_exit(&text, 0);
    let said = String::from_utf8(text.stdout).unwrap();
    for line in [
        "2 of 2 classes to fit on, 0 held out",
        "not used   labels without a tile in the output: 1",
        "not used   rows of the labels without a label or a split: 1",
        "accuracy   unknown, since no tile was held out; 100.0 % of the tiles fitted on",
    ] {
        assert!(said.contains(line), "no `{line}` in:\n{said}");
    }
}

/// A network of somebody else, whose embedding is no output, gets a head and keeps its embedding.
#[test]
fn a_foreign_network_gets_a_head() {
    let Some(data) = support::test_data() else { return };
    let job = Job::new(0, "");
    let (photos, network) = (data.join("photos/cifar10"), data.join("models/resnet20_cifar10.onnx"));
    let input = ["--input", photos.to_str().unwrap()];
    job.run_ok(&[&input[..], &["--model", network.to_str().unwrap()]].concat());
    let before = rows(&job.table());
    let mut labels = "source,label\n".to_owned();
    for row in &before {
        let vehicle =
            ["airplane", "automobile", "ship", "truck"].contains(&row.source.rsplit('/').nth(1).unwrap());
        writeln!(labels, "{},{}", row.source, if vehicle { "vehicle" } else { "animal" }).unwrap();
    }
    fs::write(job.path("labels.csv"), labels).unwrap();
    let out = job.path("vehicles.onnx");
    let answer =
        head(&job.table(), &out, &["--labels", job.path("labels.csv").to_str().unwrap(), "--l2", "10"]);
    println!("{}", answer["accuracy"]);
    assert!(answer["accuracy"].as_f64().unwrap() > 0.9, "{answer}");
    let table = job.path("vehicles");
    let places = ["--model", out.to_str().unwrap(), "--output", table.to_str().unwrap()];
    let output = job.run(&[&input[..], &places].concat());
    assert_exit(&output, 0);
    assert!(!stderr(&output).contains("assumed"), "the contract is written now");
    let weights = weights(&out);
    for (row, before) in rows(&table).iter().zip(&before) {
        assert_eq!(row.embedding, before.embedding);
        assert_eq!(row.class_id, Some(class_of(row.embedding.as_ref().unwrap(), &weights) as i32));
    }
    // What only the old classifier used is gone.
    let (old, new) = (read_model(&network).graph.unwrap(), read_model(&out).graph.unwrap());
    // A Flatten and a Gemm stand where one Gemm was.
    assert_eq!((new.node.len(), new.output.len()), (old.node.len() + 1, 2));
    assert!(new.initializer.iter().all(|constant| constant.dims != [10, 64]));
}

/// Output and labels in a bucket.
#[test]
fn a_remote_output_gets_a_head() {
    let Some(server) = support::seaweedfs() else { return };
    let (job, labels) = labelled(12, 2);
    server.create_bucket("scenes");
    server.put("scenes", "labels.csv", fs::read(labels).unwrap());
    let variables = S3Server::variables(&server.endpoint(), S3Server::OWNER);
    let mut run = job.run_command(&["--output", "s3://scenes/table"]);
    assert_exit(&run.envs(variables.clone()).output().unwrap(), 0);
    let mut command = support::tilefleet();
    command.args([
        "model",
        "head",
        "s3://scenes/table",
        "--labels",
        "s3://scenes/labels.csv",
        "--json",
        "--out",
    ]);
    let output: Output = command.arg(job.path("remote.onnx")).envs(variables).output().unwrap();
    assert_exit(&output, 0);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["num_fitted"], &answer["num_held_out"]), (&8.into(), &4.into()));
}
