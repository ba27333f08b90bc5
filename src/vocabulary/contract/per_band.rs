//! A number for all bands, or one for each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A number that holds for all bands, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a list with one number per band")]
pub enum PerBand {
    /// The same for all.
    All(f64),
    /// One for each, in the order of the bands.
    Each(Vec<f64>),
}

impl PerBand {
    /// Returns the number of a band.
    ///
    /// # Panics
    ///
    /// If there is none; [`crate::vocabulary::contract::Contract::validate`] has compared their number with the bands'.
    #[must_use]
    pub fn of(&self, band: usize) -> f64 {
        match self {
            Self::All(value) => *value,
            Self::Each(values) => values[band],
        }
    }

    /// Returns the numbers that are written.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        match self {
            Self::All(value) => std::slice::from_ref(value),
            Self::Each(values) => values,
        }
    }
}

impl From<f64> for PerBand {
    fn from(value: f64) -> Self {
        Self::All(value)
    }
}

impl fmt::Display for PerBand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(value) => value.fmt(f),
            Self::Each(values) => write!(f, "{values:?}"),
        }
    }
}
