//! Undoes predictors in place: horizontal differences (TIFF 6.0, section 14), and differences of floats
//! sorted by bytes (TIFF Technical Note 3).

use crate::formats::bytes::Order;
use crate::formats::raster::{BlockSpec, Predictor};

/// Undoes the predictor of a block.
///
/// - `bytes`: whole rows of samples of `width` bytes, integers in the machine's order
pub(super) fn undo(spec: &BlockSpec, bytes: &mut [u8], width: usize) {
    let bands = usize::from(spec.num_bands);
    let row_bytes = spec.window.width as usize * bands * width;
    match spec.stored.predictor {
        Predictor::None => {}
        Predictor::Horizontal => bytes.chunks_exact_mut(row_bytes).for_each(|row| sum_row(row, bands, width)),
        Predictor::FloatingPoint => {
            let mut sorted = vec![0; row_bytes];
            for row in bytes.chunks_exact_mut(row_bytes) {
                sum(row, bands, u8::wrapping_add);
                sorted.copy_from_slice(row);
                gather(&sorted, row, width);
            }
        }
    }
}

fn sum_row(row: &mut [u8], bands: usize, width: usize) {
    match width {
        1 => sum(row, bands, u8::wrapping_add),
        2 => sum(bytemuck::cast_slice_mut(row), bands, u16::wrapping_add),
        4 => sum(bytemuck::cast_slice_mut(row), bands, u32::wrapping_add),
        _ => sum(bytemuck::cast_slice_mut(row), bands, u64::wrapping_add),
    }
}

/// Adds to each sample the one of the pixel before.
fn sum<T: Copy>(row: &mut [T], bands: usize, add: impl Fn(T, T) -> T + Copy) {
    // A fixed number of bands keeps the running sums in registers.
    match bands {
        1 => sum_of::<T, 1>(row, add),
        2 => sum_of::<T, 2>(row, add),
        3 => sum_of::<T, 3>(row, add),
        4 => sum_of::<T, 4>(row, add),
        _ => {
            for at in bands..row.len() {
                row[at] = add(row[at], row[at - bands]);
            }
        }
    }
}

fn sum_of<T: Copy, const BANDS: usize>(row: &mut [T], add: impl Fn(T, T) -> T) {
    let (pixels, _) = row.as_chunks_mut::<BANDS>();
    let Some((first, rest)) = pixels.split_first_mut() else { return };
    let mut before = *first;
    for pixel in rest {
        for (sample, before) in pixel.iter_mut().zip(&mut before) {
            *before = add(*sample, *before);
            *sample = *before;
        }
    }
}

/// Puts the bytes of each float together: first come the most significant bytes of the whole row.
fn gather(sorted: &[u8], row: &mut [u8], width: usize) {
    match width {
        2 => gather_of::<2>(sorted, row),
        4 => gather_of::<4>(sorted, row),
        _ => gather_of::<8>(sorted, row),
    }
}

fn gather_of<const WIDTH: usize>(sorted: &[u8], row: &mut [u8]) {
    let (samples, _) = row.as_chunks_mut::<WIDTH>();
    let len = samples.len();
    for (place, plane) in sorted.chunks_exact(len).enumerate() {
        let place = if Order::NATIVE == Order::Big { place } else { WIDTH - 1 - place };
        for (sample, &byte) in samples.iter_mut().zip(plane) {
            sample[place] = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_summed_band_by_band() {
        let mut row = [250_u8, 1, 2, 10, 1, 1, 1, 0, 0];
        sum_row(&mut row, 3, 1);
        assert_eq!(row, [250, 1, 2, 4, 2, 3, 5, 2, 3]);
        let mut many = [1_u8, 2, 3, 4, 5, 1, 1, 1, 1, 1];
        sum_row(&mut many, 5, 1);
        assert_eq!(many, [1, 2, 3, 4, 5, 2, 3, 4, 5, 6]);
        let mut wide: Vec<u16> = vec![65_535, 2, 3];
        sum_row(bytemuck::cast_slice_mut(&mut wide), 1, 2);
        assert_eq!(wide, [65_535, 1, 4]);
    }

    #[test]
    fn floats_are_put_together_from_their_bytes() {
        let floats = [1.5_f32, -2.0, 1e9];
        let sorted: Vec<u8> =
            (0..4).flat_map(|place| floats.map(|float| float.to_be_bytes()[place])).collect();
        let mut row = vec![0; 12];
        gather(&sorted, &mut row, 4);
        let gathered: Vec<f32> = row.as_chunks().0.iter().map(|&bytes| f32::from_ne_bytes(bytes)).collect();
        assert_eq!(gathered, floats);
    }
}
