//! What a `GeoTIFF`'s tags say, as they stand in the file (OGC 19-008r4, section 7).

/// The tags that place a `GeoTIFF` on the Earth, not yet interpreted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeoTags {
    /// `ModelPixelScaleTag` (33550).
    pub pixel_scale: Option<[f64; 3]>,
    /// `ModelTiepointTag` (33922): six numbers a tie point.
    pub tiepoints: Vec<f64>,
    /// `ModelTransformationTag` (34264), row by row.
    pub transformation: Option<[f64; 16]>,
    /// `GeoKeyDirectoryTag` (34735).
    pub key_directory: Vec<u16>,
    /// `GeoDoubleParamsTag` (34736).
    pub doubles: Vec<f64>,
    /// `GeoAsciiParamsTag` (34737).
    pub ascii: String,
}
