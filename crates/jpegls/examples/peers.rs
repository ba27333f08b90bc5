//! Times JPEG-LS files against CharLS (in pyjpegls) and pylibjpeg-libjpeg, one thread each, one after the other:
//! `cargo run --release -p tilefleet-jpegls --example peers`.

use tilefleet_jpegls::{Limits, decode};
use tilefleet_testing::pace;

fn main() {
    let limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };
    pace::beside("jpegls_oracle.py", ["CharLS", "pylibjpeg"], |file| {
        decode(file, &limits).expect("the file is sound").samples
    });
}
