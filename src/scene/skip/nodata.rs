//! Windows with too few valid pixels are left out.

use super::{SceneBand, Share, SkipRule, WindowHeaders, WindowPixels};
use crate::vocabulary::reason::Reason;

/// Judges by the share of pixels that are valid in all bands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TooFewValid {
    /// Windows with a smaller share are left out; those without a valid pixel always are.
    pub min_fraction: f64,
}

impl SkipRule for TooFewValid {
    fn reason(&self) -> Reason {
        Reason::Nodata
    }

    /// Where a band's file does not reach, nothing is valid.
    fn by_headers(&self, window: &WindowHeaders<'_>, _: Option<&SceneBand>) -> Option<Share> {
        window.scene.bands.iter().any(|band| window.is_outside(band)).then_some(Some(0.0))
    }

    fn by_pixels(&self, pixels: &dyn WindowPixels, _: Option<&SceneBand>) -> Share {
        Some(pixels.valid_fraction())
    }

    fn judge(&self, share: Share) -> Option<String> {
        let valid = share?;
        let too_few = valid == 0.0 || f64::from(valid) < self.min_fraction;
        too_few.then(|| format!("{:.1} % of the pixels are valid", 100.0 * valid))
    }
}
