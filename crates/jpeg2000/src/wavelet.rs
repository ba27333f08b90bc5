//! The inverse wavelet transforms (T.800 Annex F): 5/3 on integers, 9/7 on floats.
//!
//! A resolution is made of the one below it and of three bands. Each row is put together from a row of two bands, and
//! lifting along columns follows a few rows behind, while these are still in the cache.

use crate::size::Rect;

/// One of the two transforms.
pub(crate) trait Lifting: Copy + Default {
    /// How many lifting steps it has: the even ones change samples of low frequency, the others those of high.
    const STEPS: usize;

    /// Scales a sample before the first step.
    fn scale(self, high: bool) -> Self;

    /// Carries out a step on a sample, given those on both sides.
    fn lift<const STEP: usize>(self, left: Self, right: Self) -> Self;

    /// Returns what a sample stands for that is the only one of its row or column (F.3.6).
    fn alone(self, high: bool) -> Self;
}

impl Lifting for i32 {
    const STEPS: usize = 2;

    #[inline(always)]
    fn scale(self, _high: bool) -> Self {
        self
    }

    #[inline(always)]
    fn lift<const STEP: usize>(self, left: i32, right: i32) -> i32 {
        // F-5 and F-6. Damaged streams may overflow.
        if STEP == 0 {
            self.wrapping_sub(left.wrapping_add(right).wrapping_add(2) >> 2)
        } else {
            self.wrapping_add(left.wrapping_add(right) >> 1)
        }
    }

    #[inline(always)]
    fn alone(self, high: bool) -> Self {
        if high { self >> 1 } else { self }
    }
}

impl Lifting for f32 {
    const STEPS: usize = 4;

    #[inline(always)]
    fn scale(self, high: bool) -> Self {
        self * if high { 1.0 / SCALE } else { SCALE }
    }

    #[inline(always)]
    fn lift<const STEP: usize>(self, left: f32, right: f32) -> f32 {
        self - FACTORS[STEP] * (left + right)
    }

    #[inline(always)]
    fn alone(self, high: bool) -> Self {
        if high { self * 0.5 } else { self }
    }
}

/// K, and δ, γ, β and α of table F.4.
const SCALE: f32 = 1.230_174_1;
const FACTORS: [f32; 4] = [0.443_506_85, 0.882_911_1, -0.052_980_12, -1.586_134_3];

/// The bands that a resolution is made of, row by row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bands<'a, T> {
    pub(crate) ll: &'a [T],
    pub(crate) hl: &'a [T],
    pub(crate) lh: &'a [T],
    pub(crate) hh: &'a [T],
}

/// The two halves of a row, each with a sample more at both ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Halves<T> {
    low: Vec<T>,
    high: Vec<T>,
}

/// Makes a resolution.
///
/// - `rect`: its area, whose first row and column decide which are of high frequency
/// - `out`: `rect.area()` samples
#[inline(always)]
pub(crate) fn synthesise<T: Lifting>(
    rect: &Rect,
    bands: Bands<'_, T>,
    halves: &mut Halves<T>,
    out: &mut [T],
) {
    let (width, height) = (rect.width() as usize, rect.height() as usize);
    if width == 0 {
        return;
    }
    let (odd_x, odd_y) = (rect.x0 % 2 == 1, rect.y0 % 2 == 1);
    let (num_low, num_high) = split(width, odd_x);
    for y in 0..height + T::STEPS {
        if y < height {
            let row = &mut out[y * width..][..width];
            let is_high = (y % 2 == 1) != odd_y;
            let (low, high) = if is_high { (bands.lh, bands.hh) } else { (bands.ll, bands.hl) };
            let half = y / 2;
            let (low, high) = (&low[half * num_low..][..num_low], &high[half * num_high..][..num_high]);
            if let [value] = row {
                *value = if odd_x { high[0].alone(true) } else { low[0].alone(false) };
            } else {
                halves.fill(low, high);
                halves.merge(odd_x, row);
            }
            for value in row {
                *value = if height == 1 { value.alone(is_high) } else { value.scale(is_high) };
            }
        }
        if height > 1 {
            lift_columns(out, width, y, odd_y);
        }
    }
}

/// Returns how many of `len` samples are of low and of high frequency.
pub(crate) fn split(len: usize, odd: bool) -> (usize, usize) {
    let low = if odd { len / 2 } else { len.div_ceil(2) };
    (low, len - low)
}

/// Carries out those steps along columns that are due once row `newest` is there.
#[inline(always)]
fn lift_columns<T: Lifting>(out: &mut [T], width: usize, newest: usize, odd: bool) {
    lift_row::<T, 0>(out, width, newest, odd);
    lift_row::<T, 1>(out, width, newest, odd);
    if T::STEPS == 4 {
        lift_row::<T, 2>(out, width, newest, odd);
        lift_row::<T, 3>(out, width, newest, odd);
    }
}

/// Carries out step `STEP`, which is one row further behind than the step before it.
#[inline(always)]
fn lift_row<T: Lifting, const STEP: usize>(out: &mut [T], width: usize, newest: usize, odd: bool) {
    let height = out.len() / width;
    let Some(y) = newest.checked_sub(STEP + 1).filter(|&y| y < height) else { return };
    if ((y % 2 == 1) != odd) != (STEP % 2 == 1) {
        return;
    }
    // At the edges the row on the other side counts twice.
    let above = if y > 0 { y - 1 } else { 1 };
    let below = if y + 1 < height { y + 1 } else { height - 2 };
    let (head, rest) = out.split_at_mut(y * width);
    let (row, tail) = rest.split_at_mut(width);
    let side = |at: usize| {
        if at < y { &head[at * width..][..width] } else { &tail[(at - y - 1) * width..][..width] }
    };
    lift_slice::<T, STEP>(row, side(above), side(below));
}

#[inline(always)]
fn lift_slice<T: Lifting, const STEP: usize>(row: &mut [T], left: &[T], right: &[T]) {
    for ((value, &left), &right) in row.iter_mut().zip(left).zip(right) {
        *value = value.lift::<STEP>(left, right);
    }
}

impl<T: Lifting> Halves<T> {
    /// Takes the low and the high half of a row, scaled.
    #[inline(always)]
    fn fill(&mut self, low: &[T], high: &[T]) {
        for (half, values, is_high) in [(&mut self.low, low, false), (&mut self.high, high, true)] {
            half.resize(values.len() + 2, T::default());
            for (scaled, value) in half[1..].iter_mut().zip(values) {
                *scaled = value.scale(is_high);
            }
        }
    }

    /// Lifts both halves and puts them together.
    #[inline(always)]
    fn merge(&mut self, odd: bool, out: &mut [T]) {
        self.lift::<0>(odd);
        self.lift::<1>(odd);
        if T::STEPS == 4 {
            self.lift::<2>(odd);
            self.lift::<3>(odd);
        }
        let (low, high) = (&self.low[1..self.low.len() - 1], &self.high[1..self.high.len() - 1]);
        let (first, second) = if odd { (high, low) } else { (low, high) };
        let (pairs, last) = out.as_chunks_mut::<2>();
        for ((pair, &first), &second) in pairs.iter_mut().zip(first).zip(second) {
            *pair = [first, second];
        }
        if let [last] = last {
            *last = first[first.len() - 1];
        }
    }

    /// Carries out a step on one half.
    #[inline(always)]
    fn lift<const STEP: usize>(&mut self, odd: bool) {
        let (half, sides, first) = if STEP.is_multiple_of(2) {
            (&mut self.low, &mut self.high, usize::from(odd))
        } else {
            (&mut self.high, &mut self.low, usize::from(!odd))
        };
        // At the edges the sample on the other side counts twice.
        let last = sides.len() - 1;
        (sides[0], sides[last]) = (sides[1], sides[last - 1]);
        let len = half.len() - 2;
        lift_slice::<T, STEP>(&mut half[1..=len], &sides[first..], &sides[first + 1..]);
    }
}
