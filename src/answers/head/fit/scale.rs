//! Standardised features: mean 0, standard deviation 1.

use rayon::prelude::*;

use super::dense::{BLOCK_ROWS, Rows, add_weighted, dot};

/// Below this share of its mean a feature's deviation is what float32 rounds off.
const ROUNDING: f64 = 1e-7;

/// How each feature is standardised: `(x − mean) · inverse`.
pub(super) struct Scaling {
    pub(super) mean: Vec<f64>,
    /// One over the standard deviation; 0 for a feature that is constant.
    pub(super) inverse: Vec<f64>,
}

impl Scaling {
    /// Measures rows, of which there is at least one.
    pub(super) fn of(rows: Rows<'_>) -> Self {
        let num = rows.len() as f64;
        let mut mean = vec![0.0; rows.length];
        for block in rows.blocks(BLOCK_ROWS) {
            add_weighted(&mut mean, block, &vec![1.0 / num; block.len()], 1);
        }
        let deviation = (0..rows.length).into_par_iter().map(|feature| {
            let column = rows.values[feature..].iter().step_by(rows.length);
            let squares = column.map(|value| (f64::from(*value) - mean[feature]).powi(2));
            (squares.sum::<f64>() / num).sqrt()
        });
        let deviation: Vec<f64> = deviation.collect();
        let inverse = |(deviation, mean): (&f64, &f64)| {
            if *deviation <= ROUNDING * mean.abs() { 0.0 } else { 1.0 / deviation }
        };
        let inverse = deviation.iter().zip(&mean).map(inverse).collect();
        Self { mean, inverse }
    }

    /// Turns a classifier of standardised features into one of plain features.
    ///
    /// - `weights`: `[classes, length]`; `bias`: `[classes]`
    pub(super) fn fold(&self, weights: &[f64], bias: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let length = self.mean.len();
        let inverse = self.inverse.iter().cycle();
        let weights: Vec<f64> =
            weights.iter().zip(inverse).map(|(weight, inverse)| weight * inverse).collect();
        let shifted = weights.chunks_exact(length).zip(bias).map(|(row, bias)| bias - dot(row, &self.mean));
        let bias = shifted.collect();
        (weights, bias)
    }

    /// Returns rows standardised, `[n, length]`.
    pub(super) fn apply(&self, rows: Rows<'_>) -> Vec<f64> {
        let scales = || self.mean.iter().zip(&self.inverse);
        let row = |row: &[f32]| {
            let scaled = row.iter().zip(scales());
            scaled.map(|(value, (mean, inverse))| (f64::from(*value) - mean) * inverse).collect::<Vec<_>>()
        };
        rows.values.par_chunks_exact(rows.length).flat_map_iter(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_get_mean_0_and_deviation_1_unless_constant() {
        let values = [1.0, 0.1, 3.0, 0.1, 5.0, 0.1, 7.0, 0.1_f32.next_up()];
        let rows = Rows { values: &values, length: 2 };
        let scaling = Scaling::of(rows);
        assert!((scaling.mean[0] - 4.0).abs() < 1e-15);
        assert!((scaling.inverse[0] - 1.0 / 5.0_f64.sqrt()).abs() < 1e-15);
        assert!(scaling.inverse[1].abs() < f64::MIN_POSITIVE);
        let scaled = scaling.apply(rows);
        assert!(scaled.iter().step_by(2).sum::<f64>().abs() < 1e-15);
        let (weights, bias) = scaling.fold(&[2.0, 3.0], &[1.0]);
        let folded = 7.0 * weights[0] + bias[0];
        assert!((folded - (2.0 * scaled[6] + 1.0)).abs() < 1e-12 && weights[1] == 0.0);
    }
}
