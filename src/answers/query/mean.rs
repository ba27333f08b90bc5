//! `mean_embedding(embedding)`

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, UInt64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, Signature, Volatility};

use super::vectors::Vectors;

/// `mean_embedding(embedding)`: the mean vector of a group, such as a slide, a study or a cell.
///
/// A fixed-size list of `Float32`, summed in double precision; nulls are left out, and the mean of
/// nothing is null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct MeanEmbedding(Signature);

impl Default for MeanEmbedding {
    fn default() -> Self {
        Self(Signature::any(1, Volatility::Immutable))
    }
}

fn element() -> FieldRef {
    Arc::new(Field::new("element", DataType::Float32, false))
}

impl AggregateUDFImpl for MeanEmbedding {
    fn name(&self) -> &'static str {
        "mean_embedding"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::FixedSizeList(numbers, length)] if numbers.data_type().is_numeric() => {
                Ok(DataType::FixedSizeList(element(), *length))
            }
            _ => Err(DataFusionError::Plan("mean_embedding takes an embedding column".to_owned())),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(DataFusionError::Plan("mean_embedding takes no DISTINCT".to_owned()));
        }
        let DataType::FixedSizeList(_, length) = args.return_type() else {
            return Err(DataFusionError::Internal("mean_embedding of another type".to_owned()));
        };
        Ok(Box::new(Mean { count: 0, sums: vec![0.0; *length as usize] }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let sums = Field::new("item", DataType::Float64, true);
        Ok(vec![
            Arc::new(Field::new(format!("{}[count]", args.name), DataType::UInt64, false)),
            Arc::new(Field::new(format!("{}[sums]", args.name), DataType::List(Arc::new(sums)), false)),
        ])
    }
}

#[derive(Debug)]
struct Mean {
    count: u64,
    sums: Vec<f64>,
}

impl Accumulator for Mean {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let vectors = Vectors::of_array(&columns[0], false)?;
        for vector in (0..columns[0].len()).filter_map(|row| vectors.row(row)) {
            self.count += 1;
            for (sum, &value) in self.sums.iter_mut().zip(vector) {
                *sum += f64::from(value);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (counts, sums) = (states[0].as_primitive::<UInt64Type>(), states[1].as_list::<i32>());
        for row in 0..counts.len() {
            self.count += counts.value(row);
            let others = sums.value(row);
            for (sum, other) in self.sums.iter_mut().zip(others.as_primitive::<Float64Type>().values()) {
                *sum += other;
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sums: Vec<ScalarValue> = self.sums.iter().map(|&sum| ScalarValue::from(sum)).collect();
        let sums = ScalarValue::new_list_nullable(&sums, &DataType::Float64);
        Ok(vec![ScalarValue::from(self.count), ScalarValue::List(sums)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let length = self.sums.len() as i32;
        if self.count == 0 {
            return ScalarValue::try_from(&DataType::FixedSizeList(element(), length));
        }
        let mean = self.sums.iter().map(|sum| (sum / self.count as f64) as f32);
        let values: ArrayRef = Arc::new(Float32Array::from_iter_values(mean));
        let list = arrow::array::FixedSizeListArray::try_new(element(), length, values, None)?;
        Ok(ScalarValue::FixedSizeList(Arc::new(list)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sums.capacity() * size_of::<f64>()
    }
}
