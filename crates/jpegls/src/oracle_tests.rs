//! Samples compared with those of CharLS and pylibjpeg-libjpeg.

use std::fs;

use tilefleet_testing::files::{Scratch, words};
use tilefleet_testing::oracle::oracle;
use tilefleet_testing::{Random, skipped};

use super::test_encoder::Picture;
use super::{Limits, decode};

/// The script of the oracles.
const SCRIPT: &str = "jpegls_oracle.py";
const ANY: Limits = Limits { max_pixels: 1 << 24, max_decoded_bytes: 1 << 26 };

/// Every sample of every file is CharLS's: each precision, interleave mode and NEAR, test files of pydicom and the compression
/// set of NEMA.
#[test]
fn samples_are_those_of_charls() {
    let folder = Scratch::new("jpegls-made");
    let Some(data) = skipped::test_data() else { return };
    if oracle(SCRIPT, &[&"make", &folder.path(), &data.join("medical/dicom/WG04")]).is_none() {
        return;
    }
    let mut num_files = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jls") {
            continue;
        }
        let raw = words(&fs::read(path.with_extension("raw")).unwrap());
        let decoded = decode(&fs::read(&path).unwrap(), &ANY);
        let decoded = decoded.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let size = [decoded.size.width, decoded.size.height, decoded.num_components as u32];
        assert!(size.into_iter().eq(raw[..3].iter().map(|&side| side.into())));
        assert!(decoded.samples.into_u16() == raw[3..], "{}", path.display());
        num_files += 1;
    }
    assert!(num_files > 370, "{num_files}");
}

/// Two decoders of others read what the tests' own encoder writes: restart intervals, and other parameters.
#[test]
fn oracles_read_what_the_encoder_of_the_tests_writes() {
    let folder = Scratch::new("jpegls-encoded");
    let mut random = Random(77);
    for at in 0..300 {
        let picture = Picture::random(&mut random, 2 + (at % 15) as u8);
        let file = picture.encoded();
        let samples = decode(&file, &ANY).unwrap().samples.into_u16();
        fs::write(folder.path().join(format!("{at}.jls")), file).unwrap();
        let head = [picture.width, picture.height, picture.num_components].map(|value| value as u16);
        let raw: Vec<u8> = head.into_iter().chain(samples).flat_map(u16::to_le_bytes).collect();
        fs::write(folder.path().join(format!("{at}.raw")), raw).unwrap();
    }
    let checked = oracle(SCRIPT, &[&"check", &folder.path()]);
    assert!(checked.is_none_or(|checked| checked == b"300\n"));
}
