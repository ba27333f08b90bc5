//! `GeoTIFF` and COG headers (TIFF 6.0, `BigTIFF`, OGC 19-008r4, OGC 21-026): levels, blocks, bands, masks.
//!
//! In goes an object as far as it has been read; out comes a [`TiffHeader`], or the range that it needs,
//! or the reason why there is none. The arrays that say where the blocks lie are not looked at: planning
//! a run does without them, and [`parse_blocks`] reads those parts that a shard needs. Nothing here decodes,
//! and nothing is allocated for a number that the file does not pay for.
//!
//! ```text
//! Partial ─▶ parse_partial ─▶ TiffHeader ─▶ blocks_for(window) ─▶ parse_blocks ─▶ byte ranges
//! ```

mod blocks;
mod compression;
mod header;
mod metadata;
mod page;
mod pyramid;
pub(crate) mod slide;

pub use self::blocks::parse_blocks;
pub use self::header::{Level, TiffHeader};
pub use self::page::Page;

use std::sync::Arc;

use crate::formats::image::truncated;
use crate::formats::partial::{Parsed, Partial, View};
use crate::formats::raster::{BlockGrid, BlockId, BlockTable, RasterFile};
use crate::formats::tags::Directory;
use crate::vocabulary::reason::Rejection;

/// Tags of `GeoTIFF`, GDAL and others that [`crate::formats::tags::tag`] does not have.
mod tag {
    /// `NewSubfileType`: whether it is an overview or a mask.
    pub(super) const NEW_SUBFILE_TYPE: u16 = 254;
    /// `ImageDescription`: a text, by which some formats are known.
    pub(super) const IMAGE_DESCRIPTION: u16 = 270;
    /// `StripOffsets`: where each strip begins.
    pub(super) const STRIP_OFFSETS: u16 = 273;
    /// `RowsPerStrip`: rows of a strip.
    pub(super) const ROWS_PER_STRIP: u16 = 278;
    /// `StripByteCounts`: bytes of each strip.
    pub(super) const STRIP_BYTE_COUNTS: u16 = 279;
    /// `Software`: what wrote the file, by which some formats are known.
    pub(super) const SOFTWARE: u16 = 305;
    /// `Predictor`: differences of neighbours, or of bytes of floats.
    pub(super) const PREDICTOR: u16 = 317;
    /// `TileWidth`: pixels per row of a tile.
    pub(super) const TILE_WIDTH: u16 = 322;
    /// `TileLength`: rows of a tile.
    pub(super) const TILE_LENGTH: u16 = 323;
    /// `TileOffsets`: where each tile begins.
    pub(super) const TILE_OFFSETS: u16 = 324;
    /// `TileByteCounts`: bytes of each tile.
    pub(super) const TILE_BYTE_COUNTS: u16 = 325;
    /// `SubIFDs`: directories below this one (TIFF Technical Note 1).
    pub(super) const SUB_IFDS: u16 = 330;
    /// `JPEGTables`: quantisation and Huffman tables of all blocks (TIFF Technical Note 2).
    pub(super) const JPEG_TABLES: u16 = 347;
    /// `ModelPixelScaleTag`: size of a pixel.
    pub(super) const PIXEL_SCALE: u16 = 33_550;
    /// `ModelTiepointTag`: which pixel lies where.
    pub(super) const TIEPOINTS: u16 = 33_922;
    /// `ModelTransformationTag`: from pixel to CRS.
    pub(super) const TRANSFORMATION: u16 = 34_264;
    /// `GeoKeyDirectoryTag`: the keys.
    pub(super) const GEO_KEYS: u16 = 34_735;
    /// `GeoDoubleParamsTag`: values of keys that are doubles.
    pub(super) const GEO_DOUBLES: u16 = 34_736;
    /// `GeoAsciiParamsTag`: values of keys that are text.
    pub(super) const GEO_ASCII: u16 = 34_737;
    /// GDAL's metadata, as XML.
    pub(super) const GDAL_METADATA: u16 = 42_112;
    /// GDAL's nodata value, as text.
    pub(super) const GDAL_NODATA: u16 = 42_113;
    /// `LercParameters`: version of LERC, and the codec around it.
    pub(super) const LERC_PARAMETERS: u16 = 50_674;
    /// Present in slides of Hamamatsu (NDPI).
    pub(super) const NDPI_FORMAT: u16 = 65_420;
}

/// Reads the header of a scene from the whole object.
///
/// # Errors
///
/// [`crate::vocabulary::reason::Reason::Truncated`] if the object ends inside its directories,
/// [`crate::vocabulary::reason::Reason::Corrupt`] if they contradict themselves,
/// [`crate::vocabulary::reason::Reason::TooLarge`] for blocks that nobody would write, and
/// [`crate::vocabulary::reason::Reason::Unsupported`] for a layout or a codec that is not decoded, and for whole-slide images.
pub fn parse_header(bytes: &[u8]) -> Result<TiffHeader, Rejection> {
    parse(View::Whole(bytes))
}

/// Reads the header of a scene from the parts of the object that have been read.
#[must_use]
pub fn parse_partial(object: &Partial) -> Parsed<TiffHeader> {
    object.parse(parse)
}

/// Reads the same as the header of any file that is read by blocks.
#[must_use]
pub fn parse_raster(object: &Partial) -> Parsed<Arc<dyn RasterFile>> {
    parse_partial(object).map(|header| Arc::new(header) as Arc<dyn RasterFile>)
}

/// Reads the first page of a whole object, and where all of its blocks lie.
///
/// # Errors
///
/// As [`parse_header`], of this page alone.
pub fn first_page(bytes: &[u8]) -> Result<(BlockGrid, BlockTable), Rejection> {
    let file = View::Whole(bytes);
    let first =
        Directory::first(file).ok_or_else(|| truncated("the object ends before its first directory"))?;
    let page = Page::parse(&first, bytes.len() as u64)?;
    let last = BlockId((page.grid.num_blocks() - 1) as u32);
    let table = blocks::table(file, &page, &[BlockId(0), last])?;
    Ok((page.grid, table))
}

fn parse(file: View<'_>) -> Result<TiffHeader, Rejection> {
    let first =
        Directory::first(file).ok_or_else(|| truncated("the object ends before its first directory"))?;
    slide::refuse(&first)?;
    header::parse(file, first)
}

#[cfg(test)]
mod tests;
