//! What tests need from outside; the package's `tests/it/support/skipped.rs` says how that is reported.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;

use crate::cases;
use crate::golden::STREAMS;

/// The project, whose folder has `.venv` and, beside it, the test data.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the folder of real test data.
pub(crate) fn test_data() -> Option<PathBuf> {
    let folder = env::var_os("TILEFLEET_TEST_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from);
    let found = project().join(folder).canonicalize().ok();
    if found.is_none() {
        missing("no test data");
    }
    found
}

/// Returns the Python with the oracles, and the folder of their scripts.
pub(crate) fn oracles() -> Option<(PathBuf, PathBuf)> {
    let python = project().join(".venv/bin/python");
    if !python.exists() {
        missing("no .venv with the oracles");
        return None;
    }
    Some((python, project().join("scripts/oracles")))
}

/// Reports something that a test needs and that can be installed.
///
/// # Panics
///
/// If `TILEFLEET_REQUIRE_ALL` is 1.
pub(crate) fn missing(what: &str) {
    assert!(env::var_os("TILEFLEET_REQUIRE_ALL").is_none_or(|value| value != "1"), "missing: {what}");
    eprintln!("SKIPPED: {what}");
    let Some(list) = env::var_os("TILEFLEET_SKIPPED") else { return };
    let line = format!("SKIPPED: {}: {what}\n", thread::current().name().unwrap_or("a thread of a test"));
    let mut list = OpenOptions::new().create(true).append(true).open(list).expect("the list can be opened");
    list.write_all(line.as_bytes()).expect("the list can be written to");
}

/// Returns a golden stream by its name.
pub(crate) fn stream(name: &str) -> Vec<u8> {
    let cases = cases::read(STREAMS);
    cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}")).stream.to_vec()
}
