//! What a scene's header says: levels, bands, what marks pixels without data, where it lies.

use super::blocks::parse_blocks;
use super::metadata::BadXml;
use super::page::Page;
use super::{metadata, pyramid, tag as own};
use crate::formats::bytes::Order;
use crate::formats::partial::{Parsed, Partial, View};
use crate::formats::raster::{
    BandInfo, BlockGrid, BlockId, BlockTable, Container, GridId, NodataValue, Part, Photometric, RasterFile,
    ValueMapping,
};
use crate::formats::tags::{Directory, tag};
use crate::geo::GeoTags;
use crate::vocabulary::reason::Rejection;
use crate::vocabulary::sample::converts;

/// What the header of a scene says.
#[derive(Clone, Debug, PartialEq)]
pub struct TiffHeader {
    /// Whether the file is a `BigTIFF`.
    pub big_tiff: bool,
    /// Whether integers are stored big-endian.
    pub big_endian: bool,
    /// Full size, then overviews from the largest to the smallest.
    pub levels: Vec<Level>,
    /// Number of images in the file, masks and what is not used included.
    pub num_pages: u32,
    /// What is known of each band.
    pub bands: Vec<BandInfo>,
    /// The value of pixels without data, of all bands.
    pub nodata: Option<NodataValue>,
    /// What places the scene on the Earth.
    pub geo: GeoTags,
    /// What was found and is not used, for people.
    pub notes: Vec<String>,
}

/// One resolution step.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The samples.
    pub pixels: Page,
    /// Which pixels are valid, if the file says so in an image of its own.
    pub mask: Option<Page>,
}

impl RasterFile for TiffHeader {
    fn num_frames(&self) -> u32 {
        1
    }

    fn num_levels(&self) -> usize {
        self.levels.len()
    }

    fn grid(&self, id: GridId) -> Option<&BlockGrid> {
        self.page(id).map(|page| &page.grid)
    }

    fn bands(&self, _: u32) -> &[BandInfo] {
        &self.bands
    }

    fn nodata(&self, _: u32) -> Option<NodataValue> {
        self.nodata
    }

    fn geo(&self) -> Option<&GeoTags> {
        Some(&self.geo).filter(|geo| **geo != GeoTags::default())
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn container(&self) -> Container {
        Container { big_tiff: self.big_tiff, big_endian: self.big_endian, num_pages: self.num_pages }
    }

    fn locate(&self, object: &Partial, id: GridId, blocks: &[BlockId]) -> Parsed<BlockTable> {
        parse_blocks(object, self.page(id).expect("blocks are those of a grid"), blocks)
    }
}

impl TiffHeader {
    fn page(&self, id: GridId) -> Option<&Page> {
        let level = self.levels.get(id.level).filter(|_| id.frame == 0)?;
        match id.part {
            Part::Pixels => Some(&level.pixels),
            Part::Mask => level.mask.as_ref(),
        }
    }
}

/// Reads the header from the first directory on.
pub(super) fn parse(file: View<'_>, first: Directory<'_>) -> Result<TiffHeader, Rejection> {
    let file_bytes = file.object_bytes() as u64;
    let pixels = Page::parse(&first, file_bytes)?;
    let mut notes = Vec::new();
    if !first.has(tag::PHOTOMETRIC) {
        notes.push("the file does not say what its samples mean: 0 is assumed to be black".to_owned());
    }
    let written = nodata(&first, &pixels.grid, &mut notes);
    let nodata = written.and_then(|nodata| nodata.of_kind(pixels.grid.stored.kind));
    let items = items(&first);
    if let Err(problem) = &items {
        notes.push(format!("GDAL's metadata (tag 42112) cannot be read, the scale is unknown: {problem}"));
    }
    let bands = bands(&first, &pixels.grid, items.as_deref());
    let useless =
        bands.iter().enumerate().filter(|(_, band)| !converts(band.values.scale, band.values.offset));
    notes.extend(useless.map(|(band, BandInfo { values, .. })| {
        let ValueMapping { scale, offset, .. } = values;
        format!("band {}: scale {scale} and offset {offset} are not a conversion", band + 1)
    }));
    let (mut levels, num_pages) = pyramid::levels(first, pixels, file_bytes, &mut notes)?;
    for level in &mut levels {
        level.pixels.grid.stored.fill = written;
    }
    Ok(TiffHeader {
        big_tiff: first.is_big(),
        big_endian: first.order() == Order::Big,
        levels,
        num_pages,
        bands,
        nodata,
        geo: geo_tags(&first),
        notes,
    })
}

/// Returns the value of pixels without data as it is written, whether samples can have it or not.
fn nodata(directory: &Directory<'_>, page: &BlockGrid, notes: &mut Vec<String>) -> Option<NodataValue> {
    let Some(text) = directory.text(own::GDAL_NODATA) else {
        if directory.has(own::GDAL_NODATA) {
            notes.push("nodata (tag 42113) is not text and is ignored".to_owned());
        }
        return None;
    };
    let nodata = metadata::nodata(&text, page.stored.kind);
    let plain = text.trim().parse::<f64>().ok();
    match (nodata, nodata.and_then(|nodata| nodata.of_kind(page.stored.kind))) {
        (Some(written), Some(taken)) => {
            let is_plain = plain.is_some_and(|plain| plain.to_bits() == written.value.to_bits());
            let is_whole = page.stored.kind.is_float() || written.integer.is_some();
            if !(written.value.is_nan() || is_plain && is_whole) {
                notes.push(format!("nodata {:?} is read as {}, as in GDAL", text.trim(), taken.value));
            }
        }
        _ => notes.push(format!("nodata {:?} is not a {} and is ignored", text.trim(), page.stored.kind)),
    }
    nodata
}

fn items(directory: &Directory<'_>) -> Result<Vec<metadata::Item>, BadXml> {
    match directory.text(own::GDAL_METADATA) {
        Some(xml) => metadata::items(&xml),
        None if directory.has(own::GDAL_METADATA) => Err(BadXml::NoText),
        None => Ok(Vec::new()),
    }
}

/// - `items`: of GDAL's metadata; an error if they cannot be read, and then no scale is known
fn bands(
    directory: &Directory<'_>,
    page: &BlockGrid,
    items: Result<&[metadata::Item], &BadXml>,
) -> Vec<BandInfo> {
    let (scale, offset) = if items.is_ok() { (1.0, 0.0) } else { (f64::NAN, f64::NAN) };
    let extra = directory.unsigned_list(tag::EXTRA_SAMPLES).unwrap_or_default();
    let num_bands = page.num_bands;
    let mut bands: Vec<BandInfo> = (0..num_bands)
        .map(|band| BandInfo {
            colour: colour(page, band, &extra).to_owned(),
            description: None,
            values: ValueMapping { scale, offset, unit: None },
        })
        .collect();
    for item in items.unwrap_or_default() {
        if let Some(band) = item.band.and_then(|band| bands.get_mut(band)) {
            item.apply(band);
        }
    }
    bands
}

/// Returns what a band shows by the tags alone, as GDAL names it.
fn colour(page: &BlockGrid, band: u16, extra: &[u64]) -> &'static str {
    let num_bands = page.num_bands;
    let colours: &[&str] = match page.stored.photometric {
        // GDAL shows two values as a palette of black and white.
        Photometric::MinIsWhite | Photometric::MinIsBlack if page.stored.stored_bits == 1 => &["palette"],
        Photometric::Rgb | Photometric::YCbCr if num_bands >= 3 => &["red", "green", "blue"],
        Photometric::Palette => &["palette"],
        Photometric::Cmyk if num_bands >= 4 => &["cyan", "magenta", "yellow", "black"],
        _ => &["gray"],
    };
    if let Some(colour) = colours.get(usize::from(band)) {
        return colour;
    }
    let first_extra = usize::from(num_bands).saturating_sub(extra.len());
    match usize::from(band).checked_sub(first_extra).and_then(|place| extra.get(place)) {
        Some(1 | 2) => "alpha",
        _ => "undefined",
    }
}

fn geo_tags(directory: &Directory<'_>) -> GeoTags {
    let floats = |tag| directory.float_list(tag).unwrap_or_default();
    let keys = directory.unsigned_list(own::GEO_KEYS).unwrap_or_default();
    GeoTags {
        pixel_scale: floats(own::PIXEL_SCALE).get(..3).and_then(|scale| scale.try_into().ok()),
        tiepoints: floats(own::TIEPOINTS),
        transformation: floats(own::TRANSFORMATION).get(..16).and_then(|matrix| matrix.try_into().ok()),
        key_directory: keys.into_iter().map(|key| key as u16).collect(),
        doubles: floats(own::GEO_DOUBLES),
        ascii: directory.text(own::GEO_ASCII).unwrap_or_default(),
    }
}
