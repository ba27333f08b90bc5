//! TIFF as one picture: the first page's layout, and what turns its stored samples into colours.
//!
//! The page itself is read by [`crate::formats::tiff`], as that of a scene is: whatever layout and compression
//! one of them takes, the other takes too. What is added here is what a viewer does (TIFF 6.0, tags 262, 274,
//! 320 and 338): palettes become colours, white is never 0, and samples of less than 8 bits are spread over 8.

use super::orientation::of_xmp;
use super::{
    ImageFormat, ImageHeader, Orientation, Photometric, SampleKind, corrupt, truncated, unsupported,
};
use crate::formats::partial::View;
use crate::formats::raster::{BlockGrid, Photometric as Stored};
use crate::formats::tags::{Directory, tag};
use crate::formats::tiff::{Page, slide};
use crate::vocabulary::reason::Rejection;

const MAX_PAGES: u32 = 65_535;
/// Codes of `ExtraSamples` (TIFF 6.0, tag 338).
const ASSOCIATED_ALPHA: u64 = 1;
const UNASSOCIATED_ALPHA: u64 = 2;

/// Reads the first page's header.
pub(super) fn parse_header(file: View<'_>) -> Result<ImageHeader, Rejection> {
    let directory = first(file)?;
    slide::refuse(&directory)?;
    let page = Page::parse(&directory, file.object_bytes() as u64)?.grid;
    let picture = Picture::of(&directory, &page)?;
    Ok(ImageHeader {
        format: ImageFormat::Tiff,
        size: page.size,
        sample_kind: picture.kind,
        stored_bits: page.stored.stored_bits,
        photometric: picture.photometric,
        num_bands: picture.num_bands,
        orientation: orientation(&directory),
        compression: page.stored.codec.name(),
        interlaced: false,
        subsampling: None,
        icc_profile: directory.has(tag::ICC_PROFILE),
        num_pages: directory.count(MAX_PAGES),
    })
}

/// As Pillow turns a TIFF: by its tag, whatever that says; without one by its XMP packet, of 1 MiB at most.
fn orientation(directory: &Directory<'_>) -> Orientation {
    let in_xmp = || directory.bytes(tag::XMP).and_then(of_xmp);
    Orientation::of_tag(directory).or_else(in_xmp).unwrap_or_default()
}

fn first(file: View<'_>) -> Result<Directory<'_>, Rejection> {
    Directory::first(file).ok_or_else(|| truncated("the object ends before its first directory"))
}

/// How stored samples of a page become those of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What the bands of the picture mean.
    pub photometric: Photometric,
    /// How many there are.
    pub num_bands: u16,
    /// Type of their samples.
    pub kind: SampleKind,
    /// Whether samples of less than 8 bits are spread over 0 to 255.
    pub spread: bool,
    /// Whether the first band is white where it is 0.
    pub inverted: bool,
    /// Whether colours are stored multiplied by alpha.
    pub premultiplied: bool,
}

impl Picture {
    fn of(directory: &Directory<'_>, page: &BlockGrid) -> Result<Self, Rejection> {
        let alpha = directory.unsigned(tag::EXTRA_SAMPLES);
        let has_alpha = matches!(alpha, Some(ASSOCIATED_ALPHA | UNASSOCIATED_ALPHA));
        let photometric = meaning(page, has_alpha);
        let colours = photometric == Photometric::Palette;
        if colours {
            check_palette(directory, page)?;
        }
        let shown = !matches!(photometric, Photometric::Other | Photometric::Cmyk);
        let picture = Self {
            photometric,
            num_bands: if colours { 3 } else { page.num_bands },
            kind: if colours { SampleKind::U8 } else { page.stored.kind },
            spread: shown && !colours && page.stored.kind == SampleKind::U8 && page.stored.stored_bits < 8,
            inverted: page.stored.photometric == Stored::MinIsWhite,
            premultiplied: has_alpha && shown && !colours && alpha == Some(ASSOCIATED_ALPHA),
        };
        if picture.premultiplied && !matches!(picture.kind, SampleKind::U8 | SampleKind::U16) {
            return Err(unsupported(format!("TIFF with premultiplied alpha in {} samples", picture.kind)));
        }
        Ok(picture)
    }

    /// Reads how the first page of a whole object becomes a picture, and its palette if it has one.
    ///
    /// # Errors
    ///
    /// As [`super::parse_header`].
    pub fn parse(bytes: &[u8], page: &BlockGrid) -> Result<(Self, Vec<[u8; 3]>), Rejection> {
        let directory = first(View::Whole(bytes))?;
        let picture = Self::of(&directory, page)?;
        let palette = match picture.photometric {
            Photometric::Palette => palette(&directory, page)?,
            _ => Vec::new(),
        };
        Ok((picture, palette))
    }
}

/// Returns what a viewer takes the bands for.
fn meaning(page: &BlockGrid, has_alpha: bool) -> Photometric {
    match (page.stored.photometric, page.num_bands) {
        (Stored::MinIsWhite | Stored::MinIsBlack, 1) => Photometric::Grey,
        (Stored::MinIsWhite | Stored::MinIsBlack, 2) if has_alpha => Photometric::GreyAlpha,
        (Stored::Rgb | Stored::YCbCr, 3) => Photometric::Rgb,
        (Stored::Rgb | Stored::YCbCr, 4) if has_alpha => Photometric::Rgba,
        (Stored::Palette, 1) => Photometric::Palette,
        (Stored::Cmyk, 4) => Photometric::Cmyk,
        _ => Photometric::Other,
    }
}

/// Checks that each index has a colour, without reading them.
fn check_palette(directory: &Directory<'_>, page: &BlockGrid) -> Result<(), Rejection> {
    let bits = page.stored.stored_bits;
    if page.stored.kind != SampleKind::U8 {
        return Err(unsupported(format!("TIFF with a palette of {bits}-bit indices ({})", page.stored.kind)));
    }
    let count = directory.array(tag::COLOUR_MAP).map_or(0, |array| array.count);
    if count < 3 << bits {
        return Err(corrupt(format!("a palette of {count} values for {bits}-bit indices")));
    }
    Ok(())
}

/// Returns the colours of a palette in 8 bits: all red values are stored, then all green and all blue ones.
///
/// They have 16 bits; where none is above 255 the writer meant 8, as libtiff and GDAL take it.
fn palette(directory: &Directory<'_>, page: &BlockGrid) -> Result<Vec<[u8; 3]>, Rejection> {
    let values = directory.unsigned_list(tag::COLOUR_MAP);
    let values = values.ok_or_else(|| truncated("the object ends before its palette does"))?;
    let len = 1 << page.stored.stored_bits;
    let Some(values) = values.get(..3 * len) else { return Err(corrupt("the palette is too short")) };
    let shift = if values.iter().all(|&value| value < 256) { 0 } else { 8 };
    let colour = |index: usize| [0, 1, 2].map(|band| (values[band * len + index] >> shift) as u8);
    Ok((0..len).map(colour).collect())
}
