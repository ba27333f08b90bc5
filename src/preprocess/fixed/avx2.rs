//! AVX2 versions of the two passes: the same integers, more of them at once.
//!
//! A 16-bit multiply-add is exact here: each weight is split into `high × 2¹¹ + low`, both fit into
//! 16 bits, and so do the samples.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_extract_epi64, _mm_packs_epi32, _mm_packus_epi16, _mm_set_epi64x, _mm256_add_epi32,
    _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_set_epi8, _mm256_set_epi64x,
    _mm256_set_m128i, _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32,
    _mm256_srai_epi32,
};

use super::{Axis, HALF, PRECISION_BITS, Rows, horizontal_row, vertical_plain};

/// Bits of the lower part of a weight.
const LOW_BITS: u32 = 11;
/// Bytes of one load, of which the first four pixels are used.
const LOAD_BYTES: usize = 16;

/// Sixteen 16-bit lanes.
type Lanes = [u64; 4];

/// The horizontal weights of pairs of pixels, laid out for 16-bit multiply-adds.
#[derive(Default)]
pub(super) struct Weights {
    /// For each pair of pixels: first byte of each in the row, and its steps in `lanes`.
    pairs: Vec<[usize; 2]>,
    /// For each pair and each two taps: high parts, then low parts, of both pixels.
    lanes: Vec<[Lanes; 2]>,
    /// Steps of two taps a pair.
    steps: usize,
}

impl Weights {
    /// Lays out the weights of three-band pixels; an odd last pixel is paired with itself.
    fn set(&mut self, across: &Axis) {
        self.steps = across.max_count().div_ceil(4) * 2;
        self.pairs.clear();
        self.lanes.clear();
        for index in (0..across.count()).step_by(2) {
            let pixels = [index, (index + 1).min(across.count() - 1)].map(|index| across.fixed_at(index));
            self.pairs.push(pixels.map(|(first, _)| 3 * first));
            for step in 0..self.steps {
                let mut lanes = [[0; 4]; 2];
                for (half, (_, weights)) in pixels.iter().enumerate() {
                    let tap = |tap: usize| weights.get(2 * step + tap).copied().unwrap_or(0);
                    let (first, second) = (tap(0), tap(1));
                    let low = |weight: i32| weight & ((1 << LOW_BITS) - 1);
                    lanes[0][2 * half..][..2].fill(spread(first >> LOW_BITS, second >> LOW_BITS));
                    lanes[1][2 * half..][..2].fill(spread(low(first), low(second)));
                }
                self.lanes.push(lanes);
            }
        }
    }

    /// Returns how far beyond its first byte a pixel's loads reach.
    fn reach(&self) -> usize {
        self.steps / 2 * 12 - 12 + LOAD_BYTES
    }
}

/// Repeats two 16-bit lanes.
fn spread(first: i32, second: i32) -> u64 {
    let pair = u64::from(first as u16) | u64::from(second as u16) << 16;
    pair | pair << 32
}

/// Resamples rows of three-band pixels; `false` if this machine has no AVX2.
pub(super) fn horizontal(rows: &Rows<'_>, across: &Axis, between: &mut [u8], weights: &mut Weights) -> bool {
    if !is_x86_feature_detected!("avx2") {
        return false;
    }
    weights.set(across);
    let row_len = across.count() * 3;
    let last_start = weights.pairs.iter().flatten().max().copied().unwrap_or(0);
    for (row, out) in between.chunks_exact_mut(row_len).enumerate() {
        let samples = &rows.samples[row * rows.stride..];
        if last_start + weights.reach() > samples.len() {
            horizontal_row(&samples[..rows.stride], 3, across, out);
        } else {
            #[expect(unsafe_code, reason = "AVX2 was detected above")]
            // SAFETY: the only precondition is AVX2.
            unsafe {
                horizontal_row_rgb(samples, weights, out);
            }
        }
    }
    true
}

#[target_feature(enable = "avx2")]
fn horizontal_row_rgb(row: &[u8], weights: &Weights, out: &mut [u8]) {
    let mut chunks = out.chunks_exact_mut(6);
    let steps = weights.lanes.chunks_exact(weights.steps);
    let mut pairs = weights.pairs.iter().zip(steps);
    for out in &mut chunks {
        if let Some((starts, lanes)) = pairs.next() {
            out.copy_from_slice(&pair(row, *starts, lanes)[..6]);
        }
    }
    let rest = chunks.into_remainder();
    if let Some((starts, lanes)) = pairs.next() {
        rest.copy_from_slice(&pair(row, *starts, lanes)[..rest.len()]);
    }
}

/// Computes two pixels: six samples, then two that mean nothing.
#[target_feature(enable = "avx2")]
#[inline]
fn pair(row: &[u8], starts: [usize; 2], lanes: &[[Lanes; 2]]) -> [u8; 8] {
    let first = taps(0, 3);
    let second = taps(6, 9);
    let mut high = _mm256_setzero_si256();
    let mut low = _mm256_set1_epi32(HALF);
    for (load, lanes) in lanes.as_chunks::<2>().0.iter().enumerate() {
        let pixels = _mm256_set_m128i(load16(row, starts[1] + 12 * load), load16(row, starts[0] + 12 * load));
        for (mask, lanes) in [first, second].into_iter().zip(lanes) {
            let samples = _mm256_shuffle_epi8(pixels, mask);
            high = _mm256_add_epi32(high, _mm256_madd_epi16(samples, load_lanes(&lanes[0])));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(samples, load_lanes(&lanes[1])));
        }
    }
    let sums = _mm256_add_epi32(_mm256_slli_epi32::<{ LOW_BITS as i32 }>(high), low);
    let sums = _mm256_srai_epi32::<{ PRECISION_BITS as i32 }>(sums);
    // Saturating packs clip to 0..=255: first red, green, blue and a spare of each pixel.
    let words = _mm_packs_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let bytes = _mm_extract_epi64::<0>(_mm_packus_epi16(words, words)) as u64;
    (bytes & 0xFF_FFFF | bytes >> 8 & 0xFFFF_FF00_0000).to_le_bytes()
}

/// Spreads the three samples of two pixels, at bytes `a` and `b`, to pairs of 16-bit lanes.
#[target_feature(enable = "avx2")]
#[inline]
fn taps(a: i8, b: i8) -> __m256i {
    _mm256_set_epi8(
        -1,
        -1,
        -1,
        -1,
        -1,
        b + 2,
        -1,
        a + 2,
        -1,
        b + 1,
        -1,
        a + 1,
        -1,
        b,
        -1,
        a, //
        -1,
        -1,
        -1,
        -1,
        -1,
        b + 2,
        -1,
        a + 2,
        -1,
        b + 1,
        -1,
        a + 1,
        -1,
        b,
        -1,
        a,
    )
}

#[target_feature(enable = "avx2")]
#[inline]
fn load16(bytes: &[u8], at: usize) -> __m128i {
    let bytes: &[u8; LOAD_BYTES] = bytes[at..at + LOAD_BYTES].try_into().expect("as long as the range");
    let word = u128::from_le_bytes(*bytes);
    _mm_set_epi64x((word >> 64) as i64, word as i64)
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_lanes(lanes: &Lanes) -> __m256i {
    let [a, b, c, d] = lanes.map(u64::cast_signed);
    _mm256_set_epi64x(d, c, b, a)
}

/// Computes one row from several; `false` if this machine has no AVX2.
pub(super) fn vertical(rows: &Rows<'_>, first: usize, weights: &[i32], out: &mut [u8]) -> bool {
    if !is_x86_feature_detected!("avx2") {
        return false;
    }
    #[expect(unsafe_code, reason = "AVX2 was detected above")]
    // SAFETY: the only precondition is AVX2.
    unsafe {
        vertical_row(rows, first, weights, out);
    }
    true
}

/// The plain version, compiled for vectors of 8 sums.
#[target_feature(enable = "avx2")]
fn vertical_row(rows: &Rows<'_>, first: usize, weights: &[i32], out: &mut [u8]) {
    vertical_plain(rows, first, weights, out);
}
