//! Lookup tables: a descriptor and its data (PS3.3, C.11.1.1 and C.7.6.3.1.5).

use crate::bytes::Order;
use crate::data::DataSet;
use crate::error::{Error, corrupt};
use crate::tag::{self, Tag};

/// A lookup table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lut {
    /// The value that the first entry stands for.
    pub(crate) first: i64,
    /// Bits of an entry.
    pub(crate) bits: u32,
    pub(crate) entries: Vec<u16>,
}

/// The numbers of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) num_entries: usize,
    pub(crate) first: i64,
    pub(crate) bits: u32,
}

impl Descriptor {
    /// Reads a descriptor; `signed` says how the first value mapped is to be read, whatever the syntax says.
    pub(crate) fn read(data: &DataSet, tag: Tag, signed: bool) -> Result<Self, Error> {
        let words = data.words(tag).ok_or_else(|| corrupt(format!("{tag} is missing")))?;
        let &[num_entries, first, bits] = words.as_slice() else {
            return Err(corrupt(format!("{tag} has {} values instead of 3", words.len())));
        };
        if !(1..=16).contains(&bits) {
            return Err(corrupt(format!("{tag} has entries of {bits} bits")));
        }
        Ok(Self {
            // 0 stands for 65,536, which the field cannot hold.
            num_entries: if num_entries == 0 { 1 << 16 } else { num_entries.into() },
            first: if signed { i64::from(first as i16) } else { i64::from(first) },
            bits: bits.into(),
        })
    }
}

impl Lut {
    /// Reads the item of a sequence of lookup tables.
    pub(crate) fn read(item: &DataSet, signed: bool) -> Result<Self, Error> {
        let descriptor = Descriptor::read(item, tag::LUT_DESCRIPTOR, signed)?;
        Self::of(item, tag::LUT_DATA, descriptor)
    }

    pub(crate) fn of(data: &DataSet, tag: Tag, descriptor: Descriptor) -> Result<Self, Error> {
        let bytes = data.bytes(tag).ok_or_else(|| corrupt(format!("{tag} is missing")))?;
        let entries = entries(bytes, data.order, descriptor.num_entries).ok_or_else(|| {
            corrupt(format!("{tag} has {} bytes for {} entries", bytes.len(), descriptor.num_entries))
        })?;
        Ok(Self { first: descriptor.first, bits: descriptor.bits, entries })
    }

    /// Returns the entry of a value; those outside have that of the end (PS3.3, C.11.1.1).
    pub(crate) fn at(&self, value: i64) -> u16 {
        let last = self.entries.len() - 1;
        let index = value.saturating_sub(self.first).clamp(0, last as i64);
        self.entries[index as usize]
    }

    /// Returns the entry of a value as a share of the greatest that an entry can have.
    pub(crate) fn share(&self, value: i64) -> f64 {
        (f64::from(self.at(value)) / self.max()).min(1.0)
    }

    /// Returns the greatest value that an entry can have.
    pub(crate) fn max(&self) -> f64 {
        f64::from((1_u32 << self.bits) - 1)
    }
}

/// Entries are words; those of 8 bits may be packed two to a word.
fn entries(bytes: &[u8], order: Order, num_entries: usize) -> Option<Vec<u16>> {
    if bytes.len() >= 2 * num_entries {
        return (0..num_entries).map(|index| order.u16(bytes, 2 * index)).collect();
    }
    let padded = num_entries.next_multiple_of(2);
    if bytes.len() != padded && bytes.len() != num_entries {
        return None;
    }
    // In big endian the first of two is the low byte of the word.
    let swap = usize::from(order == Order::Big);
    (0..num_entries).map(|index| bytes.get(index ^ swap).map(|&byte| byte.into())).collect()
}
