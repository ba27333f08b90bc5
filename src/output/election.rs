//! What the planners of a run elect, all of them by one object: its sources, and what is decided together with them.
//!
//! The sources are the rows of `sources.parquet`, the rest is in its metadata, so that whoever finishes the planning
//! writes the same `run.json`.

use super::layout::RunId;
use super::origin::Origin;
use super::record::Limit;
use super::run::Output;
use super::sources::SourceTable;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::time::Timestamp;

/// Key-value metadata of `sources.parquet` that adopters plan by, whatever their own settings.
const SHARD_TILES_KEY: &str = "tilefleet.shard_tiles";
const FINGERPRINT_KEY: &str = "tilefleet.fingerprint";
const ORIGIN_KEY: &str = "tilefleet.origin";
const PLANNED_AT_KEY: &str = "tilefleet.planned_at";
const AS_OF_KEY: &str = "tilefleet.as_of";
const LIMIT_KEY: &str = "tilefleet.limit";
const MAX_REJECT_RATIO_KEY: &str = "tilefleet.max_reject_ratio";
/// The same for the sources' bytes, added up as far as known.
pub const SOURCE_BYTES_KEY: &str = "tilefleet.source_bytes";

/// Shards estimated above this are refused.
pub const MAX_SHARD_BYTES: u64 = 512 << 20;
/// What a row holds besides its embedding, generously.
pub const ROW_OVERHEAD_BYTES: u64 = 512;
/// So no shard has more tiles.
pub(crate) const MAX_SHARD_TILES: u32 = (MAX_SHARD_BYTES / ROW_OVERHEAD_BYTES) as u32;

/// What is decided together with a run's sources.
#[derive(Clone, Debug, PartialEq)]
pub struct Election {
    /// Tiles of a full shard.
    pub shard_tiles: u32,
    /// The whole fingerprint.
    pub fingerprint: String,
    /// Why the run exists.
    pub origin: Origin,
    /// When it was planned; elections of older versions do not say.
    pub planned_at: Option<Timestamp>,
    /// See [`RunRecord::as_of`](crate::output::RunRecord::as_of).
    pub as_of: Option<Timestamp>,
    /// See [`RunRecord::max_reject_ratio`](crate::output::RunRecord::max_reject_ratio).
    pub max_reject_ratio: Option<f64>,
    /// See [`RunRecord::limit`](crate::output::RunRecord::limit).
    pub limit: Option<Limit>,
}

impl Election {
    /// Returns the pairs that go into the metadata of `sources.parquet`.
    ///
    /// # Errors
    ///
    /// `Bug` if the origin cannot be written as JSON.
    pub fn metadata(&self) -> Result<Vec<(String, String)>> {
        let origin = serde_json::to_string(&self.origin)
            .map_err(|error| Error::bug("cannot write a run's origin").because(error))?;
        let mut pairs = vec![
            (SHARD_TILES_KEY.to_owned(), self.shard_tiles.to_string()),
            (FINGERPRINT_KEY.to_owned(), self.fingerprint.clone()),
            (ORIGIN_KEY.to_owned(), origin),
        ];
        let moments = [(PLANNED_AT_KEY, self.planned_at), (AS_OF_KEY, self.as_of)];
        pairs.extend(moments.into_iter().filter_map(|(key, at)| Some((key.to_owned(), at?.to_string()))));
        pairs.extend(self.max_reject_ratio.map(|ratio| (MAX_REJECT_RATIO_KEY.to_owned(), ratio.to_string())));
        let limit = self.limit.map(|limit| serde_json::to_string(&limit)).transpose();
        let limit = limit.map_err(|error| Error::bug("cannot write a run's limit").because(error))?;
        pairs.extend(limit.map(|json| (LIMIT_KEY.to_owned(), json)));
        Ok(pairs)
    }

    /// Reads what was decided with the sources of run `id`.
    ///
    /// # Errors
    ///
    /// `Config` if the metadata is damaged.
    pub fn of(table: &SourceTable, id: &RunId) -> Result<Self> {
        let mut pairs = table.metadata();
        let damaged = || {
            Error::config(format!("the table of sources of run {id} is damaged"))
                .hint("restore the file, or choose another output")
        };
        let shard_tiles = pairs.get(SHARD_TILES_KEY).and_then(|value| value.parse().ok());
        let origin = pairs.get(ORIGIN_KEY).map(|json| serde_json::from_str::<Origin>(json)).transpose();
        let origin = origin.map_err(|error| damaged().because(error))?.unwrap_or_default();
        origin.check(id).map_err(|error| damaged().because(error))?;
        let moment = |key: &str| pairs.get(key).map(|text| text.parse::<Timestamp>()).transpose();
        let limit = pairs.get(LIMIT_KEY).map(|json| serde_json::from_str::<Limit>(json)).transpose();
        let ratio = pairs.get(MAX_REJECT_RATIO_KEY).map(|text| text.parse::<f64>()).transpose();
        Ok(Self {
            shard_tiles: shard_tiles
                .filter(|tiles| (1..=MAX_SHARD_TILES).contains(tiles))
                .ok_or_else(|| damaged().because(format!("`{SHARD_TILES_KEY}` is not a number of tiles")))?,
            origin,
            planned_at: moment(PLANNED_AT_KEY).map_err(|error| damaged().because(error))?,
            as_of: moment(AS_OF_KEY).map_err(|error| damaged().because(error))?,
            max_reject_ratio: ratio.map_err(|error| damaged().because(error))?,
            limit: limit.map_err(|error| damaged().because(error))?,
            fingerprint: pairs.remove(FINGERPRINT_KEY).unwrap_or_default(),
        })
    }
}

/// The elected sources of a run.
pub struct Elected {
    /// The sources.
    pub table: SourceTable,
    /// What was decided with them.
    pub election: Election,
}

/// Opens the elected sources of a run.
///
/// # Errors
///
/// `Unavailable` if they cannot be seen; as the store answers otherwise.
pub async fn elected(output: &Output, id: &RunId) -> Result<Elected> {
    let key = output.layout.sources(id);
    let table = output.sources(id).await?.ok_or_else(|| {
        Error::unavailable(format!("{} was written, but does not exist", output.bucket.uri(&key)))
    })?;
    let election = Election::of(&table, id)?;
    Ok(Elected { table, election })
}

/// Returns the sources' bytes, added up as far as known.
pub fn source_bytes(table: &SourceTable) -> u64 {
    table.metadata().get(SOURCE_BYTES_KEY).and_then(|value| value.parse().ok()).unwrap_or(0)
}
