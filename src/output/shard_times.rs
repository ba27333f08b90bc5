//! How long the shards of a run took, as their files say.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::provenance::{COUNTS, SECONDS, in_file};
use super::{ParquetObject, Run};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::outcome::Counts;

/// So many shards, spread evenly over a run, tell for all.
const MAX_SAMPLED: usize = 8;

/// Returns how many seconds a shard of a run was in work for each of its tiles: the median of some shards; `None` if none
/// says so.
///
/// # Errors
///
/// As the store answers; `Config` if a file is damaged.
pub async fn seconds_per_tile(run: &Run) -> Result<Option<f64>> {
    let committed = run.committed().await?.shards;
    let step = committed.len().div_ceil(MAX_SAMPLED).max(1);
    let sampled: Vec<u32> = committed.iter().step_by(step).map(|shard| shard.number).collect();
    let times = stream::iter(sampled).map(|shard| of_shard(run, shard)).buffered(MAX_SAMPLED);
    let times: Vec<Option<f64>> = times.try_collect().await?;
    Ok(median(times.into_iter().flatten()))
}

/// Returns the median of what is a number, the upper one of two; `None` where there is none.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Shards of a compaction say nothing; those without a tile that went through the model say nothing of others.
async fn of_shard(run: &Run, shard: u32) -> Result<Option<f64>> {
    let key = run.shard_key(shard);
    let object = ParquetObject::open(&run.output.bucket, &key).await?.ok_or_else(|| {
        Error::unavailable(format!("{key} was listed, but does not exist any more")).hint("ask again")
    })?;
    let said = object.key_values();
    let seconds = said.get(&in_file(SECONDS)).and_then(|seconds| seconds.parse::<f64>().ok());
    let counts = said.get(&in_file(COUNTS)).and_then(|json| serde_json::from_str::<Counts>(json).ok());
    let (Some(seconds), Some(counts)) = (seconds, counts.filter(|counts| counts.ok > 0)) else {
        return Ok(None);
    };
    Ok(Some(seconds / counts.tiles() as f64))
}
