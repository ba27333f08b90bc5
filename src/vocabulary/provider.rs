//! Execution providers, and what can be said about them; every value here is checked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::vocabulary::error::{Error, Result};

/// ONNX Runtime's backend for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The processor.
    Cpu,
    /// An NVIDIA GPU through cuDNN and cuBLAS.
    Cuda,
    /// An NVIDIA GPU through `TensorRT`; what that cannot run goes to CUDA.
    Tensorrt,
}

impl Provider {
    /// Every provider.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cuda, Self::Tensorrt];

    /// Returns the name as in pipeline files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Tensorrt => "tensorrt",
        }
    }

    /// Returns whether this is not a processor of the machine but a device in it.
    #[must_use]
    pub fn is_accelerator(self) -> bool {
        self != Self::Cpu
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Provider {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name).ok_or_else(|| {
            Error::config(format!("there is no execution provider `{name}`"))
                .hint("choose cpu, cuda or tensorrt")
        })
    }
}

/// What a pipeline says about execution providers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProviderOptions {
    /// Whether operators that an accelerator lacks may run on the CPU.
    pub cpu_fallback: bool,
    /// `[cuda]`
    pub cuda: CudaOptions,
    /// `[tensorrt]`
    pub tensorrt: TensorrtOptions,
}

impl Default for ProviderOptions {
    /// As in `default.toml`.
    fn default() -> Self {
        let cuda = CudaOptions { conv_search: ConvSearch::Heuristic, prefer_nhwc: true, memory_bytes: None };
        let tensorrt = TensorrtOptions { cache: None, optimisation: 3, workspace_bytes: None };
        Self { cpu_fallback: false, cuda, tensorrt }
    }
}

/// `[cuda]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CudaOptions {
    /// How cuDNN's algorithm for a convolution is chosen.
    pub conv_search: ConvSearch,
    /// Whether convolutions run in the layout of tensor cores.
    pub prefer_nhwc: bool,
    /// Most device memory of one session; `None`: what there is.
    pub memory_bytes: Option<u64>,
}

/// How cuDNN's algorithm for a convolution is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConvSearch {
    /// By cuDNN's own rules.
    Heuristic,
    /// By trying all: slow to start, and another choice each time.
    Exhaustive,
    /// One algorithm for all.
    Default,
}

/// `[tensorrt]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorrtOptions {
    /// Folder or bucket prefix through which workers share engines; `None`: the output's.
    pub cache: Option<String>,
    /// How long the builder looks for a faster engine, 0 to 5.
    pub optimisation: u8,
    /// Most device memory of the builder; `None`: what there is.
    pub workspace_bytes: Option<u64>,
}

/// `run.devices`: which accelerators of this machine a run uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Devices {
    /// All that there are.
    All,
    /// These, by number; never none, none twice.
    These(Vec<u32>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for provider in Provider::ALL {
            assert_eq!(provider.name().parse::<Provider>().unwrap(), provider);
        }
        assert!("gpu".parse::<Provider>().is_err());
    }
}
