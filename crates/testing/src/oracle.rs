//! What tests ask of other people's decoders: a script in `scripts/oracles` makes files and compares samples.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{project, skipped};

/// Returns the Python that `scripts/test-env` set up; `None`, said aloud, without it.
pub fn python() -> Option<PathBuf> {
    let python = project().join(".venv/bin/python");
    if python.is_file() {
        return Some(python);
    }
    skipped::missing("no .venv: run scripts/test-env");
    None
}

/// Runs a script in `scripts/oracles` and returns what it printed; `None`, said aloud, without Python.
///
/// # Panics
///
/// If the script fails; the message is what it said.
pub fn oracle(script: &str, arguments: &[&dyn AsRef<OsStr>]) -> Option<Vec<u8>> {
    let script = project().join("scripts/oracles").join(script);
    let run = Command::new(python()?).arg(script).args(arguments).output().expect("Python starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(run.stdout)
}

/// The test files that pydicom ships; `None`, said aloud, without Python.
///
/// # Panics
///
/// If there is a Python without pydicom.
pub fn pydicom_files() -> Option<PathBuf> {
    let (python, find) = (python()?, "import pydicom.data; print(pydicom.data.DATA_ROOT)");
    let run = Command::new(python).args(["-c", find]).output().expect("Python starts");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Some(Path::new(String::from_utf8_lossy(&run.stdout).trim_end()).join("test_files"))
}
