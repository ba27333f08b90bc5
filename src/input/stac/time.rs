//! Times as STAC writes them (RFC 3339), and intervals of them.
//!
//! A time is a number of microseconds since 1970-01-01T00:00:00Z.

use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use serde::{Deserialize, Serialize};

use crate::vocabulary::error::{Error, Result};

/// Reads an RFC 3339 time with any offset; `None` if it is not one.
pub fn parse(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text.trim()).ok().map(|time| time.timestamp_micros())
}

/// Writes a time in RFC 3339, UTC, with as many digits as it needs.
///
/// Times outside of what has four digits for the year are cut to the first and the last that has.
pub fn format(micros: i64) -> String {
    const FIRST: i64 = -62_135_596_800_000_000;
    const LAST: i64 = 253_402_300_799_999_999;
    let time = DateTime::from_timestamp_micros(micros.clamp(FIRST, LAST)).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// From when to when, both included; an end that is `None` is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The first microsecond.
    pub start: Option<i64>,
    /// The last microsecond.
    pub end: Option<i64>,
}

impl Interval {
    /// Reads an interval as in STAC API's `datetime`: `START/END`, where `..` or nothing is an open end, or
    /// one time alone.
    ///
    /// A date without a time of day is the whole day, in UTC.
    ///
    /// # Errors
    ///
    /// `Config` if it is not an interval, ends before it starts, or is open at both ends.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::config(format!("`{text}` is not an interval of dates: {what}")).hint(
                "write 2024-05-01/2024-08-31, 2024-05-01/.. or 2024-05-01T10:00:00Z/2024-05-01T11:00:00Z",
            )
        };
        let (from, to) = text.split_once('/').unwrap_or((text, text));
        let start = bound(from, false).ok_or_else(|| wrong("its start is not a date"))?;
        let end = bound(to, true).ok_or_else(|| wrong("its end is not a date"))?;
        match (start, end) {
            (None, None) => Err(wrong("both ends are open")),
            (Some(start), Some(end)) if end < start => Err(wrong("it ends before it starts")),
            _ => Ok(Self { start, end }),
        }
    }

    /// Returns whether some moment of `start` to `end`, both included, lies in it.
    pub fn overlaps(&self, start: i64, end: i64) -> bool {
        self.start.is_none_or(|first| end >= first) && self.end.is_none_or(|last| start <= last)
    }

    /// Writes it as STAC API's `datetime`.
    pub fn to_text(self) -> String {
        let bound = |time: Option<i64>| time.map_or_else(|| "..".to_owned(), format);
        format!("{}/{}", bound(self.start), bound(self.end))
    }
}

/// One end of an interval: open, a time, or a day of which the last microsecond is meant by an end.
#[expect(clippy::option_option, reason = "no date at all, an open end, a time")]
fn bound(text: &str, is_end: bool) -> Option<Option<i64>> {
    let text = text.trim();
    if matches!(text, "" | "..") {
        return Some(None);
    }
    if let Some(time) = parse(text) {
        return Some(Some(time));
    }
    let day: NaiveDate = text.parse().ok()?;
    let midnight = |day: NaiveDate| day.and_hms_opt(0, 0, 0).map(|time| time.and_utc().timestamp_micros());
    if is_end {
        midnight(day.checked_add_days(Days::new(1))?).map(|next| Some(next - 1))
    } else {
        Some(midnight(day))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_any_offset_and_written_in_utc() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2017-08-13T15:54:15Z", 1_502_639_655_000_000),
            ("2023-05-26T09:31:21.530651Z", 1_685_093_481_530_651),
            ("2023-05-26T11:31:21.530651+02:00", 1_685_093_481_530_651),
            ("1969-12-31T23:59:59.5Z", -500_000),
        ] {
            assert_eq!(parse(text), Some(micros), "{text}");
            assert_eq!(parse(&format(micros)), Some(micros));
        }
        assert_eq!(format(1_502_639_655_000_000), "2017-08-13T15:54:15Z");
        assert_eq!(format(i64::MAX), "9999-12-31T23:59:59.999999Z");
        for text in ["", "2017-08-13", "yesterday", "2017-13-01T00:00:00Z"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_day_is_all_of_it() {
        let day = Interval::parse("2024-02-29").unwrap();
        assert_eq!(day.to_text(), "2024-02-29T00:00:00Z/2024-02-29T23:59:59.999999Z");
        assert_eq!(Interval::parse("2024-02-29/2024-02-29").unwrap(), day);
        let open = Interval::parse("2024-02-29/..").unwrap();
        assert_eq!(open.to_text(), "2024-02-29T00:00:00Z/..");
        assert_eq!(Interval::parse("/2024-02-29").unwrap().to_text(), "../2024-02-29T23:59:59.999999Z");
        let noon = parse("2024-02-29T12:00:00Z").unwrap();
        assert!(day.overlaps(noon, noon) && open.overlaps(noon, noon));
        assert!(!Interval::parse("../2024-02-28").unwrap().overlaps(noon, noon));
        assert!(Interval::parse("../2024-02-28").unwrap().overlaps(0, noon));
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        for (text, part) in [
            ("../..", "both ends are open"),
            ("", "both ends are open"),
            ("2024-05-02/2024-05-01", "ends before"),
            ("may/june", "start is not a date"),
            ("2024-05-01/2024-02-30", "end is not a date"),
        ] {
            let error = Interval::parse(text).unwrap_err();
            assert!(error.render().contains(part), "{}", error.render());
        }
    }
}
