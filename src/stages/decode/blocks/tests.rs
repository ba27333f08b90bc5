//! The suite that every [`BlockDecoder`] passes, and windows of files of different formats.

use std::collections::HashMap;
use std::io::Write as _;

use libjpeg_turbo_rs::{Encoder, PixelFormat};

use super::*;
use crate::formats::partial::Partial;
use crate::formats::raster::{GridId, Part, RasterFile, RasterParser, StoredSamples};
use crate::formats::tiff;
use crate::rasters::fixtures::{cog, complete, range_of};
use crate::rasters::raw;
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::Reason;
use crate::vocabulary::sample::SampleKind;

/// Checks all that the decoder of a block's codec has to hold.
///
/// - `stored`: the block
/// - `expected`: its samples
fn holds_contract(spec: &BlockSpec, stored: &[u8], expected: &Samples) {
    let decoded = |stored: &[u8]| decode_block(spec, Some(stored));
    for _ in 0..2 {
        let block = decoded(stored).unwrap();
        assert_eq!(block.window, spec.window);
        assert_eq!((block.samples.kind(), block.samples.len()), (spec.stored.kind, spec.num_samples()));
        assert!(block.samples == *expected, "{}: other samples", spec.stored.codec);
    }
    for cut in [0, 1, stored.len() / 2] {
        let rejection = decoded(&stored[..cut]).expect_err("what is damaged is not filled up");
        let may_be = [Reason::Truncated, Reason::Corrupt];
        assert!(may_be.contains(&rejection.reason), "{} cut to {cut}: {rejection}", spec.stored.codec);
    }
    let noise: Vec<u8> =
        (0..stored.len() as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for bytes in [&noise[..], &vec![0; stored.len()], &vec![0xFF; stored.len()]] {
        match decoded(bytes) {
            Ok(block) => assert_eq!(block.samples.len(), spec.num_samples()),
            Err(rejection) => {
                assert_ne!(rejection.reason, Reason::DecoderCrash, "{}: {rejection}", spec.stored.codec);
            }
        }
    }
    let absent = decode_block(spec, None).unwrap().samples;
    assert!(absent == Samples::zeroed(spec.stored.kind, spec.num_samples()), "without nodata it is 0");
}

/// A block of 16 × 16 pixels of 8 bits.
fn spec(codec: Codec, num_bands: u16) -> BlockSpec {
    let file = raw::file(Size::new(16, 16), num_bands, 1, |_, _, _, _| 0);
    let raster = complete(&file, &mut Partial::new(file.len()), raw::parse_partial).unwrap();
    let spec = raster.pixels(0, 0).spec(crate::formats::raster::BlockId(0));
    let stored = StoredSamples { codec, kind: SampleKind::U8, stored_bits: 8, ..spec.stored };
    BlockSpec { stored, ..spec }
}

fn picture(num_bands: u16) -> Vec<u8> {
    (0..16 * 16 * u32::from(num_bands)).map(|at| (at * 7 % 251) as u8).collect()
}

#[test]
fn every_codec_holds_the_contract() {
    let grey = picture(1);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&grey).unwrap();
    let zstd = zstd::bulk::compress(&grey, 3).unwrap();
    // A run of as many literals as there may be, twice.
    let packbits = [&[127][..], &grey[..128], &[127], &grey[128..]].concat();
    let stored = [
        (Codec::None, grey.clone()),
        (Codec::Deflate, zlib.finish().unwrap()),
        (Codec::Zstd, zstd),
        (Codec::PackBits, packbits),
    ];
    for (codec, stored) in stored {
        holds_contract(&spec(codec, 1), &stored, &Samples::U8(grey.clone()));
    }
    let rgb = picture(3);
    let mut webp = Vec::new();
    image_webp::WebPEncoder::new(&mut webp).encode(&rgb, 16, 16, image_webp::ColorType::Rgb8).unwrap();
    holds_contract(&spec(Codec::WebP, 3), &webp, &Samples::U8(rgb));
    // One colour survives JPEG.
    let flat = vec![128; 16 * 16];
    let jpeg = Encoder::new(&flat, 16, 16, PixelFormat::Grayscale).quality(95).encode().unwrap();
    holds_contract(&spec(Codec::Jpeg, 1), &jpeg, &Samples::U8(flat));
}

/// Reads windows of all frames, at full size and in turn at the corners and in the middle.
///
/// - `sample`: what a frame has in a column, row and band
fn windows_hold(bytes: &[u8], parse: RasterParser, sample: impl Fn(u32, u32, u32, u16) -> u16) {
    let file = complete(bytes, &mut Partial::new(bytes.len()), parse).unwrap();
    let Size { width, height } = file.size(0);
    let bands: Vec<u16> = (0..file.bands(0).len() as u16).rev().collect();
    for frame in 0..file.num_frames() {
        for (x, y) in [(0, 0), (width / 2, height / 2), (width - 1, height - 1)] {
            let window = Window { x, y, width: (width - x).min(9), height: (height - y).min(7) };
            let read = window_of(bytes, &*file, frame, window, &bands);
            let pixels = (y..y + window.height).flat_map(|y| (x..x + window.width).map(move |x| (x, y)));
            let expected = pixels.flat_map(|(x, y)| bands.iter().map(move |band| (x, y, *band)));
            let expected = expected.map(|(x, y, band)| sample(frame, x, y, band)).collect();
            assert!(read.samples == Samples::U16(expected), "{window} of frame {frame}");
        }
    }
}

fn window_of(
    bytes: &[u8],
    file: &dyn RasterFile,
    frame: u32,
    window: Window,
    bands: &[u16],
) -> WindowSamples {
    let (ids, masks) = file.blocks_for(frame, 0, window, bands);
    assert!(masks.is_empty());
    let place = GridId { frame, level: 0, part: Part::Pixels };
    let decoded = ids.into_iter().map(|id| {
        let stored = range_of(bytes, file, place, id).unwrap();
        let stored = stored.map(|range| &bytes[range.start as usize..range.end as usize]);
        (id, decode_block(&file.pixels(frame, 0).spec(id), stored).unwrap())
    });
    let blocks: HashMap<_, _> = decoded.collect();
    read_window(file, frame, 0, window, bands, |_, id| Ok(&blocks[&id])).unwrap()
}

#[test]
fn windows_are_read_whatever_the_format() {
    let sample = |frame: u32, x: u32, y: u32, band: u16| (1000 * frame + 30 * x + y) as u16 ^ (band << 12);
    windows_hold(&raw::file(Size::new(20, 12), 2, 5, sample), raw::parse_partial, sample);
    let tiff = cog(Size::new(300, 280), 2, |x, y, band| sample(0, x, y, band));
    windows_hold(&tiff, tiff::parse_raster, sample);
}
