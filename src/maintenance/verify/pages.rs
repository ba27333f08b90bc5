//! The pages of a committed shard against their checksums.

use std::ops::Range;

use futures::TryStreamExt;

use crate::output::table::{StoredEmbeddings, StoredPart};
use crate::output::{Checksums, ParquetObject, check_rest};
use crate::vocabulary::error::Result;

/// Bytes of embeddings that are read at once.
const PART_BYTES: u64 = 4 << 20;

/// Reads and decodes every page of a file, opened with its page index, and compares each with its checksum.
///
/// Memory: the rows of the file without their embeddings, and 4 MiB of these.
///
/// # Errors
///
/// As [`check_rest`].
pub(super) async fn check_pages(object: &ParquetObject) -> Result<Checksums> {
    let checksums = check_rest(object).await?;
    let names: Vec<&str> = object.schema().fields().iter().map(|field| field.name().as_str()).collect();
    let others: Vec<&str> = names.into_iter().filter(|name| *name != "embedding").collect();
    object.read_columns(&others).await?;
    for (group, metadata) in object.parquet().row_groups().iter().enumerate() {
        let num_rows = metadata.num_rows() as usize;
        match StoredEmbeddings::of(object.parquet(), object.schema(), group) {
            Some(stored) => {
                for part in stored.parts(PART_BYTES) {
                    check_part(object, group, &part, checksums).await?;
                }
            }
            None if checksums == Checksums::Agree => return Err(unlike_ours(object, group, &(0..num_rows))),
            None => decode(object, group, 0..num_rows).await?,
        }
    }
    Ok(checksums)
}

async fn check_part(object: &ParquetObject, group: usize, part: &StoredPart, known: Checksums) -> Result<()> {
    let bytes = object.read_bytes(part.bytes.clone()).await?;
    if known == Checksums::Agree && !part.is_sound(&bytes) {
        return Err(unlike_ours(object, group, &part.rows));
    }
    if part.visit(&bytes, |_, _| {}) {
        return Ok(());
    }
    decode(object, group, part.rows.clone()).await
}

/// Lets Parquet's own reader decode embeddings: it says what is wrong.
async fn decode(object: &ParquetObject, group: usize, rows: Range<usize>) -> Result<()> {
    object.stream_rows(group, rows, &["embedding"])?.try_for_each(|_| async { Ok(()) }).await
}

fn unlike_ours(object: &ParquetObject, group: usize, rows: &Range<usize>) -> crate::vocabulary::error::Error {
    let (first, last) = (rows.start, rows.end.saturating_sub(1));
    object.damaged(&format!(
        "a page of embeddings in rows {first} to {last} of row group {group} does not match its checksum"
    ))
}
