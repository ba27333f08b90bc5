//! Builds the ONNX file of a `ResNet` and its contract.
//!
//! Batch norm is folded into the convolution before it, so the graph has convolutions with bias, `Relu`,
//! `Add`, pooling and one `Gemm`; weights are initializers, which ONNX Runtime can lay out anew for the
//! processor. In fp16 the convolutions and what is between them are; the input stage, pooling and the classifier
//! stay fp32, and so do input and outputs. Outputs are `embedding` `[N, features]` and, unless headless, `logits` `[N, classes]`.
//!
//! Equal inputs give equal bytes: neither a clock nor this tool's version goes in, so that the digest
//! stands for the weights.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use half::f16;
use prost::Message;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::onnx::{
    AttributeProto, Dimension, FLOAT, FLOAT16, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, UINT8, ValueInfoProto,
};
use super::pair;
use super::resnet::{Architecture, BlockSpec, ConvSpec};
use super::weights::Weights;
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::contract::{
    Accept, AcceptAlpha, AcceptGrey, AcceptSixteenBit, Activation, Classifier, Contract, Input,
    Interpolation, Layout, METADATA_KEY, Normalise, Output, Resize, SampleType, VERSION,
};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::{counted, form};

/// Mean of `ImageNet`'s training images, for RGB in 0 to 1.
pub const IMAGENET_MEAN: [f64; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of `ImageNet`'s training images, for RGB in 0 to 1.
pub const IMAGENET_STD: [f64; 3] = [0.229, 0.224, 0.225];

/// The operator set; every operator used here has meant the same since.
const OPSET: i64 = 17;
/// The file format version that came with that operator set.
const IR_VERSION: i64 = 8;
/// `BatchNorm2d.eps`.
const EPSILON: f64 = 1e-5;

const INPUT: &str = "input";
const EMBEDDING: &str = "embedding";
const LOGITS: &str = "logits";
const BATCH_AXIS: &str = "N";

/// What the model is to expect and yield.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// The network.
    pub architecture: Architecture,
    /// Name that the contract gets.
    pub name: String,
    /// Height and width of the input, in pixels.
    pub size: u32,
    /// Element type of the input: `uint8` is `[N, H, W, bands]` and normalised in the graph, `float32` is
    /// `[N, bands, H, W]` and normalised before.
    pub sample_type: SampleType,
    /// Names of the bands.
    pub bands: Vec<String>,
    /// What a sample means, such as `srgb8` or `dn`.
    pub unit: String,
    /// The units of the bands, where they differ.
    pub units: Option<Vec<String>>,
    /// How samples are normalised, in the graph or before.
    pub normalise: Normalise,
    /// How tiles of another size are resized; `None` rejects them.
    pub resize: Option<Resize>,
    /// Which other kinds of image are converted.
    pub accept: Accept,
    /// How logits become scores.
    pub activation: Activation,
    /// Class names.
    pub labels: Option<Vec<String>>,
    /// Whether the classifier is left out.
    pub headless: bool,
    /// Precision of the convolutions; [`Precision::Int8`] is not made here but by [`super::quantise`].
    pub precision: Precision,
    /// What of all this nobody chose.
    pub assumed: BTreeSet<Choice>,
}

/// What a network is built for, and gives other predictions without an error if it was trained with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Height and width of the input.
    Size,
    /// Length of the short side before the crop, or none.
    Resize,
    /// Filter of that resize.
    Interpolation,
    /// Bands in their order.
    Bands,
    /// What a sample means.
    Unit,
    /// Factor of the samples.
    Scale,
    /// Mean of each band.
    Mean,
    /// Standard deviation of each band.
    Std,
    /// How logits become scores.
    Activation,
}

impl Choice {
    const ALL: [Self; 9] = [
        Self::Size,
        Self::Resize,
        Self::Interpolation,
        Self::Bands,
        Self::Unit,
        Self::Scale,
        Self::Mean,
        Self::Std,
        Self::Activation,
    ];
}

/// How a tile becomes the network's input and its logits scores, and what of it nobody chose.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preprocessing {
    /// Height and width of the input, in pixels.
    pub size: u32,
    /// How tiles of another size are resized; `None` rejects them.
    pub resize: Option<Resize>,
    /// Names of the bands.
    pub bands: Vec<String>,
    /// What a sample means.
    pub unit: String,
    /// How samples are normalised, in the graph or before.
    pub normalise: Normalise,
    /// How logits become scores; `None` without a classifier.
    pub activation: Option<Activation>,
    /// What nobody chose.
    pub assumed: BTreeSet<Choice>,
}

/// A model and its contract, not yet on disk.
#[derive(Clone, Debug)]
pub struct BuiltModel {
    /// The ONNX file.
    pub bytes: Bytes,
    /// SHA-256 of it, in hex.
    pub digest: String,
    /// The contract, which the file also holds as metadata.
    pub contract: Contract,
}

impl BuildOptions {
    /// Returns the usual options for a number of bands.
    ///
    /// Three bands are 8-bit RGB with `ImageNet`'s normalisation, resized as torchvision's `V2` weights want
    /// it (232 to 224). Any other number is float32 in a unit of your own: unscaled, unresized, and
    /// nothing converted, because no guess would be safe.
    pub fn new(architecture: Architecture, name: &str, num_bands: usize) -> Self {
        let is_rgb = num_bands == 3;
        let rgb = ["red", "green", "blue"].map(str::to_owned).to_vec();
        Self {
            architecture,
            name: name.to_owned(),
            size: 224,
            sample_type: if is_rgb { SampleType::Uint8 } else { SampleType::Float32 },
            bands: if is_rgb { rgb } else { (1..=num_bands).map(|band| format!("band{band}")).collect() },
            unit: if is_rgb { "srgb8" } else { "dn" }.to_owned(),
            units: None,
            normalise: if is_rgb { imagenet() } else { identity(num_bands) },
            resize: is_rgb.then(|| usual_resize(224, Interpolation::Bilinear)),
            accept: if is_rgb { Accept::default() } else { accept_nothing() },
            activation: Activation::Softmax,
            labels: None,
            headless: false,
            precision: Precision::Fp32,
            assumed: Choice::ALL.into(),
        }
    }

    fn contract(&self, num_classes: Option<usize>) -> Contract {
        let classifier = num_classes.map(|num_classes| Classifier {
            logits: LOGITS.to_owned(),
            num_classes,
            activation: self.activation,
            labels: self.labels.clone(),
            fitted: None,
        });
        Contract {
            version: VERSION,
            name: self.name.clone(),
            model_digest: None,
            input: Input {
                tensor: INPUT.to_owned(),
                layout: self.layout(),
                sample_type: self.sample_type,
                bands: self.bands.clone(),
                unit: self.unit.clone(),
                units: self.units.clone(),
                width: self.size,
                height: self.size,
                resize: self.resize,
                normalise: (self.sample_type == SampleType::Float32).then(|| self.normalise.clone()),
                accept: self.accept,
            },
            output: Output {
                embedding: EMBEDDING.to_owned(),
                embedding_length: self.architecture.embedding_length(),
                classifier,
            },
            quantisation: None,
        }
    }

    fn layout(&self) -> Layout {
        match self.sample_type {
            SampleType::Uint8 => Layout::Nhwc,
            SampleType::Float32 => Layout::Nchw,
        }
    }
}

impl Preprocessing {
    /// Says how tiles are prepared for a built network; what does not arise is not assumed either.
    ///
    /// - `normalise`: in the graph or before
    #[must_use]
    pub fn of(contract: &Contract, normalise: &Normalise, assumed: &BTreeSet<Choice>) -> Self {
        let (input, classifier) = (&contract.input, contract.output.classifier.as_ref());
        let arises = |choice: &Choice| match choice {
            Choice::Interpolation => input.resize.is_some(),
            Choice::Activation => classifier.is_some(),
            _ => true,
        };
        Self {
            size: input.width,
            resize: input.resize,
            bands: input.bands.clone(),
            unit: input.unit.clone(),
            normalise: normalise.clone(),
            activation: classifier.map(|classifier| classifier.activation),
            assumed: assumed.iter().copied().filter(arises).collect(),
        }
    }
}

/// Returns `ImageNet`'s normalisation for samples in 0 to 255.
pub fn imagenet() -> Normalise {
    Normalise {
        scale: (1.0 / 255.0).into(),
        clamp: None,
        mean: IMAGENET_MEAN.to_vec(),
        std: IMAGENET_STD.to_vec(),
    }
}

/// Returns torchvision's `V2` proportion, 232 to 224, for an input of any size.
pub fn usual_resize(size: u32, interpolation: Interpolation) -> Resize {
    let short_side = (u64::from(size) * 232 + 112) / 224;
    Resize { short_side: short_side as u32, interpolation, keep_exact: false }
}

fn identity(num_bands: usize) -> Normalise {
    Normalise { scale: 1.0.into(), clamp: None, mean: vec![0.0; num_bands], std: vec![1.0; num_bands] }
}

fn accept_nothing() -> Accept {
    Accept { grey: AcceptGrey::Reject, alpha: AcceptAlpha::Reject, sixteen_bit: AcceptSixteenBit::Reject }
}

/// Builds a model.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where options and weights contradict each other, or where
/// folding gives values that are not finite in the precision; [`Kind::Usage`](crate::vocabulary::error::Kind::Usage) for
/// int8.
pub fn build(weights: &Weights, options: &BuildOptions) -> Result<BuiltModel> {
    if options.bands.len() != weights.in_channels() {
        return Err(Error::config(format!(
            "{} {} named, but the weights take {}",
            counted(options.bands.len() as u64, "band"),
            form(options.bands.len() as u64, "is", "are"),
            weights.in_channels()
        ))
        .hint("name one band per input channel of the weights"));
    }
    if matches!(options.precision, Precision::Int8 | Precision::Tf32) {
        return Err(Error::usage(
            "an int8 network cannot be built directly: its ranges are measured on images",
        )
        .hint("build it in fp32, then quantise it with `tilefleet model quantize`"));
    }
    let num_classes = weights.num_classes().filter(|_| !options.headless);
    let contract = options.contract(num_classes);
    let by_flag = |error: Error| error.hint("correct the flag that sets it: see `--help`");
    contract.validate().map_err(by_flag)?;
    contract.check_scores().map_err(|error| error.hint("give `--activation sigmoid`, or none"))?;
    options.normalise.validate(options.bands.len()).map_err(by_flag)?;
    if options.sample_type == SampleType::Uint8 && options.normalise.clamp.is_some() {
        return Err(Error::config("a uint8 input is not clamped in the graph")
            .hint("leave the clamp out, or build a float32 input"));
    }
    let graph = GraphBuilder::new(weights, options.precision).network(options, num_classes)?;
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("tilefleet".to_owned()),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto::onnx(OPSET)],
        metadata_props: vec![StringStringEntryProto::new(METADATA_KEY, contract.to_canonical_json()?)],
        ..ModelProto::default()
    };
    let bytes = Bytes::from(model.encode_to_vec());
    let digest = hex::encode(Sha256::digest(&bytes));
    Ok(BuiltModel { bytes, digest, contract })
}

/// Builds a model that fits a contract, which leaves nothing to be assumed.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where a built model cannot be as the contract says, with what
/// differs; otherwise as [`build`].
pub fn build_for(
    weights: &Weights,
    architecture: Architecture,
    contract: &Contract,
    precision: Precision,
) -> Result<BuiltModel> {
    let misfit = || Error::config(format!("no model can be built for the contract `{}`", contract.name));
    let (input, classifier) = (&contract.input, contract.output.classifier.as_ref());
    let Some(normalise) = input.normalise.clone().filter(|_| input.sample_type == SampleType::Float32) else {
        return Err(misfit()
            .because("it leaves normalisation to the graph, but does not give its values")
            .hint("give --input-type, --mean and --std instead of --contract"));
    };
    if input.width != input.height {
        return Err(misfit().because(format!("its input is {}×{}, not square", input.width, input.height)));
    }
    let options = BuildOptions {
        architecture,
        name: contract.name.clone(),
        size: input.width,
        sample_type: input.sample_type,
        bands: input.bands.clone(),
        unit: input.unit.clone(),
        units: input.units.clone(),
        normalise,
        resize: input.resize,
        accept: input.accept,
        activation: classifier.map_or(Activation::Softmax, |classifier| classifier.activation),
        labels: classifier.and_then(|classifier| classifier.labels.clone()),
        headless: classifier.is_none(),
        precision,
        assumed: BTreeSet::new(),
    };
    let built = build(weights, &options).map_err(|cause| misfit().because(cause))?;
    let of_any = Contract { model_digest: None, ..contract.clone() };
    match first_difference(&of_any, &built.contract)? {
        Some((key, said, has)) => Err(misfit().because(format!("its {key} is {said}, the model's is \
             {has}")).hint(
            "use the architecture and the weights that it was written for; the tensors of a built model are \
             `input`, `embedding` and `logits`",
        )),
        None => Ok(built),
    }
}

/// Returns the first key, in the order of their names, whose values differ, with both.
fn first_difference(one: &Contract, other: &Contract) -> Result<Option<(String, String, String)>> {
    let value = |contract: &Contract| {
        serde_json::to_value(contract)
            .map_err(|cause| Error::bug("cannot render a model contract").because(cause))
    };
    Ok(difference_at(String::new(), &value(one)?, &value(other)?))
}

fn difference_at(key: String, one: &Value, other: &Value) -> Option<(String, String, String)> {
    let (Value::Object(ones), Value::Object(others)) = (one, other) else {
        return (one != other).then(|| (key, one.to_string(), other.to_string()));
    };
    let keys: BTreeSet<&String> = ones.keys().chain(others.keys()).collect();
    keys.into_iter().find_map(|name| {
        let path = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        difference_at(path, ones.get(name).unwrap_or(&Value::Null), others.get(name).unwrap_or(&Value::Null))
    })
}

impl BuiltModel {
    /// Writes the model, and its contract beside it, as a pair: whoever reads finds both, or is told.
    ///
    /// - `replace`: whether files of that name may be replaced
    ///
    /// # Errors
    ///
    /// As [`pair::write`].
    pub fn write(&self, path: &Path, replace: bool) -> Result<()> {
        pair::write(path, &self.bytes, &self.digest, &self.contract, replace, |_| ())
    }
}

/// Collects nodes and initializers; each method returns the name of the tensor that it made.
struct GraphBuilder<'w> {
    weights: &'w Weights,
    precision: Precision,
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
}

impl<'w> GraphBuilder<'w> {
    fn new(weights: &'w Weights, precision: Precision) -> Self {
        Self { weights, precision, node: Vec::new(), initializer: Vec::new() }
    }

    fn network(mut self, options: &BuildOptions, num_classes: Option<usize>) -> Result<GraphProto> {
        let architecture = options.architecture;
        let mut tensor = match options.sample_type {
            SampleType::Uint8 => self.normalised(&options.normalise),
            SampleType::Float32 => INPUT.to_owned(),
        };
        tensor = self.cast(&tensor, "normalised_half", FLOAT16);
        tensor = self.conv(&architecture.stem(self.weights.in_channels()), &tensor)?;
        tensor = self.add_node("Relu", &[&tensor], "relu", vec![]);
        tensor = self.add_node("MaxPool", &[&tensor], "maxpool", window(3, 2));
        for block in architecture.blocks() {
            tensor = self.block(&block, &tensor)?;
        }
        // In fp16 a sum of 49 features overflows sooner than its mean, and the embedding would lose digits.
        tensor = self.cast(&tensor, "features", FLOAT);
        tensor = self.add_node("GlobalAveragePool", &[&tensor], "avgpool", vec![]);
        tensor = self.add_node("Flatten", &[&tensor], EMBEDDING, vec![AttributeProto::int("axis", 1)]);
        let mut output = vec![float_rows(EMBEDDING, architecture.embedding_length())];
        if let Some(num_classes) = num_classes {
            self.classifier(&tensor, architecture.embedding_length(), num_classes)?;
            output.push(float_rows(LOGITS, num_classes));
        }
        Ok(GraphProto {
            node: self.node,
            name: Some(architecture.to_string()),
            initializer: self.initializer,
            input: vec![input_info(options)],
            output,
            ..GraphProto::default()
        })
    }

    /// `uint8 [N, H, W, C]` to normalised `float32 [N, C, H, W]`.
    fn normalised(&mut self, normalise: &Normalise) -> String {
        let factor = normalise.std.iter().enumerate().map(|(band, std)| normalise.scale.of(band) / std);
        let factor: Vec<f64> = factor.collect();
        let offset: Vec<f64> =
            normalise.mean.iter().zip(&normalise.std).map(|(mean, std)| -mean / std).collect();
        let shape = [1, factor.len(), 1, 1];
        self.add_initializer("normalise.factor", &shape, f32_bytes(factor));
        self.add_initializer("normalise.offset", &shape, f32_bytes(offset));
        // The transposition comes first: it moves bytes, not floats.
        let planar =
            self.add_node("Transpose", &[INPUT], "planar", vec![AttributeProto::ints("perm", &[0, 3, 1, 2])]);
        let to_float = vec![AttributeProto::int("to", FLOAT.into())];
        let samples = self.add_node("Cast", &[&planar], "samples", to_float);
        let scaled = self.add_node("Mul", &[&samples, "normalise.factor"], "scaled", vec![]);
        self.add_node("Add", &[&scaled, "normalise.offset"], "normalised", vec![])
    }

    fn block(&mut self, block: &BlockSpec, input: &str) -> Result<String> {
        let mut branch = input.to_owned();
        for (position, conv) in block.branch.iter().enumerate() {
            branch = self.conv(conv, &branch)?;
            if position + 1 < block.branch.len() {
                branch = self.add_node(
                    "Relu",
                    &[&branch],
                    &format!("{}.relu{}", block.name, position + 1),
                    vec![],
                );
            }
        }
        let shortcut = match &block.shortcut {
            Some(conv) => self.conv(conv, input)?,
            None => input.to_owned(),
        };
        let sum = self.add_node("Add", &[&branch, &shortcut], &format!("{}.add", block.name), vec![]);
        Ok(self.add_node("Relu", &[&sum], &format!("{}.relu", block.name), vec![]))
    }

    /// A convolution with its batch norm folded in.
    fn conv(&mut self, spec: &ConvSpec, input: &str) -> Result<String> {
        let weight = self.weights.tensor(&format!("{}.weight", spec.conv))?;
        let field = |field: &str| self.weights.tensor(&format!("{}.{field}", spec.norm));
        let norm = BatchNorm {
            gamma: field("weight")?,
            beta: field("bias")?,
            mean: field("running_mean")?,
            variance: field("running_var")?,
        };
        let (weight, bias) = norm.fold_into(weight);
        let (weight_name, bias_name) = (format!("{}.weight", spec.conv), format!("{}.bias", spec.conv));
        if !self.all_finite(&weight) || !self.all_finite(&bias) {
            return Err(Error::config(format!(
                "folding {} into {} gives values that are not finite in {}",
                spec.norm, spec.conv, self.precision
            ))
            .hint("the weights are damaged or were trained to overflow; check running_var"));
        }
        self.add_weights(&weight_name, &spec.shape(), weight);
        self.add_weights(&bias_name, &[spec.out_channels], bias);
        let attributes = window(spec.kernel, spec.stride);
        Ok(self.add_node("Conv", &[input, &weight_name, &bias_name], &spec.conv, attributes))
    }

    fn classifier(&mut self, input: &str, num_features: usize, num_classes: usize) -> Result<()> {
        let (weight, bias) = (self.weights.tensor("fc.weight")?, self.weights.tensor("fc.bias")?);
        self.add_initializer("fc.weight", &[num_classes, num_features], f32_bytes(weight));
        self.add_initializer("fc.bias", &[num_classes], f32_bytes(bias));
        let transposed = vec![AttributeProto::int("transB", 1)];
        self.add_node("Gemm", &[input, "fc.weight", "fc.bias"], LOGITS, transposed);
        Ok(())
    }

    /// Changes the type of a tensor on the way into the convolutions or out of them, where these are not fp32.
    fn cast(&mut self, tensor: &str, output: &str, elem_type: i32) -> String {
        match self.precision {
            Precision::Fp16 => {
                let to = vec![AttributeProto::int("to", elem_type.into())];
                self.add_node("Cast", &[tensor], output, to)
            }
            _ => tensor.to_owned(),
        }
    }

    fn add_weights(&mut self, name: &str, shape: &[usize], values: Vec<f64>) {
        self.initializer.push(match self.precision {
            Precision::Fp16 => TensorProto::new(name, FLOAT16, shape, f16_bytes(&values)),
            _ => TensorProto::float(name, shape, f32_bytes(values)),
        });
    }

    /// Whether all stay finite in the precision of the weights.
    fn all_finite(&self, values: &[f64]) -> bool {
        values.iter().all(|&value| match self.precision {
            Precision::Fp16 => f16::from_f64(value).is_finite(),
            _ => (value as f32).is_finite(),
        })
    }

    fn add_node(
        &mut self,
        op_type: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.node.push(NodeProto::new(op_type, inputs, output, attributes));
        output.to_owned()
    }

    fn add_initializer(&mut self, name: &str, shape: &[usize], elements: Bytes) {
        self.initializer.push(TensorProto::float(name, shape, elements));
    }
}

/// The parameters of a batch norm in evaluation, one value per channel.
struct BatchNorm {
    gamma: Vec<f64>,
    beta: Vec<f64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl BatchNorm {
    /// Returns weights and bias of a convolution that does both: W·γ/√(σ²+ε) and β − μ·γ/√(σ²+ε).
    ///
    /// - `weight`: `[out, in, height, width]`, row-major
    fn fold_into(&self, mut weight: Vec<f64>) -> (Vec<f64>, Vec<f64>) {
        let scale: Vec<f64> = self
            .gamma
            .iter()
            .zip(&self.variance)
            .map(|(gamma, variance)| gamma / (variance + EPSILON).sqrt())
            .collect();
        let num_weights_per_channel = weight.len() / scale.len();
        for (filter, scale) in weight.chunks_exact_mut(num_weights_per_channel).zip(&scale) {
            for weight in filter {
                *weight *= scale;
            }
        }
        let shifts = self.beta.iter().zip(&self.mean).zip(&scale);
        (weight, shifts.map(|((beta, mean), scale)| beta - mean * scale).collect())
    }
}

fn f32_bytes(values: Vec<f64>) -> Bytes {
    let mut bytes = Vec::with_capacity(4 * values.len());
    for value in values {
        bytes.extend_from_slice(&(value as f32).to_le_bytes());
    }
    bytes.into()
}

fn f16_bytes(values: &[f64]) -> Bytes {
    values.iter().flat_map(|&value| f16::from_f64(value).to_le_bytes()).collect()
}

/// Attributes of a square window that is padded by half its size.
fn window(kernel: usize, stride: usize) -> Vec<AttributeProto> {
    let (kernel, stride) = (kernel as i64, stride as i64);
    vec![
        AttributeProto::ints("kernel_shape", &[kernel; 2]),
        AttributeProto::ints("pads", &[kernel / 2; 4]),
        AttributeProto::ints("strides", &[stride; 2]),
    ]
}

fn float_rows(name: &str, length: usize) -> ValueInfoProto {
    ValueInfoProto::new(name, FLOAT, vec![Dimension::named(BATCH_AXIS), Dimension::fixed(length)])
}

fn input_info(options: &BuildOptions) -> ValueInfoProto {
    let (side, bands) = (Dimension::fixed(options.size as usize), Dimension::fixed(options.bands.len()));
    let batch = Dimension::named(BATCH_AXIS);
    match options.layout() {
        Layout::Nhwc => ValueInfoProto::new(INPUT, UINT8, vec![batch, side.clone(), side, bands]),
        Layout::Nchw => ValueInfoProto::new(INPUT, FLOAT, vec![batch, bands, side.clone(), side]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARCH: Architecture = Architecture::Resnet18;

    fn built(options: impl FnOnce(&mut BuildOptions)) -> BuiltModel {
        let mut chosen = BuildOptions::new(ARCH, "toy", 3);
        options(&mut chosen);
        build(&Weights::from_seed(1, ARCH, 3, Some(4)), &chosen).unwrap()
    }

    /// Convolution, then batch norm, on one pixel: the folded convolution must give the same.
    #[test]
    fn folding_agrees_with_the_formula() {
        let norm = BatchNorm {
            gamma: vec![1.5, -0.5],
            beta: vec![0.25, 3.0],
            mean: vec![0.75, -2.0],
            variance: vec![4.0, 0.01],
        };
        let (weight, pixel) = ([0.5, -1.0, 2.0, 0.125], [3.0, -7.0]);
        let (folded, bias) = norm.fold_into(weight.to_vec());
        for channel in 0..2 {
            let dot = |weight: &[f64]| weight[2 * channel] * pixel[0] + weight[2 * channel + 1] * pixel[1];
            let normalised = (dot(&weight) - norm.mean[channel]) / (norm.variance[channel] + 1e-5).sqrt();
            let expected = normalised * norm.gamma[channel] + norm.beta[channel];
            let got = dot(&folded) + bias[channel];
            assert!((got - expected).abs() < 1e-12 * expected.abs(), "{got} {expected}");
        }
    }

    #[test]
    fn a_model_is_built_for_a_contract_or_says_why_not() {
        let weights = Weights::from_seed(1, ARCH, 3, Some(4));
        let contract = built(|options| {
            options.sample_type = SampleType::Float32;
            options.name = "other".to_owned();
            options.units = Some(["tci8", "dn", "dn"].map(str::to_owned).to_vec());
            options.normalise.clamp = Some([0.0, 1.0]);
            options.activation = Activation::Sigmoid;
        })
        .contract;
        let again = build_for(&weights, ARCH, &contract, Precision::Fp32).unwrap();
        assert_eq!(again.contract, contract);
        let refused = |change: &dyn Fn(&mut Contract)| {
            let mut changed = contract.clone();
            change(&mut changed);
            build_for(&weights, ARCH, &changed, Precision::Fp32).unwrap_err().render()
        };
        let message = refused(&|contract| contract.output.embedding_length = 2048);
        assert!(message.contains("its output.embedding_length is 2048, the model's is 512"), "{message}");
        let message = refused(&|contract| contract.input.tensor = "image".to_owned());
        assert!(message.contains("its input.tensor is \"image\", the model's is \"input\""), "{message}");
        let headless =
            Contract { output: Output { classifier: None, ..contract.output.clone() }, ..contract.clone() };
        assert_eq!(
            build_for(&weights, ARCH, &headless, Precision::Fp32).unwrap().contract,
            headless,
            "the weights' classifier is left out"
        );
        let message = refused(&|contract| contract.input.bands.push("nir".to_owned()));
        assert!(message.contains("4 bands are named, but the weights take 3"), "{message}");
        let message = refused(&|contract| contract.input.normalise = None);
        assert!(message.contains("leaves normalisation to the graph"), "{message}");
        let message = refused(&|contract| contract.input.height = 64);
        assert!(message.contains("224×64, not square"), "{message}");
    }

    #[test]
    fn the_contracts_that_ship_are_sound() {
        let folder = tilefleet_testing::project().join("contracts");
        let load = |name: &str| {
            let path = folder.join(format!("satlas-sentinel2-resnet152-{name}.contract.toml"));
            Contract::load(&path).unwrap_or_else(|error| panic!("{}", error.render()))
        };
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4);
        for (bands, count) in [("rgb", 3), ("ms", 9)] {
            let (single, multi) = (load(&format!("si-{bands}")), load(&format!("mi-{bands}")));
            assert_eq!(single.name, format!("satlas-sentinel2-resnet152-si-{bands}"));
            assert_eq!(Contract { name: single.name.clone(), ..multi }, single);
            let Input { bands, normalise, .. } = &single.input;
            assert_eq!(
                (bands.len(), &bands[..3]),
                (count, &["tci_red", "tci_green", "tci_blue"].map(str::to_owned)[..])
            );
            let normalise = normalise.as_ref().unwrap();
            for band in 0..count {
                let (unit, scale) = if band < 3 { ("tci8", 1.0 / 255.0) } else { ("dn", 1.0 / 8160.0) };
                assert_eq!(single.input.unit_of(band), unit);
                assert_eq!(normalise.scale.of(band).to_bits(), f64::to_bits(scale));
            }
        }
        assert_eq!(load("si-ms").input.normalise.unwrap().clamp, Some([0.0, 1.0]));
    }

    #[test]
    fn equal_inputs_give_equal_bytes() {
        let (a, b) = (built(|_| ()), built(|_| ()));
        assert_eq!(a.digest, b.digest);
        assert_ne!(a.digest, built(|options| options.size = 64).digest);
    }

    #[test]
    fn the_graph_has_what_the_contract_says() {
        let model = built(|_| ());
        let graph = ModelProto::decode(model.bytes.clone()).unwrap().graph.unwrap();
        let graph = super::super::graph::Graph::new(&graph);
        let shown: Vec<String> = graph
            .inputs()
            .iter()
            .chain(&graph.outputs())
            .map(|info| format!("{} {info}", info.name))
            .collect();
        assert_eq!(
            shown,
            ["input uint8 [N, 224, 224, 3]", "embedding float32 [N, 512]", "logits float32 [N, 4]"]
        );
        assert_eq!(model.contract.input.normalise, None);
    }

    #[test]
    fn float_input_is_planar_and_normalised_before() {
        let model = built(|options| options.sample_type = SampleType::Float32);
        assert_eq!(model.contract.input.layout, Layout::Nchw);
        assert_eq!(model.contract.input.normalise, Some(imagenet()));
        let graph = ModelProto::decode(model.bytes).unwrap().graph.unwrap();
        assert_eq!(graph.node[0].op_type(), "Conv");
    }

    #[test]
    fn headless_leaves_the_classifier_out() {
        let model = built(|options| options.headless = true);
        assert_eq!(model.contract.output.classifier, None);
        let graph = ModelProto::decode(model.bytes).unwrap().graph.unwrap();
        assert_eq!(graph.output.len(), 1);
        assert!(graph.initializer.iter().all(|tensor| !tensor.name().starts_with("fc.")));
    }

    #[test]
    fn labels_must_be_as_many_as_classes() {
        let mut options = BuildOptions::new(ARCH, "toy", 3);
        options.labels = Some(vec!["one".to_owned()]);
        let error = build(&Weights::from_seed(1, ARCH, 3, Some(4)), &options).unwrap_err();
        assert!(error.to_string().contains("1 name for 4 classes"), "{error}");
    }

    #[test]
    fn bands_must_be_as_many_as_channels() {
        let error =
            build(&Weights::from_seed(1, ARCH, 4, None), &BuildOptions::new(ARCH, "toy", 3)).unwrap_err();
        assert_eq!(error.to_string(), "3 bands are named, but the weights take 4");
    }

    #[test]
    fn the_usual_resize_keeps_torchvisions_proportion() {
        let short_side = |size| usual_resize(size, Interpolation::Bilinear).short_side;
        assert_eq!([224, 448, 32].map(short_side), [232, 464, 33]);
    }
}
