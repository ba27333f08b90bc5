//! L-BFGS: finds the minimum of a smooth convex function from values and gradients.
//!
//! # Reference
//!
//! Nocedal and Wright, *Numerical Optimization*, 2nd edition, algorithms 7.4 and 7.5; the line search by
//! bisection for the weak Wolfe conditions is that of Lewis and Overton, 2013, algorithm 2.6.

use std::collections::VecDeque;

use super::dense::{add_scaled, dot};

/// Steps that are remembered.
pub(super) const HISTORY: usize = 10;
const SUFFICIENT_DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
/// Maximum number of times that a step is halved or doubled.
const MAX_TRIALS: usize = 60;

/// Where the function has its minimum.
pub(super) struct Minimum {
    pub(super) point: Vec<f64>,
    /// The largest part of the gradient.
    pub(super) gradient: f64,
    pub(super) iterations: usize,
}

/// Walks down from `point` until no part of the gradient is above `tolerance`.
///
/// - `function`: puts the gradient at a point into its second argument and returns the value
/// - returns: `None` if that takes more than `max_iterations`, or rounding ends it before
pub(super) fn minimise(
    point: Vec<f64>,
    mut function: impl FnMut(&[f64], &mut [f64]) -> f64,
    tolerance: f64,
    max_iterations: usize,
) -> Option<Minimum> {
    let mut here = Place::of(point, &mut function);
    let mut steps: VecDeque<Step> = VecDeque::with_capacity(HISTORY);
    for iterations in 0..max_iterations {
        let gradient = here.gradient.iter().fold(0.0_f64, |largest, part| largest.max(part.abs()));
        if gradient <= tolerance {
            return Some(Minimum { point: here.point, gradient, iterations });
        }
        let direction = direction(&here.gradient, &steps);
        let first = if steps.is_empty() { 1.0 / norm(&here.gradient).max(1.0) } else { 1.0 };
        let next = search(&here, &direction, first, &mut function)?;
        if steps.len() == HISTORY {
            steps.pop_front();
        }
        steps.push_back(Step::between(&here, &next));
        here = next;
    }
    None
}

struct Place {
    point: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

impl Place {
    fn of(point: Vec<f64>, function: &mut impl FnMut(&[f64], &mut [f64]) -> f64) -> Self {
        let mut gradient = vec![0.0; point.len()];
        let value = function(&point, &mut gradient);
        Self { point, value, gradient }
    }
}

/// How far a step went, and how the gradient changed.
struct Step {
    moved: Vec<f64>,
    change: Vec<f64>,
    /// One over their dot product, which the line search keeps positive.
    inverse: f64,
}

impl Step {
    fn between(from: &Place, to: &Place) -> Self {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
        let moved = difference(&to.point, &from.point);
        let change = difference(&to.gradient, &from.gradient);
        let inverse = 1.0 / dot(&moved, &change);
        Self { moved, change, inverse }
    }
}

/// The two-loop recursion: the gradient times the inverse Hessian as the steps tell it, downwards.
fn direction(gradient: &[f64], steps: &VecDeque<Step>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|part| -part).collect();
    let mut factors = Vec::with_capacity(steps.len());
    for step in steps.iter().rev() {
        let factor = step.inverse * dot(&step.moved, &direction);
        add_scaled(&mut direction, &step.change, -factor);
        factors.push(factor);
    }
    if let Some(last) = steps.back() {
        let scale = 1.0 / (last.inverse * dot(&last.change, &last.change));
        for part in &mut direction {
            *part *= scale;
        }
    }
    for (step, factor) in steps.iter().zip(factors.into_iter().rev()) {
        let back = step.inverse * dot(&step.change, &direction);
        add_scaled(&mut direction, &step.moved, factor - back);
    }
    direction
}

/// Finds a step that goes down enough and flattens the slope enough.
fn search(
    from: &Place,
    direction: &[f64],
    first: f64,
    function: &mut impl FnMut(&[f64], &mut [f64]) -> f64,
) -> Option<Place> {
    let slope = dot(&from.gradient, direction);
    // Near the minimum the value changes by less than it can tell.
    let slack = 1e-14 * from.value.abs();
    let (mut low, mut high, mut step) = (0.0, f64::INFINITY, first);
    for _ in 0..MAX_TRIALS {
        let mut point = from.point.clone();
        add_scaled(&mut point, direction, step);
        let place = Place::of(point, function);
        let goes_down = place.value <= from.value + SUFFICIENT_DECREASE * step * slope + slack;
        if !goes_down {
            high = step;
        } else if dot(&place.gradient, direction) < CURVATURE * slope {
            low = step;
        } else {
            return Some(place);
        }
        step = if high.is_finite() { f64::midpoint(low, high) } else { 2.0 * low };
    }
    None
}

fn norm(vector: &[f64]) -> f64 {
    dot(vector, vector).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A valley whose walls are 10⁶ times as steep as its floor.
    #[test]
    fn a_narrow_valley_is_followed_to_its_lowest_point() {
        let found = minimise(
            vec![3.0, -4.0, 1.0],
            |x, gradient| {
                let steep = [1.0, 1e3, 1e6];
                let lowest = [1.0, 2.0, 3.0];
                let mut value = 0.0;
                for at in 0..3 {
                    gradient[at] = steep[at] * (x[at] - lowest[at]);
                    value += 0.5 * gradient[at] * (x[at] - lowest[at]);
                }
                value
            },
            1e-8,
            200,
        );
        let found = found.unwrap();
        assert!(found.gradient <= 1e-8 && found.iterations > 2);
        for (x, lowest) in found.point.iter().zip([1.0, 2.0, 3.0]) {
            assert!((x - lowest).abs() < 1e-7, "{:?}", found.point);
        }
    }

    #[test]
    fn what_has_no_minimum_has_no_answer() {
        let down = |x: &[f64], gradient: &mut [f64]| {
            gradient[0] = -(-x[0]).exp();
            (-x[0]).exp()
        };
        assert!(minimise(vec![0.0], down, 1e-300, 50).is_none());
    }
}
