//! WebP headers (RFC 9649). Of an animation, the first frame counts.

use super::orientation::Stated;
use super::{ImageFormat, ImageHeader, Photometric, SampleKind, corrupt, truncated};
use crate::formats::bytes::{Order, slice};
use crate::formats::partial::View;
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::Rejection;

const ANIMATION_FLAG: u8 = 0x02;
const ALPHA_FLAG: u8 = 0x10;
/// Bytes of a chunk's name and length.
const HEAD_BYTES: usize = 8;
/// Bytes of a frame's place, size, duration and flags.
const FRAME_HEAD_BYTES: usize = 16;
/// A longer text says nothing that is looked for.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// Reads the header and walks the chunks for Exif and the end.
pub(super) fn parse_header(file: View<'_>) -> Result<ImageHeader, Rejection> {
    let riff = file.u32(Order::Little, 4).map_or(0, u64::from);
    if (file.object_bytes() as u64) < riff + 8 {
        return Err(truncated(format!(
            "RIFF announces {} bytes, there are {}",
            riff + 8,
            file.object_bytes()
        )));
    }
    let mut found = Found::default();
    let end = file.object_bytes().min(usize::try_from(riff).unwrap_or(usize::MAX).saturating_add(8));
    found.chunks(file, 12, end)?;
    found.header()
}

/// Returns how much of a chunk's body says something about the image.
fn header_bytes(kind: &[u8], len: usize) -> usize {
    match kind {
        b"EXIF" => len,
        b"XMP " if len <= MAX_TEXT_BYTES => len,
        b"VP8X" | b"VP8 " | b"VP8L" => len.min(10),
        b"ANMF" => len.min(FRAME_HEAD_BYTES),
        _ => 0,
    }
}

/// A chunk of a whole file: its name and its body.
pub type Chunk<'a> = (&'a [u8], &'a [u8]);

/// Walks chunks of which all bytes are there.
pub fn whole_chunks(bytes: &[u8], mut at: usize) -> impl Iterator<Item = Chunk<'_>> {
    std::iter::from_fn(move || {
        let kind = slice(bytes, at, 4)?;
        let len = Order::Little.u32(bytes, at + 4)? as usize;
        let body = slice(bytes, at + HEAD_BYTES, len)?;
        at += HEAD_BYTES + len + len % 2;
        Some((kind, body))
    })
}

/// The first frame of an animation.
pub struct FirstFrame {
    /// Where it lies on the canvas.
    pub window: Window,
    /// The same frame as a file of its own.
    pub still: Vec<u8>,
}

/// Returns the first frame of an animation; `None` for a still image.
pub fn first_frame(bytes: &[u8]) -> Option<FirstFrame> {
    let first = |kind: &[u8]| whole_chunks(bytes, 12).find(|(found, _)| *found == kind);
    let (_, flags) = first(b"VP8X")?;
    let (_, body) =
        first(b"ANMF").filter(|_| flags.first().is_some_and(|flags| flags & ANIMATION_FLAG != 0))?;
    let window = frame_window(body)?;
    let chunk = |kind: &[u8]| whole_chunks(body, FRAME_HEAD_BYTES).find(|(found, _)| *found == kind);
    let image = chunk(b"VP8 ").or_else(|| chunk(b"VP8L"))?;
    let mut chunks = Vec::with_capacity(body.len() + 32);
    if let Some(alpha) = chunk(b"ALPH").filter(|_| image.0 == b"VP8 ") {
        let sides = [window.width, window.height].map(|side| (side - 1).to_le_bytes());
        let canvas = [&[ALPHA_FLAG, 0, 0, 0], &sides[0][..3], &sides[1][..3]].concat();
        push_chunk(&mut chunks, (b"VP8X", &canvas));
        push_chunk(&mut chunks, alpha);
    }
    push_chunk(&mut chunks, image);
    let len = u32::try_from(chunks.len() + 4).ok()?;
    Some(FirstFrame { window, still: [b"RIFF", &len.to_le_bytes()[..], b"WEBP", &chunks].concat() })
}

fn push_chunk(file: &mut Vec<u8>, (kind, body): Chunk<'_>) {
    file.extend_from_slice(kind);
    file.extend((body.len() as u32).to_le_bytes());
    file.extend_from_slice(body);
    file.resize(file.len().next_multiple_of(2), 0);
}

/// Reads where a frame lies (RFC 9649, 2.7.1.1, ANMF); `None` if its head is not all there.
fn frame_window(body: &[u8]) -> Option<Window> {
    let head = slice(body, 0, FRAME_HEAD_BYTES)?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], 0]);
    Some(Window { x: 2 * number(0), y: 2 * number(3), width: number(6) + 1, height: number(9) + 1 })
}

#[derive(Default)]
struct Found {
    canvas: Option<Size>,
    image: Option<Size>,
    alpha: bool,
    lossless: bool,
    orientation: Stated,
    icc_profile: bool,
    /// Of an animation.
    num_frames: Option<u32>,
    /// That of the first frame.
    frame: Option<Size>,
}

impl Found {
    /// Walks the chunks from `at` to `end`.
    fn chunks(&mut self, file: View<'_>, mut at: usize, end: usize) -> Result<(), Rejection> {
        while at + HEAD_BYTES <= end {
            let kind = file.slice(at, 4).unwrap_or_default();
            let len = file.u32(Order::Little, at + 4).unwrap_or(0) as usize;
            let start = at + HEAD_BYTES;
            let ends = || truncated(format!("the object ends inside the chunk {}", kind.escape_ascii()));
            if start + len > file.object_bytes() {
                return Err(ends());
            }
            self.chunk(kind, file.slice(start, header_bytes(kind, len)).ok_or_else(ends)?)?;
            if kind == b"ANMF" && self.num_frames == Some(1) {
                self.chunks(file, start + FRAME_HEAD_BYTES, start + len)?;
            }
            at = start + len + len % 2;
        }
        Ok(())
    }

    fn chunk(&mut self, kind: &[u8], body: &[u8]) -> Result<(), Rejection> {
        match kind {
            b"VP8X" if self.canvas.is_none() => self.extended(body),
            b"ANMF" => self.frame(body),
            b"VP8 " => self.lossy(body),
            b"VP8L" => self.lossless(body),
            b"EXIF" => {
                self.orientation.exif(body);
                Ok(())
            }
            b"XMP " => {
                self.orientation.xmp(body);
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
        self.num_frames = (flags & ANIMATION_FLAG != 0).then_some(0);
        self.alpha = flags & ALPHA_FLAG != 0;
        let side = |at| Order::Little.u32(body, at).map(|word| (word & 0xFF_FFFF) + 1);
        // The second side ends with the chunk, so its 24 bits are read from one byte earlier.
        let height = Order::Little.u32(body, 6).map(|word| (word >> 8) + 1);
        let size = side(4).zip(height).ok_or_else(|| corrupt("the chunk VP8X is too short"))?;
        self.canvas = Some(Size::new(size.0, size.1));
        Ok(())
    }

    /// Checks the place of the first frame.
    fn frame(&mut self, body: &[u8]) -> Result<(), Rejection> {
        let Some(num_frames) = &mut self.num_frames else { return Ok(()) };
        *num_frames += 1;
        let first = *num_frames == 1;
        let frame = frame_window(body).ok_or_else(|| truncated("the chunk ANMF is too short"))?;
        let fits =
            |canvas: Size| frame.x + frame.width <= canvas.width && frame.y + frame.height <= canvas.height;
        if first && !self.canvas.is_some_and(fits) {
            return Err(corrupt("the first frame does not lie on the canvas"));
        }
        self.frame.get_or_insert(Size::new(frame.width, frame.height));
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
        let image = self.image.ok_or_else(|| truncated("the object ends before its image data"))?;
        let size = if self.frame.is_none() { image } else { self.canvas.unwrap_or(image) };
        if self.frame.or(self.canvas).is_some_and(|announced| announced != image) {
            return Err(corrupt("the image's size differs from its canvas or frame"));
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
            orientation: self.orientation.orientation(),
            compression: if self.lossless { "lossless" } else { "lossy" },
            interlaced: false,
            subsampling: None,
            icc_profile: self.icc_profile,
            num_pages: self.num_frames.unwrap_or(1).max(1),
        })
    }
}
