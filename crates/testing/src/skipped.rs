//! What tests need from outside. What a test could not do is printed, and listed for the end of the run.
//!
//! The harness shows nothing of a test that passes. So each line also goes into the file that `TILEFLEET_SKIPPED`
//! names; `scripts/list-skipped`, which `make test` runs the tests with, prints and counts them. With
//! `TILEFLEET_REQUIRE_ALL=1`, as in CI, a test fails for want of anything that can be installed.

use std::env;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::thread;

use crate::project;

/// Returns the folder of real test data: `TILEFLEET_TEST_DATA`, else `../shared/data`.
pub fn test_data() -> Option<PathBuf> {
    let folder = env::var_os("TILEFLEET_TEST_DATA").map_or_else(|| "../shared/data".into(), PathBuf::from);
    // Paths are relative to the project, wherever the tests run; what is printed of them has no `..`.
    let folder = project().join(folder);
    let found = folder.canonicalize().ok();
    if found.is_none() {
        missing(&format!("no test data in {}", folder.display()));
    }
    found
}

/// Reports something that the test needs and that can be installed.
///
/// # Panics
///
/// If `TILEFLEET_REQUIRE_ALL` is 1.
pub fn missing(what: &str) {
    assert!(env::var_os("TILEFLEET_REQUIRE_ALL").is_none_or(|value| value != "1"), "missing: {what}");
    report("SKIPPED", what);
}

/// Reports what this machine cannot do, whatever is installed: CI lists it and passes.
pub fn not_on_this_machine(what: &str) {
    report("NOT ON THIS MACHINE", what);
}

fn report(heading: &str, what: &str) {
    eprintln!("{heading}: {what}");
    let Some(list) = env::var_os("TILEFLEET_SKIPPED") else { return };
    // The harness names the thread after the test; tests that share what is missing are counted one by one.
    let line = format!("{heading}: {}: {what}\n", thread::current().name().unwrap_or("a thread of a test"));
    let mut list = OpenOptions::new().create(true).append(true).open(list).expect("the list can be opened");
    // One write per line, so that lines of two processes do not mix.
    list.write_all(line.as_bytes()).expect("the list can be written to");
}
