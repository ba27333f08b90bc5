//! Why a file is not decoded.

use std::fmt;

/// A file that is not decoded, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of reason it is.
    pub kind: ErrorKind,
    /// Particulars for people.
    pub detail: String,
}

/// Why a file is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It ends too early.
    Truncated,
    /// It contradicts itself or the standard.
    Corrupt,
    /// It is sound, and of a kind that is not decoded.
    Unsupported,
    /// It has more pixels, or takes more memory, than allowed.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}

/// What parsers and decoders return.
pub type Result<T> = std::result::Result<T, Error>;

/// The file ends too early.
pub fn truncated(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Truncated, detail: detail.into() }
}

/// The file contradicts the standard or itself.
pub fn corrupt(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Corrupt, detail: detail.into() }
}

/// The file may be right, and this decoder does not read its kind.
pub fn unsupported(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Unsupported, detail: detail.into() }
}

/// The file asks for more than the limits allow.
pub fn too_large(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::TooLarge, detail: detail.into() }
}
