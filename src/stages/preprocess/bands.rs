//! Which bands of a chip become which bands of the input.

use crate::vocabulary::chip::Bands;
use crate::vocabulary::contract::{AcceptAlpha, AcceptGrey, Input};
use crate::vocabulary::reason::{Reason, Rejection};

use super::DISPLAY_UNIT;

/// What a contract says about bands.
#[derive(Debug)]
pub(super) struct BandRules {
    names: Vec<String>,
    display: bool,
    grey: AcceptGrey,
    alpha: AcceptAlpha,
}

/// The bands taken from a chip, in the order of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    bands: Vec<usize>,
    replicate: usize,
}

impl Selection {
    fn of(bands: Vec<usize>) -> Self {
        Self { bands, replicate: 1 }
    }

    /// Returns the chip's band for each band that is resampled.
    pub(super) fn bands(&self) -> &[usize] {
        &self.bands
    }

    /// Returns how often each of them is written.
    pub(super) fn replicate(&self) -> usize {
        self.replicate
    }

    /// Tells whether a chip of `num_bands` bands is taken as it is.
    pub(super) fn is_identity(&self, num_bands: usize) -> bool {
        self.bands.len() == num_bands && self.bands.iter().enumerate().all(|(at, &band)| at == band)
    }
}

impl BandRules {
    pub(super) fn new(input: &Input) -> Self {
        Self {
            names: input.bands.iter().map(|name| canonical(name)).collect(),
            display: input.unit == DISPLAY_UNIT,
            grey: input.accept.grey,
            alpha: input.accept.alpha,
        }
    }

    /// Returns the number of bands of the input.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// Returns what the bands of the input mean.
    pub(super) fn meaning(&self) -> Bands {
        let known = [Bands::Grey, Bands::GreyAlpha, Bands::Rgb, Bands::Rgba];
        let count = u16::try_from(self.count()).unwrap_or(u16::MAX);
        known.into_iter().find(|&bands| self.names == names(bands)).unwrap_or(Bands::Many(count))
    }

    /// Chooses a chip's bands: by name, else a grey image as the contract accepts it, else, for units
    /// other than display values, as many bands as the model takes in the order stored.
    ///
    /// # Errors
    ///
    /// [`Reason::BandsMismatch`] if the contract takes no such image.
    pub(super) fn select(&self, bands: Bands) -> Result<Selection, Rejection> {
        let names = names(bands);
        let unused_alpha = names.last() == Some(&"alpha") && !self.names.iter().any(|name| name == "alpha");
        if unused_alpha && self.alpha == AcceptAlpha::Reject {
            return Err(self.mismatch(bands, ", and its contract does not drop alpha"));
        }
        let grey = names.first() == Some(&"grey");
        if let Some(bands) = self.by_name(names) {
            return Ok(Selection::of(bands));
        }
        if grey && self.is_colour() {
            return match self.grey {
                AcceptGrey::Replicate => Ok(Selection { bands: vec![0], replicate: 3 }),
                AcceptGrey::Reject => {
                    Err(self.mismatch(bands, ", and its contract does not accept grey images"))
                }
            };
        }
        if grey && self.names.len() == 1 && (unused_alpha || names.len() == 1) {
            return Ok(Selection::of(vec![0]));
        }
        if !self.display && bands.count() == self.names.len() {
            return Ok(Selection::of((0..bands.count()).collect()));
        }
        Err(self.mismatch(bands, ""))
    }

    fn by_name(&self, names: &[&str]) -> Option<Vec<usize>> {
        self.names.iter().map(|wanted| names.iter().position(|name| name == wanted)).collect()
    }

    fn is_colour(&self) -> bool {
        self.names.len() == 3
            && ["red", "green", "blue"].iter().all(|name| self.names.iter().any(|n| n == name))
    }

    fn mismatch(&self, bands: Bands, why: &str) -> Rejection {
        let found = match bands {
            Bands::Many(count) => format!("{count} unnamed bands"),
            bands => names(bands).join(", "),
        };
        let wanted = self.names.join(", ");
        Rejection::new(Reason::BandsMismatch, format!("the image has {found}; the model takes {wanted}{why}"))
    }
}

fn names(bands: Bands) -> &'static [&'static str] {
    match bands {
        Bands::Grey => &["grey"],
        Bands::GreyAlpha => &["grey", "alpha"],
        Bands::Rgb => &["red", "green", "blue"],
        Bands::Rgba => &["red", "green", "blue", "alpha"],
        Bands::Many(_) => &[],
    }
}

/// Folds the spellings of colour bands.
fn canonical(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "r" => "red".to_owned(),
        "g" => "green".to_owned(),
        "b" => "blue".to_owned(),
        "a" => "alpha".to_owned(),
        "gray" | "l" | "luminance" => "grey".to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(names: &[&str], display: bool, grey: AcceptGrey, alpha: AcceptAlpha) -> BandRules {
        BandRules { names: names.iter().map(|name| canonical(name)).collect(), display, grey, alpha }
    }

    fn taken(names: &[&str], display: bool, bands: Bands) -> Option<Selection> {
        rules(names, display, AcceptGrey::Replicate, AcceptAlpha::Drop).select(bands).ok()
    }

    const RGB: &[&str] = &["red", "green", "blue"];

    #[test]
    fn colours_are_found_by_name() {
        assert_eq!(taken(RGB, true, Bands::Rgba), Some(Selection::of(vec![0, 1, 2])));
        assert_eq!(taken(&["B", "G", "R"], true, Bands::Rgb), Some(Selection::of(vec![2, 1, 0])));
        assert_eq!(taken(&["gray"], true, Bands::GreyAlpha), Some(Selection::of(vec![0])));
        assert_eq!(taken(&["grey"], true, Bands::Rgb), None);
        assert_eq!(taken(&["nir", "red", "green"], true, Bands::Rgb), None);
    }

    #[test]
    fn the_bands_of_a_display_model_have_a_meaning() {
        let meaning = |names: &[&str]| rules(names, true, AcceptGrey::Reject, AcceptAlpha::Drop).meaning();
        assert_eq!(meaning(&["R", "G", "B"]), Bands::Rgb);
        assert_eq!(meaning(&["gray"]), Bands::Grey);
        assert_eq!(meaning(&["B", "G", "R"]), Bands::Many(3));
    }

    #[test]
    fn grey_becomes_three_bands_only_where_it_may() {
        let selection = taken(RGB, true, Bands::GreyAlpha).unwrap();
        assert_eq!((selection.bands(), selection.replicate()), (&[0][..], 3));
        let strict = rules(RGB, true, AcceptGrey::Reject, AcceptAlpha::Drop);
        assert_eq!(strict.select(Bands::Grey).unwrap_err().reason, Reason::BandsMismatch);
    }

    #[test]
    fn alpha_is_dropped_only_where_it_may() {
        let strict = rules(RGB, true, AcceptGrey::Replicate, AcceptAlpha::Reject);
        assert_eq!(strict.select(Bands::Rgba).unwrap_err().reason, Reason::BandsMismatch);
        assert!(strict.select(Bands::Rgb).is_ok());
    }

    #[test]
    fn unnamed_bands_count_only_outside_of_display_values() {
        assert_eq!(taken(RGB, true, Bands::Many(3)), None);
        assert_eq!(taken(&["b4", "b3"], false, Bands::Many(2)), Some(Selection::of(vec![0, 1])));
        assert_eq!(taken(&["b4", "b3"], false, Bands::Many(3)), None);
        assert_eq!(taken(&["vv"], false, Bands::Grey), Some(Selection::of(vec![0])));
    }
}
