//! Interpolation of chroma rows, with the samples of libjpeg.

use super::kernels::Kernels;

/// A chroma row of twice the width.
#[derive(Default)]
pub(super) struct Row {
    /// Three parts of the row and one of its neighbour.
    sums: Vec<u16>,
    samples: Vec<u8>,
}

impl Row {
    /// Returns the samples of the row.
    pub(super) fn samples(&self) -> &[u8] {
        &self.samples
    }

    /// Interpolates across only (4:2:2); at least three samples.
    pub(super) fn stretch(&mut self, row: &[u8], kernels: &Kernels) {
        self.samples.resize(2 * row.len(), 0);
        kernels.stretch(row, &mut self.samples);
    }

    /// Interpolates between a row and its neighbour, then across (4:2:0).
    pub(super) fn blend(&mut self, row: &[u8], neighbour: &[u8], kernels: &Kernels) {
        self.samples.resize(2 * row.len(), 0);
        #[cfg(target_arch = "x86_64")]
        if kernels.blend(row, neighbour, &mut self.samples) {
            for at in [0, row.len() - 1] {
                blend_one(at, row, neighbour, &mut self.samples);
            }
            return;
        }
        self.sums.resize(row.len(), 0);
        #[cfg(target_arch = "x86_64")]
        if kernels.avx2 {
            #[expect(unsafe_code, reason = "AVX2 was detected")]
            // SAFETY: the only precondition is AVX2.
            unsafe {
                avx2::blend(row, neighbour, &mut self.sums, &mut self.samples);
            }
            return;
        }
        blend(row, neighbour, &mut self.sums, &mut self.samples);
    }
}

/// Weighs 3 : 1 in both directions; rounds down and up by turns (libjpeg, `h2v2_fancy_upsample`).
///
/// - `sums`: as long as `row`, at least two
/// - `out`: twice as long
fn blend(row: &[u8], neighbour: &[u8], sums: &mut [u16], out: &mut [u8]) {
    add(row, neighbour, sums);
    blend_from(0, sums, out);
}

/// Writes the two samples of one.
#[cfg(target_arch = "x86_64")]
fn blend_one(at: usize, row: &[u8], neighbour: &[u8], out: &mut [u8]) {
    let last = row.len() - 1;
    let [before, own, after] = [at.saturating_sub(1), at, last.min(at + 1)]
        .map(|at| 3 * u16::from(row[at]) + u16::from(neighbour[at]));
    out[2 * at..2 * at + 2].copy_from_slice(&blended(before, own, after));
}

/// At most 4 × 1020 + 8 before the shift.
fn blended(before: u16, own: u16, after: u16) -> [u8; 2] {
    [((3 * own + before + 8) >> 4) as u8, ((3 * own + after + 7) >> 4) as u8]
}

/// Weighs a row 3 : 1 against its neighbour.
#[expect(clippy::inline_always, reason = "it is compiled a second time inside the AVX2 version")]
#[inline(always)]
fn add(row: &[u8], neighbour: &[u8], sums: &mut [u16]) {
    for ((sum, &near), &far) in sums.iter_mut().zip(row).zip(neighbour) {
        *sum = 3 * u16::from(near) + u16::from(far);
    }
}

/// Writes the two samples of every sum from `first` on.
fn blend_from(first: usize, sums: &[u16], out: &mut [u8]) {
    let last = sums.len() - 1;
    for (at, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate().skip(first) {
        *out = blended(sums[at.saturating_sub(1)], sums[at], sums[last.min(at + 1)]);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi16, _mm256_or_si256, _mm256_set1_epi16, _mm256_slli_epi16, _mm256_srli_epi16,
    };
    use std::mem::transmute;

    /// Sums of one step.
    const LANES: usize = 16;

    /// The same as [`super::blend`].
    #[target_feature(enable = "avx2")]
    pub(super) fn blend(row: &[u8], neighbour: &[u8], sums: &mut [u16], out: &mut [u8]) {
        super::add(row, neighbour, sums);
        super::blend_from(0, &sums[..2], &mut out[..2]);
        let mut at = 1;
        // Each step looks at the sum before its own and the one behind.
        while at + LANES < sums.len() {
            let [before, own, after] = [at - 1, at, at + 1].map(|at| load(sums, at));
            let triple = _mm256_add_epi16(own, _mm256_add_epi16(own, own));
            let even = _mm256_add_epi16(_mm256_add_epi16(triple, before), _mm256_set1_epi16(8));
            let odd = _mm256_add_epi16(_mm256_add_epi16(triple, after), _mm256_set1_epi16(7));
            let odd = _mm256_slli_epi16::<8>(_mm256_srli_epi16::<4>(odd));
            store(out, 2 * at, _mm256_or_si256(_mm256_srli_epi16::<4>(even), odd));
            at += LANES;
        }
        super::blend_from(at, sums, out);
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(sums: &[u16], at: usize) -> __m256i {
        let slots: &[u16; LANES] = sums[at..at + LANES].try_into().expect("as long as the range");
        // Not the load and store intrinsics, whose debug assertions cost more than they do.
        #[expect(unsafe_code, reason = "a load of 32 bytes")]
        // SAFETY: both are 32 bytes without a meaning.
        unsafe {
            transmute::<[u16; LANES], __m256i>(*slots)
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn store(out: &mut [u8], at: usize, slots: __m256i) {
        let out: &mut [u8; 2 * LANES] =
            (&mut out[at..at + 2 * LANES]).try_into().expect("as long as the range");
        #[expect(unsafe_code, reason = "a store of 32 bytes")]
        // SAFETY: both are 32 bytes without a meaning.
        unsafe {
            *out = transmute::<__m256i, [u8; 2 * LANES]>(slots);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_length_are_blended_alike() {
        for len in 3..200 {
            let [near, far]: [Vec<u8>; 2] =
                [37, 91].map(|factor| (0..len).map(|at| (at * at * factor / 5 % 256) as u8).collect());
            let mut row = Row::default();
            row.blend(&near, &far, Kernels::of_this_machine());
            let (mut sums, mut plain) = (vec![0; len], vec![0; 2 * len]);
            blend(&near, &far, &mut sums, &mut plain);
            assert_eq!(row.samples(), plain, "{len}");
            row.blend(&near, &far, &Kernels::of_any_machine());
            assert_eq!(row.samples(), plain, "{len}");
        }
        #[cfg(target_arch = "x86_64")]
        crate::avx512::ran::check(&crate::avx512::ran::BLEND);
    }
}
