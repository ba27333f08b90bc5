//! What is wrong with an object: a code, tags and numbers, since any text of a data set may identify a patient.

use std::fmt;

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are no DICOM object.
    NotDicom,
    /// The object has no frames of pixels: a report, a document, a waveform, a directory.
    NotAnImage,
    /// It ends before all that it announces.
    Truncated,
    /// It contradicts itself or the standard.
    Corrupt,
    /// It is sound, and nothing here reads it.
    Unsupported,
    /// It asks for more than the limits.
    TooLarge,
}

/// An object or frame that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of fault it is.
    pub kind: ErrorKind,
    /// What is wrong, by tags, UIDs of the standard and numbers; no text of the data set.
    pub detail: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)
    }
}

impl std::error::Error for Error {}

/// Says what a decoder says; its words are of codes and numbers only.
impl From<tilefleet_codec::Error> for Error {
    fn from(error: tilefleet_codec::Error) -> Self {
        let kind = match error.kind {
            tilefleet_codec::ErrorKind::Truncated => ErrorKind::Truncated,
            tilefleet_codec::ErrorKind::Corrupt => ErrorKind::Corrupt,
            tilefleet_codec::ErrorKind::Unsupported => ErrorKind::Unsupported,
            tilefleet_codec::ErrorKind::TooLarge => ErrorKind::TooLarge,
        };
        Self { kind, detail: error.detail }
    }
}

pub(crate) fn not_dicom(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::NotDicom, detail: detail.into() }
}

pub(crate) fn not_an_image(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::NotAnImage, detail: detail.into() }
}

pub(crate) fn truncated(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Truncated, detail: detail.into() }
}

pub(crate) fn corrupt(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Corrupt, detail: detail.into() }
}

pub(crate) fn unsupported(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::Unsupported, detail: detail.into() }
}

pub(crate) fn too_large(detail: impl Into<String>) -> Error {
    Error { kind: ErrorKind::TooLarge, detail: detail.into() }
}
