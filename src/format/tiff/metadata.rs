//! What GDAL writes about bands into tags of its own: 42112, a little XML, and 42113, a number.

use super::header::{BandInfo, Nodata};

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
        // As in GDAL, a comma is a point. What cannot be read is NaN and not the default: samples would pass as values.
        let number = || self.value.trim().replace(',', ".").parse().unwrap_or(f64::NAN);
        match self.role.as_str() {
            "scale" => band.scale = number(),
            "offset" => band.offset = number(),
            "unittype" => band.unit = Some(self.value.clone()),
            "description" => band.description = Some(self.value.clone()),
            "colorinterp" => band.colour = self.value.to_ascii_lowercase(),
            _ => {}
        }
    }
}

/// Reads the items of GDAL's metadata; what is no item is skipped.
pub(super) fn items(xml: &str) -> Vec<Item> {
    xml.split("<Item ").skip(1).filter_map(item).collect()
}

fn item(xml: &str) -> Option<Item> {
    let (attributes, rest) = xml.split_once('>')?;
    let (value, _) = rest.split_once("</Item>")?;
    Some(Item {
        band: attribute(attributes, "sample").and_then(|sample| sample.parse().ok()),
        role: attribute(attributes, "role").unwrap_or_default().to_owned(),
        value: unescaped(value),
    })
}

fn attribute<'a>(attributes: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0)
}

fn unescaped(text: &str) -> String {
    const ENTITIES: [(&str, &str); 5] =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    ENTITIES.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// Reads the value of pixels without data.
pub(super) fn nodata(text: &str) -> Option<Nodata> {
    let text = text.trim();
    let value = match text.to_ascii_lowercase().as_str() {
        "nan" | "-nan" | "1.#qnan" | "-1.#ind" => f64::NAN,
        "inf" | "1.#inf" => f64::INFINITY,
        "-inf" | "-1.#inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    let whole = || (value.fract() == 0.0 && value.abs() < 1e30).then_some(value as i128);
    Some(Nodata { value, integer: text.parse().ok().or_else(whole) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn band() -> BandInfo {
        let colour = "gray".to_owned();
        BandInfo { colour, description: None, scale: 1.0, offset: 0.0, unit: None }
    }

    #[test]
    fn items_are_about_bands() {
        let xml = r#"<GDALMetadata>
  <Item name="AREA_OR_POINT">Area</Item>
  <Item name="SCALE" sample="0" role="scale">0.0001</Item>
  <Item name="OFFSET" sample="0" role="offset">-0.1</Item>
  <Item name="DESCRIPTION" sample="1" role="description">B04 &lt;red&gt; &amp;amp;</Item>
  <Item name="COLORINTERP" sample="1" role="colorinterp">Red</Item>
</GDALMetadata>"#;
        let items = items(xml);
        let [mut first, mut second] = [band(), band()];
        for item in &items {
            match item.band {
                Some(0) => item.apply(&mut first),
                Some(1) => item.apply(&mut second),
                _ => {}
            }
        }
        assert_eq!((items.len(), first.scale, first.offset), (5, 0.0001, -0.1));
        assert_eq!(second.description.as_deref(), Some("B04 <red> &amp;"));
        assert_eq!(second.colour, "red");
    }

    #[test]
    fn what_is_no_number_is_not_the_default() {
        let scale = |text: &str| {
            let mut band = band();
            Item { band: Some(0), role: "scale".to_owned(), value: text.to_owned() }.apply(&mut band);
            band.scale
        };
        assert_eq!((scale(" 0,01 "), scale("1e-4")), (0.01, 1e-4));
        assert!(["", "one", "1.#QNAN", "nan"].iter().all(|text| scale(text).is_nan()));
    }

    #[test]
    fn nodata_is_a_number_in_many_spellings() {
        let value = |text| nodata(text).map(|nodata| nodata.value);
        assert_eq!(value(" -9999 "), Some(-9999.0));
        assert_eq!(value("-3.4028234663852886e+38"), Some(-3.402_823_466_385_288_6e38));
        assert!(value("nan").is_some_and(f64::is_nan));
        assert_eq!(value("none"), None);
        assert_eq!(nodata("18446744073709551615").unwrap().integer, Some(u64::MAX.into()));
        assert_eq!(nodata("255.0").unwrap().integer, Some(255));
        assert_eq!(nodata("0.5").unwrap().integer, None);
    }
}
