//! Publishes a run's plan so that workers that race adopt one.
//!
//! Goes in: the elected sources and the tiles cut from them. Comes out: the published [`Run`]. Planner,
//! retry and compaction call it; what they have elected is in the metadata of `sources.parquet`, so that
//! whoever finishes the planning writes the same `run.json`.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use crate::error::{Error, Result};
use crate::observe::words::counted;
use crate::plan::layout::RunId;
use crate::plan::origin::{Moment, Origin};
use crate::plan::record::{FORMAT, Limit, ModelRecord, PlanRecord, RunRecord};
use crate::plan::run::{Output, Run};
use crate::plan::sources::SourceTable;
use crate::plan::tiles::{PlanTotals, PlanWriter, PlannedTile};
use crate::plan::windows::tiles_of;
use crate::scene::Tiling;

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
const MAX_SHARD_BYTES: u64 = 512 << 20;
/// What a row holds besides its embedding, generously.
const ROW_OVERHEAD_BYTES: u64 = 512;
/// So no shard has more tiles.
pub(super) const MAX_SHARD_TILES: u32 = (MAX_SHARD_BYTES / ROW_OVERHEAD_BYTES) as u32;

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
    pub planned_at: Option<Moment>,
    /// See [`RunRecord::as_of`].
    pub as_of: Option<Moment>,
    /// See [`RunRecord::max_reject_ratio`].
    pub max_reject_ratio: Option<f64>,
    /// See [`RunRecord::limit`].
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
        let moment = |key: &str| pairs.get(key).map(|text| text.parse::<Moment>()).transpose();
        let limit = pairs.get(LIMIT_KEY).map(|json| serde_json::from_str::<Limit>(json)).transpose();
        let ratio = pairs.get(MAX_REJECT_RATIO_KEY).map(|text| text.parse::<f64>()).transpose();
        Ok(Self {
            shard_tiles: shard_tiles
                .filter(|tiles| (1..=MAX_SHARD_TILES).contains(tiles))
                .ok_or_else(|| damaged().because(format!("`{SHARD_TILES_KEY}` is no number of tiles")))?,
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
    let table = SourceTable::open(&output.bucket, &key).await?.ok_or_else(|| {
        Error::unavailable(format!("{} was written and cannot be seen", output.bucket.uri(&key)))
    })?;
    let election = Election::of(&table, id)?;
    Ok(Elected { table, election })
}

/// What a run's record says beside its plan.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// The whole fingerprint.
    pub fingerprint: &'a str,
    /// The model.
    pub model: &'a ModelRecord,
    /// The resolved pipeline.
    pub pipeline: &'a serde_json::Value,
}

/// Publishes the plan of an elected run; every worker may do so at once.
///
/// - `tiles`: in order, a function of what was elected alone
///
/// # Errors
///
/// As the store answers.
pub async fn publish(
    output: &Output,
    id: &RunId,
    elected: &Elected,
    described: Described<'_>,
    tiles: BoxStream<'_, Result<PlannedTile>>,
) -> Result<Run> {
    let Elected { table, election } = elected;
    let totals = publish_parts(output, id, tiles, election.shard_tiles).await?;
    let record = RunRecord {
        format: FORMAT,
        run_id: id.to_string(),
        fingerprint: described.fingerprint.to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        origin: election.origin.clone(),
        planned_at: election.planned_at,
        as_of: election.as_of,
        max_reject_ratio: election.max_reject_ratio,
        limit: election.limit,
        model: described.model.clone(),
        plan: PlanRecord {
            sources: table.num_sources(),
            source_bytes: source_bytes(table),
            tiles: totals.num_tiles,
            shards: totals.num_shards,
            shard_tiles: election.shard_tiles,
            digest: totals.digest,
        },
        pipeline: described.pipeline.clone(),
    };
    output.create(&output.layout.run_json(id), Bytes::from(record.to_json()?)).await?;
    Run::open(output, id)
        .await?
        .ok_or_else(|| Error::unavailable(format!("the record of run {id} was written and cannot be seen")))
}

async fn publish_parts(
    output: &Output,
    id: &RunId,
    tiles: BoxStream<'_, Result<PlannedTile>>,
    shard_tiles: u32,
) -> Result<PlanTotals> {
    let mut writer = PlanWriter::default();
    let mut shards = tiles.try_chunks(shard_tiles as usize);
    while let Some(shard) = shards.next().await {
        put_part(output, id, writer.push(&shard.map_err(|stopped| stopped.1)?)?).await?;
    }
    let (last, totals) = writer.finish()?;
    put_part(output, id, last).await?;
    Ok(totals)
}

/// Puts a plan part. One that is there was written by a worker beside us and holds the same tiles.
async fn put_part(output: &Output, id: &RunId, part: Option<(u32, Bytes)>) -> Result<()> {
    let Some((number, bytes)) = part else { return Ok(()) };
    output.create(&output.layout.plan_part(id, number), bytes).await.map(|_| ())
}

/// Cuts all sources into tiles.
///
/// # Errors
///
/// As the store answers, in the stream.
pub fn tiles(
    table: &SourceTable,
    tiling: Option<&Arc<Tiling>>,
    shard_tiles: u32,
) -> Result<BoxStream<'static, Result<PlannedTile>>> {
    let sources =
        table.stream()?.map_ok(|batch| stream::iter(batch.into_iter().map(Ok::<_, Error>))).try_flatten();
    let numbered = sources.enumerate().map(|(id, source)| source.map(|source| (id as u64, source)));
    let tiling = tiling.cloned();
    let tiles = numbered.map_ok(move |(id, source)| {
        let survey = source.survey.as_ref();
        stream::iter(tiles_of(id, &source.uri, survey, tiling.as_deref(), shard_tiles).map(Ok))
    });
    Ok(tiles.try_flatten().boxed())
}

/// Returns the sources' bytes, added up as far as known.
pub fn source_bytes(table: &SourceTable) -> u64 {
    table.metadata().get(SOURCE_BYTES_KEY).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Refuses to mix runs of two fingerprints whose ids begin alike.
pub(super) fn check_fingerprint(id: &RunId, theirs: &str, ours: &str) -> Result<()> {
    if theirs == ours {
        return Ok(());
    }
    Err(Error::config(format!("run {id} was planned for another fingerprint ({theirs}, not {ours})"))
        .hint("give the pipeline another name, or choose another output"))
}

/// A run whose pipeline does not say gets about so many shards,
const AUTO_SHARDS: u64 = 32;
/// of so many tiles at most; all are squares, so that a shard of a scene is a whole block of windows.
const MAX_AUTO_SIDE: u64 = 64;
/// Smaller shards would cost more commits than an interruption of seconds is worth,
const MIN_AUTO_SIDE: u64 = 16;
/// and of windows also read blocks twice that two shards share.
const MIN_AUTO_SIDE_OF_WINDOWS: u64 = 24;

/// How large the shards of a run are that is planned now.
#[derive(Clone, Copy, Debug)]
pub struct ShardSize {
    /// Tiles of a full shard as the pipeline says; `None`: as their number suggests.
    pub asked: Option<u32>,
    /// Whether tiles are windows of scenes.
    pub of_windows: bool,
    /// Bytes of one written embedding.
    pub embedding_bytes: u64,
}

impl ShardSize {
    /// Returns how many tiles a full shard has.
    ///
    /// It follows from what is planned alone, so that all who plan the same sources plan the same shards.
    #[must_use]
    pub fn of(self, num_tiles: u64) -> u32 {
        self.asked.unwrap_or_else(|| self.auto(num_tiles))
    }

    fn auto(self, num_tiles: u64) -> u32 {
        let least = if self.of_windows { MIN_AUTO_SIDE_OF_WINDOWS } else { MIN_AUTO_SIDE };
        let fitting = num_tiles.div_ceil(AUTO_SHARDS).isqrt().clamp(least, MAX_AUTO_SIDE);
        let side = fitting.min((MAX_SHARD_BYTES / row_bytes(self.embedding_bytes)).isqrt()).max(1);
        (side * side) as u32
    }

    /// Refuses shards that would be too large to hold in memory.
    ///
    /// # Errors
    ///
    /// `Config` with the largest number of tiles that is allowed.
    pub fn check(self) -> Result<()> {
        check_shard_size(self.of(u64::MAX), self.embedding_bytes)
    }
}

/// Returns what a row is estimated to take, in bytes.
#[must_use]
pub fn row_bytes(embedding_bytes: u64) -> u64 {
    embedding_bytes + ROW_OVERHEAD_BYTES
}

fn check_shard_size(shard_tiles: u32, embedding_bytes: u64) -> Result<()> {
    let row_bytes = row_bytes(embedding_bytes);
    let estimate = u64::from(shard_tiles) * row_bytes;
    if estimate <= MAX_SHARD_BYTES {
        return Ok(());
    }
    Err(Error::config(format!(
        "a shard of {} would be about {} MiB, above the limit of 512 MiB",
        counted(shard_tiles.into(), "tile"),
        estimate >> 20
    ))
    .hint(format!("set plan.shard_tiles to at most {}", MAX_SHARD_BYTES / row_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_about_32_shards_of_64_to_4096_tiles() {
        let size = |of_windows| ShardSize { asked: None, of_windows, embedding_bytes: 8192 };
        let tiles = [0, 1, 1000, 3050, 5000, 50_000, 131_072, 1_000_000_000];
        let sizes = |of_windows| tiles.map(|num_tiles| size(of_windows).of(num_tiles));
        assert_eq!(sizes(false), [256, 256, 256, 256, 256, 1521, 4096, 4096]);
        assert_eq!(sizes(true), [576, 576, 576, 576, 576, 1521, 4096, 4096]);
        for num_tiles in 8192..131_072_u64 {
            let shards = num_tiles.div_ceil(size(false).of(num_tiles).into());
            assert!((32..=41).contains(&shards), "{num_tiles}: {shards}");
        }
        assert_eq!(ShardSize { asked: Some(7), ..size(false) }.of(1_000_000), 7);
    }

    /// Whatever the embedding takes, the shard stays below what [`check_shard_size`] allows.
    #[test]
    fn shards_of_long_embeddings_are_smaller() {
        for embedding_bytes in [0, 8192, 1 << 20, 1 << 28, 1 << 29] {
            let size = ShardSize { asked: None, of_windows: true, embedding_bytes };
            assert!(size.of(u64::MAX) == 1 || size.check().is_ok(), "{embedding_bytes}");
        }
    }
}
