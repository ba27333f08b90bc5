//! What tests and benches share. No product code depends on it.

use std::path::PathBuf;

pub mod counting;
pub mod dicom;
pub mod files;
pub mod http;
pub mod oracle;
pub mod pace;
mod random;
pub mod skipped;

pub use random::Random;

/// Returns the folder of the project.
pub fn project() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
