//! Fits a linear classifier on embeddings: the mathematics alone, in float64, without I/O.
//!
//! Goes in: rows of embeddings and the class of each. Comes out: one weight vector and one bias a class, so
//! that `scores = weights · embedding + bias`. Features are standardised inside, and that is folded back into
//! weights and bias: whoever applies them needs the plain embedding. The same rows in the same order give the
//! same bits, on any number of threads.

mod dense;
mod lbfgs;
mod logistic;
mod ridge;
mod scale;
mod score;

use crate::models::head::Linear;
use crate::vocabulary::contract::HeadKind;

pub use dense::Rows;
pub use score::{ClassScore, Evaluation, evaluate};

/// Embeddings to fit on, and what they are.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// The embeddings.
    pub rows: Rows<'a>,
    /// The class of each, below `num_classes`; each class occurs.
    pub classes: &'a [u32],
    /// Number of classes, at least two.
    pub num_classes: usize,
}

/// A classifier, and how its fit went.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The classifier.
    pub linear: Linear,
    /// Steps of the optimiser; 0 for a solution in closed form.
    pub iterations: usize,
    /// The largest part of the objective's gradient at the end, a sample, in standardised features.
    pub gradient: f64,
}

/// Fits a classifier.
///
/// With `z` the standardised embeddings, `w` the weights on these and `n` the number of samples:
///
/// - [`HeadKind::Logistic`] minimises `Σ log loss + l2/2 · ‖w‖²`, the intercept free: scikit-learn's
///   `LogisticRegression(C=1/l2)` after a `StandardScaler`. It ends where no part of the gradient of the
///   objective divided by `n` is above [`TOLERANCE`].
/// - [`HeadKind::Ridge`] minimises `Σ (z·w + b − y)² + l2 · ‖w‖²` for each class, `y` being 1 for it and −1 for
///   the others: scikit-learn's `RidgeClassifier(alpha=l2)` after a `StandardScaler`.
///
/// `None` if it does not come to an end, or a weight is not finite as float32.
///
/// Memory: for logistic about 30 copies of the weights in float64; for ridge a square matrix over samples or
/// features, whichever are fewer; see [`num_bytes`].
#[must_use]
pub fn fit(kind: HeadKind, samples: &Samples<'_>, l2: f64) -> Option<Fitted> {
    let scaling = scale::Scaling::of(samples.rows);
    let (weights, bias, iterations, gradient) = match kind {
        HeadKind::Logistic => logistic::fit(samples, &scaling, l2)?,
        HeadKind::Ridge => ridge::fit(samples, &scaling, l2)?,
    };
    let (weights, bias) = scaling.fold(&weights, &bias);
    let linear = Linear { weights: to_f32(&weights)?, bias: to_f32(&bias)? };
    Some(Fitted { linear, iterations, gradient })
}

/// Where a logistic fit ends: the largest part of the gradient, a sample.
pub const TOLERANCE: f64 = 1e-6;

/// Returns about how much memory a fit takes beside its samples.
#[must_use]
pub fn num_bytes(kind: HeadKind, num_samples: usize, length: usize, num_classes: usize) -> u64 {
    let floats = match kind {
        HeadKind::Logistic => (2 * lbfgs::HISTORY + 10) as u64 * (num_classes as u64) * (length as u64 + 1),
        HeadKind::Ridge => {
            let side = num_samples.min(length) as u64;
            side * side
                + side.max(num_samples as u64).min(4096) * length as u64 * 2
                + 3 * num_classes as u64 * (length as u64 + side)
        }
    };
    // The confusion of the classes, of both halves.
    let confusion = 2 * (num_classes as u64).saturating_mul(num_classes as u64);
    floats.saturating_add(confusion).saturating_mul(8)
}

fn to_f32(values: &[f64]) -> Option<Vec<f32>> {
    values.iter().map(|value| Some(*value as f32).filter(|value| value.is_finite())).collect()
}

/// Returns the class with the largest score of each row; of equals the lowest.
#[must_use]
pub fn predict(linear: &Linear, rows: Rows<'_>) -> Vec<u32> {
    let weights: Vec<f64> = linear.weights.iter().copied().map(f64::from).collect();
    let bias: Vec<f64> = linear.bias.iter().copied().map(f64::from).collect();
    let best = |scores: &[f64]| {
        let best = |best: usize, class: usize| if scores[class] > scores[best] { class } else { best };
        (0..scores.len()).fold(0, best) as u32
    };
    let blocks = rows.blocks(dense::BLOCK_ROWS);
    blocks
        .flat_map(|block| {
            let scores = dense::scores(block, &weights, &bias);
            scores.chunks_exact(bias.len()).map(best).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use tilefleet_testing::Random;

    use super::*;

    fn noise(seed: u64) -> impl Iterator<Item = f32> {
        let mut random = Random(seed);
        std::iter::repeat_with(move || random.around_0())
    }

    /// Clouds around centres, far from 0 and of unlike spread; feature 1 is constant.
    fn clouds(num: usize, length: usize, num_classes: usize) -> (Vec<f32>, Vec<u32>) {
        let centres: Vec<f32> = noise(1).take(num_classes * length).collect();
        let mut grain = noise(2);
        let (mut values, mut classes) = (Vec::new(), Vec::new());
        for sample in 0..num {
            let class = sample % num_classes;
            classes.push(class as u32);
            for feature in 0..length {
                let spread = 1.0 + feature as f32;
                let value = 100.0 + spread * (centres[class * length + feature] + grain.next().unwrap());
                values.push(if feature == 1 { 7.25 } else { value });
            }
        }
        (values, classes)
    }

    fn accuracy(kind: HeadKind, num: usize, length: usize) -> f64 {
        let (values, classes) = clouds(num, length, 3);
        let rows = Rows { values: &values, length };
        let fitted = fit(kind, &Samples { rows, classes: &classes, num_classes: 3 }, 1.0).unwrap();
        assert!(fitted.gradient <= TOLERANCE, "{fitted:?}");
        assert!(fitted.linear.weights.iter().skip(1).step_by(length).all(|weight| *weight == 0.0));
        evaluate(&classes, &predict(&fitted.linear, rows), 3).accuracy.unwrap()
    }

    #[test]
    fn clouds_are_told_apart_with_more_samples_than_features_and_with_fewer() {
        for kind in [HeadKind::Logistic, HeadKind::Ridge] {
            assert!(accuracy(kind, 300, 20) > 0.9);
            assert!(accuracy(kind, 30, 100) > 0.99);
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (values, classes) = clouds(3000, 300, 4);
        let samples =
            Samples { rows: Rows { values: &values, length: 300 }, classes: &classes, num_classes: 4 };
        for kind in [HeadKind::Logistic, HeadKind::Ridge] {
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| fit(kind, &samples, 0.5)).unwrap()
            };
            assert!(on(1) == on(3), "{kind:?}");
        }
    }

    #[test]
    fn weights_beyond_float32_are_refused() {
        let values = [1e-44_f32, 0.0, 1e-44, 0.0];
        let rows = Rows { values: &values, length: 1 };
        assert_eq!(
            fit(HeadKind::Ridge, &Samples { rows, classes: &[1, 0, 1, 0], num_classes: 2 }, 1e-3),
            None
        );
    }
}
