//! Turns a bucket of image tiles into a queryable table of embeddings and predictions.
//!
//! ```text
//! sources ─▶ plan ─▶ shards ─▶ [ fetch ─▶ decode ─▶ preprocess ─▶ infer ─▶ encode ] ─▶ commit
//! ```
//!
//! Data flows one way: a stage imports from stages on its left and from the shared vocabulary
//! ([`geometry`], [`error`], [`reason`], [`config`]), never from its right. Only [`pipeline`] and
//! [`worker`] see the whole row. ARCHITECTURE.md has the map of rooms.

pub mod calibrate;
pub mod cli;
pub mod cog;
pub mod commit;
pub mod compact;
pub mod config;
#[cfg(test)]
mod counting;
pub mod decode;
pub mod error;
pub mod export;
pub mod fetch;
pub mod fit;
pub mod format;
pub mod geo;
pub mod geometry;
pub(crate) mod guard;
pub mod head;
pub mod infer;
pub mod look;
pub mod model;
pub mod newest;
pub mod observe;
pub mod pipeline;
pub mod plan;
pub mod preprocess;
#[cfg(feature = "query")]
pub mod query;
pub mod raster;
pub mod reason;
pub mod rejects;
pub mod runs;
pub mod scene;
#[cfg(target_arch = "x86_64")]
mod simd;
pub mod sink;
pub mod source;
pub mod stac;
pub mod status;
pub mod storage;
pub mod summary;
pub mod verify;
pub mod visible;
pub mod work;
pub mod worker;
