//! Applies an Exif orientation to pixels: exact, nothing is resampled.

use crate::formats::image::Orientation;
use crate::vocabulary::chip::{Chip, map_samples};
use crate::vocabulary::geometry::Size;

/// Returns the chip as seen; the same as `PIL.ImageOps.exif_transpose`.
pub(super) fn apply(chip: Chip, orientation: Orientation) -> Chip {
    if orientation == Orientation::UPRIGHT {
        return chip;
    }
    let (stored, num_bands) = (chip.size, chip.bands.count());
    let samples = map_samples!(chip.samples, samples => turn(&samples, stored, num_bands, orientation));
    let size = if orientation.transposes() { stored.transposed() } else { stored };
    Chip { size, bands: chip.bands, samples }
}

fn turn<T: Copy>(stored: &[T], size: Size, num_bands: usize, orientation: Orientation) -> Vec<T> {
    let (width, height) = (size.width as usize, size.height as usize);
    let (rows, columns) = if orientation.transposes() { (width, height) } else { (height, width) };
    let mut seen = Vec::with_capacity(stored.len());
    for y in 0..rows {
        for x in 0..columns {
            let (column, row) = match orientation.code() {
                2 => (width - 1 - x, y),
                3 => (width - 1 - x, height - 1 - y),
                4 => (x, height - 1 - y),
                5 => (y, x),
                6 => (y, height - 1 - x),
                7 => (width - 1 - y, height - 1 - x),
                8 => (width - 1 - y, x),
                _ => (x, y),
            };
            let at = (row * width + column) * num_bands;
            seen.extend_from_slice(&stored[at..at + num_bands]);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::chip::Bands;
    use crate::vocabulary::chip::Samples;

    /// The letter F as every orientation stores it (Exif 2.32, tag 274) is seen upright.
    #[test]
    fn all_eight_orientations_are_seen_upright() {
        let stored: [&[&str]; 8] = [
            &["##", "#.", "#."],
            &["##", ".#", ".#"],
            &[".#", ".#", "##"],
            &["#.", "#.", "##"],
            &["###", "#.."],
            &["#..", "###"],
            &["..#", "###"],
            &["###", "..#"],
        ];
        for (code, rows) in (1..).zip(stored) {
            let size = Size::new(u32::try_from(rows[0].len()).unwrap(), u32::try_from(rows.len()).unwrap());
            let chip = Chip { size, bands: Bands::Grey, samples: Samples::U8(rows.concat().into_bytes()) };
            let seen = apply(chip, Orientation::new(code));
            assert_eq!(seen.size, Size::new(2, 3), "orientation {code}");
            assert_eq!(seen.samples, Samples::U8(b"###.#.".to_vec()), "orientation {code}");
        }
    }

    #[test]
    fn bands_stay_together() {
        let samples = Samples::U16(vec![1, 2, 3, 4]);
        let chip = Chip { size: Size::new(2, 1), bands: Bands::GreyAlpha, samples };
        assert_eq!(apply(chip, Orientation::new(2)).samples, Samples::U16(vec![3, 4, 1, 2]));
    }
}
