//! Reads the blocks of a sequential scan: Huffman codes in, samples out.

use std::ops::Range;

use super::baseline::Store;
use super::huffman::{Coefficient, END_OF_BLOCK, Table};
use super::upsample::Kernels;
use crate::format::image::jpeg::marker;

/// Place of each coefficient in natural order (T.81, figure A.6), then a place for those of a run that
/// reaches beyond the block.
pub(super) const ZIGZAG: [u8; 80] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
];

/// More bits than the values of 8-bit samples take (T.81, tables F.1 and F.2).
const MAX_DC_BITS: u32 = 11;
const MAX_AC_BITS: u32 = 10;
/// Zeros after a segment: what a reader looks at beyond the end.
const PADDING: usize = 16;

/// How the blocks of one component are coded.
pub(super) struct Coding<'a> {
    dc: &'a Table,
    ac: &'a Table,
    coefficients: &'a [Coefficient; 1 << Coefficient::LOOKUP_BITS],
    quantisation: &'a [u16; 64],
    kernels: &'a Kernels,
}

impl<'a> Coding<'a> {
    pub(super) fn new(
        dc: &'a Table,
        ac: &'a Table,
        quantisation: &'a [u16; 64],
        kernels: &'a Kernels,
    ) -> Self {
        Self { dc, ac, coefficients: ac.coefficients(), quantisation, kernels }
    }
}

/// The entropy-coded data of a scan.
pub(super) struct Entropy<'a> {
    data: &'a [u8],
    at: usize,
    /// The present segment without byte stuffing, then [`PADDING`].
    plain: &'a mut Vec<u8>,
    bits: Bits,
    predictions: [i32; 3],
}

/// The next bits of a segment, left-aligned.
#[derive(Clone, Copy, Default)]
struct Bits {
    window: u64,
    available: u32,
    at: usize,
}

impl Bits {
    /// Makes at least 56 bits available; `None` far beyond the end.
    #[inline]
    fn refill(&mut self, plain: &[u8]) -> Option<()> {
        let next = plain.get(self.at..self.at + 8)?;
        let word = u64::from_be_bytes(next.try_into().ok()?);
        self.window |= word >> self.available;
        self.at += ((63 - self.available) / 8) as usize;
        // The bits after the last whole byte are read again.
        self.available |= 0x38;
        Some(())
    }

    #[inline]
    fn peek(self, count: u32) -> usize {
        (self.window >> (64 - count)) as usize
    }

    #[inline]
    fn drop(&mut self, count: u32) {
        self.window <<= count;
        self.available -= count;
    }

    /// Takes a value of 1 to 16 bits (T.81, F.2.2.1, EXTEND).
    #[inline]
    fn take_value(&mut self, count: u32) -> i32 {
        let raw = self.peek(count) as i32;
        self.drop(count);
        extend(raw, count)
    }
}

/// Returns the value of `raw`, which has `count` bits.
pub(super) fn extend(raw: i32, count: u32) -> i32 {
    if raw < 1 << (count - 1) { raw - (1 << count) + 1 } else { raw }
}

impl<'a> Entropy<'a> {
    pub(super) fn new(data: &'a [u8], plain: &'a mut Vec<u8>) -> Self {
        Self { data, at: 0, plain, bits: Bits::default(), predictions: [0; 3] }
    }

    /// Returns the length of the data up to the marker that ends it.
    pub(super) fn used(&self) -> usize {
        self.at
    }

    /// Passes the restart marker before segment `index`, if it is not the first, and reads the segment.
    pub(super) fn begin_segment(&mut self, index: u32) -> Option<()> {
        if index > 0 {
            let expected = marker::RST0 + ((index - 1) % 8) as u8;
            (self.data.get(self.at + 1) == Some(&expected)).then_some(())?;
            self.at += 2;
        }
        self.at += unstuff(&self.data[self.at..], self.plain)?;
        self.plain.extend([0; PADDING]);
        (self.bits, self.predictions) = (Bits::default(), [0; 3]);
        Some(())
    }

    /// Checks that the segment holds all that was read, and no more.
    ///
    /// After the last segment of a scan, some cameras write zeros or ones: those are harmless.
    pub(super) fn end_segment(&self, last: bool) -> Option<()> {
        let len = self.plain.len() - PADDING;
        let used = (self.bits.at * 8 - self.bits.available as usize).div_ceil(8);
        let left = self.plain.get(used..len)?;
        let padding = last && (left.iter().all(|&byte| byte == 0) || left.iter().all(|&byte| byte == 0xFF));
        (left.is_empty() || padding).then_some(())
    }

    /// Decodes the MCUs `range`, which lie in one row and one segment.
    ///
    /// - `needed`: MCUs across and down that get samples; of the others only the codes are followed
    pub(super) fn decode_mcus(
        &mut self,
        range: Range<u32>,
        mcus_x: u32,
        needed: &[Range<u32>; 2],
        codings: &[Coding<'_>],
        stores: &[Store],
        planes: &mut [&mut [u8]],
    ) -> Option<()> {
        let (row, columns) = (range.start / mcus_x, range.start % mcus_x..(range.end - 1) % mcus_x + 1);
        if !needed[1].contains(&row) {
            return self.skip_mcus(columns, codings, stores);
        }
        let clamp = |column: u32| column.clamp(columns.start, columns.end);
        let (first, end) = (clamp(needed[0].start), clamp(needed[0].end));
        self.skip_mcus(columns.start..first, codings, stores)?;
        self.paint_mcus(row as usize, first as usize..end as usize, codings, stores, planes)?;
        self.skip_mcus(end..columns.end, codings, stores)
    }

    fn paint_mcus(
        &mut self,
        row: usize,
        columns: Range<usize>,
        codings: &[Coding<'_>],
        stores: &[Store],
        planes: &mut [&mut [u8]],
    ) -> Option<()> {
        let mut bits = self.bits;
        for column in columns {
            for (component, (coding, store)) in codings.iter().zip(stores).enumerate() {
                let plane = &mut *planes[component];
                let first = (row * store.v * store.stride + column * store.h) * 8;
                for v in 0..store.v {
                    for h in 0..store.h {
                        let out = &mut plane[first + (v * store.stride + h) * 8..];
                        let prediction = &mut self.predictions[component];
                        coding.block(&mut bits, self.plain, prediction, out, store.stride)?;
                    }
                }
            }
        }
        self.bits = bits;
        Some(())
    }

    fn skip_mcus(&mut self, columns: Range<u32>, codings: &[Coding<'_>], stores: &[Store]) -> Option<()> {
        let mut bits = self.bits;
        for _ in columns {
            for (component, (coding, store)) in codings.iter().zip(stores).enumerate() {
                for _ in 0..store.h * store.v {
                    coding.skip_block(&mut bits, self.plain, &mut self.predictions[component])?;
                }
            }
        }
        self.bits = bits;
        Some(())
    }
}

impl Coding<'_> {
    /// Decodes one block into eight rows of `out`.
    #[inline]
    fn block(
        &self,
        bits: &mut Bits,
        plain: &[u8],
        prediction: &mut i32,
        out: &mut [u8],
        stride: usize,
    ) -> Option<()> {
        let mut block = [0i16; 64];
        block[0] = self.dc(bits, plain, prediction)?;
        let at = self.ac(bits, plain, &mut block)?;
        let mut samples = [0; 64];
        let value = i32::from(block[0]) * i32::from(self.quantisation[0]);
        if at == 1 && value.abs() < 1 << 13 {
            // As the transform: descaled by 3 bits, and moved to 0..=255.
            samples = [(((value * 4 + 16) >> 5) + 128).clamp(0, 255) as u8; 64];
        } else {
            self.kernels.transform(&block, self.quantisation, &mut samples);
        }
        for (row, samples) in samples.as_chunks::<8>().0.iter().enumerate() {
            out[row * stride..][..8].copy_from_slice(samples);
        }
        Some(())
    }

    /// Follows the codes of one block, as [`Self::block`] does.
    #[inline]
    fn skip_block(&self, bits: &mut Bits, plain: &[u8], prediction: &mut i32) -> Option<()> {
        self.dc(bits, plain, prediction)?;
        let mut at = 1;
        while at < 64 {
            bits.refill(plain)?;
            let window = bits.peek(16);
            let step = self.ac.step_at(window);
            let whole = at + step.first_passed() < 64;
            let (used, passed) = match step.bits() {
                0 => self.ac.long_step_at(window).ok()?,
                _ if whole => (step.bits(), step.passed()),
                _ => (step.first_bits(), step.first_passed()),
            };
            bits.drop(used);
            at += passed;
        }
        (at == 64 || at >= END_OF_BLOCK).then_some(())
    }

    #[inline]
    fn dc(&self, bits: &mut Bits, plain: &[u8], prediction: &mut i32) -> Option<i16> {
        bits.refill(plain)?;
        *prediction += self.dc_difference(bits)?;
        i16::try_from(*prediction).ok()
    }

    #[inline]
    fn dc_difference(&self, bits: &mut Bits) -> Option<i32> {
        let (len, symbol) = self.dc.code_at(bits.peek(16))?;
        bits.drop(len);
        match u32::from(symbol) {
            0 => Some(0),
            count if count <= MAX_DC_BITS => Some(bits.take_value(count)),
            _ => None,
        }
    }

    /// Reads the AC coefficients; returns 1 if there are none, else some other number.
    #[inline]
    fn ac(&self, reader: &mut Bits, plain: &[u8], block: &mut [i16; 64]) -> Option<usize> {
        let mut bits = *reader;
        let mut at = 1;
        while at < 64 {
            bits.refill(plain)?;
            // Two codes with their values take at most 2 × (16 + 10) bits.
            for _ in 0..2 {
                let next = self.coefficients[bits.peek(Coefficient::LOOKUP_BITS)];
                if let Some(value) = next.value() {
                    at += next.run();
                    block[usize::from(ZIGZAG[at]) & 63] = value;
                    bits.drop(next.bits());
                    at += 1;
                } else {
                    let (len, symbol) = self.ac.code_at(bits.peek(16))?;
                    bits.drop(len);
                    let (run, count) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                    if count == 0 {
                        if run < 15 {
                            *reader = bits;
                            return Some(at);
                        }
                        at += 16;
                    } else if count <= MAX_AC_BITS {
                        at += run;
                        block[usize::from(ZIGZAG[at]) & 63] = bits.take_value(count) as i16;
                        at += 1;
                    } else {
                        return None;
                    }
                }
                if at >= 64 {
                    break;
                }
            }
        }
        *reader = bits;
        (at == 64).then_some(at)
    }
}

/// Copies a segment without its stuffing; returns its length up to the marker.
///
/// `None` if no marker follows, or fill bytes do.
fn unstuff(data: &[u8], plain: &mut Vec<u8>) -> Option<usize> {
    plain.clear();
    let mut at = 0;
    loop {
        let run = position_of_ff(&data[at..])?;
        plain.extend_from_slice(&data[at..at + run]);
        at += run;
        match data.get(at + 1)? {
            0 => plain.push(0xFF),
            0xFF => return None,
            _ => return Some(at),
        }
        at += 2;
    }
}

/// Returns where the first byte 0xFF is.
fn position_of_ff(bytes: &[u8]) -> Option<usize> {
    let (blocks, _) = bytes.as_chunks::<16>();
    let is_plain = |block: &&[u8; 16]| block.iter().fold(0, |largest: u8, &byte| largest.max(byte)) < 0xFF;
    let skipped = blocks.iter().take_while(is_plain).count() * 16;
    bytes[skipped..].iter().position(|&byte| byte == 0xFF).map(|at| skipped + at)
}
