//! Why a code stream is not decoded.

use std::fmt;

/// A code stream that is not decoded, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of reason it is.
    pub kind: ErrorKind,
    /// Particulars for people.
    pub detail: String,
}

/// Why a code stream is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It ends too early.
    Truncated,
    /// It contradicts itself or the standard.
    Corrupt,
    /// It is real JPEG 2000 of a kind that is not decoded.
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

/// What parsers and decoders here return.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// The code stream ends too early.
pub(crate) fn truncated(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Truncated, detail: detail.into() }
}

/// The code stream contradicts the standard or itself.
pub(crate) fn corrupt(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Corrupt, detail: detail.into() }
}

/// The code stream may be right, and this decoder does not read its kind.
pub(crate) fn unsupported(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Unsupported, detail: detail.into() }
}

/// The code stream asks for more than the limits allow.
pub(crate) fn too_large(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::TooLarge, detail: detail.into() }
}
