//! RLE Lossless (PS3.5, annex G): a segment for each byte of a sample, the most significant one first.

use crate::bytes::Order;
use crate::error::{Error, corrupt, truncated, unsupported};
use crate::spec::FrameSpec;
use crate::stored::Stored;

use super::native;

/// Bytes of the header: the number of segments, and 15 offsets (G.5).
const HEADER_BYTES: usize = 64;

pub(super) fn decode(spec: &FrameSpec, bytes: &[u8]) -> Result<Stored, Error> {
    let image = &spec.image;
    let (samples, num_pixels) = (usize::from(image.samples_per_pixel), image.num_pixels() as usize);
    // The planes of a segment each are put together to pixels: Planar Configuration is ignored (PS3.5, 8.2.2).
    match image.bits_allocated {
        8 => {
            let mut planes = planes(bytes, samples, num_pixels)?;
            let cells =
                if samples == 1 { planes.swap_remove(0) } else { native::interleave(&planes.concat()) };
            native::finish_full(image, cells)
        }
        16 => {
            let planes = planes(bytes, 2 * samples, num_pixels)?;
            let (pairs, _) = planes.as_chunks::<2>();
            native::finish_full(image, put_together(pairs, u16::from_be_bytes))
        }
        32 => {
            let planes = planes(bytes, 4 * samples, num_pixels)?;
            let (quads, _) = planes.as_chunks::<4>();
            native::finish_full(image, put_together(quads, u32::from_be_bytes))
        }
        bits => Err(unsupported(format!("{bits} bits allocated in RLE"))),
    }
}

/// Puts the bytes of each sample together, and the samples of each pixel.
fn put_together<const N: usize, T: Copy + Default>(
    samples: &[[Vec<u8>; N]],
    make: impl Fn([u8; N]) -> T,
) -> Vec<T> {
    let num_pixels = samples.first().map_or(0, |planes| planes[0].len());
    let mut cells = vec![T::default(); num_pixels * samples.len()];
    for (index, planes) in samples.iter().enumerate() {
        let planes = planes.each_ref().map(|plane| &plane[..num_pixels]);
        let sample = |pixel: usize| make(planes.map(|plane| plane[pixel]));
        if samples.len() == 1 {
            // Without a step, the loop becomes vector instructions.
            cells.iter_mut().enumerate().for_each(|(pixel, cell)| *cell = sample(pixel));
        } else {
            let own = cells.iter_mut().skip(index).step_by(samples.len());
            own.enumerate().for_each(|(pixel, cell)| *cell = sample(pixel));
        }
    }
    cells
}

/// Decodes all segments, each to a byte per pixel.
fn planes(bytes: &[u8], num_segments: usize, num_pixels: usize) -> Result<Vec<Vec<u8>>, Error> {
    let words = bytes.get(..HEADER_BYTES).ok_or_else(|| truncated("RLE without a whole header"))?;
    let word = |index: usize| Order::Little.u32(words, 4 * index).unwrap_or_default() as usize;
    if word(0) != num_segments {
        return Err(corrupt(format!("{} RLE segments instead of {num_segments}", word(0))));
    }
    let plane = |index: usize| {
        let end = if index + 1 < num_segments { word(index + 2) } else { bytes.len() };
        let segment = bytes.get(word(index + 1).max(HEADER_BYTES)..end.min(bytes.len()));
        unpack(segment.ok_or_else(|| corrupt("offsets of RLE segments lie outside"))?, num_pixels)
    };
    (0..num_segments).map(plane).collect()
}

/// Expands literal and replicate runs up to a number of bytes (G.3.2); the rest is padding.
fn unpack(segment: &[u8], num_bytes: usize) -> Result<Vec<u8>, Error> {
    let short = || truncated(format!("an RLE segment of under {num_bytes} bytes"));
    // No run is longer than 64 times its code, which bounds what a short segment makes.
    if segment.len().saturating_mul(64) < num_bytes {
        return Err(short());
    }
    let mut bytes = vec![0; num_bytes];
    let (mut at, mut to) = (0, 0);
    while to < num_bytes {
        let code = usize::from(*segment.get(at).ok_or_else(short)?);
        match code {
            0..128 => {
                let run = segment.get(at + 1..at + 2 + code).ok_or_else(short)?;
                let len = run.len().min(num_bytes - to);
                copy_run(&mut bytes[to..], run, &segment[at + 1..], len);
                (at, to) = (at + 1 + run.len(), to + len);
            }
            128 => at += 1,
            _ => {
                let value = *segment.get(at + 1).ok_or_else(short)?;
                let len = (257 - code).min(num_bytes - to);
                bytes[to..to + len].fill(value);
                (at, to) = (at + 2, to + len);
            }
        }
    }
    Ok(bytes)
}

/// Copies a literal run. Most are short: 16 bytes are copied at once where both sides have room, and what is too much
/// is written over by the next run.
fn copy_run(out: &mut [u8], run: &[u8], from: &[u8], len: usize) {
    match (out.first_chunk_mut::<16>(), from.first_chunk::<16>()) {
        (Some(out), Some(from)) if len <= 16 => *out = *from,
        _ => out[..len].copy_from_slice(&run[..len]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// The runs of PS3.5, G.3.1: -1 repeats twice, 127 copies 128 bytes, -128 does nothing.
    #[test]
    fn runs_are_expanded() {
        assert_eq!(unpack(&[2, 1, 2, 3, 255, 9, 128, 0, 7, 0], 6).unwrap(), [1, 2, 3, 9, 9, 7]);
        assert_eq!(unpack(&[129, 5], 128).unwrap(), [5; 128]);
        assert_eq!(unpack(&[129, 5], 100).unwrap(), [5; 100], "what follows is padding");
        for cut in [&[3, 1, 2][..], &[255], &[0, 1], &[]] {
            assert_eq!(unpack(cut, 4).unwrap_err().kind, ErrorKind::Truncated);
        }
    }
}
