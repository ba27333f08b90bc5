//! Code-blocks: coefficient bit modelling (T.800 Annex D).
//!
//! A block is scanned in stripes of four rows. Each column of a stripe has one word of flags: which samples of the
//! column and around it are significant, and their signs, as a window of three columns by six rows, row by row. Sample
//! `r` of the column has its neighbourhood at bit `3 * r` on. Magnitudes lie stripe by stripe, column by column.

use crate::coding::style;
use crate::error::{Result, corrupt};
use crate::mq::{Contexts, Decisions, Mq, PADDING, RUN, Raw, UNIFORM};
use crate::packets::segment_passes;
use crate::tile::{BandKind, Block, Chunk, NONE};

/// Where the window of signs begins in a word of flags; that of significance begins at 0.
const SIGNS: u32 = 18;
/// Where it is marked that a sample has been coded in the significance pass, three bits apart.
const VISITED: u32 = 36;
/// Where it is marked that a sample has been refined, three bits apart.
const REFINED: u32 = 37;
/// The four samples of a column, three bits apart.
const COLUMN: u64 = 0o1111;
/// A sample itself in its neighbourhood.
const SELF: u32 = 4;
/// The neighbourhood without the sample itself.
const AROUND: u64 = 0x1EF;
/// The sample above, left, right and below.
const CROSS: u64 = 0xAA;
/// The sign of a magnitude.
pub(crate) const NEGATIVE: u32 = 1 << 31;

/// Contexts of table D.1 by neighbourhood, for the bands LL and LH, HL, and HH.
static ZERO_CODING: [[u8; 512]; 3] = [zero_coding(0), zero_coding(1), zero_coding(2)];
/// Contexts of table D.3, and in bit 7 which sign is expected: by significance and signs of the neighbours.
static SIGN_CODING: [u8; 512] = sign_coding();

const fn zero_coding(table: u8) -> [u8; 512] {
    let mut contexts = [0; 512];
    let mut window = 0;
    while window < 512 {
        let horizontal = (window >> 3 & 1) + (window >> 5 & 1);
        let vertical = (window >> 1 & 1) + (window >> 7 & 1);
        let diagonal = (window & 1) + (window >> 2 & 1) + (window >> 6 & 1) + (window >> 8 & 1);
        contexts[window] = match table {
            0 => along(horizontal, vertical, diagonal),
            1 => along(vertical, horizontal, diagonal),
            _ => across(horizontal + vertical, diagonal),
        };
        window += 1;
    }
    contexts
}

/// Table D.1, the first two columns.
const fn along(first: usize, second: usize, diagonal: usize) -> u8 {
    match (first, second, diagonal) {
        (2, _, _) => 8,
        (1, 1.., _) => 7,
        (1, 0, 1..) => 6,
        (1, 0, 0) => 5,
        (_, 2, _) => 4,
        (_, 1, _) => 3,
        (_, _, 2..) => 2,
        (_, _, diagonal) => diagonal as u8,
    }
}

/// Table D.1, the last column.
const fn across(others: usize, diagonal: usize) -> u8 {
    match (others, diagonal) {
        (_, 3..) => 8,
        (1.., 2) => 7,
        (0, 2) => 6,
        (2.., 1) => 5,
        (1, 1) => 4,
        (0, 1) => 3,
        (2.., _) => 2,
        (others, _) => others as u8,
    }
}

/// Tables D.2 and D.3. The index has significance at the odd bits of [`CROSS`], and each sign one bit higher.
const fn sign_coding() -> [u8; 512] {
    let mut contexts = [0; 512];
    let mut index = 0;
    while index < 512 {
        let (above, left, right, below) = (index >> 1, index >> 3, index >> 5, index >> 7);
        let horizontal = contribution(left) + contribution(right);
        let vertical = contribution(above) + contribution(below);
        contexts[index] = match (horizontal.signum(), vertical.signum()) {
            (1, 1) => 13,
            (1, 0) => 12,
            (1, _) => 11,
            (0, 1) => 10,
            (0, 0) => 9,
            (0, _) => 10 | 128,
            (_, 1) => 11 | 128,
            (_, 0) => 12 | 128,
            (_, _) => 13 | 128,
        };
        index += 1;
    }
    contexts
}

const fn contribution(bits: usize) -> i32 {
    match bits & 3 {
        1 => 1,
        3 => -1,
        _ => 0,
    }
}

/// Decodes code-blocks one after another, in buffers that it keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockDecoder {
    /// Words of flags with a column at either side and a stripe above and below.
    flags: Vec<u64>,
    /// Twice the magnitude, and half of what is not known of it yet; the sign in bit 31.
    magnitudes: Vec<u32>,
    width: usize,
    height: usize,
    /// The bytes of a codeword segment, joined.
    segment: Vec<u8>,
}

/// How the passes of a code-block are coded.
#[derive(Clone, Copy)]
struct Model {
    zero_coding: &'static [u8; 512],
    style: u8,
}

impl BlockDecoder {
    /// Decodes a code-block.
    ///
    /// - `num_planes`: planes of its band, at most [`crate::tile::MAX_PLANES`] more than `block.zero_planes`
    ///
    /// # Errors
    ///
    /// Corrupt if a segmentation symbol is not what it has to be.
    pub(crate) fn decode(
        &mut self,
        block: &Block,
        chunks: &[Chunk<'_>],
        kind: BandKind,
        num_planes: u8,
        style: u8,
    ) -> Result<()> {
        self.clear(block.width.into(), block.height.into());
        let table = match kind {
            BandKind::Ll | BandKind::Lh => 0,
            BandKind::Hl => 1,
            BandKind::Hh => 2,
        };
        let model = Model { zero_coding: &ZERO_CODING[table], style };
        // The first pass is the cleanup of the highest plane.
        let mut pass = 2;
        let highest = u32::from(num_planes - block.zero_planes);
        let mut contexts = Contexts::new();
        let mut next = block.first_chunk;
        let mut segment = std::mem::take(&mut self.segment);
        while next != NONE {
            let num_passes = join(&mut segment, chunks, &mut next, style, pass - 2);
            let raw = style & style::BYPASS != 0 && pass >= 12 && pass % 3 != 2;
            let passes = pass..pass + num_passes;
            if raw {
                self.raw_passes(&mut Raw::new(&segment), passes.clone(), highest, model);
            } else {
                segment.extend(PADDING);
                contexts = self.passes(&segment, contexts, passes.clone(), highest, model)?;
            }
            pass = passes.end;
        }
        self.segment = segment;
        Ok(())
    }

    fn clear(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        let stripes = height.div_ceil(4);
        self.flags.clear();
        self.flags.resize((stripes + 2) * (width + 2), 0);
        self.magnitudes.clear();
        self.magnitudes.resize(stripes * width * 4, 0);
    }

    fn raw_passes(
        &mut self,
        raw: &mut Raw<'_>,
        passes: std::ops::Range<u8>,
        highest: u32,
        model: Model,
    ) {
        for pass in passes {
            let plane = highest - 1 - u32::from(pass) / 3;
            if pass % 3 == 0 {
                self.significance_pass(raw, plane, model);
            } else {
                self.refinement_pass(raw, plane);
            }
        }
    }

    fn passes(
        &mut self,
        segment: &[u8],
        contexts: Contexts,
        passes: std::ops::Range<u8>,
        highest: u32,
        model: Model,
    ) -> Result<Contexts> {
        let mut mq = Mq::new(segment, contexts);
        for pass in passes {
            let plane = highest - 1 - u32::from(pass) / 3;
            match pass % 3 {
                0 => self.significance_pass(&mut mq, plane, model),
                1 => self.refinement_pass(&mut mq, plane),
                _ => self.cleanup_pass(&mut mq, plane, model)?,
            }
            if model.style & style::RESET != 0 {
                mq.contexts = Contexts::new();
            }
        }
        Ok(mq.contexts)
    }

    /// The rows of a stripe, three bits apart.
    fn rows(&self, stripe: usize) -> u64 {
        COLUMN & ((1 << (3 * (self.height - 4 * stripe).min(4))) - 1)
    }

    /// Codes insignificant samples with significant neighbours (D.3.1).
    #[inline]
    fn significance_pass<D: Decisions>(&mut self, decisions: &mut D, plane: u32, model: Model) {
        let stride = self.width + 2;
        for stripe in 0..self.height.div_ceil(4) {
            let rows = self.rows(stripe);
            let first = (stripe + 1) * stride + 1;
            for column in 0..self.width {
                let mut flags = self.flags[first + column];
                let mut todo = candidates(flags) & rows;
                if todo == 0 {
                    continue;
                }
                while todo != 0 {
                    let row = todo.trailing_zeros();
                    todo &= todo - 1;
                    let context = model.zero_coding[(flags >> row & AROUND) as usize];
                    if decisions.decide(context.into()) == 1 {
                        let at = (stripe * self.width + column) * 4;
                        flags = self.found(decisions, flags, row, first + column, at, plane, model.style);
                        todo |= COLUMN & rows & (8 << row) & !(flags >> SELF);
                    }
                    flags |= 1 << (VISITED + row);
                }
                self.flags[first + column] = flags;
            }
        }
    }

    /// Makes a sample significant: reads its sign and tells its neighbours (D.3.2).
    #[inline(always)]
    fn found<D: Decisions>(
        &mut self,
        decisions: &mut D,
        flags: u64,
        row: u32,
        place: usize,
        at: usize,
        plane: u32,
        style: u8,
    ) -> u64 {
        let around = flags >> row & CROSS | (flags >> (SIGNS + row) & CROSS) << 1;
        let coding = SIGN_CODING[around as usize & 511];
        let negative = decisions.decide_sign((coding & 127).into(), (coding >> 7).into());
        self.magnitudes[at + (row / 3) as usize] = 3 << plane | negative << 31;
        let mark = 1 | u64::from(negative) << SIGNS;
        self.flags[place - 1] |= mark << (row + 5);
        self.flags[place + 1] |= mark << (row + 3);
        let stride = self.width + 2;
        if row == 0 && style & style::CAUSAL == 0 {
            let above = place - stride;
            self.flags[above - 1] |= mark << 17;
            self.flags[above] |= mark << 16;
            self.flags[above + 1] |= mark << 15;
        }
        if row == 9 {
            let below = place + stride;
            self.flags[below - 1] |= mark << 2;
            self.flags[below] |= mark << 1;
            self.flags[below + 1] |= mark;
        }
        flags | mark << (row + SELF)
    }

    /// Codes one more bit of samples that were significant before this plane (D.3.3).
    #[inline]
    fn refinement_pass<D: Decisions>(&mut self, decisions: &mut D, plane: u32) {
        let stride = self.width + 2;
        for stripe in 0..self.height.div_ceil(4) {
            let first = (stripe + 1) * stride + 1;
            for column in 0..self.width {
                let flags = self.flags[first + column];
                let members = flags >> SELF & !(flags >> VISITED) & COLUMN;
                if members == 0 {
                    continue;
                }
                let at = (stripe * self.width + column) * 4;
                let mut todo = members;
                while todo != 0 {
                    let row = todo.trailing_zeros();
                    todo &= todo - 1;
                    let context = refinement_context(flags, row);
                    let bit = decisions.decide_evenly(context);
                    // What was the half of what is unknown becomes the bit; half of the rest follows.
                    self.magnitudes[at + (row / 3) as usize] ^= (3 - 2 * bit) << plane;
                }
                self.flags[first + column] = flags | members << REFINED;
            }
        }
    }

    /// Codes all other samples (D.3.4), and forgets which were visited.
    #[inline]
    fn cleanup_pass(&mut self, mq: &mut Mq<'_>, plane: u32, model: Model) -> Result<()> {
        let stride = self.width + 2;
        for stripe in 0..self.height.div_ceil(4) {
            let rows = self.rows(stripe);
            let first = (stripe + 1) * stride + 1;
            for column in 0..self.width {
                let mut flags = self.flags[first + column];
                let mut todo = !(flags >> SELF) & !(flags >> VISITED) & rows;
                let mut significant = false;
                if todo == COLUMN && flags & ((1 << SIGNS) - 1) == 0 {
                    if mq.decide(RUN) == 0 {
                        continue;
                    }
                    let skipped = mq.decide(UNIFORM) << 1 | mq.decide(UNIFORM);
                    todo &= !0 << (3 * skipped);
                    significant = true;
                }
                let at = (stripe * self.width + column) * 4;
                while todo != 0 {
                    let row = todo.trailing_zeros();
                    todo &= todo - 1;
                    let context = model.zero_coding[(flags >> row & AROUND) as usize];
                    if significant || mq.decide(context.into()) == 1 {
                        flags = self.found(mq, flags, row, first + column, at, plane, model.style);
                    }
                    significant = false;
                }
                self.flags[first + column] = flags & !(COLUMN << VISITED);
            }
        }
        if model.style & style::SYMBOLS != 0 && (0..4).fold(0, |bits, _| bits << 1 | mq.decide(UNIFORM)) != 10 {
            return Err(corrupt("a code-block lacks its segmentation symbol"));
        }
        Ok(())
    }

    /// Copies the magnitudes and signs of a row.
    pub(crate) fn row(&self, row: usize, out: &mut [u32]) {
        let stripe = &self.magnitudes[row / 4 * 4 * self.width..][..4 * self.width];
        for (column, out) in stripe.as_chunks::<4>().0.iter().zip(out) {
            *out = column[row % 4];
        }
    }
}

/// Returns which samples of a column are not significant and have a neighbour that is.
#[inline(always)]
fn candidates(flags: u64) -> u64 {
    let columns = flags & 0o77_7777;
    let in_row = columns | columns >> 1 | columns >> 2;
    (in_row | in_row >> 3 | in_row >> 6) & !(flags >> SELF) & COLUMN
}

/// Table D.4.
#[inline(always)]
fn refinement_context(flags: u64, row: u32) -> usize {
    let refined = flags >> (REFINED + row) & 1 != 0;
    if refined { 16 } else { 14 + usize::from(flags >> row & AROUND != 0) }
}

/// Joins the chunks of the codeword segment that begins with pass `pass`, and returns its number of passes.
fn join(segment: &mut Vec<u8>, chunks: &[Chunk<'_>], next: &mut u32, style: u8, pass: u8) -> u8 {
    segment.clear();
    let capacity = segment_passes(style, pass);
    let mut num_passes = 0;
    while *next != NONE && u32::from(num_passes) < capacity {
        let chunk = &chunks[*next as usize];
        segment.extend_from_slice(chunk.bytes);
        num_passes += chunk.num_passes;
        *next = chunk.next;
    }
    num_passes
}
