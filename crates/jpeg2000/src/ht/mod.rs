//! Code-blocks of HTJ2K (T.814): the cleanup pass, and the two passes that refine it.
//!
//! Samples are coded in quads of two by two, numbered down the left column, then down the right one. For a row of quads
//! it is first decoded which samples are significant and how many bits they have at most, then the samples.

mod streams;
mod words;

use tilefleet_codec::{Result, corrupt, unsupported};

use crate::coding::style;
use crate::tile::{Block, Chunk, NONE};
use streams::{Bits, Mel};

/// The most planes of a band whose samples fit, with what the cleanup pass may add.
const MAX_PLANES: u8 = 29;

/// Words of the first and of all other rows of quads, by context and the next seven bits.
static WORDS: [[Word; 1024]; 2] = [word_table(&words::FIRST_ROW), word_table(&words::OTHER_ROWS)];

/// What is decoded of a quad: the length of the code word (3 bits), whether an exponent follows (1), which samples are
/// significant (4), which exponents that are known are reached (4), and which are known (4).
type Word = u16;

const fn word_table(rows: &[u32]) -> [Word; 1024] {
    let mut table = [0; 1024];
    let mut index = 0;
    while index < rows.len() {
        let row = rows[index];
        let (len, word) = (row & 7, row >> 3 & 127);
        let (reached, known) = (row >> 10 & 15, row >> 14 & 15);
        let (has_exponent, significant, context) = (row >> 18 & 1, row >> 19 & 15, row >> 23);
        let entry = len | has_exponent << 3 | significant << 4 | reached << 8 | known << 12;
        let mut rest = 0;
        while rest < 128 >> len {
            table[(context << 7 | rest << len | word) as usize] = entry as Word;
            rest += 1;
        }
        index += 1;
    }
    table
}

/// Decodes code-blocks one after another, in buffers that it keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct HighThroughputDecoder {
    /// Row by row: twice the magnitude, and half of what is not known of it; the sign in bit 31.
    magnitudes: Vec<u32>,
    width: usize,
    height: usize,
    /// The two codeword segments, joined.
    cleanup: Vec<u8>,
    refinement: Vec<u8>,
    values: Bits,
    words: Bits,
    /// Quads of a row, with one more at either side, and of the row above.
    quads: Vec<Word>,
    above: Vec<Word>,
    /// What the code words of a row say of the number of bits.
    exponents: Vec<u8>,
    /// By quad: samples above it on the left, or'ed.
    line: Vec<u32>,
}

impl HighThroughputDecoder {
    /// Decodes a code-block.
    ///
    /// - `num_planes`: planes of its band, more than `block.zero_planes`
    ///
    /// # Errors
    ///
    /// Corrupt for lengths and exponents that cannot be; unsupported for several sets of passes.
    #[inline(always)]
    pub(crate) fn decode(
        &mut self,
        block: &Block,
        chunks: &[Chunk<'_>],
        num_planes: u8,
        style: u8,
    ) -> Result<()> {
        if num_planes > MAX_PLANES || block.num_passes > 3 {
            let passes = block.num_passes;
            return Err(unsupported(format!(
                "an HTJ2K code-block of {num_planes} planes in {passes} passes"
            )));
        }
        (self.width, self.height) = (block.width.into(), block.height.into());
        self.magnitudes.clear();
        self.magnitudes.resize(self.stride() * self.height.next_multiple_of(2), 0);
        self.join(block, chunks);
        if self.cleanup.is_empty() {
            return Ok(());
        }
        let plane = u32::from(num_planes - 1 - block.zero_planes);
        self.cleanup_pass(plane, u32::from(block.zero_planes) + 2)?;
        if block.num_passes > 1 {
            // Both are of the next plane.
            let plane =
                plane.checked_sub(1).ok_or_else(|| corrupt("an HTJ2K code-block refines no plane"))?;
            let significant = self.significant();
            self.significance_pass(plane, &significant, style & style::CAUSAL != 0);
            if block.num_passes > 2 {
                self.refinement_pass(plane, &significant);
            }
        }
        Ok(())
    }

    /// Copies the magnitudes and signs of a row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[u32] {
        &self.magnitudes[row * self.stride()..][..self.width]
    }

    fn stride(&self) -> usize {
        self.width.next_multiple_of(2)
    }

    /// Joins the chunks of both segments: the first pass is the first segment.
    fn join(&mut self, block: &Block, chunks: &[Chunk<'_>]) {
        self.cleanup.clear();
        self.refinement.clear();
        let mut next = block.first_chunk;
        while next != NONE {
            let chunk = &chunks[next as usize];
            let segment = if next == block.first_chunk { &mut self.cleanup } else { &mut self.refinement };
            segment.extend_from_slice(chunk.bytes);
            next = chunk.next;
        }
    }

    /// Decodes the cleanup pass (T.814 7.3).
    ///
    /// - `max_bits`: the most bits that a sample may have, with its sign
    #[inline(always)]
    fn cleanup_pass(&mut self, plane: u32, max_bits: u32) -> Result<()> {
        let segment = std::mem::take(&mut self.cleanup);
        let len = segment.len();
        // The last 12 bits are the length of the suffix, which MEL and the code words share.
        let suffix = match segment[..] {
            [.., low, high] => usize::from(high) << 4 | usize::from(low & 15),
            _ => 0,
        };
        if suffix < 2 || suffix > len {
            return Err(corrupt(format!("an HTJ2K code-block has {suffix} of its {len} bytes at its end")));
        }
        let (values, suffix) = segment.split_at(len - suffix);
        self.values.forward(values, 0xFF);
        let last = suffix[suffix.len() - 2];
        let first = (last >> 4, if last >> 4 & 7 == 7 { 3 } else { 4 });
        self.words.backward(&suffix[..suffix.len() - 2], Some(first), last | 0x0F);
        let num_quads = self.width.div_ceil(2);
        self.start_rows(num_quads);
        let mut mel = Mel::new(suffix);
        let (mut words_at, mut values_at) = (0, 0);
        for row in 0..self.height.div_ceil(2) {
            std::mem::swap(&mut self.quads, &mut self.above);
            if row == 0 {
                self.words_of_row::<true>(num_quads, &mut mel, &mut words_at);
            } else {
                self.words_of_row::<false>(num_quads, &mut mel, &mut words_at);
            }
            self.values_of_row(row, plane, max_bits, &mut values_at)?;
        }
        self.cleanup = segment;
        Ok(())
    }

    fn start_rows(&mut self, num_quads: usize) {
        for quads in [&mut self.quads, &mut self.above] {
            quads.clear();
            quads.resize(num_quads + 3, 0);
        }
        self.exponents.clear();
        self.exponents.resize(num_quads + 1, 0);
        self.line.clear();
        self.line.resize(num_quads + 1, 0);
    }

    /// Decodes the code words of a row of quads, in pairs.
    #[inline(always)]
    fn words_of_row<const FIRST: bool>(&mut self, num_quads: usize, mel: &mut Mel<'_>, at: &mut usize) {
        for quad in (0..num_quads).step_by(2) {
            let mut window = Window { bits: self.words.peek(*at), used: 0 };
            let left = self.word::<FIRST>(quad, mel, &mut window);
            let right = if quad + 1 < num_quads { self.word::<FIRST>(quad + 1, mel, &mut window) } else { 0 };
            let mut exponents = [0; 2];
            if (left | right) & 8 != 0 {
                let more = FIRST && left & right & 8 != 0 && mel.event();
                exponents = window.exponents::<FIRST>([left & 8 != 0, right & 8 != 0], more);
            }
            self.exponents[quad..quad + 2].copy_from_slice(&exponents);
            *at += window.used;
        }
    }

    /// Decodes the code word of a quad.
    #[inline(always)]
    fn word<const FIRST: bool>(&mut self, quad: usize, mel: &mut Mel<'_>, window: &mut Window) -> Word {
        // Quad `quad` is at `quad + 1`.
        let left = self.quads[quad];
        let context = if FIRST {
            (left >> 4 | left >> 5) & 1 | left >> 5 & 6
        } else {
            let [west, above, east] = [self.above[quad], self.above[quad + 1], self.above[quad + 2]];
            (west >> 7 | above >> 5) & 1 | (left >> 5 | left >> 6) & 2 | (above >> 5 | east >> 3) & 4
        };
        let mut word = 0;
        if context != 0 || mel.event() {
            word = WORDS[usize::from(!FIRST)][usize::from(context & 7) << 7 | (window.bits & 127) as usize];
            window.take((word & 7).into());
        }
        self.quads[quad + 1] = word;
        word
    }

    /// Decodes the samples of a row of quads (T.814 7.3.8).
    #[inline(always)]
    fn values_of_row(&mut self, row: usize, plane: u32, max_bits: u32, at: &mut usize) -> Result<()> {
        let stride = self.stride();
        let (top, bottom) = self.magnitudes[2 * row * stride..][..2 * stride].split_at_mut(stride);
        let columns = top.as_chunks_mut::<2>().0.iter_mut().zip(bottom.as_chunks_mut::<2>().0);
        let mut before = 0;
        for (quad, (top, bottom)) in columns.enumerate() {
            let word = u32::from(self.quads[quad + 1]);
            let significant = word >> 4 & 15;
            // A quad with one significant sample, or in the first row, has no help from above.
            let alone = significant & significant.wrapping_sub(1) == 0;
            let predicted = (self.line[quad] | self.line[quad + 1] | 2).ilog2();
            let bits = u32::from(self.exponents[quad]) + if alone { 1 } else { predicted };
            if significant == 0 {
                self.line[quad] = before;
                before = 0;
                continue;
            }
            if bits > max_bits {
                return Err(corrupt(format!("an HTJ2K code-block has samples of {bits} bits")));
            }
            let mut value = |index: u32| value(&self.values, at, word, index, bits, plane);
            let [(top_left, _), (bottom_left, left)] = [value(0), value(1)];
            let [(top_right, _), (bottom_right, right)] = [value(2), value(3)];
            (*top, *bottom) = ([top_left, top_right], [bottom_left, bottom_right]);
            self.line[quad] = before | left;
            before = right;
        }
        let last = self.line.len() - 1;
        self.line[last] = before;
        Ok(())
    }

    /// Returns which samples are significant, with a margin of 1 around them.
    fn significant(&self) -> Vec<bool> {
        let mut significant = vec![false; (self.width + 2) * (self.height + 2)];
        for row in 0..self.height {
            let out = &mut significant[(row + 1) * (self.width + 2) + 1..];
            for (out, &magnitude) in out.iter_mut().zip(self.row(row)) {
                *out = magnitude != 0;
            }
        }
        significant
    }

    /// Decodes the significance propagation pass (T.814 7.4): as that of T.800, but that the signs of four columns
    /// follow their decisions.
    fn significance_pass(&mut self, plane: u32, significant: &[bool], causal: bool) {
        let mut found = significant.to_vec();
        self.values.forward(&self.refinement, 0);
        let mut at = 0;
        let margin = self.width + 2;
        for (top, left) in groups(self.width, self.height) {
            let mut new = Vec::new();
            for column in left..(left + 4).min(self.width) {
                for row in top..(top + 4).min(self.height) {
                    let place = (row + 1) * margin + column + 1;
                    let last = if causal && row == top + 3 { place } else { place + margin };
                    let near = [place - margin, place, last];
                    if found[place] || !near.iter().any(|&near| found[near - 1..near + 2].contains(&true)) {
                        continue;
                    }
                    found[place] = self.values.peek(at) & 1 == 1;
                    at += 1;
                    if found[place] {
                        new.push(row * self.stride() + column);
                    }
                }
            }
            for place in new {
                let sign = self.values.peek(at) as u32 & 1;
                at += 1;
                self.magnitudes[place] = sign << 31 | 3 << plane;
            }
        }
    }

    /// Decodes the refinement pass (T.814 7.5) of what the cleanup pass found.
    fn refinement_pass(&mut self, plane: u32, significant: &[bool]) {
        self.values.backward(&self.refinement, None, 0xFF);
        let mut at = 0;
        for top in (0..self.height).step_by(4) {
            for column in 0..self.width {
                for row in top..(top + 4).min(self.height) {
                    if significant[(row + 1) * (self.width + 2) + column + 1] {
                        let bit = self.values.peek(at) as u32 & 1;
                        at += 1;
                        let place = row * self.stride() + column;
                        self.magnitudes[place] ^= (3 - 2 * bit) << plane;
                    }
                }
            }
        }
    }
}

/// Lists groups of four by four samples, by their top and left.
fn groups(width: usize, height: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..height).step_by(4).flat_map(move |top| (0..width).step_by(4).map(move |left| (top, left)))
}

/// The bits that a pair of quads begins with; it has at most 38.
struct Window {
    bits: u64,
    used: usize,
}

impl Window {
    #[inline(always)]
    fn take(&mut self, count: u32) -> u8 {
        let taken = self.bits & ((1 << count) - 1);
        self.bits >>= count;
        self.used += count as usize;
        taken as u8
    }

    /// Takes 1, 01, 001 or 000.
    #[inline(always)]
    fn take_prefix(&mut self) -> u8 {
        let ones = (self.bits as u32 | 8).trailing_zeros();
        self.take((ones + 1).min(3));
        if ones == 3 { 5 } else { ones as u8 + 1 }
    }

    /// Decodes how many bits two quads have beyond what is predicted (T.814 7.3.6).
    ///
    /// - `has`: which of them say so
    /// - `more`: both have 2 more than is sent
    #[inline(always)]
    fn exponents<const FIRST: bool>(&mut self, has: [bool; 2], more: bool) -> [u8; 2] {
        let first = if has[0] { self.take_prefix() } else { 0 };
        let is_short = FIRST && has[0] && has[1] && !more && first > 2;
        let second = match has[1] {
            true if is_short => self.take(1) + 1,
            true => self.take_prefix(),
            false => 0,
        };
        let suffix_bits = |prefix: u8| match prefix {
            3 => 1,
            5 => 5,
            _ => 0,
        };
        let suffixes = [self.take(suffix_bits(first)), self.take(suffix_bits(second))];
        let extensions = suffixes.map(|suffix| if suffix >= 28 { self.take(4) } else { 0 });
        let offset = if more { 2 } else { 0 };
        [first + suffixes[0] + 4 * extensions[0] + offset, second + suffixes[1] + 4 * extensions[1] + offset]
    }
}

/// Decodes a sample of a quad.
///
/// - returns: its magnitude and sign as the decoder stores them, and twice the magnitude less 1
#[inline(always)]
fn value(values: &Bits, at: &mut usize, word: u32, index: u32, bits: u32, plane: u32) -> (u32, u32) {
    if word >> (4 + index) & 1 == 0 {
        return (0, 0);
    }
    let len = bits - (word >> (12 + index) & 1);
    let read = values.peek(*at) as u32;
    *at += len as usize;
    let value = read & ((1 << len) - 1) | (word >> (8 + index) & 1) << len | 1;
    ((value + 2) << plane | read << 31, value)
}
