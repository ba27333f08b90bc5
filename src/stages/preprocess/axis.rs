//! The weights of Pillow's antialiased resampling along one axis.
//!
//! The formulas are those of `Image.resize` with the whole image as box: the filter's support grows
//! with the scale when downsizing, ranges are rounded and clipped to the image, weights are
//! normalised in double precision and, for 8-bit samples, rounded to 22 fraction bits.

use super::Axes;
use super::resize_plan::{Kept, ResizePlan};
use crate::vocabulary::contract::Interpolation;
use crate::vocabulary::geometry::Size;

/// Fraction bits of the fixed-point weights: 8 bits of sample and 2 of headroom fit beside them.
pub(super) const PRECISION_BITS: u32 = 32 - 8 - 2;

/// The weights of all positions that are kept along one axis.
#[derive(Debug)]
pub(super) struct Axis {
    key: Key,
    /// For each position kept: the first sample and how many.
    ranges: Vec<(usize, usize)>,
    /// `stride` weights a position, zero after the range.
    weights: Vec<f64>,
    fixed: Vec<i32>,
    stride: usize,
}

/// What the weights depend on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Key {
    len: usize,
    resized: usize,
    kept: Kept,
    filter: Interpolation,
}

impl Axis {
    fn new(key: Key) -> Self {
        if key.len == key.resized {
            return Self::identity(key);
        }
        let scale = key.len as f64 / key.resized as f64;
        let filter_scale = scale.max(1.0);
        let support = support(key.filter) * filter_scale;
        let stride = ((support.ceil() as usize) * 2 + 1).min(key.len);
        let mut axis = Self {
            key,
            ranges: Vec::with_capacity(key.kept.count),
            weights: vec![0.0; key.kept.count * stride],
            fixed: vec![0; key.kept.count * stride],
            stride,
        };
        let stored = axis.weights.chunks_exact_mut(stride).zip(axis.fixed.chunks_exact_mut(stride));
        for (index, (weights, fixed)) in stored.enumerate() {
            let centre = ((key.kept.first + index) as f64 + 0.5) * scale;
            // Both ends are rounded by adding a half and cutting off; below zero that is zero.
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(key.len);
            let count = end - first;
            weigh(&mut weights[..count], first, centre, filter_scale, key.filter);
            for (fixed, &weight) in fixed.iter_mut().zip(&weights[..count]) {
                *fixed = fixed_point(weight);
            }
            axis.ranges.push((first, count));
        }
        axis
    }

    /// Pillow skips the pass along an axis that keeps its length.
    fn identity(key: Key) -> Self {
        let ranges = (key.kept.first..key.kept.first + key.kept.count).map(|at| (at, 1)).collect();
        let weights = vec![1.0; key.kept.count];
        let fixed = vec![1 << PRECISION_BITS; key.kept.count];
        Self { key, ranges, weights, fixed, stride: 1 }
    }

    /// Tells whether every position is its own sample, so that nothing needs to be computed.
    pub(super) fn is_identity(&self) -> bool {
        self.key.len == self.key.resized
    }

    /// Returns the number of positions kept.
    pub(super) fn count(&self) -> usize {
        self.ranges.len()
    }

    /// Returns the first sample of position `index` and the weights from there on.
    pub(super) fn at(&self, index: usize) -> (usize, &[f64]) {
        let (first, count) = self.ranges[index];
        (first, &self.weights[index * self.stride..][..count])
    }

    /// Returns the first sample of position `index` and the fixed-point weights from there on.
    pub(super) fn fixed_at(&self, index: usize) -> (usize, &[i32]) {
        let (first, count) = self.ranges[index];
        (first, &self.fixed[index * self.stride..][..count])
    }

    /// Returns the samples that any position needs, as first and end.
    pub(super) fn needed(&self) -> (usize, usize) {
        let first = self.ranges.iter().map(|range| range.0).min().unwrap_or(0);
        (first, self.ranges.iter().map(|range| range.0 + range.1).max().unwrap_or(0))
    }

    /// Returns the largest number of weights of a position.
    pub(super) fn max_count(&self) -> usize {
        self.ranges.iter().map(|range| range.1).max().unwrap_or(0)
    }
}

fn weigh(weights: &mut [f64], first: usize, centre: f64, filter_scale: f64, filter: Interpolation) {
    let inverse = 1.0 / filter_scale;
    let mut sum = 0.0;
    for (offset, weight) in weights.iter_mut().enumerate() {
        *weight = value(filter, ((offset + first) as f64 - centre + 0.5) * inverse);
        sum += *weight;
    }
    if sum != 0.0 {
        for weight in weights {
            *weight /= sum;
        }
    }
}

fn fixed_point(weight: f64) -> i32 {
    let half = if weight < 0.0 { -0.5 } else { 0.5 };
    (half + weight * f64::from(1 << PRECISION_BITS)) as i32
}

fn support(filter: Interpolation) -> f64 {
    match filter {
        Interpolation::Bilinear => 1.0,
        Interpolation::Bicubic => 2.0,
    }
}

/// Returns the filter's value at distance `x`: a triangle, or the Keys cubic with a = −0.5.
fn value(filter: Interpolation, x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match filter {
        Interpolation::Bilinear if x < 1.0 => 1.0 - x,
        Interpolation::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        Interpolation::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// The axes of the last chip: tiles of one job mostly have one size.
#[derive(Default)]
pub(super) struct Cache {
    across: Option<Axis>,
    down: Option<Axis>,
}

impl Cache {
    /// Returns the horizontal and vertical weights for a chip.
    pub(super) fn of(&mut self, size: Size, fit: &ResizePlan, filter: Interpolation) -> Axes<'_> {
        let key =
            |len: u32, resized: u32, kept| Key { len: len as usize, resized: resized as usize, kept, filter };
        let across = key(size.width, fit.resized.width, fit.across);
        let down = key(size.height, fit.resized.height, fit.down);
        (refresh(&mut self.across, across), refresh(&mut self.down, down))
    }
}

fn refresh(slot: &mut Option<Axis>, key: Key) -> &Axis {
    if slot.as_ref().is_some_and(|axis| axis.key != key) {
        *slot = None;
    }
    slot.get_or_insert_with(|| Axis::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(len: usize, resized: usize, filter: Interpolation) -> Axis {
        Axis::new(Key { len, resized, kept: Kept { first: 0, count: resized, pad: 0 }, filter })
    }

    #[test]
    fn halving_weighs_the_triangle() {
        let axis = axis(8, 4, Interpolation::Bilinear);
        assert_eq!(axis.at(1), (1, &[0.125, 0.375, 0.375, 0.125][..]));
        assert_eq!(axis.at(0).0, 0);
        assert_eq!(axis.needed(), (0, 8));
    }

    #[test]
    fn weights_sum_to_one_for_all_scales_and_filters() {
        for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for (len, resized) in [(1, 224), (3, 5), (224, 1), (97, 31), (64, 64), (65_500, 7)] {
                let axis = axis(len, resized, filter);
                for index in 0..axis.count() {
                    let (first, weights) = axis.at(index);
                    assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
                    assert!(first + weights.len() <= len && !weights.is_empty());
                }
            }
        }
    }

    #[test]
    fn the_same_length_is_the_identity() {
        let kept = Kept { first: 2, count: 3, pad: 0 };
        let axis = Axis::new(Key { len: 9, resized: 9, kept, filter: Interpolation::Bicubic });
        assert!(axis.is_identity());
        assert_eq!(axis.needed(), (2, 5));
        assert_eq!(
            (0..3).map(|index| axis.at(index)).collect::<Vec<_>>(),
            [2, 3, 4].map(|at| (at, &[1.0][..]))
        );
    }
}
