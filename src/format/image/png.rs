//! PNG headers (W3C PNG, third edition, sections 5 and 11).

use super::{
    ImageFormat, ImageHeader, Orientation, Photometric, SampleKind, corrupt, truncated, unsupported,
};
use crate::format::bytes::{Order, slice};
use crate::geometry::Size;
use crate::reason::{Reason, Rejection};

const SIGNATURE_BYTES: usize = 8;
/// The best that deflate can do: 258 bytes from 2 bits.
const MAX_DEFLATE_RATIO: u64 = 1032;

/// Reads the header and walks the chunks for transparency, Exif and the end.
pub(super) fn parse_header(bytes: &[u8]) -> Result<ImageHeader, Rejection> {
    let ihdr = chunk(bytes, SIGNATURE_BYTES).ok_or_else(|| truncated("the object ends inside IHDR"))?;
    if ihdr.kind != b"IHDR" || ihdr.body.len() != 13 {
        return Err(corrupt("the first chunk is not IHDR"));
    }
    let width = Order::Big.u32(ihdr.body, 0).unwrap_or(0);
    let height = Order::Big.u32(ihdr.body, 4).unwrap_or(0);
    let (bits, colour) = (ihdr.body[8], ihdr.body[9]);
    let rest = Rest::of(bytes, ihdr.end)?;
    let (photometric, num_bands) = match (colour, rest.transparency) {
        (0, false) => (Photometric::Grey, 1),
        (0, true) | (4, _) => (Photometric::GreyAlpha, 2),
        (2, false) => (Photometric::Rgb, 3),
        (2, true) | (6, _) => (Photometric::Rgba, 4),
        (3, false) => (Photometric::Palette, 3),
        (3, true) => (Photometric::PaletteAlpha, 4),
        _ => return Err(corrupt(format!("colour type {colour} is none of PNG's"))),
    };
    let sample_kind = match bits {
        1 | 2 | 4 | 8 => SampleKind::U8,
        16 => SampleKind::U16,
        _ => return Err(corrupt(format!("{bits} bits a sample are none of PNG's"))),
    };
    let header = ImageHeader {
        format: ImageFormat::Png,
        size: Size::new(width, height),
        sample_kind,
        stored_bits: u16::from(bits),
        photometric,
        num_bands,
        orientation: rest.orientation,
        compression: if ihdr.body[12] == 1 { "deflate, interlaced" } else { "deflate" },
        num_pages: rest.num_frames,
    };
    check_ratio(&header, colour, rest.data_bytes)?;
    Ok(header)
}

/// Rejects a header that announces more than its data can possibly inflate to.
fn check_ratio(header: &ImageHeader, colour: u8, data_bytes: u64) -> Result<(), Rejection> {
    let samples: u64 = match colour {
        2 => 3,
        4 => 2,
        6 => 4,
        _ => 1,
    };
    let stored_bits = header.size.num_pixels().saturating_mul(samples * u64::from(header.stored_bits));
    if stored_bits / 8 > data_bytes.saturating_mul(MAX_DEFLATE_RATIO) {
        let size = header.size;
        let detail = format!("{size} are announced, {data_bytes} bytes of image data cannot hold them");
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    Ok(())
}

struct Chunk<'a> {
    kind: &'a [u8],
    body: &'a [u8],
    end: usize,
}

fn chunk(bytes: &[u8], at: usize) -> Option<Chunk<'_>> {
    let len = usize::try_from(Order::Big.u32(bytes, at)?).ok()?;
    let kind = slice(bytes, at + 4, 4)?;
    let body = slice(bytes, at + 8, len)?;
    let end = at + 12 + len;
    (end <= bytes.len()).then_some(Chunk { kind, body, end })
}

/// What the chunks after IHDR say.
struct Rest {
    transparency: bool,
    orientation: Orientation,
    num_frames: u32,
    data_bytes: u64,
}

impl Rest {
    fn of(bytes: &[u8], mut at: usize) -> Result<Self, Rejection> {
        let mut rest =
            Self { transparency: false, orientation: Orientation::UPRIGHT, num_frames: 1, data_bytes: 0 };
        loop {
            let chunk = chunk(bytes, at).ok_or_else(|| truncated("the object ends before the chunk IEND"))?;
            match chunk.kind {
                b"tRNS" => rest.transparency = true,
                b"eXIf" => rest.orientation = Orientation::from_exif(chunk.body),
                b"acTL" => rest.num_frames = Order::Big.u32(chunk.body, 0).unwrap_or(1),
                b"IDAT" => rest.data_bytes += chunk.body.len() as u64,
                b"IEND" => return Ok(rest),
                b"CgBI" => return Err(unsupported("PNG in Apple's CgBI variant")),
                _ => {}
            }
            at = chunk.end;
        }
    }
}
