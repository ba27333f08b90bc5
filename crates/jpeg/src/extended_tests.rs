//! Files of 12 bits that are sound, damaged and odd; the sound ones are libjpeg-turbo's (`scripts/golden/jpeg_golden.py`).

use tilefleet_testing::Random;
use tilefleet_testing::files::words;

use crate::{Error, ErrorKind, Limits, Process, Samples, decode_samples, header};

const ANY: Limits = Limits { max_pixels: 1 << 20, max_decoded_bytes: 1 << 24 };
/// Pixels of every file here.
const SIZE: (u32, u32) = (37, 21);

/// A file and its samples.
type Golden = (&'static [u8], &'static [u8]);

macro_rules! golden {
    ($name:literal) => {
        (
            include_bytes!(concat!("../golden/extended-", $name, ".jpg")).as_slice(),
            include_bytes!(concat!("../golden/extended-", $name, ".raw")).as_slice(),
        )
    };
}

const GREY: Golden = golden!("grey");
const FILES: [Golden; 5] = [GREY, golden!("444"), golden!("422"), golden!("420"), golden!("440")];

fn decoded(file: &[u8]) -> Result<Vec<u16>, Error> {
    let decoded = decode_samples(file, &ANY)?;
    assert_eq!((decoded.precision, decoded.process), (12, Process::Extended));
    assert_eq!((decoded.size.width, decoded.size.height), SIZE);
    let Samples::U16(samples) = decoded.samples else { panic!("samples of 8 bits") };
    assert_eq!(samples.len(), 37 * 21 * decoded.num_components);
    Ok(samples)
}

/// Returns where a marker's second byte is.
fn place(file: &[u8], marker: u8) -> usize {
    file.windows(2).position(|pair| pair == [0xFF, marker]).unwrap() + 1
}

#[test]
fn samples_are_those_of_libjpeg_turbo() {
    for (file, raw) in FILES {
        assert!(decoded(file).unwrap() == words(raw));
    }
}

#[test]
fn a_cut_file_is_truncated() {
    for (file, _) in FILES {
        for len in 0..file.len() - 2 {
            assert_eq!(
                decoded(&file[..len]).unwrap_err().kind,
                ErrorKind::Truncated,
                "{len} of {}",
                file.len()
            );
        }
    }
}

#[test]
fn padding_and_a_missing_end_marker_are_harmless() {
    for (file, _) in FILES {
        let (data, end) = file.split_at(file.len() - 2);
        for padded in [&[data][..], &[data, &[0; 3], end], &[file, &[0]], &[data, &[0]]] {
            assert_eq!(decoded(&padded.concat()), decoded(file));
        }
    }
}

#[test]
fn other_processes_and_precisions_are_refused() {
    let changed = |at: usize, value: u8| {
        let mut file = GREY.0.to_vec();
        let frame = place(&file, 0xC1);
        file[frame + at] = value;
        decode_samples(&file, &ANY).unwrap_err().kind
    };
    assert_eq!(changed(3, 11), ErrorKind::Corrupt);
    let (progressive, baseline) = (changed(0, 0xC2), changed(0, 0xC0));
    assert_eq!((progressive, baseline), (ErrorKind::Unsupported, ErrorKind::Corrupt));
}

#[test]
fn components_of_one_id_are_told_apart() {
    let (file, _) = FILES[3];
    let mut repeated = file.to_vec();
    let (frame, scan) = (place(file, 0xC1), place(file, 0xDA));
    for at in [frame + 12, frame + 15, scan + 6, scan + 8] {
        repeated[at] = 1;
    }
    assert_eq!(decoded(&repeated), decoded(file));
}

#[test]
fn limits_hold_before_memory_is_taken() {
    let mut huge = GREY.0.to_vec();
    let size = place(&huge, 0xC1) + 4;
    huge[size..size + 4].fill(0xFF);
    assert_eq!(decode_samples(&huge, &ANY).unwrap_err().kind, ErrorKind::TooLarge);
    let unlimited = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };
    assert_eq!(decode_samples(&huge, &unlimited).unwrap_err().kind, ErrorKind::Truncated);
}

/// Whatever is changed, a file is decoded or rejected.
#[test]
fn mutated_files_are_decoded_or_rejected() {
    let mut random = Random(8);
    let (mut sound, mut rejected) = (0, 0);
    for case in 0..10_000 {
        let mut file = FILES[case % FILES.len()].0.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(file.len());
            match random.below(3) {
                0 => file[at] = random.byte(),
                1 => file[at] ^= 1 << random.below(8),
                _ => drop(file.remove(at)),
            }
        }
        match decode_samples(&file, &ANY) {
            Ok(decoded) => {
                assert_eq!(decoded.samples.into_u16().len() as u64, header(&file).unwrap().num_samples());
                sound += 1;
            }
            Err(_) => rejected += 1,
        }
    }
    assert!(sound > 500 && rejected > 3000, "{sound} sound, {rejected} rejected");
}
