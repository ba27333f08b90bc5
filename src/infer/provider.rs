//! Execution providers.

use std::fmt;
use std::str::FromStr;

use ort::ep::{CPU, CUDA, ExecutionProvider, ExecutionProviderDispatch, TensorRT};
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;
use crate::error::{Error, Result};

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

    /// Returns whether the loaded library contains this provider. Whether it works is another question,
    /// which [`super::probe::probe`] answers.
    #[must_use]
    pub fn is_compiled_in(self, _runtime: &Runtime) -> bool {
        let available = match self {
            Self::Cpu => CPU::is_available(),
            Self::Cuda => CUDA::is_available(),
            Self::Tensorrt => TensorRT::is_available(),
        };
        available.unwrap_or(false)
    }

    /// # Errors
    ///
    /// [`Kind::Config`](crate::error::Kind::Config) if the loaded library lacks this provider.
    pub(crate) fn require(self, runtime: &Runtime) -> Result<()> {
        if self.is_compiled_in(runtime) {
            return Ok(());
        }
        let library = runtime.located.path.display();
        Err(Error::config(format!("the execution provider `{self}` is not there"))
            .because(format!("ONNX Runtime {} at {library} was built without it", runtime.version))
            .hint("set ORT_DYLIB_PATH to a GPU build (Python package onnxruntime-gpu), or choose `cpu`"))
    }

    /// Returns this provider alone, to be registered or to fail; nothing for the CPU, which is always there.
    pub(crate) fn registration(self) -> Option<ExecutionProviderDispatch> {
        match self {
            Self::Cpu => None,
            Self::Cuda => Some(CUDA::default().build().error_on_failure()),
            Self::Tensorrt => Some(TensorRT::default().build().error_on_failure()),
        }
    }

    /// Returns what a session registers, in order of preference.
    pub(crate) fn registrations(self) -> Vec<ExecutionProviderDispatch> {
        let fallback = if self == Self::Tensorrt { Self::Cuda.registration() } else { None };
        self.registration().into_iter().chain(fallback).collect()
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
