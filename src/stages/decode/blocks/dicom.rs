//! Frames of DICOM objects: values as they are stored, and what the code stream says of them.

use serde::{Deserialize, Serialize};
use tilefleet_dicom::{Colours, Limits, Stored, decode_frame};

use super::BlockDecoder;
use crate::formats::dicom::{DicomFrame, from_dicom};
use crate::formats::raster::BlockSpec;
use crate::vocabulary::chip::Samples;
use crate::vocabulary::reason::Rejection;

/// What a code stream says of the values of a frame, as in [`tilefleet_dicom::Stored`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredValues {
    /// Samples per pixel.
    pub samples_per_pixel: u16,
    /// What samples mean.
    pub colours: Colours,
    /// Bits of a value.
    pub bits: u16,
    /// Whether values have a sign.
    pub signed: bool,
}

pub(super) struct DicomDecoder;

impl BlockDecoder for DicomDecoder {
    fn decode(&self, spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection> {
        let frame = spec.stored.dicom.as_ref().expect("blocks of DICOM files have it");
        decode(frame, stored).map(|(samples, _)| samples)
    }
}

pub(super) fn decode(frame: &DicomFrame, stored: &[u8]) -> Result<(Samples, StoredValues), Rejection> {
    // What is allocated follows from the header, which planning and fetching have compared with the limits.
    let num_pixels = frame.0.image().num_pixels();
    let limits = Limits { max_pixels: num_pixels, max_decoded_bytes: num_pixels.saturating_mul(3 * 8) };
    let decoded = decode_frame(&frame.0, stored, &limits)?;
    let Stored { samples_per_pixel, colours, bits, signed, .. } = decoded;
    let values = StoredValues { samples_per_pixel, colours, bits, signed };
    Ok((from_dicom(decoded.values), values))
}
