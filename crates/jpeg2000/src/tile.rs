//! A tile's parts: components, resolutions, bands, precincts and code-blocks (T.800 Annex B).

use std::ops::Range;

use tilefleet_codec::{Result, corrupt, too_large, unsupported};

use crate::coding::{Coding, ComponentCoding};
use crate::size::{Rect, Size};
use crate::tag_tree::TagTree;

/// What a list of code-blocks ends with.
pub(crate) const NONE: u32 = u32::MAX;
/// The most bit planes of a code-block: samples have 32 bits, one for the sign and one below the point.
pub(crate) const MAX_PLANES: u8 = 30;

/// How much memory may still be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(pub(crate) u64);

impl Budget {
    /// Takes `bytes` of it.
    ///
    /// # Errors
    ///
    /// Too large, if less is left.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<()> {
        let left = self.0.checked_sub(bytes);
        self.0 =
            left.ok_or_else(|| too_large(format!("{bytes} bytes of memory where {} are left", self.0)))?;
        Ok(())
    }
}

/// Which halves of the frequencies a band holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BandKind {
    Ll,
    /// High along rows.
    Hl,
    /// High along columns.
    Lh,
    Hh,
}

impl BandKind {
    /// Returns whether it is high along rows and along columns.
    fn high(self) -> (u32, u32) {
        match self {
            Self::Ll => (0, 0),
            Self::Hl => (1, 0),
            Self::Lh => (0, 1),
            Self::Hh => (1, 1),
        }
    }
}

/// A code-block, and which bytes belong to it.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Its place in its band.
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u16,
    pub(crate) height: u16,
    /// Bit planes without a one, as the packet header counts them.
    pub(crate) zero_planes: u8,
    /// How many bits of packet headers code lengths (B.10.7.1).
    pub(crate) length_bits: u8,
    /// Coding passes in the packets so far.
    pub(crate) num_passes: u8,
    /// Its first and last chunk, in `Tile::chunks`.
    pub(crate) first_chunk: u32,
    pub(crate) last_chunk: u32,
}

/// Bytes of one packet that belong to one codeword segment of a code-block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) num_passes: u8,
    /// The code-block's next chunk.
    pub(crate) next: u32,
}

/// The code-blocks of one band in one precinct.
#[derive(Clone, Debug)]
pub(crate) struct BandPrecinct {
    pub(crate) columns: u32,
    pub(crate) rows: u32,
    pub(crate) first_block: usize,
    pub(crate) inclusion: TagTree,
    pub(crate) zero_planes: TagTree,
}

/// A band of a resolution.
#[derive(Clone, Debug)]
pub(crate) struct Band {
    pub(crate) kind: BandKind,
    pub(crate) rect: Rect,
    /// Bit planes of magnitudes (E-2), and those a region of interest adds.
    pub(crate) num_planes: u8,
    /// The quantisation step (E-3); unused where the transform is reversible.
    pub(crate) step: f32,
    /// Where its coefficients begin in those of its component.
    pub(crate) offset: usize,
    /// By precinct.
    pub(crate) precincts: Vec<BandPrecinct>,
    pub(crate) blocks: Range<usize>,
}

/// A resolution of a tile's component.
#[derive(Clone, Debug)]
pub(crate) struct Resolution {
    pub(crate) rect: Rect,
    /// Binary logarithms of a precinct's width and height.
    precinct: (u8, u8),
    pub(crate) num_precincts: (u32, u32),
    /// How many layers of each precinct have been read.
    pub(crate) layers_read: Vec<u16>,
    pub(crate) bands: Vec<Band>,
}

/// A component of a tile.
#[derive(Clone, Debug)]
pub(crate) struct TileComponent {
    pub(crate) coding: ComponentCoding,
    pub(crate) resolutions: Vec<Resolution>,
    /// Sampling distances on the reference grid.
    distance: (u8, u8),
}

/// A tile.
#[derive(Debug)]
pub(crate) struct Tile<'a> {
    pub(crate) rect: Rect,
    pub(crate) components: Vec<TileComponent>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) chunks: Vec<Chunk<'a>>,
}

impl Tile<'_> {
    /// Lays a tile out before any packet has been read.
    ///
    /// # Errors
    ///
    /// Too large if its tables take more than `budget`; corrupt or unsupported for a coding that cannot be.
    pub(crate) fn new(size: &Size, coding: &Coding, index: u32, budget: &mut Budget) -> Result<Self> {
        let mut tile =
            Self { rect: size.tile(index), components: Vec::new(), blocks: Vec::new(), chunks: Vec::new() };
        for (component, component_coding) in size.components.iter().zip(&coding.components) {
            let distance = (component.dx, component.dy);
            let mut laid =
                TileComponent { coding: component_coding.clone(), resolutions: Vec::new(), distance };
            budget.take(size_of::<TileComponent>() as u64)?;
            tile.lay_component(&mut laid, component.bits, budget)?;
            tile.components.push(laid);
        }
        Ok(tile)
    }

    fn lay_component(&mut self, component: &mut TileComponent, bits: u8, budget: &mut Budget) -> Result<()> {
        let (dx, dy) = component.distance;
        let rect = self.rect.div_ceil(dx.into(), dy.into());
        let mut offset = 0;
        for index in 0..=component.coding.num_levels {
            let mut resolution = component.lay_resolution(rect, index, bits, &mut offset)?;
            budget.take(resolution.table_bytes(&component.coding, index))?;
            resolution.layers_read = vec![0; resolution.num_precincts()];
            for band in 0..resolution.bands.len() {
                self.lay_blocks(&mut resolution, band, component.coding.block, index);
            }
            component.resolutions.push(resolution);
        }
        Ok(())
    }

    /// Lists the precincts and code-blocks of a band (B.7).
    fn lay_blocks(&mut self, resolution: &mut Resolution, band: usize, block: (u8, u8), index: u8) {
        let precinct = resolution.band_precinct(index);
        let first = self.blocks.len();
        let (columns, rows) = resolution.num_precincts;
        let start = resolution.first_precinct();
        let band = &mut resolution.bands[band];
        for row in 0..rows {
            for column in 0..columns {
                let cell = cell(precinct, start.0 + column, start.1 + row).intersection(&band.rect);
                let laid = self.lay_precinct(cell, &band.rect, block_size(block, precinct));
                band.precincts.push(laid);
            }
        }
        band.blocks = first..self.blocks.len();
    }

    /// Lists the code-blocks of a band in `area`, a precinct.
    fn lay_precinct(&mut self, area: Rect, band: &Rect, size: (u8, u8)) -> BandPrecinct {
        let first_block = self.blocks.len();
        let (columns, rows) = if area.is_empty() { (0..0, 0..0) } else { cells(&area, size) };
        for row in rows.clone() {
            for column in columns.clone() {
                let rect = cell(size, column, row).intersection(&area);
                self.blocks.push(Block {
                    x: rect.x0 - band.x0,
                    y: rect.y0 - band.y0,
                    width: rect.width() as u16,
                    height: rect.height() as u16,
                    zero_planes: 0,
                    length_bits: 3,
                    num_passes: 0,
                    first_chunk: NONE,
                    last_chunk: NONE,
                });
            }
        }
        let (columns, rows) = (columns.len() as u32, rows.len() as u32);
        BandPrecinct {
            columns,
            rows,
            first_block,
            inclusion: TagTree::new(columns, rows),
            zero_planes: TagTree::new(columns, rows),
        }
    }
}

/// Returns the columns and rows of cells of 2^`size` that an area touches.
fn cells(area: &Rect, size: (u8, u8)) -> (Range<u32>, Range<u32>) {
    (area.x0 >> size.0..((area.x1 - 1) >> size.0) + 1, area.y0 >> size.1..((area.y1 - 1) >> size.1) + 1)
}

/// Returns the area of a cell of 2^`size`.
fn cell(size: (u8, u8), column: u32, row: u32) -> Rect {
    let edge = |index: u32, size: u8| (u64::from(index) << size).min(u64::from(u32::MAX)) as u32;
    Rect {
        x0: edge(column, size.0),
        y0: edge(row, size.1),
        x1: edge(column + 1, size.0),
        y1: edge(row + 1, size.1),
    }
}

/// A code-block is no larger than a precinct (B-17, B-18).
fn block_size(block: (u8, u8), precinct: (u8, u8)) -> (u8, u8) {
    (block.0.min(precinct.0), block.1.min(precinct.1))
}

impl TileComponent {
    /// Lays out a resolution and its bands, without precincts (B.5).
    fn lay_resolution(&self, rect: Rect, index: u8, bits: u8, offset: &mut usize) -> Result<Resolution> {
        let level = self.coding.num_levels - index;
        let kinds: &[BandKind] =
            if index == 0 { &[BandKind::Ll] } else { &[BandKind::Hl, BandKind::Lh, BandKind::Hh] };
        let mut bands = Vec::new();
        for (place, &kind) in kinds.iter().enumerate() {
            let number = if index == 0 { 0 } else { 3 * usize::from(index) - 2 + place };
            let band = self.lay_band(rect, kind, number, bits, *offset)?;
            *offset += band.rect.area() as usize;
            bands.push(band);
        }
        let rect = shifted(rect, level, (0, 0));
        let precinct = self.coding.precinct(index);
        let count = |start: u32, end: u32, size: u8| {
            if start < end { ((end - 1) >> size) - (start >> size) + 1 } else { 0 }
        };
        let num_precincts = (count(rect.x0, rect.x1, precinct.0), count(rect.y0, rect.y1, precinct.1));
        Ok(Resolution { rect, precinct, num_precincts, layers_read: Vec::new(), bands })
    }

    /// Lays out band `number`, from the lowest on, of a component with the area `rect`.
    fn lay_band(&self, rect: Rect, kind: BandKind, number: usize, bits: u8, offset: usize) -> Result<Band> {
        let level = self.coding.num_levels - (number.saturating_sub(1) / 3) as u8;
        let (exponent, mantissa) = self.coding.quantisation.step(number)?;
        let num_planes = self.coding.quantisation.guard_bits.saturating_add(exponent).saturating_sub(1);
        let num_planes = num_planes.saturating_add(self.coding.roi_shift);
        if num_planes > 38 + 37 {
            return Err(corrupt(format!("{num_planes} bit planes")));
        }
        let (high_x, high_y) = kind.high();
        // E-3 and E-4: the range of the band is that of samples, doubled along each direction that is high.
        let range = i32::from(bits) + (high_x + high_y) as i32;
        let step = (1.0 + f32::from(mantissa) / 2048.0) * 2f32.powi(range - i32::from(exponent));
        Ok(Band {
            kind,
            rect: shifted(rect, level, kind.high()),
            num_planes,
            step,
            offset,
            precincts: Vec::new(),
            blocks: 0..0,
        })
    }

    /// Returns the number of coefficients up to a resolution.
    pub(crate) fn num_coefficients(&self, resolution: usize) -> usize {
        let bands = self.resolutions[..=resolution].iter().flat_map(|resolution| &resolution.bands);
        bands.map(|band| band.rect.area() as usize).sum()
    }

    /// Returns where a precinct lies on the reference grid: the `(y, x)` that B.12.1.3 visits it at.
    pub(crate) fn precinct_place(&self, tile: &Rect, resolution: usize, precinct: u32) -> (u64, u64) {
        let level = u32::from(self.coding.num_levels) - resolution as u32;
        let laid = &self.resolutions[resolution];
        let (column, row) = (precinct % laid.num_precincts.0, precinct / laid.num_precincts.0);
        let place = |start: u32, size: u8, index: u32, distance: u8, tile_start: u32| {
            // Numbers of 32 bits, shifted by at most 15 and 32, times 255: more than 64 bits can hold only in theory.
            let cell = u64::from(start >> size) + u64::from(index);
            let at = (u128::from(cell) << size << level) * u128::from(distance);
            at.max(u128::from(tile_start)).min(u128::from(u64::MAX)) as u64
        };
        (
            place(laid.rect.y0, laid.precinct.1, row, self.distance.1, tile.y0),
            place(laid.rect.x0, laid.precinct.0, column, self.distance.0, tile.x0),
        )
    }
}

/// Returns the area of a band after `level` decompositions (B-15).
fn shifted(rect: Rect, level: u8, (high_x, high_y): (u32, u32)) -> Rect {
    let edge = |at: u32, high: u32| {
        let half = if level == 0 { 0 } else { u64::from(high) << (level - 1) };
        (u64::from(at).saturating_sub(half)).div_ceil(1 << level) as u32
    };
    Rect {
        x0: edge(rect.x0, high_x),
        y0: edge(rect.y0, high_y),
        x1: edge(rect.x1, high_x),
        y1: edge(rect.y1, high_y),
    }
}

impl Resolution {
    fn num_precincts(&self) -> usize {
        self.num_precincts.0 as usize * self.num_precincts.1 as usize
    }

    fn first_precinct(&self) -> (u32, u32) {
        (self.rect.x0 >> self.precinct.0, self.rect.y0 >> self.precinct.1)
    }

    /// Returns the binary logarithms of a precinct's size in the bands of resolution `index`.
    fn band_precinct(&self, index: u8) -> (u8, u8) {
        let halved = u8::from(index > 0);
        (self.precinct.0 - halved, self.precinct.1 - halved)
    }

    /// Estimates what tables of precincts and code-blocks take, from above.
    fn table_bytes(&self, coding: &ComponentCoding, index: u8) -> u64 {
        let precincts = u64::from(self.num_precincts.0) * u64::from(self.num_precincts.1);
        let size = block_size(coding.block, self.band_precinct(index));
        let blocks = |band: &Band| {
            // Each precinct may begin and end within a code-block.
            let along =
                |len: u32, size: u8, precincts: u32| u64::from(len >> size) + 2 * u64::from(precincts);
            along(band.rect.width(), size.0, self.num_precincts.0)
                * along(band.rect.height(), size.1, self.num_precincts.1)
        };
        let blocks: u64 = self.bands.iter().map(blocks).sum();
        // Two trees of up to 4/3 nodes per block, and what an allocation costs.
        let per_block = size_of::<Block>() as u64 + 16;
        precincts * (self.bands.len() as u64 * (size_of::<BandPrecinct>() as u64 + 64) + 160)
            + blocks * per_block
    }
}

/// Checks that a code-block's planes fit into the integers here.
pub(crate) fn check_planes(num_planes: u8) -> Result<()> {
    if num_planes > MAX_PLANES {
        return Err(unsupported(format!("a code-block of {num_planes} bit planes")));
    }
    Ok(())
}
