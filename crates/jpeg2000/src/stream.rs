//! The code stream's headers: the main one and those of tile-parts (T.800 Annex A).

use tilefleet_codec::{Result, corrupt, truncated, unsupported};

use crate::bytes::Bytes;
use crate::coding::Coding;
use crate::size::Size;

mod marker {
    pub(super) const SOC: u16 = 0xFF4F;
    pub(super) const SIZ: u16 = 0xFF51;
    pub(super) const PPM: u16 = 0xFF60;
    pub(super) const PPT: u16 = 0xFF61;
    pub(super) const SOT: u16 = 0xFF90;
    pub(super) const SOD: u16 = 0xFF93;
    pub(super) const EOC: u16 = 0xFFD9;
}

/// The main header.
#[derive(Debug)]
pub(crate) struct MainHeader<'a> {
    pub(crate) size: Size,
    pub(crate) coding: Coding,
    /// The segments PPM with their indices.
    packed: Vec<(u8, &'a [u8])>,
}

/// What the stream holds of a tile: its tile-parts, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct TileParts<'a> {
    /// Marker segments that say how it is coded.
    segments: Vec<(u16, &'a [u8])>,
    /// Packets.
    pub(crate) bodies: Vec<&'a [u8]>,
    /// Segments PPT with their indices.
    packed: Vec<(u8, &'a [u8])>,
    /// Packet headers of the main header that belong to it.
    from_main: Vec<u8>,
}

impl TileParts<'_> {
    /// Returns how the tile is coded, where the main header says `main`.
    pub(crate) fn coding(&self, main: &Coding) -> Result<Coding> {
        let mut coding = main.for_tile();
        let mut has_order = false;
        for &(marker, segment) in &self.segments {
            // The first POC of a tile replaces those of the main header (A.6.6).
            if marker == 0xFF5F && !has_order {
                coding.volumes.clear();
                has_order = true;
            }
            coding.read(marker, &mut Bytes::new(segment, "a tile-part header"))?;
        }
        Ok(coding)
    }

    /// Returns its packet headers, if they are not among the packets (A.7.4, A.7.5).
    pub(crate) fn packed_headers(&self) -> Option<Vec<u8>> {
        if !self.packed.is_empty() {
            return Some(joined(&self.packed));
        }
        (!self.from_main.is_empty()).then(|| self.from_main.clone())
    }
}

/// Joins segments by their indices.
fn joined(segments: &[(u8, &[u8])]) -> Vec<u8> {
    let mut sorted = segments.to_vec();
    sorted.sort_by_key(|&(index, _)| index);
    sorted.iter().flat_map(|&(_, bytes)| bytes).copied().collect()
}

/// Reads the main header, and leaves `bytes` at the first tile-part.
pub(crate) fn main_header<'a>(bytes: &mut Bytes<'a>) -> Result<MainHeader<'a>> {
    if bytes.u16()? != marker::SOC || bytes.u16()? != marker::SIZ {
        return Err(corrupt("not a JPEG 2000 code stream: it does not begin with SOC and SIZ"));
    }
    let size = Size::parse(&mut segment(bytes)?)?;
    let mut header = MainHeader { coding: Coding::new(size.components.len()), size, packed: Vec::new() };
    loop {
        let marker = bytes.u16()?;
        if marker == marker::SOT {
            header.coding.check()?;
            return Ok(header);
        }
        let mut segment = segment_of(marker, bytes)?;
        if marker == marker::PPM {
            header.packed.push((segment.u8()?, segment.rest()));
        } else if !header.coding.read(marker, &mut segment)? {
            skip(marker)?;
        }
    }
}

/// Checks that a marker segment may be ignored: it does not concern how samples are made.
fn skip(marker: u16) -> Result<()> {
    match marker {
        // Of T.801, such as other transforms of components.
        0xFF70..=0xFF79 => Err(unsupported(format!("marker {marker:04X}, an extension of T.801"))),
        0xFF4F | 0xFF51 | 0xFF90..=0xFF93 | 0xFFD9 => {
            Err(corrupt(format!("marker {marker:04X} in a header")))
        }
        _ => Ok(()),
    }
}

fn segment<'a>(bytes: &mut Bytes<'a>) -> Result<Bytes<'a>> {
    let len = usize::from(bytes.u16()?);
    let len = len.checked_sub(2).ok_or_else(|| corrupt(format!("a marker segment of {len} bytes")))?;
    Ok(Bytes::new(bytes.take(len)?, "a marker segment"))
}

/// Returns a marker's segment, which some lack (A.1.3).
fn segment_of<'a>(marker: u16, bytes: &mut Bytes<'a>) -> Result<Bytes<'a>> {
    match marker {
        0xFF30..=0xFF3F => Ok(Bytes::new(&[], "a marker")),
        0xFF00.. => segment(bytes),
        _ => Err(corrupt(format!("{marker:04X} where a marker has to be"))),
    }
}

/// Reads all tile-parts after the main header.
///
/// - `bytes`: from behind the first SOT on
/// - returns: the parts of each tile
///
/// # Errors
///
/// Truncated if a tile or a part of one is missing. That EOC is missing is no error: many encoders leave it out.
pub(crate) fn tile_parts<'a>(header: &MainHeader<'a>, bytes: &mut Bytes<'a>) -> Result<Vec<TileParts<'a>>> {
    let (columns, rows) = header.size.num_tiles();
    let num_tiles = u64::from(columns) * u64::from(rows);
    if num_tiles > 65535 {
        return Err(corrupt(format!("{num_tiles} tiles")));
    }
    let packed = joined(&header.packed);
    let mut packed = (!packed.is_empty()).then(|| Bytes::new(&packed, "the packed packet headers"));
    let mut tiles = vec![TileParts::default(); num_tiles as usize];
    loop {
        tile_part(&mut tiles, &mut packed, bytes)?;
        // What is left of one that has no EOC is at most padding.
        if bytes.rest().iter().all(|&byte| byte == 0) {
            break;
        }
        match bytes.u16()? {
            marker::SOT => {}
            marker::EOC => break,
            other => return Err(corrupt(format!("{other:04X} between tile-parts"))),
        }
    }
    if let Some(missing) = tiles.iter().position(|tile| tile.bodies.is_empty()) {
        return Err(truncated(format!("tile {missing} of {num_tiles} is missing")));
    }
    Ok(tiles)
}

/// Reads a tile-part from behind its SOT on (A.4.2).
fn tile_part<'a>(
    tiles: &mut [TileParts<'a>],
    packed: &mut Option<Bytes<'_>>,
    bytes: &mut Bytes<'a>,
) -> Result<()> {
    let mut start = segment(bytes)?;
    let (index, len) = (start.u16()?, start.u32()?);
    let num_tiles = tiles.len();
    let tile = tiles.get_mut(usize::from(index));
    let tile = tile.ok_or_else(|| corrupt(format!("tile {index} of {num_tiles}")))?;
    let len = match len {
        0 => without_eoc(bytes.rest()).len(),
        // Counted from the marker on.
        _ => (len as usize).checked_sub(12).ok_or_else(|| corrupt(format!("a tile-part of {len} bytes")))?,
    };
    let left = bytes.rest().len();
    if len > left {
        return Err(truncated(format!("a part of tile {index} has {left} of its {len} bytes")));
    }
    let mut part = Bytes::new(bytes.take(len)?, "a tile-part");
    tile_part_header(tile, &mut part)?;
    tile.bodies.push(part.rest());
    if let Some(packed) = packed {
        let len = packed.u32()?;
        tile.from_main.extend_from_slice(packed.take(len as usize)?);
    }
    Ok(())
}

fn tile_part_header<'a>(tile: &mut TileParts<'a>, part: &mut Bytes<'a>) -> Result<()> {
    loop {
        let marker = part.u16()?;
        if marker == marker::SOD {
            return Ok(());
        }
        let mut segment = segment_of(marker, part)?;
        match marker {
            marker::PPT => tile.packed.push((segment.u8()?, segment.rest())),
            0xFF52 | 0xFF53 | 0xFF5C..=0xFF5F => tile.segments.push((marker, segment.rest())),
            _ => skip(marker)?,
        }
    }
}

fn without_eoc(bytes: &[u8]) -> &[u8] {
    bytes.strip_suffix(&marker::EOC.to_be_bytes()).unwrap_or(bytes)
}
