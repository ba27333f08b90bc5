//! Lossless files that are sound, damaged and odd.

use tilefleet_testing::files::words;
use tilefleet_testing::{Random, dicom};

use crate::test_lossless::Picture;
use crate::{Decoded, Error, ErrorKind, Limits, Process, Samples, decode_samples, header};

const ANY: Limits = Limits { max_pixels: 1 << 24, max_decoded_bytes: 1 << 26 };

fn decoded(file: &[u8]) -> Result<Decoded, Error> {
    decode_samples(file, &ANY)
}

fn kind(file: &[u8]) -> ErrorKind {
    decoded(file).expect_err("a damaged file is rejected").kind
}

/// A picture of 16 bits with all that a scan may have.
fn picture() -> Picture {
    let mut random = Random(4);
    let mut picture = Picture::random(&mut random, 16);
    let (width, height, num_components) = (19, 11, 3);
    let samples =
        (0..width * height * num_components).map(|at| (at * 331 + random.below(9000)) as u16).collect();
    picture = Picture { width, height, num_components, samples, predictor: 6, point_transform: 0, ..picture };
    Picture { restart_rows: 2, interleaved: true, ..picture }
}

/// Every predictor, precision, point transform and grouping, with restart markers and without.
#[test]
fn samples_come_back_exactly() {
    let mut random = Random(9);
    for at in 0..6000 {
        let picture = Picture::random(&mut random, 2 + (at % 15) as u8);
        let decoded = decoded(&picture.encoded()).unwrap_or_else(|error| panic!("{error}: {picture:?}"));
        assert_eq!((decoded.process, decoded.precision), (Process::Lossless, picture.precision));
        assert_eq!(decoded.num_components, picture.num_components);
        assert_eq!(matches!(decoded.samples, Samples::U8(_)), picture.precision <= 8);
        assert!(decoded.samples.into_u16() == picture.samples, "{picture:?}");
    }
}

/// Wherever the data end, also with an end marker behind: no sample is made up.
#[test]
fn a_cut_file_is_truncated() {
    for interleaved in [true, false] {
        let file = Picture { interleaved, ..picture() }.encoded();
        for len in 0..file.len() - 2 {
            assert_eq!(kind(&file[..len]), ErrorKind::Truncated, "cut at {len} of {}", file.len());
            let forged = [&file[..len], &[0xFF, 0xD9]].concat();
            assert!(decoded(&forged).is_err(), "cut at {len} of {}, with an end marker", file.len());
        }
    }
}

/// Fragments of DICOM have an even length: a zero may follow the end marker, or stand before it.
#[test]
fn padding_and_a_missing_end_marker_are_harmless() {
    let file = picture().encoded();
    let (data, end) = file.split_at(file.len() - 2);
    let sound = decoded(&file);
    assert!(sound.is_ok());
    for padded in [
        &[data][..],
        &[data, &[0; 3], end],
        &[data, &[0xFF, 0xFF], end],
        &[&file, &[0]],
        &[data, &[0]],
        &[data, &[0xFF]],
    ] {
        assert_eq!(decoded(&padded.concat()), sound, "{:?}", &padded[1..]);
    }
    assert_eq!(kind(&[data, &[0x5A, 0xA5], end].concat()), ErrorKind::Corrupt);
}

#[test]
fn restart_markers_come_in_order_and_after_whole_rows() {
    let file = picture().encoded();
    let marker = |code: u8| file.windows(2).position(|pair| pair == [0xFF, code]).unwrap();
    let mut swapped = file.clone();
    swapped[marker(0xD1) + 1] = 0xD3;
    assert_eq!(kind(&swapped), ErrorKind::Corrupt);
    let filled = [&file[..marker(0xD1)], &[0xFF, 0xFF], &file[marker(0xD1)..]].concat();
    assert_eq!(decoded(&filled), decoded(&file));
    let mut uneven = file.clone();
    uneven[marker(0xDD) + 5] += 1;
    assert_eq!(kind(&uneven), ErrorKind::Corrupt);
}

#[test]
fn a_scan_that_contradicts_the_frame_is_corrupt() {
    let picture = picture();
    let file = picture.encoded();
    let scan = file.windows(2).position(|pair| pair == [0xFF, 0xDA]).unwrap();
    let changed = |at: usize, value: u8| {
        let mut file = file.clone();
        file[scan + at] = value;
        kind(&file)
    };
    let (unknown_id, repeated_id, no_table) = (changed(5, 9), changed(7, 1), changed(6, 0x30));
    assert_eq!([unknown_id, repeated_id, no_table], [ErrorKind::Corrupt; 3]);
    let [no_predictor, absurd_predictor] = [0, 8].map(|predictor| changed(11, predictor));
    assert_eq!([no_predictor, absurd_predictor], [ErrorKind::Corrupt; 2]);
    let mut two_bits = Picture { precision: 2, samples: vec![0; picture.samples.len()], ..picture }.encoded();
    two_bits[scan + 13] = 2;
    assert_eq!(kind(&two_bits), ErrorKind::Corrupt, "nothing is left after the point transform");
}

#[test]
fn subsampled_components_are_refused() {
    let picture = picture();
    let factors = |file: &[u8]| file.windows(2).position(|pair| pair == [0xFF, 0xC3]).unwrap() + 11;
    let mut file = picture.encoded();
    let at = factors(&file);
    file[at] = 0x21;
    assert_eq!(kind(&file), ErrorKind::Unsupported);
    // Alone in its scan, a component is stored row by row whatever its factors are.
    let single = Picture { interleaved: false, ..picture };
    let mut file = single.encoded();
    let at = factors(&file);
    for component in [0, 3, 6] {
        file[at + component] = 0x22;
    }
    assert_eq!(decoded(&file).unwrap().samples.into_u16(), single.samples);
}

/// A sample that the precision has no room for is damage, or a file that lies about its bits.
#[test]
fn samples_beyond_the_precision_are_corrupt() {
    let mut file = Picture { samples: vec![60_000; 19 * 11 * 3], ..picture() }.encoded();
    assert!(decoded(&file).is_ok());
    let precision = file.windows(2).position(|pair| pair == [0xFF, 0xC3]).unwrap() + 4;
    file[precision] = 15;
    assert_eq!(kind(&file), ErrorKind::Corrupt);
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let file = picture().encoded();
    let [pixels, bytes] = [19 * 11, 19 * 11 * 6];
    let limited = |max_pixels, max_decoded_bytes| {
        decode_samples(&file, &Limits { max_pixels, max_decoded_bytes }).map_err(|error| error.kind)
    };
    assert!(limited(pixels, bytes).is_ok());
    assert_eq!(limited(pixels - 1, bytes), Err(ErrorKind::TooLarge));
    assert_eq!(limited(pixels, bytes - 1), Err(ErrorKind::TooLarge));
    let mut huge = file.clone();
    let size = file.windows(2).position(|pair| pair == [0xFF, 0xC3]).unwrap() + 5;
    huge[size..size + 4].fill(0xFF);
    let unlimited = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };
    assert_eq!(decode_samples(&huge, &unlimited).unwrap_err().kind, ErrorKind::Truncated);
}

/// Whatever is changed, a file is decoded or rejected; what is decoded has the size of its header.
#[test]
fn mutated_files_are_decoded_or_rejected() {
    let mut random = Random(21);
    let (mut sound, mut rejected) = (0, 0);
    for at in 0..20_000 {
        let mut file = Picture::random(&mut random, 2 + (at % 15) as u8).encoded();
        for _ in 0..=random.below(3) {
            let at = random.below(file.len() - 1);
            match random.below(4) {
                0 => file[at] = random.byte(),
                1 => file[at] ^= 1 << random.below(8),
                2 => drop(file.remove(at)),
                _ => file.truncate(at + 8),
            }
        }
        match decoded(&file) {
            Ok(decoded) => {
                let header = header(&file).unwrap();
                assert_eq!(decoded.samples.into_u16().len() as u64, header.num_samples());
                sound += 1;
            }
            Err(_) => rejected += 1,
        }
    }
    assert!(sound > 500 && rejected > 5000, "{sound} sound, {rejected} rejected");
}

/// The compression set of NEMA: what was compressed without loss is what it was before.
#[test]
fn real_files_are_their_originals() {
    for name in ["CT1", "CT2", "MR1", "MR3", "NM1", "XA1"] {
        let Some([coded, original]) = dicom::wg04(name, ["JPLL", "REF"]) else { return };
        let decoded = decoded(&dicom::encapsulated(&coded)).unwrap();
        assert!(decoded.samples.into_u16() == words(dicom::uncompressed(&original)), "{name}");
    }
}
