//! Palettes: three lookup tables for red, green and blue, also in segments (PS3.3, C.7.6.3.1.5, C.7.6.3.1.6, C.7.9).

use crate::bytes::Order;
use crate::data::DataSet;
use crate::error::{Error, corrupt};
use crate::image::ImageModule;
use crate::lut::{Descriptor, Lut};
use crate::tag::{self, Tag};

/// Lookup tables of red, green and blue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Palette {
    pub(crate) colours: [Lut; 3],
}

const TAGS: [(Tag, Tag, Tag); 3] = [
    (tag::RED_DESCRIPTOR, tag::RED_DATA, tag::RED_SEGMENTED),
    (tag::GREEN_DESCRIPTOR, tag::GREEN_DATA, tag::GREEN_SEGMENTED),
    (tag::BLUE_DESCRIPTOR, tag::BLUE_DATA, tag::BLUE_SEGMENTED),
];

impl Palette {
    pub(crate) fn read(data: &DataSet, image: &ImageModule) -> Result<Self, Error> {
        let [red, green, blue] = TAGS.map(|tags| colour(data, image, tags));
        Ok(Self { colours: [red?, green?, blue?] })
    }

    /// Returns red, green and blue of a stored value, from 0.0 to 1.0.
    pub(crate) fn at(&self, value: i64) -> [f64; 3] {
        self.colours.each_ref().map(|lut| lut.share(value))
    }

    /// Returns the first value that has a colour.
    pub(crate) fn first(&self) -> i64 {
        self.colours[0].first
    }
}

fn colour(data: &DataSet, image: &ImageModule, tags: (Tag, Tag, Tag)) -> Result<Lut, Error> {
    let descriptor = Descriptor::read(data, tags.0, image.signed)?;
    let Some(segments) = data.bytes(tags.2).filter(|_| data.bytes(tags.1).is_none()) else {
        return Ok(with_bits_of_entries(Lut::of(data, tags.1, descriptor)?, data.bytes(tags.1)));
    };
    let segments = Segments::of(segments, descriptor.bits, data.order);
    let entries = expand(&segments, descriptor.num_entries)
        .ok_or_else(|| corrupt(format!("{} does not give {} entries", tags.2, descriptor.num_entries)))?;
    Ok(Lut { first: descriptor.first, bits: descriptor.bits, entries })
}

/// Where the descriptor says 16 bits of packed bytes, or 8 of words that hold more, the entries are right.
fn with_bits_of_entries(lut: Lut, bytes: Option<&[u8]>) -> Lut {
    let packed = bytes.is_some_and(|bytes| bytes.len() < 2 * lut.entries.len());
    let greatest = lut.entries.iter().copied().max().unwrap_or_default();
    let bits = match lut.bits {
        bits if packed => bits.min(8),
        bits if u32::from(greatest) >> bits > 0 => 16,
        bits => bits,
    };
    Lut { bits, ..lut }
}

/// Numbers of segments: words, or bytes if entries have 8 bits (C.7.9.2).
struct Segments {
    numbers: Vec<u16>,
    in_bytes: bool,
}

impl Segments {
    fn of(bytes: &[u8], bits: u32, order: Order) -> Self {
        let in_bytes = bits <= 8;
        if in_bytes {
            let swap = usize::from(order == Order::Big);
            let byte = |index: usize| bytes.get(index ^ swap).map(|&byte| byte.into());
            return Self { numbers: (0..bytes.len()).filter_map(byte).collect(), in_bytes };
        }
        Self {
            numbers: (0..bytes.len() / 2).filter_map(|index| order.u16(bytes, 2 * index)).collect(),
            in_bytes,
        }
    }

    /// Returns the segments that an indirect one refers to, and what follows it: its offset counts bytes, in two words
    /// (C.7.9.2.3).
    fn referred<'a>(&'a self, rest: &'a [u16]) -> Option<(&'a [u16], &'a [u16])> {
        if self.in_bytes {
            let (bytes, rest) = rest.split_first_chunk::<4>()?;
            let at = u32::from_le_bytes(bytes.map(|byte| byte as u8));
            Some((self.numbers.get(at as usize..)?, rest))
        } else {
            let (&[low, high], rest) = rest.split_first_chunk::<2>()?;
            let at = (u32::from(low) | u32::from(high) << 16) / 2;
            Some((self.numbers.get(at as usize..)?, rest))
        }
    }
}

/// Expands segments (C.7.9.2): discrete, linear and indirect ones; `None` if they do not give all entries.
fn expand(all: &Segments, num_entries: usize) -> Option<Vec<u16>> {
    let mut entries = Vec::with_capacity(num_entries);
    let mut rest = all.numbers.as_slice();
    while entries.len() < num_entries {
        rest = segment(all, rest, num_entries, &mut entries, true)?;
    }
    Some(entries)
}

/// Expands one segment; returns what follows it. Each gives an entry at least, which bounds how many there are.
fn segment<'a>(
    all: &'a Segments,
    words: &'a [u16],
    num_entries: usize,
    entries: &mut Vec<u16>,
    may_refer: bool,
) -> Option<&'a [u16]> {
    let (&[opcode, len], rest) = words.split_first_chunk::<2>()?;
    let len = Some(usize::from(len)).filter(|&len| len > 0)?;
    let left = num_entries - entries.len();
    match opcode {
        0 => {
            entries.extend_from_slice(&rest.get(..len)?[..len.min(left)]);
            rest.get(len..)
        }
        1 => {
            let (&end, rest) = rest.split_first()?;
            let start = f64::from(*entries.last()?);
            let rise = f64::from(end) - start;
            // How halves are rounded the standard leaves open; pydicom rounds them to even.
            let entry = |at: usize| (start + rise * at as f64 / len as f64).round_ties_even() as u16;
            entries.extend((1..=len.min(left)).map(entry));
            Some(rest)
        }
        // Segments once more; those may not refer to others.
        2 if may_refer => {
            let (mut copied, rest) = all.referred(rest)?;
            for _ in 0..len {
                copied = segment(all, copied, num_entries, entries, false)?;
            }
            Some(rest)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(numbers: &[u16], bits: u32, num_entries: usize) -> Option<Vec<u16>> {
        let bytes: Vec<u8> = match bits {
            8 => numbers.iter().map(|&number| number as u8).collect(),
            _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        };
        expand(&Segments::of(&bytes, bits, Order::Little), num_entries)
    }

    /// PS3.3, C.7.9.2.1 to C.7.9.2.3: a discrete segment, a linear one from its last entry, both of them again from byte
    /// 0 of the data.
    #[test]
    fn segments_are_expanded() {
        let first = [0, 2, 7, 10, 1, 4, 30];
        let entries = [7, 10, 15, 20, 25, 30, 7, 10, 15, 20, 25, 30];
        let words = [&first[..], &[2, 2, 0, 0]].concat();
        assert_eq!(expanded(&words, 16, 12).unwrap(), entries);
        let bytes = [&first[..], &[2, 2, 0, 0, 0, 0]].concat();
        assert_eq!(expanded(&bytes, 8, 12).unwrap(), entries);
        // The linear segment alone lies at byte 4 × 2.
        let linear = [&first[..], &[2, 1, 8, 0]].concat();
        assert_eq!(expanded(&linear, 16, 10).unwrap()[6..], [30, 30, 30, 30]);
    }

    #[test]
    fn segments_that_contradict_themselves_are_none() {
        assert_eq!(expanded(&[1, 4, 30], 16, 4), None, "nothing to start from");
        assert_eq!(expanded(&[0, 4, 30], 16, 4), None, "too short");
        assert_eq!(expanded(&[0, 1, 5, 2, 1, 6, 0], 16, 9), None, "refers to itself");
        assert_eq!(expanded(&[0, 1, 5, 2, 1, 600, 0], 16, 9), None, "refers to nowhere");
        assert_eq!(expanded(&[0, 0, 0, 0], 16, 9), None, "no entries");
        assert_eq!(expanded(&[0, 1, 5, 1, 65535, 9], 16, 3).map(|entries| entries.len()), Some(3));
    }
}
