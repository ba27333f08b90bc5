//! Samples as they are (PS3.5, 8.1.1 and annex D): cells of Bits Allocated bits.

use std::borrow::Cow;

use crate::bytes::Order;
use crate::error::{Error, corrupt, truncated, unsupported};
use crate::image::{ImageModule, Photometric, PixelKind};
use crate::spec::FrameSpec;
use crate::stored::{Samples, Stored};

use super::cells::{Cell, Field, stored};
use super::colours_of;

/// Decodes the cells of a frame.
pub(super) fn decode(spec: &FrameSpec, bytes: &[u8]) -> Result<Stored, Error> {
    let image = &spec.image;
    let needed = (spec.first_bit + image.native_frame_bits()).div_ceil(8) as usize;
    if bytes.len() < needed {
        return Err(truncated(format!("the frame has {} of {needed} bytes", bytes.len())));
    }
    let bytes = if spec.swapped { swapped(bytes) } else { Cow::Borrowed(bytes) };
    let bytes = bytes.get(..needed).ok_or_else(|| truncated("the frame ends within a word"))?;
    match (image.kind, image.bits_allocated, spec.order) {
        (PixelKind::Float, ..) => {
            let bits = numbers(bytes, spec.order, u32::from_le_bytes, u32::from_be_bytes, Vec::new());
            finish_floats(image, bits.into_iter().map(f32::from_bits).collect(), Samples::F32)
        }
        (PixelKind::Double, ..) => {
            let bits = numbers(bytes, spec.order, u64::from_le_bytes, u64::from_be_bytes, Vec::new());
            finish_floats(image, bits.into_iter().map(f64::from_bits).collect(), Samples::F64)
        }
        (_, 1, _) => {
            finish(image, single_bits(bytes, spec.first_bit, image.native_frame_bits()), image.planar)
        }
        (_, 8, _) => finish(image, bytes_from(bytes, spec.first_bit), image.planar),
        (_, 16, order) => {
            let cells = numbers(bytes, order, u16::from_le_bytes, u16::from_be_bytes, Cell::buffer());
            finish(image, cells, image.planar)
        }
        (_, 32, order) => {
            let cells = numbers(bytes, order, u32::from_le_bytes, u32::from_be_bytes, Cell::buffer());
            finish(image, cells, image.planar)
        }
        (_, bits, _) => Err(unsupported(format!("{bits} bits allocated"))),
    }
}

/// Swaps the bytes of words.
fn swapped(bytes: &[u8]) -> Cow<'_, [u8]> {
    Cow::Owned(bytes.as_chunks::<2>().0.iter().flat_map(|&[first, second]| [second, first]).collect())
}

/// A frame of 8-bit samples may begin in the middle of a swapped word.
fn bytes_from(bytes: &[u8], first_bit: u64) -> Vec<u8> {
    bytes[(first_bit / 8) as usize..].to_vec()
}

/// The first pixel is the least significant bit (PS3.5, 8.1.1 and annex D).
fn single_bits(bytes: &[u8], first_bit: u64, num: u64) -> Vec<u8> {
    (first_bit..first_bit + num).map(|bit| bytes[(bit / 8) as usize] >> (bit % 8) & 1).collect()
}

/// - `out`: an empty buffer for them
fn numbers<const N: usize, T>(
    bytes: &[u8],
    order: Order,
    little: impl Fn([u8; N]) -> T,
    big: impl Fn([u8; N]) -> T,
    mut out: Vec<T>,
) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    match order {
        Order::Little => out.extend(chunks.iter().map(|&chunk| little(chunk))),
        Order::Big => out.extend(chunks.iter().map(|&chunk| big(chunk))),
    }
    out
}

/// Makes stored values of cells that lie pixel by pixel, without subsampling.
pub(super) fn finish_full<T: Cell>(image: &ImageModule, cells: Vec<T>) -> Result<Stored, Error> {
    finish(image, cells, false)
}

/// Makes stored values of cells that lie as those of a native frame do.
pub(super) fn finish<T: Cell>(image: &ImageModule, cells: Vec<T>, planar: bool) -> Result<Stored, Error> {
    let colours = colours_of(image.photometric)?;
    let cells = arrange(image, cells, planar)?;
    let field = Field {
        low: u32::from(image.high_bit + 1 - image.bits_stored),
        bits: u32::from(image.bits_stored),
        signed: image.signed,
    };
    Ok(stored(image, colours, field, T::meanings(cells, field)))
}

fn finish_floats<T: Copy + Default>(
    image: &ImageModule,
    cells: Vec<T>,
    make: impl Fn(Vec<T>) -> Samples,
) -> Result<Stored, Error> {
    let field = Field { low: 0, bits: u32::from(image.bits_allocated), signed: true };
    let cells = arrange(image, cells, image.planar)?;
    Ok(stored(image, colours_of(image.photometric)?, field, make(cells)))
}

/// Brings samples of a pixel together, each pixel with all of its own.
fn arrange<T: Copy + Default>(image: &ImageModule, cells: Vec<T>, planar: bool) -> Result<Vec<T>, Error> {
    if image.photometric == Photometric::YbrFull422 && cells.len() as u64 != image.num_samples() {
        return upsample(image, &cells);
    }
    Ok(if planar && image.samples_per_pixel == 3 { interleave(&cells) } else { cells })
}

/// `[3, pixels]` becomes `[pixels, 3]` (PS3.3, C.7.6.3.1.3).
pub(super) fn interleave<T: Copy>(cells: &[T]) -> Vec<T> {
    let num = cells.len() / 3;
    let (first, rest) = cells.split_at(num);
    let (second, third) = rest.split_at(num);
    first
        .iter()
        .zip(second)
        .zip(third)
        .flat_map(|((&first, &second), &third)| [first, second, third])
        .collect()
}

/// Y Y Cb Cr of two pixels become Y Cb Cr of each (PS3.3, C.7.6.3.1.2, `YBR_FULL_422`).
fn upsample<T: Copy>(image: &ImageModule, cells: &[T]) -> Result<Vec<T>, Error> {
    if image.columns % 2 == 1 {
        return Err(corrupt(format!("{} columns in pairs", image.columns)));
    }
    let (pairs, _) = cells.as_chunks::<4>();
    Ok(pairs.iter().flat_map(|&[left, right, blue, red]| [left, blue, red, right, blue, red]).collect())
}
