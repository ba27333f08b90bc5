//! Named cells of a global grid: Major TOM's.
//!
//! The grid divides the Earth into rows of equal height, and every row into columns that are as wide as
//! its south edge allows. A cell is called after its south-west corner, `433U_1024L` say: row 433 upwards
//! (north) of the equator, column 1024 left (west) of the meridian of Greenwich. Tiles from different
//! scenes, sensors and UTM zones that lie in the same place so share a name. Among the named grids (MGRS,
//! quadkeys, H3) this one is chosen because the published global sets of imagery and embeddings use it, so
//! that a run's rows join theirs; its cells also have the same size everywhere, unlike quadkeys, and no
//! overlaps, unlike MGRS.
//!
//! # Reference
//!
//! Francis and Czerkawski, Major TOM: Expandable Datasets for Earth Observation (arXiv 2402.12095), section 3.

use std::f64::consts::PI;

use super::ellipsoid::SEMI_MAJOR;

/// The spacing that the published sets use, in kilometres.
pub const DEFAULT_SPACING_KM: f64 = 10.0;

/// Names the cell that a place lies in.
///
/// - `longitude`, `latitude`: degrees, −180 to 180 and −90 to 90
/// - `spacing_km`: distance of the grid's points; positive
///
/// A place on an edge belongs to the cell north or east of it. Where a row has an odd number of columns, its
/// easternmost cell continues beyond the antimeridian.
///
/// ```
/// assert_eq!(tilefleet::geo::cell(-74.0, 40.7, 10.0), "453U_625L");
/// ```
#[must_use]
pub fn cell(longitude: f64, latitude: f64, spacing_km: f64) -> String {
    let num_rows = (PI * SEMI_MAJOR / 1000.0 / spacing_km).ceil();
    let height = 180.0 / num_rows;
    // The pole itself would begin a row of its own.
    let row = (latitude / height).floor().min((num_rows / 2.0).ceil() - 1.0);
    let south = (row * height).to_radians();
    let num_columns = (2.0 * PI * SEMI_MAJOR / 1000.0 * south.cos() / spacing_km).ceil().max(1.0);
    let west_half = (num_columns / 2.0).floor();
    let column = (longitude * num_columns / 360.0).floor();
    let column = (column + west_half).rem_euclid(num_columns) - west_half;
    format!("{}_{}", name(row, 'U', 'D'), name(column, 'R', 'L'))
}

fn name(index: f64, positive: char, negative: char) -> String {
    format!("{}{}", index.abs(), if index < 0.0 { negative } else { positive })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/golden/cells.json` by `scripts/golden/cells_golden.py`.
    #[test]
    fn cells_are_those_of_the_grids_points() {
        let golden = include_str!("../../tests/golden/cells.json");
        let cases: Vec<(f64, f64, f64, String)> = serde_json::from_str(golden).unwrap();
        assert!(cases.len() > 500);
        for (longitude, latitude, spacing_km, name) in cases {
            let found = cell(longitude, latitude, spacing_km);
            assert_eq!(found, name, "{longitude}, {latitude} at {spacing_km} km");
        }
    }

    #[test]
    fn the_poles_have_cells() {
        assert_eq!(cell(0.0, 90.0, 10.0), "1001U_0R");
        assert_eq!(cell(0.0, -90.0, 10.0), "1002D_0R");
    }
}
