//! Decodes single blocks of a `GeoTIFF` page, and cuts windows out of decoded blocks.
//!
//! In goes a block as stored, out come its samples in their native type; then some decoded blocks and a
//! window go in, and the window's samples and its valid pixels come out. Nothing is scaled, resampled,
//! coloured or turned: palette indices stay indices, CMYK stays four bands. A block that is damaged is an
//! error of this block; the others do not know of it.
//!
//! ```text
//! stored bytes ─▶ bit order ─▶ decompress ─▶ byte order ─▶ predictor ─▶ widen ─▶ Block
//! Blocks, window ─▶ read_window ─▶ WindowSamples
//! ```

mod codec;
mod jpeg;
mod lerc;
mod lzw;
mod packbits;
mod predictor;
mod unpack;
pub(crate) mod validity;
mod window;

pub(super) use window::read_page;
pub use window::{Part, WindowSamples, read_samples, read_window};

use crate::formats::bytes::Order;
use crate::formats::tiff::{BlockId, Compression, Nodata, Page, Predictor};
use crate::vocabulary::chip::{Samples, with_samples};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::guard;
use crate::vocabulary::reason::Rejection;

/// The samples of one block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The pixels of the page that it covers; those of a tile may lie beyond the edge of the image.
    pub window: Window,
    /// `[height, width, bands]` of `window`; one band where bands are stored separately.
    pub samples: Samples,
}

/// Decodes one block.
///
/// - `page`: whose block it is
/// - `stored`: its bytes in the file; `None` for a block that is not stored, which is all nodata or 0
///
/// # Errors
///
/// [`crate::vocabulary::reason::Reason::Truncated`] and [`crate::vocabulary::reason::Reason::Corrupt`] for damaged data,
/// [`crate::vocabulary::reason::Reason::Unsupported`] for what only the data tell (such as arithmetic-coded JPEG),
/// [`crate::vocabulary::reason::Reason::DecoderCrash`] if a decoder panics.
pub fn decode_block(page: &Page, id: BlockId, stored: Option<&[u8]>) -> Result<Block, Rejection> {
    let window = page.block_window(id);
    let samples = match stored {
        None => absent(page, window),
        Some(stored) => guard::catch_decoder_panic(|| decode(page, window, stored))?,
    };
    Ok(Block { window, samples })
}

fn num_samples(page: &Page, window: Window) -> usize {
    window.width as usize * window.height as usize * usize::from(page.block_bands())
}

fn decode(page: &Page, window: Window, stored: &[u8]) -> Result<Samples, Rejection> {
    match page.compression {
        Compression::Jpeg => jpeg::decode(page, window, stored),
        Compression::WebP => codec::webp(page, window, &codec::bits_in_order(page, stored)),
        Compression::Lerc(_) => lerc::decode(page, window, &codec::bits_in_order(page, stored)),
        _ => bytes_of(page, window, &codec::bits_in_order(page, stored)),
    }
}

/// Decodes what is a row of bits after another once it is decompressed.
fn bytes_of(page: &Page, window: Window, stored: &[u8]) -> Result<Samples, Rejection> {
    let row_bytes = page.stored_row_bytes() as usize;
    let len = row_bytes * window.height as usize;
    codec::check_ratio(page, stored.len(), len)?;
    let whole = u64::from(page.stored_bits) == 8 * page.kind.num_bytes();
    if !whole {
        let mut packed = vec![0; len];
        codec::decompress(page.compression, stored, &mut packed)?;
        return Ok(unpack::widen(page, window, packed));
    }
    let mut samples = Samples::zeroed(page.kind, num_samples(page, window));
    codec::decompress(page.compression, stored, samples.bytes_mut())?;
    if page.predictor != Predictor::FloatingPoint && page.order != Order::NATIVE {
        unpack::swap_bytes(samples.bytes_mut(), page.kind.num_bytes() as usize);
    }
    predictor::undo(page, samples.bytes_mut(), page.kind.num_bytes() as usize);
    Ok(samples)
}

/// Returns what a block means that is not stored.
fn absent(page: &Page, window: Window) -> Samples {
    let mut samples = Samples::zeroed(page.kind, num_samples(page, window));
    if let Some(nodata) = page.fill.filter(|nodata| nodata.value != 0.0) {
        with_samples!(&mut samples, samples => samples.fill(FromNodata::clamped(nodata)));
    }
    samples
}

/// A sample type that nodata can be written as.
trait FromNodata {
    /// Returns the value, clamped to the range of the type and rounded (GDAL, `GDALCopyWords`).
    fn clamped(nodata: Nodata) -> Self;
}

macro_rules! from_nodata {
    (integers: $($integer:ty),+; floats: $($float:ty),+) => {
        $(impl FromNodata for $integer {
            fn clamped(nodata: Nodata) -> Self {
                match nodata.integer {
                    Some(integer) => integer.clamp(Self::MIN.into(), Self::MAX.into()) as Self,
                    // NaN becomes 0.
                    None => nodata.value.round() as Self,
                }
            }
        })+
        $(impl FromNodata for $float {
            fn clamped(nodata: Nodata) -> Self {
                nodata.value as Self
            }
        })+
    };
}

from_nodata!(integers: u8, i8, u16, i16, u32, i32, u64, i64; floats: f32, f64);
