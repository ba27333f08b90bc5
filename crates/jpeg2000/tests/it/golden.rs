//! Every option of `OpenJPEG`'s encoder, and HTJ2K of `OpenJPH`.

use tilefleet_jpeg2000::{Decoder, decode};

use crate::cases::{self, OPTIONS};

pub(crate) static STREAMS: &[u8] = include_bytes!("../../golden/streams.bin");

/// Returns a stream by its name.
pub(crate) fn stream(name: &str) -> Vec<u8> {
    let cases = cases::read(STREAMS);
    cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}")).stream.to_vec()
}

/// Reversible streams give exactly the samples that `OpenJPEG` decodes, irreversible ones within 1.
#[test]
fn samples_are_those_of_openjpeg() {
    let cases = cases::read(STREAMS);
    assert!(cases.len() > 80);
    let wrong: Vec<String> = cases.iter().filter_map(cases::Case::difference).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// A decoder that has decoded other images, and got them back, decodes as a new one does.
#[test]
fn buffers_do_not_matter() {
    let mut decoder = Decoder::new();
    for case in cases::read(STREAMS) {
        let image = decoder.decode(case.stream, &OPTIONS).unwrap();
        assert!(decode(case.stream, &OPTIONS) == Ok(image.clone()), "{}", case.name);
        decoder.recycle(image);
    }
}
