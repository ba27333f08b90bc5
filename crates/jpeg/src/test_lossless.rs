//! An encoder of lossless JPEG for tests, after the text of ITU-T T.81, annex H: all that the decoder reads.

use tilefleet_testing::Random;

/// Sixteen lengths: three codes of two bits, then one of each length, so that most are longer than any lookup.
const COUNTS: [u8; 16] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];

/// A picture and how it is coded.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) num_components: usize,
    pub(crate) precision: u8,
    pub(crate) predictor: u8,
    pub(crate) point_transform: u8,
    /// Rows between restart markers; 0: none.
    pub(crate) restart_rows: usize,
    /// All components in one scan.
    pub(crate) interleaved: bool,
    /// `[height, width, num_components]`; the bits that the point transform divides away are zero.
    pub(crate) samples: Vec<u16>,
}

impl Picture {
    /// Draws noise of some strength over a slope, so that differences of every length come; extremes too.
    pub(crate) fn random(random: &mut Random, precision: u8) -> Self {
        let (width, height) = (1 + random.below(23), 1 + random.below(14));
        let num_components = 1 + random.below(4);
        let point_transform = if random.below(3) == 0 { random.below(precision.into()) as u8 } else { 0 };
        let limit = 1usize << precision;
        let noise = 1 + random.below(limit);
        let sample = |at: usize, random: &mut Random| match random.below(12) {
            0 => 0,
            1 => limit - 1,
            _ => (at * 7 + random.below(noise)) % limit,
        };
        let len = width * height * num_components;
        let samples =
            (0..len).map(|at| (sample(at, random) >> point_transform << point_transform) as u16).collect();
        Self {
            width,
            height,
            num_components,
            precision,
            predictor: 1 + random.below(7) as u8,
            point_transform,
            restart_rows: random.below(5),
            interleaved: random.below(2) == 0,
            samples,
        }
    }

    /// Encodes the picture as a whole file.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        let mut frame = vec![self.precision];
        frame.extend([self.height, self.width].into_iter().flat_map(|side| (side as u16).to_be_bytes()));
        frame.push(self.num_components as u8);
        frame.extend((0..self.num_components as u8).flat_map(|index| [index + 1, 0x11, 0]));
        file.extend(segment(0xC3, &frame));
        file.extend(segment(0xC4, &[&[0][..], &COUNTS, &symbols()].concat()));
        let interval = (self.restart_rows * self.width) as u16;
        file.extend(segment(0xDD, &interval.to_be_bytes()));
        let all: Vec<usize> = (0..self.num_components).collect();
        let scans: Vec<&[usize]> = if self.interleaved { vec![&all] } else { all.chunks(1).collect() };
        for components in scans {
            let mut header = vec![components.len() as u8];
            header.extend(components.iter().flat_map(|&index| [index as u8 + 1, 0]));
            header.extend([self.predictor, 0, self.point_transform]);
            file.extend(segment(0xDA, &header));
            file.extend(self.scan(components));
        }
        file.extend([0xFF, 0xD9]);
        file
    }

    fn scan(&self, components: &[usize]) -> Vec<u8> {
        let mut data = Vec::new();
        let rows_per_segment = if self.restart_rows == 0 { self.height } else { self.restart_rows };
        for (index, first) in (0..self.height).step_by(rows_per_segment).enumerate() {
            if index > 0 {
                data.extend([0xFF, 0xD0 + ((index - 1) % 8) as u8]);
            }
            let mut bits = Vec::new();
            for y in first..self.height.min(first + rows_per_segment) {
                for x in 0..self.width {
                    for &component in components {
                        let sample = self.divided(component, x, y);
                        let difference = sample - self.prediction(component, x, y, first);
                        write_difference(difference, &mut bits);
                    }
                }
            }
            data.extend(packed(&bits));
        }
        data
    }

    fn divided(&self, component: usize, x: usize, y: usize) -> i32 {
        i32::from(self.samples[(y * self.width + x) * self.num_components + component])
            >> self.point_transform
    }

    /// Predicts as H.1.2.1 says, in the order of its text.
    fn prediction(&self, component: usize, x: usize, y: usize, first_row: usize) -> i32 {
        let at = |left: usize, up: usize| self.divided(component, x - left, y - up);
        if y == first_row && x == 0 {
            return 1 << (self.precision - self.point_transform - 1);
        }
        if y == first_row {
            return at(1, 0);
        }
        if x == 0 {
            return at(0, 1);
        }
        let (before, above, diagonal) = (at(1, 0), at(0, 1), at(1, 1));
        match self.predictor {
            1 => before,
            2 => above,
            3 => diagonal,
            4 => before + above - diagonal,
            5 => before + ((above - diagonal) >> 1),
            6 => above + ((before - diagonal) >> 1),
            _ => (before + above) >> 1,
        }
    }
}

/// Categories by the length of their codes: 16 and 0 among the longest, so that rare paths are taken often.
fn symbols() -> Vec<u8> {
    vec![5, 3, 9, 7, 1, 11, 13, 15, 2, 4, 6, 8, 10, 12, 14, 0, 16]
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    [&[0xFF, marker], &(body.len() as u16 + 2).to_be_bytes()[..], body].concat()
}

/// Writes a difference modulo 2¹⁶ (T.81, H.1.2.2): a code for its category, then its bits.
fn write_difference(difference: i32, bits: &mut Vec<bool>) {
    // 32768 is the one without a negative.
    let difference = match difference.rem_euclid(1 << 16) {
        wrapped @ 0..=0x8000 => wrapped,
        wrapped => wrapped - (1 << 16),
    };
    let category = (32 - difference.unsigned_abs().leading_zeros()) as u8;
    let index = symbols().iter().position(|&symbol| symbol == category).expect("all categories have a code");
    // The first three codes are 00, 01 and 10; each other one is a longer row of ones with a zero.
    match index {
        0..3 => bits.extend([index == 2, index == 1]),
        _ => bits.extend((0..index).map(|at| at + 1 < index)),
    }
    if category < 16 {
        let value = if difference < 0 { difference - 1 } else { difference };
        bits.extend((0..category).rev().map(|bit| value >> bit & 1 == 1));
    }
}

/// Fills the last byte up with ones, and puts a zero behind each 0xFF.
fn packed(bits: &[bool]) -> Vec<u8> {
    let byte =
        |bits: &[bool]| (0..8).fold(0, |byte, at| byte << 1 | u8::from(*bits.get(at).unwrap_or(&true)));
    let stuffed = |byte: u8| if byte == 0xFF { vec![0xFF, 0] } else { vec![byte] };
    bits.chunks(8).map(byte).flat_map(stuffed).collect()
}
