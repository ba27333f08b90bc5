//! The parameters of a frame header, which JPEG and JPEG-LS lay out alike (ITU-T T.81, B.2.2; T.87, C.2.2).

use tilefleet_codec::{Error, Size, corrupt, truncated, unsupported};

use crate::frame::is_frame;
use crate::segments::{Segment, Segments, marker};

/// The maximum number of components that are decoded: the most that one scan can interleave.
const MAX_COMPONENTS: usize = 4;

/// Finds the segment that begins the frame, of JPEG or JPEG-LS; nothing after it is looked at.
///
/// # Errors
///
/// [`ErrorKind`](crate::ErrorKind): `Truncated` or `Corrupt` where the segments up to there are, or if there is none before
/// the first scan.
pub fn frame_segment(bytes: &[u8]) -> Result<Segment<'_>, Error> {
    let mut segments = Segments::new(bytes)?;
    loop {
        let segment = segments.next_segment()?;
        match segment.marker {
            marker::SOS => return Err(corrupt("a scan begins before the frame header")),
            marker::EOI => return Err(truncated("the image ends before the frame header")),
            code if is_frame(code) || code == marker::SOF55 => return Ok(segment),
            _ => {}
        }
    }
}

/// The parameters of a frame header; what a process allows of them is its own to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameParameters<'a> {
    /// Bits of a sample.
    pub precision: u8,
    /// Size in pixels; a side may be 0, which means that it follows elsewhere.
    pub size: Size,
    /// Number of components, as declared.
    pub num_components: u8,
    /// Three bytes of each component, if there are as many as declared: id, sampling factors, table.
    pub components: &'a [u8],
}

impl<'a> FrameParameters<'a> {
    /// Reads the body of a segment that begins a frame.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if it is too short.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let &[precision, h1, h0, w1, w0, num_components, ref components @ ..] = body else {
            return Err(corrupt("the frame header is too short"));
        };
        let size = Size::new(u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
        Ok(Self { precision, size, num_components, components })
    }

    /// Returns the bytes of each of one to four components.
    ///
    /// - `process`: how a message calls the file, such as `JPEG-LS`
    ///
    /// # Errors
    ///
    /// `Corrupt` if there are none or not as many as declared, `Unsupported` for more than four.
    pub fn up_to_four(&self, process: &str) -> Result<&'a [[u8; 3]], Error> {
        let num_components = usize::from(self.num_components);
        if num_components == 0 || self.components.len() != 3 * num_components {
            return Err(corrupt(format!("the frame header has no room for {num_components} components")));
        }
        if num_components > MAX_COMPONENTS {
            return Err(unsupported(format!("{process} with {num_components} components")));
        }
        Ok(self.components.as_chunks().0)
    }
}
