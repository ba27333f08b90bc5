//! Frames of real DICOM files, against `OpenJPEG`.

use tilefleet_testing::oracle::oracle;
use tilefleet_testing::skipped;

use crate::cases;

/// The first JPEG 2000 frames of the DICOM committee's set and of the files that pydicom ships: reversible ones are
/// equal, irreversible ones within 1.
#[test]
fn frames_of_dicom_files_are_those_of_openjpeg() {
    let Some(data) = skipped::test_data() else { return };
    let Some(output) = oracle("jpeg2000_oracle.py", &[&data.join("medical/dicom/WG04")]) else { return };
    let cases = cases::read(&output);
    let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    assert!(cases.len() >= 18 + 4, "only {names:?}");
    let wrong: Vec<String> = cases.iter().filter_map(cases::Case::difference).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
