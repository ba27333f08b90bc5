//! Places compared with rasterio and pyproj: `tests/golden/geo.json` by `scripts/golden/geo_golden.py`.

use serde_json::Value;

use super::{GeoTags, GeoTransform, Georeference, NoGeometry};
use crate::vocabulary::geometry::{Size, Window};

/// The accuracy that is promised, in degrees; along edges of windows larger than one, as a part of them.
const PROMISED: f64 = 1e-6;

fn cases() -> Vec<Value> {
    let golden: Value = serde_json::from_str(include_str!("../../tests/golden/geo.json")).unwrap();
    golden["cases"].as_array().unwrap().clone()
}

fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .map(|list| list.iter().map(|number| number.as_f64().unwrap()).collect())
        .unwrap_or_default()
}

fn tags(case: &Value) -> GeoTags {
    let tags = &case["tags"];
    GeoTags {
        pixel_scale: numbers(&tags["pixel_scale"]).try_into().ok(),
        tiepoints: numbers(&tags["tiepoints"]),
        transformation: numbers(&tags["transformation"]).try_into().ok(),
        key_directory: numbers(&tags["key_directory"]).iter().map(|&number| number as u16).collect(),
        doubles: numbers(&tags["doubles"]),
        ascii: tags["ascii"].as_str().unwrap_or_default().into(),
    }
}

fn size(value: &Value) -> Size {
    let edges = numbers(value);
    Size::new(edges[0] as u32, edges[1] as u32)
}

/// Distance in degrees along an axis; a full turn counts as none.
fn apart(found: [f64; 2], expected: &[f64]) -> f64 {
    let across = (found[0] - expected[0]).rem_euclid(360.0);
    across.min(360.0 - across).max((found[1] - expected[1]).abs())
}

/// Distance in degrees from a place to the nearest edge of the rings.
fn from_outline(rings: &[Vec<[f64; 2]>], place: &[f64]) -> f64 {
    let edges = rings.iter().flat_map(|ring| ring.windows(2));
    edges.map(|edge| from_edge(edge[0], edge[1], place)).fold(f64::INFINITY, f64::min)
}

fn from_edge(a: [f64; 2], b: [f64; 2], place: &[f64]) -> f64 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let from = |turn: f64| {
        let (px, py) = (place[0] + turn - a[0], place[1] - a[1]);
        let share = ((px * dx + py * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0);
        (px - share * dx).hypot(py - share * dy)
    };
    from(0.0).min(from(360.0)).min(from(-360.0))
}

#[test]
fn transforms_are_gdals() {
    for case in cases() {
        let found = GeoTransform::from_tags(&tags(&case));
        let Some(expected) = case["transform"].as_array().map(|_| numbers(&case["transform"])) else {
            assert!(found.is_err(), "{}: {found:?}", name(&case));
            continue;
        };
        let found = found.unwrap_or_else(|reason| panic!("{}: {reason}", name(&case)));
        for (coefficient, expected) in found.0.iter().zip(expected) {
            assert!((coefficient - expected).abs() <= 1e-9 * expected.abs(), "{}: {found:?}", name(&case));
        }
    }
}

#[test]
fn epsg_codes_are_gdals() {
    for case in cases() {
        let Ok(place) = Georeference::from_tags(&tags(&case)) else { continue };
        let expected = case["epsg"].as_u64().map(|code| code as u32);
        // GDAL also recognises some systems that are spelled out; we claim no code that the file does not.
        let found = place.crs().epsg();
        assert!(found == expected || found.is_none(), "{}: {found:?}, not {expected:?}", name(&case));
    }
}

/// Files that we do not place, and the reason; all others are placed.
const NOT_PLACED: &[(&str, &str)] = &[
    (
        "codecs/geo-5b.tif",
        "its coordinate reference system is not supported: EPSG:21897 has not been compared with PROJ",
    ),
    (
        "rasterio/byte.tif",
        "its coordinate reference system is not supported: EPSG:26711 needs a grid of datum shifts, which \
         this build does not have",
    ),
    ("rasterio/float.tif", "the file names no coordinate reference system"),
    ("rasterio/rotated.tif", "the file names no coordinate reference system"),
    ("rio-tiler/cog_nonearth.tif", "its coordinate reference system is not on Earth: GCS_EUROPA"),
    ("synthetic/no-crs.tif", "the file names no coordinate reference system"),
    ("synthetic/ground-control-points.tif", "the file has 4 ground control points instead of a transform"),
];

#[test]
fn what_is_not_placed_is_known_and_said() {
    let mut missing: Vec<(String, String)> = Vec::new();
    for case in cases() {
        if let Err(reason) = Georeference::from_tags(&tags(&case)) {
            missing.push((name(&case).into(), reason.to_string()));
        }
    }
    let missing: Vec<_> = missing.iter().map(|(name, reason)| (name.as_str(), reason.as_str())).collect();
    assert_eq!(missing, NOT_PLACED);
}

#[test]
fn footprints_are_those_of_rasterio_and_pyproj() {
    let mut worst = [(0.0, String::new()), (0.0, String::new()), (0.0, String::new())];
    let mut num_windows = 0;
    for case in cases() {
        let Ok(place) = Georeference::from_tags(&tags(&case)) else { continue };
        for window in case["places"].as_array().into_iter().flatten() {
            let at = numbers(&window["window"]);
            let [x, y, width, height] = std::array::from_fn(|index| at[index] as u32);
            let footprint = place.footprint(
                size(&case["size"]),
                size(&window["level_size"]),
                Window { x, y, width, height },
            );
            let told = ["corners", "edges"].iter().flat_map(|key| window[*key].as_array().unwrap());
            if told.clone().any(Value::is_null) || window["centre"].is_null() {
                assert_eq!(footprint, Err(NoGeometry::OutsideCrs), "{} {at:?}", name(&case));
                continue;
            }
            let footprint = footprint.unwrap_or_else(|reason| panic!("{} {at:?}: {reason}", name(&case)));
            num_windows += 1;
            let corners = footprint.corners().into_iter().zip(window["corners"].as_array().unwrap());
            let corner =
                corners.map(|(found, expected)| apart(found, &numbers(expected))).fold(0.0, f64::max);
            let centre = apart(footprint.centre(), &numbers(&window["centre"]));
            let boxes = footprint.rings().iter().map(super::footprint::bounds);
            let extent = boxes
                .map(|[west, south, east, north]| (east - west).max(north - south))
                .sum::<f64>()
                .max(1.0);
            let edge = told.map(|place| from_outline(footprint.rings(), &numbers(place))).fold(0.0, f64::max)
                / extent;
            for (worst, found) in worst.iter_mut().zip([corner, centre, edge]) {
                if found > worst.0 {
                    *worst = (found, format!("{} {at:?}", name(&case)));
                }
            }
        }
    }
    println!("{num_windows} windows; worst corner, centre, edge: {worst:?}");
    for (degrees, at) in worst {
        assert!(degrees <= PROMISED, "{degrees} degrees at {at}");
    }
}
