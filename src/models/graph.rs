//! What can be read from an ONNX graph without running it: tensors, their shapes, and where the
//! classifier of a network that we did not build takes its features from.

use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::onnx::{Dimension, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::shape::may_be_row;

/// An index over a graph.
#[derive(Debug)]
pub struct Graph<'m> {
    proto: &'m GraphProto,
    producers: HashMap<&'m str, &'m NodeProto>,
    initializers: HashMap<&'m str, &'m TensorProto>,
}

/// Name, element type and shape of a tensor, as far as the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorInfo {
    /// Name.
    pub name: String,
    /// ONNX element type; `None` where the file does not say.
    #[serde(rename = "type", serialize_with = "serialize_type")]
    pub elem_type: Option<i32>,
    /// Axes, outermost first; `None` where even the rank is unknown.
    pub shape: Option<Vec<Axis>>,
}

/// Length of an axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Axis {
    /// Always so long.
    Fixed(u64),
    /// Varies, and has a name.
    Named(String),
    /// Varies.
    Unknown,
}

/// The classifier at a graph's end: `logits = features × weights + bias`, perhaps with an activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundClassifier {
    /// The tensor that goes into the final matrix product.
    pub embedding: String,
    /// Its number of features.
    pub embedding_length: usize,
    /// Number of classes.
    pub num_classes: usize,
    /// Whether the graph itself turns logits into scores (`Softmax` or `Sigmoid`).
    pub activated: bool,
}

impl<'m> Graph<'m> {
    /// Indexes a graph.
    pub fn new(proto: &'m GraphProto) -> Self {
        let producers =
            proto.node.iter().flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node)));
        let initializers = proto.initializer.iter().map(|tensor| (tensor.name(), tensor));
        Self { proto, producers: producers.collect(), initializers: initializers.collect() }
    }

    /// Returns the inputs; initializers that old files list among them are left out.
    pub fn inputs(&self) -> Vec<TensorInfo> {
        let inputs = self.proto.input.iter().filter(|input| !self.initializers.contains_key(input.name()));
        inputs.map(TensorInfo::from).collect()
    }

    /// Returns the outputs.
    pub fn outputs(&self) -> Vec<TensorInfo> {
        self.proto.output.iter().map(TensorInfo::from).collect()
    }

    /// Returns whether the tensor is an output of the graph.
    pub fn is_output(&self, name: &str) -> bool {
        self.proto.output.iter().any(|output| output.name() == name)
    }

    /// Returns an output or an intermediate tensor; its type and shape where the file notes them.
    pub fn computed(&self, name: &str) -> Option<TensorInfo> {
        let noted = self.proto.output.iter().chain(&self.proto.value_info).find(|info| info.name() == name);
        match noted {
            Some(info) => Some(info.into()),
            None => self.producers.contains_key(name).then(|| TensorInfo {
                name: name.to_owned(),
                elem_type: None,
                shape: None,
            }),
        }
    }

    /// Returns the first axis of the first input, which is that of the batch.
    pub fn batch_axis(&self) -> Option<Axis> {
        self.inputs().first()?.shape.as_ref()?.first().cloned()
    }

    /// Returns the number of features of a tensor of rows: noted in the file, or told by the matrix product that
    /// makes or takes it. A pooled one may keep its axes of length 1.
    pub fn num_features(&self, name: &str) -> Option<usize> {
        if let Some([_, row @ ..]) = self.computed(name)?.shape.as_deref()
            && let Some(length) = row_length(row)
        {
            return Some(length);
        }
        if let Some(found) = self.classifier_before(name) {
            return Some(found.num_classes);
        }
        let consumer = self.proto.node.iter().find(|node| {
            node.input.first().is_some_and(|input| input == name) && self.product_shape(node).is_some()
        });
        self.product_shape(consumer?).map(|[features, _]| features)
    }

    /// Walks back from a tensor to the matrix product that makes it, through whatever does not change
    /// what the columns mean.
    ///
    /// Returns `None` where there is none, such as for a headless network or a convolution as classifier.
    pub fn classifier_before(&self, tensor: &str) -> Option<FoundClassifier> {
        let mut tensor = tensor;
        let mut activated = false;
        // A file can claim a cycle; a path through an acyclic graph visits each node at most once.
        for _ in 0..self.proto.node.len() {
            let node = *self.producers.get(tensor)?;
            match node.op_type() {
                "Gemm" | "MatMul" => {
                    let [embedding_length, num_classes] = self.product_shape(node)?;
                    let embedding = node.input.first()?.clone();
                    return Some(FoundClassifier { embedding, embedding_length, num_classes, activated });
                }
                "Softmax" | "Sigmoid" => activated = true,
                // The softmax of a log-softmax is the softmax: such outputs serve as logits.
                "LogSoftmax" | "Identity" | "Dropout" | "Cast" | "QuantizeLinear" | "DequantizeLinear" => {}
                "Add" => {
                    tensor = self.summand_with_data(node)?;
                    continue;
                }
                _ => return None,
            }
            tensor = node.input.first()?;
        }
        None
    }

    /// The summand that is not the bias.
    fn summand_with_data(&self, node: &'m NodeProto) -> Option<&'m str> {
        let [a, b] = &node.input[..] else { return None };
        match (self.constant_shape(a), self.constant_shape(b)) {
            (None, Some(_)) => Some(a),
            (Some(_), None) => Some(b),
            _ => None,
        }
    }

    /// `[features, classes]` of a product of data with constant weights.
    fn product_shape(&self, node: &NodeProto) -> Option<[usize; 2]> {
        let shape = self.constant_shape(node.input.get(1)?)?;
        let [rows, columns] = shape[..] else { return None };
        match node.op_type() {
            "Gemm" if node.int_attribute("transA", 0) != 0 => None,
            "Gemm" if node.int_attribute("transB", 0) != 0 => Some([columns, rows]),
            "Gemm" | "MatMul" => Some([rows, columns]),
            _ => None,
        }
    }

    /// The shape of an initializer or of a constant made from one.
    fn constant_shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut name = name;
        let mut is_transposed = false;
        for _ in 0..=self.proto.node.len() {
            if let Some(tensor) = self.initializers.get(name) {
                return dims(tensor, is_transposed);
            }
            let node = *self.producers.get(name)?;
            match node.op_type() {
                "Constant" => return dims(node.attribute("value")?.t.as_ref()?, is_transposed),
                "Transpose" => is_transposed = !is_transposed,
                "Identity" | "Cast" | "DequantizeLinear" => {}
                _ => return None,
            }
            name = node.input.first()?;
        }
        None
    }
}

/// The length of a row, if all its axes are known.
fn row_length(axes: &[Axis]) -> Option<usize> {
    let lengths: Vec<u64> = axes.iter().map(Axis::length).collect::<Option<_>>()?;
    let length = usize::try_from(lengths.iter().copied().max().unwrap_or(1)).ok()?;
    may_be_row(lengths.into_iter().map(Some), length).then_some(length)
}

fn dims(tensor: &TensorProto, is_transposed: bool) -> Option<Vec<usize>> {
    let mut dims: Vec<usize> =
        tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect::<Option<_>>()?;
    if is_transposed {
        dims.reverse();
    }
    Some(dims)
}

impl From<&ValueInfoProto> for TensorInfo {
    fn from(info: &ValueInfoProto) -> Self {
        let tensor_type = info.tensor_type();
        Self {
            name: info.name().to_owned(),
            elem_type: tensor_type.map(|tensor| tensor.elem_type.unwrap_or_default()),
            shape: tensor_type
                .and_then(|tensor| tensor.shape.as_ref())
                .map(|shape| shape.dim.iter().map(Axis::from).collect()),
        }
    }
}

impl From<&Dimension> for Axis {
    fn from(dimension: &Dimension) -> Self {
        // Some exporters write −1 for a length that varies.
        match (dimension.length(), dimension.name()) {
            (Some(length @ 0..), _) => Self::Fixed(length.unsigned_abs()),
            (_, Some(name)) if !name.is_empty() => Self::Named(name.to_owned()),
            _ => Self::Unknown,
        }
    }
}

impl Axis {
    /// Returns the length, if it is known. Some exporters write 0 for an output's length that varies.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Fixed(length @ 1..) => Some(*length),
            _ => None,
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Named(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}

impl fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name(self.elem_type))?;
        match &self.shape {
            Some(shape) => {
                let axes: Vec<String> = shape.iter().map(ToString::to_string).collect();
                write!(f, " [{}]", axes.join(", "))
            }
            None => f.write_str(" of unknown shape"),
        }
    }
}

/// Returns the name of an ONNX element type.
pub fn type_name(elem_type: Option<i32>) -> &'static str {
    match elem_type {
        Some(1) => "float32",
        Some(2) => "uint8",
        Some(3) => "int8",
        Some(4) => "uint16",
        Some(5) => "int16",
        Some(6) => "int32",
        Some(7) => "int64",
        Some(8) => "string",
        Some(9) => "bool",
        Some(10) => "float16",
        Some(11) => "float64",
        Some(12) => "uint32",
        Some(13) => "uint64",
        Some(16) => "bfloat16",
        Some(_) => "another type",
        None => "unknown type",
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::ref_option,
    reason = "serde passes the field by reference"
)]
fn serialize_type<S: Serializer>(elem_type: &Option<i32>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(type_name(*elem_type))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::models::onnx::{AttributeProto, FLOAT};

    fn weights(name: &str, dims: &[usize]) -> TensorProto {
        TensorProto::float(name, dims, Bytes::new())
    }

    fn graph(node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> GraphProto {
        GraphProto { node, initializer, ..GraphProto::default() }
    }

    fn found(embedding: &str, activated: bool) -> FoundClassifier {
        let embedding = embedding.to_owned();
        FoundClassifier { embedding, embedding_length: 64, num_classes: 10, activated }
    }

    #[test]
    fn a_gemm_with_transposed_weights_is_a_classifier() {
        let gemm = NodeProto::new("Gemm", &["f", "w", "b"], "logits", vec![AttributeProto::int("transB", 1)]);
        let proto = graph(vec![gemm], vec![weights("w", &[10, 64]), weights("b", &[10])]);
        assert_eq!(Graph::new(&proto).classifier_before("logits"), Some(found("f", false)));
    }

    #[test]
    fn matmul_bias_dropout_and_softmax_are_walked_through() {
        let nodes = vec![
            NodeProto::new("Transpose", &["w"], "wt", vec![]),
            NodeProto::new("MatMul", &["f", "wt"], "product", vec![]),
            NodeProto::new("Add", &["b", "product"], "sum", vec![]),
            NodeProto::new("Dropout", &["sum"], "dropped", vec![]),
            NodeProto::new("Softmax", &["dropped"], "scores", vec![]),
        ];
        let proto = graph(nodes, vec![weights("w", &[10, 64]), weights("b", &[10])]);
        let graph = Graph::new(&proto);
        assert_eq!(graph.classifier_before("scores"), Some(found("f", true)));
        assert_eq!(graph.num_features("f"), None, "a tensor that nothing makes has no features");
        assert_eq!(graph.num_features("product"), Some(10));
    }

    #[test]
    fn the_features_of_an_intermediate_come_from_the_product_that_takes_them() {
        let nodes = vec![
            NodeProto::new("Flatten", &["pooled"], "f", vec![]),
            NodeProto::new("Gemm", &["f", "w"], "logits", vec![]),
        ];
        let proto = graph(nodes, vec![weights("w", &[64, 10])]);
        assert_eq!(Graph::new(&proto).num_features("f"), Some(64));
    }

    #[test]
    fn neither_a_convolution_nor_a_cycle_is_a_classifier() {
        let nodes = vec![
            NodeProto::new("Conv", &["x", "w"], "convolved", vec![]),
            NodeProto::new("Identity", &["b"], "a", vec![]),
            NodeProto::new("Identity", &["a"], "b", vec![]),
        ];
        let proto = graph(nodes, vec![weights("w", &[10, 64])]);
        let graph = Graph::new(&proto);
        assert_eq!(graph.classifier_before("convolved"), None);
        assert_eq!(graph.classifier_before("a"), None);
    }

    #[test]
    fn inputs_that_are_initializers_are_left_out() {
        let info = |name: &str| ValueInfoProto::new(name, FLOAT, vec![Dimension::fixed(2)]);
        let mut proto = graph(vec![], vec![weights("w", &[2])]);
        proto.input = vec![info("x"), info("w")];
        let inputs = Graph::new(&proto).inputs();
        assert_eq!(inputs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["float32 [2]"]);
        assert_eq!(inputs[0].name, "x");
    }
}
