//! Commits a shard: one create-only PUT makes its rows exist.
//!
//! ```text
//! PUT if absent ─▶ created ───────────────▶ ours
//!       │
//!       ├─▶ exists ─┐
//!       └─▶ unclear ┴▶ look ─▶ absent ────▶ again
//!                       ├────▶ same run ──▶ ours, or that of a worker beside us
//!                       └────▶ another ───▶ stop loudly
//! ```
//!
//! Goes in: an encoded shard. Comes out: who committed it. Rejects travel in the same object, since a
//! store cannot commit two keys together.

use std::time::Duration;

use bytes::Bytes;

use crate::input::storage::{Bucket, Put};
use crate::output::provenance::Provenance;
use crate::output::{Output, ParquetObject, Run, contradicts_itself};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::outcome::CommittedBy;

/// How often an unclear answer is checked before the shard is left open.
const MAX_ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// Makes a shard's rows exist, unless their run is deleted: then nothing of them stays.
///
/// The deletion of a run lists what to remove after its tombstone is there. So whoever sees no tombstone
/// after the PUT leaves nothing that the deletion does not remove.
///
/// # Errors
///
/// `Unavailable` if the run is deleted; else as [`commit`].
pub async fn commit_shard(
    run: &Run,
    shard: u32,
    bytes: Bytes,
    provenance: &Provenance,
) -> Result<CommittedBy> {
    let (output, key) = (&run.output, run.shard_key(shard));
    let deleted = || Error::unavailable(format!("run {} was deleted, including {key}", run.id));
    if output.is_deleted(&run.id).await? {
        return Err(deleted());
    }
    let committed = commit(output, &key, bytes, provenance).await?;
    if output.is_deleted(&run.id).await? {
        output.bucket.delete(&key).await?;
        output.bucket.remove_empty_folders(&output.layout.rows(&run.id)).await?;
        return Err(deleted());
    }
    Ok(committed)
}

/// Makes a shard's rows exist.
///
/// - `bytes`: the whole Parquet file, with `provenance` as its metadata
///
/// # Errors
///
/// `Unavailable` if the store gives no clear answer: the shard stays open. `Config` if the object
/// exists and is of another run or fingerprint.
pub async fn commit(
    output: &Output,
    key: &str,
    bytes: Bytes,
    provenance: &Provenance,
) -> Result<CommittedBy> {
    let (bucket, mut attempt) = (&output.bucket, 1);
    loop {
        let failure = match bucket.put_new(key, bytes.clone()).await {
            Ok(Put::Created) => return Ok(CommittedBy::Ours),
            Ok(Put::Exists) => None,
            Err(error) if error.kind() == Kind::Unavailable => Some(error),
            Err(error) => return Err(error),
        };
        match look(bucket, key, provenance).await {
            Ok(Some(committed)) => return Ok(committed),
            Err(error) if error.kind() != Kind::Unavailable => return Err(error),
            Ok(None) if attempt == MAX_ATTEMPTS => {
                return Err(failure.unwrap_or_else(|| contradicts_itself(bucket, key)));
            }
            Err(error) if attempt == MAX_ATTEMPTS => return Err(error),
            Ok(None) | Err(_) => {}
        }
        output.process.sleep(output.process.jittered(PAUSE * attempt)).await;
        attempt += 1;
    }
}

/// Reads whose object lies at `key`; `None` if there is none.
async fn look(bucket: &Bucket, key: &str, provenance: &Provenance) -> Result<Option<CommittedBy>> {
    let Some(found) = ParquetObject::open(bucket, key).await? else { return Ok(None) };
    match provenance.compare(&found.key_values()) {
        Some(committed) => Ok(Some(committed)),
        None => Err(Error::config(format!("{key} already exists and has rows of another run"))
            .hint("nothing was overwritten; move that object away, or choose another output")),
    }
}
