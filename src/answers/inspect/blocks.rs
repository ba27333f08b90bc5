//! Reads a window of a scene: of the object, nothing but the blocks that the window needs.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::chip::{ChipRequest, check_window};
use super::header::Ranges;
use crate::formats::image::Limits;
use crate::formats::tiff::{BlockId, Page, TiffHeader, parse_blocks};
use crate::input::storage::{ObjectUri, StoreError};
use crate::stages::decode::blocks::{Block, Part, decode_block, read_window};
use crate::vocabulary::chip::{Bands, Chip};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::{Reason, Rejection};

/// Blocks that lie so close together are read with one request.
const GAP_BYTES: u64 = 64 << 10;
/// The largest request, unless a block is larger.
const MAX_BYTES: u64 = 16 << 20;
/// So many requests are on their way at once.
const AT_ONCE: usize = 8;

/// Reads what is wanted of a scene: `[height, width, bands]`, all bands, samples as stored.
///
/// # Errors
///
/// As [`super::decode_window`].
pub(super) async fn read_scene(
    uri: &ObjectUri,
    ranges: &mut Ranges<'_>,
    header: &TiffHeader,
    limits: &Limits,
    wanted: ChipRequest,
) -> Result<Chip> {
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
    let mut blocks = HashMap::new();
    read_blocks(uri, ranges, page, Part::Pixels, &pixels, &mut blocks).await?;
    if let Some(mask) = &header.levels[level].mask {
        read_blocks(uri, ranges, mask, Part::Mask, &masks, &mut blocks).await?;
    }
    let read = read_window(header, level, window, &bands, |part, id| Ok(&blocks[&(part, id)]));
    let read = read.map_err(|rejection| undecoded(uri, rejection))?;
    Ok(Chip { size: read.size, bands: meaning(header), samples: read.samples })
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

/// Reads and decodes blocks of one page.
async fn read_blocks(
    uri: &ObjectUri,
    ranges: &mut Ranges<'_>,
    page: &Page,
    part: Part,
    ids: &[BlockId],
    blocks: &mut HashMap<(Part, BlockId), Block>,
) -> Result<()> {
    let reject = |rejection| undecoded(uri, rejection);
    let table =
        ranges.answer(|object| parse_blocks(object, page, ids)).await.map_err(|f| f.into_error(uri))?;
    let table = table.map_err(reject)?;
    let mut stored = Vec::new();
    for &id in ids {
        match table.range(id).map_err(reject)? {
            Some(range) => stored.push((id, range)),
            None => drop(blocks.insert((part, id), decode_block(page, id, None).map_err(reject)?)),
        }
    }
    let requests = stream::iter(coalesced(stored)).map(|request| ranges.read(request));
    let mut answers = requests.buffered(AT_ONCE);
    let mut read_bytes = 0;
    while let Some((request, bytes)) =
        answers.try_next().await.map_err(|fault: StoreError| fault.into_error(uri))?
    {
        read_bytes += bytes.len() as u64;
        for (id, range) in request.blocks {
            let first = (range.start - request.range.start) as usize;
            let stored = &bytes[first..][..(range.end - range.start) as usize];
            blocks.insert((part, id), decode_block(page, id, Some(stored)).map_err(reject)?);
        }
    }
    drop(answers);
    ranges.read_bytes += read_bytes;
    Ok(())
}

/// Blocks that are read with one request.
pub(super) struct Request {
    pub(super) range: Range<u64>,
    blocks: Vec<(BlockId, Range<u64>)>,
}

/// Puts neighbouring blocks together.
fn coalesced(mut stored: Vec<(BlockId, Range<u64>)>) -> Vec<Request> {
    stored.sort_by_key(|(_, range)| range.start);
    let mut requests: Vec<Request> = Vec::new();
    for (id, range) in stored {
        match requests.last_mut() {
            Some(last)
                if range.start <= last.range.end.saturating_add(GAP_BYTES)
                    && range.end - last.range.start <= MAX_BYTES =>
            {
                last.range.end = last.range.end.max(range.end);
                last.blocks.push((id, range));
            }
            _ => requests.push(Request { range: range.clone(), blocks: vec![(id, range)] }),
        }
    }
    requests
}

impl Ranges<'_> {
    async fn read(&self, request: Request) -> Result<(Request, Bytes), StoreError> {
        let length = request.range.end - request.range.start;
        let bytes = self.get(request.range.start, length).await?;
        if (bytes.len() as u64) < length {
            return Err(StoreError::Changed { version: None });
        }
        Ok((request, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together() {
        let requests = |ranges: &[Range<u64>]| {
            let stored = ranges.iter().enumerate().map(|(at, range)| (BlockId(at as u32), range.clone()));
            let requests = coalesced(stored.collect());
            requests.iter().map(|request| (request.range.start, request.range.end)).collect::<Vec<_>>()
        };
        assert_eq!(requests(&[100..200, 0..100, 300..400]), [(0, 400)]);
        assert_eq!(requests(&[0..100, 100 + GAP_BYTES + 1..100 + GAP_BYTES + 2]).len(), 2);
        assert_eq!(requests(&[0..MAX_BYTES, MAX_BYTES..MAX_BYTES + 1]).len(), 2);
        assert_eq!(requests(&[0..50, 0..50]), [(0, 50)], "two blocks may share their bytes");
    }
}
