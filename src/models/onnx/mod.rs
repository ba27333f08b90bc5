//! ONNX models: the schema's messages, and what is often asked of them.
//!
//! `generated` is the whole schema, so a model of someone else that is decoded and encoded again keeps all that the
//! schema knows. Only what a newer schema adds is lost: `scripts/generate-onnx-schema` fetches it.
//! [`exposing_outputs`] adds to any model without touching its bytes, and `models::prune` copies what stays.
//!
//! Decoding from [`Bytes`] shares them: raw tensor data is a slice of the file, not a copy.
//!
//! # Reference
//!
//! ONNX 1.23, `onnx/onnx-ml.proto`; protobuf encoding, "Last one wins" (embedded messages are merged).

#[cfg(test)]
pub(super) mod annotated;
#[allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all, reason = "generated")]
mod generated;

use bytes::Bytes;
use prost::Message;

use self::generated::attribute_proto::AttributeType;
use self::generated::tensor_proto::{DataLocation, DataType};
pub use self::generated::tensor_shape_proto::Dimension;
use self::generated::tensor_shape_proto::dimension;
use self::generated::type_proto;
pub use self::generated::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorAnnotation, TensorProto, TensorShapeProto, TrainingInfoProto, TypeProto,
    ValueInfoProto,
};

/// ONNX element type `FLOAT`.
pub const FLOAT: i32 = DataType::Float as i32;
/// ONNX element type `UINT8`.
pub const UINT8: i32 = DataType::Uint8 as i32;
/// ONNX element type `INT8`.
pub const INT8: i32 = DataType::Int8 as i32;
/// ONNX element type `INT64`.
pub const INT64: i32 = DataType::Int64 as i32;
/// ONNX element type `FLOAT16`.
pub const FLOAT16: i32 = DataType::Float16 as i32;
/// `TensorProto.data_location`: the data lie in another file.
pub const EXTERNAL: i32 = DataLocation::External as i32;

impl ModelProto {
    /// Returns the version of ONNX's own operator set.
    pub fn opset(&self) -> Option<i64> {
        self.opset_import.iter().find(|opset| opset.is_onnx())?.version
    }
}

/// Returns whether operators of a domain are ONNX's own, and neither a runtime's nor the model's functions.
fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

impl NodeProto {
    /// Creates a node with one output, named after it.
    pub fn new(op_type: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> Self {
        Self {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.to_owned()],
            name: Some(output.to_owned()),
            op_type: Some(op_type.to_owned()),
            attribute,
            ..Self::default()
        }
    }

    /// Returns whether its operator is one of ONNX's own set.
    pub fn is_onnx(&self) -> bool {
        is_onnx(self.domain())
    }

    /// Returns whether this is an operator of ONNX's own set.
    pub fn is(&self, op_type: &str) -> bool {
        self.op_type() == op_type && self.is_onnx()
    }

    /// Returns the attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// Returns an integer attribute, or `default` where it is absent.
    pub fn int_attribute(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }
}

impl AttributeProto {
    /// Creates an integer attribute.
    pub fn int(name: &str, value: i64) -> Self {
        Self { i: Some(value), ..Self::named(name, AttributeType::Int) }
    }

    /// Creates an attribute of several integers.
    pub fn ints(name: &str, values: &[i64]) -> Self {
        Self { ints: values.to_vec(), ..Self::named(name, AttributeType::Ints) }
    }

    fn named(name: &str, kind: AttributeType) -> Self {
        Self { name: Some(name.to_owned()), r#type: Some(kind.into()), ..Self::default() }
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
            name: Some(name.to_owned()),
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
    pub fn new(name: &str, elem_type: i32, dim: Vec<Dimension>) -> Self {
        let tensor = type_proto::Tensor { elem_type: Some(elem_type), shape: Some(TensorShapeProto { dim }) };
        let r#type = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
        Self { r#type: Some(r#type), ..Self::untyped(name) }
    }

    /// Creates the description of a tensor whose type and shape ONNX Runtime infers.
    pub fn untyped(name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::default() }
    }

    /// Returns the type and shape of a dense tensor; `None` for what is none, or has no type.
    pub fn tensor_type(&self) -> Option<&type_proto::Tensor> {
        match self.r#type.as_ref()?.value.as_ref()? {
            type_proto::Value::TensorType(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl Dimension {
    /// Creates an axis of fixed length.
    pub fn fixed(length: usize) -> Self {
        Self::of(length as i64)
    }

    /// Creates an axis with whatever an exporter wrote as its length.
    pub(super) fn of(length: i64) -> Self {
        Self { value: Some(dimension::Value::DimValue(length)), ..Self::default() }
    }

    /// Creates an axis of varying length.
    pub fn named(name: &str) -> Self {
        Self { value: Some(dimension::Value::DimParam(name.to_owned())), ..Self::default() }
    }

    /// Returns the fixed length.
    pub fn length(&self) -> Option<i64> {
        match self.value {
            Some(dimension::Value::DimValue(length)) => Some(length),
            _ => None,
        }
    }

    /// Returns the name of a length that varies.
    pub fn name(&self) -> Option<&str> {
        match &self.value {
            Some(dimension::Value::DimParam(name)) => Some(name),
            _ => None,
        }
    }
}

impl StringStringEntryProto {
    /// Creates an entry.
    pub fn new(key: &str, value: String) -> Self {
        Self { key: Some(key.to_owned()), value: Some(value) }
    }
}

impl OperatorSetIdProto {
    /// Creates a version of ONNX's own operator set.
    pub fn onnx(version: i64) -> Self {
        Self { version: Some(version), ..Self::default() }
    }

    /// Returns whether it is a version of ONNX's own operator set.
    pub fn is_onnx(&self) -> bool {
        is_onnx(self.domain())
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
    let graph = GraphProto { name: Some(name.to_owned()), ..GraphProto::default() };
    let mut joined = Vec::from(model);
    joined.extend_from_slice(&ModelProto { graph: Some(graph), ..ModelProto::default() }.encode_to_vec());
    joined.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model_with_output(name: &str) -> ModelProto {
        let output = vec![ValueInfoProto::new(name, FLOAT, vec![Dimension::named("N")])];
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
        let outputs: Vec<_> = graph.output.iter().map(ValueInfoProto::name).collect();
        assert_eq!(outputs, ["logits", "features"]);
        assert_eq!((graph.node.len(), graph.initializer.len()), (1, 1));
    }

    #[test]
    fn a_renamed_graph_keeps_everything_else() {
        let mut original = model_with_output("logits");
        original.graph.as_mut().unwrap().name = Some("old".into());
        let renamed = ModelProto::decode(renaming_graph(original.encode_to_vec().into(), "new")).unwrap();
        original.graph.as_mut().unwrap().name = Some("new".into());
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
    fn operators_of_other_domains_are_not_onnx_s() {
        let other = || Some("my.functions".to_owned());
        let set = |domain, version| OperatorSetIdProto { domain, version: Some(version) };
        let opset_import = vec![set(other(), 1), set(Some("ai.onnx".to_owned()), 17)];
        assert_eq!(ModelProto { opset_import, ..ModelProto::default() }.opset(), Some(17));
        let opset_import = vec![set(other(), 1)];
        assert_eq!(ModelProto { opset_import, ..ModelProto::default() }.opset(), None);
        let relu = NodeProto::new("Relu", &["x"], "y", vec![]);
        assert!(relu.is("Relu") && relu.is_onnx());
        let of_another = NodeProto { domain: other(), ..relu };
        assert!(!of_another.is("Relu") && !of_another.is_onnx());
    }

    #[test]
    fn an_attribute_of_zero_is_written() {
        let encoded = AttributeProto::int("axis", 0).encode_to_vec();
        assert_eq!(AttributeProto::decode(encoded.as_slice()).unwrap().i, Some(0));
    }
}
