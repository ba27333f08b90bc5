//! `geometry`, `bbox`, `centre_lon`, …: where the tile lies on the Earth, and how much of it is there; for windows of
//! scenes. With it a file is `GeoParquet`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float32Array, Float64Array, Int32Array, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Field, Fields, Float32Type, Float64Type, Int32Type, TimeUnit, TimestampMicrosecondType,
};
use serde_json::json;

use super::{Column, ColumnGroup};
use crate::geo;
use crate::output::table::file::ShardRows;
use crate::output::table::stored_columns::{BadColumn, StoredColumns, number_at, text_at};
use crate::vocabulary::error::Result;
use crate::vocabulary::outcome::{GeoRow, TileRow};

/// The key of the file metadata that makes a Parquet file a `GeoParquet` file.
pub const GEO_KEY: &str = "geo";

#[derive(Debug)]
pub(super) struct GeoGroup;

impl ColumnGroup for GeoGroup {
    fn fields(&self) -> Vec<Field> {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        vec![
            Field::new("geometry", DataType::Binary, true),
            Field::new("bbox", DataType::Struct(bbox_fields()), true),
            Field::new("centre_lon", DataType::Float64, true),
            Field::new("centre_lat", DataType::Float64, true),
            Field::new("epsg", DataType::Int32, true),
            Field::new("datetime", timestamp, true),
            Field::new("cell", DataType::Utf8, true),
            Field::new("valid_fraction", DataType::Float32, true),
            Field::new("gsd", DataType::Float64, true),
            Field::new("cloud_fraction", DataType::Float32, true),
        ]
    }

    fn columns<'a>(&self, shard: &ShardRows<'a>) -> Result<Vec<Column<'a>>> {
        Ok(columns(shard.rows))
    }

    fn metadata(&self, shard: &ShardRows<'_>) -> Vec<(String, String)> {
        vec![(GEO_KEY.to_owned(), metadata(shard.rows))]
    }

    fn read_back(&self, stored: &StoredColumns<'_>, at: usize, row: &mut TileRow) -> Result<(), BadColumn> {
        let (longitude, latitude) = (float(*stored, "centre_lon", at)?, float(*stored, "centre_lat", at)?);
        let geometry = stored.bytes("geometry")?;
        row.geo = Some(Box::new(GeoRow {
            geometry: geometry.is_valid(at).then(|| geometry.value(at).to_vec()),
            bbox: read_bbox(*stored, at)?,
            centre: longitude.zip(latitude).map(|(longitude, latitude)| [longitude, latitude]),
            epsg: number_at(stored.numbers::<Int32Type>("epsg")?, at).map(|code| code as u32),
            datetime: number_at(stored.numbers::<TimestampMicrosecondType>("datetime")?, at),
            cell: text_at(stored.text("cell")?, at).map(str::to_owned),
            valid_fraction: number_at(stored.numbers::<Float32Type>("valid_fraction")?, at),
            gsd: float(*stored, "gsd", at)?,
            cloud_fraction: number_at(stored.numbers::<Float32Type>("cloud_fraction")?, at),
        }));
        Ok(())
    }
}

fn float(stored: StoredColumns<'_>, name: &str, at: usize) -> Result<Option<f64>, BadColumn> {
    Ok(number_at(stored.numbers::<Float64Type>(name)?, at))
}

fn read_bbox(stored: StoredColumns<'_>, at: usize) -> Result<Option<[f64; 4]>, BadColumn> {
    let boxes = stored.structs("bbox")?;
    if boxes.is_null(at) {
        return Ok(None);
    }
    let mut found = [0.0; 4];
    for (place, edge) in found.iter_mut().zip(EDGES) {
        let edge = boxes.column_by_name(edge).and_then(|edge| edge.as_primitive_opt::<Float64Type>());
        *place = edge.ok_or_else(|| BadColumn::Missing("bbox".to_owned()))?.value(at);
    }
    Ok(Some(found))
}

const EDGES: [&str; 4] = ["xmin", "ymin", "xmax", "ymax"];

fn bbox_fields() -> Fields {
    EDGES.map(|name| Field::new(name, DataType::Float64, false)).to_vec().into()
}

fn columns<'a>(rows: &[TileRow]) -> Vec<Column<'a>> {
    let geo = || rows.iter().map(|row| row.geo.as_deref());
    let centre = |axis: usize| {
        Column::of(geo().map(|geo| geo?.centre.map(|centre| centre[axis])).collect::<Float64Array>())
    };
    let fraction = |of: fn(&GeoRow) -> Option<f32>| {
        Column::of(geo().map(|geo| geo.and_then(of)).collect::<Float32Array>())
    };
    let datetime = geo().map(|geo| geo?.datetime).collect::<TimestampMicrosecondArray>();
    vec![
        Column::of(geo().map(|geo| geo?.geometry.as_deref()).collect::<BinaryArray>()),
        Column::of(bbox(rows)),
        centre(0),
        centre(1),
        Column::of(geo().map(|geo| geo?.epsg.map(|code| code as i32)).collect::<Int32Array>()),
        Column::of(datetime.with_timezone("UTC")),
        Column::of(geo().map(|geo| geo?.cell.as_deref()).collect::<StringArray>()),
        fraction(|geo| geo.valid_fraction),
        Column::of(geo().map(|geo| geo?.gsd).collect::<Float64Array>()),
        fraction(|geo| geo.cloud_fraction),
    ]
}

fn bbox(rows: &[TileRow]) -> StructArray {
    let boxes: Vec<Option<[f64; 4]>> = rows.iter().map(|row| row.geo.as_ref()?.bbox).collect();
    let edge = |edge: usize| -> ArrayRef {
        let edges = boxes.iter().map(|bbox| bbox.map_or(0.0, |bbox| bbox[edge]));
        Arc::new(Float64Array::from_iter_values(edges))
    };
    let present = boxes.iter().map(Option::is_some).collect::<NullBuffer>();
    StructArray::new(bbox_fields(), vec![edge(0), edge(1), edge(2), edge(3)], Some(present))
}

/// Returns the value of [`GEO_KEY`].
///
/// Edges are straight lines in longitude and latitude, rings counter-clockwise; the coordinate reference
/// system is OGC:CRS84, the default.
///
/// # Reference
///
/// `GeoParquet` 1.1.0, "File metadata".
fn metadata(rows: &[TileRow]) -> String {
    let geo = || rows.iter().filter_map(|row| row.geo.as_deref());
    let mut types: Vec<&str> = geo().filter_map(|geo| geometry_type(geo.geometry.as_deref()?)).collect();
    types.sort_unstable();
    types.dedup();
    describe(&types, true, around(geo()))
}

/// Describes a file with our column `geometry`.
///
/// - `has_boxes`: whether our column `bbox` is there, too
/// - `around`: a box around all rows, if it is known
#[must_use]
pub fn describe(types: &[&str], has_boxes: bool, around: Option<[f64; 4]>) -> String {
    let covering = |edge: &str| json!(["bbox", edge]);
    let mut column = json!({
        "encoding": "WKB",
        "geometry_types": types,
        "orientation": "counterclockwise",
        "edges": "planar",
    });
    if has_boxes {
        column["covering"] = json!({"bbox": {
            "xmin": covering("xmin"), "ymin": covering("ymin"), "xmax": covering("xmax"), "ymax": covering("ymax"),
        }});
    }
    if let Some(around) = around {
        column["bbox"] = json!(around);
    }
    json!({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}).to_string()
}

/// Returns a box around all rows. West is greater than east where a row crosses the antimeridian and longitudes
/// are left out elsewhere.
fn around<'a>(rows: impl Iterator<Item = &'a GeoRow>) -> Option<[f64; 4]> {
    let mut boxes = Vec::new();
    let mut crosses = false;
    for row in rows {
        let Some(bbox) = row.bbox else { continue };
        match row.geometry.as_deref().filter(|wkb| geometry_type(wkb) == Some("MultiPolygon")) {
            Some(wkb) => {
                crosses = true;
                boxes.extend(geo::parts(wkb));
            }
            None => boxes.push(bbox),
        }
    }
    if crosses { geo::around_across_antimeridian(&boxes) } else { geo::around(&boxes) }
}

/// Tells what kind of geometry well-known binary holds, of those that we write.
#[must_use]
pub fn geometry_type(wkb: &[u8]) -> Option<&'static str> {
    match wkb.get(..5)? {
        [1, 3, 0, 0, 0] => Some("Polygon"),
        [1, 6, 0, 0, 0] => Some("MultiPolygon"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::{Crs, GeoTransform, Georeference};
    use crate::vocabulary::geometry::{Size, Window};

    fn row(west: f64) -> GeoRow {
        let place = Georeference::new(
            GeoTransform([west, 0.1, 0.0, -17.0, 0.0, -0.1]),
            Crs::from_epsg(4326).unwrap(),
        );
        let size = Size::new(10, 10);
        let footprint = place.footprint(size, size, Window::whole(size)).unwrap();
        GeoRow { geometry: Some(footprint.wkb()), bbox: Some(footprint.bbox()), ..GeoRow::default() }
    }

    fn near(found: Option<[f64; 4]>, expected: [f64; 4]) -> bool {
        found.unwrap().iter().zip(expected).all(|(one, other)| (one - other).abs() < 1e-9)
    }

    #[test]
    fn a_box_across_the_antimeridian_goes_from_west_to_east() {
        let (fiji, beside, europe) = (row(179.5), row(177.0), row(9.0));
        assert!(near(around([&beside, &europe].into_iter()), [9.0, -18.0, 178.0, -17.0]));
        assert!(near(around([&fiji, &beside].into_iter()), [177.0, -18.0, -179.5, -17.0]));
        assert!(near(around([&fiji, &europe].into_iter()), [9.0, -18.0, -179.5, -17.0]));
        assert_eq!(around(std::iter::empty()), None);
    }
}
