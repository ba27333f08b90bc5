//! Which reader reads an object: the one rule that a run, a calibration, `inspect` and `chip` follow.
//!
//! The grid (`tiles.grid`) and the format by content decide, and nothing else: neither a name, nor whether a TIFF
//! lies anywhere on the Earth. In goes an object, whole or as far as it has been read; out comes what its header
//! says to that reader, or why there is no tile. A parser that crashes is a rejection like any other.
//!
//! | `tiles.grid` | JPEG, PNG, WebP | TIFF |
//! |---|---|---|
//! | `whole` | one picture | one picture: its first page, as a viewer shows it |
//! | `regular` | rejected | a scene: windows of its pages, as they are stored |

use super::image::{ImageFormat, ImageHeader, parse_header, recognise, unsupported};
use super::partial::{Parsed, Partial};
use super::tiff::{self, TiffHeader};
use crate::guard;
use crate::reason::Rejection;

/// How sources become tiles (`tiles.grid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TileGrid {
    /// A source is one tile.
    Whole,
    /// Scenes are cut into windows.
    Regular,
}

impl TileGrid {
    /// Returns the name as in pipeline files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Regular => "regular",
        }
    }
}

/// Who reads an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It is one picture, read as a whole.
    Picture,
    /// It is a scene, read by blocks.
    Scene,
}

/// Chooses the reader.
///
/// # Errors
///
/// [`crate::reason::Reason::Unsupported`] if no reader takes such objects under this grid.
pub fn reader(grid: TileGrid, format: ImageFormat) -> Result<Reader, Rejection> {
    match (grid, format) {
        (TileGrid::Whole, _) => Ok(Reader::Picture),
        (TileGrid::Regular, ImageFormat::Tiff) => Ok(Reader::Scene),
        (TileGrid::Regular, other) => {
            Err(unsupported(format!("{other} cannot be cut into windows, only TIFF can")))
        }
    }
}

/// What an object's header says to the reader of the grid.
#[derive(Clone, Debug)]
pub enum Header {
    /// One picture.
    Picture(ImageHeader),
    /// A scene.
    Scene(Box<TiffHeader>),
}

/// Reads the header of an object from the parts of it that have been read.
#[must_use]
pub fn parse(grid: TileGrid, object: &Partial) -> Parsed<Header> {
    caught(|| {
        let reader = match object.parse(recognise) {
            Parsed::Needs(range) => return Parsed::Needs(range),
            Parsed::Done(format) => format.and_then(|format| reader(grid, format)),
        };
        match reader {
            Err(rejection) => Parsed::Done(Err(rejection)),
            Ok(Reader::Picture) => super::image::parse_partial(object).map(Header::Picture),
            Ok(Reader::Scene) => tiff::parse_partial(object).map(|header| Header::Scene(Box::new(header))),
        }
    })
}

/// Reads the header of a picture from the whole object.
///
/// # Errors
///
/// As [`parse_header`].
pub fn parse_picture(bytes: &[u8]) -> Result<ImageHeader, Rejection> {
    guard::catch(|| parse_header(bytes))
}

/// Reads the header of a scene from the parts of the object that have been read.
#[must_use]
pub fn parse_scene(object: &Partial) -> Parsed<TiffHeader> {
    parse(TileGrid::Regular, object).map(|header| match header {
        Header::Scene(header) => *header,
        Header::Picture(_) => unreachable!("no picture is cut into windows"),
    })
}

fn caught<T>(parse: impl FnOnce() -> Parsed<T>) -> Parsed<T> {
    guard::catch(|| Ok(parse())).unwrap_or_else(|crash| Parsed::Done(Err(crash)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn said(grid: TileGrid, bytes: &[u8]) -> Result<Header, Rejection> {
        let mut object = Partial::new(bytes.len());
        object.add(0, bytes);
        match parse(grid, &object) {
            Parsed::Done(said) => said,
            Parsed::Needs(range) => panic!("all is there, {range:?} too"),
        }
    }

    #[test]
    fn the_grid_and_the_content_decide() {
        assert_eq!(reader(TileGrid::Whole, ImageFormat::Tiff), Ok(Reader::Picture));
        assert_eq!(reader(TileGrid::Regular, ImageFormat::Tiff), Ok(Reader::Scene));
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            assert_eq!(reader(TileGrid::Whole, format), Ok(Reader::Picture));
            assert_eq!(reader(TileGrid::Regular, format).unwrap_err().reason, Reason::Unsupported);
        }
    }

    #[test]
    fn what_is_no_image_has_the_same_reason_under_both_grids() {
        for grid in [TileGrid::Whole, TileGrid::Regular] {
            assert_eq!(said(grid, b"").unwrap_err().reason, Reason::Empty);
            assert_eq!(said(grid, b"hello, world").unwrap_err().reason, Reason::NotAnImage);
            assert_eq!(said(grid, b"II*\0\x08\0\0\0").unwrap_err().reason, Reason::Truncated);
        }
    }
}
