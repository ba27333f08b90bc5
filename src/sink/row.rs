//! One row of the table, before it is columns.

use std::sync::Arc;

use crate::geometry::Window;
use crate::plan::tile_id::TileId;
use crate::reason::{Reason, Rejection};

/// One tile and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TileRow {
    /// The tile's name.
    pub tile_id: TileId,
    /// Canonical URI of the source.
    pub source: Arc<str>,
    /// `ETag` or version; for a local file, size and modification time.
    pub source_version: Option<Arc<str>>,
    /// Resolution step of the source; 0 is full size.
    pub level: u32,
    /// Frame of the source; 0 where it has only one.
    pub frame: u32,
    /// Pixel rectangle at `level`; `None` for a source that is one tile.
    pub window: Option<Window>,
    /// What became of it.
    pub outcome: Outcome,
    /// Where it lies on the Earth, and how much of it is there; for windows of scenes.
    pub geo: Option<Box<GeoRow>>,
}

/// Where a window lies on the Earth, and how much of it is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeoRow {
    /// Its outline in WGS 84 longitude and latitude (OGC:CRS84), as WKB.
    pub geometry: Option<Vec<u8>>,
    /// West, south, east and north of it, in degrees.
    pub bbox: Option<[f64; 4]>,
    /// Longitude and latitude of its centre, in degrees.
    pub centre: Option<[f64; 2]>,
    /// Its coordinate reference system.
    pub epsg: Option<u32>,
    /// When it was taken, in microseconds since 1970 UTC.
    pub datetime: Option<i64>,
    /// The cell of the global grid that its centre lies in.
    pub cell: Option<String>,
    /// Share of its pixels that are valid in all bands.
    pub valid_fraction: Option<f32>,
    /// Metres a pixel of the chip.
    pub gsd: Option<f64>,
    /// Share of its pixels that are clouds.
    pub cloud_fraction: Option<f32>,
}

/// What became of a tile.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It went through the model.
    Ok {
        /// Something people may want to know, such as a wrong file extension.
        detail: Option<String>,
        /// Present if and only if the model has a classifier.
        prediction: Option<Prediction>,
        /// Which of the shard's embeddings is its own.
        embedding: usize,
    },
    /// It was left out on purpose.
    Skipped {
        /// The fixed code.
        reason: Reason,
        /// The particulars, for people.
        detail: Option<String>,
    },
    /// It cannot be processed however often one tries.
    Rejected(Rejection),
}

/// What a classifier says about one tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The class with the highest score; of equals, the lowest id.
    pub class_id: u32,
    /// Its score, after the contract's activation.
    pub score: f32,
    /// The best classes with their scores, best first; starts with `class_id` unless empty.
    pub top_k: Vec<(u32, f32)>,
}
