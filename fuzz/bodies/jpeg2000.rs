//! What the fuzz target of JPEG 2000 and HTJ2K does with any bytes; the decoder's own tests do the same.

use tilefleet_jpeg2000::{Header, Limits, Options, decode};

/// What is looked for is found in small images.
pub const LIMITS: Limits = Limits { max_pixels: 1 << 18, max_decoded_bytes: 8 << 20 };

/// Decodes anything, whole and at half the resolution: planes are those that the header promises, and samples lie in
/// their range.
///
/// # Panics
///
/// If they do not, or the decoder crashes.
pub fn jpeg2000(bytes: &[u8]) {
    let header = Header::parse(bytes);
    for (skipped_levels, strict) in [(0, true), (1, false)] {
        let Ok(image) = decode(bytes, &Options { limits: LIMITS, skipped_levels, strict }) else { continue };
        let header = header.as_ref().expect("a stream that is decoded has a header");
        assert_eq!(image.planes.len(), header.components.len());
        for (plane, component) in image.planes.iter().zip(&header.components) {
            assert_eq!(plane.samples.len(), plane.width as usize * plane.height as usize);
            assert!(skipped_levels > 0 || (plane.width, plane.height) == (component.width, component.height));
            let limit = 1i64 << (plane.bits - u8::from(plane.signed));
            let range = if plane.signed { -limit..limit } else { 0..limit };
            assert!(plane.samples.iter().all(|&sample| range.contains(&sample.into())));
        }
    }
}
