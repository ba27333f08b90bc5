//! Which bands of which files become the bands of the model's input, and what their samples mean.

use crate::formats::raster::{BandInfo, BlockGrid, NodataValue, Photometric, RasterFile, ValueMapping};
use crate::input::stac;
use crate::input::stac::sentinel2;
use crate::input::stac::sentinel2::{Calibration, calibration_to};
use crate::input::stac::{Item, Selected};
use crate::scene::{FrameValues, NodataSetting, SceneBand, Tiling};
use crate::vocabulary::identity::SourceUri;
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::sample::{SampleKind, converts};

/// Units whose values are the stored samples of 8 bits.
const DISPLAY_UNITS: [&str; 2] = ["srgb8", "tci8"];
/// The unit whose values are the stored samples, whatever they are.
const STORED_UNIT: &str = "dn";

/// The files of a source, and the band of one of them for each band that is needed.
pub(super) struct Choices {
    /// Each file once.
    pub(super) uris: Vec<SourceUri>,
    /// In the order of the model's input; after them those that rules need to leave windows out, in the order of rules.
    pub(super) bands: Vec<Choice>,
    /// What was decided on the way.
    pub(super) notes: Vec<String>,
}

/// A band that is needed, as far as it is known before the file is opened.
pub(super) struct Choice {
    /// Which file.
    pub(super) object: usize,
    /// What it is called.
    name: String,
    /// Where it is found, by a STAC item.
    selected: Option<Selected>,
}

/// One frame of a file.
#[derive(Clone, Copy)]
struct Frame<'a> {
    file: &'a dyn RasterFile,
    /// From 0.
    number: u32,
}

/// Looks for all bands in one file.
pub(super) fn whole_file(uri: &SourceUri, tiling: &Tiling) -> Choices {
    let choice = |name: String| Choice { object: 0, name, selected: None };
    let bands = needed(tiling).into_iter().map(choice).collect();
    Choices { uris: vec![uri.clone()], bands, notes: Vec::new() }
}

/// Looks for all bands among the assets of an item.
pub(super) fn of_item(item: &Item, tiling: &Tiling) -> Result<Choices, Rejection> {
    let names = needed(tiling);
    let naming = item.uri.naming();
    let unusable = |problem: stac::Problem| mismatch(naming.quote(&problem.to_string()));
    let selected = stac::select(item, &names).map_err(unusable)?;
    let mut choices = Choices { uris: Vec::new(), bands: Vec::new(), notes: Vec::new() };
    for (name, selected) in names.into_iter().zip(selected) {
        let uri = item.assets[selected.asset].uri(None).map_err(unusable)?;
        let uri = uri.named(naming).identity().clone();
        let object = choices.uris.iter().position(|known| *known == uri).unwrap_or(choices.uris.len());
        if object == choices.uris.len() {
            choices.uris.push(uri);
        }
        choices.bands.push(Choice { object, name, selected: Some(selected) });
    }
    Ok(choices)
}

/// A file of a STAC item that a run reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenAsset {
    /// Where it lies.
    pub uri: SourceUri,
    /// Its keys in the item: of several, each has the same address.
    pub keys: Vec<String>,
    /// The bands that are taken from it, as they were asked for.
    pub bands: Vec<String>,
}

/// Returns the files of an item that a run with this tiling reads, each once.
///
/// # Errors
///
/// [`Reason::BandsMismatch`] if the item does not say which file holds a band, or nothing can be read there.
pub fn chosen_assets(item: &Item, tiling: &Tiling) -> Result<Vec<ChosenAsset>, Rejection> {
    let Choices { uris, bands, .. } = of_item(item, tiling)?;
    let chosen = |(object, uri): (usize, SourceUri)| {
        let here = || bands.iter().filter(|choice| choice.object == object);
        let mut keys: Vec<String> =
            here().filter_map(|choice| Some(choice.selected.as_ref()?.key.clone())).collect();
        keys.dedup();
        ChosenAsset { uri, keys, bands: here().map(|choice| choice.name.clone()).collect() }
    };
    Ok(uris.into_iter().enumerate().map(chosen).collect())
}

/// Returns the names of the model's bands, then of those that rules need to leave windows out.
fn needed(tiling: &Tiling) -> Vec<String> {
    let rules = tiling.skip_rules();
    tiling.bands.iter().map(String::as_str).chain(rules.bands()).map(str::to_owned).collect()
}

fn mismatch(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::BandsMismatch, detail)
}

impl Choice {
    /// Returns which band of its file it is, from 0.
    fn index(&self, file: &dyn RasterFile) -> Result<u16, Rejection> {
        let index = match &self.selected {
            Some(selected) if selected.described || selected.band > 0 => selected.band,
            Some(_) if file.bands(0).len() == 1 => 0,
            Some(_) => {
                let found = file.bands(0).len();
                return Err(mismatch(format!(
                    "the file of band {0} has {found} bands; name one of them, such as {0}/1",
                    self.name
                )));
            }
            None => self.index_by_name(file.bands(0))?,
        };
        if index >= file.bands(0).len() {
            let found = file.bands(0).len();
            return Err(mismatch(format!(
                "band {} is number {} of its file, which has {found}",
                self.name,
                index + 1
            )));
        }
        Ok(index as u16)
    }

    /// Finds a band by its number, its description or the colour that the file says it shows.
    fn index_by_name(&self, bands: &[BandInfo]) -> Result<usize, Rejection> {
        if let Some(number) = self.name.parse::<usize>().ok().filter(|number| *number > 0) {
            return Ok(number - 1);
        }
        let named = |band: &BandInfo| {
            let description =
                band.description.as_deref().is_some_and(|text| self.name.eq_ignore_ascii_case(text));
            description || self.name.eq_ignore_ascii_case(&band.colour)
        };
        let mut found = bands.iter().enumerate().filter(|(_, band)| named(band)).map(|(index, _)| index);
        match (found.next(), found.next()) {
            (Some(index), None) => Ok(index),
            (Some(_), Some(_)) => Err(mismatch(format!("several bands have the name {}", self.name))),
            (None, _) => {
                let list = bands.iter().map(|band| band.description.as_deref().unwrap_or(&band.colour));
                let list = list.collect::<Vec<_>>().join(", ");
                Err(mismatch(format!(
                    "no band has the name {}, the bands are {list}; name them by number with tiles.bands",
                    self.name
                )))
            }
        }
    }

    /// Takes the samples of a band as they are stored, as rules do.
    pub(super) fn stored(&self, file: &dyn RasterFile) -> Result<SceneBand, Rejection> {
        let (object, band) = (self.object, self.index(file)?);
        let (shown, nodata, frames) = (false, None, Vec::new());
        Ok(SceneBand { object, band, scale: 1.0, offset: 0.0, shown, nodata, frames })
    }

    /// Decides what the samples of a band mean, frame by frame.
    ///
    /// - `place`: which band of the model's input it becomes
    /// - `notes`: takes what is decided of the first frame
    pub(super) fn resolve(
        &self,
        place: usize,
        file: &dyn RasterFile,
        tiling: &Tiling,
        item: Option<&Item>,
        notes: &mut Vec<String>,
    ) -> Result<SceneBand, Rejection> {
        let first = self.resolve_in(Frame { file, number: 0 }, place, tiling, item, notes)?;
        let mut frames = Vec::new();
        for number in 1..file.num_frames() {
            let other = self.resolve_in(Frame { file, number }, place, tiling, item, &mut Vec::new())?;
            if other != first {
                let SceneBand { scale, offset, nodata, .. } = other;
                frames.push(FrameValues { frame: number, scale, offset, nodata });
            }
        }
        Ok(SceneBand { frames, ..first })
    }

    /// Decides what the samples of a band mean in one frame.
    fn resolve_in(
        &self,
        frame: Frame<'_>,
        place: usize,
        tiling: &Tiling,
        item: Option<&Item>,
        notes: &mut Vec<String>,
    ) -> Result<SceneBand, Rejection> {
        let band = self.index(frame.file)?;
        let (scale, offset) = self.conversion(place, band, frame, tiling, item, notes)?;
        if !converts(scale, offset) {
            let detail = format!(
                "band {}: value = sample × {scale} + {offset} is not a conversion; set tiles.scale and \
                 tiles.offset",
                self.name
            );
            return Err(Rejection::new(Reason::UnitMismatch, detail));
        }
        let shown = DISPLAY_UNITS.contains(&tiling.units[place].as_str()) && (scale, offset) != (1.0, 0.0);
        let nodata = self.nodata(frame, tiling, notes)?;
        Ok(SceneBand { object: self.object, band, scale, offset, shown, nodata, frames: Vec::new() })
    }

    /// Returns the sample that stands for no data, as the samples' type has it. NaN always does. A mask or an alpha
    /// band leaves no room for one, unless the pipeline names it.
    fn nodata(
        &self,
        Frame { file, number }: Frame<'_>,
        tiling: &Tiling,
        notes: &mut Vec<String>,
    ) -> Result<Option<f64>, Rejection> {
        let said = self.selected.as_ref().and_then(|selected| selected.details.nodata);
        let kind = file.pixels(0, 0).stored.kind;
        let value = match tiling.nodata {
            NodataSetting::None => return Ok(None),
            NodataSetting::Value(value) => Some(value),
            NodataSetting::File if file.validity(number, 0).is_masked() => return Ok(None),
            NodataSetting::File => said,
        };
        let stored = value.and_then(|value| NodataValue::of(value).of_kind(kind));
        if let Some(value) = value.filter(|value| !value.is_nan()) {
            match stored {
                None => {
                    notes.push(format!("band {}: nodata {value} cannot occur in {kind} samples", self.name));
                }
                Some(stored) if !kind.is_float() && stored.value.to_bits() != (value + 0.0).to_bits() => {
                    notes.push(format!("band {}: nodata {value} is read as {}", self.name, stored.value));
                }
                Some(_) => {}
            }
        }
        let in_file = file.nodata(number).filter(|_| tiling.nodata == NodataSetting::File);
        match stored.or(in_file) {
            Some(nodata) if !nodata.is_exact() => {
                let detail = format!(
                    "band {}: nodata {} cannot be distinguished from neighbouring values in {kind} samples; \
                     set tiles.nodata",
                    self.name,
                    nodata.integer.unwrap_or_default()
                );
                Err(Rejection::new(Reason::UnitMismatch, detail))
            }
            nodata => Ok(nodata.map(|nodata| nodata.value).filter(|value| !value.is_nan())),
        }
    }

    /// Returns factor and summand from samples to values of the model's unit.
    fn conversion(
        &self,
        place: usize,
        band: u16,
        Frame { file, number }: Frame<'_>,
        tiling: &Tiling,
        item: Option<&Item>,
        notes: &mut Vec<String>,
    ) -> Result<(f64, f64), Rejection> {
        let of = |list: &[f64]| list.get(place).or(list.first().filter(|_| list.len() == 1)).copied();
        let page = file.pixels(0, 0);
        let (unit, kind) = (tiling.units[place].as_str(), page.stored.kind);
        if DISPLAY_UNITS.contains(&unit) && kind != SampleKind::U8 {
            let detail = format!(
                "the model takes {unit}, band {} has {kind} samples, which are not scaled automatically: use \
                 the 8-bit picture if the archive has one, make one (gdal_translate -ot Byte -scale), or use \
                 a model of stored samples (tilefleet model build --input-type float32 --unit dn)",
                self.name
            );
            return Err(Rejection::new(Reason::BitDepthMismatch, detail));
        }
        if DISPLAY_UNITS.contains(&unit) && page.stored.photometric == Photometric::Palette {
            return Err(mismatch(format!("the model takes {unit}, band {} has palette indices", self.name)));
        }
        if DISPLAY_UNITS.contains(&unit) {
            return Ok(shown(page, band));
        }
        let asked = (of(&tiling.scale), of(&tiling.offset));
        if let (Some(scale), Some(offset)) = asked {
            return Ok((scale, offset));
        }
        let in_file = file.values(number, band);
        let said = self.said(unit, item, in_file, asked.1, notes)?;
        let said =
            if unit == STORED_UNIT && said == Some((1.0, 0.0)) { Some(numbers(page, band)) } else { said };
        match (asked, said) {
            ((None, offset), Some(said)) => Ok((said.0, offset.unwrap_or(said.1))),
            // The sample that means 0 stays the same.
            ((Some(scale), None), Some(said)) => Ok((scale, scale / said.0 * said.1)),
            ((Some(scale), offset), _) => Ok((scale, offset.unwrap_or(0.0))),
            ((None, _), None) => {
                let detail = format!(
                    "the model takes {unit}, band {} has {kind} samples without scale and offset; set \
                     tiles.scale and tiles.offset",
                    self.name
                );
                Err(Rejection::new(Reason::UnitMismatch, detail))
            }
        }
    }

    /// Returns factor and summand as the item says, else the file; Sentinel-2's offset depends on the archive and
    /// the baseline.
    ///
    /// - `offset`: as the pipeline says
    fn said(
        &self,
        unit: &str,
        item: Option<&Item>,
        in_file: &ValueMapping,
        offset: Option<f64>,
        notes: &mut Vec<String>,
    ) -> Result<Option<(f64, f64)>, Rejection> {
        let by_item = match (item, &self.selected) {
            (Some(item), Some(selected)) => calibration_to(unit, item, selected),
            _ => Ok(None),
        };
        match (by_item, offset) {
            (Ok(Some(Calibration { scale, offset, why })), _) => {
                if !notes.contains(&why) {
                    notes.push(why);
                }
                Ok(Some((scale, offset)))
            }
            (Ok(None), _) if unit == STORED_UNIT => Ok(Some((1.0, 0.0))),
            (Ok(None), _) => Ok(conversion_of(in_file)),
            // What is unclear of Sentinel-2 is the offset alone, and that is given.
            (Err(_), Some(offset)) => Ok(Some((sentinel2::scale_to(unit), offset))),
            (Err(problem), None) => Err(Rejection::new(Reason::UnitMismatch, problem.with_advice())),
        }
    }
}

/// Tells whether a band is white where it is 0: of grey and what stands beside it the first (TIFF 6.0, tag 262).
fn is_white_at_0(page: &BlockGrid, band: u16) -> bool {
    page.stored.photometric == Photometric::MinIsWhite && band == 0
}

/// Returns factor and summand from samples of up to 8 bits to what a viewer shows, as of a whole image.
fn shown(page: &BlockGrid, band: u16) -> (f64, f64) {
    let most = f64::from((1_u32 << page.stored.stored_bits.min(8)) - 1);
    if is_white_at_0(page, band) { (-255.0 / most, 255.0) } else { (255.0 / most, 0.0) }
}

/// Returns factor and summand from samples to numbers that grow with brightness, as of a whole image.
fn numbers(page: &BlockGrid, band: u16) -> (f64, f64) {
    use SampleKind::{F32, F64, I8, I16, I32, I64};
    match page.stored.kind {
        _ if !is_white_at_0(page, band) => (1.0, 0.0),
        // They have no largest value.
        F32 | F64 => (1.0, 0.0),
        I8 | I16 | I32 | I64 => (-1.0, -1.0),
        _ => (-1.0, f64::from(page.stored.stored_bits).exp2() - 1.0),
    }
}

fn conversion_of(values: &ValueMapping) -> Option<(f64, f64)> {
    let ValueMapping { scale, offset, .. } = *values;
    ((scale, offset) != (1.0, 0.0)).then_some((scale, offset))
}
