//! What lies in an output, and what it means: runs, their plans, their tables, and which of their rows count.
//!
//! A [`Run`] is what its objects say, and [`publish()`] writes them. A [`Snapshot`] says which runs there are, an [`Acceptance`] accepts one, a
//! [`Tombstone`] deletes one, [`current_rows`] decides which rows are the newest. It plans nothing and computes nothing.

mod acceptance;
mod array_job;
mod attempts;
mod begun;
pub mod current_rows;
pub mod election;
mod erasures;
pub mod fingerprint;
mod layout;
mod lineage;
mod origin;
mod parquet_object;
mod privacy;
pub mod provenance;
mod publish;
mod record;
pub mod rejects;
mod replaces;
pub mod report;
mod room;
mod run;
mod shard_times;
mod snapshot;
mod soundness;
pub mod sources;
pub mod summary;
pub mod table;
mod tiles;
mod tombstone;
mod trouble;
mod version;

pub use acceptance::{Acceptance, AcceptedBecause};
pub use array_job::ArrayJob;
pub use attempts::{Attempt, AttemptState};
pub use begun::BegunNote;
pub use election::{Elected, Election, SOURCE_BYTES_KEY, elected, source_bytes};
pub use layout::{Layout, RunId};
pub use lineage::OutputRecord;
pub use origin::Origin;
pub use parquet_object::{ParquetObject, is_damaged};
pub use privacy::{OutputPrivacy, PrivacyRecord};
pub use publish::{Described, publish};
pub use record::{Limit, ModelRecord, PlanRecord, RunRecord};
pub use replaces::Fate;
pub use room::warn_if_short;
pub use run::contradicts_itself;
pub use run::{Committed, CommittedShard, Output, Run, Shard, Table, Tile};
pub use shard_times::seconds_per_tile;
pub use snapshot::{DeletedRun, KnownRun, Planning, RunState, Scope, Snapshot};
pub use soundness::{Checksums, check_rest};
pub use sources::{EncodedSources, Source, SourceRange, SourceTable, Surveyed, encode};
pub use tiles::{PlanPart, PlanTotals, PlanWriter, PlannedTile};
pub use tombstone::{Removed, Tombstone, Why};
pub use trouble::{BegunShard, Trouble, WorkerSeen};

pub use crate::vocabulary::time::Timestamp;
