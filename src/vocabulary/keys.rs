//! Keys that stand in a table for what names a person: patients, studies, series, instances, sources.
//!
//! Each is the first 128 bits of HMAC-SHA256 (RFC 2104) over a domain and an identifier, as 32 lower-case hex digits.
//! The domain makes the key of a patient differ from that of a study with the same text. Whoever has the secret can
//! make the same keys again, to join labels; without it nobody can find out, or check a guess, what a key stands for.

use std::fmt;

use chrono::{Days, NaiveDate};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::identity::{Naming, Pseudonyms};
use crate::vocabulary::error::{Error, Result};

/// A shorter secret could be found by trying.
pub const MIN_KEY_BYTES: usize = 16;
/// Dates are moved back by at least one day and at most this many, about ten years.
const MAX_SHIFT_DAYS: u64 = 3650;

const PATIENT: &[u8] = b"tilefleet patient v1\0";
const STUDY: &[u8] = b"tilefleet study v1\0";
const SERIES: &[u8] = b"tilefleet series v1\0";
const INSTANCE: &[u8] = b"tilefleet instance v1\0";
const DATE_SHIFT: &[u8] = b"tilefleet date shift v1\0";
const KEY_ID: &[u8] = b"tilefleet key id v1\0";

/// Makes keys with one secret.
#[derive(Clone)]
pub struct Keys {
    keyed: Hmac<Sha256>,
    sources: Pseudonyms,
}

impl Keys {
    /// Makes keys with this secret.
    ///
    /// # Errors
    ///
    /// `Config` if it has less than [`MIN_KEY_BYTES`] bytes.
    pub fn new(secret: &[u8]) -> Result<Self> {
        let too_short = || {
            Error::config(format!("the key of the pseudonyms has {} bytes", secret.len()))
                .hint(format!("make one of at least {MIN_KEY_BYTES} random bytes: `openssl rand -hex 32`"))
        };
        let keyed = Hmac::new_from_slice(secret).ok().filter(|_| secret.len() >= MIN_KEY_BYTES);
        let keyed = keyed.ok_or_else(too_short)?;
        Ok(Self { sources: Pseudonyms::from(keyed.clone()), keyed })
    }

    /// Returns what tells this secret from others, without telling it: 8 hex digits, an HMAC over a fixed text.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(&self.digest(KEY_ID, &[])[..4])
    }

    /// Returns how sources are named with this secret.
    #[must_use]
    pub fn naming(&self) -> Naming {
        Naming::new(self.sources.clone())
    }

    /// Returns the key of a patient; `None` if the id is absent or blank, since all such would be one patient.
    ///
    /// - `issuer`: `IssuerOfPatientID`, without which two hospitals' ids may be the same
    #[must_use]
    pub fn patient_key(&self, issuer: Option<&str>, patient_id: Option<&str>) -> Option<String> {
        let id = significant(patient_id?)?;
        let issuer = issuer.and_then(significant).unwrap_or_default();
        Some(self.key(PATIENT, &[issuer, id]))
    }

    /// Returns the key of a study by its `StudyInstanceUID`; `None` if that is blank.
    #[must_use]
    pub fn study_key(&self, uid: &str) -> Option<String> {
        self.uid_key(STUDY, uid)
    }

    /// Returns the key of a series by its `SeriesInstanceUID`; `None` if that is blank.
    #[must_use]
    pub fn series_key(&self, uid: &str) -> Option<String> {
        self.uid_key(SERIES, uid)
    }

    /// Returns the key of an instance by its `SOPInstanceUID`; `None` if that is blank.
    #[must_use]
    pub fn instance_key(&self, uid: &str) -> Option<String> {
        self.uid_key(INSTANCE, uid)
    }

    /// Moves a date back, all dates of a patient by as much: the days between two of them stay what they were.
    ///
    /// - `patient_key`: as [`Self::patient_key`] returns it
    /// - `date`: `YYYYMMDD` (PS3.5 6.2, DA), with or without padding
    /// - returns: days since 1970-01-01, as Arrow's `Date32`; `None` if it is not a date
    #[must_use]
    pub fn shift_date(&self, patient_key: &str, date: &str) -> Option<i32> {
        days_since_1970(parsed(date)?.checked_sub_days(Days::new(self.shift_days(patient_key)))?)
    }

    fn shift_days(&self, patient_key: &str) -> u64 {
        let digest = self.digest(DATE_SHIFT, &[patient_key]);
        let number = digest[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        1 + number % MAX_SHIFT_DAYS
    }

    fn uid_key(&self, domain: &[u8], uid: &str) -> Option<String> {
        Some(self.key(domain, &[significant(uid)?]))
    }

    fn key(&self, domain: &[u8], parts: &[&str]) -> String {
        hex::encode(&self.digest(domain, parts)[..16])
    }

    /// Each part is preceded by its length in 8 bytes, so that `a`, `bc` is not `ab`, `c`.
    fn digest(&self, domain: &[u8], parts: &[&str]) -> [u8; 32] {
        let keyed = self.keyed.clone().chain_update(domain);
        let framed = |keyed: Hmac<Sha256>, part: &&str| {
            keyed.chain_update((part.len() as u64).to_be_bytes()).chain_update(part)
        };
        parts.iter().fold(keyed, framed).finalize().into_bytes().into()
    }
}

/// Returns a date as it is.
///
/// - `date`: `YYYYMMDD` (PS3.5 6.2, DA), with or without padding
/// - returns: days since 1970-01-01, as Arrow's `Date32`; `None` if it is not a date
#[must_use]
pub fn plain_date(date: &str) -> Option<i32> {
    days_since_1970(parsed(date)?)
}

fn parsed(date: &str) -> Option<NaiveDate> {
    let date =
        significant(date).filter(|date| date.len() == 8 && date.bytes().all(|it| it.is_ascii_digit()))?;
    let (year, month, day) = (date[..4].parse().ok()?, date[4..6].parse().ok()?, date[6..].parse().ok()?);
    NaiveDate::from_ymd_opt(year, month, day)
}

fn days_since_1970(date: NaiveDate) -> Option<i32> {
    i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// Says nothing of the secret.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// Returns a value without what only pads it: spaces on both sides, NULs behind (PS3.5 6.2); `None` if nothing is left.
#[must_use]
pub fn significant(value: &str) -> Option<&str> {
    let value = value.trim_end_matches([' ', '\0']).trim_start_matches(' ');
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef";

    fn keys() -> Keys {
        Keys::new(SECRET).unwrap()
    }

    /// Computed apart from this code, with Python's hmac and hashlib over the documented bytes.
    #[test]
    fn keys_are_those_of_the_documented_bytes() {
        let keys = keys();
        assert_eq!(keys.id(), "a0bb825a");
        assert_eq!(
            keys.patient_key(Some("Hospital"), Some("4711")).unwrap(),
            "67ddbd6eb9e8075f4544b777bb9716d9"
        );
        assert_eq!(keys.patient_key(None, Some("Müller")).unwrap(), "48954f3ffb6b1b633b032bba55e6134e");
        assert_eq!(keys.study_key("1.2.3").unwrap(), "ec3873d8bf195e9be83fc581fff70bcd");
        assert_eq!(keys.series_key("1.2.3").unwrap(), "ea4aaceb3aff3ec25246db2e95e57e6a");
        assert_eq!(keys.instance_key("1.2.3").unwrap(), "747feade1d9e7b7e9415c5a1ee933f47");
        assert_eq!(keys.naming().name("s3://a/ü.tif"), "d4b36c73d4144172d009cb12d87b4010");
        assert_eq!(keys.shift_date("00ff", "19700101"), Some(-3176));
    }

    #[test]
    fn padding_is_no_part_of_an_id_and_nothing_has_no_key() {
        let keys = keys();
        let key = keys.patient_key(Some("H"), Some("4711"));
        assert!(key.is_some());
        for (issuer, id) in [("H ", "4711 "), ("  H", "  4711"), ("H\0", "4711\0"), ("H", " 4711 \0\0")] {
            assert_eq!(keys.patient_key(Some(issuer), Some(id)), key, "{issuer:?} {id:?}");
        }
        assert_eq!(keys.study_key("1.2.3\0"), keys.study_key("1.2.3"));
        for blank in [None, Some(""), Some("  "), Some("\0"), Some(" \0 \0")] {
            assert_eq!(keys.patient_key(Some("H"), blank), None, "{blank:?}");
            assert_eq!(keys.patient_key(blank, Some("1")), keys.patient_key(None, Some("1")), "{blank:?}");
            assert!(blank.is_none_or(|uid| keys.study_key(uid).is_none()), "{blank:?}");
        }
        // What is within is part of it.
        assert_ne!(keys.patient_key(None, Some("a b")), keys.patient_key(None, Some("ab")));
    }

    #[test]
    fn no_two_things_have_one_key() {
        let (keys, other) = (keys(), Keys::new(b"0123456789abcdeg").unwrap());
        let made = [
            keys.patient_key(None, Some("abc")),
            keys.patient_key(Some("a"), Some("bc")),
            keys.patient_key(Some("ab"), Some("c")),
            keys.study_key("abc"),
            keys.series_key("abc"),
            keys.instance_key("abc"),
            Some(keys.naming().name("abc").into_owned()),
            other.patient_key(None, Some("abc")),
            other.study_key("abc"),
        ];
        assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), made.len(), "{made:?}");
        assert!(made.iter().flatten().all(|key| key.len() == 32));
        assert_ne!(keys.id(), other.id());
        assert!(!format!("{keys:?}").contains("0123"));
        assert!(Keys::new(&SECRET[1..]).is_err());
    }

    #[test]
    fn the_days_between_two_dates_of_a_patient_stay() {
        let keys = keys();
        let shifted = |patient: &str, date: &str| keys.shift_date(patient, date).unwrap();
        let day = |date: &str| NaiveDate::parse_from_str(date, "%Y%m%d").unwrap();
        let dates = ["20240229", "20240301", "19991231", "20000101"];
        let mut shifts = BTreeSet::new();
        for patient in (0..500).map(|number| format!("{number:032x}")) {
            let first = i64::from(shifted(&patient, dates[0]));
            for date in dates {
                let between = day(date).signed_duration_since(day(dates[0])).num_days();
                assert_eq!(i64::from(shifted(&patient, date)) - first, between);
            }
            let back = day(dates[0]).signed_duration_since(NaiveDate::default()).num_days() - first;
            assert!((1..=3650).contains(&back), "{back}");
            shifts.insert(back);
        }
        assert!(shifts.len() > 400, "patients are moved alike");
        for wrong in ["", "2024", "20240230", "20241301", "2024-1-1", "+2024101", "20240101120000", "٢٠٢٤"]
        {
            assert_eq!(keys.shift_date("00", wrong), None, "{wrong}");
        }
        assert_eq!(keys.shift_date("00", "20240101 "), keys.shift_date("00", "20240101"));
    }
}
