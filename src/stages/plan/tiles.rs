//! Cuts sources into tiles, and says how many a shard holds.

use std::sync::Arc;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};

use crate::output::election::{MAX_SHARD_BYTES, ROW_OVERHEAD_BYTES};
use crate::output::{PlannedTile, RunId, SourceTable};
use crate::scene::Tiling;
use crate::stages::survey::windows::tiles_of;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::words::counted;

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
        stream::iter(tiles_of(id, &source.uri.name(), survey, tiling.as_deref(), shard_tiles).map(Ok))
    });
    Ok(tiles.try_flatten().boxed())
}

/// Refuses to mix runs of two fingerprints whose ids begin alike.
///
/// # Errors
///
/// `Config` if they differ.
pub fn check_fingerprint(id: &RunId, theirs: &str, ours: &str) -> Result<()> {
    if theirs == ours {
        return Ok(());
    }
    Err(Error::config(format!("run {id} was planned for another fingerprint ({theirs}, not {ours})"))
        .hint("give the pipeline another name, or choose another output"))
}

/// About how many shards a run gets if its pipeline does not fix their size,
const AUTO_SHARDS: u64 = 32;
/// and the side of the largest: sizes are squares, so that a shard of a scene is a whole block of windows.
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
    fn a_run_has_about_32_shards_of_256_to_4096_tiles() {
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
