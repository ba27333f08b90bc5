//! Marker segments of a file (ITU-T T.81, annex B).

use tilefleet_codec::{Error, corrupt, truncated};

/// Marker codes (T.81, table B.1).
pub mod marker {
    /// Start of a baseline frame.
    pub const SOF0: u8 = 0xC0;
    /// Start of a progressive frame.
    pub const SOF2: u8 = 0xC2;
    /// Huffman tables.
    pub const DHT: u8 = 0xC4;
    /// The first of eight restart markers.
    pub const RST0: u8 = 0xD0;
    /// Start of image.
    pub const SOI: u8 = 0xD8;
    /// End of image.
    pub const EOI: u8 = 0xD9;
    /// Start of a scan.
    pub const SOS: u8 = 0xDA;
    /// Quantisation tables.
    pub const DQT: u8 = 0xDB;
    /// Restart interval.
    pub const DRI: u8 = 0xDD;
    /// Start of a JPEG-LS frame (ITU-T T.87, C.1.1).
    pub const SOF55: u8 = 0xF7;
    /// JFIF.
    pub const APP0: u8 = 0xE0;
    /// Exif or XMP.
    pub const APP1: u8 = 0xE1;
    /// ICC profile.
    pub const APP2: u8 = 0xE2;
    /// Adobe: which colour transform.
    pub const APP14: u8 = 0xEE;
    /// The last of the markers for applications.
    pub const APP15: u8 = 0xEF;
    /// A comment.
    pub const COM: u8 = 0xFE;
}

/// A marker and the parameters after it, without their length.
pub struct Segment<'a> {
    /// Its second byte.
    pub marker: u8,
    /// The parameters.
    pub body: &'a [u8],
}

/// Most bytes between the segments of a header that are passed over: a length that is a little short leaves fewer.
const MAX_JUNK_BYTES: usize = 1 << 16;
/// Walks the marker segments of a JPEG file.
pub struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No scan has begun yet.
    in_header: bool,
    junk_bytes: usize,
}

impl<'a> Segments<'a> {
    /// Starts after SOI.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind): `Truncated` or `Corrupt` where the file does not begin with SOI.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        match bytes {
            [0xFF, marker::SOI, ..] => Ok(Self { bytes, at: 2, in_header: true, junk_bytes: 0 }),
            [] | [0xFF] => Err(truncated("the object ends before its first marker (SOI)")),
            _ => Err(corrupt("the object does not begin with the marker SOI")),
        }
    }

    /// Returns the bytes from the current position on: after SOS, the entropy-coded data.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Skips entropy-coded data.
    pub fn skip(&mut self, len: usize) {
        self.at = self.bytes.len().min(self.at + len);
    }

    /// Returns the next segment.
    ///
    /// A few bytes between the segments of a header are passed over, as libjpeg and Pillow do. Behind a scan they
    /// are an error, though libjpeg only warns of them: they are what is left of damaged data.
    ///
    /// # Errors
    ///
    /// [`ErrorKind`](crate::ErrorKind): `Truncated` or `Corrupt`.
    pub fn next_segment(&mut self) -> Result<Segment<'a>, Error> {
        if self.in_header {
            self.pass_junk()?;
        }
        let marker = self.marker()?;
        self.in_header &= marker != marker::SOS;
        if matches!(marker, marker::RST0..=marker::EOI | 0x01) {
            return Ok(Segment { marker, body: &[] });
        }
        let ends = || truncated(format!("the object ends inside the segment FF{marker:02X}"));
        let len = usize::from(u16_at(self.bytes, self.at).ok_or_else(ends)?);
        let body_bytes =
            len.checked_sub(2).ok_or_else(|| corrupt(format!("segment FF{marker:02X} of {len} bytes")))?;
        let body = self.bytes.get(self.at + 2..self.at + 2 + body_bytes).ok_or_else(ends)?;
        self.at += len;
        Ok(Segment { marker, body })
    }

    /// Moves to the next marker.
    fn pass_junk(&mut self) -> Result<(), Error> {
        let rest = &self.bytes[self.at..];
        if matches!(rest, [0xFF, 1..=0xFE, ..]) {
            return Ok(());
        }
        let mut pairs = rest.windows(2);
        let junk_bytes = pairs.position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF));
        let junk_bytes = junk_bytes.unwrap_or(rest.len());
        self.junk_bytes += junk_bytes;
        if self.junk_bytes > MAX_JUNK_BYTES {
            return Err(corrupt(format!("byte {} is outside all segments", self.at)));
        }
        self.at += junk_bytes;
        Ok(())
    }

    fn marker(&mut self) -> Result<u8, Error> {
        let ends = || truncated("the object ends before the end marker (EOI)");
        if *self.bytes.get(self.at).ok_or_else(ends)? != 0xFF {
            return Err(corrupt(format!("byte {} is outside all segments", self.at)));
        }
        while *self.bytes.get(self.at).ok_or_else(ends)? == 0xFF {
            self.at += 1;
        }
        self.at += 1;
        match self.bytes[self.at - 1] {
            0 => Err(corrupt(format!("image data at byte {} is outside all scans", self.at))),
            marker => Ok(marker),
        }
    }
}

/// Reads an integer of 16 bits, most significant byte first; `None` past the end.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let raw = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([raw[0], raw[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn bytes_behind_a_scan_are_an_error() {
        let grey = [8, 0, 2, 0, 3, 1, 1, 0x11, 0];
        let frame = [&[0xFF, 0xD8, 0xFF, marker::SOF0, 0, 11][..], &grey].concat();
        let file = [&frame[..], &[0xFF, marker::SOS, 0, 2], b"junk", &[0xFF, marker::EOI]].concat();
        let mut segments = Segments::new(&file).unwrap();
        assert!((0..2).all(|_| segments.next_segment().is_ok()));
        assert!(segments.next_segment().is_err_and(|error| error.kind == ErrorKind::Corrupt));
    }
}
