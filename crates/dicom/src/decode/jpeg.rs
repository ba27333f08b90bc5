//! JPEG of any process (PS3.5, 8.2.1 and annex A.4.1), by the decoder of `tilefleet-jpeg`.

use tilefleet_codec::Limits;
use tilefleet_jpeg::decode_samples;
use tilefleet_jpeg_header::{Process, Segments, header, marker};

use crate::error::Error;
use crate::spec::FrameSpec;
use crate::stored::{Colours, Stored};

use super::colours_of;
use super::stream::{check_shape, finish, stream_limits};

pub(super) fn decode(spec: &FrameSpec, bytes: &[u8], limits: &Limits) -> Result<Stored, Error> {
    let image = &spec.image;
    let frame = header(bytes)?;
    check_shape(image, (frame.size.height.into(), frame.size.width.into()), frame.components.len())?;
    let decoded = decode_samples(bytes, &stream_limits(image, limits))?;
    let precision = u32::from(decoded.precision);
    // Lossless coding keeps whole cells, with overlays above the sample. A lossy sample may pass its bits by rounding,
    // and what is masked then turns from white to black.
    let bits = match decoded.process {
        Process::Lossless => precision.min(image.bits_stored.into()),
        _ => precision,
    };
    let colours = match image.samples_per_pixel {
        3 => stated_colours(bytes).map_or_else(|| colours_of(image.photometric), Ok)?,
        _ => colours_of(image.photometric)?,
    };
    Ok(finish(image, colours, bits, decoded.samples))
}

/// Returns the colours that a code stream states: by components called RGB, by Adobe's marker, by that of JFIF.
///
/// What a stream says explicitly controls decompression, whatever the data elements say (PS3.5, 8.2.1). pydicom goes by
/// the components and JFIF too, and ignores Adobe.
fn stated_colours(bytes: &[u8]) -> Option<Colours> {
    let ids: Vec<u8> = header(bytes).ok()?.components.iter().map(|component| component.id).collect();
    if matches!(ids.as_slice(), b"RGB" | b"rgb") {
        return Some(Colours::Rgb);
    }
    let mut segments = Segments::new(bytes).ok()?;
    let mut jfif = None;
    loop {
        let segment = segments.next_segment().ok()?;
        match (segment.marker, segment.body) {
            (marker::APP14, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => {
                return Some(if *transform == 0 { Colours::Rgb } else { Colours::YbrFull });
            }
            (marker::APP0, [b'J', b'F', b'I', b'F', 0, ..]) => jfif = Some(Colours::YbrFull),
            (marker::SOS | marker::EOI, _) => return jfif,
            _ => {}
        }
    }
}
