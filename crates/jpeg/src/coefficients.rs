//! Reads the blocks of a sequential scan: Huffman codes in, coefficients out.

use std::ops::Range;

use super::baseline::Store;
use super::bits::{Bits, PADDING, is_padding, unstuff};
use super::group::{Block, Coefficients, Group};
use super::huffman::{Difference, END_OF_BLOCK, Leap, MAX_AC_BITS, MAX_DC_BITS, Table, value_at};
use crate::segments::marker;

/// Place of each coefficient in natural order (T.81, figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Coefficients of a block, and those of a run that reaches beyond it.
const MAX_REACH: usize = 128;

/// Place of each coefficient in a [`Block`]; what reaches beyond it goes to the last one.
static PLACES: [u8; MAX_REACH] = {
    let mut places = [Coefficients::place(63); MAX_REACH];
    let mut at = 0;
    while at < 64 {
        places[at] = Coefficients::place(ZIGZAG[at]);
        at += 1;
    }
    places
};

/// How the blocks of one component are coded.
pub(super) struct Coding<'a> {
    dc: &'a Table,
    ac: &'a Table,
    differences: &'a [Difference; 1 << Difference::LOOKUP_BITS],
    leaps: &'a [Leap; 1 << Leap::LOOKUP_BITS],
}

impl<'a> Coding<'a> {
    /// Takes the tables of a component.
    pub(super) fn new(dc: &'a Table, ac: &'a Table) -> Self {
        Self { dc, ac, differences: dc.differences(), leaps: ac.leaps() }
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
        let (len, code) = unstuff(&self.data[self.at..], self.plain);
        self.at += len;
        // Fill bytes are unusual.
        code.filter(|&code| code != 0xFF)?;
        (self.bits, self.predictions) = (Bits::default(), [0; 3]);
        Some(())
    }

    /// Checks that the segment holds all that was read, and no more.
    ///
    /// After the last segment of a scan, some cameras write zeros or ones: those are harmless.
    pub(super) fn end_segment(&self, last: bool) -> Option<()> {
        let len = self.plain.len() - PADDING;
        let left = self.plain.get(self.bits.num_used().div_ceil(8)..len)?;
        (left.is_empty() || last && is_padding(left)).then_some(())
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
        group: &mut Group<'_>,
    ) -> Option<()> {
        let (row, columns) = (range.start / mcus_x, range.start % mcus_x..(range.end - 1) % mcus_x + 1);
        if !needed[1].contains(&row) {
            return self.skip_mcus(columns, codings, stores);
        }
        let clamp = |column: u32| column.clamp(columns.start, columns.end);
        let (first, end) = (clamp(needed[0].start), clamp(needed[0].end));
        self.skip_mcus(columns.start..first, codings, stores)?;
        self.paint_mcus(row as usize, first as usize..end as usize, codings, stores, group)?;
        self.skip_mcus(end..columns.end, codings, stores)
    }

    fn paint_mcus(
        &mut self,
        row: usize,
        columns: Range<usize>,
        codings: &[Coding<'_>],
        stores: &[Store],
        group: &mut Group<'_>,
    ) -> Option<()> {
        let mut bits = self.bits;
        for column in columns {
            for (component, (coding, store)) in codings.iter().zip(stores).enumerate() {
                let prediction = &mut self.predictions[component];
                for v in 0..store.v {
                    for h in 0..store.h {
                        coding.block(&mut bits, self.plain, prediction, group.next())?;
                        group.push(store.first_of(row, column, v, h), store.stride);
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
    /// Reads one block.
    #[inline]
    fn block(&self, bits: &mut Bits, plain: &[u8], prediction: &mut i32, block: &mut Block) -> Option<()> {
        block[0] = self.dc(bits, plain, prediction)?;
        self.ac(bits, plain, |at, value| block[usize::from(PLACES[at % MAX_REACH])] = value)
    }

    /// Follows the codes of one block, as [`Self::block`] does.
    #[inline]
    fn skip_block(&self, bits: &mut Bits, plain: &[u8], prediction: &mut i32) -> Option<()> {
        self.dc(bits, plain, prediction)?;
        self.ac(bits, plain, |_, _| ())
    }

    #[inline]
    fn dc(&self, bits: &mut Bits, plain: &[u8], prediction: &mut i32) -> Option<i16> {
        bits.refill(plain)?;
        *prediction += self.dc_difference(bits)?;
        i16::try_from(*prediction).ok()
    }

    #[inline]
    fn dc_difference(&self, bits: &mut Bits) -> Option<i32> {
        let difference = self.differences[bits.peek(Difference::LOOKUP_BITS)].read(bits.window);
        let (used, value) = match difference {
            Some(difference) => difference,
            None => self.long_difference(bits.window)?,
        };
        bits.drop(used);
        Some(value)
    }

    /// Returns the bits of the DC code that begins the window, with its value, and the value.
    ///
    /// What is not usual takes and gives numbers, as the bits would else be kept in memory all along.
    #[cold]
    fn long_difference(&self, window: u64) -> Option<(u32, i32)> {
        let (len, symbol) = self.dc.code_at((window >> 48) as usize).ok()?;
        match u32::from(symbol) {
            0 => Some((len, 0)),
            count if count <= MAX_DC_BITS => Some((len + count, value_at(window << len, count))),
            _ => None,
        }
    }

    /// Reads the AC coefficients; `enter` gets each once or twice.
    #[inline]
    fn ac(&self, reader: &mut Bits, plain: &[u8], mut enter: impl FnMut(usize, i16)) -> Option<()> {
        let mut bits = *reader;
        let mut at = 1;
        while at < 64 {
            bits.refill(plain)?;
            // Two codes with their values take at most 2 × (16 + 10) bits.
            for _ in 0..2 {
                let mut leap = self.leaps[bits.peek(Leap::LOOKUP_BITS)];
                if !leap.fits(64 - at) {
                    leap = match leap.with_value(bits.window) {
                        Some(leap) => leap,
                        None => self.one(bits.window)?,
                    };
                }
                for (before, value) in leap.coefficients() {
                    enter(at + before, value);
                }
                bits.drop_lower(leap.bits());
                at += leap.passed();
                if at >= 64 {
                    break;
                }
            }
        }
        *reader = bits;
        (at == 64 || at >= END_OF_BLOCK as usize).then_some(())
    }

    /// Returns the code that begins the window with its value, as one leap.
    #[cold]
    fn one(&self, window: u64) -> Option<Leap> {
        let (len, symbol) = self.ac.code_at((window >> 48) as usize).ok()?;
        let (run, count) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        match (run, count) {
            (15, 0) => Some(Leap::of(len, 0, 16, 0)),
            (_, 0) => Some(Leap::of(len, 0, END_OF_BLOCK, 0)),
            (_, 1..=MAX_AC_BITS) => {
                Some(Leap::of(len + count, run, run + 1, value_at(window << len, count) as i16))
            }
            _ => None,
        }
    }
}
