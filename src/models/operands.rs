//! Which 8-bit integers a quantised graph multiplies: it decides where x86 processors saturate.

use std::collections::{HashMap, HashSet};

use super::onnx::{FLOAT, GraphProto, INT8, NodeProto, TensorProto, UINT8};
use crate::vocabulary::contract::WeightRange;

/// The integers of a quantised graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operands {
    /// Whether activations are signed; most graphs for processors have unsigned ones.
    pub signed_activations: bool,
    /// What its weights are.
    pub weights: WeightIntegers,
}

/// The integers of a graph's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightIntegers {
    /// Unsigned: runtimes add their products in 32 bits.
    Unsigned,
    /// Signed and from −64 to 64: two products with 8-bit activations fit into 16 bits.
    Reduced,
    /// Signed and beyond that.
    Full,
}

impl Operands {
    /// Finds the integers of a quantised graph; a single full-range matrix makes it full-range.
    #[must_use]
    pub fn of(graph: &GraphProto) -> Self {
        let constants = constants(graph);
        let is_signed = |node: &&NodeProto| zero_point_type(node, &constants) == Some(INT8);
        let quantisations = || graph.node.iter().filter(|node| node.op_type() == "QuantizeLinear");
        let of_weights = |node: &&NodeProto| {
            let tensor = node.input.first().and_then(|input| constants.get(input.as_str()));
            tensor.is_some_and(|tensor| tensor.data_type == Some(FLOAT) && is_weight(tensor))
        };
        // The runtime rounds such weights as it loads the model; where to is not computed here.
        let rounded_later = quantisations().filter(of_weights).any(|node| is_signed(&node));
        let stored =
            || constants.values().filter(|tensor| tensor.data_type == Some(INT8) && is_weight(tensor));
        let weights = if rounded_later || stored().any(|tensor| is_full_range(tensor)) {
            WeightIntegers::Full
        } else if stored().next().is_some() {
            WeightIntegers::Reduced
        } else {
            WeightIntegers::Unsigned
        };
        let mut activations = quantisations().filter(|node| !of_weights(node)).peekable();
        let signed_activations = activations.peek().is_some() && activations.all(|node| is_signed(&node));
        Self { signed_activations, weights }
    }

    /// Returns whether sums of two products may be too large for 16 bits.
    #[must_use]
    pub fn may_saturate(self) -> bool {
        self.weights == WeightIntegers::Full
    }

    /// Returns the name, activations first: `u8s7`, `u8s8`, `s8s8`, `u8u8`, …
    #[must_use]
    pub fn name(self) -> String {
        let activations = if self.signed_activations { "s8" } else { "u8" };
        let weights = match self.weights {
            WeightIntegers::Unsigned => "u8",
            WeightIntegers::Reduced => "s7",
            WeightIntegers::Full => "s8",
        };
        format!("{activations}{weights}")
    }
}

/// All tensors that do not depend on the input, as exporters store them: initializers, and nodes `Constant`.
fn constants(graph: &GraphProto) -> HashMap<&str, &TensorProto> {
    let nodes = graph.node.iter().filter(|node| node.op_type() == "Constant");
    let nodes =
        nodes.filter_map(|node| Some((node.output.first()?.as_str(), node.attribute("value")?.t.as_ref()?)));
    let initializers = graph.initializer.iter().map(|tensor| (tensor.name(), tensor));
    // Those of the graph's inputs that somebody may replace are constants here too: nobody does.
    let known: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    initializers.chain(nodes.filter(|(name, _)| !known.contains(name))).collect()
}

/// Scales, zero points and biases have fewer axes.
fn is_weight(tensor: &TensorProto) -> bool {
    tensor.dims.len() >= 2
}

fn zero_point_type(node: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Option<i32> {
    let named = node.attribute("output_dtype").and_then(|attribute| i32::try_from(attribute.i?).ok());
    let named = named.filter(|&elem_type| elem_type != 0);
    let zero_point = node.input.get(2).and_then(|name| constants.get(name.as_str()));
    zero_point.and_then(|tensor| tensor.data_type).or(named).or(Some(UINT8))
}

fn is_full_range(tensor: &TensorProto) -> bool {
    let largest = WeightRange::Reduced.largest();
    match &tensor.raw_data {
        Some(raw) => raw.iter().any(|byte| byte.cast_signed().unsigned_abs() > largest),
        None => tensor.int32_data.iter().any(|value| value.unsigned_abs() > u32::from(largest)),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::models::onnx::AttributeProto;

    fn int8(name: &str, values: &[i8]) -> TensorProto {
        let bytes: Bytes = values.iter().map(|value| value.cast_unsigned()).collect();
        TensorProto::new(name, INT8, &[1, values.len()], bytes)
    }

    fn node(op_type: &str, inputs: &[&str]) -> NodeProto {
        NodeProto::new(op_type, inputs, "y", vec![])
    }

    fn zero_point(elem_type: i32) -> TensorProto {
        TensorProto::new("zero", elem_type, &[], Bytes::from_static(&[0]))
    }

    fn name(node: Vec<NodeProto>, initializer: Vec<TensorProto>) -> String {
        Operands::of(&GraphProto { node, initializer, ..GraphProto::default() }).name()
    }

    #[test]
    fn weights_beyond_64_are_of_the_full_range() {
        let quantise = || node("QuantizeLinear", &["x", "scale", "zero"]);
        let of = |values: &[i8]| name(vec![quantise()], vec![zero_point(UINT8), int8("w", values)]);
        assert_eq!(
            (of(&[-64, 64]), of(&[0, 65]), of(&[-65, 3])),
            ("u8s7".into(), "u8s8".into(), "u8s8".into())
        );
        assert_eq!(name(vec![quantise()], vec![zero_point(INT8), int8("w", &[127])]), "s8s8");
        let listed = TensorProto { raw_data: None, int32_data: vec![-65], ..int8("w", &[0]) };
        assert_eq!(name(vec![node("QLinearConv", &["x", "w"])], vec![listed]), "u8s8");
        let unsigned = TensorProto::new("w", UINT8, &[1, 1], Bytes::from_static(&[255]));
        assert_eq!(name(vec![quantise()], vec![zero_point(UINT8), unsigned]), "u8u8");
    }

    /// Exporters leave weights in nodes `Constant`, and frameworks leave them float before a `QuantizeLinear`.
    #[test]
    fn weights_are_found_wherever_exporters_put_them() {
        let value = AttributeProto {
            name: Some("value".to_owned()),
            t: Some(int8("", &[100])),
            r#type: Some(4),
            ..AttributeProto::default()
        };
        let constant = NodeProto::new("Constant", &[], "w", vec![value]);
        assert_eq!(name(vec![constant], vec![]), "u8s8");
        let float = || TensorProto::of_floats("w", &[1, 1], &[0.5]);
        let rounded = |elem_type| {
            let node = node("QuantizeLinear", &["w", "scale", "zero"]);
            name(vec![node], vec![float(), zero_point(elem_type)])
        };
        assert_eq!((rounded(INT8), rounded(UINT8)), ("u8s8".into(), "u8u8".into()));
    }

    /// Biases and zero points are 8-bit numbers too, and meet no activation.
    #[test]
    fn only_matrices_are_weights() {
        let bias = TensorProto::new("b", INT8, &[1], Bytes::from_static(&[127]));
        assert_eq!(name(vec![], vec![bias, int8("w", &[1])]), "u8s7");
    }
}
