//! One image of a TIFF file, by its directory: size, blocks, samples, compression.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::blocks::BlockId;
use super::compression::{Compression, Predictor};
use super::header::Nodata;
use super::tag as own;
use crate::formats::bytes::Order;
use crate::formats::image::{corrupt, unsupported};
use crate::formats::tags::{Array, Directory, tag};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::sample::SampleKind;

/// The most bytes that one block may decode to.
const MAX_BLOCK_BYTES: u64 = 1 << 30;
/// An uncompressed image in one strip is read in pieces of about so many bytes, as libtiff does.
const CUT_BYTES: u64 = 256 << 10;
/// The most bytes of JPEG tables: four of each kind are less than 3 KiB.
const MAX_JPEG_TABLES: u64 = 64 << 10;
/// The widest and the highest image, as in GDAL.
const MAX_SIDE: u64 = i32::MAX as u64;
/// The photometric interpretation of grey samples whose 0 is black (TIFF 6.0, tag 262).
const MIN_IS_BLACK: u64 = 1;

/// How the pixels are cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Tiles; those at the right and lower edge are filled up.
    Tiles,
    /// Strips of whole rows; the last may have fewer.
    Strips,
}

/// What the stored samples mean (TIFF 6.0, tag 262).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// One image of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Width and height.
    pub size: Size,
    /// Tiles or strips.
    pub layout: Layout,
    /// Width and height of a whole block.
    pub block: Size,
    /// Number of bands.
    pub num_bands: u16,
    /// Whether each band has blocks of its own (planar configuration 2).
    pub separate: bool,
    /// Type of the decoded samples: 16-bit floats become 32-bit ones, odd integers the next larger type.
    pub kind: SampleKind,
    /// Bits of a sample as stored.
    pub stored_bits: u16,
    /// What the samples mean.
    pub photometric: Photometric,
    /// How blocks are compressed.
    pub compression: Compression,
    /// What was done to the samples before.
    pub predictor: Predictor,
    /// What a block that is not stored is filled with; 0 if `None`.
    pub fill: Option<Nodata>,
    /// Whether stored integers are big-endian.
    pub(crate) order: Order,
    /// Whether the bits of each stored byte are reversed (fill order 2).
    pub(crate) reversed_bits: bool,
    /// What JPEG blocks have in common (tag 347).
    pub(crate) jpeg_tables: Option<Arc<[u8]>>,
    /// Whether blocks are pieces of uncompressed strips that hold all rows.
    pub(super) cut: bool,
    /// Where the blocks' offsets lie.
    pub(super) offsets: Array,
    /// Where the blocks' sizes lie.
    pub(super) byte_counts: Option<Array>,
}

impl Page {
    /// Reads one directory; block tables are located, not read.
    pub(crate) fn parse(directory: &Directory<'_>, file_bytes: u64) -> Result<Self, Rejection> {
        let size = Size::new(side(directory, tag::WIDTH)?, side(directory, tag::HEIGHT)?);
        let num_bands = num_bands(directory)?;
        let compression = compression(directory)?;
        let photometric = photometric(directory, compression)?;
        let (stored_bits, format) = sample_format(directory)?;
        let (layout, block) = block_size(directory, size)?;
        let [offsets_tag, counts_tag] = match layout {
            Layout::Tiles => [own::TILE_OFFSETS, own::TILE_BYTE_COUNTS],
            Layout::Strips => [own::STRIP_OFFSETS, own::STRIP_BYTE_COUNTS],
        };
        let offsets = directory.array(offsets_tag).ok_or_else(|| missing(offsets_tag))?;
        let mut page = Self {
            size,
            layout,
            block,
            num_bands,
            separate: num_bands > 1 && stated(directory, tag::PLANAR, 1)? == 2,
            kind: kind(stored_bits, format)?,
            stored_bits,
            photometric,
            compression,
            predictor: predictor(directory, compression)?,
            fill: None,
            order: directory.order(),
            reversed_bits: stated(directory, tag::FILL_ORDER, 1)? == 2,
            jpeg_tables: jpeg_tables(directory, compression)?,
            cut: false,
            offsets,
            byte_counts: directory.array(counts_tag),
        };
        page.check_samples()?;
        page.cut();
        page.check_blocks(file_bytes)?;
        Ok(page)
    }

    /// Makes pieces of a strip that holds all rows, if nothing stands in the way.
    fn cut(&mut self) {
        let row_bytes = self.stored_row_bytes();
        let is_large = row_bytes.saturating_mul(self.size.height.into()) > CUT_BYTES;
        let is_one = self.layout == Layout::Strips && self.block.height == self.size.height;
        if is_one && is_large && self.compression == Compression::None {
            self.block.height = (CUT_BYTES / row_bytes).max(1) as u32;
            self.cut = true;
        }
    }

    /// Refuses combinations of samples, predictor and compression that no reader knows.
    fn check_samples(&self) -> Result<(), Rejection> {
        let (kind, bits, compression) = (self.kind, self.stored_bits, self.compression);
        let floats = matches!(kind, SampleKind::F32 | SampleKind::F64);
        match self.predictor {
            Predictor::Horizontal if !matches!(bits, 8 | 16 | 32 | 64) => {
                return Err(unsupported(format!("predictor 2 with {bits}-bit samples")));
            }
            Predictor::FloatingPoint if !floats => {
                return Err(corrupt(format!("predictor 3 with {kind} samples")));
            }
            _ => {}
        }
        let fits = match compression {
            Compression::Jpeg => kind == SampleKind::U8 && bits == 8,
            Compression::WebP => bits == 8 && matches!(self.num_bands, 3 | 4) && !self.separate,
            Compression::Lerc(_) => bits.is_multiple_of(8) && u64::from(bits) == 8 * kind.num_bytes(),
            _ => true,
        };
        if !fits {
            let bands = self.num_bands;
            return Err(unsupported(format!("{compression} with {bands} bands of {bits} bits ({kind})")));
        }
        Ok(())
    }

    /// Checks sizes and tables against each other and against the file, before anything is read.
    fn check_blocks(&self, file_bytes: u64) -> Result<(), Rejection> {
        let bytes = self.max_block_bytes();
        if bytes > MAX_BLOCK_BYTES {
            let detail = format!("a block of {} decodes to {bytes} bytes", self.block);
            return Err(Rejection::new(Reason::TooLarge, detail));
        }
        let num_blocks = if self.cut { self.num_planes().into() } else { self.num_blocks() };
        for (array, what) in [(Some(self.offsets), "offsets"), (self.byte_counts, "sizes")] {
            let Some(array) = array else { continue };
            if !array.is_unsigned() {
                return Err(corrupt(format!("the block {what} are no integers")));
            }
            // Samples that are stored as they are take as many bytes as they take.
            let may_lack = what == "sizes" && self.compression == Compression::None;
            if array.count < num_blocks && !may_lack {
                let count = array.count;
                return Err(corrupt(format!("{count} block {what} for {num_blocks} blocks")));
            }
            if array.at.saturating_add(array.num_bytes()) > file_bytes {
                return Err(Rejection::new(
                    Reason::Truncated,
                    format!("the object ends before its {} block {what} do", array.count),
                ));
            }
        }
        if u32::try_from(self.num_blocks()).is_err() {
            return Err(Rejection::new(Reason::TooLarge, format!("{} blocks", self.num_blocks())));
        }
        Ok(())
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

    /// Returns the number of blocks of the page, all bands together.
    #[must_use]
    pub fn num_blocks(&self) -> u64 {
        let a_plane = u64::from(self.num_across()) * u64::from(self.num_down());
        a_plane.saturating_mul(self.num_planes().into())
    }

    fn num_planes(&self) -> u16 {
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
            Layout::Tiles => self.block.height,
            Layout::Strips => self.block.height.min(self.size.height - y),
        };
        Window { x, y, width: self.block.width, height }
    }

    /// Returns the number of bytes that a block takes in memory once it is decoded.
    #[must_use]
    pub fn block_bytes(&self, id: BlockId) -> u64 {
        let window = self.block_window(id);
        let pixels = u64::from(window.width) * u64::from(window.height);
        pixels * u64::from(self.block_bands()) * self.kind.num_bytes()
    }

    /// Returns the largest [`Self::block_bytes`], saturating.
    #[must_use]
    pub fn max_block_bytes(&self) -> u64 {
        let sample_bytes = u64::from(self.block_bands()) * self.kind.num_bytes();
        self.block.num_pixels().saturating_mul(sample_bytes)
    }

    /// Returns the bytes of a row of a block as it was before compression.
    pub(crate) fn stored_row_bytes(&self) -> u64 {
        let samples = u64::from(self.block.width) * u64::from(self.block_bands());
        (samples * u64::from(self.stored_bits)).div_ceil(8)
    }

    /// Returns the blocks that hold the given bands of a window, in the order of their ids.
    ///
    /// - `window`: pixels of this page, inside of it
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
    pub(crate) fn grid_of(&self, window: Window) -> (RangeInclusive<u32>, RangeInclusive<u32>) {
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

fn missing(tag: u16) -> Rejection {
    corrupt(format!("tag {tag} is missing"))
}

fn unreadable(tag: u16) -> Rejection {
    corrupt(format!("tag {tag} cannot be read"))
}

/// Returns the first value of a tag that has a default. One that is there and cannot be read is no default.
fn stated(directory: &Directory<'_>, tag: u16, default: u64) -> Result<u64, Rejection> {
    match directory.unsigned(tag) {
        Some(value) => Ok(value),
        None if directory.has(tag) => Err(unreadable(tag)),
        None => Ok(default),
    }
}

/// Returns what the blocks of a JPEG page have in common.
fn jpeg_tables(directory: &Directory<'_>, compression: Compression) -> Result<Option<Arc<[u8]>>, Rejection> {
    let Some(array) = directory.array(own::JPEG_TABLES).filter(|_| compression == Compression::Jpeg) else {
        return Ok(None);
    };
    let tables = directory.bytes(own::JPEG_TABLES).filter(|_| array.count <= MAX_JPEG_TABLES);
    tables.map(|tables| Some(tables.into())).ok_or_else(|| unreadable(own::JPEG_TABLES))
}

fn side(directory: &Directory<'_>, tag: u16) -> Result<u32, Rejection> {
    let value = directory.unsigned(tag).ok_or_else(|| missing(tag))?;
    match u32::try_from(value) {
        Ok(side) if side > 0 && value <= MAX_SIDE => Ok(side),
        Ok(0) => Err(corrupt(format!("tag {tag} is 0"))),
        _ => Err(Rejection::new(Reason::TooLarge, format!("tag {tag} is {value}"))),
    }
}

fn num_bands(directory: &Directory<'_>) -> Result<u16, Rejection> {
    let count = stated(directory, tag::SAMPLES_PER_PIXEL, 1)?;
    u16::try_from(count)
        .ok()
        .filter(|&count| count > 0)
        .ok_or_else(|| corrupt(format!("{count} samples a pixel")))
}

fn compression(directory: &Directory<'_>) -> Result<Compression, Rejection> {
    let code = stated(directory, tag::COMPRESSION, 1)?;
    let lerc_parameters = directory.unsigned_list(own::LERC_PARAMETERS).unwrap_or_default();
    Compression::new(code, &lerc_parameters).map_err(|name| unsupported(format!("TIFF with {name}")))
}

fn predictor(directory: &Directory<'_>, compression: Compression) -> Result<Predictor, Rejection> {
    if !compression.takes_predictor() {
        return Ok(Predictor::None);
    }
    match stated(directory, own::PREDICTOR, 1)? {
        1 => Ok(Predictor::None),
        2 => Ok(Predictor::Horizontal),
        3 => Ok(Predictor::FloatingPoint),
        other => Err(unsupported(format!("TIFF with predictor {other}"))),
    }
}

fn photometric(directory: &Directory<'_>, compression: Compression) -> Result<Photometric, Rejection> {
    // Without the tag black is 0, as GDAL takes it.
    Ok(match stated(directory, tag::PHOTOMETRIC, MIN_IS_BLACK)? {
        0 => Photometric::MinIsWhite,
        MIN_IS_BLACK => Photometric::MinIsBlack,
        2 => Photometric::Rgb,
        3 => Photometric::Palette,
        4 => Photometric::Mask,
        5 => Photometric::Cmyk,
        6 if compression == Compression::Jpeg => Photometric::YCbCr,
        6 => return Err(unsupported("TIFF with YCbCr samples outside of JPEG")),
        32_803 => Photometric::ColourFilter,
        code => return Err(unsupported(format!("TIFF with photometric interpretation {code}"))),
    })
}

/// Returns the bits of a sample, and the code of their format.
fn sample_format(directory: &Directory<'_>) -> Result<(u16, u64), Rejection> {
    let bits = uniform(directory, tag::BITS_PER_SAMPLE)?;
    let format = uniform(directory, tag::SAMPLE_FORMAT)?;
    let stored_bits = u16::try_from(bits).ok().filter(|&bits| bits > 0);
    Ok((stored_bits.ok_or_else(|| corrupt(format!("samples of {bits} bits")))?, format))
}

/// Returns the one value that a tag has for every band; 1 by default.
fn uniform(directory: &Directory<'_>, tag: u16) -> Result<u64, Rejection> {
    if !directory.has(tag) {
        return Ok(1);
    }
    let values = directory.unsigned_list(tag).ok_or_else(|| unreadable(tag))?;
    match values.first() {
        Some(&first) if values.iter().all(|&value| value == first) => Ok(first),
        _ => Err(unsupported(format!("bands of different kinds (tag {tag})"))),
    }
}

fn kind(bits: u16, format: u64) -> Result<SampleKind, Rejection> {
    Ok(match (format, bits) {
        (1 | 4, 1..=8) => SampleKind::U8,
        (1 | 4, 9..=16) => SampleKind::U16,
        (1 | 4, 17..=23 | 25..=32) => SampleKind::U32,
        (1 | 4, 64) => SampleKind::U64,
        (2, 8) => SampleKind::I8,
        (2, 16) => SampleKind::I16,
        (2, 32) => SampleKind::I32,
        (2, 64) => SampleKind::I64,
        (3, 16 | 32) => SampleKind::F32,
        (3, 64) => SampleKind::F64,
        // Of 24 bits, libtiff and GDAL disagree with TIFF 6.0 about the order of the bytes.
        (1 | 4, _) => return Err(unsupported(format!("TIFF with {bits}-bit unsigned samples"))),
        (2, _) => return Err(unsupported(format!("TIFF with {bits}-bit signed samples"))),
        (3, _) => return Err(unsupported(format!("TIFF with {bits}-bit float samples"))),
        (5 | 6, _) => return Err(unsupported("TIFF with complex samples")),
        _ => return Err(unsupported(format!("TIFF with sample format {format}"))),
    })
}

fn block_size(directory: &Directory<'_>, size: Size) -> Result<(Layout, Size), Rejection> {
    if directory.has(own::TILE_WIDTH) || directory.has(own::TILE_OFFSETS) {
        let block = Size::new(side(directory, own::TILE_WIDTH)?, side(directory, own::TILE_LENGTH)?);
        return Ok((Layout::Tiles, block));
    }
    // By default, and with 2³² − 1, all rows are one strip.
    let rows = match stated(directory, own::ROWS_PER_STRIP, u64::MAX)? {
        0 => return Err(corrupt("strips without rows")),
        rows => rows.min(size.height.into()) as u32,
    };
    Ok((Layout::Strips, Size::new(size.width, rows)))
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
