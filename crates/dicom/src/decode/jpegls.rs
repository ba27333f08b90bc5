//! JPEG-LS, lossless and near-lossless (PS3.5, 8.2.3 and annex A.4.3), by the decoder of `tilefleet-jpegls`.

use tilefleet_codec::Limits;
use tilefleet_jpegls::{decode as decode_stream, header};

use crate::error::Error;
use crate::spec::FrameSpec;
use crate::stored::Stored;

use super::colours_of;
use super::stream::{check_shape, finish, stream_limits};

pub(super) fn decode(spec: &FrameSpec, bytes: &[u8], limits: &Limits) -> Result<Stored, Error> {
    let image = &spec.image;
    let frame = header(bytes)?;
    check_shape(image, (frame.size.height.into(), frame.size.width.into()), frame.num_components())?;
    let decoded = decode_stream(bytes, &stream_limits(image, limits))?;
    Ok(finish(image, colours_of(image.photometric)?, decoded.precision.into(), decoded.samples))
}
