//! The arithmetic decoder MQ (T.800 Annex C), and the raw bits of the bypass (D.6).
//!
//! The standard's decoder keeps 16 bits of the code register in play, shifts it one bit at a time and asks for a byte
//! every eight. This one keeps up to 62 bits of the code, shifts by as much as is due and reads bytes several at a
//! time: sums and comparisons are the same. A renormalisation has no branch, since it could not be predicted. What one
//! decision needs of the one before is little: both states that may follow are loaded before it is known which.

use std::hint::select_unpredictable;

/// How many bits of the code lie below those that are compared with the interval.
const POINT: u32 = 47;
/// The least interval after renormalisation, 0x8000.
const HALF: i64 = 1 << (POINT + 15);

/// The state of a context: a row of table C.2, and which decision is the more probable one.
///
/// From the lowest bit on, 8 bits each: the states that follow the more and the less probable decision, and the more
/// probable decision; from bit [`POINT`] on Qe, the interval of the less probable one.
pub(crate) type State = i64;

/// The bits of Qe in a state.
const QE: i64 = 0xFFFF << POINT;

/// Table C.2: Qe, the next row after the more and after the less probable decision, and whether they switch.
const ROWS: [(u16, u8, u8, bool); 47] = [
    (0x5601, 1, 1, true),
    (0x3401, 2, 6, false),
    (0x1801, 3, 9, false),
    (0x0AC1, 4, 12, false),
    (0x0521, 5, 29, false),
    (0x0221, 38, 33, false),
    (0x5601, 7, 6, true),
    (0x5401, 8, 14, false),
    (0x4801, 9, 14, false),
    (0x3801, 10, 14, false),
    (0x3001, 11, 17, false),
    (0x2401, 12, 18, false),
    (0x1C01, 13, 20, false),
    (0x1601, 29, 21, false),
    (0x5601, 15, 14, true),
    (0x5401, 16, 14, false),
    (0x5101, 17, 15, false),
    (0x4801, 18, 16, false),
    (0x3801, 19, 17, false),
    (0x3401, 20, 18, false),
    (0x3001, 21, 19, false),
    (0x2801, 22, 19, false),
    (0x2401, 23, 20, false),
    (0x2201, 24, 21, false),
    (0x1C01, 25, 22, false),
    (0x1801, 26, 23, false),
    (0x1601, 27, 24, false),
    (0x1401, 28, 25, false),
    (0x1201, 29, 26, false),
    (0x1101, 30, 27, false),
    (0x0AC1, 31, 28, false),
    (0x09C1, 32, 29, false),
    (0x08A1, 33, 30, false),
    (0x0521, 34, 31, false),
    (0x0441, 35, 32, false),
    (0x02A1, 36, 33, false),
    (0x0221, 37, 34, false),
    (0x0141, 38, 35, false),
    (0x0111, 39, 36, false),
    (0x0085, 40, 37, false),
    (0x0049, 41, 38, false),
    (0x0025, 42, 39, false),
    (0x0015, 43, 40, false),
    (0x0009, 44, 41, false),
    (0x0005, 45, 42, false),
    (0x0001, 45, 43, false),
    (0x5601, 46, 46, false),
];

/// All states: twice the row, plus the more probable decision. As many as a byte can tell, so that no index needs a check.
static STATES: [State; 256] = states();

const fn states() -> [State; 256] {
    let mut states = [0; 256];
    let mut index = 0;
    while index < 2 * ROWS.len() {
        let (qe, more, less, switches) = ROWS[index / 2];
        let more_probable = (index % 2) as i64;
        let more = 2 * more as i64 + more_probable;
        let less = 2 * less as i64 + (more_probable ^ switches as i64);
        states[index] = (qe as i64) << POINT | more_probable << 16 | less << 8 | more;
        index += 1;
    }
    states
}

#[inline(always)]
fn more_probable(state: State) -> u32 {
    (state >> 16) as u32 & 1
}

/// The context of four samples that have no significant neighbour.
pub(crate) const RUN: usize = 17;
/// The context of bits that are as often 0 as 1.
pub(crate) const UNIFORM: usize = 18;

/// The states of all contexts; 32, so that no index needs a check.
#[derive(Clone, Debug)]
pub(crate) struct Contexts([State; 32]);

impl Contexts {
    /// Returns them as they begin (table D.7).
    pub(crate) fn new() -> Self {
        let mut contexts = [STATES[0]; 32];
        contexts[0] = STATES[2 * 4];
        contexts[RUN] = STATES[2 * 3];
        contexts[UNIFORM] = STATES[2 * 46];
        Self(contexts)
    }

    #[inline(always)]
    pub(crate) fn get(&mut self, context: usize) -> &mut State {
        &mut self.0[context & 31]
    }
}

/// What decides a code-block's questions.
pub(crate) trait Decisions: Copy {
    /// Decides in a context: 0 or 1.
    fn decide(&mut self, context: &mut State) -> u32;

    /// Decides where both answers are about as probable: without a branch.
    fn decide_evenly(&mut self, context: &mut State) -> u32;

    /// Decides a sign: 1 is negative, where `flip` is the sign that is expected.
    fn decide_sign(&mut self, context: &mut State, flip: u32) -> u32;
}

/// The MQ decoder of one codeword segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mq<'a> {
    /// The segment, and two bytes of ones behind it.
    data: &'a [u8],
    /// The byte that was read last.
    at: usize,
    /// The interval (A).
    interval: i64,
    /// The code (C).
    code: i64,
    /// Where the next byte goes in the code, unless a bit is stuffed.
    shift: i32,
}

/// What has to lie behind the bytes of a segment: decoders read ones there (C.3.2.2).
pub(crate) const PADDING: [u8; 2] = [0xFF, 0xFF];

impl<'a> Mq<'a> {
    /// Begins a codeword segment (C.3.5).
    ///
    /// - `data`: its bytes, and [`PADDING`]
    #[inline(always)]
    pub(crate) fn new(data: &'a [u8]) -> Self {
        debug_assert!(data.ends_with(&PADDING));
        let code = i64::from(data[0]) << (POINT + 7);
        let (code, at, shift) = fill(data, 0, code, POINT as i32 - 1);
        Self { data, at, interval: HALF, code, shift }
    }

    /// Decides where interval and code less Qe are `interval` and `code`: exchanges and renormalises (C.3.2, C.3.3).
    #[inline(always)]
    fn settle(&mut self, context: &mut State, interval: i64, code: i64) -> u32 {
        let state = *context;
        let qe = state & QE;
        let more = STATES[usize::from(state as u8)];
        let less = STATES[usize::from((state >> 8) as u8)];
        // The lower part of the interval is that of the less probable decision, unless it is the larger one. A mask, not
        // a choice between two places to load from: the loads must not wait for it.
        let is_below = code < 0;
        let less_probable = code >> 63 ^ (interval - qe) >> 63;
        let next = more ^ (more ^ less) & less_probable;
        let interval = select_unpredictable(is_below, qe, interval);
        let code = select_unpredictable(is_below, self.code, code);
        let shift = (interval as u64 | 1).leading_zeros().wrapping_sub(1) & 63;
        *context = select_unpredictable(shift != 0, next, state);
        self.interval = interval << shift;
        self.code = code << shift;
        self.shift += shift as i32;
        if self.shift > POINT as i32 - 8 {
            (self.code, self.at, self.shift) = fill(self.data, self.at, self.code, self.shift);
        }
        more_probable(state ^ less_probable)
    }
}

impl Decisions for Mq<'_> {
    #[inline(always)]
    fn decide(&mut self, context: &mut State) -> u32 {
        let (interval, code) = (self.interval - (*context & QE), self.code.wrapping_sub(*context & QE));
        if (interval - HALF) | code >= 0 {
            (self.interval, self.code) = (interval, code);
            return more_probable(*context);
        }
        self.settle(context, interval, code)
    }

    #[inline(always)]
    fn decide_evenly(&mut self, context: &mut State) -> u32 {
        let qe = *context & QE;
        self.settle(context, self.interval - qe, self.code.wrapping_sub(qe))
    }

    #[inline(always)]
    fn decide_sign(&mut self, context: &mut State, flip: u32) -> u32 {
        self.decide_evenly(context) ^ flip
    }
}

/// Reads bytes into the code until it is full (C.3.4).
///
/// - returns: the code, the place of the last byte, and where the next goes
// Not inlined: it is called once in 40 shifts, and callers need their registers.
#[inline(never)]
fn fill(data: &[u8], mut at: usize, mut code: i64, mut shift: i32) -> (i64, usize, i32) {
    while shift >= 0 {
        let next = data[at + 1];
        if data[at] != 0xFF {
            at += 1;
            code = code.wrapping_add(i64::from(next) << shift);
            shift -= 8;
        } else if next > 0x8F {
            // A marker: the decoder stays before it and reads ones.
            code = code.wrapping_add(0xFF << shift);
            shift -= 8;
        } else {
            at += 1;
            code = code.wrapping_add(i64::from(next) << (shift + 1));
            shift -= 7;
        }
    }
    (code, at, shift)
}

/// Bits of a bypassed segment: after a byte of ones, one bit is stuffed (D.6).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Raw<'a> {
    data: &'a [u8],
    at: usize,
    byte: u8,
    left: u8,
}

impl<'a> Raw<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, byte: 0, left: 0 }
    }

    #[inline]
    fn bit(&mut self) -> u32 {
        if self.left == 0 {
            self.left = if self.byte == 0xFF { 7 } else { 8 };
            // Behind the end there are ones.
            self.byte = self.data.get(self.at).copied().unwrap_or(0xFF);
            self.at += 1;
        }
        self.left -= 1;
        u32::from(self.byte >> self.left) & 1
    }
}

impl Decisions for Raw<'_> {
    #[inline(always)]
    fn decide(&mut self, _context: &mut State) -> u32 {
        self.bit()
    }

    #[inline(always)]
    fn decide_evenly(&mut self, _context: &mut State) -> u32 {
        self.bit()
    }

    #[inline(always)]
    fn decide_sign(&mut self, _context: &mut State, _flip: u32) -> u32 {
        self.bit()
    }
}

#[cfg(test)]
mod tests {
    use super::{Contexts, Decisions, Mq, PADDING};

    /// The test sequence of T.88 H.2, whose coder is this one: 256 decisions in one context that begins in state 0.
    #[test]
    fn the_standards_test_sequence_is_decoded() {
        let mut coded = vec![
            0x84, 0xC7, 0x3B, 0xFC, 0xE1, 0xA1, 0x43, 0x04, 0x02, 0x20, 0x00, 0x00, 0x41, 0x0D, 0xBB, 0x86,
            0xF4, 0x31, 0x7F, 0xFF, 0x88, 0xFF, 0x37, 0x47, 0x1A, 0xDB, 0x6A, 0xDF, 0xFF, 0xAC,
        ];
        coded.extend(PADDING);
        let expected = [
            0x00, 0x02, 0x00, 0x51, 0x00, 0x00, 0x00, 0xC0, 0x03, 0x52, 0x87, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA,
            0x82, 0xC0, 0x20, 0x00, 0xFC, 0xD7, 0x9E, 0xF6, 0xBF, 0x7F, 0xED, 0x90, 0x4F, 0x46, 0xA3, 0xBF,
        ];
        for evenly in [false, true] {
            let (mut mq, mut contexts) = (Mq::new(&coded), Contexts::new());
            let mut bit = |_| {
                let context = contexts.get(1);
                if evenly { mq.decide_evenly(context) } else { mq.decide(context) }
            };
            let decoded = expected.map(|_| (0..8).fold(0, |byte, place| byte << 1 | bit(place)));
            assert_eq!(decoded, expected);
        }
    }
}
