//! Turns the bytes of one image into a [`Chip`], or says why it cannot be.
//!
//! In goes a whole object, out comes its first page: samples as stored, orientation applied. Called
//! on the CPU pool, one call a thread; nothing here awaits, resizes or converts. What is damaged is
//! rejected, also where common decoders only warn or fill in grey.
//!
//! CMYK JPEGs become RGB by Pillow's rule, as in the training pipelines that open them: inverted, as Adobe writes
//! them, and without their colour profile. CMYK TIFFs are rejected as [`Reason::Unsupported`].

pub mod blocks;
mod decoder;
mod jpeg;
mod orient;
mod png;
#[cfg(debug_assertions)]
mod poison;
mod tiff;
mod webp;

use crate::formats::image::{
    DecodeLimits, ImageFormat, ImageHeader, Orientation, Photometric, corrupt, parse_header, unsupported,
};
use crate::vocabulary::chip::{Bands, Chip, Samples};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::guard;
use crate::vocabulary::reason::{Reason, Rejection};

pub use decoder::{Decoder, serve_decoder};
#[cfg(debug_assertions)]
pub use poison::POISON;
#[cfg(debug_assertions)]
use poison::taste;

/// A release dies of nothing on purpose.
#[cfg(not(debug_assertions))]
fn taste(_: &[u8]) {}

/// Reads the header of one object and decodes it.
///
/// ```
/// use tilefleet::formats::image::DecodeLimits;
/// use tilefleet::stages::decode::decode_tile;
/// use tilefleet::vocabulary::chip::Bands;
/// use tilefleet::vocabulary::reason::Reason;
///
/// let bytes = std::fs::read("tests/fixtures/earlier/bucket/images/00000.jpg")?;
/// let (header, chip) = decode_tile(&bytes, &DecodeLimits::default())?;
/// assert_eq!(header.to_string(), "JPEG 70×64 rgb uint8");
/// assert_eq!((chip.bands, chip.samples.len()), (Bands::Rgb, 70 * 64 * 3));
///
/// // Whatever is wrong with an image is a reason, never a picture that is half grey.
/// let rejection = decode_tile(&bytes[..600], &DecodeLimits::default()).unwrap_err();
/// assert_eq!(rejection.reason, Reason::Truncated);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Those of [`parse_header`] and [`decode`].
pub fn decode_tile(bytes: &[u8], limits: &DecodeLimits) -> Result<(ImageHeader, Chip), Rejection> {
    let header = parse_header(bytes)?;
    let chip = decode(&header, bytes, limits, Window::whole(header.oriented_size()))?;
    Ok((header, chip))
}

/// Decodes the first page of an image, orientation applied.
///
/// - `header`: what [`parse_header`] said about the same `bytes`
/// - `needed`: the pixels that will be looked at, of [`ImageHeader::oriented_size`]; decoders that can
///   spare themselves the others leave them unspecified, after checking that their data is whole
/// - returns: `[height, width, bands]` of [`ImageHeader::oriented_size`], samples as stored
///
/// # Errors
///
/// [`Reason::TooLarge`] before anything is allocated, [`Reason::Truncated`] and [`Reason::Corrupt`]
/// for damaged data, [`Reason::Unsupported`] for layouts that are not decoded,
/// [`Reason::DecoderCrash`] if a decoder panics.
pub fn decode(
    header: &ImageHeader,
    bytes: &[u8],
    limits: &DecodeLimits,
    needed: Window,
) -> Result<Chip, Rejection> {
    let bands = check(header, limits)?;
    taste(bytes);
    let upright = header.orientation == Orientation::UPRIGHT;
    let needed = if upright { needed } else { Window::whole(header.size) };
    let samples = guard::catch_decoder_panic(|| match header.format {
        ImageFormat::Jpeg => jpeg::decode(header, bytes, limits, needed),
        ImageFormat::Png => png::decode(header, bytes, limits),
        ImageFormat::WebP => webp::decode(header, bytes, limits),
        ImageFormat::Tiff => tiff::decode(header, bytes, limits),
        ImageFormat::Dicom => unreachable!("its header is that of no picture"),
    })?;
    let chip = Chip { size: header.size, bands, samples };
    let expected = header.decoded_bytes();
    if chip.samples.num_bytes() as u64 != expected {
        let found = chip.samples.num_bytes();
        return Err(corrupt(format!("decoding gave {found} bytes, the header announces {expected}")));
    }
    Ok(orient::apply(chip, header.orientation))
}

/// Gives a chip's buffer to the next decode on this thread.
pub fn recycle(chip: Chip) {
    if let Samples::U8(samples) = chip.samples {
        tilefleet_jpeg::recycle(samples);
    }
}

/// Returns how much memory [`decode`] takes at once for an image, decoded samples included: an upper estimate from its
/// header, which the decoders are held to by a test.
#[must_use]
pub fn working_bytes(header: &ImageHeader, bytes: &[u8]) -> u64 {
    let decoded = header.decoded_bytes();
    let beside = match header.format {
        ImageFormat::Jpeg => jpeg::working_bytes(bytes),
        ImageFormat::Png => png::working_bytes(header, bytes),
        ImageFormat::WebP => webp::working_bytes(header, bytes),
        // A strip may be the whole image, and is unpacked before its samples are put in place.
        ImageFormat::Tiff | ImageFormat::Dicom => decoded.saturating_mul(2),
    };
    // Turning makes a copy, and a thread may keep its buffers for the next image.
    let copied = if header.orientation == Orientation::UPRIGHT { 0 } else { decoded };
    decoded.saturating_add(beside).saturating_add(copied)
}

/// Returns what the bands of an image will mean, if its header lets it be decoded.
///
/// # Errors
///
/// [`Reason::TooLarge`] and [`Reason::Unsupported`], as [`decode`].
pub fn check(header: &ImageHeader, limits: &DecodeLimits) -> Result<Bands, Rejection> {
    limits.check(header)?;
    bands(header)
}

fn bands(header: &ImageHeader) -> Result<Bands, Rejection> {
    Ok(match header.photometric {
        Photometric::Grey => Bands::Grey,
        Photometric::GreyAlpha => Bands::GreyAlpha,
        Photometric::Rgb | Photometric::Palette => Bands::Rgb,
        Photometric::Cmyk if header.format == ImageFormat::Jpeg => Bands::Rgb,
        Photometric::Rgba | Photometric::PaletteAlpha => Bands::Rgba,
        Photometric::Other => Bands::Many(header.num_bands),
        Photometric::Cmyk => return Err(unsupported(format!("{} in CMYK colours", header.format))),
    })
}

/// Tells truncation from other damage in the errors of decoders that read from a cursor.
fn reject_io(error: &std::io::Error) -> Rejection {
    let reason = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Reason::Truncated,
        _ => Reason::Corrupt,
    };
    Rejection::new(reason, error.to_string())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod written;
