//! What the decoders share (JPEG, JPEG-LS, JPEG 2000): why a file is not decoded, how much it may take, its samples.
//!
//! Nothing here knows a format. Whoever calls several decoders converts one error and hands on one set of limits.

mod error;
mod geometry;
mod samples;

pub use self::error::{Error, ErrorKind, Result, corrupt, too_large, truncated, unsupported};
pub use self::geometry::{Size, Window};
pub use self::samples::{Limits, Sample, Samples};
