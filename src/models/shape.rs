//! What shape a tensor of rows has: one row for each chip of a batch.

/// Returns whether the axes behind the batch may be those of a row: one is as long as the row, all others are 1, as
/// in `[N, 2048]` and `[N, 2048, 1, 1]`.
///
/// - `axes`: their lengths; `None` where one is not known
pub fn may_be_row(axes: impl IntoIterator<Item = Option<u64>>, length: usize) -> bool {
    let mut is_long_enough = length == 1;
    let mut has_it = false;
    for axis in axes {
        match axis {
            None => is_long_enough = true,
            Some(1) => {}
            Some(axis) if axis == length as u64 && !has_it => has_it = true,
            Some(_) => return false,
        }
    }
    has_it || is_long_enough
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_axis_is_as_long_as_the_row_and_all_others_are_1() {
        let fixed = |axes: &[u64], length| may_be_row(axes.iter().copied().map(Some), length);
        for axes in [&[8][..], &[8, 1, 1], &[1, 1, 8]] {
            assert!(fixed(axes, 8), "{axes:?}");
        }
        for axes in [&[][..], &[1], &[7], &[2, 4], &[8, 8], &[8, 1, 2], &[0]] {
            assert!(!fixed(axes, 8), "{axes:?}");
        }
        assert!(fixed(&[], 1) && fixed(&[1, 1], 1) && !fixed(&[2], 1));
        assert!(may_be_row([None], 8) && may_be_row([None, Some(1)], 8) && may_be_row([Some(8), None], 8));
        assert!(!may_be_row([None, Some(7)], 8));
    }
}
