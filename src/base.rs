//! What the stages stand on: the rooms from the vocabulary to the output.
//!
//! They are a crate of their own so that a change of the stages, of a decoder or of a command compiles nothing of them
//! again. The crate `tilefleet` shows them beside its own rooms, and nobody else names this crate.

pub mod vocabulary;

pub mod geo;

pub mod scene;

pub mod observe;

pub mod formats;

pub mod input;

pub mod models;

pub mod runtime;

pub mod model_cache;

pub mod config;

pub mod output;
