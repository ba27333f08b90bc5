//! Reads an ONNX file and compares it with its contract.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use serde::Serialize;

use super::build::imagenet;
use super::graph::{Axis, FoundClassifier, Graph, TensorInfo, type_name};
use super::network::{Network, unusable};
use super::onnx::{FLOAT, GraphProto, ModelProto, UINT8, exposing_outputs};
use super::operands::Operands;
use super::pair;
use super::shape::may_be_row;
use crate::models::precision_of;
use crate::vocabulary::contract::mlm;
use crate::vocabulary::contract::mlm::{Classes, Mlm};
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::contract::{
    Accept, Activation, Classifier, Contract, Input, Interpolation, Layout, METADATA_KEY, Output, Resize,
    SampleType, VERSION,
};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

/// A model that fits its contract, ready for a session.
#[derive(Clone, Debug)]
pub struct Model {
    /// Name of the file without its extension.
    pub name: String,
    /// The ONNX file, with the weights that lay in other files; where an intermediate tensor is wanted, with an
    /// output for it appended.
    pub bytes: Bytes,
    /// What goes in and comes out.
    pub contract: Contract,
    /// Where the contract comes from.
    pub contract_origin: ContractOrigin,
    /// SHA-256 of the file as it lies on disk, in hex; if weights lie in other files, that of all their digests.
    pub digest: String,
    /// SHA-256 of the contract's canonical JSON, in hex.
    pub contract_digest: String,
    /// What of the contract nobody said, in words.
    pub assumed: Vec<String>,
    /// The only batch size that the model takes; `None` if it takes any.
    pub static_batch: Option<usize>,
    /// Precision of its arithmetic.
    pub precision: Precision,
    /// The integers that it multiplies; `None` if it is not quantised.
    pub operands: Option<Operands>,
}

/// Where a contract comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContractOrigin {
    /// The TOML file beside the model.
    File,
    /// The metadata of the model.
    Metadata,
    /// The STAC Item with the MLM extension beside the model.
    Stac,
    /// Nobody said; `ImageNet`'s contract was assumed.
    Assumed,
}

/// Names from the pipeline file that come before those of the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Tensor with the features, `model.embedding`.
    pub embedding: Option<String>,
    /// Tensor with the raw classifier outputs, `model.logits`.
    pub logits: Option<String>,
}

/// The most samples of a batch whose size the graph fixes: 8 GiB as floats.
const MAX_SAMPLES: usize = 1 << 31;

const MISFIT: &str = "correct the contract, or use the one that was written for this model; `tilefleet model \
     inspect` shows the graph";

/// Reads a model and its contract, and checks that they fit.
///
/// The contract is the file beside the model, else the model's own metadata, else a STAC Item with the MLM
/// extension beside it (`NAME.stac.json` or `NAME.json`), else `ImageNet`'s for a model that could be meant by it. Outputs that the contract names may be intermediate tensors; these are
/// exposed.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config): the file is unreadable, is not ONNX, lacks weights
/// that lie in other
/// files, has no contract and none can be assumed, has another network's, or does not match its contract.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Model> {
    let (network, beside) = pair::read(path)?;
    let Network { bytes, proto, digest, .. } = network;
    let fitted = fit(path, &proto, beside, overrides).map_err(|cause| unusable(path).because(cause))?;
    let precision = proto.graph.as_ref().map_or(Precision::Fp32, precision_of);
    let operands = proto.graph.as_ref().filter(|_| precision == Precision::Int8).map(Operands::of);
    // The decoded model shares the bytes; without it they can be extended in place.
    drop(proto);
    let hidden: Vec<&str> = fitted.hidden.iter().map(String::as_str).collect();
    Ok(Model {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        bytes: exposing_outputs(bytes, &hidden),
        contract_digest: fitted.contract.digest()?,
        contract: fitted.contract,
        contract_origin: fitted.origin,
        assumed: fitted.assumed,
        digest,
        static_batch: fitted.static_batch,
        precision,
        operands,
    })
}

/// A contract that fits its graph.
struct Fitted {
    contract: Contract,
    origin: ContractOrigin,
    assumed: Vec<String>,
    static_batch: Option<usize>,
    /// Wanted tensors that are not outputs yet.
    hidden: Vec<String>,
}

fn fit(path: &Path, proto: &ModelProto, beside: Option<Contract>, overrides: &Overrides) -> Result<Fitted> {
    let empty = GraphProto::default();
    let graph = Graph::new(proto.graph.as_ref().unwrap_or(&empty));
    let (contract, origin, assumed) = match written_contract(proto, beside)? {
        Some((mut contract, origin)) => {
            let assumed = override_outputs(&mut contract, &graph, overrides)?;
            (contract, origin, assumed)
        }
        None => {
            if let Some((item, text)) = mlm::find(path)? {
                let (contract, assumed) = described_contract(&text, &graph, overrides).map_err(|cause| {
                    Error::config(format!("cannot use {} as the model's contract", item.display()))
                        .because(cause)
                })?;
                (contract, ContractOrigin::Stac, assumed)
            } else {
                let contract = assumed_contract(path, &graph, overrides)?;
                let assumed = all_assumed(&contract);
                (contract, ContractOrigin::Assumed, assumed)
            }
        }
    };
    contract.validate()?;
    contract.check_scores()?;
    let static_batch = check_input(&graph, &contract.input)?;
    let hidden = check_outputs(&graph, &contract.output, static_batch)?;
    Ok(Fitted { contract, origin, assumed, static_batch, hidden })
}

/// Returns the contract that a run would take, and where it comes from; but an empty file beside the model counts
/// as none: a shell makes one before a skeleton goes into it.
///
/// # Errors
///
/// As [`load`].
pub(super) fn known_contract(
    path: &Path,
    proto: &ModelProto,
    overrides: &Overrides,
) -> Result<(Contract, ContractOrigin)> {
    let is_blank = |text: String| text.trim().is_empty();
    let has_blank = std::fs::read_to_string(Contract::path_for(path)).is_ok_and(is_blank);
    let beside = if has_blank { None } else { pair::read(path)?.1 };
    fit(path, proto, beside, overrides).map(|fitted| (fitted.contract, fitted.origin))
}

fn written_contract(
    proto: &ModelProto,
    beside: Option<Contract>,
) -> Result<Option<(Contract, ContractOrigin)>> {
    if let Some(contract) = beside {
        return Ok(Some((contract, ContractOrigin::File)));
    }
    let Some(entry) = proto.metadata_props.iter().find(|entry| entry.key() == METADATA_KEY) else {
        return Ok(None);
    };
    let contract = Contract::from_json(entry.value()).map_err(|cause| {
        Error::config(format!("cannot read the metadata entry {METADATA_KEY}")).because(cause)
    })?;
    Ok(Some((contract, ContractOrigin::Metadata)))
}

/// Puts the pipeline's names into the contract, with the lengths that the graph tells; returns what is assumed.
fn override_outputs(
    contract: &mut Contract,
    graph: &Graph<'_>,
    overrides: &Overrides,
) -> Result<Vec<String>> {
    let mut assumed = Vec::new();
    if let Some(embedding) = &overrides.embedding {
        contract.output.embedding_length = num_features(graph, embedding, "embedding")?;
        contract.output.embedding.clone_from(embedding);
    }
    if let Some(logits) = &overrides.logits {
        let num_classes = num_features(graph, logits, "logits")?;
        if let Some(classifier) = &mut contract.output.classifier {
            classifier.logits.clone_from(logits);
            classifier.num_classes = num_classes;
        } else {
            let classifier = assumed_classifier(graph, logits, num_classes);
            assumed.push(classifier.scores());
            contract.output.classifier = Some(classifier);
        }
    }
    Ok(assumed)
}

fn num_features(graph: &Graph<'_>, tensor: &str, key: &str) -> Result<usize> {
    if graph.computed(tensor).is_none() {
        return Err(no_such_tensor(tensor, key));
    }
    graph.num_features(tensor).ok_or_else(|| {
        Error::config(format!("the model does not give the length of a row of `{tensor}` (model.{key})"))
            .hint(
                "write it into a contract file beside the model; `tilefleet model inspect FILE.onnx \
                 --skeleton` prints a draft",
            )
    })
}

/// The contract that an MLM Item describes, with the tensors that the graph has, and what it does not say.
fn described_contract(
    text: &str,
    graph: &Graph<'_>,
    overrides: &Overrides,
) -> Result<(Contract, Vec<String>)> {
    let tensor = single_input(graph)?;
    let size = match tensor.shape.as_deref() {
        Some([_, _, Axis::Fixed(height), Axis::Fixed(width)]) => {
            Some((axis_length(*height)?, axis_length(*width)?))
        }
        _ => None,
    };
    let mlm = mlm::parse(text, size)?;
    let classes = mlm.classes(overrides.logits.as_deref())?.cloned();
    let Mlm { name, input, features, .. } = mlm;
    // An Item may name tensors, or only what they are about.
    let of_graph = |name: &String| graph.computed(name).is_some().then(|| name.clone());
    let named = Overrides {
        embedding: overrides.embedding.clone().or_else(|| features.iter().find_map(of_graph)),
        logits: overrides
            .logits
            .clone()
            .or_else(|| classes.as_ref().and_then(|classes| of_graph(&classes.output))),
    };
    let mut output = assumed_output(graph, &named)?;
    let mut assumed = Vec::new();
    match (&mut output.classifier, classes) {
        (Some(classifier), classes) => {
            let said = classes.as_ref().and_then(|classes| classes.activation);
            match said.filter(|_| classifier.activation != Activation::None) {
                Some(activation) => classifier.activation = activation,
                None if said.is_none() => assumed.push(classifier.scores()),
                None => {}
            }
            classifier.labels = classes.and_then(|classes| classes.labels);
        }
        (None, Some(Classes { labels: Some(labels), .. })) => return Err(no_place_for(&labels)),
        (None, _) => {}
    }
    let input = Input { tensor: tensor.name, ..input };
    let contract = Contract { version: VERSION, name, model_digest: None, input, output, quantisation: None };
    Ok((contract, assumed))
}

fn no_place_for(labels: &[String]) -> Error {
    Error::config(format!(
        "it lists {}, but no output of the graph is known to be their logits",
        counted(labels.len() as u64, "class")
    ))
    .hint(
        "name the tensor with `--set model.logits=…`; or write a contract file, without a classifier \
             if you only need embeddings",
    )
}

/// `ImageNet`'s contract for a model that takes three float channels of a fixed size.
fn assumed_contract(path: &Path, graph: &Graph<'_>, overrides: &Overrides) -> Result<Contract> {
    let input = assumed_input(graph)?;
    let output = assumed_output(graph, overrides)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Contract { version: VERSION, name, model_digest: None, input, output, quantisation: None })
}

fn assumed_input(graph: &Graph<'_>) -> Result<Input> {
    let input = single_input(graph)?;
    let (width, height) = match (input.elem_type, input.shape.as_deref()) {
        (Some(FLOAT), Some([_, Axis::Fixed(3), Axis::Fixed(height), Axis::Fixed(width)])) => {
            (axis_length(*width)?, axis_length(*height)?)
        }
        _ => {
            return Err(Error::config(format!(
                "there is no contract, and none can be assumed for the input `{}`, {input}",
                input.name
            ))
            .hint(
                "only float32 [N, 3, height, width] of a fixed size is assumed to be RGB with ImageNet's \
                 mean and std; write a contract file for anything else; `tilefleet model inspect FILE.onnx \
                 --skeleton` prints a draft",
            ));
        }
    };
    Ok(Input {
        tensor: input.name,
        layout: Layout::Nchw,
        sample_type: SampleType::Float32,
        bands: ["red", "green", "blue"].map(str::to_owned).to_vec(),
        unit: "srgb8".to_owned(),
        units: None,
        width,
        height,
        resize: (width == height).then_some(Resize {
            short_side: if width == 224 { 256 } else { width },
            interpolation: Interpolation::Bilinear,
            keep_exact: true,
        }),
        normalise: Some(imagenet()),
        accept: Accept::default(),
    })
}

fn axis_length(length: u64) -> Result<u32> {
    u32::try_from(length).map_err(|cause| Error::config(format!("an axis of {length}")).because(cause))
}

fn assumed_output(graph: &Graph<'_>, overrides: &Overrides) -> Result<Output> {
    let named =
        overrides.logits.as_deref().map(|logits| (logits.to_owned(), graph.classifier_before(logits)));
    let (logits, found) = match named {
        Some((logits, found)) => (Some(logits), found),
        None => match single_classifier(graph, overrides)? {
            Some((logits, found)) => (Some(logits), Some(found)),
            None => (None, None),
        },
    };
    let (embedding, embedding_length) = match (&overrides.embedding, found) {
        (Some(embedding), _) => (embedding.clone(), num_features(graph, embedding, "embedding")?),
        (None, Some(found)) => (found.embedding, found.embedding_length),
        (None, None) => {
            return Err(name_the_embedding("no classifier was found, so its input cannot be the embedding"));
        }
    };
    let classifier = match logits {
        Some(logits) => {
            let num_classes = num_features(graph, &logits, "logits")?;
            Some(assumed_classifier(graph, &logits, num_classes))
        }
        None => None,
    };
    Ok(Output { embedding, embedding_length, classifier })
}

/// Returns what is taken for granted about scores where no contract says it.
pub(super) fn assumed_classifier(graph: &Graph<'_>, logits: &str, num_classes: usize) -> Classifier {
    // A graph that ends in softmax or sigmoid yields scores: applying one again would flatten them.
    let is_activated = graph.classifier_before(logits).is_some_and(|found| found.activated);
    let activation = match num_classes {
        _ if is_activated => Activation::None,
        // Softmax over one class is 1 for every tile.
        1 => Activation::Sigmoid,
        _ => Activation::Softmax,
    };
    Classifier { logits: logits.to_owned(), num_classes, activation, labels: None, fitted: None }
}

impl Classifier {
    /// Says of a classifier that nobody described how its scores come about.
    fn scores(&self) -> String {
        let logits = &self.logits;
        match (self.activation, self.num_classes) {
            (Activation::None, _) => {
                format!("`{logits}` are the scores, since the graph ends with an activation")
            }
            (Activation::Sigmoid, 1) => format!("sigmoid of the one logit in `{logits}`"),
            (activation, classes) => format!("{activation} over the {classes} classes of `{logits}`"),
        }
    }
}

/// Says what an assumed contract holds.
fn all_assumed(contract: &Contract) -> Vec<String> {
    let Input { bands, width, height, resize, .. } = &contract.input;
    let resized = match resize {
        Some(Resize { short_side, interpolation, .. }) => {
            format!("other tiles resized to a short side of {short_side} ({interpolation}) and cropped")
        }
        None => "other tiles rejected".to_owned(),
    };
    let classifier = contract.output.classifier.as_ref();
    vec![
        format!("{} of 8 bits at {width}×{height}", bands.join(", ")),
        resized,
        "ImageNet mean and standard deviation".to_owned(),
        format!("the embedding `{}`", contract.output.embedding),
        classifier.map_or_else(|| "no classifier".to_owned(), Classifier::scores),
    ]
}

/// The one output that a classifier makes; none is fine where the embedding is named.
fn single_classifier(graph: &Graph<'_>, overrides: &Overrides) -> Result<Option<(String, FoundClassifier)>> {
    let outputs = graph.outputs();
    let mut classifiers: Vec<(String, FoundClassifier)> = outputs
        .iter()
        .filter(|output| Some(&output.name) != overrides.embedding.as_ref())
        .filter_map(|output| Some((output.name.clone(), graph.classifier_before(&output.name)?)))
        .collect();
    if classifiers.len() > 1 {
        let names: Vec<&str> = classifiers.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::config(format!("several outputs could be the logits: {}", names.join(", ")))
            .hint(
                "name one with `--set model.logits=…` (`--logits` of `model inspect` and `model quantize`)",
            ));
    }
    Ok(classifiers.pop())
}

fn name_the_embedding(message: &str) -> Error {
    Error::config(message)
        .hint("name the tensor with `--set model.embedding=…` (`--embedding` of `model inspect` and `model quantize`); `tilefleet model inspect` lists the outputs")
}

/// Returns the only input of a graph.
pub(super) fn single_input(graph: &Graph<'_>) -> Result<TensorInfo> {
    let mut inputs = graph.inputs();
    match inputs.len() {
        1 => Ok(inputs.remove(0)),
        0 => Err(Error::config("the graph has no input")),
        _ => {
            let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            Err(Error::config(format!("the graph has several inputs: {}", names.join(", ")))
                .hint("a model takes one tensor of images"))
        }
    }
}

/// Returns the batch size, if it is fixed.
fn check_input(graph: &Graph<'_>, input: &Input) -> Result<Option<usize>> {
    let found = single_input(graph)?;
    if found.name != input.tensor {
        return Err(Error::config(format!(
            "the contract's input is `{}`, the graph's is `{}`",
            input.tensor, found.name
        )));
    }
    if found.shape.iter().flatten().any(|axis| *axis == Axis::Fixed(0)) {
        return Err(Error::config(format!("the graph's input `{}` is {found}: a batch of 0", found.name))
            .hint("export the network with a dynamic batch axis, or a fixed one of at least 1"));
    }
    let elem_type = match input.sample_type {
        SampleType::Uint8 => UINT8,
        SampleType::Float32 => FLOAT,
    };
    let bands = input.bands.len() as u64;
    let (width, height) = (u64::from(input.width), u64::from(input.height));
    let wanted = match input.layout {
        Layout::Nhwc => [height, width, bands],
        Layout::Nchw => [bands, height, width],
    };
    let is_fitting = found.elem_type == Some(elem_type)
        && found.shape.as_ref().is_none_or(|shape| shape.len() == 4 && may_be(&shape[1..], &wanted));
    if !is_fitting {
        let [a, b, c] = wanted;
        return Err(Error::config(format!(
            "the contract's input is {} [N, {a}, {b}, {c}] ({}), the graph's input `{}` is {found}",
            type_name(Some(elem_type)),
            input.layout,
            found.name
        ))
        .hint(MISFIT));
    }
    let Some([Axis::Fixed(batch), ..]) = found.shape.as_deref() else { return Ok(None) };
    let fits = |batch: &usize| batch.checked_mul(input.num_samples()).is_some_and(|num| num <= MAX_SAMPLES);
    let batch = usize::try_from(*batch).ok().filter(fits).ok_or_else(|| {
        Error::config(format!("the graph's input `{}` is {found}: a batch is too large", found.name))
            .because(format!("it has more than {MAX_SAMPLES} samples"))
            .hint("export the network with a dynamic batch axis, or a smaller batch")
    })?;
    Ok(Some(batch))
}

/// Whether axes that may vary can have these lengths.
fn may_be(axes: &[Axis], lengths: &[u64]) -> bool {
    let fits = |(axis, length): (&Axis, &u64)| !matches!(axis, Axis::Fixed(fixed) if fixed != length);
    axes.len() == lengths.len() && axes.iter().zip(lengths).all(fits)
}

/// Returns the wanted tensors that are not outputs of the graph.
fn check_outputs(graph: &Graph<'_>, output: &Output, batch: Option<usize>) -> Result<Vec<String>> {
    let mut wanted = vec![("embedding", &output.embedding, output.embedding_length)];
    if let Some(classifier) = &output.classifier {
        wanted.push(("logits", &classifier.logits, classifier.num_classes));
    }
    let mut hidden = Vec::new();
    for (key, name, length) in wanted {
        check_output(graph, key, name, length, batch)?;
        if !graph.is_output(name) && !hidden.contains(name) {
            hidden.push(name.clone());
        }
    }
    Ok(hidden)
}

fn check_output(graph: &Graph<'_>, key: &str, name: &str, length: usize, batch: Option<usize>) -> Result<()> {
    let found = graph.computed(name).ok_or_else(|| no_such_tensor(name, key))?;
    let has_type = found.elem_type.is_none_or(|elem_type| elem_type == FLOAT);
    let has_shape = found.shape.as_ref().is_none_or(|shape| is_batch_of_rows(graph, shape, length, batch));
    let has_length = graph.num_features(name).is_none_or(|found| found == length);
    if has_type && has_shape && has_length {
        return Ok(());
    }
    let in_graph = match graph.num_features(name) {
        Some(features) if found.shape.is_none() => format!("float32 [N, {features}]"),
        _ => found.to_string(),
    };
    let batch = batch.map_or("N".to_owned(), |batch| batch.to_string());
    Err(Error::config(format!(
        "the contract's {key} is float32 [{batch}, {length}], the graph's tensor `{name}` is {in_graph}"
    ))
    .hint(MISFIT))
}

/// Whether a shape may be that of a row for each chip, as far as the file says: the batch first, then the row.
fn is_batch_of_rows(graph: &Graph<'_>, shape: &[Axis], length: usize, batch: Option<usize>) -> bool {
    let Some((first, row)) = shape.split_first() else { return false };
    // A batch that varies is often said to be of the length that it was exported with; a session tells.
    let is_first = match (first, batch) {
        (Axis::Fixed(found @ 1..), Some(batch)) => *found == batch as u64,
        _ => true,
    };
    let is_batch =
        |axis: &&Axis| matches!(axis, Axis::Named(_)) && graph.batch_axis().as_ref() == Some(*axis);
    is_first && row.iter().find(is_batch).is_none() && may_be_row(row.iter().map(Axis::length), length)
}

fn no_such_tensor(name: &str, key: &str) -> Error {
    Error::config(format!("the graph has no tensor `{name}` for the {key}")).hint(format!(
        "name another with `--set model.{key}=…` (`--{key}` of `model inspect` and `model quantize`); \
         `tilefleet model inspect` lists the outputs"
    ))
}

impl fmt::Display for ContractOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Metadata => "metadata",
            Self::Stac => "stac",
            Self::Assumed => "assumed",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use prost::Message;
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::models::build::{BuildOptions, build};
    use crate::models::onnx::{
        AttributeProto, Dimension, EXTERNAL, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto,
    };
    use crate::models::resnet::Architecture;
    use crate::models::weights::Weights;
    use crate::vocabulary::error::Kind;
    use tilefleet_testing::skipped;

    /// A foreign network: pooled pixels through one matrix, then perhaps an activation.
    fn foreign(end: Option<&str>) -> ModelProto {
        foreign_of(2, end)
    }

    fn foreign_of(num_classes: usize, end: Option<&str>) -> ModelProto {
        let axis = Dimension::fixed;
        let batch = || Dimension::named("batch");
        let transposed = vec![AttributeProto::int("transB", 1)];
        let mut node = vec![
            NodeProto::new("GlobalAveragePool", &["pixels"], "pooled", vec![]),
            NodeProto::new("Flatten", &["pooled"], "features", vec![]),
            NodeProto::new("Gemm", &["features", "w", "b"], "raw", transposed),
        ];
        node.extend(end.map(|op_type| NodeProto::new(op_type, &["raw"], "out", vec![])));
        let last = if end.is_some() { "out" } else { "raw" };
        ModelProto {
            graph: Some(GraphProto {
                node,
                initializer: vec![
                    TensorProto::float("w", &[num_classes, 3], vec![0; 12 * num_classes].into()),
                    TensorProto::float("b", &[num_classes], vec![0; 4 * num_classes].into()),
                ],
                input: vec![ValueInfoProto::new("pixels", FLOAT, vec![batch(), axis(3), axis(64), axis(64)])],
                output: vec![ValueInfoProto::new(last, FLOAT, vec![batch(), axis(num_classes)])],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    struct OnDisk {
        folder: tempfile::TempDir,
    }

    impl OnDisk {
        fn new(proto: &ModelProto) -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("m.onnx"), proto.encode_to_vec()).unwrap();
            Self { folder }
        }

        fn with_contract(self, contract: &Contract) -> Self {
            std::fs::write(self.folder.path().join("m.contract.toml"), contract.to_toml().unwrap()).unwrap();
            self
        }

        /// Puts an Item beside the model, of three bands and this output.
        fn describe(&self, output: &serde_json::Value) {
            let item = serde_json::json!({"type": "Feature", "properties": {
                "mlm:name": "foreign", "mlm:output": [output],
                "mlm:input": [{
                    "name": "RGB", "bands": ["red", "green", "blue"],
                    "input": {"shape": [-1, 3, -1, -1], "dim_order": ["batch", "channel", "height", "width"],
                              "data_type": "float32"},
                }],
            }});
            std::fs::write(self.folder.path().join("m.stac.json"), item.to_string()).unwrap();
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("m.onnx")
        }

        fn load(&self) -> Result<Model> {
            load(&self.path(), &Overrides::default())
        }

        fn refused(&self) -> String {
            let error = self.load().unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            error.render()
        }
    }

    fn change(proto: &mut ModelProto, change: impl FnOnce(&mut GraphProto)) {
        change(proto.graph.as_mut().unwrap());
    }

    #[test]
    fn a_foreign_network_gets_imagenets_contract_and_its_embedding_exposed() {
        let disk = OnDisk::new(&foreign(None));
        let model = disk.load().unwrap();
        assert_eq!(model.contract_origin, ContractOrigin::Assumed);
        assert_eq!(
            (model.contract.output.embedding.as_str(), model.contract.output.embedding_length),
            ("features", 3)
        );
        let classifier = model.contract.output.classifier.unwrap();
        assert_eq!((classifier.logits.as_str(), classifier.num_classes), ("raw", 2));
        assert_eq!(classifier.activation, Activation::Softmax);
        let resize = model.contract.input.resize.unwrap();
        assert_eq!((model.contract.input.width, resize.short_side, resize.keep_exact), (64, 64, true));
        let file = std::fs::read(disk.path()).unwrap();
        assert!(model.bytes.starts_with(&file) && model.bytes.len() > file.len());
        assert_eq!(model.digest, hex::encode(Sha256::digest(&file)));
    }

    #[test]
    fn a_short_side_of_256_goes_with_224() {
        let mut proto = foreign(None);
        change(&mut proto, |graph| {
            let axes = [1, 3, 224, 224].map(Dimension::fixed).to_vec();
            graph.input[0] = ValueInfoProto::new("pixels", FLOAT, axes);
        });
        let model = OnDisk::new(&proto).load().unwrap();
        assert_eq!(model.contract.input.resize.unwrap().short_side, 256);
        assert_eq!(model.static_batch, Some(1));
    }

    #[test]
    fn an_activation_in_the_graph_is_not_applied_again() {
        for (end, activation) in [
            ("Softmax", Activation::None),
            ("Sigmoid", Activation::None),
            ("LogSoftmax", Activation::Softmax),
            ("Identity", Activation::Softmax),
        ] {
            let classifier =
                OnDisk::new(&foreign(Some(end))).load().unwrap().contract.output.classifier.unwrap();
            assert_eq!((classifier.logits.as_str(), classifier.activation), ("out", activation), "{end}");
        }
    }

    /// Softmax over one class would score 1.0 for every tile.
    #[test]
    fn one_logit_without_a_contract_is_a_sigmoid_and_what_is_assumed_is_said() {
        for (num_classes, end, activation, said) in [
            (1, None, Activation::Sigmoid, "sigmoid of the one logit in `raw`"),
            (
                1,
                Some("Sigmoid"),
                Activation::None,
                "`out` are the scores, since the graph ends with an activation",
            ),
            (
                2,
                Some("Sigmoid"),
                Activation::None,
                "`out` are the scores, since the graph ends with an activation",
            ),
            (2, None, Activation::Softmax, "softmax over the 2 classes of `raw`"),
        ] {
            let model = OnDisk::new(&foreign_of(num_classes, end)).load().unwrap();
            assert_eq!(model.contract.output.classifier.unwrap().activation, activation, "{said}");
            assert_eq!(model.assumed.last().unwrap(), said);
            assert!(model.assumed[1].contains("a short side of 64 (bilinear)"), "{:?}", model.assumed);
        }
    }

    #[test]
    fn softmax_over_one_class_is_refused_wherever_it_is_written() {
        let disk = OnDisk::new(&foreign_of(1, None));
        let mut contract = disk.load().unwrap().contract;
        contract.output.classifier.as_mut().unwrap().activation = Activation::Softmax;
        let message = disk.with_contract(&contract).refused();
        assert!(message.contains("which is 1.0 for every tile") && message.contains("sigmoid"), "{message}");
        let disk = OnDisk::new(&foreign_of(1, None));
        disk.describe(
            &serde_json::json!({"name": "ship", "classes": ["ship"], "post_processing_function": "softmax"}),
        );
        assert!(disk.refused().contains("which is 1.0 for every tile"), "{}", disk.refused());
        disk.describe(&serde_json::json!({"name": "ship", "classes": ["ship"]}));
        let model = disk.load().unwrap();
        let classifier = model.contract.output.classifier.unwrap();
        assert_eq!(
            (classifier.activation, classifier.labels),
            (Activation::Sigmoid, Some(vec!["ship".to_owned()]))
        );
        assert_eq!(model.assumed, ["sigmoid of the one logit in `raw`"]);
        disk.describe(&serde_json::json!({"name": "ship", "classes": ["none", "ship"]}));
        assert!(disk.refused().contains("hint: the model has one logit"), "{}", disk.refused());
    }

    #[test]
    fn labels_of_an_item_never_go_without_a_word() {
        let mut proto = foreign(None);
        change(&mut proto, |graph| {
            graph.node.pop();
            let axes = vec![Dimension::named("N"), Dimension::fixed(3)];
            graph.output = vec![ValueInfoProto::new("features", FLOAT, axes)];
        });
        let disk = OnDisk::new(&proto);
        disk.describe(&serde_json::json!({"name": "c", "classes": ["sea", "land"]}));
        let overrides = Overrides { embedding: Some("features".to_owned()), logits: None };
        let message = load(&disk.path(), &overrides).unwrap_err().render();
        assert!(message.contains("it lists 2 classes, but no output of the graph"), "{message}");
        disk.describe(&serde_json::json!({"name": "c"}));
        assert!(load(&disk.path(), &overrides).is_ok());
    }

    #[test]
    fn overrides_name_any_tensor_of_the_graph() {
        let disk = OnDisk::new(&foreign(Some("Softmax")));
        let overrides = Overrides { embedding: None, logits: Some("raw".to_owned()) };
        let classifier = load(&disk.path(), &overrides).unwrap().contract.output.classifier.unwrap();
        assert_eq!((classifier.logits.as_str(), classifier.activation), ("raw", Activation::Softmax));
        let overrides = Overrides { embedding: Some("nowhere".to_owned()), logits: None };
        let error = load(&disk.path(), &overrides).unwrap_err().render();
        assert!(error.contains("no tensor `nowhere`"), "{error}");
    }

    #[test]
    fn overrides_come_before_a_written_contract() {
        let contract = OnDisk::new(&foreign(Some("Softmax"))).load().unwrap().contract;
        let disk = OnDisk::new(&foreign(Some("Softmax"))).with_contract(&contract);
        let overrides = Overrides { embedding: Some("raw".to_owned()), logits: Some("raw".to_owned()) };
        let model = load(&disk.path(), &overrides).unwrap();
        assert_eq!(model.contract_origin, ContractOrigin::File);
        assert_eq!(
            (model.contract.output.embedding.as_str(), model.contract.output.embedding_length),
            ("raw", 2)
        );
        let classifier = model.contract.output.classifier.unwrap();
        assert_eq!((classifier.logits.as_str(), classifier.activation), ("raw", Activation::None));
        let graph = ModelProto::decode(model.bytes).unwrap().graph.unwrap();
        assert_eq!(graph.output.len(), 2, "a tensor that is wanted twice is exposed once");
    }

    #[test]
    fn a_network_whose_embedding_is_not_found_asks_for_its_name() {
        let mut proto = foreign(None);
        change(&mut proto, |graph| {
            graph.node.pop();
            let axes = vec![Dimension::named("N"), Dimension::fixed(3)];
            graph.output = vec![ValueInfoProto::new("features", FLOAT, axes)];
        });
        let disk = OnDisk::new(&proto);
        assert!(disk.refused().contains("--set model.embedding="), "{}", disk.refused());
        let overrides = Overrides { embedding: Some("features".to_owned()), logits: None };
        let model = load(&disk.path(), &overrides).unwrap();
        assert_eq!(model.contract.output.classifier, None);
        assert_eq!(model.contract.output.embedding_length, 3);
    }

    #[test]
    fn nothing_but_three_float_channels_of_known_size_is_assumed() {
        let dimension = Dimension::fixed;
        let varying = || Dimension::named("N");
        for (elem_type, axes) in [
            (FLOAT, vec![varying(), dimension(4), dimension(64), dimension(64)]),
            (UINT8, vec![varying(), dimension(3), dimension(64), dimension(64)]),
            (FLOAT, vec![varying(), dimension(64), dimension(64), dimension(3)]),
            (FLOAT, vec![varying(), dimension(3), varying(), varying()]),
        ] {
            let mut proto = foreign(None);
            change(&mut proto, |graph| graph.input[0] = ValueInfoProto::new("pixels", elem_type, axes));
            let message = OnDisk::new(&proto).refused();
            assert!(message.contains("there is no contract"), "{message}");
        }
    }

    #[test]
    fn external_data_elsewhere_is_refused() {
        let mut proto = foreign(None);
        change(&mut proto, |graph| {
            graph.initializer[0].data_location = Some(EXTERNAL);
            let location = StringStringEntryProto::new("location", "../../secret".to_owned());
            graph.initializer[0].external_data = vec![location];
        });
        let message = OnDisk::new(&proto).refused();
        assert!(message.contains("tensor `w` lies in another file, `../../secret`, not beside"), "{message}");
    }

    /// The contract's shape axis by axis: a batch of rows, whatever else has as many numbers.
    #[test]
    fn an_output_of_another_shape_is_refused_with_both() {
        let contract = OnDisk::new(&foreign(None)).load().unwrap().contract;
        let loaded = |input: &[Dimension], axes: &[Dimension]| {
            let mut proto = foreign(None);
            change(&mut proto, |graph| {
                graph.input[0] = ValueInfoProto::new("pixels", FLOAT, input.to_vec());
                graph.output[0] = ValueInfoProto::new("raw", FLOAT, axes.to_vec());
                graph.node.pop();
                graph.node.push(NodeProto::new("Odd", &["features"], "raw", vec![]));
            });
            let mut contract = contract.clone();
            contract.output.embedding = "raw".to_owned();
            contract.output.embedding_length = 2;
            contract.output.classifier = None;
            OnDisk::new(&proto).with_contract(&contract).load().map(|_| ())
        };
        let (fixed, batch) = (Dimension::fixed, || Dimension::named("batch"));
        let pixels = |batch| [batch, fixed(3), fixed(64), fixed(64)];
        for axes in [
            &[batch(), fixed(2)][..],
            &[batch(), fixed(2), fixed(1), fixed(1)],
            &[batch(), fixed(1), fixed(1), fixed(2)],
            // Left from an export with one chip, or not known.
            &[fixed(1), fixed(2)],
            &[batch(), fixed(0)],
            &[batch(), Dimension::default()],
        ] {
            loaded(&pixels(batch()), axes).unwrap_or_else(|error| panic!("{}", error.render()));
        }
        for (input, axes, shapes) in [
            (
                batch(),
                &[fixed(2), batch()][..],
                "is float32 [N, 2], the graph's tensor `raw` is float32 [2, batch]",
            ),
            (batch(), &[batch()], "`raw` is float32 [batch]"),
            (batch(), &[], "`raw` is float32 []"),
            (batch(), &[batch(), fixed(2), fixed(2)], "`raw` is float32 [batch, 2, 2]"),
            (batch(), &[batch(), fixed(1)], "`raw` is float32 [batch, 1]"),
            (batch(), &[batch(), fixed(2), fixed(7), fixed(7)], "`raw` is float32 [batch, 2, 7, 7]"),
            (
                fixed(4),
                &[fixed(2), fixed(4)],
                "is float32 [4, 2], the graph's tensor `raw` is float32 [2, 4]",
            ),
            (
                fixed(4),
                &[fixed(1), fixed(2)],
                "is float32 [4, 2], the graph's tensor `raw` is float32 [1, 2]",
            ),
        ] {
            let error = loaded(&pixels(input), axes).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.render().contains(shapes), "{}", error.render());
        }
    }

    #[test]
    fn outputs_of_another_type_are_refused() {
        for (elem_type, name) in [(UINT8, "uint8"), (10, "float16"), (11, "float64")] {
            let mut proto = foreign(None);
            change(&mut proto, |graph| {
                let axes = vec![Dimension::named("batch"), Dimension::fixed(2)];
                graph.output[0] = ValueInfoProto::new("raw", elem_type, axes);
            });
            let message = OnDisk::new(&proto).refused();
            assert!(message.contains(&format!("the graph's tensor `raw` is {name} [batch, 2]")), "{message}");
        }
    }

    #[test]
    fn a_batch_is_of_one_chip_or_more_and_fits_into_memory() {
        let with_batch = |batch: i64| {
            let mut proto = foreign(None);
            change(&mut proto, |graph| {
                let batch = Dimension::of(batch);
                let fixed = Dimension::fixed;
                let axes = vec![batch, fixed(3), fixed(64), fixed(64)];
                graph.input[0] = ValueInfoProto::new("pixels", FLOAT, axes);
            });
            OnDisk::new(&proto)
        };
        assert_eq!(with_batch(8).load().unwrap().static_batch, Some(8));
        assert_eq!(with_batch(-1).load().unwrap().static_batch, None);
        assert!(with_batch(0).refused().contains("float32 [0, 3, 64, 64]: a batch of 0"));
        for batch in [1 << 20, 1 << 40, i64::MAX] {
            assert!(with_batch(batch).refused().contains("a batch is too large"));
        }
    }

    #[test]
    fn what_is_no_onnx_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        for content in [&b""[..], b"GIF89a", &[0xff; 64]] {
            std::fs::write(&path, content).unwrap();
            let error = load(&path, &Overrides::default()).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains("is not an ONNX model"), "{error}");
        }
        assert!(load(&folder.path().join("none.onnx"), &Overrides::default()).is_err());
    }

    #[test]
    fn the_contract_file_comes_before_the_metadata() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let weights = Weights::from_seed(1, Architecture::Resnet18, 3, Some(4));
        let built = build(&weights, &BuildOptions::new(Architecture::Resnet18, "toy", 3)).unwrap();
        built.write(&path, false).unwrap();
        let model = load(&path, &Overrides::default()).unwrap();
        assert_eq!((model.contract_origin, &model.contract), (ContractOrigin::File, &built.contract));
        assert_eq!((&model.bytes, &model.digest), (&built.bytes, &built.digest));
        std::fs::remove_file(Contract::path_for(&path)).unwrap();
        let model = load(&path, &Overrides::default()).unwrap();
        assert_eq!((model.contract_origin, &model.contract), (ContractOrigin::Metadata, &built.contract));
    }

    #[test]
    fn an_mlm_item_comes_before_what_is_assumed() {
        let disk = OnDisk::new(&foreign(None));
        let item = |labels: &[&str]| {
            let classes: Vec<_> = labels
                .iter()
                .enumerate()
                .map(|(value, name)| serde_json::json!({"value": value, "name": name}))
                .collect();
            serde_json::json!({"type": "Feature", "properties": {
                "mlm:name": "foreign",
                "mlm:input": [{
                    "name": "RGB", "bands": ["red", "green", "blue"],
                    "input": {"shape": [-1, 3, -1, -1], "dim_order": ["batch", "channel", "height", "width"],
                              "data_type": "float32"},
                    "value_scaling": [{"type": "scale", "value": 255}],
                }],
                "mlm:output": [{"name": "classes", "tasks": ["classification"], "classification:classes": classes}],
            }})
        };
        let write = |item: &serde_json::Value| {
            std::fs::write(disk.folder.path().join("m.stac.json"), item.to_string()).unwrap();
        };
        write(&item(&["sea", "land"]));
        let model = disk.load().unwrap();
        assert_eq!(model.contract_origin, ContractOrigin::Stac);
        let (input, output) = (&model.contract.input, &model.contract.output);
        assert_eq!((input.tensor.as_str(), input.width, input.unit.as_str()), ("pixels", 64, "dn"));
        assert_eq!((output.embedding.as_str(), output.embedding_length), ("features", 3));
        let classifier = output.classifier.as_ref().unwrap();
        assert_eq!(classifier.labels.as_deref(), Some(&["sea".to_owned(), "land".to_owned()][..]));
        write(&item(&["sea", "land", "sky"]));
        assert!(disk.refused().contains("labels has 3 names for 2 classes"), "{}", disk.refused());
        write(&serde_json::json!({"type": "Feature", "properties": {}}));
        let message = disk.refused();
        assert!(message.contains("cannot use") && message.contains("m.stac.json"), "{message}");
    }

    #[test]
    fn a_contract_that_does_not_fit_names_both_sides() {
        let contract = OnDisk::new(&foreign(None)).load().unwrap().contract;
        let refused = |change: &dyn Fn(&mut Contract)| {
            let mut changed = contract.clone();
            change(&mut changed);
            OnDisk::new(&foreign(None)).with_contract(&changed).refused()
        };
        let message = refused(&|contract| contract.input.tensor = "image".to_owned());
        assert!(message.contains("the contract's input is `image`, the graph's is `pixels`"), "{message}");
        let message = refused(&|contract| contract.input.layout = Layout::Nhwc);
        assert!(
            message.contains(
                "is float32 [N, 64, 64, 3] (nhwc), the graph's input `pixels` is float32 [batch, 3, 64, 64]"
            ),
            "{message}"
        );
        let message = refused(&|contract| contract.output.embedding_length = 4);
        assert!(
            message.contains("embedding is float32 [N, 4], the graph's tensor `features` is float32 [N, 3]"),
            "{message}"
        );
        let message = refused(&|contract| contract.output.classifier.as_mut().unwrap().num_classes = 9);
        assert!(
            message.contains("logits is float32 [N, 9], the graph's tensor `raw` is float32 [batch, 2]"),
            "{message}"
        );
        let message = refused(&|contract| contract.output.embedding = "nowhere".to_owned());
        assert!(message.contains("no tensor `nowhere`"), "{message}");
    }

    #[test]
    fn the_trained_cifar_networks_load() {
        let Some(data) = skipped::test_data() else { return };
        for (name, embedding) in [("resnet20_cifar10", "v52"), ("resnet56_cifar10", "v142")] {
            let model = load(&data.join(format!("models/{name}.onnx")), &Overrides::default()).unwrap();
            assert_eq!((model.name.as_str(), model.static_batch), (name, None));
            assert_eq!(model.contract_origin, ContractOrigin::Assumed);
            let (input, output) = (&model.contract.input, &model.contract.output);
            assert_eq!((input.tensor.as_str(), input.width, input.height), ("input", 32, 32));
            assert_eq!((output.embedding.as_str(), output.embedding_length), (embedding, 64));
            let classifier = output.classifier.as_ref().unwrap();
            assert_eq!((classifier.logits.as_str(), classifier.num_classes), ("logits", 10));
        }
    }
}
