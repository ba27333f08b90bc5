//! What the fuzz targets of JPEG and JPEG-LS do with any bytes.

use tilefleet_jpeg::{Colours, Limits, Options, decode, decode_audited, decode_samples, frame, header};

/// What is looked for is found in small images.
const LIMITS: Limits = Limits { max_pixels: 1 << 20, max_decoded_bytes: 1 << 22 };

/// Decodes anything as JPEG: what passes in one pass passes the audit too, and has the same samples.
///
/// # Panics
///
/// If it does not, or a decoder crashes.
pub fn jpeg(bytes: &[u8]) {
    if frame(bytes).is_some_and(|frame| frame.repeats_ids) {
        return;
    }
    for colours in [Colours::Rgb, Colours::AsStored] {
        let options = Options { needed: None, colours, limits: LIMITS };
        if let Ok(samples) = decode(bytes, &options) {
            assert!(decode_audited(bytes, &options) == Ok(samples), "two decoders disagree");
        }
    }
}

/// Decodes anything as JPEG of any process, as DICOM has it: lossless, 12 bits, 8 bits.
///
/// # Panics
///
/// If there are other samples than the header announces, or a decoder crashes.
pub fn jpeg_samples(bytes: &[u8]) {
    let Ok(decoded) = decode_samples(bytes, &LIMITS) else { return };
    let header = header(bytes).expect("a file that is decoded has a header");
    let samples = decoded.samples.into_u16();
    assert_eq!(samples.len() as u64, header.num_samples());
    let largest = samples.into_iter().max().unwrap_or(0);
    assert!(u32::from(largest) >> header.precision == 0, "a sample is larger than its precision");
}

/// Decodes anything as JPEG-LS.
///
/// # Panics
///
/// If there are other samples than the header announces, or the decoder crashes.
pub fn jpegls(bytes: &[u8]) {
    let Ok(decoded) = tilefleet_jpegls::decode(bytes, &LIMITS) else { return };
    let header = tilefleet_jpegls::header(bytes).expect("a file that is decoded has a header");
    let samples = decoded.samples.into_u16();
    assert_eq!(samples.len() as u64, header.num_samples());
    let largest = samples.into_iter().max().unwrap_or(0);
    assert!(u32::from(largest) >> header.precision == 0, "a sample is larger than its precision");
}
