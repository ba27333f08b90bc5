//! What a file says about its bands, and about which of its pixels are valid.

use serde::{Deserialize, Serialize};

use crate::vocabulary::sample::SampleKind;

/// What is known of one band.
#[derive(Clone, Debug, PartialEq)]
pub struct BandInfo {
    /// What it shows, in GDAL's words: `gray`, `red`, `alpha`, `palette`, `undefined`, …
    pub colour: String,
    /// Its name.
    pub description: Option<String>,
    /// What its stored samples mean.
    pub values: ValueMapping,
}

/// How the stored samples of a band become values of a unit.
///
/// Of TIFF these are GDAL's scale and offset. What the values of a DICOM frame mean is its `FrameSpec`'s to say.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueMapping {
    /// Value = stored sample × `scale` + `offset`; 1 by default.
    pub scale: f64,
    /// See `scale`; 0 by default.
    pub offset: f64,
    /// Unit of the value.
    pub unit: Option<String>,
}

impl Default for ValueMapping {
    fn default() -> Self {
        Self { scale: 1.0, offset: 0.0, unit: None }
    }
}

/// A value that marks pixels without data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodataValue {
    /// The value.
    pub value: f64,
    /// The value where it is a whole number, which 64-bit samples need in full.
    pub integer: Option<i128>,
}

impl NodataValue {
    /// Takes a value that stands elsewhere than in the file.
    #[must_use]
    pub fn of(value: f64) -> Self {
        let is_whole = value.fract() == 0.0 && value.abs() < 1e30;
        Self { value, integer: is_whole.then_some(value as i128) }
    }

    /// Returns the value as samples of this kind have it, a fraction cut off for integers; `None` if they cannot (GDAL's
    /// `GDALNoDataMaskBand`).
    #[must_use]
    pub fn of_kind(self, kind: SampleKind) -> Option<Self> {
        let (min, max) = match kind {
            SampleKind::U8 => (0, i128::from(u8::MAX)),
            SampleKind::I8 => (i8::MIN.into(), i8::MAX.into()),
            SampleKind::U16 => (0, u16::MAX.into()),
            SampleKind::I16 => (i16::MIN.into(), i16::MAX.into()),
            SampleKind::U32 => (0, u32::MAX.into()),
            SampleKind::I32 => (i32::MIN.into(), i32::MAX.into()),
            SampleKind::U64 => (0, u64::MAX.into()),
            SampleKind::I64 => (i64::MIN.into(), i64::MAX.into()),
            // What is beyond the largest number is infinite.
            SampleKind::F32 => return Some(Self::of(f64::from(self.value as f32))),
            SampleKind::F64 => return Some(self),
        };
        let integer = self.integer.or_else(|| self.value.is_finite().then_some(self.value as i128))?;
        let is_wide = matches!(kind, SampleKind::I8 | SampleKind::U64 | SampleKind::I64);
        let is_inside = is_wide || (min as f64..=max as f64).contains(&self.value);
        let is_sample = is_inside && (min..=max).contains(&integer);
        is_sample.then_some(Self { value: integer as f64, integer: Some(integer) })
    }

    /// Tells whether `value` says all of a value that [`Self::of_kind`] returned: of 64-bit integers it may not.
    #[must_use]
    pub fn is_exact(self) -> bool {
        let is_limit = |limit: i128| self.integer == Some(limit);
        let is_rounded = self.integer.is_some_and(|integer| self.value as i128 != integer);
        !is_rounded || is_limit(u64::MAX.into()) || is_limit(i64::MAX.into())
    }
}

/// How a file says which pixels are valid; the first that it has (GDAL, RFC 15).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validity {
    /// All are.
    All,
    /// By a mask.
    Mask,
    /// Those with another value than this, in any of the bands; where there is alpha, in this one.
    Nodata(NodataValue, Option<u16>),
    /// Those that the alpha band, the last of two or four, does not make fully transparent.
    Alpha(u16),
}

impl Validity {
    /// Tells whether a mask or an alpha band decides. Then it does so alone, whatever else marks pixels without data
    /// (GDAL, RFC 15).
    #[must_use]
    pub fn is_masked(self) -> bool {
        matches!(self, Self::Mask | Self::Alpha(_) | Self::Nodata(_, Some(_)))
    }
}
