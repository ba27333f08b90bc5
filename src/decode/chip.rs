//! The decoded pixels of one tile.

use std::fmt;

use crate::geometry::Size;

/// The decoded pixels of one tile, orientation applied, samples as stored (never rescaled).
#[derive(Clone, Debug, PartialEq)]
pub struct Chip {
    /// Width and height, in pixels.
    pub size: Size,
    /// What the bands mean.
    pub bands: Bands,
    /// `[height, width, bands]`, row-major.
    pub samples: Samples,
}

/// What the bands of a chip mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bands {
    /// One band, black is 0.
    Grey,
    /// Grey and alpha (not premultiplied).
    GreyAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha (not premultiplied).
    Rgba,
    /// So many bands without a display meaning.
    Many(u16),
}

impl Bands {
    /// Returns the number of samples a pixel.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
            Self::Many(count) => usize::from(count),
        }
    }
}

impl fmt::Display for Bands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grey => f.write_str("grey"),
            Self::GreyAlpha => f.write_str("grey+alpha"),
            Self::Rgb => f.write_str("rgb"),
            Self::Rgba => f.write_str("rgba"),
            Self::Many(count) => write!(f, "{count} bands"),
        }
    }
}

/// The samples of a chip in their native type.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Unsigned 8-bit.
    U8(Vec<u8>),
    /// Unsigned 16-bit.
    U16(Vec<u16>),
    /// 32-bit float.
    F32(Vec<f32>),
}

impl Samples {
    /// Returns the name of their type, such as `uint16`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "uint8",
            Self::U16(_) => "uint16",
            Self::F32(_) => "float32",
        }
    }

    /// Returns the size in memory.
    #[must_use]
    pub fn num_bytes(&self) -> usize {
        match self {
            Self::U8(samples) => samples.len(),
            Self::U16(samples) => 2 * samples.len(),
            Self::F32(samples) => 4 * samples.len(),
        }
    }
}
