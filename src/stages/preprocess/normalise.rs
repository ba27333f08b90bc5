//! `(clamp(sample × scale) − mean) / std`, computed in double precision.

use crate::vocabulary::contract::Normalise;

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
    clamp: Option<[f64; 2]>,
    /// The value of each 8-bit sample.
    table: [f32; 256],
}

impl Normaliser {
    /// Prepares the bands; without normalisation, samples keep their value.
    pub(super) fn new(normalise: Option<&Normalise>, num_bands: usize) -> Self {
        let band = |band: usize| match normalise {
            Some(Normalise { scale, clamp, mean, std }) => {
                Band::new(scale.of(band), *clamp, mean[band], std[band])
            }
            None => Band::new(1.0, None, 0.0, 1.0),
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

    /// Tells whether samples of a band keep their value.
    pub(super) fn is_plain(&self, band: usize) -> bool {
        let Band { scale, mean, std, clamp, .. } = &self.bands[band];
        (*scale, *mean, *std) == (1.0, 0.0, 1.0) && clamp.is_none()
    }
}

impl Band {
    fn new(scale: f64, clamp: Option<[f64; 2]>, mean: f64, std: f64) -> Self {
        let mut band = Self { scale, mean, std, clamp, table: [0.0; 256] };
        for sample in 0..=255u8 {
            band.table[usize::from(sample)] = band.value(f64::from(sample));
        }
        band
    }

    fn value(&self, sample: f64) -> f32 {
        let scaled = sample * self.scale;
        let clamped = match self.clamp {
            Some([least, greatest]) => scaled.clamp(least, greatest),
            None => scaled,
        };
        ((clamped - self.mean) / self.std) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::contract::PerBand;

    #[test]
    fn the_table_holds_the_values_of_imagenet() {
        let normalise =
            Normalise { scale: (1.0 / 255.0).into(), clamp: None, mean: vec![0.485], std: vec![0.229] };
        let normaliser = Normaliser::new(Some(&normalise), 1);
        assert_eq!(normaliser.of_u8(0, 0).to_bits(), (-2.117_904_f32).to_bits());
        assert_eq!(normaliser.of_u8(0, 255).to_bits(), 2.248_908_3_f32.to_bits());
        assert_eq!(Normaliser::new(None, 1).of_u8(0, 200).to_bits(), 200_f32.to_bits());
    }

    /// `SatlasPretrain`: a true-colour sample over 255, another over 8160, both in 0 to 1.
    #[test]
    fn each_band_has_its_scale_and_what_is_beyond_is_clamped() {
        let normalise = Normalise {
            scale: PerBand::Each(vec![1.0 / 255.0, 1.0 / 8160.0]),
            clamp: Some([0.0, 1.0]),
            mean: vec![0.0; 2],
            std: vec![1.0; 2],
        };
        let normaliser = Normaliser::new(Some(&normalise), 2);
        for (band, sample, value) in [
            (0, 51.0, 0.2_f32),
            (0, 255.0, 1.0),
            (1, 0.0, 0.0),
            (1, 2040.0, 0.25),
            (1, 8161.0, 1.0),
            (1, 65_535.0, 1.0),
            (1, -1000.0, 0.0),
        ] {
            assert_eq!(normaliser.of_f64(band, sample).to_bits(), value.to_bits(), "{band} {sample}");
        }
        assert_eq!(normaliser.of_u8(0, 51).to_bits(), 0.2_f32.to_bits());
    }
}
