//! Writes what a query answered: as a table to look at, or as CSV, JSON, `GeoJSON` or Parquet.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;

use super::geo::Outlines;
use super::geojson::Features;
use super::text_table;
use crate::output::table::GEO_KEY;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: lists are shortened, and on a terminal long texts.
    Table,
    /// Comma-separated values with a header; lists and structs as JSON.
    Csv,
    /// One array of objects; what is not a finite number is null.
    Json,
    /// A collection of features: `geometry` in WGS 84, the other columns as properties.
    #[value(name = "geojson")]
    GeoJson,
    /// A Parquet file, types as they are; with `geometry` a `GeoParquet` file.
    Parquet,
}

/// Writes an answer batch by batch; a table is held back until it is whole, to find its widths.
pub enum Writer<W: Write + Send> {
    /// See [`Format::Table`]; with the columns of the terminal, if it is one.
    Table(W, Vec<RecordBatch>, SchemaRef, Option<usize>),
    /// See [`Format::Csv`].
    Csv(Box<arrow::csv::Writer<W>>),
    /// See [`Format::Json`].
    Json(arrow::json::ArrayWriter<W>),
    /// See [`Format::GeoJson`].
    GeoJson(Features<W>),
    /// See [`Format::Parquet`].
    Parquet(Box<ArrowWriter<W>>, Outlines),
}

impl<W: Write + Send> Writer<W> {
    /// Creates a writer for answers of this schema; `width` is the number of columns of the terminal that a
    /// table should fit.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the format cannot hold such columns or nothing can be written; `Usage` for `GeoJSON`
    /// without outlines.
    pub fn new(format: Format, out: W, schema: &SchemaRef, width: Option<usize>) -> Result<Self> {
        Ok(match format {
            Format::Table => Self::Table(out, Vec::new(), schema.clone(), width),
            Format::Csv => Self::Csv(Box::new(arrow::csv::WriterBuilder::new().with_header(true).build(out))),
            Format::Json => {
                Self::Json(arrow::json::WriterBuilder::new().with_explicit_nulls(true).build(out))
            }
            Format::GeoJson => Self::GeoJson(Features::new(out, schema)?),
            Format::Parquet => Self::Parquet(
                Box::new(
                    ArrowWriter::try_new(out, schema.clone(), None).map_err(|cause| not_written(&cause))?,
                ),
                Outlines::of(schema),
            ),
        })
    }

    /// Writes the next rows.
    ///
    /// # Errors
    ///
    /// `Unavailable` if the disk is full or the reader is gone.
    pub fn write(&mut self, batch: RecordBatch) -> Result<()> {
        match self {
            Self::Table(_, batches, ..) => {
                batches.push(batch);
                Ok(())
            }
            Self::Csv(writer) => {
                flat(&batch).and_then(|batch| writer.write(&batch).map_err(|cause| not_written(&cause)))
            }
            Self::Json(writer) => writer.write(&batch).map_err(|cause| not_written(&cause)),
            Self::GeoJson(features) => features.write(&batch),
            Self::Parquet(writer, outlines) => {
                outlines.add(&batch);
                writer.write(&batch).map_err(|cause| not_written(&cause))
            }
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// As [`Self::write`].
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Table(mut out, batches, schema, width) => {
                let table =
                    text_table::draw(&batches, &schema, width).map_err(|cause| not_written(&cause))?;
                let num_rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                let rows = counted(num_rows as u64, "row");
                writeln!(out, "{table}\n{rows}").map_err(|cause| not_written(&cause))
            }
            Self::Csv(writer) => writer.into_inner().flush().map_err(|cause| not_written(&cause)),
            Self::Json(mut writer) => {
                writer.finish().map_err(|cause| not_written(&cause))?;
                writeln!(writer.into_inner()).map_err(|cause| not_written(&cause))
            }
            Self::GeoJson(features) => features.finish(),
            Self::Parquet(mut writer, outlines) => {
                if let Some(metadata) = outlines.metadata() {
                    writer.append_key_value_metadata(KeyValue::new(GEO_KEY.to_owned(), metadata));
                }
                writer.close().map(|_| ()).map_err(|cause| not_written(&cause))
            }
        }
    }
}

fn not_written(cause: &impl std::fmt::Display) -> Error {
    Error::unavailable("cannot write the answer").because(cause.to_string())
}

/// Turns columns that hold more than one value per row into JSON.
fn flat(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !column.data_type().is_nested() {
            fields.push(field.clone());
            columns.push(column.clone());
            continue;
        }
        let row = |row: usize| (!column.is_null(row)).then(|| json_text(column, row)).transpose();
        let texts = (0..column.len()).map(row).collect::<Result<StringArray>>()?;
        fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
        columns.push(Arc::new(texts) as ArrayRef);
    }
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns).map_err(|cause| not_written(&cause))
}

fn json_text(column: &ArrayRef, row: usize) -> Result<String> {
    let value = RecordBatch::try_from_iter([("value", column.slice(row, 1))]);
    let mut writer = arrow::json::LineDelimitedWriter::new(Vec::new());
    value.and_then(|value| writer.write(&value)).map_err(|cause| not_written(&cause))?;
    writer.finish().map_err(|cause| not_written(&cause))?;
    let line: serde_json::Value =
        serde_json::from_slice(&writer.into_inner()).map_err(|cause| not_written(&cause))?;
    Ok(line["value"].to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    use arrow::array::{BinaryArray, Float64Array, StructArray};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    /// Returns what the file of an answer says of its outlines.
    fn geo_of(columns: Vec<(&str, ArrayRef)>) -> Option<serde_json::Value> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut file = Vec::new();
        let mut writer = Writer::new(Format::Parquet, &mut file, &batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.finish().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap();
        let pairs = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
        let geo = pairs.into_iter().find(|pair| pair.key == "geo")?.value?;
        Some(serde_json::from_str(&geo).unwrap())
    }

    #[test]
    fn an_answer_with_outlines_is_geoparquet() {
        let outline = |bytes: &'static [u8]| -> ArrayRef {
            Arc::new(BinaryArray::from(vec![Some(bytes), None, Some(&[1, 6, 0, 0, 0, 0])]))
        };
        let polygon: &[u8] = &[1, 3, 0, 0, 0, 1, 0, 0, 0];
        let edge: ArrayRef = Arc::new(Float64Array::from(vec![1.0; 3]));
        let bbox = ["xmin", "ymin", "xmax", "ymax"]
            .map(|name| (Arc::new(Field::new(name, DataType::Float64, false)), edge.clone()));
        let bbox: ArrayRef = Arc::new(StructArray::from(bbox.to_vec()));
        let geo = geo_of(vec![("geometry", outline(polygon)), ("bbox", bbox)]).unwrap();
        let column = &geo["columns"]["geometry"];
        assert_eq!((&geo["version"], &geo["primary_column"]), (&"1.1.0".into(), &"geometry".into()));
        assert_eq!(column["geometry_types"], serde_json::json!(["MultiPolygon", "Polygon"]));
        assert_eq!(column["covering"]["bbox"]["xmin"], serde_json::json!(["bbox", "xmin"]));
        let alone = geo_of(vec![("geometry", outline(polygon))]).unwrap();
        assert!(alone["columns"]["geometry"].get("covering").is_none(), "{alone}");
        // Not ours, or none.
        assert_eq!(geo_of(vec![("geometry", outline(b"no outline"))]), None);
        assert_eq!(geo_of(vec![("geometry", edge.clone())]), None);
        assert_eq!(geo_of(vec![("outline", outline(polygon))]), None);
    }
}
