//! What makes two runs the same work: the fingerprint, and the lineage that one output keeps.

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::vocabulary::error::{Error, Result};

/// Version of what the fingerprint covers; a change of meaning of a row raises it.
const FINGERPRINT_VERSION: u32 = 1;

/// Everything that changes a row's meaning. Not here: tool version, provider, batch size, threads, so
/// that mixed fleets and rolling upgrades share a run.
#[derive(Clone, Debug, Serialize)]
pub struct FingerprintInput<'a> {
    /// SHA-256 of the model's bytes.
    pub model_digest: &'a str,
    /// What the contract in force means, with the pipeline's overrides applied.
    pub contract: &'a crate::vocabulary::contract::Contract,
    /// Numeric precision of the model's arithmetic.
    pub precision: &'a str,
    /// Element type of the written embedding.
    pub embedding_type: &'a str,
    /// Length of `top_k`.
    pub top_k: usize,
    /// How scenes are cut into windows; left out where every source is one tile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiling: Option<&'a crate::scene::Tiling>,
    /// How sources are named and what is kept of them; left out where they are named by their URIs, and all is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy: Option<PrivacyMeaning<'a>>,
}

/// What of `[privacy]` changes rows.
#[derive(Clone, Debug, Serialize)]
pub struct PrivacyMeaning<'a> {
    /// The policy.
    pub policy: &'a str,
    /// Which key makes the names; empty without pseudonyms.
    pub key_id: String,
    /// What becomes of dates.
    pub dates: &'a str,
    /// Keywords of attributes of DICOM that are kept, in the order of their tags.
    pub keep_tags: Vec<&'static str>,
    /// What becomes of images that may have text burned in.
    pub burned_in: &'a str,
}

impl FingerprintInput<'_> {
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
pub struct OutputSchemaId<'a> {
    /// The table's columns and types.
    pub schema: String,
    /// How logits became scores.
    pub activation: Option<crate::vocabulary::contract::Activation>,
    /// Number of classes.
    pub num_classes: Option<usize>,
    /// Class names; another list would give `class_id` another meaning.
    pub labels: Option<&'a [String]>,
    /// Which key makes the names of sources; left out where they are named by their URIs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

impl OutputSchemaId<'_> {
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
    Ok(hex::encode(Sha256::digest(&json)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::contract::Target;
    use crate::vocabulary::contract::{Contract, Quantisation};

    const CONTRACT: &str = r#"{"contract":1,"name":"toy","input":{"tensor":"x","layout":"nhwc","sample_type":"uint8","bands":["red"],"unit":"dn","width":8,"height":8,"accept":{"grey":"reject","alpha":"reject","sixteen_bit":"reject"}},"output":{"embedding":"e","embedding_length":4}}"#;

    fn fingerprint(contract: &Contract) -> String {
        let contract = contract.meaning();
        let model_digest = "00ff";
        let meaning = FingerprintInput {
            model_digest,
            contract: &contract,
            precision: "fp32",
            embedding_type: "float32",
            top_k: 5,
            tiling: None,
            privacy: None,
        };
        meaning.fingerprint().unwrap()
    }

    /// Existing runs are resumed: what was hashed before there were int8 models is hashed now.
    #[test]
    fn the_fingerprint_of_an_fp32_model_stays() {
        let before = format!(
            r#"[1,{{"model_digest":"00ff","contract":{CONTRACT},"precision":"fp32","embedding_type":"float32","top_k":5}}]"#
        );
        let contract = Contract::from_json(CONTRACT).unwrap();
        assert_eq!(fingerprint(&contract), hex::encode(Sha256::digest(before)));
    }

    #[test]
    fn how_a_model_was_quantised_is_no_part_of_it() {
        let plain = Contract::from_json(CONTRACT).unwrap();
        let record = Quantisation {
            target: Target::Cpu,
            weights: None,
            method: "minmax".to_owned(),
            source_digest: "aa".to_owned(),
            assumed_contract: false,
            calibration_tiles: 2,
            held_out_tiles: 1,
            cosine_mean: 0.999,
            cosine_min: 0.99,
            top1_agreement: None,
            logits_error: None,
            int8_layers: 1,
            float_layers: Vec::new(),
            probes: Vec::new(),
        };
        let recorded = Contract { quantisation: Some(record), ..plain.clone() };
        assert_eq!(fingerprint(&plain), fingerprint(&recorded));
        assert_ne!(plain.digest().unwrap(), recorded.digest().unwrap(), "the contract's own digest has it");
    }
}
