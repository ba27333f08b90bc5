//! What rounding takes from the channels of a layer's result.

/// Means of differences, by channel.
#[derive(Clone, Debug)]
pub struct Shift {
    sums: Vec<f64>,
    /// Values of each channel so far.
    count: usize,
}

impl Shift {
    /// Starts empty, for a number of channels.
    #[must_use]
    pub fn of_channels(count: usize) -> Self {
        Self { sums: vec![0.0; count], count: 0 }
    }

    /// Adds a layer's exact and rounded results, each `[num_tiles, channels, …]`, row-major.
    pub fn add(&mut self, num_tiles: usize, exact: &[f32], rounded: &[f32]) {
        let num_channels = self.sums.len();
        let inner = exact.len() / (num_tiles * num_channels);
        let planes = exact.chunks_exact(inner).zip(rounded.chunks_exact(inner));
        for (plane, (exact, rounded)) in planes.enumerate() {
            let differences = exact.iter().zip(rounded).map(|(a, b)| f64::from(a - b));
            self.sums[plane % num_channels] += differences.sum::<f64>();
        }
        self.count += num_tiles * inner;
    }

    /// Returns by how much the rounded values are smaller in the mean; 0 where they are not finite.
    #[must_use]
    pub fn mean(&self) -> Vec<f32> {
        let mean = |sum: &f64| (sum / self.count.max(1) as f64) as f32;
        self.sums.iter().map(mean).map(|mean| if mean.is_finite() { mean } else { 0.0 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_the_mean_of_a_channel_over_tiles_and_pixels() {
        let mut shift = Shift::of_channels(2);
        // Two tiles of two channels of two pixels.
        shift.add(2, &[1.0, 2.0, 5.0, 5.0, 3.0, 4.0, 5.0, 6.0], &[0.5, 2.0, 5.0, 5.0, 3.0, 3.0, 5.0, 7.0]);
        assert_eq!(shift.mean(), [1.5 / 4.0, -0.25]);
        shift.add(1, &[1.0, 1.0, 0.0, 0.0], &[1.0, 1.0, 0.0, 0.0]);
        assert_eq!(shift.mean(), [0.25, -1.0 / 6.0]);
    }

    #[test]
    fn what_is_not_finite_shifts_nothing() {
        let mut shift = Shift::of_channels(1);
        shift.add(1, &[f32::INFINITY], &[1.0]);
        assert_eq!(shift.mean(), [0.0]);
    }
}
