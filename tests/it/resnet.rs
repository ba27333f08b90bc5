//! Our networks give what torchvision gives with the same weights (`tests/golden`, made by
//! `scripts/golden/resnet_golden.py`), and foreign networks give the embedding that they hide.

use std::num::NonZeroUsize;
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use serde::Deserialize;
use tilefleet::models::build::{BuildOptions, build};
use tilefleet::models::onnx::ModelProto;
use tilefleet::models::weights::Weights;
use tilefleet::models::{Overrides, load};
use tilefleet::runtime;
use tilefleet::runtime::Runtime;
use tilefleet::stages::infer::batch::{InputBatch, SamplesMut};
use tilefleet::stages::infer::{Outputs, Session, SessionOptions};
use tilefleet::vocabulary::contract::{Contract, SampleType};
use tilefleet::vocabulary::provider::Provider;

use crate::support;

/// Largest difference, relative to the largest value: max |a − b| / max |b|.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Index {
    num_images: usize,
    size: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    architecture: String,
    seed: u64,
    channels: usize,
    classes: usize,
    headless: bool,
    input_type: SampleType,
    embedding_length: usize,
}

/// What torchvision gave: `[images, features]` and `[images, classes]`.
struct Golden {
    embeddings: Vec<f32>,
    logits: Option<Vec<f32>>,
}

fn golden_file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Golden {
    fn of(case: &Case, num_images: usize) -> Self {
        let raw = golden_file(&format!("{}.bin", case.name));
        let mut values = raw.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk));
        let embeddings = values.by_ref().take(num_images * case.embedding_length).collect();
        let logits: Vec<f32> = values.collect();
        assert_eq!(logits.len(), if case.headless { 0 } else { num_images * case.classes });
        Self { embeddings, logits: (!case.headless).then_some(logits) }
    }
}

/// One sample of the images that the script makes by the same formula.
fn sample(image: usize, y: usize, x: usize, band: usize) -> u8 {
    let blocks = ((x >> 4) ^ (y >> 4)) * (23 + 40 * image);
    ((x * (1 + image) + y * (2 + band) + blocks + 60 * band) & 255) as u8
}

fn images(contract: &Contract, index: &Index) -> InputBatch {
    let mut batch = InputBatch::new(&contract.input, NonZeroUsize::new(index.num_images).unwrap());
    let (bands, size) = (contract.input.bands.len(), index.size);
    match batch.samples_mut() {
        SamplesMut::U8(samples) => {
            for (at, value) in samples.iter_mut().enumerate() {
                let (pixel, band) = (at / bands, at % bands);
                *value = sample(pixel / (size * size), pixel / size % size, pixel % size, band);
            }
        }
        SamplesMut::F32(samples) => {
            for (at, value) in samples.iter_mut().enumerate() {
                let (row, x) = (at / size, at % size);
                let (plane, y) = (row / size, row % size);
                *value = f32::from(sample(plane / bands, y, x, plane % bands)) / 256.0 - 0.5;
            }
        }
    }
    batch.set_len(index.num_images);
    batch
}

/// The library that `make test` installs.
fn onnx_runtime() -> Option<&'static Runtime> {
    runtime::load().map_or_else(|error| support::skip(&error.render()), Some)
}

fn run(runtime: &'static Runtime, model: &[u8], contract: &Contract, batch: &InputBatch) -> Outputs {
    let options = SessionOptions::new(Provider::Cpu, NonZeroUsize::new(2).unwrap());
    Session::open(runtime, &Bytes::copy_from_slice(model), contract, &options).unwrap().run(batch).unwrap()
}

fn relative_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let largest = |values: &mut dyn Iterator<Item = f32>| {
        values
            .fold(0.0, |largest: f32, value| if value.is_nan() { f32::NAN } else { largest.max(value.abs()) })
    };
    let difference = largest(&mut got.iter().zip(expected).map(|(got, expected)| got - expected));
    difference / largest(&mut expected.iter().copied())
}

fn assert_close(what: &str, got: &[f32], expected: &[f32]) {
    let difference = relative_difference(got, expected);
    eprintln!("{what}: relative difference {difference:.1e}");
    assert!(difference <= TOLERANCE, "{what}: relative difference {difference:e}");
    // Otherwise a network that ignores its input could pass.
    let (first, second) = got.split_at(got.len() / 2);
    assert!(relative_difference(first, second) > 100.0 * TOLERANCE, "{what}: both images give the same");
}

fn agrees_with_torchvision(name: &str) {
    let Some(runtime) = onnx_runtime() else { return };
    let index: Index = serde_json::from_slice(&golden_file("resnet.json")).unwrap();
    let case = index.cases.iter().find(|case| case.name == name).unwrap();
    let architecture = case.architecture.parse().unwrap();
    let num_classes = (!case.headless).then_some(case.classes);
    let weights = Weights::from_seed(case.seed, architecture, case.channels, num_classes);
    let mut options = BuildOptions::new(architecture, name, case.channels);
    options.sample_type = case.input_type;
    let model = build(&weights, &options).unwrap();
    let outputs = run(runtime, &model.bytes, &model.contract, &images(&model.contract, &index));
    let golden = Golden::of(case, index.num_images);
    assert_close(&format!("{name}, embedding"), outputs.embeddings(), &golden.embeddings);
    assert_eq!(outputs.logits().is_some(), golden.logits.is_some());
    if let (Some(got), Some(expected)) = (outputs.logits(), &golden.logits) {
        assert_close(&format!("{name}, logits"), got, expected);
    }
}

#[test]
fn resnet18_agrees_with_torchvision() {
    agrees_with_torchvision("resnet18");
}

#[test]
fn resnet34_agrees_with_torchvision() {
    agrees_with_torchvision("resnet34");
}

#[test]
fn resnet50_agrees_with_torchvision() {
    agrees_with_torchvision("resnet50");
}

#[test]
fn resnet101_agrees_with_torchvision() {
    agrees_with_torchvision("resnet101");
}

#[test]
fn resnet152_agrees_with_torchvision() {
    agrees_with_torchvision("resnet152");
}

#[test]
fn a_network_for_nine_float_bands_agrees_with_torchvision() {
    agrees_with_torchvision("resnet18-9bands");
}

#[test]
fn a_headless_network_with_float_input_agrees_with_torchvision() {
    agrees_with_torchvision("resnet50-headless");
}

/// The exposed tensor is the embedding: the classifier's weights make the model's own logits from it.
#[test]
fn the_hidden_embedding_of_a_trained_network_makes_its_logits() {
    let (Some(runtime), Some(data)) = (onnx_runtime(), support::test_data()) else { return };
    for name in ["resnet20_cifar10", "resnet56_cifar10"] {
        let path = data.join(format!("models/{name}.onnx"));
        let model = load(&path, &Overrides::default()).unwrap();
        let index = Index { num_images: 2, size: 32, cases: vec![] };
        let outputs = run(runtime, &model.bytes, &model.contract, &images(&model.contract, &index));
        let graph = ModelProto::decode(Bytes::from(std::fs::read(path).unwrap())).unwrap().graph.unwrap();
        let floats = |name: &str| -> Vec<f32> {
            let tensor = graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap();
            let raw = tensor.raw_data.as_ref().unwrap();
            raw.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect()
        };
        let (weights, bias) = (floats("linear.weight"), floats("linear.bias"));
        let rows = outputs.embeddings().chunks_exact(64);
        let logits: Vec<f32> = rows
            .flat_map(|embedding| {
                weights.chunks_exact(64).zip(&bias).map(move |(row, bias)| dot(row, embedding) + bias)
            })
            .collect();
        assert_close(name, &logits, outputs.logits().unwrap());
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
