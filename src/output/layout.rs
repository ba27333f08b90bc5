//! Where a run's objects lie below the output: the only place that knows the names.
//!
//! ```text
//! tiles/run=<run-id>/shard-00000042.parquet
//! _tilefleet/<run-id>/{run.json, sources.parquet, summary.json, plan/part-00000.parquet, deleted.json,
//!                      replaces/<run-id>.json}
//! _tilefleet/<run-id>/attempts/source-00000042/<name>.json
//! _tilefleet/<run-id>/begun/shard-00000042-<name>.json
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::is_pipeline_name;
use crate::vocabulary::error::{Error, Result};

/// Maximum shards per part of the plan: parquet-rs refuses more than 32,767 row groups per file.
pub const SHARDS_PER_PART: u32 = 4096;

/// Identifies one run: `<pipeline name>-<8 hex of the fingerprint>-<sequence>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RunId {
    family: String,
    sequence: u32,
}

impl RunId {
    /// Creates the id of a pipeline's run with this sequence number, which starts at 1.
    #[must_use]
    pub fn new(pipeline_name: &str, fingerprint: &str, sequence: u32) -> Self {
        Self { family: format!("{pipeline_name}-{}", &fingerprint[..8]), sequence }
    }

    /// Parses a run id as written.
    ///
    /// # Errors
    ///
    /// `Usage` if the text is not of the form `name-8hex-sequence`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::usage(format!("`{text}` is not a run id"))
                .hint("a run id looks like `tiles-1a2b3c4d-0001`; `tilefleet runs OUTPUT` lists them")
        };
        let (family, sequence) = text.rsplit_once('-').ok_or_else(wrong)?;
        let (name, prefix) = family.rsplit_once('-').ok_or_else(wrong)?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if !is_pipeline_name(name) || prefix.len() != 8 || !prefix.bytes().all(is_hex) {
            return Err(wrong());
        }
        let sequence = sequence.parse().map_err(|_| wrong())?;
        let id = Self { family: family.to_owned(), sequence };
        // Ids name folders: another spelling, such as one with more zeros, would be another folder.
        if sequence == 0 || id.to_string() != text {
            return Err(wrong());
        }
        Ok(id)
    }

    /// Returns what runs of one pipeline and one fingerprint share.
    #[must_use]
    pub fn family(&self) -> &str {
        &self.family
    }

    /// Returns the pipeline's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.family.rsplit_once('-').map_or(&self.family, |(name, _)| name)
    }

    /// Returns the sequence number within the family.
    #[must_use]
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Returns the id in the same family with another sequence number.
    #[must_use]
    pub fn with_sequence(&self, sequence: u32) -> Self {
        Self { family: self.family.clone(), sequence }
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for RunId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:04}", self.family, self.sequence)
    }
}

/// Name of what accepts a run, in its record.
pub(super) const ACCEPTED: &str = "accepted.json";

/// Names the objects below one output, as keys of its bucket.
#[derive(Clone, Debug)]
pub struct Layout {
    prefix: String,
}

impl Layout {
    /// Creates the names below `prefix`, the key of the output's folder.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_matches('/').to_owned() }
    }

    fn below(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) }
    }

    /// Returns the folder of all runs' records.
    #[must_use]
    pub fn records(&self) -> String {
        self.below("_tilefleet/")
    }

    /// Returns the description of what all runs share.
    #[must_use]
    pub fn output_json(&self) -> String {
        self.below("_tilefleet/output.json")
    }

    /// Returns the object that shows whether the store has create-only writes.
    #[must_use]
    pub fn create_only_probe(&self) -> String {
        self.below("_tilefleet/create-only-probe.txt")
    }

    /// Returns the folder of one run's rows.
    #[must_use]
    pub fn rows(&self, run: &RunId) -> String {
        self.below(&format!("tiles/run={run}/"))
    }

    /// Returns the table's folder.
    #[must_use]
    pub fn table(&self) -> String {
        self.below("tiles/")
    }

    /// Returns the object of one shard.
    #[must_use]
    pub fn shard(&self, run: &RunId, shard: u32) -> String {
        format!("{}{}", self.rows(run), shard_name(shard))
    }

    /// Returns the folder of one run's record.
    #[must_use]
    pub fn record(&self, run: &RunId) -> String {
        self.below(&format!("_tilefleet/{run}/"))
    }

    /// Returns the immutable description of a run.
    #[must_use]
    pub fn run_json(&self, run: &RunId) -> String {
        format!("{}run.json", self.record(run))
    }

    /// Returns what says that a run is deleted.
    #[must_use]
    pub fn tombstone(&self, run: &RunId) -> String {
        format!("{}deleted.json", self.record(run))
    }

    /// Returns what says that `tiles` shows a run however much of it was rejected.
    #[must_use]
    pub fn accepted(&self, run: &RunId) -> String {
        format!("{}{ACCEPTED}", self.record(run))
    }

    /// Returns what says whether a compaction may delete a run that it replaces.
    #[must_use]
    pub fn replaces(&self, compaction: &RunId, replaced: &RunId) -> String {
        format!("{}replaces/{replaced}.json", self.record(compaction))
    }

    /// Returns the table of a run's sources.
    #[must_use]
    pub fn sources(&self, run: &RunId) -> String {
        format!("{}sources.parquet", self.record(run))
    }

    /// Returns the final counts of a run.
    #[must_use]
    pub fn summary(&self, run: &RunId) -> String {
        format!("{}summary.json", self.record(run))
    }

    /// Returns one part of a run's plan.
    #[must_use]
    pub fn plan_part(&self, run: &RunId, part: u32) -> String {
        format!("{}plan/part-{part:05}.parquet", self.record(run))
    }

    /// Returns the folder of the records of what was erased.
    #[must_use]
    pub fn erasures(&self) -> String {
        self.below("_tilefleet/erasures/")
    }

    /// Returns the folder of what was tried in vain.
    #[must_use]
    pub fn attempts(&self, run: &RunId) -> String {
        format!("{}attempts/", self.record(run))
    }

    /// Returns the folder of the tries on one source.
    #[must_use]
    pub fn attempts_on(&self, run: &RunId, source_id: u64) -> String {
        format!("{}source-{source_id:08}/", self.attempts(run))
    }

    /// Returns the folder of notes on shards that are being worked on.
    #[must_use]
    pub fn begun(&self, run: &RunId) -> String {
        format!("{}begun/", self.record(run))
    }

    /// Returns the folder on the output's file system where local writes are staged.
    #[must_use]
    pub fn staging(&self) -> String {
        self.below("_tilefleet/.staging/")
    }
}

/// Returns the file name of a shard's rows.
#[must_use]
pub fn shard_name(shard: u32) -> String {
    format!("shard-{shard:08}.parquet")
}

/// Returns the shard that a file name stands for; `None` for any other file.
#[must_use]
pub fn shard_of_name(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("shard-")?.strip_suffix(".parquet")?;
    (digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_read_back_as_written() {
        let id = RunId::new("chest-xray", "1a2b3c4d5e6f", 7);
        assert_eq!(id.to_string(), "chest-xray-1a2b3c4d-0007");
        assert_eq!(RunId::parse("chest-xray-1a2b3c4d-0007").unwrap(), id);
        assert_eq!(id.with_sequence(8).to_string(), "chest-xray-1a2b3c4d-0008");
        assert_eq!(RunId::parse("tiles-1a2b3c4d-12345").unwrap().sequence(), 12_345);
        for wrong in ["", "x", "tiles-0001", "tiles-1a2b3c4-0001", "tiles-1a2b3c4d-1", "-1a2b3c4d-0001"] {
            assert!(RunId::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// An id that is read back from a record names a folder that may be deleted.
    #[test]
    fn no_id_leads_out_of_the_output() {
        let long = format!("{}-1a2b3c4d-0001", "a".repeat(42));
        for wrong in [
            "../../photos-20261128-1200",
            "/photos-20261128-1200",
            "a/b-20261128-1200",
            "a\\b-20261128-1200",
            "a%2fb-20261128-1200",
            "..-20261128-1200",
            "a b-20261128-1200",
            "a\0-20261128-1200",
            "Photos-20261128-1200",
            "photos-2026112A-1200",
            "photos-20261128-00001",
            "photos-20261128-0000",
            "photos-20261128-+001",
            "photos-20261128-99999999999",
            &long,
        ] {
            assert!(RunId::parse(wrong).is_err(), "{wrong}");
            assert!(serde_json::from_value::<RunId>(wrong.into()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shard_names_read_back_as_written() {
        assert_eq!(shard_of_name(&shard_name(42)), Some(42));
        for wrong in ["shard-42.parquet", "shard-00000042.parquet#1", "shard-0000004x.parquet", "x"] {
            assert_eq!(shard_of_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_output_at_the_root_of_a_bucket_has_no_leading_slash() {
        let id = RunId::new("tiles", "1a2b3c4d", 1);
        assert_eq!(Layout::new("").shard(&id, 3), "tiles/run=tiles-1a2b3c4d-0001/shard-00000003.parquet");
        assert_eq!(Layout::new("/out/").records(), "out/_tilefleet/");
    }
}
