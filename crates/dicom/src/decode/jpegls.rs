//! JPEG-LS, lossless and near-lossless (PS3.5, 8.2.3 and annex A.4.3), by the decoder of `tilefleet-jpegls`.

use tilefleet_jpeg_header::{Limits as JpegLimits, Samples as JpegSamples};
use tilefleet_jpegls::{decode as decode_stream, header};

use crate::error::Error;
use crate::spec::FrameSpec;
use crate::stored::Stored;

use super::jpeg::ours;
use super::stream::{Stream, check_shape, finish};
use super::{Limits, colours_of};

pub(super) fn decode(spec: &FrameSpec, bytes: &[u8], limits: &Limits) -> Result<Stored, Error> {
    let image = &spec.image;
    let frame = header(bytes).map_err(ours)?;
    check_shape(image, (frame.size.height.into(), frame.size.width.into()), frame.num_components())?;
    let limits = JpegLimits {
        max_pixels: limits.max_pixels,
        max_decoded_bytes: limits.max_decoded_bytes.max(2 * image.num_samples()),
    };
    let decoded = decode_stream(bytes, &limits).map_err(ours)?;
    let samples = match decoded.samples {
        JpegSamples::U8(samples) => Stream::U8(samples),
        JpegSamples::U16(samples) => Stream::U16(samples),
    };
    Ok(finish(image, colours_of(image.photometric)?, decoded.precision.into(), samples))
}
