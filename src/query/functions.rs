//! `cosine_similarity(a, b)`

use std::sync::Arc;

use arrow::array::Float32Array;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::vectors::{Vectors, is_vector};

/// `cosine_similarity(a, b)`: the cosine of the angle between two vectors, −1 to 1, as `Float32`.
///
/// Either is a column or one value; lists of any numbers are taken. Null where one of them is null or
/// has no direction because it is zero.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CosineSimilarity(Signature);

impl Default for CosineSimilarity {
    fn default() -> Self {
        Self(Signature::any(2, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for CosineSimilarity {
    fn name(&self) -> &'static str {
        "cosine_similarity"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.iter().find(|data_type| !is_vector(data_type) && **data_type != DataType::Null) {
            Some(other) => Err(DataFusionError::Plan(format!(
                "cosine_similarity takes two embeddings or lists of numbers, not {other}"
            ))),
            None => Ok(DataType::Float32),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.arg_fields.iter().any(|field| *field.data_type() == DataType::Null) {
            return Ok(ColumnarValue::Scalar(ScalarValue::Float32(None)));
        }
        let [a, b] = [Vectors::of(&args.args[0])?, Vectors::of(&args.args[1])?];
        let num_rows = if a.is_constant() && b.is_constant() { 1 } else { args.number_rows };
        let similarities = (0..num_rows).map(|row| a.row(row).zip(b.row(row)).map(cosine).transpose());
        let similarities = similarities.map(|similarity| similarity.map(Option::flatten));
        let similarities: Float32Array = similarities.collect::<Result<_>>()?;
        if a.is_constant() && b.is_constant() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&similarities, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(similarities)))
    }
}

/// As many sums as the compiler keeps in vector registers.
const LANES: usize = 16;

fn cosine((a, b): (&[f32], &[f32])) -> Result<Option<f32>> {
    if a.len() != b.len() {
        let message = format!("cosine_similarity of vectors of {} and {} numbers", a.len(), b.len());
        return Err(DataFusionError::Execution(message));
    }
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [[0.0f32; LANES]; 3];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[0][lane] += a[lane] * b[lane];
            sums[1][lane] += a[lane] * a[lane];
            sums[2][lane] += b[lane] * b[lane];
        }
    }
    let [mut dot, mut a_square, mut b_square] =
        sums.map(|lanes| lanes.iter().map(|&sum| f64::from(sum)).sum::<f64>());
    for (&a, &b) in a_rest.iter().zip(b_rest) {
        let (a, b) = (f64::from(a), f64::from(b));
        (dot, a_square, b_square) = (dot + a * b, a_square + a * a, b_square + b * b);
    }
    let lengths = (a_square * b_square).sqrt();
    Ok((lengths > 0.0).then(|| (dot / lengths) as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_those_of_the_textbook() {
        let (a, b) = ([1.0, 0.0], [1.0, 1.0]);
        assert!((cosine((&a, &b)).unwrap().unwrap() - 0.5f32.sqrt()).abs() < 1e-7);
        let long: Vec<f32> = (0..100).map(|at| at as f32).collect();
        let opposite: Vec<f32> = long.iter().map(|value| -2.0 * value).collect();
        assert_eq!(cosine((&long, &opposite)).unwrap(), Some(-1.0));
        assert_eq!(cosine((&[0.0; 20], &[1.0; 20])).unwrap(), None);
        assert!(cosine((&a, &long)).is_err());
    }
}
