//! Attributes of the standard by keyword or tag (PS3.6).

use std::iter::repeat;

use dicom_core::dictionary::{
    DataDictionary, DataDictionaryEntry as _, DataDictionaryEntryRef, TagRange, VirtualVr,
};
use dicom_dictionary_std::StandardDataDictionary;

use crate::tag::Tag;

/// Groups whose attributes are looked through for a keyword that resembles another: those of images.
const GROUPS_OF_IMAGES: [u16; 7] = [0x0008, 0x0010, 0x0018, 0x0020, 0x0028, 0x0040, 0x0054];

/// An attribute of the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Group and element.
    pub tag: Tag,
    /// Keyword, such as `SliceThickness`.
    pub keyword: &'static str,
    /// Value representation: two letters, of several the first; `OW` for pixels and tables.
    pub vr: &'static str,
}

impl Attribute {
    /// Returns the attribute with this name; `None` for private ones, those of repeating groups, and unknown ones.
    ///
    /// - `name`: a keyword, or a tag such as `(0018,0060)` or `00180060`
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match Tag::parse(name) {
            Some(tag) => Self::of(StandardDataDictionary.by_tag(dicom_core::Tag(tag.0, tag.1))?),
            None => Self::of(StandardDataDictionary.by_name(name)?),
        }
    }

    /// Returns the keywords of the groups that images have.
    pub fn keywords_of_images() -> impl Iterator<Item = &'static str> {
        let tags = GROUPS_OF_IMAGES.into_iter().flat_map(|group| repeat(group).zip(0..=u16::MAX));
        let found = tags.filter_map(|(group, element)| {
            Self::of(StandardDataDictionary.by_tag(dicom_core::Tag(group, element))?)
        });
        found.map(|found| found.keyword)
    }

    fn of(entry: &DataDictionaryEntryRef<'static>) -> Option<Self> {
        let TagRange::Single(tag) = entry.tag_range() else { return None };
        let vr = match entry.vr() {
            VirtualVr::Exact(vr) => vr.to_string(),
            VirtualVr::Xs => "US",
            _ => "OW",
        };
        Some(Self { tag: Tag(tag.0, tag.1), keyword: entry.alias, vr })
    }
}

impl Tag {
    /// Reads a tag such as `(0018,0060)`, `0018,0060` or `00180060`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text);
        let digits = bare.replacen(',', "", 1);
        if digits.len() != 8 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let part = |digits: &str| u16::from_str_radix(digits, 16).ok();
        Some(Self(part(&digits[..4])?, part(&digits[4..])?))
    }

    /// Tells those that a vendor defines (PS3.5, 7.8).
    #[must_use]
    pub fn is_private(self) -> bool {
        self.0 % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_keyword_and_by_tag() {
        let kvp = Attribute { tag: Tag(0x0018, 0x0060), keyword: "KVP", vr: "DS" };
        for name in ["KVP", "(0018,0060)", "0018,0060", "00180060"] {
            assert_eq!(Attribute::named(name), Some(kvp), "{name}");
        }
        assert_eq!(Attribute::named("(0018,115e)").unwrap().keyword, "ImageAndFluoroscopyAreaDoseProduct");
        let vr = |name| Attribute::named(name).unwrap().vr;
        assert_eq!((vr("PixelPaddingValue"), vr("PixelData"), vr("PatientName")), ("US", "OW", "PN"));
        // Private, of a repeating group, a group length, unknown.
        for name in
            ["(0009,1010)", "OverlayRows", "(6000,0010)", "(0010,0000)", "(0018,FFFE)", "Kvp", "", "0018"]
        {
            assert_eq!(Attribute::named(name), None, "{name}");
        }
        assert!(Attribute::keywords_of_images().any(|keyword| keyword == "BodyPartExamined"));
    }
}
