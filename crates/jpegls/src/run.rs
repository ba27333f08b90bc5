//! The run mode: equal samples up to the end of a line, or to one that differs (ITU-T T.87, A.7).

use super::bits::BitReader;
use super::context::{first_magnitude, parameter, take_code};
use super::preset::Preset;

/// J: bits of the length of a run, by how well runs have done (T.87, A.2.1).
const LENGTH_BITS: [u8; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Statistics of the samples that end runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunContext {
    /// A, N and Nn: sum of the absolute errors, number of errors, number of negative ones.
    magnitude: u32,
    count: u32,
    num_negative: u32,
}

/// How long runs were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunLength {
    /// `RUNindex`.
    index: u8,
}

impl RunLength {
    fn bits(self) -> u32 {
        LENGTH_BITS[usize::from(self.index)].into()
    }

    /// Takes the length of a run (T.87, A.7.1); one of `left` samples reaches the end of the line. `None` if it reaches beyond.
    pub(crate) fn take(&mut self, reader: &mut BitReader<'_>, left: usize) -> Option<usize> {
        let mut run = 0;
        while reader.take(1) == 1 {
            let step = 1 << self.bits();
            if step > left - run {
                return Some(left);
            }
            run += step;
            self.index = (self.index + 1).min(31);
            if run == left {
                return Some(left);
            }
        }
        run += reader.take(self.bits()) as usize;
        // A sample has to follow.
        (run < left).then_some(run)
    }

    /// Takes the error of the sample that ends a run (T.87, A.7.2); `None` if it is no code.
    pub(crate) fn take_end(
        &mut self,
        reader: &mut BitReader<'_>,
        preset: &Preset,
        context: &mut RunContext,
        alike: bool,
    ) -> Option<i32> {
        let limit = preset.limit - self.bits() - 1;
        let error = context.take(reader, preset, limit, alike)?;
        self.index = self.index.saturating_sub(1);
        Some(error)
    }
}

impl RunContext {
    pub(crate) fn new(preset: &Preset) -> Self {
        Self { magnitude: first_magnitude(preset), count: 1, num_negative: 0 }
    }

    /// - `alike`: `RItype`, whether the samples before and above are (nearly) equal, so that the error is not zero
    fn take(&mut self, reader: &mut BitReader<'_>, preset: &Preset, limit: u32, alike: bool) -> Option<i32> {
        let alike = u32::from(alike);
        let k = parameter(self.count, self.magnitude + alike * (self.count >> 1));
        let code = take_code(reader, k, limit, preset.error_bits)?;
        // Whether the code is the odd one of a pair, and so which sign it has.
        let odd = (code + alike) & 1;
        let magnitude = (code + alike + odd) >> 1;
        if magnitude > preset.range as u32 {
            return None;
        }
        let odd_is_negative = k != 0 || 2 * self.num_negative >= self.count;
        let negative = odd_is_negative == (odd == 1);
        self.update(code + 1 - alike, negative && magnitude > 0, preset.reset);
        Some(if negative { -(magnitude as i32) } else { magnitude as i32 })
    }

    fn update(&mut self, doubled_magnitude: u32, negative: bool, reset: u32) {
        self.num_negative += u32::from(negative);
        self.magnitude += doubled_magnitude >> 1;
        if self.count == reset {
            self.magnitude >>= 1;
            self.count >>= 1;
            self.num_negative >>= 1;
        }
        self.count += 1;
    }
}
