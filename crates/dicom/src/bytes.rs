//! The bytes of an object of which only some ranges may have been read.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What is said about an object that has been read in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// It is what would be said about the whole object.
    Done(Result<T, Error>),
    /// These bytes are read first; then the same call is made again.
    Needs(Range<u64>),
}

/// An object, read as a whole or in ranges.
pub trait Bytes {
    /// Returns the number of bytes of the object, read or not.
    fn len(&self) -> u64;

    /// Returns `len` bytes from `at`; `None` past the end, and where they have not been read.
    fn slice(&self, at: u64, len: usize) -> Option<&[u8]>;

    /// Tells an object without bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Bytes for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(at).ok()?;
        self.get(start..start.checked_add(len)?)
    }
}

impl Bytes for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }

    fn slice(&self, at: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(at).ok()?;
        self.get(start..start.checked_add(len)?)
    }
}

/// Why a parser stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    Needs(Range<u64>),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl<T> From<Result<T, Stop>> for Step<T> {
    fn from(result: Result<T, Stop>) -> Self {
        match result {
            Ok(found) => Self::Done(Ok(found)),
            Err(Stop::Error(error)) => Self::Done(Err(error)),
            Err(Stop::Needs(range)) => Self::Needs(range),
        }
    }
}

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    pub(crate) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }

    pub(crate) fn u64(self, bytes: &[u8], at: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
        Some(match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        })
    }
}
