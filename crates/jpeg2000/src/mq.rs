//! The arithmetic decoder MQ (T.800 Annex C), and the raw bits of the bypass (D.6).
//!
//! The standard's decoder keeps 16 bits of the code register in play, shifts it one bit at a time and asks for a byte
//! every eight. This one keeps up to 62 bits of the code, shifts by as much as is due and reads bytes several at a
//! time: sums and comparisons are the same. A decision that needs no renormalisation costs one subtraction and one
//! comparison: `left` is how far both the interval and the code may still shrink.

/// How many bits of the code lie below those that are compared with the interval.
const POINT: u32 = 47;
/// The least interval after renormalisation, 0x8000.
const HALF: i64 = 1 << (POINT + 15);

/// A state of a context: a row of table C.2, and which decision is the more probable one.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(crate) struct State {
    /// The interval of the less probable decision.
    qe: i64,
    /// The states after renormalisation: for the more and the less probable decision.
    next: [u8; 2],
    more_probable: u8,
}

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

/// All states: twice the row, plus the more probable decision. A power of two, so that no index needs a check.
static STATES: [State; 128] = states();

const fn states() -> [State; 128] {
    let mut states = [State { qe: 0, next: [0, 0], more_probable: 0 }; 128];
    let mut index = 0;
    while index < 2 * ROWS.len() {
        let (qe, more, less, switches) = ROWS[index / 2];
        let more_probable = (index % 2) as u8;
        states[index] = State {
            qe: (qe as i64) << POINT,
            next: [2 * more + more_probable, 2 * less + (more_probable ^ switches as u8)],
            more_probable,
        };
        index += 1;
    }
    states
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
}

/// What decides a code-block's questions.
pub(crate) trait Decisions {
    /// Decides in context `context`: 0 or 1.
    fn decide(&mut self, context: usize) -> u32;

    /// Decides where both answers are about as probable: without a branch.
    fn decide_evenly(&mut self, context: usize) -> u32 {
        self.decide(context)
    }

    /// Decides a sign: 1 is negative, where `flip` is the sign that is expected.
    fn decide_sign(&mut self, context: usize, flip: u32) -> u32;
}

/// The MQ decoder of one codeword segment.
#[derive(Debug)]
pub(crate) struct Mq<'a> {
    /// The segment, and two bytes of ones behind it.
    data: &'a [u8],
    /// The byte that was read last.
    at: usize,
    /// By how much both the interval and the code may be reduced before something happens.
    left: i64,
    /// The interval (A) is `left` plus this.
    interval: i64,
    /// The code (C) is `left` plus this.
    code: i64,
    /// Where the next byte goes in the code, unless a bit is stuffed.
    shift: i32,
    pub(crate) contexts: Contexts,
}

/// What has to lie behind the bytes of a segment: decoders read ones there (C.3.2.2).
pub(crate) const PADDING: [u8; 2] = [0xFF, 0xFF];

impl<'a> Mq<'a> {
    /// Begins a codeword segment (C.3.5).
    ///
    /// - `data`: its bytes, and [`PADDING`]
    #[inline]
    pub(crate) fn new(data: &'a [u8], contexts: Contexts) -> Self {
        debug_assert!(data.ends_with(&PADDING));
        let code = i64::from(data[0]) << (POINT + 7);
        let mut mq =
            Self { data, at: 0, left: 0, interval: HALF, code, shift: POINT as i32 - 1, contexts };
        mq.fill();
        mq.split();
        mq
    }

    /// Reads bytes into the code until it is full (C.3.4).
    #[inline(always)]
    fn fill(&mut self) {
        while self.shift >= 0 {
            let next = self.data[self.at + 1];
            if self.data[self.at] != 0xFF {
                self.at += 1;
                self.code = self.code.wrapping_add(i64::from(next) << self.shift);
                self.shift -= 8;
            } else if next > 0x8F {
                // A marker: the decoder stays before it and reads ones.
                self.code = self.code.wrapping_add(0xFF << self.shift);
                self.shift -= 8;
            } else {
                self.at += 1;
                self.code = self.code.wrapping_add(i64::from(next) << (self.shift + 1));
                self.shift -= 7;
            }
        }
    }

    /// Works out `left`.
    #[inline(always)]
    fn split(&mut self) {
        let (interval, code) = (self.interval, self.code);
        self.left = (interval.wrapping_sub(HALF)).min(code);
        self.interval = interval.wrapping_sub(self.left);
        self.code = code.wrapping_sub(self.left);
    }

    /// Decides after both interval and code have been reduced by the interval of the less probable decision: exchanges
    /// and renormalises (C.3.2, C.3.3), without a branch but to read bytes.
    #[inline(always)]
    fn settle(&mut self, context: usize, state: State) -> u32 {
        let interval = self.interval.wrapping_add(self.left);
        let code = self.code.wrapping_add(self.left);
        let below = code < 0;
        let less_probable = below ^ (interval < state.qe);
        self.interval = if below { state.qe } else { interval };
        self.code = if below { code.wrapping_add(state.qe) } else { code };
        let renormalised = self.interval < HALF;
        let next = STATES[usize::from(state.next[usize::from(less_probable)] & 127)];
        self.contexts.0[context] = if renormalised { next } else { state };
        let shift = (self.interval as u64 | 1).leading_zeros().wrapping_sub(1) & 63;
        self.interval <<= shift;
        self.code = self.code.wrapping_shl(shift);
        self.shift += shift as i32;
        if self.shift > POINT as i32 - 8 {
            self.fill();
        }
        self.split();
        u32::from(state.more_probable) ^ u32::from(less_probable && renormalised)
    }
}

impl Decisions for Mq<'_> {
    #[inline(always)]
    fn decide(&mut self, context: usize) -> u32 {
        let context = context & 31;
        let state = self.contexts.0[context];
        self.left = self.left.wrapping_sub(state.qe);
        if self.left >= 0 { state.more_probable.into() } else { self.settle(context, state) }
    }

    #[inline(always)]
    fn decide_evenly(&mut self, context: usize) -> u32 {
        let context = context & 31;
        let state = self.contexts.0[context];
        self.left = self.left.wrapping_sub(state.qe);
        self.settle(context, state)
    }

    #[inline(always)]
    fn decide_sign(&mut self, context: usize, flip: u32) -> u32 {
        self.decide_evenly(context) ^ flip
    }
}

/// Bits of a bypassed segment: after a byte of ones, one bit is stuffed (D.6).
#[derive(Debug)]
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
}

impl Decisions for Raw<'_> {
    #[inline]
    fn decide(&mut self, _context: usize) -> u32 {
        if self.left == 0 {
            self.left = if self.byte == 0xFF { 7 } else { 8 };
            // Behind the end there are ones.
            self.byte = self.data.get(self.at).copied().unwrap_or(0xFF);
            self.at += 1;
        }
        self.left -= 1;
        u32::from(self.byte >> self.left) & 1
    }

    #[inline]
    fn decide_sign(&mut self, context: usize, _flip: u32) -> u32 {
        self.decide(context)
    }
}
