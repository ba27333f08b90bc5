//! Plain TIFF: the first page as a whole, with black as 0.

use super::blocks::{decode_block, read_page};
use crate::decode::chip::Samples;
use crate::format::image::{ImageHeader, Limits, corrupt};
use crate::format::tiff::{Photometric, first_page};
use crate::reason::{Reason, Rejection};

/// Decodes the first page.
pub(super) fn decode(header: &ImageHeader, bytes: &[u8], limits: &Limits) -> Result<Samples, Rejection> {
    let (page, table) = first_page(bytes)?;
    if (page.size, page.num_bands, page.kind) != (header.size, header.num_bands, header.sample_kind) {
        return Err(corrupt("the page contradicts the header"));
    }
    let block_bytes = page.max_block_bytes();
    if block_bytes > limits.max_decoded_bytes {
        let limit = limits.max_decoded_bytes;
        let detail =
            format!("a block of {} decodes to {block_bytes} bytes, the limit is {limit}", page.block);
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    let samples = read_page(&page, |id| {
        let stored = table.range(id)?.map(|range| &bytes[range.start as usize..range.end as usize]);
        decode_block(&page, id, stored)
    })?;
    Ok(if page.photometric == Photometric::MinIsWhite { inverted(samples) } else { samples })
}

fn inverted(samples: Samples) -> Samples {
    match samples {
        Samples::U8(samples) => Samples::U8(samples.into_iter().map(|sample| !sample).collect()),
        Samples::U16(samples) => Samples::U16(samples.into_iter().map(|sample| !sample).collect()),
        // The header lets no others pass.
        samples => samples,
    }
}
