//! Models: graph, weights and contract.
//!
//! [`build`] makes a `ResNet` and its contract; [`load()`] reads any ONNX file, compares it with its contract
//! and hands bytes and contract to `infer`; [`inspect`] says whether that would work, and [`skeleton`] begins a contract; [`head`] puts a fitted classifier behind an embedding. No module
//! here runs a model.

pub mod build;
mod external;
pub mod file;
pub mod graph;
pub mod head;
pub mod inspect;
mod load;
mod network;
pub mod onnx;
pub mod operands;
pub mod pair;
mod precision;
mod prune;
pub mod quantise;
pub mod resnet;
pub mod shape;
pub mod skeleton;
pub mod weights;
mod wire;

pub use load::{ContractOrigin, Model, Overrides, load};
pub use network::Beside;
pub use precision::precision_of;
