//! Which grid the windows of a scene lie on.

use super::Opened;
use crate::geo::{Crs, GeoTransform};
use crate::geometry::Size;
use crate::reason::{Reason, Rejection};
use crate::scene::{AxisMap, SceneBand, SceneObject, Tiling};

/// The grid of a scene's windows.
pub(super) struct Place {
    /// The object in whose pixels windows are counted.
    pub(super) reference: usize,
    /// Its level.
    pub(super) level: u32,
    /// Size of a window, in pixels of that level.
    pub(super) window: Size,
    /// From one window to the next.
    pub(super) stride: f64,
    /// Metres a pixel of the chip.
    pub(super) gsd: Option<f64>,
}

/// Describes an object by its header.
pub(super) fn object(opened: &Opened) -> SceneObject {
    let tags = &opened.header.geo;
    let crs = Crs::from_tags(tags).ok();
    let epsg = crs.as_ref().and_then(Crs::epsg);
    SceneObject {
        uri: opened.uri.to_string().into(),
        version: opened.version.clone(),
        size_bytes: opened.size_bytes,
        levels: opened.header.levels.iter().map(|level| level.pixels.size).collect(),
        transform: GeoTransform::from_tags(tags).ok().map(|transform| transform.0),
        epsg,
        tags: (crs.is_some() && epsg.is_none()).then(|| tags.clone()),
    }
}

/// Chooses the finest of the objects as reference, and the level and the size of its windows.
pub(super) fn place(
    objects: &[SceneObject],
    bands: &[SceneBand],
    clouds: Option<&SceneBand>,
    tiling: &Tiling,
    notes: &mut Vec<String>,
) -> Result<Place, Rejection> {
    let reference = finest(objects, bands);
    for band in bands.iter().chain(clouds) {
        if AxisMap::between(&objects[reference], &objects[band.object]).is_none() {
            return Err(mismatch(
                "the files of its bands lie on grids that are not parallel, or in different coordinate \
                 reference systems",
            ));
        }
    }
    let found = &objects[reference];
    let native = match found.georeference() {
        Ok(place) => {
            let (column, row) = (f64::from(found.size().width) / 2.0, f64::from(found.size().height) / 2.0);
            place.ground_sample_distance(column, row).ok()
        }
        Err(why) => {
            notes.push(format!("no geometry: {why}"));
            None
        }
    };
    // Pixels of level 0 that one of the chip is wide.
    let pixels = match (tiling.gsd, native) {
        (None, _) => 1.0,
        (Some(gsd), Some(native)) => gsd / native,
        (Some(gsd), None) => {
            return Err(mismatch(&format!(
                "{gsd} metres a pixel are asked for, and the scene does not say how large its are"
            )));
        }
    };
    if pixels < 1.0 - 1e-6 {
        notes.push(format!("pixels are repeated: they are larger than {} m", tiling.gsd.unwrap_or_default()));
    }
    let level = found.level_for(pixels);
    let scale = f64::from(found.size().width) / f64::from(found.levels[level].width);
    let side = ((f64::from(tiling.size) * pixels / scale).round() as u32).max(1);
    Ok(Place {
        reference,
        level: level as u32,
        window: Size::new(side, side),
        stride: (f64::from(tiling.stride) * pixels / scale).max(1.0),
        gsd: tiling.gsd.or(native),
    })
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
