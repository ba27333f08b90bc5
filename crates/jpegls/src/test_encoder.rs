//! An encoder of JPEG-LS for tests, after the text of ITU-T T.87 and with its letters: all that the decoder reads.

use tilefleet_testing::Random;

use super::preset::{Given, Preset};

const J: [u32; 32] =
    [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// A picture and how it is coded.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) num_components: usize,
    pub(crate) precision: u8,
    pub(crate) near: u8,
    /// ILV: 0 for scans of their own, 1 line by line, 2 sample by sample.
    pub(crate) interleave: u8,
    pub(crate) given: Given,
    /// Lines between restart markers; 0: none.
    pub(crate) restart_rows: usize,
    /// `[height, width, num_components]`.
    pub(crate) samples: Vec<u16>,
}

impl Picture {
    /// Draws noise over a slope, with flat parts, in which runs begin and end.
    pub(crate) fn random(random: &mut Random, precision: u8) -> Self {
        let (width, height, num_components) =
            (1 + random.below(40), 1 + random.below(20), 1 + random.below(4));
        let largest = (1u32 << precision) - 1;
        let max_value =
            if random.below(4) == 0 { 1 + random.below(largest as usize) as u32 } else { largest };
        let near =
            if random.below(2) == 0 { 0 } else { random.below(256.min(max_value as usize / 2 + 1)) as u8 };
        let given = given(random, max_value, largest, near);
        let (noise, flat) = (1 + random.below(max_value as usize), random.below(20));
        let mut samples: Vec<u16> = Vec::new();
        let mut pixel = vec![0; num_components];
        for at in 0..width * height {
            if random.below(20) >= flat {
                let value = |band: usize, random: &mut Random| {
                    (at * (3 + band) + random.below(noise)) % (max_value as usize + 1)
                };
                pixel = (0..num_components).map(|band| value(band, random) as u16).collect();
            }
            samples.extend(&pixel);
        }
        let interleave = if num_components == 1 { 0 } else { random.below(3) as u8 };
        Self {
            width,
            height,
            num_components,
            precision,
            near,
            interleave,
            given,
            restart_rows: random.below(4),
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
        file.extend(segment(0xF7, &frame));
        if self.given != Given::default() {
            // pylibjpeg does not know that zeros stand for the standard's own.
            let Preset { max_value, thresholds: [first, second, third], reset, .. } = self.preset();
            let values = [max_value, first, second, third, reset as i32].map(|value| value as u16);
            file.extend(segment(0xF8, &[&[1], &values.map(u16::to_be_bytes).concat()[..]].concat()));
        }
        file.extend(segment(0xDD, &(self.restart_rows as u16).to_be_bytes()));
        let all: Vec<usize> = (0..self.num_components).collect();
        let scans: Vec<&[usize]> = if self.interleave == 0 { all.chunks(1).collect() } else { vec![&all] };
        for components in scans {
            let mut header = vec![components.len() as u8];
            header.extend(components.iter().flat_map(|&index| [index as u8 + 1, 0]));
            header.extend([self.near, self.interleave, 0]);
            file.extend(segment(0xDA, &header));
            file.extend(self.scan(components));
        }
        file.extend([0xFF, 0xD9]);
        file
    }

    fn preset(&self) -> Preset {
        Preset::new(&self.given, self.precision, self.near).unwrap()
    }

    fn scan(&self, components: &[usize]) -> Vec<u8> {
        let preset = self.preset();
        let rows_per_segment = if self.restart_rows == 0 { self.height } else { self.restart_rows };
        let mut data = Vec::new();
        for (index, first) in (0..self.height).step_by(rows_per_segment).enumerate() {
            if index > 0 {
                data.extend([0xFF, 0xD0 + ((index - 1) % 8) as u8]);
            }
            let mut coder = Coder::new(preset, self.width, components.len());
            for y in first..self.height.min(first + rows_per_segment) {
                let line = |&component: &usize| -> Vec<i32> {
                    let at = |x: usize| (y * self.width + x) * self.num_components + component;
                    (0..self.width).map(|x| self.samples[at(x)].into()).collect()
                };
                coder.rows(&components.iter().map(line).collect::<Vec<_>>(), self.interleave == 2);
            }
            data.extend(packed(&coder.bits));
        }
        data
    }
}

/// Draws parameters; all zero where the standard's hold, which CharLS then does not have to be told.
fn given(random: &mut Random, max_value: u32, largest: u32, near: u8) -> Given {
    let mut given = Given::default();
    if max_value != largest {
        given.max_value = max_value as u16;
    }
    if random.below(3) == 0 {
        let mut least = u32::from(near) + 1;
        given.thresholds = [(); 3].map(|()| {
            least += random.below(((max_value - least) / 2 + 1) as usize) as u32;
            least as u16
        });
        given.reset = 3 + random.below(250) as u16;
    }
    // So that the defaults, too, are within the range.
    if given.max_value != 0 && near as u32 + 1 > max_value { Given::default() } else { given }
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    [&[0xFF, marker], &(body.len() as u16 + 2).to_be_bytes()[..], body].concat()
}

/// Behind a byte of ones, the next begins with a zero; the last is filled up with zeros.
fn packed(bits: &[bool]) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), 0);
    while at < bits.len() || bytes.last() == Some(&0xFF) {
        let room = if bytes.last() == Some(&0xFF) { 7 } else { 8 };
        let bit = |at: usize| u8::from(bits.get(at).is_some_and(|&bit| bit));
        bytes.push((at..at + room).fold(0, |byte, at| byte << 1 | bit(at)));
        at += room;
    }
    bytes
}

/// The state of a scan, with the letters of the standard.
#[expect(non_snake_case, reason = "they are the standard's")]
struct Coder {
    preset: Preset,
    A: [i64; 367],
    B: [i64; 365],
    C: [i64; 365],
    N: [i64; 367],
    Nn: [i64; 2],
    /// `RUNindex` of each component.
    run_index: Vec<usize>,
    /// Reconstructed lines of each component: the one above, and the sample before its first.
    above: Vec<(Vec<i32>, i32)>,
    bits: Vec<bool>,
}

#[expect(clippy::many_single_char_names, reason = "they are the standard's")]
impl Coder {
    fn new(preset: Preset, width: usize, num_components: usize) -> Self {
        let first = 2.max((i64::from(preset.range) + 32) / 64);
        Self {
            preset,
            A: [first; 367],
            B: [0; 365],
            C: [0; 365],
            N: [1; 367],
            Nn: [0; 2],
            run_index: vec![0; num_components],
            above: vec![(vec![0; width], 0); num_components],
            bits: Vec::new(),
        }
    }

    /// Encodes a row of every component.
    fn rows(&mut self, rows: &[Vec<i32>], by_sample: bool) {
        if by_sample {
            self.group(&(0..rows.len()).collect::<Vec<_>>(), rows);
        } else {
            (0..rows.len()).for_each(|component| self.group(&[component], rows));
        }
    }

    /// Encodes a row of components that take turns.
    fn group(&mut self, components: &[usize], rows: &[Vec<i32>]) {
        let width = rows[0].len();
        let mut own: Vec<Vec<i32>> = rows.iter().map(|_| Vec::new()).collect();
        while own[components[0]].len() < width {
            let x = own[components[0]].len();
            let contexts: Vec<i64> = components.iter().map(|&c| self.context(c, &own[c])).collect();
            if contexts.iter().any(|&context| context != 0) {
                for (&component, context) in components.iter().zip(contexts) {
                    let sample = self.regular(component, &own[component], rows[component][x], context);
                    own[component].push(sample);
                }
            } else {
                self.run(components, rows, &mut own);
            }
        }
        for &component in components {
            let first_above = self.above[component].0[0];
            self.above[component] = (std::mem::take(&mut own[component]), first_above);
        }
    }

    /// Returns Ra, Rb, Rc and Rd (T.87, A.2.1).
    fn neighbours(&self, component: usize, own: &[i32]) -> [i32; 4] {
        let (above, before_above) = &self.above[component];
        let x = own.len();
        let before = own.last().copied().unwrap_or(above[0]);
        let diagonal = if x == 0 { *before_above } else { above[x - 1] };
        [before, above[x], diagonal, above.get(x + 1).copied().unwrap_or(above[x])]
    }

    /// Quantises the gradients (T.87, A.3.3) to one number with the sign of the first that is not zero.
    fn context(&self, component: usize, own: &[i32]) -> i64 {
        let [a, b, c, d] = self.neighbours(component, own);
        let [first, second, third] = self.preset.thresholds;
        let quantised = |gradient: i32| match gradient {
            gradient if gradient <= -third => -4,
            gradient if gradient <= -second => -3,
            gradient if gradient <= -first => -2,
            gradient if gradient < -self.preset.near => -1,
            gradient if gradient <= self.preset.near => 0,
            gradient if gradient < first => 1,
            gradient if gradient < second => 2,
            gradient if gradient < third => 3,
            _ => 4,
        };
        quantised(d - b) * 81 + quantised(b - c) * 9 + quantised(c - a)
    }

    /// Encodes a sample in the regular mode; returns what the decoder will have.
    fn regular(&mut self, component: usize, own: &[i32], sample: i32, context: i64) -> i32 {
        let [a, b, c, _] = self.neighbours(component, own);
        let edge = if c >= a.max(b) {
            a.min(b)
        } else if c <= a.min(b) {
            a.max(b)
        } else {
            a + b - c
        };
        let (q, sign) = (context.unsigned_abs() as usize, if context < 0 { -1 } else { 1 });
        let prediction = (edge + sign * self.C[q] as i32).clamp(0, self.preset.max_value);
        let error = self.error(sign * (sample - prediction));
        let k = (0..33).find(|&k| self.N[q] << k >= self.A[q]).unwrap();
        let turned = self.preset.near == 0 && k == 0 && 2 * self.B[q] <= -self.N[q];
        let mapped = match (turned, error >= 0) {
            (true, true) => 2 * error + 1,
            (true, false) => -2 * (error + 1),
            (false, true) => 2 * error,
            (false, false) => -2 * error - 1,
        };
        self.golomb(mapped, k, self.preset.limit);
        self.update(q, i64::from(error));
        self.reconstructed(prediction, sign * error)
    }

    /// Divides by the step and brings into the range (T.87, A.4.4 and A.4.5).
    fn error(&self, difference: i32) -> i32 {
        let Preset { near, range, .. } = self.preset;
        let quotient = if difference > 0 {
            (difference + near) / (2 * near + 1)
        } else {
            -((near - difference) / (2 * near + 1))
        };
        let wrapped = if quotient < 0 { quotient + range } else { quotient };
        if wrapped >= (range + 1) / 2 { wrapped - range } else { wrapped }
    }

    fn reconstructed(&self, prediction: i32, error: i32) -> i32 {
        let Preset { near, range, max_value, .. } = self.preset;
        let span = range * (2 * near + 1);
        let sample = prediction + error * (2 * near + 1);
        let wrapped = match sample {
            sample if sample < -near => sample + span,
            sample if sample > max_value + near => sample - span,
            sample => sample,
        };
        wrapped.clamp(0, max_value)
    }

    fn update(&mut self, q: usize, error: i64) {
        self.B[q] += error * (2 * i64::from(self.preset.near) + 1);
        self.A[q] += error.abs();
        if self.N[q] == i64::from(self.preset.reset) {
            self.A[q] /= 2;
            self.B[q] = self.B[q].div_euclid(2);
            self.N[q] /= 2;
        }
        self.N[q] += 1;
        if self.B[q] <= -self.N[q] {
            self.B[q] += self.N[q];
            self.C[q] -= i64::from(self.C[q] > -128);
            self.B[q] = self.B[q].max(1 - self.N[q]);
        } else if self.B[q] > 0 {
            self.B[q] -= self.N[q];
            self.C[q] += i64::from(self.C[q] < 127);
            self.B[q] = self.B[q].min(0);
        }
    }

    /// Encodes a run and the samples that end it (T.87, A.7).
    fn run(&mut self, components: &[usize], rows: &[Vec<i32>], own: &mut [Vec<i32>]) {
        let width = rows[0].len();
        let first = components[0];
        let x = own[first].len();
        let before: Vec<i32> = components.iter().map(|&c| self.neighbours(c, &own[c])[0]).collect();
        let near = self.preset.near;
        let alike =
            |x: usize| components.iter().zip(&before).all(|(&c, before)| (rows[c][x] - before).abs() <= near);
        let mut left = (x..width).take_while(|&x| alike(x)).count();
        for (&component, &before) in components.iter().zip(&before) {
            own[component].extend(std::iter::repeat_n(before, left));
        }
        let ends = own[first].len() == width;
        while left >= 1 << J[self.run_index[first]] {
            self.bits.push(true);
            left -= 1 << J[self.run_index[first]];
            self.run_index[first] = (self.run_index[first] + 1).min(31);
        }
        if ends {
            self.bits.extend((left > 0).then_some(true));
            return;
        }
        self.bits.push(false);
        let length_bits = J[self.run_index[first]];
        self.bits.extend((0..length_bits).rev().map(|bit| left >> bit & 1 == 1));
        for &component in components {
            let sample = rows[component][own[component].len()];
            let kind = components.len() == 1;
            let sample = self.end_of_run(component, &own[component], sample, length_bits, kind);
            own[component].push(sample);
        }
        self.run_index[first] = self.run_index[first].saturating_sub(1);
    }

    /// - `has_kinds`: samples that end a run between equal neighbours are counted apart; not where components take turns
    fn end_of_run(
        &mut self,
        component: usize,
        own: &[i32],
        sample: i32,
        length_bits: u32,
        has_kinds: bool,
    ) -> i32 {
        let [a, b, ..] = self.neighbours(component, own);
        let kind = usize::from(has_kinds && (a - b).abs() <= self.preset.near);
        let prediction = if kind == 1 { a } else { b };
        let sign = if kind == 0 && a > b { -1 } else { 1 };
        let error = self.error(sign * (sample - prediction));
        let q = 365 + kind;
        let magnitude = self.A[q] + if kind == 1 { self.N[q] / 2 } else { 0 };
        let k = (0..33).find(|&k| self.N[q] << k >= magnitude).unwrap();
        let mostly_negative = 2 * self.Nn[kind] >= self.N[q];
        let map = (k == 0 && error > 0 && !mostly_negative) || (error < 0 && (mostly_negative || k != 0));
        let mapped = 2 * error.abs() - kind as i32 - i32::from(map);
        self.golomb(mapped, k, self.preset.limit - length_bits - 1);
        self.Nn[kind] += i64::from(error < 0);
        self.A[q] += (i64::from(mapped) + 1 - kind as i64) / 2;
        if self.N[q] == i64::from(self.preset.reset) {
            self.A[q] /= 2;
            self.N[q] /= 2;
            self.Nn[kind] /= 2;
        }
        self.N[q] += 1;
        self.reconstructed(prediction, sign * error)
    }

    /// Writes a code of limited length (T.87, A.5.3).
    fn golomb(&mut self, value: i32, k: u32, limit: u32) {
        let longest = limit - self.preset.error_bits - 1;
        let unary = (value >> k) as u32;
        let (zeros, value, num_bits) =
            if unary < longest { (unary, value, k) } else { (longest, value - 1, self.preset.error_bits) };
        self.bits.extend(std::iter::repeat_n(false, zeros as usize));
        self.bits.push(true);
        self.bits.extend((0..num_bits).rev().map(|bit| value >> bit & 1 == 1));
    }
}
