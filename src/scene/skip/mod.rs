//! Why windows are left out: a list of rules, asked in its order.
//!
//! Each rule judges one share of a window's pixels. It says what it needs ([`Needs`]), by which share it judges, what
//! headers alone tell of that share, and which reason the row gets. One judgement serves both times, so that what is left
//! out unread would be left out if it were read.
//!
//! ```text
//! planning   needs       ─▶ the survey finds a rule's own band
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

/// What a rule has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs<'a> {
    /// Which pixels are valid: composing always finds out.
    Validity,
    /// The values of the model's own bands.
    Values,
    /// A band besides those of the model, by name: planning finds it and records it as [`Scene::clouds`].
    Band(&'a str),
}

/// One reason to leave windows out.
pub trait SkipRule: fmt::Debug + Send + Sync {
    /// Returns what it needs.
    fn needs(&self) -> Needs<'_>;

    /// Returns the code that rows get.
    fn reason(&self) -> Reason;

    /// Returns the share that it judges by, before pixels are read; `None` if only pixels tell it.
    fn by_headers(&self, window: &WindowHeaders<'_>) -> Option<Share>;

    /// Returns the share that it judges by, once pixels are read.
    fn by_pixels(&self, pixels: &dyn WindowPixels) -> Share;

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

/// The shares of a window that rules judge by, of each rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured(Vec<(Reason, Share)>);

impl Measured {
    /// Returns the share that the rule of a reason judges by; `None` also where there is no such rule.
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
        self.0.iter().filter_map(|rule| match rule.needs() {
            Needs::Band(name) => Some(name),
            Needs::Validity | Needs::Values => None,
        })
    }

    /// Decides before pixels are read, as far as that can be done: a rule is asked only if all before it are known to let
    /// the window pass.
    #[must_use]
    pub fn before_pixels(&self, window: &WindowHeaders<'_>) -> Option<(Skipped, Measured)> {
        let mut measured = Measured::default();
        for rule in &*self.0 {
            let share = rule.by_headers(window)?;
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
        Measured(self.0.iter().map(|rule| (rule.reason(), rule.by_pixels(pixels))).collect())
    }

    /// Decides by what was measured.
    #[must_use]
    pub fn after_pixels(&self, measured: &Measured) -> Option<Skipped> {
        self.0.iter().find_map(|rule| {
            let detail = rule.judge(measured.share(rule.reason()))?;
            Some(Skipped { reason: rule.reason(), detail })
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
