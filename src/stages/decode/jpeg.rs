//! JPEG, by the crate `tilefleet-jpeg`.

use tilefleet_jpeg::{Colours, Limits, Options};

use crate::formats::image::{DecodeLimits, ImageHeader, Photometric};
use crate::vocabulary::chip::Samples;
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::Rejection;

pub(super) use tilefleet_jpeg::working_bytes;

/// Decodes a grey or RGB image, also of CMYK, or four components as they are; samples outside of `needed` are unspecified.
pub(super) fn decode(
    header: &ImageHeader,
    bytes: &[u8],
    limits: &DecodeLimits,
    needed: Window,
) -> Result<Samples, Rejection> {
    let Window { x, y, width, height } = needed;
    let options = Options {
        needed: Some(tilefleet_jpeg::Window { x, y, width, height }),
        colours: if header.photometric == Photometric::Cmyk { Colours::Rgb } else { Colours::RgbOrCmyk },
        limits: Limits { max_pixels: limits.max_pixels, max_decoded_bytes: limits.max_decoded_bytes },
    };
    Ok(Samples::U8(tilefleet_jpeg::decode(bytes, &options)?))
}
