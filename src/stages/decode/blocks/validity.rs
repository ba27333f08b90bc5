//! Which pixels are valid: by a mask, by alpha, by nodata; as `rasterio.DatasetReader.dataset_mask` says.

use crate::formats::raster::NodataValue;
use crate::vocabulary::chip::Samples;

/// Returns what a mask page means: one of single bits is 0 or 255, others are as they are stored.
pub(super) fn of_mask(samples: &Samples, stored_bits: u16) -> Vec<u8> {
    match samples {
        Samples::U8(samples) if stored_bits == 1 => samples.iter().map(|&bit| 255 * bit).collect(),
        Samples::U8(samples) => samples.clone(),
        _ => unreachable!("masks of other types are not taken"),
    }
}

/// Returns alpha in 8 bits; what is not fully transparent stays above 0 (GDAL, `GDALRescaledAlphaBand`).
pub(super) fn of_alpha(samples: &Samples) -> Vec<u8> {
    match samples {
        Samples::U8(samples) => samples.clone(),
        Samples::U16(samples) => samples.iter().map(|&alpha| eight_bit(alpha)).collect(),
        _ => vec![255; samples.len()],
    }
}

fn eight_bit(alpha: u16) -> u8 {
    match alpha {
        0 => 0,
        alpha => ((u32::from(alpha) * 255 / 65_535) as u8).max(1),
    }
}

/// Returns 255 where a pixel has another value than nodata in any of its bands, else 0.
pub(super) fn of_nodata(samples: &Samples, num_bands: usize, nodata: NodataValue) -> Vec<u8> {
    macro_rules! valid {
        (integers: $($integer:ident $type:ty),+) => {
            match samples {
                $(Samples::$integer(samples) => {
                    let absent = nodata.integer.and_then(|integer| <$type>::try_from(integer).ok());
                    any(samples, num_bands, |sample| Some(sample) != absent)
                })+
                Samples::F32(samples) => {
                    let absent = nodata.value as f32;
                    any(samples, num_bands, |sample| !is_absent_f32(sample, absent))
                }
                Samples::F64(samples) => any(samples, num_bands, |sample| !is_absent_f64(sample, nodata.value)),
            }
        };
    }
    valid!(integers: U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64)
}

fn any<T: Copy>(samples: &[T], num_bands: usize, is_valid: impl Fn(T) -> bool) -> Vec<u8> {
    let is_any = |pixel: &[T]| pixel.iter().any(|&sample| is_valid(sample));
    samples.chunks_exact(num_bands.max(1)).map(|pixel| if is_any(pixel) { 255 } else { 0 }).collect()
}

/// Tells whether a sample is nodata, up to two units in the last place (GDAL, `ARE_REAL_EQUAL`).
///
/// Numbers whose sum is infinite are equal if their difference is not: all that is near the largest number is nodata
/// then.
#[inline]
pub(crate) fn is_absent_f32(sample: f32, nodata: f32) -> bool {
    if nodata.is_nan() {
        return sample.is_nan();
    }
    #[expect(clippy::float_cmp, reason = "GDAL compares exactly first: infinities are equal")]
    let same = sample == nodata;
    same || (sample - nodata).abs() < f32::EPSILON * (sample + nodata).abs() * 2.0
}

/// As [`is_absent_f32`], and as coarse as that: GDAL compares doubles by the precision of 32-bit floats.
#[inline]
pub(crate) fn is_absent_f64(sample: f64, nodata: f64) -> bool {
    if nodata.is_nan() {
        return sample.is_nan();
    }
    #[expect(clippy::float_cmp, reason = "GDAL compares exactly first: infinities are equal")]
    let same = sample == nodata;
    same || (sample - nodata).abs() < f64::from(f32::EPSILON) * (sample + nodata).abs() * 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn nodata(value: f64, integer: Option<i128>) -> NodataValue {
        NodataValue { value, integer }
    }

    #[test]
    fn a_pixel_is_valid_if_any_band_is() {
        let samples = Samples::U16(vec![0, 0, 0, 7, 9, 9]);
        assert_eq!(of_nodata(&samples, 2, nodata(0.0, Some(0))), [0, 255, 255]);
        let out_of_range = nodata(-9999.0, Some(-9999));
        assert_eq!(of_nodata(&samples, 2, out_of_range), [255; 3]);
    }

    #[test]
    fn floats_are_compared_in_their_own_precision() {
        let lowest = f32::MIN;
        let samples = Samples::F32(vec![lowest, 0.0, f32::NAN]);
        assert_eq!(of_nodata(&samples, 1, nodata(-3.402_823_466_385_288_6e38, None)), [0, 255, 255]);
        assert_eq!(of_nodata(&samples, 1, nodata(f64::NAN, None)), [255, 255, 0]);
    }

    #[test]
    fn doubles_are_compared_as_coarsely_as_floats() {
        let samples = Samples::F64(vec![1.0, 1.0 + 4.7e-7, 1.0 + 4.8e-7, 1.0 - 4e-7]);
        assert_eq!(of_nodata(&samples, 1, nodata(1.0, Some(1))), [0, 0, 255, 0]);
        let largest = Samples::F64(vec![f64::MIN, -1.797_693_134_862_31e308, f64::NEG_INFINITY, f64::MAX]);
        assert_eq!(of_nodata(&largest, 1, nodata(-1.797_69e308, None)), [0, 0, 255, 255]);
    }

    #[test]
    fn alpha_of_16_bits_is_0_only_where_nothing_is_seen() {
        assert_eq!(of_alpha(&Samples::U16(vec![0, 1, 256, 257, 514, 65_535])), [0, 1, 1, 1, 2, 255]);
    }
}
