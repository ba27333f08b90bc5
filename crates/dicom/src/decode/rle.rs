//! RLE Lossless (PS3.5, annex G): a segment for each byte of a sample, the most significant one first.

use crate::bytes::Order;
use crate::error::{Error, corrupt, truncated, unsupported};
use crate::image::ImageModule;
use crate::spec::FrameSpec;
use crate::stored::Stored;

use super::cells::Cell;
use super::native;

/// Bytes of the header: the number of segments, and 15 offsets (G.5).
const HEADER_BYTES: usize = 64;
/// The longest run, 128 bytes of one value, takes 2 (G.3.1).
const MAX_RUN: usize = 64;

/// Pixels whose bytes are put together at once: few enough to stay in the fastest cache.
const BLOCK: usize = 4096;

pub(super) fn decode(spec: &FrameSpec, bytes: &[u8]) -> Result<Stored, Error> {
    let image = &spec.image;
    match image.bits_allocated {
        8 => native::finish_full(image, cells::<u8>(image, bytes, 1, |_, byte| byte)?),
        16 => {
            native::finish_full(image, cells(image, bytes, 2, |cell: u16, byte| cell << 8 | u16::from(byte))?)
        }
        32 => {
            native::finish_full(image, cells(image, bytes, 4, |cell: u32, byte| cell << 8 | u32::from(byte))?)
        }
        bits => Err(unsupported(format!("{bits} bits allocated in RLE"))),
    }
}

/// Decodes all segments and puts their bytes together, sample by sample and pixel by pixel: Planar Configuration is ignored
/// (PS3.5, 8.2.2).
///
/// - `append`: adds a byte below those of a cell
fn cells<T: Cell>(
    image: &ImageModule,
    bytes: &[u8],
    bytes_per_sample: usize,
    append: impl Fn(T, u8) -> T,
) -> Result<Vec<T>, Error> {
    let (samples, num_pixels) = (usize::from(image.samples_per_pixel), image.num_pixels() as usize);
    let segments = segments(bytes, samples * bytes_per_sample)?;
    // Shorter segments than this cannot hold a frame, which is allocated next.
    if segments.iter().any(|segment| segment.len().saturating_mul(MAX_RUN) < num_pixels) {
        return Err(short(num_pixels));
    }
    let mut planes: Vec<Runs<'_>> =
        segments.into_iter().map(|segment| Runs::new(segment, num_pixels)).collect();
    let mut cells = T::buffer();
    cells.reserve(num_pixels * samples);
    let mut plane = [0; BLOCK];
    for first in (0..num_pixels).step_by(BLOCK) {
        let plane = &mut plane[..BLOCK.min(num_pixels - first)];
        cells.resize((first + plane.len()) * samples, T::default());
        for (index, runs) in planes.iter_mut().enumerate() {
            runs.unpack(plane)?;
            let own = &mut cells[first * samples..];
            if samples == 1 {
                // Without a step, the loop becomes vector instructions.
                own.iter_mut().zip(&*plane).for_each(|(cell, &byte)| *cell = append(*cell, byte));
            } else {
                let own = own.iter_mut().skip(index / bytes_per_sample).step_by(samples);
                own.zip(&*plane).for_each(|(cell, &byte)| *cell = append(*cell, byte));
            }
        }
    }
    Ok(cells)
}

/// Returns the segments, one for each byte of each sample.
fn segments(bytes: &[u8], num_segments: usize) -> Result<Vec<&[u8]>, Error> {
    let words = bytes.get(..HEADER_BYTES).ok_or_else(|| truncated("RLE without a whole header"))?;
    let word = |index: usize| Order::Little.u32(words, 4 * index).unwrap_or_default() as usize;
    if word(0) != num_segments {
        return Err(corrupt(format!("{} RLE segments instead of {num_segments}", word(0))));
    }
    let segment = |index: usize| {
        let end = if index + 1 < num_segments { word(index + 2) } else { bytes.len() };
        let segment = bytes.get(word(index + 1).max(HEADER_BYTES)..end.min(bytes.len()));
        segment.ok_or_else(|| corrupt("offsets of RLE segments lie outside"))
    };
    (0..num_segments).map(segment).collect()
}

fn short(num_bytes: usize) -> Error {
    truncated(format!("an RLE segment of under {num_bytes} bytes"))
}

/// The literal and replicate runs of a segment (G.3.2), expanded piece by piece; what follows the last pixel is padding.
struct Runs<'a> {
    segment: &'a [u8],
    /// Bytes of a whole plane.
    num_bytes: usize,
    run: Run,
    /// Where what has not been expanded begins, that of a literal run included.
    at: usize,
    /// Bytes of the run that are left.
    left: usize,
}

#[derive(Clone, Copy)]
enum Run {
    Literal,
    Replicate(u8),
}

impl<'a> Runs<'a> {
    fn new(segment: &'a [u8], num_bytes: usize) -> Self {
        Self { segment, num_bytes, run: Run::Literal, at: 0, left: 0 }
    }

    /// Fills bytes with what comes next.
    fn unpack(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let mut to = 0;
        while to < bytes.len() {
            if self.left == 0 {
                self.begin_run()?;
            }
            let len = self.left.min(bytes.len() - to);
            match self.run {
                Run::Literal => {
                    copy_run(&mut bytes[to..], &self.segment[self.at..], len);
                    self.at += len;
                }
                Run::Replicate(value) => bytes[to..to + len].fill(value),
            }
            self.left -= len;
            to += len;
        }
        Ok(())
    }

    fn begin_run(&mut self) -> Result<(), Error> {
        let short = || short(self.num_bytes);
        let code = usize::from(*self.segment.get(self.at).ok_or_else(short)?);
        self.at += 1;
        match code {
            0..128 => {
                self.segment.get(self.at..=self.at + code).ok_or_else(short)?;
                (self.run, self.left) = (Run::Literal, code + 1);
            }
            128 => {}
            _ => {
                self.run = Run::Replicate(*self.segment.get(self.at).ok_or_else(short)?);
                (self.at, self.left) = (self.at + 1, 257 - code);
            }
        }
        Ok(())
    }
}

/// Copies a part of a literal run. Most are short: 16 bytes are copied at once where both sides have room, and what is too
/// much is written over by the next run.
fn copy_run(out: &mut [u8], from: &[u8], len: usize) {
    match (out.first_chunk_mut::<16>(), from.first_chunk::<16>()) {
        (Some(out), Some(from)) if len <= 16 => *out = *from,
        _ => out[..len].copy_from_slice(&from[..len]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// The runs of PS3.5, G.3.1: -1 repeats twice, 127 copies 128 bytes, -128 does nothing.
    #[test]
    fn runs_are_expanded() {
        let expanded = |segment: &[u8], num_bytes: usize| {
            let mut bytes = vec![0; num_bytes];
            Runs::new(segment, num_bytes).unpack(&mut bytes)?;
            for piece_bytes in [1, 3, 40] {
                let (mut runs, mut pieces) = (Runs::new(segment, num_bytes), vec![0; num_bytes]);
                pieces.chunks_mut(piece_bytes).try_for_each(|piece| runs.unpack(piece))?;
                assert_eq!(pieces, bytes, "in pieces of {piece_bytes} bytes");
            }
            Ok::<_, Error>(bytes)
        };
        assert_eq!(expanded(&[2, 1, 2, 3, 255, 9, 128, 0, 7, 0], 6).unwrap(), [1, 2, 3, 9, 9, 7]);
        assert_eq!(expanded(&[129, 5], 128).unwrap(), [5; 128]);
        assert_eq!(expanded(&[129, 5], 100).unwrap(), [5; 100], "what follows is padding");
        let long: Vec<u8> = (0..100).collect();
        let runs = [&[9], &long[..10], &[89], &long[10..], &[0; 20]].concat();
        assert_eq!(expanded(&runs, 100).unwrap(), long, "short and long runs");
        for cut in [&[3, 1, 2][..], &[255], &[0, 1], &[]] {
            assert_eq!(expanded(cut, 4).unwrap_err().kind, ErrorKind::Truncated);
        }
    }
}
