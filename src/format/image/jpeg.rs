//! JPEG markers and frame headers (ITU-T T.81, annex B).

use super::{
    ImageFormat, ImageHeader, Orientation, Photometric, SampleKind, corrupt, truncated, unsupported,
};
use crate::format::bytes::{Order, slice};
use crate::geometry::Size;
use crate::reason::Rejection;

/// Marker codes (T.81, table B.1).
pub(crate) mod marker {
    pub(crate) const SOF0: u8 = 0xC0;
    pub(crate) const SOF2: u8 = 0xC2;
    pub(crate) const DHT: u8 = 0xC4;
    pub(crate) const RST0: u8 = 0xD0;
    pub(crate) const SOI: u8 = 0xD8;
    pub(crate) const EOI: u8 = 0xD9;
    pub(crate) const SOS: u8 = 0xDA;
    pub(crate) const DQT: u8 = 0xDB;
    pub(crate) const DRI: u8 = 0xDD;
    pub(crate) const APP0: u8 = 0xE0;
    pub(crate) const APP1: u8 = 0xE1;
    pub(crate) const APP2: u8 = 0xE2;
    pub(crate) const APP14: u8 = 0xEE;
    pub(crate) const APP15: u8 = 0xEF;
    pub(crate) const COM: u8 = 0xFE;
}

/// A marker and the parameters after it, without their length.
pub(crate) struct Segment<'a> {
    pub(crate) marker: u8,
    pub(crate) body: &'a [u8],
}

/// Walks the marker segments of a JPEG file.
pub(crate) struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    /// Starts after SOI.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2 }
    }

    /// Returns the bytes from the current position on: after SOS, the entropy-coded data.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Skips entropy-coded data.
    pub(crate) fn skip(&mut self, len: usize) {
        self.at = self.bytes.len().min(self.at + len);
    }

    /// Returns the next segment.
    ///
    /// Bytes between segments are an error, though libjpeg only warns of them: they are what is left
    /// of damaged data.
    pub(crate) fn next(&mut self) -> Result<Segment<'a>, Rejection> {
        let marker = self.marker()?;
        if matches!(marker, marker::RST0..=marker::EOI | 0x01) {
            return Ok(Segment { marker, body: &[] });
        }
        let ends = || truncated(format!("the object ends inside the segment FF{marker:02X}"));
        let len = usize::from(Order::Big.u16(self.bytes, self.at).ok_or_else(ends)?);
        let body_bytes =
            len.checked_sub(2).ok_or_else(|| corrupt(format!("segment FF{marker:02X} of {len} bytes")))?;
        let body = slice(self.bytes, self.at + 2, body_bytes).ok_or_else(ends)?;
        self.at += len;
        Ok(Segment { marker, body })
    }

    fn marker(&mut self) -> Result<u8, Rejection> {
        let ends = || truncated("the object ends before the end marker (EOI)");
        if *self.bytes.get(self.at).ok_or_else(ends)? != 0xFF {
            return Err(corrupt(format!("byte {} is outside of every segment", self.at)));
        }
        while *self.bytes.get(self.at).ok_or_else(ends)? == 0xFF {
            self.at += 1;
        }
        self.at += 1;
        match self.bytes[self.at - 1] {
            0 => Err(corrupt(format!("image data at byte {} is outside of every scan", self.at))),
            marker => Ok(marker),
        }
    }
}

/// One colour component of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Component {
    pub(crate) id: u8,
    /// Horizontal sampling factor, 1 to 4.
    pub(crate) h: u8,
    /// Vertical sampling factor, 1 to 4.
    pub(crate) v: u8,
}

/// The frame header of an 8-bit Huffman-coded DCT frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) size: Size,
    pub(crate) progressive: bool,
    /// One, three or four components.
    pub(crate) components: Vec<Component>,
}

impl Frame {
    /// Reads the parameters of a frame header with the given SOF marker.
    pub(crate) fn parse(marker: u8, body: &[u8]) -> Result<Self, Rejection> {
        check_process(marker)?;
        let [precision, h1, h0, w1, w0, count, components @ ..] = body else {
            return Err(corrupt("the frame header is too short"));
        };
        if *precision != 8 {
            return Err(unsupported(format!("JPEG with {precision}-bit samples")));
        }
        let size = Size::new(u16::from_be_bytes([*w1, *w0]).into(), u16::from_be_bytes([*h1, *h0]).into());
        if size.height == 0 {
            return Err(unsupported("JPEG that gives its height after the first scan (DNL)"));
        }
        if components.len() != 3 * usize::from(*count) {
            return Err(corrupt(format!("the frame header has no room for {count} components")));
        }
        let components =
            components.chunks_exact(3).map(Self::component).collect::<Result<Vec<_>, Rejection>>()?;
        if !matches!(components.len(), 1 | 3 | 4) {
            return Err(unsupported(format!("JPEG with {count} components")));
        }
        let distinct = |c: &Component| components.iter().filter(|other| other.id == c.id).count() == 1;
        if !components.iter().all(distinct) {
            return Err(corrupt("two components have the same id"));
        }
        Ok(Self { size, progressive: marker == marker::SOF2, components })
    }

    fn component(raw: &[u8]) -> Result<Component, Rejection> {
        let component = Component { id: raw[0], h: raw[1] >> 4, v: raw[1] & 15 };
        if (1..=4).contains(&component.h) && (1..=4).contains(&component.v) {
            Ok(component)
        } else {
            Err(corrupt(format!("sampling factors {}×{}", component.h, component.v)))
        }
    }

    /// Returns the largest horizontal and vertical sampling factor.
    pub(crate) fn max_sampling(&self) -> (u32, u32) {
        let h = self.components.iter().map(|c| c.h).max().unwrap_or(1);
        let v = self.components.iter().map(|c| c.v).max().unwrap_or(1);
        (u32::from(h), u32::from(v))
    }
}

fn check_process(marker: u8) -> Result<(), Rejection> {
    match marker {
        marker::SOF0..=marker::SOF2 => Ok(()),
        0xC3 | 0xC7 => Err(unsupported("lossless JPEG")),
        0xC5 | 0xC6 => Err(unsupported("hierarchical JPEG")),
        _ => Err(unsupported("JPEG with arithmetic coding")),
    }
}

/// Tells whether a marker begins a frame (SOF0 to SOF15, which leaves out DHT, JPG and DAC).
pub(crate) fn is_frame(marker: u8) -> bool {
    matches!(marker, marker::SOF0..=0xCF) && !matches!(marker, marker::DHT | 0xC8 | 0xCC)
}

/// Reads the segments before the first scan.
pub(super) fn parse_header(bytes: &[u8]) -> Result<ImageHeader, Rejection> {
    let mut segments = Segments::new(bytes);
    let mut frame = None;
    let mut orientation = None;
    let mut icc_profile = false;
    loop {
        let segment = segments.next()?;
        match segment.marker {
            marker::APP1 if orientation.is_none() && segment.body.starts_with(b"Exif\0\0") => {
                orientation = Some(Orientation::from_exif(segment.body));
            }
            marker::APP2 => icc_profile |= segment.body.starts_with(b"ICC_PROFILE\0"),
            marker::SOS => break,
            marker::EOI => return Err(truncated("the image ends before its first scan")),
            code if is_frame(code) => frame = Some(Frame::parse(code, segment.body)?),
            _ => {}
        }
    }
    let frame = frame.ok_or_else(|| corrupt("a scan begins before the frame header"))?;
    Ok(ImageHeader { icc_profile, ..header(&frame, orientation.unwrap_or_default()) })
}

fn header(frame: &Frame, orientation: Orientation) -> ImageHeader {
    let (photometric, num_bands) = match frame.components.len() {
        1 => (Photometric::Grey, 1),
        3 => (Photometric::Rgb, 3),
        _ => (Photometric::Cmyk, 4),
    };
    ImageHeader {
        format: ImageFormat::Jpeg,
        size: frame.size,
        sample_kind: SampleKind::U8,
        stored_bits: 8,
        photometric,
        num_bands,
        orientation,
        compression: if frame.progressive { "progressive" } else { "baseline" },
        interlaced: false,
        subsampling: (frame.components.len() == 3).then(|| subsampling(&frame.components)),
        icc_profile: false,
        num_pages: 1,
    }
}

/// Names how much coarser the second and third component are than the first.
fn subsampling(components: &[Component]) -> &'static str {
    let [first, second, third] = components else { return "other" };
    let same = (second.h, second.v) == (third.h, third.v);
    let (across, down) = (first.h / second.h, first.v / second.v);
    let whole = first.h % second.h == 0 && first.v % second.v == 0;
    match (across, down) {
        _ if !(same && whole) => "other",
        (1, 1) => "4:4:4",
        (1, 2) => "4:4:0",
        (2, 1) => "4:2:2",
        (2, 2) => "4:2:0",
        (4, 1) => "4:1:1",
        (4, 2) => "4:1:0",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::image::parse_header;
    use crate::reason::Reason;

    fn jpeg(segments: &[(u8, &[u8])]) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        for (marker, body) in segments {
            file.extend([0xFF, *marker]);
            file.extend(u16::try_from(body.len() + 2).unwrap().to_be_bytes());
            file.extend(*body);
        }
        file
    }

    const GREY: &[u8] = &[8, 0, 2, 0, 3, 1, 1, 0x11, 0];
    const EXIF_6: &[u8] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0";

    #[test]
    fn size_and_orientation_come_from_frame_and_exif() {
        let header = parse_header(&jpeg(&[(0xE1, EXIF_6), (0xC0, GREY), (0xDA, &[])])).unwrap();
        assert_eq!(header.size, Size::new(3, 2));
        assert_eq!(header.oriented_size(), Size::new(2, 3));
        assert_eq!(header.to_string(), "JPEG 3×2 grey uint8, orientation 6");
    }

    #[test]
    fn an_object_that_ends_in_the_header_is_truncated() {
        let whole = jpeg(&[(0xE1, EXIF_6), (0xC0, GREY), (0xDA, &[])]);
        for len in 3..whole.len() {
            assert_eq!(parse_header(&whole[..len]).unwrap_err().reason, Reason::Truncated, "{len}");
        }
    }

    #[test]
    fn other_processes_are_named() {
        for (marker, word) in [(0xC3, "lossless"), (0xC9, "arithmetic"), (0xC5, "hierarchical")] {
            let rejection = parse_header(&jpeg(&[(marker, GREY), (0xDA, &[])])).unwrap_err();
            assert_eq!(rejection.reason, Reason::Unsupported);
            assert!(rejection.detail.contains(word), "{rejection}");
        }
    }
}
