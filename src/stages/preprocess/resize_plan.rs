//! The size rules of torchvision's `Resize` and `CenterCrop`.

use crate::vocabulary::geometry::Size;

/// How an image of one size becomes one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResizePlan {
    /// Size of the whole image after resizing.
    pub(super) resized: Size,
    /// What is kept of the columns.
    pub(super) across: Kept,
    /// What is kept of the rows.
    pub(super) down: Kept,
}

/// The part of one axis that the crop keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// First position kept of the resized image.
    pub(super) first: usize,
    /// Number of positions kept.
    pub(super) count: usize,
    /// Positions of the crop before the image begins.
    pub(super) pad: usize,
}

impl ResizePlan {
    /// Keeps everything.
    pub(super) fn unchanged(size: Size) -> Self {
        let whole = |side: u32| Kept { first: 0, count: side as usize, pad: 0 };
        Self { resized: size, across: whole(size.width), down: whole(size.height) }
    }

    /// Resizes the short side to `short_side` and crops `crop` from the centre.
    pub(super) fn resized(size: Size, short_side: u32, crop: Size) -> Self {
        let resized = resized(size, short_side);
        let across = Kept::centred(resized.width, crop.width);
        Self { resized, across, down: Kept::centred(resized.height, crop.height) }
    }

    /// Tells whether the image fills the crop.
    pub(super) fn covers(&self, crop: Size) -> bool {
        self.across.count == crop.width as usize && self.down.count == crop.height as usize
    }
}

impl Kept {
    fn centred(image: u32, crop: u32) -> Self {
        if crop > image {
            return Self { first: 0, count: image as usize, pad: ((crop - image) / 2) as usize };
        }
        Self { first: half_to_even(image - crop) as usize, count: crop as usize, pad: 0 }
    }
}

/// Halves as Python's `round(n / 2)`: a half goes to the even neighbour.
fn half_to_even(n: u32) -> u32 {
    let half = n / 2;
    half + (n % 2) * (half % 2)
}

/// Returns the size of the whole image after its short side became `short_side`.
///
/// The long side is `int(short_side * long / short)`, as in torchvision.
fn resized(size: Size, short_side: u32) -> Size {
    let (short, long) = (size.width.min(size.height), size.width.max(size.height));
    let long_side = u64::from(short_side) * u64::from(long) / u64::from(short);
    let long_side = u32::try_from(long_side).unwrap_or(u32::MAX);
    if size.width <= size.height {
        Size::new(short_side, long_side)
    } else {
        Size::new(long_side, short_side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_side_is_cut_off_not_rounded() {
        assert_eq!(resized(Size::new(500, 375), 256), Size::new(341, 256));
        assert_eq!(resized(Size::new(375, 500), 256), Size::new(256, 341));
        assert_eq!(resized(Size::new(32, 32), 232), Size::new(232, 232));
        assert_eq!(resized(Size::new(1, u32::MAX), 256), Size::new(256, u32::MAX));
    }

    /// Python: `[round(n / 2) for n in range(8)]`.
    #[test]
    fn halves_go_to_the_even_neighbour() {
        assert_eq!((0..8).map(half_to_even).collect::<Vec<_>>(), [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn a_small_image_is_padded_with_the_odd_pixel_behind() {
        assert_eq!(Kept::centred(3, 6), Kept { first: 0, count: 3, pad: 1 });
        assert_eq!(Kept::centred(341, 224), Kept { first: 58, count: 224, pad: 0 });
    }
}
