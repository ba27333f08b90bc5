//! WebP, by the crate `image-webp`: lossy and lossless still images, and the first frame of an animation.

mod codes;

use std::io::Cursor;

use image_webp::{DecodingError, WebPDecoder};

use self::codes::Groups;
use super::reject_io;
use crate::formats::bytes::Order;
use crate::formats::image::webp::{first_frame, whole_chunks};
use crate::formats::image::{DecodeLimits, ImageHeader, Photometric, corrupt, truncated};
use crate::vocabulary::chip::Samples;
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::{Reason, Rejection};

/// Tables and rows.
const OTHER_BYTES: u64 = 1 << 18;
/// More groups of codes than any encoder writes (2,600 in libwebp): files pay for each with a few bytes.
const MAX_GROUPS: u32 = 4096;
/// Bytes of the five tables of a group, and of their nodes for each value of a code.
const TABLES_BYTES: u64 = 5 * (4 << 10);
const NODE_BYTES: u64 = 32;
/// Values of the four codes of a group beside the largest.
const OTHER_VALUES: u64 = 3 * 256 + 40;

/// Returns how much memory decoding takes beside the decoded samples, at most.
///
/// A lossless image is four bands whatever it becomes, and its transforms and codes may have a value for each block of
/// 4×4 pixels. A lossy one is stored at full and half size; its alpha is a lossless image of its own.
pub(super) fn working_bytes(header: &ImageHeader, bytes: &[u8]) -> u64 {
    let pixels = header.size.num_pixels();
    let (transforms, has_alpha) = (pixels / 4 * 5, header.photometric == Photometric::Rgba);
    let image = match (header.compression, has_alpha) {
        ("lossless", true) => transforms,
        ("lossless", false) => 4 * pixels + transforms,
        (_, true) => 7 * pixels + transforms,
        (_, false) => 2 * pixels,
    };
    let frame = if header.num_pages > 1 { 8 * pixels + 2 * bytes.len() as u64 } else { 0 };
    let still = first_frame(bytes).map(|frame| frame.still);
    let codes = groups_in(still.as_deref().unwrap_or(bytes)).map_or(0, |groups| {
        let nodes = (groups.alphabet as u64 + OTHER_VALUES) * NODE_BYTES;
        u64::from(groups.count.min(MAX_GROUPS)) * (TABLES_BYTES + nodes)
    });
    image + frame + codes + OTHER_BYTES
}

/// Counts the groups of codes of what a file has lossless: its image, or the alpha of a lossy one.
fn groups_in(file: &[u8]) -> Option<Groups> {
    let chunk = |kind: &[u8]| whole_chunks(file, 12).find(|(found, _)| *found == kind);
    if let Some((_, body)) = chunk(b"VP8L") {
        let word = Order::Little.u32(body, 1)?;
        return codes::groups(body.get(5..)?, (word & 0x3FFF) + 1, (word >> 14 & 0x3FFF) + 1);
    }
    let ((_, alpha), (_, image)) = (chunk(b"ALPH")?, chunk(b"VP8 ")?);
    let (method, data) = alpha.split_first()?;
    let side = |at| Order::Little.u16(image, at).map(|word| u32::from(word & 0x3FFF));
    if method & 3 == 1 { codes::groups(data, side(6)?, side(8)?) } else { None }
}

/// Decodes to RGB or RGBA.
pub(super) fn decode(
    header: &ImageHeader,
    bytes: &[u8],
    limits: &DecodeLimits,
) -> Result<Samples, Rejection> {
    let len = usize::try_from(header.decoded_bytes()).unwrap_or(usize::MAX);
    let Some(frame) = first_frame(bytes) else {
        return Ok(Samples::U8(still(bytes, limits, Some(len))?));
    };
    let samples = still(&frame.still, limits, None)?;
    let num_pixels = frame.window.width as usize * frame.window.height as usize;
    if ![3 * num_pixels, 4 * num_pixels].contains(&samples.len()) {
        return Err(corrupt("the size of the first frame differs from its header"));
    }
    Ok(Samples::U8(on_canvas(&samples, frame.window, header)))
}

fn still(bytes: &[u8], limits: &DecodeLimits, expected: Option<usize>) -> Result<Vec<u8>, Rejection> {
    if let Some(groups) = groups_in(bytes).filter(|groups| groups.count > MAX_GROUPS) {
        let detail = format!("a WebP of {} groups of prefix codes, the limit is {MAX_GROUPS}", groups.count);
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|error| reject(&error))?;
    decoder.set_memory_limit(usize::try_from(limits.max_decoded_bytes).unwrap_or(usize::MAX));
    let len = decoder.output_buffer_size().filter(|&len| expected.is_none_or(|expected| len == expected));
    let len = len.ok_or_else(|| corrupt("the chunks contradict the header"))?;
    let mut samples = vec![0; len];
    decoder.read_image(&mut samples).map_err(|error| reject(&error))?;
    Ok(samples)
}

/// Puts a frame on a canvas of transparent black, as libwebp does; its bands become those of the canvas.
fn on_canvas(frame: &[u8], window: Window, header: &ImageHeader) -> Vec<u8> {
    let (canvas_bands, width) = (usize::from(header.num_bands), window.width as usize);
    let frame_bands = frame.len() / (width * window.height as usize);
    let mut canvas = vec![0; header.decoded_bytes() as usize];
    for (row, stored) in frame.chunks_exact(width * frame_bands).enumerate() {
        let first = (window.y as usize + row) * header.size.width as usize + window.x as usize;
        let out = &mut canvas[first * canvas_bands..][..width * canvas_bands];
        for (out, pixel) in out.chunks_exact_mut(canvas_bands).zip(stored.chunks_exact(frame_bands)) {
            // Opaque, unless the frame says otherwise.
            out.fill(u8::MAX);
            let shared = canvas_bands.min(frame_bands);
            out[..shared].copy_from_slice(&pixel[..shared]);
        }
    }
    canvas
}

fn reject(error: &DecodingError) -> Rejection {
    match error {
        DecodingError::IoError(error) => reject_io(error),
        DecodingError::BitStreamError => truncated("the image data ends too early"),
        error => corrupt(error.to_string()),
    }
}
