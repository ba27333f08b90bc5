//! Types of samples, and how four of them become one of an overview.

use crate::vocabulary::geometry::Size;

/// How the pixels of an overview come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    /// The mean of what has data.
    Mean,
    /// The most frequent of what has data; of equals, the first in rows.
    Mode,
}

/// A type of sample.
pub trait Sample: Copy + PartialEq {
    /// Bytes of a sample.
    const BYTES: usize;
    /// TIFF's `SampleFormat`: 1 for unsigned whole numbers, 3 for floating point.
    const FORMAT: u16;

    /// Appends its little-endian bytes.
    fn append(self, bytes: &mut Vec<u8>);

    /// Returns it as GDAL writes it into its tag.
    fn text(self) -> String;

    /// Returns the mean of at least one sample.
    fn mean(samples: &[Self]) -> Self;

    /// Tells whether it is the same sample as another, of which both may be no number.
    fn is(self, other: Self) -> bool {
        self == other
    }
}

macro_rules! whole {
    ($($kind:ty),*) => {$(
        impl Sample for $kind {
            const BYTES: usize = size_of::<$kind>();
            const FORMAT: u16 = 1;

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn text(self) -> String {
                self.to_string()
            }

            fn mean(samples: &[Self]) -> Self {
                let (sum, count) = (samples.iter().map(|it| u64::from(*it)).sum::<u64>(), samples.len() as u64);
                Self::try_from((sum + count / 2) / count).expect("a mean is no larger than what it is of")
            }
        }
    )*};
}

whole!(u8, u16);

impl Sample for f32 {
    const BYTES: usize = 4;
    const FORMAT: u16 = 3;

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn text(self) -> String {
        if self.is_nan() { "nan".to_owned() } else { self.to_string() }
    }

    fn mean(samples: &[Self]) -> Self {
        (samples.iter().map(|it| f64::from(*it)).sum::<f64>() / samples.len() as f64) as Self
    }

    #[expect(clippy::float_cmp, reason = "the same sample is meant, not a near one")]
    fn is(self, other: Self) -> bool {
        self == other || self.is_nan() && other.is_nan()
    }
}

/// Returns an image of half the width and height, rounded up.
///
/// - `samples`: `[height, width, bands]`
pub(super) fn halve<T: Sample>(
    samples: &[T],
    size: Size,
    bands: usize,
    reduce: Reduce,
    nodata: Option<T>,
) -> Vec<T> {
    let (width, height) = (size.width as usize, size.height as usize);
    let mut halved = Vec::with_capacity(width.div_ceil(2) * height.div_ceil(2) * bands);
    for row in (0..height).step_by(2) {
        for column in (0..width).step_by(2) {
            for band in 0..bands {
                let rows = row..height.min(row + 2);
                let at = |row: usize, column: usize| samples[(row * width + column) * bands + band];
                let four: Vec<T> = rows
                    .flat_map(|row| (column..width.min(column + 2)).map(move |column| at(row, column)))
                    .collect();
                halved.push(one_of(&four, reduce, nodata));
            }
        }
    }
    halved
}

fn one_of<T: Sample>(four: &[T], reduce: Reduce, nodata: Option<T>) -> T {
    let has_data = |sample: &T| !nodata.is_some_and(|nodata| sample.is(nodata));
    let valid: Vec<T> = four.iter().copied().filter(has_data).collect();
    if valid.is_empty() {
        return four[0];
    }
    match reduce {
        Reduce::Mean => T::mean(&valid),
        Reduce::Mode => {
            let count = |sample: T| valid.iter().filter(|other| other.is(sample)).count();
            // `max_by_key` takes the last of equals.
            valid.iter().copied().rev().max_by_key(|sample| count(*sample)).expect("one is valid")
        }
    }
}
