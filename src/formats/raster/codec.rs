//! What was done to the samples of a block before they were stored: what a decoder is chosen by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How blocks are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
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
    /// A frame of a DICOM object, in whatever transfer syntax.
    Dicom,
}

/// What LERC's blobs are compressed with once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LercExtra {
    /// Nothing.
    None,
    /// Deflate.
    Deflate,
    /// Zstandard.
    Zstd,
}

impl Codec {
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
            Self::Jpeg | Self::Lerc(_) | Self::Zstd | Self::WebP | Self::Dicom => None,
        }
    }

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
            Self::Dicom => "dicom",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was done to the samples before they were compressed (TIFF 6.0, section 14; Technical Note 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
