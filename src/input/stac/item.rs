//! Items and their assets, as the rest of the program sees them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::select::Problem;
use crate::input::storage::ObjectUri;
use crate::vocabulary::identity::SourceUri;

/// One scene: what it is, when and where it was taken, and the files that hold it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its id, unique within its collection.
    pub id: String,
    /// The one text that stands for it: the URI of its own object, else its self link, else
    /// `<collection of items>#<id>`.
    #[serde(serialize_with = "SourceUri::serialize_for_reading")]
    pub uri: SourceUri,
    /// Id of its collection.
    pub collection: Option<String>,
    /// When it was taken, in microseconds since 1970, UTC.
    pub datetime: Option<i64>,
    /// Whether `datetime` is only the start of a period, because the item gives no single time.
    pub datetime_is_start: bool,
    /// The end of that period.
    pub end_datetime: Option<i64>,
    /// Clouds in percent, 0 to 100 (`eo:cloud_cover`).
    pub cloud_cover: Option<f64>,
    /// What it covers.
    pub bbox: Option<Bbox>,
    /// Its footprint as `GeoJSON`.
    pub geometry: Option<Value>,
    /// The satellite, such as `sentinel-2b`.
    pub platform: Option<String>,
    /// The family of satellites, such as `sentinel-2`.
    pub constellation: Option<String>,
    /// Version of the processing that made it, such as `05.09` (`s2:processing_baseline`,
    /// `sentinel:processing_baseline` or `processing:version`).
    pub processing_baseline: Option<String>,
    /// Whether the archive says that it has taken Sentinel-2's offset out of the samples
    /// (`earthsearch:boa_offset_applied` or `sentinel:boa_offset_applied`).
    pub boa_offset_applied: Option<bool>,
    /// Its files, in the order of their keys.
    pub assets: Vec<Asset>,
}

/// One file of an item.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asset {
    /// Its name within the item, such as `red` or `B04`.
    pub key: String,
    /// Its canonical URI; as it stands in the item where `refused` says why there is none.
    pub href: String,
    /// Why nothing can be read there.
    pub refused: Option<String>,
    /// Other places of the same file, by name (`alternate` extension), such as `s3`.
    pub alternates: Vec<(String, String)>,
    /// Media type.
    pub media_type: Option<String>,
    /// Roles, such as `data` or `thumbnail`.
    pub roles: Vec<String>,
    /// Size of a pixel on the ground, in metres.
    pub gsd: Option<f64>,
    /// Its bands in order; empty where the item does not describe them.
    pub bands: Vec<Band>,
}

/// One band of a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// Its name at the sensor, such as `B04`.
    pub name: Option<String>,
    /// Its name across sensors, such as `red`.
    pub common_name: Option<String>,
    /// Factor from samples to values: value = sample × scale + offset; may be 0 or no number, which
    /// whoever uses it refuses.
    #[serde(with = "any_number")]
    pub scale: Option<f64>,
    /// Summand from samples to values; likewise.
    #[serde(with = "any_number")]
    pub offset: Option<f64>,
    /// The sample that means no data; may be NaN.
    #[serde(with = "any_number")]
    pub nodata: Option<f64>,
    /// Unit of the values.
    pub unit: Option<String>,
    /// Type of the samples, such as `uint16`.
    pub data_type: Option<String>,
}

/// A box of longitudes and latitudes in degrees; `west` is greater than `east` where it crosses the
/// antimeridian.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bbox {
    /// Western longitude.
    pub west: f64,
    /// Southern latitude.
    pub south: f64,
    /// Eastern longitude.
    pub east: f64,
    /// Northern latitude.
    pub north: f64,
}

impl Item {
    /// Returns the asset of this key.
    pub fn asset(&self, key: &str) -> Option<&Asset> {
        self.assets.iter().find(|asset| asset.key == key)
    }

    /// Returns from when to when it was taken; `None` where it does not say.
    pub fn period(&self) -> Option<(i64, i64)> {
        let start = self.datetime?;
        Some((
            start,
            self.end_datetime.filter(|end| self.datetime_is_start && *end >= start).unwrap_or(start),
        ))
    }
}

impl Asset {
    /// Returns where the file lies: under `alternate` if the asset has such a place, else its `href`.
    ///
    /// # Errors
    ///
    /// A [`Problem`] that says why nothing can be read there.
    pub fn uri(&self, alternate: Option<&str>) -> Result<ObjectUri, Problem> {
        let other = alternate.and_then(|wanted| self.alternates.iter().find(|(name, _)| name == wanted));
        if let (None, Some(why)) = (other, &self.refused) {
            return Err(Problem::unusable(format!("asset `{}` cannot be read: {why}", self.key)));
        }
        let href = other.map_or(&self.href, |(_, href)| href);
        ObjectUri::parse(href)
            .map_err(|cause| Problem::unusable(format!("asset `{}` cannot be read: {cause}", self.key)))
    }

    /// Returns whether it has the role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|other| other == role)
    }
}

impl Bbox {
    /// Makes a box of `GeoJSON`'s four numbers, or of six with heights; `None` if they are not box.
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let ([west, south, east, north] | [west, south, _, east, north, _]) = *numbers else { return None };
        let is_valid = [west, south, east, north].iter().all(|degrees| degrees.is_finite()) && south <= north;
        is_valid.then_some(Self { west, south, east, north })
    }

    /// Returns whether the two share a point.
    pub fn intersects(&self, other: &Self) -> bool {
        let high_enough = self.south <= other.north && other.south <= self.north;
        let pieces = |bbox: &Self| {
            let (west, east) = (bbox.west, bbox.east);
            if west <= east { vec![(west, east)] } else { vec![(west, 180.0), (-180.0, east)] }
        };
        let theirs = pieces(other);
        high_enough
            && pieces(self)
                .iter()
                .any(|(west, east)| theirs.iter().any(|(from, to)| west <= to && from <= east))
    }

    /// Returns its four numbers in `GeoJSON`'s order.
    pub fn numbers(&self) -> [f64; 4] {
        [self.west, self.south, self.east, self.north]
    }
}

/// JSON has no NaN: a value that is not a number is written as text.
mod any_number {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use super::super::wire::number_of;

    #[expect(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) if !value.is_finite() => value.to_string().to_lowercase().serialize(serializer),
            other => other.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Value>::deserialize(deserializer)?.as_ref().and_then(number_of))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_meet_across_the_antimeridian() {
        let bbox = |numbers: [f64; 4]| Bbox::of(&numbers).unwrap();
        let fiji = bbox([177.0, -20.0, -178.0, -15.0]);
        assert!(fiji.intersects(&bbox([179.0, -18.0, 180.0, -17.0])));
        assert!(fiji.intersects(&bbox([-180.0, -18.0, -179.0, -17.0])));
        assert!(!fiji.intersects(&bbox([-170.0, -18.0, 170.0, -17.0])));
        assert!(!fiji.intersects(&bbox([177.0, -10.0, 178.0, 0.0])));
        let high = Bbox::of(&[1.0, 2.0, 0.0, 3.0, 4.0, 9.0]);
        assert_eq!(high, Bbox::of(&[1.0, 2.0, 3.0, 4.0]));
        assert_eq!(Bbox::of(&[1.0, 2.0, 3.0]), None);
        assert_eq!(Bbox::of(&[1.0, 5.0, 3.0, 4.0]), None);
        assert_eq!(Bbox::of(&[1.0, f64::NAN, 3.0, 4.0]), None);
    }

    #[test]
    fn an_item_survives_json_with_its_nan() {
        let band = Band { nodata: Some(f64::NAN), scale: Some(1e-4), ..Band::default() };
        let text = serde_json::to_string(&band).unwrap();
        assert!(text.contains(r#""nodata":"nan""#), "{text}");
        let again: Band = serde_json::from_str(&text).unwrap();
        assert!(again.nodata.unwrap().is_nan());
        let band = Band { scale: Some(f64::NAN), offset: Some(f64::NEG_INFINITY), ..Band::default() };
        let again: Band = serde_json::from_str(&serde_json::to_string(&band).unwrap()).unwrap();
        assert!(again.scale.unwrap().is_nan() && again.offset == Some(f64::NEG_INFINITY));
        let band = Band { nodata: Some(0.0), ..Band::default() };
        let text = serde_json::to_string(&band).unwrap();
        assert_eq!(serde_json::from_str::<Band>(&text).unwrap(), band);
    }
}
