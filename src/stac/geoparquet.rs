//! stac-geoparquet: a Parquet table with an item a row.
//!
//! Columns are the item's own fields, and beside them those of its `properties`; `assets` is a struct with
//! a field a key. A row is turned back into the item's JSON, so that it is read by the same rules.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::document::read_item;
use super::read::Found;
use super::wire::Place;
use crate::error::{Error, Result};
use crate::storage::ObjectUri;

const BATCH_ROWS: usize = 512;

/// Fields of an item that are no properties.
const OWN: [&str; 8] =
    ["type", "stac_version", "stac_extensions", "id", "bbox", "links", "assets", "collection"];

/// Its times.
const TIMES: [&str; 3] = ["datetime", "start_datetime", "end_datetime"];

/// Reads a table and hands on its items, some at a time, until `visit` returns `false`.
///
/// Footprints are left out: what an item covers is its `bbox` here.
///
/// # Errors
///
/// `Config` if it is no Parquet file, or lacks the columns of a stac-geoparquet table.
pub(super) fn read(path: &Path, uri: &ObjectUri, visit: &mut dyn FnMut(Vec<Found>) -> bool) -> Result<()> {
    let unreadable = |cause: ArrowError| {
        Error::config(format!("cannot read the table {uri}"))
            .because(cause)
            .hint("copy it again: it may be damaged")
    };
    let file = File::open(path)
        .map_err(|cause| Error::unavailable(format!("cannot read the copy of {uri}")).because(cause))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|cause| unreadable(cause.into()))?;
    check(builder.schema(), uri)?;
    let wanted = wanted_columns(builder.schema());
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    for batch in reader.map_err(|cause| unreadable(cause.into()))? {
        let items = items_of(&batch.map_err(unreadable)?, uri).map_err(unreadable)?;
        if !visit(items) {
            break;
        }
    }
    Ok(())
}

fn check(schema: &Schema, uri: &ObjectUri) -> Result<()> {
    for column in ["id", "assets"] {
        if schema.column_with_name(column).is_none() {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(Error::config(format!(
                "{uri} is no stac-geoparquet table: it has no column `{column}`"
            ))
            .because(format!("its columns are: {}", names.join(", ")))
            .hint("a table of images with a column `uri` is a manifest: give it as input.manifest"));
        }
    }
    Ok(())
}

/// All but binary columns, which hold geometries, and times that no item is judged by.
fn wanted_columns(schema: &Schema) -> Vec<usize> {
    let is_binary = |data_type: &DataType| {
        matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
    };
    let fields = schema.fields().iter().enumerate();
    fields
        .filter(|(_, field)| {
            let other_time = matches!(field.data_type(), DataType::Timestamp(..))
                && !TIMES.contains(&field.name().as_str());
            !is_binary(field.data_type()) && !other_time
        })
        .map(|(index, _)| index)
        .collect()
}

/// Gives times an offset instead of the name of a zone, which would need a list of all zones to be written;
/// they count from 1970 in UTC whatever the name.
fn with_offsets(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("+00:00")));
    let in_utc = |column: &ArrayRef| match column.data_type() {
        DataType::Timestamp(..) => cast(column, &utc),
        _ => Ok(Arc::clone(column)),
    };
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    let columns = batch.columns().iter().map(in_utc).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_from_iter_with_nullable(names.zip(columns).map(|(name, column)| (name, column, true)))
}

fn items_of(batch: &RecordBatch, uri: &ObjectUri) -> Result<Vec<Found>, ArrowError> {
    let mut lines = LineDelimitedWriter::new(Vec::new());
    lines.write(&with_offsets(batch)?)?;
    lines.finish()?;
    let place = Place { document: uri, is_own: false };
    let lines = lines.into_inner();
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    rows.map(|row| Ok(read_item(&item_json(row)?, &place))).collect()
}

/// Sorts the fields of a row into those of the item and those of its properties.
fn item_json(row: &[u8]) -> Result<String, ArrowError> {
    let row: Map<String, Value> =
        serde_json::from_slice(row).map_err(|cause| ArrowError::JsonError(cause.to_string()))?;
    let (mut item, mut properties) = (Map::new(), Map::new());
    item.insert("type".to_owned(), "Feature".into());
    for (key, value) in row {
        match key.as_str() {
            "bbox" => {
                item.insert(key, bbox_of(value));
            }
            own if OWN.contains(&own) => {
                item.insert(key, value);
            }
            _ => {
                properties.insert(key, value);
            }
        }
    }
    item.insert("properties".to_owned(), properties.into());
    Ok(Value::from(item).to_string())
}

/// A box is a list, or a struct of corners.
fn bbox_of(value: Value) -> Value {
    let Value::Object(corners) = value else { return value };
    let corner = |key: &str| corners.get(key).cloned().unwrap_or(Value::Null);
    ["xmin", "ymin", "xmax", "ymax"].map(corner).into_iter().collect()
}
