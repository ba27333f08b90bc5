//! Makes a float graph ready: what cannot be quantised is refused, constants become initializers, batch norms
//! are folded, and for the CPU the input stage is laid out so that it is fast beside 8-bit convolutions.

use std::collections::{HashMap, HashSet};

use super::by_name;
use crate::models::onnx::{
    AttributeProto, FLOAT, GraphProto, INT64, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use crate::models::precision_of;
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::contract::{LeftFloat, Target};
use crate::vocabulary::error::{Error, Result};

/// The first operator set with a scale for each channel.
const FIRST_OPSET: i64 = 13;

/// Refuses what cannot be quantised, or would be damaged.
///
/// # Errors
///
/// `Config`, with what to do instead.
pub fn check(model: &ModelProto, graph: &GraphProto) -> Result<()> {
    let version = model.opset().unwrap_or_default();
    if version < FIRST_OPSET {
        return Err(Error::config(format!("the model has opset {version}, older than {FIRST_OPSET}"))
            .hint("export it with opset 17, or convert it: in Python, onnx.version_converter"));
    }
    match precision_of(graph) {
        Precision::Fp32 | Precision::Tf32 => {}
        Precision::Int8 => {
            return Err(Error::config("the model is already quantised")
                .hint("give the fp32 model that it was made from"));
        }
        Precision::Fp16 => {
            return Err(Error::config("the model is fp16, but only fp32 can be quantised")
                .hint("give the fp32 model; `tilefleet model build` makes one"));
        }
    }
    if let Some(node) = graph.node.iter().find(|node| is_short(node)) {
        return Err(Error::config("the model is damaged")
            .because(format!("the node `{}` ({}) lacks inputs or outputs", node.name(), node.op_type()))
            .hint("check the file, for example with onnx.checker in Python"));
    }
    let has_branch = |node: &NodeProto| {
        node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty())
    };
    match graph.node.iter().find(|node| has_branch(node)) {
        Some(node) => Err(Error::config("only plain graphs can be quantised")
            .because(format!("the node `{}` ({}) contains a graph", node.name(), node.op_type()))
            .hint("simplify it, for example with the Python package onnxsim")),
        None => Ok(()),
    }
}

/// Turns `Constant` nodes into initializers, and lets readers of a renamed constant read the constant itself.
pub fn hoist_constants(graph: &mut GraphProto) {
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut constants: HashSet<String> =
        graph.initializer.iter().map(|tensor| tensor.name().to_owned()).collect();
    let yielded: HashSet<String> = graph.output.iter().map(|info| info.name().to_owned()).collect();
    let mut kept = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        for input in &mut node.input {
            if let Some(constant) = renamed.get(input) {
                input.clone_from(constant);
            }
        }
        let is_free = node.output.len() == 1 && !yielded.contains(&node.output[0]);
        if is_free
            && node.is("Constant")
            && let Some(tensor) = node.attribute("value").and_then(|value| value.t.clone())
        {
            constants.insert(node.output[0].clone());
            graph.initializer.push(TensorProto { name: Some(node.output[0].clone()), ..tensor });
        } else if is_free && node.is("Identity") && constants.contains(&node.input[0]) {
            renamed.insert(node.output[0].clone(), node.input[0].clone());
        } else {
            kept.push(node);
        }
    }
    graph.node = kept;
    // Old files list initializers among the inputs as well.
    graph.input.retain(|input| !constants.contains(input.name()));
}

/// Whether a node has fewer inputs or outputs than its operator needs; those that are read by position are known. What an
/// operator of another domain needs, such as one of the model's own functions, is not.
fn is_short(node: &NodeProto) -> bool {
    let least = match node.op_type() {
        "Constant" => 0,
        _ if !node.is_onnx() => 0,
        "Conv" | "Gemm" | "MatMul" | "Add" | "Sub" | "Mul" | "Div" | "Reshape" => 2,
        "BatchNormalization" => 5,
        _ => usize::from(node.op_type() != "RandomNormal" && node.op_type() != "RandomUniform"),
    };
    node.input.len() < least || node.output.is_empty()
}

/// Folds each batch norm into the convolution before it; returns those that have none, with the reason.
pub fn fold_batch_norms(graph: &mut GraphProto) -> Vec<LeftFloat> {
    let mut left = Vec::new();
    let mut index = 0;
    while index < graph.node.len() {
        if graph.node[index].is("BatchNormalization") {
            match fold(graph, index) {
                Ok(()) => continue,
                Err(reason) => {
                    let layer = graph.node[index].output[0].clone();
                    left.push(LeftFloat { layer, reason: reason.to_owned() });
                }
            }
        }
        index += 1;
    }
    left
}

/// Folds the batch norm at `index` away: W·γ/√(σ²+ε) and β + (b − μ)·γ/√(σ²+ε), computed in float64.
fn fold(graph: &mut GraphProto, index: usize) -> Result<(), &'static str> {
    let norm = graph.node[index].clone();
    if norm.int_attribute("training_mode", 0) != 0 || norm.output.len() != 1 {
        return Err("a batch norm in training mode");
    }
    let producer = graph.node.iter().position(|node| node.output.contains(&norm.input[0]));
    let producer = producer
        .filter(|&producer| graph.node[producer].is("Conv"))
        .ok_or("a batch norm without a convolution before it")?;
    let readers = graph.node.iter().flat_map(|node| &node.input).filter(|input| **input == norm.input[0]);
    let is_output = graph.output.iter().any(|info| info.name() == norm.input[0]);
    if readers.count() != 1 || is_output {
        return Err("a batch norm whose convolution has other readers");
    }
    let constants = by_name(&graph.initializer);
    let floats = |name: &String| constants.get(name.as_str()).and_then(|tensor| tensor.floats());
    let conv = graph.node[producer].clone();
    let computed = "a batch norm or convolution whose parameters are computed";
    let weights = constants.get(conv.input[1].as_str()).copied().ok_or(computed)?;
    let [gamma, beta, mean, variance] =
        [1, 2, 3, 4].map(|at| norm.input.get(at).and_then(floats)).map(|it| it.ok_or(computed));
    let (gamma, beta, mean, variance) = (gamma?, beta?, mean?, variance?);
    let num_channels = gamma.len();
    let bias = match conv.input.get(2).filter(|bias| !bias.is_empty()) {
        Some(bias) => floats(bias).ok_or(computed)?,
        None => vec![0.0; num_channels],
    };
    let mut folded = weights.floats().ok_or(computed)?;
    let all = [beta.len(), mean.len(), variance.len(), bias.len()];
    if num_channels == 0 || all != [num_channels; 4] || folded.len() % num_channels != 0 {
        return Err("a batch norm whose size differs from its convolution");
    }
    let epsilon = f64::from(norm.attribute("epsilon").and_then(|it| it.f).unwrap_or(1e-5));
    let factors: Vec<f64> = gamma
        .iter()
        .zip(&variance)
        .map(|(&gamma, &variance)| f64::from(gamma) / (f64::from(variance) + epsilon).sqrt())
        .collect();
    let num_weights = folded.len() / num_channels;
    for (filter, factor) in folded.chunks_exact_mut(num_weights).zip(&factors) {
        for weight in filter {
            *weight = (f64::from(*weight) * factor) as f32;
        }
    }
    let shift = |channel: usize| {
        let centred = f64::from(bias[channel]) - f64::from(mean[channel]);
        (f64::from(beta[channel]) + centred * factors[channel]) as f32
    };
    let bias: Vec<f32> = (0..num_channels).map(shift).collect();
    let dims: Vec<usize> = weights.dims.iter().map(|&dim| dim as usize).collect();
    let names = ["_folded", "_folded_bias"].map(|suffix| format!("{}{suffix}", conv.output[0]));
    graph.initializer.push(TensorProto::of_floats(&names[0], &dims, &folded));
    graph.initializer.push(TensorProto::of_floats(&names[1], &[num_channels], &bias));
    // The name of the weights says more than that of a tensor, where the node has none.
    let name = if conv.name().is_empty() { stem(&conv.input[1]) } else { conv.name() }.to_owned();
    let [weights_name, bias_name] = names;
    let input = vec![conv.input[0].clone(), weights_name, bias_name];
    graph.node[producer] = NodeProto { name: Some(name), input, output: norm.output, ..conv };
    graph.node.remove(index);
    Ok(())
}

fn stem(weights: &str) -> &str {
    weights.strip_suffix(".weight").unwrap_or(weights)
}

/// Lays the input stage of our models out by rows: ONNX Runtime moves the transposition behind the arithmetic,
/// next to the 8-bit convolution, and would multiply each pixel's three samples by three factors; a row of
/// samples by a row of factors is many times as fast, and gives the same numbers.
pub fn flatten_input_stage(graph: &mut GraphProto, target: Target) {
    if target == Target::Cpu
        && let Some(stage) = InputStage::find(graph)
    {
        stage.rewrite(graph);
    }
}

/// `uint8 [N, H, W, C]` ─▶ Transpose ─▶ Cast ─▶ Mul ─▶ Add.
struct InputStage {
    first: usize,
    width: usize,
    factor: Vec<f32>,
    offset: Vec<f32>,
}

impl InputStage {
    fn find(graph: &GraphProto) -> Option<Self> {
        let first = graph.node.windows(4).position(|nodes| {
            let kinds = ["Transpose", "Cast", "Mul", "Add"];
            nodes.iter().zip(kinds).all(|(node, kind)| node.is(kind))
                && nodes.windows(2).all(|pair| pair[1].input[0] == pair[0].output[0])
                && nodes[..3].iter().all(|node| is_read_once(graph, &node.output[0]))
        })?;
        let [transpose, cast, factor, offset] = &graph.node[first..first + 4] else { return None };
        let input = graph.input.iter().find(|input| input.name() == transpose.input[0])?;
        let is_planar = transpose.attribute("perm").is_some_and(|perm| perm.ints == [0, 3, 1, 2]);
        if !is_planar || cast.int_attribute("to", 0) != i64::from(FLOAT) {
            return None;
        }
        let [_, _, width, channels] = lengths(input)?[..] else { return None };
        let constants = by_name(&graph.initializer);
        let of_channels = |node: &NodeProto| {
            let tensor = constants.get(node.input[1].as_str())?;
            (tensor.dims == [1, channels, 1, 1]).then(|| tensor.floats()).flatten()
        };
        let width = usize::try_from(width).ok()?;
        Some(Self { first, width, factor: of_channels(factor)?, offset: of_channels(offset)? })
    }

    fn rewrite(self, graph: &mut GraphProto) {
        let nodes: Vec<NodeProto> = graph.node.drain(self.first..self.first + 4).collect();
        let (input, output) = (nodes[0].input[0].clone(), nodes[3].output[0].clone());
        let num_channels = self.factor.len();
        let row = |values: &[f32]| values.repeat(self.width);
        let row_shape = [self.width * num_channels];
        let shape = |name: &str, lengths: &[i64]| {
            let bytes = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
            TensorProto::new(name, INT64, &[lengths.len()], bytes)
        };
        graph.initializer.extend([
            TensorProto::of_floats("normalise.factor_row", &row_shape, &row(&self.factor)),
            TensorProto::of_floats("normalise.offset_row", &row_shape, &row(&self.offset)),
            shape("normalise.as_rows", &[0, 0, -1]),
            shape("normalise.as_pixels", &[0, 0, -1, num_channels as i64]),
        ]);
        let planar = vec![AttributeProto::ints("perm", &[0, 3, 1, 2])];
        let to_float = vec![AttributeProto::int("to", FLOAT.into())];
        let stage = [
            NodeProto::new("Reshape", &[&input, "normalise.as_rows"], "sample_rows", vec![]),
            NodeProto::new("Cast", &["sample_rows"], "float_rows", to_float),
            NodeProto::new("Mul", &["float_rows", "normalise.factor_row"], "scaled_rows", vec![]),
            NodeProto::new("Add", &["scaled_rows", "normalise.offset_row"], "normalised_rows", vec![]),
            NodeProto::new("Reshape", &["normalised_rows", "normalise.as_pixels"], "pixels", vec![]),
            NodeProto::new("Transpose", &["pixels"], &output, planar),
        ];
        graph.node.splice(self.first..self.first, stage);
    }
}

fn is_read_once(graph: &GraphProto, tensor: &str) -> bool {
    let readers = graph.node.iter().flat_map(|node| &node.input).filter(|input| *input == tensor);
    readers.count() == 1 && graph.output.iter().all(|info| info.name() != tensor)
}

/// Lengths of the axes, 0 where they vary.
fn lengths(info: &ValueInfoProto) -> Option<Vec<i64>> {
    let shape = info.tensor_type()?.shape.as_ref()?;
    Some(shape.dim.iter().map(|dim| dim.length().unwrap_or(0)).collect())
}
