//! Reads blocks of a scene and decodes them: of the object, nothing but what a window needs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::chip::{ChipRequest, check_window};
use crate::formats::image::Limits;
use crate::formats::raster::{BlockGrid, BlockId, GridId, Part, RasterFile};
use crate::input::byte_ranges::ReadError;
use crate::input::open::OpenRaster;
use crate::input::storage::ObjectUri;
use crate::stages::decode::blocks::{Block, decode_block, read_window};
use crate::vocabulary::chip::{Bands, Chip};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::{Reason, Rejection};

/// Blocks of one object by their place. One that cannot be decoded fails those who need it.
pub(super) type Blocks = HashMap<(GridId, BlockId), Result<Block, Rejection>>;

/// Reads what is wanted of a scene: `[height, width, bands]`, all bands, samples as stored.
///
/// # Errors
///
/// As [`super::decode_window`].
pub(super) async fn read_scene(object: &OpenRaster, limits: &Limits, wanted: ChipRequest) -> Result<Chip> {
    let (uri, file) = (object.uri(), object.file());
    let (frame, level) = check_part(uri, file, wanted)?;
    let grid = file.pixels(frame, level);
    let window = wanted.window.unwrap_or_else(|| Window::whole(grid.size));
    check_window(uri, grid.size, window)?;
    check_limits(grid, window, limits).map_err(|rejection| {
        undecoded(uri, rejection)
            .hint("choose less with --window or --level, or allow more with --set limits.max_pixels=NUMBER")
    })?;
    let bands: Vec<u16> = (0..grid.num_bands).collect();
    let (pixels, masks) = file.blocks_for(frame, level, window, &bands);
    let of = |part| move |id| (GridId { frame, level, part }, id);
    let needed = pixels.into_iter().map(of(Part::Pixels)).chain(masks.into_iter().map(of(Part::Mask)));
    let blocks = decoded(object, needed).await.map_err(|error| match error {
        ReadError::Rejected(rejection) => undecoded(uri, rejection),
        ReadError::Store(fault) => fault.into_error(uri),
    })?;
    let block = |part, id| blocks[&(GridId { frame, level, part }, id)].as_ref().map_err(Clone::clone);
    let read = read_window(file, frame, level, window, &bands, block);
    let read = read.map_err(|rejection| undecoded(uri, rejection))?;
    Ok(Chip { size: read.size, bands: meaning(file), samples: read.samples })
}

/// Reads and decodes blocks, each once.
///
/// # Errors
///
/// [`ReadError`]
pub(super) async fn decoded(
    object: &OpenRaster,
    needed: impl IntoIterator<Item = (GridId, BlockId)>,
) -> Result<Blocks, ReadError> {
    let mut grids: BTreeMap<GridId, Vec<BlockId>> = BTreeMap::new();
    for (grid, id) in needed {
        grids.entry(grid).or_default().push(id);
    }
    let mut blocks = Blocks::new();
    for (grid, mut ids) in grids {
        ids.sort_unstable();
        ids.dedup();
        let table = object.table(grid, &ids).await?;
        let ranges: Vec<_> = ids.iter().map(|&id| table.range(id)).collect();
        let stored: Vec<Range<u64>> = ranges.iter().filter_map(|range| range.clone().ok()?).collect();
        let mut bytes = object.reader().read(&stored).await?.into_iter();
        for (id, range) in ids.into_iter().zip(ranges) {
            let block = range.and_then(|range| {
                let stored = range.map(|_| bytes.next().expect("one for each range"));
                decode_block(&object.grid(grid).spec(id), stored.as_deref())
            });
            blocks.insert((grid, id), block);
        }
    }
    Ok(blocks)
}

/// Says of a part of a scene that it cannot be decoded; a run may well decode other parts.
fn undecoded(uri: &ObjectUri, rejection: Rejection) -> Error {
    Error::new(Kind::Rejected, format!("cannot decode this part of {uri}")).because(rejection)
}

/// Returns the frame and the level that are wanted, if they are there.
fn check_part(uri: &ObjectUri, file: &dyn RasterFile, wanted: ChipRequest) -> Result<(u32, usize)> {
    let ChipRequest { level, frame, .. } = wanted;
    let there = |what: &str, last: u64| match last {
        0 => format!("only {what} 0"),
        last => format!("only {what}s 0 to {last}"),
    };
    let (last_level, last_frame) = (file.num_levels() as u64 - 1, file.num_frames() - 1);
    if u64::from(level) > last_level {
        return Err(Error::usage(format!("{uri} has no level {level}, {}", there("level", last_level))));
    }
    if frame > last_frame {
        let there = there("frame", last_frame.into());
        return Err(Error::usage(format!("{uri} has no frame {frame}, {there}")));
    }
    Ok((frame, level as usize))
}

fn check_limits(grid: &BlockGrid, window: Window, limits: &Limits) -> Result<(), Rejection> {
    let pixels = u64::from(window.width) * u64::from(window.height);
    let bytes = pixels.saturating_mul(u64::from(grid.num_bands) * grid.stored.kind.num_bytes());
    if pixels > limits.max_pixels || bytes > limits.max_decoded_bytes {
        let limit = limits.max_pixels;
        let detail = format!("{window} has {pixels} pixels, {bytes} bytes; the limit is {limit} pixels");
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    Ok(())
}

/// Returns what the bands mean, as far as a picture can show it.
fn meaning(file: &dyn RasterFile) -> Bands {
    let colours: Vec<&str> = file.bands(0).iter().map(|band| band.colour.as_str()).collect();
    match colours.as_slice() {
        ["gray"] => Bands::Grey,
        ["gray", "alpha"] => Bands::GreyAlpha,
        ["red", "green", "blue"] => Bands::Rgb,
        ["red", "green", "blue", "alpha"] => Bands::Rgba,
        colours => Bands::Many(colours.len() as u16),
    }
}
