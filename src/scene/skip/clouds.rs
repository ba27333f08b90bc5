//! Windows with too many clouds are left out.

use serde::Serialize;

use super::{SceneBand, Share, SkipRule, WindowHeaders, WindowPixels};
use crate::vocabulary::reason::Reason;

/// Judges by the share of valid pixels that a band marks as clouds. Part of the fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Clouds {
    /// Name of the band.
    pub band: String,
    /// Its values that mean clouds.
    pub values: Vec<u32>,
    /// The numbers of its bits that do.
    pub bits: Vec<u32>,
    /// Windows with a larger share are left out; if it is below 1, those of which nothing is known are, too.
    pub max_fraction: f64,
}

impl Clouds {
    /// Tells whether a sample of the band means clouds.
    pub(super) fn marks(&self, sample: f64) -> bool {
        let value = sample as u32;
        self.values.contains(&value) || self.bits.iter().any(|bit| value >> bit & 1 == 1)
    }
}

impl SkipRule for Clouds {
    fn band(&self) -> Option<&str> {
        Some(&self.band)
    }

    fn reason(&self) -> Reason {
        Reason::Clouds
    }

    /// Where the band's file does not reach, nothing says where clouds are.
    fn by_headers(&self, window: &WindowHeaders<'_>, own: Option<&SceneBand>) -> Option<Share> {
        own.is_none_or(|band| window.is_outside(band)).then_some(None)
    }

    fn by_pixels(&self, pixels: &dyn WindowPixels, own: Option<&SceneBand>) -> Share {
        pixels.share(own?, &|sample| self.marks(sample))
    }

    fn judge(&self, share: Share) -> Option<String> {
        match share {
            Some(clouds) if f64::from(clouds) > self.max_fraction => {
                Some(format!("{:.1} % of the valid pixels are clouds", 100.0 * clouds))
            }
            None if self.max_fraction < 1.0 => {
                Some("there is no cloud information for this window".to_owned())
            }
            _ => None,
        }
    }
}
