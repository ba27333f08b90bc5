//! Objects that tests make, element by element.

use crate::tag::{self, Tag};

/// A data set in explicit or implicit little endian.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    syntax: &'static str,
    elements: Vec<(Tag, Vec<u8>)>,
    explicit: bool,
}

impl Object {
    pub(crate) fn new(syntax: &'static str) -> Self {
        Self { syntax, elements: Vec::new(), explicit: syntax != "1.2.840.10008.1.2" }
    }

    /// An image of one frame without a window.
    pub(crate) fn image(
        syntax: &'static str,
        rows: u16,
        columns: u16,
        bits: (u16, u16),
        signed: bool,
    ) -> Self {
        Self::new(syntax)
            .us(tag::SAMPLES_PER_PIXEL, 1)
            .text(tag::PHOTOMETRIC, *b"CS", "MONOCHROME2")
            .us(tag::ROWS, rows)
            .us(tag::COLUMNS, columns)
            .us(tag::BITS_ALLOCATED, bits.0)
            .us(tag::BITS_STORED, bits.1)
            .us(tag::HIGH_BIT, bits.1 - 1)
            .us(tag::PIXEL_REPRESENTATION, u16::from(signed))
    }

    /// Replaces or adds an element, given with its representation and value.
    pub(crate) fn element(mut self, tag: Tag, vr: [u8; 2], value: &[u8]) -> Self {
        let bytes = encoded(tag, vr, value, self.explicit);
        self.elements.retain(|element| element.0 != tag);
        self.elements.push((tag, bytes));
        self.elements.sort_by_key(|element| element.0);
        self
    }

    pub(crate) fn us(self, tag: Tag, value: u16) -> Self {
        self.element(tag, *b"US", &value.to_le_bytes())
    }

    pub(crate) fn words(self, tag: Tag, vr: [u8; 2], words: &[u16]) -> Self {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.element(tag, vr, &bytes)
    }

    pub(crate) fn text(self, tag: Tag, vr: [u8; 2], text: &str) -> Self {
        let mut text = text.to_owned();
        if text.len() % 2 == 1 {
            text.push(' ');
        }
        self.element(tag, vr, text.as_bytes())
    }

    /// A sequence of items, each the elements of an object.
    pub(crate) fn items(self, tag: Tag, items: &[Object]) -> Self {
        let mut value = Vec::new();
        for item in items {
            let elements: Vec<u8> = item.elements.iter().flat_map(|element| element.1.clone()).collect();
            value.extend([0xFE, 0xFF, 0x00, 0xE0]);
            value.extend((elements.len() as u32).to_le_bytes());
            value.extend(elements);
        }
        self.element(tag, *b"SQ", &value)
    }

    /// Encapsulated pixels: a basic offset table and fragments.
    pub(crate) fn fragments(mut self, table: &[u32], fragments: &[&[u8]]) -> Self {
        let mut bytes = vec![0xE0, 0x7F, 0x10, 0x00];
        bytes.extend(b"OB\0\0");
        bytes.extend([0xFF; 4]);
        let table: Vec<u8> = table.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        for item in [table.as_slice()].iter().chain(fragments) {
            bytes.extend([0xFE, 0xFF, 0x00, 0xE0]);
            bytes.extend((item.len() as u32).to_le_bytes());
            bytes.extend(*item);
        }
        bytes.extend([0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
        self.elements.retain(|element| element.0 != tag::PIXELS);
        self.elements.push((tag::PIXELS, bytes));
        self
    }

    /// The elements without anything before them.
    pub(crate) fn data_set(&self) -> Vec<u8> {
        self.elements.iter().flat_map(|element| element.1.clone()).collect()
    }

    /// The whole object, with preamble and file meta information.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [head(self.syntax), self.data_set()].concat()
    }
}

/// Preamble, `DICM` and the transfer syntax.
pub(crate) fn head(syntax: &str) -> Vec<u8> {
    let mut uid = syntax.as_bytes().to_vec();
    if uid.len() % 2 == 1 {
        uid.push(0);
    }
    let meta = encoded(tag::TRANSFER_SYNTAX, *b"UI", &uid, true);
    [vec![0; 128], b"DICM".to_vec(), meta].concat()
}

fn encoded(tag: Tag, vr: [u8; 2], value: &[u8], explicit: bool) -> Vec<u8> {
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    if !explicit {
        bytes.extend((value.len() as u32).to_le_bytes());
    } else if crate::data::Vr(vr).is_long() {
        bytes.extend(vr);
        bytes.extend([0; 2]);
        bytes.extend((value.len() as u32).to_le_bytes());
    } else {
        bytes.extend(vr);
        bytes.extend((value.len() as u16).to_le_bytes());
    }
    bytes.extend(value);
    bytes
}
