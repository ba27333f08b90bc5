//! The bits of packet headers (T.800 B.10.1): after a byte of ones, one bit is stuffed.

use tilefleet_codec::{Result, truncated};

/// Reads bits of a packet header.
#[derive(Debug)]
pub(crate) struct PacketBits<'a> {
    data: &'a [u8],
    at: usize,
    byte: u8,
    left: u8,
}

impl<'a> PacketBits<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, byte: 0, left: 0 }
    }

    /// Reads a bit.
    ///
    /// # Errors
    ///
    /// Truncated, if none is left.
    #[inline]
    pub(crate) fn bit(&mut self) -> Result<u32> {
        if self.left == 0 {
            self.left = if self.byte == 0xFF { 7 } else { 8 };
            self.byte = *self.data.get(self.at).ok_or_else(|| truncated("a packet header ends early"))?;
            self.at += 1;
        }
        self.left -= 1;
        Ok(u32::from(self.byte >> self.left) & 1)
    }

    /// Reads at most 32 bits, the highest first.
    pub(crate) fn bits(&mut self, count: u32) -> Result<u32> {
        (0..count).try_fold(0, |value, _| Ok(value << 1 | self.bit()?))
    }

    /// Ends the header, and returns the bytes behind it.
    pub(crate) fn finish(self) -> Result<&'a [u8]> {
        // A header does not end with a byte of ones: a byte of zeros follows it.
        let end = if self.byte == 0xFF { self.at + 1 } else { self.at };
        self.data.get(end..).ok_or_else(|| truncated("a packet header ends early"))
    }
}
