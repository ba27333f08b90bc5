//! The type of a decoded sample.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Type of the decoded samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SampleKind {
    /// Unsigned 8-bit; of plain images, 1, 2 and 4 bits and palettes are expanded to it.
    U8,
    /// Signed 8-bit.
    I8,
    /// Unsigned 16-bit.
    U16,
    /// Signed 16-bit.
    I16,
    /// Unsigned 32-bit.
    U32,
    /// Signed 32-bit.
    I32,
    /// Unsigned 64-bit.
    U64,
    /// Signed 64-bit.
    I64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

impl SampleKind {
    /// Returns the size of one sample in memory.
    #[must_use]
    pub fn num_bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Tells whether samples may have a fraction.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// Returns NumPy's name of the type, such as `uint16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

impl fmt::Display for SampleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Tells whether `value = sample × scale + offset` keeps samples apart: files, STAC items and people also write 0 or
/// NaN where they know nothing. Values are 32-bit floats, so both numbers must be numbers there.
#[must_use]
pub fn converts(scale: f64, offset: f64) -> bool {
    (scale as f32).is_normal() && (offset as f32).is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversion_has_a_factor_and_no_infinities() {
        for (scale, offset) in [(1.0, 0.0), (-0.5, -1000.0), (1e-4, -0.1), (f64::from(f32::MAX), 0.0)] {
            assert!(converts(scale, offset), "{scale} {offset}");
        }
        for scale in [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-60, 1e60] {
            assert!(!converts(scale, 0.0), "{scale}");
        }
        for offset in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1e60] {
            assert!(!converts(1.0, offset), "{offset}");
        }
    }
}
