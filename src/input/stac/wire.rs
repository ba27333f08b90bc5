//! STAC as it is written, versions 0.9 to 1.1, and its translation.
//!
//! Bands stand in `eo:bands` and `raster:bands` (1.0: parallel lists of the asset) or in `bands` (1.1: one
//! list, whose fields fall back to those of the asset and of the item's properties).

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::href::resolve;
use super::item::{Asset, Band, Bbox, Item};
use super::time;
use crate::input::storage::{ObjectUri, redact};
use crate::vocabulary::error::Error;
use crate::vocabulary::identity::SourceUri;

/// Where an item stands.
pub(super) struct Place<'a> {
    /// The document that holds it.
    pub(super) document: &'a ObjectUri,
    /// Its position in there; `None` if the document is the item itself.
    pub(super) within: Option<String>,
}

impl Place<'_> {
    /// Names something within the document.
    pub(super) fn within_document(&self, name: &str) -> SourceUri {
        let uri = format!("{}#{name}", self.document.for_reading());
        self.document.naming().source(uri)
    }
}

#[derive(Deserialize)]
struct WireItem {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    collection: Option<String>,
    bbox: Option<Vec<f64>>,
    geometry: Option<Value>,
    properties: Properties,
    #[serde(default)]
    links: Vec<WireLink>,
    assets: BTreeMap<String, WireAsset>,
}

#[derive(Deserialize)]
struct WireLink {
    rel: Option<String>,
    href: Option<String>,
}

#[derive(Deserialize)]
struct Properties {
    datetime: Option<String>,
    start_datetime: Option<String>,
    end_datetime: Option<String>,
    #[serde(rename = "eo:cloud_cover")]
    cloud_cover: Option<f64>,
    platform: Option<String>,
    constellation: Option<String>,
    collection: Option<String>,
    #[serde(rename = "s2:processing_baseline")]
    s2_baseline: Option<Scalar>,
    #[serde(rename = "sentinel:processing_baseline")]
    sentinel_baseline: Option<Scalar>,
    #[serde(rename = "processing:version")]
    processing_version: Option<Scalar>,
    #[serde(rename = "earthsearch:boa_offset_applied")]
    earthsearch_applied: Option<bool>,
    #[serde(rename = "sentinel:boa_offset_applied")]
    sentinel_applied: Option<bool>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Deserialize)]
struct WireAsset {
    href: Option<String>,
    #[serde(rename = "type")]
    media_type: Option<String>,
    roles: Option<Vec<String>>,
    #[serde(default)]
    alternate: BTreeMap<String, Alternate>,
    bands: Option<Vec<WireBand>>,
    #[serde(rename = "eo:bands")]
    eo_bands: Option<Vec<WireBand>>,
    #[serde(rename = "raster:bands")]
    raster_bands: Option<Vec<WireBand>>,
    #[serde(flatten)]
    common: Common,
}

#[derive(Deserialize)]
struct Alternate {
    href: Option<String>,
}

/// What bands inherit.
#[derive(Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "`common_name` is STAC's word")]
struct Common {
    #[serde(rename = "eo:common_name")]
    common_name: Option<String>,
    #[serde(rename = "raster:scale", default, deserialize_with = "any_number")]
    scale: Option<f64>,
    #[serde(rename = "raster:offset", default, deserialize_with = "any_number")]
    offset: Option<f64>,
    nodata: Option<Value>,
    unit: Option<String>,
    data_type: Option<String>,
    gsd: Option<f64>,
    #[serde(rename = "raster:spatial_resolution")]
    spatial_resolution: Option<f64>,
}

#[derive(Default, Deserialize)]
struct WireBand {
    name: Option<String>,
    common_name: Option<String>,
    #[serde(default, deserialize_with = "any_number")]
    scale: Option<f64>,
    #[serde(default, deserialize_with = "any_number")]
    offset: Option<f64>,
    spatial_resolution: Option<f64>,
    #[serde(flatten)]
    common: Common,
}

/// A text, also where somebody has written it as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
}

impl Scalar {
    /// Tells whether it is written as ESA writes its baselines, `05.09` or `N0509`: other processors number
    /// their versions too.
    fn is_baseline(&self) -> bool {
        let Self::Text(text) = self else { return false };
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.split_once('.') {
            Some((major, minor)) => digits(major.trim_start_matches('N'), 2) && digits(minor, 2),
            None => text.strip_prefix('N').is_some_and(|number| digits(number, 4)),
        }
    }

    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

/// Reads a number, also one that JSON cannot write: `nan`, `inf`, `-inf`.
pub(super) fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Reads a number as [`number_of`] does; one that is not finite is refused where it is used.
fn any_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    value.map(|value| number_of(&value).ok_or_else(|| D::Error::custom("a number was expected"))).transpose()
}

/// Reads one item.
///
/// # Errors
///
/// `Config`, with what is wrong with it.
pub(super) fn item_of(json: &str, place: &Place<'_>) -> Result<Item, Error> {
    let wire: WireItem =
        serde_json::from_str(json).map_err(|cause| Error::config("it is not a STAC item").because(cause))?;
    if wire.kind != "Feature" {
        return Err(Error::config(format!("it is not a STAC item, its type is `{}`", wire.kind)));
    }
    let own = self_link(&wire.links, place);
    let folder = own.as_ref().unwrap_or(place.document).parent();
    let uri = match &own {
        Some(uri) => uri.identity().clone(),
        None => place.within_document(&wire.id),
    };
    let bbox = match wire.bbox {
        Some(numbers) => {
            let no_box = || Error::config(format!("its bbox {numbers:?} is not a box in degrees"));
            Some(Bbox::of(&numbers).ok_or_else(no_box)?)
        }
        None => None,
    };
    let Properties { common, .. } = &wire.properties;
    let assets =
        wire.assets.into_iter().filter_map(|(key, asset)| asset.translated(key, common, &folder)).collect();
    let properties = wire.properties;
    let (datetime, datetime_is_start) = match time_of("datetime", properties.datetime.as_deref())? {
        Some(time) => (Some(time), false),
        None => (time_of("start_datetime", properties.start_datetime.as_deref())?, true),
    };
    let baseline = properties.s2_baseline.or(properties.sentinel_baseline);
    let baseline = baseline.or(properties.processing_version.filter(Scalar::is_baseline));
    Ok(Item {
        id: wire.id,
        uri,
        collection: wire.collection.or(properties.collection),
        datetime,
        datetime_is_start: datetime_is_start && datetime.is_some(),
        end_datetime: time_of("end_datetime", properties.end_datetime.as_deref())?,
        cloud_cover: properties.cloud_cover,
        bbox,
        geometry: wire.geometry.filter(|geometry| !geometry.is_null()),
        platform: properties.platform,
        constellation: properties.constellation,
        processing_baseline: baseline.map(Scalar::into_text),
        boa_offset_applied: properties.earthsearch_applied.or(properties.sentinel_applied),
        assets,
    })
}

/// Returns what the item says of its own place, if it is one that can be named: what comes from elsewhere
/// does not lie on this machine.
fn self_link(links: &[WireLink], place: &Place<'_>) -> Option<ObjectUri> {
    if place.within.is_none() {
        return Some(place.document.clone());
    }
    let link = links.iter().find(|link| link.rel.as_deref() == Some("self"))?;
    resolve(link.href.as_deref()?, &place.document.parent()).ok()
}

fn time_of(key: &str, text: Option<&str>) -> Result<Option<i64>, Error> {
    let Some(text) = text else { return Ok(None) };
    time::parse(text)
        .map(Some)
        .ok_or_else(|| Error::config(format!("its {key} `{}` is not an RFC 3339 time", redact(text))))
}

impl WireAsset {
    /// Returns the asset; `None` if it names no file.
    fn translated(self, key: String, properties: &Common, folder: &ObjectUri) -> Option<Asset> {
        let written = self.href?;
        let (href, refused) = match resolve(&written, folder) {
            Ok(uri) => (uri.for_reading().to_owned(), None),
            Err(error) => (redact(&written), Some(error.to_string())),
        };
        let alternates = self.alternate.into_iter().filter_map(|(name, alternate)| {
            Some((name, resolve(&alternate.href?, folder).ok()?.for_reading().to_owned()))
        });
        let lists = [self.bands, self.eo_bands, self.raster_bands].map(Option::unwrap_or_default);
        let gsd = self.common.gsd.or(self.common.spatial_resolution);
        let gsd = gsd.or_else(|| lists.iter().flatten().find_map(WireBand::resolution)).or(properties.gsd);
        Some(Asset {
            key,
            href,
            refused,
            alternates: alternates.collect(),
            media_type: self.media_type,
            roles: self.roles.unwrap_or_default(),
            gsd,
            bands: bands_of(&lists, &self.common, properties),
        })
    }
}

impl WireBand {
    fn resolution(&self) -> Option<f64> {
        self.common.gsd.or(self.spatial_resolution).or(self.common.spatial_resolution)
    }
}

/// Joins the lists of bands, the first that says something wins, then the asset, then the properties.
fn bands_of(lists: &[Vec<WireBand>; 3], asset: &Common, properties: &Common) -> Vec<Band> {
    let count = lists.iter().map(Vec::len).max().unwrap_or_default();
    let band = |index: usize| {
        let written = || lists.iter().filter_map(|list| list.get(index));
        let common = || written().map(|band| &band.common).chain([asset, properties]);
        Band {
            name: written().find_map(|band| band.name.clone()),
            common_name: written()
                .find_map(|band| band.common_name.clone())
                .or_else(|| common().find_map(|common| common.common_name.clone())),
            scale: written().find_map(|band| band.scale).or_else(|| common().find_map(|common| common.scale)),
            offset: written()
                .find_map(|band| band.offset)
                .or_else(|| common().find_map(|common| common.offset)),
            nodata: common().find_map(|common| common.nodata.as_ref().and_then(number_of)),
            unit: common().find_map(|common| common.unit.clone()),
            data_type: common().find_map(|common| common.data_type.clone()),
        }
    };
    if count == 0 && asset.describes_a_band() {
        // STAC 1.1: an asset of one band needs no list.
        return vec![band(0)];
    }
    (0..count).map(band).collect()
}

impl Common {
    fn describes_a_band(&self) -> bool {
        self.common_name.is_some()
            || self.scale.is_some()
            || self.offset.is_some()
            || self.data_type.is_some()
    }
}
