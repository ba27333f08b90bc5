//! Puts a fitted classifier behind a network's embedding.
//!
//! Goes in: the ONNX file that made the embeddings, and weights of a linear classifier. Comes out: the same
//! network with that classifier in place of its own. What computes the embedding is not touched, so that the
//! new model yields the same embeddings bit for bit.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::build::BuiltModel;
use super::graph::{Axis, Graph};
use super::network::Network;
use super::onnx::{
    AttributeProto, Dimension, FLOAT, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto,
    ValueInfoProto,
};
use super::prune::prune;
use crate::vocabulary::contract::{Activation, Classifier, Contract, FittedOn, METADATA_KEY};
use crate::vocabulary::error::{Error, Result};

/// The first operator set whose `Gemm` adds a bias of one row to all.
const FIRST_OPSET: i64 = 7;

/// The network that made some embeddings.
#[derive(Debug)]
pub struct Backbone {
    path: PathBuf,
    bytes: Bytes,
    model: ModelProto,
    digest: String,
}

/// A linear classifier of plain embeddings.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[num_classes, length]`, row-major.
    pub weights: Vec<f32>,
    /// `[num_classes]`
    pub bias: Vec<f32>,
}

/// A classifier for a backbone's embeddings.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    /// Name that the contract gets.
    pub name: &'a str,
    /// Weights and bias.
    pub linear: &'a Linear,
    /// How its logits become scores.
    pub activation: Activation,
    /// Class names in order of class id.
    pub labels: Vec<String>,
    /// How it was fitted.
    pub fitted: FittedOn,
}

impl Backbone {
    /// Reads the ONNX file of a run.
    ///
    /// - `digest`: SHA-256 of the file that the run used, in hex
    /// - `otherwise`: what to do if it is another file, or none
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config): unreadable, no ONNX, another file than the run's, or one
    /// that cannot be extended.
    pub fn open(path: &Path, digest: &str, otherwise: &str) -> Result<Self> {
        let Network { bytes, proto, digest: found, .. } =
            Network::read(path).map_err(|error| error.hint(otherwise))?;
        if found != digest {
            return Err(Error::config(format!("{} is not the model of the run", path.display()))
                .because(format!("its SHA-256 is {found}, the run's model had {digest}"))
                .hint(otherwise));
        }
        let backbone = Self { path: path.to_owned(), bytes, model: proto, digest: found };
        match backbone.model.opset() {
            Some(version) if version < FIRST_OPSET => {
                Err(backbone.unusable(format!("it is of operator set {version}, older than {FIRST_OPSET}")))
            }
            _ => Ok(backbone),
        }
    }

    /// Returns where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns SHA-256 of the file, in hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Puts a classifier behind the embedding; the network's own, and whatever else the embedding does not
    /// depend on, goes.
    ///
    /// - `contract`: the one in force when the embeddings were made
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where the graph does not compute the contract's embedding.
    pub fn with_head(&self, contract: &Contract, head: &Head<'_>) -> Result<BuiltModel> {
        let embedding = &contract.output.embedding;
        let pruned = prune(&self.bytes, &self.model, embedding)
            .ok_or_else(|| self.unusable(format!("no node of its graph computes `{embedding}`")))?;
        let free = |name: &str| {
            let mut name = name.to_owned();
            while pruned.names.contains(name.as_str()) {
                name.insert_str(0, "head.");
            }
            name
        };
        let names = Names {
            flat: free("head.flat"),
            logits: free("logits"),
            weight: free("head.weight"),
            bias: free("head.bias"),
        };
        let contract = with_classifier(contract, head, &names.logits);
        contract.validate()?;
        let mut graph = self.classifier(embedding, head.linear, &names);
        if !pruned.is_output {
            graph.output.insert(0, ValueInfoProto::untyped(embedding));
        }
        let extension = ModelProto {
            graph: Some(graph),
            metadata_props: vec![StringStringEntryProto::new(METADATA_KEY, contract.to_canonical_json()?)],
            ..ModelProto::default()
        };
        // Protobuf merges a second graph with the first, see `exposing_outputs`.
        let mut bytes = pruned.bytes;
        bytes.extend(extension.encode_to_vec());
        let digest = hex::encode(Sha256::digest(&bytes));
        Ok(BuiltModel { bytes: bytes.into(), digest, contract })
    }

    /// The part of a graph that computes `logits = weight · embedding + bias`.
    fn classifier(&self, embedding: &str, linear: &Linear, names: &Names) -> GraphProto {
        let (num_classes, length) = (linear.bias.len(), linear.weights.len() / linear.bias.len());
        let transposed = vec![AttributeProto::int("transB", 1)];
        let logits = vec![self.batch_axis(), Dimension::fixed(num_classes)];
        let inputs = [&*names.flat, &names.weight, &names.bias];
        GraphProto {
            // A pooled embedding may be `[n, length, 1, 1]`.
            node: vec![
                NodeProto::new("Flatten", &[embedding], &names.flat, vec![AttributeProto::int("axis", 1)]),
                NodeProto::new("Gemm", &inputs, &names.logits, transposed),
            ],
            initializer: vec![
                TensorProto::float(&names.weight, &[num_classes, length], le_bytes(&linear.weights)),
                TensorProto::float(&names.bias, &[num_classes], le_bytes(&linear.bias)),
            ],
            output: vec![ValueInfoProto::new(&names.logits, FLOAT, logits)],
            ..GraphProto::default()
        }
    }

    /// The first axis of the input, which is also that of the logits.
    fn batch_axis(&self) -> Dimension {
        let first = self.model.graph.as_ref().and_then(|graph| Graph::new(graph).batch_axis());
        match first {
            Some(Axis::Fixed(length)) => Dimension::fixed(length as usize),
            Some(Axis::Named(name)) => Dimension::named(&name),
            Some(Axis::Unknown) | None => Dimension::default(),
        }
    }

    fn unusable(&self, why: String) -> Error {
        Error::config(format!("cannot put a classifier into {}", self.path.display()))
            .because(why)
            .hint("`tilefleet model inspect` shows the graph; export the network again, as one file")
    }
}

/// Names that are free in the graph.
struct Names {
    flat: String,
    logits: String,
    weight: String,
    bias: String,
}

fn with_classifier(contract: &Contract, head: &Head<'_>, logits: &str) -> Contract {
    let mut contract = contract.clone();
    head.name.clone_into(&mut contract.name);
    if let Some(quantisation) = &mut contract.quantisation {
        // They were measured with the classifier that is gone.
        quantisation.top1_agreement = None;
        quantisation.logits_error = None;
    }
    contract.output.classifier = Some(Classifier {
        logits: logits.to_owned(),
        num_classes: head.labels.len(),
        activation: head.activation,
        labels: Some(head.labels.clone()),
        fitted: Some(head.fitted.clone()),
    });
    contract
}

fn le_bytes(values: &[f32]) -> Bytes {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::build::{BuildOptions, build};
    use crate::models::onnx::annotated::{annotate, assert_kept};
    use crate::models::resnet::Architecture;
    use crate::models::weights::Weights;
    use crate::models::{ContractOrigin, Overrides, load};
    use crate::vocabulary::contract::HeadKind;

    fn head(linear: &Linear) -> Head<'_> {
        let fitted = FittedOn {
            kind: HeadKind::Logistic,
            l2: 1.0,
            num_tiles: 8,
            num_held_out: 2,
            accuracy: Some(0.5),
            runs: vec!["photos-01234567-0001".to_owned()],
            labels: "extra.site".to_owned(),
            backbone: String::new(),
        };
        let labels = vec!["sea".to_owned(), "land".to_owned()];
        Head { name: "toy-head", linear, activation: Activation::Softmax, labels, fitted }
    }

    fn linear() -> Linear {
        Linear { weights: (0..1024_u16).map(f32::from).collect(), bias: vec![1.0, -1.0] }
    }

    /// Twice over: the second head takes the place of the first, and gives the same file as on the backbone.
    #[test]
    fn a_head_replaces_the_classifier_and_loads() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let weights = Weights::from_seed(1, Architecture::Resnet18, 3, Some(1000));
        let built = build(&weights, &BuildOptions::new(Architecture::Resnet18, "toy", 3)).unwrap();
        built.write(&path("toy.onnx"), false).unwrap();
        let backbone = Backbone::open(&path("toy.onnx"), &built.digest, "").unwrap();
        let linear = linear();
        let headed = backbone.with_head(&built.contract, &head(&linear)).unwrap();
        assert!(headed.bytes.len() + 1000 * 512 * 4 < built.bytes.len() + 3 * 512 * 4);
        headed.write(&path("head.onnx"), false).unwrap();
        let model = load(&path("head.onnx"), &Overrides::default()).unwrap();
        assert_eq!((model.contract_origin, &model.contract), (ContractOrigin::File, &headed.contract));
        let classifier = model.contract.output.classifier.as_ref().unwrap();
        assert_eq!((classifier.logits.as_str(), classifier.num_classes), ("logits", 2));
        std::fs::remove_file(path("head.contract.toml")).unwrap();
        let model = load(&path("head.onnx"), &Overrides::default()).unwrap();
        assert_eq!((model.contract_origin, &model.contract), (ContractOrigin::Metadata, &headed.contract));

        let again = Backbone::open(&path("head.onnx"), &headed.digest, "").unwrap();
        let again = again.with_head(&headed.contract, &head(&linear)).unwrap();
        assert!(again.bytes == headed.bytes, "{} and {} bytes", again.bytes.len(), headed.bytes.len());
        let graph = ModelProto::decode(again.bytes).unwrap().graph.unwrap();
        let outputs: Vec<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
        assert_eq!(outputs, ["embedding", "logits"]);
        assert!(graph.initializer.iter().all(|constant| !constant.name().starts_with("fc.")));
    }

    #[test]
    fn what_other_tools_wrote_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let weights = Weights::from_seed(1, Architecture::Resnet18, 3, Some(4));
        let built = build(&weights, &BuildOptions::new(Architecture::Resnet18, "toy", 3)).unwrap();
        let mut annotated = ModelProto::decode(built.bytes).unwrap();
        annotate(&mut annotated, 0);
        let bytes = annotated.encode_to_vec();
        std::fs::write(&path, &bytes).unwrap();
        let backbone = Backbone::open(&path, &hex::encode(Sha256::digest(bytes)), "").unwrap();
        let headed = backbone.with_head(&built.contract, &head(&linear())).unwrap();
        assert_kept(&annotated, &ModelProto::decode(headed.bytes).unwrap());
    }

    #[test]
    fn names_that_the_backbone_uses_are_not_taken() {
        let axes = vec![Dimension::named("batch"), Dimension::fixed(3)];
        let graph = GraphProto {
            node: vec![
                NodeProto::new("Relu", &["x"], "logits", vec![]),
                NodeProto::new("Relu", &["logits"], "features", vec![]),
            ],
            input: vec![ValueInfoProto::new("x", FLOAT, axes)],
            ..GraphProto::default()
        };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let bytes = Bytes::from(model.encode_to_vec());
        let backbone = Backbone { path: PathBuf::from("m.onnx"), bytes, model, digest: String::new() };
        let weights = Weights::from_seed(1, Architecture::Resnet18, 3, None);
        let mut contract =
            build(&weights, &BuildOptions::new(Architecture::Resnet18, "toy", 3)).unwrap().contract;
        contract.output.embedding = "features".to_owned();
        let linear = linear();
        let headed = backbone.with_head(&contract, &head(&linear)).unwrap();
        assert_eq!(headed.contract.output.classifier.unwrap().logits, "head.logits");
        let graph = ModelProto::decode(headed.bytes).unwrap().graph.unwrap();
        let shown: Vec<String> = Graph::new(&graph).outputs().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["unknown type of unknown shape", "float32 [batch, 2]"]);
        contract.output.embedding = "x".to_owned();
        let error = backbone.with_head(&contract, &head(&linear)).unwrap_err();
        assert!(error.render().contains("computes `x`"), "{}", error.render());
    }

    #[test]
    fn another_file_than_the_runs_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let weights = Weights::from_seed(1, Architecture::Resnet18, 3, None);
        let built = build(&weights, &BuildOptions::new(Architecture::Resnet18, "toy", 3)).unwrap();
        built.write(&path, false).unwrap();
        let error = Backbone::open(&path, "0123", "name it with --model").unwrap_err();
        assert_eq!(error.kind(), crate::vocabulary::error::Kind::Config);
        assert!(error.render().contains("--model"), "{}", error.render());
    }
}
