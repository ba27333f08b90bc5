//! Decompresses one block into as many bytes as it must have.
//!
//! What comes after these is ignored, as libtiff does: some writers fill up the last strip.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Cursor;

use flate2::{Decompress, FlushDecompress, Status};
use image_webp::WebPDecoder;

use super::{BlockDecoder, lzw, packbits};
use crate::formats::image::{corrupt, truncated, unsupported};
use crate::formats::raster::{BlockSpec, Codec};
use crate::vocabulary::chip::Samples;
use crate::vocabulary::reason::Rejection;

/// Returns stored bytes with the first pixel in the highest bit (TIFF 6.0, tag 266).
pub(super) fn bits_in_order<'a>(spec: &BlockSpec, stored: &'a [u8]) -> Cow<'a, [u8]> {
    if spec.stored.reversed_bits {
        stored.iter().map(|byte| byte.reverse_bits()).collect::<Vec<u8>>().into()
    } else {
        stored.into()
    }
}

/// Refuses a block that cannot hold what it announces, before memory is taken for it.
pub(super) fn check_ratio(spec: &BlockSpec, stored: usize, len: usize) -> Result<(), Rejection> {
    match spec.stored.codec.max_ratio() {
        Some(ratio) if (stored as u64).saturating_mul(ratio) < len as u64 => {
            let name = spec.stored.codec;
            Err(truncated(format!("{stored} bytes ({name}) cannot decode to {len} bytes of samples")))
        }
        _ => Ok(()),
    }
}

/// Decompresses until `out` is full.
pub(super) fn decompress(codec: Codec, stored: &[u8], out: &mut [u8]) -> Result<(), Rejection> {
    match codec {
        Codec::None => {
            out.copy_from_slice(stored.get(..out.len()).ok_or_else(|| short(stored.len(), out.len()))?);
            Ok(())
        }
        Codec::Lzw => filled(lzw::decode(stored, out)?, out.len()),
        Codec::Deflate => inflate(stored, out),
        Codec::PackBits => filled(packbits::decode(stored, out), out.len()),
        Codec::Zstd => zstd(stored, out),
        Codec::Jpeg | Codec::WebP | Codec::Lerc(_) | Codec::Dicom => {
            Err(unsupported(format!("{codec} inside another compression")))
        }
    }
}

fn filled(written: usize, expected: usize) -> Result<(), Rejection> {
    if written == expected { Ok(()) } else { Err(short(written, expected)) }
}

fn short(found: usize, expected: usize) -> Rejection {
    truncated(format!("a block has {found} of {expected} bytes of samples"))
}

/// Inflates with libdeflate; tells whether the stream is whole and exactly as long as wanted.
#[cfg(feature = "libdeflate")]
fn inflate_whole(stored: &[u8], out: &mut [u8]) -> bool {
    thread_local! {
        static STATE: RefCell<libdeflater::Decompressor> = RefCell::new(libdeflater::Decompressor::new());
    }
    STATE.with_borrow_mut(|state| state.zlib_decompress(stored, out)) == Ok(out.len())
}

/// Without libdeflate there is only one way.
#[cfg(not(feature = "libdeflate"))]
fn inflate_whole(_: &[u8], _: &mut [u8]) -> bool {
    false
}

fn inflate(stored: &[u8], out: &mut [u8]) -> Result<(), Rejection> {
    if inflate_whole(stored, out) {
        return Ok(());
    }
    thread_local! {
        static STATE: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    }
    STATE.with_borrow_mut(|state| {
        state.reset(true);
        let status = state.decompress(stored, out, FlushDecompress::Finish);
        let written = state.total_out() as usize;
        match status {
            Ok(_) if written == out.len() => Ok(()),
            Ok(Status::Ok | Status::BufError | Status::StreamEnd) => Err(short(written, out.len())),
            Err(error) => Err(corrupt(format!("deflate: {error}"))),
        }
    })
}

fn zstd(stored: &[u8], out: &mut [u8]) -> Result<(), Rejection> {
    thread_local! {
        static STATE: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let whole = STATE.with_borrow_mut(|state| {
        if state.is_none() {
            *state = zstd::bulk::Decompressor::new().ok();
        }
        state.as_mut().and_then(|state| state.decompress_to_buffer(stored, out).ok())
    });
    if whole == Some(out.len()) {
        return Ok(());
    }
    // It has more than is wanted, or is damaged: the slow way tells.
    let failed = |error: std::io::Error| corrupt(format!("zstd: {error}"));
    let mut stream = zstd::stream::read::Decoder::with_buffer(stored).map_err(failed)?;
    std::io::Read::read_exact(&mut stream, out).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => truncated("a block ends before its samples do (zstd)"),
        _ => failed(error),
    })
}

/// Decodes WebP.
pub(super) struct WebPBlockDecoder;

impl BlockDecoder for WebPBlockDecoder {
    fn decode(&self, spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection> {
        webp(spec, &bits_in_order(spec, stored))
    }
}

/// Decodes a WebP block, lossless or lossy.
fn webp(spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection> {
    let window = spec.window;
    let reject = |error: image_webp::DecodingError| corrupt(format!("WebP: {error}"));
    let mut decoder = WebPDecoder::new(Cursor::new(stored)).map_err(reject)?;
    let size = decoder.dimensions();
    if size != (window.width, window.height) {
        return Err(corrupt(format!("a block of {}×{} pixels, not {window}", size.0, size.1)));
    }
    let num_pixels = window.width as usize * window.height as usize;
    let len = decoder.output_buffer_size().ok_or_else(|| corrupt("WebP: too large"))?;
    let mut samples = vec![0; len];
    decoder.read_image(&mut samples).map_err(reject)?;
    // An opaque block of an image with alpha may leave it out.
    Ok(Samples::U8(match (len / num_pixels, spec.num_bands) {
        (3, 4) => samples.chunks_exact(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect(),
        (4, 3) => samples.chunks_exact(4).flat_map(|rgba| [rgba[0], rgba[1], rgba[2]]).collect(),
        _ => samples,
    }))
}
