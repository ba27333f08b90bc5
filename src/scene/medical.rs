//! What planning records of a medical image.

use serde::{Deserialize, Serialize};

use crate::vocabulary::kept_tag::KeptTag;
use crate::vocabulary::keys::Keys;
use crate::vocabulary::outcome::MedicalRow;

/// What an object says of a medical image: ids are keys already, nothing that may name a person is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MedicalImage {
    /// What holds for all frames.
    pub row: MedicalRow,
    /// Place of each frame along the normal of its plane, in millimetres; none where that is not known of any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slice_positions: Vec<Option<f64>>,
}

impl MedicalImage {
    /// Returns what a frame's row says.
    #[must_use]
    pub fn row(&self, frame: u32) -> MedicalRow {
        let slice_position = self.slice_positions.get(frame as usize).copied().flatten();
        MedicalRow { slice_position, ..self.row.clone() }
    }
}

/// What a table may tell of medical images.
#[derive(Clone, Debug)]
pub struct MedicalRules {
    /// Makes keys of ids; `None`: ids are told as they are, for public data.
    pub keys: Option<Keys>,
    /// Whether the day of a study is told: with keys, moved back by so many days per patient.
    pub tells_dates: bool,
    /// What becomes of images that may have text burned in.
    pub burned_in: BurnedIn,
    /// Attributes that are told beside those that have columns.
    pub keep_tags: Vec<KeptTag>,
}

impl Default for MedicalRules {
    /// Tells all: for looking at a file at hand.
    fn default() -> Self {
        Self { keys: None, tells_dates: true, burned_in: BurnedIn::Allow, keep_tags: Vec::new() }
    }
}

/// What becomes of images that may have text burned in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BurnedIn {
    /// They are rejected.
    Reject,
    /// They are marked.
    Flag,
    /// They are rows like any other.
    Allow,
}

impl BurnedIn {
    /// Returns the name, as in `privacy.burned_in`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Flag => "flag",
            Self::Allow => "allow",
        }
    }
}
