//! Decoded frames: values as they are stored.

use serde::{Deserialize, Serialize};

/// Values of a frame, by their type.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Up to 8 bits, unsigned.
    U8(Vec<u8>),
    /// Up to 8 bits, signed.
    I8(Vec<i8>),
    /// Up to 16 bits, unsigned.
    U16(Vec<u16>),
    /// Up to 16 bits, signed.
    I16(Vec<i16>),
    /// Up to 32 bits, unsigned.
    U32(Vec<u32>),
    /// Up to 32 bits, signed.
    I32(Vec<i32>),
    /// Float Pixel Data.
    F32(Vec<f32>),
    /// Double Float Pixel Data.
    F64(Vec<f64>),
}

impl Samples {
    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U16(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::U32(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Tells a frame without values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the values as floats, which all types fit into.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        fn floats<T: Copy + Into<f64>>(values: &[T]) -> Vec<f64> {
            values.iter().map(|&value| value.into()).collect()
        }
        match self {
            Self::U8(values) => floats(values),
            Self::I8(values) => floats(values),
            Self::U16(values) => floats(values),
            Self::I16(values) => floats(values),
            Self::U32(values) => floats(values),
            Self::I32(values) => floats(values),
            Self::F32(values) => floats(values),
            Self::F64(values) => values.clone(),
        }
    }
}

/// What decoded samples mean: the codec may have undone a transform of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Colours {
    /// Shades, or indices of a palette.
    Single,
    /// Red, green, blue.
    Rgb,
    /// Luminance and colour differences at full range.
    YbrFull,
}

/// A decoded frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub columns: u32,
    /// Samples per pixel: 1 or 3.
    pub samples_per_pixel: u16,
    /// What samples mean.
    pub colours: Colours,
    /// Bits of a value: Bits Stored, unless the code stream says another number.
    pub bits: u16,
    /// Values are two's complement.
    pub signed: bool,
    /// `[rows, columns, samples]`, row-major: within these bits, with their sign.
    pub values: Samples,
}
