//! Compresses the frames of phantoms: RLE of our own, JPEG by the encoder that writes the demo's photos.

use libjpeg_turbo_rs::{PixelFormat, Subsampling};

use super::writer::{Image, Syntax, bytes_of, even};
use crate::vocabulary::error::{Error, Result};

/// Bytes of the header of an RLE frame: the number of segments, and 15 offsets (PS3.5, G.5).
const RLE_HEADER_BYTES: usize = 64;
/// A run, or a stretch without one, has at most this many bytes (PS3.5, G.3.1).
const MAX_RUN: usize = 128;

/// Compresses a frame, to an even number of bytes.
///
/// # Errors
///
/// `Bug` if the encoder refuses it.
pub(super) fn compress(image: &Image, frame: &[u16], syntax: Syntax) -> Result<Vec<u8>> {
    let (width, height) = (usize::from(image.columns), usize::from(image.rows));
    let bytes = match syntax {
        Syntax::Rle => Ok(rle(image, frame)),
        Syntax::JpegBaseline => {
            let (format, subsampling) = (PixelFormat::Grayscale, Subsampling::S444);
            libjpeg_turbo_rs::compress(&bytes_of(frame), width, height, format, 90, subsampling)
        }
        // Predictor 1 is what the syntax asks for (PS3.5, 8.2.1).
        _ => libjpeg_turbo_rs::compress_16bit(frame, width, height, 1, 1, 0),
    };
    bytes.map(even).map_err(|error| Error::bug("cannot compress a demo object").because(error.to_string()))
}

/// Compresses a frame by RLE: a segment for each byte of a sample, the most significant one first (PS3.5, G.2).
fn rle(image: &Image, frame: &[u16]) -> Vec<u8> {
    let samples = usize::from(image.samples_per_pixel);
    let shifts = (0..image.bits_allocated).step_by(8).rev();
    let planes = (0..samples).flat_map(|sample| shifts.clone().map(move |shift| (sample, shift)));
    let mut header = Vec::new();
    let mut segments = Vec::new();
    for (sample, shift) in planes {
        header.push((RLE_HEADER_BYTES + segments.len()) as u32);
        let plane = frame.iter().skip(sample).step_by(samples).map(|sample| (sample >> shift) as u8);
        segments.extend(segment(&plane.collect::<Vec<_>>(), image.columns.into()));
    }
    header.insert(0, header.len() as u32);
    header.resize(RLE_HEADER_BYTES / 4, 0);
    header.into_iter().flat_map(u32::to_le_bytes).chain(segments).collect()
}

/// Packs a plane row by row: no run goes over the end of a row (PS3.5, G.3).
fn segment(plane: &[u8], columns: usize) -> Vec<u8> {
    even(plane.chunks(columns).flat_map(pack).collect())
}

/// Packs bytes as runs of one value and stretches without such runs (PS3.5, G.3.1).
fn pack(row: &[u8]) -> Vec<u8> {
    let (mut packed, mut stretch) = (Vec::new(), Vec::new());
    for run in row.chunk_by(|one, next| one == next).flat_map(|run| run.chunks(MAX_RUN)) {
        if run.len() < 3 {
            stretch.extend(run);
        } else {
            packed.extend(unpacked(&mut stretch));
            packed.extend([(257 - run.len()) as u8, run[0]]);
        }
    }
    packed.extend(unpacked(&mut stretch));
    packed
}

/// Returns a stretch that is written as it is, and empties it.
fn unpacked(stretch: &mut Vec<u8>) -> Vec<u8> {
    let stretch = std::mem::take(stretch);
    stretch
        .chunks(MAX_RUN)
        .flat_map(|part| std::iter::once(part.len() as u8 - 1).chain(part.iter().copied()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest run and the longest stretch have 128 bytes; two equal bytes are not worth a run.
    #[test]
    fn runs_and_stretches_are_those_of_the_standard() {
        assert_eq!(pack(&[7; 128]), [129, 7]);
        assert_eq!(pack(&[7; 130]), [129, 7, 1, 7, 7]);
        assert_eq!(pack(&[1, 2, 2, 3, 9, 9, 9]), [3, 1, 2, 2, 3, 254, 9]);
        let stretch: Vec<u8> = (0..130).collect();
        let packed = pack(&stretch);
        assert_eq!((packed[0], packed[129], packed.len()), (127, 1, 132));
        assert_eq!(pack(&[]), [0; 0]);
    }
}
