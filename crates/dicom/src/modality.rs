//! Stored values become values of the modality, such as Hounsfield units (PS3.3, C.11.1).

use crate::error::{Error, corrupt};
use crate::lut::Lut;
use crate::spec::{FrameSpec, Modality};
use crate::stored::{Samples, Stored};

/// Values of a frame in the modality's unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Integers, exactly.
    I32(Vec<i32>),
    /// Anything else.
    F64(Vec<f64>),
}

impl Values {
    /// Returns the values as floats.
    #[must_use]
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::I32(values) => values.iter().map(|&value| value.into()).collect(),
            Self::F64(values) => values.clone(),
        }
    }

    /// Returns the least and the greatest finite value of those pixels that are no padding.
    ///
    /// - `padding`: `[rows, columns]` as [`padding`](crate::padding()) gives it
    /// - returns: `None` if there is none
    #[must_use]
    pub fn range(&self, padding: Option<&[bool]>) -> Option<(f64, f64)> {
        match self {
            Self::I32(values) => bounds(values, padding).map(|(low, high)| (f64::from(low), f64::from(high))),
            Self::F64(values) => bounds(values, padding),
        }
    }
}

fn bounds<T: Copy + PartialOrd + Into<f64>>(values: &[T], padding: Option<&[bool]>) -> Option<(T, T)> {
    let is_padding = |index: usize| padding.is_some_and(|mask| mask.get(index).copied().unwrap_or(false));
    let counted =
        values.iter().enumerate().filter(|&(index, &value)| !is_padding(index) && value.into().is_finite());
    counted.map(|(_, &value)| value).fold(None, |found, value| {
        let (low, high) = found.unwrap_or((value, value));
        Some((if value < low { value } else { low }, if value > high { value } else { high }))
    })
}

/// Turns stored values into those of the modality: by its lookup table, else by slope and intercept.
///
/// - returns: `[rows, columns, samples]`; colours stay as they are, since neither is for them
///
/// # Errors
///
/// `Corrupt` for a table or numbers that cannot be read.
///
/// # Reference
///
/// PS3.3, C.11.1: output = slope × stored + intercept.
pub fn modality(spec: &FrameSpec, stored: &Stored) -> Result<Values, Error> {
    let modality = if stored.samples_per_pixel == 1 { spec.modality()? } else { &Modality::Identity };
    Ok(match &stored.values {
        Samples::U8(values) => whole(values, modality),
        Samples::I8(values) => whole(values, modality),
        Samples::U16(values) => whole(values, modality),
        Samples::I16(values) => whole(values, modality),
        Samples::I32(values) => whole(values, modality),
        Samples::U32(values) => float(values, modality)?,
        Samples::F32(values) => float(values, modality)?,
        Samples::F64(values) => float(values, modality)?,
    })
}

/// Integers stay integers where slope, intercept and all results are.
fn whole<T: Copy + Into<i32>>(values: &[T], modality: &Modality) -> Values {
    match modality {
        Modality::Identity => Values::I32(values.iter().map(|&value| value.into()).collect()),
        Modality::Lut(lut) => Values::I32(values.iter().map(|&value| of_lut(lut, value.into())).collect()),
        &Modality::Rescale { slope, intercept } => {
            let is_whole = slope.fract() == 0.0 && intercept.fract() == 0.0;
            let exact = || {
                let (slope, intercept) = (checked_i32(slope)?, checked_i32(intercept)?);
                let rescale = |&value: &T| value.into().checked_mul(slope)?.checked_add(intercept);
                values.iter().map(rescale).collect()
            };
            is_whole.then(exact).flatten().map_or_else(
                || {
                    Values::F64(
                        values.iter().map(|&value| f64::from(value.into()) * slope + intercept).collect(),
                    )
                },
                Values::I32,
            )
        }
    }
}

fn checked_i32(value: f64) -> Option<i32> {
    (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value).then_some(value as i32)
}

fn of_lut(lut: &Lut, value: i32) -> i32 {
    lut.at(value.into()).into()
}

fn float<T: Copy + Into<f64>>(values: &[T], modality: &Modality) -> Result<Values, Error> {
    Ok(Values::F64(match modality {
        Modality::Identity => values.iter().map(|&value| value.into()).collect(),
        Modality::Rescale { slope, intercept } => {
            values.iter().map(|&value| value.into() * slope + intercept).collect()
        }
        Modality::Lut(_) => return Err(corrupt("a modality lookup table for values of 32 bits")),
    }))
}
