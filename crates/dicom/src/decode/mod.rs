//! Bytes of a frame become its stored values, each by the codec of its transfer syntax.

mod cells;
mod jpeg;
mod jpeg2000;
mod jpegls;
mod jpegxl;
mod native;
mod rle;
mod stream;

use std::borrow::Cow;

use tilefleet_codec::Limits;

use crate::error::{Error, too_large, truncated, unsupported};
use crate::frames::payload;
use crate::image::{ImageModule, Photometric};
use crate::inflate::Stream;
use crate::spec::FrameSpec;
use crate::stored::{Colours, Stored};
use crate::syntax::Codec;

/// Decodes a frame to its stored values.
///
/// - `fragments`: what lies in the ranges of its [`FrameBytes`](crate::FrameBytes), one after the other
/// - returns: values of Bits Stored bits, shifted down from High Bit, other bits masked, with their sign
///
/// # Errors
///
/// `Truncated` and `Corrupt` for damaged frames, also such as contradict the header; `Unsupported` for a code stream
/// that nothing here reads; `TooLarge` beyond the limits, before anything is allocated.
///
/// # Reference
///
/// PS3.5, 8.1 (native), 8.2 and annex A.4 (compressed).
pub fn decode_frame(spec: &FrameSpec, fragments: &[u8], limits: &Limits) -> Result<Stored, Error> {
    check_limits(&spec.image, limits)?;
    if spec.codec == Codec::Native {
        return native::decode(spec, &native_bytes(spec, fragments)?);
    }
    let payload = payload(fragments)?;
    match spec.codec {
        Codec::Native | Codec::EncapsulatedNative => native::decode(spec, &payload),
        Codec::DeflatedFrame => native::decode(spec, &inflated_frame(spec, &payload)?),
        Codec::Rle => rle::decode(spec, &payload),
        Codec::JpegBaseline | Codec::JpegExtended | Codec::JpegLossless => {
            jpeg::decode(spec, &payload, limits)
        }
        Codec::JpegLs => jpegls::decode(spec, &payload, limits),
        Codec::Jpeg2000 => jpeg2000::decode(spec, &payload, limits),
        Codec::JpegXl => jpegxl::decode(spec, &payload),
        Codec::Video | Codec::Unknown => Err(unsupported("no decoder for this transfer syntax")),
    }
}

impl FrameSpec {
    /// Returns how much memory [`decode_frame`] takes at most, with the stored values, but without the fragments.
    ///
    /// A thread keeps up to 112 MiB between frames, so that they need no fresh memory.
    ///
    /// - `num_fragment_bytes`: bytes of the fragments, which some codecs copy
    #[must_use]
    pub fn working_bytes(&self, num_fragment_bytes: u64) -> u64 {
        let samples = self.image.num_samples();
        let own = match self.codec {
            Codec::Jpeg2000 => jpeg2000::OTHER_BYTES + jpeg2000::BYTES_PER_SAMPLE * samples,
            Codec::JpegXl => jpegxl::OTHER_BYTES + jpegxl::BYTES_PER_SAMPLE * samples,
            // Planes and coefficients of 8 and 12 bits, the data without stuffing.
            Codec::JpegBaseline | Codec::JpegExtended => (1 << 20) + 8 * samples + 3 * num_fragment_bytes,
            Codec::JpegLossless | Codec::JpegLs => (1 << 20) + 2 * samples + 3 * num_fragment_bytes,
            // A second arrangement of the cells.
            _ => self.image.decoded_bytes() + num_fragment_bytes + (1 << 17),
        };
        self.image.decoded_bytes() + own
    }
}

fn check_limits(image: &ImageModule, limits: &Limits) -> Result<(), Error> {
    let (pixels, bytes) = (image.num_pixels(), image.decoded_bytes());
    if pixels > limits.max_pixels || bytes > limits.max_decoded_bytes {
        return Err(too_large(format!("{} × {} pixels, {bytes} bytes decoded", image.columns, image.rows)));
    }
    Ok(())
}

/// Takes a frame out of a deflated data set; any other is there already.
fn native_bytes<'a>(spec: &FrameSpec, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
    let Some(at) = spec.inflated_at else { return Ok(Cow::Borrowed(bytes)) };
    let mut stream = Stream::new(bytes);
    stream.skip(at)?;
    Ok(Cow::Owned(inflate(spec, &mut stream)?))
}

/// Inflates a frame that is deflated by itself (PS3.5, annex A.4.13).
fn inflated_frame(spec: &FrameSpec, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    inflate(spec, &mut Stream::new(bytes))
}

fn inflate(spec: &FrameSpec, stream: &mut Stream<'_>) -> Result<Vec<u8>, Error> {
    let len = (spec.first_bit + spec.image.native_frame_bits()).div_ceil(8);
    let mut frame = vec![0; len as usize];
    if stream.fill(&mut frame)? < frame.len() {
        return Err(truncated("the deflated stream ends within the frame"));
    }
    Ok(frame)
}

/// Returns what samples mean that no codec has changed.
fn colours_of(photometric: Photometric) -> Result<Colours, Error> {
    Ok(match photometric {
        Photometric::Monochrome1 | Photometric::Monochrome2 | Photometric::PaletteColor => Colours::Single,
        Photometric::Rgb => Colours::Rgb,
        Photometric::YbrFull | Photometric::YbrFull422 => Colours::YbrFull,
        // These are made by a codec, and only that one undoes them (PS3.3, C.7.6.3.1.2).
        Photometric::YbrIct | Photometric::YbrRct | Photometric::Xyb => {
            return Err(unsupported(format!("{} without its codec", photometric.term())));
        }
    })
}
