//! Samples as they are stored, whatever the process: what DICOM asks for.
//!
//! In goes one whole image (a frame of DICOM: its fragments joined); out come its components at full size, without a
//! change of colours: in DICOM the Photometric Interpretation says what they are.

use crate::error::{Error, ErrorKind};
use crate::geometry::Size;
use crate::header::{Header, Process, header};
use crate::segments::marker;
use crate::{Colours, Options, extended, lossless};

/// How much decoding may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum number of pixels.
    pub max_pixels: u64,
    /// Maximum number of bytes of the decoded samples.
    pub max_decoded_bytes: u64,
}

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

/// Samples of one image, below 2 to the power of its precision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Samples {
    /// Of up to 8 bits.
    U8(Vec<u8>),
    /// Of 9 to 16 bits.
    U16(Vec<u16>),
}

/// A sample as it is given out.
pub(crate) trait Sample: Copy + Default + Into<u32> {
    /// Takes a value that is not larger than a sample.
    fn of(value: u32) -> Self;
}

impl Sample for u8 {
    fn of(value: u32) -> Self {
        value as u8
    }
}

impl Sample for u16 {
    fn of(value: u32) -> Self {
        value as u16
    }
}

impl Limits {
    fn check(&self, header: &Header) -> Result<(), Error> {
        let num_bytes = header.num_samples() * if header.precision > 8 { 2 } else { 1 };
        if header.size.num_pixels() <= self.max_pixels && num_bytes <= self.max_decoded_bytes {
            return Ok(());
        }
        let Size { width, height } = header.size;
        let detail = format!("{width}×{height} pixels, {num_bytes} bytes decoded, are more than allowed");
        Err(Error { kind: ErrorKind::TooLarge, detail })
    }
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
    limits.check(&header)?;
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
    let Limits { max_pixels, max_decoded_bytes } = *limits;
    crate::decode(bytes, &Options { needed: None, colours: Colours::AsStored, max_pixels, max_decoded_bytes })
}
