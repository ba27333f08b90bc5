//! Code-blocks: coefficient bit modelling (T.800 Annex D).
//!
//! A block is scanned in stripes of four rows, column by column. Which samples are significant, were visited in this
//! plane and were refined before lies in bits: a word has 16 columns of a stripe in the order of the scan, so that a
//! pass asks for the next sample by counting zeros. Each column of a stripe has a word of flags beside that: which
//! samples of the column and around it are significant, and their signs, as a window of three columns by six rows, row
//! by row. Sample `r` of the column has its neighbourhood at bit `3 * r` on. Magnitudes are words of bits as well until the
//! last pass is done.

use std::hint::select_unpredictable;

use tilefleet_codec::{Result, corrupt};

use crate::coding::style;
use crate::mq::{Contexts, Decisions, Mq, PADDING, RUN, Raw, State, UNIFORM};
use crate::packets::segment_passes;
use crate::tile::{BandKind, Block, Chunk, NONE};

/// Where the window of signs begins in a word of flags; that of significance begins at 0.
const SIGNS: u32 = 18;
/// The first rows of the columns of a word.
const TOP: u64 = 0x1111_1111_1111_1111;
/// The columns of a word.
const COLUMNS: usize = 16;
/// The samples of a word.
const WORD: usize = 4 * COLUMNS;
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
/// Contexts of table D.3, and whether a negative sign is expected: by significance and signs of the neighbours.
static SIGN_CODING: [u8; 512] = sign_coding();

/// The mark of an expected negative sign.
const FLIPPED: u8 = 128;

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
            (0, _) => 10 + FLIPPED,
            (_, 1) => 11 + FLIPPED,
            (_, 0) => 12 + FLIPPED,
            (_, _) => 13 + FLIPPED,
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
    planes: Planes,
    /// The bytes of a codeword segment, joined.
    segment: Vec<u8>,
}

/// What is known of the samples of a code-block.
#[derive(Clone, Debug, Default)]
struct Planes {
    width: usize,
    height: usize,
    /// Words per stripe, with one at either side.
    num_words: usize,
    /// Words of samples, with a stripe above and below.
    significant: Vec<u64>,
    visited: Vec<u64>,
    refined: Vec<u64>,
    /// Words of flags with a column at either side and a stripe above and below.
    flags: Vec<u64>,
    /// Words of flags per stripe.
    stride: usize,
    /// Signs: words of samples.
    negative: Vec<u64>,
    /// Bits of magnitudes, plane by plane: words of samples.
    bits: Vec<u64>,
    /// Twice the magnitude, and half of what is not known of it; the sign in bit 31. Word by word, in the order of the
    /// scan.
    magnitudes: Vec<u32>,
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
    #[inline(always)]
    pub(crate) fn decode(
        &mut self,
        block: &Block,
        chunks: &[Chunk<'_>],
        kind: BandKind,
        num_planes: u8,
        style: u8,
    ) -> Result<()> {
        let table = match kind {
            BandKind::Ll | BandKind::Lh => 0,
            BandKind::Hl => 1,
            BandKind::Hh => 2,
        };
        let model = Model { zero_coding: &ZERO_CODING[table], style };
        // The first pass is the cleanup of the highest plane.
        let mut pass = 2;
        let highest = u32::from(num_planes - block.zero_planes);
        self.planes.clear(block.width.into(), block.height.into(), highest as usize);
        let mut contexts = Contexts::new();
        let mut next = block.first_chunk;
        while next != NONE {
            let num_passes = join(&mut self.segment, chunks, &mut next, style, pass - 2);
            let raw = style & style::BYPASS != 0 && pass >= 12 && pass % 3 != 2;
            let passes = pass..pass + num_passes;
            pass = passes.end;
            if raw {
                self.planes.raw_passes(Raw::new(&self.segment), &mut contexts, passes, highest, model);
            } else {
                self.segment.extend(PADDING);
                self.planes.passes(Mq::new(&self.segment), &mut contexts, passes, highest, model)?;
            }
        }
        self.planes.assemble(highest as usize, usize::from(pass - 1));
        Ok(())
    }

    /// Copies the magnitudes and signs of a row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize, out: &mut [u32]) {
        let stripe_len = (self.planes.num_words - 2) * WORD;
        let stripe = &self.planes.magnitudes[row / 4 * stripe_len..][..stripe_len];
        for (column, out) in stripe.as_chunks::<4>().0.iter().zip(out) {
            *out = column[row % 4];
        }
    }
}

impl Planes {
    fn clear(&mut self, width: usize, height: usize, num_planes: usize) {
        (self.width, self.height) = (width, height);
        self.num_words = width.div_ceil(COLUMNS) + 2;
        let stripes = height.div_ceil(4);
        let num_words = (stripes + 2) * self.num_words;
        for words in [&mut self.significant, &mut self.visited, &mut self.refined, &mut self.negative] {
            words.clear();
            words.resize(num_words, 0);
        }
        self.bits.clear();
        self.bits.resize(num_planes * num_words, 0);
        self.flags.clear();
        self.stride = width + 2;
        self.flags.resize((stripes + 2) * self.stride, 0);
    }

    #[inline(always)]
    fn raw_passes(
        &mut self,
        mut raw: Raw<'_>,
        contexts: &mut Contexts,
        passes: std::ops::Range<u8>,
        highest: u32,
        model: Model,
    ) {
        for pass in passes {
            let plane = highest - 1 - u32::from(pass) / 3;
            if pass % 3 == 0 {
                self.significance_pass(&mut raw, contexts, plane, model);
            } else {
                self.refinement_pass(&mut raw, contexts, plane, model);
            }
        }
    }

    #[inline(always)]
    fn passes(
        &mut self,
        mut mq: Mq<'_>,
        contexts: &mut Contexts,
        passes: std::ops::Range<u8>,
        highest: u32,
        model: Model,
    ) -> Result<()> {
        for pass in passes {
            let plane = highest - 1 - u32::from(pass) / 3;
            match pass % 3 {
                0 => self.significance_pass(&mut mq, contexts, plane, model),
                1 => self.refinement_pass(&mut mq, contexts, plane, model),
                _ => self.cleanup_pass(&mut mq, contexts, plane, model)?,
            }
            if model.style & style::RESET != 0 {
                *contexts = Contexts::new();
            }
        }
        Ok(())
    }

    /// Returns where the bits of a plane begin.
    fn first_bit(&self, plane: u32) -> usize {
        plane as usize * self.significant.len()
    }

    /// Makes magnitudes of the bits of all planes below `highest`.
    ///
    /// - `pass`: the last pass, counted so that multiples of 3 are significance passes
    #[inline(always)]
    fn assemble(&mut self, highest: usize, pass: usize) {
        let lowest = highest - 1 - pass / 3;
        let stripes = self.height.div_ceil(4);
        self.magnitudes.resize(stripes * (self.num_words - 2) * WORD, 0);
        let mut out = self.magnitudes.as_chunks_mut::<WORD>().0.iter_mut();
        for stripe in 0..stripes {
            for (word, out) in (0..self.num_words - 2).zip(&mut out) {
                let at = (stripe + 1) * self.num_words + word + 1;
                // What is unknown of a sample is half of its last plane: not all have a bit of a plane that is not done.
                let significant = self.significant[at];
                let coded = if pass.is_multiple_of(3) { significant & self.visited[at] } else { significant };
                *out = [0; WORD];
                for (group, planes) in (lowest..=highest).step_by(8).enumerate() {
                    let mut bytes = [[0; 8]; 8];
                    for plane in planes..(planes + 8).min(highest + 1) {
                        let half = match plane - lowest {
                            0 => coded,
                            1 => significant & !coded,
                            _ => 0,
                        };
                        let known = if plane > lowest {
                            self.bits[(plane - 1) * self.significant.len() + at]
                        } else {
                            0
                        };
                        spread(half | known, plane - planes, &mut bytes);
                    }
                    let shift = lowest + 8 * group;
                    for (out, byte) in out.iter_mut().zip(bytes.as_flattened()) {
                        *out |= u32::from(*byte) << shift;
                    }
                }
                let mut signs = [[0; 8]; 8];
                spread(self.negative[at], 7, &mut signs);
                for (out, sign) in out.iter_mut().zip(signs.as_flattened()) {
                    *out |= u32::from(*sign) << 24;
                }
            }
        }
    }

    /// Returns the samples of a word that exist.
    #[inline(always)]
    fn existing(&self, stripe: usize, word: usize) -> u64 {
        let rows = TOP * ((1 << (self.height - 4 * stripe).min(4)) - 1);
        let columns = self.width - COLUMNS * word;
        if columns < COLUMNS { rows & ((1 << (4 * columns)) - 1) } else { rows }
    }

    /// Returns which samples of a word have a significant neighbour.
    #[inline(always)]
    fn near(&self, at: usize, style: u8) -> u64 {
        let (left, column, right) = (at - 1, at, at + 1);
        let beside = self.above_or_below(column, style);
        let column = beside | self.significant[column];
        let left = self.above_or_below(left, style) | self.significant[left];
        let right = self.above_or_below(right, style) | self.significant[right];
        beside | column << 4 | column >> 4 | left >> 60 | right << 60
    }

    /// Returns which samples of a word have a significant one above or below.
    #[inline(always)]
    fn above_or_below(&self, at: usize, style: u8) -> u64 {
        let (above, own) = (self.significant[at - self.num_words], self.significant[at]);
        let below = if style & style::CAUSAL == 0 { self.significant[at + self.num_words] } else { 0 };
        own << 1 & !TOP | (own & !TOP) >> 1 | above >> 3 & TOP | (below & TOP) << 3
    }

    /// Codes insignificant samples with significant neighbours (D.3.1).
    #[inline(never)]
    fn significance_pass<D: Decisions>(
        &mut self,
        coder: &mut D,
        contexts: &mut Contexts,
        plane: u32,
        model: Model,
    ) {
        // A copy stays in registers.
        let mut decisions = *coder;
        let first_bit = self.first_bit(plane);
        for stripe in 0..self.height.div_ceil(4) {
            for word in 0..self.num_words - 2 {
                let at = (stripe + 1) * self.num_words + word + 1;
                let existing = self.existing(stripe, word);
                let before = self.significant[at];
                let todo = self.near(at, model.style) & !before & existing;
                let (mut significant, mut visited, mut negative) = (before, 0, 0);
                if todo != 0 {
                    let scan = self.scan(stripe, word, model);
                    [significant, visited, negative] =
                        scan.significance(&mut decisions, contexts, [before, todo, existing]);
                }
                self.bits[first_bit + at] = significant & !self.significant[at];
                self.significant[at] = significant;
                self.visited[at] = visited;
                self.negative[at] |= negative;
            }
        }
        *coder = decisions;
    }

    /// Returns how a word is scanned.
    #[inline(always)]
    fn scan(&mut self, stripe: usize, word: usize, model: Model) -> Scan<'_> {
        Scan {
            flags: &mut self.flags,
            first: (stripe + 1) * self.stride + 1 + word * COLUMNS,
            stride: self.stride,
            zero_coding: model.zero_coding,
            causal: model.style & style::CAUSAL != 0,
        }
    }

    /// Codes one more bit of samples that were significant before this plane (D.3.3).
    #[inline(never)]
    fn refinement_pass<D: Decisions>(
        &mut self,
        coder: &mut D,
        contexts: &mut Contexts,
        plane: u32,
        model: Model,
    ) {
        let mut decisions = *coder;
        let first_bit = self.first_bit(plane);
        for stripe in 0..self.height.div_ceil(4) {
            for word in 0..self.num_words - 2 {
                let at = (stripe + 1) * self.num_words + word + 1;
                let todo = self.significant[at] & !self.visited[at];
                let first = todo & !self.refined[at];
                self.refined[at] |= todo;
                self.bits[first_bit + at] |= if first == 0 {
                    refine_again(&mut decisions, contexts.get(16), todo)
                } else {
                    refine(&mut decisions, contexts, todo, first, self.near(at, model.style) & first)
                };
            }
        }
        *coder = decisions;
    }

    /// Codes all other samples (D.3.4), and forgets which were visited.
    #[inline(never)]
    fn cleanup_pass(
        &mut self,
        coder: &mut Mq<'_>,
        contexts: &mut Contexts,
        plane: u32,
        model: Model,
    ) -> Result<()> {
        let mut mq = *coder;
        let first_bit = self.first_bit(plane);
        for stripe in 0..self.height.div_ceil(4) {
            for word in 0..self.num_words - 2 {
                let at = (stripe + 1) * self.num_words + word + 1;
                let before = self.significant[at];
                let todo = !(before | self.visited[at]) & self.existing(stripe, word);
                let (mut significant, mut negative) = (before, 0);
                if todo != 0 {
                    [significant, negative] =
                        self.scan(stripe, word, model).cleanup(&mut mq, contexts, [before, todo]);
                }
                self.bits[first_bit + at] |= significant & !self.significant[at];
                self.significant[at] = significant;
                self.visited[at] = 0;
                self.negative[at] |= negative;
            }
        }
        if model.style & style::SYMBOLS != 0 {
            let symbol = (0..4).fold(0, |bits, _| bits << 1 | mq.decide(contexts.get(UNIFORM)));
            if symbol != 0b1010 {
                return Err(corrupt("a code-block lacks its segmentation symbol"));
            }
        }
        *coder = mq;
        Ok(())
    }
}

/// How the samples of a word are scanned.
struct Scan<'s> {
    flags: &'s mut [u64],
    /// Where the flags of the first column are.
    first: usize,
    stride: usize,
    zero_coding: &'static [u8; 512],
    causal: bool,
}

impl Scan<'_> {
    /// Codes samples of a word in a significance pass.
    ///
    /// - the last argument: which samples are significant, which are to be coded, and which exist
    /// - returns: which are significant, which were coded, and which of those found are negative
    // Not inlined: the loop needs all registers.
    #[inline(never)]
    fn significance<D: Decisions>(
        mut self,
        coder: &mut D,
        contexts: &mut Contexts,
        [mut significant, mut todo, existing]: [u64; 3],
    ) -> [u64; 3] {
        let mut decisions = *coder;
        let (mut visited, mut negative) = (todo, 0);
        while todo != 0 {
            let sample = todo.trailing_zeros();
            todo &= todo - 1;
            let context = self.zero_context(sample);
            if decisions.decide_evenly(contexts.get(context)) == 1 {
                negative |= self.found(&mut decisions, contexts, sample) << sample;
                significant |= 1 << sample;
                // What comes later in the scan, and had no significant neighbour before.
                let new = LATER[sample as usize & 3] << sample & existing & !significant & !visited;
                todo |= new;
                visited |= new;
            }
        }
        *coder = decisions;
        [significant, visited, negative]
    }

    /// Codes samples of a word in a cleanup pass.
    ///
    /// - the last argument: which samples are significant, and which are to be coded
    /// - returns: which are significant, and which of those found are negative
    #[inline(never)]
    fn cleanup(
        mut self,
        coder: &mut Mq<'_>,
        contexts: &mut Contexts,
        [mut significant, mut todo]: [u64; 2],
    ) -> [u64; 2] {
        let mut mq = *coder;
        let mut negative = 0;
        while todo != 0 {
            let mut sample = todo.trailing_zeros();
            let mut is_found = false;
            if self.is_run(sample, todo) {
                if mq.decide(contexts.get(RUN)) == 0 {
                    todo &= !(15 << sample);
                    continue;
                }
                let high = mq.decide(contexts.get(UNIFORM));
                let skipped = high << 1 | mq.decide(contexts.get(UNIFORM));
                todo &= !(((1 << skipped) - 1) << sample);
                sample += skipped;
                is_found = true;
            }
            todo &= todo - 1;
            let context = self.zero_context(sample);
            if is_found || mq.decide(contexts.get(context)) == 1 {
                negative |= self.found(&mut mq, contexts, sample) << sample;
                significant |= 1 << sample;
            }
        }
        *coder = mq;
        [significant, negative]
    }

    /// Returns where the flags of a sample's column are.
    #[inline(always)]
    fn column(&self, sample: u32) -> usize {
        self.first + (sample >> 2) as usize
    }

    /// Returns the context of the decision whether a sample is significant in this plane.
    #[inline(always)]
    fn zero_context(&self, sample: u32) -> usize {
        let flags = self.flags[self.column(sample)] >> (3 * (sample & 3));
        self.zero_coding[(flags & AROUND) as usize].into()
    }

    /// Makes a sample significant: reads its sign and tells its neighbours (D.3.2).
    ///
    /// - returns: 1 if it is negative
    #[inline(always)]
    fn found<D: Decisions>(&mut self, decisions: &mut D, contexts: &mut Contexts, sample: u32) -> u64 {
        let place = self.column(sample);
        let row = 3 * (sample & 3);
        let [left, own, right] = window(self.flags, place);
        let around = *own >> row & CROSS | (*own >> (SIGNS + row) & CROSS) << 1;
        let coding = SIGN_CODING[around as usize & 511];
        let negative = decisions.decide_sign(contexts.get((coding & 127).into()), (coding >> 7).into());
        let mark = 1 | u64::from(negative) << SIGNS;
        *left |= mark << (row + 5);
        *own |= mark << (row + SELF);
        *right |= mark << (row + 3);
        // The other stripe that has the sample in its windows. Samples in the middle have none: nothing is marked.
        let (other, shift, mark) = match sample & 3 {
            0 if !self.causal => (place - self.stride, 15, mark),
            3 => (place + self.stride, 0, mark),
            _ => (place, 0, 0),
        };
        let [left, own, right] = window(self.flags, other);
        *left |= mark << (shift + 2);
        *own |= mark << (shift + 1);
        *right |= mark << shift;
        negative.into()
    }

    /// Tells whether a column of four samples is coded as a run: none of them, nor of those around them, is
    /// significant.
    #[inline(always)]
    fn is_run(&self, sample: u32, todo: u64) -> bool {
        sample.is_multiple_of(4)
            && todo >> sample & 15 == 15
            && self.flags[self.column(sample)] & ((1 << SIGNS) - 1) == 0
    }
}

/// Decides a bit of each sample of `todo`, none of which is refined for the first time.
// Not inlined: the loop needs all registers.
#[inline(never)]
fn refine_again<D: Decisions>(coder: &mut D, context: &mut State, mut todo: u64) -> u64 {
    let (mut decisions, mut again) = (*coder, *context);
    let mut bits = 0;
    while todo != 0 {
        bits |= u64::from(decisions.decide_evenly(&mut again)) << todo.trailing_zeros();
        todo &= todo - 1;
    }
    (*coder, *context) = (decisions, again);
    bits
}

/// Decides a bit of each sample of `todo`.
///
/// - `first`: those that are refined for the first time
/// - `near`: those of them that have a significant neighbour
#[inline(never)]
fn refine<D: Decisions>(coder: &mut D, contexts: &mut Contexts, mut todo: u64, first: u64, near: u64) -> u64 {
    let mut decisions = *coder;
    let [mut far, mut near_state, mut again] = [14, 15, 16].map(|context| *contexts.get(context));
    let mut bits = 0;
    while todo != 0 {
        let sample = todo.trailing_zeros();
        // Table D.4. Chosen among registers: a state that has just been stored takes long to load.
        let (is_first, is_near) = (first >> sample & 1 != 0, near >> sample & 1 != 0);
        let mut state = select_unpredictable(is_first, select_unpredictable(is_near, near_state, far), again);
        bits |= u64::from(decisions.decide_evenly(&mut state)) << sample;
        far = select_unpredictable(is_near, far, select_unpredictable(is_first, state, far));
        near_state = select_unpredictable(is_near, state, near_state);
        again = select_unpredictable(is_first, again, state);
        todo &= todo - 1;
    }
    *coder = decisions;
    (*contexts.get(14), *contexts.get(15), *contexts.get(16)) = (far, near_state, again);
    bits
}

/// The bits of a byte, each in a byte of its own.
static SPREAD: [u64; 256] = {
    let mut spread = [0; 256];
    let mut bits = 0;
    while bits < 256 {
        let mut bit = 0;
        while bit < 8 {
            spread[bits] |= (bits as u64 >> bit & 1) << (8 * bit);
            bit += 1;
        }
        bits += 1;
    }
    spread
};

/// Sets bit `shift` of the bytes that have a bit in `word`.
#[inline(always)]
fn spread(word: u64, shift: usize, bytes: &mut [[u8; 8]; 8]) {
    for (eight, bits) in bytes.iter_mut().zip(word.to_le_bytes()) {
        *eight = (u64::from_le_bytes(*eight) | SPREAD[usize::from(bits)] << shift).to_le_bytes();
    }
}

/// Returns the word of flags at `place`, with those beside it.
#[inline(always)]
fn window(flags: &mut [u64], place: usize) -> &mut [u64; 3] {
    (&mut flags[place - 1..place + 2]).try_into().expect("three words")
}

/// The samples behind one in the scan that are next to it, by its row; the lowest bit is the sample itself.
const LATER: [u64; 4] = [0b11_0010, 0b11_1010, 0b11_1010, 0b01_1000];

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
