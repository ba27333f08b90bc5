//! Decodes JPEG of 12 bits per sample: the extended sequential process, to the samples of libjpeg-turbo's 12-bit build.
//!
//! In goes a whole file with a 12-bit frame (SOF1); out come its components at full size, as they are stored. Codes are
//! followed by the audit, as those of odd 8-bit files are: few objects are of this kind, and all of them DICOM.

use std::borrow::Cow;

use tilefleet_codec::{Error, truncated, unsupported};

use super::ids;
use super::planes::{self, TransformedSample};
use super::{audit, transform};
use crate::{Frame, Header, Process};

/// No block takes fewer bits: one code for DC, one for the end of the block.
const MIN_BLOCK_BITS: u64 = 2;

/// A component of 12 bits.
impl TransformedSample for u16 {
    const PRECISION: u8 = 12;
    type Row = Vec<u16>;

    fn transform(block: &[i16; 64], quantisation: &[u16; 64]) -> [Self; 64] {
        transform::inverse(block, quantisation)
    }

    /// Weighs 3 : 1; rounds down and up by turns (libjpeg, `h2v1_fancy_upsample`).
    fn stretch<'a>(stored: &[Self], row: &'a mut Vec<u16>) -> &'a [Self] {
        let wide: Vec<u32> = stored.iter().map(|&sample| sample.into()).collect();
        enlarge(&wide, row, |own, before, after| [(3 * own + before + 1) >> 2, (3 * own + after + 2) >> 2])
    }

    /// Weighs 3 : 1 in both directions; rounds down and up by turns (libjpeg, `h2v2_fancy_upsample`).
    fn blend<'a>(stored: &[Self], neighbour: &[Self], row: &'a mut Vec<u16>) -> &'a [Self] {
        let sum = |(&near, &far): (&u16, &u16)| 3 * u32::from(near) + u32::from(far);
        let sums: Vec<u32> = stored.iter().zip(neighbour).map(sum).collect();
        enlarge(&sums, row, |own, before, after| [(3 * own + before + 8) >> 4, (3 * own + after + 7) >> 4])
    }
}

/// Makes two samples of each value and those before and behind it; the first and the last are their own neighbours.
fn enlarge<'a>(values: &[u32], row: &'a mut Vec<u16>, pair: impl Fn(u32, u32, u32) -> [u32; 2]) -> &'a [u16] {
    let last = values.len() - 1;
    row.clear();
    for (at, &own) in values.iter().enumerate() {
        row.extend(
            pair(own, values[at.saturating_sub(1)], values[last.min(at + 1)]).map(|value| value as u16),
        );
    }
    row
}

/// Decodes a file whose frame header is `header`: 12 bits, whatever the process.
///
/// - returns: `[height, width, components]`, row-major
///
/// The caller has found this many samples to be allowed.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Vec<u16>, Error> {
    if header.process == Process::Progressive {
        return Err(unsupported("progressive JPEG of 12 bits"));
    }
    // Components have a sample per pixel, or fewer.
    if header.size.num_pixels() / 64 * MIN_BLOCK_BITS > 8 * bytes.len() as u64 {
        return Err(truncated("the image data has not two bits for each block"));
    }
    let bytes = if repeats_ids(header) { Cow::Owned(ids::apart(bytes)) } else { Cow::Borrowed(bytes) };
    let (frame, planes) = audit::decode_planes::<u16>(&bytes)?;
    let mut samples = vec![0; header.num_samples() as usize];
    planes::finish(&frame, &planes, &mut samples, planes::interleave);
    Ok(samples)
}

/// Returns how much memory the components take at most on their way, beside the decoded samples.
pub(super) fn working_bytes(header: &Header) -> u64 {
    let Header { size, components, .. } = header.clone();
    2 * Frame { size, progressive: false, components, repeats_ids: false }.num_stored_samples()
}

fn repeats_ids(header: &Header) -> bool {
    let mut ids: Vec<u8> = header.components.iter().map(|component| component.id).collect();
    ids.sort_unstable();
    ids.windows(2).any(|pair| pair[0] == pair[1])
}
