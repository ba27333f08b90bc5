//! Which file and band of an item holds a band that a model or a pipeline names.
//!
//! A name is looked for in this order, and the first way that finds anything decides:
//!
//! 1. `KEY/BAND`: a band, by name, common name or number from 1, of the asset of this key;
//! 2. the key of an asset of one band;
//! 3. the name of a band, such as `B04`;
//! 4. its common name, such as `nir`;
//! 5. for Sentinel-2, the other names of the same band ([`super::sentinel2::names_of`]);
//! 6. the name of the file, such as `blue.tif`;
//! 7. 2 to 4 again, upper and lower case being the same.
//!
//! Pictures made for people (`visual`, `thumbnail`, …) are found by their key alone: their `red` is another
//! quantity than the band `red`. Where several assets hold the same band, `GeoTIFF` comes before JPEG 2000,
//! then the finest resolution; if that decides nothing, the name is ambiguous.

use std::fmt;

use super::item::{Asset, Band, Item};
use super::sentinel2;
use crate::vocabulary::error::Error;
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::words::counted;

/// A band that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Selected {
    /// Number of the asset in the item.
    pub asset: usize,
    /// Its key.
    pub key: String,
    /// Number of the band in the file, from 0.
    pub band: usize,
    /// Whether it is known which band of the file it is; if not, the file must turn out to have one.
    pub described: bool,
    /// What the item says of the band.
    pub details: Band,
}

/// Why a band of an item cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    message: String,
    hint: String,
}

impl Problem {
    /// Makes a problem of what cannot be read, for which naming another band does not help.
    pub fn unusable(message: String) -> Self {
        Self { message, hint: "choose another asset with `tiles.bands`, or another archive".to_owned() }
    }

    /// Makes a problem with what to do about it.
    pub(super) fn with_hint(message: String, hint: &str) -> Self {
        Self { message, hint: hint.to_owned() }
    }

    /// Returns what is wrong and what to do about it, for a row of the table.
    pub fn with_advice(&self) -> String {
        format!("{}; {}", self.message, self.hint)
    }

    /// Turns it into an error that ends a command, for the item of this URI.
    pub fn into_error(self, uri: &SourceUri) -> Error {
        Error::config(format!("{uri} cannot be used")).because(self.message).hint(self.hint)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// A way to look for a name.
type Step = fn(&Item, &Asset, Option<&Band>, &str) -> bool;

const STEPS: [Step; 8] = [
    |_, asset, _, wanted| asset.key == wanted,
    |_, asset, band, wanted| {
        !is_picture(asset) && band.is_some_and(|band| band.name.as_deref() == Some(wanted))
    },
    |_, asset, band, wanted| {
        !is_picture(asset) && band.is_some_and(|band| band.common_name.as_deref() == Some(wanted))
    },
    is_sentinel_name,
    |_, asset, _, wanted| asset.href.rsplit('/').next() == Some(wanted),
    |_, asset, _, wanted| asset.key.eq_ignore_ascii_case(wanted),
    |_, asset, band, wanted| {
        !is_picture(asset) && same_text(band.and_then(|band| band.name.as_deref()), wanted)
    },
    |_, asset, band, wanted| {
        !is_picture(asset) && same_text(band.and_then(|band| band.common_name.as_deref()), wanted)
    },
];

/// Finds the bands of these names, in their order.
///
/// # Errors
///
/// A [`Problem`] that names the band, and what there is instead or in how many places it is.
pub fn select<S: AsRef<str>>(item: &Item, wanted: &[S]) -> Result<Vec<Selected>, Problem> {
    wanted.iter().map(|name| find(item, name.as_ref())).collect()
}

/// Returns all bands of the one asset that holds data, where nothing is named.
///
/// # Errors
///
/// A [`Problem`] if no asset is data, or several are.
pub fn data_bands(item: &Item) -> Result<Vec<Selected>, Problem> {
    let usable = |asset: &Asset| is_image(asset) && !is_picture(asset);
    let all: Vec<usize> = (0..item.assets.len()).filter(|index| usable(&item.assets[*index])).collect();
    let data: Vec<usize> = all.iter().copied().filter(|index| item.assets[*index].has_role("data")).collect();
    match if data.is_empty() { all } else { data }[..] {
        [index] => {
            let count = item.assets[index].bands.len().max(1);
            Ok((0..count).map(|band| selected(item, index, band)).collect())
        }
        [] => Err(Problem::with_hint(
            format!("it has no asset with image data; its assets are {}", list_of(item)),
            "name the bands with `tiles.bands`",
        )),
        _ => Err(Problem::with_hint(
            format!("several of its assets are data: {}", list_of(item)),
            "name the bands, in the model's order, with `tiles.bands`",
        )),
    }
}

/// Finds one band.
fn find(item: &Item, wanted: &str) -> Result<Selected, Problem> {
    if let Some(index) = item.assets.iter().position(|asset| asset.key == wanted)
        && item.assets[index].bands.len() > 1
    {
        let asset = &item.assets[index];
        return Err(Problem::with_hint(
            format!(
                "asset `{wanted}` has {}: {}",
                counted(asset.bands.len() as u64, "band"),
                bands_of(asset)
            ),
            "name one of them as KEY/BAND",
        ));
    }
    if let Some((key, band)) = wanted.split_once('/')
        && let Some(index) = item.assets.iter().position(|asset| asset.key == key)
    {
        return band_within(item, index, band);
    }
    for step in STEPS {
        let candidates = candidates(item, wanted, step);
        if !candidates.is_empty() {
            return choose(item, wanted, candidates);
        }
    }
    Err(missing(item, wanted))
}

/// Finds a band of one asset by name, common name or number.
fn band_within(item: &Item, index: usize, wanted: &str) -> Result<Selected, Problem> {
    let asset = &item.assets[index];
    let named = |of: fn(&Band) -> &Option<String>| {
        asset.bands.iter().position(|band| of(band).as_deref() == Some(wanted))
    };
    let position = named(|band| &band.name).or_else(|| named(|band| &band.common_name));
    let number = wanted.parse().ok().and_then(|number: usize| number.checked_sub(1));
    let number = number.filter(|band| asset.bands.is_empty() || *band < asset.bands.len());
    match position.or(number) {
        Some(band) => Ok(Selected { described: true, ..selected(item, index, band) }),
        None => Err(Problem::with_hint(
            format!("asset `{}` has no band `{wanted}`; its bands are {}", asset.key, bands_of(asset)),
            "name one of them as KEY/BAND, or by its number from 1",
        )),
    }
}

/// All places that a step finds: asset and band.
fn candidates(item: &Item, wanted: &str, step: Step) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, asset) in item.assets.iter().enumerate().filter(|(_, asset)| is_image(asset)) {
        if asset.bands.is_empty() && step(item, asset, None, wanted) {
            found.push((index, 0));
        }
        let bands = asset.bands.iter().enumerate();
        found.extend(
            bands.filter(|(_, band)| step(item, asset, Some(band), wanted)).map(|(band, _)| (index, band)),
        );
    }
    found
}

/// Decides among several places.
fn choose(item: &Item, wanted: &str, mut candidates: Vec<(usize, usize)>) -> Result<Selected, Problem> {
    let rank = |(index, _): &(usize, usize)| format_rank(&item.assets[*index]);
    let best = candidates.iter().map(rank).min().unwrap_or_default();
    candidates.retain(|candidate| rank(candidate) == best);
    let gsd = |(index, _): &(usize, usize)| item.assets[*index].gsd;
    if candidates.iter().all(|candidate| gsd(candidate).is_some()) {
        let finest = candidates.iter().filter_map(gsd).fold(f64::INFINITY, f64::min);
        candidates.retain(|candidate| gsd(candidate).is_some_and(|gsd| gsd <= finest));
    }
    if let [(index, band)] = candidates[..] {
        return Ok(selected(item, index, band));
    }
    let places: Vec<String> =
        candidates.iter().map(|(index, band)| place(&item.assets[*index], *band)).collect();
    Err(Problem::with_hint(
        format!("band `{wanted}` is in several places: {}", places.join(", ")),
        "name one of them by its key or as KEY/BAND",
    ))
}

fn selected(item: &Item, index: usize, band: usize) -> Selected {
    let asset = &item.assets[index];
    let described = asset.bands.get(band);
    Selected {
        asset: index,
        key: asset.key.clone(),
        band,
        described: described.is_some(),
        details: described.cloned().unwrap_or_default(),
    }
}

fn missing(item: &Item, wanted: &str) -> Problem {
    let pictures: Vec<String> = item
        .assets
        .iter()
        .filter(|asset| is_picture(asset))
        .flat_map(|asset| asset.bands.iter().map(move |band| (asset, band)))
        .filter(|(_, band)| {
            band.name.as_deref() == Some(wanted) || band.common_name.as_deref() == Some(wanted)
        })
        .map(|(asset, _)| format!("{}/{wanted}", asset.key))
        .collect();
    let only = if pictures.is_empty() {
        String::new()
    } else {
        format!(" (except for the picture {})", pictures.join(", "))
    };
    Problem::with_hint(
        format!("there is no band `{wanted}`{only}; it has {}", list_of(item)),
        "name a band by asset key, band name, common name, or KEY/BAND",
    )
}

/// What there is, for people: keys, and the bands where they have other names.
fn list_of(item: &Item) -> String {
    const MOST: usize = 40;
    let images: Vec<&Asset> = item.assets.iter().filter(|asset| is_image(asset)).collect();
    if images.is_empty() {
        return "no image".to_owned();
    }
    let mut texts: Vec<String> = images
        .iter()
        .take(MOST)
        .map(|asset| match bands_of(asset) {
            bands if bands.is_empty() || bands == asset.key => asset.key.clone(),
            bands => format!("{} ({bands})", asset.key),
        })
        .collect();
    if images.len() > MOST {
        texts.push(format!("{} more", images.len() - MOST));
    }
    texts.join(", ")
}

fn bands_of(asset: &Asset) -> String {
    let name = |(index, band): (usize, &Band)| {
        let name = band.name.as_deref().or(band.common_name.as_deref());
        name.map_or_else(|| (index + 1).to_string(), str::to_owned)
    };
    asset.bands.iter().enumerate().map(name).collect::<Vec<_>>().join(", ")
}

fn place(asset: &Asset, band: usize) -> String {
    if asset.bands.len() > 1 { format!("{}/{}", asset.key, band + 1) } else { asset.key.clone() }
}

fn same_text(text: Option<&str>, wanted: &str) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case(wanted))
}

fn is_sentinel_name(item: &Item, asset: &Asset, band: Option<&Band>, wanted: &str) -> bool {
    if !sentinel2::is_sentinel2(item) {
        return false;
    }
    if let Some(colour) = sentinel2::picture_band(wanted) {
        let common = band.and_then(|band| band.common_name.as_deref());
        return sentinel2::is_true_colour(asset) && common == Some(colour);
    }
    let is_named = |name: &str| {
        asset.key == name
            || band.is_some_and(|band| {
                band.name.as_deref() == Some(name) || band.common_name.as_deref() == Some(name)
            })
    };
    !is_picture(asset) && sentinel2::names_of(wanted).iter().any(|name| is_named(name))
}

/// Whether the file may hold pixels, as far as its media type says.
fn is_image(asset: &Asset) -> bool {
    let Some(media_type) = &asset.media_type else { return !asset.has_role("metadata") };
    let media_type = media_type.to_ascii_lowercase();
    ["image/", "tiff", "jp2"].iter().any(|part| media_type.contains(part))
}

/// Whether the file is a picture for people, not data.
pub(super) fn is_picture(asset: &Asset) -> bool {
    const ROLES: [&str; 3] = ["thumbnail", "overview", "visual"];
    const KEYS: [&str; 8] =
        ["visual", "tci", "true_color", "overview", "preview", "rendered_preview", "thumbnail", "browse"];
    let key = asset.key.to_ascii_lowercase();
    let key = key.trim_end_matches("-jp2");
    ROLES.iter().any(|role| asset.has_role(role)) || KEYS.contains(&key) || key.starts_with("tci_")
}

/// The smaller the better.
fn format_rank(asset: &Asset) -> u8 {
    let media_type = asset.media_type.as_deref().unwrap_or_default().to_ascii_lowercase();
    let extension = asset.href.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    match (media_type.as_str(), extension.as_str()) {
        (text, _) if text.contains("tiff") => 0,
        ("", "tif" | "tiff") => 0,
        (text, _) if text.contains("jp2") || text.contains("jpeg2000") => 2,
        ("", "jp2" | "j2k") => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{copernicus, earth_search, item, planetary_computer};
    use super::*;

    fn keys(item: &Item, wanted: &[&str]) -> Vec<String> {
        let found = select(item, wanted).unwrap_or_else(|problem| panic!("{problem}"));
        found.iter().map(|band| place(&item.assets[band.asset], band.band)).collect()
    }

    fn refused(item: &Item, wanted: &str) -> String {
        select(item, &[wanted]).unwrap_err().into_error(&item.uri).render()
    }

    #[test]
    fn one_list_of_names_finds_the_bands_of_every_archive() {
        let wanted = ["B04", "B05", "red", "tci_red", "scl"];
        let mut found = keys(&earth_search("05.09", "true"), &wanted);
        assert_eq!(found, ["red", "rededge1", "red", "visual/1", "scl"]);
        found = keys(&planetary_computer("05.09"), &wanted);
        assert_eq!(found, ["B04", "B05", "B04", "visual/1", "SCL"]);
        found = keys(&copernicus("05.11"), &["B04", "B05", "red", "SCL_20m"]);
        assert_eq!(found, ["B04_10m", "B05_20m", "B04_10m", "SCL_20m"]);
    }

    #[test]
    fn the_details_are_those_of_the_band() {
        let scene = earth_search("05.09", "true");
        let red = &select(&scene, &["B04"]).unwrap()[0];
        assert_eq!(
            (red.details.scale, red.details.offset, red.details.nodata),
            (Some(1e-4), Some(-0.1), Some(0.0))
        );
        assert!(red.described);
        let scene = copernicus("05.11");
        let red = &select(&scene, &["red"]).unwrap()[0];
        assert_eq!(
            (red.details.scale, red.details.nodata),
            (Some(1e-4), Some(0.0)),
            "inherited from the asset"
        );
        assert_eq!(red.details.data_type.as_deref(), Some("uint16"));
    }

    #[test]
    fn a_name_that_several_assets_bear_is_refused_with_all_of_them() {
        let message = refused(&earth_search("05.09", "true"), "rededge");
        assert!(message.contains("`rededge` is in several places: rededge1, rededge2"), "{message}");
        let message = refused(&earth_search("05.09", "true"), "visual");
        assert!(message.contains("asset `visual` has 3 bands: red, green, blue"), "{message}");
    }

    #[test]
    fn a_missing_band_is_named_with_what_there_is() {
        let message = refused(&planetary_computer("05.09"), "green");
        assert!(
            message.contains("there is no band `green` (except for the picture visual/green)"),
            "{message}"
        );
        assert!(message.contains("it has B04, B05, B08, SCL, visual (B04, B03, B02)"), "{message}");
        let message = refused(&planetary_computer("05.09"), "visual/nir");
        assert!(
            message.contains("asset `visual` has no band `nir`; its bands are B04, B03, B02"),
            "{message}"
        );
        assert_eq!(
            keys(&planetary_computer("05.09"), &["visual/green", "visual/3"]),
            ["visual/2", "visual/3"]
        );
    }

    #[test]
    fn one_file_may_hold_all_bands() {
        let naip = item(
            "{}",
            r#"{"image": {"href": "./m.tif", "type": "image/tiff; application=geotiff", "roles": ["data"],
                "eo:bands": [{"name": "Red", "common_name": "red"}, {"name": "Green", "common_name": "green"},
                             {"name": "Blue", "common_name": "blue"}, {"name": "NIR", "common_name": "nir"}]},
                "metadata": {"href": "./m.txt", "type": "text/plain", "roles": ["metadata"]},
                "rendered_preview": {"href": "./p.png", "type": "image/png", "roles": ["overview"]}}"#,
        );
        assert_eq!(
            keys(&naip, &["nir", "red", "Blue", "GREEN"]),
            ["image/4", "image/1", "image/3", "image/2"]
        );
        assert_eq!(data_bands(&naip).unwrap().len(), 4);
        let plain = item("{}", r#"{"a": {"href": "blue.tif"}, "b": {"href": "green.tif"}}"#);
        assert_eq!(keys(&plain, &["green.tif", "a"]), ["b", "a"]);
        assert!(!select(&plain, &["a"]).unwrap()[0].described);
        assert_eq!(select(&plain, &["a/3"]).unwrap()[0].band, 2);
        let message = data_bands(&plain).unwrap_err().to_string();
        assert!(message.contains("several of its assets are data: a, b"), "{message}");
        let none = item("{}", r#"{"m": {"href": "m.xml", "type": "application/xml"}}"#);
        assert!(data_bands(&none).unwrap_err().to_string().contains("no image"));
    }

    #[test]
    fn a_file_that_cannot_be_reached_is_a_problem_only_when_it_is_wanted() {
        let scene = item(
            "{}",
            r#"{"red": {"href": "/secret.tif"}, "nir": {"href": "ftp://h/nir.tif", "alternate": {"s3": {"href": "s3://b/nir.tif"}}},
                "green": {"href": "https://h/g.tif?sig=SECRET"}}"#,
        );
        let uri = |key: &str, alternate| scene.asset(key).unwrap().uri(alternate).map(|uri| uri.to_string());
        assert_eq!(uri("red", None).unwrap(), "https://archive.example/secret.tif");
        assert!(uri("nir", None).unwrap_err().to_string().contains("scheme `ftp`"));
        assert_eq!(uri("nir", Some("s3")).unwrap(), "s3://b/nir.tif");
        let message = uri("green", Some("s3")).unwrap_err().to_string();
        assert!(message.contains("asset `green` cannot be read") && !message.contains("SECRET"), "{message}");
    }
}
