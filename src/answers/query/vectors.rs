//! Embeddings as DataFusion hands them to functions.

use std::ops::Range;

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
    /// Number of floats of each.
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
            other => return Err(DataFusionError::Plan(format!("{other} is not a list of numbers"))),
        };
        let values = cast(values, &DataType::Float32)?.as_primitive::<Float32Type>().clone();
        let vectors = Self { values, rows, nulls, constant };
        vectors.check(array.len())?;
        Ok(vectors)
    }

    /// Refuses vectors with a null inside; what lies below a row that is null is of no account.
    fn check(&self, num_rows: usize) -> Result<()> {
        let Some(inside) = self.values.nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(()) };
        let broken = |row: usize| {
            self.range(row).is_some_and(|range| inside.slice(range.start, range.len()).null_count() > 0)
        };
        match (0..num_rows).find(|row| broken(*row)) {
            Some(_) => Err(DataFusionError::Execution("an embedding has a null inside".to_owned())),
            None => Ok(()),
        }
    }

    /// Returns the place of a row's floats; `None` for null.
    #[inline]
    fn range(&self, row: usize) -> Option<Range<usize>> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        Some(match &self.rows {
            Rows::Fixed(length) => row * length..(row + 1) * length,
            Rows::Varying(offsets) => offsets[row] as usize..offsets[row + 1] as usize,
        })
    }

    /// Tells whether all rows are one value.
    pub(super) fn is_constant(&self) -> bool {
        self.constant
    }

    /// Returns the vector of a row; `None` for null.
    #[inline]
    pub(super) fn row(&self, row: usize) -> Option<&[f32]> {
        let range = self.range(if self.constant { 0 } else { row })?;
        Some(&self.values.values()[range])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{FixedSizeListArray, ListArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn a_null_inside_is_an_error_unless_the_whole_row_is_null() {
        let whole = |row: Option<Vec<Option<i32>>>| row;
        let good = vec![whole(Some(vec![Some(1), Some(2)])), None, Some(vec![Some(3), Some(4)])];
        let bad = vec![None, whole(Some(vec![Some(1), None]))];
        let fixed = |rows: Vec<Option<Vec<Option<i32>>>>| -> ArrayRef {
            Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(rows, 2))
        };
        let varying = |rows: Vec<Option<Vec<Option<i32>>>>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(rows))
        };
        for array in [fixed(good.clone()), varying(good)] {
            let vectors = Vectors::of_array(&array, false).unwrap();
            assert_eq!((vectors.row(1), vectors.row(2)), (None, Some(&[3.0, 4.0][..])));
        }
        for array in [fixed(bad.clone()), varying(bad)] {
            let error = Vectors::of_array(&array, false).err().expect("it has a null inside");
            assert!(error.to_string().contains("a null inside"), "{error}");
        }
    }
}
