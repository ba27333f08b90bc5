//! WebP, by the crate `image-webp`: lossy and lossless still images.

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use super::reject_io;
use crate::decode::chip::Samples;
use crate::format::image::{ImageHeader, Limits, corrupt, truncated};
use crate::reason::Rejection;

/// Decodes a still image to RGB or RGBA.
pub(super) fn decode(header: &ImageHeader, bytes: &[u8], limits: &Limits) -> Result<Samples, Rejection> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|error| reject(&error))?;
    decoder.set_memory_limit(usize::try_from(limits.max_decoded_bytes).unwrap_or(usize::MAX));
    let len = usize::try_from(header.decoded_bytes()).unwrap_or(usize::MAX);
    if decoder.output_buffer_size() != Some(len) {
        return Err(corrupt("the chunks contradict the header"));
    }
    let mut samples = vec![0; len];
    decoder.read_image(&mut samples).map_err(|error| reject(&error))?;
    Ok(Samples::U8(samples))
}

fn reject(error: &DecodingError) -> Rejection {
    match error {
        DecodingError::IoError(error) => reject_io(error),
        DecodingError::BitStreamError => truncated("the image data ends too early"),
        error => corrupt(error.to_string()),
    }
}
