//! The elements of a data set that are kept, and their values.

use dicom_core::dictionary::{DataDictionary, VirtualVr};
use dicom_dictionary_std::StandardDataDictionary;

use crate::bytes::Order;
use crate::tag::Tag;

/// A value representation (PS3.5, 6.2), by its two letters; zeros where the syntax leaves it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vr(pub(crate) [u8; 2]);

impl Vr {
    pub(crate) const NONE: Self = Self([0; 2]);

    /// Tells those with a length of 32 bits (PS3.5, table 7.1-1).
    pub(crate) fn is_long(self) -> bool {
        matches!(
            &self.0,
            b"OB"
                | b"OD"
                | b"OF"
                | b"OL"
                | b"OV"
                | b"OW"
                | b"SQ"
                | b"SV"
                | b"UC"
                | b"UN"
                | b"UR"
                | b"UT"
                | b"UV"
        )
    }

    /// Tells those with a length of 16 bits (PS3.5, table 7.1-2).
    pub(crate) fn is_short(self) -> bool {
        matches!(
            &self.0,
            b"AE"
                | b"AS"
                | b"AT"
                | b"CS"
                | b"DA"
                | b"DS"
                | b"DT"
                | b"FL"
                | b"FD"
                | b"IS"
                | b"LO"
                | b"LT"
                | b"PN"
                | b"SH"
                | b"SL"
                | b"SS"
                | b"ST"
                | b"TM"
                | b"UI"
                | b"UL"
                | b"US"
        )
    }

    pub(crate) fn is_known(self) -> bool {
        self.is_long() || self.is_short()
    }
}

/// What an element holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Bytes(Box<[u8]>),
    Items(Vec<DataSet>),
}

/// One element.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) tag: Tag,
    pub(crate) vr: Vr,
    pub(crate) value: Value,
}

/// The elements of a data set or an item that are kept.
#[derive(Clone, Debug)]
pub(crate) struct DataSet {
    pub(crate) order: Order,
    pub(crate) elements: Vec<Element>,
}

impl DataSet {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, elements: Vec::new() }
    }

    fn find(&self, tag: Tag) -> Option<&Element> {
        self.elements.iter().find(|element| element.tag == tag)
    }

    /// Returns the bytes of a value; `None` for those that are absent or empty.
    pub(crate) fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        match &self.find(tag)?.value {
            Value::Bytes(bytes) if !bytes.is_empty() => Some(bytes),
            _ => None,
        }
    }

    /// Returns the representation of an element as the syntax says it.
    pub(crate) fn vr(&self, tag: Tag) -> Option<Vr> {
        Some(self.find(tag)?.vr)
    }

    /// Returns the items of a sequence.
    pub(crate) fn items(&self, tag: Tag) -> &[DataSet] {
        match self.find(tag).map(|element| &element.value) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    /// Returns the first item of a sequence.
    pub(crate) fn item(&self, tag: Tag) -> Option<&DataSet> {
        self.items(tag).first()
    }

    /// Returns a text without its padding (PS3.5, 6.2): spaces, and the zero of UIDs; `None` if nothing is left.
    ///
    /// What is not UTF-8 is read as ISO 8859-1, whatever the character set is: different bytes stay different texts, so
    /// that two patients never become one.
    pub(crate) fn text(&self, tag: Tag) -> Option<String> {
        let bytes = self.bytes(tag)?;
        let text = std::str::from_utf8(bytes)
            .map_or_else(|_| bytes.iter().copied().map(char::from).collect(), str::to_owned);
        let text = text.trim_matches(|char: char| char.is_ascii_whitespace() || char == '\0');
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    /// Returns the numbers of a decimal string (DS, IS).
    pub(crate) fn decimals(&self, tag: Tag) -> Option<Vec<f64>> {
        let text = self.text(tag)?;
        text.split('\\')
            .map(|number| number.trim().parse().ok().filter(|value: &f64| value.is_finite()))
            .collect()
    }

    /// Returns the first number of a decimal string, whatever follows it.
    pub(crate) fn decimal(&self, tag: Tag) -> Option<f64> {
        let text = self.text(tag)?;
        text.split('\\').next()?.trim().parse().ok().filter(|value: &f64| value.is_finite())
    }

    /// Returns an unsigned 16-bit number (US).
    pub(crate) fn u16(&self, tag: Tag) -> Option<u16> {
        self.order.u16(self.bytes(tag)?, 0)
    }

    /// Returns the 16-bit words of a value (US, SS, OW).
    pub(crate) fn words(&self, tag: Tag) -> Option<Vec<u16>> {
        let bytes = self.bytes(tag)?;
        Some((0..bytes.len() / 2).filter_map(|index| self.order.u16(bytes, 2 * index)).collect())
    }

    /// Returns a value as text whatever its representation; several values are separated by `\`.
    ///
    /// `None` for what is absent or empty, and for sequences and bytes without a meaning.
    pub(crate) fn as_text(&self, tag: Tag) -> Option<String> {
        let element = self.find(tag)?;
        let vr =
            if element.vr == Vr::NONE || element.vr == Vr(*b"UN") { standard_vr(tag)? } else { element.vr };
        let bytes = self.bytes(tag)?;
        let order = self.order;
        let numbers = |width: usize, show: &dyn Fn(usize) -> Option<String>| {
            let shown: Vec<String> =
                (0..bytes.len() / width).filter_map(|index| show(index * width)).collect();
            Some(shown.join("\\")).filter(|text| !text.is_empty())
        };
        match &vr.0 {
            b"US" => numbers(2, &|at| Some(order.u16(bytes, at)?.to_string())),
            b"SS" => numbers(2, &|at| Some((order.u16(bytes, at)? as i16).to_string())),
            b"UL" => numbers(4, &|at| Some(order.u32(bytes, at)?.to_string())),
            b"SL" => numbers(4, &|at| Some((order.u32(bytes, at)? as i32).to_string())),
            b"FL" => numbers(4, &|at| Some(f32::from_bits(order.u32(bytes, at)?).to_string())),
            b"FD" => numbers(8, &|at| Some(f64::from_bits(order.u64(bytes, at)?).to_string())),
            b"UV" => numbers(8, &|at| Some(order.u64(bytes, at)?.to_string())),
            b"SV" => numbers(8, &|at| Some((order.u64(bytes, at)? as i64).to_string())),
            b"AT" => {
                numbers(4, &|at| Some(Tag(order.u16(bytes, at)?, order.u16(bytes, at + 2)?).to_string()))
            }
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"UN" => None,
            _ => self.text(tag),
        }
    }
}

/// Returns the representation of a tag by the standard's dictionary (PS3.6).
fn standard_vr(tag: Tag) -> Option<Vr> {
    let entry = StandardDataDictionary.by_tag(dicom_core::Tag(tag.0, tag.1))?;
    match dicom_core::dictionary::DataDictionaryEntry::vr(entry) {
        VirtualVr::Exact(vr) => vr.to_string().as_bytes().try_into().ok().map(Vr),
        // Read as unsigned: which of both it is, the caller knows who asks for words.
        VirtualVr::Xs => Some(Vr(*b"US")),
        _ => None,
    }
}
