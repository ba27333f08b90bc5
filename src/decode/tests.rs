use std::io::Cursor;

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

use super::*;
use crate::decode::chip::Samples;

const WIDTH: u32 = 61;
const HEIGHT: u32 = 47;

/// A linear congruential generator (Knuth, MMIX), so that every run sees the same cases.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

fn picture() -> Vec<u8> {
    let mut random = Random(1);
    let value = |at: u32, random: &mut Random| (at * 3 % 200) as u8 + random.below(50) as u8;
    (0..WIDTH * HEIGHT * 3).map(|at| value(at, &mut random)).collect()
}

fn encoder(pixels: &[u8]) -> Encoder<'_> {
    Encoder::new(pixels, WIDTH as usize, HEIGHT as usize, PixelFormat::Rgb).quality(85)
}

fn baseline() -> Vec<u8> {
    encoder(&picture()).subsampling(Subsampling::S420).encode().unwrap()
}

fn with_restarts() -> Vec<u8> {
    encoder(&picture()).subsampling(Subsampling::S422).restart_blocks(2).encode().unwrap()
}

fn progressive() -> Vec<u8> {
    encoder(&picture()).subsampling(Subsampling::S444).progressive(true).encode().unwrap()
}

/// Too narrow for the chroma to be interpolated.
fn narrow() -> Vec<u8> {
    Encoder::new(&picture()[..3 * 4 * 9], 4, 9, PixelFormat::Rgb)
        .subsampling(Subsampling::S420)
        .encode()
        .unwrap()
}

fn png_file() -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, WIDTH, HEIGHT);
    encoder.set_color(::png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&picture()).unwrap();
    writer.finish().unwrap();
    file
}

fn webp_file() -> Vec<u8> {
    let mut file = Vec::new();
    let encoder = image_webp::WebPEncoder::new(&mut file);
    encoder.encode(&picture(), WIDTH, HEIGHT, image_webp::ColorType::Rgb8).unwrap();
    file
}

fn tiff_file() -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let mut encoder = ::tiff::encoder::TiffEncoder::new(&mut file)
        .unwrap()
        .with_compression(::tiff::encoder::Compression::Lzw);
    encoder.write_image::<::tiff::encoder::colortype::RGB8>(WIDTH, HEIGHT, &picture()).unwrap();
    file.into_inner()
}

fn files() -> [(&'static str, Vec<u8>); 6] {
    [
        ("baseline JPEG", baseline()),
        ("JPEG with restart markers", with_restarts()),
        ("progressive JPEG", progressive()),
        ("PNG", png_file()),
        ("WebP", webp_file()),
        ("TIFF", tiff_file()),
    ]
}

fn decoded(bytes: &[u8]) -> Result<Chip, Rejection> {
    decode_tile(bytes, &Limits::default()).map(|(_, chip)| chip)
}

fn reason(bytes: &[u8]) -> Reason {
    decoded(bytes).expect_err("a damaged file is rejected").reason
}

/// Returns where the entropy-coded data of the last scan begins.
fn scan_data(jpeg: &[u8]) -> usize {
    let sos = jpeg.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
    sos + 2 + usize::from(jpeg[sos + 3])
}

#[test]
fn lossless_formats_give_back_what_was_written() {
    for (name, file) in files().into_iter().skip(3) {
        assert_eq!(decoded(&file).unwrap().samples, Samples::U8(picture()), "{name}");
    }
}

/// At 64 places and at every one of the last 16: rejected, or whole with the right pixels.
#[test]
fn a_cut_file_is_never_taken_for_a_whole_one() {
    for (name, file) in files() {
        let whole = decoded(&file).unwrap();
        let places = (0..64).map(|step| step * file.len() / 64).chain(file.len() - 16..file.len());
        for len in places {
            match decoded(&file[..len]) {
                Ok(chip) => assert_eq!(chip, whole, "{name} cut at {len} of {}", file.len()),
                Err(rejection) => {
                    let expected = if len == 0 { Reason::Empty } else { Reason::Truncated };
                    let early = len < 12 && rejection.reason == Reason::NotAnImage;
                    assert!(rejection.reason == expected || early, "{name} cut at {len}: {rejection}");
                }
            }
        }
    }
}

#[test]
fn a_cut_jpeg_with_an_end_marker_is_rejected() {
    for file in [baseline(), with_restarts(), progressive()] {
        let start = scan_data(&file);
        for len in start..file.len() - 3 {
            let forged = [&file[..len], &[0xFF, 0xD9]].concat();
            assert!(decoded(&forged).is_err(), "cut at {len} of {}", file.len());
        }
    }
}

#[test]
fn image_data_that_is_left_over_is_corrupt() {
    for file in [baseline(), with_restarts(), progressive()] {
        let (data, end) = file.split_at(file.len() - 2);
        assert_eq!(reason(&[data, &[0x5A, 0xA5], end].concat()), Reason::Corrupt);
    }
}

/// Some cameras fill up the end of a scan with zeros or ones.
#[test]
fn padding_after_the_image_data_is_harmless() {
    for file in [baseline(), with_restarts(), progressive(), narrow()] {
        let (data, end) = file.split_at(file.len() - 2);
        for padding in [&[0; 9][..], &[0xFF, 0, 0xFF, 0], &[0xFF, 0xFF]] {
            assert_eq!(decoded(&[data, padding, end].concat()), decoded(&file), "{padding:?}");
        }
    }
    let file = with_restarts();
    let at = file.windows(2).position(|pair| pair == [0xFF, 0xD1]).unwrap();
    let inside = [&file[..at], &[0; 3], &file[at..]].concat();
    assert_eq!(reason(&inside), Reason::Corrupt);
}

/// Files that are decoded in one pass and those that are not have the samples of the crate's decoder.
#[test]
fn one_pass_gives_the_samples_of_the_decoder() {
    let samplings =
        [Subsampling::S420, Subsampling::S422, Subsampling::S444, Subsampling::S440, Subsampling::S420];
    let mut random = Random(3);
    for at in 0..40 * 40 {
        let (width, height, sampling) = (at % 40 + 1, at / 40 + 1, random.below(samplings.len()));
        let format = if sampling == 4 { PixelFormat::Grayscale } else { PixelFormat::Rgb };
        let noise = [1, 20, 256][random.below(3)];
        let pixels: Vec<u8> =
            (0..width * height * 3).map(|at| (at % 150).max(random.below(noise)) as u8).collect();
        let mut encoder = Encoder::new(&pixels, width, height, format)
            .quality(1 + random.below(100) as u8)
            .subsampling(samplings[sampling])
            .optimize_huffman(at % 2 == 0);
        if random.below(2) == 0 {
            encoder = encoder.restart_blocks(1 + random.below(9) as u16);
        }
        let file = encoder.encode().unwrap();
        let expected = libjpeg_turbo_rs::decompress_to(&file, format).unwrap().data;
        assert_eq!(decoded(&file).unwrap().samples, Samples::U8(expected), "{width}×{height}, {sampling}");
    }
}

#[test]
fn restart_markers_out_of_order_are_corrupt() {
    let mut file = with_restarts();
    let at = file.windows(2).position(|pair| pair == [0xFF, 0xD1]).unwrap();
    file[at + 1] = 0xD2;
    assert_eq!(reason(&file), Reason::Corrupt);
}

#[test]
fn bytes_after_the_end_marker_do_not_matter() {
    let file = baseline();
    assert_eq!(decoded(&[&file[..], b"trailer"].concat()), decoded(&file));
}

#[test]
fn a_progressive_file_without_a_component_is_truncated() {
    let file = progressive();
    let second_scan = file.windows(2).enumerate().filter(|(_, pair)| *pair == [0xFF, 0xDA]).nth(1);
    let first_scan_only = [&file[..second_scan.unwrap().0], &[0xFF, 0xD9]].concat();
    // The first scan holds the DC of all components: legal, and decoded as libjpeg does.
    assert!(
        decoded(&first_scan_only).is_ok_and(|chip| chip.size == crate::geometry::Size::new(WIDTH, HEIGHT))
    );
    let no_scan = [&file[..scan_data(&file) - 2], &[0xFF, 0xD9]].concat();
    assert!(decoded(&no_scan).is_err());
}

#[test]
fn every_flipped_bit_of_png_data_is_found() {
    let file = png_file();
    let start = file.windows(4).position(|kind| kind == b"IDAT").unwrap() + 4;
    for at in (start..file.len() - 16).step_by(37) {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(decoded(&damaged).is_err(), "bit flipped at {at}");
    }
}

/// Damage is no crash. WebP and TIFF have no checksums, so most of it stays legal there; in PNG and
/// JPEG most of it is found.
#[test]
fn damaged_files_are_rejected_without_a_crash() {
    let mut random = Random(7);
    for (name, file) in files() {
        let (mut rejected, mut crashed) = (0, Vec::new());
        for _ in 0..700 {
            let mut damaged = file.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(damaged.len());
                damaged[at] = random.below(256) as u8;
            }
            if let Err(rejection) = decoded(&damaged) {
                rejected += 1;
                if rejection.reason == Reason::DecoderCrash {
                    crashed.push(rejection.detail);
                }
            }
        }
        assert!(crashed.is_empty(), "{name}: {crashed:?}");
        let expected = if name.contains("WebP") || name.contains("TIFF") { 35 } else { 350 };
        assert!(rejected > expected, "{name}: only {rejected} of 700 rejected");
    }
}

#[test]
fn a_pixel_bomb_is_rejected_by_its_header() {
    let mut png = png_file();
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    assert_eq!(reason(&png), Reason::TooLarge, "65536×65536 cannot come from so few bytes");
    let mut jpeg = baseline();
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xFF);
    assert_eq!(reason(&jpeg), Reason::TooLarge);
}

#[test]
fn limits_are_checked_before_decoding() {
    let limits = Limits { max_pixels: u64::from(WIDTH * HEIGHT), ..Limits::default() };
    assert!(decode_tile(&png_file(), &limits).is_ok());
    let limits = Limits { max_pixels: limits.max_pixels - 1, ..limits };
    assert_eq!(decode_tile(&png_file(), &limits).unwrap_err().reason, Reason::TooLarge);
    let limits = Limits { max_decoded_bytes: u64::from(WIDTH * HEIGHT * 3) - 1, ..Limits::default() };
    assert_eq!(decode_tile(&png_file(), &limits).unwrap_err().reason, Reason::TooLarge);
}

#[test]
fn cmyk_is_unsupported() {
    let pixels = vec![99; 16 * 16 * 4];
    let file = Encoder::new(&pixels, 16, 16, PixelFormat::Cmyk).encode().unwrap();
    assert_eq!(reason(&file), Reason::Unsupported);
}
