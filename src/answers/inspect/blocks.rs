//! Reads blocks of a scene and decodes them: of the object, nothing but what a window needs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::chip::{ChipRequest, check_window};
use crate::formats::image::Limits;
use crate::formats::tiff::{BlockId, Page, TiffHeader};
use crate::input::open::OpenRaster;
use crate::input::storage::{ObjectUri, StoreError};
use crate::stages::decode::blocks::{Block, Part, decode_block, read_window};
use crate::vocabulary::chip::{Bands, Chip};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::{Reason, Rejection};

/// Blocks of one object by their place: level, whether of the mask, id. One that cannot be decoded fails those who need
/// it.
pub(super) type Blocks = HashMap<(usize, bool, BlockId), Result<Block, Rejection>>;

/// Reads what is wanted of a scene: `[height, width, bands]`, all bands, samples as stored.
///
/// # Errors
///
/// As [`super::decode_window`].
pub(super) async fn read_scene(object: &OpenRaster, limits: &Limits, wanted: ChipRequest) -> Result<Chip> {
    let (uri, header) = (object.uri(), object.file());
    let level = check_part(uri, header, wanted)?;
    let size = header.levels[level].pixels.size;
    let window = wanted.window.unwrap_or_else(|| Window::whole(size));
    check_window(uri, size, window)?;
    let page = &header.levels[level].pixels;
    check_limits(page, window, limits).map_err(|rejection| {
        undecoded(uri, rejection)
            .hint("ask for less with --window or --level, or allow more with --set limits.max_pixels=NUMBER")
    })?;
    let bands: Vec<u16> = (0..page.num_bands).collect();
    let (pixels, masks) = header.blocks_for(level, window, &bands);
    let needed = pixels.into_iter().map(|id| (level, false, id));
    let needed = needed.chain(masks.into_iter().map(|id| (level, true, id)));
    let blocks = decoded(object, needed).await.map_err(|fault| fault.into_error(uri))?;
    let blocks = blocks.map_err(|rejection| undecoded(uri, rejection))?;
    let block = |part, id| blocks[&(level, part == Part::Mask, id)].as_ref().map_err(Clone::clone);
    let read = read_window(header, level, window, &bands, block);
    let read = read.map_err(|rejection| undecoded(uri, rejection))?;
    Ok(Chip { size: read.size, bands: meaning(header), samples: read.samples })
}

/// Reads and decodes blocks, each once.
///
/// # Errors
///
/// As the store answers.
pub(super) async fn decoded(
    object: &OpenRaster,
    needed: impl IntoIterator<Item = (usize, bool, BlockId)>,
) -> Result<Result<Blocks, Rejection>, StoreError> {
    let mut pages: BTreeMap<(usize, bool), Vec<BlockId>> = BTreeMap::new();
    for (level, mask, id) in needed {
        pages.entry((level, mask)).or_default().push(id);
    }
    let mut blocks = Blocks::new();
    for ((level, mask), mut ids) in pages {
        ids.sort_unstable();
        ids.dedup();
        let table = match object.table(level, mask, &ids).await? {
            Ok(table) => table,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let ranges: Vec<_> = ids.iter().map(|&id| table.range(id)).collect();
        let stored: Vec<Range<u64>> = ranges.iter().filter_map(|range| range.clone().ok()?).collect();
        let mut bytes = object.reader().read(&stored).await?.into_iter();
        for (id, range) in ids.into_iter().zip(ranges) {
            let block = range.and_then(|range| {
                let stored = range.map(|_| bytes.next().expect("one for each range"));
                decode_block(object.page(level, mask), id, stored.as_deref())
            });
            blocks.insert((level, mask, id), block);
        }
    }
    Ok(Ok(blocks))
}

/// Says of a part of a scene that it cannot be decoded; a run may well decode other parts.
fn undecoded(uri: &ObjectUri, rejection: Rejection) -> Error {
    Error::new(Kind::Rejected, format!("cannot decode this part of {uri}")).because(rejection)
}

fn check_part(uri: &ObjectUri, header: &TiffHeader, wanted: ChipRequest) -> Result<usize> {
    let ChipRequest { level, frame, .. } = wanted;
    let last = header.levels.len() - 1;
    if level as usize > last {
        let there = if last == 0 { "only level 0".to_owned() } else { format!("only levels 0 to {last}") };
        return Err(Error::usage(format!("{uri} has no level {level}, {there}")));
    }
    if frame != 0 {
        return Err(Error::usage(format!("{uri} has no frame {frame}, only frame 0")));
    }
    Ok(level as usize)
}

fn check_limits(page: &Page, window: Window, limits: &Limits) -> Result<(), Rejection> {
    let pixels = u64::from(window.width) * u64::from(window.height);
    let bytes = pixels.saturating_mul(u64::from(page.num_bands) * page.kind.num_bytes());
    if pixels > limits.max_pixels || bytes > limits.max_decoded_bytes {
        let limit = limits.max_pixels;
        let detail = format!("{window} is {pixels} pixels or {bytes} bytes, the limit is {limit} pixels");
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    Ok(())
}

/// Returns what the bands mean, as far as a picture can show it.
fn meaning(header: &TiffHeader) -> Bands {
    let colours: Vec<&str> = header.bands.iter().map(|band| band.colour.as_str()).collect();
    match colours.as_slice() {
        ["gray"] => Bands::Grey,
        ["gray", "alpha"] => Bands::GreyAlpha,
        ["red", "green", "blue"] => Bands::Rgb,
        ["red", "green", "blue", "alpha"] => Bands::Rgba,
        colours => Bands::Many(colours.len() as u16),
    }
}
