//! What an int8 model was quantised for, and what stayed float.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What the int8 model is to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Processors: unsigned activations with any zero point, which are the fast ones there.
    Cpu,
    /// NVIDIA's GPUs through their own engines: signed activations around zero.
    Tensorrt,
}

/// Which integers weights become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WeightRange {
    /// From −64 to 64: no processor's 16-bit sums of two products saturate, so that all compute the same.
    Reduced,
    /// From −127 to 127: x86 processors without VNNI saturate.
    Full,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Tensorrt => "tensorrt",
        })
    }
}

impl fmt::Display for WeightRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reduced => "reduced",
            Self::Full => "full",
        })
    }
}

impl WeightRange {
    /// Returns the largest magnitude: −128 is left out, so that a negated filter has negated weights.
    ///
    /// 2 × 255 × 64 is less than 2¹⁵.
    #[must_use]
    pub const fn largest(self) -> u8 {
        match self {
            Self::Reduced => 64,
            Self::Full => 127,
        }
    }

    /// Returns what a target gets unless somebody says otherwise: GPUs add in 32 bits.
    #[must_use]
    pub const fn usual(target: Target) -> Self {
        match target {
            Target::Cpu => Self::Reduced,
            Target::Tensorrt => Self::Full,
        }
    }
}

/// A layer that stays float.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftFloat {
    /// What people call it.
    pub layer: String,
    /// Why it does.
    pub reason: String,
}
