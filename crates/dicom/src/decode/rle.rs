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
            native::finish_full(image, put_together(pairs, |bytes| u16::from_be_bytes(bytes)))
        }
        32 => {
            let planes = planes(bytes, 4 * samples, num_pixels)?;
            let (quads, _) = planes.as_chunks::<4>();
            native::finish_full(image, put_together(quads, |bytes| u32::from_be_bytes(bytes)))
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
        for (pixel, cell) in cells.iter_mut().skip(index).step_by(samples.len()).enumerate() {
            *cell = make(planes.map(|plane| plane[pixel]));
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
fn unpack(mut segment: &[u8], num_bytes: usize) -> Result<Vec<u8>, Error> {
    let short = || truncated(format!("an RLE segment of under {num_bytes} bytes"));
    // No run is longer than 64 times its code, which bounds what a short segment makes.
    if segment.len().saturating_mul(64) < num_bytes {
        return Err(short());
    }
    let mut bytes = Vec::with_capacity(num_bytes);
    while bytes.len() < num_bytes {
        let (&code, rest) = segment.split_first().ok_or_else(short)?;
        segment = rest;
        let left = num_bytes - bytes.len();
        if code < 128 {
            let (run, rest) = rest.split_at_checked(usize::from(code) + 1).ok_or_else(short)?;
            bytes.extend_from_slice(&run[..run.len().min(left)]);
            segment = rest;
        } else if code > 128 {
            let (&value, rest) = rest.split_first().ok_or_else(short)?;
            bytes.resize(bytes.len() + (257 - usize::from(code)).min(left), value);
            segment = rest;
        }
    }
    Ok(bytes)
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
