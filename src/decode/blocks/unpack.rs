//! Samples that are no whole bytes, or no type of the machine: 1 to 31 bits, 16- and 24-bit floats.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::predictor;
use crate::decode::chip::Samples;
use crate::format::bytes::Order;
use crate::format::sample::SampleKind;
use crate::format::tiff::{Page, Predictor};
use crate::geometry::Window;

/// Reverses the bytes of each sample.
pub(super) fn swap_bytes(bytes: &mut [u8], width: usize) {
    fn swap<const WIDTH: usize>(bytes: &mut [u8]) {
        bytes.as_chunks_mut::<WIDTH>().0.iter_mut().for_each(|sample| sample.reverse());
    }
    match width {
        2 => swap::<2>(bytes),
        3 => swap::<3>(bytes),
        4 => swap::<4>(bytes),
        8 => swap::<8>(bytes),
        _ => {}
    }
}

/// Widens the samples of a block to the next type of the machine.
///
/// - `packed`: rows as they were before compression, each filled up to a whole byte
pub(super) fn widen(page: &Page, window: Window, mut packed: Vec<u8>) -> Samples {
    let width = usize::from(page.stored_bits / 8);
    if !page.stored_bits.is_multiple_of(8) {
        return unpacked(page, window, &packed);
    }
    if page.predictor != Predictor::FloatingPoint && page.order != Order::NATIVE {
        swap_bytes(&mut packed, width);
    }
    predictor::undo(page, &mut packed, width);
    match (page.kind, width) {
        (SampleKind::F32, 2) => {
            let halves: Vec<f16> =
                packed.as_chunks().0.iter().map(|&pair| f16::from_ne_bytes(pair)).collect();
            Samples::F32(halves.to_f32_vec())
        }
        (SampleKind::F32, _) => Samples::F32(triples(&packed).map(float24).collect()),
        _ => Samples::U32(triples(&packed).collect()),
    }
}

fn triples(packed: &[u8]) -> impl Iterator<Item = u32> {
    packed.as_chunks().0.iter().map(|&[a, b, c]| match Order::NATIVE {
        Order::Little => u32::from_le_bytes([a, b, c, 0]),
        Order::Big => u32::from_be_bytes([0, a, b, c]),
    })
}

/// Converts a float of 1, 7 and 16 bits (TIFF Technical Note 3, section 2.2) to single precision.
fn float24(bits: u32) -> f32 {
    let sign = (bits >> 23) << 31;
    let (exponent, mantissa) = (bits >> 16 & 0x7F, bits & 0xFFFF);
    match exponent {
        0 => f32::from_bits(sign | (mantissa as f32 * 2_f32.powi(-78)).to_bits()),
        0x7F => f32::from_bits(sign | 0x7F80_0000 | mantissa << 7),
        _ => f32::from_bits(sign | (exponent + 64) << 23 | mantissa << 7),
    }
}

/// Takes samples of 1 to 31 bits apart, the highest bit first.
fn unpacked(page: &Page, window: Window, packed: &[u8]) -> Samples {
    let bits = u32::from(page.stored_bits);
    let row_samples = window.width as usize * usize::from(page.block_bands());
    let rows = packed.chunks_exact(page.stored_row_bytes() as usize);
    match page.kind {
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
    bits: u32,
    remaining: usize,
    /// Bits read but not returned, the oldest the highest of the `held` lowest.
    buffer: u64,
    held: u32,
}

impl<'a> Bits<'a> {
    fn of(bytes: &'a [u8], bits: u32, remaining: usize) -> Self {
        Self { bytes, bits, remaining, buffer: 0, held: 0 }
    }
}

impl Iterator for Bits<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.remaining = self.remaining.checked_sub(1)?;
        while self.held < self.bits {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.held += 8;
        }
        self.held -= self.bits;
        Some((self.buffer >> self.held & ((1 << self.bits) - 1)) as u32)
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

    #[test]
    fn floats_of_24_bits_are_widened() {
        assert_eq!(float24(0x3F_0000), 1.0);
        assert_eq!(float24(0xC0_8000), -3.0);
        assert_eq!(float24(0x7F_0000), f32::INFINITY);
        assert_eq!(float24(0x00_0001), 2_f32.powi(-78));
        assert!(float24(0x7F_8000).is_nan());
    }
}
