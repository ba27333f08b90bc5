//! The inverse discrete cosine transform of 12-bit samples (ITU-T T.81, A.3.3).

/// Bits of the factors behind the point.
const FACTOR_BITS: u32 = 13;
/// Bits that the first pass keeps behind the point: there is no room for more beside 12-bit samples in 32 bits, for which
/// libjpeg was written, and its samples are wanted.
const KEPT_BITS: u32 = 1;
/// The middle of the samples, which coefficients leave out (T.81, A.3.1).
const LEVEL: i64 = 1 << 11;
const MAX_SAMPLE: i64 = (1 << 12) - 1;

/// Dequantises and transforms one block, to the samples of libjpeg's accurate integer transform (`jpeg_idct_islow`).
///
/// - `block`, `quantisation`: in natural order
pub(super) fn inverse(block: &[i16; 64], quantisation: &[u16; 64]) -> [u16; 64] {
    let mut values: [i64; 64] = std::array::from_fn(|at| i64::from(block[at]) * i64::from(quantisation[at]));
    for column in 0..8 {
        let along: [i64; 8] = std::array::from_fn(|row| values[8 * row + column]);
        for (row, value) in pass(along, FACTOR_BITS - KEPT_BITS).into_iter().enumerate() {
            values[8 * row + column] = value;
        }
    }
    let mut samples = [0; 64];
    for (out, row) in samples.as_chunks_mut::<8>().0.iter_mut().zip(values.as_chunks().0) {
        // The transform of both directions is 8 times too large.
        let shifted = pass(*row, FACTOR_BITS + KEPT_BITS + 3);
        *out = shifted.map(|value| (value + LEVEL).clamp(0, MAX_SAMPLE) as u16);
    }
    samples
}

/// Returns a factor of the transform with [`FACTOR_BITS`].
const fn factor(millionths: i64) -> i64 {
    ((millionths << FACTOR_BITS) + 500_000) / 1_000_000
}

/// Transforms eight values (Loeffler, Ligtenberg and Moschytz, 1989), and shifts the results with rounding.
///
/// The factors are sums of √2 · cos(k · π/16), so that a value takes part in few products.
fn pass(values: [i64; 8], shift: u32) -> [i64; 8] {
    let (even, odd) = (even_part(values), odd_part(values));
    let rounded = |sum: i64| (sum + (1 << (shift - 1))) >> shift;
    std::array::from_fn(|at| {
        let (pair, turned) = if at < 4 { (at, false) } else { (7 - at, true) };
        rounded(if turned { even[pair] - odd[pair] } else { even[pair] + odd[pair] })
    })
}

/// What coefficients 0, 2, 4 and 6 add to the first four results; the last four have the same in reverse order.
fn even_part([first, _, second, _, fourth, _, sixth, _]: [i64; 8]) -> [i64; 4] {
    let shared = (second + sixth) * factor(541_196);
    let (wide, narrow) = (shared + second * factor(765_367), shared - sixth * factor(1_847_759));
    let (sum, difference) = ((first + fourth) << FACTOR_BITS, (first - fourth) << FACTOR_BITS);
    [sum + wide, difference + narrow, difference - narrow, sum - wide]
}

/// What coefficients 1, 3, 5 and 7 add to the first four results; the last four have its negative in reverse order.
fn odd_part([_, first, _, third, _, fifth, _, seventh]: [i64; 8]) -> [i64; 4] {
    let shared = (first + third + fifth + seventh) * factor(1_175_876);
    let outer = (first + seventh) * factor(899_976);
    let inner = (third + fifth) * factor(2_562_915);
    let threes = shared - (third + seventh) * factor(1_961_571);
    let ones = shared - (first + fifth) * factor(390_181);
    [
        first * factor(1_501_321) - outer + ones,
        third * factor(3_072_711) - inner + threes,
        fifth * factor(2_053_120) - inner + ones,
        seventh * factor(298_631) - outer + threes,
    ]
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use tilefleet_testing::Random;

    use super::*;

    /// The definition, in double precision (T.81, A.3.3).
    fn defined(block: &[i16; 64], quantisation: &[u16; 64]) -> [f64; 64] {
        let scale = |at: usize| if at == 0 { 0.5f64.sqrt() } else { 1.0 };
        let cosine = |x: usize, u: usize| ((2 * x + 1) as f64 * u as f64 * PI / 16.0).cos() * scale(u) / 2.0;
        std::array::from_fn(|at| {
            let (y, x) = (at / 8, at % 8);
            let term = |at: usize| {
                f64::from(block[at]) * f64::from(quantisation[at]) * cosine(y, at / 8) * cosine(x, at % 8)
            };
            ((0..64).map(term).sum::<f64>() + 2048.0).clamp(0.0, 4095.0)
        })
    }

    #[test]
    fn samples_are_those_of_the_definition() {
        let mut random = Random(5);
        let mut furthest = 0f64;
        for case in 0..4000 {
            let limit = [30, 300, 3000][case % 3];
            let quantisation = std::array::from_fn(|_| 1 + random.below(20) as u16);
            let mut block = [0; 64];
            for _ in 0..=random.below(64) {
                let at = random.below(64);
                block[at] = ((random.below(2 * limit + 1) as i64 - limit as i64)
                    / i64::from(quantisation[at])) as i16;
            }
            let found = inverse(&block, &quantisation);
            for (own, exact) in found.into_iter().zip(defined(&block, &quantisation)) {
                furthest = furthest.max((f64::from(own) - exact).abs());
            }
        }
        // Rounding to a whole number alone takes 0.5.
        assert!(furthest < 1.0, "{furthest}");
    }

    #[test]
    fn absurd_coefficients_do_not_overflow() {
        for value in [i16::MIN, i16::MAX] {
            let samples = inverse(&[value; 64], &[u16::MAX; 64]);
            assert!(samples.iter().all(|&sample| sample <= 4095));
        }
    }
}
