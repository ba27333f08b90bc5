//! Inference: ONNX Runtime, execution providers, devices and sessions.
//!
//! - in: an [`batch::InputBatch`] of preprocessed chips, a model's bytes and its contract
//! - out: [`outputs::Outputs`], the embeddings and logits of those chips
//! - called by the pipeline, one thread a [`session::Session`], and by `tilefleet runtime`
//!
//! Nothing here decodes, resizes or normalises, and nothing turns logits into scores.

pub mod arithmetic;
pub mod batch;
pub mod doctor;
pub mod driver;
mod elf;
pub mod engines;
pub mod failure;
#[cfg(all(test, target_os = "linux"))]
mod fake_library;
mod fits;
pub mod known;
pub mod libraries;
pub mod options;
pub mod outputs;
pub mod probe;
pub mod provider;
pub mod row_check;
pub mod runner;
pub mod runtime;
pub mod session;
pub mod tap;

pub use batch::{InputBatch, Samples, SamplesMut};
pub use failure::Failure;
pub use options::{CudaOptions, Devices, ProviderOptions, TensorrtOptions};
pub use outputs::Outputs;
pub use provider::Provider;
pub use runner::{BatchRunner, Device, Lane};
pub use runtime::Runtime;
pub use session::{Session, SessionOptions};
pub use tap::Tap;
