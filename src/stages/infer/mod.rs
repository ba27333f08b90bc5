//! Inference: ONNX Runtime, execution providers, devices and sessions.
//!
//! - in: an [`batch::InputBatch`] of preprocessed chips, a model's bytes and its contract
//! - out: [`outputs::Outputs`], the embeddings and logits of those chips
//! - called by the pipeline, one thread a [`session::Session`], and by `tilefleet runtime`
//!
//! Nothing here decodes, resizes or normalises, and nothing turns logits into scores.

pub mod arithmetic;
pub mod batch;
mod contract_check;
pub mod intermediate_outputs;
pub mod known;
pub mod outputs;
pub mod row_check;
pub mod runner;
pub mod session;

pub use batch::{InputBatch, Samples, SamplesMut};
pub use intermediate_outputs::IntermediateOutputs;
pub use outputs::Outputs;
pub use runner::{BatchRunner, Device, SessionSlot};
pub use session::{Session, SessionOptions};
