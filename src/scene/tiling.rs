//! What `[tiles]` asks of all scenes of a run, once the model's contract has filled its gaps.
//!
//! Config and contract make it, planning cuts by it and records what follows in each [`super::Scene`]. As JSON it is part of
//! the run's fingerprint: a field that earlier builds wrote keeps its name, its place and what stands there by default.

use serde::Serialize;

use super::frames::FrameTiling;
use super::resolution::Resolution;
use super::skip::Clouds;
use crate::geo::Aoi;

/// Which sample means no data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodataSetting {
    /// The one that file or STAC item name.
    File,
    /// None.
    None,
    /// This one.
    Value(f64),
}

/// How scenes are cut into windows, and what their samples mean: part of the fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tiling {
    /// Width and height of a window, in pixels of that resolution.
    pub size: u32,
    /// From one window to the next, in pixels of that resolution.
    pub stride: u32,
    /// How large the pixels of a window are.
    #[serde(flatten)]
    pub resolution: Resolution,
    /// Windows that do not touch it are not planned.
    pub aoi: Option<Area>,
    /// Names or numbers (from 1) of the bands, in the order of the model's input.
    pub bands: Vec<String>,
    /// What the values mean that the model gets, band by band.
    pub units: Vec<String>,
    /// Factors of the samples: none, one, or one per band.
    pub scale: Vec<f64>,
    /// Added after that: none, one, or one per band.
    pub offset: Vec<f64>,
    /// Which sample means no data.
    pub nodata: NodataSetting,
    /// Windows with a smaller share of valid pixels are skipped: a rule of [`Tiling::skip_rules`].
    pub min_valid_fraction: f64,
    /// Windows with more clouds than this are skipped, too: the next rule.
    pub clouds: Option<Clouds>,
    /// Spacing of the global grid, in kilometres.
    pub cell_km: u32,
    /// Set where each frame of a medical image is a tile: then nothing of the above holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameTiling>,
}

/// An area of interest: the same text is the same area.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Area {
    /// A box of four numbers, or `GeoJSON`.
    pub text: String,
    /// What it says.
    #[serde(skip)]
    pub aoi: Aoi,
}

impl Tiling {
    /// Tells whether frames are tiles, and not windows.
    #[must_use]
    pub fn is_of_frames(&self) -> bool {
        self.frames.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Metres;

    /// Fingerprints of earlier builds are digests of this text.
    #[test]
    fn what_earlier_builds_wrote_is_written_again() {
        let mut tiling = Tiling {
            size: 224,
            stride: 112,
            resolution: Resolution::default(),
            aoi: None,
            bands: vec!["red".to_owned()],
            units: vec!["dn".to_owned()],
            scale: vec![0.5],
            offset: Vec::new(),
            nodata: NodataSetting::File,
            min_valid_fraction: 0.25,
            clouds: None,
            cell_km: 10,
            frames: None,
        };
        let text = |gsd: &str, clouds: &str| {
            format!(
                r#"{{"size":224,"stride":112,"gsd":{gsd},"aoi":null,"bands":["red"],"units":["dn"],"scale":[0.5],"offset":[],"nodata":"file","min_valid_fraction":0.25,"clouds":{clouds},"cell_km":10}}"#
            )
        };
        assert_eq!(serde_json::to_string(&tiling).unwrap(), text("null", "null"));
        tiling.resolution = Resolution::Ground(Metres(10.0));
        let clouds =
            Clouds { band: "scl".to_owned(), values: vec![3, 9], bits: Vec::new(), max_fraction: 0.5 };
        tiling.clouds = Some(clouds);
        let clouds = r#"{"band":"scl","values":[3,9],"bits":[],"max_fraction":0.5}"#;
        assert_eq!(serde_json::to_string(&tiling).unwrap(), text("10.0", clouds));
    }
}
