//! PNG headers (W3C PNG, third edition, sections 5 and 11).

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use flate2::read::ZlibDecoder;

use super::orientation::Stated;
use super::{ImageFormat, ImageHeader, Photometric, SampleKind, corrupt, truncated, unsupported};
use crate::formats::bytes::Order;
use crate::formats::partial::View;
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::{Reason, Rejection};

const SIGNATURE_BYTES: usize = 8;
/// The best that deflate can do: 258 bytes from 2 bits.
const MAX_DEFLATE_RATIO: u64 = 1032;
/// A longer text says nothing that is looked for.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// The most colours of a palette.
const MAX_COLOURS: usize = 256;
/// Keywords of the texts that may state an orientation.
const PROFILE: &[u8] = b"Raw profile type exif\0";
const XMP: &[u8] = b"XML:com.adobe.xmp\0";

/// Reads the header and walks the chunks for transparency, Exif and the end.
pub(super) fn parse_header(file: View<'_>) -> Result<ImageHeader, Rejection> {
    let ends = || truncated("the object ends inside IHDR");
    let ihdr = Chunk::at(file, SIGNATURE_BYTES).ok_or_else(ends)?;
    if ihdr.kind != b"IHDR" || ihdr.len != 13 {
        return Err(corrupt("the first chunk is not IHDR"));
    }
    let body = ihdr.body(file).ok_or_else(ends)?;
    let width = Order::Big.u32(body, 0).unwrap_or(0);
    let height = Order::Big.u32(body, 4).unwrap_or(0);
    let (bits, colour) = (body[8], body[9]);
    let rest = Rest::of(file, ihdr.end)?;
    if colour == 3 && !rest.palette_bytes.is_multiple_of(3) {
        let palette_bytes = rest.palette_bytes;
        return Err(corrupt(format!("a palette of {palette_bytes} bytes, which is not a multiple of 3")));
    }
    let (photometric, num_bands) = match (colour, rest.transparency) {
        (0, false) => (Photometric::Grey, 1),
        (0, true) | (4, _) => (Photometric::GreyAlpha, 2),
        (2, false) => (Photometric::Rgb, 3),
        (2, true) | (6, _) => (Photometric::Rgba, 4),
        (3, false) => (Photometric::Palette, 3),
        (3, true) => (Photometric::PaletteAlpha, 4),
        _ => return Err(corrupt(format!("colour type {colour} does not exist in PNG"))),
    };
    let sample_kind = match bits {
        1 | 2 | 4 | 8 => SampleKind::U8,
        16 => SampleKind::U16,
        _ => return Err(corrupt(format!("{bits} bits per sample do not exist in PNG"))),
    };
    let header = ImageHeader {
        format: ImageFormat::Png,
        size: Size::new(width, height),
        sample_kind,
        stored_bits: u16::from(bits),
        photometric,
        num_bands,
        orientation: rest.orientation.orientation(),
        compression: "deflate",
        interlaced: body[12] == 1,
        subsampling: None,
        icc_profile: rest.icc_profile,
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
        let detail = format!("{data_bytes} bytes of image data are too few for {size}");
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    Ok(())
}

struct Chunk<'a> {
    kind: &'a [u8],
    /// Where its body begins.
    start: usize,
    len: usize,
    end: usize,
}

impl<'a> Chunk<'a> {
    /// Finds a chunk that is all there; its body is not looked at.
    fn at(file: View<'a>, at: usize) -> Option<Self> {
        let head = file.slice(at, 8)?;
        let len = usize::try_from(Order::Big.u32(head, 0)?).ok()?;
        let end = at + 12 + len;
        (end <= file.object_bytes()).then_some(Self { kind: &head[4..], start: at + 8, len, end })
    }

    fn body(&self, file: View<'a>) -> Option<&'a [u8]> {
        file.slice(self.start, self.len)
    }

    /// Returns the text of this chunk if it has this keyword (11.3.3).
    fn text(&self, file: View<'a>, keyword: &[u8]) -> Option<Cow<'a, [u8]>> {
        if self.len > MAX_TEXT_BYTES || file.slice(self.start, self.len.min(keyword.len()))? != keyword {
            return None;
        }
        let value = &self.body(file)?[keyword.len()..];
        match (self.kind, value) {
            (b"tEXt", text) => Some(Cow::Borrowed(text)),
            (b"zTXt", [0, stored @ ..]) => inflated(stored),
            (b"iTXt", [0, _, rest @ ..]) => without_language(rest).map(Cow::Borrowed),
            (b"iTXt", [1, 0, rest @ ..]) => inflated(without_language(rest)?),
            _ => None,
        }
    }
}

/// Leaves out the language and the translated keyword of a text.
fn without_language(rest: &[u8]) -> Option<&[u8]> {
    rest.splitn(3, |&byte| byte == 0).nth(2)
}

fn inflated<'a>(stored: &[u8]) -> Option<Cow<'a, [u8]>> {
    let mut text = Vec::new();
    ZlibDecoder::new(stored).take(MAX_TEXT_BYTES as u64).read_to_end(&mut text).ok()?;
    Some(Cow::Owned(text))
}

/// Returns a whole file without the chunks of its animation and what follows on its second frame: what is left shows the
/// default image, as it does to all who know no animations (4.9).
pub fn still(bytes: &[u8]) -> Cow<'_, [u8]> {
    let file = View::Whole(bytes);
    let next = |chunk: &Chunk<'_>| Chunk::at(file, chunk.end);
    let chunks = || std::iter::successors(Chunk::at(file, SIGNATURE_BYTES), next);
    let of_animation = |chunk: &Chunk<'_>| matches!(chunk.kind, b"acTL" | b"fcTL" | b"fdAT");
    if !chunks().any(|chunk| of_animation(&chunk)) {
        return Cow::Borrowed(bytes);
    }
    let mut still = bytes[..SIGNATURE_BYTES].to_vec();
    let (mut has_data, mut over) = (false, false);
    for chunk in chunks() {
        has_data |= chunk.kind == b"IDAT";
        over |= has_data && of_animation(&chunk);
        if chunk.kind == b"IEND" || !over && !of_animation(&chunk) {
            still.extend_from_slice(&bytes[chunk.start - 8..chunk.end]);
        }
    }
    Cow::Owned(still)
}

/// Returns a whole file whose palette has a colour for each of its alphas, black where it had none: then each counts, as in
/// Pillow and libpng, where decoders count none of too many.
pub fn with_colours_for_alphas(bytes: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    let Some((palette, alphas)) = palette_and_alphas(View::Whole(&bytes)) else { return bytes };
    let num_alphas = alphas.len().min(MAX_COLOURS);
    if num_alphas <= palette.len() / 3 {
        return bytes;
    }
    let mut colours = bytes[palette.clone()].to_vec();
    colours.resize(3 * num_alphas, 0);
    let parts = [
        &bytes[..palette.start - 8],
        &chunk(*b"PLTE", &colours),
        &bytes[palette.end + 4..alphas.start - 8],
        &chunk(*b"tRNS", &bytes[alphas.start..alphas.start + num_alphas]),
        &bytes[alphas.end + 4..],
    ];
    Cow::Owned(parts.concat())
}

/// Finds the bodies of a palette and of the alphas behind it, in a file of indices.
fn palette_and_alphas(file: View<'_>) -> Option<(Range<usize>, Range<usize>)> {
    let head = Chunk::at(file, SIGNATURE_BYTES)?;
    if head.body(file)?.get(9) != Some(&3) {
        return None;
    }
    let next = |chunk: &Chunk<'_>| Chunk::at(file, chunk.end);
    let mut chunks = std::iter::successors(Some(head), next);
    let palette = chunks.find(|chunk| chunk.kind == b"PLTE")?;
    let alphas = chunks.find(|chunk| chunk.kind == b"tRNS")?;
    let body = |chunk: &Chunk<'_>| chunk.start..chunk.start + chunk.len;
    Some((body(&palette), body(&alphas)))
}

/// Writes a chunk (5.3).
fn chunk(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&kind);
    crc.update(body);
    let crc = crc.finalize().to_be_bytes();
    [&(body.len() as u32).to_be_bytes(), &kind, body, &crc].concat()
}

/// What the chunks after IHDR say.
#[derive(Default)]
struct Rest {
    transparency: bool,
    palette_bytes: usize,
    orientation: Stated,
    icc_profile: bool,
    num_frames: u32,
    data_bytes: u64,
}

impl Rest {
    fn of(file: View<'_>, mut at: usize) -> Result<Self, Rejection> {
        let mut rest = Self { num_frames: 1, ..Self::default() };
        // What stands behind the beginning of the second frame is said of later ones.
        let mut first_frame = true;
        loop {
            let chunk =
                Chunk::at(file, at).ok_or_else(|| truncated("the object ends before the chunk IEND"))?;
            match chunk.kind {
                b"tRNS" => rest.transparency = true,
                b"PLTE" => rest.palette_bytes = chunk.len,
                b"fcTL" if rest.data_bytes > 0 => first_frame = rest.num_frames == 1,
                b"eXIf" | b"tEXt" | b"zTXt" | b"iTXt" if first_frame => rest.orientation(file, &chunk),
                b"iCCP" => rest.icc_profile = true,
                b"acTL" => rest.num_frames = chunk.body(file).map_or(1, num_frames),
                b"IDAT" => rest.data_bytes += chunk.len as u64,
                b"IEND" => return Ok(rest),
                b"CgBI" => return Err(unsupported("PNG in Apple's CgBI variant")),
                _ => {}
            }
            at = chunk.end;
        }
    }

    /// Takes what a chunk states about the orientation.
    fn orientation(&mut self, file: View<'_>, chunk: &Chunk<'_>) {
        if chunk.kind == b"eXIf" {
            self.orientation.exif(chunk.body(file).unwrap_or_default());
        } else if let Some(text) = chunk.text(file, PROFILE) {
            self.orientation.raw_profile(&text);
        } else if let Some(text) = chunk.text(file, XMP) {
            self.orientation.xmp(&text);
        }
    }
}

/// Reads the number of frames from the body of acTL; one that is too short counts as absent.
fn num_frames(body: &[u8]) -> u32 {
    Order::Big.u32(body, 0).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indexed(palette: &[u8], alphas: &[u8]) -> Vec<u8> {
        let head = [0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0];
        let chunks = [(*b"IHDR", &head[..]), (*b"PLTE", palette), (*b"tRNS", alphas), (*b"IDAT", b"data")];
        let chunks = chunks.into_iter().chain([(*b"IEND", &b""[..])]);
        let chunks: Vec<u8> = chunks.flat_map(|(kind, body)| chunk(kind, body)).collect();
        [b"\x89PNG\r\n\x1a\n", &chunks[..]].concat()
    }

    #[test]
    fn a_palette_of_broken_colours_is_corrupt() {
        assert!(parse_header(View::Whole(&indexed(&[0; 6], &[]))).is_ok());
        let rejection = parse_header(View::Whole(&indexed(&[0; 20], &[]))).unwrap_err();
        assert_eq!(rejection.reason, Reason::Corrupt, "{rejection}");
    }

    #[test]
    fn every_alpha_gets_a_colour() {
        let given =
            |palette, alphas| with_colours_for_alphas(Cow::Owned(indexed(palette, alphas))).into_owned();
        assert_eq!(given(&[7; 6], &[1, 2]), indexed(&[7; 6], &[1, 2]));
        assert_eq!(given(&[7; 3], &[1, 2]), indexed(&[7, 7, 7, 0, 0, 0], &[1, 2]));
        assert_eq!(given(&[7; 768], &[1; 300]), indexed(&[7; 768], &[1; 300]));
    }
}
