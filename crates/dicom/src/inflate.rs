//! Inflates a data set as far as it is looked at (PS3.5, annex A.5: a raw stream of RFC 1951).

use flate2::{Decompress, FlushDecompress, Status};

use crate::bytes::Bytes;
use crate::error::{Error, corrupt, too_large, truncated};
use crate::walk::MAX_HEADER_BYTES;

/// What is inflated at most to reach the pixels, with values that are stepped over.
const MAX_INFLATED_BYTES: u64 = 2 * MAX_HEADER_BYTES;

/// What is inflated at once.
const PIECE_BYTES: usize = 1 << 20;

/// A deflated data set of which a prefix is inflated.
pub(crate) struct Inflated<'a> {
    stream: Stream<'a>,
    bytes: Vec<u8>,
}

impl<'a> Inflated<'a> {
    pub(crate) fn new(deflated: &'a [u8]) -> Self {
        Self { stream: Stream::new(deflated), bytes: Vec::new() }
    }

    /// Inflates up to `end`, or all.
    pub(crate) fn grow(&mut self, end: u64) -> Result<(), Error> {
        if end > MAX_INFLATED_BYTES {
            return Err(too_large(format!("over {MAX_INFLATED_BYTES} bytes before pixels")));
        }
        // Piece by piece: a header may ask for far more than the stream holds.
        while (self.bytes.len() as u64) < end && !self.stream.ended {
            let from = self.bytes.len();
            self.bytes.resize((from + PIECE_BYTES).min(end as usize), 0);
            let written = self.stream.fill(&mut self.bytes[from..])?;
            self.bytes.truncate(from + written);
        }
        Ok(())
    }
}

impl Bytes for Inflated<'_> {
    /// Unknown until the stream has ended: more than anybody asks for.
    fn len(&self) -> u64 {
        if self.stream.ended { self.bytes.len() as u64 } else { u64::MAX / 2 }
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        self.bytes.slice(at, len)
    }
}

/// A deflated stream, inflated piece by piece.
pub(crate) struct Stream<'a> {
    deflated: &'a [u8],
    state: Decompress,
    ended: bool,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(deflated: &'a [u8]) -> Self {
        Self { deflated, state: Decompress::new(false), ended: false }
    }

    /// Fills a buffer; returns how much of it, which is less only at the end of the stream.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let mut written = 0;
        while written < out.len() && !self.ended {
            let (read_before, before) = (self.state.total_in(), self.state.total_out());
            let status = (self.state)
                .decompress(self.deflated, &mut out[written..], FlushDecompress::None)
                .map_err(|_| corrupt("the deflated stream is damaged"))?;
            let read = (self.state.total_in() - read_before) as usize;
            self.deflated = &self.deflated[read..];
            written += (self.state.total_out() - before) as usize;
            match status {
                Status::StreamEnd => self.ended = true,
                _ if read == 0 && self.state.total_out() == before => {
                    return Err(truncated("the deflated stream has no end"));
                }
                _ => {}
            }
        }
        Ok(written)
    }

    /// Inflates a number of bytes to nowhere.
    pub(crate) fn skip(&mut self, mut num_bytes: u64) -> Result<(), Error> {
        let mut buffer = vec![0; 64 << 10];
        while num_bytes > 0 {
            let len = num_bytes.min(buffer.len() as u64) as usize;
            if self.fill(&mut buffer[..len])? < len {
                return Err(truncated("the deflated stream ends before the frame"));
            }
            num_bytes -= len as u64;
        }
        Ok(())
    }
}
