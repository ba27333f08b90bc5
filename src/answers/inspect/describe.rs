//! What the decoder sees of one source.

use std::sync::Arc;

use serde::Serialize;

use super::header::HeaderReport;
use super::item::Item;
use super::medical::Medical;
use super::rejected;
use super::scene::Scene;
use crate::formats::image::{DecodeLimits, ImageFormat, ImageHeader, Orientation};
use crate::formats::raster::RasterFile;
use crate::formats::reader::{self, TileGrid};
use crate::input::storage::ObjectUri;
use crate::scene::{self, SceneLayout, Tiling};
use crate::stages::decode;
use crate::stages::survey::{nearest_window, num_tiles_of};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::Rejection;

/// What the decoder sees of one source, by its header.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// Canonical URI, as rows of a run have it.
    pub source: String,
    /// How the run makes tiles that `status` speaks of.
    pub grid: TileGrid,
    /// Whether such a run would decode it.
    pub status: Status,
    /// Code of what is wrong with it.
    pub reason: Option<&'static str>,
    /// Particulars of what is wrong, for people.
    pub detail: Option<String>,
    /// What runs of either grid would do with it, by its header alone; `None` if it could not be looked at, and of items.
    pub grids: Option<Grids>,
    /// Size of the object.
    pub size_bytes: Option<u64>,
    /// `ETag`; for a local file size and modification time.
    pub version: Option<String>,
    /// Number of bytes that were read for this description.
    pub read_bytes: u64,
    /// The format by content, such as `JPEG`.
    pub format: Option<&'static str>,
    /// Whether the name's extension, if it has one, is one of this format.
    pub extension_agrees: Option<bool>,
    /// What the header says; `None` where it cannot be read or is of a kind that is not decoded.
    pub image: Option<Image>,
    /// What a DICOM object says of its images; nothing that may name a person. `None` of others.
    pub medical: Option<Medical>,
    /// What a STAC item says, and its files; `None` of an image.
    pub item: Option<Item>,
    /// Into how many windows a run cuts it; `None` if it does not, or no model was named.
    pub windows: Option<Windows>,
    #[serde(skip)]
    rejection: Option<Rejection>,
}

/// The windows of a scene that a run has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Windows {
    /// How many there are, in the area of interest if there is one.
    pub count: u64,
    /// Number of columns of a window, in pixels of `level`.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
    /// The level that they are counted in.
    pub level: u32,
}

impl Windows {
    pub(super) fn of(scene: &Arc<scene::Scene>, tiling: &Tiling) -> Self {
        let survey = SceneLayout::Scene(scene.clone());
        let Size { width, height } = nearest_window(scene, 0, 0).size();
        Self { count: num_tiles_of(Some(&survey), Some(tiling)), width, height, level: scene.level }
    }
}

/// What runs would do with a source, with the model that is asked about if there is one.
#[derive(Clone, Debug, Serialize)]
pub struct Grids {
    /// With `tiles.grid = "whole"`.
    pub whole: Verdict,
    /// With `tiles.grid = "regular"`.
    pub regular: Verdict,
    /// With `tiles.grid = "frames"`.
    pub frames: Verdict,
}

/// What a run would do with a source.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// Whether it would decode it.
    pub status: Status,
    /// Code of what is wrong with it.
    pub reason: Option<&'static str>,
    /// Particulars of what is wrong, for people.
    pub detail: Option<String>,
}

impl Verdict {
    pub(super) fn new(rejection: Option<&Rejection>) -> Self {
        Self {
            status: if rejection.is_some() { Status::Rejected } else { Status::Ok },
            reason: rejection.map(|rejection| rejection.reason.code()),
            detail: rejection.map(|rejection| rejection.detail.clone()),
        }
    }

    /// Stands for what could not be found out.
    pub(super) fn failed(error: &Error) -> Self {
        Self { status: Status::Failed, reason: None, detail: Some(error.to_string()) }
    }

    /// Stands for a document whose items are sources, each with a verdict of its own.
    pub(super) fn of_stac() -> Self {
        let detail = "a STAC document, whose items are sources of their own".to_owned();
        Self { status: Status::Ok, reason: None, detail: Some(detail) }
    }
}

impl HeaderReport {
    /// Tells whether the header lets the object pass under a grid, whatever the model.
    pub(super) fn check(&self, grid: TileGrid, limits: &DecodeLimits) -> Result<(), Rejection> {
        if let Some(format) = self.format {
            reader::check(grid, format)?;
        }
        if grid != TileGrid::Whole {
            // Its windows or frames are held against the limits, not the whole.
            return self.scene.as_ref().map(|_| ()).map_err(Clone::clone);
        }
        match (&self.unread, &self.picture) {
            (Some(rejection), _) | (None, Err(rejection)) => Err(rejection.clone()),
            (None, Ok(header)) => decode::check(header, limits).map(|_| ()),
        }
    }

    pub(super) fn image(&self, grid: TileGrid) -> Option<Image> {
        let scene = self.scene.as_ref().ok().map(|scene| scene.file());
        let picture = self.picture.as_ref().ok();
        match (grid, picture, scene) {
            (TileGrid::Whole, Some(picture), scene) | (_, Some(picture), scene @ None) => {
                Some(Image::new(picture, scene.filter(|scene| scene.is_scene())))
            }
            (_, _, Some(scene)) => Some(Image::of_scene(scene)),
            (_, None, None) => None,
        }
    }
}

/// Whether a source can be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As far as the header tells.
    Ok,
    /// A run would reject it.
    Rejected,
    /// It could not be looked at.
    Failed,
}

/// What an image's header says.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    /// Number of columns as seen, orientation applied.
    pub width: u32,
    /// Number of rows as seen.
    pub height: u32,
    /// Number of columns as stored.
    pub stored_width: u32,
    /// Number of rows as stored.
    pub stored_height: u32,
    /// How the stored rows and columns map to those seen, 1 to 8 (Exif 2.32, tag 274).
    pub orientation: u8,
    /// Number of bands after decoding.
    pub num_bands: u16,
    /// What the stored samples mean.
    pub photometric: String,
    /// Type of a sample after decoding.
    pub sample_type: String,
    /// Bits of a sample, or of a palette index, as stored.
    pub stored_bits: u16,
    /// How the samples are compressed.
    pub compression: String,
    /// How much coarser colour is stored than brightness; JPEG only.
    pub subsampling: Option<&'static str>,
    /// Whether coarse rows are stored first; PNG only.
    pub interlaced: bool,
    /// Whether there is a colour profile; it is not applied.
    pub icc_profile: bool,
    /// Size of the decoded samples in memory.
    pub decoded_bytes: u64,
    /// Sizes of the levels as seen, the finest first.
    pub levels: Vec<Level>,
    /// Number of frames that can be decoded.
    pub num_frames: u32,
    /// Number of pages or animation frames in the file.
    pub num_pages: u32,
    /// What more there is to say of a `GeoTIFF`; `None` for a plain image.
    pub scene: Option<Scene>,
}

/// Size of one level, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Level {
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

impl Description {
    /// - `rejection`: what a run of this grid, with the model that is asked about, would reject it for
    pub(super) fn new(
        uri: &ObjectUri,
        looked: HeaderReport,
        grid: TileGrid,
        grids: Grids,
        rejection: Option<Rejection>,
        windows: Option<Windows>,
    ) -> Self {
        let Verdict { status, reason, detail } = Verdict::new(rejection.as_ref());
        Self {
            source: uri.to_string(),
            grid,
            status,
            reason,
            detail,
            grids: Some(grids),
            image: looked.image(grid),
            medical: looked.medical(),
            item: None,
            windows,
            size_bytes: Some(looked.size_bytes),
            read_bytes: looked.read_bytes,
            format: looked.format.map(ImageFormat::name),
            extension_agrees: looked.format.map(|format| format.extension_matches(uri.for_reading())),
            version: looked.version,
            rejection,
        }
    }

    /// - `item`: `None` if its document cannot be used
    pub(super) fn of_item(
        source: &str,
        item: Option<Item>,
        rejection: Option<Rejection>,
        windows: Option<Windows>,
    ) -> Self {
        let verdict = Verdict::new(rejection.as_ref());
        let read_bytes = item.iter().flat_map(|item| &item.assets).map(|asset| asset.read_bytes).sum();
        let bare = Self::bare(source, TileGrid::Regular, verdict);
        Self { format: Some("STAC item"), read_bytes, item, windows, rejection, ..bare }
    }

    /// Stands for a source that could not be looked at, among others that could.
    #[must_use]
    pub fn failed(source: &str, grid: TileGrid, error: &Error) -> Self {
        Self::bare(source, grid, Verdict::failed(error))
    }

    fn bare(source: &str, grid: TileGrid, verdict: Verdict) -> Self {
        let Verdict { status, reason, detail } = verdict;
        Self {
            source: source.to_owned(),
            grid,
            grids: None,
            status,
            reason,
            detail,
            size_bytes: None,
            version: None,
            read_bytes: 0,
            format: None,
            extension_agrees: None,
            image: None,
            medical: None,
            item: None,
            windows: None,
            rejection: None,
        }
    }

    /// Returns the error that a source deserves which a run would reject.
    ///
    /// # Errors
    ///
    /// `Rejected`, with the reason.
    pub fn check(&self) -> Result<()> {
        match &self.rejection {
            Some(rejection) => Err(rejected(&self.source, self.grid, rejection.clone())),
            None => Ok(()),
        }
    }
}

impl Image {
    fn new(header: &ImageHeader, scene: Option<&dyn RasterFile>) -> Self {
        let seen = header.oriented_size();
        let turned = |size: Size| if header.orientation.transposes() { size.transposed() } else { size };
        let levels =
            scene.map_or_else(|| vec![seen], |scene| scene.sizes().into_iter().map(turned).collect());
        Self {
            width: seen.width,
            height: seen.height,
            stored_width: header.size.width,
            stored_height: header.size.height,
            orientation: header.orientation.code(),
            num_bands: header.num_bands,
            photometric: header.photometric.to_string(),
            sample_type: header.sample_kind.to_string(),
            stored_bits: header.stored_bits,
            compression: header.compression.to_owned(),
            subsampling: header.subsampling,
            interlaced: header.interlaced,
            icc_profile: header.icc_profile,
            decoded_bytes: header.decoded_bytes(),
            levels: levels.into_iter().map(|Size { width, height }| Level { width, height }).collect(),
            num_frames: 1,
            num_pages: header.num_pages,
            scene: scene.map(Scene::new),
        }
    }

    fn of_scene(file: &dyn RasterFile) -> Self {
        let grid = file.pixels(0, 0);
        let Size { width, height } = grid.size;
        let level = |Size { width, height }: Size| Level { width, height };
        let sample_bytes = u64::from(grid.num_bands) * grid.stored.kind.num_bytes();
        Self {
            width,
            height,
            stored_width: width,
            stored_height: height,
            // Scenes are placed by their geotransform; nothing is turned.
            orientation: Orientation::UPRIGHT.code(),
            num_bands: grid.num_bands,
            photometric: grid.stored.photometric.to_string(),
            sample_type: grid.stored.kind.to_string(),
            stored_bits: grid.stored.stored_bits,
            compression: compression(file),
            subsampling: None,
            interlaced: false,
            icc_profile: false,
            decoded_bytes: grid.size.num_pixels().saturating_mul(sample_bytes),
            levels: file.sizes().into_iter().map(level).collect(),
            num_frames: file.num_frames(),
            num_pages: file.container().num_pages,
            scene: file.dicom().is_none().then(|| Scene::new(file)),
        }
    }
}

/// Returns how samples are compressed: of DICOM the transfer syntax.
fn compression(file: &dyn RasterFile) -> String {
    match file.dicom() {
        Some(dicom) => dicom.instance().transfer_syntax().uid().to_owned(),
        None => file.pixels(0, 0).stored.codec.to_string(),
    }
}
