//! How one image of a file is cut into blocks, and how these are stored.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bands::NodataValue;
use super::codec::{Codec, Predictor};
use crate::formats::bytes::Order;
use crate::formats::dicom::DicomFrame;
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::sample::SampleKind;

/// One block of a grid: row by row, band after band if they are separate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// How the pixels are cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockLayout {
    /// Tiles; those at the right and lower edge are filled up.
    Tiles,
    /// Strips of whole rows; the last may have fewer.
    Strips,
}

/// What the stored samples mean (TIFF 6.0, tag 262).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Photometric {
    /// White is zero; the samples stay as they are stored.
    MinIsWhite,
    /// Black is zero; also bands without a display meaning.
    MinIsBlack,
    /// Red, green, blue.
    Rgb,
    /// Indices into a palette, which is not applied.
    Palette,
    /// A transparency mask.
    Mask,
    /// Cyan, magenta, yellow, black.
    Cmyk,
    /// `YCbCr` inside of JPEG, decoded to red, green, blue.
    YCbCr,
    /// One band of a sensor with a colour filter.
    ColourFilter,
}

/// How samples are stored in the blocks of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredSamples {
    /// Type of the decoded samples: 16-bit floats become 32-bit ones, odd integers the next larger type.
    pub kind: SampleKind,
    /// Bits of a sample as stored.
    pub stored_bits: u16,
    /// What the samples mean.
    pub photometric: Photometric,
    /// How blocks are compressed.
    pub codec: Codec,
    /// What was done to the samples before.
    pub predictor: Predictor,
    /// What a block that is not stored is filled with; 0 if `None`.
    pub fill: Option<NodataValue>,
    /// Whether stored integers are big-endian.
    pub order: Order,
    /// Whether the bits of each stored byte are reversed (TIFF's fill order 2).
    pub reversed_bits: bool,
    /// What the blocks have in common and is not in them, as the tables of JPEG.
    pub tables: Option<Arc<[u8]>>,
    /// Of a frame of a DICOM object: how it is stored and what its values mean.
    pub dicom: Option<DicomFrame>,
}

/// The blocks of one image of a file: the samples of a level of a frame, or its mask.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockGrid {
    /// Width and height of the image.
    pub size: Size,
    /// Tiles or strips.
    pub layout: BlockLayout,
    /// Width and height of a whole block.
    pub block: Size,
    /// Number of bands.
    pub num_bands: u16,
    /// Whether each band has blocks of its own (planar configuration 2).
    pub separate: bool,
    /// How its samples are stored.
    pub stored: StoredSamples,
}

/// All that decoding one block needs besides its bytes: a value that goes from those who fetch to those who decode.
///
/// What a format says of its pixels ends here: TIFF's tags become these fields, and so does DICOM's transfer syntax,
/// as codec and byte order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockSpec {
    /// The pixels of the image that it covers; those of a tile may lie beyond the edge.
    pub window: Window,
    /// Number of rows of a whole block.
    pub whole_height: u32,
    /// Number of bands in the block.
    pub num_bands: u16,
    /// See [`BlockGrid::stored`].
    pub stored: StoredSamples,
}

impl BlockSpec {
    /// Returns the number of samples of the block.
    #[must_use]
    pub fn num_samples(&self) -> usize {
        self.window.width as usize * self.window.height as usize * usize::from(self.num_bands)
    }

    /// Returns the bytes of a row as it was before compression.
    #[must_use]
    pub fn stored_row_bytes(&self) -> u64 {
        stored_row_bytes(self.window.width, self.num_bands, self.stored.stored_bits)
    }
}

fn stored_row_bytes(width: u32, num_bands: u16, stored_bits: u16) -> u64 {
    (u64::from(width) * u64::from(num_bands) * u64::from(stored_bits)).div_ceil(8)
}

impl BlockGrid {
    /// Returns what decoding a block needs.
    #[must_use]
    pub fn spec(&self, id: BlockId) -> BlockSpec {
        BlockSpec {
            window: self.block_window(id),
            whole_height: self.block.height,
            num_bands: self.block_bands(),
            stored: self.stored.clone(),
        }
    }

    /// Returns the number of bands in a block.
    #[must_use]
    pub fn block_bands(&self) -> u16 {
        if self.separate { 1 } else { self.num_bands }
    }

    /// Returns the number of blocks from left to right.
    #[must_use]
    pub fn num_across(&self) -> u32 {
        self.size.width.div_ceil(self.block.width)
    }

    /// Returns the number of blocks from top to bottom.
    #[must_use]
    pub fn num_down(&self) -> u32 {
        self.size.height.div_ceil(self.block.height)
    }

    /// Returns the number of blocks, all bands together.
    #[must_use]
    pub fn num_blocks(&self) -> u64 {
        let a_plane = u64::from(self.num_across()) * u64::from(self.num_down());
        a_plane.saturating_mul(self.num_planes().into())
    }

    /// Returns in how many planes the bands lie.
    pub(crate) fn num_planes(&self) -> u16 {
        if self.separate { self.num_bands } else { 1 }
    }

    /// Returns the block in this column and row of the grid that holds a band.
    #[must_use]
    pub fn block_at(&self, column: u32, row: u32, band: u16) -> BlockId {
        let plane = if self.separate { u32::from(band) } else { 0 };
        BlockId((plane * self.num_down() + row) * self.num_across() + column)
    }

    /// Returns the pixels of a block: those of a tile may lie beyond the edge of the image.
    #[must_use]
    pub fn block_window(&self, id: BlockId) -> Window {
        let (across, down) = (self.num_across(), self.num_down());
        let (column, row) = (id.0 % across, id.0 / across % down);
        let (x, y) = (column * self.block.width, row * self.block.height);
        let height = match self.layout {
            BlockLayout::Tiles => self.block.height,
            BlockLayout::Strips => self.block.height.min(self.size.height - y),
        };
        Window { x, y, width: self.block.width, height }
    }

    /// Returns the number of bytes that a block takes in memory once it is decoded.
    #[must_use]
    pub fn block_bytes(&self, id: BlockId) -> u64 {
        let window = self.block_window(id);
        let pixels = u64::from(window.width) * u64::from(window.height);
        pixels * u64::from(self.block_bands()) * self.stored.kind.num_bytes()
    }

    /// Returns the largest [`Self::block_bytes`], saturating.
    #[must_use]
    pub fn max_block_bytes(&self) -> u64 {
        let sample_bytes = u64::from(self.block_bands()) * self.stored.kind.num_bytes();
        self.block.num_pixels().saturating_mul(sample_bytes)
    }

    /// Returns the bytes of a row of a block as it was before compression.
    pub(crate) fn stored_row_bytes(&self) -> u64 {
        stored_row_bytes(self.block.width, self.block_bands(), self.stored.stored_bits)
    }

    /// Returns the blocks that hold the given bands of a window, in the order of their ids.
    ///
    /// - `window`: pixels of this image, inside of it
    /// - `bands`: counted from 0; all bands are in each block unless they are stored separately
    #[must_use]
    pub fn blocks_for(&self, window: Window, bands: &[u16]) -> Vec<BlockId> {
        let (columns, rows) = self.grid_of(window);
        let mut planes = if self.separate { bands.to_vec() } else { vec![0] };
        planes.sort_unstable();
        planes.dedup();
        let cells = planes.into_iter().flat_map(|band| {
            let columns = columns.clone();
            rows.clone().flat_map(move |row| columns.clone().map(move |column| (column, row, band)))
        });
        cells.map(|(column, row, band)| self.block_at(column, row, band)).collect()
    }

    /// Returns the columns and rows of the grid that a window touches.
    pub fn grid_of(&self, window: Window) -> (RangeInclusive<u32>, RangeInclusive<u32>) {
        let cells = |first: u32, length: u32, block: u32, num_blocks: u32| {
            let last = first.saturating_add(length.saturating_sub(1)) / block;
            first / block..=last.min(num_blocks - 1)
        };
        (
            cells(window.x, window.width, self.block.width, self.num_across()),
            cells(window.y, window.height, self.block.height, self.num_down()),
        )
    }
}

impl fmt::Display for Photometric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MinIsWhite => "white is zero",
            Self::MinIsBlack => "black is zero",
            Self::Rgb => "rgb",
            Self::Palette => "palette indices",
            Self::Mask => "mask",
            Self::Cmyk => "cmyk",
            Self::YCbCr => "rgb, stored as YCbCr",
            Self::ColourFilter => "colour filter array",
        })
    }
}
