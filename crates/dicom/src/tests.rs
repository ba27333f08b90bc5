//! Objects from their bytes to what a display shows.

use crate::test_objects::Object;
use crate::{Bytes, Error, Limits, Picture, Samples, Step, Stored, Values, tag};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const ANY: Limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };

fn done<T>(step: Step<T>) -> Result<T, Error> {
    match step {
        Step::Done(result) => result,
        Step::Needs(range) => panic!("all of the object is there, and {range:?} is asked for"),
    }
}

fn instance(bytes: &[u8]) -> Result<crate::Instance, Error> {
    done(crate::parse(&bytes))
}

fn frame(bytes: &[u8], frame: u32) -> Result<(crate::FrameSpec, Stored), Error> {
    let instance = instance(bytes)?;
    let found = done(instance.locate(&bytes, &[frame]))?;
    let joined: Vec<u8> = (found[0].ranges.iter())
        .flat_map(|range| bytes[range.start as usize..range.end as usize].to_vec())
        .collect();
    let spec = instance.frame_spec(frame)?;
    let stored = crate::decode_frame(&spec, &joined, &ANY)?;
    Ok((spec, stored))
}

#[test]
fn an_uncompressed_frame_goes_all_the_way() {
    let object = Object::image(EXPLICIT, 2, 2, (16, 12), true)
        .text(tag::RESCALE_SLOPE, b"DS", "2")
        .text(tag::RESCALE_INTERCEPT, b"DS", "-1024")
        .text(tag::WINDOW_CENTER, b"DS", "-1022\\5")
        .text(tag::WINDOW_WIDTH, b"DS", "5\\7")
        .words(tag::PIXELS, b"OW", &[0x0FFF, 0, 1, 0xF7FF]);
    let (spec, stored) = frame(&object.bytes(), 0).unwrap();
    assert_eq!(stored.values, Samples::I16(vec![-1, 0, 1, 2047]));
    assert_eq!(crate::modality(&spec, &stored).unwrap(), Values::I32(vec![-1026, -1024, -1022, 3070]));
    let shown: Picture<f64> = crate::display(&spec, &stored, None).unwrap();
    assert_eq!(shown.values, [0.0, 0.125, 0.625, 1.0]);
    assert_eq!(object.bytes().len() as u64, Bytes::len(&object.bytes()));
}
