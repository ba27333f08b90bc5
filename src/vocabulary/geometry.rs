//! Sizes and windows in pixels: the vocabulary that every stage shares.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The size of an image or a chip, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

impl Size {
    /// Creates a size.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Returns the number of pixels; a product of two `u32` always fits.
    #[must_use]
    pub fn num_pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Returns the size with width and height exchanged.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.width, self.height)
    }
}

/// A pixel rectangle at a level of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Number of columns.
    pub width: u32,
    /// Number of rows.
    pub height: u32,
}

impl Window {
    /// Returns the window that covers an image of this size.
    #[must_use]
    pub fn whole(size: Size) -> Self {
        Self { x: 0, y: 0, width: size.width, height: size.height }
    }

    /// Returns width and height.
    #[must_use]
    pub fn size(self) -> Size {
        Size::new(self.width, self.height)
    }

    /// Tells whether it has pixels and all of them are those of an image of this size.
    #[must_use]
    pub fn is_within(self, size: Size) -> bool {
        let ends = |start: u32, length: u32, end: u32| length > 0 && start <= end && length <= end - start;
        ends(self.x, self.width, size.width) && ends(self.y, self.height, size.height)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{} at ({}, {})", self.width, self.height, self.x, self.y)
    }
}

/// A rectangle in pixels of a level; its edges may lie within pixels, and outside of the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
}

/// Edges closer than this to the edge of a pixel are taken to be on it: geotransforms are rounded.
const SNAP: f64 = 1e-3;

impl Rect {
    /// Returns the pixels that it touches of a level of this size; none if it lies outside.
    #[must_use]
    pub fn touched(&self, size: Size) -> Window {
        let (x, width) = touched(self.x, self.width, size.width);
        let (y, height) = touched(self.y, self.height, size.height);
        Window { x, y, width, height }
    }
}

fn touched(start: f64, length: f64, size: u32) -> (u32, u32) {
    let end = snapped(start + length).ceil().clamp(0.0, f64::from(size));
    let first = snapped(start).floor().clamp(0.0, end);
    (first as u32, (end - first) as u32)
}

/// Moves an edge that is within rounding of a pixel's edge onto it.
#[must_use]
pub fn snapped(edge: f64) -> f64 {
    let whole = edge.round();
    if (edge - whole).abs() < SNAP { whole } else { edge }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_within_rounding_are_on_the_pixel() {
        let size = Size::new(100, 100);
        let touched = |x, y, width, height| {
            let window = Rect { x, y, width, height }.touched(size);
            (window.x, window.y, window.width, window.height)
        };
        assert_eq!(touched(10.000_001, 9.999_999, 20.0, 20.0), (10, 10, 20, 20));
        assert_eq!(touched(10.4, -3.0, 1.2, 5.0), (10, 0, 2, 2));
        assert_eq!(touched(98.0, 200.0, 5.0, 5.0), (98, 100, 2, 0));
    }
}
