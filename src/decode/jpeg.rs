//! JPEG, by the crate `libjpeg-turbo-rs`: the samples of C libjpeg-turbo, which models were trained on.
//!
//! libjpeg only warns where entropy-coded data is short, left over or out of step, and fills in grey.
//! [`audit`] follows every code of every scan first, so that such a file is rejected instead. Most files
//! are usual and whole: [`baseline`] decodes those in one pass, to the same samples.

mod audit;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod baseline;
mod bits;
mod coefficients;
mod group;
mod huffman;
mod kernels;
mod upsample;

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

use super::scratch;
use crate::decode::chip::Samples;
use crate::format::image::{ImageHeader, Limits, Photometric, corrupt, truncated, unsupported};
use crate::geometry::Window;
use crate::reason::{Reason, Rejection};

/// Decodes a grey or RGB image, or four components as they are; samples outside of `needed` are unspecified.
pub(super) fn decode(
    header: &ImageHeader,
    bytes: &[u8],
    limits: &Limits,
    needed: Window,
) -> Result<Samples, Rejection> {
    match baseline::decode(header, bytes, needed) {
        Some(samples) => Ok(Samples::U8(samples)),
        None => decode_any(header, bytes, limits),
    }
}

/// Decodes any kind of frame in two passes, or says what is wrong.
fn decode_any(header: &ImageHeader, bytes: &[u8], limits: &Limits) -> Result<Samples, Rejection> {
    audit::check(bytes)?;
    let mut decoder = Decoder::new_with_limits(bytes, decode_limits(limits)).map_err(|e| reject(&e))?;
    decoder.set_output_format(match header.photometric {
        Photometric::Grey => PixelFormat::Grayscale,
        Photometric::Cmyk => PixelFormat::Cmyk,
        _ => PixelFormat::Rgb,
    });
    // As libjpeg does by default; it only touches progressive files that leave out their last scans.
    decoder.set_block_smoothing(true);
    let len = usize::try_from(header.decoded_bytes()).unwrap_or(usize::MAX);
    if decoder.output_buffer_size().map_err(|e| reject(&e))? != len {
        return Err(corrupt("the frame contradicts the header"));
    }
    let mut samples = scratch::take(len);
    let info = decoder.decode_image_into(&mut samples).map_err(|e| reject(&e))?;
    if info.bytes_written != len || !info.warnings.is_empty() {
        let warning = info.warnings.first().map_or_else(|| "too few samples".to_owned(), ToString::to_string);
        return Err(corrupt(warning));
    }
    Ok(Samples::U8(samples))
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
