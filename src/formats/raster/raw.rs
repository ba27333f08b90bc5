//! A raw raster, for tests: a line of text, then samples as they are, frame after frame.
//!
//! ```text
//! raster WIDTH HEIGHT BANDS FRAMES [KEY=NUMBER]…⏎   then FRAMES × [height, width, bands] samples of 16 bits, big-endian
//! ```
//!
//! It is what TIFF is not: several frames, of one block each, and no tables, levels, masks or place on the Earth. So it
//! shows that nobody counts on the shape of TIFF. The key `microns` is the side of a pixel; `step` is what the values of
//! the first frame are above their samples, `nodata` its sample without data: both are twice as much in the second frame,
//! and so on.

use std::sync::Arc;

use crate::formats::bytes::Order;
use crate::formats::image::{corrupt, truncated};
use crate::formats::partial::{Parsed, Partial, View};
use crate::formats::raster::{
    BandInfo, BlockGrid, BlockId, BlockLayout, BlockTable, Codec, Container, Entry, GridId, NodataValue,
    Part, Photometric, Predictor, RasterFile, StoredSamples, ValueMapping,
};
use crate::geo::GeoTags;
use crate::vocabulary::geometry::Size;
use crate::vocabulary::reason::Rejection;
use crate::vocabulary::sample::SampleKind;

/// No header is longer.
const MAX_HEADER_BYTES: usize = 64;

/// What the header says.
#[derive(Debug)]
struct RawRaster {
    grid: BlockGrid,
    /// Of each frame.
    frames: Vec<RawFrame>,
    microns: Option<f64>,
    header_bytes: u64,
}

/// What the header says of one frame.
#[derive(Debug)]
struct RawFrame {
    bands: Vec<BandInfo>,
    nodata: Option<NodataValue>,
}

/// Writes a file.
///
/// - `sample`: of a frame, column, row and band
pub fn file(
    size: Size,
    num_bands: u16,
    num_frames: u32,
    sample: impl Fn(u32, u32, u32, u16) -> u16,
) -> Vec<u8> {
    let Size { width, height } = size;
    let mut file = format!("raster {width} {height} {num_bands} {num_frames}\n").into_bytes();
    for frame in 0..num_frames {
        for pixel in 0..size.num_pixels() as u32 {
            let samples = (0..num_bands).map(|band| sample(frame, pixel % width, pixel / width, band));
            file.extend(samples.flat_map(u16::to_be_bytes));
        }
    }
    file
}

/// Returns a file whose header says more.
///
/// - `words`: keys and their numbers
pub fn saying(words: &str, file: &[u8]) -> Vec<u8> {
    let end = file.iter().position(|byte| *byte == b'\n').expect("a file begins with a line");
    [&file[..end], b" ", words.as_bytes(), &file[end..]].concat()
}

/// Reads the header from the parts of the object that have been read.
pub fn parse_partial(object: &Partial) -> Parsed<Arc<dyn RasterFile>> {
    object.parse(|view| parse(view).map(|file| Arc::new(file) as Arc<dyn RasterFile>))
}

fn parse(view: View<'_>) -> Result<RawRaster, Rejection> {
    let start = view.slice(0, view.object_bytes().min(MAX_HEADER_BYTES)).unwrap_or_default();
    let end = start.iter().position(|byte| *byte == b'\n').ok_or_else(|| truncated("no line"))?;
    let text = str::from_utf8(&start[..end]).map_err(|_| corrupt("no text"))?;
    let words: Vec<&str> =
        text.strip_prefix("raster ").ok_or_else(|| corrupt("no raster"))?.split(' ').collect();
    let (numbers, keys): (Vec<&str>, Vec<&str>) = words.into_iter().partition(|word| !word.contains('='));
    let numbers: Result<Vec<u32>, _> = numbers.into_iter().map(str::parse).collect();
    let Ok(&[width, height, num_bands, num_frames]) = numbers.as_deref() else {
        return Err(corrupt("no four numbers"));
    };
    let num_bands = u16::try_from(num_bands).map_err(|_| corrupt("too many bands"))?;
    if width == 0 || height == 0 || num_bands == 0 || num_frames == 0 {
        return Err(corrupt("nothing in it"));
    }
    let said = |key: &str| {
        keys.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<f64>().ok())
    };
    let frame = |number: u32| {
        let times = f64::from(number + 1);
        RawFrame {
            bands: (0..num_bands)
                .map(|band| info(band, said("step").map_or(0.0, |step| step * times)))
                .collect(),
            nodata: said("nodata").map(|nodata| NodataValue::of(nodata * times)),
        }
    };
    Ok(RawRaster {
        grid: grid(Size::new(width, height), num_bands),
        frames: (0..num_frames).map(frame).collect(),
        microns: said("microns"),
        header_bytes: end as u64 + 1,
    })
}

fn info(band: u16, offset: f64) -> BandInfo {
    BandInfo {
        colour: "gray".to_owned(),
        description: Some(format!("band {band}")),
        values: ValueMapping { offset, ..ValueMapping::default() },
    }
}

fn grid(size: Size, num_bands: u16) -> BlockGrid {
    BlockGrid {
        size,
        layout: BlockLayout::Strips,
        block: size,
        num_bands,
        separate: false,
        stored: StoredSamples {
            kind: SampleKind::U16,
            stored_bits: 16,
            photometric: Photometric::MinIsBlack,
            codec: Codec::None,
            predictor: Predictor::None,
            fill: None,
            order: Order::Big,
            reversed_bits: false,
            tables: None,
            dicom: None,
        },
    }
}

impl RasterFile for RawRaster {
    fn num_frames(&self) -> u32 {
        self.frames.len() as u32
    }

    fn num_levels(&self) -> usize {
        1
    }

    fn grid(&self, id: GridId) -> Option<&BlockGrid> {
        let is_there = id.frame < self.num_frames() && id.level == 0 && id.part == Part::Pixels;
        is_there.then_some(&self.grid)
    }

    fn bands(&self, frame: u32) -> &[BandInfo] {
        &self.frames[frame as usize].bands
    }

    fn nodata(&self, frame: u32) -> Option<NodataValue> {
        self.frames[frame as usize].nodata
    }

    fn microns(&self) -> Option<[f64; 2]> {
        self.microns.map(|side| [side; 2])
    }

    fn geo(&self) -> Option<&GeoTags> {
        None
    }

    fn notes(&self) -> &[String] {
        &[]
    }

    fn container(&self) -> Container {
        Container { big_tiff: false, big_endian: true, num_pages: self.num_frames() }
    }

    fn locate(&self, object: &Partial, id: GridId, _: &[BlockId]) -> Parsed<BlockTable> {
        let length = self.grid.max_block_bytes();
        let offset = self.header_bytes + u64::from(id.frame) * length;
        let entry = Entry::At { offset, length };
        object.parse(|view| Ok(BlockTable::new(&self.grid, 0, vec![entry], view.object_bytes() as u64)))
    }
}
