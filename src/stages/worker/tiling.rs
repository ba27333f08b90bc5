//! Settles how scenes are cut: compares the pipeline's `[tiles]` with the model's contract.

use crate::config::{Grid, Limits, StacInput, TilesSection};
use crate::geo::Aoi;
use crate::input::source::ItemSpec;
use crate::input::stac;
use crate::input::stac::{Filter, Interval};
use crate::scene::{Area, FrameTiling, NodataSetting, Preset, Resolution, Tiling};
use crate::vocabulary::contract;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::identity::Naming;
use crate::vocabulary::words::counted;

/// Items of a page of a search.
const PAGE_ITEMS: u32 = 200;

/// Returns how sources are cut into tiles; `None` if every source is one tile.
///
/// # Errors
///
/// `Config` where pipeline and contract contradict each other, or the area of interest cannot be read.
pub(crate) fn resolve(grid: &Grid, model: &contract::Input) -> Result<Option<Tiling>> {
    match grid {
        Grid::Whole => Ok(None),
        Grid::Windows(windows) => {
            resolve_within(windows, || windows.aoi.as_deref().map(read_aoi).transpose(), model).map(Some)
        }
        Grid::Frames(frames) => of_frames(frames, model).map(Some),
    }
}

/// Returns how scenes are cut into windows, with an area of interest that is read once for several purposes.
///
/// - `area`: returns the area of interest
pub(crate) fn resolve_within(
    grid: &TilesSection,
    area: impl FnOnce() -> Result<Option<Area>>,
    model: &contract::Input,
) -> Result<Tiling> {
    check_unit(grid, model)?;
    let size = size(grid, model)?;
    let bands = if grid.bands.is_empty() { model.bands.clone() } else { grid.bands.clone() };
    if bands.len() != model.bands.len() {
        let (named, wanted) = (counted(bands.len() as u64, "band"), model.bands.len());
        return Err(Error::config(format!("tiles.bands names {named}, but the model takes {wanted}"))
            .because(format!("the model's bands are {}", model.bands.join(", ")))
            .hint("name one band of the scene for each, in this order"));
    }
    for (key, list) in [("scale", &grid.scale), ("offset", &grid.offset)] {
        if list.len() > 1 && list.len() != bands.len() {
            let (given, wanted) = (list.len(), counted(bands.len() as u64, "band"));
            return Err(Error::config(format!("tiles.{key} has {given} numbers for {wanted}"))
                .hint("give one number for all bands, or one per band"));
        }
    }
    let area = area()?;
    let units = (0..model.bands.len()).map(|band| model.unit_of(band).to_owned()).collect();
    Ok(of_grid(grid, size, area, bands, units))
}

/// Refuses a preset that makes other values than the model takes. A model of raw numbers (`dn`) takes any.
fn check_preset(preset: &Preset, model: &contract::Input) -> Result<()> {
    let (name, unit) = (preset.name(), &model.unit);
    let (made, others) = match (preset.is_bytes(), unit.as_str()) {
        (_, "dn") | (true, "srgb8") => return Ok(()),
        (true, _) => ("8 bits as a display shows them (srgb8)", "\"modality\" or \"xray-raw\""),
        (false, "srgb8") => ("other values", "\"display\", \"ct-window\" or \"minmax\""),
        (false, _) => return Ok(()),
    };
    Err(Error::config(format!("the model takes {unit}, but dicom.preset = \"{name}\" makes {made}"))
        .hint(format!("set dicom.preset = {others}, as the model was trained")))
}

/// Returns how frames of medical images become tiles.
///
/// # Errors
///
/// `Config` for a preset that makes other values than the model takes.
pub(crate) fn of_frames(frames: &FrameTiling, model: &contract::Input) -> Result<Tiling> {
    check_preset(&frames.preset, model)?;
    Ok(Tiling {
        size: model.width,
        stride: model.width,
        resolution: Resolution::default(),
        aoi: None,
        bands: Vec::new(),
        units: Vec::new(),
        scale: Vec::new(),
        offset: Vec::new(),
        nodata: NodataSetting::None,
        min_valid_fraction: 0.0,
        clouds: None,
        cell_km: 0,
        frames: Some(frames.clone()),
    })
}

/// Makes of `[tiles]` how scenes are cut into windows of this size.
///
/// - `units`: of the values of each band
pub(crate) fn of_grid(
    grid: &TilesSection,
    size: u32,
    aoi: Option<Area>,
    bands: Vec<String>,
    units: Vec<String>,
) -> Tiling {
    Tiling {
        size,
        stride: grid.stride.map_or(size, std::num::NonZero::get),
        resolution: grid.resolution,
        aoi,
        bands,
        units,
        scale: grid.scale.clone(),
        offset: grid.offset.clone(),
        nodata: grid.nodata,
        min_valid_fraction: grid.min_valid_fraction,
        clouds: grid.clouds.clone(),
        cell_km: grid.cell_km.get(),
        frames: None,
    }
}

fn check_unit(grid: &TilesSection, model: &contract::Input) -> Result<()> {
    match &grid.unit {
        Some(unit) if *unit != model.unit => {
            Err(Error::config(format!("the model takes {}, but tiles.unit is {unit}", model.unit))
                .hint("do not set tiles.unit, or use a model that was trained on such values"))
        }
        _ => Ok(()),
    }
}

fn size(grid: &TilesSection, model: &contract::Input) -> Result<u32> {
    if let Some(size) = grid.size {
        return Ok(size.get());
    }
    if model.width == model.height {
        return Ok(model.width);
    }
    Err(Error::config(format!(
        "the model takes {}×{} pixels, but windows are square",
        model.width, model.height
    ))
    .hint("set tiles.size"))
}

/// Reads an area of interest: a box of four numbers, or a `GeoJSON` file.
pub(crate) fn read_aoi(text: &str) -> Result<Area> {
    if text.split(',').count() == 4 || text.trim_start().starts_with('{') {
        return Ok(Area { aoi: Aoi::parse(text)?, text: text.to_owned() });
    }
    let path = text.strip_prefix("file://").unwrap_or(text);
    let json = std::fs::read_to_string(path).map_err(|cause| {
        Error::config(format!("cannot read the area of interest {path}"))
            .because(cause)
            .hint("set tiles.aoi to a local GeoJSON file, or to \"west,south,east,north\" in degrees")
    })?;
    Ok(Area { aoi: Aoi::parse(&json)?, text: json })
}

/// Returns which STAC items are taken.
///
/// - `area`: which they have to touch
/// - `naming`: how sources are named, and so what an error may say
///
/// # Errors
///
/// `Config` if dates or search are wrong.
pub(crate) fn items(
    input: &StacInput,
    limits: &Limits,
    area: Option<&Area>,
    naming: &Naming,
) -> Result<ItemSpec> {
    let StacInput { dates, max_cloud_cover, api, collections } = input;
    let limits = stac::StacLimits {
        items: limits.max_stac_items,
        documents: limits.max_stac_documents,
        ..stac::StacLimits::default()
    };
    let most = Some(f64::from(*max_cloud_cover)).filter(|most| *most < 100.0);
    let filter = Filter {
        dates: dates.as_deref().map(Interval::parse).transpose()?,
        max_cloud_cover: most,
        area: area.and_then(|area| stac::Bbox::of(&area.aoi.bbox())),
    };
    let search = api.as_ref().map(|api| stac::Search {
        api: api.clone(),
        collections: collections.clone(),
        bbox: area.map(|area| area.aoi.bbox()),
        intersects: None,
        datetime: dates.clone(),
        max_cloud_cover: most,
        limit: PAGE_ITEMS,
        max_items: limits.items,
        max_pages: limits.documents,
    });
    if let Some(search) = &search {
        search.check(naming)?;
    }
    Ok(ItemSpec { filter, search, limits })
}
