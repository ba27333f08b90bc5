//! What tests and benches share. No product code depends on it.

pub mod dicom;
pub mod http;
mod random;

pub use random::Random;
