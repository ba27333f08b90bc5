//! Decodes JPEG 2000 (ITU-T T.800) and HTJ2K (T.814), and rejects damaged streams.
//!
//! Goes in: a code stream, or a JP2 file around one. Comes out: the samples of each component, as integers of its bits
//! and sign. Reversible streams are decoded exactly; of irreversible ones, samples are within 1 of `OpenJPEG`'s. What
//! a code stream does not say, such as colour spaces, is the caller's to know.
//!
//! A stream that is cut or contradicts itself is an error, never grey samples. Only the marker EOC may be missing,
//! which many encoders leave out. Damage inside a code-block mostly passes, since its coding has no redundancy.
//!
//! ```text
//! boxes ─▶ stream ─▶ tile ─▶ packets ─▶ block (mq) ─▶ wavelet ─▶ samples
//! JP2      headers   layout  bytes per  coefficients  5/3, 9/7   RCT, ICT,
//!                            code-block                          level shift
//! ```

#![expect(
    clippy::inline_always,
    reason = "what is compiled twice (cpu), and loops whose state stays in registers"
)]

mod block;
mod boxes;
mod bytes;
mod coding;
mod cpu;
mod decode;
mod ht;
mod mq;
mod packet_bits;
mod packets;
mod progression;
mod samples;
mod size;
mod stream;
mod tag_tree;
mod tile;
mod wavelet;

pub use decode::Decoder;
pub use tilefleet_codec::{Error, ErrorKind, Limits};

/// What the main header says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Columns of the reference grid.
    pub width: u32,
    /// Rows of the reference grid.
    pub height: u32,
    /// The components, in their order.
    pub components: Vec<Component>,
    /// How many times resolution can be halved, in all components.
    pub num_levels: u8,
    /// Layers of quality.
    pub num_layers: u16,
    /// All components are coded by the reversible transform.
    pub reversible: bool,
    /// A component has the block coder of T.814.
    pub high_throughput: bool,
    /// The first three components are transformed together (RCT or ICT).
    pub component_transform: bool,
}

/// What the main header says of a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Samples per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bits per sample, with the sign.
    pub bits: u8,
    /// Samples may be negative.
    pub signed: bool,
    /// Columns and rows of the reference grid per sample.
    pub sampling: (u8, u8),
}

impl Header {
    /// Parses the main header of a code stream or a JP2 file; it need not be whole behind that.
    ///
    /// # Errors
    ///
    /// Truncated, corrupt or unsupported.
    pub fn parse(data: &[u8]) -> Result<Self, Error> {
        let header =
            stream::main_header(&mut bytes::Bytes::new(boxes::code_stream(data)?, "the code stream"))?;
        let (size, coding) = (&header.size, &header.coding);
        let component = |(index, component): (usize, &size::ComponentSize)| Component {
            width: size.component(index).width(),
            height: size.component(index).height(),
            bits: component.bits,
            signed: component.signed,
            sampling: (component.dx, component.dy),
        };
        Ok(Self {
            width: size.image.width(),
            height: size.image.height(),
            components: size.components.iter().enumerate().map(component).collect(),
            num_levels: coding.components.iter().map(|component| component.num_levels).min().unwrap_or(0),
            num_layers: coding.num_layers,
            reversible: coding.components.iter().all(|component| component.reversible),
            high_throughput: (coding.components.iter())
                .any(|component| component.style & coding::style::HIGH_THROUGHPUT != 0),
            component_transform: coding.component_transform,
        })
    }
}

/// How a stream is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// What it may ask for: pixels of the reference grid, and bytes of samples, coefficients and tables.
    pub limits: Limits,
    /// How many times resolution is halved.
    pub skipped_levels: u8,
    /// A tile whose packets end before the last one is an error. Otherwise absent packets add nothing, as in streams
    /// that were cut to fewer layers.
    pub strict: bool,
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its components, in their order.
    pub planes: Vec<Plane>,
}

/// The samples of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Samples per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bits per sample, with the sign.
    pub bits: u8,
    /// Samples may be negative.
    pub signed: bool,
    /// Columns and rows of the reference grid per sample, at full resolution.
    pub sampling: (u8, u8),
    /// `[height, width]` values within `bits` and `signed`.
    pub samples: Vec<i32>,
}

/// Decodes a code stream or a JP2 file.
///
/// # Errors
///
/// Truncated, corrupt, unsupported, or larger than the limits allow.
pub fn decode(data: &[u8], options: &Options) -> Result<Image, Error> {
    Decoder::new().decode(data, options)
}
