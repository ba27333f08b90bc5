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
        [0, 1, 2].map(|index| {
            let lut = &self.colours[index];
            f64::from(lut.at(value)) / lut.max()
        })
    }

    /// Returns the first value that has a colour.
    pub(crate) fn first(&self) -> i64 {
        self.colours[0].first
    }
}

fn colour(data: &DataSet, image: &ImageModule, tags: (Tag, Tag, Tag)) -> Result<Lut, Error> {
    let descriptor = Descriptor::read(data, tags.0, image.signed)?;
    let Some(segments) = data.bytes(tags.2).filter(|_| data.bytes(tags.1).is_none()) else {
        return Lut::of(data, tags.1, descriptor);
    };
    let words = words_of(segments, descriptor.bits, data.order);
    let entries = expand(&words, descriptor.num_entries)
        .ok_or_else(|| corrupt(format!("{} does not give {} entries", tags.2, descriptor.num_entries)))?;
    Ok(Lut { first: descriptor.first, bits: descriptor.bits, entries })
}

/// Segments are written in words, in bytes if entries have 8 bits (C.7.9.2).
fn words_of(bytes: &[u8], bits: u32, order: Order) -> Vec<u16> {
    if bits <= 8 {
        let swap = usize::from(order == Order::Big);
        return (0..bytes.len())
            .filter_map(|index| bytes.get(index ^ swap).map(|&byte| byte.into()))
            .collect();
    }
    (0..bytes.len() / 2).filter_map(|index| order.u16(bytes, 2 * index)).collect()
}

/// Expands segments (C.7.9.2): discrete, linear and indirect ones; `None` if they do not give all entries.
fn expand(words: &[u16], num_entries: usize) -> Option<Vec<u16>> {
    let mut entries = Vec::with_capacity(num_entries);
    let mut rest = words;
    while entries.len() < num_entries {
        rest = segment(words, rest, num_entries, &mut entries, true)?;
    }
    entries.truncate(num_entries);
    Some(entries)
}

/// Expands one segment; returns what follows it.
fn segment<'a>(
    all: &[u16],
    words: &'a [u16],
    num_entries: usize,
    entries: &mut Vec<u16>,
    may_refer: bool,
) -> Option<&'a [u16]> {
    let (&[opcode, len], rest) = words.split_first_chunk::<2>()?;
    let len = usize::from(len);
    match opcode {
        0 => {
            entries.extend_from_slice(rest.get(..len)?.get(..len.min(num_entries - entries.len()))?);
            rest.get(len..)
        }
        1 => {
            let (&end, rest) = rest.split_first()?;
            let start = f64::from(*entries.last()?);
            let rise = f64::from(end) - start;
            let steps = 1..=len.min(num_entries - entries.len());
            // How halves are rounded the standard leaves open; pydicom rounds them to even.
            entries.extend(steps.map(|at| (start + rise * at as f64 / len as f64).round_ties_even() as u16));
            Some(rest)
        }
        // Segments again from an offset; those may not refer to others.
        2 if may_refer => {
            let (&[low, high], rest) = rest.split_first_chunk::<2>()?;
            let mut copied = all.get(usize::from(low) | usize::from(high) << 16..)?;
            for _ in 0..len {
                if entries.len() == num_entries {
                    break;
                }
                copied = segment(all, copied, num_entries, entries, false)?;
            }
            Some(rest)
        }
        _ => None,
    }
}
