//! Statistics of errors by context (ITU-T T.87, A.2.1, A.6).

use std::cmp::Ordering;

use super::bits::BitReader;
use super::preset::Preset;

/// Contexts of the regular mode: two of opposite signs are one.
pub(crate) const NUM_CONTEXTS: usize = 365;
const MAX_CORRECTION: i16 = 127;
const MIN_CORRECTION: i16 = -128;

/// Statistics of one context of the regular mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// A: sum of the absolute errors.
    magnitude: u32,
    /// B: sum of the errors, as far as the correction does not cover it.
    bias: i32,
    /// N: number of errors.
    count: u32,
    /// C: what is added to the prediction.
    correction: i16,
    /// k: bits that follow each unary code. Kept here, as it is asked for sooner than the rest.
    parameter: u8,
    /// All ones where small errors of the other sign are likelier: codes have the opposite order then.
    turned: i8,
}

impl Context {
    pub(crate) fn new(preset: &Preset) -> Self {
        let magnitude = first_magnitude(preset);
        let mut context = Self { magnitude, bias: 0, count: 1, correction: 0, parameter: 0, turned: 0 };
        context.derive(preset.near);
        context
    }

    /// Returns how many bits follow each unary code.
    #[inline]
    pub(crate) fn parameter(&self) -> u32 {
        self.parameter.into()
    }

    /// Returns what is added to the prediction.
    #[inline]
    pub(crate) fn correction(&self) -> i32 {
        self.correction.into()
    }

    /// Returns the error that a code stands for (T.87, A.5.2).
    #[inline]
    pub(crate) fn error(&self, code: u32) -> i32 {
        (code >> 1) as i32 ^ -((code & 1) as i32) ^ i32::from(self.turned)
    }

    /// Takes an error (T.87, A.6.1 and A.6.2).
    ///
    /// - `error`: not larger than 65,536
    #[inline]
    pub(crate) fn update(&mut self, error: i32, near: i32, reset: u32) {
        self.magnitude += error.unsigned_abs();
        self.bias += error * (2 * near + 1);
        // Without branches: nobody can predict them.
        let halved = u32::from(self.count == reset);
        self.magnitude >>= halved;
        self.bias >>= halved;
        self.count = (self.count >> halved) + 1;
        let count = self.count as i32;
        let step = i32::from(self.bias > 0) - i32::from(self.bias <= -count);
        self.bias = (self.bias - step * count).clamp(1 - count, 0);
        self.correction = (self.correction + step as i16).clamp(MIN_CORRECTION, MAX_CORRECTION);
        self.derive(near);
    }

    #[inline]
    fn derive(&mut self, near: i32) {
        self.parameter = parameter(self.count, self.magnitude) as u8;
        let turned = near == 0 && self.parameter == 0 && 2 * self.bias <= -(self.count as i32);
        self.turned = -i8::from(turned);
    }
}

/// Returns what the sum of absolute errors begins with (T.87, A.2.1).
pub(crate) fn first_magnitude(preset: &Preset) -> u32 {
    2.max((preset.range as u32 + 32) / 64)
}

/// Returns the smallest k with count · 2ᵏ ≥ magnitude (T.87, A.5.1).
#[inline]
pub(crate) fn parameter(count: u32, magnitude: u32) -> u32 {
    let least = count.leading_zeros().saturating_sub(magnitude.leading_zeros());
    least + u32::from(u64::from(count) << least < u64::from(magnitude))
}

/// Takes one code of limited length (T.87, A.5.3); `None` if it is longer than any.
///
/// - `limit`: the most bits that a code takes
/// - `error_bits`: bits of the value that follows the longest unary code
#[expect(clippy::inline_always, reason = "a call would keep the reader in memory")]
#[inline(always)]
pub(crate) fn take_code(
    reader: &mut BitReader<'_>,
    parameter: u32,
    limit: u32,
    error_bits: u32,
) -> Option<u32> {
    reader.refill();
    let window = reader.window();
    let zeros = window.leading_zeros();
    let longest = limit - error_bits - 1;
    if zeros >= longest || zeros + 1 + parameter > BitReader::REFILLED_BITS {
        let code;
        (code, *reader) = take_long_code(*reader, parameter, longest, error_bits);
        return code;
    }
    let low = (window << (zeros + 1)) >> 1 >> (63 - parameter);
    reader.drop(zeros + 1 + parameter);
    Some(zeros << parameter | low as u32)
}

/// Takes and gives the reader: it would else be kept in memory all along.
#[cold]
#[inline(never)]
fn take_long_code(
    mut reader: BitReader<'_>,
    parameter: u32,
    longest: u32,
    error_bits: u32,
) -> (Option<u32>, BitReader<'_>) {
    let mut zeros = 0;
    while zeros <= longest && reader.take(1) == 0 {
        zeros += 1;
    }
    let code = match zeros.cmp(&longest) {
        Ordering::Less => Some(zeros << parameter | reader.take(parameter)),
        Ordering::Equal => Some(reader.take(error_bits) + 1),
        Ordering::Greater => None,
    };
    (code, reader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_the_smallest_that_suffices() {
        for count in 1..300 {
            for magnitude in (1..5000).chain([65_536, 4_000_000, u32::MAX]) {
                let expected = (0..33).find(|&k| u64::from(count) << k >= u64::from(magnitude)).unwrap();
                assert_eq!(parameter(count, magnitude), expected, "{count} {magnitude}");
            }
        }
    }
}
