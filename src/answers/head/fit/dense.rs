//! Products of embeddings and weights, in loops that the compiler turns into vector instructions.
//!
//! Every sum has a fixed order, whatever the number of threads: rows go to threads one by one, and sums over
//! rows are divided by features and not by rows.

use rayon::prelude::*;

/// Rows that are worked on in one go: few enough that their scores stay in the cache.
pub(super) const BLOCK_ROWS: usize = 1024;
/// Features that one task sums up: a cache line holds eight of them.
const FEATURES: usize = 64;
/// Sums that run side by side, so that additions need not wait for each other.
const LANES: usize = 8;

/// Embeddings, `[n, length]`, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// All numbers.
    pub values: &'a [f32],
    /// Numbers of one embedding, at least one.
    pub length: usize,
}

impl<'a> Rows<'a> {
    /// Returns the number of rows.
    #[must_use]
    pub fn len(self) -> usize {
        self.values.len() / self.length
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.values.is_empty()
    }

    /// Returns some thousand rows at a time.
    pub(super) fn blocks(self, num_rows: usize) -> impl Iterator<Item = Rows<'a>> {
        let length = self.length;
        self.values.chunks(num_rows * length).map(move |values| Rows { values, length })
    }
}

/// Multiplies every row with every weight vector.
///
/// - `weights`: `[m, length]`; `bias`: `[m]`
/// - returns: `[n, m]`
pub(super) fn scores(rows: Rows<'_>, weights: &[f64], bias: &[f64]) -> Vec<f64> {
    let mut scores = vec![0.0; rows.len() * bias.len()];
    let each = scores.par_chunks_mut(bias.len()).zip(rows.values.par_chunks_exact(rows.length));
    each.for_each_init(Vec::new, |wide, (scores, row)| {
        wide.clear();
        wide.extend(row.iter().copied().map(f64::from));
        for ((score, weights), bias) in scores.iter_mut().zip(weights.chunks_exact(rows.length)).zip(bias) {
            *score = dot(wide, weights) + bias;
        }
    });
    scores
}

/// Adds to `sums` `[m, length]` each row times each of its factors `[n, m]`.
pub(super) fn add_weighted(sums: &mut [f64], rows: Rows<'_>, factors: &[f64], m: usize) {
    let length = rows.length;
    let starts: Vec<usize> = (0..length).step_by(FEATURES).collect();
    let parts: Vec<Vec<f64>> = starts
        .par_iter()
        .map(|&start| weighted(rows, start..(start + FEATURES).min(length), factors, m))
        .collect();
    for (start, part) in starts.into_iter().zip(parts) {
        let width = part.len() / m;
        for (sums, part) in sums.chunks_exact_mut(length).zip(part.chunks_exact(width)) {
            add_scaled(&mut sums[start..start + width], part, 1.0);
        }
    }
}

/// Returns `[m, features]`.
fn weighted(rows: Rows<'_>, features: std::ops::Range<usize>, factors: &[f64], m: usize) -> Vec<f64> {
    let width = features.len();
    let mut sums = vec![0.0; m * width];
    let mut wide = [0.0; FEATURES];
    for (row, factors) in rows.values.chunks_exact(rows.length).zip(factors.chunks_exact(m)) {
        for (wide, value) in wide.iter_mut().zip(&row[features.clone()]) {
            *wide = f64::from(*value);
        }
        for (sums, factor) in sums.chunks_exact_mut(width).zip(factors) {
            add_scaled(sums, &wide[..width], *factor);
        }
    }
    sums
}

/// Adds `factor · values` to `sums`.
pub(super) fn add_scaled(sums: &mut [f64], values: &[f64], factor: f64) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// Returns the dot product of two vectors of equal length.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_plain_loops() {
        let length = 131;
        let values: Vec<f32> = (0..7 * length).map(|at| (at * 37 % 101) as f32 - 50.0).collect();
        let rows = Rows { values: &values, length };
        let weights: Vec<f64> = (0..3 * length).map(|at| (at * 53 % 97) as f64 / 8.0).collect();
        let bias = [1.0, -2.0, 0.5];
        let found = scores(rows, &weights, &bias);
        let mut sums = vec![1.0; 3 * length];
        add_weighted(&mut sums, rows, &found, 3);
        for class in 0..3 {
            for row in 0..7 {
                let products =
                    (0..length).map(|at| f64::from(values[row * length + at]) * weights[class * length + at]);
                let expected = products.sum::<f64>() + bias[class];
                assert!((found[row * 3 + class] - expected).abs() < 1e-9);
            }
            for at in 0..length {
                let products =
                    (0..7).map(|row| found[row * 3 + class] * f64::from(values[row * length + at]));
                let expected: f64 = 1.0 + products.sum::<f64>();
                assert!((sums[class * length + at] - expected).abs() <= 1e-12 * expected.abs());
            }
        }
    }
}
