//! Files against their checksums.

use std::ops::Range;

use bytes::Bytes;

use crate::output::parquet_object::ParquetObject;
use crate::output::run::Run;
use crate::output::table::checksum;
use crate::output::table::checksum::Check;
use crate::output::{Election, source_bytes};
use crate::vocabulary::error::{Error, Result};

/// Bytes that are read at once.
const PIECE_BYTES: u64 = 16 << 20;

/// Whether a file has checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// It has, and what was read agrees with them.
    Agree,
    /// It is of a build that wrote none.
    Absent,
}

/// Reads all of a file but a shard's embeddings and compares that with its checksum.
///
/// Memory: 32 MiB, and the footer.
///
/// # Errors
///
/// As the store answers; that the file is damaged if they do not agree.
pub async fn check_rest(object: &ParquetObject) -> Result<Checksums> {
    let covered = checksum::covered(object.parquet(), object.size_bytes());
    let mut covered =
        covered.ok_or_else(|| object.damaged("its columns are not stored one after the other"))?;
    let last = covered.pop().unwrap_or_default();
    let tail = read_tail(object, &last).await?;
    covered.push(last.start..last.end - tail.len() as u64);
    let Some(mut check) = Check::of(tail) else { return Ok(Checksums::Absent) };
    for range in covered {
        for start in range.clone().step_by(PIECE_BYTES as usize) {
            let piece = object.read_bytes(start..range.end.min(start + PIECE_BYTES)).await?;
            check.add(&piece);
        }
    }
    if check.agrees() {
        return Ok(Checksums::Agree);
    }
    Err(object.damaged("its content does not match its checksum"))
}

/// Reads the last bytes of the range that ends with the file: so many that the footer is among them.
async fn read_tail(object: &ParquetObject, last: &Range<u64>) -> Result<Bytes> {
    let from = |bytes: u64| last.end.saturating_sub(bytes).max(last.start)..last.end;
    let tail = object.read_bytes(from(PIECE_BYTES)).await?;
    match checksum::footer_bytes(&tail) {
        Some(footer) if footer <= tail.len() as u64 => Ok(tail),
        Some(footer) if footer <= last.end - last.start => object.read_bytes(from(footer)).await,
        // Without its beginning the checksum would not be found, and the file be taken for one that has none.
        _ => Err(object.damaged("its columns reach into its footer")),
    }
}

impl Run {
    /// Compares the table of sources and the plan with their checksums, and the record with what was decided
    /// with the sources. Returns how many of these files have none: they are of an earlier build.
    ///
    /// # Errors
    ///
    /// As the store answers; that a file is damaged, or `Config` if the record is.
    pub async fn check_plan(&self) -> Result<u64> {
        let sources = check_rest(self.sources.object()).await?;
        if sources == Checksums::Agree {
            self.check_record()?;
        }
        let mut num_without = u64::from(sources == Checksums::Absent);
        for number in 0..self.num_parts() {
            let part = check_rest(self.part(number).await?.object()).await?;
            num_without += u64::from(part == Checksums::Absent);
        }
        Ok(num_without)
    }

    /// Holds the record against what was elected with the sources. Records of earlier builds do not say all of it.
    fn check_record(&self) -> Result<()> {
        let (election, record) = (Election::of(&self.sources, &self.id)?, &self.record);
        let differs = |ours: bool, same: bool| ours && !same;
        let max_reject_ratio = record.max_reject_ratio;
        let pairs = [
            ("fingerprint", record.fingerprint != election.fingerprint),
            ("origin", record.origin != election.origin),
            ("planned_at", differs(record.planned_at.is_some(), record.planned_at == election.planned_at)),
            ("as_of", differs(record.as_of.is_some(), record.as_of == election.as_of)),
            (
                "max_reject_ratio",
                differs(max_reject_ratio.is_some(), max_reject_ratio == election.max_reject_ratio),
            ),
            ("plan.shard_tiles", record.plan.shard_tiles != election.shard_tiles),
            ("plan.sources", record.plan.sources != self.sources.num_sources()),
            ("plan.source_bytes", record.plan.source_bytes != source_bytes(&self.sources)),
        ];
        let Some((field, _)) = pairs.into_iter().find(|(_, differs)| *differs) else { return Ok(()) };
        let key = self.output.layout.run_json(&self.id);
        Err(Error::config(format!("the run record {} is damaged", self.output.bucket.uri(&key)))
            .because(format!("`{field}` differs from sources.parquet, whose checksum is right"))
            .hint("restore the record from a copy; the rows in the table's folder are untouched"))
    }
}
