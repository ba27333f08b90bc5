//! Damaged objects: an error or other values, never a crash, and no more memory than the limits say.

use std::fs;
use std::path::{Path, PathBuf};

use tilefleet_dicom::{ErrorKind, Step, decode_frame, parse};
use tilefleet_testing::counting::{Counting, peak_bytes};
use tilefleet_testing::files::Scratch;
use tilefleet_testing::oracle::{oracle, pydicom_files};
use tilefleet_testing::{Random, skipped};

use crate::body;
use crate::conformance::LIMITS;
use crate::index::SCRIPT;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Changed copies of each file, each with one to eight changes.
const NUM_COPIES: usize = 15;
/// Sound files of this size take up to 8 MB.
const MAX_PEAK_BYTES: u64 = 64 << 20;
/// Larger files would take the time of all others.
const MAX_FILE_BYTES: usize = 200 << 10;

/// The test files of pydicom, those of highdicom, and those of all syntaxes that the script makes.
fn files(made: &Path) -> Option<Vec<PathBuf>> {
    let highdicom = skipped::test_data()?.join("medical/dicom/highdicom");
    oracle(SCRIPT, &[&"make", &made])?;
    let folders = [pydicom_files()?, highdicom, made.join("made")];
    let list = |folder: &PathBuf| {
        fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut files: Vec<PathBuf> = folders.iter().flat_map(list).filter(|path| path.is_file()).collect();
    files.sort();
    Some(files)
}

/// Changes bytes, numbers, lengths and ends; half of the changes lie in the header.
fn changed(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=random.below(8) {
        let len = bytes.len();
        let front = if random.below(2) == 0 { len } else { len.min(2000) };
        let at = random.below(front);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xFF),
            3 => bytes[at..].iter_mut().take(2).for_each(|byte| *byte = 0),
            4 => bytes.truncate(at.max(1)),
            _ => {
                let from = random.below(len);
                let piece = bytes[from..(from + 16).min(len)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

#[test]
fn damaged_objects_are_errors_and_stay_small() {
    let folder = Scratch::new("dicom-damaged");
    let Some(files) = files(folder.path()) else { return };
    let mut random = Random(15);
    let mut num_objects = 0;
    for path in &files {
        let file = fs::read(path).unwrap();
        if file.len() > MAX_FILE_BYTES {
            continue;
        }
        for _ in 0..NUM_COPIES {
            let bytes = changed(&file, &mut random);
            let peak = peak_bytes(|| body::dicom(&bytes));
            assert!(peak < MAX_PEAK_BYTES, "{peak} bytes for {}", path.display());
            num_objects += 1;
        }
    }
    assert!(num_objects > 6000, "{num_objects}");
}

/// A deflated data set takes the memory of what is in it, not of what its header announces.
#[test]
fn long_values_that_are_not_there_take_no_memory() {
    // A block of RFC 1951 that is stored: whether it is the last, its length, and that inverted.
    let stored = |is_last: bool, bytes: &[u8]| {
        let len = bytes.len() as u16;
        [&[u8::from(is_last)][..], &len.to_le_bytes(), &(!len).to_le_bytes(), bytes].concat()
    };
    // (0009,0010) OB of 112 MiB, of which more are there than the first look takes.
    let element = [0x09, 0, 0x10, 0, b'O', b'B', 0, 0, 0, 0, 0, 7];
    let zeros = vec![0; 60_000];
    let stored = [stored(false, &element), stored(false, &zeros), stored(true, &zeros)].concat();
    let syntax = [&[2, 0, 0x10, 0][..], b"UI", &[22, 0], b"1.2.840.10008.1.2.1.99"].concat();
    let object = [&[0; 128][..], b"DICM", &syntax, &stored].concat();
    let mut kind = None;
    let peak = peak_bytes(|| {
        let Step::Done(parsed) = parse(&object) else { panic!("all of the object is there") };
        kind = parsed.err().map(|error| error.kind);
    });
    assert_eq!(kind, Some(ErrorKind::Truncated));
    assert!(peak < 4 << 20, "{peak} bytes");
}

/// Memory is reserved before a frame is decoded.
#[test]
fn decoding_takes_no_more_memory_than_announced() {
    let folder = Scratch::new("dicom-announced");
    let Some(files) = files(folder.path()) else { return };
    let mut num_frames = 0;
    for path in files {
        let file = fs::read(&path).unwrap();
        let Step::Done(Ok(instance)) = parse(&file) else { continue };
        let Ok(spec) = instance.frame_spec(0) else { continue };
        let Step::Done(Ok(found)) = instance.locate(&file, &[0]) else { continue };
        let range = found[0].ranges[0].start as usize..found[0].ranges[0].end as usize;
        let (fragments, mut decoded) = (&file[range], false);
        let peak = peak_bytes(|| decoded = decode_frame(&spec, fragments, &LIMITS).is_ok());
        let announced = spec.working_bytes(fragments.len() as u64);
        assert!(peak <= announced, "{peak} bytes, and {announced} are announced for {}", path.display());
        num_frames += usize::from(decoded);
    }
    assert!(num_frames > 400, "{num_frames}");
}
