//! Samples as they are stored, compared with those of libjpeg-turbo and pylibjpeg-libjpeg.

use std::fs;
use std::path::Path;

use tilefleet_testing::files::{Scratch, words};
use tilefleet_testing::oracle::oracle;
use tilefleet_testing::{Random, skipped};

use crate::test_lossless::Picture;
use crate::{Decoded, Limits, Process, decode_samples, header};

/// The script of the oracles.
const SCRIPT: &str = "jpeg_samples_oracle.py";
const ANY: Limits = Limits { max_pixels: 1 << 24, max_decoded_bytes: 1 << 26 };

/// What an oracle says of one file.
struct Expected {
    width: u16,
    height: u16,
    num_components: usize,
    samples: Vec<u16>,
}

fn expected(path: &Path) -> Expected {
    let raw = fs::read(path.with_extension("raw")).unwrap();
    let mut values = words(&raw).into_iter();
    let mut next = || values.next().unwrap();
    let (width, height, num_components) = (next(), next(), next().into());
    Expected { width, height, num_components, samples: values.collect() }
}

/// Every sample of every file is libjpeg-turbo's: lossless of every precision and predictor, lossy of 8 and 12 bits with
/// every usual subsampling, test files of pydicom and the compression set of NEMA.
#[test]
fn samples_are_those_of_libjpeg_turbo() {
    let folder = Scratch::new("jpeg-made");
    let Some(data) = skipped::test_data() else { return };
    if oracle(SCRIPT, &[&"make", &folder.path(), &data.join("medical/dicom/WG04")]).is_none() {
        return;
    }
    let mut num_files = [0; 4];
    for entry in fs::read_dir(folder.path()).unwrap() {
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
}

/// The tests' own encoder writes what two decoders of others read: restart intervals, point transforms, any grouping.
#[test]
fn oracles_read_what_the_encoder_of_the_tests_writes() {
    let folder = Scratch::new("jpeg-encoded");
    let mut random = Random(77);
    for at in 0..300 {
        let picture = Picture::random(&mut random, 2 + (at % 15) as u8);
        let file = picture.encoded();
        assert_eq!(header(&file).unwrap().process, Process::Lossless);
        fs::write(folder.path().join(format!("{at}.jpg")), file).unwrap();
        let head = [picture.width, picture.height, picture.num_components].map(|value| value as u16);
        let raw: Vec<u8> = head.into_iter().chain(picture.samples).flat_map(u16::to_le_bytes).collect();
        fs::write(folder.path().join(format!("{at}.raw")), raw).unwrap();
    }
    let checked = oracle(SCRIPT, &[&"check", &folder.path()]);
    assert!(checked.is_none_or(|checked| checked == b"300\n"));
}
