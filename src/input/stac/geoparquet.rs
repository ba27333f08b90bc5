//! stac-geoparquet: a Parquet table with one item per row.
//!
//! Columns are the item's own fields, and beside them those of its `properties`; `assets` is a struct with
//! a field a key. A row is turned back into the item's JSON, so that it is read by the same rules.
//!
//! pandas, which many tables have passed through, writes NaN where there is no number: it is read as such.

use std::fmt::Debug;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray as _, PrimitiveArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, LineDelimited, NullableEncoder, WriterBuilder,
};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::document::read_item;
use super::read::Found;
use super::wire::Place;
use crate::input::storage::{ObjectUri, shown_list};
use crate::vocabulary::error::{Error, Result};

const BATCH_ROWS: usize = 512;

/// Fields of an item that are not properties.
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
/// `Config` if it is not a Parquet file, or lacks the columns of a stac-geoparquet table.
pub(super) fn read(path: &Path, uri: &ObjectUri, visit: &mut dyn FnMut(Vec<Found>) -> bool) -> Result<()> {
    let unreadable = |cause: ArrowError| {
        Error::config(format!("cannot read the table {uri}"))
            .because(uri.naming().cause(cause))
            .hint("copy it again: it may be damaged")
    };
    let file = File::open(path)
        .map_err(|cause| Error::unavailable(format!("cannot read the copy of {uri}")).because(cause))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|cause| unreadable(cause.into()))?;
    check(builder.schema(), uri)?;
    let wanted = wanted_columns(builder.schema());
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build();
    let mut first = 0;
    for batch in reader.map_err(|cause| unreadable(cause.into()))? {
        let batch = batch.map_err(unreadable)?;
        let items = items_of(&batch, first, uri).map_err(unreadable)?;
        first += batch.num_rows();
        if !visit(items) {
            break;
        }
    }
    Ok(())
}

fn check(schema: &Schema, uri: &ObjectUri) -> Result<()> {
    for column in ["id", "assets"] {
        if schema.column_with_name(column).is_none() {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let names = shown_list(names, uri.naming());
            return Err(Error::config(format!(
                "{uri} is not a stac-geoparquet table: it has no column `{column}`"
            ))
            .because(format!("its columns are: {names}"))
            .hint("a table of images with a column `uri` is a manifest: set input.manifest to it"));
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

/// - `first`: number of the batch's first row, from 0
fn items_of(batch: &RecordBatch, first: usize, uri: &ObjectUri) -> Result<Vec<Found>, ArrowError> {
    let writer = WriterBuilder::new().with_encoder_factory(Arc::new(Numbers));
    let mut lines = writer.build::<_, LineDelimited>(Vec::new());
    lines.write(&with_offsets(batch)?)?;
    lines.finish()?;
    let lines = lines.into_inner();
    let rows = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let item = |(number, row): (usize, &[u8])| {
        let place = Place { document: uri, within: Some(format!("/rows/{number}")) };
        Ok(read_item(&item_json(row)?, &place))
    };
    (first..).zip(rows).map(item).collect()
}

/// Writes numbers: NaN as nothing, an infinity as a text, so that whoever needs the number refuses it. By
/// default both would be nothing.
#[derive(Debug)]
struct Numbers;

struct NumberEncoder<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl EncoderFactory for Numbers {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
            let present = numbers.iter().map(|number| number.is_some_and(|number| !number.is_nan()));
            return Ok(Some(NullableEncoder::new(Box::new(NumberEncoder(numbers)), Some(present.collect()))));
        }
        let Some(numbers) = array.as_primitive_opt::<Float32Type>() else { return Ok(None) };
        let present = numbers.iter().map(|number| number.is_some_and(|number| !number.is_nan()));
        Ok(Some(NullableEncoder::new(Box::new(NumberEncoder(numbers)), Some(present.collect()))))
    }
}

impl<T: ArrowPrimitiveType<Native: Debug>> Encoder for NumberEncoder<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let text = format!("{:?}", self.0.value(row));
        let is_finite = text.ends_with(|last: char| last.is_ascii_digit());
        let text = if is_finite { text } else { format!("\"{text}\"") };
        out.extend_from_slice(text.as_bytes());
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float32Array, Float64Array, StringArray, StructArray};
    use arrow::datatypes::Field;

    use crate::vocabulary::identity::Naming;
    use crate::vocabulary::keys::Keys;

    #[test]
    fn columns_of_another_table_are_shown_as_names_are() {
        let schema = Schema::new(vec![Field::new("Doe_note", DataType::Utf8, true)]);
        let message = |naming: &Naming| {
            let uri = ObjectUri::parse_named("s3://b/items.parquet", naming).unwrap();
            check(&schema, &uri).unwrap_err().render()
        };
        assert!(message(&Naming::default()).contains("its columns are: Doe_note"));
        let secret = message(&Keys::new(b"0123456789abcdef").unwrap().naming());
        assert!(secret.contains("has no column `id`") && !secret.contains("Doe"), "{secret}");
    }

    /// pandas writes NaN for what is not there; an infinity nobody writes for that.
    #[test]
    fn a_nan_is_nothing_and_an_infinity_stays_one() {
        let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
        let text = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value; 3])) };
        let scales: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, 1e-5]));
        let offsets: ArrayRef = Arc::new(Float32Array::from(vec![0.1, f32::NEG_INFINITY, f32::NAN]));
        let red = StructArray::from(vec![
            (field("href", DataType::Utf8), text("a.tif")),
            (field("raster:scale", DataType::Float64), scales),
            (field("raster:offset", DataType::Float32), offsets),
        ]);
        let assets =
            StructArray::from(vec![(field("red", red.data_type().clone()), Arc::new(red) as ArrayRef)]);
        let batch = RecordBatch::try_from_iter([("id", text("i")), ("assets", Arc::new(assets) as ArrayRef)])
            .unwrap();
        let uri = ObjectUri::parse("s3://b/items.parquet").unwrap();
        let items = items_of(&batch, 0, &uri).unwrap();
        let of = |row: usize| {
            let band = &items[row].as_ref().unwrap().assets[0].bands[0];
            (band.scale, band.offset)
        };
        assert_eq!(of(0), (None, Some(0.1)));
        assert_eq!(of(1), (Some(f64::INFINITY), Some(f64::NEG_INFINITY)));
        assert_eq!(of(2), (Some(1e-5), None));
    }

    #[test]
    fn rows_without_an_id_are_told_apart() {
        let assets = StructArray::from(vec![(
            Arc::new(Field::new("red", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef,
        )]);
        let ids: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>, None]));
        let batch =
            RecordBatch::try_from_iter([("id", ids), ("assets", Arc::new(assets) as ArrayRef)]).unwrap();
        let uri = ObjectUri::parse("s3://b/items.parquet").unwrap();
        let items = items_of(&batch, 512, &uri).unwrap();
        let uris: Vec<&str> = items.iter().map(|item| item.as_ref().unwrap_err().uri.for_reading()).collect();
        assert_eq!(uris, ["s3://b/items.parquet#/rows/512", "s3://b/items.parquet#/rows/513"]);
    }
}
