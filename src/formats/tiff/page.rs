//! One image of a TIFF file, by its directory: size, blocks, samples, compression.

use std::sync::Arc;

use super::{compression, tag as own};
use crate::formats::image::{corrupt, unsupported};
use crate::formats::raster::{BlockGrid, BlockLayout, Codec, Photometric, Predictor, StoredSamples};
use crate::formats::tags::{Array, Directory, tag};
use crate::vocabulary::geometry::Size;
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

/// One image of the file, and where its block tables lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Its blocks.
    pub grid: BlockGrid,
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
        let codec = codec(directory)?;
        let photometric = photometric(directory, codec)?;
        let (stored_bits, format) = sample_format(directory)?;
        let (layout, block) = block_size(directory, size)?;
        let [offsets_tag, counts_tag] = match layout {
            BlockLayout::Tiles => [own::TILE_OFFSETS, own::TILE_BYTE_COUNTS],
            BlockLayout::Strips => [own::STRIP_OFFSETS, own::STRIP_BYTE_COUNTS],
        };
        let offsets = directory.array(offsets_tag).ok_or_else(|| missing(offsets_tag))?;
        let grid = BlockGrid {
            size,
            layout,
            block,
            num_bands,
            separate: num_bands > 1 && stated(directory, tag::PLANAR, 1)? == 2,
            stored: StoredSamples {
                kind: kind(stored_bits, format)?,
                stored_bits,
                photometric,
                codec,
                predictor: predictor(directory, codec)?,
                fill: None,
                order: directory.order(),
                reversed_bits: stated(directory, tag::FILL_ORDER, 1)? == 2,
                tables: jpeg_tables(directory, codec)?,
                dicom: None,
            },
        };
        check_samples(&grid)?;
        let mut page = Self { grid, cut: false, offsets, byte_counts: directory.array(counts_tag) };
        page.cut();
        page.check_blocks(file_bytes)?;
        Ok(page)
    }

    /// Makes pieces of a strip that holds all rows, if nothing stands in the way.
    fn cut(&mut self) {
        let grid = &mut self.grid;
        let row_bytes = grid.stored_row_bytes();
        let is_large = row_bytes.saturating_mul(grid.size.height.into()) > CUT_BYTES;
        let is_one = grid.layout == BlockLayout::Strips && grid.block.height == grid.size.height;
        if is_one && is_large && grid.stored.codec == Codec::None {
            grid.block.height = (CUT_BYTES / row_bytes).max(1) as u32;
            self.cut = true;
        }
    }

    /// Checks sizes and tables against each other and against the file, before anything is read.
    fn check_blocks(&self, file_bytes: u64) -> Result<(), Rejection> {
        let grid = &self.grid;
        let bytes = grid.max_block_bytes();
        if bytes > MAX_BLOCK_BYTES {
            let detail = format!("a block of {} decodes to {bytes} bytes", grid.block);
            return Err(Rejection::new(Reason::TooLarge, detail));
        }
        let num_blocks = if self.cut { grid.num_planes().into() } else { grid.num_blocks() };
        for (array, what) in [(Some(self.offsets), "offsets"), (self.byte_counts, "sizes")] {
            let Some(array) = array else { continue };
            if !array.is_unsigned() {
                return Err(corrupt(format!("the block {what} are not integers")));
            }
            // Samples that are stored as they are take as many bytes as they take.
            let may_lack = what == "sizes" && grid.stored.codec == Codec::None;
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
        if u32::try_from(grid.num_blocks()).is_err() {
            return Err(Rejection::new(Reason::TooLarge, format!("{} blocks", grid.num_blocks())));
        }
        Ok(())
    }
}

/// Refuses combinations of samples, predictor and compression that no reader knows.
fn check_samples(grid: &BlockGrid) -> Result<(), Rejection> {
    let (kind, bits, codec) = (grid.stored.kind, grid.stored.stored_bits, grid.stored.codec);
    let floats = matches!(kind, SampleKind::F32 | SampleKind::F64);
    match grid.stored.predictor {
        Predictor::Horizontal if !matches!(bits, 8 | 16 | 32 | 64) => {
            return Err(unsupported(format!("predictor 2 with {bits}-bit samples")));
        }
        Predictor::FloatingPoint if !floats => {
            return Err(corrupt(format!("predictor 3 with {kind} samples")));
        }
        _ => {}
    }
    let fits = match codec {
        Codec::Jpeg => kind == SampleKind::U8 && bits == 8,
        Codec::WebP => bits == 8 && matches!(grid.num_bands, 3 | 4) && !grid.separate,
        Codec::Lerc(_) => bits.is_multiple_of(8) && u64::from(bits) == 8 * kind.num_bytes(),
        _ => true,
    };
    if !fits {
        let bands = grid.num_bands;
        return Err(unsupported(format!("{codec} with {bands} bands of {bits} bits ({kind})")));
    }
    Ok(())
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
fn jpeg_tables(directory: &Directory<'_>, codec: Codec) -> Result<Option<Arc<[u8]>>, Rejection> {
    let Some(array) = directory.array(own::JPEG_TABLES).filter(|_| codec == Codec::Jpeg) else {
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
        .ok_or_else(|| corrupt(format!("{count} samples per pixel")))
}

fn codec(directory: &Directory<'_>) -> Result<Codec, Rejection> {
    let code = stated(directory, tag::COMPRESSION, 1)?;
    let lerc_parameters = directory.unsigned_list(own::LERC_PARAMETERS).unwrap_or_default();
    compression::codec(code, &lerc_parameters).map_err(|name| unsupported(format!("TIFF with {name}")))
}

fn predictor(directory: &Directory<'_>, codec: Codec) -> Result<Predictor, Rejection> {
    if !compression::takes_predictor(codec) {
        return Ok(Predictor::None);
    }
    match stated(directory, own::PREDICTOR, 1)? {
        1 => Ok(Predictor::None),
        2 => Ok(Predictor::Horizontal),
        3 => Ok(Predictor::FloatingPoint),
        other => Err(unsupported(format!("TIFF with predictor {other}"))),
    }
}

fn photometric(directory: &Directory<'_>, codec: Codec) -> Result<Photometric, Rejection> {
    // Without the tag black is 0, as GDAL takes it.
    Ok(match stated(directory, tag::PHOTOMETRIC, MIN_IS_BLACK)? {
        0 => Photometric::MinIsWhite,
        MIN_IS_BLACK => Photometric::MinIsBlack,
        2 => Photometric::Rgb,
        3 => Photometric::Palette,
        4 => Photometric::Mask,
        5 => Photometric::Cmyk,
        6 if codec == Codec::Jpeg => Photometric::YCbCr,
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

fn block_size(directory: &Directory<'_>, size: Size) -> Result<(BlockLayout, Size), Rejection> {
    if directory.has(own::TILE_WIDTH) || directory.has(own::TILE_OFFSETS) {
        let block = Size::new(side(directory, own::TILE_WIDTH)?, side(directory, own::TILE_LENGTH)?);
        return Ok((BlockLayout::Tiles, block));
    }
    // By default, and with 2³² − 1, all rows are one strip.
    let rows = match stated(directory, own::ROWS_PER_STRIP, u64::MAX)? {
        0 => return Err(corrupt("strips without rows")),
        rows => rows.min(size.height.into()) as u32,
    };
    Ok((BlockLayout::Strips, Size::new(size.width, rows)))
}
