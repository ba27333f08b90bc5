//! Sizes and windows in pixels.

/// The size of a frame, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// Returns the number of pixels.
    #[must_use]
    pub fn num_pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// A rectangle of a frame, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Returns the window that covers a frame of this size.
    #[must_use]
    pub fn whole(size: Size) -> Self {
        Self { x: 0, y: 0, width: size.width, height: size.height }
    }

    /// Tells whether it has pixels, and a frame of this size has all of them.
    #[must_use]
    pub fn is_within(self, size: Size) -> bool {
        let ends = |start: u32, length: u32, end: u32| length > 0 && start <= end && length <= end - start;
        ends(self.x, self.width, size.width) && ends(self.y, self.height, size.height)
    }
}
