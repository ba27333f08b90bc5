//! What makes two runs the same work: the fingerprint, and the lineage that one output keeps.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Version of what the fingerprint covers; a change of meaning of a row raises it.
const FINGERPRINT_VERSION: u32 = 1;

/// Everything that changes a row's meaning. Not here: tool version, provider, batch size, threads, so
/// that mixed fleets and rolling upgrades share a run.
#[derive(Clone, Debug, Serialize)]
pub struct Meaning<'a> {
    /// SHA-256 of the model's bytes.
    pub model_digest: &'a str,
    /// What the contract in force means, with the pipeline's overrides applied.
    pub contract: &'a crate::model::contract::Contract,
    /// Numeric precision of the model's arithmetic.
    pub precision: &'a str,
    /// Element type of the written embedding.
    pub embedding_type: &'a str,
    /// Length of `top_k`.
    pub top_k: usize,
    /// How scenes are cut into windows; left out where every source is one tile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiling: Option<&'a crate::scene::Tiling>,
}

impl Meaning<'_> {
    /// Returns the fingerprint: 64 hex digits.
    ///
    /// # Errors
    ///
    /// `Bug` if the contract cannot be written as JSON.
    pub fn fingerprint(&self) -> Result<String> {
        digest_of(&(FINGERPRINT_VERSION, self))
    }
}

/// What all runs of one output share, so that their rows can be read as one table.
#[derive(Clone, Debug, Serialize)]
pub struct Lineage<'a> {
    /// The table's columns and types.
    pub schema: String,
    /// How logits became scores.
    pub activation: Option<crate::model::contract::Activation>,
    /// Number of classes.
    pub num_classes: Option<usize>,
    /// Class names; another list would give `class_id` another meaning.
    pub labels: Option<&'a [String]>,
}

impl Lineage<'_> {
    /// Returns the lineage's digest: 64 hex digits.
    ///
    /// # Errors
    ///
    /// `Bug` if the lineage cannot be written as JSON.
    pub fn digest(&self) -> Result<String> {
        digest_of(self)
    }
}

/// Returns the SHA-256 of a value's canonical JSON: serde writes struct fields in declared order.
fn digest_of(value: &impl Serialize) -> Result<String> {
    let json =
        serde_json::to_vec(value).map_err(|error| Error::bug("cannot digest a value").because(error))?;
    Ok(hex(&Sha256::digest(&json)))
}

/// Writes bytes as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
