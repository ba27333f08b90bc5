//! Turns images into a table of embeddings and predictions that can be queried.
//!
//! ```text
//! sources ─▶ survey ─▶ plan ─▶ work ─▶ [ fetch ─▶ decode ─▶ preprocess ─▶ infer ─▶ sink ] ─▶ commit
//! ```
//!
//! A room imports from the rooms above it in this list only, a stage from the stages on its left. ARCHITECTURE.md
//! has the map, and `tests/it/map.rs` holds every import against it.
//!
//! Where to begin, each with an example: [`vocabulary::contract::Contract::from_toml`] reads what a model expects,
//! [`input::storage::ObjectUri::parse`] names an object, [`stages::decode::decode_tile`] decodes an image,
//! [`stages::preprocess::WholeImage`] lays it out for a model, [`answers::inspect::Inspector::describe`] says what a run
//! would make of a file, [`config::Pipeline::load`] reads a pipeline, [`output::Output::snapshot`] opens an output, and
//! [`output::current_rows::count_shown`] counts its rows.

pub use tilefleet_base::{
    config, formats, geo, input, model_cache, models, observe, output, runtime, scene, vocabulary,
};

pub mod stages;

pub mod maintenance;

pub mod answers;

pub mod calibrate;

pub mod cli;

/// Files for tests that the rooms below have, too.
#[cfg(test)]
#[path = "formats/raster"]
mod rasters {
    pub mod fixtures;
    pub mod raw;
}
