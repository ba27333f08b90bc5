//! Sentinel-2: the names of its bands, and what must be added to its samples.
//!
//! Since processing baseline 04.00 ESA's products hold reflectance × 10000 + 1000, so that dark pixels need
//! no negative numbers: reflectance = (sample + `BOA_ADD_OFFSET`) / 10000 with `BOA_ADD_OFFSET` −1000, and 0
//! stays "no data". Archives differ in what they did about it, and in what they say:
//!
//! | archive | samples | says |
//! |---|---|---|
//! | ESA, Copernicus Data Space, Planetary Computer, Earth Search `sentinel-2-c1-l2a` | as delivered | the baseline; some also `raster:offset` −0.1 |
//! | Earth Search `sentinel-2-l2a` (and v0) | offset removed | `…:boa_offset_applied` true, and still offset −0.1 in `raster:bands` |
//! | the same | sometimes removed, sometimes not | `boa_offset_applied` false (Element84/earth-search issues 66, 71) |
//!
//! The decision is made from baseline and flags, never from dates: archives reprocess.

use super::item::{Asset, Band, Item};
use super::select::{Problem, Selected, is_picture};

/// Samples for a reflectance of 1.
const QUANTIFICATION: f64 = 10_000.0;
/// `BOA_ADD_OFFSET` (level 2A) and `RADIO_ADD_OFFSET` (level 1C) of all baselines that have one.
const ADD_OFFSET: i32 = -1000;
/// The first baseline that has one.
const FIRST_BASELINE: u32 = 400;

/// The names of one band in each row: ESA's, Earth Search's, the common one of `eo` 2.0.
const NAMES: [&[&str]; 13] = [
    &["B01", "coastal"],
    &["B02", "blue"],
    &["B03", "green"],
    &["B04", "red"],
    &["B05", "rededge1", "rededge071"],
    &["B06", "rededge2", "rededge075"],
    &["B07", "rededge3", "rededge078"],
    &["B08", "nir"],
    &["B8A", "nir08"],
    &["B09", "nir09"],
    &["B10", "cirrus"],
    &["B11", "swir16"],
    &["B12", "swir22"],
];

/// How the names of assets begin that are not reflectance: classes, masks, thickness, water, angles.
const OTHERS: [&str; 13] =
    ["scl", "aot", "wvp", "cld", "cloud", "clouds", "snw", "snow", "msk", "mask", "qa", "qa60", "angles"];

/// What must be added to samples, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct AddOffset {
    /// In units of samples (digital numbers): −1000 or 0.
    pub dn: i32,
    /// What decided it, for the record.
    pub why: String,
}

/// How samples become values: value = sample × scale + offset.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Factor.
    pub scale: f64,
    /// Summand, in units of the value.
    pub offset: f64,
    /// Where they come from, for the record.
    pub why: String,
}

/// Returns whether the item is one of Sentinel-2.
pub fn is_sentinel2(item: &Item) -> bool {
    let plain =
        |text: &str| -> String { text.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect() };
    let named = [&item.constellation, &item.platform].into_iter().flatten();
    let in_collection = item.collection.as_deref().map(plain);
    named.into_iter().any(|name| plain(name).starts_with("sentinel2"))
        || in_collection.is_some_and(|name| name.starts_with("sentinel2") || name.starts_with("sentinels2"))
}

/// Returns all names of the band of this name; none if it is not a band of Sentinel-2.
pub fn names_of(band: &str) -> &'static [&'static str] {
    NAMES.iter().find(|names| names.contains(&band)).copied().unwrap_or_default()
}

/// Returns the colour that `tci_red`, `tci_green` and `tci_blue` mean: a band of the true-colour image.
pub(super) fn picture_band(wanted: &str) -> Option<&str> {
    wanted.strip_prefix("tci_").filter(|colour| matches!(*colour, "red" | "green" | "blue"))
}

/// Returns whether the asset is the true-colour image in full resolution.
pub(super) fn is_true_colour(asset: &Asset) -> bool {
    let key = asset.key.to_ascii_lowercase();
    matches!(key.trim_end_matches("-jp2"), "visual" | "tci" | "tci_10m")
}

/// Returns whether a band holds reflectance: all do but pictures and what is known to be something else, so that
/// an unusual spelling does not justify ignoring the offset.
fn is_reflectance(item: &Item, selected: &Selected) -> bool {
    let Band { name, common_name, .. } = &selected.details;
    let names = [name.as_deref(), common_name.as_deref(), Some(&selected.key)];
    let other = |name: &str| {
        let name = name.to_ascii_lowercase();
        OTHERS.iter().any(|other| {
            let rest = name.strip_prefix(other);
            rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
        })
    };
    !is_picture(&item.assets[selected.asset]) && !names.into_iter().flatten().any(other)
}

/// Decides what must be added to the samples of the reflectance bands; `None` for another satellite.
///
/// # Errors
///
/// A [`Problem`] where baseline and flags do not tell.
pub fn sentinel2_offset(item: &Item) -> Result<Option<AddOffset>, Problem> {
    if !is_sentinel2(item) {
        return Ok(None);
    }
    let declared = declared_offsets(item);
    let decided = |dn: i32, why: String| {
        let ignored = declared.iter().find(|declared| **declared != dn);
        let note = ignored.map_or_else(String::new, |declared| {
            format!("; the declared offset of {declared} is ignored, since it contradicts this")
        });
        Ok(Some(AddOffset { dn, why: format!("{why}{note}") }))
    };
    if item.boa_offset_applied == Some(true) {
        return decided(0, "the archive has removed the offset (boa_offset_applied = true)".to_owned());
    }
    let Some(baseline) = &item.processing_baseline else {
        return Err(unclear("it does not say its processing baseline".to_owned()));
    };
    let Some(number) = baseline_number(baseline) else {
        return Err(unclear(format!("its processing baseline `{baseline}` cannot be read")));
    };
    if number < FIRST_BASELINE {
        return decided(
            0,
            format!("processing baseline {baseline} is before 04.00, which introduced the offset"),
        );
    }
    if item.boa_offset_applied == Some(false) {
        return Err(unclear(format!(
            "its baseline is {baseline} and it says boa_offset_applied = false, which is wrong for some items of this archive"
        )));
    }
    if removes_offset_silently(item) {
        return Err(unclear(format!(
            "its baseline is {baseline} and its archive removes the offset, but the item does not say \
             whether it was removed"
        )));
    }
    match declared[..] {
        [] => decided(ADD_OFFSET, format!("processing baseline {baseline} is 04.00 or later")),
        [ADD_OFFSET] => {
            decided(ADD_OFFSET, format!("processing baseline {baseline}, and the item declares the offset"))
        }
        [declared] => Err(unclear(format!(
            "its baseline is {baseline}, which has an offset of {ADD_OFFSET}, but it declares one of {declared}"
        ))),
        _ => Err(unclear(format!(
            "its baseline is {baseline}, but its bands declare different offsets: {declared:?}"
        ))),
    }
}

/// Says how the samples of a band become values: Sentinel-2's reflectance by [`sentinel2_offset`], anything else
/// as the item declares it; `None` where it declares nothing.
///
/// # Errors
///
/// As [`sentinel2_offset`].
pub fn calibration(item: &Item, selected: &Selected) -> Result<Option<Calibration>, Problem> {
    if is_sentinel2(item) && is_reflectance(item, selected) {
        let Some(AddOffset { dn, why }) = sentinel2_offset(item)? else { return Ok(None) };
        let (scale, offset) = (1.0 / QUANTIFICATION, f64::from(dn) / QUANTIFICATION);
        return Ok(Some(Calibration { scale, offset, why }));
    }
    let Band { scale, offset, .. } = selected.details;
    if scale.is_none() && offset.is_none() {
        return Ok(None);
    }
    let why = format!("declared for asset `{}`", selected.key);
    Ok(Some(Calibration { scale: scale.unwrap_or(1.0), offset: offset.unwrap_or(0.0), why }))
}

/// Returns the factor from samples of a reflectance band to values of a unit, whatever the offset is.
#[must_use]
pub fn scale_to(unit: &str) -> f64 {
    if unit == "dn" { 1.0 } else { 1.0 / QUANTIFICATION }
}

/// Says how the samples of a band become values of a unit.
///
/// Stored samples (`dn`) of Sentinel-2's reflectance bands are brought to one scale as well, that from before
/// baseline 04.00: else scenes of the same place would differ by 1000. `None` where samples are taken as they are,
/// or where nothing says how to convert them.
///
/// # Errors
///
/// As [`sentinel2_offset`].
pub fn calibration_to(unit: &str, item: &Item, selected: &Selected) -> Result<Option<Calibration>, Problem> {
    match unit {
        "dn" if is_sentinel2(item) && is_reflectance(item, selected) => {
            let in_samples = |AddOffset { dn, why }| Calibration { scale: 1.0, offset: f64::from(dn), why };
            Ok(sentinel2_offset(item)?.map(in_samples))
        }
        "dn" | "srgb8" | "tci8" => Ok(None),
        _ => calibration(item, selected),
    }
}

/// The offsets that reflectance bands declare, in units of samples, each once.
fn declared_offsets(item: &Item) -> Vec<i32> {
    let bands = item.assets.iter().filter(|asset| !is_picture(asset)).flat_map(|asset| &asset.bands);
    // Classes and optical thickness are not reflectance, and have other scales.
    let is_reflectance =
        |band: &&Band| band.scale.is_some_and(|scale| (scale * QUANTIFICATION - 1.0).abs() < 1e-9);
    let in_samples = |offset: f64| (offset * QUANTIFICATION).round() as i32;
    let mut declared: Vec<i32> = bands
        .filter(is_reflectance)
        .filter_map(|band| band.offset.filter(|offset| offset.is_finite()))
        .map(in_samples)
        .collect();
    declared.sort_unstable();
    declared.dedup();
    declared
}

/// `05.09`, `5.9` and `N0509` are 509.
fn baseline_number(text: &str) -> Option<u32> {
    let text = text.trim().trim_start_matches(['N', 'n', 'v']);
    let (major, minor): (u32, u32) = match text.split_once('.') {
        Some((major, minor)) => (major.parse().ok()?, minor.split('.').next()?.parse().ok()?),
        None if text.len() == 4 => (text[..2].parse().ok()?, text[2..].parse().ok()?),
        None => return None,
    };
    (major < 100 && minor < 100).then_some(major * 100 + minor)
}

/// The bucket of Earth Search v0 and of `sentinel-2-l2a` in v1.
fn removes_offset_silently(item: &Item) -> bool {
    item.assets
        .iter()
        .any(|asset| asset.href.contains("sentinel-cogs/") || asset.href.contains("//sentinel-cogs."))
}

fn unclear(why: String) -> Problem {
    Problem::with_hint(
        format!("it is not clear whether the samples hold Sentinel-2's offset of 1000: {why}"),
        "compare a few samples with ESA's product, then set `tiles.offset` (if the samples include the \
         offset: -0.1, or -1000 for a model that takes dn; otherwise 0), or use an archive that states it, \
         such as Earth Search's sentinel-2-c1-l2a",
    )
}

#[cfg(test)]
mod tests {
    use super::super::examples::{copernicus, earth_search, in_collection, item, planetary_computer};
    use super::super::select::select;
    use super::*;

    fn dn(item: &Item) -> i32 {
        sentinel2_offset(item).unwrap_or_else(|problem| panic!("{problem}")).unwrap().dn
    }

    fn unclear(item: &Item) -> String {
        sentinel2_offset(item).unwrap_err().to_string()
    }

    #[test]
    fn archives_that_deliver_as_esa_keep_the_offset_from_baseline_four() {
        assert_eq!(dn(&planetary_computer("05.09")), -1000);
        assert_eq!(dn(&planetary_computer("04.00")), -1000);
        assert_eq!(dn(&planetary_computer("03.01")), 0);
        assert_eq!(dn(&copernicus("05.11")), -1000);
        assert_eq!(dn(&copernicus("N0511")), -1000);
        let old = sentinel2_offset(&copernicus("02.14")).unwrap().unwrap();
        assert_eq!(old.dn, 0);
        assert!(old.why.contains("declared offset of -1000 is ignored"), "{}", old.why);
    }

    #[test]
    fn an_offset_that_was_removed_is_not_removed_again() {
        let removed = sentinel2_offset(&earth_search("05.09", "true")).unwrap().unwrap();
        assert_eq!(removed.dn, 0);
        assert!(removed.why.contains("declared offset of -1000 is ignored"), "{}", removed.why);
        assert_eq!(dn(&earth_search("02.14", "false")), 0);
    }

    #[test]
    fn bands_of_other_spellings_have_the_offset_too() {
        let assets = r#"{"B4": {"href": "b4.tif"}, "b04": {"href": "b04.tif"}, "stack": {"href": "stack.tif"},
            "scl-jp2": {"href": "scl.tif"}, "AOT_10m": {"href": "aot.tif"}, "cloud": {"href": "cloud.tif"}}"#;
        let properties = r#"{"platform": "sentinel-2c", "s2:processing_baseline": "05.11"}"#;
        let item = in_collection("S2", properties, assets);
        let offset = |name: &str| {
            let found = select(&item, &[name]).unwrap_or_else(|problem| panic!("{problem}")).remove(0);
            calibration_to("dn", &item, &found).unwrap().map(|calibration| calibration.offset)
        };
        for name in ["B4", "b04", "stack/3"] {
            assert_eq!(offset(name), Some(-1000.0), "{name}");
        }
        for name in ["scl-jp2", "AOT_10m", "cloud"] {
            assert_eq!(offset(name), None, "{name}");
        }
    }

    #[test]
    fn versions_of_other_processors_are_no_baselines() {
        for version in ["4.10.4", "5.9", "0511"] {
            let properties = format!(r#"{{"platform": "sentinel-2c", "processing:version": "{version}"}}"#);
            let item = in_collection("S2", &properties, r#"{"B02": {"href": "b.tif"}}"#);
            assert!(unclear(&item).contains("does not say its processing baseline"), "{version}");
        }
        let bands = r#"{"B02": {"href": "b.tif", "raster:bands": [{"scale": 0.0001, "offset": 0}]},
            "B03": {"href": "c.tif", "raster:bands": [{"scale": 0.0001, "offset": -0.1}]}}"#;
        let properties = r#"{"platform": "sentinel-2c", "s2:processing_baseline": "05.11"}"#;
        let message = unclear(&in_collection("S2", properties, bands));
        assert!(message.contains("declare different offsets: [-1000, 0]"), "{message}");
    }

    #[test]
    fn what_is_not_clear_is_asked() {
        let message = unclear(&earth_search("04.00", "false"));
        assert!(message.contains("boa_offset_applied = false, which is wrong for some items"), "{message}");
        assert!(unclear(&earth_search("04.00", "null")).contains("does not say whether it was removed"));
        let message = sentinel2_offset(&planetary_computer("five"))
            .unwrap_err()
            .into_error(&"https://a/item".into())
            .render();
        assert!(
            message.contains("baseline `five` cannot be read") && message.contains("set `tiles.offset`"),
            "{message}"
        );
        let silent = in_collection("sentinel-2-l2a", "{}", "{}");
        assert!(unclear(&silent).contains("does not say its processing baseline"));
        let contradictory = in_collection(
            "S2",
            r#"{"platform": "sentinel-2c", "processing:version": "05.11"}"#,
            r#"{"B02": {"href": "b.tif", "raster:bands": [{"scale": 0.0001, "offset": 0}]}}"#,
        );
        assert!(unclear(&contradictory).contains("it declares one of 0"), "{}", unclear(&contradictory));
    }

    #[test]
    fn reflectance_is_calibrated_and_nothing_else() {
        let calibrated =
            |item: &Item, name: &str| calibration(item, &select(item, &[name]).unwrap()[0]).unwrap();
        let scene = planetary_computer("05.09");
        let red = calibrated(&scene, "red").unwrap();
        assert_eq!((red.scale, red.offset), (1e-4, -0.1));
        assert_eq!(calibrated(&scene, "SCL"), None);
        assert_eq!(calibrated(&scene, "tci_red"), None);
        let offset = |item: &Item, name: &str| calibrated(item, name).map(|found| found.offset);
        assert_eq!(offset(&earth_search("05.09", "true"), "B05"), Some(0.0));
        assert_eq!(offset(&copernicus("05.11"), "B05_20m"), Some(-0.1));
        let to = |unit: &str, name: &str| {
            let scene = planetary_computer("05.09");
            calibration_to(unit, &scene, &select(&scene, &[name]).unwrap()[0])
                .unwrap()
                .map(|c| (c.scale, c.offset))
        };
        assert_eq!(to("dn", "B05"), Some((1.0, -1000.0)));
        assert_eq!(to("reflectance", "B05"), Some((1e-4, -0.1)));
        assert_eq!((to("tci8", "tci_red"), to("dn", "SCL")), (None, None));
        let landsat = item(
            r#"{"platform": "landsat-8"}"#,
            r#"{"nir08": {"href": "n.tif", "raster:bands": [{"scale": 0.0000275, "offset": -0.2}]}, "B9": {"href": "c.tif"}}"#,
        );
        assert_eq!(sentinel2_offset(&landsat).unwrap(), None);
        let nir = calibrated(&landsat, "nir08").unwrap();
        assert_eq!((nir.scale, nir.offset), (2.75e-5, -0.2));
        assert_eq!(calibrated(&landsat, "B9"), None);
    }
}
