//! A file of pixels, whatever its format: frames, levels, bands, which pixels are valid, the blocks for a window and
//! where they lie.
//!
//! Each format that is read by blocks implements [`RasterFile`]; planning, fetching, composing and looking know no
//! other. What decoding a block needs leaves as a [`BlockSpec`]. `tests` is the suite that every implementation
//! passes; `raw` is one that is not shaped like TIFF, for tests. Nothing here reads or decodes.
//!
//! ```text
//! header ─▶ dyn RasterFile ─▶ blocks_for(frame, level, window) ─▶ locate ─▶ byte ranges
//!                          └▶ grid ─▶ spec(block) ─────────────────────────▶ decode
//! ```

mod bands;
mod codec;
#[cfg(test)]
mod fixtures;
mod grid;
#[cfg(test)]
mod raw;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use self::bands::{BandInfo, NodataValue, Validity, ValueMapping};
pub use self::codec::{Codec, LercExtra, Predictor};
pub use self::grid::{BlockGrid, BlockId, BlockLayout, BlockSpec, Photometric, StoredSamples};
pub use self::table::{BlockTable, Entry};
use crate::formats::dicom::DicomFile;
use crate::formats::partial::{Parsed, Partial};
use crate::geo::GeoTags;
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::sample::SampleKind;

/// Which image of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The samples.
    Pixels,
    /// The mask.
    Mask,
}

/// Which grid of blocks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GridId {
    /// Frame, from 0.
    pub frame: u32,
    /// Level, 0 being full size.
    pub level: usize,
    /// Samples or mask.
    pub part: Part,
}

/// What there is to say of the file around the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container {
    /// Whether it is a `BigTIFF`.
    pub big_tiff: bool,
    /// Whether integers are stored big-endian.
    pub big_endian: bool,
    /// Number of images in the file, masks and what is not used included.
    pub num_pages: u32,
}

/// Reads the header of a file from the parts of the object that have been read.
pub type RasterParser = fn(&Partial) -> Parsed<Arc<dyn RasterFile>>;

/// One file of pixels, by its header.
///
/// Frames are images of one kind side by side, as those of a series: all have the same levels, grids and number of bands.
/// What their samples mean may differ from frame to frame.
pub trait RasterFile: fmt::Debug + Send + Sync {
    /// Returns the number of frames, one at least.
    fn num_frames(&self) -> u32;

    /// Returns the number of levels of each frame, one at least.
    fn num_levels(&self) -> usize;

    /// Returns the blocks of samples or mask of a level; `None` if there is no such frame, level or mask.
    fn grid(&self, id: GridId) -> Option<&BlockGrid>;

    /// Returns what is known of each band of a frame.
    ///
    /// # Panics
    ///
    /// If there is no such frame.
    fn bands(&self, frame: u32) -> &[BandInfo];

    /// Returns how the samples of a band of a frame become values; planning records it (`survey/bands`, `FrameValues`), composing
    /// applies it. Of DICOM frames it is no more than the identity: their `FrameSpec` says what values mean.
    ///
    /// # Panics
    ///
    /// If there is no such frame or band.
    fn values(&self, frame: u32, band: u16) -> &ValueMapping {
        &self.bands(frame)[usize::from(band)].values
    }

    /// Returns the value of pixels without data, of all bands of a frame.
    fn nodata(&self, frame: u32) -> Option<NodataValue>;

    /// Returns what places it on the Earth, if anything does.
    fn geo(&self) -> Option<&GeoTags>;

    /// Returns width and height of a pixel of level 0 in microns, if the file says it: slides and DICOM files do. The
    /// resolution of a TIFF is one of print, and says nothing.
    fn microns(&self) -> Option<[f64; 2]> {
        None
    }

    /// Returns the file as a DICOM object, if it is one.
    fn dicom(&self) -> Option<&DicomFile> {
        None
    }

    /// Returns what was found and is not used, for people.
    fn notes(&self) -> &[String];

    /// Returns what there is to say of the file around the pixels.
    fn container(&self) -> Container;

    /// Finds out where blocks lie, reading no more of a table than what says it.
    ///
    /// - `id`: of a grid that there is
    /// - `blocks`: at least one, in any order
    fn locate(&self, object: &Partial, id: GridId, blocks: &[BlockId]) -> Parsed<BlockTable>;

    /// Returns the samples of a level.
    ///
    /// # Panics
    ///
    /// If there is no such frame or level.
    fn pixels(&self, frame: u32, level: usize) -> &BlockGrid {
        self.grid(GridId { frame, level, part: Part::Pixels }).expect("the level is one of the file's")
    }

    /// Returns the mask of a level, if it has one.
    fn mask(&self, frame: u32, level: usize) -> Option<&BlockGrid> {
        self.grid(GridId { frame, level, part: Part::Mask })
    }

    /// Returns the size of a level.
    fn size(&self, level: usize) -> Size {
        self.pixels(0, level).size
    }

    /// Returns the sizes of all levels, the first of which is full size.
    fn sizes(&self) -> Vec<Size> {
        (0..self.num_levels()).map(|level| self.size(level)).collect()
    }

    /// Tells a scene from a plain image: it has a place on the Earth, nodata, overviews or a mask.
    fn is_scene(&self) -> bool {
        self.geo().is_some() || self.nodata(0).is_some() || self.mask(0, 0).is_some() || self.num_levels() > 1
    }

    /// Returns how a level of a frame says which pixels are valid.
    fn validity(&self, frame: u32, level: usize) -> Validity {
        let bands = self.bands(frame);
        let last = bands.last().filter(|band| matches!(bands.len(), 2 | 4) && band.colour == "alpha");
        let alpha = last.map(|_| bands.len() as u16 - 1);
        let kind = self.pixels(frame, level).stored.kind;
        match (self.mask(frame, level), self.nodata(frame), alpha) {
            (Some(_), ..) => Validity::Mask,
            (None, Some(nodata), _) => Validity::Nodata(nodata, alpha.filter(|_| bands.len() == 4)),
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
    /// - returns: blocks of the samples, then of the mask
    fn blocks_for(
        &self,
        frame: u32,
        level: usize,
        window: Window,
        bands: &[u16],
    ) -> (Vec<BlockId>, Vec<BlockId>) {
        let masks = self.mask(frame, level).map_or_else(Vec::new, |mask| mask.blocks_for(window, &[0]));
        let alpha = match self.validity(frame, level) {
            Validity::Alpha(band) | Validity::Nodata(_, Some(band)) => Some(band),
            _ => None,
        };
        let bands: Vec<u16> = bands.iter().copied().chain(alpha).collect();
        (self.pixels(frame, level).blocks_for(window, &bands), masks)
    }
}
