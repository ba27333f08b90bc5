//! PNG, by the crate `png`: checksums verified, read up to the chunk IEND.

use std::io::Cursor;

use png::{BitDepth, DecodeOptions, Decoder, DecodingError, Transformations};

use super::reject_io;
use crate::decode::chip::Samples;
use crate::format::image::{ImageHeader, Limits, SampleKind, corrupt, truncated};
use crate::reason::Rejection;

/// Decodes the default image; palettes, transparency and 1, 2, 4 bits are expanded.
pub(super) fn decode(header: &ImageHeader, bytes: &[u8], limits: &Limits) -> Result<Samples, Rejection> {
    let mut options = DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
    decoder
        .set_limits(png::Limits { bytes: usize::try_from(limits.max_decoded_bytes).unwrap_or(usize::MAX) });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|error| reject(&error))?;
    let len = usize::try_from(header.decoded_bytes()).unwrap_or(usize::MAX);
    if reader.output_buffer_size() != Some(len) {
        return Err(corrupt("the chunks contradict the header"));
    }
    let mut samples = vec![0; len];
    let frame = reader.next_frame(&mut samples).map_err(|error| reject(&error))?;
    reader.finish().map_err(|error| reject(&error))?;
    match (header.sample_kind, frame.bit_depth) {
        (SampleKind::U8, BitDepth::Eight) => Ok(Samples::U8(samples)),
        (SampleKind::U16, BitDepth::Sixteen) => Ok(Samples::U16(native(&samples))),
        _ => Err(corrupt("the chunks contradict the header")),
    }
}

fn native(big_endian: &[u8]) -> Vec<u16> {
    big_endian.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

fn reject(error: &DecodingError) -> Rejection {
    match error {
        DecodingError::IoError(error) => reject_io(error),
        DecodingError::Format(error) if error.to_string().contains("end of") => truncated(error.to_string()),
        error => corrupt(error.to_string()),
    }
}
