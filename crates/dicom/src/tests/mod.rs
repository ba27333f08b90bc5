//! Objects from their bytes to what a display shows.

mod frames;
mod header;
mod pixels;
mod values;

use crate::test_objects::Object;
use crate::{Error, FrameSpec, Instance, Limits, Picture, Step, Stored};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";
const ANY: Limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };

fn done<T>(step: Step<T>) -> Result<T, Error> {
    match step {
        Step::Done(result) => result,
        Step::Needs(range) => panic!("all of the object is there, and {range:?} is asked for"),
    }
}

fn instance(bytes: &[u8]) -> Result<Instance, Error> {
    done(crate::parse(&bytes))
}

/// Returns the bytes of a frame, as whoever reads brings them.
fn fragments(bytes: &[u8], instance: &Instance, frame: u32) -> Result<Vec<u8>, Error> {
    let found = done(instance.locate(&bytes, &[frame]))?;
    let ranges = found[0].ranges.iter();
    Ok(ranges.flat_map(|range| bytes[range.start as usize..range.end as usize].to_vec()).collect())
}

fn frame(bytes: &[u8], frame: u32) -> Result<(FrameSpec, Stored), Error> {
    let instance = instance(bytes)?;
    let fragments = fragments(bytes, &instance, frame)?;
    let spec = instance.frame_spec(frame)?;
    let stored = crate::decode_frame(&spec, &fragments, &ANY)?;
    Ok((spec, stored))
}

fn shown(object: &Object) -> Result<Vec<f64>, Error> {
    let (spec, stored) = frame(&object.bytes(), 0)?;
    crate::display(&spec, &stored, None).map(|picture: Picture<f64>| picture.values)
}

fn assert_near(own: &[f64], expected: &[f64]) {
    assert_eq!(own.len(), expected.len());
    let near = own.iter().zip(expected).all(|(own, expected)| (own - expected).abs() < 1e-9);
    assert!(near, "{own:?}, and {expected:?} are expected");
}
