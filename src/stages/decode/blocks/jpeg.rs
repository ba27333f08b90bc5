//! JPEG blocks (TIFF Technical Note 2): what all have in common stands in the page's tables.
//!
//! Each block is put together as a whole JPEG file and decoded as such a file would be, so that its samples
//! are those of C libjpeg-turbo. Whether the components are `YCbCr`, the page says, not the block.

use tilefleet_jpeg::{Segments, marker};

use crate::formats::image::{DecodeLimits, ImageHeader, Photometric as Colours, corrupt, parse_header};
use crate::formats::raster::{BlockSpec, Photometric};
use crate::stages::decode::blocks::BlockDecoder;
use crate::stages::decode::jpeg;
use crate::vocabulary::chip::Samples;
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::Rejection;

/// Decodes JPEG.
pub(super) struct JpegDecoder;

impl BlockDecoder for JpegDecoder {
    fn decode(&self, spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection> {
        decode(spec, stored)
    }
}

/// Decodes a block to its bands.
fn decode(spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection> {
    let file = whole_file(spec, stored)?;
    let mut header = parse_header(&file)?;
    let bands = spec.num_bands;
    if header.photometric == Colours::Cmyk {
        // Four components without a conversion, whatever they are.
        (header.photometric, header.num_bands) = (Colours::Other, 4);
    }
    if header.num_bands != bands {
        return Err(corrupt(format!("a block of {} components, not {bands}", header.num_bands)));
    }
    let size = spec.window.size();
    // The last strip may hold rows beyond the image, and a block rows that fill up its last units.
    let most = u64::from(spec.whole_height).next_multiple_of(16);
    if header.size.width != size.width
        || header.size.height < size.height
        || u64::from(header.size.height) > most
    {
        return Err(corrupt(format!("a block of {} pixels, not {size}", header.size)));
    }
    let limits =
        DecodeLimits { max_pixels: header.size.num_pixels(), max_decoded_bytes: header.decoded_bytes() };
    let samples = jpeg::decode(&header, &file, &limits, Window::whole(header.size))?;
    Ok(first_rows(samples, &header, size))
}

/// Leaves out rows that a writer has filled up the last strip with.
fn first_rows(samples: Samples, header: &ImageHeader, size: Size) -> Samples {
    match samples {
        Samples::U8(mut samples) => {
            samples.truncate((size.num_pixels() * u64::from(header.num_bands)) as usize);
            Samples::U8(samples)
        }
        samples => samples,
    }
}

/// Puts tables, colour transform and data together as one JPEG file.
fn whole_file(spec: &BlockSpec, stored: &[u8]) -> Result<Vec<u8>, Rejection> {
    let tables = spec.stored.tables.as_deref().unwrap_or_default();
    let mut file = Vec::with_capacity(stored.len() + tables.len() + 32);
    file.extend([0xFF, marker::SOI]);
    file.extend(adobe(spec.stored.photometric == Photometric::YCbCr));
    if !tables.is_empty() {
        copy_segments(tables, &mut file)?;
    }
    let rest = copy_segments(stored, &mut file)?;
    file.extend(rest);
    Ok(file)
}

/// Returns the APP14 segment that says whether the colours are to be transformed (Adobe Technical Note 5116).
fn adobe(ycbcr: bool) -> [u8; 16] {
    let [high, low] = [marker::APP14, u8::from(ycbcr)];
    [0xFF, high, 0, 14, b'A', b'd', b'o', b'b', b'e', 0, 100, 0, 0, 0, 0, low]
}

/// Copies the segments up to the scan, without those that say something about colour; returns the scan.
fn copy_segments<'a>(stream: &'a [u8], file: &mut Vec<u8>) -> Result<&'a [u8], Rejection> {
    let mut segments = Segments::new(stream).map_err(|_| corrupt("a block or its tables are not JPEG"))?;
    loop {
        let before = segments.rest();
        let segment = segments.next_segment()?;
        match segment.marker {
            marker::SOS => return Ok(before),
            marker::EOI => return Ok(&[]),
            marker::APP0 | marker::APP14 => {}
            _ => file.extend(&before[..before.len() - segments.rest().len()]),
        }
    }
}
