//! Inference: ONNX Runtime, execution providers and sessions.
//!
//! - in: an [`batch::InputBatch`] of preprocessed chips, a model's bytes and its contract
//! - out: [`session::Outputs`], the embeddings and logits of those chips
//! - called by the pipeline, one thread a [`session::Session`], and by `tilefleet runtime`
//!
//! Nothing here decodes, resizes or normalises, and nothing turns logits into scores.

pub mod batch;
pub mod doctor;
pub mod probe;
pub mod provider;
pub mod runtime;
pub mod session;
pub mod tap;

pub use batch::{InputBatch, SamplesMut};
pub use provider::Provider;
pub use runtime::Runtime;
pub use session::{Outputs, Session, SessionOptions};
pub use tap::Tap;
