//! Weights as signed 8-bit integers, symmetric around zero, with a scale for each output channel.

use bytes::Bytes;

use crate::vocabulary::contract::WeightRange;

/// ONNX Runtime keeps the bias as a multiple of input scale × weight scale in 32 bits; a quarter of that range
/// is left for the sum.
const LARGEST_BIAS: f32 = (1_u32 << 29) as f32;

/// Quantised weights.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantisedWeights {
    /// The integers, in the order of the floats.
    pub values: Vec<i8>,
    /// A positive scale for each channel.
    pub scales: Vec<f32>,
}

impl QuantisedWeights {
    /// Quantises weights.
    ///
    /// - `weights`: row-major, of a shape whose axis `axis` has the output channels
    /// - `dims`: that shape
    /// - `bias`: a value for each channel, if there is one
    /// - `input_scale`: of the activations that the weights meet
    /// - `range`: of the integers
    pub fn of(
        weights: &[f32],
        dims: &[usize],
        axis: usize,
        bias: Option<&[f32]>,
        input_scale: f32,
        range: WeightRange,
    ) -> Self {
        let largest_integer = f32::from(range.largest());
        let num_channels = dims[axis];
        let inner: usize = dims[axis + 1..].iter().product();
        let channel = |index: usize| index / inner % num_channels;
        let mut scales = vec![0.0_f32; num_channels];
        for (index, weight) in weights.iter().enumerate() {
            let largest = &mut scales[channel(index)];
            *largest = largest.max(weight.abs());
        }
        for (index, scale) in scales.iter_mut().enumerate() {
            let least = bias.map_or(0.0, |bias| bias[index].abs() / input_scale / LARGEST_BIAS);
            *scale = (*scale / largest_integer).max(least);
            // A channel of zeros, or of numbers too small to divide by.
            if *scale < f32::MIN_POSITIVE {
                *scale = 1.0;
            }
        }
        let values = weights.iter().enumerate().map(|(index, weight)| {
            (weight / scales[channel(index)]).round_ties_even().clamp(-largest_integer, largest_integer) as i8
        });
        Self { values: values.collect(), scales }
    }

    /// Returns the integers as bytes.
    pub fn bytes(&self) -> Bytes {
        self.values.iter().map(|value| value.to_le_bytes()[0]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_output_channel_has_a_scale_of_its_own() {
        let weights = [1.0, -2.0, 0.004, 0.001];
        let by_row = QuantisedWeights::of(&weights, &[2, 2], 0, None, 1.0, WeightRange::Full);
        assert_eq!(by_row.scales, [2.0 / 127.0, 0.004 / 127.0]);
        assert_eq!(by_row.values, [64, -127, 127, 32]);
        let by_column = QuantisedWeights::of(&weights, &[2, 2], 1, None, 1.0, WeightRange::Full);
        assert_eq!(by_column.scales, [1.0 / 127.0, 2.0 / 127.0]);
        assert_eq!(by_column.values, [127, -127, 1, 0]);
    }

    /// What x86 without VNNI computes (`vpmaddubsw`): two products added in 16 bits that saturate.
    fn pair_in_16_bits(activations: [u8; 2], weights: [i8; 2]) -> i16 {
        let product = |at: usize| i16::from(activations[at]) * i16::from(weights[at]);
        product(0).saturating_add(product(1))
    }

    /// The brightest pixels meet the largest weights: with the reduced range the sum is exact, with the full one not.
    #[test]
    fn the_reduced_range_cannot_saturate_16_bit_sums() {
        let floats = [0.7, 0.7, -0.7, -0.7, 0.01, -0.3, 0.69, 0.35];
        for (range, is_exact) in [(WeightRange::Reduced, true), (WeightRange::Full, false)] {
            let integers = QuantisedWeights::of(&floats, &[1, 8], 0, None, 1.0, range).values;
            assert_eq!(integers.iter().map(|value| value.unsigned_abs()).max(), Some(range.largest()));
            let saturates = integers.chunks_exact(2).any(|weights| {
                let weights = [weights[0], weights[1]];
                let exact = 255 * (i32::from(weights[0]) + i32::from(weights[1]));
                i32::from(pair_in_16_bits([255, 255], weights)) != exact
            });
            assert_eq!(saturates, !is_exact, "{range}");
        }
    }

    #[test]
    fn a_channel_of_zeros_stays_zero() {
        let quantised = QuantisedWeights::of(&[0.0, 0.0], &[1, 2], 0, None, 1.0, WeightRange::Reduced);
        assert_eq!((quantised.values, quantised.scales), (vec![0, 0], vec![1.0]));
    }

    /// A dead channel's bias would overflow 32 bits at the scale of its weights.
    #[test]
    fn the_scale_leaves_room_for_the_bias() {
        let quantised = QuantisedWeights::of(&[1e-20], &[1, 1], 0, Some(&[3.0]), 0.5, WeightRange::Reduced);
        let bias = 3.0 / (0.5 * quantised.scales[0]);
        assert!(bias <= LARGEST_BIAS * 1.001, "{bias}");
    }
}
