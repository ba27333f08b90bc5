//! Samples of 2 to 16 bits, and how many of them are allowed.

use crate::error::{Result, too_large};
use crate::geometry::Size;

/// How much decoding may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of pixels.
    pub max_pixels: u64,
    /// Maximum number of bytes of the decoded samples.
    ///
    /// JPEG 2000 also counts what samples are made of, coefficients and tables: a stream can ask for more of these than of
    /// samples.
    pub max_decoded_bytes: u64,
}

impl Limits {
    /// Refuses what would be larger.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge).
    pub fn check(&self, size: Size, num_components: usize, precision: u8) -> Result<()> {
        let num_samples = size.num_pixels() * num_components as u64;
        let num_bytes = num_samples * if precision > 8 { 2 } else { 1 };
        if size.num_pixels() <= self.max_pixels && num_bytes <= self.max_decoded_bytes {
            return Ok(());
        }
        let Size { width, height } = size;
        Err(too_large(format!("{width}×{height} pixels, {num_bytes} bytes decoded, are more than allowed")))
    }
}

/// Samples of one image, below 2 to the power of its precision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// Of up to 8 bits.
    U8(Vec<u8>),
    /// Of 9 to 16 bits.
    U16(Vec<u16>),
}

impl Samples {
    /// Returns them with 16 bits each.
    #[must_use]
    pub fn into_u16(self) -> Vec<u16> {
        match self {
            Self::U8(samples) => samples.into_iter().map(u16::from).collect(),
            Self::U16(samples) => samples,
        }
    }
}

/// A sample as it is given out.
pub trait Sample: Copy + Default + Into<u32> {
    /// Takes a value that is not larger than a sample.
    fn of(value: u32) -> Self;
}

impl Sample for u8 {
    fn of(value: u32) -> Self {
        value as u8
    }
}

impl Sample for u16 {
    fn of(value: u32) -> Self {
        value as u16
    }
}
