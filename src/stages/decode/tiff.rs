//! TIFF as one picture: the first page as a whole, with black as 0 and palettes as colours.
//!
//! Blocks are decoded as those of a scene are; `Picture` says what its samples then become.

use super::blocks::{decode_block, read_all};
use crate::formats::image::{DecodeLimits, ImageHeader, Picture, corrupt};
use crate::formats::raster::BlockGrid;
use crate::formats::tiff::first_page;
use crate::vocabulary::chip::Samples;
use crate::vocabulary::reason::{Reason, Rejection};

/// Decodes the first page.
pub(super) fn decode(
    header: &ImageHeader,
    bytes: &[u8],
    limits: &DecodeLimits,
) -> Result<Samples, Rejection> {
    let (page, table) = first_page(bytes)?;
    let (picture, palette) = Picture::parse(bytes, &page)?;
    if (page.size, picture.num_bands, picture.kind) != (header.size, header.num_bands, header.sample_kind) {
        return Err(corrupt("the page contradicts the header"));
    }
    let block_bytes = page.max_block_bytes();
    if block_bytes > limits.max_decoded_bytes {
        let limit = limits.max_decoded_bytes;
        let detail =
            format!("a block of {} decodes to {block_bytes} bytes, the limit is {limit}", page.block);
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    let samples = read_all(&page, |id| {
        let stored = table.range(id)?.map(|range| &bytes[range.start as usize..range.end as usize]);
        decode_block(&page.spec(id), stored)
    })?;
    Ok(if palette.is_empty() { shown(samples, &page, picture) } else { coloured(&samples, &palette) })
}

/// Turns stored samples into those that a viewer shows.
fn shown(mut samples: Samples, page: &BlockGrid, picture: Picture) -> Samples {
    let num_bands = usize::from(picture.num_bands);
    if let (true, Samples::U8(samples)) = (picture.spread, &mut samples) {
        spread(samples, page.stored.stored_bits);
    }
    if picture.inverted {
        let bits = if picture.spread { 8 } else { page.stored.stored_bits };
        invert(&mut samples, num_bands, bits);
    }
    match &mut samples {
        Samples::U8(samples) if picture.premultiplied => divide(samples, num_bands),
        Samples::U16(samples) if picture.premultiplied => divide(samples, num_bands),
        _ => {}
    }
    samples
}

/// Spreads samples of so many bits over 0 to 255, rounded to nearest: of 1, 2 and 4 bits none is.
fn spread(samples: &mut [u8], bits: u16) {
    let most = (1 << bits) - 1_u16;
    let shown = |sample: u8| ((u16::from(sample) * 255 + most / 2) / most) as u8;
    let table: Vec<u8> = (0..=most as u8).map(shown).collect();
    for sample in samples {
        *sample = table[usize::from(*sample)];
    }
}

/// Makes black of white in the first band. Floats have no largest value, and stay as Pillow and GDAL have them.
fn invert(samples: &mut Samples, num_bands: usize, bits: u16) {
    macro_rules! inverted {
        (unsigned: $($unsigned:ident $kind:ty),+; signed: $($signed:ident)+) => {
            match samples {
                $(Samples::$unsigned(samples) => {
                    let shift = <$kind>::BITS - u32::from(bits);
                    samples.iter_mut().step_by(num_bands).for_each(|sample| *sample = !*sample << shift >> shift);
                })+
                $(Samples::$signed(samples) => {
                    samples.iter_mut().step_by(num_bands).for_each(|sample| *sample = !*sample);
                })+
                Samples::F32(_) | Samples::F64(_) => {}
            }
        };
    }
    inverted!(unsigned: U8 u8, U16 u16, U32 u32, U64 u64; signed: I8 I16 I32 I64);
}

/// A sample of a colour that may be multiplied by alpha.
trait Opaque: Copy {
    /// Returns the colour without alpha; fully transparent pixels have none.
    fn divided(self, alpha: Self) -> Self;
}

macro_rules! opaque {
    ($($kind:ty)+) => {$(
        impl Opaque for $kind {
            fn divided(self, alpha: Self) -> Self {
                let most = u64::from(Self::MAX);
                (u64::from(self) * most).checked_div(u64::from(alpha)).map_or(0, |value| value.min(most) as Self)
            }
        }
    )+};
}

opaque!(u8 u16);

/// Divides colours by alpha, the last band (Pillow, `unpackRGBa`).
fn divide<T: Opaque>(samples: &mut [T], num_bands: usize) {
    for pixel in samples.chunks_exact_mut(num_bands) {
        if let [colours @ .., alpha] = pixel {
            for colour in colours {
                *colour = colour.divided(*alpha);
            }
        }
    }
}

/// Looks up the colours of indices.
fn coloured(indices: &Samples, palette: &[[u8; 3]]) -> Samples {
    let Samples::U8(indices) = indices else { unreachable!("the header lets no others pass") };
    let mut colours = Vec::with_capacity(3 * indices.len());
    for &index in indices {
        colours.extend_from_slice(&palette[usize::from(index)]);
    }
    Samples::U8(colours)
}
