//! Scenes: sources that are cut into windows, as planning records them.
//!
//! Planning reads the headers of a source's objects once and writes down here what follows from them;
//! the windows of the plan, the blocks that are fetched and the footprints of the rows are functions of
//! this record and of the [`Tiling`]. It lies in `sources.parquet`, so that all workers plan the same.

mod axis_map;
mod earth;
mod frames;
mod medical;
mod object;
mod resolution;
pub mod skip;
mod tiling;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::axis_map::AxisMap;
pub use self::earth::EarthPlace;
pub use self::frames::{FrameChoice, FrameTiling, Preset, ValueWindow};
pub use self::medical::{BurnedIn, MedicalImage, MedicalRules};
pub use self::object::SceneObject;
pub use self::resolution::{Metres, Microns, PixelSize, ReadLevel, Resolution};
pub use self::tiling::{Area, NodataSetting, Tiling};
use crate::geo::{Footprint, Georeference, NoGeometry};
use crate::vocabulary::geometry::{Rect, Size, Window};
use crate::vocabulary::identity::{Naming, SourceUri};
use crate::vocabulary::outcome::MedicalRow;
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::sample::SampleKind;

/// What planning has found out about a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SceneLayout {
    /// It is cut into windows.
    Scene(Arc<Scene>),
    /// It is one planned row that says why there are no windows.
    Rejected {
        /// The fixed code.
        reason: Reason,
        /// The particulars.
        detail: String,
        /// Whose image it is, if it is a medical one whose header could be read: keys and nothing else.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        medical: Option<Box<MedicalRow>>,
    },
    /// It is one planned row, since a store did not answer for one of its objects. The worker finds out why.
    Unanswered {
        /// That object.
        #[serde(serialize_with = "SourceUri::serialize_for_reading")]
        uri: SourceUri,
    },
}

impl SceneLayout {
    /// Returns the scene, if there is one.
    #[must_use]
    pub fn scene(&self) -> Option<&Arc<Scene>> {
        match self {
            Self::Scene(scene) => Some(scene),
            Self::Rejected { .. } | Self::Unanswered { .. } => None,
        }
    }

    /// Returns the record of the survey as JSON.
    ///
    /// # Errors
    ///
    /// [`Reason::Corrupt`] if it would read back as another or not at all, as with a number that is not finite: such a
    /// record, once elected, would stop every worker of the run.
    pub fn to_json(&self) -> Result<String, Rejection> {
        let json = serde_json::to_string(self).ok();
        let is_same = |json: &String| serde_json::from_str(json).is_ok_and(|read: Self| read == *self);
        json.filter(is_same).ok_or_else(|| {
            Rejection::new(Reason::Corrupt, "its headers contain a number that cannot be recorded")
        })
    }

    /// Returns the survey if its record reads back as the same, else the rejection that says why not.
    #[must_use]
    pub fn recordable(self) -> Self {
        match self.to_json() {
            Ok(_) => self,
            Err(rejection) => {
                let whose = self.medical_row(0).map(|row| Box::new(row.whose()));
                Self::from(rejection).of(whose)
            }
        }
    }

    /// Returns the same, whose objects are named so: its record knows their URIs alone.
    #[must_use]
    pub fn named(self, naming: &Naming) -> Self {
        match self {
            Self::Scene(scene) => {
                let mut scene = Arc::unwrap_or_clone(scene);
                for object in &mut scene.objects {
                    object.uri = std::mem::take(&mut object.uri).named(naming);
                }
                Self::Scene(Arc::new(scene))
            }
            Self::Unanswered { uri } => Self::Unanswered { uri: uri.named(naming) },
            rejected @ Self::Rejected { .. } => rejected,
        }
    }

    /// Returns what those may see who know the names of sources alone: where windows lie, not in which files.
    #[must_use]
    pub fn without_uris(self, naming: &Naming) -> Self {
        let name = |uri: SourceUri| SourceUri::from(uri.named(naming).name().into_owned());
        match self {
            Self::Scene(scene) => {
                let mut scene = Scene { notes: Vec::new(), ..Arc::unwrap_or_clone(scene) };
                for object in &mut scene.objects {
                    object.uri = name(std::mem::take(&mut object.uri));
                    (object.version, object.size_bytes) = (None, 0);
                }
                Self::Scene(Arc::new(scene))
            }
            Self::Rejected { reason, detail, medical } => {
                Self::from(Rejection::new(reason, detail).shown(naming)).of(medical)
            }
            Self::Unanswered { uri } => Self::Unanswered { uri: name(uri) },
        }
    }

    /// Returns the same, if it is a rejection of an image that is said to be whose.
    #[must_use]
    pub fn of(self, whose: Option<Box<MedicalRow>>) -> Self {
        match self {
            Self::Rejected { reason, detail, .. } => Self::Rejected { reason, detail, medical: whose },
            other => other,
        }
    }

    /// Returns what the row of a frame says of it as a medical image.
    #[must_use]
    pub fn medical_row(&self, frame: u32) -> Option<Box<MedicalRow>> {
        match self {
            Self::Scene(scene) => Some(Box::new(scene.medical.as_ref()?.row(frame))),
            Self::Rejected { medical, .. } => medical.clone(),
            Self::Unanswered { .. } => None,
        }
    }

    /// Returns the same without being limited to some windows.
    #[must_use]
    pub fn whole(&self) -> Self {
        match self {
            Self::Scene(scene) => Self::Scene(Arc::new(Scene { only: None, ..Scene::clone(scene) })),
            Self::Rejected { .. } | Self::Unanswered { .. } => self.clone(),
        }
    }
}

impl From<Rejection> for SceneLayout {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected { reason: rejection.reason, detail: rejection.detail, medical: None }
    }
}

/// A source that is cut into windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// The objects that its pixels lie in.
    pub objects: Vec<SceneObject>,
    /// The bands in the order of the model's input.
    pub bands: Vec<SceneBand>,
    /// The bands that rules need to leave windows out, one per rule with a band of its own, in the order of rules. The
    /// record calls them by the name from when there was one such rule.
    #[serde(default, rename = "clouds", with = "rule_bands", skip_serializing_if = "Vec::is_empty")]
    pub rule_bands: Vec<SceneBand>,
    /// The object in whose pixels windows are counted.
    pub reference: usize,
    /// Its level that windows are cut from.
    pub level: u32,
    /// Size of that level, in pixels.
    pub size: Size,
    /// Size of a window, in pixels of that level.
    pub window: Size,
    /// Distance from one window to the next, across and down, in pixels of that level. It need not be a whole number: one
    /// pixel of the chip may cover, say, 1.7 pixels of the level.
    pub stride: [f64; 2],
    /// Whether blocks run across the whole width, so that windows are best read row by row.
    pub in_rows: bool,
    /// Metres per pixel of the chip, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gsd: Option<f64>,
    /// When it was taken, in microseconds since 1970 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datetime: Option<i64>,
    /// What the object says of a medical image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medical: Option<Box<MedicalImage>>,
    /// What was assumed or decided, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Only these windows, and no others: a retry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<FrameWindow>>,
}

/// A window of one frame. Of the first frame it is written as a window alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameWindow {
    /// Frame, from 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub frame: u32,
    /// The window.
    #[serde(flatten)]
    pub window: Window,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_first(frame: &u32) -> bool {
    *frame == 0
}

/// One band of a scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SceneBand {
    /// Which object it lies in.
    pub object: usize,
    /// Which band of that object, from 0.
    pub band: u16,
    /// `value = sample × scale + offset`
    pub scale: f64,
    /// See `scale`.
    pub offset: f64,
    /// Whether values are the 8 bits that a viewer shows, though they are stored otherwise: white as 0, or in less bits.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shown: bool,
    /// The sample that means no data; absent: none does. JSON has no NaN, so it is a text.
    #[serde(default, with = "nodata", skip_serializing_if = "Option::is_none")]
    pub nodata: Option<f64>,
    /// What samples mean in frames where it is not what is said above, in the order of frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<FrameValues>,
}

/// What the samples of a band mean in one frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameValues {
    /// Frame, from 0.
    pub frame: u32,
    /// See [`SceneBand::scale`].
    pub scale: f64,
    /// See [`SceneBand::offset`].
    pub offset: f64,
    /// See [`SceneBand::nodata`].
    #[serde(default, with = "nodata", skip_serializing_if = "Option::is_none")]
    pub nodata: Option<f64>,
}

impl SceneBand {
    /// Returns the band as it is in a frame, and nothing of the others.
    #[must_use]
    pub fn in_frame(&self, frame: u32) -> Self {
        let found = self.frames.binary_search_by_key(&frame, |other| other.frame).map(|at| &self.frames[at]);
        let (scale, offset, nodata) = found.map_or((self.scale, self.offset, self.nodata), |found| {
            (found.scale, found.offset, found.nodata)
        });
        Self { scale, offset, nodata, frames: Vec::new(), ..*self }
    }

    /// Tells whether values are the stored samples, in all frames.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        let is_stored = |scale, offset| (scale, offset) == (1.0, 0.0);
        is_stored(self.scale, self.offset)
            && self.frames.iter().all(|other| is_stored(other.scale, other.offset))
    }

    /// Tells whether values of 8-bit samples are whole numbers from 0 to 255.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        self.is_stored() || self.shown
    }
}

impl Scene {
    /// Returns the object in whose pixels windows are counted.
    #[must_use]
    pub fn reference(&self) -> &SceneObject {
        &self.objects[self.reference]
    }

    /// Returns the number of frames, each of which is cut into the same windows.
    #[must_use]
    pub fn num_frames(&self) -> u32 {
        self.reference().num_frames
    }

    /// Returns whether its windows are cut from this level, and it has this frame.
    #[must_use]
    pub fn has(&self, frame: u32, level: u32) -> bool {
        level == self.level && frame < self.num_frames()
    }

    /// Says what there is to be cut.
    #[must_use]
    pub fn extent(&self) -> String {
        let frames = match self.num_frames() {
            1 => String::new(),
            frames => format!(", {frames} frames"),
        };
        format!("the scene has {} at level {}{frames}", self.size, self.level)
    }

    /// Returns whether its windows are those of another scene, at the same places.
    #[must_use]
    pub fn has_grid_of(&self, other: &Self) -> bool {
        let (mine, others) = (self.reference(), other.reference());
        let grid = |scene: &Self| (scene.size, scene.window, scene.stride, scene.num_frames());
        grid(self) == grid(other) && mine.size() == others.size() && mine.earth == others.earth
    }

    /// Returns whether it is a scene that was planned before, if the versions of its objects are left out.
    #[must_use]
    pub fn is_again(&self, before: &Self) -> bool {
        let timeless = |scene: &Self| {
            let mut scene = Self { only: None, ..scene.clone() };
            for object in &mut scene.objects {
                (object.version, object.size_bytes) = (None, 0);
            }
            scene
        };
        timeless(self) == timeless(before)
    }

    /// Returns the outline of a window on the Earth.
    ///
    /// - `place`: of the reference
    ///
    /// # Errors
    ///
    /// [`NoGeometry`] where the reference system ends.
    pub fn footprint(&self, place: &Georeference, window: Window) -> Result<Footprint, NoGeometry> {
        place.footprint(self.reference().size(), self.size, window)
    }

    /// Returns where a window lies at the reference's level 0; a scene smaller than a window is filled up
    /// with missing pixels on the right and below.
    #[must_use]
    pub fn full_rect(&self, window: Window) -> Rect {
        let full = self.reference().size();
        let across = f64::from(full.width) / f64::from(self.size.width);
        let down = f64::from(full.height) / f64::from(self.size.height);
        Rect {
            x: f64::from(window.x) * across,
            y: f64::from(window.y) * down,
            width: f64::from(self.window.width) * across,
            height: f64::from(self.window.height) * down,
        }
    }

    /// Returns the type of a chip's samples: 8 bits if all bands are and nothing is converted, else floats.
    ///
    /// - `stored`: returns the type of an object's samples
    #[must_use]
    pub fn chip_kind(&self, stored: impl Fn(usize) -> SampleKind) -> SampleKind {
        let is_byte = |band: &SceneBand| band.is_bytes() && stored(band.object) == SampleKind::U8;
        if self.bands.iter().all(is_byte) { SampleKind::U8 } else { SampleKind::F32 }
    }

    /// Returns what a chip of a window needs of each object, bands of rules included. An object of one frame serves all frames.
    ///
    /// - `side`: width and height of the chip
    ///
    /// Of each object the coarsest level is taken whose pixels are not larger than the chip's.
    #[must_use]
    pub fn cuts(&self, frame: u32, window: Window, side: u32) -> Vec<SourceWindow> {
        let full = self.full_rect(window);
        let used = (0..self.objects.len()).map(|object| (object, self.bands_of(object)));
        let cut = |(object, bands): (usize, Vec<u16>)| {
            let found = &self.objects[object];
            let map = AxisMap::between(self.reference(), found)?;
            let rect = map.apply(full);
            let level = found.level_for([rect.width, rect.height].map(|length| length / f64::from(side)));
            let (level_size, size) = (found.levels[level], found.size());
            let across = f64::from(level_size.width) / f64::from(size.width);
            let down = f64::from(level_size.height) / f64::from(size.height);
            let rect = Rect {
                x: rect.x * across,
                y: rect.y * down,
                width: rect.width * across,
                height: rect.height * down,
            };
            let frame = if found.num_frames == 1 { 0 } else { frame };
            Some(SourceWindow { object, frame, level, pixels: rect.touched(level_size), rect, bands })
        };
        used.filter(|(_, bands)| !bands.is_empty()).filter_map(cut).collect()
    }

    /// Returns which bands of an object are needed, each once, in order.
    fn bands_of(&self, object: usize) -> Vec<u16> {
        let needed = self.bands.iter().chain(&self.rule_bands).filter(|band| band.object == object);
        let mut bands: Vec<u16> = needed.map(|band| band.band).collect();
        bands.sort_unstable();
        bands.dedup();
        bands
    }
}

/// What a chip needs of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceWindow {
    /// Which object.
    pub object: usize,
    /// Which of its frames.
    pub frame: u32,
    /// Which of its levels.
    pub level: usize,
    /// Where the chip lies, in pixels of that level.
    pub rect: Rect,
    /// The pixels that the chip touches; none if it lies outside.
    pub pixels: Window,
    /// Which bands, from 0, in order.
    pub bands: Vec<u16>,
}

/// One band is written as itself, as by builds that knew one rule with a band; several are a list.
mod rule_bands {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::SceneBand;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        One(SceneBand),
        Several(Vec<SceneBand>),
    }

    pub(super) fn serialize<S: Serializer>(bands: &[SceneBand], out: S) -> Result<S::Ok, S::Error> {
        match bands {
            [band] => band.serialize(out),
            bands => bands.serialize(out),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<SceneBand>, D::Error> {
        Ok(match Option::<Written>::deserialize(input)? {
            None => Vec::new(),
            Some(Written::One(band)) => vec![band],
            Some(Written::Several(bands)) => bands,
        })
    }
}

mod nodata {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, out: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(number) => out.serialize_str(&number.to_string()),
            None => out.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<f64>, D::Error> {
        let text = Option::<String>::deserialize(input)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::GeoTags;

    fn object(levels: &[u32], transform: Option<[f64; 6]>) -> SceneObject {
        SceneObject {
            uri: "s3://scenes/a.tif".into(),
            version: None,
            size_bytes: 1,
            num_frames: 1,
            levels: levels.iter().map(|&side| Size::new(side, side)).collect(),
            without_mask: Vec::new(),
            microns: None,
            earth: transform.map(|_| EarthPlace { transform, epsg: Some(32_633), tags: None }),
        }
    }

    fn band(object: usize) -> SceneBand {
        SceneBand { object, band: 0, scale: 1.0, offset: 0.0, shown: false, nodata: None, frames: Vec::new() }
    }

    fn scene(objects: Vec<SceneObject>) -> Scene {
        let (size, bands) = (objects[0].size(), (0..objects.len()).map(band).collect());
        Scene {
            objects,
            bands,
            rule_bands: Vec::new(),
            reference: 0,
            level: 0,
            size,
            window: Size::new(100, 100),
            stride: [100.0; 2],
            in_rows: false,
            gsd: None,
            datetime: None,
            medical: None,
            notes: Vec::new(),
            only: None,
        }
    }

    #[test]
    fn coarser_bands_are_cut_where_the_reference_is() {
        let ten = object(&[1000, 500, 250], Some([600_000.0, 10.0, 0.0, 5e6, 0.0, -10.0]));
        let twenty = object(&[500, 250], Some([600_000.0, 20.0, 0.0, 5e6, 0.0, -20.0]));
        let scene = scene(vec![ten, twenty]);
        let cuts = scene.cuts(0, Window { x: 200, y: 100, width: 100, height: 100 }, 100);
        assert_eq!(cuts[0].rect, Rect { x: 200.0, y: 100.0, width: 100.0, height: 100.0 });
        assert_eq!(cuts[1].rect, Rect { x: 100.0, y: 50.0, width: 50.0, height: 50.0 });
        assert_eq!(cuts[1].pixels, Window { x: 100, y: 50, width: 50, height: 50 });
        assert_eq!((cuts[0].level, cuts[1].level), (0, 0));
        let halved = scene.cuts(0, Window { x: 200, y: 100, width: 100, height: 100 }, 50);
        assert_eq!((halved[0].level, halved[1].level), (1, 0), "overviews not coarser than the chip");
    }

    #[test]
    fn levels_are_no_coarser_than_asked_and_say_what_is_valid() {
        let mut object = object(&[1000, 500, 250, 125], None);
        let levels = |object: &SceneObject| [1.0, 2.0, 3.9, 9.0].map(|pixels| object.level_for([pixels; 2]));
        assert_eq!(levels(&object), [0, 1, 1, 3]);
        assert_eq!(object.level_for([4.0, 2.0]), 1, "neither wider nor higher");
        object.without_mask = vec![1, 3];
        assert_eq!(levels(&object), [0, 0, 0, 2]);
    }

    #[test]
    fn systems_without_a_code_are_told_apart_by_their_keys() {
        let keyed = |value| SceneObject {
            earth: Some(EarthPlace {
                transform: Some([0.0, 10.0, 0.0, 0.0, 0.0, -10.0]),
                epsg: None,
                tags: Some(GeoTags {
                    key_directory: vec![1, 1, 0, 1, 3072, 0, 1, value],
                    ..GeoTags::default()
                }),
            }),
            ..object(&[100], None)
        };
        assert!(AxisMap::between(&keyed(27_700), &keyed(27_700)).is_some());
        assert_eq!(AxisMap::between(&keyed(27_700), &keyed(31_467)), None);
    }

    #[test]
    fn grids_must_be_parallel_and_of_one_reference_system() {
        let north_up = object(&[100], Some([0.0, 10.0, 0.0, 0.0, 0.0, -10.0]));
        let south_up = object(&[100], Some([0.0, 10.0, 0.0, 0.0, 0.0, 10.0]));
        let rotated = object(&[100], Some([0.0, 10.0, 1.0, 0.0, 1.0, -10.0]));
        let mut elsewhere = north_up.clone();
        elsewhere.earth.as_mut().unwrap().epsg = Some(4326);
        let bare = object(&[50], None);
        assert!(AxisMap::between(&north_up, &north_up).is_some());
        for other in [&south_up, &rotated, &elsewhere, &bare] {
            assert_eq!(AxisMap::between(&north_up, other), None);
        }
        assert!(AxisMap::between(&rotated, &rotated).is_some());
        let halves = AxisMap::between(&object(&[100], None), &bare).unwrap();
        let half = Rect { x: 5.0, y: 0.0, width: 2.0, height: 1.0 };
        assert_eq!(halves.apply(Rect { x: 10.0, y: 0.0, width: 4.0, height: 2.0 }), half);
    }

    fn earth(scene: &mut Scene) -> &mut EarthPlace {
        scene.objects[0].earth.as_mut().unwrap()
    }

    /// What earlier builds recorded lay beside the other keys of its object, and lies there still.
    #[test]
    fn a_place_is_recorded_among_the_keys_of_its_object() {
        let placed = object(&[100], Some([0.0, 10.0, 0.0, 0.0, 0.0, -10.0]));
        let record = serde_json::to_value(&placed).unwrap();
        assert_eq!((&record["epsg"], record["transform"][5].as_f64()), (&32_633.into(), Some(-10.0)));
        let bare = object(&[100], None);
        for object in [placed, bare] {
            let json = serde_json::to_string(&object).unwrap();
            assert_eq!(json.contains("transform"), object.earth.is_some());
            assert_eq!(serde_json::from_str::<SceneObject>(&json).unwrap(), object);
        }
    }

    #[test]
    fn what_would_not_read_back_is_a_rejection() {
        let sound = || scene(vec![object(&[100], Some([0.1, 10.0, 0.0, 1.0 / 3.0, 0.0, -10.0]))]);
        let survey = SceneLayout::Scene(Arc::new(sound()));
        assert_eq!(survey.clone().recordable(), survey);
        let breaks: [fn(&mut Scene, f64); 7] = [
            |scene, number| scene.bands[0].scale = number,
            |scene, number| scene.bands[0].offset = number,
            |scene, number| scene.stride[1] = number,
            |scene, number| scene.gsd = Some(number),
            |scene, number| earth(scene).transform = Some([number; 6]),
            |scene, number| {
                earth(scene).tags = Some(GeoTags { doubles: vec![number], ..GeoTags::default() });
            },
            |scene, number| {
                let pixel_scale = Some([1.0, 1.0, number]);
                earth(scene).tags = Some(GeoTags { pixel_scale, ..GeoTags::default() });
            },
        ];
        for (which, change) in breaks.into_iter().enumerate() {
            for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let mut scene = sound();
                change(&mut scene, number);
                let recorded = SceneLayout::Scene(Arc::new(scene)).recordable();
                let is_rejected = matches!(recorded, SceneLayout::Rejected { reason: Reason::Corrupt, .. });
                assert!(is_rejected, "{which}, {number}: {recorded:?}");
                assert!(recorded.to_json().is_ok());
            }
        }
    }

    #[test]
    fn a_rejection_says_whose_image_it_is_and_nothing_else() {
        let mut scene = scene(vec![object(&[100], None)]);
        let row = MedicalRow {
            patient_key: Some("4a4a".into()),
            modality: Some("CT".into()),
            pixel_spacing: Some([f64::NAN, 1.0]),
            ..MedicalRow::default()
        };
        scene.medical = Some(Box::new(MedicalImage { row, slice_positions: Vec::new() }));
        let rejected = SceneLayout::Scene(Arc::new(scene)).recordable();
        let whose = rejected.medical_row(0).unwrap();
        assert_eq!((whose.patient_key.as_deref(), &whose.modality), (Some("4a4a"), &None));
        for rejected in [rejected.clone(), rejected.without_uris(&Naming::default())] {
            let json = rejected.to_json().unwrap();
            assert_eq!(
                serde_json::from_str::<SceneLayout>(&json).unwrap().medical_row(0),
                Some(whose.clone())
            );
        }
        let plain = SceneLayout::from(Rejection::new(Reason::Corrupt, "no directory"));
        assert!(!plain.to_json().unwrap().contains("medical"), "as earlier builds wrote it");
    }

    #[test]
    fn frames_may_differ_in_what_samples_mean() {
        let other = FrameValues { frame: 2, scale: 2.0, offset: -1024.0, nodata: Some(7.0) };
        let band = SceneBand { frames: vec![other], ..band(0) };
        let said = |frame| {
            let SceneBand { scale, offset, nodata, .. } = band.in_frame(frame);
            (scale, offset, nodata)
        };
        assert_eq!([said(0), said(1), said(3)], [(1.0, 0.0, None); 3]);
        assert_eq!(said(2), (2.0, -1024.0, Some(7.0)));
        assert!(!band.is_stored() && band.in_frame(0).is_stored());
    }

    #[test]
    fn a_survey_survives_json() {
        let mut scene = scene(vec![object(&[100], Some([0.1, 10.0, 0.0, 1.0 / 3.0, 0.0, -10.0]))]);
        scene.bands[0].nodata = Some(-9999.5);
        let window = Window { x: 1, y: 2, width: 3, height: 4 };
        let frames = [(2, Some(-1.5)), (5, None)];
        let values = |(frame, nodata)| FrameValues { frame, scale: 2.0, offset: -1024.0, nodata };
        scene.bands[0].frames = frames.map(values).to_vec();
        scene.only = Some(vec![FrameWindow { frame: 0, window }]);
        let written = |bands: Vec<SceneBand>| {
            serde_json::to_value(Scene { rule_bands: bands, ..scene.clone() }).unwrap()["clouds"].clone()
        };
        assert!(written(Vec::new()).is_null());
        assert_eq!(written(vec![band(0)])["band"], 0, "as when only clouds had a band");
        assert_eq!(written(vec![band(0), band(0)]).as_array().map(Vec::len), Some(2));
        let record = |frame| serde_json::to_value(FrameWindow { frame, window }).unwrap();
        assert_eq!(record(0), serde_json::to_value(window).unwrap(), "as before there were frames");
        assert_eq!(record(2)["frame"], 2);
        for survey in [
            SceneLayout::Scene(Arc::new(Scene { rule_bands: vec![band(0)], ..scene.clone() })),
            SceneLayout::Scene(Arc::new(Scene { rule_bands: vec![band(0); 2], ..scene.clone() })),
            SceneLayout::Scene(Arc::new(scene)),
            SceneLayout::from(Rejection::new(Reason::Corrupt, "no directory")),
        ] {
            let json = serde_json::to_string(&survey).unwrap();
            assert_eq!(serde_json::from_str::<SceneLayout>(&json).unwrap(), survey);
        }
    }
}
