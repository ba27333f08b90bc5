//! Samples compared with those of CharLS and pylibjpeg-libjpeg.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tilefleet_testing::{Random, project, skipped};

use super::test_encoder::Picture;
use super::{Limits, decode};

const ANY: Limits = Limits { max_pixels: 1 << 24, max_decoded_bytes: 1 << 26 };

/// Runs the script of the oracles; `None`, said aloud, without Python.
fn oracle(command: &str, folders: &[&Path]) -> Option<String> {
    let python = project().join(".venv/bin/python");
    if !python.is_file() {
        skipped::missing("no .venv: run scripts/test-env");
        return None;
    }
    let script = project().join("scripts/oracles/jpegls_oracle.py");
    let run = Command::new(python).arg(script).arg(command).args(folders).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(String::from_utf8(run.stdout).unwrap())
}

/// Returns an empty folder of this process.
fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("tilefleet-jpegls-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Every sample of every file is CharLS's: each precision, interleave mode and NEAR, test files of pydicom and the compression
/// set of NEMA.
#[test]
fn samples_are_those_of_charls() {
    let folder = folder("made");
    let Some(data) = skipped::test_data() else { return };
    if oracle("make", &[&folder, &data.join("medical/dicom/WG04")]).is_none() {
        return;
    }
    let mut num_files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jls") {
            continue;
        }
        let raw = fs::read(path.with_extension("raw")).unwrap();
        let raw: Vec<u16> = raw.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes)).collect();
        let decoded = decode(&fs::read(&path).unwrap(), &ANY);
        let decoded = decoded.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let size = [decoded.size.width, decoded.size.height, decoded.num_components as u32];
        assert!(size.into_iter().eq(raw[..3].iter().map(|&side| side.into())));
        assert!(decoded.samples.into_u16() == raw[3..], "{}", path.display());
        num_files += 1;
    }
    assert!(num_files > 370, "{num_files}");
    fs::remove_dir_all(folder).unwrap();
}

/// Two decoders of others read what the tests' own encoder writes: restart intervals, and other parameters.
#[test]
fn oracles_read_what_the_encoder_of_the_tests_writes() {
    let folder = folder("encoded");
    let mut random = Random(77);
    for at in 0..300 {
        let picture = Picture::random(&mut random, 2 + (at % 15) as u8);
        let file = picture.encoded();
        let samples = decode(&file, &ANY).unwrap().samples.into_u16();
        fs::write(folder.join(format!("{at}.jls")), file).unwrap();
        let head = [picture.width, picture.height, picture.num_components].map(|value| value as u16);
        let raw: Vec<u8> = head.into_iter().chain(samples).flat_map(u16::to_le_bytes).collect();
        fs::write(folder.join(format!("{at}.raw")), raw).unwrap();
    }
    let checked = oracle("check", &[&folder]);
    assert!(checked.is_none_or(|checked| checked == "300\n"));
    fs::remove_dir_all(folder).unwrap();
}
