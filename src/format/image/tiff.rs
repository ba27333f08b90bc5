//! TIFF headers (TIFF 6.0): the first page's layout, as far as it is one that is decoded as a plain
//! image; every other layout is rejected here, so that planning already sees it.

use super::{
    ImageFormat, ImageHeader, Orientation, Photometric, SampleKind, corrupt, truncated, unsupported,
};
use crate::format::partial::View;
use crate::format::tags::{Directory, tag};
use crate::format::tiff::slide;
use crate::geometry::Size;
use crate::reason::Rejection;

const MAX_PAGES: u32 = 65_535;

/// Reads the first page's header.
pub(super) fn parse_header(file: View<'_>) -> Result<ImageHeader, Rejection> {
    let directory =
        Directory::first(file).ok_or_else(|| truncated("the object ends before its first directory"))?;
    slide::refuse(&directory)?;
    if directory.unsigned(tag::FILL_ORDER) == Some(2) {
        return Err(unsupported("TIFF with reversed bits (fill order 2)"));
    }
    let bits = uniform(&directory, tag::BITS_PER_SAMPLE, 1)?;
    let format = uniform(&directory, tag::SAMPLE_FORMAT, 1)?;
    let (photometric, num_bands) = photometric(&directory)?;
    if num_bands > 1 && directory.unsigned(tag::PLANAR) == Some(2) {
        return Err(unsupported("TIFF with a plane for each band"));
    }
    let sample_kind = sample_kind(bits, format)?;
    if sample_kind == SampleKind::F32 && directory.unsigned(tag::PHOTOMETRIC) == Some(0) {
        return Err(unsupported("TIFF with float samples where white is zero"));
    }
    Ok(ImageHeader {
        format: ImageFormat::Tiff,
        size: Size::new(side(&directory, tag::WIDTH)?, side(&directory, tag::HEIGHT)?),
        sample_kind,
        stored_bits: u16::try_from(bits).unwrap_or(u16::MAX),
        photometric,
        num_bands,
        orientation: directory.unsigned(tag::ORIENTATION).map_or(Orientation::UPRIGHT, Orientation::new),
        compression: compression(&directory)?,
        interlaced: false,
        subsampling: None,
        icc_profile: directory.has(tag::ICC_PROFILE),
        num_pages: directory.count(MAX_PAGES),
    })
}

fn side(directory: &Directory<'_>, tag: u16) -> Result<u32, Rejection> {
    let value = directory.unsigned(tag).ok_or_else(|| corrupt(format!("tag {tag} is missing")))?;
    u32::try_from(value).map_err(|_| corrupt(format!("tag {tag} is {value}")))
}

/// Returns the one value that a tag has for every sample.
fn uniform(directory: &Directory<'_>, tag: u16, default: u64) -> Result<u64, Rejection> {
    let Some(values) = directory.unsigned_list(tag) else { return Ok(default) };
    match values.first() {
        Some(&first) if values.iter().all(|&value| value == first) => Ok(first),
        _ => Err(unsupported(format!("samples of different kinds in one image (tag {tag})"))),
    }
}

fn sample_kind(bits: u64, format: u64) -> Result<SampleKind, Rejection> {
    match (format, bits) {
        (1 | 4, 8) => Ok(SampleKind::U8),
        (1 | 4, 16) => Ok(SampleKind::U16),
        (3, 32) => Ok(SampleKind::F32),
        (1 | 4, _) => Err(unsupported(format!("TIFF with {bits}-bit unsigned samples"))),
        (2, _) => Err(unsupported(format!("TIFF with {bits}-bit signed samples"))),
        (3, _) => Err(unsupported(format!("TIFF with {bits}-bit float samples"))),
        _ => Err(unsupported(format!("TIFF with sample format {format}"))),
    }
}

fn photometric(directory: &Directory<'_>) -> Result<(Photometric, u16), Rejection> {
    let code = match directory.unsigned(tag::PHOTOMETRIC) {
        // As GDAL takes it: black is 0.
        None if !directory.has(tag::PHOTOMETRIC) => Some(1),
        code => code,
    };
    let count = directory.unsigned(tag::SAMPLES_PER_PIXEL).unwrap_or(1);
    let num_bands = u16::try_from(count).ok().filter(|&count| count > 0);
    let num_bands = num_bands.ok_or_else(|| corrupt(format!("{count} samples a pixel")))?;
    let extra = directory.unsigned_list(tag::EXTRA_SAMPLES).unwrap_or_default();
    let alpha = extra.first() == Some(&UNASSOCIATED_ALPHA);
    if extra.first() == Some(&ASSOCIATED_ALPHA) {
        return Err(unsupported("TIFF with premultiplied alpha"));
    }
    Ok(match (code, num_bands) {
        (Some(0 | 1), 1) => (Photometric::Grey, 1),
        (Some(1), 2) if alpha => (Photometric::GreyAlpha, 2),
        (Some(2), 3) => (Photometric::Rgb, 3),
        (Some(2), 4) if alpha => (Photometric::Rgba, 4),
        (Some(1 | 2), _) => (Photometric::Other, num_bands),
        (Some(3), _) => return Err(unsupported("TIFF with a palette")),
        (Some(5), 4) => (Photometric::Cmyk, 4),
        (Some(6), _) => return Err(unsupported("TIFF with YCbCr samples")),
        (Some(code), _) => {
            return Err(unsupported(format!(
                "TIFF with photometric interpretation {code} and {num_bands} samples a pixel"
            )));
        }
        (None, _) => return Err(corrupt("the photometric interpretation cannot be read")),
    })
}

const ASSOCIATED_ALPHA: u64 = 1;
const UNASSOCIATED_ALPHA: u64 = 2;

fn compression(directory: &Directory<'_>) -> Result<&'static str, Rejection> {
    Ok(match directory.unsigned(tag::COMPRESSION).unwrap_or(1) {
        1 => "none",
        5 => "lzw",
        8 | 32_946 => "deflate",
        32_773 => "packbits",
        7 => return Err(unsupported("TIFF with JPEG compression")),
        50_000 => return Err(unsupported("TIFF with ZSTD compression")),
        code => return Err(unsupported(format!("TIFF with compression {code}"))),
    })
}
