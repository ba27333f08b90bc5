//! The cosine of the angle between two vectors, fast where single precision has room and right elsewhere.

use std::ops::RangeInclusive;

/// As many sums as the compiler keeps in vector registers.
const LANES: usize = 16;

/// A sum of squares outside of it may have overflowed single precision, or lost what fell below it.
const IN_RANGE: RangeInclusive<f64> = 1e-20..=1e30;

/// A vector to compare others with, its length known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direction<'a> {
    values: &'a [f32],
    square: f64,
}

impl<'a> Direction<'a> {
    pub(super) fn of(values: &'a [f32]) -> Self {
        Self { values, square: dot(values, values) }
    }

    /// Returns the number of floats.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Tells whether it points nowhere, because it is zero.
    pub(super) fn is_zero(&self) -> bool {
        self.values.iter().all(|&value| value == 0.0)
    }

    /// Returns the cosine, −1 to 1; `None` if one of the two is zero.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub(super) fn cosine(&self, other: &[f32]) -> Option<f32> {
        assert_eq!(self.values.len(), other.len(), "both are vectors of one length");
        let (mut product, mut square) = (dot(self.values, other), dot(other, other));
        let mut own_square = self.square;
        if !IN_RANGE.contains(&square) || !IN_RANGE.contains(&own_square) {
            product = in_double_precision(self.values, other);
            square = in_double_precision(other, other);
            own_square = in_double_precision(self.values, self.values);
        }
        let lengths = (own_square * square).sqrt();
        (lengths > 0.0).then(|| (product / lengths).clamp(-1.0, 1.0) as f32)
    }
}

/// Returns `a · b`, summed in single precision by lanes.
// Not inlined: two such loops in one function are woven into one that shuffles more than it computes, at a
// third of the speed.
#[inline(never)]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() + in_double_precision(a_rest, b_rest)
}

fn in_double_precision(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cosine(a: &[f32], b: &[f32]) -> Option<f32> {
        Direction::of(a).cosine(b)
    }

    #[test]
    fn cosines_are_those_of_the_textbook() {
        assert!((cosine(&[1.0, 0.0], &[1.0, 1.0]).unwrap() - 0.5f32.sqrt()).abs() < 1e-7);
        let long: Vec<f32> = (0..100).map(|at| at as f32).collect();
        let opposite: Vec<f32> = long.iter().map(|value| -2.0 * value).collect();
        assert_eq!(cosine(&long, &opposite), Some(-1.0));
    }

    #[test]
    fn a_zero_vector_points_nowhere() {
        assert_eq!(cosine(&[0.0; 20], &[1.0; 20]), None);
        assert_eq!(cosine(&[1.0; 20], &[0.0; 20]), None);
        assert!(Direction::of(&[0.0, -0.0]).is_zero() && !Direction::of(&[1e-45, 0.0]).is_zero());
    }

    /// Squares of these are infinite or zero in single precision.
    #[test]
    fn neither_huge_nor_tiny_vectors_lose_their_direction() {
        for scale in [1e38, 1e-22, 1e-38] {
            let (a, b) = ([scale, 0.0], [scale, scale]);
            assert!((cosine(&a, &b).unwrap() - 0.5f32.sqrt()).abs() < 1e-6, "{scale}");
            assert!((cosine(&[1.0, 0.0], &b).unwrap() - 0.5f32.sqrt()).abs() < 1e-6, "{scale}");
            assert!((cosine(&b, &[1.0, 0.0]).unwrap() - 0.5f32.sqrt()).abs() < 1e-6, "{scale}");
        }
    }

    #[test]
    fn rounding_leads_nowhere_beyond_one() {
        for length in 1..200 {
            let vector: Vec<f32> = (0..length).map(|at| (at as f32 + 0.1).sin()).collect();
            let similarity = cosine(&vector, &vector).unwrap();
            assert!((0.999_999..=1.0).contains(&similarity), "{length}: {similarity}");
        }
    }
}
