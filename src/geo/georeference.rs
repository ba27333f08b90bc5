//! One image's place on Earth: transform and reference system together.

use super::footprint::{Footprint, Rectangle};
use super::{Crs, GeoTags, GeoTransform, NoGeometry};
use crate::vocabulary::geometry::{Size, Window};

/// Where the pixels of one image lie.
#[derive(Clone, Debug)]
pub struct Georeference {
    transform: GeoTransform,
    crs: Crs,
}

impl Georeference {
    /// Puts a transform of level 0 and a reference system together.
    #[must_use]
    pub fn new(transform: GeoTransform, crs: Crs) -> Self {
        Self { transform, crs }
    }

    /// Reads a file's tags.
    ///
    /// # Errors
    ///
    /// [`NoGeometry`] if its pixels cannot be placed beyond doubt.
    pub fn from_tags(tags: &GeoTags) -> Result<Self, NoGeometry> {
        Ok(Self { transform: GeoTransform::from_tags(tags)?, crs: Crs::from_tags(tags)? })
    }

    /// Returns the transform of level 0.
    #[must_use]
    pub fn transform(&self) -> &GeoTransform {
        &self.transform
    }

    /// Returns the reference system.
    #[must_use]
    pub fn crs(&self) -> &Crs {
        &self.crs
    }

    /// Computes the footprint of a window at a level.
    ///
    /// - `full`: size of level 0
    /// - `level`: size of the window's level; equal to `full` at level 0
    ///
    /// Levels are taken to cover exactly what level 0 covers, as in GDAL: 5 pixels of a level may be 9.98 of
    /// level 0.
    ///
    /// # Errors
    ///
    /// [`NoGeometry`] if a part of the window lies where the reference system ends.
    pub fn footprint(&self, full: Size, level: Size, window: Window) -> Result<Footprint, NoGeometry> {
        let across = f64::from(full.width) / f64::from(level.width);
        let down = f64::from(full.height) / f64::from(level.height);
        Footprint::of(self, Rectangle::of(window, across, down))
    }

    /// Returns longitude and latitude of a place in level 0, `(column, row)` in pixels.
    ///
    /// Global grids in degrees whose outer cells are centred at the poles end there: what lies up to a pixel
    /// beyond is taken as the pole.
    ///
    /// # Errors
    ///
    /// [`NoGeometry::OutsideCrs`] where the reference system ends.
    pub fn to_lon_lat(&self, column: f64, row: f64) -> Result<(f64, f64), NoGeometry> {
        let (x, y) = self.transform.apply(column, row);
        let [.., shear, down] = self.transform.0;
        let is_cell_at_pole = self.crs.is_geographic() && y.abs() <= 90.0 + shear.hypot(down);
        self.crs.to_lon_lat(x, if is_cell_at_pole { y.clamp(-90.0, 90.0) } else { y })
    }

    /// Returns the side of a pixel of level 0 in metres: the square root of its area.
    ///
    /// - `column`, `row`: the place in level 0 where it is wanted
    ///
    /// A projected system's own metres count, as in the names of sensors' resolutions (a Sentinel-2 band has
    /// 10 m though UTM stretches it by up to 0.1 %); on the ground it is measured for geographic systems and
    /// for cylindrical projections of the whole Earth, such as Web Mercator.
    ///
    /// # Errors
    ///
    /// [`NoGeometry::OutsideCrs`] where the reference system ends.
    pub fn ground_sample_distance(&self, column: f64, row: f64) -> Result<f64, NoGeometry> {
        match self.crs.metres_per_unit() {
            Some(metres) if !self.crs.stretches() => Ok(self.transform.determinant().abs().sqrt() * metres),
            _ => self.measured(column, row),
        }
    }

    /// Returns width and height of a pixel of level 0 in metres, along its own edges; else as
    /// [`Self::ground_sample_distance`].
    ///
    /// # Errors
    ///
    /// [`NoGeometry::OutsideCrs`] where the reference system ends.
    pub fn pixel(&self, column: f64, row: f64) -> Result<[f64; 2], NoGeometry> {
        match self.crs.metres_per_unit() {
            Some(metres) if !self.crs.stretches() => {
                Ok(self.transform.pixel_size().map(|length| length * metres))
            }
            _ => {
                let (right, below) = self.steps(column, row)?;
                Ok([right.0.hypot(right.1), below.0.hypot(below.1)])
            }
        }
    }

    /// Measures one pixel on the ellipsoid.
    fn measured(&self, column: f64, row: f64) -> Result<f64, NoGeometry> {
        let (right, below) = self.steps(column, row)?;
        Ok((right.0 * below.1 - right.1 * below.0).abs().sqrt())
    }

    /// Returns the ways from a place to its neighbours right and below, east and north, in metres.
    #[expect(clippy::type_complexity, reason = "two ways of two numbers")]
    fn steps(&self, column: f64, row: f64) -> Result<((f64, f64), (f64, f64)), NoGeometry> {
        let (longitude, latitude) = self.to_lon_lat(column, row)?;
        let (metres_east, metres_north) = super::ellipsoid::metres_per_degree(latitude);
        let step = |column, row| -> Result<(f64, f64), NoGeometry> {
            let (to_longitude, to_latitude) = self.to_lon_lat(column, row)?;
            let turn = super::footprint::nearest_turn(to_longitude, longitude) - longitude;
            Ok((turn * metres_east, (to_latitude - latitude) * metres_north))
        };
        // Half a pixel to either side would leave the Earth at its edges less often, but not never.
        Ok((step(column + 1.0, row)?, step(column, row + 1.0)?))
    }
}
