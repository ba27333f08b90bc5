//! Samples of no type of the machine: integers of 1 to 31 bits, 16-bit floats.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::predictor;
use crate::formats::bytes::Order;
use crate::formats::raster::{BlockSpec, Predictor};
use crate::vocabulary::chip::Samples;
use crate::vocabulary::sample::SampleKind;

/// Reverses the bytes of each sample.
pub(super) fn swap_bytes(bytes: &mut [u8], width: usize) {
    fn swap<const WIDTH: usize>(bytes: &mut [u8]) {
        bytes.as_chunks_mut::<WIDTH>().0.iter_mut().for_each(|sample| sample.reverse());
    }
    match width {
        2 => swap::<2>(bytes),
        4 => swap::<4>(bytes),
        8 => swap::<8>(bytes),
        _ => {}
    }
}

/// Widens the samples of a block to the next type of the machine.
///
/// - `packed`: rows as they were before compression, each filled up to a whole byte
pub(super) fn widen(spec: &BlockSpec, mut packed: Vec<u8>) -> Samples {
    if spec.stored.kind != SampleKind::F32 {
        return unpacked(spec, &packed);
    }
    if spec.stored.predictor != Predictor::FloatingPoint && spec.stored.order != Order::NATIVE {
        swap_bytes(&mut packed, size_of::<f16>());
    }
    predictor::undo(spec, &mut packed, size_of::<f16>());
    let halves: Vec<f16> = packed.as_chunks().0.iter().map(|&pair| f16::from_ne_bytes(pair)).collect();
    Samples::F32(halves.to_f32_vec())
}

/// Takes samples of 1 to 31 bits apart, the highest bit first.
fn unpacked(spec: &BlockSpec, packed: &[u8]) -> Samples {
    let bits = u32::from(spec.stored.stored_bits);
    let row_samples = spec.window.width as usize * usize::from(spec.num_bands);
    let rows = packed.chunks_exact(spec.stored_row_bytes() as usize);
    match spec.stored.kind {
        SampleKind::U8 => {
            Samples::U8(rows.flat_map(|row| Bits::of(row, bits, row_samples)).map(|v| v as u8).collect())
        }
        SampleKind::U16 => {
            Samples::U16(rows.flat_map(|row| Bits::of(row, bits, row_samples)).map(|v| v as u16).collect())
        }
        _ => Samples::U32(rows.flat_map(|row| Bits::of(row, bits, row_samples)).collect()),
    }
}

/// The samples of a row of bits.
struct Bits<'a> {
    bytes: &'a [u8],
    width: u32,
    remaining: usize,
    /// Bits read but not returned, the oldest the highest of the `held` lowest.
    buffer: u64,
    held: u32,
}

impl<'a> Bits<'a> {
    fn of(bytes: &'a [u8], width: u32, remaining: usize) -> Self {
        Self { bytes, width, remaining, buffer: 0, held: 0 }
    }
}

impl Iterator for Bits<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.remaining = self.remaining.checked_sub(1)?;
        while self.held < self.width {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.held += 8;
        }
        self.held -= self.width;
        Some((self.buffer >> self.held & ((1 << self.width) - 1)) as u32)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bit_comes_first() {
        let bits = |bytes: &[u8], bits, count| Bits::of(bytes, bits, count).collect::<Vec<_>>();
        assert_eq!(bits(&[0b1011_0000], 1, 5), [1, 0, 1, 1, 0]);
        assert_eq!(bits(&[0x12, 0x34, 0x56], 12, 2), [0x123, 0x456]);
        assert_eq!(bits(&[0xFF, 0xFE, 0xFF, 0xFC], 15, 2), [0x7FFF, 0x3FFF]);
        assert_eq!(bits(&[0xAB], 4, 3), [0xA, 0xB], "no more than there are");
    }
}
