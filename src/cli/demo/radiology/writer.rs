//! A minimal writer of DICOM files: what the phantoms need, and no more (PS3.5, 7 and annex A; PS3.10, 7.1).
//!
//! Goes in: a data set, element by element. Comes out: the bytes of a file. It checks nothing and is no part of what
//! reads DICOM, so that one can be compared with the other.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::codecs;
use crate::vocabulary::error::{Error, Result};

/// How a file is encoded: its transfer syntax (PS3.5, 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Syntax {
    ImplicitLittle,
    ExplicitLittle,
    ExplicitBig,
    Deflated,
    Rle,
    JpegBaseline,
    JpegLossless,
}

impl Syntax {
    pub(super) const ALL: [Self; 7] = [
        Self::ImplicitLittle,
        Self::ExplicitLittle,
        Self::ExplicitBig,
        Self::Deflated,
        Self::Rle,
        Self::JpegBaseline,
        Self::JpegLossless,
    ];

    /// Returns the UID of PS3.6, table A-1, and a short name.
    fn terms(self) -> (&'static str, &'static str) {
        match self {
            Self::ImplicitLittle => ("1.2.840.10008.1.2", "implicit little endian"),
            Self::ExplicitLittle => ("1.2.840.10008.1.2.1", "explicit little endian"),
            Self::ExplicitBig => ("1.2.840.10008.1.2.2", "explicit big endian"),
            Self::Deflated => ("1.2.840.10008.1.2.1.99", "deflated"),
            Self::Rle => ("1.2.840.10008.1.2.5", "RLE lossless"),
            Self::JpegBaseline => ("1.2.840.10008.1.2.4.50", "JPEG baseline"),
            Self::JpegLossless => ("1.2.840.10008.1.2.4.70", "JPEG lossless"),
        }
    }

    pub(super) fn uid(self) -> &'static str {
        self.terms().0
    }

    pub(super) fn name(self) -> &'static str {
        self.terms().1
    }

    pub(super) fn is_compressed(self) -> bool {
        matches!(self, Self::Rle | Self::JpegBaseline | Self::JpegLossless)
    }

    fn u16(self, number: u16) -> [u8; 2] {
        if self == Self::ExplicitBig { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        if self == Self::ExplicitBig { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}

/// Group and element.
pub(super) type Tag = (u16, u16);

const ITEM: Tag = (0xFFFE, 0xE000);
const SEQUENCE_END: Tag = (0xFFFE, 0xE0DD);
const PIXEL_DATA: Tag = (0x7FE0, 0x0010);

/// What an element holds.
#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Words(Vec<u16>),
    Bytes(Vec<u8>),
    Items(Vec<DataSet>),
    /// Compressed frames, one fragment each.
    Frames(Vec<Vec<u8>>),
}

/// Elements, in the order of their tags, each with its value representation.
#[derive(Clone, Debug, Default)]
pub(super) struct DataSet(BTreeMap<Tag, (&'static str, Value)>);

impl DataSet {
    fn with(mut self, tag: Tag, vr: &'static str, value: Value) -> Self {
        self.0.insert(tag, (vr, value));
        self
    }

    /// Adds a text; several values are separated by `\`.
    pub(super) fn text(self, tag: Tag, vr: &'static str, text: impl Into<String>) -> Self {
        self.with(tag, vr, Value::Text(text.into()))
    }

    /// Adds a number of 16 bits.
    pub(super) fn word(self, tag: Tag, vr: &'static str, word: u16) -> Self {
        self.with(tag, vr, Value::Words(vec![word]))
    }

    /// Adds a sequence.
    pub(super) fn items(self, tag: Tag, items: Vec<Self>) -> Self {
        self.with(tag, "SQ", Value::Items(items))
    }

    /// Returns all texts, with their tags; those of sequences too.
    pub(super) fn texts(&self) -> Vec<(Tag, &str)> {
        let texts = self.0.iter().flat_map(|(tag, (_, value))| match value {
            Value::Text(text) => vec![(*tag, text.as_str())],
            Value::Items(items) => items.iter().flat_map(Self::texts).collect(),
            Value::Words(_) | Value::Bytes(_) | Value::Frames(_) => Vec::new(),
        });
        texts.collect()
    }

    fn text_of(&self, tag: Tag) -> &str {
        match &self.0[&tag].1 {
            Value::Text(text) => text,
            _ => unreachable!("{tag:?} is given as a text"),
        }
    }

    fn encode(&self, syntax: Syntax) -> Vec<u8> {
        self.0.iter().flat_map(|(tag, (vr, value))| element(*tag, vr, value, syntax)).collect()
    }
}

/// Frames of pixels as they are stored.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub rows: u16,
    pub columns: u16,
    pub samples_per_pixel: u16,
    pub photometric: &'static str,
    pub bits_allocated: u16,
    pub bits_stored: u16,
    /// Samples are two's complements.
    pub signed: bool,
    /// Of each frame `[rows, columns, samples_per_pixel]` samples.
    pub frames: Vec<Vec<u16>>,
}

impl Image {
    /// Adds what describes the image (PS3.3, C.7.6.3), and its pixels.
    ///
    /// # Errors
    ///
    /// `Bug` if a frame cannot be compressed.
    fn add_to(&self, data: DataSet, syntax: Syntax) -> Result<DataSet> {
        let data = data
            .word((0x0028, 0x0002), "US", self.samples_per_pixel)
            .text((0x0028, 0x0004), "CS", self.photometric)
            .word((0x0028, 0x0010), "US", self.rows)
            .word((0x0028, 0x0011), "US", self.columns)
            .word((0x0028, 0x0100), "US", self.bits_allocated)
            .word((0x0028, 0x0101), "US", self.bits_stored)
            .word((0x0028, 0x0102), "US", self.bits_stored - 1)
            .word((0x0028, 0x0103), "US", self.signed.into());
        let data = match self.samples_per_pixel {
            1 => data,
            _ => data.word((0x0028, 0x0006), "US", 0),
        };
        let data = match self.frames.len() {
            1 => data,
            num_frames => data.text((0x0028, 0x0008), "IS", num_frames.to_string()),
        };
        self.add_pixels(data, syntax)
    }

    fn add_pixels(&self, data: DataSet, syntax: Syntax) -> Result<DataSet> {
        let samples = self.frames.concat();
        let (vr, pixels) = if syntax.is_compressed() {
            let frames = self.frames.iter().map(|frame| codecs::compress(self, frame, syntax));
            ("OB", Value::Frames(frames.collect::<Result<_>>()?))
        } else if self.bits_allocated == 8 {
            ("OB", Value::Bytes(bytes_of(&samples)))
        } else {
            ("OW", Value::Words(samples))
        };
        Ok(data.with(PIXEL_DATA, vr, pixels))
    }
}

/// Returns samples of at most 8 bits as bytes.
pub(super) fn bytes_of(samples: &[u16]) -> Vec<u8> {
    samples.iter().map(|sample| *sample as u8).collect()
}

/// Returns a file with a preamble and file meta information.
///
/// - `data`: has SOP class and instance
/// - `image`: `None` for an object without pixels
///
/// # Errors
///
/// `Bug` if the pixels cannot be compressed.
pub(super) fn file(data: &DataSet, image: Option<&Image>, syntax: Syntax) -> Result<Vec<u8>> {
    let data = match image {
        Some(image) => image.add_to(data.clone(), syntax)?,
        None => data.clone(),
    };
    let body = data.encode(syntax);
    let body = if syntax == Syntax::Deflated { deflate(&body)? } else { body };
    Ok([vec![0; 128], b"DICM".to_vec(), file_meta(&data, syntax), body].concat())
}

/// Encodes the file meta information, which is always in explicit little endian.
fn file_meta(data: &DataSet, syntax: Syntax) -> Vec<u8> {
    let meta = DataSet::default()
        .with((0x0002, 0x0001), "OB", Value::Bytes(vec![0, 1]))
        .text((0x0002, 0x0002), "UI", data.text_of((0x0008, 0x0016)))
        .text((0x0002, 0x0003), "UI", data.text_of((0x0008, 0x0018)))
        .text((0x0002, 0x0010), "UI", syntax.uid())
        .text((0x0002, 0x0012), "UI", "2.25.152")
        .encode(Syntax::ExplicitLittle);
    let length = Value::Bytes((meta.len() as u32).to_le_bytes().to_vec());
    [element((0x0002, 0x0000), "UL", &length, Syntax::ExplicitLittle), meta].concat()
}

/// Deflates a data set, to an even number of bytes (PS3.5, A.5).
fn deflate(data: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    let deflated = encoder.write_all(data).and_then(|()| encoder.finish());
    deflated.map(even).map_err(|error| Error::bug("cannot deflate a demo object").because(error))
}

pub(super) fn even(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn element(tag: Tag, vr: &str, value: &Value, syntax: Syntax) -> Vec<u8> {
    let bytes = encoded(vr, value, syntax);
    let len = if matches!(value, Value::Frames(_)) { u32::MAX } else { bytes.len() as u32 };
    let mut element = [syntax.u16(tag.0), syntax.u16(tag.1)].concat();
    if syntax == Syntax::ImplicitLittle {
        element.extend(syntax.u32(len));
    } else if ["OB", "OW", "SQ", "UT"].contains(&vr) {
        element.extend(vr.bytes().chain([0; 2]));
        element.extend(syntax.u32(len));
    } else {
        element.extend(vr.bytes());
        element.extend(syntax.u16(len as u16));
    }
    element.extend(bytes);
    element
}

/// Encodes a value, to an even number of bytes.
fn encoded(vr: &str, value: &Value, syntax: Syntax) -> Vec<u8> {
    match value {
        Value::Text(text) => {
            let padding = if vr == "UI" { 0 } else { b' ' };
            let missing = text.len() % 2;
            text.bytes().chain(std::iter::repeat_n(padding, missing)).collect()
        }
        Value::Words(words) => words.iter().flat_map(|word| syntax.u16(*word)).collect(),
        Value::Bytes(bytes) => even(bytes.clone()),
        Value::Items(items) => {
            items.iter().flat_map(|data| item(ITEM, data.encode(syntax), syntax)).collect()
        }
        Value::Frames(frames) => fragments(frames, syntax),
    }
}

/// Encodes a basic offset table and one fragment per frame (PS3.5, A.4).
fn fragments(frames: &[Vec<u8>], syntax: Syntax) -> Vec<u8> {
    let mut offset = 0;
    let offsets = frames.iter().flat_map(|frame| {
        let at = offset;
        offset += 8 + frame.len() as u32;
        syntax.u32(at)
    });
    let mut bytes = item(ITEM, offsets.collect(), syntax);
    bytes.extend(frames.iter().flat_map(|frame| item(ITEM, frame.clone(), syntax)));
    bytes.extend(item(SEQUENCE_END, Vec::new(), syntax));
    bytes
}

fn item(tag: Tag, bytes: Vec<u8>, syntax: Syntax) -> Vec<u8> {
    let header = [syntax.u16(tag.0), syntax.u16(tag.1)].concat();
    [header, syntax.u32(bytes.len() as u32).to_vec(), bytes].concat()
}
