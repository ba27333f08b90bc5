//! WebP headers (RFC 9649).

use super::{
    ImageFormat, ImageHeader, Orientation, Photometric, SampleKind, corrupt, truncated, unsupported,
};
use crate::format::bytes::{Order, slice};
use crate::format::partial::View;
use crate::geometry::Size;
use crate::reason::Rejection;

const ANIMATION_FLAG: u8 = 0x02;
const ALPHA_FLAG: u8 = 0x10;

/// Reads the header and walks the chunks for Exif and the end.
pub(super) fn parse_header(file: View<'_>) -> Result<ImageHeader, Rejection> {
    let riff = file.u32(Order::Little, 4).map_or(0, u64::from);
    if (file.len() as u64) < riff + 8 {
        return Err(truncated(format!("RIFF announces {} bytes, there are {}", riff + 8, file.len())));
    }
    let mut found = Found::default();
    let mut at = 12;
    while at + 8 <= file.len().min(usize::try_from(riff).unwrap_or(usize::MAX).saturating_add(8)) {
        let kind = file.slice(at, 4).unwrap_or_default();
        let len = file.u32(Order::Little, at + 4).unwrap_or(0) as usize;
        let ends = || truncated(format!("the object ends inside the chunk {}", kind.escape_ascii()));
        if at + 8 + len > file.len() {
            return Err(ends());
        }
        found.chunk(kind, file.slice(at + 8, header_bytes(kind, len)).ok_or_else(ends)?)?;
        at += 8 + len + len % 2;
    }
    found.header()
}

/// Returns how much of a chunk's body says something about the image.
fn header_bytes(kind: &[u8], len: usize) -> usize {
    match kind {
        b"EXIF" => len,
        b"VP8X" | b"VP8 " | b"VP8L" => len.min(10),
        _ => 0,
    }
}

#[derive(Default)]
struct Found {
    canvas: Option<Size>,
    image: Option<Size>,
    alpha: bool,
    lossless: bool,
    orientation: Orientation,
    icc_profile: bool,
}

impl Found {
    fn chunk(&mut self, kind: &[u8], body: &[u8]) -> Result<(), Rejection> {
        match kind {
            b"VP8X" => self.extended(body),
            b"VP8 " => self.lossy(body),
            b"VP8L" => self.lossless(body),
            b"EXIF" => {
                self.orientation = Orientation::from_exif(body);
                Ok(())
            }
            b"ICCP" => {
                self.icc_profile = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn extended(&mut self, body: &[u8]) -> Result<(), Rejection> {
        let flags = *body.first().ok_or_else(|| corrupt("the chunk VP8X is empty"))?;
        if flags & ANIMATION_FLAG != 0 {
            return Err(unsupported("an animated WebP"));
        }
        self.alpha = flags & ALPHA_FLAG != 0;
        let side = |at| Order::Little.u32(body, at).map(|word| (word & 0xFF_FFFF) + 1);
        // The second side ends with the chunk, so its 24 bits are read from one byte earlier.
        let height = Order::Little.u32(body, 6).map(|word| (word >> 8) + 1);
        let size = side(4).zip(height).ok_or_else(|| corrupt("the chunk VP8X is too short"))?;
        self.canvas = Some(Size::new(size.0, size.1));
        Ok(())
    }

    fn lossy(&mut self, body: &[u8]) -> Result<(), Rejection> {
        let start_code = slice(body, 3, 3).ok_or_else(|| truncated("the chunk VP8 is too short"))?;
        if start_code != [0x9D, 0x01, 0x2A] || body[0] & 1 != 0 {
            return Err(corrupt("the chunk VP8 does not begin with a key frame"));
        }
        let side = |at| Order::Little.u16(body, at).map(|word| u32::from(word & 0x3FFF));
        let size = side(6).zip(side(8)).ok_or_else(|| truncated("the chunk VP8 is too short"))?;
        self.image = Some(Size::new(size.0, size.1));
        Ok(())
    }

    fn lossless(&mut self, body: &[u8]) -> Result<(), Rejection> {
        let word = Order::Little.u32(body, 1).ok_or_else(|| truncated("the chunk VP8L is too short"))?;
        if body[0] != 0x2F {
            return Err(corrupt("the chunk VP8L has no signature"));
        }
        self.lossless = true;
        if self.canvas.is_none() {
            self.alpha = word >> 28 & 1 == 1;
        }
        self.image = Some(Size::new((word & 0x3FFF) + 1, (word >> 14 & 0x3FFF) + 1));
        Ok(())
    }

    fn header(self) -> Result<ImageHeader, Rejection> {
        let size = self.image.ok_or_else(|| truncated("the object ends before its image data"))?;
        if self.canvas.is_some_and(|canvas| canvas != size) {
            return Err(corrupt("the image has another size than the canvas"));
        }
        let (photometric, num_bands) =
            if self.alpha { (Photometric::Rgba, 4) } else { (Photometric::Rgb, 3) };
        Ok(ImageHeader {
            format: ImageFormat::WebP,
            size,
            sample_kind: SampleKind::U8,
            stored_bits: 8,
            photometric,
            num_bands,
            orientation: self.orientation,
            compression: if self.lossless { "lossless" } else { "lossy" },
            interlaced: false,
            subsampling: None,
            icc_profile: self.icc_profile,
            num_pages: 1,
        })
    }
}
