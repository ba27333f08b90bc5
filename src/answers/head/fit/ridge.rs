//! Ridge regression on targets of −1 and 1, one for each class, in closed form.
//!
//! With fewer samples than features the system of equations is over the samples, otherwise over the features.

use rayon::prelude::*;

use super::Samples;
use super::dense::{BLOCK_ROWS, add_scaled, dot};
use super::scale::Scaling;

/// Returns weights and bias on standardised features, 0 steps and no gradient; `None` if rounding leaves the
/// equations without a solution.
pub(super) fn fit(
    samples: &Samples<'_>,
    scaling: &Scaling,
    l2: f64,
) -> Option<(Vec<f64>, Vec<f64>, usize, f64)> {
    let bias = mean_targets(samples);
    let weights = if samples.rows.len() <= samples.rows.length { over_samples } else { over_features }(
        samples, scaling, &bias, l2,
    )?;
    Some((weights, bias, 0, 0.0))
}

/// Features have mean 0, so that the intercept is the mean of the targets.
fn mean_targets(samples: &Samples<'_>) -> Vec<f64> {
    let mut counts = vec![0.0; samples.num_classes];
    samples.classes.iter().for_each(|class| counts[*class as usize] += 1.0);
    counts.iter().map(|count| 2.0 * count / samples.classes.len() as f64 - 1.0).collect()
}

/// The targets less their means, `[n, classes]`.
fn centred_targets(classes: &[u32], bias: &[f64]) -> Vec<f64> {
    let target = |own: u32, class: usize| if own as usize == class { 1.0 } else { -1.0 };
    let row = |own: &u32| {
        let own = *own;
        bias.iter().enumerate().map(move |(class, mean)| target(own, class) - mean)
    };
    classes.iter().flat_map(row).collect()
}

/// Solves `(ZZᵀ + l2) a = y`; the weights are `Zᵀa`.
fn over_samples(samples: &Samples<'_>, scaling: &Scaling, bias: &[f64], l2: f64) -> Option<Vec<f64>> {
    let (num, length, num_classes) = (samples.rows.len(), samples.rows.length, samples.num_classes);
    let scaled = scaling.apply(samples.rows);
    let mut system = vec![0.0; num * num];
    add_products(&mut system, num, &scaled, length);
    let mut solution = centred_targets(samples.classes, bias);
    solve(system, num, l2, &mut solution, num_classes)?;
    let mut weights = vec![0.0; num_classes * length];
    weights.par_chunks_exact_mut(length).enumerate().for_each(|(class, weights)| {
        for (row, factors) in scaled.chunks_exact(length).zip(solution.chunks_exact(num_classes)) {
            add_scaled(weights, row, factors[class]);
        }
    });
    Some(weights)
}

/// Solves `(ZᵀZ + l2) w = Zᵀy`.
fn over_features(samples: &Samples<'_>, scaling: &Scaling, bias: &[f64], l2: f64) -> Option<Vec<f64>> {
    let (length, num_classes) = (samples.rows.length, samples.num_classes);
    let mut system = vec![0.0; length * length];
    let mut right = vec![0.0; length * num_classes];
    for (block, classes) in samples.rows.blocks(BLOCK_ROWS).zip(samples.classes.chunks(BLOCK_ROWS)) {
        let columns = transposed(&scaling.apply(block), length);
        add_products(&mut system, length, &columns, block.len());
        let targets = transposed(&centred_targets(classes, bias), num_classes);
        let each = right.par_chunks_exact_mut(num_classes).zip(columns.par_chunks_exact(block.len()));
        each.for_each(|(right, column)| {
            for (right, targets) in right.iter_mut().zip(targets.chunks_exact(block.len())) {
                *right += dot(column, targets);
            }
        });
    }
    solve(system, length, l2, &mut right, num_classes)?;
    Some(transposed(&right, num_classes))
}

/// Turns `[n, width]` into `[width, n]`.
fn transposed(values: &[f64], width: usize) -> Vec<f64> {
    let column = |at: usize| values[at..].iter().step_by(width).copied().collect::<Vec<_>>();
    (0..width).into_par_iter().flat_map_iter(column).collect()
}

/// Adds the dot products of all pairs of vectors to the lower triangle of `sums` `[side, side]`.
///
/// - `vectors`: `[side, length]`
fn add_products(sums: &mut [f64], side: usize, vectors: &[f64], length: usize) {
    sums.par_chunks_exact_mut(side).enumerate().for_each(|(row, sums)| {
        let own = &vectors[row * length..(row + 1) * length];
        for (sum, other) in sums[..=row].iter_mut().zip(vectors.chunks_exact(length)) {
            *sum += dot(own, other);
        }
    });
}

/// Solves a positive definite system by Cholesky's factors, in place.
///
/// - `system`: `[side, side]`, of which the lower triangle counts; `l2` is added to its diagonal
/// - `right`: `[side, width]` right-hand sides, then the solutions
/// - returns: `None` if the system is not positive definite as far as rounding tells
fn solve(mut system: Vec<f64>, side: usize, l2: f64, right: &mut [f64], width: usize) -> Option<()> {
    (0..side).for_each(|at| system[at * side + at] += l2);
    for column in 0..side {
        let (above, below) = system.split_at_mut((column + 1) * side);
        let own = &mut above[column * side..];
        let pivot = own[column] - dot(&own[..column], &own[..column]);
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        own[column] = pivot.sqrt();
        let own = &own[..=column];
        below.par_chunks_exact_mut(side).with_min_len(64).for_each(|row| {
            row[column] = (row[column] - dot(&row[..column], &own[..column])) / own[column];
        });
    }
    for row in 0..side {
        let (solved, rest) = right.split_at_mut(row * width);
        let own = &mut rest[..width];
        for (other, solved) in solved.chunks_exact(width).enumerate() {
            add_scaled(own, solved, -system[row * side + other]);
        }
        for value in own.iter_mut() {
            *value /= system[row * side + row];
        }
    }
    for row in (0..side).rev() {
        let (rest, solved) = right.split_at_mut((row + 1) * width);
        let own = &mut rest[row * width..];
        for (other, solved) in solved.chunks_exact(width).enumerate() {
            add_scaled(own, solved, -system[(row + 1 + other) * side + row]);
        }
        for value in own.iter_mut() {
            *value /= system[row * side + row];
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::Rows;
    use super::*;

    #[test]
    fn both_systems_have_the_same_solution() {
        for (num, length) in [(9, 5), (5, 9), (30, 30)] {
            let values: Vec<f32> = (0..num * length).map(|at| ((at * at * 31) % 47) as f32).collect();
            let rows = Rows { values: &values, length };
            let classes: Vec<u32> = (0..num as u32).map(|at| at % 3).collect();
            let samples = Samples { rows, classes: &classes, num_classes: 3 };
            let (scaling, bias) = (Scaling::of(rows), mean_targets(&samples));
            let a = over_samples(&samples, &scaling, &bias, 0.7).unwrap();
            let b = over_features(&samples, &scaling, &bias, 0.7).unwrap();
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() < 1e-9, "{a} {b}");
            }
            assert!(a.iter().any(|weight| weight.abs() > 1e-3));
        }
    }

    #[test]
    fn a_known_system_is_solved() {
        let mut right = vec![10.0, 1.0, 8.0, 0.0];
        solve(vec![3.0, f64::NAN, 2.0, 4.0], 2, 1.0, &mut right, 2).unwrap();
        // (4 2; 2 5) x = (10, 8) and (1, 0), by hand.
        for (found, expected) in right.iter().zip([2.125, 0.3125, 0.75, -0.125]) {
            assert!((found - expected).abs() < 1e-15, "{right:?}");
        }
        assert_eq!(solve(vec![-1.0], 1, 0.5, &mut [1.0], 1), None);
    }
}
