//! How the samples of a page are compressed: codes of TIFF 6.0, its supplements and libtiff's registry.

use std::fmt;

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZW (TIFF 6.0, section 13), also in the bit order of old writers.
    Lzw,
    /// JPEG (TIFF Technical Note 2).
    Jpeg,
    /// Deflate in a zlib stream.
    Deflate,
    /// `PackBits` (TIFF 6.0, section 9).
    PackBits,
    /// LERC, with what is around it.
    Lerc(LercExtra),
    /// Zstandard.
    Zstd,
    /// WebP.
    WebP,
}

/// What LERC's blobs are compressed with once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LercExtra {
    /// Nothing.
    None,
    /// Deflate.
    Deflate,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Returns the compression with this code; `Err` names one that is not decoded.
    pub(super) fn new(code: u64, lerc_parameters: &[u64]) -> Result<Self, String> {
        Ok(match code {
            1 => Self::None,
            5 => Self::Lzw,
            7 => Self::Jpeg,
            8 | 32_946 => Self::Deflate,
            32_773 => Self::PackBits,
            34_887 => Self::Lerc(match lerc_parameters.get(1) {
                None | Some(0) => LercExtra::None,
                Some(1) => LercExtra::Deflate,
                Some(2) => LercExtra::Zstd,
                Some(other) => return Err(format!("LERC compressed once more ({other})")),
            }),
            50_000 => Self::Zstd,
            50_001 => Self::WebP,
            _ => return Err(unknown(code)),
        })
    }

    /// Tells whether a predictor may stand before it; with others the tag means nothing.
    pub(super) fn takes_predictor(self) -> bool {
        matches!(self, Self::Lzw | Self::Deflate | Self::Zstd)
    }

    /// Returns how many bytes one stored byte can become; `None` where no header bounds it.
    ///
    /// Deflate: 258 bytes from 2 bits. LZW: 4094 bytes from 12 bits. `PackBits`: 128 from 2 bytes.
    #[must_use]
    pub fn max_ratio(self) -> Option<u64> {
        match self {
            Self::None => Some(1),
            Self::Deflate => Some(1040),
            Self::Lzw => Some(2730),
            Self::PackBits => Some(64),
            Self::Jpeg | Self::Lerc(_) | Self::Zstd | Self::WebP => None,
        }
    }
}

fn unknown(code: u64) -> String {
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
        _ => return format!("compression {code}"),
    };
    format!("{name} compression ({code})")
}

impl Compression {
    /// Returns its name, such as `lzw`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lzw => "lzw",
            Self::Jpeg => "jpeg",
            Self::Deflate => "deflate",
            Self::PackBits => "packbits",
            Self::Lerc(LercExtra::None) => "lerc",
            Self::Lerc(LercExtra::Deflate) => "lerc and deflate",
            Self::Lerc(LercExtra::Zstd) => "lerc and zstd",
            Self::Zstd => "zstd",
            Self::WebP => "webp",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was done to the samples before they were compressed (TIFF 6.0, section 14; Technical Note 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// Nothing.
    None,
    /// Each sample is stored as its difference to the one before it in the row.
    Horizontal,
    /// The bytes of a row's floats are sorted by significance, then stored as differences.
    FloatingPoint,
}

impl Predictor {
    /// Returns TIFF's code, 1 to 3.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::None => 1,
            Self::Horizontal => 2,
            Self::FloatingPoint => 3,
        }
    }
}
