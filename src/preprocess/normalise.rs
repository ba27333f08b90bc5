//! `(sample × scale − mean) / std`, computed in double precision.

use crate::model::contract::Normalise;

/// Normalises the samples of each band.
#[derive(Debug)]
pub(super) struct Normaliser {
    bands: Vec<Band>,
}

#[derive(Debug)]
struct Band {
    scale: f64,
    mean: f64,
    std: f64,
    /// The value of each 8-bit sample.
    table: [f32; 256],
}

impl Normaliser {
    /// Prepares the bands; without normalisation, samples keep their value.
    pub(super) fn new(normalise: Option<&Normalise>, num_bands: usize) -> Self {
        let band = |band: usize| match normalise {
            Some(normalise) => Band::new(normalise.scale, normalise.mean[band], normalise.std[band]),
            None => Band::new(1.0, 0.0, 1.0),
        };
        Self { bands: (0..num_bands).map(band).collect() }
    }

    #[inline]
    pub(super) fn of_u8(&self, band: usize, sample: u8) -> f32 {
        self.bands[band].table[usize::from(sample)]
    }

    #[inline]
    pub(super) fn of_f64(&self, band: usize, sample: f64) -> f32 {
        self.bands[band].value(sample)
    }
}

impl Band {
    fn new(scale: f64, mean: f64, std: f64) -> Self {
        let mut band = Self { scale, mean, std, table: [0.0; 256] };
        for sample in 0..=255u8 {
            band.table[usize::from(sample)] = band.value(f64::from(sample));
        }
        band
    }

    fn value(&self, sample: f64) -> f32 {
        ((sample * self.scale - self.mean) / self.std) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_the_values_of_imagenet() {
        let normalise = Normalise { scale: 1.0 / 255.0, mean: vec![0.485], std: vec![0.229] };
        let normaliser = Normaliser::new(Some(&normalise), 1);
        assert_eq!(normaliser.of_u8(0, 0).to_bits(), (-2.117_904_f32).to_bits());
        assert_eq!(normaliser.of_u8(0, 255).to_bits(), 2.248_908_3_f32.to_bits());
        assert_eq!(Normaliser::new(None, 1).of_u8(0, 200).to_bits(), 200_f32.to_bits());
    }
}
