//! One object of a scene, as planning found it: its levels, its frames, where it lies.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::earth::EarthPlace;
use crate::geo::{Georeference, NoGeometry};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::identity::SourceUri;

/// One object of a scene, as it was when planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SceneObject {
    /// Canonical URI.
    #[serde(serialize_with = "SourceUri::serialize_for_reading")]
    pub uri: SourceUri,
    /// Its version then.
    pub version: Option<Arc<str>>,
    /// Its size then, in bytes.
    pub size_bytes: u64,
    /// Sizes of its levels, in pixels; the first is full size.
    pub levels: Vec<Size>,
    /// Number of frames, all with these levels.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub num_frames: u32,
    /// Levels that do not say which pixels are valid though the first one does: no chip is read from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without_mask: Vec<usize>,
    /// Width and height of a pixel of level 0 in microns, if the file says it: slides and DICOM files do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub microns: Option<[f64; 2]>,
    /// Where it lies on the Earth, if the file says anything of that.
    #[serde(flatten, deserialize_with = "EarthPlace::if_any", skip_serializing_if = "Option::is_none")]
    pub earth: Option<EarthPlace>,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

impl SceneObject {
    /// Returns the size of its level 0.
    #[must_use]
    pub fn size(&self) -> Size {
        self.levels[0]
    }

    /// Returns how many pixels of level 0 one of a level is wide and high.
    ///
    /// # Panics
    ///
    /// If there is no such level.
    #[must_use]
    pub fn reduction(&self, level: usize) -> [f64; 2] {
        let (full, reduced) = (self.size(), self.levels[level]);
        [f64::from(full.width) / f64::from(reduced.width), f64::from(full.height) / f64::from(reduced.height)]
    }

    /// Returns where it lies on the Earth.
    ///
    /// # Errors
    ///
    /// [`NoGeometry`] where that is not beyond doubt.
    pub fn georeference(&self) -> Result<Georeference, NoGeometry> {
        self.earth.as_ref().ok_or(NoGeometry::NoTransform)?.georeference()
    }

    /// Returns the coarsest level whose pixels are not wider and higher than so many of level 0, and that says which
    /// of them are valid if level 0 does.
    #[must_use]
    pub fn level_for(&self, [across, down]: [f64; 2]) -> usize {
        let full = self.size();
        let fits =
            |full: u32, level: u32, most: f64| f64::from(full) / f64::from(level) <= most * (1.0 + 1e-6);
        let is_fine = |number: &usize| {
            let size = self.levels[*number];
            fits(full.width, size.width, across) && fits(full.height, size.height, down)
        };
        let usable = (0..self.levels.len()).filter(|number| !self.without_mask.contains(number));
        usable.rev().find(is_fine).unwrap_or(0)
    }
}
