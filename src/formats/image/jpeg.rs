//! JPEG markers and frame headers (ITU-T T.81, annex B).

use super::orientation::Stated;
use super::{
    ImageFormat, ImageHeader, Orientation, Photometric, SampleKind, corrupt, truncated, unsupported,
};
use crate::formats::bytes::{Order, slice};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::Rejection;

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

/// Most bytes between the segments of a header that are passed over: a length that is a little short leaves fewer.
const MAX_JUNK_BYTES: usize = 1 << 16;
/// What an APP1 segment with Exif begins with (Exif 2.32, 4.7.2).
const EXIF: &[u8] = b"Exif\0\0";
/// What an APP1 segment with XMP begins with (XMP specification, part 3, 1.1.3).
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// Walks the marker segments of a JPEG file.
pub(crate) struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No scan has begun yet.
    in_header: bool,
    junk_bytes: usize,
}

impl<'a> Segments<'a> {
    /// Starts after SOI.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 2, in_header: true, junk_bytes: 0 }
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
    /// A few bytes between the segments of a header are passed over, as libjpeg and Pillow do. Behind a scan they
    /// are an error, though libjpeg only warns of them: they are what is left of damaged data.
    pub(crate) fn next(&mut self) -> Result<Segment<'a>, Rejection> {
        if self.in_header {
            self.pass_junk()?;
        }
        let marker = self.marker()?;
        self.in_header &= marker != marker::SOS;
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

    /// Moves to the next marker.
    fn pass_junk(&mut self) -> Result<(), Rejection> {
        let rest = &self.bytes[self.at..];
        if matches!(rest, [0xFF, 1..=0xFE, ..]) {
            return Ok(());
        }
        let mut pairs = rest.windows(2);
        let junk_bytes = pairs.position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF));
        let junk_bytes = junk_bytes.unwrap_or(rest.len());
        self.junk_bytes += junk_bytes;
        if self.junk_bytes > MAX_JUNK_BYTES {
            return Err(corrupt(format!("byte {} is outside of every segment", self.at)));
        }
        self.at += junk_bytes;
        Ok(())
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
    /// One, three or four components, each with an id of its own.
    pub(crate) components: Vec<Component>,
    /// Whether the file gives an id twice, and components were [`told_apart`].
    pub(crate) repeats_ids: bool,
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
        let mut components =
            components.chunks_exact(3).map(Self::component).collect::<Result<Vec<_>, Rejection>>()?;
        if !matches!(components.len(), 1 | 3 | 4) {
            return Err(unsupported(format!("JPEG with {count} components")));
        }
        let ids = told_apart(components.iter().map(|component| component.id));
        let own = components.iter_mut().map(|component| &mut component.id);
        let repeats_ids =
            own.zip(ids).fold(false, |repeats, (own, id)| std::mem::replace(own, id) != id || repeats);
        let frame = Self { size, progressive: marker == marker::SOF2, components, repeats_ids };
        frame.check_sampling()?;
        Ok(frame)
    }

    /// Checks that every component can be brought to the full size by whole factors, as libjpeg does.
    fn check_sampling(&self) -> Result<(), Rejection> {
        let (h_max, v_max) = self.max_sampling();
        let whole =
            |c: &Component| h_max.is_multiple_of(u32::from(c.h)) && v_max.is_multiple_of(u32::from(c.v));
        if self.components.iter().all(whole) {
            return Ok(());
        }
        Err(unsupported("JPEG with components whose sampling factors are no whole multiples of each other"))
    }

    fn component(raw: &[u8]) -> Result<Component, Rejection> {
        let component = Component { id: raw[0], h: raw[1] >> 4, v: raw[1] & 15 };
        if (1..=4).contains(&component.h) && (1..=4).contains(&component.v) {
            Ok(component)
        } else {
            Err(corrupt(format!("sampling factors {}×{}", component.h, component.v)))
        }
    }

    /// Returns the samples of all components as they are stored: whole MCUs.
    pub(crate) fn num_stored_samples(&self) -> u64 {
        let (h_max, v_max) = self.max_sampling();
        let num_mcus = u64::from(self.size.width.div_ceil(8 * h_max) * self.size.height.div_ceil(8 * v_max));
        let num_blocks: u64 = self.components.iter().map(|c| u64::from(c.h) * u64::from(c.v)).sum();
        num_mcus * num_blocks * 64
    }

    /// Returns the largest horizontal and vertical sampling factor.
    pub(crate) fn max_sampling(&self) -> (u32, u32) {
        let h = self.components.iter().map(|c| c.h).max().unwrap_or(1);
        let v = self.components.iter().map(|c| c.v).max().unwrap_or(1);
        (u32::from(h), u32::from(v))
    }
}

/// Returns ids that differ: of equal ones (T.81, B.2.2 forbids them) all but the first become the next that nobody
/// before has.
///
/// libjpeg-turbo takes components of equal ids in the order in which frame and scan name them, which this amounts to.
pub(crate) fn told_apart(ids: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut apart = Vec::new();
    for mut id in ids {
        while apart.contains(&id) {
            id = id.wrapping_add(1);
        }
        apart.push(id);
    }
    apart
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

/// Returns the frame header of a file whose segments up to there are whole.
pub(crate) fn frame(bytes: &[u8]) -> Option<Frame> {
    let mut segments = Segments::new(bytes);
    loop {
        let segment = segments.next().ok()?;
        match segment.marker {
            marker::SOS | marker::EOI => return None,
            code if is_frame(code) => return Frame::parse(code, segment.body).ok(),
            _ => {}
        }
    }
}

/// Reads the segments before the first scan.
pub(super) fn parse_header(bytes: &[u8]) -> Result<ImageHeader, Rejection> {
    let mut segments = Segments::new(bytes);
    let mut frame = None;
    let mut orientation = Stated::default();
    let mut icc_profile = false;
    loop {
        let segment = segments.next()?;
        match segment.marker {
            marker::APP1 => app1(segment.body, &mut orientation),
            marker::APP2 => icc_profile |= segment.body.starts_with(b"ICC_PROFILE\0"),
            marker::SOS => break,
            marker::EOI => return Err(truncated("the image ends before its first scan")),
            code if is_frame(code) => frame = Some(Frame::parse(code, segment.body)?),
            _ => {}
        }
    }
    let frame = frame.ok_or_else(|| corrupt("a scan begins before the frame header"))?;
    Ok(ImageHeader { icc_profile, ..header(&frame, orientation.orientation()) })
}

fn app1(body: &[u8], orientation: &mut Stated) {
    if let Some(part) = body.strip_prefix(EXIF) {
        orientation.exif_part(part);
    } else if let Some(packet) = body.strip_prefix(XMP) {
        orientation.xmp(packet);
    }
}

fn header(frame: &Frame, orientation: Orientation) -> ImageHeader {
    let (photometric, num_bands) = match frame.components.len() {
        1 => (Photometric::Grey, 1),
        3 => (Photometric::Rgb, 3),
        _ => (Photometric::Cmyk, 3),
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
    use crate::formats::image::parse_header;
    use crate::vocabulary::reason::Reason;

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
    fn a_few_bytes_between_the_segments_of_a_header_are_passed_over() {
        let whole = jpeg(&[(0xE1, EXIF_6), (0xC0, GREY), (0xDA, &[])]);
        let frame = whole.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        let most = vec![0; MAX_JUNK_BYTES];
        for junk in [&b"\0"[..], b"junk", &[0xFF, 0, 7], &[0xFF, 0xFF, 0], &most] {
            let file = [&whole[..frame], junk, &whole[frame..]].concat();
            assert_eq!(parse_header(&file), parse_header(&whole), "{junk:?}");
        }
        let file = [&whole[..frame], &most, b"\0", &whole[frame..]].concat();
        assert_eq!(parse_header(&file).unwrap_err().reason, Reason::Corrupt);
    }

    #[test]
    fn bytes_behind_a_scan_are_an_error() {
        let file = jpeg(&[(0xC0, GREY), (0xDA, &[])]);
        let file = [&file[..], b"junk", &[0xFF, marker::EOI]].concat();
        let mut segments = Segments::new(&file);
        assert!((0..2).all(|_| segments.next().is_ok()));
        assert!(segments.next().is_err_and(|rejection| rejection.reason == Reason::Corrupt));
    }

    #[test]
    fn factors_that_do_not_divide_are_unsupported() {
        let frame = [8, 0, 8, 0, 8, 3, 1, 0x31, 0, 2, 0x21, 0, 3, 0x11, 0];
        let rejection = parse_header(&jpeg(&[(0xC0, &frame), (0xDA, &[])])).unwrap_err();
        assert_eq!(rejection.reason, Reason::Unsupported, "{rejection}");
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
