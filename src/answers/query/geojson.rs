//! An answer as `GeoJSON`: one feature per row, the column `geometry` its place, the other columns its properties.
//!
//! # Reference
//!
//! RFC 7946: WGS 84, longitude before latitude, outer rings counter-clockwise. Well-known binary by OGC 06-103r4,
//! section 8.2, with the third dimension of either spelling; measures are left out.

use std::io::Write;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use serde_json::{Value, json};

use crate::vocabulary::error::{Error, Result};

const GEOMETRY: &str = "geometry";
/// Geometries may hold geometries; ours never nest more than once.
const MAX_NESTING: u32 = 8;

/// Writes features batch by batch.
pub struct Features<W: Write> {
    out: W,
    num_written: u64,
    /// Number of the column with outlines.
    geometry: usize,
}

impl<W: Write> Features<W> {
    /// Begins a collection.
    ///
    /// # Errors
    ///
    /// `Usage` if there is no column with outlines; `Unavailable` if nothing can be written.
    pub(super) fn new(mut out: W, schema: &Schema) -> Result<Self> {
        let is_binary =
            |kind: &DataType| matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
        let found = schema.fields().iter().position(|it| it.name() == GEOMETRY && is_binary(it.data_type()));
        let Some(geometry) = found else {
            return Err(Error::usage("the answer has no column `geometry`, which GeoJSON needs").hint(
                "select the column `geometry`, which tables of scenes have, or choose another format",
            ));
        };
        out.write_all(b"{\"type\":\"FeatureCollection\",\"features\":[").map_err(not_written)?;
        Ok(Self { out, num_written: 0, geometry })
    }

    /// Writes the next rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let outlines = outlines(batch.column(self.geometry))?;
        let others: Vec<usize> = (0..batch.num_columns()).filter(|column| *column != self.geometry).collect();
        let properties = properties(batch, &others)?;
        for (outline, properties) in outlines.iter().zip(&properties) {
            let comma = if self.num_written == 0 { "\n" } else { ",\n" };
            let feature =
                format!("{comma}{{\"type\":\"Feature\",\"geometry\":{outline},\"properties\":{properties}}}");
            self.out.write_all(feature.as_bytes()).map_err(not_written)?;
            self.num_written += 1;
        }
        Ok(())
    }

    /// Ends the collection.
    pub(super) fn finish(mut self) -> Result<()> {
        self.out.write_all(b"\n]}\n").map_err(not_written)
    }
}

fn not_written(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable("cannot write the answer").because(cause)
}

/// Returns the other columns of each row as an object.
fn properties(batch: &RecordBatch, columns: &[usize]) -> Result<Vec<String>> {
    if columns.is_empty() {
        return Ok(vec!["{}".to_owned(); batch.num_rows()]);
    }
    let others = batch.project(columns).map_err(not_written)?;
    let lines = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    let mut lines = lines.build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    lines.write(&others).and_then(|()| lines.finish()).map_err(not_written)?;
    let text = String::from_utf8(lines.into_inner()).map_err(not_written)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Returns the geometry of each row; null where it has none.
fn outlines(column: &ArrayRef) -> Result<Vec<Value>> {
    let column = arrow::compute::cast(column, &DataType::Binary).map_err(not_written)?;
    let of = |wkb: Option<&[u8]>| match wkb {
        Some(wkb) => geometry(wkb).ok_or_else(|| {
            Error::usage("a value of the column `geometry` is not well-known binary (WKB)")
                .hint("GeoJSON needs WKB in WGS 84, as in the table's column `geometry`")
        }),
        None => Ok(Value::Null),
    };
    column.as_binary::<i32>().iter().map(of).collect()
}

/// Reads well-known binary; `None` if it is damaged or of a kind that `GeoJSON` lacks.
fn geometry(wkb: &[u8]) -> Option<Value> {
    let mut reader = Reader { rest: wkb, is_big: false };
    let geometry = reader.geometry(0)?;
    reader.rest.is_empty().then_some(geometry)
}

struct Reader<'a> {
    rest: &'a [u8],
    is_big: bool,
}

/// What a point has beside longitude and latitude.
#[derive(Clone, Copy)]
struct Dimensions {
    height: bool,
    measure: bool,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*first)
    }

    fn integer(&mut self) -> Option<u32> {
        let bytes = self.take()?;
        Some(if self.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn double(&mut self) -> Option<f64> {
        let bytes = self.take()?;
        Some(if self.is_big { f64::from_be_bytes(bytes) } else { f64::from_le_bytes(bytes) })
    }

    fn geometry(&mut self, nesting: u32) -> Option<Value> {
        self.is_big = self.take::<1>()? == [0];
        let code = self.integer()?;
        if code & 0x2000_0000 != 0 {
            self.integer()?;
        }
        let thousands = code % 0x1000_0000 / 1000;
        let height = code & 0x8000_0000 != 0 || matches!(thousands, 1 | 3);
        let measure = code & 0x4000_0000 != 0 || matches!(thousands, 2 | 3);
        let with = Dimensions { height, measure };
        let (name, coordinates) = match code % 0x1000_0000 % 1000 {
            1 => ("Point", self.point(with)?),
            2 => ("LineString", self.points(with)?.into()),
            3 => ("Polygon", self.rings(with)?),
            4 => ("MultiPoint", self.parts(nesting)?),
            5 => ("MultiLineString", self.parts(nesting)?),
            6 => ("MultiPolygon", self.parts(nesting)?),
            7 => return Some(json!({"type": "GeometryCollection", "geometries": self.members(nesting)?})),
            _ => return None,
        };
        Some(json!({"type": name, "coordinates": coordinates}))
    }

    fn members(&mut self, nesting: u32) -> Option<Vec<Value>> {
        let count = self.integer().filter(|_| nesting < MAX_NESTING)?;
        (0..count).map(|_| self.geometry(nesting + 1)).collect()
    }

    /// Returns the coordinates of all parts of a geometry of many.
    fn parts(&mut self, nesting: u32) -> Option<Value> {
        let parts = self.members(nesting)?;
        parts.into_iter().map(|mut part| part.get_mut("coordinates").map(Value::take)).collect()
    }

    /// A point of NaNs is an empty one.
    fn point(&mut self, with: Dimensions) -> Option<Value> {
        let position = [self.double()?, self.double()?];
        let height = if with.height { Some(self.double()?) } else { None };
        if with.measure {
            self.double()?;
        }
        let numbers = position.into_iter().chain(height);
        if position.iter().any(|number| number.is_nan()) {
            return Some(json!([]));
        }
        numbers.map(|number| serde_json::Number::from_f64(number).map(Value::Number)).collect()
    }

    fn points(&mut self, with: Dimensions) -> Option<Vec<Value>> {
        let count = self.integer()?;
        (0..count).map(|_| self.point(with)).collect()
    }

    /// Turns rings so that the outer one runs counter-clockwise and holes clockwise.
    fn rings(&mut self, with: Dimensions) -> Option<Value> {
        let count = self.integer()?;
        let ring = |number: u32| {
            let mut ring = self.points(with)?;
            if (twice_area(&ring) < 0.0) == (number == 0) {
                ring.reverse();
            }
            Some(Value::Array(ring))
        };
        (0..count).map(ring).collect()
    }
}

/// Returns twice the area of a ring, positive if it runs counter-clockwise.
fn twice_area(ring: &[Value]) -> f64 {
    let axis = |point: &Value, axis: usize| point[axis].as_f64().unwrap_or_default();
    let edge = |pair: &[Value]| axis(&pair[0], 0) * axis(&pair[1], 1) - axis(&pair[1], 0) * axis(&pair[0], 1);
    ring.windows(2).map(edge).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wkb(is_big: bool, code: u32, counts: &[u32], numbers: &[f64]) -> Vec<u8> {
        let mut bytes = vec![u8::from(!is_big)];
        for integer in [&[code], counts].concat() {
            bytes.extend(if is_big { integer.to_be_bytes() } else { integer.to_le_bytes() });
        }
        let number = |number: &f64| if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
        bytes.extend(numbers.iter().flat_map(number));
        bytes
    }

    #[test]
    fn geometries_have_the_order_of_the_standard() {
        let square = json!([[[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 0.0]]]);
        let turned = [0.0, 0.0, 2.0, 1.0, 2.0, 0.0, 0.0, 0.0];
        for is_big in [false, true] {
            let found = geometry(&wkb(is_big, 3, &[1, 4], &turned)).unwrap();
            assert_eq!(found, json!({"type": "Polygon", "coordinates": square}));
        }
        let two = [wkb(false, 6, &[2], &[]), wkb(false, 3, &[1, 4], &turned), wkb(true, 3, &[1, 4], &turned)];
        let found = geometry(&two.concat()).unwrap();
        assert_eq!(found["coordinates"], json!([square, square]));
        let hole = [0.5, 0.0, 1.0, 0.0, 1.0, 0.5, 0.5, 0.0];
        let mut with_hole = wkb(false, 3, &[2, 4], &turned);
        with_hole.extend(&wkb(false, 4, &[], &hole)[1..]);
        let found = geometry(&with_hole).unwrap();
        assert_eq!(found["coordinates"][1], json!([[0.5, 0.0], [1.0, 0.5], [1.0, 0.0], [0.5, 0.0]]));
    }

    #[test]
    fn heights_stay_and_measures_go() {
        for (code, numbers, expected) in [
            (1, &[9.0, 50.0][..], json!([9.0, 50.0])),
            (1001, &[9.0, 50.0, 3.0], json!([9.0, 50.0, 3.0])),
            (2001, &[9.0, 50.0, 3.0], json!([9.0, 50.0])),
            (3001, &[9.0, 50.0, 3.0, 4.0], json!([9.0, 50.0, 3.0])),
            (0x8000_0001, &[9.0, 50.0, 3.0], json!([9.0, 50.0, 3.0])),
            (1, &[f64::NAN, f64::NAN], json!([])),
        ] {
            let found = geometry(&wkb(false, code, &[], numbers)).unwrap();
            assert_eq!(found, json!({"type": "Point", "coordinates": expected}), "{code}");
        }
        let numbered = wkb(false, 0x2000_0001, &[4326], &[9.0, 50.0]);
        assert_eq!(geometry(&numbered).unwrap()["coordinates"], json!([9.0, 50.0]));
    }

    #[test]
    fn what_is_no_geometry_is_not_taken_for_one() {
        let point = wkb(false, 1, &[], &[9.0, 50.0]);
        let mut nested = Vec::new();
        (0..100).for_each(|_| nested.extend(wkb(false, 7, &[1], &[])));
        for bytes in [
            &b""[..],
            &point[..20],
            &[&point[..], &[0]].concat(),
            &wkb(false, 17, &[], &[]),
            &wkb(false, 3, &[u32::MAX, u32::MAX], &[1.0]),
            &wkb(false, 1, &[], &[f64::INFINITY, 1.0]),
            &nested,
        ] {
            assert_eq!(geometry(bytes), None, "{bytes:?}");
        }
    }
}
