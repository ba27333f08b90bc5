//! One row of the table, before it is columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use crate::vocabulary::geometry::Window;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::tile_id::TileId;

/// One tile and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TileRow {
    /// The tile's name.
    pub tile_id: TileId,
    /// Canonical URI of the source.
    pub source: SourceUri,
    /// `ETag` or version; for a local file, size and modification time.
    pub source_version: Option<Arc<str>>,
    /// Resolution step of the source; 0 is full size.
    pub level: u32,
    /// Frame of the source; 0 where it has only one.
    pub frame: u32,
    /// Pixel rectangle at `level`; `None` for a source that is one tile.
    pub window: Option<Window>,
    /// What became of it.
    pub outcome: Outcome,
    /// Where it lies on the Earth, and how much of it is there; for windows of scenes.
    pub geo: Option<Box<GeoRow>>,
    /// What is said of it as a medical image; for frames of DICOM objects.
    pub medical: Option<Box<MedicalRow>>,
}

/// What an object says of a medical image. What may name a person or a place is a key, or is missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MedicalRow {
    /// Modality (0008,0060), such as `CT`.
    pub modality: Option<Arc<str>>,
    /// Key of the patient: issuer and id.
    pub patient_key: Option<Arc<str>>,
    /// Key of the study's UID.
    pub study_key: Option<Arc<str>>,
    /// Key of the series' UID.
    pub series_key: Option<Arc<str>>,
    /// Key of the instance's UID.
    pub instance_key: Option<Arc<str>>,
    /// UID of the SOP class, which says what kind of object it is.
    pub sop_class: Option<Arc<str>>,
    /// UID of the transfer syntax.
    pub transfer_syntax: Option<Arc<str>>,
    /// Photometric interpretation as stored.
    pub photometric: Option<Arc<str>>,
    /// Bits stored.
    pub bits_stored: Option<u16>,
    /// Place of the frame along the normal of its plane, in millimetres (PS3.3 C.7.6.2.1.1).
    pub slice_position: Option<f64>,
    /// Distance of rows and of columns, in millimetres.
    pub pixel_spacing: Option<[f64; 2]>,
    /// Direction cosines of a row and of a column (PS3.3 C.7.6.2.1.1).
    pub orientation: Option<[f64; 6]>,
    /// `L`, `R`, `B` or `U`.
    pub laterality: Option<Arc<str>>,
    /// View position (0018,5101), such as `PA`.
    pub view_position: Option<Arc<str>>,
    /// Day of the study in days since 1970, shifted or as it is; null unless asked for.
    pub study_date: Option<i32>,
    /// How stored values became the model's input.
    pub preset: Option<Arc<str>>,
    /// Microns per pixel; for slides.
    pub mpp: Option<f64>,
    /// Whether text may be burned into the pixels.
    pub may_be_burned_in: Option<bool>,
    /// Values of attributes that are kept, by keyword; none of those that are absent.
    #[serde(skip_serializing_if = "has_no_tags")]
    pub tags: Arc<BTreeMap<String, String>>,
}

impl MedicalRow {
    /// Returns whose image it is and from when, and nothing else.
    #[must_use]
    pub fn whose(&self) -> Self {
        Self {
            patient_key: self.patient_key.clone(),
            study_key: self.study_key.clone(),
            series_key: self.series_key.clone(),
            instance_key: self.instance_key.clone(),
            study_date: self.study_date,
            ..Self::default()
        }
    }
}

fn has_no_tags(tags: &Arc<BTreeMap<String, String>>) -> bool {
    tags.is_empty()
}

/// Where a window lies on the Earth, and how much of it is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeoRow {
    /// Its outline in WGS 84 longitude and latitude (OGC:CRS84), as WKB.
    pub geometry: Option<Vec<u8>>,
    /// West, south, east and north of it, in degrees.
    pub bbox: Option<[f64; 4]>,
    /// Longitude and latitude of its centre, in degrees.
    pub centre: Option<[f64; 2]>,
    /// Its coordinate reference system.
    pub epsg: Option<u32>,
    /// When it was taken, in microseconds since 1970 UTC.
    pub datetime: Option<i64>,
    /// The cell of the global grid that its centre lies in.
    pub cell: Option<String>,
    /// Share of its pixels that are valid in all bands.
    pub valid_fraction: Option<f32>,
    /// Metres per pixel of the chip.
    pub gsd: Option<f64>,
    /// Share of its pixels that are clouds.
    pub cloud_fraction: Option<f32>,
}

/// What became of a tile.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It went through the model.
    Ok {
        /// Something people may want to know, such as a wrong file extension.
        detail: Option<String>,
        /// Present if and only if the model has a classifier.
        prediction: Option<Prediction>,
        /// Which of the shard's embeddings is its own.
        embedding: usize,
    },
    /// It was left out on purpose.
    Skipped {
        /// The fixed code.
        reason: Reason,
        /// The particulars, for people.
        detail: Option<String>,
    },
    /// It cannot be processed however often one tries.
    Rejected(Rejection),
}

/// What a classifier says about one tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The class with the highest score; of equals, the lowest id.
    pub class_id: u32,
    /// Its score, after the contract's activation.
    pub score: f32,
    /// The best classes with their scores, best first; starts with `class_id` unless empty.
    pub top_k: Vec<(u32, f32)>,
}

/// Who made a shard's rows exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommittedBy {
    /// This worker.
    Ours,
    /// A worker beside us was faster with the same run's rows; ours are dropped.
    Theirs,
}

/// Counts of a shard or of a run, as in a shard's file metadata and in `summary.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Tiles with a prediction or an embedding.
    pub ok: u64,
    /// Tiles left out on purpose.
    pub skipped: u64,
    /// Tiles that cannot be processed.
    pub rejected: u64,
    /// Skipped and rejected tiles by reason code; codes of earlier builds are read as those of today.
    #[serde(deserialize_with = "by_current_code")]
    pub reasons: BTreeMap<String, u64>,
}

/// Adds up what earlier builds counted under another code.
fn by_current_code<'de, D: Deserializer<'de>>(input: D) -> Result<BTreeMap<String, u64>, D::Error> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for (code, count) in BTreeMap::<String, u64>::deserialize(input)? {
        let sum = counts.entry(Reason::current_code(&code).to_owned()).or_default();
        *sum = sum.saturating_add(count);
    }
    Ok(counts)
}

impl Counts {
    /// Counts one tile's outcome.
    pub fn add(&mut self, outcome: &Outcome) {
        let reason = match outcome {
            Outcome::Ok { .. } => {
                self.ok += 1;
                return;
            }
            Outcome::Skipped { reason, .. } => {
                self.skipped += 1;
                *reason
            }
            Outcome::Rejected(rejection) => {
                self.rejected += 1;
                rejection.reason
            }
        };
        *self.reasons.entry(reason.code().to_owned()).or_default() += 1;
    }

    /// Adds other counts to these.
    pub fn merge(&mut self, other: &Self) {
        // Counts are read back from files: what no table holds must not end the command.
        self.ok = self.ok.saturating_add(other.ok);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.rejected = self.rejected.saturating_add(other.rejected);
        for (reason, count) in &other.reasons {
            let sum = self.reasons.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// Returns the number of tiles counted.
    #[must_use]
    pub fn tiles(&self) -> u64 {
        self.ok.saturating_add(self.skipped).saturating_add(self.rejected)
    }

    /// Returns the rejected share of all tiles, 0 where there are none.
    #[must_use]
    pub fn reject_ratio(&self) -> f64 {
        if self.tiles() == 0 { 0.0 } else { self.rejected as f64 / self.tiles() as f64 }
    }
}
