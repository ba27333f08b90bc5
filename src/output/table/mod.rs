//! The table: schema, rows, scores, and the one Parquet file that a shard becomes.
//!
//! In go a [`TableSpec`], the shard's [`TileRow`](crate::vocabulary::outcome::TileRow)s and the embeddings of its `ok`
//! tiles; out come the bytes of one whole Parquet file, held in memory because a commit is one PUT. The pipeline calls
//! it. It does not know where the file goes, and it neither runs models nor computes scores. On the way back,
//! [`StoredEmbeddings`] reads the embedding column as it was written here, without the detour over levels.

pub mod checksum;
mod embedding;
mod file;
mod groups;
mod schema;
mod stored;
mod stored_columns;
mod summed;

pub use embedding::check_embedding;
pub use file::{ShardRows, encode};
pub use groups::{ColumnGroup, GEO_KEY, RowGroups, describe_geometry, geometry_type};
pub use schema::{SCHEMA_VERSION, TableSpec, schema};
pub use stored::{StoredEmbeddings, StoredPart};
pub use stored_columns::{BadColumn, StoredColumns, number_at, text_at, tile_id_at};
pub use summed::SummedFile;

pub use crate::config::EmbeddingType;
