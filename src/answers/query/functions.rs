//! `cosine_similarity(a, b)`

use std::sync::Arc;

use arrow::array::Float32Array;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::similarity::Direction;
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
        let [mut a, mut b] = [Vectors::of(&args.args[0])?, Vectors::of(&args.args[1])?];
        if b.is_constant() {
            std::mem::swap(&mut a, &mut b);
        }
        let num_rows = if b.is_constant() { 1 } else { args.number_rows };
        let similarities = similarities(&a, &b, num_rows)?;
        if b.is_constant() {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&similarities, 0)?));
        }
        Ok(ColumnarValue::Array(Arc::new(similarities)))
    }
}

/// Compares row by row; the length of a constant `a` is computed once.
fn similarities(a: &Vectors, b: &Vectors, num_rows: usize) -> Result<Float32Array> {
    let constant = a.is_constant().then(|| a.row(0).map(Direction::of));
    let similarity = |row: usize| {
        let direction = constant.unwrap_or_else(|| a.row(row).map(Direction::of));
        direction.zip(b.row(row)).map(|(a, b)| cosine(a, b)).transpose().map(Option::flatten)
    };
    (0..num_rows).map(similarity).collect()
}

fn cosine(a: Direction<'_>, b: &[f32]) -> Result<Option<f32>> {
    if a.len() == b.len() {
        return Ok(a.cosine(b));
    }
    let message = format!("cosine_similarity of vectors of {} and {} numbers", a.len(), b.len());
    Err(DataFusionError::Execution(message))
}
