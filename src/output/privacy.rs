//! How the sources of an output are named, and where the URIs are kept that its names stand for.
//!
//! ```text
//! output.json: policy, key id, folder ─────────┐
//! _tilefleet/<run>/sources.parquet: names      │    whoever has key and vault
//!                                              ▼
//! <vault>/<folder>/_tilefleet/<run>/sources.parquet: URIs, versions, sizes, items
//! ```
//!
//! The folder of an output in its vault is drawn by chance when the output is begun, so that outputs may share a vault, and
//! one that is begun anew never adopts what another has elected.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lineage::OutputRecord;
use super::run::Output;
use crate::config::{Privacy, PrivacyPolicy, Secrets};
use crate::input::storage::{ObjectUri, Scheme, Storage};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::keys::Keys;
use crate::vocabulary::process::Process;

/// What a run or an output records of `[privacy]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivacyRecord {
    /// `pseudonyms` or `none`.
    pub policy: String,
    /// Which key made the names, see [`Keys::id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

impl PrivacyRecord {
    /// Describes a policy, and the key that it uses.
    #[must_use]
    pub fn new(privacy: &Privacy, keys: Option<&Keys>) -> Self {
        Self { policy: privacy.policy.name().to_owned(), key_id: keys.map(Keys::id) }
    }

    /// Returns whether sources have pseudonyms.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.policy == PrivacyPolicy::Pseudonyms.name()
    }
}

/// What all runs of an output with pseudonyms share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPrivacy {
    /// The policy, and the id of its key.
    #[serde(flatten)]
    pub record: PrivacyRecord,
    /// The output's folder in its vault.
    pub folder: String,
}

impl OutputPrivacy {
    /// Begins an output; `None` if it has no pseudonyms.
    #[must_use]
    pub fn begin(record: Option<&PrivacyRecord>, process: &Process) -> Option<Self> {
        let record = record.filter(|record| record.is_secret())?.clone();
        let folder = hex::encode(&Sha256::digest(process.unique_name())[..16]);
        Some(Self { record, folder })
    }

    /// Refuses to mix names: of two keys, or with URIs.
    ///
    /// - `theirs`, `ours`: `None` without pseudonyms
    ///
    /// # Errors
    ///
    /// `Config` if they differ.
    pub fn check(theirs: Option<&Self>, ours: Option<&PrivacyRecord>, output: &Output) -> Result<()> {
        let uri = &output.uri;
        let ours = ours.filter(|ours| ours.is_secret());
        let (what, hint) = match (theirs, ours) {
            (None, None) => return Ok(()),
            (Some(theirs), Some(ours)) if theirs.record == *ours => return Ok(()),
            (Some(theirs), Some(ours)) => {
                let id = |record: &PrivacyRecord| record.key_id.clone().unwrap_or_default();
                let (theirs, ours) = (id(&theirs.record), id(ours));
                (
                    format!("two keys in one output: the names in {uri} were made with the key {theirs}, not {ours}"),
                    format!(
                        "name the file of the key {theirs}, or choose another output: with two keys one source would \
                         have two names"
                    ),
                )
            }
            (Some(_), None) => (
                format!("the sources in {uri} have pseudonyms, and this pipeline would show their URIs"),
                "set `privacy.policy = \"pseudonyms\"` with the output's key and vault, or choose another output"
                    .to_owned(),
            ),
            (None, Some(_)) => (
                format!("{uri} shows the URIs of its sources, and this pipeline gives them pseudonyms"),
                "choose another output with --output: what this one has written cannot be unsaid".to_owned(),
            ),
        };
        Err(Error::config(what).hint(hint))
    }
}

impl Output {
    /// Names the output at `uri`, with the key and the vault that its record asks for.
    ///
    /// # Errors
    ///
    /// `Config` if the output has pseudonyms and key or vault is missing, or the key is another; as the store answers.
    pub async fn unlocked(
        storage: &Storage,
        uri: &ObjectUri,
        process: std::sync::Arc<Process>,
        secrets: &Secrets,
    ) -> Result<Self> {
        let output = Self::open(storage, uri, process.clone());
        let Some(privacy) = output.privacy().await? else { return Ok(output) };
        let locked = |what: &str| locked(&output, what);
        let vault = secrets.vault.as_deref().ok_or_else(|| locked("vault"))?;
        let keys = secrets.keys().map_err(|error| locked("key").because(error))?;
        let ours = PrivacyRecord { key_id: Some(keys.id()), ..privacy.record.clone() };
        OutputPrivacy::check(Some(&privacy), Some(&ours), &output)?;
        let storage = storage.clone().naming_sources(keys.naming());
        Self::open(&storage, uri, process).with_vault_at(&storage, vault)
    }

    /// Returns what its record says of pseudonyms; `None` if it has none.
    ///
    /// # Errors
    ///
    /// As [`OutputRecord::read`].
    pub async fn privacy(&self) -> Result<Option<OutputPrivacy>> {
        Ok(OutputRecord::read(self).await?.and_then(|record| record.privacy))
    }

    /// Refuses to copy or rewrite rows whose names nobody here can make.
    ///
    /// # Errors
    ///
    /// `Config` if the output has pseudonyms, and was opened without key and vault; as the store answers.
    pub async fn check_unlocked(&self) -> Result<()> {
        let is_locked = !self.naming.is_secret() && self.privacy().await?.is_some();
        if is_locked { Err(locked(self, "key and vault")) } else { Ok(()) }
    }

    /// Returns the same output, whose vault is in the folder or bucket prefix `uri`.
    ///
    /// # Errors
    ///
    /// `Config` if that is no place that can be written, or within the output.
    pub fn with_vault_at(self, storage: &Storage, uri: &str) -> Result<Self> {
        let vault = ObjectUri::parse(uri)?;
        if vault.scheme().is_http() {
            return Err(Error::config(format!("{vault} cannot be a vault"))
                .because("web servers do not accept files")
                .hint("name a local folder, s3://, gs:// or az://"));
        }
        if vault.is_within(&self.uri) || real(&vault).is_within(&real(&self.uri)) {
            return Err(Error::config(format!("the vault {vault} lies in the output {}", self.uri)).hint(
                "name a place outside of it: whoever may read the table must not be able to read which URI a pseudonym \
                 stands for",
            ));
        }
        let vault = Self::open(storage, &vault, self.process.clone());
        Ok(self.with_vault(vault))
    }
}

fn locked(output: &Output, what: &str) -> Error {
    Error::config(format!("the sources in {} have pseudonyms, and their {what} is not given", output.uri)).hint(
        "give --vault URI and --key-file FILE, or set TILEFLEET_PRIVACY_VAULT and TILEFLEET_PRIVACY_KEY_FILE or \
         TILEFLEET_PRIVACY_KEY",
    )
}

/// Follows the links that lead to a local folder, as far as it exists.
fn real(uri: &ObjectUri) -> ObjectUri {
    if uri.scheme() != Scheme::File {
        return uri.clone();
    }
    let Some(path) = uri.local_path() else { return uri.clone() };
    let found = path.ancestors().find_map(|folder| Some((folder, folder.canonicalize().ok()?)));
    let real = found.and_then(|(folder, real)| {
        let rest = path.strip_prefix(folder).ok()?;
        ObjectUri::from_path(&real.join(rest)).ok()
    });
    real.unwrap_or_else(|| uri.clone())
}
