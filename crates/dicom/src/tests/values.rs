//! Stored values of native frames.

use super::{EXPLICIT, frame};
use crate::test_objects::Object;
use crate::{ErrorKind, Samples, tag};

fn stored(object: &Object, number: u32) -> Samples {
    frame(&object.bytes(), number).unwrap().1.values
}

/// PS3.5, 8.1.1: with High Bit 15, 12 bits of 16 lie above 4 that are no sample.
#[test]
fn high_bit_says_where_the_sample_lies() {
    let words = [0x7FF3, 0x8005, 0xFFFF];
    let object = |signed| {
        Object::image(EXPLICIT, 1, 3, (16, 12), signed).us(tag::HIGH_BIT, 15).words(
            tag::PIXELS,
            *b"OW",
            &words,
        )
    };
    assert_eq!(stored(&object(false), 0), Samples::U16(vec![2047, 2048, 4095]));
    assert_eq!(stored(&object(true), 0), Samples::I16(vec![2047, -2048, -1]));
}

/// PS3.5, 8.1.1: bits above the sample may hold overlays.
#[test]
fn bits_above_the_sample_are_masked() {
    let object = Object::image(EXPLICIT, 1, 2, (16, 12), false).words(tag::PIXELS, *b"OW", &[0xF001, 0x1FFF]);
    assert_eq!(stored(&object, 0), Samples::U16(vec![1, 4095]));
    let object = Object::image(EXPLICIT, 1, 2, (8, 4), true).element(tag::PIXELS, *b"OB", &[0x17, 0xF8]);
    assert_eq!(stored(&object, 0), Samples::I8(vec![7, -8]));
}

/// PS3.5, 8.1.1: frames of single bits follow without padding; the second of 3 × 3 begins at bit 9.
#[test]
fn single_bits_are_packed_across_frames() {
    let object = Object::image(EXPLICIT, 3, 3, (1, 1), false).text(tag::NUM_FRAMES, *b"IS", "2").element(
        tag::PIXELS,
        *b"OB",
        &[0b0000_0001, 0b0000_0011, 0b10, 0],
    );
    assert_eq!(stored(&object, 0), Samples::U8(vec![1, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(stored(&object, 1), Samples::U8(vec![1, 0, 0, 0, 0, 0, 0, 0, 1]));
}

/// PS3.3, C.7.6.3.1.3.
#[test]
fn planes_become_pixels() {
    let object = Object::image(EXPLICIT, 1, 2, (8, 8), false)
        .us(tag::SAMPLES_PER_PIXEL, 3)
        .text(tag::PHOTOMETRIC, *b"CS", "RGB")
        .us(tag::PLANAR_CONFIGURATION, 1)
        .element(tag::PIXELS, *b"OB", &[1, 2, 3, 4, 5, 6]);
    assert_eq!(stored(&object, 0), Samples::U8(vec![1, 3, 5, 2, 4, 6]));
}

#[test]
fn attributes_that_contradict_each_other_are_corrupt() {
    let sound = || Object::image(EXPLICIT, 1, 2, (8, 8), false).element(tag::PIXELS, *b"OB", &[1, 2]);
    let kind = |object: Object| frame(&object.bytes(), 0).unwrap_err().kind;
    assert_eq!(kind(sound().us(tag::ROWS, 0)), ErrorKind::Corrupt);
    assert_eq!(kind(sound().us(tag::BITS_STORED, 9)), ErrorKind::Corrupt);
    assert_eq!(kind(sound().us(tag::BITS_STORED, 0)), ErrorKind::Corrupt);
    assert_eq!(kind(sound().us(tag::HIGH_BIT, 8)), ErrorKind::Corrupt);
    assert_eq!(kind(sound().us(tag::HIGH_BIT, 6)), ErrorKind::Corrupt);
    assert_eq!(kind(sound().us(tag::SAMPLES_PER_PIXEL, 3)), ErrorKind::Corrupt);
    assert_eq!(kind(sound().element(tag::ROWS, *b"US", &[])), ErrorKind::Corrupt);
    assert_eq!(kind(sound().text(tag::NUM_FRAMES, *b"IS", "1A")), ErrorKind::Corrupt);
    assert_eq!(kind(sound().us(tag::BITS_ALLOCATED, 24)), ErrorKind::Unsupported);
    assert_eq!(kind(sound().text(tag::PHOTOMETRIC, *b"CS", "YBR_PARTIAL_422")), ErrorKind::Unsupported);
    assert_eq!(kind(sound().us(tag::ROWS, 9)), ErrorKind::Truncated);
    assert_eq!(kind(sound().text(tag::NUM_FRAMES, *b"IS", "4000000000")), ErrorKind::Truncated);
    assert_eq!(
        kind(sound().element(tag::PIXELS, *b"OB", &[0; 40])),
        ErrorKind::Corrupt,
        "20 frames instead of 1"
    );
}

#[test]
fn limits_are_checked_before_anything_is_allocated() {
    let object = Object::image(EXPLICIT, 2, 2, (8, 8), false).element(tag::PIXELS, *b"OB", &[0; 4]);
    let bytes = object.bytes();
    let spec = super::instance(&bytes).unwrap().frame_spec(0).unwrap();
    for (max_pixels, max_decoded_bytes) in [(3, 100), (100, 3)] {
        let limits = crate::Limits { max_pixels, max_decoded_bytes };
        assert_eq!(crate::decode_frame(&spec, &[0; 4], &limits).unwrap_err().kind, ErrorKind::TooLarge);
    }
}

#[test]
fn a_specification_moves_between_threads() {
    fn moves<T: Send + Sync + 'static>() {}
    moves::<crate::FrameSpec>();
    moves::<crate::Instance>();
    moves::<crate::Stored>();
}
