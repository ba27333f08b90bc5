//! What kept one object from being read, where nothing says that it is the store's or a person's fault.
//!
//! A [`Trouble`] lies among the causes of an error. Whoever finds one there may ask whether other objects of the
//! store answer: then it is this object. What concerns credentials, clocks or certificates holds none.

use std::error::Error as StdError;
use std::fmt;

use crate::vocabulary::error::Error;

/// What happened, as a code without names or secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The store answered with this status.
    Answered(u16),
    /// No answer came in time.
    NoAnswer,
    /// No connection came about.
    NoConnection,
    /// The answer broke off.
    BrokenOff,
    /// The answer came too slowly, or stalled.
    TooSlow,
    /// Redirects led in a circle, to a place that is not allowed, or to nothing.
    Redirected,
    /// The server does not send parts of objects.
    NoRanges,
    /// The answer cannot be understood.
    BadAnswer,
    /// The file system failed.
    DiskFailed,
}

impl Trouble {
    /// Returns the code, as in attempts.
    #[must_use]
    pub fn code(self) -> String {
        match self {
            Self::Answered(status) => format!("answered_{status}"),
            Self::NoAnswer => "no_answer".to_owned(),
            Self::NoConnection => "no_connection".to_owned(),
            Self::BrokenOff => "broken_off".to_owned(),
            Self::TooSlow => "too_slow".to_owned(),
            Self::Redirected => "redirected".to_owned(),
            Self::NoRanges => "no_ranges".to_owned(),
            Self::BadAnswer => "bad_answer".to_owned(),
            Self::DiskFailed => "disk_failed".to_owned(),
        }
    }

    /// Returns the trouble among the causes of an error.
    #[must_use]
    pub fn of(error: &Error) -> Option<Self> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(cause) = next {
            if let Some(symptom) = cause.downcast_ref::<Symptom>() {
                return Some(symptom.trouble);
            }
            next = cause.source();
        }
        None
    }

    /// Makes a cause of it.
    pub(super) fn said(self, text: impl Into<String>) -> Symptom {
        Symptom { trouble: self, text: text.into() }
    }
}

/// Trouble as a cause of an error.
#[derive(Debug)]
pub(super) struct Symptom {
    trouble: Trouble,
    text: String,
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Symptom {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_found_below_other_causes() {
        let inner = Error::unavailable("cannot read a").because(Trouble::Answered(503).said("503"));
        let outer = Error::unavailable("cannot open").because(inner);
        assert_eq!(Trouble::of(&outer), Some(Trouble::Answered(503)));
        assert_eq!(outer.causes(), ["cannot read a", "503"]);
        assert_eq!(Trouble::of(&Error::config("no credentials")), None);
    }
}
