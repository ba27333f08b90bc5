//! What a scene's header says: levels, bands, what marks pixels without data, where it lies.

use super::blocks::BlockId;
use super::page::{Page, Photometric};
use super::{metadata, pyramid, tag as own};
use crate::formats::bytes::Order;
use crate::formats::partial::View;
use crate::formats::tags::{Directory, tag};
use crate::geo::GeoTags;
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::Rejection;
use crate::vocabulary::sample::{SampleKind, converts};

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
    pub nodata: Option<Nodata>,
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

/// What is known of one band.
#[derive(Clone, Debug, PartialEq)]
pub struct BandInfo {
    /// What it shows, in GDAL's words: `gray`, `red`, `alpha`, `palette`, `undefined`, …
    pub colour: String,
    /// Its name.
    pub description: Option<String>,
    /// Value = stored sample × `scale` + `offset`; 1 by default.
    pub scale: f64,
    /// See `scale`; 0 by default.
    pub offset: f64,
    /// Unit of the value.
    pub unit: Option<String>,
}

/// A value that marks pixels without data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nodata {
    /// The value.
    pub value: f64,
    /// The value where it is a whole number, which 64-bit samples need in full.
    pub integer: Option<i128>,
}

impl Nodata {
    /// Takes a value that stands elsewhere than in the file.
    #[must_use]
    pub fn of(value: f64) -> Self {
        let is_whole = value.fract() == 0.0 && value.abs() < 1e30;
        Self { value, integer: is_whole.then_some(value as i128) }
    }

    /// Returns the value as samples of this kind have it, a fraction cut off for integers; `None` if they cannot (GDAL's
    /// `GDALNoDataMaskBand`).
    #[must_use]
    pub fn of_kind(self, kind: SampleKind) -> Option<Self> {
        let (min, max) = match kind {
            SampleKind::U8 => (0, i128::from(u8::MAX)),
            SampleKind::I8 => (i8::MIN.into(), i8::MAX.into()),
            SampleKind::U16 => (0, u16::MAX.into()),
            SampleKind::I16 => (i16::MIN.into(), i16::MAX.into()),
            SampleKind::U32 => (0, u32::MAX.into()),
            SampleKind::I32 => (i32::MIN.into(), i32::MAX.into()),
            SampleKind::U64 => (0, u64::MAX.into()),
            SampleKind::I64 => (i64::MIN.into(), i64::MAX.into()),
            // What is beyond the largest number is infinite.
            SampleKind::F32 => return Some(Self::of(f64::from(self.value as f32))),
            SampleKind::F64 => return Some(self),
        };
        let integer = self.integer.or_else(|| self.value.is_finite().then_some(self.value as i128))?;
        let is_wide = matches!(kind, SampleKind::I8 | SampleKind::U64 | SampleKind::I64);
        let is_inside = is_wide || (min as f64..=max as f64).contains(&self.value);
        let is_sample = is_inside && (min..=max).contains(&integer);
        is_sample.then_some(Self { value: integer as f64, integer: Some(integer) })
    }

    /// Tells whether `value` says all of a value that [`Self::of_kind`] returned: of 64-bit integers it may not.
    #[must_use]
    pub fn is_exact(self) -> bool {
        let is_limit = |limit: i128| self.integer == Some(limit);
        let is_rounded = self.integer.is_some_and(|integer| self.value as i128 != integer);
        !is_rounded || is_limit(u64::MAX.into()) || is_limit(i64::MAX.into())
    }
}

/// How a scene says which pixels are valid; the first that it has (GDAL, RFC 15).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Validity {
    /// All are.
    All,
    /// By a mask, see [`Level::mask`].
    Mask,
    /// Those with another value than this, in any of the bands; where there is alpha, in this one.
    Nodata(Nodata, Option<u16>),
    /// Those that the alpha band, the last of two or four, does not make fully transparent.
    Alpha(u16),
}

impl Validity {
    /// Tells whether a mask or an alpha band decides. Then it does so alone, whatever else marks pixels without data
    /// (GDAL, RFC 15).
    #[must_use]
    pub fn is_masked(self) -> bool {
        matches!(self, Self::Mask | Self::Alpha(_) | Self::Nodata(_, Some(_)))
    }
}

impl TiffHeader {
    /// Tells a scene from a plain image: it has a place on the Earth, nodata, overviews or a mask.
    #[must_use]
    pub fn is_scene(&self) -> bool {
        let [full, overviews @ ..] = self.levels.as_slice() else { return false };
        let has_place = self.geo != GeoTags::default();
        has_place || self.nodata.is_some() || full.mask.is_some() || !overviews.is_empty()
    }

    /// Returns how a level says which pixels are valid.
    #[must_use]
    pub fn validity(&self, level: usize) -> Validity {
        let num_bands = self.bands.len();
        let last = self.bands.last().filter(|band| matches!(num_bands, 2 | 4) && band.colour == "alpha");
        let alpha = last.map(|_| num_bands as u16 - 1);
        let kind = self.levels[level].pixels.kind;
        match (&self.levels[level].mask, self.nodata, alpha) {
            (Some(_), ..) => Validity::Mask,
            (None, Some(nodata), _) => Validity::Nodata(nodata, alpha.filter(|_| num_bands == 4)),
            (None, None, Some(band)) if matches!(kind, SampleKind::U8 | SampleKind::U16) => {
                Validity::Alpha(band)
            }
            (None, None, _) => Validity::All,
        }
    }

    /// Returns the blocks that samples and validity of a window need.
    ///
    /// - `window`: pixels of the level, inside of it
    /// - `bands`: counted from 0
    /// - returns: blocks of [`Level::pixels`], then of [`Level::mask`]
    #[must_use]
    pub fn blocks_for(&self, level: usize, window: Window, bands: &[u16]) -> (Vec<BlockId>, Vec<BlockId>) {
        let Level { pixels, mask } = &self.levels[level];
        let masks = mask.as_ref().map_or_else(Vec::new, |mask| mask.blocks_for(window, &[0]));
        let alpha = match self.validity(level) {
            Validity::Alpha(band) | Validity::Nodata(_, Some(band)) => Some(band),
            _ => None,
        };
        let bands: Vec<u16> = bands.iter().copied().chain(alpha).collect();
        (pixels.blocks_for(window, &bands), masks)
    }
}

/// Reads the header from the first directory on.
pub(super) fn parse(file: View<'_>, first: Directory<'_>) -> Result<TiffHeader, Rejection> {
    let file_bytes = file.len() as u64;
    let pixels = Page::parse(&first, file_bytes)?;
    let mut notes = Vec::new();
    if !first.has(tag::PHOTOMETRIC) {
        notes.push("the file does not say what its samples mean: 0 is taken as black".to_owned());
    }
    let written = nodata(&first, &pixels, &mut notes);
    let nodata = written.and_then(|nodata| nodata.of_kind(pixels.kind));
    let items = items(&first);
    if let Err(problem) = &items {
        notes.push(format!("GDAL's metadata (tag 42112) cannot be read, the scale is unknown: {problem}"));
    }
    let bands = bands(&first, &pixels, items.as_deref());
    let useless = bands.iter().enumerate().filter(|(_, band)| !converts(band.scale, band.offset));
    notes.extend(useless.map(|(band, BandInfo { scale, offset, .. })| {
        format!("band {}: scale {scale} and offset {offset} convert nothing", band + 1)
    }));
    let (mut levels, num_pages) = pyramid::levels(first, pixels, file_bytes, &mut notes)?;
    for level in &mut levels {
        level.pixels.fill = written;
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
fn nodata(directory: &Directory<'_>, page: &Page, notes: &mut Vec<String>) -> Option<Nodata> {
    let Some(text) = directory.text(own::GDAL_NODATA) else {
        if directory.has(own::GDAL_NODATA) {
            notes.push("nodata (tag 42113) is no text and not used".to_owned());
        }
        return None;
    };
    let nodata = metadata::nodata(&text, page.kind);
    let plain = text.trim().parse::<f64>().ok();
    match (nodata, nodata.and_then(|nodata| nodata.of_kind(page.kind))) {
        (Some(written), Some(taken)) => {
            let is_plain = plain.is_some_and(|plain| plain.to_bits() == written.value.to_bits());
            let is_whole = page.kind.is_float() || written.integer.is_some();
            if !(written.value.is_nan() || is_plain && is_whole) {
                notes.push(format!("nodata {:?} is taken as {}, as in GDAL", text.trim(), taken.value));
            }
        }
        _ => notes.push(format!("nodata {:?} is no {} and not used", text.trim(), page.kind)),
    }
    nodata
}

fn items(directory: &Directory<'_>) -> Result<Vec<metadata::Item>, String> {
    match directory.text(own::GDAL_METADATA) {
        Some(xml) => metadata::items(&xml),
        None if directory.has(own::GDAL_METADATA) => Err("it is no text, or longer than 1 MiB".to_owned()),
        None => Ok(Vec::new()),
    }
}

/// - `items`: of GDAL's metadata; an error if they cannot be read, and then no scale is known
fn bands(directory: &Directory<'_>, page: &Page, items: Result<&[metadata::Item], &String>) -> Vec<BandInfo> {
    let (scale, offset) = if items.is_ok() { (1.0, 0.0) } else { (f64::NAN, f64::NAN) };
    let extra = directory.unsigned_list(tag::EXTRA_SAMPLES).unwrap_or_default();
    let num_bands = page.num_bands;
    let mut bands: Vec<BandInfo> = (0..num_bands)
        .map(|band| BandInfo {
            colour: colour(page, band, &extra).to_owned(),
            description: None,
            scale,
            offset,
            unit: None,
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
fn colour(page: &Page, band: u16, extra: &[u64]) -> &'static str {
    let num_bands = page.num_bands;
    let colours: &[&str] = match page.photometric {
        // GDAL shows two values as a palette of black and white.
        Photometric::MinIsWhite | Photometric::MinIsBlack if page.stored_bits == 1 => &["palette"],
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
