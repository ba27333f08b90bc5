//! JPEG 2000 and HTJ2K (PS3.5, 8.2.4 and annex A.4.4), by the decoder of `tilefleet-jpeg2000`.

use tilefleet_jpeg2000::{ErrorKind as StreamErrorKind, Header, Image, Options, decode as decode_stream};

use crate::error::{Error, ErrorKind, corrupt, unsupported};
use crate::image::{ImageModule, Photometric};
use crate::spec::FrameSpec;
use crate::stored::{Colours, Stored};

use super::stream::{Stream, check_shape, finish};
use super::{Limits, colours_of};

/// Bytes of memory per sample, at most: coefficients, samples, tables, with room to spare.
pub(super) const BYTES_PER_SAMPLE: u64 = 32;
/// Bytes of memory of any stream.
pub(super) const OTHER_BYTES: u64 = 64 << 20;

pub(super) fn decode(spec: &FrameSpec, bytes: &[u8], limits: &Limits) -> Result<Stored, Error> {
    let image = &spec.image;
    let header = Header::parse(bytes).map_err(ours)?;
    check_shape(image, (header.height.into(), header.width.into()), header.components.len())?;
    let options = Options {
        limits: tilefleet_jpeg2000::Limits {
            max_pixels: limits.max_pixels,
            max_bytes: OTHER_BYTES + BYTES_PER_SAMPLE * image.num_samples(),
        },
        skipped_levels: 0,
        strict: spec.lossless,
    };
    let decoded = decode_stream(bytes, &options).map_err(ours)?;
    let bits = bits_of(&decoded)?;
    Ok(finish(image, colours(image, &header)?, bits, Stream::I32(interleaved(image, decoded)?)))
}

/// The decoder has undone the transform of components, so that what it made is RGB (PS3.3, C.7.6.3.1.2). Colours called
/// so without a transform in the stream are RGB too, as pydicom has it.
fn colours(image: &ImageModule, header: &Header) -> Result<Colours, Error> {
    match image.photometric {
        Photometric::YbrRct | Photometric::YbrIct => Ok(Colours::Rgb),
        Photometric::YbrFull | Photometric::YbrFull422 if header.component_transform => Ok(Colours::Rgb),
        photometric => colours_of(photometric),
    }
}

fn bits_of(decoded: &Image) -> Result<u32, Error> {
    let bits = decoded.planes.first().map_or(0, |plane| plane.bits);
    if decoded.planes.iter().any(|plane| plane.bits != bits) {
        return Err(unsupported("components of different precision"));
    }
    Ok(bits.into())
}

fn interleaved(image: &ImageModule, decoded: Image) -> Result<Vec<i32>, Error> {
    let mut planes = decoded.planes;
    let num_pixels = image.num_pixels() as usize;
    if planes.iter().any(|plane| plane.samples.len() != num_pixels) {
        return Err(unsupported("components of different size"));
    }
    match planes.as_mut_slice() {
        [plane] => Ok(std::mem::take(&mut plane.samples)),
        [first, second, third] => Ok((first.samples.iter().zip(&second.samples).zip(&third.samples))
            .flat_map(|((&first, &second), &third)| [first, second, third])
            .collect()),
        _ => Err(corrupt("neither one component nor three")),
    }
}

/// Says what the decoder says; its words are of codes and numbers only.
fn ours(error: tilefleet_jpeg2000::Error) -> Error {
    let kind = match error.kind {
        StreamErrorKind::Truncated => ErrorKind::Truncated,
        StreamErrorKind::Corrupt => ErrorKind::Corrupt,
        StreamErrorKind::Unsupported => ErrorKind::Unsupported,
        StreamErrorKind::TooLarge => ErrorKind::TooLarge,
    };
    Error { kind, detail: error.to_string() }
}
