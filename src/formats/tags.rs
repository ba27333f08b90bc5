//! The tag directories of TIFF, `BigTIFF` and Exif (TIFF 6.0, section 2).
//!
//! Reads single tags from untrusted bytes: every offset is checked, nothing is allocated for a count
//! that the file cannot hold.

use std::collections::HashSet;

use super::bytes::Order;
use super::partial::View;

/// TIFF tags that describe an image.
pub(crate) mod tag {
    /// `ImageWidth`: pixels per row.
    pub(crate) const WIDTH: u16 = 256;
    /// `ImageLength`: rows.
    pub(crate) const HEIGHT: u16 = 257;
    /// `BitsPerSample`: one number per band.
    pub(crate) const BITS_PER_SAMPLE: u16 = 258;
    /// `Compression`: the codec of the blocks.
    pub(crate) const COMPRESSION: u16 = 259;
    /// `PhotometricInterpretation`: what the samples of a pixel mean.
    pub(crate) const PHOTOMETRIC: u16 = 262;
    /// `FillOrder`: which bit of a byte comes first.
    pub(crate) const FILL_ORDER: u16 = 266;
    /// `Orientation`: how the image is turned and mirrored.
    pub(crate) const ORIENTATION: u16 = 274;
    /// `SamplesPerPixel`: bands, with alpha and the like.
    pub(crate) const SAMPLES_PER_PIXEL: u16 = 277;
    /// `PlanarConfiguration`: bands pixel by pixel, or in planes.
    pub(crate) const PLANAR: u16 = 284;
    /// `ColorMap`: the palette, all reds first, then greens and blues.
    pub(crate) const COLOUR_MAP: u16 = 320;
    /// `ExtraSamples`: which bands are no colours, and which are alpha.
    pub(crate) const EXTRA_SAMPLES: u16 = 338;
    /// `SampleFormat`: unsigned, signed or float; one number per band.
    pub(crate) const SAMPLE_FORMAT: u16 = 339;
    /// `XMP`: metadata as XML (Adobe).
    pub(crate) const XMP: u16 = 700;
    /// `ICC profile` (ISO 15076-1, annex B).
    pub(crate) const ICC_PROFILE: u16 = 34_675;
}

/// The longest list of values that is read from one tag: one for each of the most bands.
const MAX_VALUES: usize = u16::MAX as usize;
/// The longest text, and the longest run of bytes, that is read from one tag.
const MAX_BYTES: usize = 1 << 20;
/// The most tags of one directory, as in libtiff.
const MAX_ENTRIES: usize = 4096;

/// One directory of tags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Directory<'a> {
    file: View<'a>,
    order: Order,
    big: bool,
    /// Where `entries` begin.
    start: usize,
    entries: &'a [u8],
    next: u64,
}

/// Where the values of a tag lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Array {
    /// Code of their type (TIFF 6.0, section 2).
    kind: u16,
    /// Number of values.
    pub(crate) count: u64,
    /// First byte in the file.
    pub(crate) at: u64,
}

impl Array {
    /// Returns the size of a value; `None` for a type that is not known.
    pub(crate) fn width(self) -> Option<usize> {
        match self.kind {
            1 | 2 | 6 | 7 => Some(1),
            3 | 8 => Some(2),
            4 | 9 | 11 | 13 => Some(4),
            5 | 10 | 12 | 16..=18 => Some(8),
            _ => None,
        }
    }

    /// Tells whether the values are unsigned integers, offsets included.
    pub(crate) fn is_unsigned(self) -> bool {
        matches!(self.kind, 1 | 3 | 4 | 13 | 16 | 18)
    }

    /// Returns the size of all values, saturating.
    pub(crate) fn num_bytes(self) -> u64 {
        self.count.saturating_mul(self.width().unwrap_or(0) as u64)
    }
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
        if count > MAX_ENTRIES && big {
            return None;
        }
        let entries = file.slice(start, count.checked_mul(entry_bytes(big))?)?;
        let end = start + entries.len();
        // A missing link to the next directory is common in Exif and harmless.
        let next = if big { file.u64(order, end) } else { file.u32(order, end).map(u64::from) };
        Some(Self { file, order, big, start, entries, next: next.unwrap_or(0) })
    }

    /// Reads another directory of the same file; `None` if it is not all there.
    pub(crate) fn open(&self, offset: u64) -> Option<Self> {
        Self::at(self.file, self.order, self.big, offset)
    }

    /// Returns where the next directory of the chain lies; 0 after the last one.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Returns the byte order of the file.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Tells whether the file is a `BigTIFF`.
    pub(crate) fn is_big(&self) -> bool {
        self.big
    }

    /// Returns where in the file it begins.
    pub(crate) fn offset(&self) -> u64 {
        (self.start - if self.big { 8 } else { 2 }) as u64
    }

    /// Counts the directories of the chain from this one on, at most `limit`. One that was counted before ends it.
    pub(crate) fn count(self, limit: u32) -> u32 {
        let mut directory = self;
        let mut count = 1;
        let mut seen = HashSet::from([self.offset()]);
        while count < limit && directory.next != 0 && seen.insert(directory.next) {
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

    /// Returns where in the file an entry is, and its bytes.
    fn entry(&self, tag: u16) -> Option<(usize, &'a [u8])> {
        let size = entry_bytes(self.big);
        let mut entries = self.entries.chunks_exact(size).enumerate();
        let (index, entry) = entries.find(|(_, entry)| self.order.u16(entry, 0) == Some(tag))?;
        Some((self.start + index * size, entry))
    }

    /// Returns where the values of a tag lie, without reading them.
    pub(crate) fn array(&self, tag: u16) -> Option<Array> {
        let (start, entry) = self.entry(tag)?;
        let kind = self.order.u16(entry, 2)?;
        let (count, field) =
            if self.big { (self.order.u64(entry, 4)?, 12) } else { (self.order.u32(entry, 4)?.into(), 8) };
        let inline = Array { kind, count, at: (start + field) as u64 };
        if inline.num_bytes() <= (entry.len() - field) as u64 {
            return Some(inline);
        }
        let offset =
            if self.big { self.order.u64(entry, field)? } else { self.order.u32(entry, field)?.into() };
        Some(Array { at: offset, ..inline })
    }

    /// Returns the first value of an unsigned integer tag.
    pub(crate) fn unsigned(&self, tag: u16) -> Option<u64> {
        self.unsigned_list(tag)?.first().copied()
    }

    /// Returns all values of an unsigned integer tag (BYTE, SHORT, LONG, LONG8).
    pub(crate) fn unsigned_list(&self, tag: u16) -> Option<Vec<u64>> {
        let array = self.array(tag).filter(|array| array.is_unsigned())?;
        let values = self.values(array, MAX_VALUES)?;
        values.chunks_exact(array.width()?).map(|value| self.integer(value)).collect()
    }

    /// Returns the first value of a tag of numbers, whichever type they have. Bytes are none, as in Pillow.
    pub(crate) fn number(&self, tag: u16) -> Option<f64> {
        let array = self.array(tag).filter(|array| array.count > 0)?;
        let value = self.values(Array { count: 1, ..array }, 1)?;
        let word = |at| self.order.u32(value, at);
        Some(match array.kind {
            3 => self.order.u16(value, 0)?.into(),
            4 | 13 => word(0)?.into(),
            5 => f64::from(word(0)?) / f64::from(word(4)?),
            6 => i8::from_ne_bytes([value[0]]).into(),
            8 => (self.order.u16(value, 0)? as i16).into(),
            9 => (word(0)? as i32).into(),
            10 => f64::from(word(0)? as i32) / f64::from(word(4)? as i32),
            11 => f32::from_bits(word(0)?).into(),
            12 => f64::from_bits(self.order.u64(value, 0)?),
            16 => self.order.u64(value, 0)? as f64,
            _ => return None,
        })
    }

    /// Returns all values of a tag of floating-point numbers.
    pub(crate) fn float_list(&self, tag: u16) -> Option<Vec<f64>> {
        let array = self.array(tag)?;
        let values = self.values(array, MAX_VALUES)?;
        match array.kind {
            11 => values
                .chunks_exact(4)
                .map(|value| Some(f64::from(f32::from_bits(self.order.u32(value, 0)?))))
                .collect(),
            12 => {
                values.chunks_exact(8).map(|value| Some(f64::from_bits(self.order.u64(value, 0)?))).collect()
            }
            _ => None,
        }
    }

    /// Returns a text up to its first NUL; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self, tag: u16) -> Option<String> {
        let bytes = self.bytes(tag)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Returns the beginning of a text, however long it is: `most` bytes at most, up to its first NUL.
    pub(crate) fn text_start(&self, tag: u16, most: usize) -> Option<String> {
        let array = self.array(tag).filter(|array| array.width() == Some(1))?;
        let len = usize::try_from(array.count).ok()?.min(most);
        let bytes = self.file.slice(usize::try_from(array.at).ok()?, len)?;
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(len);
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Returns the values of a tag of single bytes.
    pub(crate) fn bytes(&self, tag: u16) -> Option<&'a [u8]> {
        let array = self.array(tag).filter(|array| array.width() == Some(1))?;
        self.values(array, MAX_BYTES)
    }

    fn values(&self, array: Array, max_count: usize) -> Option<&'a [u8]> {
        let count = usize::try_from(array.count).ok().filter(|&count| count <= max_count)?;
        self.file.slice(usize::try_from(array.at).ok()?, count * array.width()?)
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
    fn a_directory_that_links_to_itself_is_one() {
        let mut file = exif_with(*b"II", &[0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]);
        file.extend(8u32.to_le_bytes());
        assert_eq!(first(&file).unwrap().count(10), 1);
    }

    /// By Pillow 13.
    #[test]
    fn a_number_may_have_any_type_but_that_of_bytes() {
        let number = |kind: u8, value: [u8; 4]| {
            let entry = [&[0x12, 1, kind, 0, 1, 0, 0, 0][..], &value].concat();
            first(&exif_with(*b"II", &entry)).unwrap().number(tag::ORIENTATION)
        };
        for kind in [3, 4, 6, 8, 9, 13] {
            assert_eq!(number(kind, [6, 0, 0, 0]), Some(6.0), "{kind}");
        }
        assert_eq!(number(11, 6_f32.to_le_bytes()), Some(6.0));
        assert_eq!(number(6, [250, 0, 0, 0]), Some(-6.0));
        for kind in [1, 2, 7, 99] {
            assert_eq!(number(kind, [6, 0, 0, 0]), None, "{kind}");
        }
    }
}
