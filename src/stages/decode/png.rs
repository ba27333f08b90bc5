//! PNG, by the crate `png`: checksums verified, read up to the chunk IEND. Of an animation, the default image.

use std::io::Cursor;

use png::{BitDepth, DecodeOptions, Decoder, DecodingError, Transformations};

use super::reject_io;
use crate::formats::image::png::{still, with_colours_for_alphas};
use crate::formats::image::{DecodeLimits, ImageHeader, Photometric, SampleKind, corrupt, truncated};
use crate::vocabulary::chip::Samples;
use crate::vocabulary::reason::Rejection;

/// Buffers for data on its way, in and out of the inflater.
const OTHER_BYTES: u64 = 1 << 19;

/// Returns how much memory decoding takes beside the decoded samples, at most.
pub(super) fn working_bytes(header: &ImageHeader, bytes: &[u8]) -> u64 {
    let row = header.decoded_bytes() / u64::from(header.size.height.max(1));
    let is_copied = header.num_pages > 1 || header.photometric == Photometric::PaletteAlpha;
    let copy = if is_copied { bytes.len() as u64 } else { 0 };
    4 * row + copy + OTHER_BYTES
}

/// Decodes the default image; palettes, transparency and 1, 2, 4 bits are expanded.
pub(super) fn decode(
    header: &ImageHeader,
    bytes: &[u8],
    limits: &DecodeLimits,
) -> Result<Samples, Rejection> {
    let mut options = DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let still = with_colours_for_alphas(still(bytes));
    let mut decoder = Decoder::new_with_options(Cursor::new(&*still), options);
    decoder
        .set_limits(png::Limits { bytes: usize::try_from(limits.max_decoded_bytes).unwrap_or(usize::MAX) });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|error| reject(&error))?;
    let len = usize::try_from(header.decoded_bytes()).unwrap_or(usize::MAX);
    if reader.output_buffer_size() != Some(len) {
        return Err(corrupt("the chunks contradict the header"));
    }
    let depth = if header.sample_kind == SampleKind::U16 { BitDepth::Sixteen } else { BitDepth::Eight };
    let mut samples = Samples::zeroed(header.sample_kind, len / header.sample_kind.num_bytes() as usize);
    let frame = reader.next_frame(samples.bytes_mut()).map_err(|error| reject(&error))?;
    reader.finish().map_err(|error| reject(&error))?;
    if frame.bit_depth != depth {
        return Err(corrupt("the chunks contradict the header"));
    }
    if let Samples::U16(samples) = &mut samples {
        for sample in samples {
            *sample = u16::from_be(*sample);
        }
    }
    Ok(samples)
}

fn reject(error: &DecodingError) -> Rejection {
    match error {
        DecodingError::IoError(error) => reject_io(error),
        DecodingError::Format(error) if error.to_string().contains("end of") => truncated(error.to_string()),
        error => corrupt(error.to_string()),
    }
}
