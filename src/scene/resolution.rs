//! How large the pixels of windows are to be, and which stored level they are read from.
//!
//! In goes what `[tiles]` asks for and what headers say of an object's pixels; out comes the level to read, and how many
//! of its pixels one of the chip covers. Planning calls it once per scene. Lengths of different units do not compare:
//! [`Metres`] lie on the ground, [`Microns`] on a slide.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::object::SceneObject;
use crate::vocabulary::reason::{Reason, Rejection};

/// How much of an edge may be missing before a pixel counts as larger than it is asked to be.
const TOLERANCE: f64 = 1e-6;

/// A length on the ground.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Metres(pub f64);

/// A length on a slide.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Microns(pub f64);

impl From<Metres> for f64 {
    fn from(length: Metres) -> Self {
        length.0
    }
}

impl From<Microns> for f64 {
    fn from(length: Microns) -> Self {
        length.0
    }
}

impl fmt::Display for Metres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} m", self.0)
    }
}

impl fmt::Display for Microns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} µm", self.0)
    }
}

/// How large the pixels of a chip are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolution {
    /// So wide and high on the ground (`tiles.gsd`).
    Ground(Metres),
    /// So wide and high on the slide (`tiles.mpp`).
    Slide(Microns),
    /// Those of a stored level, 0 being full size (`tiles.level`).
    Level(u32),
}

impl Default for Resolution {
    fn default() -> Self {
        Self::Level(0)
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` = {}", self.key(), self.amount())
    }
}

/// One entry of a map. Full size is written as earlier builds wrote it, who knew no other levels: fingerprints stay.
impl Serialize for Resolution {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(1))?;
        match self {
            Self::Ground(Metres(metres)) => map.serialize_entry("gsd", &Some(metres))?,
            Self::Slide(Microns(microns)) => map.serialize_entry("mpp", microns)?,
            Self::Level(0) => map.serialize_entry("gsd", &None::<f64>)?,
            Self::Level(level) => map.serialize_entry("level", level)?,
        }
        map.end()
    }
}

/// Width and height of an object's pixels at level 0, as far as its header tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PixelSize {
    /// On the ground.
    pub ground: Option<[Metres; 2]>,
    /// On the slide.
    pub slide: Option<[Microns; 2]>,
}

/// Which level of an object is read for windows, and how much of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReadLevel {
    /// The level.
    pub level: usize,
    /// Pixels of that level that one of the chip is wide and high.
    pub pixels: [f64; 2],
    /// Pixels of level 0 that one of the chip is wide and high.
    pub full_pixels: [f64; 2],
    /// Whether stored pixels are larger than those of the chip, and are repeated.
    pub is_upsampled: bool,
}

impl Resolution {
    /// Returns the key that asks for it.
    fn key(&self) -> &'static str {
        match self {
            Self::Ground(_) => "tiles.gsd",
            Self::Slide(_) => "tiles.mpp",
            Self::Level(_) => "tiles.level",
        }
    }

    /// Returns the length of a pixel with its unit, or the number of the level.
    #[must_use]
    pub fn amount(&self) -> String {
        match self {
            Self::Ground(length) => length.to_string(),
            Self::Slide(length) => length.to_string(),
            Self::Level(level) => level.to_string(),
        }
    }

    /// Chooses the level of an object that windows are read from: the one that is asked for, or the coarsest whose pixels
    /// are not larger than those of the chip.
    ///
    /// # Errors
    ///
    /// [`Reason::GridMismatch`] if the header does not give the size of its pixels in this unit, or has no such level.
    pub fn choose(self, object: &SceneObject, pixel: PixelSize) -> Result<ReadLevel, Rejection> {
        match self {
            Self::Ground(asked) => self.by_length(asked, pixel.ground, object),
            Self::Slide(asked) => self.by_length(asked, pixel.slide, object),
            Self::Level(level) => self.by_level(level as usize, object),
        }
    }

    /// - `asked`, `pixel`: in one unit, since they are of one type
    fn by_length<Length: Into<f64>>(
        self,
        asked: Length,
        pixel: Option<[Length; 2]>,
        object: &SceneObject,
    ) -> Result<ReadLevel, Rejection> {
        let Some(pixel) = pixel else {
            return Err(mismatch(format!("{self}, but the file does not give its pixel size")));
        };
        let full_pixels = pixels_in(asked.into(), pixel.map(Into::into));
        if !full_pixels.iter().all(|pixels| pixels.is_finite() && *pixels > 0.0) {
            return Err(mismatch(format!("its pixels are too small or too large for any {}", self.key())));
        }
        let level = object.level_for(full_pixels);
        let (full, reduced) = (object.size(), object.levels[level]);
        let [across, down] = full_pixels;
        Ok(ReadLevel {
            level,
            pixels: [
                across * f64::from(reduced.width) / f64::from(full.width),
                down * f64::from(reduced.height) / f64::from(full.height),
            ],
            full_pixels,
            is_upsampled: across.min(down) < 1.0 - TOLERANCE,
        })
    }

    fn by_level(self, level: usize, object: &SceneObject) -> Result<ReadLevel, Rejection> {
        if level >= object.levels.len() {
            let last = object.levels.len() - 1;
            return Err(mismatch(format!("{self}, but the last level of the file is {last}")));
        }
        if object.without_mask.contains(&level) {
            let detail = format!("{self}, but that level has no mask, and level 0 has one");
            return Err(mismatch(detail));
        }
        let full_pixels = object.reduction(level);
        // Windows are found again by the size of their pixels, which has to lead to this level.
        let found = object.level_for(full_pixels);
        if level > 0 && found != level {
            return Err(mismatch(format!("{self}, but level {found} has the same size")));
        }
        Ok(ReadLevel { level, pixels: [1.0; 2], full_pixels, is_upsampled: false })
    }
}

/// Returns how many pixels are so long, across and down. Pixels that are nearly square, as those of Web Mercator on the
/// ground, are taken as such, so that windows are.
fn pixels_in(length: f64, [width, height]: [f64; 2]) -> [f64; 2] {
    let nearly_square = (width / height - 1.0).abs() < 0.02;
    if nearly_square { [length / (width * height).sqrt(); 2] } else { [length / width, length / height] }
}

fn mismatch(detail: String) -> Rejection {
    Rejection::new(Reason::GridMismatch, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::geometry::Size;

    fn object(sides: &[u32]) -> SceneObject {
        SceneObject {
            uri: "s3://scenes/a.tif".into(),
            version: None,
            size_bytes: 1,
            num_frames: 1,
            levels: sides.iter().map(|&side| Size::new(side, side)).collect(),
            without_mask: Vec::new(),
            microns: None,
            earth: None,
        }
    }

    fn ground(width: f64, height: f64) -> PixelSize {
        PixelSize { ground: Some([Metres(width), Metres(height)]), slide: None }
    }

    fn slide(side: f64) -> PixelSize {
        PixelSize { ground: None, slide: Some([Microns(side); 2]) }
    }

    fn levels(asked: impl Fn(f64) -> Resolution, pixel: PixelSize) -> [usize; 5] {
        let pyramid = object(&[1000, 500, 250]);
        [0.5, 1.0, 1.9, 2.0, 100.0].map(|length| asked(length).choose(&pyramid, pixel).unwrap().level)
    }

    #[test]
    fn the_coarsest_level_that_is_fine_enough_is_read_in_either_unit() {
        let by_ground = levels(|length| Resolution::Ground(Metres(length)), ground(1.0, 1.0));
        let by_slide = levels(|length| Resolution::Slide(Microns(length)), slide(1.0));
        assert_eq!((by_ground, by_slide), ([0, 0, 0, 1, 2], [0, 0, 0, 1, 2]));
    }

    #[test]
    fn pixels_are_counted_at_the_level_and_at_full_size() {
        let pyramid = object(&[1000, 500, 250]);
        let half = Resolution::Slide(Microns(1.5)).choose(&pyramid, slide(0.5)).unwrap();
        assert_eq!((half.level, half.pixels, half.full_pixels), (1, [1.5; 2], [3.0; 2]));
        assert!(!half.is_upsampled);
        let oblong = Resolution::Ground(Metres(4.0)).choose(&pyramid, ground(1.0, 2.0)).unwrap();
        assert_eq!((oblong.level, oblong.pixels), (1, [2.0, 1.0]), "neither wider nor higher");
        let finer = Resolution::Ground(Metres(5.0)).choose(&pyramid, ground(10.0, 10.0)).unwrap();
        assert_eq!((finer.level, finer.pixels, finer.is_upsampled), (0, [0.5; 2], true));
    }

    #[test]
    fn a_level_is_read_as_it_is_stored() {
        let pyramid = object(&[1000, 333, 100]);
        for (level, reduction) in [(0, 1.0), (1, 1000.0 / 333.0), (2, 10.0)] {
            let read = Resolution::Level(level).choose(&pyramid, PixelSize::default()).unwrap();
            assert_eq!((read.level, read.pixels), (level as usize, [1.0; 2]));
            assert_eq!((read.full_pixels, read.is_upsampled), ([reduction; 2], false));
        }
    }

    fn refusal(asked: Resolution, object: &SceneObject, pixel: PixelSize) -> String {
        let rejection = asked.choose(object, pixel).unwrap_err();
        assert_eq!(rejection.reason, Reason::GridMismatch);
        rejection.detail
    }

    #[test]
    fn what_the_file_does_not_have_is_refused() {
        let mut pyramid = object(&[1000, 500, 500, 250]);
        let none = PixelSize::default();
        let metres = Resolution::Ground(Metres(10.0));
        assert_eq!(
            refusal(metres, &pyramid, slide(1.0)),
            "`tiles.gsd` = 10 m, but the file does not give its pixel size"
        );
        let microns = Resolution::Slide(Microns(0.5));
        assert_eq!(
            refusal(microns, &pyramid, ground(1.0, 1.0)),
            "`tiles.mpp` = 0.5 µm, but the file does not give its pixel size"
        );
        let too_fine = refusal(metres, &pyramid, ground(0.0, 0.0));
        assert_eq!(too_fine, "its pixels are too small or too large for any tiles.gsd");
        let level = |level, object: &SceneObject| refusal(Resolution::Level(level), object, none);
        assert_eq!(level(4, &pyramid), "`tiles.level` = 4, but the last level of the file is 3");
        assert_eq!(level(1, &pyramid), "`tiles.level` = 1, but level 2 has the same size");
        pyramid.without_mask = vec![3];
        assert_eq!(level(3, &pyramid), "`tiles.level` = 3, but that level has no mask, and level 0 has one");
        assert!(Resolution::Level(2).choose(&pyramid, none).is_ok());
    }

    /// What earlier builds wrote into fingerprints is written again.
    #[test]
    fn each_kind_is_one_entry() {
        let json = |resolution: Resolution| serde_json::to_string(&resolution).unwrap();
        assert_eq!(json(Resolution::default()), r#"{"gsd":null}"#);
        assert_eq!(json(Resolution::Ground(Metres(10.0))), r#"{"gsd":10.0}"#);
        assert_eq!(json(Resolution::Level(2)), r#"{"level":2}"#);
        assert_eq!(json(Resolution::Slide(Microns(0.5))), r#"{"mpp":0.5}"#);
    }
}
