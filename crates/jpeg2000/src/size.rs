//! The marker segment SIZ (T.800 A.5.1), and the areas that follow from it (Annex B).

use tilefleet_codec::{Result, corrupt, unsupported};

use crate::bytes::Bytes;

/// An area: from `x0`, `y0` up to, and without, `x1`, `y1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x0: u32,
    pub(crate) y0: u32,
    pub(crate) x1: u32,
    pub(crate) y1: u32,
}

impl Rect {
    pub(crate) fn width(&self) -> u32 {
        self.x1.saturating_sub(self.x0)
    }

    pub(crate) fn height(&self) -> u32 {
        self.y1.saturating_sub(self.y0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.width() == 0 || self.height() == 0
    }

    /// Returns the number of samples in it.
    pub(crate) fn area(&self) -> u64 {
        u64::from(self.width()) * u64::from(self.height())
    }

    /// Returns each edge divided and rounded up.
    pub(crate) fn div_ceil(&self, dx: u32, dy: u32) -> Self {
        Self {
            x0: self.x0.div_ceil(dx),
            y0: self.y0.div_ceil(dy),
            x1: self.x1.div_ceil(dx),
            y1: self.y1.div_ceil(dy),
        }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
    }
}

/// What SIZ says of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ComponentSize {
    pub(crate) bits: u8,
    pub(crate) signed: bool,
    pub(crate) dx: u8,
    pub(crate) dy: u8,
}

/// The marker segment SIZ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// The image on the reference grid.
    pub(crate) image: Rect,
    /// The first tile, whole, on the reference grid.
    first_tile: Rect,
    pub(crate) components: Vec<ComponentSize>,
}

impl Size {
    /// Parses the content of SIZ.
    ///
    /// # Errors
    ///
    /// Corrupt for areas and values that A.5.1 excludes; unsupported for more than 31 bits.
    pub(crate) fn parse(segment: &mut Bytes<'_>) -> Result<Self> {
        let _capabilities = segment.u16()?;
        let (x1, y1) = (segment.u32()?, segment.u32()?);
        let image = Rect { x0: segment.u32()?, y0: segment.u32()?, x1, y1 };
        let (tile_width, tile_height) = (segment.u32()?, segment.u32()?);
        let (x0, y0) = (segment.u32()?, segment.u32()?);
        let first_tile =
            Rect { x0, y0, x1: x0.saturating_add(tile_width), y1: y0.saturating_add(tile_height) };
        let num_components = segment.u16()?;
        if image.is_empty() {
            return Err(corrupt("an image without pixels"));
        }
        if x0 > image.x0 || y0 > image.y0 || first_tile.x1 <= image.x0 || first_tile.y1 <= image.y0 {
            return Err(corrupt("the first tile does not touch the image"));
        }
        if num_components == 0 || num_components > 16384 {
            return Err(corrupt(format!("{num_components} components")));
        }
        let components = (0..num_components).map(|_| component_size(segment)).collect::<Result<_>>()?;
        Ok(Self { image, first_tile, components })
    }

    /// Returns the area of a component on its own grid (B.2).
    pub(crate) fn component(&self, index: usize) -> Rect {
        let component = &self.components[index];
        self.image.div_ceil(component.dx.into(), component.dy.into())
    }

    /// Returns the number of tiles per row, and of rows (B.3).
    pub(crate) fn num_tiles(&self) -> (u32, u32) {
        let first = &self.first_tile;
        (
            (self.image.x1 - first.x0).div_ceil(first.width()),
            (self.image.y1 - first.y0).div_ceil(first.height()),
        )
    }

    /// Returns the area of a tile on the reference grid, cut at the image's edges.
    pub(crate) fn tile(&self, index: u32) -> Rect {
        let (column, row) = (index % self.num_tiles().0, index / self.num_tiles().0);
        let (width, height) = (self.first_tile.width(), self.first_tile.height());
        // The last edge may lie beyond the grid.
        let edge = |start: u32, step: u32, index: u32| {
            u64::from(start).saturating_add(u64::from(step) * u64::from(index)).min(u64::from(u32::MAX))
                as u32
        };
        let tile = Rect {
            x0: edge(self.first_tile.x0, width, column),
            y0: edge(self.first_tile.y0, height, row),
            x1: edge(self.first_tile.x0, width, column + 1),
            y1: edge(self.first_tile.y0, height, row + 1),
        };
        tile.intersection(&self.image)
    }
}

fn component_size(segment: &mut Bytes<'_>) -> Result<ComponentSize> {
    let (depth, dx, dy) = (segment.u8()?, segment.u8()?, segment.u8()?);
    let bits = (depth & 0x7F) + 1;
    if dx == 0 || dy == 0 {
        return Err(corrupt("a component without a sampling distance"));
    }
    if bits > 38 {
        return Err(corrupt(format!("a component of {bits} bits")));
    }
    if bits > 31 {
        return Err(unsupported(format!("a component of {bits} bits")));
    }
    Ok(ComponentSize { bits, signed: depth & 0x80 != 0, dx, dy })
}
