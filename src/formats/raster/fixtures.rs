//! Files for tests, and what brings their bytes.

use std::ops::Range;

use crate::formats::cog_writer::{self, Band, Colours, Image, Reduce};
use crate::formats::partial::{Parsed, Partial};
use crate::formats::raster::{BlockId, GridId, RasterFile};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::Rejection;

/// Brings what a parser asks for; it asks for nothing that it has.
///
/// # Errors
///
/// As the parser answers.
pub fn complete<T>(
    bytes: &[u8],
    object: &mut Partial,
    parse: impl Fn(&Partial) -> Parsed<T>,
) -> Result<T, Rejection> {
    loop {
        match parse(object) {
            Parsed::Done(answer) => return answer,
            Parsed::Needs(range) => {
                assert!(!range.is_empty() && range.end <= bytes.len(), "{range:?} of {}", bytes.len());
                object.add(range.start, &bytes[range]);
            }
        }
    }
}

/// Reads where one block lies.
///
/// # Errors
///
/// As the file answers.
pub fn range_of(
    bytes: &[u8],
    file: &dyn RasterFile,
    grid: GridId,
    id: BlockId,
) -> Result<Option<Range<u64>>, Rejection> {
    let mut object = Partial::new(bytes.len());
    complete(bytes, &mut object, |object| file.locate(object, grid, &[id]))?.range(id)
}

/// A file of several levels and bands.
pub fn cog(size: Size, num_bands: u16, sample: impl Fn(u32, u32, u16) -> u16) -> Vec<u8> {
    let pixels = (0..size.num_pixels() as u32).map(|pixel| (pixel % size.width, pixel / size.width));
    let samples = pixels.flat_map(|(x, y)| (0..num_bands).map(move |band| (x, y, band)));
    let image = Image {
        size,
        bands: vec![Band::default(); num_bands.into()],
        samples: samples.map(|(x, y, band)| sample(x, y, band)).collect(),
        nodata: None,
        reduce: Reduce::Mode,
        colours: Colours::Values,
        place: None,
        notes: Vec::new(),
    };
    cog_writer::encode(&image).unwrap()
}
