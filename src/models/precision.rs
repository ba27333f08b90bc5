//! Which precision a graph computes in.

use crate::models::onnx::{FLOAT16, GraphProto};
use crate::vocabulary::contract::Precision;

/// Finds the precision of a graph: quantised if any tensor is, fp16 if any matrix of weights is.
#[must_use]
pub fn precision_of(graph: &GraphProto) -> Precision {
    let is_quantised = |op_type: &str| {
        op_type.starts_with("QLinear")
            || matches!(op_type, "DequantizeLinear" | "ConvInteger" | "MatMulInteger" | "QGemm")
    };
    if graph.node.iter().any(|node| is_quantised(node.op_type())) {
        return Precision::Int8;
    }
    let is_half =
        graph.initializer.iter().any(|tensor| tensor.data_type == Some(FLOAT16) && tensor.dims.len() >= 2);
    if is_half { Precision::Fp16 } else { Precision::Fp32 }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::models::onnx::{FLOAT, NodeProto, TensorProto};

    fn graph(op_type: &str, elem_type: i32, dims: &[usize]) -> GraphProto {
        GraphProto {
            node: vec![NodeProto::new(op_type, &["x", "w"], "y", vec![])],
            initializer: vec![TensorProto::new("w", elem_type, dims, Bytes::new())],
            ..GraphProto::default()
        }
    }

    #[test]
    fn the_file_tells_its_precision() {
        assert_eq!(precision_of(&graph("Conv", FLOAT, &[4, 3, 1, 1])), Precision::Fp32);
        assert_eq!(precision_of(&graph("Conv", FLOAT16, &[4, 3, 1, 1])), Precision::Fp16);
        assert_eq!(precision_of(&graph("Mul", FLOAT16, &[1])), Precision::Fp32, "a constant is no weight");
        assert_eq!(precision_of(&graph("DequantizeLinear", FLOAT, &[4])), Precision::Int8);
        assert_eq!(precision_of(&graph("QLinearConv", FLOAT, &[4])), Precision::Int8);
    }
}
