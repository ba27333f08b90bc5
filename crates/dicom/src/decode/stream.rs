//! Samples of a code stream become stored values.
//!
//! Where code stream and header disagree:
//!
//! - about size or samples per pixel, the frame is an error;
//! - about bits, the code stream is right: what it says explicitly controls decompression, and the data elements are
//!   suggestions (PS3.5, 8.2.1 to 8.2.4). pydicom keeps the stream's bits of JPEG 2000 and JPEG-LS, and masks those of
//!   JPEG;
//! - about the sign, a stream of JPEG 2000 is decompressed by its own, and Pixel Representation says what the bits of
//!   that precision mean: encoders that are given bits without a sign write such files. JPEG and JPEG-LS have no sign at
//!   all. pydicom does the same.

use tilefleet_codec::{Limits, Samples as StreamSamples};

use crate::error::{Error, corrupt};
use crate::image::ImageModule;
use crate::stored::{Colours, Samples, Stored};

use super::cells::{Cell, Field, stored};

/// Returns the limits of a code stream in a frame that is within its own: samples of as many bytes as the stream likes.
pub(super) fn stream_limits(image: &ImageModule, limits: &Limits) -> Limits {
    Limits { max_decoded_bytes: limits.max_decoded_bytes.max(2 * image.num_samples()), ..*limits }
}

/// Compares the shape of a code stream with that of the header.
pub(super) fn check_shape(
    image: &ImageModule,
    (rows, columns): (u64, u64),
    samples: usize,
) -> Result<(), Error> {
    if (rows, columns) != (image.rows.into(), image.columns.into()) {
        let (own_rows, own_columns) = (image.rows, image.columns);
        return Err(corrupt(format!(
            "a code stream of {rows} × {columns}, and {own_rows} × {own_columns} are declared"
        )));
    }
    if samples != usize::from(image.samples_per_pixel) {
        let own = image.samples_per_pixel;
        return Err(corrupt(format!("a code stream of {samples} samples per pixel, and {own} are declared")));
    }
    Ok(())
}

/// Makes stored values of so many bits, in the type that Bits Allocated asks for, or a larger one if need be.
///
/// - `samples`: interleaved
pub(super) fn finish(image: &ImageModule, colours: Colours, bits: u32, samples: StreamSamples) -> Stored {
    let field = field(image, bits);
    let values = match (bits.max(image.bits_allocated.into()), samples) {
        (..=8, StreamSamples::U8(samples)) => Cell::meanings(samples, field),
        (9..=16, StreamSamples::U16(samples)) => Cell::meanings(samples, field),
        (..=8, StreamSamples::U16(samples)) => converted(samples.into_iter(), |sample| sample as u8, field),
        (9..=16, StreamSamples::U8(samples)) => converted(samples.into_iter(), u16::from, field),
        (_, StreamSamples::U8(samples)) => converted(samples.into_iter(), u32::from, field),
        (_, StreamSamples::U16(samples)) => converted(samples.into_iter(), u32::from, field),
    };
    stored(image, colours, field, values)
}

/// Makes stored values likewise, of samples that may have a sign: their lowest bits count.
pub(super) fn finish_signed(
    image: &ImageModule,
    colours: Colours,
    bits: u32,
    samples: impl Iterator<Item = i32>,
) -> Stored {
    let field = field(image, bits);
    let values = match bits.max(image.bits_allocated.into()) {
        ..=8 => converted(samples, |sample| sample as u8, field),
        9..=16 => converted(samples, |sample| sample as u16, field),
        _ => converted(samples, |sample| sample as u32, field),
    };
    stored(image, colours, field, values)
}

fn field(image: &ImageModule, bits: u32) -> Field {
    Field { low: 0, bits: bits.clamp(1, 32), signed: image.signed }
}

fn converted<S, T: Cell>(samples: impl Iterator<Item = S>, cell: impl Fn(S) -> T, field: Field) -> Samples {
    T::meanings(samples.map(cell).collect(), field)
}
