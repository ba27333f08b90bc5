//! Every option of `OpenJPEG`'s encoder, and HTJ2K of `OpenJPH`.

use crate::cases;

pub(crate) static STREAMS: &[u8] = include_bytes!("../../golden/streams.bin");

/// Reversible streams give exactly the samples that `OpenJPEG` decodes, irreversible ones within 1.
#[test]
fn samples_are_those_of_openjpeg() {
    let cases = cases::read(STREAMS);
    assert!(cases.len() > 80);
    let wrong: Vec<String> = cases.iter().filter_map(cases::Case::difference).collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
