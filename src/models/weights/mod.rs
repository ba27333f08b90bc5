//! Parameters of a `ResNet`: read from safetensors, or generated from a seed.
//!
//! [`crate::models::build`] asks for one tensor at a time, in `f64`, so that batch norm is folded in full
//! precision and a seeded network never exists twice in memory.

mod file;
mod seeded;

use std::path::Path;

pub use file::FileWeights;
pub use seeded::SeededWeights;

use crate::models::resnet::Architecture;
use crate::vocabulary::error::Result;

/// Where the parameters of a network come from.
#[derive(Debug)]
pub enum Weights {
    /// A safetensors file.
    File(FileWeights),
    /// A seed.
    Seeded(SeededWeights),
}

impl Weights {
    /// Reads a safetensors file and compares it with the architecture.
    ///
    /// - `prefix`: what stands before `conv1.weight` in the file; `None` to find out
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where the file cannot be read or does not hold this
    /// architecture; the error names the tensors.
    pub fn from_file(path: &Path, architecture: Architecture, prefix: Option<&str>) -> Result<Self> {
        FileWeights::open(path, architecture, prefix).map(Self::File)
    }

    /// Generates the parameters from a seed.
    ///
    /// - `num_classes`: `None` for a headless network
    pub fn from_seed(
        seed: u64,
        architecture: Architecture,
        in_channels: usize,
        num_classes: Option<usize>,
    ) -> Self {
        Self::Seeded(SeededWeights::new(seed, architecture, in_channels, num_classes))
    }

    /// Returns the number of input channels.
    pub fn in_channels(&self) -> usize {
        match self {
            Self::File(weights) => weights.in_channels(),
            Self::Seeded(weights) => weights.in_channels(),
        }
    }

    /// Returns the number of classes; `None` for a headless network.
    pub fn num_classes(&self) -> Option<usize> {
        match self {
            Self::File(weights) => weights.num_classes(),
            Self::Seeded(weights) => weights.num_classes(),
        }
    }

    /// Returns the elements of a parameter, row-major.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) where the file holds a number that is not finite.
    pub fn tensor(&self, parameter: &str) -> Result<Vec<f64>> {
        match self {
            Self::File(weights) => weights.tensor(parameter),
            Self::Seeded(weights) => Ok(weights.tensor(parameter).into_iter().map(f64::from).collect()),
        }
    }
}
