//! Times lossless files against pylibjpeg-libjpeg and libjpeg-turbo, one thread each, one after the other:
//! `cargo run --release -p tilefleet-jpeg --example lossless_peers`.
//!
//! The files have 16 bits, predictor 1 as DICOM's 1.2.840.10008.1.2.4.70, and noise of several strengths.

use tilefleet_jpeg::{Limits, decode_samples};
use tilefleet_testing::pace;

fn main() {
    let limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };
    pace::beside("jpeg_samples_oracle.py", ["pylibjpeg", "libjpeg-turbo"], |file| {
        decode_samples(file, &limits).expect("the file is sound").samples
    });
}
