//! What a JPEG file says of itself before its first scan, whatever its process (ITU-T T.81, B.2.2).

use tilefleet_codec::{Error, Size, corrupt, unsupported};

use crate::frame::Component;
use crate::parameters::{FrameParameters, frame_segment};
use crate::segments::{Segment, marker};

/// Start of an extended sequential frame.
const SOF1: u8 = 0xC1;
/// Start of a lossless frame.
const SOF3: u8 = 0xC3;

/// How the samples are coded, by Huffman codes.
///
/// DICOM transfer syntaxes that should hold it (PS3.5, A.4.1): 1.2.840.10008.1.2.4.50 for baseline, .51 for extended, .57
/// and .70 for lossless. Readers meet others: go by the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// SOF0: 8 bits, one pass of the discrete cosine transform.
    Baseline,
    /// SOF1: the same with 8 or 12 bits.
    Extended,
    /// SOF2: coefficients in several passes, 8 or 12 bits.
    Progressive,
    /// SOF3: prediction and difference, 2 to 16 bits, exact.
    Lossless,
}

/// The frame header of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How its samples are coded.
    pub process: Process,
    /// Bits of a sample, 2 to 16.
    pub precision: u8,
    /// Size in pixels; neither side is zero.
    pub size: Size,
    /// One to four components, with ids as they are in the file.
    pub components: Vec<Component>,
}

/// Reads the frame header; nothing after it is looked at.
///
/// # Errors
///
/// [`ErrorKind`](crate::ErrorKind): `Truncated` or `Corrupt` where the segments up to there are, `Unsupported` for
/// arithmetic coding, hierarchical files and JPEG-LS, for more than four components, and for a height that follows the
/// first scan.
///
/// # Reference
///
/// ITU-T T.81, B.2.2 and table B.2.
pub fn header(bytes: &[u8]) -> Result<Header, Error> {
    let Segment { marker, body } = frame_segment(bytes)?;
    Header::parse(marker, body)
}

impl Process {
    fn of_marker(marker: u8) -> Result<Self, Error> {
        match marker {
            marker::SOF0 => Ok(Self::Baseline),
            SOF1 => Ok(Self::Extended),
            marker::SOF2 => Ok(Self::Progressive),
            SOF3 => Ok(Self::Lossless),
            marker::SOF55 => Err(unsupported("JPEG-LS")),
            0xC5..=0xC7 => Err(unsupported("hierarchical JPEG")),
            _ => Err(unsupported("JPEG with arithmetic coding")),
        }
    }

    /// Tells whether it knows samples of so many bits.
    fn has_precision(self, precision: u8) -> bool {
        match self {
            Self::Baseline => precision == 8,
            Self::Extended | Self::Progressive => matches!(precision, 8 | 12),
            Self::Lossless => (2..=16).contains(&precision),
        }
    }
}

impl Header {
    fn parse(marker: u8, body: &[u8]) -> Result<Self, Error> {
        let process = Process::of_marker(marker)?;
        let parameters = FrameParameters::parse(body)?;
        let FrameParameters { precision, size, .. } = parameters;
        if !process.has_precision(precision) {
            return Err(corrupt(format!("a {process:?} frame of {precision} bits")));
        }
        if size.width == 0 {
            return Err(corrupt("the frame header gives no width"));
        }
        if size.height == 0 {
            return Err(unsupported("JPEG that gives its height after the first scan (DNL)"));
        }
        let components = parameters.up_to_four("JPEG")?.iter().copied().map(Component::parse);
        Ok(Self { process, precision, size, components: components.collect::<Result<_, _>>()? })
    }

    /// Returns the number of samples of all components at full size.
    pub fn num_samples(&self) -> u64 {
        self.size.num_pixels() * self.components.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn file(marker: u8, body: &[u8]) -> Vec<u8> {
        let len = body.len() as u8 + 2;
        [&[0xFF, 0xD8, 0xFF, 0xFE, 0, 4, 1, 2, 0xFF, marker, 0, len], body].concat()
    }

    fn kind(marker: u8, body: &[u8]) -> ErrorKind {
        header(&file(marker, body)).expect_err("it is no frame").kind
    }

    #[test]
    fn each_process_has_its_precisions() {
        let allowed = |marker: u8| -> Vec<u8> {
            let grey = |bits: u8| file(marker, &[bits, 0, 2, 0, 3, 1, 1, 0x11, 0]);
            (0..=20)
                .filter(|&bits| header(&grey(bits)).is_ok_and(|header| header.precision == bits))
                .collect()
        };
        assert_eq!(allowed(0xC0), [8]);
        assert_eq!(allowed(0xC1), [8, 12]);
        assert_eq!(allowed(0xC2), [8, 12]);
        assert_eq!(allowed(0xC3), (2..=16).collect::<Vec<u8>>());
    }

    #[test]
    fn a_header_tells_process_size_and_components() {
        let body = [12, 1, 2, 3, 4, 2, 7, 0x21, 0, 9, 0x12, 1];
        let components = vec![Component { id: 7, h: 2, v: 1 }, Component { id: 9, h: 1, v: 2 }];
        let size = Size::new(0x304, 0x102);
        let expected = Header { process: Process::Lossless, precision: 12, size, components };
        assert_eq!(header(&file(0xC3, &body)), Ok(expected));
    }

    #[test]
    fn what_is_not_decoded_is_refused_by_name() {
        let grey = [8, 0, 2, 0, 3, 1, 1, 0x11, 0];
        let refused = [0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7];
        assert!(refused.into_iter().all(|marker| kind(marker, &grey) == ErrorKind::Unsupported));
        assert_eq!(kind(0xC3, &[8, 0, 0, 0, 3, 1, 1, 0x11, 0]), ErrorKind::Unsupported);
        assert_eq!(kind(0xC3, &[8, 0, 2, 0, 0, 1, 1, 0x11, 0]), ErrorKind::Corrupt);
        assert_eq!(kind(0xC3, &[8, 0, 2, 0, 3, 1, 1, 0x51, 0]), ErrorKind::Corrupt);
        assert_eq!(kind(0xC3, &[8, 0, 2, 0, 3, 2, 1, 0x11, 0]), ErrorKind::Corrupt);
        assert_eq!(kind(0xC3, &[8, 0, 2, 0, 3, 0]), ErrorKind::Corrupt);
        let five = [&[8, 0, 2, 0, 3, 5][..], &[1, 0x11, 0].repeat(5)].concat();
        assert_eq!(kind(0xC3, &five), ErrorKind::Unsupported);
        assert_eq!(kind(0xDA, &grey), ErrorKind::Corrupt);
    }

    #[test]
    fn a_file_that_ends_in_its_header_is_truncated() {
        let whole = file(0xC3, &[8, 0, 2, 0, 3, 1, 1, 0x11, 0]);
        for len in 0..whole.len() {
            assert_eq!(header(&whole[..len]).unwrap_err().kind, ErrorKind::Truncated, "{len}");
        }
    }
}
