//! Reads DICOM objects (PS3.10) by ranges, and renders their frames in the order of the standard.
//!
//! Does no I/O: what has been read of an object comes in as [`Bytes`], and a [`Step`] says which range is needed next.
//!
//! ```text
//! parse ─▶ Instance ─▶ locate ─▶ ranges of frames ─▶ (whoever reads)
//!             │                                             │
//!             └─▶ frame_spec ─▶ FrameSpec ─▶ decode_frame ◀─┘
//!                                                │
//!                        Stored ◀────────────────┘  values of Bits Stored bits, with their sign
//!                          ├─▶ padding   which pixels are none
//!                          ├─▶ modality  such as Hounsfield units
//!                          └─▶ display   window, presentation, RGB
//! ```
//!
//! Errors name codes, tags and numbers, never a text of the data set: that may identify a patient.

mod bytes;
mod data;
mod decode;
mod display;
mod error;
mod frames;
mod image;
mod inflate;
mod instance;
mod lut;
mod modality;
mod padding;
mod palette;
mod sniff;
mod spec;
mod stored;
mod syntax;
mod tag;
#[cfg(test)]
mod test_objects;
#[cfg(test)]
mod tests;
mod voi;
mod walk;

pub use bytes::{Bytes, Step};
pub use decode::{Limits, decode_frame};
pub use display::{Picture, Shade, display};
pub use error::{Error, ErrorKind};
pub use frames::FrameBytes;
pub use image::{ImageModule, Photometric, PixelKind};
pub use instance::{Instance, MAX_DEFLATED_BYTES, Spacing, SpacingSource, parse};
pub use modality::{Values, modality};
pub use padding::padding;
pub use sniff::{SNIFF_BYTES, is_dicom};
pub use spec::{FrameCoding, FrameSpec};
pub use stored::{Colours, Samples, Stored};
pub use syntax::{Codec, TransferSyntax};
pub use tag::Tag;
pub use voi::{Function, Window};
pub use walk::MAX_HEADER_BYTES;
