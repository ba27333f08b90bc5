//! Where frames lie.

use std::ops::Range;

use super::{EXPLICIT, done, frame, instance};
use crate::test_objects::Object;
use crate::{Bytes, ErrorKind, Samples, Step, tag};

/// Samples as they are, in items: any bytes are a frame.
const ENCAPSULATED: &str = "1.2.840.10008.1.2.1.98";
const BASELINE: &str = "1.2.840.10008.1.2.4.50";

fn frames(num: &str) -> Object {
    Object::image(ENCAPSULATED, 1, 4, (8, 8), false).text(tag::NUM_FRAMES, *b"IS", num)
}

fn values(object: &Object, number: u32) -> Vec<u8> {
    match frame(&object.bytes(), number).unwrap().1.values {
        Samples::U8(values) => values,
        values => panic!("{values:?}"),
    }
}

const FIRST: &[u8] = &[1, 2, 3, 4];
const SECOND: &[u8] = &[5, 6, 7, 8];

/// PS3.5, annex A.4: offsets are counted from behind the table, to the item of a frame's first fragment.
#[test]
fn a_basic_table_leads_to_fragments() {
    let object = frames("2").fragments(&[0, 20], &[&FIRST[..2], &FIRST[2..], SECOND]);
    assert_eq!((values(&object, 0), values(&object, 1)), (FIRST.to_vec(), SECOND.to_vec()));
}

/// PS3.3, C.7.6.3.1.8 and C.7.6.3.1.9.
#[test]
fn an_extended_table_comes_first() {
    let longs = |values: [u64; 2]| values.map(u64::to_le_bytes).concat();
    let object = frames("2")
        .element(tag::EXTENDED_OFFSETS, *b"OV", &longs([0, 12]))
        .element(tag::EXTENDED_LENGTHS, *b"OV", &longs([4, 4]))
        .fragments(&[], &[FIRST, SECOND]);
    assert_eq!((values(&object, 0), values(&object, 1)), (FIRST.to_vec(), SECOND.to_vec()));
    for (offsets, lengths) in
        [([0, 11], [4, 4]), ([0, 12], [4, u64::MAX]), ([12, 0], [4, 4]), ([0, 12], [9, 4])]
    {
        let object = object
            .clone()
            .element(tag::EXTENDED_OFFSETS, *b"OV", &longs(offsets))
            .element(tag::EXTENDED_LENGTHS, *b"OV", &longs(lengths))
            .fragments(&[], &[FIRST, SECOND]);
        let kind = (0..2).find_map(|number| frame(&object.bytes(), number).err()).unwrap().kind;
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Truncated), "{offsets:?} {lengths:?}");
    }
}

#[test]
fn without_a_table_fragments_are_counted() {
    let object = frames("2").fragments(&[], &[FIRST, SECOND]);
    assert_eq!((values(&object, 0), values(&object, 1)), (FIRST.to_vec(), SECOND.to_vec()));
    let one = frames("1").fragments(&[], &[&FIRST[..2], &FIRST[2..]]);
    assert_eq!(values(&one, 0), FIRST, "all fragments are the only frame");
    for fragments in [&[FIRST][..], &[FIRST, SECOND, FIRST]] {
        let object = frames("2").fragments(&[], fragments);
        assert_eq!(frame(&object.bytes(), 0).unwrap_err().kind, ErrorKind::Corrupt);
    }
}

/// Each image begins with a marker of its own.
#[test]
fn more_fragments_than_frames_are_split_where_images_start() {
    let start: &[u8] = &[0xFF, 0xD8, 0xFF, 0xE0];
    let rest: &[u8] = &[1, 2, 3, 4];
    let object = Object::image(BASELINE, 1, 4, (8, 8), false)
        .text(tag::NUM_FRAMES, *b"IS", "2")
        .fragments(&[], &[start, rest, rest, start, rest]);
    let bytes = object.bytes();
    let instance = instance(&bytes).unwrap();
    let found = done(instance.locate(&bytes.as_slice(), &[1, 0])).unwrap();
    assert_eq!([found[0].num_bytes(), found[1].num_bytes()], [24, 36]);
}

#[test]
fn offsets_that_contradict_each_other_are_corrupt() {
    for table in [&[0, 0][..], &[4, 12], &[0], &[0, 12, 24], &[12, 0], &[0, 10], &[0, 4000]] {
        let object = frames("2").fragments(table, &[FIRST, SECOND]);
        let kind = (0..2).find_map(|number| frame(&object.bytes(), number).err()).unwrap().kind;
        assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::Truncated), "{table:?}: {kind:?}");
    }
    let object = frames("2").fragments(&[0, 12], &[FIRST, SECOND]);
    assert_eq!(frame(&object.bytes(), 2).unwrap_err().kind, ErrorKind::Corrupt, "there is no third frame");
    let bytes = object.bytes();
    let cut = &bytes[..bytes.len() - 10];
    assert_eq!(frame(cut, 1).unwrap_err().kind, ErrorKind::Truncated);
    assert!(frame(cut, 0).is_ok(), "the first frame is all there");
}

#[test]
fn compressed_frames_need_items_and_others_a_length() {
    let object = Object::image(ENCAPSULATED, 1, 4, (8, 8), false).element(tag::PIXELS, *b"OB", FIRST);
    assert_eq!(frame(&object.bytes(), 0).unwrap_err().kind, ErrorKind::Corrupt);
    let object = Object::image(EXPLICIT, 1, 4, (8, 8), false).fragments(&[], &[FIRST]);
    assert_eq!(frame(&object.bytes(), 0).unwrap_err().kind, ErrorKind::Corrupt);
}

/// An object of which one range is there.
struct OneRange<'a> {
    whole: &'a [u8],
    there: Range<u64>,
}

impl Bytes for OneRange<'_> {
    fn len(&self) -> u64 {
        self.whole.len() as u64
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        let end = at + len as u64;
        let is_there = self.there.start <= at && end <= self.there.end;
        is_there.then(|| &self.whole[at as usize..end as usize])
    }
}

/// Returns how many bytes and requests the places of frames take beyond the header, if nothing that is read is kept.
fn traffic(bytes: &[u8], frames: &[u32]) -> (u64, usize) {
    let instance = instance(bytes).unwrap();
    let mut object = OneRange { whole: bytes, there: 0..0 };
    let (mut num_bytes, mut num_requests) = (0, 0);
    loop {
        match instance.locate(&object, frames) {
            Step::Done(found) => {
                assert_eq!(found.unwrap().len(), frames.len());
                return (num_bytes, num_requests);
            }
            Step::Needs(range) => {
                assert_ne!(object.there, range, "it was there");
                num_bytes += range.end - range.start;
                num_requests += 1;
                object.there = range;
            }
        }
    }
}

/// A plan asks for frame after frame: what was read of the table is not read again.
#[test]
fn places_are_found_once() {
    let object = frames("2").fragments(&[0, 12], &[FIRST, SECOND]).bytes();
    let instance = instance(&object).unwrap();
    let locate = |frame| done(instance.locate(&object, &[frame])).unwrap();
    let first = locate(0);
    let mut cut = object.clone();
    let table = cut.len() - 8 - 2 * 12 - 8;
    cut[table..table + 8].fill(0xEE);
    assert_eq!(done(instance.locate(&cut, &[0])).unwrap(), first);
    assert_eq!(locate(1)[0].num_bytes(), 12);
}

/// The last frame is several fragments, and each of them is looked at once.
#[test]
fn a_last_frame_of_many_fragments_is_walked_once() {
    let payload = vec![0_u8; 64 << 10];
    let fragments = vec![payload.as_slice(); 10];
    let object = Object::image(ENCAPSULATED, 256, 256, (8, 8), false).text(tag::NUM_FRAMES, *b"IS", "2");
    let object = object.fragments(&[0, 8 + (64 << 10)], &fragments).bytes();
    assert_eq!(traffic(&object, &[1, 0, 1]), (12 + 8 + 9 * 12 + 8, 12));
}

/// An error is found once: the walk is not begun again for the next frame.
#[test]
fn what_is_wrong_with_fragments_is_found_once() {
    let object = frames("3").fragments(&[], &[FIRST, SECOND]).bytes();
    let instance = instance(&object).unwrap();
    let first = done(instance.locate(&object, &[0])).unwrap_err();
    assert_eq!(first.kind, ErrorKind::Corrupt);
    let nothing = OneRange { whole: &object, there: 0..0 };
    assert_eq!(done(instance.locate(&nothing, &[1])).unwrap_err(), first);
}

/// 600 frames of 64 KiB: a table leads there in one or two requests; without one, each item is looked at.
#[test]
fn payloads_are_never_read_to_find_frames() {
    let payload = vec![0_u8; 64 << 10];
    let payloads: Vec<&[u8]> = vec![&payload; 600];
    let item = 8 + payload.len() as u32;
    let table: Vec<u32> = (0..600).map(|frame| frame * item).collect();
    let object = Object::image(ENCAPSULATED, 256, 256, (8, 8), false).text(tag::NUM_FRAMES, *b"IS", "600");
    let chosen = [3, 99, 200, 201, 500];
    let basic = object.clone().fragments(&table, &payloads).bytes();
    assert_eq!(traffic(&basic, &chosen), (12 + 4 * 600, 2));
    assert_eq!(traffic(&basic, &[599]), (12 + 4 * 600 + 12 + 8, 4), "no table says where the last one ends");
    let longs =
        |values: &mut dyn Iterator<Item = u64>| values.flat_map(u64::to_le_bytes).collect::<Vec<u8>>();
    let extended = object
        .clone()
        .element(tag::EXTENDED_OFFSETS, *b"OV", &longs(&mut table.iter().map(|&offset| offset.into())))
        .element(tag::EXTENDED_LENGTHS, *b"OV", &longs(&mut (0..600).map(|_| payload.len() as u64)))
        .fragments(&[], &payloads)
        .bytes();
    assert_eq!(traffic(&extended, &chosen), (12, 1));
    let none = object.fragments(&[], &payloads).bytes();
    assert_eq!(traffic(&none, &chosen), (12 * 601 + 8, 602), "the table, 600 frames, the end");
    let native = Object::image(EXPLICIT, 256, 256, (8, 8), false)
        .text(tag::NUM_FRAMES, *b"IS", "600")
        .element(tag::PIXELS, *b"OB", &payloads.concat())
        .bytes();
    assert_eq!(traffic(&native, &chosen), (0, 0));
}
