//! LERC blocks, as libtiff lays them out: bands in the depth of one blob, or a blob a band; masked floats are
//! NaN; an alpha band of bytes may stand in the mask.

use std::io::{self, Read};

use lerc::SampleData;
use lerc::bitmask::BitMask;

use crate::formats::image::{corrupt, truncated};
use crate::formats::raster::{BlockSpec, Codec, LercExtra};
use crate::stages::decode::blocks::BlockDecoder;
use crate::stages::decode::blocks::decompress::bits_in_order;
use crate::vocabulary::chip::Samples;
use crate::vocabulary::reason::Rejection;

/// What a blob may have beyond the bytes of its samples: headers, masks.
const EXTRA_BYTES: u64 = 64 << 10;

/// Decodes LERC.
pub(super) struct LercDecoder;

impl BlockDecoder for LercDecoder {
    fn decode(&self, spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection> {
        decode(spec, &bits_in_order(spec, stored))
    }
}

/// Decodes a block to its bands.
fn decode(spec: &BlockSpec, stored: &[u8]) -> Result<Samples, Rejection> {
    let (window, bands) = (spec.window, usize::from(spec.num_bands));
    let num_pixels = window.width as usize * window.height as usize;
    let limit = (num_pixels * bands) as u64 * spec.stored.kind.num_bytes() * 2 + EXTRA_BYTES;
    let blob = match spec.stored.codec {
        Codec::Lerc(LercExtra::Deflate) => read(flate2::read::ZlibDecoder::new(stored), limit)?,
        Codec::Lerc(LercExtra::Zstd) => {
            read(zstd::stream::read::Decoder::with_buffer(stored).map_err(|e| reject(&e))?, limit)?
        }
        _ => stored.to_vec(),
    };
    let info = lerc::decode_info(&blob).map_err(|error| corrupt(format!("LERC: {error}")))?;
    let has_mask_band = info.depth as usize + 1 == bands && info.bands == 1;
    let fits = (info.width, info.height) == (window.width, window.height)
        && (has_mask_band || info.depth as usize * info.bands as usize == bands);
    if !fits {
        let (width, height, depth) = (info.width, info.height, info.depth);
        return Err(corrupt(format!("a LERC block of {width}×{height} pixels, {depth} deep")));
    }
    let image = lerc::decode(&blob).map_err(|error| corrupt(format!("LERC: {error}")))?;
    let layout = Planes { num_pixels, depth: image.depth as usize, masks: &image.valid_masks };
    let samples = typed(image.data);
    if samples.kind() != spec.stored.kind || samples.len() != num_pixels * layout.depth * image.bands as usize
    {
        return Err(corrupt(format!("a LERC block of {}, not {}", samples.type_name(), spec.stored.kind)));
    }
    Ok(match samples {
        Samples::U8(samples) if has_mask_band => Samples::U8(layout.with_alpha(&samples)),
        Samples::F32(samples) => Samples::F32(layout.woven(&samples, f32::NAN)),
        Samples::F64(samples) => Samples::F64(layout.woven(&samples, f64::NAN)),
        samples => samples,
    })
}

fn read(stream: impl Read, limit: u64) -> Result<Vec<u8>, Rejection> {
    let mut blob = Vec::new();
    stream.take(limit).read_to_end(&mut blob).map_err(|error| reject(&error))?;
    Ok(blob)
}

fn reject(error: &io::Error) -> Rejection {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated("a block ends before its samples do (LERC)"),
        _ => corrupt(format!("LERC: {error}")),
    }
}

fn typed(data: SampleData) -> Samples {
    match data {
        SampleData::U8(samples) => Samples::U8(samples),
        SampleData::I8(samples) => Samples::I8(samples),
        SampleData::U16(samples) => Samples::U16(samples),
        SampleData::I16(samples) => Samples::I16(samples),
        SampleData::U32(samples) => Samples::U32(samples),
        SampleData::I32(samples) => Samples::I32(samples),
        SampleData::F32(samples) => Samples::F32(samples),
        SampleData::F64(samples) => Samples::F64(samples),
    }
}

/// Samples band after band, each `[pixels, depth]`, with a mask for each band, one for all, or none.
struct Planes<'a> {
    num_pixels: usize,
    depth: usize,
    masks: &'a [BitMask],
}

impl Planes<'_> {
    /// Weaves bands together; a masked pixel has no value.
    fn woven<T: Copy>(&self, samples: &[T], absent: T) -> Vec<T> {
        let num_bands = samples.len() / (self.num_pixels * self.depth).max(1);
        let mut woven = Vec::with_capacity(samples.len());
        for pixel in 0..self.num_pixels {
            for band in 0..num_bands {
                let stored = &samples[(band * self.num_pixels + pixel) * self.depth..][..self.depth];
                if self.is_valid(band, pixel) {
                    woven.extend_from_slice(stored);
                } else {
                    woven.extend(stored.iter().map(|_| absent));
                }
            }
        }
        woven
    }

    /// Adds the mask as the last band.
    fn with_alpha(&self, samples: &[u8]) -> Vec<u8> {
        let pixels = samples.chunks_exact(self.depth).enumerate();
        let alpha = |pixel| if self.is_valid(0, pixel) { 255 } else { 0 };
        pixels.flat_map(|(pixel, bands)| bands.iter().copied().chain([alpha(pixel)])).collect()
    }

    fn is_valid(&self, band: usize, pixel: usize) -> bool {
        let mask = self.masks.get(band).or_else(|| self.masks.first());
        mask.is_none_or(|mask| mask.is_valid(pixel))
    }
}
