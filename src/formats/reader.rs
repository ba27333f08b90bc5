//! Which reader reads an object: the one rule that a run, a calibration, `inspect` and `chip` follow.
//!
//! The grid (`tiles.grid`) and the format by content decide, and nothing else: neither a name, nor whether a TIFF
//! lies anywhere on the Earth. In goes an object, whole or as far as it has been read; out comes what its header
//! says to that reader, or why there is no tile. A parser that crashes is a rejection like any other.
//!
//! | `tiles.grid` | JPEG, PNG, WebP | TIFF | DICOM |
//! |---|---|---|---|
//! | `whole` | one picture | one picture: its first page, as a viewer shows it | rejected |
//! | `regular` | rejected | a scene: windows of its pages, as they are stored | rejected |
//! | `frames` | rejected | rejected | its frames, one tile each |
//!
//! `RASTERS` lists the formats that are read by blocks: the next one enters there and in [`ImageFormat`]. A slide that is a
//! TIFF is told apart by the reader of TIFF.

use std::sync::Arc;

use super::image::{
    ImageFormat, ImageHeader, NEEDS_FRAMES, SIGNATURE_BYTES, parse_header, recognise, unsupported,
};
use super::partial::{Parsed, Partial, View};
use super::raster::{RasterFile, RasterParser};
use super::{dicom, tiff};
use crate::vocabulary::guard;
use crate::vocabulary::reason::{Reason, Rejection};

/// How sources become tiles (`tiles.grid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TileGrid {
    /// A source is one tile.
    Whole,
    /// Scenes are cut into windows.
    Regular,
    /// Each frame of a medical image is a tile.
    Frames,
}

impl TileGrid {
    /// Returns the name as in pipeline files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Regular => "regular",
            Self::Frames => "frames",
        }
    }

    /// Says what becomes of a source.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Whole => "every source is one tile",
            Self::Regular => "scenes are cut into windows",
            Self::Frames => "each frame of a medical image is a tile",
        }
    }
}

/// The formats that are read by blocks: under which grid, and who reads their headers.
const RASTERS: [(ImageFormat, TileGrid, RasterParser); 2] = [
    (ImageFormat::Tiff, TileGrid::Regular, tiff::parse_raster),
    (ImageFormat::Dicom, TileGrid::Frames, dicom::parse_raster),
];

/// Who reads an object.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// It is one picture, read as a whole.
    Picture,
    /// It is a scene, read by blocks.
    Scene(RasterParser),
}

/// Tells whether objects of a format are cut into windows with `tiles.grid = "regular"`.
#[must_use]
pub fn can_be_cut(format: ImageFormat) -> bool {
    RASTERS.iter().any(|(raster, grid, _)| (*raster, *grid) == (format, TileGrid::Regular))
}

/// Chooses the reader.
///
/// # Errors
///
/// [`Reason::Unsupported`] if no reader takes such objects under this grid.
fn reader(grid: TileGrid, format: ImageFormat) -> Result<Reader, Rejection> {
    let raster = RASTERS.iter().find(|(raster, ..)| *raster == format);
    match (grid, raster) {
        (_, Some((_, of, parser))) if *of == grid => Ok(Reader::Scene(*parser)),
        (_, Some((_, TileGrid::Frames, _))) => Err(unsupported(format!("{format} {NEEDS_FRAMES}"))),
        (TileGrid::Whole, _) => Ok(Reader::Picture),
        (TileGrid::Regular, _) => Err(unsupported(format!(
            "{format} cannot be cut into windows, only {} can; with tiles.grid = \"whole\" it is one tile",
            names(TileGrid::Regular)
        ))),
        (TileGrid::Frames, _) => Err(unsupported(format!(
            "{format} has no frames, only {} has; with tiles.grid = \"whole\" it is one tile",
            names(TileGrid::Frames)
        ))),
    }
}

/// Tells whether objects of a format are read under a grid.
///
/// # Errors
///
/// [`Reason::Unsupported`] if they are not, with what helps.
pub fn check(grid: TileGrid, format: ImageFormat) -> Result<(), Rejection> {
    reader(grid, format).map(|_| ())
}

/// Returns the names of the formats that are read by blocks under a grid.
fn names(grid: TileGrid) -> String {
    let of_grid = RASTERS.iter().filter(|(_, of, _)| *of == grid);
    of_grid.map(|(raster, ..)| raster.name()).collect::<Vec<_>>().join(", ")
}

/// What an object's header says to the reader of the grid.
#[derive(Clone, Debug)]
pub enum Header {
    /// One picture.
    Picture(ImageHeader),
    /// A scene.
    Scene(Arc<dyn RasterFile>),
}

/// Reads the header of an object from the parts of it that have been read.
#[must_use]
pub fn parse(grid: TileGrid, object: &Partial) -> Parsed<Header> {
    caught(|| {
        let reader = match object.parse(|view| recognise_under(grid, view)) {
            Parsed::Needs(range) => return Parsed::Needs(range),
            Parsed::Done(format) => format.and_then(|format| reader(grid, format)),
        };
        match reader {
            Err(rejection) => Parsed::Done(Err(rejection)),
            Ok(Reader::Picture) => super::image::parse_partial(object).map(Header::Picture),
            Ok(Reader::Scene(parse)) => parse(object).map(Header::Scene),
        }
    })
}

/// Reads the header of a picture from the whole object.
///
/// # Errors
///
/// As [`parse_header`].
pub fn parse_picture(bytes: &[u8]) -> Result<ImageHeader, Rejection> {
    let start = &bytes[..bytes.len().min(SIGNATURE_BYTES)];
    guard::catch_decoder_panic(|| parse_header(bytes).map_err(|rejection| with_way_out(rejection, start)))
}

/// Reads the header of a file that is read by blocks from the parts of the object that have been read.
///
/// - `grid`: any but [`TileGrid::Whole`]
#[must_use]
pub fn parse_scene(grid: TileGrid, object: &Partial) -> Parsed<Arc<dyn RasterFile>> {
    parse(grid, object).map(|header| match header {
        Header::Scene(file) => file,
        Header::Picture(_) => unreachable!("pictures are not read by blocks"),
    })
}

fn recognise_under(grid: TileGrid, view: View<'_>) -> Result<ImageFormat, Rejection> {
    let start = || view.slice(0, view.object_bytes().min(SIGNATURE_BYTES)).unwrap_or_default();
    recognise(view).map_err(|rejection| match grid {
        TileGrid::Whole => with_way_out(rejection, start()),
        TileGrid::Regular | TileGrid::Frames => rejection,
    })
}

/// Names the setting that helps if what is no picture is STAC, which comes as JSON or Parquet.
fn with_way_out(rejection: Rejection, start: &[u8]) -> Rejection {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    let may_be_stac = text.starts_with(b"{") || start.starts_with(b"PAR1");
    if rejection.reason != Reason::NotAnImage || !may_be_stac {
        return rejection;
    }
    let Rejection { reason, detail } = rejection;
    Rejection::new(reason, format!("{detail}; STAC items are read with tiles.grid = \"regular\""))
}

fn caught<T>(parse: impl FnOnce() -> Parsed<T>) -> Parsed<T> {
    guard::catch_decoder_panic(|| Ok(parse())).unwrap_or_else(|crash| Parsed::Done(Err(crash)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(matches!(reader(TileGrid::Whole, ImageFormat::Tiff), Ok(Reader::Picture)));
        assert!(matches!(reader(TileGrid::Regular, ImageFormat::Tiff), Ok(Reader::Scene(_))));
        assert!(can_be_cut(ImageFormat::Tiff));
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            assert!(matches!(reader(TileGrid::Whole, format), Ok(Reader::Picture)));
            let rejection = reader(TileGrid::Regular, format).unwrap_err();
            assert_eq!(rejection.reason, Reason::Unsupported);
            assert!(rejection.detail.contains("only TIFF can"), "{rejection}");
            assert!(!can_be_cut(format));
        }
    }

    /// Neither grid is a dead end: what the other one takes is said with its setting.
    #[test]
    fn what_the_other_grid_takes_names_it() {
        let stac = [
            &b"{\"type\": \"Feature\""[..],
            b"\xef\xbb\xbf\n {\"type\"",
            b"PAR1\x15\x04\x15\x10\x15\x10\x4c",
        ];
        for start in stac {
            let rejection = said(TileGrid::Whole, start).unwrap_err();
            assert_eq!(
                (rejection.reason, &rejection),
                (Reason::NotAnImage, &parse_picture(start).unwrap_err())
            );
            assert!(rejection.detail.ends_with("read with tiles.grid = \"regular\""), "{rejection}");
            assert!(!said(TileGrid::Regular, start).unwrap_err().detail.contains("tiles.grid"));
        }
        assert!(!said(TileGrid::Whole, b"hello, world").unwrap_err().detail.contains("tiles.grid"));
        let jpeg =
            said(TileGrid::Regular, &[0xFF, 0xD8, 0xFF, 0xE0, 0, 16, 74, 70, 73, 70, 0, 1]).unwrap_err();
        assert!(jpeg.detail.ends_with("with tiles.grid = \"whole\" it is one tile"), "{jpeg}");
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
