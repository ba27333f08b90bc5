//! Reads bits of entropy-coded data (ITU-T T.81, F.2.2.5), counting those that are not there.

/// Zeros after a segment without byte stuffing: what a reader looks at beyond the end.
pub(super) const PADDING: usize = 16;

/// Reads one entropy-coded segment: the bytes up to the next marker.
///
/// A loop that works on a copy keeps it in registers.
#[derive(Clone, Copy)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, left-aligned; beyond those available, zeros or bits of the byte at `at`.
    window: u64,
    available: u32,
    /// Zero bits at the end of the window that are not in the data.
    stuffed: u32,
}

/// How an entropy-coded segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Balance {
    /// All codes were there and less than a byte is left.
    Even,
    /// More bits were read than there are.
    Short,
    /// So many whole bytes were not read, all of them zeros or all of them ones.
    Padded(usize),
    /// So many whole bytes were not read.
    Left(usize),
}

impl<'a> BitReader<'a> {
    /// Reads from this byte on.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, window: 0, available: 0, stuffed: 0 }
    }

    /// Makes at least 56 bits available, with zeros after the end.
    #[inline]
    pub(super) fn refill(&mut self) {
        if !self.refill_at_once() {
            *self = self.refilled_bytewise();
        }
    }

    /// Refills without a branch that depends on the bits left; `false` where a byte is 0xFF or missing.
    #[inline]
    fn refill_at_once(&mut self) -> bool {
        let Some(next) = self.bytes.get(self.at..self.at + 8) else { return false };
        let word = next.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        // The usual test for a zero byte, on the complement.
        if (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 != 0 {
            return false;
        }
        self.window |= word >> self.available;
        self.at += ((63 - self.available) / 8) as usize;
        // The bits after the last whole byte are read again: at least 56 are available now.
        self.available |= 0x38;
        true
    }

    #[cold]
    #[inline(never)]
    fn refilled_bytewise(mut self) -> Self {
        while self.available < 56 {
            let byte = self.next_byte();
            if byte.is_none() {
                self.stuffed += 8;
            }
            self.window |= u64::from(byte.unwrap_or(0)) << (56 - self.available);
            self.available += 8;
        }
        self
    }

    fn next_byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        if byte != 0xFF {
            self.at += 1;
            return Some(byte);
        }
        let code = self.bytes[self.at..].iter().position(|&byte| byte != 0xFF)?;
        if self.bytes[self.at + code] != 0 {
            return None;
        }
        self.at += code + 1;
        Some(0xFF)
    }

    /// Returns the next `count` bits, 1 to 32, without taking them.
    #[inline]
    pub(super) fn peek(&self, count: u32) -> usize {
        (self.window >> (64 - count)) as usize
    }

    /// Drops `count` bits that were refilled.
    #[inline]
    pub(super) fn drop(&mut self, count: u32) {
        debug_assert!(count <= self.available);
        self.window <<= count;
        self.available -= count;
    }

    /// Takes `count` bits, 0 to 16.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> usize {
        if count == 0 {
            return 0;
        }
        self.refill();
        let value = self.peek(count);
        self.drop(count);
        value
    }

    /// Tells whether more bits were taken than there are.
    #[inline]
    pub(super) fn short(&self) -> bool {
        self.available < self.stuffed
    }

    /// Ends the segment: tells how it ended and where its marker (or the end of the file) is.
    pub(super) fn finish(mut self) -> (Balance, usize) {
        if self.short() {
            return (Balance::Short, self.at);
        }
        let there = self.available - self.stuffed;
        let window = self.window << (there % 8);
        let mut left = (there / 8) as usize;
        let in_window = window.to_be_bytes();
        let (mut all, mut any) = (0xFF, 0);
        for &byte in &in_window[..left] {
            (all, any) = (all & byte, any | byte);
        }
        while let Some(byte) = self.next_byte() {
            (all, any) = (all & byte, any | byte);
            left += 1;
        }
        let balance = match left {
            0 => Balance::Even,
            left if all == 0xFF || any == 0 => Balance::Padded(left),
            left => Balance::Left(left),
        };
        (balance, self.at)
    }
}

/// The next bits of a segment without byte stuffing, left-aligned.
///
/// The segment is no part of it, so that a loop keeps all of it in registers.
#[derive(Clone, Copy, Default)]
pub(super) struct Bits {
    pub(super) window: u64,
    available: u32,
    at: usize,
}

impl Bits {
    /// Makes at least 56 bits available; `None` far beyond the end.
    #[inline]
    pub(super) fn refill(&mut self, plain: &[u8]) -> Option<()> {
        let next = plain.get(self.at..self.at + 8)?;
        let word = u64::from_be_bytes(next.try_into().ok()?);
        self.window |= word >> self.available;
        self.at += ((63 - self.available) / 8) as usize;
        // The bits after the last whole byte are read again.
        self.available |= 0x38;
        Some(())
    }

    #[inline]
    pub(super) fn peek(self, count: u32) -> usize {
        (self.window >> (64 - count)) as usize
    }

    #[inline]
    pub(super) fn drop(&mut self, count: u32) {
        self.window <<= count;
        self.available -= count;
    }

    /// Drops as many bits as the lower six bits of `count` say: just what a shift looks at.
    #[inline]
    pub(super) fn drop_lower(&mut self, count: u32) {
        self.window = self.window.wrapping_shl(count);
        self.available -= count & 63;
    }

    /// Returns how many bits were dropped.
    pub(super) fn num_used(self) -> usize {
        self.at * 8 - self.available as usize
    }
}

/// Copies a segment without its stuffing, then [`PADDING`].
///
/// - returns: its length, and the byte after the 0xFF that ends it, if one does: a marker, or 0xFF for fill bytes
pub(super) fn unstuff(data: &[u8], plain: &mut Vec<u8>) -> (usize, Option<u8>) {
    plain.clear();
    let (mut at, mut code) = (0, Some(0));
    while code == Some(0) {
        let run = memchr::memchr(0xFF, &data[at..]).unwrap_or(data.len() - at);
        plain.extend_from_slice(&data[at..at + run]);
        at += run;
        code = data.get(at + 1).copied();
        if code == Some(0) {
            plain.push(0xFF);
            at += 2;
        }
    }
    plain.extend([0; PADDING]);
    (at, code)
}

/// Tells whether the bytes behind the last code are those with which some cameras fill up a scan.
pub(super) fn is_padding(left: &[u8]) -> bool {
    left.iter().all(|&byte| byte == 0) || left.iter().all(|&byte| byte == 0xFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuffed_bytes_are_undone_and_markers_end_the_segment() {
        let mut reader = BitReader::new(&[0xFF, 0x00, 0xAB, 0xFF, 0xD9], 0);
        assert_eq!(reader.take(12), 0xFFA);
        assert_eq!(reader.take(4), 0xB);
        assert!(!reader.short());
        assert_eq!(reader.finish(), (Balance::Even, 3));
    }

    #[test]
    fn bits_that_are_missing_or_left_are_told() {
        let mut reader = BitReader::new(&[0xAB, 0xFF, 0xD9], 0);
        reader.take(9);
        assert_eq!(reader.finish().0, Balance::Short);
        let mut reader = BitReader::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 0xFF, 0xD9], 0);
        reader.take(9);
        assert_eq!(reader.finish(), (Balance::Left(7), 9));
        let mut reader = BitReader::new(&[0xAB, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xD9], 0);
        reader.take(7);
        assert_eq!(reader.finish(), (Balance::Padded(9), 10));
        let mut reader = BitReader::new(&[0xAB, 0xFF, 0, 0xFF, 0, 0xFF, 0xD9], 0);
        reader.take(8);
        assert_eq!(reader.finish(), (Balance::Padded(2), 5));
    }
}
