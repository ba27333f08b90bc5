//! Models: graph, weights and contract.
//!
//! [`build`] makes a `ResNet` and its contract; [`load()`] reads any ONNX file, holds it against its contract
//! and hands bytes and contract to `infer`. No module here runs a model.

pub mod build;
pub mod contract;
pub mod file;
pub mod graph;
pub mod inspect;
mod load;
pub mod onnx;
pub mod precision;
pub mod quantise;
pub mod resnet;
pub mod weights;

pub use load::{ContractOrigin, Model, Overrides, load};
pub use precision::Precision;
