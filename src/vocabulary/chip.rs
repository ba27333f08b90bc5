//! The decoded pixels of one tile.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::vocabulary::geometry::Size;
use crate::vocabulary::sample::SampleKind;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bands {
    /// One band, black is 0.
    Grey,
    /// Grey and alpha (not premultiplied).
    GreyAlpha,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, alpha (not premultiplied).
    Rgba,
    /// A number of bands without a display meaning.
    Many(u16),
}

impl Bands {
    /// Returns the number of samples per pixel.
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
    /// Signed 8-bit.
    I8(Vec<i8>),
    /// Unsigned 16-bit.
    U16(Vec<u16>),
    /// Signed 16-bit.
    I16(Vec<i16>),
    /// Unsigned 32-bit.
    U32(Vec<u32>),
    /// Signed 32-bit.
    I32(Vec<i32>),
    /// Unsigned 64-bit.
    U64(Vec<u64>),
    /// Signed 64-bit.
    I64(Vec<i64>),
    /// 32-bit float.
    F32(Vec<f32>),
    /// 64-bit float.
    F64(Vec<f64>),
}

/// Evaluates an expression with the vector of whatever type.
#[macro_export]
macro_rules! with_samples {
    ($samples:expr, $vector:ident => $value:expr) => {
        match $samples {
            $crate::vocabulary::chip::Samples::U8($vector) => $value,
            $crate::vocabulary::chip::Samples::I8($vector) => $value,
            $crate::vocabulary::chip::Samples::U16($vector) => $value,
            $crate::vocabulary::chip::Samples::I16($vector) => $value,
            $crate::vocabulary::chip::Samples::U32($vector) => $value,
            $crate::vocabulary::chip::Samples::I32($vector) => $value,
            $crate::vocabulary::chip::Samples::U64($vector) => $value,
            $crate::vocabulary::chip::Samples::I64($vector) => $value,
            $crate::vocabulary::chip::Samples::F32($vector) => $value,
            $crate::vocabulary::chip::Samples::F64($vector) => $value,
        }
    };
}

/// Makes samples of the same type from an expression with the vector.
#[macro_export]
macro_rules! map_samples {
    ($samples:expr, $vector:ident => $mapped:expr) => {
        match $samples {
            $crate::vocabulary::chip::Samples::U8($vector) => $crate::vocabulary::chip::Samples::U8($mapped),
            $crate::vocabulary::chip::Samples::I8($vector) => $crate::vocabulary::chip::Samples::I8($mapped),
            $crate::vocabulary::chip::Samples::U16($vector) => {
                $crate::vocabulary::chip::Samples::U16($mapped)
            }
            $crate::vocabulary::chip::Samples::I16($vector) => {
                $crate::vocabulary::chip::Samples::I16($mapped)
            }
            $crate::vocabulary::chip::Samples::U32($vector) => {
                $crate::vocabulary::chip::Samples::U32($mapped)
            }
            $crate::vocabulary::chip::Samples::I32($vector) => {
                $crate::vocabulary::chip::Samples::I32($mapped)
            }
            $crate::vocabulary::chip::Samples::U64($vector) => {
                $crate::vocabulary::chip::Samples::U64($mapped)
            }
            $crate::vocabulary::chip::Samples::I64($vector) => {
                $crate::vocabulary::chip::Samples::I64($mapped)
            }
            $crate::vocabulary::chip::Samples::F32($vector) => {
                $crate::vocabulary::chip::Samples::F32($mapped)
            }
            $crate::vocabulary::chip::Samples::F64($vector) => {
                $crate::vocabulary::chip::Samples::F64($mapped)
            }
        }
    };
}

pub use {map_samples, with_samples};

impl Samples {
    /// Returns `len` zeros.
    #[must_use]
    pub fn zeroed(kind: SampleKind, len: usize) -> Self {
        match kind {
            SampleKind::U8 => Self::U8(vec![0; len]),
            SampleKind::I8 => Self::I8(vec![0; len]),
            SampleKind::U16 => Self::U16(vec![0; len]),
            SampleKind::I16 => Self::I16(vec![0; len]),
            SampleKind::U32 => Self::U32(vec![0; len]),
            SampleKind::I32 => Self::I32(vec![0; len]),
            SampleKind::U64 => Self::U64(vec![0; len]),
            SampleKind::I64 => Self::I64(vec![0; len]),
            SampleKind::F32 => Self::F32(vec![0.0; len]),
            SampleKind::F64 => Self::F64(vec![0.0; len]),
        }
    }

    /// Returns their type.
    #[must_use]
    pub fn kind(&self) -> SampleKind {
        match self {
            Self::U8(_) => SampleKind::U8,
            Self::I8(_) => SampleKind::I8,
            Self::U16(_) => SampleKind::U16,
            Self::I16(_) => SampleKind::I16,
            Self::U32(_) => SampleKind::U32,
            Self::I32(_) => SampleKind::I32,
            Self::U64(_) => SampleKind::U64,
            Self::I64(_) => SampleKind::I64,
            Self::F32(_) => SampleKind::F32,
            Self::F64(_) => SampleKind::F64,
        }
    }

    /// Returns the name of their type, such as `uint16`.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.kind().name()
    }

    /// Returns how many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        with_samples!(self, samples => samples.len())
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the size in memory.
    #[must_use]
    pub fn num_bytes(&self) -> usize {
        with_samples!(self, samples => size_of_val(samples.as_slice()))
    }

    /// Returns their bytes in the machine's order.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        with_samples!(self, samples => bytemuck::cast_slice(samples))
    }

    /// Returns their bytes in the machine's order, to be written.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        with_samples!(self, samples => bytemuck::cast_slice_mut(samples))
    }
}
