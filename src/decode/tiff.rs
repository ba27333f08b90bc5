//! Plain TIFF, by the crate `tiff`: grey, RGB, alpha and many-band pages of 8, 16 bits or float32.

use std::io::Cursor;

use tiff::TiffError;
use tiff::decoder::{Decoder, DecodingResult, Limits as TiffLimits};

use super::reject_io;
use crate::decode::chip::Samples;
use crate::format::image::{ImageHeader, Limits, SampleKind, corrupt, unsupported};
use crate::reason::Rejection;

/// Decodes the first page.
pub(super) fn decode(header: &ImageHeader, bytes: &[u8], limits: &Limits) -> Result<Samples, Rejection> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(reject)?.with_limits(tiff_limits(limits));
    let size = decoder.dimensions().map_err(reject)?;
    if size != (header.size.width, header.size.height) {
        return Err(corrupt("the page contradicts the header"));
    }
    match (header.sample_kind, decoder.read_image().map_err(reject)?) {
        (SampleKind::U8, DecodingResult::U8(samples)) => Ok(Samples::U8(samples)),
        (SampleKind::U16, DecodingResult::U16(samples)) => Ok(Samples::U16(samples)),
        (SampleKind::F32, DecodingResult::F32(samples)) => Ok(Samples::F32(samples)),
        _ => Err(corrupt("the page contradicts the header")),
    }
}

fn tiff_limits(limits: &Limits) -> TiffLimits {
    let bytes = usize::try_from(limits.max_decoded_bytes).unwrap_or(usize::MAX);
    let mut tiff_limits = TiffLimits::default();
    tiff_limits.decoding_buffer_size = bytes;
    tiff_limits.intermediate_buffer_size = bytes;
    tiff_limits
}

fn reject(error: TiffError) -> Rejection {
    match error {
        TiffError::IoError(error) => reject_io(&error),
        TiffError::UnsupportedError(error) => unsupported(error.to_string()),
        error => corrupt(error.to_string()),
    }
}
