//! Files that are sound, damaged and odd.

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
use tilefleet_testing::Random;

use super::*;
use crate::test_files::{HEIGHT, WIDTH, baseline, motion, picture, progressive, with_restarts};

/// Everything, of images of any size.
pub(crate) const ANY: Options = Options { needed: None, colours: Colours::Rgb, limits: UNLIMITED };
const UNLIMITED: Limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };

/// Too narrow for the chroma to be interpolated.
fn narrow() -> Vec<u8> {
    Encoder::new(&picture()[..3 * 4 * 9], 4, 9, PixelFormat::Rgb)
        .subsampling(Subsampling::S420)
        .encode()
        .unwrap()
}

fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    decode(bytes, &ANY)
}

fn reason(bytes: &[u8]) -> ErrorKind {
    decoded(bytes).expect_err("a damaged file is rejected").kind
}

/// Returns where the entropy-coded data of the last scan begins.
fn scan_data(jpeg: &[u8]) -> usize {
    let sos = jpeg.windows(2).rposition(|pair| pair == [0xFF, 0xDA]).unwrap();
    sos + 2 + usize::from(jpeg[sos + 3])
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
        assert_eq!(reason(&[data, &[0x5A, 0xA5], end].concat()), ErrorKind::Corrupt);
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
    assert_eq!(reason(&inside), ErrorKind::Corrupt);
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
        assert_eq!(decoded(&file).unwrap(), expected, "{width}×{height}, {sampling}");
    }
}

/// Components as they are coded, at full size: what becomes RGB otherwise.
#[test]
fn colours_may_stay_as_stored() {
    for file in [baseline(), with_restarts(), progressive(), narrow()] {
        let stored = decode(&file, &Options { colours: Colours::AsStored, ..ANY }).unwrap();
        let rgb = decoded(&file).unwrap();
        assert_ne!(stored, rgb);
        for (stored, rgb) in stored.as_chunks::<3>().0.iter().zip(rgb.as_chunks::<3>().0) {
            let [y, cb, cr] = stored.map(f64::from);
            let expected = [
                y + 1.402 * (cr - 128.0),
                y - 0.344_136 * (cb - 128.0) - 0.714_136 * (cr - 128.0),
                y + 1.772 * (cb - 128.0),
            ];
            for (own, expected) in rgb.iter().zip(expected) {
                assert!((f64::from(*own) - expected.clamp(0.0, 255.0)).abs() <= 1.0, "{stored:?} {rgb:?}");
            }
        }
    }
}

/// An Adobe marker says that colours were not transformed: stored components do not care.
#[test]
fn markers_about_colours_do_not_change_what_is_stored() {
    let file = baseline();
    let adobe = [&[0xFF, 0xEE, 0, 14][..], b"Adobe", &[0, 100, 0, 0, 0, 0, 0]].concat();
    // In place of JFIF, which would say that they were.
    let marked = [&file[..2], &adobe, &file[20..]].concat();
    let stored = |file: &[u8]| decode(file, &Options { colours: Colours::AsStored, ..ANY }).unwrap();
    assert_eq!(stored(&marked), stored(&file));
    assert_eq!(decoded(&marked).unwrap(), stored(&file));
}

#[test]
fn restart_markers_out_of_order_are_corrupt() {
    let mut file = with_restarts();
    let at = file.windows(2).position(|pair| pair == [0xFF, 0xD1]).unwrap();
    file[at + 1] = 0xD2;
    assert_eq!(reason(&file), ErrorKind::Corrupt);
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
    assert_eq!(decoded(&first_scan_only).unwrap().len(), picture().len());
    let no_scan = [&file[..scan_data(&file) - 2], &[0xFF, 0xD9]].concat();
    assert!(decoded(&no_scan).is_err());
}

#[test]
fn motion_jpeg_has_the_standard_tables() {
    assert!(motion().len() < baseline().len());
    assert_eq!(decoded(&motion()), decoded(&baseline()));
}

#[test]
fn progressive_files_have_a_limit_of_scans_and_one_quantisation() {
    let file = progressive();
    let scans: Vec<usize> = (0..file.len() - 1).filter(|&at| file[at..].starts_with(&[0xFF, 0xDA])).collect();
    // One that begins coefficients, and so can be repeated.
    let (second, third, last) = (scans[1], scans[2], scans[scans.len() - 1]);
    let many = [&file[..second], &file[second..third].repeat(101), &file[third..]].concat();
    assert_eq!(reason(&many), ErrorKind::Unsupported);
    let quantisation = |value: u8| [&[0xFF, 0xDB, 0, 67, 0][..], &[value; 64]].concat();
    let changed = [&file[..last], &quantisation(7), &file[last..]].concat();
    assert_eq!(reason(&changed), ErrorKind::Unsupported);
    let before = [&file[..2], &quantisation(7), &file[2..]].concat();
    assert!(decoded(&before).is_ok());
}

/// What is larger than allowed is refused before memory is taken.
#[test]
fn limits_hold_for_every_kind_of_file() {
    for file in [baseline(), progressive()] {
        let pixels = u64::from(WIDTH * HEIGHT);
        let limited = |max_pixels| {
            let limits = Limits { max_pixels, max_decoded_bytes: 3 * pixels };
            decode(&file, &Options { limits, ..ANY })
        };
        assert!(limited(pixels).is_ok());
        let error = limited(pixels - 1).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    }
}
