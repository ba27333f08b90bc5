//! `_tilefleet/output.json`: what all runs of one output share, so that their rows are one table.
//!
//! Written create-only before the first run's sources: of two pipelines that start at once on a new
//! output, one decides, and the other is refused unless its rows fit.

use arrow::datatypes::Fields;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::input::storage::StoreError;
use crate::output::privacy::{OutputPrivacy, PrivacyRecord};
use crate::output::run::Output;
use crate::vocabulary::error::{Error, Result};

/// The record is small; a larger one is not ours.
const MAX_RECORD_BYTES: u64 = 1 << 20;

/// What all runs of one output share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecord {
    /// Digest of columns, activation and classes.
    pub lineage: String,
    /// The same for people.
    pub description: String,
    /// The manifest's columns, `name: type`; empty without a manifest.
    pub extra: Vec<String>,
    /// Set if sources have pseudonyms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<OutputPrivacy>,
}

impl OutputRecord {
    /// Describes the runs of one lineage over these manifest columns.
    #[must_use]
    pub fn new(lineage: &str, description: &str, extra: Option<&Fields>) -> Self {
        let column = |field: &arrow::datatypes::FieldRef| format!("{}: {}", field.name(), field.data_type());
        let extra = extra.into_iter().flatten().map(column).collect();
        Self { lineage: lineage.to_owned(), description: description.to_owned(), extra, privacy: None }
    }

    /// Returns the same, whose sources have pseudonyms.
    #[must_use]
    pub fn with_privacy(self, privacy: Option<OutputPrivacy>) -> Self {
        Self { privacy, ..self }
    }

    /// Reads the record of an output; `None` if no run was ever planned there.
    ///
    /// # Errors
    ///
    /// As the store answers; `Config` if the record is damaged.
    pub async fn read(output: &Output) -> Result<Option<Self>> {
        let key = output.layout.output_json();
        let object = match output.bucket.get(&key, MAX_RECORD_BYTES).await {
            Ok(object) => object,
            Err(StoreError::Gone) => return Ok(None),
            Err(fault) => return Err(fault.into_error(&key)),
        };
        let record = serde_json::from_slice(&object.bytes);
        let damaged = |error| {
            Error::config(format!("{} is damaged", output.bucket.uri(&key))).because(error).hint(
                "restore the file, or choose another output; the rows in the table's folder are untouched",
            )
        };
        Ok(Some(record.map_err(damaged)?))
    }

    /// Makes this the output's record, or finds that the one there is the same.
    ///
    /// # Errors
    ///
    /// `Config` if the output has another lineage or other manifest columns; as the store answers.
    pub async fn elect(&self, output: &Output) -> Result<()> {
        if let Some(theirs) = Self::read(output).await? {
            return self.check(&theirs, output);
        }
        let json = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::bug("cannot write the output's record").because(error))?;
        output.elect(&output.layout.output_json(), Bytes::from(json)).await?;
        let elected = Self::read(output).await?;
        let unseen = || {
            let uri = output.bucket.uri(&output.layout.output_json());
            Error::unavailable(format!("{uri} was written, but does not exist"))
        };
        let elected = elected.ok_or_else(unseen)?;
        self.check(&elected, output)
    }

    /// Finds out whether [`Self::elect`] would refuse, writing nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::elect`].
    pub async fn check_fits(&self, output: &Output) -> Result<()> {
        match Self::read(output).await? {
            Some(theirs) => self.check(&theirs, output),
            None => Ok(()),
        }
    }

    fn check(&self, theirs: &Self, output: &Output) -> Result<()> {
        theirs.check_privacy(self.privacy.as_ref().map(|privacy| &privacy.record), output)?;
        theirs.check_lineage(&self.lineage, output)?;
        if theirs.extra == self.extra {
            return Ok(());
        }
        let list =
            |columns: &[String]| if columns.is_empty() { "none".to_owned() } else { columns.join(", ") };
        Err(Error::config(format!(
            "the manifest's columns ({}) differ from those of the output {} ({})",
            list(&self.extra),
            output.uri,
            list(&theirs.extra)
        ))
        .hint("choose another output with --output, or give the manifest the same columns"))
    }

    /// Refuses a pipeline that names sources in another way, or with another key.
    ///
    /// # Errors
    ///
    /// `Config` if it does.
    pub fn check_privacy(&self, ours: Option<&PrivacyRecord>, output: &Output) -> Result<()> {
        OutputPrivacy::check(self.privacy.as_ref(), ours, output)
    }

    /// Refuses a pipeline whose rows would not fit this output's table.
    ///
    /// # Errors
    ///
    /// `Config` if the lineages differ.
    pub fn check_lineage(&self, lineage: &str, output: &Output) -> Result<()> {
        if self.lineage == lineage {
            return Ok(());
        }
        Err(Error::config(format!(
            "the output {} has another schema: it contains {}, and this pipeline's rows do not fit into the \
             same table",
            output.uri, self.description
        ))
        .hint("choose another output with --output: one output keeps one embedding size, one list of classes and one set of columns"))
    }
}
