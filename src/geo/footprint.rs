//! The outline of a window on Earth.

use super::wkb::{self, Ring};
use super::{Georeference, NoGeometry};
use crate::vocabulary::geometry::Window;

/// Edges are divided until they are right within so many degrees, a tenth of a metre; of a window that is larger
/// than a degree, within such a part of it.
const TOLERANCE: f64 = 1e-6;

/// Maximum number of times that an edge is halved.
const MAX_HALVINGS: u32 = 8;

/// The outline of a window in longitude and latitude (OGC:CRS84), and what is derived from it.
///
/// The ring runs counter-clockwise (RFC 7946, section 3.1.6; `GeoParquet`'s `orientation`). Its corners are
/// exact; along curved edges there are as many points as it takes to be right within 1e-6 degrees, or a millionth
/// of a window that is larger than one degree. A window that crosses the antimeridian is cut there into two rings (RFC 7946, section 3.1.9).
/// One that surrounds a pole reaches up to it: its ring runs around once, and back along the pole.
#[derive(Clone, Debug, PartialEq)]
pub struct Footprint {
    rings: Vec<Ring>,
    corners: [[f64; 2]; 4],
    centre: [f64; 2],
    gsd: f64,
}

/// A rectangle in pixels of level 0, fractions included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rectangle {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    /// Pixels of level 0 in a pixel of the level, as the square root of an area.
    pixel: f64,
}

impl Rectangle {
    pub(super) fn of(window: Window, across: f64, down: f64) -> Self {
        let far = |start: u32, length: u32| (u64::from(start) + u64::from(length)) as f64;
        Self {
            left: f64::from(window.x) * across,
            top: f64::from(window.y) * down,
            right: far(window.x, window.width) * across,
            bottom: far(window.y, window.height) * down,
            pixel: (across * down).sqrt(),
        }
    }

    /// Upper left, lower left, lower right, upper right: counter-clockwise where north is up.
    fn corners(&self) -> [[f64; 2]; 4] {
        [[self.left, self.top], [self.left, self.bottom], [self.right, self.bottom], [self.right, self.top]]
    }

    fn centre(&self) -> [f64; 2] {
        [f64::midpoint(self.left, self.right), f64::midpoint(self.top, self.bottom)]
    }
}

impl Footprint {
    pub(super) fn of(place: &Georeference, window: Rectangle) -> Result<Self, NoGeometry> {
        let outline = outline(place, &window)?;
        let [column, row] = window.centre();
        let (longitude, latitude) = place.to_lon_lat(column, row)?;
        let mut corners = [[0.0; 2]; 4];
        for (corner, [column, row]) in corners.iter_mut().zip(window.corners()) {
            let (longitude, latitude) = place.to_lon_lat(column, row)?;
            *corner = [in_range(longitude), latitude];
        }
        Ok(Self {
            rings: cut_at_antimeridian(outline)?,
            corners,
            centre: [in_range(longitude), latitude],
            gsd: place.ground_sample_distance(column, row)? * window.pixel,
        })
    }

    /// Returns the closed rings, one, or two where the window crosses the antimeridian.
    #[must_use]
    pub fn rings(&self) -> &[Vec<[f64; 2]>] {
        &self.rings
    }

    /// Returns the four corners in the order of the image: upper left, lower left, lower right, upper right.
    #[must_use]
    pub fn corners(&self) -> [[f64; 2]; 4] {
        self.corners
    }

    /// Returns longitude and latitude of the window's centre.
    #[must_use]
    pub fn centre(&self) -> [f64; 2] {
        self.centre
    }

    /// Returns the side of a pixel of the window's level in metres, at the window's centre.
    #[must_use]
    pub fn gsd(&self) -> f64 {
        self.gsd
    }

    /// Returns whether the window is cut into two at the antimeridian.
    #[must_use]
    pub fn crosses_antimeridian(&self) -> bool {
        self.rings.len() > 1
    }

    /// Returns the geometry as well-known binary: a polygon, or a multi-polygon of two.
    #[must_use]
    pub fn wkb(&self) -> Vec<u8> {
        wkb::encode(&self.rings)
    }

    /// Returns the range of the coordinates, `[xmin, ymin, xmax, ymax]`.
    ///
    /// What crosses the antimeridian has −180 and 180. RFC 7946 (section 5.2) would have west greater than east,
    /// but every reader that we know (`GeoPandas`, `DuckDB`, GDAL, `DataFusion`) compares numbers: it
    /// would miss the row without a word, and this way at worst it looks at it in vain.
    #[must_use]
    pub fn bbox(&self) -> [f64; 4] {
        bounds(self.rings.iter().flatten())
    }
}

/// Returns the range of points' coordinates, `[xmin, ymin, xmax, ymax]`.
pub(super) fn bounds<'a>(points: impl IntoIterator<Item = &'a [f64; 2]>) -> [f64; 4] {
    let nothing = [f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY];
    points.into_iter().fold(nothing, |[west, south, east, north], &[x, y]| {
        [west.min(x), south.min(y), east.max(x), north.max(y)]
    })
}

/// Walks along the window's edges; longitudes follow on each other without a jump.
fn outline(place: &Georeference, window: &Rectangle) -> Result<Ring, NoGeometry> {
    let corners = window.corners();
    let start = lon_lat(place, corners[0])?;
    let mut ring = vec![start];
    let tolerance = tolerance(place, &corners)?;
    for side in 0..4 {
        let (from, to) = (corners[side], corners[(side + 1) % 4]);
        let last = *ring.last().expect("the ring begins with a corner");
        let edge = Edge { place, from, to, tolerance };
        if place.crs().is_geographic() {
            ring.push(lon_lat(place, to)?);
        } else {
            // In three parts to begin with: an edge's turn must be well below half of the Earth's.
            let mut done = (0.0, last);
            for part in 1..=3 {
                let share = f64::from(part) / 3.0;
                let end = edge.at(share, done.1)?;
                edge.divide(done, (share, end), MAX_HALVINGS, &mut ring)?;
                done = (share, end);
            }
        }
    }
    let end = *ring.last().expect("the ring begins with a corner");
    // The same corner, reached from both sides: equal but for rounding, and for a turn around a pole.
    let turn = ((end[0] - start[0]) / 360.0).round() * 360.0;
    *ring.last_mut().expect("as above") = [start[0] + turn, start[1]];
    if turn != 0.0 {
        let [column, row] = window.centre();
        let pole = 90.0_f64.copysign(place.to_lon_lat(column, row)?.1);
        ring.extend([[start[0] + turn, pole], [start[0], pole], start]);
    }
    if signed_area(&ring) < 0.0 {
        ring.reverse();
    }
    Ok(ring)
}

/// One straight side of a window in the image, usually curved on Earth.
struct Edge<'a> {
    place: &'a Georeference,
    from: [f64; 2],
    to: [f64; 2],
    tolerance: f64,
}

/// Returns how far in degrees a straight line may be from an edge.
fn tolerance(place: &Georeference, corners: &[[f64; 2]; 4]) -> Result<f64, NoGeometry> {
    let first = lon_lat(place, corners[0])?;
    let mut extent = 1.0_f64;
    for &corner in &corners[1..] {
        let [longitude, latitude] = lon_lat(place, corner)?;
        let across = nearest_turn(longitude, first[0]) - first[0];
        extent = extent.max(across.abs()).max((latitude - first[1]).abs());
    }
    Ok(TOLERANCE * extent)
}

impl Edge<'_> {
    /// Returns the place at a share of the way, its longitude as near to `near`'s as turns allow.
    fn at(&self, share: f64, near: [f64; 2]) -> Result<[f64; 2], NoGeometry> {
        let between = |axis: usize| self.from[axis] + share * (self.to[axis] - self.from[axis]);
        // Corners must be the corners, not nearly so.
        let pixel = if share >= 1.0 { self.to } else { [between(0), between(1)] };
        let [longitude, latitude] = lon_lat(self.place, pixel)?;
        // A pole has every longitude.
        let is_pole = latitude.abs() > 90.0 - 1e-9;
        Ok([if is_pole { near[0] } else { nearest_turn(longitude, near[0]) }, latitude])
    }

    /// Adds the points between two shares of the way, and the second, until straight lines are good enough.
    fn divide(
        &self,
        from: (f64, [f64; 2]),
        to: (f64, [f64; 2]),
        halvings: u32,
        ring: &mut Ring,
    ) -> Result<(), NoGeometry> {
        let middle = f64::midpoint(from.0, to.0);
        let point = self.at(middle, from.1)?;
        // An edge that bends both ways may meet the line in the middle, but not also at a quarter.
        let quarter = self.at(f64::midpoint(from.0, middle), from.1)?;
        let apart = [point, quarter].map(|point| distance_to_line(point, from.1, to.1));
        if apart.iter().all(|&degrees| degrees <= self.tolerance / 2.0) || halvings == 0 {
            ring.push(to.1);
            return Ok(());
        }
        self.divide(from, (middle, point), halvings - 1, ring)?;
        self.divide((middle, point), to, halvings - 1, ring)
    }
}

fn lon_lat(place: &Georeference, [column, row]: [f64; 2]) -> Result<[f64; 2], NoGeometry> {
    let (longitude, latitude) = place.to_lon_lat(column, row)?;
    Ok([longitude, latitude])
}

fn distance_to_line(point: [f64; 2], from: [f64; 2], to: [f64; 2]) -> f64 {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let (px, py) = (point[0] - from[0], point[1] - from[1]);
    let length = dx.hypot(dy);
    if length == 0.0 { px.hypot(py) } else { (dx * py - dy * px).abs() / length }
}

/// Returns the longitude, plus or minus whole turns, that lies nearest to another.
pub(super) fn nearest_turn(longitude: f64, other: f64) -> f64 {
    longitude + ((other - longitude) / 360.0).round() * 360.0
}

/// Returns the longitude between −180 and 180, those included.
fn in_range(longitude: f64) -> f64 {
    if longitude.abs() <= 180.0 { longitude } else { nearest_turn(longitude, 0.0) }
}

fn signed_area(ring: &[[f64; 2]]) -> f64 {
    let origin = ring[0];
    ring.windows(2)
        .map(|pair| {
            let ([ax, ay], [bx, by]) = (pair[0], pair[1]);
            (ax - origin[0]) * (by - origin[1]) - (bx - origin[0]) * (ay - origin[1])
        })
        .sum()
}

/// Brings a ring into −180 to 180, in two pieces where it crosses that line.
fn cut_at_antimeridian(ring: Ring) -> Result<Vec<Ring>, NoGeometry> {
    let [west, _, east, _] = bounds(&ring);
    if east - west > 360.0 + TOLERANCE {
        return Err(NoGeometry::TooWide);
    }
    if west >= -180.0 && east <= 180.0 {
        return Ok(vec![ring]);
    }
    let turns = ((west + 180.0) / 360.0).floor() * -360.0;
    let moved: Ring = ring.iter().map(|&[x, y]| [x + turns, y]).collect();
    let below = clip(&moved, |x| 180.0 - x);
    let beyond = clip(&moved, |x| x - 180.0).map(|ring| ring.iter().map(|&[x, y]| [x - 360.0, y]).collect());
    Ok([below, beyond].into_iter().flatten().collect())
}

/// Keeps the part of a ring on one side of the antimeridian (Sutherland and Hodgman 1974); `None` if it is
/// thinner than what counts.
fn clip(ring: &[[f64; 2]], inside: impl Fn(f64) -> f64) -> Option<Ring> {
    let mut kept = Ring::new();
    for pair in ring.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (here, there) = (inside(from[0]), inside(to[0]));
        if here >= 0.0 {
            kept.push(from);
        }
        if (here > 0.0 && there < 0.0) || (here < 0.0 && there > 0.0) {
            let share = here / (here - there);
            kept.push([180.0, from[1] + share * (to[1] - from[1])]);
        }
    }
    kept.dedup();
    let first = *kept.first()?;
    kept.push(first);
    let [west, south, east, north] = bounds(&kept);
    (kept.len() >= 4 && east - west > 1e-12 && north - south > 1e-12).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::{Crs, GeoTransform};
    use crate::vocabulary::geometry::Size;

    fn footprint(epsg: u32, transform: [f64; 6], window: Window) -> Result<Footprint, NoGeometry> {
        let place = Georeference::new(GeoTransform(transform), Crs::from_epsg(epsg).unwrap());
        let size = Size::new(10_000, 10_000);
        place.footprint(size, size, window)
    }

    const TILE: Window = Window { x: 224, y: 448, width: 224, height: 224 };

    #[test]
    fn rings_are_closed_and_run_counter_clockwise_however_the_image_lies() {
        for (across, down) in [(10.0, -10.0), (10.0, 10.0), (-10.0, -10.0), (-10.0, 10.0)] {
            let found = footprint(32633, [500_000.0, across, 0.0, 6e6, 0.0, down], TILE).unwrap();
            let [ring] = found.rings() else { panic!("{found:?}") };
            assert_eq!(ring.first(), ring.last());
            assert!(signed_area(ring) > 0.0);
            assert!(found.corners().iter().all(|corner| ring.contains(corner)), "{found:?}");
            assert!(ring.len() <= 13 + 4, "{} points", ring.len());
        }
    }

    #[test]
    fn what_crosses_the_antimeridian_is_cut_there() {
        let found = footprint(4326, [179.0, 0.01, 0.0, 10.0, 0.0, -0.01], TILE).unwrap();
        assert!(!found.crosses_antimeridian());
        assert!((found.centre()[0] + 177.64).abs() < 1e-9);
        let across = Window { x: 0, y: 0, width: 300, height: 100 };
        let found = footprint(4326, [179.0, 0.01, 0.0, 10.0, 0.0, -0.01], across).unwrap();
        let [east, west] = found.rings() else { panic!("{found:?}") };
        assert_eq!((bounds(east), bounds(west)), ([179.0, 9.0, 180.0, 10.0], [-180.0, 9.0, -178.0, 10.0]));
        assert!(signed_area(east) > 0.0 && signed_area(west) > 0.0);
        assert_eq!(found.bbox().to_vec(), [-180.0, 9.0, 180.0, 10.0]);
        assert_eq!(found.centre().to_vec(), [-179.5, 9.5]);
    }

    #[test]
    fn a_window_around_a_pole_reaches_up_to_it() {
        let beside = footprint(3413, [-1120.0, 10.0, 0.0, 1120.0, 0.0, -10.0], TILE);
        assert!(beside.is_ok());
        let square = Window { x: 0, y: 0, width: 224, height: 224 };
        for (epsg, pole) in [(3413, 90.0), (3031, -90.0)] {
            let around = footprint(epsg, [-1120.0, 10.0, 0.0, 1120.0, 0.0, -10.0], square).unwrap();
            let [west, south, east, north] = around.bbox();
            assert_eq!((west, east), (-180.0, 180.0), "{around:?}");
            assert!([south, north].contains(&pole), "{around:?}");
            assert!(north - south < 0.02, "{around:?}");
            assert!(around.rings().iter().all(|ring| ring.first() == ring.last() && signed_area(ring) > 0.0));
            // The cap is 360 degrees wide, and as high as the square's inner circle to its corners.
            let area: f64 = around.rings().iter().map(|ring| signed_area(ring) / 2.0).sum();
            let radius = 1120.0 / 111_694.0 / 0.97;
            assert!((360.0 * radius..360.0 * radius * 1.42).contains(&area), "{area}");
        }
        let corner = Window { x: 112, y: 112, width: 112, height: 112 };
        let touching = footprint(3413, [-1120.0, 10.0, 0.0, 1120.0, 0.0, -10.0], corner).unwrap();
        let [west, _, east, north] = touching.bbox();
        assert!(north > 90.0 - 1e-9 && (east - west - 90.0).abs() < 1e-6, "{touching:?}");
    }

    #[test]
    fn a_grid_of_cell_centres_ends_at_the_poles() {
        let place = [-0.5, 1.0, 0.0, 90.5, 0.0, -1.0];
        let first = footprint(4326, place, Window { x: 0, y: 0, width: 36, height: 36 }).unwrap();
        assert_eq!(first.bbox().to_vec(), [-0.5, 54.5, 35.5, 90.0]);
        assert_eq!(first.centre().to_vec(), [17.5, 72.5]);
        let last = footprint(4326, place, Window { x: 0, y: 145, width: 36, height: 36 }).unwrap();
        assert_eq!(last.bbox().to_vec(), [-0.5, -90.0, 35.5, -54.5]);
        let all = footprint(4326, place, Window { x: 0, y: 0, width: 360, height: 181 }).unwrap();
        assert_eq!(all.bbox().to_vec(), [-180.0, -90.0, 180.0, 90.0]);
    }

    #[test]
    fn windows_that_no_ring_can_describe_have_none() {
        let world = Window { x: 0, y: 0, width: 3610, height: 10 };
        assert_eq!(footprint(4326, [-180.0, 0.1, 0.0, 1.0, 0.0, -0.1], world), Err(NoGeometry::TooWide));
        let beyond = footprint(4326, [0.0, 0.1, 0.0, 100.0, 0.0, -0.1], Window { y: 0, ..TILE });
        assert_eq!(beyond, Err(NoGeometry::OutsideCrs));
    }

    #[test]
    fn gsd_is_the_projections_own_unless_it_stretches() {
        let gsd = |epsg, transform| footprint(epsg, transform, TILE).unwrap().gsd();
        assert!((gsd(32633, [500_000.0, 10.0, 0.0, 6e6, 0.0, -10.0]) - 10.0).abs() < 1e-12);
        assert!((gsd(2225, [6e6, 1.0, 0.0, 2.2e6, 0.0, -1.0]) - 0.304_800_6).abs() < 1e-7);
        let at_60 = gsd(3857, [1e6, 10.0, 0.0, 8_399_737.9, 0.0, -10.0]);
        assert!((at_60 / 5.0 - 1.0).abs() < 0.01, "{at_60}");
        let at_equator = gsd(4326, [10.0, 1e-4, 0.0, 0.0, 0.0, -1e-4]);
        assert!((at_equator - 11.09).abs() < 0.01, "{at_equator}");
    }

    #[test]
    fn wkb_is_a_polygon_or_a_multi_polygon_of_two() {
        let at = |x| {
            footprint(4326, [179.5, 0.01, 0.0, 10.0, 0.0, -0.01], Window { x, y: 0, width: 30, height: 30 })
        };
        let polygon = at(100).unwrap().wkb();
        assert_eq!((&polygon[..9], polygon.len()), (&[1, 3, 0, 0, 0, 1, 0, 0, 0][..], 9 + 4 + 5 * 16));
        let two = at(35).unwrap().wkb();
        assert_eq!((&two[..9], two.len()), (&[1, 6, 0, 0, 0, 2, 0, 0, 0][..], 9 + 2 * (9 + 4 + 5 * 16)));
    }
}
