//! Decodes JPEG to the samples of C libjpeg-turbo, which models were trained on, and rejects damaged files.
//!
//! In goes a whole file, out come interleaved samples. [`decode`] is for pictures, 8 bits in grey, RGB, or four
//! components; [`decode_samples`] for DICOM, components as they are stored, 2 to 16 bits. The transform, the
//! interpolation of chroma and the colours are those of libjpeg-turbo, bit for bit. What stands here:
//!
//! - A decoder in one pass (`baseline`) for the usual file: a grey or YCbCr frame in one sequential scan. It decodes a
//!   part of the rows and columns where no more is needed. Any file that is unusual or damaged is left to the next.
//! - An audit (`audit`) that follows every code of every scan before the crate decodes. libjpeg warns of damaged data
//!   and fills in grey. The crate's strict mode rejects files that end early; the audit adds bytes left over behind a
//!   segment, restart markers out of order, and those flipped bits that change a code's length. A flipped bit that only
//!   changes a value gives a sound file with other samples: nobody can tell.
//! - `planes`: files that the crate does not decode as libjpeg does (components in scans of their own, unusual sampling
//!   factors), or whose components stay as they are stored.
//! - `extended`: 12 bits per sample, sequential, followed by the audit as well; `lossless`: prediction and difference.
//!
//! Nothing here knows TIFF, Exif or colour profiles. The AVX-512 versions have the samples of the plain ones.

mod audit;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod baseline;
mod bits;
mod buffer;
mod coefficients;
mod extended;
#[cfg(test)]
mod extended_tests;
mod group;
mod huffman;
mod ids;
mod kernels;
mod lossless;
#[cfg(test)]
mod lossless_tests;
#[cfg(test)]
mod oracle_tests;
mod planes;
mod samples;
mod standard;
#[cfg(test)]
mod test_files;
#[cfg(test)]
mod test_lossless;
#[cfg(test)]
mod tests;
mod transform;
mod upsample;

use libjpeg_turbo_rs::{ColorSpace, DecodeLimits, DecodeWarning, Decoder, JpegError, PixelFormat};
use tilefleet_codec::{corrupt, too_large, truncated, unsupported};
use tilefleet_jpeg_header::segments;

use self::audit::Found;
use self::planes::Plane;

pub use self::buffer::{recycle, spare};
pub use self::samples::{Decoded, decode_samples};
pub use tilefleet_codec::{Error, ErrorKind, Limits, Samples, Size, Window};
pub use tilefleet_jpeg_header::{
    Component, Frame, Header, Process, Segment, Segments, frame, header, is_frame, marker,
};

/// What becomes of the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colours {
    /// YCbCr becomes RGB; four components are inverted CMYK, and become RGB by Pillow's rule.
    Rgb,
    /// YCbCr becomes RGB, and YCCK becomes CMYK, which stays as it is.
    RgbOrCmyk,
    /// Components stay as they are, whatever they mean: of DICOM, the Photometric Interpretation says it (PS3.5, 8.2.1).
    AsStored,
}

/// What is asked for, and how much it may take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Samples outside of it are unspecified; `None`: all are needed.
    pub needed: Option<Window>,
    /// What becomes of the colours.
    pub colours: Colours,
    /// How much it may take.
    pub limits: Limits,
}

/// Tables and rows.
const OTHER_BYTES: u64 = 1 << 18;

/// Decodes a grey or RGB image, also of CMYK, or four components as they are.
///
/// - returns: `[height, width, components]`, row-major, 8 bits
///
/// # Errors
///
/// [`ErrorKind::Truncated`] and [`ErrorKind::Corrupt`] for damaged files, [`ErrorKind::Unsupported`] for frames that are
/// not 8-bit Huffman-coded DCT, [`ErrorKind::TooLarge`] beyond the limits.
///
/// # Reference
///
/// ITU-T T.81; the samples are those of libjpeg-turbo's `tjDecompress2` with the accurate integer transform and fancy
/// upsampling.
pub fn decode(bytes: &[u8], options: &Options) -> Result<Vec<u8>, Error> {
    if let Some(samples) = baseline::decode(bytes, options) {
        return Ok(samples);
    }
    match frame(bytes) {
        Some(frame) if frame.repeats_ids => decode_audited(&ids::apart(bytes), options),
        _ => decode_audited(bytes, options),
    }
}

/// Returns how much memory decoding takes at most beside the decoded samples.
///
/// Whichever decoder it is: components as they are stored, for progressive files also their coefficients, and the data
/// without stuffing; where colours lie coarser than usual, components at full size.
#[must_use]
pub fn working_bytes(bytes: &[u8]) -> u64 {
    let Some(frame) = frame(bytes) else {
        let is_extended = |header: &Header| header.precision == 12 && header.process != Process::Lossless;
        let extended = header(bytes).ok().filter(is_extended).as_ref().map_or(0, extended::working_bytes);
        return extended + OTHER_BYTES + 3 * bytes.len() as u64;
    };
    let stored = frame.num_stored_samples();
    let copy = if frame.repeats_ids { bytes.len() as u64 } else { 0 };
    let coefficients = if frame.progressive { 2 * stored + stored / 32 } else { 0 };
    let pixels = frame.size.num_pixels();
    let others = match (frame.components.len(), frame.subsampling()) {
        (4, _) => 2 * pixels,
        (_, None | Some("4:4:4" | "4:2:2" | "4:2:0")) => 3 * bytes.len() as u64,
        _ => 3 * pixels,
    };
    stored + coefficients + copy + others + OTHER_BYTES
}

/// Decodes as [`decode`] does, but never in one pass: what that is compared with.
///
/// # Errors
///
/// As [`decode`], but for files that give two components one id.
pub fn decode_audited(bytes: &[u8], options: &Options) -> Result<Vec<u8>, Error> {
    let found = audit::check(bytes)?;
    let limits = decode_limits(&options.limits);
    let as_stored = options.colours == Colours::AsStored;
    let mut samples = if as_stored || by_planes(&found) {
        decode_planes(&found, bytes, limits, as_stored)?
    } else {
        decode_by_crate(&found, bytes, limits)?
    };
    if options.colours == Colours::Rgb && found.frame.components.len() == 4 {
        rgb_of_cmyk(&mut samples);
    }
    Ok(samples)
}

/// Tells the files that the crate does not decode, or not to the samples of libjpeg.
fn by_planes(found: &Found) -> bool {
    let components = &found.frame.components;
    let factors = || components.iter().map(|component| (component.h, component.v));
    let grouped = !found.frame.progressive && found.num_scans > 1;
    let odd = match components.len() {
        3 => factors().any(|(h, v)| h > components[0].h || v > components[0].v),
        _ => factors().any(|own| own != (components[0].h, components[0].v)),
    };
    grouped || odd
}

/// Decodes the components as they are stored, then brings them together.
fn decode_planes(
    found: &Found,
    bytes: &[u8],
    limits: DecodeLimits,
    as_stored: bool,
) -> Result<Vec<u8>, Error> {
    let head = Decoder::new_header_only(bytes, limits).map_err(|error| reject(&error))?;
    let colours = if as_stored { ColorSpace::Unknown } else { head.jpeg_color_space() };
    let planes = if !found.frame.progressive {
        audit::decode_planes(bytes)?.1
    } else if found.complete {
        progressive_planes(bytes, limits)?
    } else {
        // libjpeg would smooth what the missing scans leave open.
        return Err(unsupported("JPEG that leaves out scans, with components of unusual sizes"));
    };
    let mut samples = spare(num_samples(&found.frame));
    planes::finish(&found.frame, &planes, &mut samples, |rows, out| planes::convert(rows, colours, out));
    Ok(samples)
}

fn progressive_planes(bytes: &[u8], limits: DecodeLimits) -> Result<Vec<Plane<u8>>, Error> {
    let decoder = Decoder::new_with_limits(bytes, limits).map_err(|error| reject(&error))?;
    let raw = decoder.decode_raw().map_err(|error| reject(&error))?;
    let planes = raw.plane_widths.into_iter().zip(raw.planes);
    Ok(planes.map(|(stride, samples)| Plane { stride, samples }).collect())
}

fn num_samples(frame: &Frame) -> usize {
    frame.size.num_pixels() as usize * frame.components.len()
}

fn decode_by_crate(found: &Found, bytes: &[u8], limits: DecodeLimits) -> Result<Vec<u8>, Error> {
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(|error| reject(&error))?;
    decoder.set_output_format(match found.frame.components.len() {
        1 => PixelFormat::Grayscale,
        3 => PixelFormat::Rgb,
        _ => PixelFormat::Cmyk,
    });
    // As libjpeg does by default; it only touches progressive files that leave out their last scans.
    decoder.set_block_smoothing(true);
    let len = num_samples(&found.frame);
    if decoder.output_buffer_size().map_err(|error| reject(&error))? != len {
        return Err(corrupt("the frame contradicts the header"));
    }
    let mut samples = spare(len);
    let info = decoder.decode_image_into(&mut samples).map_err(|error| reject(&error))?;
    // The audit has found those bytes to lie between the segments of the header.
    let harmless = |warning: &DecodeWarning| matches!(warning, DecodeWarning::ExtraneousData { .. });
    let warning = info.warnings.iter().find(|warning| !harmless(warning));
    if info.bytes_written != len || warning.is_some() {
        return Err(corrupt(warning.map_or_else(|| "too few samples".to_owned(), ToString::to_string)));
    }
    Ok(samples)
}

/// Converts as Pillow does: a CMYK JPEG counts as inverted, as Adobe writes it, whoever wrote it (`JpegImagePlugin`,
/// "CMYK;I"); then `convert("RGB")` (`Convert.c`, `cmyk2rgb`), without the colour profile.
fn rgb_of_cmyk(samples: &mut Vec<u8>) {
    let num_pixels = samples.len() / 4;
    for pixel in 0..num_pixels {
        let (ink, black) = (&samples[4 * pixel..4 * pixel + 3], u32::from(samples[4 * pixel + 3]));
        let rgb = [ink[0], ink[1], ink[2]].map(|light| {
            let product = u32::from(!light) * black + 128;
            (black - ((product + (product >> 8)) >> 8)) as u8
        });
        samples[3 * pixel..3 * pixel + 3].copy_from_slice(&rgb);
    }
    samples.truncate(3 * num_pixels);
}

fn decode_limits(limits: &Limits) -> DecodeLimits {
    DecodeLimits {
        max_pixels: limits.max_pixels,
        max_scans: audit::MAX_SCANS,
        // Planes, and for progressive files the coefficients: at most 2 + 6 bytes for 3 of output.
        max_memory: Some(limits.max_decoded_bytes.saturating_mul(8)),
        ..DecodeLimits::default()
    }
}

fn reject(error: &JpegError) -> Error {
    match error {
        JpegError::UnexpectedEof => truncated("the image data ends too early"),
        JpegError::Unsupported(what) => unsupported(format!("JPEG with {what}")),
        JpegError::LimitExceeded { .. } => too_large(error.to_string()),
        error => corrupt(error.to_string()),
    }
}
