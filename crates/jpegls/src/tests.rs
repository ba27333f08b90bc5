//! Files that are sound, damaged and odd.

use tilefleet_testing::files::words;
use tilefleet_testing::{Random, dicom};

use super::preset::Given;
use super::test_encoder::Picture;
use super::{Decoded, Error, ErrorKind, Limits, Samples, decode, header};

const ANY: Limits = Limits { max_pixels: 1 << 24, max_decoded_bytes: 1 << 26 };

fn kind(file: &[u8]) -> ErrorKind {
    decode(file, &ANY).expect_err("a damaged file is rejected").kind
}

/// Decodes a file of one of the pictures here.
fn samples(file: &[u8]) -> Result<Vec<u16>, Error> {
    Ok(decode(file, &ANY)?.samples.into_u16())
}

/// A lossless picture of 12 bits with restart markers.
fn picture() -> Picture {
    let mut random = Random(4);
    let (width, height, num_components) = (23, 11, 3);
    let flat = |at: usize| at % 200 > 120;
    let sample = |at: usize| if flat(at) { 77 } else { (at * 31 + random.below(900)) as u16 % 4096 };
    let samples = (0..width * height * num_components).map(sample).collect();
    Picture {
        width,
        height,
        num_components,
        precision: 12,
        near: 0,
        interleave: 1,
        given: Given::default(),
        restart_rows: 4,
        samples,
    }
}

fn every_interleave() -> [Picture; 3] {
    [0, 1, 2].map(|interleave| Picture { interleave, ..picture() })
}

/// Returns where a marker's second byte is.
fn place(file: &[u8], marker: u8) -> usize {
    file.windows(2).position(|pair| pair == [0xFF, marker]).unwrap() + 1
}

/// Every precision, interleave, number of components, NEAR and parameters, with restart markers and without.
#[test]
fn samples_come_back_within_near() {
    let mut random = Random(9);
    let mut num_lossless = 0;
    for at in 0..4000 {
        let picture = Picture::random(&mut random, 2 + (at % 15) as u8);
        let Decoded { size, num_components, precision, near, samples } =
            decode(&picture.encoded(), &ANY).unwrap_or_else(|error| panic!("{error}: {picture:?}"));
        assert_eq!((size.width as usize, size.height as usize), (picture.width, picture.height));
        assert_eq!(
            (num_components, precision, near),
            (picture.num_components, picture.precision, picture.near)
        );
        assert_eq!(matches!(samples, Samples::U8(_)), precision <= 8);
        let samples = samples.into_u16();
        num_lossless += usize::from(near == 0);
        assert_eq!(samples.len(), picture.samples.len());
        let furthest = samples.iter().zip(&picture.samples).map(|(own, other)| own.abs_diff(*other)).max();
        assert!(furthest <= Some(near.into()), "{furthest:?}: {picture:?}");
    }
    assert!(num_lossless > 1000 && num_lossless < 3000, "{num_lossless}");
}

/// Wherever the data end, also with an end marker behind: no sample is made up.
#[test]
fn a_cut_file_is_truncated() {
    for picture in every_interleave() {
        let file = picture.encoded();
        for len in 0..file.len() - 2 {
            assert_eq!(kind(&file[..len]), ErrorKind::Truncated, "cut at {len} of {}", file.len());
            let forged = [&file[..len], &[0xFF, 0xD9]].concat();
            assert!(decode(&forged, &ANY).is_err(), "cut at {len} of {}, with an end marker", file.len());
        }
    }
}

/// NEMA's `MR1_JLSL` has a zero byte before its end marker; fragments of DICOM have an even length.
#[test]
fn padding_and_a_missing_end_marker_are_harmless() {
    for picture in every_interleave() {
        let file = picture.encoded();
        let (data, end) = file.split_at(file.len() - 2);
        for padded in [
            &[data][..],
            &[data, &[0], end],
            &[data, &[0; 12], end],
            &[data, &[0xFF, 0xFF], end],
            &[&file, &[0]],
            &[data, &[0]],
            &[data, &[0xFF]],
        ] {
            assert_eq!(samples(&padded.concat()).as_ref(), Ok(&picture.samples), "{:?}", &padded[1..]);
        }
        assert_eq!(kind(&[data, &[0x5A, 0x25], end].concat()), ErrorKind::Corrupt);
    }
}

#[test]
fn restart_markers_come_in_order() {
    let file = picture().encoded();
    let mut swapped = file.clone();
    swapped[place(&file, 0xD1)] = 0xD3;
    assert_eq!(kind(&swapped), ErrorKind::Corrupt);
    let at = place(&file, 0xD1);
    let filled = [&file[..at], &[0xFF, 0xFF], &file[at..]].concat();
    assert_eq!(samples(&filled).unwrap(), picture().samples);
    // An interval of four bytes is the same.
    let interval = place(&file, 0xDD);
    let wide = [&file[..=interval], &[0, 6, 0, 0], &file[interval + 3..]].concat();
    assert_eq!(samples(&wide).unwrap(), picture().samples);
}

/// In a segment of parameters, zeros mean the standard's own (T.87, C.2.4.1.1).
#[test]
fn parameters_that_are_zero_are_the_standards() {
    let picture = Picture { given: Given { reset: 5, ..Given::default() }, ..picture() };
    let file = picture.encoded();
    let values = place(&file, 0xF8) + 4;
    let [maximum, first] = [0, 2].map(|at| u16::from_be_bytes([file[values + at], file[values + at + 1]]));
    assert_eq!((maximum, first), (4095, 18));
    let mut zeros = file.clone();
    zeros[values..values + 8].fill(0);
    assert_eq!(samples(&zeros).unwrap(), picture.samples);
    zeros[values + 9] = 0;
    assert!(samples(&zeros) != Ok(picture.samples), "statistics are halved elsewhere");
}

#[test]
fn headers_that_contradict_themselves_are_corrupt() {
    let file = picture().encoded();
    let changed = |marker: u8, at: usize, value: u8| {
        let mut file = file.clone();
        let marker = place(&file, marker);
        file[marker + at] = value;
        kind(&file)
    };
    let (unknown_id, repeated_id, no_interleave) =
        (changed(0xDA, 4, 9), changed(0xDA, 6, 1), changed(0xDA, 11, 0));
    assert_eq!([unknown_id, repeated_id, no_interleave], [ErrorKind::Corrupt; 3]);
    assert_eq!([changed(0xF7, 3, 1), changed(0xF7, 3, 17), changed(0xF7, 8, 2)], [ErrorKind::Corrupt; 3]);
    assert_eq!(changed(0xDA, 11, 3), ErrorKind::Corrupt);
}

#[test]
fn what_is_not_decoded_is_refused_by_name() {
    let file = picture().encoded();
    let changed = |marker: u8, at: usize, value: u8| {
        let mut file = file.clone();
        let marker = place(&file, marker);
        file[marker + at] = value;
        kind(&file)
    };
    let (table, transform, subsampled) = (changed(0xDA, 5, 1), changed(0xDA, 12, 1), changed(0xF7, 10, 0x21));
    assert_eq!([table, transform, subsampled], [ErrorKind::Unsupported; 3]);
    let (no_height, baseline) = (changed(0xF7, 5, 0), changed(0xF7, 0, 0xC0));
    assert_eq!([no_height, baseline], [ErrorKind::Unsupported; 2]);
    let scan = place(&file, 0xDA) - 1;
    let with = |segment: &[u8]| kind(&[&file[..scan], segment, &file[scan..]].concat());
    let mapping_table = [0xFF, 0xF8, 0, 5, 2, 1, 1];
    let colours = [0xFF, 0xE8, 0, 7, b'm', b'r', b'f', b'x', 1];
    assert_eq!([with(&mapping_table), with(&colours)], [ErrorKind::Unsupported; 2]);
    assert_eq!(with(&[0xFF, 0xF8, 0, 4, 1, 1]), ErrorKind::Corrupt);
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let file = picture().encoded();
    let [pixels, bytes] = [23 * 11, 23 * 11 * 6];
    let limited = |max_pixels, max_decoded_bytes| {
        decode(&file, &Limits { max_pixels, max_decoded_bytes }).map_err(|error| error.kind)
    };
    assert!(limited(pixels, bytes).is_ok());
    assert_eq!(limited(pixels - 1, bytes), Err(ErrorKind::TooLarge));
    assert_eq!(limited(pixels, bytes - 1), Err(ErrorKind::TooLarge));
    let mut high = file.clone();
    let size = place(&file, 0xF7) + 4;
    high[size..size + 2].fill(0xFF);
    assert_eq!(kind(&high), ErrorKind::Truncated);
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
        match decode(&file, &ANY) {
            Ok(decoded) => {
                let samples = decoded.samples.into_u16();
                assert_eq!(samples.len() as u64, header(&file).unwrap().num_samples());
                assert!(samples.iter().all(|&sample| u32::from(sample) >> decoded.precision == 0));
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
        let Some([lossless, near, original]) = dicom::wg04(name, ["JLSL", "JLSN", "REF"]) else { return };
        let expected = words(dicom::uncompressed(&original));
        assert!(samples(&dicom::encapsulated(&lossless)).unwrap() == expected, "{name}");
        let near = decode(&dicom::encapsulated(&near), &ANY).unwrap();
        let (limit, samples) = (near.near, near.samples.into_u16());
        let furthest = samples.iter().zip(&expected).map(|(own, other)| own.abs_diff(*other));
        assert!(limit > 0 && furthest.max() <= Some(limit.into()), "{name}");
    }
}
