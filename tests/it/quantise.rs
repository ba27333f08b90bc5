//! Int8 and fp16 models come near the fp32 ones that they were made from, and runs say which they used.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use prost::Message;
use serde_json::Value;
use tilefleet::models::onnx::{
    AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    ValueInfoProto,
};
use tilefleet::vocabulary::contract::Contract;
use tilefleet_testing::Random;
use tilefleet_testing::skipped::not_on_this_machine;

use crate::fixture::{Job, assert_exit, jpeg, model, rows, shard_files, small_model, stderr};
use crate::support;
use crate::trained::num_correct;

/// Images like those of a job.
fn images(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..count {
        std::fs::write(folder.path().join(format!("{index:03}.jpg")), jpeg(index)).unwrap();
    }
    folder
}

fn quantize(model: &Path, calibration: &Path, out: &Path, flags: &[&str]) -> Command {
    let mut command = support::tilefleet();
    command.args(["model", "quantize"]).arg(model).arg("--calibration").arg(calibration);
    command.arg("--out").arg(out).args(flags);
    command
}

/// Quantises and returns what the command answers.
fn quantised(model: &Path, calibration: &Path, out: &Path, flags: &[&str]) -> Value {
    let output = quantize(model, calibration, out, flags).arg("--json").output().unwrap();
    assert_exit(&output, 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(mut command: Command, code: i32) -> String {
    let output: Output = command.output().unwrap();
    assert_exit(&output, code);
    stderr(&output)
}

/// The trained networks of CIFAR-10 lose at most 5 of 500 by each method; they are foreign and have no contract.
#[test]
fn trained_networks_stay_right_in_8_bits() {
    let Some(data) = support::test_data() else { return };
    let photos = data.join("photos/cifar10");
    for (network, reference) in crate::trained::REFERENCE {
        let fp32 = data.join("models").join(network);
        for method in ["percentile", "minmax", "entropy"] {
            let folder = tempfile::tempdir().unwrap();
            let int8 = folder.path().join("int8.onnx");
            let answer = quantised(&fp32, &photos, &int8, &["--method", method]);
            let record = &answer["quantisation"];
            let cosine = record["cosine_mean"].as_f64().unwrap();
            assert!(cosine >= 0.99, "{record}");
            assert!(record["top1_agreement"].as_f64().unwrap() >= 0.9, "{record}");
            assert_eq!((&record["calibration_tiles"], &record["held_out_tiles"]), (&256.into(), &128.into()));
            assert_eq!(record["assumed_contract"], true);
            let correct = num_correct(&photos, &int8);
            println!("{network} by {method}: {correct} correct, {reference} in fp32; cosine {cosine}");
            // Some answers turn from wrong to right as well: with 7 bits ResNet-20 has a few more than in fp32.
            assert!(correct + 5 >= reference, "{correct} correct, {reference} in fp32");
        }
    }
}

/// So many photos are computed on an emulated processor where nobody asks for all: it is slow.
const FEW: usize = 40;

/// Reduced weights, which are the default: few photos give the same on a processor without VNNI.
#[test]
fn some_photos_are_the_same_on_a_haswell() {
    on_a_haswell(FEW);
}

/// The same of all 500; `make test-processors` runs it.
#[test]
#[ignore = "ten minutes: `make test-processors`"]
fn all_photos_are_the_same_on_a_haswell() {
    on_a_haswell(500);
}

/// The same class for each of the first photos of each kind, embeddings of cosine 0.9999 at least, and 413 of all 500
/// right; the metadata names the same arithmetic.
fn on_a_haswell(count: usize) {
    let (Some(data), Some(_)) = (support::test_data(), support::haswell()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let int8 = folder.path().join("int8.onnx");
    let photos = data.join("photos/cifar10");
    // By percentile, the default, 412 are right, and embeddings are nearer to fp32.
    let network = data.join("models/resnet56_cifar10.onnx");
    let answer = quantised(&network, &photos, &int8, &["--method", "entropy"]);
    assert_eq!(answer["quantisation"]["weights"], "reduced");
    let correct = num_correct(&photos, &int8);
    assert!(correct >= 413, "{correct} of 500 right here");
    let chosen = folder.path().join("photos");
    copy_evenly(&photos, &chosen, count);
    let tables = [support::tilefleet(), support::haswell().unwrap()].map(|mut command| {
        let job = Job::new(0, "");
        command.arg("run").arg(&job.pipeline).arg("--input").arg(&chosen).arg("--model").arg(&int8);
        assert_exit(&command.output().unwrap(), 0);
        let arithmetic = arithmetic_of(&job.table());
        assert!(!arithmetic.is_empty() && arithmetic.iter().all(|name| name == "u8s7"), "{arithmetic:?}");
        rows(&job.table())
    });
    let worst = worst_cosine(&tables);
    let right = tables.each_ref().map(|rows| rows.iter().filter(|row| crate::trained::is_right(row)).count());
    println!("{count} photos: cosine {worst} at least, {right:?} right");
    assert_eq!(tables[0].len(), count);
    assert!(worst >= 0.9999, "{worst}");
    assert_eq!(right[0], right[1]);
    assert!(count < 500 || right[1] >= 413, "{right:?}");
}

/// A model of the full range is refused without VNNI. Where it is allowed, the shard says so, and the bright probe,
/// not the dark one, tells what it does.
#[test]
fn full_range_weights_are_refused_without_vnni() {
    let Some(data) = support::test_data() else { return };
    let Some(haswell) = support::haswell() else { return };
    let folder = tempfile::tempdir().unwrap();
    let int8 = folder.path().join("int8.onnx");
    let photos = data.join("photos/cifar10");
    let network = data.join("models/resnet56_cifar10.onnx");
    if support::has_vnni() {
        of_full_range(&network, &photos, &int8);
    } else {
        println!(
            "this processor has no VNNI and so makes no full range: weights of the reduced one are stretched"
        );
        quantised(&network, &photos, &int8, &[]);
        stretch(&int8);
    }
    let chosen = folder.path().join("photos");
    copy_evenly(&photos, &chosen, 10);
    let job = Job::new(0, "");
    let run = |mut command: Command, flags: &[&str]| {
        command
            .arg("run")
            .arg(&job.pipeline)
            .arg("--input")
            .arg(&chosen)
            .arg("--model")
            .arg(&int8)
            .args(flags);
        command
    };
    let message = refused(run(haswell, &[]), 78);
    assert!(
        message.contains("no AVX512-VNNI or AVX-VNNI") && message.contains("model quantize"),
        "{message}"
    );
    let allowed = run(support::haswell().unwrap(), &["--set", "run.allow_saturation=true"]).output().unwrap();
    assert_exit(&allowed, 0);
    let said = stderr(&allowed);
    assert!(said.contains("the embedding of the bright probe differs"), "{said}");
    assert!(!said.contains("the dark probe"), "{said}");
    assert_eq!(arithmetic_of(&job.table()), ["u8s8-saturating"]);
    // The record may be gone, as in models of earlier versions: the file tells.
    let contract = Contract::path_for(&int8);
    let text = std::fs::read_to_string(&contract).unwrap();
    std::fs::write(&contract, text.split_once("[quantisation]").unwrap().0).unwrap();
    let message = refused(run(support::haswell().unwrap(), &[]), 78);
    assert!(message.contains("16-bit sums saturate"), "{message}");
    let message = refused(haswell_quantises(&network, &photos, &folder.path().join("no.onnx")), 78);
    assert!(message.contains("full-range weights cannot be compared here"), "{message}");
}

fn of_full_range(network: &Path, photos: &Path, int8: &Path) {
    let answer = quantised(network, photos, int8, &["--weights", "full"]);
    assert_eq!(answer["quantisation"]["weights"], "full");
}

/// Of a fleet whose pipeline allows saturation, a worker that differs by more than the tolerance ends before it touches
/// anything, and the others finish. With a larger tolerance it takes part, and its shards say what computed them.
#[test]
fn of_a_mixed_fleet_only_the_worker_that_differs_too_much_ends() {
    let (Some(data), Some(_)) = (support::test_data(), support::haswell()) else { return };
    if !support::has_vnni() {
        return not_on_this_machine("no VNNI: no other arithmetic than the emulated one's");
    }
    let folder = tempfile::tempdir().unwrap();
    let (int8, chosen) = (folder.path().join("int8.onnx"), folder.path().join("photos"));
    let photos = data.join("photos/cifar10");
    of_full_range(&data.join("models/resnet56_cifar10.onnx"), &photos, &int8);
    copy_evenly(&photos, &chosen, 20);
    let job = Job::new(0, "[plan]\nshard_tiles = 2\n[run]\nallow_saturation = true\nprobe_tolerance = 0.1");
    let start = |mut command: Command, share: &str, tolerance: &[&str]| {
        command.arg("run").arg(&job.pipeline).args(["--share", share]).args(tolerance);
        command.arg("--input").arg(&chosen).arg("--model").arg(&int8);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let ended = |worker: Child, code: i32| {
        let output = worker.wait_with_output().unwrap();
        assert_exit(&output, code);
        stderr(&output)
    };
    let differing = start(support::haswell().unwrap(), "1/3", &[]);
    let others = ["0/3", "2/3"].map(|share| start(support::tilefleet(), share, &[]));
    let said = ended(differing, 78);
    assert!(said.contains("the embedding of the bright probe differs by"), "{said}");
    assert!(said.contains("10 % is allowed") && said.contains("run.probe_tolerance"), "{said}");
    for worker in others {
        ended(worker, 0);
    }
    job.verify_ok();
    assert_eq!(arithmetic_of(&job.table()), vec!["u8s8-vnni"; 10]);

    std::fs::remove_dir_all(job.table()).unwrap();
    let allowing = ["--set", "run.probe_tolerance=1"];
    let mut differing = start(support::haswell().unwrap(), "0/2", &allowing);
    while shard_files(&job.table()).is_empty() {
        assert_eq!(differing.try_wait().unwrap(), None, "it ends before it has committed anything");
        std::thread::sleep(Duration::from_millis(50));
    }
    differing.kill().unwrap();
    differing.wait().unwrap();
    ended(start(support::tilefleet(), "1/2", &allowing), 0);
    job.verify_ok();
    let arithmetic = arithmetic_of(&job.table());
    for name in ["u8s8-vnni", "u8s8-saturating"] {
        assert!(arithmetic.iter().any(|found| found == name), "{arithmetic:?}");
    }
}

/// Spreads the 7-bit weights of an int8 model over 8 bits, and keeps its contract: it computes nearly the same.
fn stretch(int8: &Path) {
    let mut model = ModelProto::decode(std::fs::read(int8).unwrap().as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    let pairs: Vec<_> = graph.node.iter().filter(|node| node.op_type() == "DequantizeLinear").collect();
    let pairs: Vec<[String; 2]> =
        pairs.iter().map(|node| [node.input[0].clone(), node.input[1].clone()]).collect();
    for [integers, scales] in pairs {
        let Some(at) = graph.initializer.iter().position(|tensor| tensor.name() == integers) else {
            continue;
        };
        let spread = |byte: &u8| (f32::from(byte.cast_signed()) * 127.0 / 64.0).round_ties_even() as i8;
        let weights = &mut graph.initializer[at];
        let bytes = weights.raw_data.take().unwrap();
        weights.raw_data = Some(bytes.iter().map(|byte| spread(byte).cast_unsigned()).collect());
        let scales = graph.initializer.iter_mut().find(|tensor| tensor.name() == scales).unwrap();
        let narrowed: Vec<f32> = scales.floats().unwrap().iter().map(|scale| scale * 64.0 / 127.0).collect();
        *scales = TensorProto::of_floats(scales.name(), &[narrowed.len()], &narrowed);
    }
    std::fs::write(int8, model.encode_to_vec()).unwrap();
    let path = Contract::path_for(int8);
    let contract = Contract { model_digest: None, ..Contract::load(&path).unwrap() };
    std::fs::write(path, contract.to_toml().unwrap()).unwrap();
}

fn haswell_quantises(network: &Path, photos: &Path, out: &Path) -> Command {
    let mut command = support::haswell().unwrap();
    command.args(["model", "quantize"]).arg(network).arg("--calibration").arg(photos);
    command.arg("--out").arg(out).args(["--weights", "full"]);
    command
}

/// All weights that `--target cpu` makes stay within 64, those of `--weights full` and of `--target tensorrt` do not.
#[test]
fn weights_for_the_cpu_have_7_bits() {
    let folder = tempfile::tempdir().unwrap();
    let photos = images(12);
    for (name, flags, largest) in [
        ("cpu", &[][..], 64),
        ("full", &["--weights", "full"][..], 127),
        ("tensorrt", &["--target", "tensorrt"][..], 127),
    ] {
        if name == "full" && !support::has_vnni() {
            let message =
                refused(quantize(small_model(), photos.path(), &folder.path().join(name), flags), 78);
            assert!(message.contains("full-range weights cannot be compared here"), "{message}");
            continue;
        }
        let out = folder.path().join(format!("{name}.onnx"));
        quantised(small_model(), photos.path(), &out, flags);
        let model = ModelProto::decode(std::fs::read(&out).unwrap().as_slice()).unwrap();
        let weights = model.graph.unwrap().initializer.into_iter().filter(|tensor| tensor.dims.len() >= 2);
        let integers =
            weights.filter(|tensor| tensor.data_type == Some(3)).filter_map(|tensor| tensor.raw_data);
        let found = integers.flat_map(|raw| raw.to_vec()).map(|byte| byte.cast_signed().unsigned_abs()).max();
        assert_eq!(found, Some(largest), "{name}");
    }
}

/// What the model gave for the bright chip where it was made is compared before any tile is read.
#[test]
fn a_processor_that_computes_something_else_is_told_at_the_start() {
    let job = Job::new(2, "");
    let int8 = job.path("int8.onnx");
    let answer = quantised(small_model(), images(12).path(), &int8, &[]);
    let chips = answer["quantisation"]["probes"].as_array().unwrap();
    assert_eq!(chips.iter().map(|probe| &probe["chip"]).collect::<Vec<_>>(), ["dark", "bright"]);
    let flags = ["--model", int8.to_str().unwrap()];
    job.run_ok(&flags);
    assert_eq!(arithmetic_of(&job.table()), ["u8s7"]);
    let path = Contract::path_for(&int8);
    let mut contract = Contract::load(&path).unwrap();
    let bright = &mut contract.quantisation.as_mut().unwrap().probes[1];
    bright.embedding.iter_mut().for_each(|value| *value *= 1.2);
    std::fs::write(&path, contract.to_toml().unwrap()).unwrap();
    let message = refused(job.run_command(&flags), 78);
    assert!(
        message.contains("the embedding of the bright probe differs by 16.7 %, 10 % is allowed"),
        "{message}"
    );
    let run = |settings: &[&str]| {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        job.run(&flags.iter().copied().chain(settings).collect::<Vec<_>>())
    };
    let allowed = run(&["run.allow_saturation=true"]);
    assert_exit(&allowed, 0);
    assert!(stderr(&allowed).contains("the bright probe"), "{}", stderr(&allowed));
    let tolerated = run(&["run.probe_tolerance=0.17"]);
    assert_exit(&tolerated, 0);
    assert!(!stderr(&tolerated).contains("probe"), "{}", stderr(&tolerated));
    for settings in
        [&["run.probe_tolerance=0.16"][..], &["run.allow_saturation=true", "run.probe_tolerance=0.16"]]
    {
        let refused = run(settings);
        assert_exit(&refused, 78);
        assert!(stderr(&refused).contains("differs by 16.7 %, 16 % is allowed"), "{}", stderr(&refused));
    }
}

/// Copies as many photos of each class, under the class's name.
fn copy_evenly(photos: &Path, to: &Path, count: usize) {
    for class in crate::trained::CLASSES {
        std::fs::create_dir_all(to.join(class)).unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(photos.join(class)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in &files[..count / crate::trained::CLASSES.len()] {
            std::fs::copy(file, to.join(class).join(file.file_name().unwrap())).unwrap();
        }
    }
}

/// Compares row by row; returns the smallest cosine.
fn worst_cosine([here, there]: &[Vec<crate::fixture::Row>; 2]) -> f32 {
    assert_eq!(here.len(), there.len());
    here.iter().zip(there).fold(1.0, |worst: f32, (here, there)| {
        assert_eq!((&here.source, here.class_id), (&there.source, there.class_id));
        worst.min(cosine(here.embedding.as_ref().unwrap(), there.embedding.as_ref().unwrap()))
    })
}

/// The arithmetic of each shard.
fn arithmetic_of(table: &Path) -> Vec<String> {
    shard_files(table).values().map(|file| constant_of(file, "tilefleet.arithmetic")).collect()
}

/// A run takes the precision of its model, records it, and refuses another one.
#[test]
fn a_run_takes_and_records_the_precision_of_its_model() {
    let job = Job::new(6, "");
    let photos = images(24);
    let int8 = job.path("int8.onnx");
    quantised(small_model(), photos.path(), &int8, &[]);
    let int8 = int8.to_str().unwrap();
    for (flags, precision) in [(&[][..], "fp32"), (&["--model", int8], "int8")] {
        job.run_ok(flags);
        let recorded = shard_files(&job.table()).values().map(precision_of).collect::<Vec<_>>();
        assert!(recorded.contains(&precision.to_owned()), "{recorded:?}");
    }
    let runs = shard_files(&job.table()).len();
    assert_eq!(runs, 2, "another model is another run");
    let all = rows(&job.table());
    let halves = all.split_at(6);
    for (a, b) in halves.0.iter().zip(halves.1) {
        assert_eq!(a.source, b.source);
        let cosine = cosine(a.embedding.as_ref().unwrap(), b.embedding.as_ref().unwrap());
        assert!(cosine >= 0.98, "{cosine}");
    }
    let message = refused(job.run_command(&["--precision", "int8"]), 78);
    assert!(message.contains("the model file is fp32") && message.contains("model quantize"), "{message}");
    let message = refused(job.run_command(&["--precision", "fp32", "--model", int8]), 78);
    assert!(message.contains("the model file is int8"), "{message}");
    let message = refused(job.run_command(&["--provider", "tensorrt", "--model", int8]), 78);
    assert!(message.contains("quantised for the CPU") && message.contains("--target tensorrt"), "{message}");
}

/// The record in a contract is of how the model was made: a run that goes on without it is the same run.
#[test]
fn the_record_of_a_quantisation_is_no_part_of_the_fingerprint() {
    let job = Job::new(4, "");
    let int8 = job.path("int8.onnx");
    quantised(small_model(), images(12).path(), &int8, &[]);
    let flags = ["--model", int8.to_str().unwrap()];
    job.run_ok(&flags);
    let contract = job.path("int8.contract.toml");
    let text = std::fs::read_to_string(&contract).unwrap();
    let (meaning, record) = text.split_once("[quantisation]").unwrap();
    assert!(record.contains("cosine_mean"));
    std::fs::write(&contract, meaning).unwrap();
    assert!(job.run_ok(&flags).contains("nothing new"));
}

/// Same tiles, same model: equal bytes. The tiles to compare on are others than those to calibrate with.
#[test]
fn a_quantisation_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let photos = images(20);
    let out = |name: &str| folder.path().join(name);
    let answers = ["a.onnx", "b.onnx"].map(|name| quantised(small_model(), photos.path(), &out(name), &[]));
    assert_eq!(answers[0]["digest"], answers[1]["digest"]);
    let record = &answers[0]["quantisation"];
    assert_eq!((&record["calibration_tiles"], &record["held_out_tiles"]), (&13.into(), &7.into()));
    let flags = ["--held-out", photos.path().to_str().unwrap()];
    let message = refused(quantize(small_model(), photos.path(), &out("c.onnx"), &flags), 78);
    assert!(message.contains("both in --calibration and in --held-out"), "{message}");
    let flags = ["--calibration-tiles", "15", "--held-out-tiles", "6"];
    let message = refused(quantize(small_model(), photos.path(), &out("c.onnx"), &flags), 78);
    assert!(message.contains("20 tiles are too few"), "{message}");
    let message = refused(quantize(small_model(), photos.path(), &out("a.onnx"), &[]), 64);
    assert!(message.contains("exists already"), "{message}");
    let message = refused(quantize(&out("a.onnx"), photos.path(), &out("c.onnx"), &[]), 78);
    assert!(message.contains("already quantised"), "{message}");
}

/// Named layers stay float, and so do the noisiest on request; the record says which.
#[test]
fn layers_that_hurt_stay_float() {
    let folder = tempfile::tempdir().unwrap();
    let photos = images(12);
    let flags = ["--exclude", "conv1,layer4.0.conv1", "--keep-worst", "2"];
    let answer = quantised(small_model(), photos.path(), &folder.path().join("m.onnx"), &flags);
    let left = answer["quantisation"]["float_layers"].as_array().unwrap();
    let with = |reason: &str| {
        let has = |layer: &&Value| layer["reason"].as_str().unwrap().contains(reason);
        left.iter().filter(has).map(|layer| layer["layer"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(with("--exclude"), ["conv1", "layer4.0.conv1"]);
    assert_eq!(with("rounding loses most").len(), 2);
    assert_eq!(with("classifier"), ["logits"]);
    let flags = ["--exclude", "conv9"];
    let message = refused(quantize(small_model(), photos.path(), &folder.path().join("n.onnx"), &flags), 64);
    assert!(message.contains("no layer conv9") && message.contains("named like conv1"), "{message}");
}

/// A foreign network as exporters write it: batch norms, constants as nodes, a mean over axes, a product and a bias.
#[test]
fn foreign_networks_with_batch_norms_are_quantised() {
    let folder = tempfile::tempdir().unwrap();
    let network = folder.path().join("foreign.onnx");
    std::fs::write(&network, foreign()).unwrap();
    let answer = quantised(&network, images(24).path(), &folder.path().join("int8.onnx"), &[]);
    let record = &answer["quantisation"];
    assert!(record["cosine_mean"].as_f64().unwrap() >= 0.995, "{record}");
    assert_eq!(record["int8_layers"], 4, "two convolutions, a maximum and a sum");
    let left = record["float_layers"].as_array().unwrap();
    assert_eq!(left.iter().map(|layer| layer["layer"].as_str().unwrap()).collect::<Vec<_>>(), ["product"]);
}

/// Writes into a model whatever the package `onnx` has a place for and a network can do without.
const ANNOTATE: &str = r#"
import sys, onnx
from onnx import helper
model = onnx.load(sys.argv[1])
graph = model.graph
add = helper.make_node("Add", ["a", "a"], ["b"])
model.functions.append(helper.make_function("own", "twice", ["a"], ["b"], [add], [helper.make_opsetid("", 17)]))
model.opset_import.add(domain="own", version=1)
model.training_info.add().algorithm.name = "step"
graph.node[0].metadata_props.add(key="exporter", value="v")
annotation = graph.quantization_annotation.add(tensor_name="pixels")
annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
sparse = graph.sparse_initializer.add(dims=[4])
sparse.values.CopyFrom(helper.make_tensor("sparse", 1, [1], [1.0]))
sparse.indices.CopyFrom(helper.make_tensor("places", 7, [1], [2]))
onnx.save(model, sys.argv[1])
"#;

/// Prints what [`ANNOTATE`] wrote.
const READ: &str = r"
import sys, onnx
model = onnx.load(sys.argv[1])
graph = model.graph
notes = [entry.value for node in graph.node for entry in node.metadata_props]
print(model.functions[0], model.training_info[0], notes, graph.quantization_annotation[0], graph.sparse_initializer[0])
";

#[test]
fn what_the_python_package_wrote_it_reads_from_the_int8_model() {
    let Some(python) = support::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [network, int8] = ["foreign.onnx", "int8.onnx"].map(|name| folder.path().join(name));
    std::fs::write(&network, foreign()).unwrap();
    support::run_python(&python, ANNOTATE, &[&network]);
    let before = support::run_python(&python, READ, &[&network]);
    assert!(["twice", "step", "['v']", "SCALE_TENSOR", "sparse"].iter().all(|text| before.contains(text)));
    quantised(&network, images(24).path(), &int8, &[]);
    assert_eq!(support::run_python(&python, READ, &[&int8]), before);
}

/// `TensorRT`'s form, run on the CPU, comes as near.
#[test]
fn the_form_for_tensorrt_is_as_near() {
    let folder = tempfile::tempdir().unwrap();
    let photos = images(24);
    let out = folder.path().join("trt.onnx");
    let answer = quantised(small_model(), photos.path(), &out, &["--target", "tensorrt"]);
    let record = &answer["quantisation"];
    assert_eq!(record["target"], "tensorrt");
    assert!(record["cosine_mean"].as_f64().unwrap() >= 0.98, "{record}");
}

/// What a run would reject is left out and said; of nothing but that no model is made.
#[test]
fn tiles_that_cannot_be_decoded_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let photos = images(12);
    let damaged = jpeg(3);
    std::fs::write(photos.path().join("003.jpg"), &damaged[..damaged.len() / 2]).unwrap();
    let output = quantize(small_model(), photos.path(), &folder.path().join("m.onnx"), &[]).output().unwrap();
    assert_exit(&output, 0);
    assert!(stderr(&output).contains("1 tile left out; the first is"), "{}", stderr(&output));
    for entry in std::fs::read_dir(photos.path()).unwrap() {
        std::fs::write(entry.unwrap().path(), b"no image").unwrap();
    }
    let message = refused(quantize(small_model(), photos.path(), &folder.path().join("n.onnx"), &[]), 78);
    assert!(message.contains("none of 8 tiles to calibrate with can be used"), "{message}");
}

/// fp16 networks run on the CPU too, and come as near as 11 bits can.
#[test]
fn fp16_networks_are_parallel_to_fp32_ones() {
    let size = ["--size", "64", "--resize", "72", "--classes", "10"];
    for arch in ["resnet18", "resnet50"] {
        let job = Job::new(6, "");
        let build = |name: &str, precision: &str| {
            model(name, &[&["--arch", arch, "--precision", precision], &size[..]].concat())
        };
        let pair = [build(&format!("{arch}-fp32"), "fp32"), build(&format!("{arch}-fp16"), "fp16")];
        let sizes = pair.each_ref().map(|file| std::fs::metadata(file).unwrap().len());
        assert!(sizes[1] < sizes[0] * 51 / 100, "{sizes:?}");
        for file in &pair {
            let output = job.table().with_file_name(file.file_stem().unwrap());
            job.run_ok(&["--model", file.to_str().unwrap(), "--output", output.to_str().unwrap()]);
        }
        let [exact, half] = pair.map(|file| rows(&job.table().with_file_name(file.file_stem().unwrap())));
        for (exact, half) in exact.iter().zip(&half) {
            let cosine = cosine(exact.embedding.as_ref().unwrap(), half.embedding.as_ref().unwrap());
            assert!(cosine >= 0.999, "{arch}: {cosine}");
        }
        let table = job.table().with_file_name(format!("{arch}-fp16"));
        assert_eq!(shard_files(&table).values().map(precision_of).collect::<Vec<_>>(), ["fp16"]);
    }
}

/// The seeded ResNet-152 on real medical images; few of them, since it is large.
#[test]
fn resnet152_comes_near_on_mednist() {
    let Some(data) = support::test_data() else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("int8.onnx");
    let network = model("resnet152", &["--arch", "resnet152"]);
    let flags = ["--calibration-tiles", "24", "--held-out-tiles", "24"];
    let answer = quantised(&network, &data.join("medical/mednist"), &out, &flags);
    let record = &answer["quantisation"];
    println!("{record}");
    assert!(record["cosine_mean"].as_f64().unwrap() >= 0.99, "{record}");
    assert_eq!(record["int8_layers"], 206, "no layer has to stay float");
}

/// Two convolutions with norms, a maximum and a residual sum, a mean, a product and its bias.
fn foreign() -> Vec<u8> {
    let node = |op_type: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>| NodeProto {
        name: None,
        ..NodeProto::new(op_type, inputs, output, attributes)
    };
    let window = |size: i64, stride: i64| {
        vec![
            AttributeProto::ints("kernel_shape", &[size; 2]),
            AttributeProto::ints("pads", &[size / 2; 4]),
            AttributeProto::ints("strides", &[stride; 2]),
        ]
    };
    let value = AttributeProto {
        name: Some("value".to_owned()),
        t: Some(weights("", &[8, 8, 3, 3], 2, 0.2)),
        r#type: Some(4),
        ..AttributeProto::default()
    };
    let norm = |input: &str, output: &str| {
        node("BatchNormalization", &[input, "gamma", "beta", "mean", "variance"], output, vec![])
    };
    let node = vec![
        node("Conv", &["pixels", "stem.weight"], "stem", window(3, 2)),
        norm("stem", "stem_normed"),
        node("Relu", &["stem_normed"], "stem_rectified", vec![]),
        node("MaxPool", &["stem_rectified"], "pooled", window(3, 2)),
        node("Constant", &[], "branch.weight", vec![value]),
        node("Conv", &["pooled", "branch.weight", "beta"], "branch", window(3, 1)),
        norm("branch", "branch_normed"),
        node("Add", &["branch_normed", "pooled"], "sum", vec![]),
        node("Relu", &["sum"], "last", vec![]),
        node(
            "ReduceMean",
            &["last"],
            "features",
            vec![AttributeProto::ints("axes", &[2, 3]), AttributeProto::int("keepdims", 0)],
        ),
        node("MatMul", &["features", "matrix"], "product", vec![]),
        node("Add", &["product", "shift"], "scores", vec![]),
    ];
    let positive = |name: &str, seed: u64| {
        let floats: Vec<f32> =
            weights(name, &[8], seed, 0.5).floats().unwrap().iter().map(|x| x + 1.0).collect();
        TensorProto::of_floats(name, &[8], &floats)
    };
    let axis = Dimension::fixed;
    let graph = GraphProto {
        node,
        initializer: vec![
            weights("stem.weight", &[8, 3, 3, 3], 1, 0.3),
            positive("gamma", 3),
            weights("beta", &[8], 4, 0.5),
            weights("mean", &[8], 5, 0.5),
            positive("variance", 6),
            weights("matrix", &[8, 5], 7, 0.5),
            weights("shift", &[5], 8, 0.5),
        ],
        input: vec![ValueInfoProto::new(
            "pixels",
            1,
            vec![Dimension::named("batch"), axis(3), axis(64), axis(64)],
        )],
        output: vec![ValueInfoProto::new("scores", 1, vec![Dimension::named("batch"), axis(5)])],
        ..GraphProto::default()
    };
    let opset_import = vec![OperatorSetIdProto::onnx(17)];
    ModelProto { ir_version: Some(8), graph: Some(graph), opset_import, ..ModelProto::default() }
        .encode_to_vec()
}

/// Uniform numbers of at most `largest`.
fn weights(name: &str, dims: &[usize], seed: u64, largest: f32) -> TensorProto {
    let mut random = Random(seed);
    let floats: Vec<f32> = (0..dims.iter().product()).map(|_| 2.0 * random.around_0() * largest).collect();
    TensorProto::of_floats(name, dims, &floats)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn precision_of(file: &PathBuf) -> String {
    constant_of(file, "tilefleet.precision")
}

fn constant_of(file: &PathBuf, key: &str) -> String {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let reader = SerializedFileReader::new(std::fs::File::open(file).unwrap()).unwrap();
    let entries = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    entries.into_iter().find(|entry| entry.key == key).and_then(|entry| entry.value).unwrap()
}
