//! What a file says of its place on the Earth, as the survey records it.
//!
//! It is a part of its own, since slides, DICOM files and plain TIFFs have none: they are surveyed, cut, composed and
//! written like all others, and their rows have no outline.

use serde::{Deserialize, Deserializer, Serialize};

use crate::geo::{Crs, GeoTags, GeoTransform, Georeference, NoGeometry};

/// Where an object lies on the Earth, as far as its file says it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EarthPlace {
    /// From pixel corners to its coordinate reference system, as GDAL orders the six coefficients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transform: Option<[f64; 6]>,
    /// Its coordinate reference system, as an EPSG code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsg: Option<u32>,
    /// What the file says about a coordinate reference system that has no code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<GeoTags>,
}

impl EarthPlace {
    /// Returns the place of its pixels.
    ///
    /// # Errors
    ///
    /// [`NoGeometry`] where that is not beyond doubt.
    pub fn georeference(&self) -> Result<Georeference, NoGeometry> {
        let transform = GeoTransform(self.transform.ok_or(NoGeometry::NoTransform)?).checked()?;
        let crs = match (self.epsg, &self.tags) {
            (Some(code), _) => Crs::from_epsg(code)?,
            (None, Some(tags)) => Crs::from_tags(tags)?,
            (None, None) => return Err(NoGeometry::NoCrs),
        };
        Ok(Georeference::new(transform, crs))
    }

    /// Tells whether the coordinate reference system is the same, as far as it can be told.
    pub(super) fn has_system_of(&self, other: &Self) -> bool {
        self.epsg == other.epsg && self.keys() == other.keys()
    }

    /// Returns what the file says of the system, and nothing of the transform.
    fn keys(&self) -> (&[u16], &[f64], &str) {
        self.tags.as_ref().map_or_else(Default::default, |tags| {
            (&tags.key_directory[..], &tags.doubles[..], tags.ascii.as_str())
        })
    }

    /// Reads a place whose keys lie among those of its object; `None` if there is none of them.
    pub(super) fn if_any<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Self>, D::Error> {
        Self::deserialize(input).map(|place| Some(place).filter(|place| *place != Self::default()))
    }
}
