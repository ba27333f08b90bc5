//! Pillow's resampling of 8-bit samples, bit for bit, of the rows and columns that are kept.
//!
//! Two passes, horizontal first, with 8-bit rows between them; sums in 32-bit fixed point that start
//! at one half. Everything that has a vector version is compared with the plain one in the tests.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::axis::{Axis, PRECISION_BITS};
use super::bands::Selection;
use crate::vocabulary::geometry::Size;

/// One half, which rounds the sums.
const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// An 8-bit image, `[height, width, bands]`.
pub(super) struct Image<'a> {
    pub(super) samples: &'a [u8],
    pub(super) size: Size,
    pub(super) num_bands: usize,
}

/// Buffers for the next image.
#[derive(Default)]
pub(super) struct Buffers {
    selected: Vec<u8>,
    between: Vec<u8>,
    row: Vec<u8>,
    #[cfg(target_arch = "x86_64")]
    weights: Weights,
}

/// The horizontal weights in the orders that vectors want.
#[cfg(target_arch = "x86_64")]
#[derive(Default)]
struct Weights {
    avx2: avx2::Weights,
    avx512: avx512::Weights,
}

/// Where finished rows go, each `[width, bands]`.
pub(super) trait Target {
    /// Returns where row `y` can be written as it is.
    fn row_mut(&mut self, y: usize, len: usize) -> Option<&mut [u8]>;

    /// Takes row `y`.
    fn put(&mut self, y: usize, row: &[u8]);
}

/// Resamples horizontally, then vertically.
pub(super) fn resample(
    image: &Image<'_>,
    selection: &Selection,
    across: &Axis,
    down: &Axis,
    buffers: &mut Buffers,
    target: &mut impl Target,
) {
    let num_bands = selection.bands().len();
    let (first_row, end_row) = down.needed();
    let stride = image.size.width as usize * image.num_bands;
    let needed = &image.samples[first_row * stride..end_row * stride];
    let rows = if selection.is_identity(image.num_bands) {
        needed
    } else {
        select(needed, image.num_bands, selection, &mut buffers.selected);
        &buffers.selected
    };
    let rows = Rows { samples: rows, stride: image.size.width as usize * num_bands, num_bands };
    let row_len = across.count() * num_bands;
    let between = if across.is_identity() {
        Rows { samples: &rows.samples[across.needed().0 * num_bands..], ..rows }
    } else {
        buffers.between.resize((end_row - first_row) * row_len, 0);
        #[cfg(target_arch = "x86_64")]
        horizontal(&rows, across, &mut buffers.between, &mut buffers.weights);
        #[cfg(not(target_arch = "x86_64"))]
        horizontal_plain(&rows, across, &mut buffers.between);
        Rows { samples: &buffers.between, stride: row_len, num_bands }
    };
    buffers.row.resize(row_len, 0);
    for index in 0..down.count() {
        let (first, weights) = down.fixed_at(index);
        if down.is_identity() {
            target.put(index, &between.samples[(first - first_row) * between.stride..][..row_len]);
        } else if let Some(row) = target.row_mut(index, row_len) {
            vertical(&between, first - first_row, weights, row);
        } else {
            vertical(&between, first - first_row, weights, &mut buffers.row);
            target.put(index, &buffers.row);
        }
    }
}

/// Rows of 8-bit samples; the last one may end early, after what is needed of it.
#[derive(Clone, Copy)]
struct Rows<'a> {
    samples: &'a [u8],
    stride: usize,
    num_bands: usize,
}

/// Copies the selected bands of some rows.
fn select(rows: &[u8], num_bands: usize, selection: &Selection, selected: &mut Vec<u8>) {
    selected.clear();
    selected.reserve(rows.len() / num_bands * selection.bands().len());
    for pixel in rows.chunks_exact(num_bands) {
        selected.extend(selection.bands().iter().map(|&band| pixel[band]));
    }
}

#[cfg(target_arch = "x86_64")]
fn horizontal(rows: &Rows<'_>, across: &Axis, between: &mut [u8], weights: &mut Weights) {
    let done = avx512::horizontal(rows, across, between, &mut weights.avx512)
        || avx2::horizontal(rows, across, between, &mut weights.avx2);
    if !done {
        horizontal_plain(rows, across, between);
    }
}

fn horizontal_plain(rows: &Rows<'_>, across: &Axis, between: &mut [u8]) {
    let row_len = across.count() * rows.num_bands;
    for (row, out) in rows.samples.chunks_exact(rows.stride).zip(between.chunks_exact_mut(row_len)) {
        horizontal_row(row, rows.num_bands, across, out);
    }
}

fn horizontal_row(row: &[u8], num_bands: usize, across: &Axis, out: &mut [u8]) {
    match num_bands {
        1 => horizontal_pixels::<1>(row, across, out),
        3 => horizontal_pixels::<3>(row, across, out),
        4 => horizontal_pixels::<4>(row, across, out),
        _ => horizontal_bands(row, num_bands, across, out),
    }
}

fn horizontal_pixels<const BANDS: usize>(row: &[u8], across: &Axis, out: &mut [u8]) {
    let pixels = row.as_chunks::<BANDS>().0;
    for (index, out) in out.as_chunks_mut::<BANDS>().0.iter_mut().enumerate() {
        let (first, weights) = across.fixed_at(index);
        let mut sums = [HALF; BANDS];
        for (pixel, &weight) in pixels[first..].iter().zip(weights) {
            for band in 0..BANDS {
                sums[band] = sums[band].wrapping_add(i32::from(pixel[band]).wrapping_mul(weight));
            }
        }
        *out = sums.map(clip);
    }
}

fn horizontal_bands(row: &[u8], num_bands: usize, across: &Axis, out: &mut [u8]) {
    for (index, out) in out.chunks_exact_mut(num_bands).enumerate() {
        let (first, weights) = across.fixed_at(index);
        for (band, out) in out.iter_mut().enumerate() {
            let samples = row[first * num_bands + band..].iter().step_by(num_bands);
            let add = |sum: i32, (&sample, &weight): (&u8, &i32)| {
                sum.wrapping_add(i32::from(sample).wrapping_mul(weight))
            };
            *out = clip(samples.zip(weights).fold(HALF, add));
        }
    }
}

/// Computes one row from `weights.len()` rows, beginning with row `first`.
fn vertical(rows: &Rows<'_>, first: usize, weights: &[i32], out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if avx512::vertical(rows, first, weights, out) || avx2::vertical(rows, first, weights, out) {
        return;
    }
    vertical_plain(rows, first, weights, out);
}

/// Writes each sample three times.
pub(super) fn triple(row: &[u8], out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if avx2::triple(row, out) {
        return;
    }
    triple_plain(row, out);
}

#[expect(clippy::inline_always, reason = "it is compiled a second time inside the AVX2 version")]
#[inline(always)]
fn triple_plain(row: &[u8], out: &mut [u8]) {
    for (pixel, &sample) in out.as_chunks_mut::<3>().0.iter_mut().zip(row) {
        *pixel = [sample; 3];
    }
}

/// As many samples as stay in registers: the loop over the rows is inside.
const LANES: usize = 32;

#[expect(clippy::inline_always, reason = "it is compiled a second time inside the AVX2 version")]
#[inline(always)]
fn vertical_plain(rows: &Rows<'_>, first: usize, weights: &[i32], out: &mut [u8]) {
    let samples = &rows.samples[first * rows.stride..];
    let (blocks, rest) = out.as_chunks_mut::<LANES>();
    let num_blocks = blocks.len();
    for (block, out) in blocks.iter_mut().enumerate() {
        let mut sums = [HALF; LANES];
        for (row, &weight) in weights.iter().enumerate() {
            let at = row * rows.stride + block * LANES;
            let samples: &[u8; LANES] = samples[at..at + LANES].try_into().expect("as long as the range");
            for slot in 0..LANES {
                sums[slot] = sums[slot].wrapping_add(i32::from(samples[slot]).wrapping_mul(weight));
            }
        }
        for slot in 0..LANES {
            out[slot] = clip(sums[slot]);
        }
    }
    for (column, out) in (num_blocks * LANES..).zip(rest) {
        let column = samples[column..].iter().step_by(rows.stride);
        let add = |sum: i32, (&sample, &weight): (&u8, &i32)| {
            sum.wrapping_add(i32::from(sample).wrapping_mul(weight))
        };
        *out = clip(column.zip(weights).fold(HALF, add));
    }
}

#[expect(clippy::inline_always, reason = "it is compiled a second time inside the AVX2 version")]
#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::super::axis::Cache;
    use super::super::resize_plan::ResizePlan;
    use super::*;
    use crate::vocabulary::contract::Interpolation;
    #[cfg(target_arch = "x86_64")]
    use tilefleet_testing::skipped;

    /// The vector versions give the bits of the plain ones, for all remainders and numbers of weights.
    #[test]
    fn vector_and_plain_passes_are_equal() {
        // Of AVX2 and AVX-512, across and down.
        let mut ran = [0; 4];
        let sizes = [(1, 1), (2, 9), (5, 3), (31, 40), (64, 65), (113, 7), (300, 211), (1500, 90)];
        for ((width, height), num_bands) in sizes.into_iter().flat_map(|size| [1, 2, 3, 4].map(|n| (size, n)))
        {
            let len = u64::from(width * height) * num_bands as u64;
            let samples: Vec<u8> = (0..len).map(|at| (at * at / 7 % 256) as u8).collect();
            let rows = Rows { samples: &samples, stride: width as usize * num_bands, num_bands };
            for (short_side, crop) in [(13, 11), (1, 1), (64, 64), (90, 33), (256, 224)] {
                for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
                    let size = Size::new(width, height);
                    let fit = ResizePlan::resized(size, short_side, Size::new(crop, crop));
                    let mut cache = Cache::default();
                    let (across, down) = cache.of(size, &fit, filter);
                    check(&rows, height as usize, across, down, &mut ran);
                }
            }
        }
        #[cfg(target_arch = "x86_64")]
        for (name, is_there, ran) in [
            ("AVX2", is_x86_feature_detected!("avx2"), &ran[..2]),
            ("AVX-512 with VBMI and VNNI", tilefleet_simd::has_avx512(), &ran[2..]),
        ] {
            if is_there {
                assert!(ran.iter().all(|times| *times > 0), "the versions for {name} ran {ran:?} times");
            } else {
                skipped::not_on_this_machine(&format!("no {name}, so its versions are not compared"));
            }
        }
    }

    #[test]
    fn each_sample_is_written_three_times() {
        for len in [0, 1, 31, 224, 1000] {
            let row: Vec<u8> = (0..len).map(|at| (at * at % 251) as u8).collect();
            let expected: Vec<u8> = row.iter().flat_map(|&sample| [sample; 3]).collect();
            for triple in [triple, triple_plain] {
                let mut out = vec![1; 3 * row.len()];
                triple(&row, &mut out);
                assert_eq!(out, expected);
            }
        }
    }

    fn check(rows: &Rows<'_>, height: usize, across: &Axis, down: &Axis, ran: &mut [u32; 4]) {
        let mut plain = vec![0; height * across.count() * rows.num_bands];
        horizontal_plain(rows, across, &mut plain);
        #[cfg(target_arch = "x86_64")]
        {
            let weights = &mut Weights::default();
            let mut vector = vec![1; plain.len()];
            if avx2::horizontal(rows, across, &mut vector, &mut weights.avx2) {
                ran[0] += 1;
                assert_eq!(vector, plain);
            }
            vector.fill(1);
            if avx512::horizontal(rows, across, &mut vector, &mut weights.avx512) {
                ran[2] += 1;
                assert_eq!(vector, plain);
            }
        }
        for index in 0..down.count() {
            let (first, weights) = down.fixed_at(index);
            let mut plain = vec![2; rows.stride];
            vertical_plain(rows, first, weights, &mut plain);
            #[cfg(target_arch = "x86_64")]
            for (vertical, index) in
                [(avx2::vertical as fn(&_, _, &_, &mut _) -> bool, 1), (avx512::vertical, 3)]
            {
                let mut vector = vec![1; rows.stride];
                if vertical(rows, first, weights, &mut vector) {
                    ran[index] += 1;
                    assert_eq!(vector, plain);
                }
            }
        }
    }
}
