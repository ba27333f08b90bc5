//! AVX2 versions of the two passes: the same integers, more of them at once.
//!
//! A 16-bit multiply-add is exact here: each weight is split into `high × 2¹¹ + low`, both fit into
//! 16 bits, and so do the samples.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_extract_epi64, _mm_set_epi64x, _mm256_add_epi32, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_packs_epi32, _mm256_packus_epi16,
    _mm256_permutevar8x32_epi32, _mm256_set_epi64x, _mm256_set_m128i, _mm256_set1_epi32, _mm256_setr_epi8,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srai_epi32,
};

use super::{Axis, HALF, PRECISION_BITS, Rows, horizontal_row, triple_plain, vertical_plain};

/// Bits of the lower part of a weight.
const LOW_BITS: u32 = 11;
/// Bytes of one load, of which the first four pixels are used.
const LOAD_BYTES: usize = 16;
/// Bytes of four pixels.
const QUAD_BYTES: usize = 12;

/// The horizontal weights of pairs of pixels, laid out for 16-bit multiply-adds.
#[derive(Default)]
pub(super) struct Weights {
    /// For each pair of pixels, the first byte of each in the row; an even number of pairs.
    pairs: Vec<[usize; 2]>,
    /// For each pair and each two taps: high parts, then low parts, of both pixels.
    slots: Vec<[__m256i; 2]>,
    /// Steps of two taps a pair.
    steps: usize,
}

impl Weights {
    /// Lays out the weights of three-band pixels; the last pixel is repeated to complete four.
    #[target_feature(enable = "avx2")]
    fn set(&mut self, across: &Axis) {
        self.steps = across.max_count().div_ceil(4) * 2;
        self.pairs.clear();
        self.slots.clear();
        for index in (0..across.count().next_multiple_of(4)).step_by(2) {
            let pixels = [index, index + 1].map(|index| across.fixed_at(index.min(across.count() - 1)));
            self.pairs.push(pixels.map(|(first, _)| 3 * first));
            for step in 0..self.steps {
                let mut high = [0; 2];
                let mut low = [0; 2];
                for (half, (_, weights)) in pixels.iter().enumerate() {
                    let tap = |tap: usize| weights.get(2 * step + tap).copied().unwrap_or(0);
                    let (first, second) = (tap(0), tap(1));
                    let low_bits = |weight: i32| weight & ((1 << LOW_BITS) - 1);
                    high[half] = spread(first >> LOW_BITS, second >> LOW_BITS);
                    low[half] = spread(low_bits(first), low_bits(second));
                }
                let both = |[a, b]: [i64; 2]| _mm256_set_epi64x(b, b, a, a);
                self.slots.push([both(high), both(low)]);
            }
        }
    }

    /// Returns how far beyond its first byte a pixel's loads reach.
    fn reach(&self) -> usize {
        self.steps / 2 * 12 - 12 + LOAD_BYTES
    }
}

/// Repeats two 16-bit lanes.
fn spread(first: i32, second: i32) -> i64 {
    let pair = u64::from(first as u16) | u64::from(second as u16) << 16;
    (pair | pair << 32).cast_signed()
}

/// Resamples rows of three-band pixels; `false` if they are others, or this machine has no AVX2.
pub(super) fn horizontal(rows: &Rows<'_>, across: &Axis, between: &mut [u8], weights: &mut Weights) -> bool {
    if rows.num_bands != 3 || !is_x86_feature_detected!("avx2") {
        return false;
    }
    #[expect(unsafe_code, reason = "AVX2 was detected above")]
    // SAFETY: the only precondition is AVX2.
    unsafe {
        horizontal_all(rows, across, between, weights);
    }
    true
}

#[target_feature(enable = "avx2")]
fn horizontal_all(rows: &Rows<'_>, across: &Axis, between: &mut [u8], weights: &mut Weights) {
    weights.set(across);
    let row_len = across.count() * 3;
    let last_start = weights.pairs.iter().flatten().max().copied().unwrap_or(0);
    let mut spare = vec![0; row_len];
    for (pair, outs) in between.chunks_mut(2 * row_len).enumerate() {
        let first = &rows.samples[2 * pair * rows.stride..];
        let (out, second_out) = outs.split_at_mut(row_len);
        let is_inside = |row: &&[u8]| last_start + weights.reach() <= row.len();
        let second = first.get(rows.stride..).filter(|_| !second_out.is_empty());
        match second.filter(is_inside) {
            Some(second) => quads([first, second], weights, &mut [out, second_out]),
            None if is_inside(&first) => quads([first; 2], weights, &mut [out, &mut spare]),
            None => horizontal_row(&first[..rows.stride], 3, across, out),
        }
        if let Some(second) = second.filter(|row| !is_inside(row)) {
            horizontal_row(&second[..rows.stride], 3, across, second_out);
        }
    }
}

/// Resamples two rows, four pixels at a time.
#[target_feature(enable = "avx2")]
fn quads(rows: [&[u8]; 2], weights: &Weights, outs: &mut [&mut [u8]; 2]) {
    // What the packs leave: pixels 0 and 2 of both rows, then pixels 1 and 3.
    let by_row = _mm256_setr_epi32(0, 4, 2, 6, 1, 5, 3, 7);
    #[rustfmt::skip]
    let dense = _mm256_setr_epi8(
        0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1,
        0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1,
    );
    let quads = weights.pairs.as_chunks::<2>().0.iter().zip(weights.slots.chunks_exact(2 * weights.steps));
    for (quad, (starts, slots)) in quads.enumerate() {
        let mut words = [_mm256_setzero_si256(); 2];
        for half in 0..2 {
            words[half] = pair(rows, starts[half], &slots[half * weights.steps..][..weights.steps]);
        }
        // Saturating packs clip to 0..=255.
        let bytes = _mm256_packus_epi16(words[0], words[1]);
        let bytes = _mm256_shuffle_epi8(_mm256_permutevar8x32_epi32(bytes, by_row), dense);
        let bytes = [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
        for row in 0..2 {
            store(outs[row], quad * QUAD_BYTES, bytes[row]);
        }
    }
}

/// Computes two pixels of two rows: of each pixel red, green, blue and a spare of both rows.
#[target_feature(enable = "avx2")]
#[inline]
fn pair(rows: [&[u8]; 2], starts: [usize; 2], slots: &[[__m256i; 2]]) -> __m256i {
    // The three samples of two neighbouring pixels, as pairs of 16-bit lanes.
    #[rustfmt::skip]
    let (taps, next_taps) = (
        _mm256_setr_epi8(
            0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
            0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
        ),
        _mm256_setr_epi8(
            6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
            6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
        ),
    );
    let (mut high, mut next_high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    let (mut low, mut next_low) = (_mm256_set1_epi32(HALF), _mm256_set1_epi32(HALF));
    for (load, [weights, next_weights]) in slots.as_chunks::<2>().0.iter().enumerate() {
        let (a, b) = (starts[0] + 12 * load, starts[1] + 12 * load);
        let pixels = _mm256_set_m128i(load16(rows[0], b), load16(rows[0], a));
        let samples = _mm256_shuffle_epi8(pixels, taps);
        high = _mm256_add_epi32(high, _mm256_madd_epi16(samples, weights[0]));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(samples, weights[1]));
        let samples = _mm256_shuffle_epi8(pixels, next_taps);
        high = _mm256_add_epi32(high, _mm256_madd_epi16(samples, next_weights[0]));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(samples, next_weights[1]));
        let pixels = _mm256_set_m128i(load16(rows[1], b), load16(rows[1], a));
        let samples = _mm256_shuffle_epi8(pixels, taps);
        next_high = _mm256_add_epi32(next_high, _mm256_madd_epi16(samples, weights[0]));
        next_low = _mm256_add_epi32(next_low, _mm256_madd_epi16(samples, weights[1]));
        let samples = _mm256_shuffle_epi8(pixels, next_taps);
        next_high = _mm256_add_epi32(next_high, _mm256_madd_epi16(samples, next_weights[0]));
        next_low = _mm256_add_epi32(next_low, _mm256_madd_epi16(samples, next_weights[1]));
    }
    _mm256_packs_epi32(descale(high, low), descale(next_high, next_low))
}

#[target_feature(enable = "avx2")]
#[inline]
fn descale(high: __m256i, low: __m256i) -> __m256i {
    let sums = _mm256_add_epi32(_mm256_slli_epi32::<{ LOW_BITS as i32 }>(high), low);
    _mm256_srai_epi32::<{ PRECISION_BITS as i32 }>(sums)
}

#[target_feature(enable = "avx2")]
#[inline]
fn load16(bytes: &[u8], at: usize) -> __m128i {
    let bytes: &[u8; LOAD_BYTES] = bytes[at..at + LOAD_BYTES].try_into().expect("as long as the range");
    // Not `_mm_loadu_si128`, whose debug assertions cost more than the load.
    let word = u128::from_le_bytes(*bytes);
    _mm_set_epi64x((word >> 64) as i64, word as i64)
}

/// Stores four pixels, or those that are left of the row.
#[target_feature(enable = "avx2")]
#[inline]
fn store(out: &mut [u8], at: usize, pixels: __m128i) {
    let [low, high] = [_mm_extract_epi64::<0>(pixels), _mm_extract_epi64::<1>(pixels)].map(i64::to_le_bytes);
    if let Some(place) = out.get_mut(at..at + LOAD_BYTES) {
        place[..8].copy_from_slice(&low);
        place[8..].copy_from_slice(&high);
    } else {
        store_rest(&mut out[at..], [low, high]);
    }
}

#[cold]
#[inline(never)]
fn store_rest(out: &mut [u8], pixels: [[u8; 8]; 2]) {
    let num_bytes = out.len().min(QUAD_BYTES);
    out[..num_bytes].copy_from_slice(&pixels.as_flattened()[..num_bytes]);
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

/// Writes each sample three times; `false` if this machine has no AVX2.
pub(super) fn triple(row: &[u8], out: &mut [u8]) -> bool {
    if !is_x86_feature_detected!("avx2") {
        return false;
    }
    #[expect(unsafe_code, reason = "AVX2 was detected above")]
    // SAFETY: the only precondition is AVX2.
    unsafe {
        triple_row(row, out);
    }
    true
}

/// The plain version, whose bytes are put in place by vectors.
#[target_feature(enable = "avx2")]
fn triple_row(row: &[u8], out: &mut [u8]) {
    triple_plain(row, out);
}
