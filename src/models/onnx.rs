//! The part of the ONNX protobuf that we write and look at.
//!
//! Field numbers are those of `onnx.proto`; whatever is not listed here is skipped when decoding. A model of
//! someone else that is decoded and encoded again loses it: notes for people, functions' attributes, and what
//! hangs on types other than tensors. So [`super::quantise`], which does that, takes plain graphs only;
//! [`exposing_outputs`] adds to any model without touching its bytes.
//!
//! Decoding from [`Bytes`] shares them: raw tensor data is a slice of the file, not a copy.
//!
//! # Reference
//!
//! ONNX 1.23, `onnx/onnx.proto`; protobuf encoding, "Last one wins" (embedded messages are merged).

use bytes::Bytes;
use prost::Message;

/// ONNX element type `FLOAT`.
pub const FLOAT: i32 = 1;
/// ONNX element type `UINT8`.
pub const UINT8: i32 = 2;
/// ONNX element type `INT8`.
pub const INT8: i32 = 3;
/// ONNX element type `INT64`.
pub const INT64: i32 = 7;
/// ONNX element type `FLOAT16`.
pub const FLOAT16: i32 = 10;
/// `TensorProto.data_location`: the data lie in another file.
pub const EXTERNAL: i32 = 1;

const ATTRIBUTE_INT: i32 = 2;
const ATTRIBUTE_INTS: i32 = 7;

/// A model: graph, operator sets and metadata.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    /// Version of the file format.
    #[prost(int64, optional, tag = "1")]
    pub ir_version: Option<i64>,
    /// Tool that wrote the model.
    #[prost(string, tag = "2")]
    pub producer_name: String,
    /// Version of that tool.
    #[prost(string, tag = "3")]
    pub producer_version: String,
    /// The computation.
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    /// Operator sets that the graph uses.
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
    /// Free key-value pairs.
    #[prost(message, repeated, tag = "14")]
    pub metadata_props: Vec<StringStringEntryProto>,
    /// Functions that nodes may call.
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<FunctionProto>,
}

/// A computation: nodes in topological order, their constants, inputs and outputs.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    /// Operations, in topological order.
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    /// Name of the graph.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Constant tensors by name.
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    /// Inputs; old models list initializers here, too.
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    /// Outputs.
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
    /// Types and shapes of intermediate tensors, as far as the exporter noted them.
    #[prost(message, repeated, tag = "13")]
    pub value_info: Vec<ValueInfoProto>,
    /// Sparse constant tensors.
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializer: Vec<SparseTensorProto>,
}

/// One operation.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    /// Names of the tensors it reads; empty for an optional input that is absent.
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    /// Names of the tensors it writes.
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    /// Name of the node.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Operator, such as `Conv`.
    #[prost(string, tag = "4")]
    pub op_type: String,
    /// Parameters.
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
    /// Domain of the operator; empty for ONNX's own.
    #[prost(string, tag = "7")]
    pub domain: String,
    /// Which of several functions of that name.
    #[prost(string, tag = "8")]
    pub overload: String,
}

/// A named parameter of a node.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// A float.
    #[prost(float, optional, tag = "2")]
    pub f: Option<f32>,
    /// An integer.
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    /// Text.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub s: Option<Bytes>,
    /// A tensor.
    #[prost(message, optional, tag = "5")]
    pub t: Option<TensorProto>,
    /// A graph.
    #[prost(message, optional, tag = "6")]
    pub g: Option<GraphProto>,
    /// Floats.
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    /// Integers.
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    /// Texts.
    #[prost(bytes = "bytes", repeated, tag = "9")]
    pub strings: Vec<Bytes>,
    /// Tensors.
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<TensorProto>,
    /// Graphs.
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<GraphProto>,
    /// Which of the fields holds the value.
    #[prost(int32, optional, tag = "20")]
    pub r#type: Option<i32>,
    /// A sparse tensor.
    #[prost(message, optional, tag = "22")]
    pub sparse_tensor: Option<SparseTensorProto>,
    /// Sparse tensors.
    #[prost(message, repeated, tag = "23")]
    pub sparse_tensors: Vec<SparseTensorProto>,
    /// In a function: the caller's attribute that holds the value.
    #[prost(string, tag = "21")]
    pub ref_attr_name: String,
}

/// A constant tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    /// Shape.
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    /// Element type.
    #[prost(int32, optional, tag = "2")]
    pub data_type: Option<i32>,
    /// Elements, where `raw_data` is absent.
    #[prost(float, repeated, tag = "4")]
    pub float_data: Vec<f32>,
    /// Likewise.
    #[prost(int32, repeated, tag = "5")]
    pub int32_data: Vec<i32>,
    /// Likewise.
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub string_data: Vec<Bytes>,
    /// Likewise.
    #[prost(int64, repeated, tag = "7")]
    pub int64_data: Vec<i64>,
    /// Name.
    #[prost(string, tag = "8")]
    pub name: String,
    /// Elements, row-major and little-endian.
    #[prost(bytes = "bytes", optional, tag = "9")]
    pub raw_data: Option<Bytes>,
    /// Elements, where `raw_data` is absent.
    #[prost(double, repeated, tag = "10")]
    pub double_data: Vec<f64>,
    /// Likewise.
    #[prost(uint64, repeated, tag = "11")]
    pub uint64_data: Vec<u64>,
    /// Where the elements lie if not here.
    #[prost(message, repeated, tag = "13")]
    pub external_data: Vec<StringStringEntryProto>,
    /// 0 if the elements are in this message, [`EXTERNAL`] if they lie in another file.
    #[prost(int32, optional, tag = "14")]
    pub data_location: Option<i32>,
}

/// A sparse constant tensor.
#[derive(Clone, PartialEq, Message)]
pub struct SparseTensorProto {
    /// The elements that are not zero.
    #[prost(message, optional, tag = "1")]
    pub values: Option<TensorProto>,
    /// Their positions.
    #[prost(message, optional, tag = "2")]
    pub indices: Option<TensorProto>,
}

/// Name, type and shape of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Type and shape.
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// A type; only tensors are told apart.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    /// The type of a dense tensor.
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// The type of a dense tensor (`TypeProto.Tensor`).
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    /// Element type.
    #[prost(int32, tag = "1")]
    pub elem_type: i32,
    /// Shape; absent if even the rank is unknown.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// A shape.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    /// Axes, outermost first.
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// The length of an axis (`TensorShapeProto.Dimension`): fixed, named, or neither.
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    /// A fixed length.
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    /// The name of a length that varies.
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

/// An operator set and its version.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    /// Domain; empty for ONNX's own.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Version.
    #[prost(int64, optional, tag = "2")]
    pub version: Option<i64>,
}

/// A key and its value.
#[derive(Clone, PartialEq, Message)]
pub struct StringStringEntryProto {
    /// Key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A function that nodes may call.
#[derive(Clone, PartialEq, Message)]
pub struct FunctionProto {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Operations.
    #[prost(message, repeated, tag = "7")]
    pub node: Vec<NodeProto>,
    /// Attributes that a caller may leave out.
    #[prost(message, repeated, tag = "11")]
    pub attribute_proto: Vec<AttributeProto>,
}

impl NodeProto {
    /// Creates a node with one output, named after it.
    pub fn new(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> Self {
        Self {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op_type.to_owned(),
            attribute,
            domain: String::new(),
            overload: String::new(),
        }
    }

    /// Returns whether this is an operator of ONNX's own set.
    pub fn is(&self, op_type: &str) -> bool {
        self.op_type == op_type && matches!(self.domain.as_str(), "" | "ai.onnx")
    }

    /// Returns the attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name == name)
    }

    /// Returns an integer attribute, or `default` where it is absent.
    pub fn int_attribute(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }
}

impl AttributeProto {
    /// Creates an integer attribute.
    pub fn int(name: &str, value: i64) -> Self {
        Self { name: name.to_owned(), i: Some(value), r#type: Some(ATTRIBUTE_INT), ..Self::default() }
    }

    /// Creates an attribute of several integers.
    pub fn ints(name: &str, values: &[i64]) -> Self {
        let (name, ints) = (name.to_owned(), values.to_vec());
        Self { name, ints, r#type: Some(ATTRIBUTE_INTS), ..Self::default() }
    }
}

impl TensorProto {
    /// Creates a float tensor; `raw_data` holds its elements, little-endian.
    pub fn float(name: &str, dims: &[usize], raw_data: Bytes) -> Self {
        Self::new(name, FLOAT, dims, raw_data)
    }

    /// Creates a tensor; `raw_data` holds its elements, little-endian.
    pub fn new(name: &str, elem_type: i32, dims: &[usize], raw_data: Bytes) -> Self {
        Self {
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            data_type: Some(elem_type),
            name: name.to_owned(),
            raw_data: Some(raw_data),
            ..Self::default()
        }
    }

    /// Creates a float tensor from its elements.
    pub fn of_floats(name: &str, dims: &[usize], elements: &[f32]) -> Self {
        Self::float(name, dims, elements.iter().flat_map(|element| element.to_le_bytes()).collect())
    }

    /// Returns the elements of a float tensor; `None` if it has another type, or not as many as its shape says.
    pub fn floats(&self) -> Option<Vec<f32>> {
        let num_elements: i64 = self.dims.iter().product();
        let elements: Vec<f32> = match (&self.raw_data, self.data_type) {
            (Some(raw), Some(FLOAT)) => raw
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("chunks of four")))
                .collect(),
            (None, Some(FLOAT)) => self.float_data.clone(),
            _ => return None,
        };
        (usize::try_from(num_elements) == Ok(elements.len())).then_some(elements)
    }
}

impl ValueInfoProto {
    /// Creates the description of a tensor.
    pub fn new(name: &str, elem_type: i32, dim: Vec<DimensionProto>) -> Self {
        let tensor_type = Some(TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) });
        Self { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
    }

    /// Creates the description of a tensor whose type and shape ONNX Runtime infers.
    pub fn untyped(name: &str) -> Self {
        Self { name: name.to_owned(), r#type: None }
    }
}

impl DimensionProto {
    /// Creates an axis of fixed length.
    pub fn fixed(length: usize) -> Self {
        Self { dim_value: Some(length as i64), dim_param: None }
    }

    /// Creates an axis of varying length.
    pub fn named(name: &str) -> Self {
        Self { dim_value: None, dim_param: Some(name.to_owned()) }
    }
}

/// Returns the model with further graph outputs; its own bytes come first and unchanged.
///
/// Protobuf merges embedded messages that occur twice and joins their repeated fields, so a second
/// `graph` that holds outputs only, appended to the file, adds these outputs. The tensors must exist in
/// the graph; ONNX Runtime infers their types.
///
/// - `model`: an encoded `ModelProto`
pub fn exposing_outputs(model: Bytes, tensors: &[&str]) -> Bytes {
    if tensors.is_empty() {
        return model;
    }
    let output = tensors.iter().map(|name| ValueInfoProto::untyped(name)).collect();
    let extension =
        ModelProto { graph: Some(GraphProto { output, ..GraphProto::default() }), ..ModelProto::default() };
    // No copy where nobody else holds the bytes.
    let mut joined = Vec::from(model);
    joined.extend_from_slice(&extension.encode_to_vec());
    joined.into()
}

/// Returns the model with another name for its graph; its own bytes come first and unchanged.
///
/// As in [`exposing_outputs`], but of a field that is not repeated the last one counts.
///
/// - `model`: an encoded `ModelProto`
pub fn renaming_graph(model: Bytes, name: &str) -> Bytes {
    let graph = GraphProto { name: name.to_owned(), ..GraphProto::default() };
    let mut joined = Vec::from(model);
    joined.extend_from_slice(&ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec());
    joined.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model_with_output(name: &str) -> ModelProto {
        let output = vec![ValueInfoProto::new(name, FLOAT, vec![DimensionProto::named("N")])];
        let weight = TensorProto::float("w", &[2], Bytes::from_static(&[0, 0, 128, 63, 0, 0, 0, 64]));
        ModelProto {
            ir_version: Some(8),
            graph: Some(GraphProto {
                node: vec![NodeProto::new("Relu", &["x"], name, vec![AttributeProto::int("axis", 0)])],
                initializer: vec![weight],
                output,
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    #[test]
    fn an_exposed_output_leaves_the_original_bytes_as_prefix() {
        let original = Bytes::from(model_with_output("logits").encode_to_vec());
        let extended = exposing_outputs(original.clone(), &["features"]);
        assert!(extended.starts_with(&original) && extended.len() > original.len());
        let graph = ModelProto::decode(extended).unwrap().graph.unwrap();
        let outputs: Vec<_> = graph.output.iter().map(|output| output.name.as_str()).collect();
        assert_eq!(outputs, ["logits", "features"]);
        assert_eq!((graph.node.len(), graph.initializer.len()), (1, 1));
    }

    #[test]
    fn a_renamed_graph_keeps_everything_else() {
        let mut original = model_with_output("logits");
        original.graph.as_mut().unwrap().name = "old".into();
        let renamed = ModelProto::decode(renaming_graph(original.encode_to_vec().into(), "new")).unwrap();
        original.graph.as_mut().unwrap().name = "new".into();
        assert_eq!(renamed, original);
    }

    #[test]
    fn nothing_to_expose_changes_nothing() {
        let original = Bytes::from(model_with_output("logits").encode_to_vec());
        assert_eq!(exposing_outputs(original.clone(), &[]), original);
    }

    #[test]
    fn raw_data_is_a_slice_of_the_file() {
        let file = Bytes::from(model_with_output("logits").encode_to_vec());
        let model = ModelProto::decode(file.clone()).unwrap();
        let raw = model.graph.unwrap().initializer[0].raw_data.clone().unwrap();
        assert!(file.as_ptr_range().contains(&raw.as_ptr()));
    }

    #[test]
    fn an_attribute_of_zero_is_written() {
        let encoded = AttributeProto::int("axis", 0).encode_to_vec();
        assert_eq!(AttributeProto::decode(encoded.as_slice()).unwrap().i, Some(0));
    }
}
