//! Decodes JPEG-LS (ITU-T T.87), lossless and near-lossless, and rejects damaged files.
//!
//! In goes one whole image (a frame of DICOM: its fragments joined); out come its samples, 2 to 16 bits, one to four
//! components, interleaved pixel by pixel however the file has them: in scans of their own, line by line or sample by
//! sample. What is not decoded is refused by name: mapping tables (palettes inside the file), subsampled components, point
//! transforms, sizes beyond 65,535, colour transforms that one vendor has added.
//!
//! `header` reads what stands before the data; `scan` decodes one scan, its bits by `bits`, its statistics by
//! `context`. Colours are not converted.

mod bits;
mod context;
mod header;
#[cfg(test)]
mod oracle_tests;
mod preset;
mod run;
mod scan;
#[cfg(test)]
mod test_encoder;
#[cfg(test)]
mod tests;

use tilefleet_codec::{Sample, corrupt, truncated};
use tilefleet_jpeg_header::{Segments, marker};

use self::header::Parameters;

pub use self::header::{Header, header};
pub use tilefleet_codec::{Error, ErrorKind, Limits, Samples, Size};

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Size in pixels.
    pub size: Size,
    /// Samples of a pixel, 1 to 4.
    pub num_components: usize,
    /// Bits of a sample, 2 to 16.
    pub precision: u8,
    /// By how much a sample may differ from the original; 0 where the file is lossless.
    pub near: u8,
    /// `[height, width, num_components]`, row-major.
    pub samples: Samples,
}

/// Decodes an image; colours are not converted.
///
/// An end marker may be missing, as in some DICOM objects, if all samples are there; what follows it does not matter, and
/// zero bytes may stand before it.
///
/// # Errors
///
/// [`ErrorKind::Truncated`] and [`ErrorKind::Corrupt`] for damaged files, [`ErrorKind::Unsupported`] as of [`header()`], and
/// for mapping tables, subsampled components and point transforms; [`ErrorKind::TooLarge`] beyond the limits.
///
/// # Reference
///
/// ITU-T T.87; DICOM PS3.5, 8.2.3.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, Error> {
    let header = header(bytes)?;
    limits.check(header.size, header.num_components(), header.precision)?;
    match decode_whole(bytes, &header) {
        Err(error) if error.kind == ErrorKind::Truncated => {
            decode_whole(&[bytes, &[0xFF, marker::EOI]].concat(), &header).map_err(|_| error)
        }
        decoded => decoded,
    }
}

fn decode_whole(bytes: &[u8], header: &Header) -> Result<Decoded, Error> {
    let (samples, near) = if header.precision <= 8 {
        let (samples, near) = samples_of(bytes, header)?;
        (Samples::U8(samples), near)
    } else {
        let (samples, near) = samples_of(bytes, header)?;
        (Samples::U16(samples), near)
    };
    let Header { precision, size, .. } = *header;
    Ok(Decoded { size, num_components: header.num_components(), precision, near, samples })
}

/// Decodes all scans; returns the samples, and the largest difference that a scan allows.
fn samples_of<S: Sample>(bytes: &[u8], header: &Header) -> Result<(Vec<S>, u8), Error> {
    // A line takes a bit at least, which may begin a run to its end.
    if u64::from(header.size.height) > 8 * bytes.len() as u64 {
        return Err(truncated("the image data has not one bit for each row"));
    }
    let mut parameters = Parameters::new(header);
    let (mut samples, mut near) = (Vec::new(), 0);
    let mut segments = Segments::new(bytes)?;
    loop {
        let segment = segments.next_segment()?;
        match segment.marker {
            marker::EOI if parameters.is_complete() => return Ok((samples, near)),
            marker::EOI => return Err(truncated("the image ends before all of its components")),
            marker::SOI => return Err(corrupt("an image begins inside the image")),
            marker::SOS => {
                let scan = parameters.begin_scan(segment.body)?;
                if samples.is_empty() {
                    samples = vec![S::default(); header.num_samples() as usize];
                }
                near = near.max(scan.near);
                let used = scan::decode(&scan, header, segments.rest(), &mut samples)?;
                segments.skip(used);
            }
            code => parameters.take(code, segment.body)?,
        }
    }
}
