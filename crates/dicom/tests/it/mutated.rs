//! Damaged objects: an error or other values, never a crash, and no more memory than the limits say.

use std::fs;
use std::path::{Path, PathBuf};

use tilefleet_dicom::{Step, decode_frame, parse};
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
