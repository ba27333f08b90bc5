//! Attributes of DICOM that an operator wants in the table (`privacy.keep_tags`), and what of their values it tells.
//!
//! With pseudonyms only ages, numbers and listed codes are told. What a file declares a value to be does not matter: the
//! value itself has to be of that form, since files carry names and notes wherever there is room.

use tilefleet_dicom::{Attribute, Tag};

use super::dicom_codes::codes_of;

/// A longer value is not told: each row would hold it.
const MAX_VALUE_BYTES: usize = 1024;
/// A longer text is no number. A decimal string has 16 characters (PS3.5, 6.2), and some devices write more.
const MAX_NUMBER_BYTES: usize = 32;
/// Whoever is older has no age, but belongs to those of 90 and more.
const MAX_AGE_YEARS: u32 = 89;

/// Numbers and codes that the Basic Profile removes (PS3.15, table E.1-1), and no option about patients brings back.
const OF_CONCERN: [&str; 3] = ["InstanceOriginStatus", "LensSpecification", "ModifyingDeviceID"];
/// Numbers that are ids, though the table does not name them: they are retired.
const IDS: [&str; 2] = ["OtherStudyNumbers", "ReportNumber"];
/// Of the places where a camera was, group 0016 (PS3.15, table E.1-1).
const PLACES: std::ops::RangeInclusive<u16> = 0x0070..=0x008E;
/// Groups that are no part of an image: commands, the file's meta information, directories, and what says how images are
/// hung, which repeats values of other attributes.
const NOT_OF_IMAGES: [u16; 4] = [0x0000, 0x0002, 0x0004, 0x0072];

/// An attribute that is kept: a field of the column `tags`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptTag {
    /// Group and element.
    pub tag: Tag,
    /// Keyword (PS3.6), the name of its field.
    pub keyword: &'static str,
    told: Told,
}

/// What is told of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Up to 89 years.
    Age,
    Numbers,
    /// Those of a list.
    Codes(&'static [&'static str]),
    /// All of it.
    AsWritten,
}

/// Why an attribute is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No attribute has this name.
    #[error("is no attribute of DICOM (PS3.6), or one of a repeating group")]
    Unknown,
    /// A vendor has defined it.
    #[error("is a private tag, of which only its vendor knows what it holds")]
    Private,
    /// It is not about the image.
    #[error("says nothing of an image")]
    NotOfImages,
    /// Its value is no text: a sequence, pixels, bytes.
    #[error("holds no value that a column could show (VR {0})")]
    NoText(&'static str),
    /// PN.
    #[error("holds names of people (VR PN)")]
    Names,
    /// DA, DT, TM.
    #[error("holds dates or times (VR {0})")]
    Dates(&'static str),
    /// UI.
    #[error("holds UIDs (VR UI), which lead to the object")]
    Uids,
    /// Text of any kind.
    #[error("holds text (VR {0}), in which ids, names and notes may stand")]
    FreeText(&'static str),
    /// The Basic Profile removes it.
    #[error("is removed by the Basic Profile (PS3.15, table E.1-1), and is no characteristic of a patient")]
    OfConcern,
    /// An id in the form of a number.
    #[error("holds ids in the form of numbers")]
    Ids,
    /// A code without a list.
    #[error("holds codes (VR CS) that are not listed here, and devices write anything there")]
    NoList,
}

impl KeptTag {
    /// Returns an attribute of which nothing is told that may name a person: ages, numbers, listed codes.
    ///
    /// - `name`: keyword or tag
    ///
    /// # Errors
    ///
    /// [`Refusal`]
    ///
    /// # Reference
    ///
    /// PS3.15, table E.1-1, with the option to retain patient characteristics.
    pub fn of_people(name: &str) -> Result<Self, Refusal> {
        let Attribute { tag, keyword, vr } = attribute(name)?;
        let told = match vr {
            "PN" => return Err(Refusal::Names),
            "DA" | "DT" | "TM" => return Err(Refusal::Dates(vr)),
            "UI" => return Err(Refusal::Uids),
            _ if NOT_OF_IMAGES.contains(&tag.0) => return Err(Refusal::NotOfImages),
            _ if OF_CONCERN.contains(&keyword) || (tag.0 == 0x0016 && PLACES.contains(&tag.1)) => {
                return Err(Refusal::OfConcern);
            }
            _ if IDS.contains(&keyword) => return Err(Refusal::Ids),
            "AS" => Told::Age,
            "DS" | "IS" | "US" | "SS" | "UL" | "SL" | "UV" | "SV" | "FL" | "FD" => Told::Numbers,
            "CS" => Told::Codes(codes_of(keyword).ok_or(Refusal::NoList)?),
            _ => return Err(Refusal::FreeText(vr)),
        };
        Ok(Self { tag, keyword, told })
    }

    /// Returns an attribute of public data, whose values are told as they are written.
    ///
    /// - `name`: keyword or tag
    ///
    /// # Errors
    ///
    /// [`Refusal`] for private and unknown ones, and those whose values are no text.
    pub fn of_public_data(name: &str) -> Result<Self, Refusal> {
        let Attribute { tag, keyword, .. } = attribute(name)?;
        Ok(Self { tag, keyword, told: Told::AsWritten })
    }

    /// Returns what is told of a value.
    ///
    /// - `value`: as text; several are separated by `\`
    /// - returns: the same without those that may not be told; `None` if nothing is left
    #[must_use]
    pub fn told(&self, value: &str) -> Option<String> {
        let of_each = |tell: &dyn Fn(&str) -> Option<String>| {
            let parts: Vec<String> =
                value.split('\\').map(|part| tell(part.trim()).unwrap_or_default()).collect();
            parts.join("\\")
        };
        let told = match self.told {
            Told::Age => of_each(&age),
            Told::Numbers => of_each(&number),
            Told::Codes(codes) => of_each(&|code: &str| codes.contains(&code).then(|| code.to_owned())),
            Told::AsWritten => value.to_owned(),
        };
        let says_something = told.bytes().any(|byte| byte != b'\\');
        Some(told).filter(|told| says_something && told.len() <= MAX_VALUE_BYTES)
    }
}

/// Returns the keywords of attributes that images have: who names an unknown one may have meant one of these.
pub fn keywords() -> impl Iterator<Item = &'static str> {
    Attribute::keywords_of_images()
}

fn attribute(name: &str) -> Result<Attribute, Refusal> {
    if Tag::parse(name).is_some_and(Tag::is_private) {
        return Err(Refusal::Private);
    }
    let found = Attribute::named(name).ok_or(Refusal::Unknown)?;
    match found.vr {
        "SQ" | "OB" | "OD" | "OF" | "OL" | "OV" | "OW" | "UN" | "AT" => Err(Refusal::NoText(found.vr)),
        _ => Ok(found),
    }
}

/// Returns an age of at most 89 years as it is, and a higher one as `90+`.
///
/// - `age`: three digits and `D`, `W`, `M` or `Y` (PS3.5, 6.2, AS); some devices write fewer or more digits
fn age(age: &str) -> Option<String> {
    let (digits, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
    if !matches!(digits.len(), 1..=5) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u32 = digits.parse().ok()?;
    let years = match unit {
        "D" => number * 100 / 36_525,
        "W" => number * 700 / 36_525,
        "M" => number / 12,
        "Y" => number,
        _ => return None,
    };
    Some(if years > MAX_AGE_YEARS { "90+".to_owned() } else { age.to_owned() })
}

/// Returns a number as it is written, if it is one and finite.
fn number(text: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let is_number = text.len() <= MAX_NUMBER_BYTES
        && text.bytes().all(is_plain)
        && text.parse().is_ok_and(|number: f64| number.is_finite());
    is_number.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, value: &str) -> Option<String> {
        KeptTag::of_people(name).unwrap().told(value)
    }

    #[test]
    fn what_may_name_a_person_is_refused() {
        let why = |name: &str| KeptTag::of_people(name).unwrap_err();
        assert_eq!(why("PatientName"), Refusal::Names);
        assert_eq!((why("StudyDate"), why("(0008,0030)")), (Refusal::Dates("DA"), Refusal::Dates("TM")));
        assert_eq!((why("StudyInstanceUID"), why("TransferSyntaxUID")), (Refusal::Uids, Refusal::Uids));
        for (name, vr) in [
            ("PatientID", "LO"),
            ("AccessionNumber", "SH"),
            ("StudyDescription", "LO"),
            ("PatientComments", "LT"),
            ("InstitutionAddress", "ST"),
            ("TextValue", "UT"),
            ("LongCodeValue", "UC"),
            ("RetrieveURL", "UR"),
            ("StationAETitle", "AE"),
            ("EthnicGroup", "SH"),
            ("ProtocolName", "LO"),
        ] {
            assert_eq!(why(name), Refusal::FreeText(vr), "{name}");
        }
        for name in ["GPSLatitude", "GPSLongitudeRef", "LensSpecification", "ModifyingDeviceID"] {
            assert_eq!(why(name), Refusal::OfConcern, "{name}");
        }
        assert_eq!(why("OtherStudyNumbers"), Refusal::Ids);
        assert_eq!(
            (why("SelectorISValue"), why("(0004,1200)")),
            (Refusal::NotOfImages, Refusal::NotOfImages)
        );
        assert_eq!((why("(0009,1010)"), why("0019100A")), (Refusal::Private, Refusal::Private));
        assert_eq!(
            (why("PixelData"), why("RequestAttributesSequence")),
            (Refusal::NoText("OW"), Refusal::NoText("SQ"))
        );
        assert_eq!((why("QueryRetrieveLevel"), why("TypeOfPatientID")), (Refusal::NoList, Refusal::NoList));
        for name in ["Quimby", "", "OverlayRows", "(0018,FFFE)"] {
            assert_eq!(why(name), Refusal::Unknown, "{name}");
        }
    }

    #[test]
    fn ages_over_89_are_one() {
        let age = |age| told("PatientAge", age).unwrap_or_default();
        for same in ["034Y", "089Y", "000D", "999D", "999W", "999M", "1079M", "5Y"] {
            assert_eq!(age(same), same);
        }
        for old in ["090Y", "093Y", "999Y", "1080M", "32873D", "4697W"] {
            assert_eq!(age(old), "90+", "{old}");
        }
        // 90 years are 32,872.5 days.
        assert_eq!((age("32872D"), age("4695W")), ("32872D".to_owned(), "4695W".to_owned()));
        for none in ["", "Y", "93", "093", "93 Y", "093y", "-93Y", "QUIMBY", "19530417", "093Ü", "Ü"] {
            assert_eq!(told("PatientAge", none), None, "{none}");
        }
    }

    #[test]
    fn numbers_are_told_as_they_are_written_and_nothing_else() {
        assert_eq!(told("KVP", "120.0 ").as_deref(), Some("120.0"));
        assert_eq!(told("(0018,0060)", "-1.5E+03").as_deref(), Some("-1.5E+03"));
        assert_eq!(told("PixelSpacing", "0.5\\0.25").as_deref(), Some("0.5\\0.25"));
        assert_eq!(told("PixelSpacing", "Zoe Quimby\\0.25").as_deref(), Some("\\0.25"));
        for none in
            ["", "\\", "Zoe", "NaN", "inf", "-Infinity", "1e999", "4711a", "1,5", "0x1F", "e", "--1", "1 2"]
        {
            assert_eq!(told("SliceThickness", none), None, "{none}");
        }
        assert_eq!(told("KVP", &"1".repeat(33)), None);
        assert_eq!(told("KVP", &["1"; 600].join("\\")), None, "longer than a row should hold");
    }

    #[test]
    fn codes_are_told_that_are_listed() {
        assert_eq!(told("BodyPartExamined", "CHEST ").as_deref(), Some("CHEST"));
        assert_eq!(
            told("ImageType", "ORIGINAL\\PRIMARY\\QUIMBY\\AXIAL").as_deref(),
            Some("ORIGINAL\\PRIMARY\\\\AXIAL")
        );
        for none in ["QUIMBY", "Quimby^Zoe", "CHEST OF ZOE", "chest", "MRN4711", "19530417"] {
            assert_eq!(told("BodyPartExamined", none), None, "{none}");
        }
        assert_eq!((told("PatientSex", "F"), told("PatientSex", "FEMALE")), (Some("F".to_owned()), None));
    }

    #[test]
    fn public_data_are_told_as_written() {
        let told = |name: &str, value: &str| KeptTag::of_public_data(name).unwrap().told(value);
        assert_eq!(told("StudyDescription", "CT, head").as_deref(), Some("CT, head"));
        assert_eq!(
            (told("PatientAge", "093Y"), told("ImageComments", &"a".repeat(1025))),
            (Some("093Y".to_owned()), None)
        );
        assert_eq!(KeptTag::of_public_data("PixelData"), Err(Refusal::NoText("OW")));
        assert_eq!(KeptTag::of_public_data("(0009,1010)"), Err(Refusal::Private));
    }
}
