//! JPEG, by the crate `libjpeg-turbo-rs`: the samples of C libjpeg-turbo, which models were trained on.
//!
//! libjpeg only warns where entropy-coded data is short, left over or out of step, and fills in grey.
//! [`audit`] follows every code of every scan first, so that such a file is rejected instead. Most files
//! are usual and whole: [`baseline`] decodes those in one pass, to the same samples. What the crate does not decode as
//! libjpeg does goes by way of its [`planes`].

mod audit;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod baseline;
mod bits;
mod coefficients;
mod group;
mod huffman;
mod ids;
mod kernels;
mod planes;
mod standard;
mod upsample;

use libjpeg_turbo_rs::{DecodeLimits, DecodeWarning, Decoder, JpegError, PixelFormat};

use self::audit::Found;
use self::planes::Plane;
use super::scratch;
use crate::formats::image::jpeg::{Frame, frame};
use crate::formats::image::{ImageHeader, Limits, Photometric, corrupt, truncated, unsupported};
use crate::vocabulary::chip::Samples;
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::{Reason, Rejection};

/// Tables and rows.
const OTHER_BYTES: u64 = 1 << 18;

/// Decodes a grey or RGB image, also of CMYK, or four components as they are; samples outside of `needed` are unspecified.
pub(super) fn decode(
    header: &ImageHeader,
    bytes: &[u8],
    limits: &Limits,
    needed: Window,
) -> Result<Samples, Rejection> {
    match baseline::decode(header, bytes, needed) {
        Some(samples) => Ok(Samples::U8(samples)),
        None if frame(bytes).is_some_and(|frame| frame.repeats_ids) => {
            decode_any(header, &ids::apart(bytes), limits)
        }
        None => decode_any(header, bytes, limits),
    }
}

/// Returns how much memory decoding takes beside the decoded samples, at most.
///
/// Components as they are stored, for progressive files also their coefficients, and the data without stuffing;
/// where colours lie coarser than usual, components at full size.
pub(super) fn working_bytes(header: &ImageHeader, bytes: &[u8]) -> u64 {
    let frame = frame(bytes);
    let stored = frame.as_ref().map_or(0, Frame::num_stored_samples);
    let copy = if frame.is_some_and(|frame| frame.repeats_ids) { bytes.len() as u64 } else { 0 };
    let coefficients = if header.compression == "progressive" { 2 * stored + stored / 32 } else { 0 };
    let pixels = header.size.num_pixels();
    let others = match (header.photometric, header.subsampling) {
        (Photometric::Cmyk, _) => 2 * pixels,
        (_, None | Some("4:4:4" | "4:2:2" | "4:2:0")) => 3 * bytes.len() as u64,
        _ => 3 * pixels,
    };
    stored + coefficients + copy + others + OTHER_BYTES
}

/// Decodes any kind of frame in two passes, or says what is wrong.
fn decode_any(header: &ImageHeader, bytes: &[u8], limits: &Limits) -> Result<Samples, Rejection> {
    let found = audit::check(bytes)?;
    let mut samples = if by_planes(&found) {
        decode_planes(&found, bytes, limits)?
    } else {
        decode_by_crate(&found, bytes, limits)?
    };
    if header.photometric == Photometric::Cmyk {
        rgb_of_cmyk(&mut samples);
    }
    Ok(Samples::U8(samples))
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
fn decode_planes(found: &Found, bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, Rejection> {
    let head = Decoder::new_header_only(bytes, decode_limits(limits)).map_err(|error| reject(&error))?;
    let colours = head.jpeg_color_space();
    let planes = if !found.frame.progressive {
        audit::decode_planes(bytes)?
    } else if found.complete {
        progressive_planes(bytes, limits)?
    } else {
        // libjpeg would smooth what the missing scans leave open.
        return Err(unsupported("JPEG that leaves out scans, with components of unusual sizes"));
    };
    let mut samples = scratch::take(num_samples(&found.frame));
    planes::finish(&found.frame, &planes, colours, &mut samples);
    Ok(samples)
}

fn progressive_planes(bytes: &[u8], limits: &Limits) -> Result<Vec<Plane>, Rejection> {
    let decoder = Decoder::new_with_limits(bytes, decode_limits(limits)).map_err(|error| reject(&error))?;
    let raw = decoder.decode_raw().map_err(|error| reject(&error))?;
    let planes = raw.plane_widths.into_iter().zip(raw.planes);
    Ok(planes.map(|(stride, samples)| Plane { stride, samples }).collect())
}

fn num_samples(frame: &Frame) -> usize {
    frame.size.num_pixels() as usize * frame.components.len()
}

fn decode_by_crate(found: &Found, bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, Rejection> {
    let mut decoder =
        Decoder::new_with_limits(bytes, decode_limits(limits)).map_err(|error| reject(&error))?;
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
    let mut samples = scratch::take(len);
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

fn reject(error: &JpegError) -> Rejection {
    match error {
        JpegError::UnexpectedEof => truncated("the image data ends too early"),
        JpegError::Unsupported(what) => unsupported(format!("JPEG with {what}")),
        JpegError::LimitExceeded { .. } => Rejection::new(Reason::TooLarge, error.to_string()),
        error => corrupt(error.to_string()),
    }
}
