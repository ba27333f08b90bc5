//! JPEG headers (ITU-T T.81, annex B; Exif 2.32; XMP specification, part 3).

use tilefleet_jpeg_header::{Frame, Segments, is_frame, marker};

use super::orientation::Stated;
use super::{ImageFormat, ImageHeader, Orientation, Photometric, SampleKind, corrupt, truncated};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::{Reason, Rejection};

/// What an APP1 segment with Exif begins with (Exif 2.32, 4.7.2).
const EXIF: &[u8] = b"Exif\0\0";
/// What an APP1 segment with XMP begins with (XMP specification, part 3, 1.1.3).
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

impl From<tilefleet_jpeg_header::Error> for Rejection {
    fn from(error: tilefleet_jpeg_header::Error) -> Self {
        let reason = match error.kind {
            tilefleet_jpeg_header::ErrorKind::Truncated => Reason::Truncated,
            tilefleet_jpeg_header::ErrorKind::Corrupt => Reason::Corrupt,
            tilefleet_jpeg_header::ErrorKind::Unsupported => Reason::Unsupported,
            tilefleet_jpeg_header::ErrorKind::TooLarge => Reason::TooLarge,
        };
        Self::new(reason, error.detail)
    }
}

/// Reads the segments before the first scan.
pub(super) fn parse_header(bytes: &[u8]) -> Result<ImageHeader, Rejection> {
    let mut segments = Segments::new(bytes)?;
    let mut frame = None;
    let mut orientation = Stated::default();
    let mut icc_profile = false;
    loop {
        let segment = segments.next_segment()?;
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
        size: Size::new(frame.size.width, frame.size.height),
        sample_kind: SampleKind::U8,
        stored_bits: 8,
        photometric,
        num_bands,
        orientation,
        compression: if frame.progressive { "progressive" } else { "baseline" },
        interlaced: false,
        subsampling: frame.subsampling(),
        icc_profile: false,
        num_pages: 1,
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
        let most = vec![0; 1 << 16];
        for junk in [&b"\0"[..], b"junk", &[0xFF, 0, 7], &[0xFF, 0xFF, 0], &most] {
            let file = [&whole[..frame], junk, &whole[frame..]].concat();
            assert_eq!(parse_header(&file), parse_header(&whole), "{junk:?}");
        }
        let file = [&whole[..frame], &most, b"\0", &whole[frame..]].concat();
        assert_eq!(parse_header(&file).unwrap_err().reason, Reason::Corrupt);
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
