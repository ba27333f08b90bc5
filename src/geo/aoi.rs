//! The area of interest: which windows are looked at.

use serde_json::Value;

use super::Footprint;
use super::bbox::around_across_antimeridian;
use super::footprint::bounds;
use crate::vocabulary::error::{Error, Result};

/// More points than any border needs; every window is compared with each of them.
const MAX_POINTS: usize = 200_000;

/// Maximum characters of an invalid area that the error quotes.
const MAX_SHOWN: usize = 60;

/// A box that is wider was hardly meant to cross the antimeridian, in degrees.
const MAX_USUAL_WIDTH: f64 = 180.0;

/// An area in longitude and latitude: polygons with holes, or a box.
#[derive(Clone, Debug, PartialEq)]
pub struct Aoi {
    polygons: Vec<Area>,
}

/// One polygon: the first ring is its outline, the others are holes.
#[derive(Clone, Debug, PartialEq)]
struct Area {
    rings: Vec<Vec<[f64; 2]>>,
    bounds: [f64; 4],
}

impl Aoi {
    /// Reads an area: `GeoJSON` (Polygon, `MultiPolygon`, Feature or `FeatureCollection` of these), or
    /// `west,south,east,north` in degrees. A box whose west is greater than its east crosses the antimeridian.
    ///
    /// ```
    /// use tilefleet::geo::Aoi;
    ///
    /// assert!(Aoi::parse("9.5,53.3,10.4,53.8").is_ok());
    /// assert!(Aoi::parse("9.5,53.3").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`crate::vocabulary::error::Kind::Config`] with what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let polygons = if text.trim_start().starts_with('{') { geojson(text)? } else { boxes(text)? };
        Ok(Self { polygons })
    }

    /// Returns a box around the area, as west, south, east and north in degrees. West is greater than east where
    /// the area reaches the antimeridian from both sides and leaves a gap elsewhere.
    #[must_use]
    pub fn bbox(&self) -> [f64; 4] {
        let bounds: Vec<[f64; 4]> = self.polygons.iter().map(|area| area.bounds).collect();
        around_across_antimeridian(&bounds).expect("an area has a polygon, checked when it was read")
    }

    /// Returns whether a window touches the area.
    #[must_use]
    pub fn intersects(&self, footprint: &Footprint) -> bool {
        footprint.rings().iter().any(|ring| {
            let around = bounds(ring);
            self.polygons.iter().any(|area| area.meets(ring, around))
        })
    }
}

impl Area {
    fn new(rings: Vec<Vec<[f64; 2]>>) -> Self {
        let bounds = bounds(&rings[0]);
        Self { rings, bounds }
    }

    /// Whether edges cross, or one lies within the other; what lies in a hole does neither.
    fn meets(&self, ring: &[[f64; 2]], around: [f64; 4]) -> bool {
        overlap(self.bounds, around)
            && (self.contains(ring[0])
                || is_inside(self.rings[0][0], std::iter::once(ring))
                || self.rings.iter().any(|own| cross(own, ring, around)))
    }

    fn contains(&self, point: [f64; 2]) -> bool {
        is_inside(point, self.rings.iter().map(Vec::as_slice))
    }
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> bool {
    a[0] <= b[2] && b[0] <= a[2] && a[1] <= b[3] && b[1] <= a[3]
}

fn cross(own: &[[f64; 2]], ring: &[[f64; 2]], around: [f64; 4]) -> bool {
    own.windows(2).any(|edge| {
        let near = overlap(bounds(edge), around);
        near && ring.windows(2).any(|other| segments_meet(edge[0], edge[1], other[0], other[1]))
    })
}

/// Whether two segments share a point, ends included.
fn segments_meet(a: [f64; 2], b: [f64; 2], c: [f64; 2], d: [f64; 2]) -> bool {
    let side =
        |p: [f64; 2], q: [f64; 2], r: [f64; 2]| (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]);
    let (first, second) = (side(a, b, c) * side(a, b, d), side(c, d, a) * side(c, d, b));
    first <= 0.0 && second <= 0.0 && overlap(bounds(&[a, b]), bounds(&[c, d]))
}

/// Even-odd rule over all rings, so that holes are outside.
fn is_inside<'a>([x, y]: [f64; 2], rings: impl Iterator<Item = &'a [[f64; 2]]>) -> bool {
    let crossings = rings.flat_map(|ring| ring.windows(2)).filter(|edge| {
        let ([ax, ay], [bx, by]) = (edge[0], edge[1]);
        (ay > y) != (by > y) && x < ax + (y - ay) / (by - ay) * (bx - ax)
    });
    crossings.count() % 2 == 1
}

fn boxes(text: &str) -> Result<Vec<Area>> {
    let numbers: Vec<f64> = text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    let &[west, south, east, north] = numbers.as_slice() else {
        return Err(Error::config(format!("area of interest `{}` is not a box", beginning(text)))
            .hint("write west,south,east,north in degrees, such as 9.5,53.3,10.4,53.8, or GeoJSON"));
    };
    for corner in [[west, south], [east, north]] {
        check(corner)?;
    }
    if south >= north || (east - west).abs() == 0.0 {
        return Err(Error::config(format!("area of interest `{}` is empty", text.trim()))
            .hint("the order is west,south,east,north"));
    }
    let area = |west, east| {
        Area::new(vec![vec![[west, south], [east, south], [east, north], [west, north], [west, south]]])
    };
    if west > east && east + 360.0 - west > MAX_USUAL_WIDTH {
        tracing::warn!(
            "the area of interest `{}` reaches from {west} eastward across the antimeridian to {east}, {} degrees \
             wide: were west and east swapped? The order is west,south,east,north",
            text.trim(),
            east + 360.0 - west
        );
    }
    Ok(if west < east { vec![area(west, east)] } else { vec![area(west, 180.0), area(-180.0, east)] })
}

/// Returns enough of a text to know it by: what is not a box may be a whole file of something else.
fn beginning(text: &str) -> String {
    let mut shown: String =
        text.trim().chars().take(MAX_SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

fn geojson(text: &str) -> Result<Vec<Area>> {
    let value: Value = serde_json::from_str(text)
        .map_err(|cause| Error::config("the area of interest is not valid GeoJSON").because(cause))?;
    let mut polygons = Vec::new();
    collect(&value, &mut polygons)?;
    if polygons.is_empty() {
        return Err(Error::config("the area of interest has no polygon"));
    }
    let num_points: usize = polygons.iter().flat_map(|area| &area.rings).map(Vec::len).sum();
    if num_points > MAX_POINTS {
        return Err(Error::config(format!(
            "the area of interest has {num_points} points, the maximum is {MAX_POINTS}"
        ))
        .hint("simplify it: each window is compared with all of them"));
    }
    Ok(polygons)
}

/// Follows features to their geometries. Recursion ends: `serde_json` reads 128 levels at most.
fn collect(value: &Value, into: &mut Vec<Area>) -> Result<()> {
    let kind = value["type"].as_str().unwrap_or("without type");
    match kind {
        "FeatureCollection" => {
            list(&value["features"])?.iter().try_for_each(|feature| collect(feature, into))
        }
        // A feature may have no geometry (RFC 7946, section 3.2).
        "Feature" if value["geometry"].is_null() => Ok(()),
        "Feature" => collect(&value["geometry"], into),
        "Polygon" => {
            into.push(polygon(&value["coordinates"])?);
            Ok(())
        }
        "MultiPolygon" => {
            for coordinates in list(&value["coordinates"])? {
                into.push(polygon(coordinates)?);
            }
            Ok(())
        }
        _ => Err(Error::config(format!("the area of interest has a GeoJSON object {kind}"))
            .hint("it takes Polygon, MultiPolygon, Feature and FeatureCollection")),
    }
}

fn polygon(coordinates: &Value) -> Result<Area> {
    let rings: Vec<_> = list(coordinates)?.iter().map(ring).collect::<Result<_>>()?;
    if rings.is_empty() {
        return Err(malformed("a polygon without ring"));
    }
    Ok(Area::new(rings))
}

fn ring(points: &Value) -> Result<Vec<[f64; 2]>> {
    let points: Vec<[f64; 2]> = list(points)?.iter().map(point).collect::<Result<_>>()?;
    if points.len() < 4 || points.first() != points.last() {
        return Err(malformed("a ring that is not closed, or has fewer than four points"));
    }
    Ok(points)
}

fn point(position: &Value) -> Result<[f64; 2]> {
    let (Some(x), Some(y)) = (position[0].as_f64(), position[1].as_f64()) else {
        return Err(malformed("a position that is not longitude and latitude"));
    };
    check([x, y])?;
    Ok([x, y])
}

fn check([longitude, latitude]: [f64; 2]) -> Result<()> {
    if longitude.abs() <= 180.0 && latitude.abs() <= 90.0 {
        return Ok(());
    }
    Err(Error::config(format!("the area of interest has a point at {longitude}, {latitude}")).hint(
        "positions are longitude and latitude in degrees, in this order; cut polygons at the antimeridian",
    ))
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().ok_or_else(|| malformed("another value where a list is expected"))
}

fn malformed(what: &str) -> Error {
    Error::config(format!("the area of interest has {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::{Crs, GeoTransform, Georeference};
    use crate::vocabulary::geometry::{Size, Window};

    /// A window of 1 by 1 degrees whose lower left corner is at these degrees.
    fn degree_at(west: f64, south: f64) -> Footprint {
        let crs = Crs::from_epsg(4326).unwrap();
        let place = Georeference::new(GeoTransform([west, 0.1, 0.0, south + 1.0, 0.0, -0.1]), crs);
        let size = Size::new(10, 10);
        place.footprint(size, size, Window::whole(size)).unwrap()
    }

    fn touches(aoi: &str, west: f64, south: f64) -> bool {
        Aoi::parse(aoi).unwrap().intersects(&degree_at(west, south))
    }

    const RING: &str = r#"{"type":"Polygon","coordinates":[
        [[0,0],[20,0],[20,20],[0,20],[0,0]], [[5,5],[5,15],[15,15],[15,5],[5,5]]]}"#;

    #[test]
    fn a_window_inside_across_around_or_at_the_edge_is_in() {
        assert!(touches(RING, 2.0, 2.0));
        assert!(touches(RING, -0.5, 8.0));
        assert!(touches("0.4,0.4,0.6,0.6", 0.0, 0.0));
        assert!(touches(RING, 20.0, 3.0));
        assert!(touches("-5,0.4,5,0.6", 0.0, 0.0));
    }

    #[test]
    fn a_window_outside_or_in_a_hole_is_out() {
        assert!(!touches(RING, 21.0, 2.0));
        assert!(!touches(RING, 2.0, 20.5));
        assert!(!touches(RING, 9.0, 9.0));
        assert!(touches(RING, 4.5, 9.0));
    }

    #[test]
    fn boxes_and_windows_meet_across_the_antimeridian() {
        assert!(touches("179,-1,-179,1", 179.5, 0.0));
        assert!(touches("179,-1,-179,1", -179.8, 0.0));
        assert!(touches("-180,-1,-179.9,1", 179.5, 0.0));
        assert!(!touches("179,-1,-179,1", 0.0, 0.0));
        assert!(!touches("-180,-1,-179.9,1", 178.5, 0.0));
    }

    #[test]
    fn features_are_followed_to_their_polygons() {
        let collection = format!(
            r#"{{"type":"FeatureCollection","features":[{{"type":"Feature","geometry":null}},
            {{"type":"Feature","properties":{{}},"geometry":{RING}}},
            {{"type":"Feature","geometry":{{"type":"MultiPolygon","coordinates":[[[[40,0],[41,0],[41,1],[40,0]]]]}}}}]}}"#
        );
        assert!(touches(&collection, 2.0, 2.0));
        assert!(touches(&collection, 40.0, 0.0));
        assert!(!touches(&collection, 45.0, 0.0));
    }

    #[test]
    fn what_is_no_area_is_said() {
        let says = |text: &str| Aoi::parse(text).unwrap_err().render();
        assert!(says("9,53,10").contains("is not a box"));
        assert!(says("9,53,10,x").contains("is not a box"));
        let file = "# A README\nof many lines\n".repeat(1000);
        assert!(
            says(&file)
                .contains("`# A README of many lines # A README of many lines # A README…` is not a box")
        );
        assert!(says("53,95,54,96").contains("a point at 53, 95"));
        assert!(says("9,54,10,53").contains("is empty"));
        assert!(says("{\"type\":").contains("not valid GeoJSON"));
        assert!(says(r#"{"type":"Point","coordinates":[1,2]}"#).contains("GeoJSON object Point"));
        assert!(says(r#"{"coordinates":[1,2]}"#).contains("object without type"));
        assert!(says(r#"{"type":"FeatureCollection","features":[]}"#).contains("has no polygon"));
        assert!(says(r#"{"type":"Polygon","coordinates":[]}"#).contains("without ring"));
        assert!(says(r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1]]]}"#).contains("not closed"));
        assert!(says(r#"{"type":"Polygon","coordinates":[[["a",0]]]}"#).contains("longitude and latitude"));
        let many = vec!["[1,1]"; MAX_POINTS + 1].join(",");
        let many = format!(r#"{{"type":"Polygon","coordinates":[[{many}]]}}"#);
        assert!(says(&many).contains("200001 points, the maximum is 200000"));
    }

    #[test]
    fn a_box_around_an_area_across_the_antimeridian_is_narrow() {
        let bbox = |text: &str| Aoi::parse(text).unwrap().bbox().to_vec();
        assert_eq!(bbox("179,-19,-179,-16"), [179.0, -19.0, -179.0, -16.0].to_vec());
        assert_eq!(bbox("9.5,53.3,10.4,53.8"), [9.5, 53.3, 10.4, 53.8].to_vec());
        assert_eq!(bbox("-180,-90,180,90"), [-180.0, -90.0, 180.0, 90.0].to_vec());
    }
}
