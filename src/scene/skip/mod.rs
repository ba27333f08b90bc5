//! Why windows are left out: a list of rules, asked in its order.
//!
//! Each rule judges one share of a window's pixels. It says which band it needs besides those of the model, if any, by
//! which share it judges, what headers alone tell of that share, and which reason the row gets. One judgement serves both
//! times, so that what is left out unread would be left out if it were read.
//!
//! ```text
//! planning   band        ─▶ the survey finds a rule's own band
//! headers    by_headers  ─▶ share, if they tell it ─▶ judge ─▶ skipped, and no pixel is read
//! pixels     by_pixels   ─▶ share ─────────────────▶ judge ─▶ skipped, or on to the model
//! ```
//!
//! [`Tiling::skip_rules`] makes the list. `stages/compose` measures the pixels, `stages/pipeline` and `answers/inspect` ask.
//! A further rule, such as the background of slides, is a file here that passes the suite in `tests`, and an entry of that list.

mod clouds;
mod nodata;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use self::clouds::Clouds;
pub use self::nodata::TooFewValid;
use super::{Scene, SceneBand, SourceWindow, Tiling};
use crate::vocabulary::reason::Reason;

/// A share of a window's pixels, 0 to 1; `None` if nothing says it.
pub type Share = Option<f32>;

/// One reason to leave windows out.
pub trait SkipRule: fmt::Debug + Send + Sync {
    /// Returns the name of the band that it needs besides those of the model, if it does: planning finds that band and
    /// records it among [`Scene::rule_bands`].
    fn band(&self) -> Option<&str> {
        None
    }

    /// Returns the code that rows get.
    fn reason(&self) -> Reason;

    /// Returns the share that it judges by, before pixels are read; `None` if only pixels tell it.
    ///
    /// - `own`: where [`Self::band`] lies; `None` also if planning has recorded none
    fn by_headers(&self, window: &WindowHeaders<'_>, own: Option<&SceneBand>) -> Option<Share>;

    /// Returns the share that it judges by, once pixels are read.
    ///
    /// - `own`: as above
    fn by_pixels(&self, pixels: &dyn WindowPixels, own: Option<&SceneBand>) -> Share;

    /// Returns why a window with this share is left out, if it is: the row's detail.
    fn judge(&self, share: Share) -> Option<String>;
}

/// What is known of a window before its pixels are read.
#[derive(Clone, Copy, Debug)]
pub struct WindowHeaders<'a> {
    /// The scene.
    pub scene: &'a Scene,
    /// What the window needs of each of its objects.
    pub cuts: &'a [SourceWindow],
}

impl WindowHeaders<'_> {
    /// Tells whether the window lies outside of the object that holds a band.
    #[must_use]
    pub fn is_outside(&self, band: &SceneBand) -> bool {
        let cut = self.cuts.iter().find(|cut| cut.object == band.object);
        cut.is_none_or(|cut| cut.pixels.width == 0 || cut.pixels.height == 0)
    }
}

/// What rules may ask of a window's pixels.
pub trait WindowPixels {
    /// Returns the scene.
    fn scene(&self) -> &Scene;

    /// Returns the share of pixels that are valid in all bands of the model.
    fn valid_fraction(&self) -> f32;

    /// Returns the share of the valid pixels whose samples of a band belong to what is meant; `None` if the band is not
    /// known of half of them.
    ///
    /// - `belongs`: tells it of a sample as stored
    fn share(&self, band: &SceneBand, belongs: &dyn Fn(f64) -> bool) -> Share;
}

/// Why a window is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The fixed code.
    pub reason: Reason,
    /// The particulars.
    pub detail: String,
}

/// The shares of a window that rules judge by, of each rule and in the order of rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured(Vec<(Reason, Share)>);

impl Measured {
    /// Returns the share that the first rule with a reason judges by; `None` also where there is no such rule.
    #[must_use]
    pub fn share(&self, reason: Reason) -> Share {
        self.0.iter().find(|(of, _)| *of == reason).and_then(|(_, share)| *share)
    }
}

/// The rules of a run, in the order in which they are asked: the first that refuses a window gives the reason.
#[derive(Clone, Debug, Default)]
pub struct SkipRules(Arc<[Box<dyn SkipRule>]>);

impl SkipRules {
    /// Takes rules in their order.
    #[must_use]
    pub fn new(rules: Vec<Box<dyn SkipRule>>) -> Self {
        Self(rules.into())
    }

    /// Returns the bands that rules need besides those of the model.
    pub fn bands(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|rule| rule.band())
    }

    /// Returns each rule with the band of its own that planning has found in a scene.
    fn with_bands<'a>(
        &'a self,
        scene: &'a Scene,
    ) -> impl Iterator<Item = (&'a dyn SkipRule, Option<&'a SceneBand>)> {
        let mut found = scene.rule_bands.iter();
        self.0.iter().map(move |rule| (&**rule, rule.band().and_then(|_| found.next())))
    }

    /// Decides before pixels are read, as far as that can be done: a rule is asked only if all before it are known to let
    /// the window pass.
    #[must_use]
    pub fn before_pixels(&self, window: &WindowHeaders<'_>) -> Option<(Skipped, Measured)> {
        let mut measured = Measured::default();
        for (rule, own) in self.with_bands(window.scene) {
            let share = rule.by_headers(window, own)?;
            measured.0.push((rule.reason(), share));
            if let Some(detail) = rule.judge(share) {
                return Some((Skipped { reason: rule.reason(), detail }, measured));
            }
        }
        None
    }

    /// Measures what all rules judge by.
    #[must_use]
    pub fn measure(&self, pixels: &dyn WindowPixels) -> Measured {
        let share = |(rule, own): (&dyn SkipRule, _)| (rule.reason(), rule.by_pixels(pixels, own));
        Measured(self.with_bands(pixels.scene()).map(share).collect())
    }

    /// Decides by what [`Self::measure`] has measured.
    #[must_use]
    pub fn after_pixels(&self, measured: &Measured) -> Option<Skipped> {
        self.0.iter().zip(&measured.0).find_map(|(rule, (reason, share))| {
            let detail = rule.judge(*share)?;
            Some(Skipped { reason: *reason, detail })
        })
    }
}

impl Tiling {
    /// Returns the rules by which windows are left out.
    #[must_use]
    pub fn skip_rules(&self) -> SkipRules {
        let mut rules: Vec<Box<dyn SkipRule>> =
            vec![Box::new(TooFewValid { min_fraction: self.min_valid_fraction })];
        if let Some(clouds) = &self.clouds {
            rules.push(Box::new(clouds.clone()));
        }
        SkipRules::new(rules)
    }
}
