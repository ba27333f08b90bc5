//! An object that is read in ranges, as from object storage.

use std::ops::Range;

use tilefleet_dicom::{Bytes, Error, FrameSpec, Instance, Limits, Step, Stored, decode_frame, parse};

/// What tests allow a frame to take.
pub(crate) const LIMITS: Limits = Limits { max_pixels: 1 << 24, max_decoded_bytes: 1 << 27 };

/// The ranges of an object that were asked for.
pub(crate) struct Ranges<'a> {
    whole: &'a [u8],
    read: Vec<Range<u64>>,
}

impl Bytes for Ranges<'_> {
    fn len(&self) -> u64 {
        self.whole.len() as u64
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        let end = at.checked_add(len as u64).filter(|&end| end <= Bytes::len(self))?;
        let is_read = |range: &Range<u64>| range.start <= at && end <= range.end;
        (len == 0 || self.read.iter().any(is_read)).then(|| &self.whole[at as usize..end as usize])
    }
}

impl<'a> Ranges<'a> {
    pub(crate) fn new(whole: &'a [u8]) -> Self {
        Self { whole, read: Vec::new() }
    }

    fn run<T>(&mut self, step: impl Fn(&dyn Bytes) -> Step<T>) -> Result<T, Error> {
        loop {
            match step(self) {
                Step::Done(result) => return result,
                Step::Needs(range) => {
                    assert!(
                        range.start < range.end && range.end <= Bytes::len(self),
                        "{range:?} is asked for"
                    );
                    assert!(!self.read.contains(&range), "{range:?} is asked for twice");
                    self.read.push(range);
                }
            }
        }
    }

    pub(crate) fn parse(&mut self) -> Result<Instance, Error> {
        self.run(parse)
    }

    /// Reads and decodes frames.
    pub(crate) fn frames(
        &mut self,
        instance: &Instance,
        frames: &[u32],
    ) -> Result<Vec<(FrameSpec, Stored)>, Error> {
        let found = self.run(|object| instance.locate(object, frames))?;
        let frame = |(&frame, bytes): (&u32, &tilefleet_dicom::FrameBytes)| {
            let joined: Vec<u8> = (bytes.ranges.iter())
                .flat_map(|range| self.whole[range.start as usize..range.end as usize].iter().copied())
                .collect();
            let spec = instance.frame_spec(frame)?;
            let stored = decode_frame(&spec, &joined, &LIMITS)?;
            Ok((spec, stored))
        };
        frames.iter().zip(&found).map(frame).collect()
    }
}
