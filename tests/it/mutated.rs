//! Mutated real files: whatever is in a file, it is read or rejected, without a crash and in bounded time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "../../fuzz/bodies.rs"]
mod bodies;
use tilefleet_testing::Random;
use tilefleet_testing::oracle::pydicom_files;

use crate::support;

/// Mutations of each file.
const NUM_MUTATIONS: usize = 300;
/// Larger files say nothing new.
const MAX_BYTES: usize = 80_000;

/// Changes some bytes, most of them where directories tend to be, or cuts the file.
fn mutated(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=random.below(4) {
        let near = if random.below(3) == 0 { bytes.len() } else { bytes.len().min(700) };
        let from_end = random.below(3) == 0;
        let at = random.below(near);
        let at = if from_end { bytes.len() - 1 - at } else { at };
        match random.below(5) {
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
            3 => {
                let end = bytes.len().min(at + 4);
                bytes[at..end].fill(if random.below(2) == 0 { 0xFF } else { 0 });
            }
            _ if bytes.len() > 100 && random.below(4) == 0 => {
                bytes.truncate(bytes.len() - random.below(90) - 1);
            }
            _ => bytes[at] = bytes[at].wrapping_add(1),
        }
    }
    bytes
}

/// Reads so many mutations of a file.
pub fn torment(file: &[u8], num_mutations: usize, random: &mut Random) {
    for _ in 0..num_mutations {
        let bytes = mutated(file, random);
        bodies::header(&bytes);
        bodies::blocks(&bytes);
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension.to_ascii_lowercase().to_string_lossy().starts_with("tif"))
        {
            found.push(path);
        }
    }
}

/// Headers and blocks of mutated files, those of the test data that are small.
#[test]
fn mutated_scenes_are_read_or_rejected() {
    let Some(data) = support::test_data() else { return };
    let mut paths = Vec::new();
    files(&data.join("satellite"), &mut paths);
    paths.sort();
    let mut random = Random(11);
    let mut num_files = 0;
    for path in paths {
        let file = fs::read(&path).unwrap();
        if file.len() > MAX_BYTES {
            continue;
        }
        num_files += 1;
        torment(&file, NUM_MUTATIONS, &mut random);
    }
    assert!(num_files > 50, "{num_files} files");
}

/// Images of the kinds that few programs write, and those of the test data that failed before.
#[test]
fn mutated_images_are_read_or_rejected() {
    let (Some(python), Some(data)) = (support::python(), support::test_data()) else { return };
    let made = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/oracles/jpeg_writer.py");
    support::stdout_of(Command::new(python).arg(script).arg(made.path()).arg("21"));
    let folders = [made.path().to_owned(), data.join("faults/jpeg"), data.join("faults/png")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut random = Random(13);
    for path in &paths {
        let file = fs::read(path).unwrap();
        for _ in 0..NUM_MUTATIONS / 4 {
            let bytes = mutated(&file, &mut random);
            bodies::image(&bytes);
            bodies::jpeg(&bytes);
            bodies::jpeg_samples(&bytes);
            bodies::jpegls(&bytes);
        }
    }
    assert!(paths.len() > 100, "{} files", paths.len());
}

/// Streams of JPEG 2000 and HTJ2K with every option of two encoders.
#[test]
fn mutated_streams_are_decoded_or_rejected() {
    // Streams with their samples, which are passed over.
    let golden = include_bytes!("../../crates/jpeg2000/golden/streams.bin");
    let starts = golden.windows(4).enumerate().filter(|(_, bytes)| *bytes == [0xFF, 0x4F, 0xFF, 0x51]);
    let mut random = Random(17);
    let mut num_streams = 0;
    for (start, _) in starts {
        let end = golden[start..].windows(2).position(|pair| pair == [0xFF, 0xD9]).expect("a stream ends");
        let stream = &golden[start..start + end + 2];
        num_streams += 1;
        for _ in 0..NUM_MUTATIONS / 10 {
            bodies::jpeg2000(&mutated(stream, &mut random));
        }
    }
    assert!(num_streams > 80, "{num_streams} streams");
}

/// Small objects of the test data and of pydicom's own tests; `crates/dicom` has more of them.
#[test]
fn mutated_objects_are_read_or_rejected() {
    let (Some(pydicom), Some(data)) = (pydicom_files(), support::test_data()) else { return };
    let folders = [pydicom, data.join("medical/dicom/highdicom")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let mut random = Random(19);
    let mut num_files = 0;
    for path in paths {
        let file = fs::read(&path).unwrap();
        if file.is_empty() || file.len() > MAX_BYTES {
            continue;
        }
        num_files += 1;
        for _ in 0..NUM_MUTATIONS / 10 {
            bodies::dicom(&mutated(&file, &mut random));
        }
    }
    assert!(num_files > 60, "{num_files} files");
}

/// Frames whose header says anything about shape, bits, tables and windows.
#[test]
fn values_of_any_header_are_shown_or_rejected() {
    let mut random = Random(23);
    for _ in 0..100 * NUM_MUTATIONS {
        let len = 20 + random.below(600);
        let bytes: Vec<u8> = (0..len).map(|_| random.byte()).collect();
        bodies::dicom_pixels(&bytes);
    }
}
