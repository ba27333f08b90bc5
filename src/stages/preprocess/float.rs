//! Resampling of 16-bit and float samples: weights and sums in double precision.
//!
//! The rows between the two passes are `f32`, so a result is within about 1e-7 of the largest sample
//! of the value that double precision throughout would give.

use super::axis::Axis;
use super::bands::Selection;
use crate::vocabulary::geometry::Size;

/// An image of any sample type, `[height, width, bands]`.
pub(super) struct Image<'a, T> {
    pub(super) samples: &'a [T],
    pub(super) size: Size,
    pub(super) num_bands: usize,
}

/// Buffers for the next image.
#[derive(Default)]
pub(super) struct Buffers {
    between: Vec<f32>,
    row: Vec<f64>,
}

/// Resamples horizontally, then vertically; calls `emit` with each row, `[width, bands]`.
pub(super) fn resample<T: Copy + Into<f64>>(
    image: &Image<'_, T>,
    selection: &Selection,
    across: &Axis,
    down: &Axis,
    buffers: &mut Buffers,
    mut emit: impl FnMut(usize, &[f64]),
) {
    let row_len = across.count() * selection.bands().len();
    let (first_row, end_row) = down.needed();
    buffers.between.clear();
    for row in first_row..end_row {
        horizontal(image, selection, across, row, &mut buffers.between);
    }
    buffers.row.resize(row_len, 0.0);
    for index in 0..down.count() {
        let (first, weights) = down.at(index);
        buffers.row.fill(0.0);
        for (offset, &weight) in weights.iter().enumerate() {
            let between = &buffers.between[(first + offset - first_row) * row_len..][..row_len];
            for (sum, &sample) in buffers.row.iter_mut().zip(between) {
                *sum += f64::from(sample) * weight;
            }
        }
        emit(index, &buffers.row);
    }
}

fn horizontal<T: Copy + Into<f64>>(
    image: &Image<'_, T>,
    selection: &Selection,
    across: &Axis,
    row: usize,
    between: &mut Vec<f32>,
) {
    let row_len = image.size.width as usize * image.num_bands;
    let row = &image.samples[row * row_len..][..row_len];
    for index in 0..across.count() {
        let (first, weights) = across.at(index);
        for band in selection.bands() {
            let samples = row[first * image.num_bands + band..].iter().step_by(image.num_bands);
            let products = samples.zip(weights).map(|(&sample, &weight)| sample.into() * weight);
            between.push(products.sum::<f64>() as f32);
        }
    }
}
