//! Samples as they are stored, compared with those of libjpeg-turbo and pylibjpeg-libjpeg.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use tilefleet_testing::{Random, project, skipped};

use crate::test_lossless::Picture;
use crate::{Decoded, Limits, Process, decode_samples, header};

const ANY: Limits = Limits { max_pixels: 1 << 24, max_decoded_bytes: 1 << 26 };

/// What an oracle says of one file.
struct Expected {
    width: u16,
    height: u16,
    num_components: usize,
    samples: Vec<u16>,
}

/// Runs the script of the oracles; `None`, said aloud, without Python.
fn oracle(command: &str, folders: &[&Path]) -> Option<String> {
    let python = project().join(".venv/bin/python");
    if !python.is_file() {
        skipped::missing("no .venv: run scripts/test-env");
        return None;
    }
    let script = project().join("scripts/oracles/jpeg_samples_oracle.py");
    let run = Command::new(python).arg(script).arg(command).args(folders).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(String::from_utf8(run.stdout).unwrap())
}

/// Returns an empty folder of this process.
fn folder(name: &str) -> PathBuf {
    let folder = env::temp_dir().join(format!("tilefleet-jpeg-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn expected(path: &Path) -> Expected {
    let raw = fs::read(path.with_extension("raw")).unwrap();
    let mut values = raw.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes));
    let mut next = || values.next().unwrap();
    let (width, height, num_components) = (next(), next(), next().into());
    Expected { width, height, num_components, samples: values.collect() }
}

/// Every sample of every file is libjpeg-turbo's: lossless of every precision and predictor, lossy of 8 and 12 bits with
/// every usual subsampling, test files of pydicom and the compression set of NEMA.
#[test]
fn samples_are_those_of_libjpeg_turbo() {
    let folder = folder("made");
    let Some(data) = skipped::test_data() else { return };
    if oracle("make", &[&folder, &data.join("medical/dicom/WG04")]).is_none() {
        return;
    }
    let mut num_files = [0; 4];
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jpg") {
            continue;
        }
        let expected = expected(&path);
        let file = fs::read(&path).unwrap();
        let Decoded { process, size, num_components, precision, samples } =
            decode_samples(&file, &ANY).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!((size.width, size.height), (expected.width.into(), expected.height.into()));
        assert_eq!(num_components, expected.num_components);
        assert!(samples.into_u16() == expected.samples, "{}", path.display());
        let kind = match (process, precision) {
            (Process::Lossless, _) => 0,
            (Process::Extended, 12) => 1,
            _ if path.file_name().unwrap().to_string_lossy().starts_with("lossy") => 2,
            _ => 3,
        };
        num_files[kind] += 1;
    }
    assert!(
        num_files[0] > 200 && num_files[1] > 50 && num_files[2] > 50 && num_files[3] >= 14,
        "{num_files:?}"
    );
    fs::remove_dir_all(folder).unwrap();
}

/// The tests' own encoder writes what two decoders of others read: restart intervals, point transforms, any grouping.
#[test]
fn oracles_read_what_the_encoder_of_the_tests_writes() {
    let folder = folder("encoded");
    let mut random = Random(77);
    for at in 0..300 {
        let picture = Picture::random(&mut random, 2 + (at % 15) as u8);
        let file = picture.encoded();
        assert_eq!(header(&file).unwrap().process, Process::Lossless);
        fs::write(folder.join(format!("{at}.jpg")), file).unwrap();
        let head = [picture.width, picture.height, picture.num_components].map(|value| value as u16);
        let raw: Vec<u8> = head.into_iter().chain(picture.samples).flat_map(u16::to_le_bytes).collect();
        fs::write(folder.join(format!("{at}.raw")), raw).unwrap();
    }
    let checked = oracle("check", &[&folder]);
    assert!(checked.is_none_or(|checked| checked == "300\n"));
    fs::remove_dir_all(folder).unwrap();
}
