//! Multinomial logistic regression.

use rayon::prelude::*;

use super::dense::{self, BLOCK_ROWS, add_weighted, dot};
use super::lbfgs::minimise;
use super::scale::Scaling;
use super::{Samples, TOLERANCE};

/// Far more than embeddings need; without an end a mistake would never show.
const MAX_ITERATIONS: usize = 20_000;

/// Returns weights and bias on standardised features, the number of steps and the last gradient.
pub(super) fn fit(
    samples: &Samples<'_>,
    scaling: &Scaling,
    l2: f64,
) -> Option<(Vec<f64>, Vec<f64>, usize, f64)> {
    let num_weights = samples.num_classes * samples.rows.length;
    // scikit-learn gives two classes one weight vector w; ours are −w/2 and w/2, with half its square.
    let l2 = if samples.num_classes == 2 { 2.0 * l2 } else { l2 };
    let start = vec![0.0; num_weights + samples.num_classes];
    let objective = |point: &[f64], gradient: &mut [f64]| objective(samples, scaling, l2, point, gradient);
    let found = minimise(start, objective, TOLERANCE, MAX_ITERATIONS)?;
    let mut weights = found.point;
    let bias = weights.split_off(num_weights);
    Some((weights, bias, found.iterations, found.gradient))
}

/// Returns `(Σ log loss + l2/2 · ‖w‖²) / n`, and its gradient.
///
/// - `point`, `gradient`: weights `[classes, length]`, then bias `[classes]`
fn objective(samples: &Samples<'_>, scaling: &Scaling, l2: f64, point: &[f64], gradient: &mut [f64]) -> f64 {
    let Samples { rows, classes, num_classes } = *samples;
    let (weights, bias) = point.split_at(num_classes * rows.length);
    let (folded, shifted) = scaling.fold(weights, bias);
    gradient.fill(0.0);
    let (to_weights, to_bias) = gradient.split_at_mut(weights.len());
    let mut loss = 0.0;
    for (block, classes) in rows.blocks(BLOCK_ROWS).zip(classes.chunks(BLOCK_ROWS)) {
        let mut errors = dense::scores(block, &folded, &shifted);
        let each = errors.par_chunks_mut(num_classes).zip(classes);
        loss += each
            .map(|(scores, class)| to_errors(scores, *class as usize))
            .collect::<Vec<_>>()
            .iter()
            .sum::<f64>();
        for errors in errors.chunks_exact(num_classes) {
            dense::add_scaled(to_bias, errors, 1.0);
        }
        add_weighted(to_weights, block, &errors, num_classes);
    }
    let num = classes.len() as f64;
    for (class, to_weights) in to_weights.chunks_exact_mut(rows.length).enumerate() {
        for (feature, part) in to_weights.iter_mut().enumerate() {
            let standardised = (*part - scaling.mean[feature] * to_bias[class]) * scaling.inverse[feature];
            *part = (standardised + l2 * weights[class * rows.length + feature]) / num;
        }
    }
    for part in to_bias.iter_mut() {
        *part /= num;
    }
    (loss + 0.5 * l2 * dot(weights, weights)) / num
}

/// Turns a row's scores into probabilities less the truth, and returns its log loss.
fn to_errors(scores: &mut [f64], class: usize) -> f64 {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let own = scores[class] - largest;
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - largest).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
    scores[class] -= 1.0;
    sum.ln() - own
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_values() {
        let values: Vec<f32> = (0..40).map(|at| ((at * 29) % 23) as f32).collect();
        let rows = Rows { values: &values, length: 4 };
        let classes = [0, 1, 2, 0, 1, 2, 2, 1, 0, 0];
        let samples = Samples { rows, classes: &classes, num_classes: 3 };
        let scaling = Scaling::of(rows);
        let point: Vec<f64> = (0..15).map(|at| f64::from(at % 7) / 5.0 - 0.5).collect();
        let mut gradient = vec![0.0; 15];
        objective(&samples, &scaling, 0.3, &point, &mut gradient);
        for at in 0..15 {
            let beside = |by: f64| {
                let mut point = point.clone();
                point[at] += by;
                objective(&samples, &scaling, 0.3, &point, &mut [0.0; 15])
            };
            let slope = (beside(1e-5) - beside(-1e-5)) / 2e-5;
            assert!((slope - gradient[at]).abs() < 1e-8, "{at}: {slope} {}", gradient[at]);
        }
    }

    #[test]
    fn huge_scores_do_not_overflow() {
        let mut scores = [1e300, -1e300];
        assert_eq!((to_errors(&mut scores, 0), scores), (0.0, [0.0, 0.0]));
    }
}
