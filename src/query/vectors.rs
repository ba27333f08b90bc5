//! Embeddings as DataFusion hands them to functions.

use arrow::array::{Array, ArrayRef, AsArray, Float32Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;

/// One vector of floats a row.
pub(super) struct Vectors {
    values: Float32Array,
    rows: Rows,
    nulls: Option<NullBuffer>,
    /// All rows are the first one.
    constant: bool,
}

enum Rows {
    /// So many floats each.
    Fixed(usize),
    Varying(OffsetBuffer<i32>),
}

/// Tells whether a column of this type holds vectors.
pub(super) fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::FixedSizeList(element, _) | DataType::List(element) => element.data_type().is_numeric(),
        _ => false,
    }
}

impl Vectors {
    /// Takes a column, or one value for all rows.
    pub(super) fn of(value: &ColumnarValue) -> Result<Self> {
        match value {
            ColumnarValue::Array(array) => Self::of_array(array, false),
            ColumnarValue::Scalar(scalar) => Self::of_array(&scalar.to_array()?, true),
        }
    }

    pub(super) fn of_array(array: &ArrayRef, constant: bool) -> Result<Self> {
        let nulls = array.nulls().cloned();
        let (values, rows) = match array.data_type() {
            DataType::FixedSizeList(_, length) => {
                (array.as_fixed_size_list().values(), Rows::Fixed(*length as usize))
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                (list.values(), Rows::Varying(list.offsets().clone()))
            }
            other => return Err(DataFusionError::Plan(format!("{other} is no list of numbers"))),
        };
        let values = cast(values, &DataType::Float32)?.as_primitive::<Float32Type>().clone();
        if nulls.is_none() && values.null_count() > 0 {
            return Err(DataFusionError::Execution("an embedding has a null inside".to_owned()));
        }
        Ok(Self { values, rows, nulls, constant })
    }

    /// Tells whether all rows are one value.
    pub(super) fn is_constant(&self) -> bool {
        self.constant
    }

    /// Returns the vector of a row; `None` for null.
    #[inline]
    pub(super) fn row(&self, row: usize) -> Option<&[f32]> {
        let row = if self.constant { 0 } else { row };
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        let range = match &self.rows {
            Rows::Fixed(length) => row * length..(row + 1) * length,
            Rows::Varying(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
        };
        Some(&self.values.values()[range])
    }
}
