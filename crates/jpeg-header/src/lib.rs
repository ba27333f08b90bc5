//! The segments and the frame header of JPEG files (ITU-T T.81, annex B).
//!
//! What describes an image needs only these, so that a change of the decoder (`tilefleet-jpeg`) compiles nothing of it
//! again. Nothing here decodes.

pub mod frame;
mod header;
mod parameters;
pub mod segments;

pub use self::frame::{Component, Frame, frame, is_frame};
pub use self::header::{Header, Process, header};
pub use self::parameters::{FrameParameters, frame_segment};
pub use self::segments::{Segment, Segments, marker};
pub use tilefleet_codec::{Error, ErrorKind};
