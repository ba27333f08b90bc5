//! The segments and the frame header of JPEG files (ITU-T T.81, annex B).
//!
//! What describes an image needs only these, so that a change of the decoder (`tilefleet-jpeg`) compiles nothing of it
//! again. Nothing here decodes.

pub mod error;
pub mod frame;
pub mod geometry;
mod header;
mod samples;
pub mod segments;

pub use self::error::{Error, ErrorKind};
pub use self::frame::{Component, Frame, frame, is_frame};
pub use self::geometry::{Size, Window};
pub use self::header::{Header, Process, header};
pub use self::samples::{Limits, Sample, Samples};
pub use self::segments::{Segment, Segments, marker};
