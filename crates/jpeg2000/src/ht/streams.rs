//! The bit streams of a code-block: four, in two codeword segments (T.814 7.1).

/// Zeros or ones behind the bits, so that reading needs no check for the end.
const PADDING: usize = 16;

/// Bits without stuffing, the first one lowest.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits gathered for the next bytes.
    pending: u64,
    num_pending: u32,
}

impl Bits {
    /// Takes bytes of which those after 0xFF have 7 bits; behind them are bytes `feed`.
    pub(super) fn forward(&mut self, data: &[u8], feed: u8) {
        self.start(data.len());
        let mut rest = data;
        let mut after_ones = false;
        while let Some((&byte, tail)) = rest.split_first() {
            if let (Some(eight), false) = (rest.first_chunk::<8>(), after_ones)
                && !has_ones(u64::from_le_bytes(*eight))
            {
                self.push_eight(u64::from_le_bytes(*eight));
                rest = &rest[8..];
                continue;
            }
            self.push(byte, if after_ones { 7 } else { 8 });
            after_ones = byte == 0xFF;
            rest = tail;
        }
        self.end(feed);
    }

    /// Takes bytes from the last to the first: one of 7 ones has 7 bits if the byte taken before is above 0x8F. Behind
    /// them are zeros.
    ///
    /// - `before`: what the first of them is taken as coming after
    pub(super) fn backward(&mut self, data: &[u8], first: Option<(u8, u32)>, before: u8) {
        self.start(data.len() + 1);
        if let Some((bits, len)) = first {
            self.push(bits, len);
        }
        let mut before = before;
        for &byte in data.iter().rev() {
            self.push(byte, if before > 0x8F && byte & 0x7F == 0x7F { 7 } else { 8 });
            before = byte;
        }
        self.end(0);
    }

    fn start(&mut self, capacity: usize) {
        self.bytes.clear();
        self.bytes.reserve(capacity + PADDING + 8);
        (self.pending, self.num_pending) = (0, 0);
    }

    #[inline]
    fn push(&mut self, byte: u8, len: u32) {
        self.pending |= u64::from(byte & (0xFF >> (8 - len))) << self.num_pending;
        self.num_pending += len;
        if self.num_pending >= 8 {
            self.bytes.push(self.pending as u8);
            self.pending >>= 8;
            self.num_pending -= 8;
        }
    }

    /// Takes eight bytes without stuffing.
    #[inline]
    fn push_eight(&mut self, eight: u64) {
        let out = self.pending | eight << self.num_pending;
        self.bytes.extend_from_slice(&out.to_le_bytes());
        self.pending = eight.checked_shr(64 - self.num_pending).unwrap_or(0);
    }

    fn end(&mut self, feed: u8) {
        let filled = self.pending | u64::from(feed) << self.num_pending;
        self.bytes.push(filled as u8);
        self.bytes.resize(self.bytes.len() + PADDING, feed);
    }

    /// Returns at least 57 bits from bit `at` on.
    #[inline(always)]
    pub(super) fn peek(&self, at: usize) -> u64 {
        // Whoever reads on behind the end reads its last bytes again.
        let byte = (at >> 3).min(self.bytes.len() - 8);
        let eight: [u8; 8] = self.bytes[byte..byte + 8].try_into().expect("8 bytes");
        u64::from_le_bytes(eight) >> (at & 7)
    }
}

/// Tells whether one of eight bytes is 0xFF.
#[inline(always)]
fn has_ones(eight: u64) -> bool {
    let inverted = !eight;
    inverted.wrapping_sub(0x0101_0101_0101_0101) & eight & 0x8080_8080_8080_8080 != 0
}

/// Runs of quads without significant samples (T.814 7.3.3).
#[derive(Clone, Debug)]
pub(super) struct Mel<'a> {
    data: &'a [u8],
    at: usize,
    byte: u8,
    left: u8,
    state: usize,
    /// Events that are 0 before the next.
    run: u32,
    /// The run ends with an event that is 1.
    ends: bool,
}

/// How many bits of a run are sent, by state (T.814 table 2).
const RUN_BITS: [u32; 13] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5];

impl<'a> Mel<'a> {
    /// - `data`: its bytes, of which the last one and the lower half of the one before count as ones
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, byte: 0, left: 0, state: 0, run: 0, ends: false }
    }

    fn bit(&mut self) -> u32 {
        if self.left == 0 {
            self.left = if self.byte == 0xFF { 7 } else { 8 };
            self.byte = match self.data.len().saturating_sub(self.at) {
                0 | 1 => 0xFF,
                2 => self.data[self.at] | 0x0F,
                _ => self.data[self.at],
            };
            self.at += 1;
        }
        self.left -= 1;
        u32::from(self.byte >> self.left) & 1
    }

    /// Returns the next event.
    #[inline]
    pub(super) fn event(&mut self) -> bool {
        if self.run == 0 && !self.ends {
            self.next_run();
        }
        if self.run > 0 {
            self.run -= 1;
            return false;
        }
        self.ends = false;
        true
    }

    fn next_run(&mut self) {
        let bits = RUN_BITS[self.state];
        if self.bit() == 1 {
            self.run = 1 << bits;
            self.state = (self.state + 1).min(12);
        } else {
            self.run = (0..bits).fold(0, |run, _| run << 1 | self.bit());
            self.state = self.state.saturating_sub(1);
            self.ends = true;
        }
    }
}
