//! The `GeoTIFF` tags of a file, as they stand in its first directory.

use serde::{Deserialize, Serialize};

use super::keys;

/// Raw `GeoTIFF` tags (OGC 19-008r4); what is absent is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeoTags {
    /// `ModelPixelScaleTag` (33550): size of a pixel along x, y and z, in units of the CRS.
    pub pixel_scale: Option<[f64; 3]>,
    /// `ModelTiepointTag` (33922): six numbers a tiepoint, column, row, level, x, y, z.
    pub tiepoints: Vec<f64>,
    /// `ModelTransformationTag` (34264): a 4×4 matrix from pixel to CRS, row-major.
    pub transformation: Option<[f64; 16]>,
    /// `GeoKeyDirectoryTag` (34735): a header of four and four numbers a key.
    pub key_directory: Vec<u16>,
    /// `GeoDoubleParamsTag` (34736): values of keys that are doubles.
    pub doubles: Vec<f64>,
    /// `GeoAsciiParamsTag` (34737): values of keys that are text, each ended by `|`.
    pub ascii: String,
}

/// Numbers of the keys that are looked at (OGC 19-008r4, annex A).
pub(super) mod key {
    /// `GTModelTypeGeoKey`: projected, geographic or geocentric.
    pub const MODEL_TYPE: u16 = 1024;
    /// `GTRasterTypeGeoKey`: whether coordinates name a pixel's corner or its middle.
    pub const RASTER_TYPE: u16 = 1025;
    /// `GeodeticCRSGeoKey`: EPSG code of the geodetic CRS.
    pub const GEODETIC_CRS: u16 = 2048;
    /// `GeodeticCitationGeoKey`: the geodetic CRS in words.
    pub const GEODETIC_CITATION: u16 = 2049;
    /// `GeodeticDatumGeoKey`: EPSG code of the datum.
    pub const GEODETIC_DATUM: u16 = 2050;
    /// `PrimeMeridianGeoKey`: EPSG code of the prime meridian.
    pub const PRIME_MERIDIAN: u16 = 2051;
    /// `GeogAngularUnitsGeoKey`: EPSG code of the unit of angles.
    pub const ANGULAR_UNITS: u16 = 2054;
    /// `EllipsoidGeoKey`: EPSG code of the ellipsoid.
    pub const ELLIPSOID: u16 = 2056;
    /// `EllipsoidSemiMajorAxisGeoKey`: semi-major axis.
    pub const SEMI_MAJOR: u16 = 2057;
    /// `EllipsoidSemiMinorAxisGeoKey`: semi-minor axis.
    pub const SEMI_MINOR: u16 = 2058;
    /// `EllipsoidInvFlatteningGeoKey`: inverse flattening.
    pub const INVERSE_FLATTENING: u16 = 2059;
    /// `PrimeMeridianLongitudeGeoKey`: longitude of the prime meridian from Greenwich.
    pub const PRIME_MERIDIAN_LONGITUDE: u16 = 2061;
    /// `ProjectedCRSGeoKey`: EPSG code of the projected CRS.
    pub const PROJECTED_CRS: u16 = 3072;
    /// `ProjectedCitationGeoKey`: the projected CRS in words.
    pub const PROJECTED_CITATION: u16 = 3073;
    /// `ProjectionGeoKey`: EPSG code of the projection with its parameters.
    pub const PROJECTION: u16 = 3074;
    /// `ProjMethodGeoKey`: code of the projection's method.
    pub const PROJECTION_METHOD: u16 = 3075;
    /// `ProjLinearUnitsGeoKey`: EPSG code of the unit of lengths.
    pub const LINEAR_UNITS: u16 = 3076;
    /// `ProjStdParallel1GeoKey`: first standard parallel.
    pub const STANDARD_PARALLEL_1: u16 = 3078;
    /// `ProjStdParallel2GeoKey`: second standard parallel.
    pub const STANDARD_PARALLEL_2: u16 = 3079;
    /// `ProjNatOriginLongGeoKey`: longitude of the natural origin.
    pub const NATURAL_ORIGIN_LONGITUDE: u16 = 3080;
    /// `ProjNatOriginLatGeoKey`: latitude of the natural origin.
    pub const NATURAL_ORIGIN_LATITUDE: u16 = 3081;
    /// `ProjFalseEastingGeoKey`: easting of the natural origin.
    pub const FALSE_EASTING: u16 = 3082;
    /// `ProjFalseNorthingGeoKey`: northing of the natural origin.
    pub const FALSE_NORTHING: u16 = 3083;
    /// `ProjFalseOriginLongGeoKey`: longitude of the false origin.
    pub const FALSE_ORIGIN_LONGITUDE: u16 = 3084;
    /// `ProjFalseOriginLatGeoKey`: latitude of the false origin.
    pub const FALSE_ORIGIN_LATITUDE: u16 = 3085;
    /// `ProjFalseOriginEastingGeoKey`: easting of the false origin.
    pub const FALSE_ORIGIN_EASTING: u16 = 3086;
    /// `ProjFalseOriginNorthingGeoKey`: northing of the false origin.
    pub const FALSE_ORIGIN_NORTHING: u16 = 3087;
    /// `ProjCenterLongGeoKey`: longitude of the projection's centre.
    pub const CENTRE_LONGITUDE: u16 = 3088;
    /// `ProjCenterLatGeoKey`: latitude of the projection's centre.
    pub const CENTRE_LATITUDE: u16 = 3089;
    /// `ProjScaleAtNatOriginGeoKey`: scale at the natural origin.
    pub const SCALE_AT_ORIGIN: u16 = 3092;
    /// `ProjStraightVertPoleLongGeoKey`: longitude that runs straight down from the pole.
    pub const STRAIGHT_VERTICAL_POLE: u16 = 3095;
}

/// What a key says instead of a code when parameters follow.
pub(super) const USER_DEFINED: u16 = 32767;

impl GeoTags {
    /// Returns whether the file has no `GeoTIFF` tag at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the name of the first tag that holds NaN or an infinity.
    #[must_use]
    pub fn not_finite(&self) -> Option<&'static str> {
        let is_finite = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
        let tags: [(&str, &[f64]); 4] = [
            ("ModelPixelScale", self.pixel_scale.as_ref().map_or(&[], |scale| scale)),
            ("ModelTiepoint", &self.tiepoints),
            ("ModelTransformation", self.transformation.as_ref().map_or(&[], |matrix| matrix)),
            ("GeoDoubleParams", &self.doubles),
        ];
        tags.into_iter().find(|(_, numbers)| !is_finite(numbers)).map(|(name, _)| name)
    }

    /// Returns the EPSG code of the coordinate reference system, whether we can place its coordinates or not;
    /// `None` where the file names none, or defines its own.
    #[must_use]
    pub fn epsg(&self) -> Option<u32> {
        match keys::definition(self) {
            Ok(keys::Definition::Epsg(code)) => Some(code),
            Ok(keys::Definition::Proj(_)) | Err(_) => None,
        }
    }

    /// Returns the value of a key that is a code or a number below 65536.
    pub(super) fn code(&self, key: u16) -> Option<u16> {
        self.entry(key).filter(|entry| entry.location == 0).map(|entry| entry.value)
    }

    /// Returns the value of a key that is a double.
    pub(super) fn double(&self, key: u16) -> Option<f64> {
        let entry = self.entry(key).filter(|entry| entry.location == 34736)?;
        self.doubles.get(usize::from(entry.value)).copied()
    }

    /// Returns the value of a key that is text, without the `|` at its end.
    pub(super) fn text(&self, key: u16) -> Option<&str> {
        let entry = self.entry(key).filter(|entry| entry.location == 34737)?;
        let start = usize::from(entry.value);
        let text = self.ascii.get(start..start + usize::from(entry.count))?;
        Some(text.trim_end_matches(['|', '\0']))
    }

    fn entry(&self, key: u16) -> Option<Entry> {
        let entries = self.key_directory.get(4..)?.chunks_exact(4);
        let found = entries.take(usize::from(self.key_directory[3])).find(|entry| entry[0] == key)?;
        Some(Entry { location: found[1], count: found[2], value: found[3] })
    }
}

/// One key of the directory: where its value lies, how long it is, and the value or its index.
struct Entry {
    location: u16,
    count: u16,
    value: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_the_directory_says() {
        let tags = GeoTags {
            key_directory: vec![1, 1, 0, 3, 1024, 0, 1, 1, 1026, 34737, 7, 0, 2057, 34736, 1, 1],
            doubles: vec![0.0, 6_378_137.0],
            ascii: "WGS 84|".into(),
            ..GeoTags::default()
        };
        assert_eq!(tags.code(1024), Some(1));
        assert_eq!(tags.text(1026), Some("WGS 84"));
        assert_eq!(tags.double(2057), Some(6_378_137.0));
        assert_eq!((tags.code(1026), tags.code(4), tags.double(1024)), (None, None, None));
    }

    #[test]
    fn a_directory_that_lies_about_its_length_is_read_as_far_as_it_goes() {
        let tags = |key_directory| GeoTags { key_directory, ..GeoTags::default() };
        assert_eq!(tags(vec![1, 1, 0, 900, 1024, 0, 1, 2]).code(1024), Some(2));
        assert_eq!(tags(vec![1, 1, 0, 900, 1024, 0]).code(1024), None);
        assert_eq!(tags(vec![1, 1, 0, 1, 1026, 34737, 9, 60000]).text(1026), None);
        assert_eq!(tags(vec![1, 1]).code(1024), None);
    }
}
