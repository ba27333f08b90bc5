//! The plan: the immutable list of a run's tiles, divided into shards.
//!
//! ```text
//! (output.json, create-only: what all runs of the output share)
//! discovered sources ─▶ sources.parquet ─▶ plan/part-*.parquet ─▶ run.json
//!  (sorted by URI)      create-only: the    derived from it,       create-only, last:
//!                       election            the same for all       the plan is complete
//! ```
//!
//! Goes in: what `source` found, or which tiles were rejected. Comes out: a [`Run`]. It also says which runs
//! there are, see [`Snapshot`], accepts them, see [`Acceptance`], and deletes them, see [`Tombstone`]. It never reads pixels.

mod acceptance;
mod attempts;
mod differences;
pub mod fingerprint;
pub mod known;
mod layout;
mod lineage;
mod origin;
mod parquet_object;
mod planner;
mod publish;
mod record;
mod replaces;
mod retry;
mod room;
mod run;
mod snapshot;
mod soundness;
mod sources;
mod survey;
pub mod tile_id;
mod tiles;
mod tombstone;
mod windows;

pub use acceptance::{Acceptance, AcceptedBecause};
pub use attempts::{Attempt, Standing as AttemptStanding, process_begins};
pub use layout::{Layout, RunId};
pub use lineage::OutputRecord;
pub use origin::{Moment, Origin};
pub use parquet_object::{ParquetObject, is_damaged};
pub use planner::{Cutting, Decision, Draft, Planner, Preview};
pub use publish::{Described, Elected, Election, SOURCE_BYTES_KEY, ShardSize, elected, publish, row_bytes};
pub use record::{Limit, ModelRecord, PlanRecord, RunRecord};
pub use replaces::Fate;
pub(crate) use retry::encoded as encoded_extra;
pub use retry::{Retried, Retry};
pub use room::warn_if_short;
pub(crate) use run::contradicts_itself;
pub use run::{Committed, CommittedShard, Output, Run, Shard, Table, Tile};
pub use snapshot::{DeletedRun, KnownRun, Planning, Scope, Snapshot, Standing};
pub(crate) use soundness::{Checksums, check_rest};
pub use sources::{EncodedSources, Source, SourceRange, SourceTable, Surveyed, encode};
pub use survey::{ChosenAsset, Surveyor, chosen_assets, unusable_item};
pub use tile_id::TileId;
pub use tiles::{PlanPart, PlanTotals, PlanWriter, PlannedTile};
pub use tombstone::{Removed, Tombstone, Why};
pub use windows::{grid_of, is_in_grid, is_planned, nearest_window, num_tiles_of, place_in_grid};
