//! `class_id`, `label`, `score`, `top_k`: what the classifier says; null without one.

use std::sync::Arc;

use arrow::array::{AsArray, Float32Array, Int32Array, ListArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Float32Type, Int32Type};

use super::{Column, ColumnGroup, int32};
use crate::output::table::file::ShardRows;
use crate::output::table::stored_columns::{BadColumn, StoredColumns, number_at};
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::{Outcome, Prediction, TileRow};

#[derive(Debug)]
pub(super) struct PredictionGroup {
    pub(super) classifier: bool,
    /// In order of class id, where they are known.
    pub(super) labels: Option<Arc<[String]>>,
    pub(super) top_k: usize,
}

impl ColumnGroup for PredictionGroup {
    fn fields(&self) -> Vec<Field> {
        vec![
            Field::new("class_id", DataType::Int32, true),
            Field::new("label", DataType::Utf8, true),
            Field::new("score", DataType::Float32, true),
            Field::new("top_k", DataType::List(ranked_field()), true),
        ]
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        self.check(shard)?;
        let predictions: Vec<Option<&Prediction>> = shard.rows.iter().map(predicted).collect();
        let best = || predictions.iter().map(|prediction| prediction.map(|found| found.class_id));
        let scores = predictions.iter().map(|prediction| prediction.map(|found| found.score));
        let class_ids = best().map(|id| id.map(|id| int32("class_id", id)).transpose());
        Ok(vec![
            Column::of(class_ids.collect::<Result<Int32Array>>()?),
            Column::of(best().map(|id| self.label(id?)).collect::<StringArray>()),
            Column::of(scores.collect::<Float32Array>()),
            Column::of(self.top_k(&predictions)?),
        ])
    }

    fn read_back(&self, stored: &StoredColumns<'_>, at: usize, row: &mut TileRow) -> Result<(), BadColumn> {
        let Outcome::Ok { prediction, .. } = &mut row.outcome else { return Ok(()) };
        if self.classifier {
            *prediction = Some(read_prediction(*stored, at)?);
        }
        Ok(())
    }
}

impl PredictionGroup {
    fn check(&self, shard: &ShardRows<'_>) -> Result<()> {
        for row in shard.rows {
            let Outcome::Ok { prediction, .. } = &row.outcome else { continue };
            if prediction.is_some() != self.classifier {
                let what = "a row has a prediction and the model no classifier, or the reverse";
                return Err(shard.wrong(what));
            }
            if prediction.as_ref().is_some_and(|found| found.top_k.len() > self.top_k) {
                return Err(shard.wrong(&format!("a row has more than {} classes in top_k", self.top_k)));
            }
        }
        Ok(())
    }

    fn label(&self, class_id: u32) -> Option<&str> {
        self.labels.as_deref()?.get(class_id as usize).map(String::as_str)
    }

    fn top_k(&self, predictions: &[Option<&Prediction>]) -> Result<ListArray> {
        let ranked = || predictions.iter().flatten().flat_map(|prediction| &prediction.top_k);
        let class_ids = ranked().map(|&(id, _)| int32("class_id", id)).collect::<Result<Vec<i32>>>()?;
        let entries = StructArray::new(
            ranked_fields(),
            vec![
                Arc::new(Int32Array::from(class_ids)),
                Arc::new(ranked().map(|&(id, _)| self.label(id)).collect::<StringArray>()),
                Arc::new(Float32Array::from_iter_values(ranked().map(|&(_, score)| score))),
            ],
            None,
        );
        let lengths = predictions.iter().map(|prediction| prediction.map_or(0, |found| found.top_k.len()));
        let present = predictions.iter().map(Option::is_some).collect::<NullBuffer>();
        let offsets = OffsetBuffer::from_lengths(lengths);
        Ok(ListArray::new(ranked_field(), offsets, Arc::new(entries), Some(present)))
    }
}

/// Returns the item of `top_k`. Lists call their item `element`, as Parquet prescribes
/// (`LogicalTypes.md`, Lists).
fn ranked_field() -> FieldRef {
    Arc::new(Field::new("element", DataType::Struct(ranked_fields()), false))
}

/// Returns the members of one entry of `top_k`.
fn ranked_fields() -> Fields {
    Fields::from(vec![
        Field::new("class_id", DataType::Int32, false),
        Field::new("label", DataType::Utf8, true),
        Field::new("score", DataType::Float32, false),
    ])
}

fn predicted(row: &TileRow) -> Option<&Prediction> {
    match &row.outcome {
        Outcome::Ok { prediction, .. } => prediction.as_ref(),
        Outcome::Skipped { .. } | Outcome::Rejected(_) => None,
    }
}

fn read_prediction(stored: StoredColumns<'_>, at: usize) -> Result<Prediction, BadColumn> {
    let best = stored.lists("top_k")?.value(at);
    let missing = |name: &str| BadColumn::Missing(name.to_owned());
    let best = best.as_struct_opt().ok_or_else(|| missing("top_k"))?;
    let class_ids = best.column_by_name("class_id").and_then(|ids| ids.as_primitive_opt::<Int32Type>());
    let scores = best.column_by_name("score").and_then(|scores| scores.as_primitive_opt::<Float32Type>());
    let (class_ids, scores) = class_ids.zip(scores).ok_or_else(|| missing("top_k"))?;
    let ranked = class_ids.values().iter().map(|id| *id as u32).zip(scores.values().iter().copied());
    let class_id = number_at(stored.numbers::<Int32Type>("class_id")?, at);
    Ok(Prediction {
        class_id: class_id.ok_or_else(|| missing("class_id"))? as u32,
        score: stored.numbers::<Float32Type>("score")?.value(at),
        top_k: ranked.collect(),
    })
}
