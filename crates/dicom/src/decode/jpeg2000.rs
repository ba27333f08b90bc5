//! JPEG 2000 and HTJ2K (PS3.5, 8.2.4 and annex A.4.4), by the decoder of `tilefleet-jpeg2000`.

use std::cell::Cell;

use tilefleet_codec::Limits;
use tilefleet_jpeg2000::{Decoder, Header, Image, Options};

use crate::error::{Error, corrupt, unsupported};
use crate::image::{ImageModule, Photometric};
use crate::spec::FrameSpec;
use crate::stored::{Colours, Stored};

use super::colours_of;
use super::stream::{check_shape, finish_signed};

/// Bytes of memory per sample, at most: coefficients, samples, tables, with room to spare.
pub(super) const BYTES_PER_SAMPLE: u64 = 32;
/// Bytes of memory of any stream.
pub(super) const OTHER_BYTES: u64 = 64 << 20;

/// Frames of more samples leave no memory to the next one: 4,096 × 1,024.
const MAX_KEPT_SAMPLES: u64 = 4 << 20;

thread_local! {
    /// Its buffers serve one frame after another: fresh memory takes longer than the transforms.
    static DECODER: Cell<Decoder> = Cell::new(Decoder::new());
}

pub(super) fn decode(spec: &FrameSpec, bytes: &[u8], limits: &Limits) -> Result<Stored, Error> {
    let image = &spec.image;
    let header = Header::parse(bytes)?;
    check_shape(image, (header.height.into(), header.width.into()), header.components.len())?;
    let options = Options {
        limits: Limits { max_decoded_bytes: OTHER_BYTES + BYTES_PER_SAMPLE * image.num_samples(), ..*limits },
        skipped_levels: 0,
        strict: spec.lossless,
    };
    let colours = colours(image, &header)?;
    let mut decoder = DECODER.take();
    let decoded = decoder.decode(bytes, &options)?;
    let stored = stored(image, colours, &decoded)?;
    if image.num_samples() <= MAX_KEPT_SAMPLES {
        decoder.recycle(decoded);
        DECODER.set(decoder);
    }
    Ok(stored)
}

fn stored(image: &ImageModule, colours: Colours, decoded: &Image) -> Result<Stored, Error> {
    let bits = bits_of(decoded)?;
    let num_pixels = image.num_pixels() as usize;
    if decoded.planes.iter().any(|plane| plane.samples.len() != num_pixels) {
        return Err(unsupported("components of different size"));
    }
    match decoded.planes.as_slice() {
        [plane] => Ok(finish_signed(image, colours, bits, plane.samples.iter().copied())),
        [first, second, third] => {
            let pixels = first.samples.iter().zip(&second.samples).zip(&third.samples);
            let samples = pixels.flat_map(|((&first, &second), &third)| [first, second, third]);
            Ok(finish_signed(image, colours, bits, samples))
        }
        _ => Err(corrupt("neither one component nor three")),
    }
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
