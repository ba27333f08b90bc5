//! What was drawn is what is read, in each transfer syntax.

use std::collections::BTreeSet;

use tilefleet_dicom::{ErrorKind, Instance, Limits, Samples, Step, decode_frame, parse};

use super::objects::{self, Object};
use super::writer::{Image, Syntax};

const ANY: Limits = Limits { max_pixels: u64::MAX, max_decoded_bytes: u64::MAX };

fn done<T>(step: Step<T>) -> Result<T, tilefleet_dicom::Error> {
    match step {
        Step::Done(result) => result,
        Step::Needs(range) => panic!("all of the object is there, and {range:?} is asked for"),
    }
}

/// Returns the stored values of a frame.
fn stored(file: &[u8], instance: &Instance, frame: u32) -> Samples {
    let found = done(instance.locate(&file, &[frame])).unwrap();
    let ranges = found[0].ranges.iter();
    let bytes: Vec<u8> =
        ranges.flat_map(|range| file[range.start as usize..range.end as usize].to_vec()).collect();
    decode_frame(&instance.frame_spec(frame).unwrap(), &bytes, &ANY).unwrap().values
}

/// Returns the values that were drawn, as a reader gives them.
fn drawn(image: &Image, frame: usize) -> Samples {
    let samples = image.frames[frame].iter();
    match (image.bits_allocated, image.signed) {
        (8, _) => Samples::U8(samples.map(|sample| *sample as u8).collect()),
        (_, false) => Samples::U16(samples.copied().collect()),
        (_, true) => Samples::I16(samples.map(|sample| sample.cast_signed()).collect()),
    }
}

/// The largest difference of two frames.
fn away(one: &Samples, other: &Samples) -> f64 {
    assert_eq!(one.len(), other.len());
    let pairs = one.to_f64().into_iter().zip(other.to_f64());
    pairs.map(|(one, other)| (one - other).abs()).fold(0.0, f64::max)
}

/// All syntaxes but baseline JPEG give back every value; that one is near, with a quality of 90.
#[test]
fn what_is_read_is_what_was_drawn() {
    let mut syntaxes = BTreeSet::new();
    for object in objects::all().iter().filter(|object| !object.is_cut) {
        let Some(image) = &object.image else { continue };
        let file = object.bytes().unwrap();
        let instance = done(parse(&file)).unwrap();
        assert_eq!(instance.transfer_syntax().uid(), object.syntax.uid(), "{}", object.path);
        let module = instance.image().unwrap();
        assert_eq!(module.num_frames as usize, image.frames.len(), "{}", object.path);
        for frame in 0..image.frames.len() {
            let (read, drawn) = (stored(&file, &instance, frame as u32), drawn(image, frame));
            if object.syntax == Syntax::JpegBaseline {
                assert!(away(&read, &drawn) < 24.0, "{}", object.path);
            } else {
                assert_eq!(read, drawn, "{}, frame {frame}", object.path);
            }
        }
        syntaxes.insert(object.syntax);
    }
    assert_eq!(syntaxes, BTreeSet::from(Syntax::ALL), "each syntax has an image");
}

/// The others have no image, or not all of one.
#[test]
fn what_is_no_image_says_why() {
    let kind = |object: &Object| {
        let file = object.bytes().unwrap();
        let instance = done(parse(&file)).unwrap();
        let found = instance.image().and_then(|_| done(instance.locate(&file, &[0])));
        found.unwrap_err().kind
    };
    let objects = objects::all();
    let others = objects.iter().filter(|object| object.is_cut || object.image.is_none());
    assert_eq!(others.map(kind).collect::<Vec<_>>(), [ErrorKind::Truncated, ErrorKind::NotAnImage]);
}

/// The slices of a series differ in their syntax, and lie where they were drawn.
#[test]
fn slices_of_a_series_lie_one_after_another() {
    let instances = objects::all().into_iter().map(|object| done(parse(&object.bytes().unwrap())).unwrap());
    let ct: Vec<_> = instances.filter(|instance| instance.modality().as_deref() == Some("CT")).collect();
    let series: BTreeSet<_> = ct.iter().map(|instance| instance.series_uid().unwrap()).collect();
    let heights: Vec<_> = ct.iter().map(|instance| instance.image_position(0).unwrap()[2] as i32).collect();
    assert_eq!(series.len(), 2);
    assert_eq!(heights, [0, 10, 20, 30, 40, 10, 20, 30]);
}

/// What is looked for is long enough to be found by meaning only, and no two objects are the same to a reader.
#[test]
fn identifiers_are_told_apart() {
    let objects = objects::all();
    let words: BTreeSet<&str> = objects.iter().flat_map(Object::identifiers).collect();
    assert!(words.iter().all(|word| word.len() >= 6), "{words:?}");
    for word in ["Madeup", "Ellipsa", "MADEUP-0004", "19020304", "20030417", "Madeup General Hospital"] {
        assert!(words.contains(word), "{word} is not looked for");
    }
    let instances: BTreeSet<_> =
        objects.iter().map(|object| done(parse(&object.bytes().unwrap())).unwrap().instance_uid()).collect();
    assert_eq!(instances.len(), objects.len());
}
