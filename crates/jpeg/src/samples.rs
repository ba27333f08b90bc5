//! Samples as they are stored, whatever the process: what DICOM asks for.
//!
//! In goes one whole image (a frame of DICOM: its fragments joined); out come its components at full size, without a
//! change of colours: in DICOM the Photometric Interpretation says what they are.

use tilefleet_codec::{Error, ErrorKind, Limits, Samples, Size};
use tilefleet_jpeg_header::{Header, Process, header, marker};

use crate::{Colours, Options, extended, lossless};

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How it was coded.
    pub process: Process,
    /// Size in pixels.
    pub size: Size,
    /// Samples of a pixel, 1 to 4.
    pub num_components: usize,
    /// Bits of a sample, 2 to 16.
    pub precision: u8,
    /// `[height, width, num_components]`, row-major.
    pub samples: Samples,
}

/// Decodes the components of an image as they are stored, in their own precision; colours are not converted.
///
/// Lossless files are exact. For 8 bits of the other processes, samples and interpolation of subsampled components are
/// those of libjpeg-turbo, as of [`decode`](crate::decode); for 12 bits, those of its 12-bit build.
///
/// An end marker may be missing, as in some DICOM objects, if all samples are there; what follows it does not matter.
///
/// # Errors
///
/// [`ErrorKind::Truncated`] and [`ErrorKind::Corrupt`] for damaged files, [`ErrorKind::Unsupported`] as of [`header()`],
/// for subsampled components of lossless files, for two components of other processes, and for 12-bit progressive files;
/// [`ErrorKind::TooLarge`] beyond the limits.
///
/// # Reference
///
/// ITU-T T.81; DICOM PS3.5, 8.2.1.
pub fn decode_samples(bytes: &[u8], limits: &Limits) -> Result<Decoded, Error> {
    let header = header(bytes)?;
    limits.check(header.size, header.components.len(), header.precision)?;
    let samples = match samples_of(bytes, &header, limits) {
        Err(error) if error.kind == ErrorKind::Truncated => {
            let ended = [bytes, &[0xFF, marker::EOI]].concat();
            samples_of(&ended, &header, limits).map_err(|_| error)?
        }
        samples => samples?,
    };
    let Header { process, precision, size, components } = header;
    Ok(Decoded { process, size, num_components: components.len(), precision, samples })
}

fn samples_of(bytes: &[u8], header: &Header, limits: &Limits) -> Result<Samples, Error> {
    match (header.process, header.precision) {
        (Process::Lossless, ..=8) => lossless::decode(bytes, header).map(Samples::U8),
        (Process::Lossless, _) => lossless::decode(bytes, header).map(Samples::U16),
        (_, 8) => decode_8_bits(bytes, limits).map(Samples::U8),
        _ => extended::decode(bytes, header).map(Samples::U16),
    }
}

fn decode_8_bits(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, Error> {
    crate::decode(bytes, &Options { needed: None, colours: Colours::AsStored, limits: *limits })
}
