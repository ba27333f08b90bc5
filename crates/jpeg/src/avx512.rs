//! AVX-512 versions of the transform, the interpolation of chroma and the conversion to RGB, with the samples of
//! libjpeg.

use std::arch::x86_64::{
    __m256i, __m512i, _mm512_abs_epi16, _mm512_add_epi8, _mm512_add_epi16, _mm512_add_epi32,
    _mm512_cmpgt_epu16_mask, _mm512_cvtepu8_epi16, _mm512_dpwssd_epi32, _mm512_madd_epi16,
    _mm512_mask_permutexvar_epi8, _mm512_mulhrs_epi16, _mm512_mullo_epi16, _mm512_or_si512,
    _mm512_packs_epi16, _mm512_packs_epi32, _mm512_packus_epi16, _mm512_permutex2var_epi8, _mm512_set1_epi8,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set4_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8,
    _mm512_slli_epi16, _mm512_srai_epi32, _mm512_srli_epi16, _mm512_sub_epi16, _mm512_sub_epi32,
    _mm512_unpackhi_epi8, _mm512_unpackhi_epi16, _mm512_unpackhi_epi32, _mm512_unpacklo_epi8,
    _mm512_unpacklo_epi16, _mm512_unpacklo_epi32,
};
use std::mem::transmute;

use super::group::{Coefficients, Samples};
use tilefleet_simd::{VECTOR, load, load_words, store};

/// How often each vector function did its work, so that a test can tell that it did.
#[cfg(test)]
pub(crate) mod ran {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// How often blocks were transformed.
    pub(crate) static TRANSFORM: AtomicU64 = AtomicU64::new(0);
    /// How often chroma was interpolated.
    pub(crate) static BLEND: AtomicU64 = AtomicU64::new(0);
    /// How often colours were converted.
    pub(crate) static RGB: AtomicU64 = AtomicU64::new(0);

    /// Adds one.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Fails if this processor could run it and a test did not.
    pub(crate) fn check(counter: &AtomicU64) {
        if tilefleet_simd::has_avx512() {
            assert!(counter.load(Ordering::Relaxed) > 0, "the vector code did not run");
        } else {
            tilefleet_testing::skipped::not_on_this_machine(
                "no AVX-512 with VBMI and VNNI, so its versions are not compared",
            );
        }
    }
}

/// Fraction bits of the transform's constants.
const CONST_BITS: u32 = 13;
/// Fraction bits between its passes.
const PASS_BITS: u32 = 2;
/// The sum of two such coefficients of the first row stays in 16 bits between the passes; beyond, the crate
/// leaves out the 16 bits of libjpeg's vectors where all other rows are zero.
const MAX_FIRST_ROW: i16 = (1 << 12) - 1;

/// Dequantises and transforms four blocks (the accurate integer method of libjpeg, `jidctint`: Loeffler, Ligtenberg and
/// Moschytz, 1989); `false` if their coefficients are out of any image's range.
#[target_feature(enable = "avx512bw")]
pub(super) fn transform(
    coefficients: &Coefficients,
    quantisation: &Coefficients,
    samples: &mut Samples,
) -> bool {
    let mut rows = [_mm512_setzero_si512(); 8];
    for (row, (values, quanta)) in rows.iter_mut().zip(coefficients.rows().iter().zip(quantisation.rows())) {
        *row = _mm512_mullo_epi16(load_words(values), load_words(quanta));
    }
    let first = _mm512_abs_epi16(rows[0]);
    if _mm512_cmpgt_epu16_mask(first, _mm512_set1_epi16(MAX_FIRST_ROW)) != 0 {
        return false;
    }
    let columns = transpose(&pass::<{ CONST_BITS - PASS_BITS }>(&rows));
    // The 3 bits are the scale of a two-dimensional transform.
    let rows = pairs_of_rows(&pass::<{ CONST_BITS + PASS_BITS + 3 }>(&columns));
    for (samples, rows) in samples.as_chunks_mut::<VECTOR>().0.iter_mut().zip(rows) {
        store(samples, rows);
    }
    true
}

/// Packs eight columns to bytes, moved to 0..=255, and transposes them: two rows of each block a vector.
#[target_feature(enable = "avx512bw")]
#[inline]
fn pairs_of_rows(columns: &[__m512i; 8]) -> [__m512i; 4] {
    let zipped = _mm512_set4_epi32(0x0F07_0E06, 0x0D05_0C04, 0x0B03_0A02, 0x0901_0800);
    let mut pairs = [_mm512_setzero_si512(); 4];
    for (pair, [even, odd]) in pairs.iter_mut().zip(columns.as_chunks().0) {
        let bytes = _mm512_add_epi8(_mm512_packs_epi16(*even, *odd), _mm512_set1_epi8(-128));
        *pair = _mm512_shuffle_epi8(bytes, zipped);
    }
    let [a, b, c, d] = pairs;
    let (left, right) = (_mm512_unpacklo_epi16(a, b), _mm512_unpacklo_epi16(c, d));
    let (lower_left, lower_right) = (_mm512_unpackhi_epi16(a, b), _mm512_unpackhi_epi16(c, d));
    [
        _mm512_unpacklo_epi32(left, right),
        _mm512_unpackhi_epi32(left, right),
        _mm512_unpacklo_epi32(lower_left, lower_right),
        _mm512_unpackhi_epi32(lower_left, lower_right),
    ]
}

/// Transposes the 8 × 8 lanes of each block.
#[target_feature(enable = "avx512bw")]
#[inline]
fn transpose(rows: &[__m512i; 8]) -> [__m512i; 8] {
    let zip = |pairs: &[__m512i; 8]| {
        let mut zipped = *pairs;
        for (index, zipped) in zipped.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *zipped = zip16(pairs[index], pairs[index + 4]).into();
        }
        zipped
    };
    zip(&zip(&zip(rows)))
}

#[target_feature(enable = "avx512bw")]
#[inline]
fn zip16(a: __m512i, b: __m512i) -> (__m512i, __m512i) {
    (_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b))
}

/// 16 lanes each of the first and of the second half of some 16-bit lanes, widened to 32 bits.
#[derive(Clone, Copy)]
struct Wide(__m512i, __m512i);

impl Wide {
    /// `2¹³ ×` 16-bit lanes.
    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn scaled(slots: __m512i) -> Self {
        let (low, high) = zip16(_mm512_setzero_si512(), slots);
        Self(_mm512_srai_epi32::<{ 16 - CONST_BITS }>(low), _mm512_srai_epi32::<{ 16 - CONST_BITS }>(high))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn plus(self, other: Self) -> Self {
        Self(_mm512_add_epi32(self.0, other.0), _mm512_add_epi32(self.1, other.1))
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn minus(self, other: Self) -> Self {
        Self(_mm512_sub_epi32(self.0, other.0), _mm512_sub_epi32(self.1, other.1))
    }

    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn descaled<const SHIFT: u32>(self) -> __m512i {
        _mm512_packs_epi32(_mm512_srai_epi32::<SHIFT>(self.0), _mm512_srai_epi32::<SHIFT>(self.1))
    }
}

/// Two rows, lane by lane side by side.
#[derive(Clone, Copy)]
struct Pair(__m512i, __m512i);

impl Pair {
    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn of(a: __m512i, b: __m512i) -> Self {
        let (low, high) = zip16(a, b);
        Self(low, high)
    }

    /// `first × a + second × b`, in units of 2⁻¹³.
    #[target_feature(enable = "avx512bw")]
    #[inline]
    fn weighed(self, a: i32, b: i32) -> Wide {
        let weights = pair_of_words(a, b);
        Wide(_mm512_madd_epi16(self.0, weights), _mm512_madd_epi16(self.1, weights))
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn pair_of_words(low: i32, high: i32) -> __m512i {
    _mm512_set1_epi32(high << 16 | low & 0xFFFF)
}

const fn fix(value: f64) -> i32 {
    (value * (1 << CONST_BITS) as f64 + 0.5) as i32
}

/// A transform of columns of eight, descaled by `SHIFT` bits.
#[target_feature(enable = "avx512bw")]
#[inline]
fn pass<const SHIFT: u32>(rows: &[__m512i; 8]) -> [__m512i; 8] {
    const A: i32 = fix(0.541_196_100);
    const B: i32 = fix(0.765_366_865);
    const C: i32 = fix(1.847_759_065);
    const D: i32 = fix(1.175_875_602);
    const E: i32 = fix(1.961_570_560);
    const F: i32 = fix(0.390_180_644);
    const G: i32 = fix(0.899_976_223);
    const H: i32 = fix(2.562_915_447);
    let &[r0, r1, r2, r3, r4, r5, r6, r7] = rows;

    let turned = Pair::of(r2, r6);
    let (low, high) = (turned.weighed(A, A - C), turned.weighed(A + B, A));
    let half = _mm512_set1_epi32(1 << (SHIFT - 1));
    let sum = Wide::scaled(_mm512_add_epi16(r0, r4)).plus(Wide(half, half));
    let difference = Wide::scaled(_mm512_sub_epi16(r0, r4)).plus(Wide(half, half));
    let even = [sum.plus(high), difference.plus(low), difference.minus(low), sum.minus(high)];

    let outer = Pair::of(_mm512_add_epi16(r7, r3), _mm512_add_epi16(r5, r1));
    let (z3, z4) = (outer.weighed(D - E, D), outer.weighed(D, D - F));
    let (far, near) = (Pair::of(r7, r1), Pair::of(r5, r3));
    let odd = [
        far.weighed(-G, fix(1.501_321_110) - G).plus(z4),
        near.weighed(-H, fix(3.072_711_026) - H).plus(z3),
        near.weighed(fix(2.053_119_869) - H, -H).plus(z4),
        far.weighed(fix(0.298_631_336) - G, -G).plus(z3),
    ];

    let mut columns = [half; 8];
    for (index, (even, odd)) in even.into_iter().zip(odd).enumerate() {
        columns[index] = even.plus(odd).descaled::<SHIFT>();
        columns[7 - index] = even.minus(odd).descaled::<SHIFT>();
    }
    columns
}

/// Chroma samples of one step of [`blend`].
const BLENDED: usize = VECTOR / 2;

/// Interpolates the samples of a chroma row but its first and last (libjpeg, `h2v2_fancy_upsample`); `false`
/// if there are too few.
///
/// - `out`: twice as long as the row
#[target_feature(enable = "avx512bw")]
pub(super) fn blend(row: &[u8], neighbour: &[u8], out: &mut [u8]) -> bool {
    // Each step looks at the sample before its own and the one behind.
    let Some(last) = row.len().checked_sub(BLENDED + 1).filter(|&last| last > 0) else { return false };
    // The last step may overlap the one before.
    for at in (1..last).step_by(BLENDED).chain([last]) {
        let [before, own, after] =
            [at - 1, at, at + 1].map(|at| weighed(widened(row, at), widened(neighbour, at)));
        let triple = _mm512_add_epi16(own, _mm512_add_epi16(own, own));
        let even = _mm512_add_epi16(_mm512_add_epi16(triple, before), _mm512_set1_epi16(8));
        let odd = _mm512_add_epi16(_mm512_add_epi16(triple, after), _mm512_set1_epi16(7));
        let odd = _mm512_slli_epi16::<8>(_mm512_srli_epi16::<4>(odd));
        let out = out[2 * at..].first_chunk_mut().expect("twice as long as the row");
        store(out, _mm512_or_si512(_mm512_srli_epi16::<4>(even), odd));
    }
    true
}

/// Weighs 3 : 1.
#[target_feature(enable = "avx512bw")]
#[inline]
fn weighed(near: __m512i, far: __m512i) -> __m512i {
    _mm512_add_epi16(_mm512_add_epi16(near, near), _mm512_add_epi16(near, far))
}

/// Loads bytes as 16-bit lanes.
#[target_feature(enable = "avx512bw")]
#[inline]
fn widened(bytes: &[u8], at: usize) -> __m512i {
    let bytes: &[u8; BLENDED] = bytes[at..at + BLENDED].try_into().expect("as long as the range");
    #[expect(unsafe_code, reason = "a load of 32 bytes")]
    // SAFETY: both are 32 bytes without a meaning.
    let bytes = unsafe { transmute::<[u8; BLENDED], __m256i>(*bytes) };
    _mm512_cvtepu8_epi16(bytes)
}

/// Converts a row of YCbCr (ITU-R BT.601 as in JFIF) to RGB; at least [`VECTOR`] pixels, or it returns `false`.
#[target_feature(enable = "avx512bw,avx512vbmi,avx512vnni")]
pub(super) fn rgb(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) -> bool {
    let Some(last) = y.len().checked_sub(VECTOR) else { return false };
    // The last step may overlap the one before.
    for at in (0..last).step_by(VECTOR).chain([last]) {
        let [y, cb, cr] = [y, cb, cr].map(|row| load(row, at));
        let zero = _mm512_setzero_si512();
        let low = colours(
            _mm512_unpacklo_epi8(y, zero),
            _mm512_unpacklo_epi8(cb, zero),
            _mm512_unpacklo_epi8(cr, zero),
        );
        let high = colours(
            _mm512_unpackhi_epi8(y, zero),
            _mm512_unpackhi_epi8(cb, zero),
            _mm512_unpackhi_epi8(cr, zero),
        );
        let red = _mm512_packus_epi16(low[0], high[0]);
        let green = _mm512_packus_epi16(low[1], high[1]);
        let blue = _mm512_packus_epi16(low[2], high[2]);
        let pixels = out[3 * at..][..3 * VECTOR].as_chunks_mut::<VECTOR>().0;
        for (pixels, weave) in pixels.iter_mut().zip(&WEAVES) {
            let two = _mm512_permutex2var_epi8(red, load(&weave.red_green, 0), green);
            let blue = _mm512_mask_permutexvar_epi8(two, weave.is_blue, load(&weave.blue, 0), blue);
            store(pixels, blue);
        }
    }
    true
}

/// Red, green and blue of 32 pixels; beyond 0..=255 still.
#[target_feature(enable = "avx512bw,avx512vnni")]
#[inline]
fn colours(y: __m512i, cb: __m512i, cr: __m512i) -> [__m512i; 3] {
    let middle = _mm512_set1_epi16(128);
    let (cb, cr) = (_mm512_sub_epi16(cb, middle), _mm512_sub_epi16(cr, middle));
    // 1.402 = 1 + 0.402 and 1.772 = 2 − 0.228, in units of 2⁻¹⁵: rounded as libjpeg's 16 bits are.
    let red = _mm512_add_epi16(cr, _mm512_mulhrs_epi16(cr, _mm512_set1_epi16(13_173)));
    let blue = _mm512_mulhrs_epi16(cb, _mm512_set1_epi16(-7_471));
    let blue = _mm512_add_epi16(_mm512_add_epi16(cb, cb), blue);
    // −0.34414 and −0.71414 = 0.28586 − 1, in units of 2⁻¹⁶.
    let weights = pair_of_words(-22_554, 18_734);
    let half = _mm512_set1_epi32(1 << 15);
    let (low, high) = zip16(cb, cr);
    let green = _mm512_packs_epi32(
        _mm512_srai_epi32::<16>(_mm512_dpwssd_epi32(half, low, weights)),
        _mm512_srai_epi32::<16>(_mm512_dpwssd_epi32(half, high, weights)),
    );
    let green = _mm512_sub_epi16(green, cr);
    [_mm512_add_epi16(y, red), _mm512_add_epi16(y, green), _mm512_add_epi16(y, blue)]
}

/// Where the bytes of a third of 64 pixels come from.
struct Weave {
    /// Places in red, then green.
    red_green: [u8; VECTOR],
    blue: [u8; VECTOR],
    is_blue: u64,
}

static WEAVES: [Weave; 3] = [Weave::of(0), Weave::of(1), Weave::of(2)];

impl Weave {
    const fn of(third: usize) -> Self {
        let mut weave = Self { red_green: [0; VECTOR], blue: [0; VECTOR], is_blue: 0 };
        let mut at = 0;
        while at < VECTOR {
            let (pixel, band) = ((third * VECTOR + at) / 3, (third * VECTOR + at) % 3);
            match band {
                0 => weave.red_green[at] = pixel as u8,
                1 => weave.red_green[at] = (VECTOR + pixel) as u8,
                _ => {
                    weave.blue[at] = pixel as u8;
                    weave.is_blue |= 1 << at;
                }
            }
            at += 1;
        }
        weave
    }
}
