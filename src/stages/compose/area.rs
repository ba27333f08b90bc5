//! Area-weighted resampling of windows with missing pixels.
//!
//! Each pixel that comes out is the mean of the stored pixels it covers, weighted by the covered area; pixels
//! without data take no part, so that they cannot bleed into their neighbours. Where stored pixels are
//! larger than those that come out, each of these takes the stored pixel that it lies in.

use crate::vocabulary::geometry::{Size, snapped};

/// Which stored pixels one axis of the output takes, and with which weights.
pub(super) struct AreaAxis {
    /// First stored pixel and index of its weight, of each pixel that comes out, and the end.
    spans: Vec<(u32, usize)>,
    weights: Vec<f64>,
    /// Whether output pixel `i` is stored pixel `first + i`.
    shift: Option<i64>,
}

impl AreaAxis {
    /// Prepares an axis.
    ///
    /// - `start`, `length`: of the rectangle, in pixels from the first stored one
    /// - `stored`: number of stored pixels
    /// - `count`: number of pixels that come out
    pub(super) fn new(start: f64, length: f64, stored: u32, count: u32) -> Self {
        let start = snapped(start);
        let step = snapped(length) / f64::from(count);
        // Both were snapped to whole pixels if they are that near.
        let whole = (step - 1.0).abs() < f64::EPSILON && start.fract().abs() < f64::EPSILON;
        let shift = whole.then_some(start as i64);
        let (mut spans, mut weights) = (Vec::with_capacity(count as usize + 1), Vec::new());
        for index in 0..count {
            let from = start + f64::from(index) * step;
            let to = from + step;
            let first = from.floor().clamp(0.0, f64::from(stored)) as u32;
            let end = to.ceil().clamp(f64::from(first), f64::from(stored)) as u32;
            spans.push((first, weights.len()));
            for pixel in first..end {
                let covered = to.min(f64::from(pixel) + 1.0) - from.max(f64::from(pixel));
                weights.push((covered / step).max(0.0));
            }
        }
        spans.push((0, weights.len()));
        Self { spans, weights, shift }
    }

    fn count(&self) -> usize {
        self.spans.len() - 1
    }

    /// Returns which stored pixel the first one is, if all that come out are stored ones, side by side.
    ///
    /// - `stored`: number of stored pixels
    pub(super) fn whole(&self, stored: u32) -> Option<usize> {
        let first = usize::try_from(self.shift?).ok()?;
        (first + self.count() <= stored as usize).then_some(first)
    }

    fn of(&self, index: usize) -> (usize, &[f64]) {
        let (first, begin) = self.spans[index];
        (first as usize, &self.weights[begin..self.spans[index + 1].1])
    }
}

/// One band of a window as stored.
pub(super) struct Stored<'a, V, M> {
    pub(super) size: Size,
    /// The sample of a pixel, by its number in row-major order.
    pub(super) value: V,
    /// Whether that sample is data.
    pub(super) valid: M,
    pub(super) axes: (&'a AreaAxis, &'a AreaAxis),
}

impl<V: Fn(usize) -> f64, M: Fn(usize) -> bool> Stored<'_, V, M> {
    /// Calls `put` with each pixel that comes out, in row-major order; `None` where less than half of its
    /// area is data.
    pub(super) fn resample(&self, mut put: impl FnMut(usize, Option<f64>)) {
        let (across, down) = self.axes;
        if let (Some(dx), Some(dy)) = (across.shift, down.shift) {
            return self.copy(dx, dy, put);
        }
        let width = across.count();
        let mut rows: Vec<Option<Vec<(f64, f64)>>> = vec![None; self.size.height as usize];
        for row in 0..down.count() {
            let (first, weights) = down.of(row);
            for above in rows.iter_mut().take(first) {
                *above = None;
            }
            for (at, place) in rows.iter_mut().enumerate().skip(first).take(weights.len()) {
                place.get_or_insert_with(|| self.across(at));
            }
            for column in 0..width {
                let (mut sum, mut weight) = (0.0, 0.0);
                for (stored, part) in rows[first..].iter().zip(weights) {
                    let (value, valid) = stored.as_ref().map_or((0.0, 0.0), |stored| stored[column]);
                    sum += part * value;
                    weight += part * valid;
                }
                // Half the area, but for rounding.
                put(row * width + column, (weight > 0.499_999).then(|| sum / weight));
            }
        }
    }

    /// Returns the weighted sums of one stored row and the weights of its data.
    fn across(&self, row: usize) -> Vec<(f64, f64)> {
        let axis = self.axes.0;
        let row_start = row * self.size.width as usize;
        let column = |index: usize| {
            let (first, weights) = axis.of(index);
            let pixels = row_start + first..;
            let data = pixels.zip(weights).filter(|(pixel, _)| (self.valid)(*pixel));
            data.fold((0.0, 0.0), |(sum, weight), (pixel, part)| {
                (sum + part * (self.value)(pixel), weight + part)
            })
        };
        (0..axis.count()).map(column).collect()
    }

    fn copy(&self, dx: i64, dy: i64, mut put: impl FnMut(usize, Option<f64>)) {
        let (across, down) = (self.axes.0.count(), self.axes.1.count());
        let (width, height) = (i64::from(self.size.width), i64::from(self.size.height));
        for row in 0..down {
            for column in 0..across {
                let (x, y) = (column as i64 + dx, row as i64 + dy);
                let inside = (0..width).contains(&x) && (0..height).contains(&y);
                let pixel = (y * width + x) as usize;
                let sample = (inside && (self.valid)(pixel)).then(|| (self.value)(pixel));
                put(row * across + column, sample);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vocabulary::geometry::Rect;

    fn resampled(stored: &[f64], size: Size, rect: Rect, out: Size) -> Vec<Option<f64>> {
        let across = AreaAxis::new(rect.x, rect.width, size.width, out.width);
        let down = AreaAxis::new(rect.y, rect.height, size.height, out.height);
        let mut pixels = vec![Some(f64::NAN); out.num_pixels() as usize];
        let stored = Stored {
            size,
            value: |pixel: usize| stored[pixel],
            valid: |pixel: usize| !stored[pixel].is_nan(),
            axes: (&across, &down),
        };
        stored.resample(|at, value| pixels[at] = value);
        pixels
    }

    fn rect(x: f64, y: f64, width: f64, height: f64) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn pixels_are_means_of_what_they_cover() {
        let stored: Vec<f64> = (0..16).map(f64::from).collect();
        let size = Size::new(4, 4);
        let halved = resampled(&stored, size, rect(0.0, 0.0, 4.0, 4.0), Size::new(2, 2));
        assert_eq!(halved, [2.5, 4.5, 10.5, 12.5].map(Some));
        let third = resampled(&stored, size, rect(0.0, 0.0, 4.0, 1.0), Size::new(3, 1));
        // Four pixels in three: 0 and a third of 1, two thirds of 1 and of 2, a third of 2 and 3.
        for (found, expected) in third.into_iter().zip([0.25, 1.5, 2.75]) {
            assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn larger_pixels_are_repeated() {
        let doubled = resampled(&[1.0, 2.0], Size::new(2, 1), rect(0.0, 0.0, 2.0, 1.0), Size::new(4, 2));
        assert_eq!(doubled, [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0].map(Some));
    }

    #[test]
    fn missing_pixels_do_not_bleed() {
        let none = f64::NAN;
        let stored = [8.0, none, none, none];
        let halved = resampled(&stored, Size::new(4, 1), rect(0.0, 0.0, 4.0, 1.0), Size::new(2, 1));
        assert_eq!(halved, [Some(8.0), None]);
        let beyond = resampled(&[8.0, 6.0], Size::new(2, 1), rect(1.0, 0.0, 2.0, 1.0), Size::new(2, 1));
        assert_eq!(beyond, [Some(6.0), None]);
    }

    proptest! {
        /// A constant stays constant wherever it is, and the mean of all is kept.
        #[test]
        fn means_are_kept(
            values in prop::collection::vec(-100.0_f64..100.0, 24), out in (1_u32..9, 1_u32..9),
        ) {
            let (size, out) = (Size::new(6, 4), Size::new(out.0, out.1));
            let all = rect(0.0, 0.0, 6.0, 4.0);
            let found = resampled(&values, size, all, out);
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            let found: Vec<f64> = found.into_iter().map(Option::unwrap).collect();
            prop_assert!((mean(&found) - mean(&values)).abs() < 1e-9);
        }
    }
}
