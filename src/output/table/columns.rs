//! Rows become columns: every column but `embedding` and `extra`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int32Array, ListArray, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};

use super::schema::{TableSpec, ranked_field, ranked_fields};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::outcome::{Outcome, Prediction, TileRow};
use crate::vocabulary::reason::Reason;

/// Builds the columns of the groups identity, window, outcome and prediction, in this order.
///
/// # Errors
///
/// [`crate::vocabulary::error::Kind::Bug`] if a number does not fit the schema's signed integers.
pub(super) fn columns(spec: &TableSpec, shard: u32, rows: &[TileRow]) -> Result<Vec<ArrayRef>> {
    let mut columns = identity(shard, rows)?;
    columns.extend(window(rows)?);
    columns.extend(outcome(rows));
    columns.extend(prediction(spec, rows)?);
    Ok(columns)
}

fn identity(shard: u32, rows: &[TileRow]) -> Result<Vec<ArrayRef>> {
    let ids = rows.iter().map(|row| row.tile_id.to_string());
    let versions = rows.iter().map(|row| row.source_version.as_deref());
    let shard = int32("shard", shard)?;
    Ok(vec![
        Arc::new(StringArray::from_iter_values(ids)),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.source.name()))),
        Arc::new(versions.collect::<StringArray>()),
        Arc::new(Int32Array::from_value(shard, rows.len())),
    ])
}

fn window(rows: &[TileRow]) -> Result<Vec<ArrayRef>> {
    let edge = |name: &str, edge: fn(Window) -> u32| -> Result<ArrayRef> {
        let edges = rows.iter().map(|row| row.window.map(|window| int32(name, edge(window))).transpose());
        Ok(Arc::new(edges.collect::<Result<Int32Array>>()?))
    };
    let whole_number = |name: &str, number: fn(&TileRow) -> u32| -> Result<ArrayRef> {
        let numbers = rows.iter().map(|row| int32(name, number(row)));
        Ok(Arc::new(Int32Array::from(numbers.collect::<Result<Vec<i32>>>()?)))
    };
    Ok(vec![
        whole_number("level", |row| row.level)?,
        whole_number("frame", |row| row.frame)?,
        edge("x", |window| window.x)?,
        edge("y", |window| window.y)?,
        edge("width", |window| window.width)?,
        edge("height", |window| window.height)?,
    ])
}

fn outcome(rows: &[TileRow]) -> Vec<ArrayRef> {
    let outcomes = || rows.iter().map(|row| &row.outcome);
    vec![
        Arc::new(StringArray::from_iter_values(outcomes().map(status))),
        Arc::new(outcomes().map(|outcome| reason(outcome).map(Reason::code)).collect::<StringArray>()),
        Arc::new(outcomes().map(detail).collect::<StringArray>()),
    ]
}

fn status(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ok { .. } => "ok",
        Outcome::Skipped { .. } => "skipped",
        Outcome::Rejected(_) => "rejected",
    }
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Ok { .. } => None,
        Outcome::Skipped { reason, .. } => Some(*reason),
        Outcome::Rejected(rejection) => Some(rejection.reason),
    }
}

fn detail(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Ok { detail, .. } | Outcome::Skipped { detail, .. } => detail.as_deref(),
        Outcome::Rejected(rejection) => Some(&rejection.detail),
    }
}

fn prediction(spec: &TableSpec, rows: &[TileRow]) -> Result<Vec<ArrayRef>> {
    let predictions: Vec<Option<&Prediction>> = rows.iter().map(|row| predicted(&row.outcome)).collect();
    let best = || predictions.iter().map(|prediction| prediction.map(|found| found.class_id));
    let scores = predictions.iter().map(|prediction| prediction.map(|found| found.score));
    let class_ids = best().map(|id| id.map(|id| int32("class_id", id)).transpose());
    Ok(vec![
        Arc::new(class_ids.collect::<Result<Int32Array>>()?),
        Arc::new(best().map(|id| label(spec, id?)).collect::<StringArray>()),
        Arc::new(scores.collect::<Float32Array>()),
        top_k(spec, &predictions)?,
    ])
}

fn predicted(outcome: &Outcome) -> Option<&Prediction> {
    match outcome {
        Outcome::Ok { prediction, .. } => prediction.as_ref(),
        Outcome::Skipped { .. } | Outcome::Rejected(_) => None,
    }
}

fn label(spec: &TableSpec, class_id: u32) -> Option<&str> {
    spec.labels.as_deref()?.get(class_id as usize).map(String::as_str)
}

fn top_k(spec: &TableSpec, predictions: &[Option<&Prediction>]) -> Result<ArrayRef> {
    let ranked = || predictions.iter().flatten().flat_map(|prediction| &prediction.top_k);
    let class_ids = ranked().map(|&(id, _)| int32("class_id", id)).collect::<Result<Vec<i32>>>()?;
    let entries = StructArray::new(
        ranked_fields(),
        vec![
            Arc::new(Int32Array::from(class_ids)),
            Arc::new(ranked().map(|&(id, _)| label(spec, id)).collect::<StringArray>()),
            Arc::new(Float32Array::from_iter_values(ranked().map(|&(_, score)| score))),
        ],
        None,
    );
    let lengths = predictions.iter().map(|prediction| prediction.map_or(0, |found| found.top_k.len()));
    let present = predictions.iter().map(Option::is_some).collect::<NullBuffer>();
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::new(ranked_field(), offsets, Arc::new(entries), Some(present))))
}

fn int32(what: &str, number: u32) -> Result<i32> {
    i32::try_from(number).map_err(|_| Error::bug(format!("{what} {number} does not fit the table's Int32")))
}
