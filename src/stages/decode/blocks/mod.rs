//! Decodes single blocks of a file of pixels, and cuts windows out of decoded blocks.
//!
//! In goes a block as stored, out come its samples in their native type; then some decoded blocks and a
//! window go in, and the window's samples and its valid pixels come out. Nothing is scaled, resampled,
//! coloured or turned: palette indices stay indices, CMYK stays four bands. A block that is damaged is an
//! error of this block; the others do not know of it.
//!
//! ```text
//! BlockSpec ─▶ decoder of its codec
//! stored bytes ─▶ bit order ─▶ decompress ─▶ byte order ─▶ predictor ─▶ widen ─▶ Block
//! Blocks, window ─▶ read_window ─▶ WindowSamples
//! ```

mod decompress;
mod dicom;
mod jpeg;
mod lerc;
mod lzw;
mod packbits;
mod predictor;
#[cfg(test)]
mod tests;
mod unpack;
pub(crate) mod validity;
mod window;

pub(super) use window::read_all;
pub use window::{WindowSamples, read_samples, read_window};

use self::decompress::{WebPBlockDecoder, bits_in_order, check_ratio, decompress};
use self::dicom::DicomDecoder;
pub use self::dicom::StoredValues;
use self::jpeg::JpegDecoder;
use self::lerc::LercDecoder;
use crate::formats::bytes::Order;
use crate::formats::raster::{BlockSpec, Codec, NodataValue, Predictor};
use crate::vocabulary::chip::{Samples, with_samples};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::guard;
use crate::vocabulary::reason::Rejection;

/// Decodes the blocks of some codecs. `tests` is the suite that every decoder passes.
pub trait BlockDecoder: Sync {
    /// Decodes one block that is stored.
    ///
    /// - returns: [`BlockSpec::num_samples`] samples of [`StoredSamples::kind`](crate::formats::raster::StoredSamples::kind)
    ///
    /// # Errors
    ///
    /// As [`decode_block`]. What is damaged is never filled up.
    fn decode(&self, spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection>;
}

/// Returns who decodes the blocks of a codec.
#[must_use]
pub fn decoder_of(codec: Codec) -> &'static dyn BlockDecoder {
    match codec {
        Codec::Jpeg => &JpegDecoder,
        Codec::WebP => &WebPBlockDecoder,
        Codec::Lerc(_) => &LercDecoder,
        Codec::Dicom => &DicomDecoder,
        Codec::None | Codec::Lzw | Codec::Deflate | Codec::PackBits | Codec::Zstd => &BytesDecoder,
    }
}

/// The samples of one block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The pixels of the page that it covers; those of a tile may lie beyond the edge of the image.
    pub window: Window,
    /// `[height, width, bands]` of `window`; one band where bands are stored separately.
    pub samples: Samples,
    /// What a code stream says of the values of a DICOM frame.
    pub dicom: Option<StoredValues>,
}

/// Decodes one block.
///
/// - `stored`: its bytes in the file; `None` for a block that is not stored, which is all nodata or 0
///
/// # Errors
///
/// [`crate::vocabulary::reason::Reason::Truncated`] and [`crate::vocabulary::reason::Reason::Corrupt`] for damaged data,
/// [`crate::vocabulary::reason::Reason::Unsupported`] for what only the data tell (such as arithmetic-coded JPEG),
/// [`crate::vocabulary::reason::Reason::DecoderCrash`] if a decoder panics.
pub fn decode_block(spec: &BlockSpec, stored: Option<&[u8]>) -> Result<Block, Rejection> {
    let window = spec.window;
    super::taste(stored.unwrap_or_default());
    match (stored, &spec.stored.dicom) {
        (None, _) => Ok(Block { window, samples: absent(spec), dicom: None }),
        (Some(stored), Some(frame)) => {
            let (samples, values) = guard::catch_decoder_panic(|| dicom::decode(frame, stored))?;
            Ok(Block { window, samples, dicom: Some(values) })
        }
        (Some(stored), None) => {
            let decode = || decoder_of(spec.stored.codec).decode(spec, stored);
            Ok(Block { window, samples: guard::catch_decoder_panic(decode)?, dicom: None })
        }
    }
}

/// Decodes what is a row of bits after another once it is decompressed.
struct BytesDecoder;

impl BlockDecoder for BytesDecoder {
    fn decode(&self, spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection> {
        let stored = &bits_in_order(spec, stored);
        let sample_bytes = spec.stored.kind.num_bytes();
        let len = spec.stored_row_bytes() as usize * spec.window.height as usize;
        check_ratio(spec, stored.len(), len)?;
        if u64::from(spec.stored.stored_bits) != 8 * sample_bytes {
            let mut packed = vec![0; len];
            decompress(spec.stored.codec, stored, &mut packed)?;
            return Ok(unpack::widen(spec, packed));
        }
        let mut samples = Samples::zeroed(spec.stored.kind, spec.num_samples());
        decompress(spec.stored.codec, stored, samples.bytes_mut())?;
        if spec.stored.predictor != Predictor::FloatingPoint && spec.stored.order != Order::NATIVE {
            unpack::swap_bytes(samples.bytes_mut(), sample_bytes as usize);
        }
        predictor::undo(spec, samples.bytes_mut(), sample_bytes as usize);
        Ok(samples)
    }
}

/// Returns what a block means that is not stored.
fn absent(spec: &BlockSpec) -> Samples {
    let mut samples = Samples::zeroed(spec.stored.kind, spec.num_samples());
    if let Some(nodata) = spec.stored.fill.filter(|nodata| nodata.value != 0.0) {
        with_samples!(&mut samples, samples => samples.fill(FromNodata::clamped(nodata)));
    }
    samples
}

/// A sample type that nodata can be written as.
trait FromNodata {
    /// Returns the value, clamped to the range of the type and rounded (GDAL, `GDALCopyWords`).
    fn clamped(nodata: NodataValue) -> Self;
}

macro_rules! from_nodata {
    (integers: $($integer:ty),+; floats: $($float:ty),+) => {
        $(impl FromNodata for $integer {
            fn clamped(nodata: NodataValue) -> Self {
                match nodata.integer {
                    Some(integer) => integer.clamp(Self::MIN.into(), Self::MAX.into()) as Self,
                    // NaN becomes 0.
                    None => nodata.value.round() as Self,
                }
            }
        })+
        $(impl FromNodata for $float {
            fn clamped(nodata: NodataValue) -> Self {
                nodata.value as Self
            }
        })+
    };
}

from_nodata!(integers: u8, i8, u16, i16, u32, i32, u64, i64; floats: f32, f64);
