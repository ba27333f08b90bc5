//! Streams with the samples that another decoder makes of them, as `scripts/golden/jpeg2000_golden.py` writes them.

use tilefleet_jpeg2000::{Image, Limits, Options, decode};

/// A stream and its samples.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    /// How far samples may be off.
    pub(crate) tolerance: i32,
    pub(crate) stream: &'a [u8],
    planes: Vec<ExpectedPlane>,
}

struct ExpectedPlane {
    size: (u32, u32),
    samples: Vec<i32>,
    /// Samples were written modulo 2^16.
    narrow: bool,
}

/// What tests allow.
pub(crate) const OPTIONS: Options = Options {
    limits: Limits { max_pixels: 1 << 26, max_decoded_bytes: 1 << 30 },
    skipped_levels: 0,
    strict: true,
};

/// Reads all cases of a file.
pub(crate) fn read(mut bytes: &[u8]) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    while !bytes.is_empty() {
        cases.push(case(&mut bytes));
    }
    cases
}

fn case<'a>(bytes: &mut &'a [u8]) -> Case<'a> {
    let name_len = number(bytes, 1);
    let name = str::from_utf8(take(bytes, name_len)).unwrap();
    let tolerance = number(bytes, 1);
    let len = number(bytes, 4);
    let stream = take(bytes, len);
    let num_planes = number(bytes, 1);
    let planes = (0..num_planes).map(|_| plane(bytes, tolerance & 0x80 == 0)).collect();
    Case { name, tolerance: (tolerance & 0x7F) as i32, stream, planes }
}

fn plane(bytes: &mut &[u8], narrow: bool) -> ExpectedPlane {
    let size = (number(bytes, 4) as u32, number(bytes, 4) as u32);
    let num_samples = size.0 as usize * size.1 as usize;
    let samples = (0..num_samples).map(|_| number(bytes, if narrow { 2 } else { 4 }) as i32).collect();
    ExpectedPlane { size, samples, narrow }
}

fn number(bytes: &mut &[u8], len: usize) -> usize {
    take(bytes, len).iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(len);
    *bytes = rest;
    taken
}

impl Case<'_> {
    /// Decodes the stream and compares.
    ///
    /// - returns: what differs, if anything
    pub(crate) fn difference(&self) -> Option<String> {
        let reduced = self.name.split_once(", reduced ").map_or(0, |(_, levels)| levels.parse().unwrap());
        match decode(self.stream, &Options { skipped_levels: reduced, ..OPTIONS }) {
            Ok(image) => self.image_difference(&image),
            Err(error) => Some(format!("{}: {error}", self.name)),
        }
    }

    fn image_difference(&self, image: &Image) -> Option<String> {
        if image.planes.len() != self.planes.len() {
            return Some(format!("{}: {} planes", self.name, image.planes.len()));
        }
        let differs = |(index, (plane, expected)): (usize, (&tilefleet_jpeg2000::Plane, &ExpectedPlane))| {
            if (plane.width, plane.height) != expected.size {
                return Some(format!("{}: plane {index} is {} by {}", self.name, plane.width, plane.height));
            }
            let off = |(&sample, &expected_sample): (&i32, &i32)| {
                let off = sample.wrapping_sub(expected_sample);
                (if expected.narrow { i32::from(off as i16) } else { off }).abs()
            };
            let pairs = plane.samples.iter().zip(&expected.samples);
            let wrong = pairs.clone().filter(|&pair| off(pair) > self.tolerance).count();
            let most = pairs.map(off).max().unwrap_or(0);
            (wrong > 0)
                .then(|| format!("{}: {wrong} samples of plane {index} are up to {most} off", self.name))
        };
        image.planes.iter().zip(&self.planes).enumerate().find_map(differs)
    }
}
