//! One directory of a TIFF file, little-endian, with the values that do not fit into it behind it.

use std::collections::BTreeMap;

/// Tags and their values, in the order that the standard asks for.
#[derive(Default)]
pub(super) struct Directory {
    entries: BTreeMap<u16, Value>,
}

/// The value of a tag.
pub(super) enum Value {
    Short(Vec<u16>),
    Long(Vec<u32>),
    Double(Vec<f64>),
    Text(String),
}

impl Value {
    fn kind(&self) -> u16 {
        match self {
            Self::Text(_) => 2,
            Self::Short(_) => 3,
            Self::Long(_) => 4,
            Self::Double(_) => 12,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Text(text) => text.len() + 1,
            Self::Short(values) => values.len(),
            Self::Long(values) => values.len(),
            Self::Double(values) => values.len(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => [text.as_bytes(), &[0]].concat(),
            Self::Short(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Long(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Double(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }

    /// Returns the bytes that lie behind the directory, an even number.
    fn num_bytes_behind(&self) -> usize {
        let size = match self {
            Self::Text(_) => 1,
            Self::Short(_) => 2,
            Self::Long(_) => 4,
            Self::Double(_) => 8,
        };
        let bytes = size * self.count();
        if bytes <= 4 { 0 } else { bytes.next_multiple_of(2) }
    }
}

impl Directory {
    /// Enters a tag, or replaces its value.
    pub(super) fn set(&mut self, tag: u16, value: Value) {
        self.entries.insert(tag, value);
    }

    /// Returns how many bytes [`Self::append`] writes.
    pub(super) fn num_bytes(&self) -> usize {
        self.num_bytes_inside() + self.entries.values().map(Value::num_bytes_behind).sum::<usize>()
    }

    fn num_bytes_inside(&self) -> usize {
        2 + 12 * self.entries.len() + 4
    }

    /// Writes the directory and its values at the end of a file.
    ///
    /// - `goes_on`: whether another directory follows at once
    pub(super) fn append(&self, file: &mut Vec<u8>, goes_on: bool) {
        let start = file.len();
        let mut behind = Vec::new();
        file.extend_from_slice(&(self.entries.len() as u16).to_le_bytes());
        for (tag, value) in &self.entries {
            file.extend_from_slice(&tag.to_le_bytes());
            file.extend_from_slice(&value.kind().to_le_bytes());
            file.extend_from_slice(&(value.count() as u32).to_le_bytes());
            let mut bytes = value.bytes();
            if bytes.len() <= 4 {
                bytes.resize(4, 0);
                file.extend_from_slice(&bytes);
            } else {
                let at = start + self.num_bytes_inside() + behind.len();
                file.extend_from_slice(&(at as u32).to_le_bytes());
                bytes.resize(bytes.len().next_multiple_of(2), 0);
                behind.append(&mut bytes);
            }
        }
        let next = if goes_on { start + self.num_bytes() } else { 0 };
        file.extend_from_slice(&(next as u32).to_le_bytes());
        file.append(&mut behind);
    }
}
