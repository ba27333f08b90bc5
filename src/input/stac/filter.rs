//! Which items are wanted: by date, by clouds, by place.

use super::item::{Bbox, Item};
use super::time::Interval;
use crate::vocabulary::error::{Error, Result};

/// What `[input]` asks of items; what is `None` may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filter {
    /// When they were taken.
    pub dates: Option<Interval>,
    /// The most clouds, in percent.
    pub max_cloud_cover: Option<f64>,
    /// A box that they must touch.
    pub area: Option<Bbox>,
}

/// Whether an item is wanted, and if not, why.
///
/// An item that does not say what is asked about is left out, as a STAC API's search would do: taking it
/// could bring the clouds that somebody wanted to avoid. It is counted under a verdict of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It is wanted.
    Taken,
    /// It was taken at another time.
    OtherDate,
    /// It does not say when it was taken.
    NoDate,
    /// It has more clouds.
    TooCloudy,
    /// It does not say how many clouds it has.
    NoCloudCover,
    /// It lies elsewhere.
    Elsewhere,
    /// It does not say where it lies.
    NoBbox,
}

impl Verdict {
    /// Says it for people, as in "12 items outside of the dates".
    pub fn words(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::OtherDate => "outside of the dates",
            Self::NoDate => "without a date",
            Self::TooCloudy => "with more clouds",
            Self::NoCloudCover => "without eo:cloud_cover",
            Self::Elsewhere => "outside of the area",
            Self::NoBbox => "without a bbox",
        }
    }
}

impl Verdict {
    /// Returns whether it says what is asked about, and is another time, place or weather.
    pub fn is_elsewhere(self) -> bool {
        matches!(self, Self::OtherDate | Self::TooCloudy | Self::Elsewhere)
    }
}

impl Filter {
    /// Checks what can be checked without items.
    ///
    /// # Errors
    ///
    /// `Config` if the share of clouds is not a percentage.
    pub fn check(&self) -> Result<()> {
        match self.max_cloud_cover {
            Some(percent) if !(0.0..=100.0).contains(&percent) => {
                Err(Error::config(format!("a cloud cover of {percent} is not a percentage"))
                    .hint("give a number from 0 to 100"))
            }
            _ => Ok(()),
        }
    }

    /// Judges an item.
    pub fn judge(&self, item: &Item) -> Verdict {
        if let Some(dates) = &self.dates {
            match item.period() {
                None => return Verdict::NoDate,
                Some((start, end)) if !dates.overlaps(start, end) => return Verdict::OtherDate,
                Some(_) => {}
            }
        }
        if let Some(area) = &self.area {
            match &item.bbox {
                None => return Verdict::NoBbox,
                Some(bbox) if !bbox.intersects(area) => return Verdict::Elsewhere,
                Some(_) => {}
            }
        }
        match (self.max_cloud_cover, item.cloud_cover) {
            (Some(_), None) => Verdict::NoCloudCover,
            (Some(most), Some(percent)) if percent > most => Verdict::TooCloudy,
            _ => Verdict::Taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::item;
    use super::*;

    #[test]
    fn an_item_is_taken_only_if_it_says_what_is_asked() {
        let clouds = Filter { max_cloud_cover: Some(20.0), ..Filter::default() };
        let judged = |percent: &str| {
            let properties =
                format!(r#"{{"datetime": "2024-05-01T10:00:00Z", "eo:cloud_cover": {percent}}}"#);
            clouds.judge(&item(&properties, "{}"))
        };
        assert_eq!(judged("20"), Verdict::Taken);
        assert_eq!(judged("20.01"), Verdict::TooCloudy);
        assert_eq!(judged("null"), Verdict::NoCloudCover);
        assert!(Filter { max_cloud_cover: Some(120.0), ..Filter::default() }.check().is_err());
        assert!(clouds.check().is_ok());
    }

    #[test]
    fn a_period_counts_as_a_whole() {
        let filter =
            |dates: &str| Filter { dates: Some(Interval::parse(dates).unwrap()), ..Filter::default() };
        let summer = item(
            r#"{"datetime": null, "start_datetime": "2024-06-01T00:00:00Z", "end_datetime": "2024-08-31T00:00:00Z"}"#,
            "{}",
        );
        assert!(summer.datetime_is_start);
        assert_eq!(filter("2024-07-01").judge(&summer), Verdict::Taken);
        assert_eq!(filter("2024-09-01/..").judge(&summer), Verdict::OtherDate);
        let moment = item(r#"{"datetime": "2024-06-01T00:00:00Z"}"#, "{}");
        assert_eq!(filter("2024-07-01").judge(&moment), Verdict::OtherDate);
        assert_eq!(filter("2024-07-01").judge(&item(r#"{"datetime": null}"#, "{}")), Verdict::NoDate);
    }

    #[test]
    fn the_area_is_a_box_that_is_touched() {
        let filter = |numbers: [f64; 4]| Filter { area: Bbox::of(&numbers), ..Filter::default() };
        let item = item("{}", "{}");
        assert_eq!(filter([9.0, 49.0, 10.0, 50.0]).judge(&item), Verdict::Taken);
        assert_eq!(filter([19.0, 49.0, 20.0, 50.0]).judge(&item), Verdict::Elsewhere);
        let nowhere = Item { bbox: None, ..item };
        assert_eq!(filter([9.0, 49.0, 10.0, 50.0]).judge(&nowhere), Verdict::NoBbox);
    }
}
