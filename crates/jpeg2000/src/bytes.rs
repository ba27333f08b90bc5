//! Big-endian numbers of marker segments and boxes.

use tilefleet_codec::{Result, truncated};

/// What is left of a marker segment, a box or the whole stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
    /// What it is part of, for messages.
    place: &'static str,
}

impl<'a> Bytes<'a> {
    /// Reads `rest`, which messages call `place`.
    pub(crate) fn new(rest: &'a [u8], place: &'static str) -> Self {
        Self { rest, place }
    }

    /// Returns what has not been read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Tells whether everything has been read.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    ///
    /// Truncated, if fewer are left.
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(truncated(format!("{} ends early", self.place)));
        };
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from(self.u32()?) << 32 | u64::from(self.u32()?))
    }
}
