//! The fastest ways of this machine to the samples of libjpeg.

use std::sync::OnceLock;

use libjpeg_turbo_rs::simd::{SimdRoutines, detect};

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::group::{BLOCKS, Coefficients, Samples};

/// The fastest kernels for this machine.
pub(super) struct Kernels {
    routines: SimdRoutines,
    #[cfg(target_arch = "x86_64")]
    pub(super) avx2: bool,
    #[cfg(target_arch = "x86_64")]
    avx512: bool,
}

impl Kernels {
    /// Returns the fastest that this processor has.
    pub(super) fn of_this_machine() -> &'static Self {
        static KERNELS: OnceLock<Kernels> = OnceLock::new();
        KERNELS.get_or_init(|| Self {
            #[cfg(target_arch = "x86_64")]
            avx512: tilefleet_simd::has_avx512(),
            ..Self::of_any_machine()
        })
    }

    /// Returns the kernels that a machine without AVX-512 has.
    pub(super) fn of_any_machine() -> Self {
        Self {
            routines: detect(),
            #[cfg(target_arch = "x86_64")]
            avx2: is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            avx512: false,
        }
    }

    /// Dequantises and transforms four blocks.
    #[inline]
    pub(super) fn transform(
        &self,
        coefficients: &Coefficients,
        quantisation: &Coefficients,
        samples: &mut Samples,
    ) {
        #[cfg(target_arch = "x86_64")]
        if self.avx512 {
            #[expect(unsafe_code, reason = "AVX-512 was detected")]
            // SAFETY: the only precondition is that the machine has the instructions.
            let done = unsafe { avx512::transform(coefficients, quantisation, samples) };
            if done {
                #[cfg(test)]
                avx512::ran::count(&avx512::ran::TRANSFORM);
                return;
            }
        }
        self.transform_each(coefficients, quantisation, samples);
    }

    /// Dequantises and transforms one block; all in natural order.
    pub(super) fn transform_one(&self, block: &[i16; 64], quantisation: &[u16; 64]) -> [u8; 64] {
        let mut samples = [0; 64];
        (self.routines.idct_islow)(block, quantisation, &mut samples);
        samples
    }

    fn transform_each(
        &self,
        coefficients: &Coefficients,
        quantisation: &Coefficients,
        samples: &mut Samples,
    ) {
        for block in 0..BLOCKS {
            let mut transformed = [0; 64];
            let quantisation = quantisation.block(block).map(i16::cast_unsigned);
            (self.routines.idct_islow)(&coefficients.block(block), &quantisation, &mut transformed);
            for (pair, rows) in transformed.as_chunks::<16>().0.iter().enumerate() {
                samples[(pair * BLOCKS + block) * 16..][..16].copy_from_slice(rows);
            }
        }
    }

    /// Interpolates between a chroma row and its neighbour, then across, but for the first and the last sample;
    /// returns `false` without AVX-512, or for a row shorter than 34 samples.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn blend(&self, row: &[u8], neighbour: &[u8], out: &mut [u8]) -> bool {
        #[expect(unsafe_code, reason = "AVX-512 was detected")]
        // SAFETY: the only precondition is that the machine has the instructions.
        let mut blend = || unsafe { avx512::blend(row, neighbour, out) };
        let done = self.avx512 && blend();
        #[cfg(test)]
        if done {
            avx512::ran::count(&avx512::ran::BLEND);
        }
        done
    }

    /// Interpolates a chroma row across.
    pub(super) fn stretch(&self, row: &[u8], out: &mut [u8]) {
        self.routines.fancy_upsample_h2v1(row, row.len(), out);
    }

    /// Converts one row of `y.len()` pixels.
    pub(super) fn rgb(&self, y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if self.avx512 {
            #[expect(unsafe_code, reason = "AVX-512 was detected")]
            // SAFETY: the only precondition is that the machine has the instructions.
            let done = unsafe { avx512::rgb(y, cb, cr, out) };
            if done {
                #[cfg(test)]
                avx512::ran::count(&avx512::ran::RGB);
                return;
            }
        }
        self.routines.ycbcr_to_rgb_row(y, cb, cr, out, y.len());
    }
}

#[cfg(test)]
mod tests {
    use tilefleet_testing::Random;

    use super::super::group::Group;
    use super::*;

    /// Returns the planes of four blocks, side by side, with some coefficients up to `limit`.
    fn transformed(kernels: &Kernels, seed: u64, limit: usize) -> Vec<u8> {
        let mut random = Random(seed);
        let mut planes = vec![0; 64 * BLOCKS];
        let tables: [[u8; 64]; BLOCKS] =
            std::array::from_fn(|_| std::array::from_fn(|_| random.below(8) as u8 + 1));
        let quantisations = [Coefficients::quantisation(tables.each_ref())];
        let mut group = Group::new(kernels, &quantisations, &mut planes);
        for block in 0..BLOCKS {
            let next = group.next();
            let last = random.below(64);
            for natural in 0..=last {
                let value = random.below(2 * limit + 1) as i64 - limit as i64;
                next[usize::from(Coefficients::place(natural as u8))] = value as i16;
            }
            group.push(8 * block, 8 * BLOCKS);
        }
        planes
    }

    #[test]
    fn four_blocks_at_once_are_four_blocks() {
        let one_by_one = Kernels::of_any_machine();
        for seed in 0..3000 {
            for limit in [3, 100, 500, 1024, 4000, 20_000] {
                let at_once = transformed(Kernels::of_this_machine(), seed, limit);
                assert_eq!(at_once, transformed(&one_by_one, seed, limit), "seed {seed}, limit {limit}");
            }
        }
        #[cfg(target_arch = "x86_64")]
        avx512::ran::check(&avx512::ran::TRANSFORM);
    }

    #[test]
    fn every_colour_is_converted_alike() {
        let plain = Kernels::of_any_machine();
        let cb: Vec<u8> = (0..=255).collect();
        for cr in 0..=255 {
            for luma in [0, 1, 77, 128, 254, 255] {
                let (y, cr) = (vec![luma; 250], vec![cr; 250]);
                let mut colours = [vec![0; 750], vec![1; 750]];
                Kernels::of_this_machine().rgb(&y, &cb[3..], &cr, &mut colours[0]);
                plain.rgb(&y, &cb[3..], &cr, &mut colours[1]);
                assert_eq!(colours[0], colours[1]);
                Kernels::of_this_machine().rgb(&y, &cb, &cr, &mut colours[0]);
                plain.rgb(&y, &cb, &cr, &mut colours[1]);
                assert_eq!(colours[0], colours[1]);
            }
        }
        #[cfg(target_arch = "x86_64")]
        avx512::ran::check(&avx512::ran::RGB);
    }
}
