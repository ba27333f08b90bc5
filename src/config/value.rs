//! From settings to checked values: what each type accepts, and what it says to anything else.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use toml::Value;

use super::settings::{Setting, Settings};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::Devices;

/// A type that a setting can be read as.
pub(super) trait FromSetting: Sized {
    /// What the setting must be, to finish "must be …".
    const EXPECTED: &'static str;

    /// Reads the setting, or returns `None` if it is anything else.
    fn from_setting(setting: &Setting) -> Option<Self>;
}

impl Settings {
    /// Reads a setting as the type that is asked for.
    pub(super) fn read<T: FromSetting>(&self, name: &str) -> Result<T> {
        let setting = self.get(name);
        T::from_setting(setting).ok_or_else(|| wrong(setting, T::EXPECTED))
    }

    /// Reads a setting that is one of a few words.
    pub(super) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<T> {
        let setting = self.get(name);
        let chosen = setting.value.as_str().and_then(|word| choices.iter().find(|(known, _)| *known == word));
        let quoted =
            || choices.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ");
        chosen.map(|&(_, value)| value).ok_or_else(|| wrong(setting, &quoted()))
    }
}

/// Says that a setting is not what it must be.
pub(super) fn wrong(setting: &Setting, expected: &str) -> Error {
    let found = match &setting.value {
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
        simple => format!("the {} {simple}", simple.type_str()),
    };
    let name = setting.name();
    let error = Error::config(format!("`{name}` must be {expected}, not {found} ({})", setting.origin));
    if !expected.contains("list") {
        return error;
    }
    error.hint(format!("write --set {name}=A,B or --set '{name}=[\"A\", \"B\"]'; numbers without quotes"))
}

impl FromSetting for String {
    const EXPECTED: &'static str = "a text";

    fn from_setting(setting: &Setting) -> Option<Self> {
        match (&setting.value, &setting.typed) {
            (Value::String(text), _) => Some(text.clone()),
            (Value::Array(_) | Value::Table(_), _) | (_, None) => None,
            (_, Some(typed)) => Some(typed.clone()),
        }
    }
}

/// An empty text means "not set".
impl FromSetting for Option<String> {
    const EXPECTED: &'static str = String::EXPECTED;

    fn from_setting(setting: &Setting) -> Option<Self> {
        String::from_setting(setting).map(|text| Some(text).filter(|text| !text.is_empty()))
    }
}

impl FromSetting for Vec<String> {
    const EXPECTED: &'static str = "a list of texts";

    fn from_setting(setting: &Setting) -> Option<Self> {
        match &setting.value {
            Value::Array(items) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                // Between commas a name such as `2024` is not a number.
                let typed = setting.typed.as_deref().filter(|typed| !typed.starts_with('['));
                let as_typed = || Some(typed?.split(',').map(|item| item.trim().to_owned()).collect());
                texts.collect::<Option<_>>().or_else(as_typed)
            }
            _ => String::from_setting(setting).map(|text| vec![text]),
        }
    }
}

impl FromSetting for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_setting(setting: &Setting) -> Option<Self> {
        setting.value.as_bool()
    }
}

impl FromSetting for usize {
    const EXPECTED: &'static str = "a whole number of at least 0";

    fn from_setting(setting: &Setting) -> Option<Self> {
        setting.value.as_integer()?.try_into().ok()
    }
}

impl FromSetting for NonZeroUsize {
    const EXPECTED: &'static str = "a whole number of at least 1";

    fn from_setting(setting: &Setting) -> Option<Self> {
        Self::new(usize::from_setting(setting)?)
    }
}

/// `None` leaves the choice to the machine.
impl FromSetting for Option<NonZeroUsize> {
    const EXPECTED: &'static str = "\"auto\" or a whole number of at least 1";

    fn from_setting(setting: &Setting) -> Option<Self> {
        match setting.value.as_str() {
            Some("auto") => Some(None),
            _ => NonZeroUsize::from_setting(setting).map(Some),
        }
    }
}

/// `None` leaves the choice to the machine.
impl FromSetting for Option<bool> {
    const EXPECTED: &'static str = "\"auto\" or true or false";

    fn from_setting(setting: &Setting) -> Option<Self> {
        match setting.value.as_str() {
            Some("auto") => Some(None),
            _ => bool::from_setting(setting).map(Some),
        }
    }
}

/// Each device once, and one at least.
impl FromSetting for Devices {
    const EXPECTED: &'static str = "\"all\" or a list of different numbers, such as [0, 1]";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let numbers = match &setting.value {
            Value::String(word) if word == "all" => return Some(Self::All),
            Value::Integer(number) => vec![u32::try_from(*number).ok()?],
            Value::Array(items) => {
                let number = |item: &Value| u32::try_from(item.as_integer()?).ok();
                items.iter().map(number).collect::<Option<_>>()?
            }
            _ => return None,
        };
        let different: BTreeSet<_> = numbers.iter().collect();
        (!numbers.is_empty() && different.len() == numbers.len()).then_some(Self::These(numbers))
    }
}

/// An empty text means "not set".
impl FromSetting for Option<ByteSize> {
    const EXPECTED: &'static str = ByteSize::EXPECTED;

    fn from_setting(setting: &Setting) -> Option<Self> {
        match setting.value.as_str() {
            Some("") => Some(None),
            _ => ByteSize::from_setting(setting).map(Some),
        }
    }
}

/// A number of bytes, or `None` for the machine to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AutomaticSize(pub Option<u64>);

impl FromSetting for AutomaticSize {
    const EXPECTED: &'static str = "\"auto\" or a size such as \"512MiB\" or \"2GB\"";

    fn from_setting(setting: &Setting) -> Option<Self> {
        match setting.value.as_str() {
            Some("auto") => Some(Self(None)),
            _ => ByteSize::from_setting(setting).map(|size| Self(Some(size.0))),
        }
    }
}

impl FromSetting for Duration {
    const EXPECTED: &'static str = "a duration such as \"50ms\" or \"2m 30s\"";

    fn from_setting(setting: &Setting) -> Option<Self> {
        humantime::parse_duration(setting.value.as_str()?).ok()
    }
}

/// A share of a whole, 0 to 1.
pub(super) struct Ratio(pub(super) f64);

impl FromSetting for Ratio {
    const EXPECTED: &'static str = "a number from 0 to 1";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let number =
            setting.value.as_float().or_else(|| setting.value.as_integer().map(|whole| whole as f64))?;
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }
}

/// A share of a whole above 0, or `None` for the default.
pub(super) struct AutomaticRatio(pub(super) Option<f64>);

impl FromSetting for AutomaticRatio {
    const EXPECTED: &'static str = "\"auto\" or a number above 0, at most 1";

    fn from_setting(setting: &Setting) -> Option<Self> {
        match setting.value.as_str() {
            Some("auto") => Some(Self(None)),
            _ => Ratio::from_setting(setting).filter(|ratio| ratio.0 > 0.0).map(|ratio| Self(Some(ratio.0))),
        }
    }
}

/// A share of a whole, 0 to 100.
pub(super) struct PerCent(pub(super) u8);

impl FromSetting for PerCent {
    const EXPECTED: &'static str = "a percentage, a whole number from 0 to 100";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let number = u8::try_from(setting.value.as_integer()?).ok()?;
        (number <= 100).then_some(Self(number))
    }
}

/// A number of bytes, at least 1.
pub(super) struct ByteSize(pub(super) u64);

impl FromSetting for ByteSize {
    const EXPECTED: &'static str = "a size such as \"512MiB\" or \"2GB\"";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let num_bytes = match &setting.value {
            Value::Integer(number) => u64::try_from(*number).ok()?,
            Value::String(text) => parse_byte_size(text)?,
            _ => return None,
        };
        (num_bytes > 0).then_some(Self(num_bytes))
    }
}

/// Reads a whole number with a unit: `B`, `kB` to `TB` (powers of 1000), `KiB` to `TiB` (of 1024).
fn parse_byte_size(text: &str) -> Option<u64> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.replace('_', "").parse().ok()?;
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1000_u64.pow(2),
        "GB" => 1000_u64.pow(3),
        "TB" => 1000_u64.pow(4),
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Origin;

    fn setting(value: impl Into<Value>) -> Setting {
        let origin = Origin::File { path: "job.toml".into(), line: 7 };
        Setting { section: "run".into(), key: "memory".into(), value: value.into(), origin, typed: None }
    }

    #[test]
    fn sizes_have_units() {
        let sizes = [
            ("512MiB", 512 << 20),
            ("1 GiB", 1 << 30),
            ("2GB", 2_000_000_000),
            ("64kB", 64_000),
            ("1_000B", 1000),
            ("7", 7),
            ("2TiB", 2 << 40),
        ];
        for (text, num_bytes) in sizes {
            assert_eq!(parse_byte_size(text), Some(num_bytes), "{text}");
        }
        for text in ["", "MiB", "1.5GiB", "-1B", "1gib", "1 MiBs", "99999999TiB"] {
            assert_eq!(parse_byte_size(text), None, "{text}");
        }
        assert!(ByteSize::from_setting(&setting(0)).is_none());
        assert!(ByteSize::from_setting(&setting(-1)).is_none());
    }

    #[test]
    fn ratios_stay_within_bounds() {
        for (value, ratio) in [(Value::from(0), 0.0), (Value::from(1), 1.0), (Value::from(0.25), 0.25)] {
            assert_eq!(Ratio::from_setting(&setting(value)).map(|ratio| ratio.0), Some(ratio));
        }
        for value in [Value::from(-0.1), Value::from(2), Value::from(f64::NAN), Value::from("0.1")] {
            assert!(Ratio::from_setting(&setting(value)).is_none());
        }
    }

    #[test]
    fn a_wrong_type_names_key_expectation_finding_and_place() {
        let text = |value: Value| wrong(&setting(value), ByteSize::EXPECTED).to_string();
        let start = "`run.memory` must be a size such as \"512MiB\" or \"2GB\", not";
        assert_eq!(text("lots".into()), format!("{start} the string \"lots\" (job.toml:7)"));
        assert_eq!(text(true.into()), format!("{start} the boolean true (job.toml:7)"));
        assert_eq!(text((-3).into()), format!("{start} the integer -3 (job.toml:7)"));
        assert_eq!(text(vec![1, 2].into()), format!("{start} a list (job.toml:7)"));
    }

    #[test]
    fn typed_text_stays_text() {
        let mut profile = setting(123);
        assert_eq!(String::from_setting(&profile), None);
        profile.typed = Some("0123".into());
        assert_eq!(String::from_setting(&profile), Some("0123".into()));
    }

    #[test]
    fn devices_are_all_or_numbers() {
        assert_eq!(Devices::from_setting(&setting("all")), Some(Devices::All));
        assert_eq!(Devices::from_setting(&setting(vec![2, 0])), Some(Devices::These(vec![2, 0])));
        assert_eq!(Devices::from_setting(&setting(1)), Some(Devices::These(vec![1])));
        let none: Vec<i64> = Vec::new();
        for value in [Value::from(none), Value::from(vec![0, 0]), Value::from(vec![-1]), Value::from("first")]
        {
            assert_eq!(Devices::from_setting(&setting(value.clone())), None, "{value}");
        }
    }

    #[test]
    fn automatic_counts_and_lists() {
        assert_eq!(Option::<NonZeroUsize>::from_setting(&setting("auto")), Some(None));
        assert_eq!(Option::<NonZeroUsize>::from_setting(&setting(2)), Some(NonZeroUsize::new(2)));
        assert_eq!(Option::<NonZeroUsize>::from_setting(&setting(0)), None);
        assert_eq!(Option::<bool>::from_setting(&setting("auto")), Some(None));
        assert_eq!(Option::<bool>::from_setting(&setting(true)), Some(Some(true)));
        assert_eq!(Option::<bool>::from_setting(&setting("yes")), None);
        assert_eq!(Vec::<String>::from_setting(&setting("one")), Some(vec!["one".to_owned()]));
        assert_eq!(Vec::<String>::from_setting(&setting(vec![1])), None);
        let typed = Setting { typed: Some("007, a".into()), ..setting(vec![7]) };
        assert_eq!(Vec::<String>::from_setting(&typed), Some(vec!["007".to_owned(), "a".to_owned()]));
        assert_eq!(Option::<String>::from_setting(&setting("")), Some(None));
    }
}
