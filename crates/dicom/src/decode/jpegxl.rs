//! JPEG XL (PS3.5, 8.2.15 to 8.2.17), by the crate `jxl-oxide`.

use jxl_oxide::{AllocTracker, JxlImage, PixelFormat};
use tilefleet_codec::Samples;

use crate::error::{Error, corrupt, truncated, unsupported};
use crate::image::ImageModule;
use crate::spec::FrameSpec;
use crate::stored::{Colours, Stored};

use super::colours_of;
use super::stream::{check_shape, finish};

/// Bytes of memory per sample, at most: grids of 32 bits, before and after transforms.
pub(super) const BYTES_PER_SAMPLE: u64 = 64;
/// Bytes of memory of any stream.
pub(super) const OTHER_BYTES: u64 = 64 << 20;

pub(super) fn decode(spec: &FrameSpec, bytes: &[u8]) -> Result<Stored, Error> {
    let image = &spec.image;
    let limit = OTHER_BYTES + BYTES_PER_SAMPLE * image.num_samples();
    let builder = JxlImage::builder().alloc_tracker(AllocTracker::with_limit(limit as usize));
    // The crate's own words are not repeated: they may quote what the stream holds.
    let stream = builder.read(bytes).map_err(|_| corrupt("the JPEG XL stream cannot be read"))?;
    let samples = match stream.pixel_format() {
        PixelFormat::Gray => 1,
        PixelFormat::Rgb => 3,
        _ => return Err(unsupported("JPEG XL with an alpha or black channel")),
    };
    check_shape(image, (stream.height().into(), stream.width().into()), samples)?;
    if !stream.is_loading_done() {
        return Err(truncated("the JPEG XL stream ends early"));
    }
    let metadata = &stream.image_header().metadata;
    let jxl_oxide::image::BitDepth::IntegerSample { bits_per_sample: bits @ 1..=16 } = metadata.bit_depth
    else {
        return Err(unsupported("JPEG XL whose samples are no integers of at most 16 bits"));
    };
    let transformed = metadata.xyb_encoded || stream.frame_header(0).is_some_and(|header| header.do_ycbcr);
    let colours = colours(image, transformed)?;
    Ok(finish(image, colours, bits, Samples::U16(integers(image, &stream, bits)?)))
}

/// Colours that the stream has transformed are RGB again (PS3.3, C.7.6.3.1.2).
fn colours(image: &ImageModule, transformed: bool) -> Result<Colours, Error> {
    if image.samples_per_pixel == 3 && transformed { Ok(Colours::Rgb) } else { colours_of(image.photometric) }
}

/// Samples come as shares of the greatest; floats of 24 bits hold those of 16 bits exactly.
fn integers(image: &ImageModule, stream: &JxlImage, bits: u32) -> Result<Vec<u16>, Error> {
    let render = stream.render_frame(0).map_err(|_| corrupt("the JPEG XL stream cannot be decoded"))?;
    let mut shares = vec![0.0_f32; image.num_samples() as usize];
    if render.stream_no_alpha().write_to_buffer(&mut shares) < shares.len() {
        return Err(corrupt("the JPEG XL stream has too few samples"));
    }
    let max = ((1_u32 << bits) - 1) as f32;
    Ok(shares.into_iter().map(|share| (share * max).round().clamp(0.0, max) as u16).collect())
}
