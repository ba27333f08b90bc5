//! What GDAL writes about bands into tags of its own: 42112, a little XML, and 42113, a number.
//!
//! Both are read as GDAL reads them, also where they are written otherwise than GDAL would.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::escape::{EscapeError, unescape};
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesRef, BytesStart, Event};

use crate::formats::raster::{BandInfo, NodataValue};
use crate::vocabulary::sample::SampleKind;

/// One `<Item name="…" sample="…" role="…">value</Item>` of GDAL's metadata.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// The band that it is about, from 0.
    pub(super) band: Option<usize>,
    role: String,
    value: String,
}

impl Item {
    /// Enters what the item says about its band.
    pub(super) fn apply(&self, band: &mut BandInfo) {
        // What cannot be read is NaN and not the default: samples would pass as values.
        let number = || number(&self.value).unwrap_or(f64::NAN);
        let text = || Some(self.value.clone()).filter(|text| !text.is_empty());
        match self.role.to_ascii_lowercase().as_str() {
            "scale" => band.values.scale = number(),
            "offset" => band.values.offset = number(),
            "unittype" => band.values.unit = text(),
            "description" => band.description = text(),
            "colorinterp" => band.colour = self.value.to_ascii_lowercase(),
            _ => {}
        }
    }
}

/// What is wrong with text that is no XML.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadXml {
    #[error(transparent)]
    Syntax(#[from] quick_xml::Error),
    #[error(transparent)]
    Attribute(#[from] AttrError),
    #[error(transparent)]
    Escape(#[from] EscapeError),
    #[error("it ends inside of an element")]
    CutShort,
    #[error("it is not text, or is longer than 1 MiB")]
    NoText,
}

/// Reads the items of GDAL's metadata: the elements `Item` right below `GDALMetadata`, in small letters or capitals.
///
/// # Errors
///
/// The text is no XML. GDAL then passes over all of it.
pub(super) fn items(xml: &str) -> Result<Vec<Item>, BadXml> {
    let mut reader = Reader::from_str(xml);
    // GDAL takes it for itself.
    reader.config_mut().allow_dangling_amp = true;
    let mut found = Found::default();
    loop {
        let event = reader.read_event()?;
        if let Event::Eof = event {
            break;
        }
        found.take(event)?;
    }
    if found.depth > 0 {
        return Err(BadXml::CutShort);
    }
    Ok(found.items)
}

/// What has been found so far of the items.
#[derive(Default)]
struct Found {
    items: Vec<Item>,
    /// How many elements are open.
    depth: usize,
    /// Whether the outermost of them is that of the items, the first of its name.
    inside: bool,
    /// Whether there was one.
    seen: bool,
    /// The item that is open.
    open: Option<Item>,
    /// How many texts, elements and comments it has; with more than one, none of them is its value, as in GDAL.
    num_nodes: usize,
    text: String,
}

impl Found {
    fn take(&mut self, event: Event<'_>) -> Result<(), BadXml> {
        match event {
            Event::Text(text) => self.text.push_str(&String::from_utf8_lossy(&text)),
            Event::GeneralRef(reference) => self.text.push_str(&character(&reference)?),
            other => {
                self.end_text();
                self.structure(other)?;
            }
        }
        Ok(())
    }

    fn structure(&mut self, event: Event<'_>) -> Result<(), BadXml> {
        match event {
            Event::Start(tag) => {
                self.start(&tag)?;
                self.depth += 1;
            }
            Event::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 1
                    && let Some(item) = self.open.take()
                {
                    let value = if self.num_nodes == 1 { item.value } else { String::new() };
                    self.items.push(Item { value, ..item });
                }
            }
            Event::CData(data) => self.node(&String::from_utf8_lossy(&data)),
            _ => self.node(""),
        }
        Ok(())
    }

    fn start(&mut self, tag: &BytesStart<'_>) -> Result<(), BadXml> {
        let is = |name: &str| tag.name().as_ref().eq_ignore_ascii_case(name.as_bytes());
        match self.depth {
            0 => {
                self.inside = !self.seen && is("GDALMetadata");
                self.seen |= self.inside;
            }
            1 if self.inside && is("Item") => {
                self.open = item(tag)?;
                self.num_nodes = 0;
            }
            _ => self.node(""),
        }
        Ok(())
    }

    /// Takes what is in the open item.
    fn node(&mut self, value: &str) {
        if let Some(item) = &mut self.open {
            value.clone_into(&mut item.value);
            self.num_nodes += 1;
        }
    }

    fn end_text(&mut self) {
        let text = std::mem::take(&mut self.text);
        let text = text.trim_start();
        if !text.is_empty() {
            // GDAL escapes values twice, and undoes that twice.
            self.node(&unescape(text).unwrap_or(Cow::Borrowed(text)));
        }
    }
}

/// Begins an item by its tag; one without a name is none.
fn item(tag: &BytesStart<'_>) -> Result<Option<Item>, BadXml> {
    let band = attribute(tag, "sample")?.and_then(|sample| usize::try_from(leading_integer(&sample)).ok());
    let role = attribute(tag, "role")?.unwrap_or_default();
    let name = attribute(tag, "name")?;
    Ok(name.map(|_| Item { band, role, value: String::new() }))
}

/// Returns the first attribute of this name, in small letters or capitals.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, BadXml> {
    let mut attributes = tag.html_attributes();
    attributes.with_checks(false);
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.key.as_ref().eq_ignore_ascii_case(name.as_bytes()) {
            let raw = String::from_utf8_lossy(&attribute.value);
            let value = unescape(&raw)?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

/// Returns what a reference stands for; one to an unknown entity stays, and makes no number.
fn character(reference: &BytesRef<'_>) -> Result<String, BadXml> {
    if let Some(character) = reference.resolve_char_ref()? {
        return Ok(character.to_string());
    }
    let written = format!("&{};", String::from_utf8_lossy(reference));
    let known = unescape(&written).map(Cow::into_owned);
    Ok(known.unwrap_or(written))
}

/// Reads the value of pixels without data, before it is fitted to the samples; `None` of an empty text. As GDAL does,
/// of 64-bit integers by their digits alone (`strtoull`, `atoll`), and 0 where no number begins.
///
/// Two texts of which GDAL makes 0, and holes of what is 0, say what is meant: `none`, and `-nan` (C17, 7.22.1.3).
pub(super) fn nodata(text: &str, kind: SampleKind) -> Option<NodataValue> {
    let word = text.trim_matches(BLANKS);
    if text.is_empty() || word.eq_ignore_ascii_case("none") {
        return None;
    }
    if word.eq_ignore_ascii_case("-nan") {
        return Some(NodataValue::of(f64::NAN));
    }
    let integer = match kind {
        SampleKind::I64 => leading_integer(text).clamp(i64::MIN.into(), i64::MAX.into()),
        SampleKind::U64 => match leading_integer(text) {
            negative @ ..0 if negative >= -i128::from(u64::MAX) => negative + (1 << 64),
            integer => integer.unsigned_abs().min(u64::MAX.into()) as i128,
        },
        _ => return Some(NodataValue::of(number(text).unwrap_or(0.0))),
    };
    Some(NodataValue { value: integer as f64, integer: Some(integer) })
}

/// Reads a number as GDAL does (`CPLAtofM`): what follows on it does not count, and a comma before any point is the
/// point. `None` where none begins, which GDAL takes as 0.
fn number(text: &str) -> Option<f64> {
    let text = text.trim_start_matches(BLANKS);
    if let Some(value) = no_number(text) {
        return Some(value);
    }
    let text = match text.find([',', '.']) {
        Some(at) if text[at..].starts_with(',') => Cow::Owned(text.replacen(',', ".", 1)),
        _ => Cow::Borrowed(text),
    };
    text[..number_len(text.as_bytes())].parse().ok()
}

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// Returns NaN and infinities by the spellings that GDAL knows (`CPLStrtodDelim`).
fn no_number(text: &str) -> Option<f64> {
    let begins = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match text {
        "nan" | "NaN" | "+nan" => Some(f64::NAN),
        "inf" | "Inf" | "INF" | "+inf" | "+Inf" | "+INF" => Some(f64::INFINITY),
        "-inf" | "-Inf" | "-INF" => Some(f64::NEG_INFINITY),
        _ if ["1.#QNAN", "1.#SNAN", "-1.#QNAN", "-1.#IND"].iter().any(|word| text.starts_with(word)) => {
            Some(f64::NAN)
        }
        _ if begins("1.#INF") => Some(f64::INFINITY),
        _ if begins("-1.#INF") => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Returns how many bytes of a text are a decimal number.
fn number_len(text: &[u8]) -> usize {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let sign = |from: usize| usize::from(matches!(text.get(from), Some(b'+' | b'-')));
    let start = sign(0);
    let whole = digits(start);
    let mut end = start + whole;
    let mut fraction = 0;
    if text.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return 0;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let first = end + 1 + sign(end + 1);
        if digits(first.min(text.len())) > 0 {
            end = first + digits(first);
        }
    }
    end
}

/// Reads the integer that a text begins with, saturating; 0 if it begins with none.
fn leading_integer(text: &str) -> i128 {
    let text = text.trim_start_matches(BLANKS);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit);
    let value =
        digits.fold(0_i128, |value, digit| value.saturating_mul(10).saturating_add((digit - b'0').into()));
    if text.starts_with('-') { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::raster::ValueMapping;

    fn band() -> BandInfo {
        let colour = "gray".to_owned();
        BandInfo { colour, description: None, values: ValueMapping::default() }
    }

    fn first_band(xml: &str) -> Result<BandInfo, BadXml> {
        let mut first = band();
        for item in items(xml)?.iter().filter(|item| item.band == Some(0)) {
            item.apply(&mut first);
        }
        Ok(first)
    }

    #[test]
    fn items_are_about_bands() {
        let xml = r#"<GDALMetadata>
  <Item name="AREA_OR_POINT">Area</Item>
  <Item name="SCALE" sample="0" role="scale">0.0001</Item>
  <Item name="OFFSET" sample="0" role="offset">-0.1</Item>
  <Item name="DESCRIPTION" sample="1" role="description">B04 &amp;lt;red&amp;gt; &lt;&amp;amp;&gt;</Item>
  <Item name="COLORINTERP" sample="1" role="colorinterp">Red</Item>
</GDALMetadata>"#;
        let items = items(xml).unwrap();
        let [mut first, mut second] = [band(), band()];
        for item in &items {
            match item.band {
                Some(0) => item.apply(&mut first),
                Some(1) => item.apply(&mut second),
                _ => {}
            }
        }
        assert_eq!((items.len(), first.values.scale, first.values.offset), (5, 0.0001, -0.1));
        assert_eq!(second.description.as_deref(), Some("B04 <red> <&>"));
        assert_eq!(second.colour, "red");
    }

    #[test]
    fn xml_without_an_end_is_an_error() {
        let scale = r#"<Item name="SCALE" sample="0" role="scale">0.5"#;
        for xml in [
            format!("<GDALMetadata>{scale}"),
            format!("<GDALMetadata>{scale}</Item>"),
            format!("<GDALMetadata>{scale}</Itm></GDALMetadata>"),
            r#"<GDALMetadata><Item name="SCALE" sample="0" role="scale>1</Item></GDALMetadata>"#.to_owned(),
        ] {
            assert!(first_band(&xml).is_err(), "{xml}");
        }
        assert_eq!(first_band("").unwrap(), band());
        assert_eq!(first_band("a text").unwrap(), band());
    }

    #[test]
    fn what_is_no_number_is_not_the_default() {
        let scale = |text: &str| {
            let mut band = band();
            Item { band: Some(0), role: "scale".to_owned(), value: text.to_owned() }.apply(&mut band);
            band.values.scale
        };
        assert_eq!((scale(" 0,01 "), scale("1e-4")), (0.01, 1e-4));
        assert!(["", "one", "1.#QNAN", "nan"].iter().all(|text| scale(text).is_nan()));
    }

    #[test]
    fn nodata_is_a_number_in_many_spellings() {
        let value = |text| nodata(text, SampleKind::F64).map(|nodata| nodata.value);
        assert_eq!(value(" -9999 "), Some(-9999.0));
        assert_eq!(value("-3.4028234663852886e+38"), Some(-3.402_823_466_385_288_6e38));
        assert!(value("nan").is_some_and(f64::is_nan));
        // By rasterio 1.4.4 (GDAL 3.10.3).
        for (text, told) in [
            ("nothing", 0.0),
            ("0 0 0", 0.0),
            ("1,2", 1.2),
            ("1,5.5", 1.5),
            ("1 m", 1.0),
            ("1e+", 1.0),
            ("1.e1", 10.0),
            ("-,5", -0.5),
            ("+ 1", 0.0),
            ("0x1", 0.0),
            ("infinity", 0.0),
            ("-1e400", f64::NEG_INFINITY),
            (" 1.#inf", f64::INFINITY),
        ] {
            assert_eq!(value(text), Some(told), "{text}");
        }
        assert_eq!(value(""), None);
        assert_eq!((value("none"), value(" None ")), (None, None), "GDAL: 0");
        assert!(["-nan", "-NaN"].into_iter().all(|text| value(text).is_some_and(f64::is_nan)), "GDAL: 0");
        assert_eq!(nodata("-nan", SampleKind::I16).unwrap().of_kind(SampleKind::I16), None);
        let integer = |text, kind| nodata(text, kind).unwrap().integer;
        assert_eq!(integer("18446744073709551615", SampleKind::U64), Some(u64::MAX.into()));
        assert_eq!(integer("18446744073709551616", SampleKind::U64), Some(u64::MAX.into()));
        assert_eq!(integer("-5", SampleKind::U64), Some(i128::from(u64::MAX) - 4));
        assert_eq!(integer("-9999999999999999999999", SampleKind::I64), Some(i64::MIN.into()));
        assert_eq!(integer("1.8e19", SampleKind::U64), Some(1));
        assert_eq!(integer("255.0", SampleKind::U8), Some(255));
        assert_eq!(integer("0.5", SampleKind::F32), None);
    }
}
