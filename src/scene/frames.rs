//! What `[tiles]` and `[dicom]` ask of medical images: which frames are tiles, and how stored values become the model's
//! input.

use std::fmt;
use std::num::NonZeroU32;

use serde::Serialize;

/// Which frames of an object are tiles. Frames count from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameChoice {
    /// All of them.
    #[default]
    All,
    /// The one in the middle: of 4 frames, frame 2.
    Middle,
    /// Every n-th, beginning with frame 0.
    Every(NonZeroU32),
    /// These, as far as an object has them; ascending, each once.
    List(Vec<u32>),
}

impl FrameChoice {
    /// Takes a list in whatever order.
    #[must_use]
    pub fn list(mut frames: Vec<u32>) -> Self {
        frames.sort_unstable();
        frames.dedup();
        Self::List(frames)
    }

    /// Reads `all`, `middle` or `every:N`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::All),
            "middle" => Some(Self::Middle),
            _ => text.strip_prefix("every:")?.parse().ok().map(Self::Every),
        }
    }

    /// Returns the frames of an object that are tiles, in ascending order.
    #[must_use]
    pub fn of(&self, num_frames: u32) -> Box<dyn Iterator<Item = u32> + Send> {
        match self {
            Self::All => Box::new(0..num_frames),
            Self::Middle => Box::new((num_frames / 2..num_frames).take(1)),
            Self::Every(step) => Box::new((0..num_frames).step_by(step.get() as usize)),
            Self::List(frames) => {
                Box::new(frames.clone().into_iter().take_while(move |frame| *frame < num_frames))
            }
        }
    }
}

impl fmt::Display for FrameChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Middle => f.write_str("middle"),
            Self::Every(step) => write!(f, "every:{step}"),
            Self::List(frames) if frames.len() > 8 => write!(f, "a list of {} frames", frames.len()),
            Self::List(frames) => write!(f, "{frames:?}"),
        }
    }
}

/// A window of modality values (DICOM PS3.3 C.11.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ValueWindow {
    /// Centre.
    pub centre: f64,
    /// Width, at least 1.
    pub width: f64,
}

/// How stored values become the model's input.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// As a viewer shows the frame: modality, VOI and presentation of the object itself, as 8 bits.
    #[default]
    Display,
    /// Modality values through one window, or through three, one a band; as 8 bits.
    CtWindow(Vec<ValueWindow>),
    /// Modality values of a frame from the smallest to the largest, padding left out; as 8 bits.
    Minmax,
    /// Stored values of an X-ray, white as the largest, scaled to −1024 … 1024 (the input of `TorchXRayVision`).
    XrayRaw,
    /// Modality values, such as Hounsfield units, as floats.
    Modality,
}

impl Preset {
    /// Returns each of them.
    ///
    /// - `windows`: of `ct-window`
    #[must_use]
    pub fn all(windows: Vec<ValueWindow>) -> [Self; 5] {
        [Self::Display, Self::CtWindow(windows), Self::Minmax, Self::XrayRaw, Self::Modality]
    }

    /// Returns the name as in pipeline files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Display => "display",
            Self::CtWindow(_) => "ct-window",
            Self::Minmax => "minmax",
            Self::XrayRaw => "xray-raw",
            Self::Modality => "modality",
        }
    }

    /// Returns whether it makes 8 bits, 0 being black.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        matches!(self, Self::Display | Self::CtWindow(_) | Self::Minmax)
    }
}

/// How medical images become tiles: part of the fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FrameTiling {
    /// Which frames are tiles.
    pub frames: FrameChoice,
    /// How stored values become the model's input.
    pub preset: Preset,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, num_frames: u32) -> Vec<u32> {
        FrameChoice::parse(text).unwrap().of(num_frames).collect()
    }

    #[test]
    fn frames_count_from_0() {
        assert_eq!(of("all", 3), [0, 1, 2]);
        assert_eq!(
            (of("middle", 1), of("middle", 4), of("middle", 5), of("middle", 0)),
            (vec![0], vec![2], vec![2], vec![])
        );
        assert_eq!((of("every:2", 5), of("every:9", 5)), (vec![0, 2, 4], vec![0]));
        let list = FrameChoice::list(vec![4, 0, 4, 2]);
        assert_eq!(list.of(4).collect::<Vec<_>>(), [0, 2]);
        assert_eq!(list.of(5).collect::<Vec<_>>(), [0, 2, 4]);
        for wrong in ["", "every:0", "every:", "every:x", "first", "3"] {
            assert_eq!(FrameChoice::parse(wrong), None, "{wrong}");
        }
    }
}
