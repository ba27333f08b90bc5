//! From transformed components to samples: component transforms and level shift (T.800 Annex G).

/// The transforms of the first three components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// RCT (G.2).
    Reversible,
    /// ICT (G.3): samples are bits of `f32`.
    Irreversible,
}

/// Undoes a transform of three components, in place.
#[inline(always)]
pub(crate) fn undo(transform: Transform, [first, second, third]: [&mut [i32]; 3]) {
    let samples = first.iter_mut().zip(second).zip(third);
    match transform {
        Transform::Reversible => {
            for ((y, u), v) in samples {
                let green = y.wrapping_sub(u.wrapping_add(*v) >> 2);
                (*y, *u, *v) = (v.wrapping_add(green), green, u.wrapping_add(green));
            }
        }
        Transform::Irreversible => {
            for ((y, cb), cr) in samples {
                let [luma, blue, red] = [*y, *cb, *cr].map(|bits| f32::from_bits(bits as u32));
                let colour =
                    [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue];
                [*y, *cb, *cr] = colour.map(|value| value.to_bits() as i32);
            }
        }
    }
}

/// The range of samples of a component.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// What is added (G.1).
    shift: i32,
    least: i32,
    greatest: i32,
}

impl Range {
    /// Returns that of `bits`, at most 31.
    pub(crate) fn new(bits: u8, signed: bool) -> Self {
        let half = 1i32 << (bits - 1);
        if signed {
            Self { shift: 0, least: -half, greatest: half - 1 }
        } else {
            Self { shift: half, least: 0, greatest: half - 1 + half }
        }
    }

    #[inline(always)]
    fn clamp(&self, value: i32) -> i32 {
        value.saturating_add(self.shift).clamp(self.least, self.greatest)
    }
}

/// Shifts and clamps samples in place, and rounds them if they are bits of `f32`.
#[inline(always)]
pub(crate) fn finish(samples: &mut [i32], range: Range, reversible: bool) {
    if reversible {
        for sample in samples {
            *sample = range.clamp(*sample);
        }
    } else {
        for sample in samples {
            *sample = range.clamp(f32::from_bits(*sample as u32).round_ties_even() as i32);
        }
    }
}

/// Makes coefficients of magnitudes with their sign in bit 31 and half a unit in bit 0.
///
/// - `roi_shift`: larger magnitudes belong to the region of interest, and are shifted by it (H.1)
/// - `step`: the quantisation step; none means that coefficients are integers. Otherwise they are bits of `f32`.
#[inline(always)]
pub(crate) fn coefficients(magnitudes: &[u32], roi_shift: u8, step: Option<f32>, out: &mut [i32]) {
    let pairs = magnitudes.iter().zip(out);
    let unshifted = |magnitude: u32| unshift(magnitude & !crate::block::NEGATIVE, roi_shift);
    match (step, roi_shift) {
        (None, 0) => {
            for (&magnitude, out) in pairs {
                let (sign, value) = ((magnitude as i32) >> 31, (magnitude << 1 >> 2) as i32);
                *out = (value ^ sign) - sign;
            }
        }
        (None, _) => {
            for (&magnitude, out) in pairs {
                let (sign, value) = ((magnitude as i32) >> 31, (unshifted(magnitude) >> 1) as i32);
                *out = (value ^ sign) - sign;
            }
        }
        (Some(step), _) => {
            for (&magnitude, out) in pairs {
                let value = unshifted(magnitude) as i32 as f32 * (0.5 * step);
                *out = (value.to_bits() | magnitude & crate::block::NEGATIVE) as i32;
            }
        }
    }
}

#[inline(always)]
fn unshift(magnitude: u32, roi_shift: u8) -> u32 {
    let shift = u32::from(roi_shift);
    // Half a unit is the lowest bit.
    if shift > 0 && u64::from(magnitude >> 1) >> shift != 0 { magnitude >> shift } else { magnitude }
}
