//! Which grid the windows of a scene lie on.

use crate::formats::raster::RasterFile;
use crate::geo::{GeoTags, GeoTransform, NoGeometry};
use crate::input::open::OpenRaster;
use crate::scene::{
    AxisMap, EarthPlace, Metres, Microns, PixelSize, Resolution, SceneBand, SceneObject, Tiling,
};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::{Reason, Rejection};

/// The grid of a scene's windows.
pub(super) struct Place {
    /// The object in whose pixels windows are counted.
    pub(super) reference: usize,
    /// Its level.
    pub(super) level: u32,
    /// Size of a window, in pixels of that level.
    pub(super) window: Size,
    /// From one window to the next.
    pub(super) stride: [f64; 2],
    /// Metres per pixel of the chip.
    pub(super) gsd: Option<f64>,
}

/// Describes an object by its header.
///
/// # Errors
///
/// [`Reason::Corrupt`] if a number that its place needs is not finite.
pub(super) fn object(opened: &OpenRaster) -> Result<SceneObject, Rejection> {
    let (file, reader) = (opened.file(), opened.reader());
    Ok(SceneObject {
        uri: opened.uri().identity().clone(),
        version: reader.version().cloned(),
        size_bytes: reader.size_bytes(),
        without_mask: levels_without_mask(file),
        levels: file.sizes(),
        num_frames: file.num_frames(),
        microns: file.microns(),
        earth: file.geo().map(earth).transpose()?,
    })
}

/// Records where a file says that it lies on the Earth.
fn earth(tags: &GeoTags) -> Result<EarthPlace, Rejection> {
    let epsg = tags.epsg();
    let transform = GeoTransform::from_tags(tags);
    // What a code and a transform do not need may be anything, such as the height of a pixel.
    let needed = epsg.is_none() || transform == Err(NoGeometry::Singular);
    if let Some(tag) = tags.not_finite().filter(|_| needed) {
        let detail = format!("{tag} has a number that is not finite: the scene has no georeference");
        return Err(Rejection::new(Reason::Corrupt, detail));
    }
    let tags = epsg.is_none().then(|| tags.clone());
    Ok(EarthPlace { transform: transform.ok().map(|transform| transform.0), epsg, tags })
}

fn levels_without_mask(file: &dyn RasterFile) -> Vec<usize> {
    if file.mask(0, 0).is_none() {
        return Vec::new();
    }
    (0..file.num_levels()).filter(|level| file.mask(0, *level).is_none()).collect()
}

/// Chooses the finest of the objects as reference, and the level and the size of its windows.
pub(super) fn place(
    objects: &[SceneObject],
    bands: &[SceneBand],
    rule_bands: &[SceneBand],
    tiling: &Tiling,
    notes: &mut Vec<String>,
) -> Result<Place, Rejection> {
    let reference = finest(objects, bands);
    for band in bands.iter().chain(rule_bands) {
        if AxisMap::between(&objects[reference], &objects[band.object]).is_none() {
            return Err(mismatch(
                "the files of its bands have grids that are not parallel, or different coordinate reference \
                 systems",
            ));
        }
    }
    let found = &objects[reference];
    let is_other = |object: &SceneObject| object.num_frames != 1 && object.num_frames != found.num_frames;
    if bands.iter().chain(rule_bands).any(|band| is_other(&objects[band.object])) {
        return Err(mismatch("the files of its bands have different numbers of frames"));
    }
    let (column, row) = (f64::from(found.size().width) / 2.0, f64::from(found.size().height) / 2.0);
    let georeference = match found.georeference() {
        Ok(place) => Some(place),
        Err(why) if tiling.aoi.is_some() => {
            return Err(mismatch(&format!("it is not known whether it touches the area of interest: {why}")));
        }
        Err(why) => {
            notes.push(format!("no geometry: {why}"));
            None
        }
    };
    let native = georeference.as_ref().and_then(|place| place.ground_sample_distance(column, row).ok());
    let native = native.filter(|metres| metres.is_finite() && *metres > 0.0);
    let ground = georeference.and_then(|place| place.pixel(column, row).ok());
    let pixel = PixelSize {
        ground: ground.map(|edges| edges.map(Metres)),
        slide: found.microns.map(|edges| edges.map(Microns)),
    };
    let read = tiling.resolution.choose(found, pixel)?;
    if read.is_upsampled {
        notes.push(format!("pixels are upsampled: they are larger than {}", tiling.resolution.amount()));
    }
    let [across, down] = read.pixels;
    let side = |pixels: f64| ((f64::from(tiling.size) * pixels).round() as u32).max(1);
    let stride = |pixels: f64| (f64::from(tiling.stride) * pixels).max(1.0);
    Ok(Place {
        reference,
        level: read.level as u32,
        window: Size::new(side(across), side(down)),
        stride: [stride(across), stride(down)],
        gsd: ground_distance(tiling.resolution, native, read.full_pixels),
    })
}

/// Returns how many metres a pixel of the chip is on the ground.
///
/// - `native`: one of level 0
fn ground_distance(asked: Resolution, native: Option<f64>, [across, down]: [f64; 2]) -> Option<f64> {
    match asked {
        Resolution::Ground(Metres(metres)) => Some(metres),
        Resolution::Slide(_) | Resolution::Level(_) => native.map(|metres| metres * (across * down).sqrt()),
    }
}

/// Returns the object with the smallest pixels; without georeference the one with the most.
fn finest(objects: &[SceneObject], bands: &[SceneBand]) -> usize {
    let mut best = bands[0].object;
    for band in bands {
        let finer = AxisMap::between(&objects[best], &objects[band.object])
            .is_some_and(|map| map.across_factor() > 1.0 + 1e-9);
        if finer {
            best = band.object;
        }
    }
    best
}

fn mismatch(detail: &str) -> Rejection {
    Rejection::new(Reason::GridMismatch, detail)
}
