//! From pixels to coordinates of the CRS: six coefficients, as GDAL has them.

use super::NoGeometry;
use super::tags::{GeoTags, key};

/// An affine transform from pixel corners to coordinates of the CRS.
///
/// `x = c[0] + column·c[1] + row·c[2]` and `y = c[3] + column·c[4] + row·c[5]`, where column and row 0 are
/// the outer edges of the first pixel: the order and convention of GDAL's geotransform.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoTransform(pub [f64; 6]);

/// `RasterPixelIsPoint`: tiepoints name centres of pixels.
const PIXEL_IS_POINT: u16 = 2;

impl GeoTransform {
    /// Derives the transform from a file's tags.
    ///
    /// A pixel scale counts before a matrix, and a negative scale along y as positive, both as in GDAL.
    /// Where tiepoints name pixel centres the transform is half a pixel back.
    ///
    /// # Errors
    ///
    /// [`NoGeometry`] if there is none, only ground control points, or one that only numbers the pixels.
    ///
    /// # Reference
    ///
    /// OGC 19-008r4, section 7.1.3 and annex B.6; GDAL's `GTiffDataset::LoadGeoreferencingAndPamIfNeeded`.
    pub fn from_tags(tags: &GeoTags) -> Result<Self, NoGeometry> {
        let mut transform = Self(Self::coefficients(tags)?);
        if transform.numbers_pixels() {
            return Err(NoGeometry::PixelNumbers);
        }
        if tags.code(key::RASTER_TYPE) == Some(PIXEL_IS_POINT) {
            let (x, y) = transform.apply(-0.5, -0.5);
            (transform.0[0], transform.0[3]) = (x, y);
        }
        transform.checked()
    }

    /// Whether coordinates are columns and rows: what writers put where they know no place, beside RPCs for example.
    #[expect(clippy::float_cmp, reason = "exactly these numbers are written, and no near ones")]
    fn numbers_pixels(&self) -> bool {
        let [x, across, skew, y, shear, down] = self.0;
        [x, skew, y, shear] == [0.0; 4] && across == 1.0 && down.abs() == 1.0
    }

    fn coefficients(tags: &GeoTags) -> Result<[f64; 6], NoGeometry> {
        let scale = tags.pixel_scale.filter(|scale| scale[0] != 0.0 && scale[1] != 0.0);
        match (scale, tags.tiepoints.get(..6), tags.transformation) {
            (Some([across, down, _]), Some(tie), _) => {
                let down = -down.abs();
                Ok([tie[3] - tie[0] * across, across, 0.0, tie[4] - tie[1] * down, 0.0, down])
            }
            (_, _, Some(matrix)) => Ok([matrix[3], matrix[0], matrix[1], matrix[7], matrix[4], matrix[5]]),
            (None, Some(_), None) => Err(NoGeometry::ControlPoints(tags.tiepoints.len() / 6)),
            (_, None, None) => Err(NoGeometry::NoTransform),
        }
    }

    /// Returns the transform if it can be inverted.
    ///
    /// # Errors
    ///
    /// [`NoGeometry::Singular`] if not.
    pub fn checked(self) -> Result<Self, NoGeometry> {
        let determinant = self.determinant();
        let finite = self.0.iter().all(|coefficient| coefficient.is_finite()) && determinant.is_finite();
        if finite && determinant != 0.0 { Ok(self) } else { Err(NoGeometry::Singular) }
    }

    /// Returns the coordinates of a place in the image, `(column, row)` in pixels of level 0.
    #[must_use]
    pub fn apply(&self, column: f64, row: f64) -> (f64, f64) {
        let c = &self.0;
        (c[0] + column * c[1] + row * c[2], c[3] + column * c[4] + row * c[5])
    }

    /// Returns the place in the image, `(column, row)`, of coordinates.
    #[must_use]
    pub fn invert(&self, x: f64, y: f64) -> (f64, f64) {
        let c = &self.0;
        let (dx, dy, determinant) = (x - c[0], y - c[3], self.determinant());
        ((dx * c[5] - dy * c[2]) / determinant, (dy * c[1] - dx * c[4]) / determinant)
    }

    /// Returns the transform of an image whose pixels are larger by these factors and whose first corner
    /// lies at `(column, row)` of this one: that of a level, or of a grid of windows.
    #[must_use]
    pub fn regrid(&self, column: f64, row: f64, across: f64, down: f64) -> Self {
        let (x, y) = self.apply(column, row);
        let c = &self.0;
        Self([x, c[1] * across, c[2] * down, y, c[4] * across, c[5] * down])
    }

    /// Returns width and height of a pixel along its own edges, in units of the CRS.
    #[must_use]
    pub fn pixel_size(&self) -> [f64; 2] {
        let c = &self.0;
        [c[1].hypot(c[4]), c[2].hypot(c[5])]
    }

    /// Returns the area of a pixel in square units of the CRS; negative for north-up images.
    pub(super) fn determinant(&self) -> f64 {
        let c = &self.0;
        c[1] * c[5] - c[2] * c[4]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scaled(scale: [f64; 3], tiepoints: &[f64]) -> GeoTags {
        GeoTags { pixel_scale: Some(scale), tiepoints: tiepoints.to_vec(), ..GeoTags::default() }
    }

    #[test]
    fn a_tiepoint_may_name_any_pixel() {
        let tags = scaled([10.0, 20.0, 0.0], &[3.0, 2.0, 0.0, 530.0, 960.0, 0.0]);
        assert_eq!(
            GeoTransform::from_tags(&tags).unwrap().0.to_vec(),
            [500.0, 10.0, 0.0, 1000.0, 0.0, -20.0]
        );
    }

    #[test]
    fn pixel_is_point_is_half_a_pixel_back() {
        let mut tags = scaled([10.0, 10.0, 0.0], &[0.0, 0.0, 0.0, 505.0, 995.0, 0.0]);
        tags.key_directory = vec![1, 1, 0, 1, 1025, 0, 1, 2];
        assert_eq!(
            GeoTransform::from_tags(&tags).unwrap().0.to_vec(),
            [500.0, 10.0, 0.0, 1000.0, 0.0, -10.0]
        );
    }

    #[test]
    fn what_places_no_grid_is_said() {
        let points = [0.0; 24];
        let gcps = GeoTags { tiepoints: points.to_vec(), ..GeoTags::default() };
        assert_eq!(GeoTransform::from_tags(&gcps), Err(NoGeometry::ControlPoints(4)));
        assert_eq!(GeoTransform::from_tags(&GeoTags::default()), Err(NoGeometry::NoTransform));
        let flat = scaled([f64::NAN, 1.0, 0.0], &points);
        assert_eq!(GeoTransform::from_tags(&flat), Err(NoGeometry::Singular));
        let huge = scaled([1e200, 1e200, 0.0], &points);
        assert_eq!(GeoTransform::from_tags(&huge), Err(NoGeometry::Singular), "its area overflows");
        for down in [1.0, -1.0] {
            let mut matrix = [0.0; 16];
            (matrix[0], matrix[5], matrix[10], matrix[15]) = (1.0, down, 1.0, 1.0);
            let numbered = GeoTags { transformation: Some(matrix), ..GeoTags::default() };
            assert_eq!(GeoTransform::from_tags(&numbered), Err(NoGeometry::PixelNumbers));
        }
        assert_eq!(GeoTransform::from_tags(&scaled([1.0; 3], &[0.0; 6])), Err(NoGeometry::PixelNumbers));
        let one_metre = scaled([1.0; 3], &[0.0, 0.0, 0.0, 500_000.0, 0.0, 0.0]);
        assert!(GeoTransform::from_tags(&one_metre).is_ok());
        let zeros = GeoTags { transformation: Some([0.0; 16]), ..GeoTags::default() };
        assert_eq!(GeoTransform::from_tags(&zeros), Err(NoGeometry::Singular));
    }

    proptest! {
        #[test]
        fn invert_undoes_apply(c in prop::array::uniform6(-1000.0f64..1000.0), at in (0.0f64..1e4, 0.0f64..1e4)) {
            let transform = GeoTransform(c);
            prop_assume!(transform.determinant().abs() > 1.0);
            let (x, y) = transform.apply(at.0, at.1);
            let (column, row) = transform.invert(x, y);
            prop_assert!((column - at.0).abs() < 1e-3 && (row - at.1).abs() < 1e-3);
        }
    }
}
