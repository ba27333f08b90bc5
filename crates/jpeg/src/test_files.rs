//! Files that tests of JPEG make, here and in the package.

use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};
use tilefleet_testing::Random;

/// Pixels per row of every file here.
pub(crate) const WIDTH: u32 = 61;
/// Rows of every file here.
pub(crate) const HEIGHT: u32 = 47;

/// RGB samples, pixel by pixel.
pub(crate) fn picture() -> Vec<u8> {
    let mut random = Random(1);
    let value = |at: u32, random: &mut Random| (at * 3 % 200) as u8 + random.below(50) as u8;
    (0..WIDTH * HEIGHT * 3).map(|at| value(at, &mut random)).collect()
}

/// Encodes such samples at quality 85.
pub(crate) fn encoder(pixels: &[u8]) -> Encoder<'_> {
    Encoder::new(pixels, WIDTH as usize, HEIGHT as usize, PixelFormat::Rgb).quality(85)
}

/// A baseline file, 4:2:0.
pub(crate) fn baseline() -> Vec<u8> {
    encoder(&picture()).subsampling(Subsampling::S420).encode().unwrap()
}

/// A baseline file with a restart marker after every second block.
pub(crate) fn with_restarts() -> Vec<u8> {
    encoder(&picture()).subsampling(Subsampling::S422).restart_blocks(2).encode().unwrap()
}

/// A progressive file, 4:4:4.
pub(crate) fn progressive() -> Vec<u8> {
    encoder(&picture()).subsampling(Subsampling::S444).progressive(true).encode().unwrap()
}

/// Motion JPEG: without the Huffman tables, which are the standard ones.
pub(crate) fn motion() -> Vec<u8> {
    let mut motion = baseline();
    while let Some(at) = motion.windows(2).position(|pair| pair == [0xFF, 0xC4]) {
        let end = at + 2 + usize::from(u16::from_be_bytes([motion[at + 2], motion[at + 3]]));
        motion.drain(at..end);
    }
    motion
}
