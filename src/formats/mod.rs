//! What formats say about themselves, without I/O: given bytes, these modules answer with a layout.
//!
//! They stand left of both `plan` and `decode`: planning needs sizes, decoding needs the layout.

pub mod bytes;
pub mod cog_writer;
pub mod dicom;
pub mod image;
pub mod partial;
pub mod raster;
pub mod reader;
pub(crate) mod tags;
pub mod tiff;
