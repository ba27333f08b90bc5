//! Where the windows of a shard lie on the Earth.

use std::sync::Arc;

use crate::geo::{self, Georeference};
use crate::output::Tile;
use crate::scene::Scene;
use crate::scene::skip::Measured;
use crate::vocabulary::outcome::GeoRow;
use crate::vocabulary::reason::Reason;

/// Locates windows; those of one scene after the other share its georeference.
pub(super) struct GeoRows {
    cell_km: Option<u32>,
    last: Option<(Arc<Scene>, Option<Georeference>)>,
}

impl GeoRows {
    /// - `cell_km`: spacing of the global grid; `None`: tiles are no windows of scenes
    pub(super) fn new(cell_km: Option<u32>) -> Self {
        Self { cell_km, last: None }
    }

    /// Returns what a row says about its place.
    ///
    /// - `measured`: shares of valid pixels and of clouds
    pub(super) fn row(&mut self, tile: &Tile, measured: Option<&Measured>) -> Option<Box<GeoRow>> {
        let cell_km = self.cell_km?;
        let scene = tile.source.scene()?;
        let share = |reason| measured.and_then(|measured| measured.share(reason));
        let mut row = GeoRow {
            epsg: scene.reference().earth.as_ref().and_then(|earth| earth.epsg),
            datetime: scene.datetime,
            gsd: scene.gsd,
            valid_fraction: share(Reason::Nodata),
            cloud_fraction: share(Reason::Clouds),
            ..GeoRow::default()
        };
        let footprint = self.place(scene).zip(tile.window);
        let footprint = footprint.and_then(|(place, window)| scene.footprint(place, window).ok());
        if let Some(footprint) = footprint {
            let [longitude, latitude] = footprint.centre();
            row.geometry = Some(footprint.wkb());
            row.bbox = Some(footprint.bbox());
            row.centre = Some([longitude, latitude]);
            row.cell = Some(geo::cell(longitude, latitude, cell_km.into()));
        }
        Some(Box::new(row))
    }

    fn place(&mut self, scene: &Arc<Scene>) -> Option<&Georeference> {
        if self.last.as_ref().is_none_or(|(last, _)| !Arc::ptr_eq(last, scene)) {
            self.last = Some((scene.clone(), scene.reference().georeference().ok()));
        }
        self.last.as_ref().and_then(|(_, place)| place.as_ref())
    }
}
