//! How the samples of a page are compressed: codes of TIFF 6.0, its supplements and libtiff's registry.

use crate::formats::raster::{Codec, LercExtra};

/// A codec that is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnknownCodec {
    /// It has a name.
    #[error("{name} compression ({code})")]
    Named { name: &'static str, code: u64 },
    #[error("compression {0}")]
    Unnamed(u64),
    /// LERC whose output is compressed once more.
    #[error("LERC with a second compression ({0})")]
    Lerc(u64),
}

/// Returns the codec with this code.
pub(super) fn codec(code: u64, lerc_parameters: &[u64]) -> Result<Codec, UnknownCodec> {
    Ok(match code {
        1 => Codec::None,
        5 => Codec::Lzw,
        7 => Codec::Jpeg,
        8 | 32_946 => Codec::Deflate,
        32_773 => Codec::PackBits,
        34_887 => Codec::Lerc(match lerc_parameters.get(1) {
            None | Some(0) => LercExtra::None,
            Some(1) => LercExtra::Deflate,
            Some(2) => LercExtra::Zstd,
            Some(other) => return Err(UnknownCodec::Lerc(*other)),
        }),
        50_000 => Codec::Zstd,
        50_001 => Codec::WebP,
        _ => return Err(unknown(code)),
    })
}

/// Tells whether a predictor may stand before a codec; with others the tag means nothing.
pub(super) fn takes_predictor(codec: Codec) -> bool {
    matches!(codec, Codec::Lzw | Codec::Deflate | Codec::Zstd)
}

fn unknown(code: u64) -> UnknownCodec {
    let name = match code {
        2 => "CCITT RLE",
        3 => "CCITT Group 3 fax",
        4 => "CCITT Group 4 fax",
        6 => "old-style JPEG",
        9 | 10 => "JBIG",
        32_809 => "ThunderScan",
        33_003 | 33_004 | 33_005 | 34_712 => "JPEG 2000",
        34_676 => "SGI LogLuv",
        34_677 => "24-bit SGI LogLuv",
        34_925 => "LZMA",
        50_002 | 52_546 => "JPEG XL",
        _ => return UnknownCodec::Unnamed(code),
    };
    UnknownCodec::Named { name, code }
}
