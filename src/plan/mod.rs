//! The plan: the immutable list of a run's tiles, divided into shards.
//!
//! ```text
//! (output.json, create-only: what all runs of the output share)
//! discovered sources ─▶ sources.parquet ─▶ plan/part-*.parquet ─▶ run.json
//!  (sorted by URI)      create-only: the    derived from it,       create-only, last:
//!                       election            the same for all       the plan is complete
//! ```
//!
//! Goes in: what `source` found. Comes out: a [`Run`]. It never reads pixels.

pub mod fingerprint;
pub mod layout;
mod lineage;
mod parquet_object;
mod publish;
mod record;
mod run;
mod sources;
pub mod tile_id;
mod tiles;

pub use layout::{Layout, RunId};
pub use lineage::OutputRecord;
pub use parquet_object::{ParquetObject, is_damaged};
pub use publish::{Decision, Draft, Planner, Preview};
pub use record::{ModelRecord, PlanRecord, RunRecord};
pub use run::{Committed, CommittedShard, KnownRun, Output, Run, Shard, Table, Tile};
pub use sources::{EncodedSources, Source, SourceRange, SourceTable};
pub use tile_id::TileId;
pub use tiles::{PlanPart, PlanTotals, PlanWriter, PlannedTile};
