//! Plans a run: which tiles it computes, divided into shards.
//!
//! ```text
//! (output.json, create-only: what all runs of the output share)
//! discovered sources ─▶ sources.parquet ─▶ plan/part-*.parquet ─▶ run.json
//!  (sorted by URI)      create-only: the    derived from it,       create-only, last:
//!                       election            the same for all       the plan is complete
//! ```
//!
//! Goes in: what `source` found, or which tiles were rejected. Comes out: a [`Run`](crate::output::Run). It never reads
//! pixels.

mod changed_model;
mod differences;
pub mod known;
mod planner;
mod retry;
mod tiles;

pub use changed_model::changed_model;
pub use planner::{Decision, MAX_SHARD_TIME, Planner, Preview, RunSpec, SceneSurvey};
pub use retry::Retried;
pub(crate) use retry::encoded as encoded_extra;
pub use tiles::{ShardSize, check_fingerprint, row_bytes};
