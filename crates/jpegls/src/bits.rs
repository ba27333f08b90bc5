//! Reads bits of a JPEG-LS segment (ITU-T T.87, A.1): behind a byte of ones, the next has seven bits.

/// Reads one segment: the bytes up to the next marker.
///
/// A loop that works on a copy keeps it in registers.
#[derive(Clone, Copy)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, left-aligned; beyond those available, zeros or bits of the byte at `at`.
    window: u64,
    available: u32,
    /// Zero bits at the end of the window that are not in the data.
    stuffed: u32,
}

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Balance {
    /// All that was read is there, and what is left only fills up.
    Even,
    /// More bits were read than there are.
    Short,
    /// There are more bits.
    Left,
}

impl<'a> BitReader<'a> {
    /// Bits that a refill makes available.
    pub(crate) const REFILLED_BITS: u32 = 48;

    /// Reads from this byte on.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, window: 0, available: 0, stuffed: 0 }
    }

    /// Makes at least [`Self::REFILLED_BITS`] available, with zeros after the end.
    #[inline]
    pub(crate) fn refill(&mut self) {
        if !self.refill_at_once() {
            *self = self.refilled_bytewise();
        }
    }

    /// Refills without a branch that depends on the bits left; `false` where a byte is 0xFF or missing.
    #[inline]
    fn refill_at_once(&mut self) -> bool {
        let Some(next) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) else { return false };
        let word = u64::from_be_bytes(*next);
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
        // A byte of ones comes with the one behind it: 15 bits.
        while self.available < Self::REFILLED_BITS {
            let next = self.next_bits();
            if next.is_none() {
                self.stuffed += 8;
            }
            let (bits, count) = next.unwrap_or((0, 8));
            // Bits of the byte at `at` may stand there already.
            self.window &= !(u64::MAX >> self.available);
            self.window |= (bits << (64 - count)) >> self.available;
            self.available += count;
        }
        self
    }

    /// Takes the next byte, or a byte of ones with the seven bits behind it; `None` before a marker and at the end.
    fn next_bits(&mut self) -> Option<(u64, u32)> {
        match self.bytes.get(self.at..)? {
            [0xFF, next @ ..0x80, ..] => {
                self.at += 2;
                Some((0xFF << 7 | u64::from(*next), 15))
            }
            [0xFF, ..] | [] => None,
            [byte, ..] => {
                self.at += 1;
                Some((u64::from(*byte), 8))
            }
        }
    }

    /// Returns the next bits, left-aligned.
    #[inline]
    pub(crate) fn window(&self) -> u64 {
        self.window
    }

    /// Drops up to 63 bits that were refilled.
    #[inline]
    pub(crate) fn drop(&mut self, count: u32) {
        debug_assert!(count <= self.available);
        self.window <<= count;
        self.available -= count;
    }

    /// Takes `count` bits, 0 to 32.
    #[inline]
    pub(crate) fn take(&mut self, count: u32) -> u32 {
        self.refill();
        let value = (self.window >> 1 >> (63 - count)) as u32;
        self.drop(count);
        value
    }

    /// Tells whether more bits were taken than there are.
    #[inline]
    pub(crate) fn is_short(&self) -> bool {
        self.available < self.stuffed
    }

    /// Ends the segment: tells how it ended and where its marker (or the end of the file) is.
    ///
    /// Less than a byte may be left, or any number of zeros, which DICOM objects have before the end marker.
    pub(crate) fn finish(mut self) -> (Balance, usize) {
        if self.is_short() {
            return (Balance::Short, self.at);
        }
        let mut left = self.available - self.stuffed;
        let in_window = if left == 0 { 0 } else { self.window >> (64 - left) };
        let (mut any, mut all) = (in_window != 0, in_window.count_ones() == left);
        while let Some((bits, count)) = self.next_bits() {
            (any, all) = (any || bits != 0, all && bits.count_ones() == count);
            left = left.saturating_add(count);
        }
        let fills_up = left < 8 || !any || all && left < 16;
        (if fills_up { Balance::Even } else { Balance::Left }, self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_ones_are_followed_by_seven_bits() {
        let bytes = [0xAB, 0xFF, 0x7F, 0x80, 0xFF, 0xD9];
        let mut reader = BitReader::new(&bytes, 0);
        assert_eq!(
            [reader.take(8), reader.take(8), reader.take(7), reader.take(8)],
            [0xAB, 0xFF, 0x7F, 0x80]
        );
        assert!(!reader.is_short());
        assert_eq!(reader.finish(), (Balance::Even, 4));
    }

    /// Whatever comes where: eight bytes at once or one by one, the bits are the same.
    #[test]
    fn bits_are_the_same_however_they_are_refilled() {
        let mut random = tilefleet_testing::Random(3);
        for _ in 0..2000 {
            let mut bytes: Vec<u8> = Vec::new();
            let mut expected = Vec::new();
            for _ in 0..60 {
                let after_ones = bytes.last() == Some(&0xFF);
                let byte = if random.below(5) == 0 { 0xFF } else { random.byte() }
                    & if after_ones { 0x7F } else { 0xFF };
                expected.extend((0..8 - u32::from(after_ones)).rev().map(|bit| u32::from(byte >> bit & 1)));
                bytes.push(byte);
            }
            bytes.extend([0x00, 0xFF, 0xD9]);
            let mut reader = BitReader::new(&bytes, 0);
            let mut at = 0;
            while at < expected.len() {
                let count = (1 + random.below(25)).min(expected.len() - at);
                let value = expected[at..at + count].iter().fold(0, |value, bit| value << 1 | bit);
                assert_eq!(reader.take(count as u32), value);
                at += count;
            }
            assert!(!reader.is_short());
        }
    }

    #[test]
    fn bits_that_are_missing_or_left_are_told() {
        let balance = |bytes: &[u8], taken: u32| {
            let mut reader = BitReader::new(bytes, 0);
            for _ in 0..taken {
                reader.take(1);
            }
            reader.finish().0
        };
        assert_eq!(balance(&[0xAB, 0xFF, 0xD9], 9), Balance::Short);
        assert_eq!(balance(&[0xAB, 0xFF, 0xD9], 8), Balance::Even);
        assert_eq!(balance(&[0xAB, 0x12, 0xFF, 0xD9], 9), Balance::Even);
        assert_eq!(balance(&[0xAB, 0x12, 0xFF, 0xD9], 8), Balance::Left);
        assert_eq!(balance(&[0xAB, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xD9], 8), Balance::Even);
        assert_eq!(balance(&[0xAB, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xD9], 9), Balance::Even);
    }
}
