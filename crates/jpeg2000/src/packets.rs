//! Packets: which bytes belong to which code-block (T.800 B.9, B.10).

use tilefleet_codec::{Result, corrupt, truncated};

use crate::coding::{Coding, style};
use crate::packet_bits::PacketBits;
use crate::progression::{PacketId, for_each_packet};
use crate::stream::TileParts;
use crate::tile::{Budget, Chunk, NONE, Tile, check_planes};

const SOP: [u8; 2] = [0xFF, 0x91];
const EPH: [u8; 2] = [0xFF, 0x92];
/// SOP has a length and a number.
const SOP_BYTES: usize = 6;

/// Reads all packets of a tile.
///
/// - `complete`: an end before the last packet is an error
///
/// # Errors
///
/// Truncated if packets are missing; corrupt if their headers cannot be; too large if `budget` does not suffice.
pub(crate) fn read<'a>(
    tile: &mut Tile<'a>,
    coding: &Coding,
    parts: &TileParts<'a>,
    complete: bool,
    budget: &mut Budget,
) -> Result<()> {
    let packed = parts.packed_headers();
    let mut bodies = parts.bodies.iter();
    let mut source = Source {
        body: bodies.next().copied().unwrap_or_default(),
        bodies,
        packed: packed.as_deref(),
        found: Vec::new(),
    };
    for_each_packet(tile, coding, |tile, id, layer| {
        if !source.has_packet() {
            let missing = truncated(format!("the packets of a tile end before layer {layer} of {id:?}"));
            return if complete { Err(missing) } else { Ok(false) };
        }
        source.packet(tile, id, layer, budget)?;
        Ok(true)
    })
}

/// Where packets come from.
struct Source<'a, 'h> {
    /// What is left of the current tile-part.
    body: &'a [u8],
    bodies: std::slice::Iter<'h, &'a [u8]>,
    /// What is left of packed headers.
    packed: Option<&'h [u8]>,
    /// What the header at hand says of bodies: the code-block, passes and bytes.
    found: Vec<(u32, u8, u32)>,
}

impl<'a> Source<'a, '_> {
    /// Goes on to the next tile-part where one has ended, and tells whether there is more.
    fn has_packet(&mut self) -> bool {
        self.next_part();
        self.packed.map_or(!self.body.is_empty(), |packed| !packed.is_empty())
    }

    fn next_part(&mut self) {
        while self.body.is_empty() {
            let Some(body) = self.bodies.next() else { return };
            self.body = body;
        }
    }

    fn packet(&mut self, tile: &mut Tile<'a>, id: PacketId, layer: u16, budget: &mut Budget) -> Result<()> {
        if self.body.starts_with(&SOP) {
            self.body = self.body.get(SOP_BYTES..).ok_or_else(|| truncated("a marker SOP ends early"))?;
        }
        let header = self.packed.unwrap_or(self.body);
        let mut bits = PacketBits::new(header);
        self.found.clear();
        if bits.bit()? == 1 {
            self.header(&mut bits, tile, id, layer)?;
        }
        let rest = bits.finish()?;
        let rest = rest.strip_prefix(&EPH).unwrap_or(rest);
        match &mut self.packed {
            Some(packed) => *packed = &packed[packed.len() - rest.len()..],
            None => self.body = &self.body[self.body.len() - rest.len()..],
        }
        self.bodies_of_packet(tile, budget)
    }

    fn header(
        &mut self,
        bits: &mut PacketBits<'_>,
        tile: &mut Tile<'a>,
        id: PacketId,
        layer: u16,
    ) -> Result<()> {
        let component = &mut tile.components[usize::from(id.component)];
        let style = component.coding.style;
        for band in &mut component.resolutions[usize::from(id.resolution)].bands {
            let precinct = &mut band.precincts[id.precinct as usize];
            for index in 0..precinct.columns * precinct.rows {
                let place = (index % precinct.columns, index / precinct.columns);
                let number = precinct.first_block + index as usize;
                let block = &mut tile.blocks[number];
                let first = block.num_passes == 0;
                let included = if first {
                    precinct.inclusion.below(bits, place, layer + 1)?.is_some()
                } else {
                    bits.bit()? == 1
                };
                if !included {
                    continue;
                }
                if first {
                    block.zero_planes = zero_planes(&mut precinct.zero_planes, bits, place, band.num_planes)?;
                }
                let max_passes = 3 * u32::from(band.num_planes - block.zero_planes) - 2;
                self.lengths(bits, block, number as u32, style, max_passes)?;
            }
        }
        Ok(())
    }

    /// Reads the passes and lengths of a code-block (B.10.6, B.10.7).
    fn lengths(
        &mut self,
        bits: &mut PacketBits<'_>,
        block: &mut crate::tile::Block,
        number: u32,
        style: u8,
        max_passes: u32,
    ) -> Result<()> {
        let mut left = num_passes(bits)?;
        while bits.bit()? == 1 {
            block.length_bits += 1;
            if block.length_bits > 32 {
                return Err(corrupt("a length of more than 32 bits"));
            }
        }
        let high_throughput = style & style::HIGH_THROUGHPUT != 0;
        let mut skipped = 0;
        if high_throughput && block.num_passes == 0 {
            // Passes of planes that are left out come before the cleanup pass (T.814).
            skipped = (left - 1) / 3 * 3;
            left -= skipped;
            block.zero_planes += (skipped / 3) as u8;
        }
        if u32::from(block.num_passes) + skipped + left > max_passes {
            return Err(corrupt(format!("a code-block has more than {max_passes} passes")));
        }
        while left > 0 {
            let in_segment = left.min(segment_passes(style, block.num_passes));
            let len = bits.bits((u32::from(block.length_bits) + (in_segment + skipped).ilog2()).min(32))?;
            self.found.push((number, in_segment as u8, len));
            block.num_passes += in_segment as u8;
            left -= in_segment;
            skipped = 0;
        }
        Ok(())
    }

    fn bodies_of_packet(&mut self, tile: &mut Tile<'a>, budget: &mut Budget) -> Result<()> {
        if self.found.iter().any(|found| found.2 > 0) {
            self.next_part();
        }
        budget.take((self.found.len() * size_of::<Chunk<'_>>()) as u64)?;
        for &(number, num_passes, len) in &self.found {
            let Some((bytes, rest)) = self.body.split_at_checked(len as usize) else {
                return Err(truncated(format!("a code-block has {} of its {len} bytes", self.body.len())));
            };
            self.body = rest;
            let chunk = tile.chunks.len() as u32;
            tile.chunks.push(Chunk { bytes, num_passes, next: NONE });
            let block = &mut tile.blocks[number as usize];
            match std::mem::replace(&mut block.last_chunk, chunk) {
                NONE => block.first_chunk = chunk,
                last => tile.chunks[last as usize].next = chunk,
            }
        }
        Ok(())
    }
}

/// Reads how many of a code-block's planes have no ones (B.10.5).
fn zero_planes(
    tree: &mut crate::tag_tree::TagTree,
    bits: &mut PacketBits<'_>,
    place: (u32, u32),
    num_planes: u8,
) -> Result<u8> {
    let zero = tree.below(bits, place, num_planes.into())?;
    let zero = zero.ok_or_else(|| corrupt(format!("a code-block without any of its {num_planes} planes")))?;
    check_planes(num_planes - zero as u8)?;
    Ok(zero as u8)
}

/// Reads the number of new passes (table B.4).
fn num_passes(bits: &mut PacketBits<'_>) -> Result<u32> {
    if bits.bit()? == 0 {
        return Ok(1);
    }
    if bits.bit()? == 0 {
        return Ok(2);
    }
    Ok(match bits.bits(2)? {
        3 => match bits.bits(5)? {
            31 => 37 + bits.bits(7)?,
            more => 6 + more,
        },
        more => 3 + more,
    })
}

/// Returns how many passes the codeword segment holds from pass `pass` on (table D.9).
pub(crate) fn segment_passes(style: u8, pass: u8) -> u32 {
    if style & style::HIGH_THROUGHPUT != 0 {
        return if pass == 0 { 1 } else { u32::MAX };
    }
    if style & style::TERMINATE != 0 {
        return 1;
    }
    if style & style::BYPASS == 0 {
        return u32::MAX;
    }
    match pass {
        0..10 => 10 - u32::from(pass),
        _ if (pass - 10).is_multiple_of(3) => 2,
        _ => 1,
    }
}
