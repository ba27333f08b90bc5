//! The parameters of the coding process, as a file gives them or as the standard has them (ITU-T T.87, C.2.4.1.1).

use tilefleet_codec::{Error, corrupt};

/// What an LSE segment gives; 0: the standard's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) max_value: u16,
    pub(crate) thresholds: [u16; 3],
    pub(crate) reset: u16,
}

/// The parameters of one scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preset {
    /// MAXVAL: the largest sample.
    pub(crate) max_value: i32,
    /// NEAR: by how much a sample may differ.
    pub(crate) near: i32,
    /// T1 to T3: what gradients are compared with.
    pub(crate) thresholds: [i32; 3],
    /// RESET: samples after which statistics are halved.
    pub(crate) reset: u32,
    /// RANGE: number of errors that are told apart.
    pub(crate) range: i32,
    /// qbpp: bits of an error.
    pub(crate) error_bits: u32,
    /// LIMIT: the most bits that an error takes.
    pub(crate) limit: u32,
}

impl Preset {
    /// Puts together the parameters of a scan.
    ///
    /// - `precision`: bits of a sample, 2 to 16
    pub(crate) fn new(given: &Given, precision: u8, near: u8) -> Result<Self, Error> {
        let largest = (1i32 << precision) - 1;
        let max_value = if given.max_value == 0 { largest } else { given.max_value.into() };
        let near = i32::from(near);
        if max_value > largest || near > max_value / 2 {
            return Err(corrupt(format!("samples up to {max_value} of {precision} bits, {near} away")));
        }
        let reset = if given.reset == 0 { 64 } else { given.reset.into() };
        if !(3..=max_value.max(255)).contains(&reset) {
            return Err(corrupt(format!("statistics are halved after {reset} samples")));
        }
        let range = (max_value + 2 * near) / (2 * near + 1) + 1;
        // Bits that tell 0 to the value apart.
        let bits = |value: i32| 32 - value.leading_zeros();
        let sample_bits = bits(max_value).max(2);
        Ok(Self {
            max_value,
            near,
            thresholds: thresholds(given.thresholds, max_value, near)?,
            reset: reset as u32,
            range,
            error_bits: bits(range - 1),
            limit: 2 * (sample_bits + sample_bits.max(8)),
        })
    }
}

/// Returns the thresholds: those that are given, in place of others the standard's.
fn thresholds(given: [u16; 3], max_value: i32, near: i32) -> Result<[i32; 3], Error> {
    let mut thresholds = [0; 3];
    let mut least = near + 1;
    for ((threshold, own), default) in thresholds.iter_mut().zip(given).zip(defaults(max_value, near)) {
        *threshold = if own == 0 { default } else { own.into() };
        if *threshold < least || *threshold > max_value {
            return Err(corrupt(format!("thresholds {given:?} of samples up to {max_value}")));
        }
        least = *threshold;
    }
    Ok(thresholds)
}

/// Returns the thresholds of the standard (T.87, C.2.4.1.1.1).
fn defaults(max_value: i32, near: i32) -> [i32; 3] {
    let scaled: [i32; 3] = if max_value >= 128 {
        let factor = (max_value.min(4095) + 128) / 256;
        [factor + 2 + 3 * near, 4 * factor + 3 + 5 * near, 17 * factor + 4 + 7 * near]
    } else {
        let factor = 256 / (max_value + 1);
        [2.max(3 / factor + 3 * near), 3.max(7 / factor + 5 * near), 4.max(21 / factor + 7 * near)]
    };
    let mut least = near + 1;
    scaled.map(|threshold| {
        least = if (least..=max_value).contains(&threshold) { threshold } else { least };
        least
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(precision: u8, near: u8) -> Preset {
        Preset::new(&Given::default(), precision, near).unwrap()
    }

    /// Table C.3 of the standard, and C.2.4.1.1.1.
    #[test]
    fn parameters_are_those_of_the_standard() {
        assert_eq!(preset(8, 0).thresholds, [3, 7, 21]);
        assert_eq!(preset(10, 0).thresholds, [6, 19, 72]);
        assert_eq!(preset(12, 0).thresholds, [18, 67, 276]);
        assert_eq!(preset(16, 0).thresholds, [18, 67, 276]);
        assert_eq!(preset(8, 3).thresholds, [12, 22, 42]);
        let eight = preset(8, 0);
        assert_eq!((eight.range, eight.error_bits, eight.limit, eight.reset), (256, 8, 32, 64));
        let sixteen = preset(16, 0);
        assert_eq!((sixteen.range, sixteen.error_bits, sixteen.limit), (65_536, 16, 64));
        let near = preset(8, 3);
        assert_eq!((near.range, near.error_bits), (38, 6));
    }

    #[test]
    fn absurd_parameters_are_corrupt() {
        let given = |max_value, thresholds, reset| Given { max_value, thresholds, reset };
        let refused = |given: Given, near| Preset::new(&given, 8, near).is_err();
        assert!(refused(given(256, [0; 3], 0), 0));
        assert!(refused(given(0, [9, 8, 30], 0), 0));
        assert!(refused(given(0, [3, 7, 256], 0), 0));
        assert!(refused(given(0, [2, 7, 21], 0), 2));
        assert!(refused(given(0, [0; 3], 2), 0));
        assert!(refused(given(0, [0; 3], 256), 0));
        assert!(refused(given(0, [0; 3], 0), 128));
        assert!(!refused(given(255, [1, 1, 255], 255), 0));
    }
}
