//! The columns of the group geo, read back.

use arrow::array::{Array, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, TimestampMicrosecondType};

use crate::vocabulary::outcome::GeoRow;

/// The columns of the group, in the order of the table.
pub(super) const COLUMNS: [&str; 10] = [
    "geometry",
    "bbox",
    "centre_lon",
    "centre_lat",
    "epsg",
    "datetime",
    "cell",
    "valid_fraction",
    "gsd",
    "cloud_fraction",
];

/// Reads one row; `None` if the table has no such columns.
///
/// # Errors
///
/// Which column is of another type.
pub(super) fn read(rows: &RecordBatch, row: usize) -> Result<Option<GeoRow>, String> {
    if rows.column_by_name("geometry").is_none() {
        return Ok(None);
    }
    let centre =
        [number::<Float64Type>(rows, "centre_lon", row)?, number::<Float64Type>(rows, "centre_lat", row)?];
    Ok(Some(GeoRow {
        geometry: column(rows, "geometry", |array| array.as_binary_opt::<i32>().cloned())?
            .filter_valid(row, |array| array.value(row).to_vec()),
        bbox: bbox(rows, row)?,
        centre: centre[0].zip(centre[1]).map(|(longitude, latitude)| [longitude, latitude]),
        epsg: number::<Int32Type>(rows, "epsg", row)?.map(|code| code as u32),
        datetime: number::<TimestampMicrosecondType>(rows, "datetime", row)?,
        cell: column(rows, "cell", |array| array.as_string_opt::<i32>().cloned())?
            .filter_valid(row, |array| array.value(row).to_owned()),
        valid_fraction: number::<Float32Type>(rows, "valid_fraction", row)?,
        gsd: number::<Float64Type>(rows, "gsd", row)?,
        cloud_fraction: number::<Float32Type>(rows, "cloud_fraction", row)?,
    }))
}

fn bbox(rows: &RecordBatch, row: usize) -> Result<Option<[f64; 4]>, String> {
    let boxes = column(rows, "bbox", |array| array.as_struct_opt().cloned())?;
    let edges = || ["xmin", "ymin", "xmax", "ymax"].map(|edge| boxes.column_by_name(edge));
    if boxes.is_null(row) {
        return Ok(None);
    }
    let mut found = [0.0; 4];
    for (place, edge) in found.iter_mut().zip(edges()) {
        let edge =
            edge.and_then(|edge| edge.as_primitive_opt::<Float64Type>()).ok_or_else(|| wrong("bbox"))?;
        *place = edge.value(row);
    }
    Ok(Some(found))
}

fn number<T: ArrowPrimitiveType>(
    rows: &RecordBatch,
    name: &str,
    row: usize,
) -> Result<Option<T::Native>, String> {
    let array = column(rows, name, |array| array.as_primitive_opt::<T>().cloned())?;
    Ok(array.is_valid(row).then(|| array.value(row)))
}

fn column<A>(
    rows: &RecordBatch,
    name: &str,
    typed: impl FnOnce(&dyn Array) -> Option<A>,
) -> Result<A, String> {
    rows.column_by_name(name).and_then(|array| typed(array.as_ref())).ok_or_else(|| wrong(name))
}

fn wrong(name: &str) -> String {
    format!("column `{name}` is missing or of another type")
}

/// The value of a row, if there is one.
trait FilterValid: Array + Sized {
    fn filter_valid<T>(&self, row: usize, value: impl FnOnce(&Self) -> T) -> Option<T> {
        self.is_valid(row).then(|| value(self))
    }
}

impl<A: Array> FilterValid for A {}
