//! Frames of real DICOM files, against `OpenJPEG`.

use std::process::Command;

use crate::{cases, support};

/// The first JPEG 2000 frames of the DICOM committee's set and of the files that pydicom ships: reversible ones are
/// equal, irreversible ones within 1.
#[test]
fn frames_of_dicom_files_are_those_of_openjpeg() {
    let (Some(data), Some((python, scripts))) = (support::test_data(), support::oracles()) else { return };
    let output = Command::new(python)
        .arg(scripts.join("jpeg2000_oracle.py"))
        .arg(data.join("medical/dicom/WG04"))
        .output()
        .unwrap();
    if !output.status.success() {
        return support::missing(&format!("the oracle: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let cases = cases::read(&output.stdout);
    let names: Vec<&str> = cases.iter().map(|case| case.name).collect();
    assert!(cases.len() >= 18 + 4, "only {names:?}");
    let wrong: Vec<String> = cases.iter().filter_map(cases::Case::difference).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
