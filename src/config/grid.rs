//! `[tiles]`, as far as it says how scenes are cut into windows.

use std::num::NonZeroU32;

use super::settings::{Setting, Settings};
use super::value::{FromSetting, Ratio};
use crate::formats::reader::TileGrid;
use crate::scene::skip::Clouds;
use crate::scene::{
    FrameChoice, FrameTiling, Metres, Microns, NodataSetting, Preset, Resolution, ValueWindow,
};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::sample::converts;

/// The keys that say something of medical images alone.
const FRAME_KEYS: [&str; 3] = ["tiles.frames", "dicom.preset", "dicom.window"];

/// The keys that say something of windows alone.
const KEYS: [&str; 17] = [
    "tiles.size",
    "tiles.stride",
    "tiles.gsd",
    "tiles.mpp",
    "tiles.level",
    "tiles.aoi",
    "tiles.bands",
    "tiles.unit",
    "tiles.scale",
    "tiles.offset",
    "tiles.nodata",
    "tiles.min_valid_fraction",
    "tiles.cloud_band",
    "tiles.cloud_values",
    "tiles.cloud_bits",
    "tiles.max_cloud_fraction",
    "tiles.cell_km",
];

/// How scenes are cut into windows, and what their samples mean.
#[derive(Clone, Debug, PartialEq)]
pub struct TilesSection {
    /// Width and height of a window, in pixels of `resolution`; `None`: the model's.
    pub size: Option<NonZeroU32>,
    /// From one window to the next, in pixels of `resolution`; `None`: as `size`.
    pub stride: Option<NonZeroU32>,
    /// How large the pixels of a window are.
    pub resolution: Resolution,
    /// A `GeoJSON` file, or `west,south,east,north` in degrees.
    pub aoi: Option<String>,
    /// Names or numbers (from 1) of the bands; empty: those of the contract.
    pub bands: Vec<String>,
    /// What the values mean that the model gets; `None`: what the contract says.
    pub unit: Option<String>,
    /// Factors of the samples: none, one, or one per band.
    pub scale: Vec<f64>,
    /// Added after that: none, one, or one per band.
    pub offset: Vec<f64>,
    /// Which sample means no data.
    pub nodata: NodataSetting,
    /// Windows with a smaller share of valid pixels are skipped.
    pub min_valid_fraction: f64,
    /// Which windows are left out for their clouds.
    pub clouds: Option<Clouds>,
    /// Spacing of the global grid, in kilometres.
    pub cell_km: NonZeroU32,
}

/// How sources become tiles.
#[derive(Clone, Debug, PartialEq)]
pub enum Grid {
    /// Each is one tile.
    Whole,
    /// Scenes are cut into windows.
    Windows(Box<TilesSection>),
    /// Frames of medical images are tiles.
    Frames(FrameTiling),
}

impl Grid {
    /// Returns which of them it is.
    #[must_use]
    pub fn kind(&self) -> TileGrid {
        match self {
            Self::Whole => TileGrid::Whole,
            Self::Windows(_) => TileGrid::Regular,
            Self::Frames(_) => TileGrid::Frames,
        }
    }

    /// Returns how scenes are cut, if they are.
    #[must_use]
    pub fn windows(&self) -> Option<&TilesSection> {
        if let Self::Windows(windows) = self { Some(windows) } else { None }
    }
}

/// Reads how sources become tiles.
pub(super) fn grid(settings: &Settings) -> Result<Grid> {
    let grids = [TileGrid::Whole, TileGrid::Regular, TileGrid::Frames].map(|grid| (grid.name(), grid));
    let grid = settings.choice("tiles.grid", &grids)?;
    if grid != TileGrid::Regular {
        refuse_idle(settings, &KEYS, grid, TileGrid::Regular)?;
    }
    if grid != TileGrid::Frames {
        refuse_idle(settings, &FRAME_KEYS, grid, TileGrid::Frames)?;
    }
    match grid {
        TileGrid::Whole => Ok(Grid::Whole),
        TileGrid::Regular => windows(settings).map(|windows| Grid::Windows(Box::new(windows))),
        TileGrid::Frames => frames(settings).map(Grid::Frames),
    }
}

/// Reads how frames of medical images become tiles, whether they do or not.
pub(super) fn frames(settings: &Settings) -> Result<FrameTiling> {
    Ok(FrameTiling { frames: settings.read("tiles.frames")?, preset: preset(settings)? })
}

/// Reads how stored values become the model's input.
fn preset(settings: &Settings) -> Result<Preset> {
    let windows = settings.read::<Windows>("dicom.window")?.0;
    let has_windows = !windows.is_empty();
    let presets = Preset::all(windows);
    let preset =
        settings.choice("dicom.preset", &presets.each_ref().map(|preset| (preset.name(), preset)))?;
    match (preset, has_windows) {
        (Preset::CtWindow(_), false) => {
            Err(Error::config("`dicom.preset` is \"ct-window\", but `dicom.window` is not set").hint(
                "set dicom.window to centre and width, such as [-600, 1500] for lungs or [40, 400] for soft tissue",
            ))
        }
        (Preset::CtWindow(_), true) | (_, false) => Ok(preset.clone()),
        (other, true) => {
            let name = other.name();
            Err(Error::config(format!("`dicom.window` has no effect with dicom.preset = \"{name}\""))
                .hint("set dicom.preset = \"ct-window\""))
        }
    }
}

/// Centre and width of one window, or of three.
struct Windows(Vec<ValueWindow>);

impl FromSetting for Windows {
    const EXPECTED: &'static str = "a list of a centre and a width of at least 1, or of three such pairs";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let numbers = Vec::<f64>::from_setting(setting)?;
        let pairs = numbers.as_chunks::<2>();
        let windows: Vec<_> = pairs.0.iter().map(|&[centre, width]| ValueWindow { centre, width }).collect();
        let are_sound = windows.iter().all(|window| window.centre.is_finite() && window.width >= 1.0);
        (pairs.1.is_empty() && matches!(windows.len(), 0 | 1 | 3) && are_sound).then_some(Self(windows))
    }
}

impl FromSetting for FrameChoice {
    const EXPECTED: &'static str = "\"all\", \"middle\", \"every:N\", or a list of frames, counted from 0";

    fn from_setting(setting: &Setting) -> Option<Self> {
        if let Some(choice) = setting.value.as_str().and_then(Self::parse) {
            return Some(choice);
        }
        let frames = Vec::<u32>::from_setting(setting)?;
        (!frames.is_empty()).then(|| Self::list(frames))
    }
}

/// Reads how scenes are cut into windows, whether they are or not.
pub(super) fn windows(settings: &Settings) -> Result<TilesSection> {
    Ok(TilesSection {
        size: settings.read::<Length>("tiles.size")?.0,
        stride: settings.read::<Length>("tiles.stride")?.0,
        resolution: resolution(settings)?,
        aoi: settings.read("tiles.aoi")?,
        bands: settings.read::<Names>("tiles.bands")?.0,
        unit: settings.read::<Option<String>>("tiles.unit")?.filter(|unit| unit != "contract"),
        scale: settings.read::<Factors>("tiles.scale")?.0,
        offset: settings.read::<Summands>("tiles.offset")?.0,
        nodata: settings.read("tiles.nodata")?,
        min_valid_fraction: settings.read::<Ratio>("tiles.min_valid_fraction")?.0,
        clouds: clouds(settings)?,
        cell_km: settings.read::<CellSpacing>("tiles.cell_km")?.0,
    })
}

/// Refuses what would have no effect.
///
/// - `keys`: those that are for another grid
fn refuse_idle(settings: &Settings, keys: &[&str], grid: TileGrid, other: TileGrid) -> Result<()> {
    let defaults = Settings::defaults();
    let idle = keys.iter().find(|name| settings.get(name).value != defaults.get(name).value);
    let Some(setting) = idle.map(|name| settings.get(name)) else { return Ok(()) };
    let what = if other == TileGrid::Frames { "frames of medical images" } else { "windows" };
    let (because, hint) = (grid.meaning(), other.meaning());
    Err(Error::config(format!("`{}` ({}) is for {what}", setting.name(), setting.origin))
        .because(format!("`tiles.grid` is \"{}\": {because}", grid.name()))
        .hint(format!("set tiles.grid = \"{}\": {hint}", other.name())))
}

/// Reads how large pixels are to be: one of three keys says it.
fn resolution(settings: &Settings) -> Result<Resolution> {
    let gsd = settings.read::<Gsd>("tiles.gsd")?.0.map(Resolution::Ground);
    let mpp = settings.read::<Mpp>("tiles.mpp")?.0.map(Resolution::Slide);
    let level = Some(settings.read::<u32>("tiles.level")?).filter(|level| *level > 0).map(Resolution::Level);
    let mut asked = [gsd, mpp, level].into_iter().flatten();
    match (asked.next(), asked.next()) {
        (Some(one), Some(other)) => {
            Err(Error::config(format!("{one} and {other} ask for different resolutions"))
                .hint("set one of tiles.gsd and tiles.level"))
        }
        (Some(Resolution::Slide(_)), None) => {
            Err(Error::config("`tiles.mpp` is for slides, which this version does not read")
                .hint("set tiles.gsd, in metres per pixel, or tiles.level"))
        }
        (asked, _) => Ok(asked.unwrap_or_default()),
    }
}

fn clouds(settings: &Settings) -> Result<Option<Clouds>> {
    let values = settings.read::<Vec<u32>>("tiles.cloud_values")?;
    let bits = settings.read::<Vec<u32>>("tiles.cloud_bits")?;
    let max_fraction = settings.read::<Ratio>("tiles.max_cloud_fraction")?.0;
    let Some(band) = settings.read::<Option<String>>("tiles.cloud_band")? else {
        if values.is_empty() && bits.is_empty() && max_fraction >= 1.0 {
            return Ok(None);
        }
        return Err(Error::config(
            "`tiles.cloud_values`, `tiles.cloud_bits` or `tiles.max_cloud_fraction` is \
             set, but not `tiles.cloud_band`",
        )
        .hint("set tiles.cloud_band to the band that marks clouds, such as \"scl\""));
    };
    if values.is_empty() && bits.is_empty() {
        return Err(Error::config(format!("`tiles.cloud_band` is \"{band}\", but neither `tiles.cloud_values` \
             nor `tiles.cloud_bits` is set"))
            .hint("set tiles.cloud_values, such as [3, 8, 9, 10] for Sentinel-2's scl, or tiles.cloud_bits, such as [1, 3, 4] for Landsat's qa_pixel"));
    }
    if let Some(bit) = bits.iter().find(|bit| **bit > 31) {
        return Err(Error::config(format!("`tiles.cloud_bits` has {bit}")).hint("bits count from 0 to 31"));
    }
    Ok(Some(Clouds { band, values, bits, max_fraction }))
}

/// A number of pixels, or a word for what follows from elsewhere.
struct Length(Option<NonZeroU32>);

impl FromSetting for Length {
    const EXPECTED: &'static str = "a number of pixels from 1 to 65535, or its default";

    fn from_setting(setting: &Setting) -> Option<Self> {
        if let Some("contract" | "size") = setting.value.as_str() {
            return Some(Self(None));
        }
        let pixels = u32::from_setting(setting).filter(|pixels| *pixels <= 65_535)?;
        NonZeroU32::new(pixels).map(|pixels| Self(Some(pixels)))
    }
}

/// Metres per pixel.
struct Gsd(Option<Metres>);

impl FromSetting for Gsd {
    const EXPECTED: &'static str = "\"native\", or a number of metres per pixel above 0";

    fn from_setting(setting: &Setting) -> Option<Self> {
        pixel_length(setting, |length| Self(length.map(Metres)))
    }
}

/// Microns per pixel.
struct Mpp(Option<Microns>);

impl FromSetting for Mpp {
    const EXPECTED: &'static str = "\"native\", or a number of microns per pixel above 0";

    fn from_setting(setting: &Setting) -> Option<Self> {
        pixel_length(setting, |length| Self(length.map(Microns)))
    }
}

/// Reads the length of a pixel's edge, in whatever unit.
///
/// - `asked`: makes a setting of the length; `None`: as stored
fn pixel_length<T>(setting: &Setting, asked: impl FnOnce(Option<f64>) -> T) -> Option<T> {
    if setting.value.as_str() == Some("native") {
        return Some(asked(None));
    }
    f64::from_setting(setting).filter(|length| *length > 0.0).map(|length| asked(Some(length)))
}

/// Names and numbers of bands.
struct Names(Vec<String>);

impl FromSetting for Names {
    const EXPECTED: &'static str = "a list of names or numbers of bands";

    fn from_setting(setting: &Setting) -> Option<Self> {
        use toml::Value;
        let name = |value: &Value| match value {
            Value::String(name) => Some(name.clone()),
            Value::Integer(number) => Some(number.to_string()),
            _ => None,
        };
        match &setting.value {
            Value::Array(items) => items.iter().map(name).collect::<Option<_>>().map(Self),
            single => name(single).map(|name| Self(vec![name])),
        }
    }
}

/// Factors of samples.
struct Factors(Vec<f64>);

impl FromSetting for Factors {
    const EXPECTED: &'static str = "a number other than 0, or a list of them";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let factors = Vec::<f64>::from_setting(setting)?;
        factors.iter().all(|factor| converts(*factor, 0.0)).then_some(Self(factors))
    }
}

/// Summands of samples.
struct Summands(Vec<f64>);

impl FromSetting for Summands {
    const EXPECTED: &'static str = "a number that fits a 32-bit float, or a list of them";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let summands = Vec::<f64>::from_setting(setting)?;
        summands.iter().all(|summand| converts(1.0, *summand)).then_some(Self(summands))
    }
}

impl FromSetting for NodataSetting {
    const EXPECTED: &'static str = "\"file\", \"none\" or a number";

    fn from_setting(setting: &Setting) -> Option<Self> {
        match setting.value.as_str() {
            Some("file") => Some(Self::File),
            Some("none") => Some(Self::None),
            Some("nan") => Some(Self::Value(f64::NAN)),
            _ => f64::from_setting(setting).map(Self::Value),
        }
    }
}

struct CellSpacing(NonZeroU32);

impl FromSetting for CellSpacing {
    const EXPECTED: &'static str = "a whole number of kilometres from 1 to 1000";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let km = u32::from_setting(setting).filter(|km| *km <= 1000)?;
        NonZeroU32::new(km).map(Self)
    }
}

impl FromSetting for u32 {
    const EXPECTED: &'static str = "a whole number of at least 0";

    fn from_setting(setting: &Setting) -> Option<Self> {
        setting.value.as_integer()?.try_into().ok()
    }
}

impl FromSetting for Vec<u32> {
    const EXPECTED: &'static str = "a list of whole numbers of at least 0";

    fn from_setting(setting: &Setting) -> Option<Self> {
        let number = |value: &toml::Value| value.as_integer()?.try_into().ok();
        match &setting.value {
            toml::Value::Array(items) => items.iter().map(number).collect(),
            single => number(single).map(|number| vec![number]),
        }
    }
}

impl FromSetting for f64 {
    const EXPECTED: &'static str = "a finite number";

    fn from_setting(setting: &Setting) -> Option<Self> {
        number(&setting.value)
    }
}

impl FromSetting for Vec<f64> {
    const EXPECTED: &'static str = "a finite number, or a list of them";

    fn from_setting(setting: &Setting) -> Option<Self> {
        match &setting.value {
            toml::Value::Array(items) => items.iter().map(number).collect(),
            single => number(single).map(|number| vec![number]),
        }
    }
}

fn number(value: &toml::Value) -> Option<f64> {
    let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))?;
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::looking;

    fn read(settings: &[&str]) -> Result<Resolution> {
        let mut overrides = vec!["tiles.grid=regular".to_owned()];
        overrides.extend(settings.iter().map(|&setting| setting.to_owned()));
        looking(&overrides).map(|options| options.grid.windows().expect("scenes are cut").resolution)
    }

    #[test]
    fn one_key_says_how_large_pixels_are() {
        assert_eq!(read(&[]).unwrap(), Resolution::Level(0));
        assert_eq!(read(&["tiles.gsd=native", "tiles.level=2"]).unwrap(), Resolution::Level(2));
        assert_eq!(read(&["tiles.gsd=10"]).unwrap(), Resolution::Ground(Metres(10.0)));
        let refused = |settings: &[&str]| read(settings).unwrap_err().to_string();
        let both = refused(&["tiles.gsd=10", "tiles.level=1"]);
        assert!(both.contains("`tiles.gsd` = 10 m and `tiles.level` = 1 ask for different"), "{both}");
        let slides = refused(&["tiles.mpp=0.5"]);
        assert!(slides.contains("`tiles.mpp` is for slides, which this version does not read"), "{slides}");
        for wrong in ["tiles.level=-1", "tiles.level=1.5", "tiles.gsd=0", "tiles.mpp=-1"] {
            assert!(refused(&[wrong]).contains("must be"), "{wrong}");
        }
    }
}
