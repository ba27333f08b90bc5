//! The tag directories of TIFF, `BigTIFF` and Exif (TIFF 6.0, section 2).
//!
//! Reads single tags from untrusted bytes: every offset is checked, nothing is allocated for a count
//! that the file cannot hold.

use super::bytes::Order;
use super::partial::View;

/// TIFF tags that describe an image.
pub(crate) mod tag {
    pub(crate) const WIDTH: u16 = 256;
    pub(crate) const HEIGHT: u16 = 257;
    pub(crate) const BITS_PER_SAMPLE: u16 = 258;
    pub(crate) const COMPRESSION: u16 = 259;
    pub(crate) const PHOTOMETRIC: u16 = 262;
    pub(crate) const FILL_ORDER: u16 = 266;
    pub(crate) const ORIENTATION: u16 = 274;
    pub(crate) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(crate) const PLANAR: u16 = 284;
    pub(crate) const EXTRA_SAMPLES: u16 = 338;
    pub(crate) const SAMPLE_FORMAT: u16 = 339;
    pub(crate) const ICC_PROFILE: u16 = 34_675;
}

/// The longest list of values that is read from one tag.
const MAX_VALUES: usize = 4096;

/// One directory of tags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory<'a> {
    file: View<'a>,
    order: Order,
    big: bool,
    entries: &'a [u8],
    next: u64,
}

impl<'a> Directory<'a> {
    /// Reads the first directory of a TIFF or `BigTIFF` file; `None` if it is not all there.
    pub(crate) fn first(file: View<'a>) -> Option<Self> {
        let order = match file.slice(0, 2)? {
            b"II" => Order::Little,
            b"MM" => Order::Big,
            _ => return None,
        };
        match file.u16(order, 2)? {
            42 => Self::at(file, order, false, u64::from(file.u32(order, 4)?)),
            43 if file.u16(order, 4)? == 8 => Self::at(file, order, true, file.u64(order, 8)?),
            _ => None,
        }
    }

    fn at(file: View<'a>, order: Order, big: bool, offset: u64) -> Option<Self> {
        let at = usize::try_from(offset).ok()?;
        let (count, head) = if big {
            (usize::try_from(file.u64(order, at)?).ok()?, 8)
        } else {
            (usize::from(file.u16(order, at)?), 2)
        };
        let start = at.checked_add(head)?;
        let entries = file.slice(start, count.checked_mul(entry_bytes(big))?)?;
        let end = start + entries.len();
        // A missing link to the next directory is common in Exif and harmless.
        let next = if big { file.u64(order, end) } else { file.u32(order, end).map(u64::from) };
        Some(Self { file, order, big, entries, next: next.unwrap_or(0) })
    }

    /// Counts the directories of the chain from this one on, at most `limit`.
    pub(crate) fn count(self, limit: u32) -> u32 {
        let mut directory = self;
        let mut count = 1;
        while count < limit && directory.next != 0 {
            match Self::at(self.file, self.order, self.big, directory.next) {
                Some(next) => directory = next,
                None => break,
            }
            count += 1;
        }
        count
    }

    /// Tells whether there is a tag, of whatever type.
    pub(crate) fn has(&self, tag: u16) -> bool {
        self.entry(tag).is_some()
    }

    fn entry(&self, tag: u16) -> Option<&'a [u8]> {
        self.entries.chunks_exact(entry_bytes(self.big)).find(|e| self.order.u16(e, 0) == Some(tag))
    }

    /// Returns the first value of an unsigned integer tag.
    pub(crate) fn unsigned(&self, tag: u16) -> Option<u64> {
        self.unsigned_list(tag)?.first().copied()
    }

    /// Returns all values of an unsigned integer tag (BYTE, SHORT, LONG, LONG8).
    pub(crate) fn unsigned_list(&self, tag: u16) -> Option<Vec<u64>> {
        let entry = self.entry(tag)?;
        let width: usize = match self.order.u16(entry, 2)? {
            1 => 1,
            3 => 2,
            4 => 4,
            16 => 8,
            _ => return None,
        };
        let (count, inline) = if self.big {
            (usize::try_from(self.order.u64(entry, 4)?).ok()?, &entry[12..20])
        } else {
            (usize::try_from(self.order.u32(entry, 4)?).ok()?, &entry[8..12])
        };
        if count > MAX_VALUES {
            return None;
        }
        let len = count * width;
        let values = if len <= inline.len() {
            &inline[..len]
        } else {
            let offset =
                if self.big { self.order.u64(inline, 0)? } else { self.order.u32(inline, 0)?.into() };
            self.file.slice(usize::try_from(offset).ok()?, len)?
        };
        values.chunks_exact(width).map(|value| self.integer(value)).collect()
    }

    fn integer(&self, value: &[u8]) -> Option<u64> {
        match value.len() {
            1 => Some(u64::from(value[0])),
            2 => self.order.u16(value, 0).map(u64::from),
            4 => self.order.u32(value, 0).map(u64::from),
            _ => self.order.u64(value, 0),
        }
    }
}

fn entry_bytes(big: bool) -> usize {
    if big { 20 } else { 12 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(file: &[u8]) -> Option<Directory<'_>> {
        Directory::first(View::Whole(file))
    }

    fn exif_with(order: [u8; 2], entry: &[u8]) -> Vec<u8> {
        let mut file = order.to_vec();
        let little = order == *b"II";
        file.extend(if little { 42u16.to_le_bytes() } else { 42u16.to_be_bytes() });
        file.extend(if little { 8u32.to_le_bytes() } else { 8u32.to_be_bytes() });
        file.extend(if little { 1u16.to_le_bytes() } else { 1u16.to_be_bytes() });
        file.extend(entry);
        file
    }

    #[test]
    fn orientation_is_read_in_both_byte_orders() {
        let little = exif_with(*b"II", &[0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]);
        let big = exif_with(*b"MM", &[1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0]);
        for file in [little, big] {
            assert_eq!(first(&file).unwrap().unsigned(tag::ORIENTATION), Some(6));
        }
    }

    #[test]
    fn a_count_or_an_offset_beyond_the_file_is_none() {
        let count = exif_with(*b"II", &[0x12, 1, 4, 0, 255, 255, 255, 255, 0, 0, 0, 0]);
        assert_eq!(first(&count).unwrap().unsigned(tag::ORIENTATION), None);
        let offset = exif_with(*b"II", &[0x12, 1, 4, 0, 2, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(first(&offset).unwrap().unsigned(tag::ORIENTATION), None);
        assert!(first(b"II*\0\xff\xff\xff\xff").is_none());
    }

    #[test]
    fn a_directory_that_links_to_itself_is_counted_up_to_the_limit() {
        let mut file = exif_with(*b"II", &[0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]);
        file.extend(8u32.to_le_bytes());
        assert_eq!(first(&file).unwrap().count(10), 10);
    }
}
