//! AVX-512 versions of the two passes: the same integers, in the horizontal one sixteen sums of four taps at once.
//!
//! The dot products of VNNI multiply bytes: each weight is `(high × 2⁸ + middle) × 2⁸ + low` with three
//! signed digits, whose sums are put together at the end. All of it wraps alike, so nothing is lost.

use std::arch::x86_64::{
    __m128i, __m512i, _mm512_add_epi32, _mm512_cvtusepi32_epi8, _mm512_dpbusd_epi32, _mm512_max_epi32,
    _mm512_permutexvar_epi8, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_srai_epi32,
};
use std::mem::transmute;

use super::{Axis, HALF, PRECISION_BITS, Rows, vertical_plain};
use tilefleet_simd::{VECTOR, has_avx512, load};

/// Sums of one vector.
const LANES: usize = 16;
/// Taps of one dot product.
const TAPS: usize = 4;
/// Rows that are resampled side by side.
const ROWS: usize = 4;

/// Four weights in digits: low, middle and high, a byte a weight.
fn digits(weights: &[i32]) -> [u32; 3] {
    let mut digits = [0; 3];
    for (tap, &weight) in weights.iter().take(TAPS).enumerate() {
        let low = weight as i8;
        let rest = (weight - i32::from(low)) >> 8;
        let middle = rest as i8;
        let high = (rest - i32::from(middle)) >> 8;
        digits[0] |= u32::from(low as u8) << (8 * tap);
        digits[1] |= u32::from(middle as u8) << (8 * tap);
        digits[2] |= u32::from(high as u8) << (8 * tap);
    }
    digits
}

/// The weights of a row, laid out for dot products.
#[derive(Default)]
pub(super) struct Weights {
    /// For each sixteen samples of the row: the first byte that they look at.
    firsts: Vec<usize>,
    /// For each sixteen samples and each four taps.
    steps: Vec<Step>,
    /// Steps a sum.
    num_steps: usize,
    /// Bytes from one step to the next.
    step_bytes: usize,
}

/// Four taps of sixteen sums.
struct Step {
    /// Places of the samples, counted from the first byte of the step.
    places: __m512i,
    digits: [__m512i; 3],
}

impl Weights {
    /// Lays out the weights; `false` if the samples of sixteen sums lie too far apart for one vector.
    #[target_feature(enable = "avx512bw")]
    fn set(&mut self, across: &Axis, num_bands: usize) -> bool {
        self.num_steps = across.max_count().div_ceil(TAPS);
        self.step_bytes = TAPS * num_bands;
        self.firsts.clear();
        self.steps.clear();
        let num_samples = across.count() * num_bands;
        for start in (0..num_samples).step_by(LANES) {
            let first = across.fixed_at(start / num_bands).0 * num_bands;
            let last = (start + LANES).min(num_samples) - 1;
            let reach = across.fixed_at(last / num_bands).0 * num_bands + self.step_bytes - first;
            if reach > VECTOR {
                return false;
            }
            self.firsts.push(first);
            for step in 0..self.num_steps {
                self.steps.push(sixteen(across, num_bands, start..last + 1, step));
            }
        }
        true
    }

    /// Returns how many bytes of a row are looked at, those without weight included.
    fn reach(&self) -> usize {
        let last = self.firsts.iter().max().copied().unwrap_or(0);
        last + (self.num_steps - 1) * self.step_bytes + VECTOR
    }
}

/// Lays out four taps of the samples `range` of a row.
#[target_feature(enable = "avx512bw")]
fn sixteen(across: &Axis, num_bands: usize, range: std::ops::Range<usize>, step: usize) -> Step {
    // A byte a tap.
    const ALL: u32 = 0x0101_0101;
    let taps = 0x0302_0100 * num_bands as u32;
    let mut places = [0; LANES];
    let mut slots = [[0; LANES]; 3];
    let (mut pixel, mut band) = (range.start / num_bands, range.start % num_bands);
    let first_pixel = across.fixed_at(pixel).0;
    let mut at = 0;
    while at < range.len() {
        let (first, weights) = across.fixed_at(pixel);
        let digits = digits(weights.get(step * TAPS..).unwrap_or_default());
        let offset = (first - first_pixel) * num_bands;
        let end = range.len().min(at + num_bands - band);
        for at in at..end {
            places[at] = taps + ALL * (offset + band) as u32;
            slots[0][at] = digits[0];
            slots[1][at] = digits[1];
            slots[2][at] = digits[2];
            band += 1;
        }
        (pixel, band, at) = (pixel + 1, 0, end);
    }
    Step { places: vector(places), digits: slots.map(|slots| vector(slots)) }
}

#[target_feature(enable = "avx512f")]
fn vector(slots: [u32; LANES]) -> __m512i {
    #[expect(unsafe_code, reason = "a change of type")]
    // SAFETY: both are 64 bytes without a meaning.
    unsafe {
        transmute::<[u32; LANES], __m512i>(slots)
    }
}

/// Resamples rows; `false` if this machine cannot, or not such rows.
pub(super) fn horizontal(rows: &Rows<'_>, across: &Axis, between: &mut [u8], weights: &mut Weights) -> bool {
    if !has_avx512() {
        return false;
    }
    #[expect(unsafe_code, reason = "the instructions were detected above")]
    // SAFETY: the only precondition is that the machine has them.
    unsafe {
        horizontal_all(rows, across, between, weights)
    }
}

#[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
fn horizontal_all(rows: &Rows<'_>, across: &Axis, between: &mut [u8], weights: &mut Weights) -> bool {
    if !weights.set(across, rows.num_bands) {
        return false;
    }
    let row_len = across.count() * rows.num_bands;
    let mut first = 0;
    let mut padded = Vec::new();
    for outs in between.chunks_mut(ROWS * row_len) {
        let num_rows = outs.len() / row_len;
        let mut sources: [&[u8]; ROWS] = std::array::from_fn(|row| {
            rows.samples.get((first + row.min(num_rows - 1)) * rows.stride..).unwrap_or_default()
        });
        // Loads of the last rows may reach beyond the image.
        if sources.iter().any(|source| source.len() < weights.reach()) {
            let padded_len = rows.stride.max(weights.reach());
            padded.clear();
            for source in sources {
                let row = &source[..rows.stride.min(source.len())];
                padded.extend_from_slice(row);
                padded.resize(padded.len() + padded_len - row.len(), 0);
            }
            sources = std::array::from_fn(|row| &padded[row * padded_len..]);
        }
        resample_rows(sources, weights, row_len, outs);
        first += num_rows;
    }
    true
}

/// Resamples up to four rows; `outs` has as many as are wanted.
#[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
fn resample_rows(sources: [&[u8]; ROWS], weights: &Weights, row_len: usize, outs: &mut [u8]) {
    for (group, (&first, steps)) in
        weights.firsts.iter().zip(weights.steps.chunks_exact(weights.num_steps)).enumerate()
    {
        let mut sums = [Sums::new(); ROWS];
        for (index, step) in steps.iter().enumerate() {
            for (sums, source) in sums.iter_mut().zip(sources) {
                let samples = load(source, first + index * weights.step_bytes);
                sums.add(_mm512_permutexvar_epi8(step.places, samples), &step.digits);
            }
        }
        for (out, sums) in outs.chunks_exact_mut(row_len).zip(sums) {
            // Saturation clips what is not negative to 255.
            let sums = _mm512_max_epi32(sums.descaled(), _mm512_setzero_si512());
            store16(&mut out[group * LANES..], _mm512_cvtusepi32_epi8(sums));
        }
    }
}

/// Sixteen sums, in digits.
#[derive(Clone, Copy)]
struct Sums([__m512i; 3]);

impl Sums {
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn new() -> Self {
        let zero = _mm512_setzero_si512();
        Self([_mm512_set1_epi32(HALF), zero, zero])
    }

    /// Adds the products of four samples a lane.
    #[target_feature(enable = "avx512bw,avx512vnni")]
    #[inline]
    fn add(&mut self, samples: __m512i, digits: &[__m512i; 3]) {
        for (sum, &digits) in self.0.iter_mut().zip(digits) {
            *sum = _mm512_dpbusd_epi32(*sum, samples, digits);
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn descaled(self) -> __m512i {
        let [low, middle, high] = self.0;
        let upper = _mm512_slli_epi32::<8>(_mm512_add_epi32(_mm512_slli_epi32::<8>(high), middle));
        _mm512_srai_epi32::<PRECISION_BITS>(_mm512_add_epi32(upper, low))
    }
}

/// Stores sixteen samples, or those that are left of the row.
#[target_feature(enable = "avx512f")]
#[inline]
fn store16(out: &mut [u8], samples: __m128i) {
    #[expect(unsafe_code, reason = "a change of type")]
    // SAFETY: both are 16 bytes without a meaning.
    let samples = unsafe { transmute::<__m128i, [u8; LANES]>(samples) };
    match out.first_chunk_mut() {
        Some(out) => *out = samples,
        None => store_rest(out, samples),
    }
}

#[cold]
#[inline(never)]
fn store_rest(out: &mut [u8], samples: [u8; LANES]) {
    out.copy_from_slice(&samples[..out.len()]);
}

/// Computes one row from several; `false` if this machine cannot.
pub(super) fn vertical(rows: &Rows<'_>, first: usize, weights: &[i32], out: &mut [u8]) -> bool {
    if !has_avx512() {
        return false;
    }
    #[expect(unsafe_code, reason = "the instructions were detected above")]
    // SAFETY: the only precondition is that the machine has them.
    unsafe {
        vertical_row(rows, first, weights, out);
    }
    true
}

/// The plain version, compiled for vectors of 16 sums.
#[target_feature(enable = "avx512bw")]
fn vertical_row(rows: &Rows<'_>, first: usize, weights: &[i32], out: &mut [u8]) {
    vertical_plain(rows, first, weights, out);
}
