//! Publishes a run's plan so that workers that race adopt one.
//!
//! Goes in: the elected sources and the tiles cut from them. Comes out: the published [`Run`]. Planner, retry and
//! compaction call it; what they have elected is in the metadata of `sources.parquet`, so that whoever finishes the
//! planning writes the same `run.json`.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::election::{Elected, source_bytes};
use super::layout::RunId;
use super::privacy::PrivacyRecord;
use super::record::{FORMAT, ModelRecord, PlanRecord, RunRecord};
use super::run::{Output, Run};
use super::sources::encode_names;
use super::tiles::{PlanTotals, PlanWriter, PlannedTile};
use super::version::tool_version;
use crate::vocabulary::error::{Error, Result};

/// What a run's record says beside its plan.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// The whole fingerprint.
    pub fingerprint: &'a str,
    /// The model.
    pub model: &'a ModelRecord,
    /// The resolved pipeline.
    pub pipeline: &'a serde_json::Value,
    /// How sources are named, if the pipeline says so.
    pub privacy: Option<&'a PrivacyRecord>,
}

/// Publishes the plan of an elected run; every worker may do so at once.
///
/// - `tiles`: in order, a function of what was elected alone
///
/// # Errors
///
/// `Unavailable` if the run is deleted: then nothing of its record stays. As the store answers otherwise.
pub async fn publish(
    output: &Output,
    id: &RunId,
    elected: &Elected,
    described: Described<'_>,
    tiles: BoxStream<'_, Result<PlannedTile>>,
) -> Result<Run> {
    let published = publish_all(output, id, elected, described, tiles).await;
    if output.is_deleted(id).await? {
        // Its deletion has listed what to remove, perhaps before all of this was there.
        output.delete_record(id).await?;
        return Err(Error::unavailable(format!("run {id} was deleted while it was planned"))
            .hint("run the same command again to plan a new run"));
    }
    published
}

async fn publish_all(
    output: &Output,
    id: &RunId,
    elected: &Elected,
    described: Described<'_>,
    tiles: BoxStream<'_, Result<PlannedTile>>,
) -> Result<Run> {
    let Elected { table, election } = elected;
    if output.has_vault() {
        // For whoever reads the table without key and vault: first, so that a run that has a record has its names.
        output.create(&output.layout.sources(id), encode_names(table).await?).await?;
    }
    let totals = publish_parts(output, id, tiles, election.shard_tiles).await?;
    let record = RunRecord {
        format: FORMAT,
        run_id: id.to_string(),
        fingerprint: described.fingerprint.to_owned(),
        tool_version: tool_version(),
        origin: election.origin.clone(),
        planned_at: election.planned_at,
        as_of: election.as_of,
        max_reject_ratio: election.max_reject_ratio,
        limit: election.limit,
        privacy: described.privacy.cloned(),
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
        .ok_or_else(|| Error::unavailable(format!("the record of run {id} was written, but does not exist")))
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
