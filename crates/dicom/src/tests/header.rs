//! Objects told by their start, headers in all encodings, and hostile ones.

use super::{EXPLICIT, IMPLICIT, instance};
use crate::test_objects::{Object, head};
use crate::{Bytes, Codec, ErrorKind, SpacingSource, Step, Tag, is_dicom, parse, tag};

fn sound() -> Object {
    Object::image(EXPLICIT, 1, 2, (8, 8), false).element(tag::PIXELS, *b"OB", &[1, 2])
}

/// PS3.10, 7.1: the preamble may hold anything, such as the header of a TIFF.
#[test]
fn the_prefix_decides_whatever_the_preamble_holds() {
    let mut bytes = sound().bytes();
    bytes[..8].copy_from_slice(b"II*\0\x08\0\0\0");
    assert!(is_dicom(&bytes) && instance(&bytes).unwrap().image().is_ok());
    assert!(!is_dicom(b"II*\0\x08\0\0\0") && !is_dicom(&bytes[..128]) && !is_dicom(&[]));
    assert!(!is_dicom(b"\x89PNG\r\n\x1a\n") && !is_dicom(&[0xFF, 0xD8, 0xFF, 0xE0]) && !is_dicom(&[0; 300]));
    assert_eq!(instance(&[0; 300]).unwrap_err().kind, ErrorKind::NotDicom);
}

#[test]
fn data_sets_without_a_prefix_are_told_by_their_first_elements() {
    for syntax in [EXPLICIT, IMPLICIT] {
        let object = Object::image(syntax, 1, 2, (8, 8), false)
            .text(tag::SOP_CLASS, *b"UI", "1.2.840.10008.5.1.4.1.1.7")
            .element(tag::PIXELS, *b"OB", &[1, 2]);
        let bytes = object.data_set();
        assert!(is_dicom(&bytes[..bytes.len().min(crate::SNIFF_BYTES)]));
        let instance = instance(&bytes).unwrap();
        assert_eq!(instance.transfer_syntax().uid(), syntax);
        assert!(instance.image().is_ok());
        // File meta information without a preamble.
        let bare = [&head(syntax)[132..], &bytes].concat();
        assert!(is_dicom(&bare) && super::instance(&bare).unwrap().image().is_ok());
    }
}

/// What the data set shows is right: writers mislabel explicit and implicit.
#[test]
fn a_data_set_may_be_encoded_otherwise_than_its_syntax_says() {
    let explicit = [head(IMPLICIT), sound().data_set()].concat();
    assert!(instance(&explicit).unwrap().image().is_ok());
    let implicit = Object::image(IMPLICIT, 1, 2, (8, 8), false).element(tag::PIXELS, *b"OB", &[1, 2]);
    assert!(instance(&[head(EXPLICIT), implicit.data_set()].concat()).unwrap().image().is_ok());
}

#[test]
fn attributes_are_read_without_padding() {
    let object = sound()
        .text(tag::PATIENT_ID, *b"LO", " A 1 ")
        .text(tag::ISSUER_OF_PATIENT_ID, *b"LO", "   ")
        .element(tag::STUDY_INSTANCE, *b"UI", b"1.2.3\0")
        .text(tag::LATERALITY, *b"CS", "L")
        .text(tag::IMAGER_PIXEL_SPACING, *b"DS", "0.1\\0.2")
        .text(tag::IMAGE_ORIENTATION, *b"DS", "1\\0\\0\\0\\1\\0");
    let instance = instance(&object.bytes()).unwrap();
    assert_eq!(instance.patient_id().as_deref(), Some("A 1"));
    assert_eq!(instance.issuer_of_patient_id(), None, "a blank id is none");
    assert_eq!(instance.study_uid().as_deref(), Some("1.2.3"));
    assert_eq!(instance.series_uid(), None);
    assert_eq!(instance.laterality(0).as_deref(), Some("L"));
    let spacing = instance.pixel_spacing(0).unwrap();
    assert_eq!(
        (spacing.rows_mm, spacing.columns_mm, spacing.source),
        (0.1, 0.2, SpacingSource::ImagerPixelSpacing)
    );
    assert_eq!(instance.orientation(0), Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]));
    assert_eq!(instance.string(tag::ROWS).as_deref(), Some("1"));
    assert_eq!(instance.string(Tag(0x0002, 0x0010)).as_deref(), Some(EXPLICIT));
    assert_eq!(instance.string(tag::PIXELS), None);
}

/// Two ids of an unknown character set never become one text.
#[test]
fn texts_that_are_no_utf_8_stay_different() {
    let id = |bytes: &[u8]| {
        let object = sound().element(tag::PATIENT_ID, *b"LO", bytes);
        instance(&object.bytes()).unwrap().patient_id().unwrap()
    };
    assert_ne!(id(&[b'M', 0xFC]), id(&[b'M', 0xF6]));
    assert_eq!(id(&[b'M', 0xFC]), "Mü");
}

/// In implicit syntax, numbers are known by the standard's dictionary.
#[test]
fn values_have_the_representation_of_the_dictionary() {
    let object = Object::image(IMPLICIT, 1, 2, (8, 8), false)
        .element(Tag(0x0018, 0x9087), *b"FD", &1000.5_f64.to_le_bytes())
        .element(tag::PIXELS, *b"OB", &[1, 2]);
    let instance = instance(&object.bytes()).unwrap();
    assert_eq!(instance.string(Tag(0x0018, 0x9087)).as_deref(), Some("1000.5"));
    assert_eq!(instance.string(tag::BITS_STORED).as_deref(), Some("8"));
}

#[test]
fn objects_without_pixels_say_their_class() {
    let report = Object::new(EXPLICIT).text(tag::SOP_CLASS, *b"UI", "1.2.840.10008.5.1.4.1.1.88.11");
    let error = instance(&report.bytes()).unwrap().image().unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotAnImage);
    assert!(error.detail.contains("1.2.840.10008.5.1.4.1.1.88.11"), "{error}");
    let directory = Object::new(EXPLICIT).text(tag::SOP_CLASS, *b"UI", "1.2.840.10008.1.3.10");
    assert!(instance(&directory.bytes()).unwrap().is_directory());
    let video = Object::image("1.2.840.10008.1.2.4.103", 1, 2, (8, 8), false).fragments(&[], &[&[0; 4]]);
    let video = instance(&video.bytes()).unwrap();
    assert_eq!(video.image().unwrap_err().kind, ErrorKind::Unsupported);
    assert_eq!(video.transfer_syntax().codec(), Codec::Video);
}

/// Names lie in each attribute that an error may be about, and in the class and the syntax.
#[test]
fn errors_hold_no_text_of_the_object() {
    let objects = [
        sound().text(tag::PHOTOMETRIC, *b"CS", "CANARY"),
        sound().text(tag::NUM_FRAMES, *b"IS", "CANARY"),
        sound().text(tag::RESCALE_SLOPE, *b"DS", "CANARY"),
        sound().text(tag::WINDOW_CENTER, *b"DS", "CANARY").text(tag::WINDOW_WIDTH, *b"DS", "CANARY"),
        sound().text(tag::WINDOW_CENTER, *b"DS", "1").text(tag::WINDOW_WIDTH, *b"DS", "9").text(
            tag::VOI_FUNCTION,
            *b"CS",
            "CANARY",
        ),
        sound().element(tag::ROWS, *b"US", b""),
        Object::new(EXPLICIT).text(tag::SOP_CLASS, *b"UI", "1.2.840.10008.CANARY"),
        Object::new(EXPLICIT).text(tag::SOP_CLASS, *b"UI", "CANARY"),
        Object::image("CANARY", 1, 2, (8, 8), false).element(tag::PIXELS, *b"OB", &[1, 2]),
    ];
    for object in objects {
        let error = super::shown(&object).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
}

/// Reads in ranges, and returns what was asked for.
fn needs(bytes: &[u8]) -> Vec<u64> {
    struct Prefix<'a>(&'a [u8], u64);
    impl Bytes for Prefix<'_> {
        fn len(&self) -> u64 {
            self.0.len() as u64
        }
        fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
            (at + len as u64 <= self.1).then(|| &self.0[at as usize..at as usize + len])
        }
    }
    let (mut ends, mut end) = (Vec::new(), 0);
    while let Step::Needs(range) = parse(&Prefix(bytes, end)) {
        assert!(range.end > end && range.end <= bytes.len() as u64);
        end = range.end;
        ends.push(end);
    }
    ends
}

#[test]
fn headers_are_read_in_prefixes_that_double() {
    let short =
        Object::image(EXPLICIT, 512, 512, (8, 8), false).element(tag::PIXELS, *b"OB", &vec![0; 512 * 512]);
    assert_eq!(needs(&short.bytes()), [64 << 10]);
    let group = Object::new(EXPLICIT)
        .items(tag::PIXEL_MEASURES, &[Object::new(EXPLICIT).text(tag::PIXEL_SPACING, *b"DS", "1\\1")]);
    let groups = vec![group; 10_000];
    let long = short.items(tag::PER_FRAME_GROUPS, &groups).bytes();
    let ends = needs(&long);
    assert!(ends.len() <= 5, "{ends:?} of {}", long.len());
}

/// Long values that nothing reads are stepped over.
#[test]
fn long_values_are_not_read() {
    let bytes = sound().element(Tag(0x0009, 0x1001), *b"OB", &vec![0; 10 << 20]).bytes();
    let mut read = 0;
    let mut ranges = Vec::new();
    loop {
        let object = Ranges(&bytes, ranges.clone());
        match parse(&object) {
            Step::Needs(range) => {
                read += range.end - range.start;
                ranges.push(range);
            }
            Step::Done(instance) => break assert!(instance.unwrap().image().is_ok()),
        }
    }
    assert!(read < 200 << 10, "{read}");
}

struct Ranges<'a>(&'a [u8], Vec<std::ops::Range<u64>>);

impl Bytes for Ranges<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        let end = at + len as u64;
        let is_read = self.1.iter().any(|range| range.start <= at && end <= range.end);
        is_read.then(|| &self.0[at as usize..end as usize])
    }
}

/// Each of them takes a request.
#[test]
fn long_values_may_not_be_many() {
    let value = vec![0; 70 << 10];
    let with = |num: u16| {
        let add = |object: Object, number| object.element(Tag(0x0009, 0x1000 + number), *b"OB", &value);
        instance(&(0..num).fold(sound(), add).bytes())
    };
    assert!(with(20).is_ok());
    assert_eq!(with(300).unwrap_err().kind, ErrorKind::TooLarge);
}

#[test]
fn sequences_may_not_lie_too_deep() {
    let nested = |depth: usize| {
        let mut bytes = head(EXPLICIT);
        for _ in 0..depth {
            bytes.extend([0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
            bytes.extend([0xFE, 0xFF, 0, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        for _ in 0..depth {
            bytes.extend([0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        }
        instance(&bytes)
    };
    assert!(nested(30).is_ok());
    assert_eq!(nested(40).unwrap_err().kind, ErrorKind::Corrupt);
    assert_eq!(nested(100_000).unwrap_err().kind, ErrorKind::Corrupt);
}

#[test]
fn headers_that_are_cut_are_truncated() {
    let bytes = sound().text(tag::PATIENT_ID, *b"LO", "0123456789").bytes();
    let mut kinds: Vec<ErrorKind> = Vec::new();
    for len in 132..bytes.len() {
        match instance(&bytes[..len]).and_then(|instance| instance.image().cloned()) {
            Ok(image) => assert_eq!(image.rows, 1),
            Err(error) => kinds.push(error.kind),
        }
    }
    let expected = |kind: &ErrorKind| matches!(kind, ErrorKind::Truncated | ErrorKind::NotAnImage);
    assert!(kinds.iter().all(expected), "{kinds:?}");
    assert!(kinds.contains(&ErrorKind::Truncated));
}
