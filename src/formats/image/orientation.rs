//! Which orientation counts of those that a file states in several places: that of `PIL.ImageOps.exif_transpose`.
//!
//! Exif comes first, then, where there is none, PNG's text `Raw profile type exif`; XMP counts if neither has the
//! tag. An Exif block that cannot be read counts as absent.

use memchr::memmem;

use super::Orientation;
use crate::formats::partial::View;
use crate::formats::tags::Directory;

/// The property of XMP (XMP specification, part 2, 1.2.5).
const PROPERTY: &[u8] = b"tiff:Orientation";
/// Lines before the digits of a raw profile: an empty one, its name, its length.
const PROFILE_HEAD_LINES: usize = 3;

/// What a file has said so far.
#[derive(Default)]
pub(super) struct Stated {
    exif: Option<Vec<u8>>,
    raw_profile: Option<Vec<u8>>,
    xmp: Option<Orientation>,
}

impl Stated {
    /// Takes an Exif block in place of the one before.
    pub(super) fn exif(&mut self, block: &[u8]) {
        self.exif = Some(without_prefix(block).to_vec());
    }

    /// Takes an Exif block, or the next part of one.
    pub(super) fn exif_part(&mut self, part: &[u8]) {
        match &mut self.exif {
            Some(exif) => exif.extend_from_slice(part),
            None => self.exif(part),
        }
    }

    /// Takes the text `Raw profile type exif`: an Exif block as hexadecimal digits.
    pub(super) fn raw_profile(&mut self, text: &[u8]) {
        self.raw_profile = of_digits(text).map(|block| without_prefix(&block).to_vec());
    }

    /// Takes an XMP packet.
    pub(super) fn xmp(&mut self, packet: &[u8]) {
        self.xmp = of_xmp(packet);
    }

    /// Returns the orientation that counts.
    pub(super) fn orientation(&self) -> Orientation {
        let block = self.exif.as_ref().or(self.raw_profile.as_ref());
        block.and_then(|block| of_exif(block)).or(self.xmp).unwrap_or_default()
    }
}

/// Leaves out what stands before the TIFF file of an Exif block, once or twice.
fn without_prefix(block: &[u8]) -> &[u8] {
    let strip = |block| <[u8]>::strip_prefix(block, b"Exif\0\0").unwrap_or(block);
    strip(strip(block))
}

fn of_exif(block: &[u8]) -> Option<Orientation> {
    Orientation::of_tag(&Directory::first(View::Whole(block))?)
}

/// Finds the first property that is written as an attribute or as an element.
pub(super) fn of_xmp(packet: &[u8]) -> Option<Orientation> {
    memmem::find_iter(packet, PROPERTY).find_map(|at| {
        let rest = &packet[at + PROPERTY.len()..];
        let value = rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?;
        let digit = value.first().filter(|byte| byte.is_ascii_digit())?;
        Some(Orientation::new(u64::from(digit - b'0')))
    })
}

fn of_digits(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n').skip(PROFILE_HEAD_LINES);
    let digits = lines.flatten().filter(|byte| !byte.is_ascii_whitespace());
    let digits: Vec<u8> =
        digits.map(|&byte| char::from(byte).to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exif with the orientation 6, big-endian.
    const SIX: &[u8] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0";
    const NO_TAGS: &[u8] = b"MM\0*\0\0\0\x08\0\0";
    const ZERO: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0";

    fn code(state: impl Fn(&mut Stated)) -> u8 {
        let mut stated = Stated::default();
        state(&mut stated);
        stated.orientation().code()
    }

    #[test]
    fn exif_counts_before_a_profile_and_before_xmp() {
        let profile = b"\nexif\n      28\n4d4d002a00000008 0001\n01120003000000010003\n0000";
        let xmp = b"<rdf:Description tiff:Orientation=\"8\"/>";
        assert_eq!(code(|stated| stated.xmp(xmp)), 8);
        assert_eq!(code(|stated| (stated.raw_profile(profile), stated.xmp(xmp)).1), 3);
        assert_eq!(code(|stated| (stated.xmp(xmp), stated.raw_profile(profile), stated.exif(SIX)).2), 6);
        assert_eq!(code(|stated| (stated.exif(NO_TAGS), stated.raw_profile(profile), stated.xmp(xmp)).2), 8);
        assert_eq!(
            code(|stated| (stated.exif(ZERO), stated.xmp(xmp)).1),
            1,
            "a tag without a meaning counts"
        );
    }

    /// As in Pillow, whose numbers are never those of BYTE.
    #[test]
    fn a_code_of_type_byte_does_not_turn() {
        let byte = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x01\0\0\0\x01\x06\0\0\0";
        let signed = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x08\0\0\0\x01\0\x06\0\0";
        let xmp = b"<rdf:Description tiff:Orientation=\"8\"/>";
        assert_eq!(code(|stated| (stated.exif(byte), stated.xmp(xmp)).1), 1);
        assert_eq!(code(|stated| stated.exif(signed)), 6);
    }

    #[test]
    fn parts_of_exif_are_one_block() {
        let (first, second) = SIX.split_at(12);
        assert_eq!(code(|stated| (stated.exif_part(first), stated.exif_part(second)).1), 6);
    }

    #[test]
    fn xmp_states_it_as_an_attribute_or_an_element() {
        assert_eq!(code(|stated| stated.xmp(b"<tiff:Orientation>5</tiff:Orientation>")), 5);
        assert_eq!(code(|stated| stated.xmp(b"tiff:Orientation='5' tiff:Orientation=\"7\"")), 7);
        assert_eq!(code(|stated| stated.xmp(b"tiff:Orientation=\"9\"")), 1);
        assert_eq!(code(|stated| stated.xmp(b"tiff:Orientation")), 1);
    }

    #[test]
    fn digits_that_are_none_count_as_absent() {
        assert_eq!(code(|stated| stated.raw_profile(b"\n\n\n4d4")), 1);
        assert_eq!(code(|stated| stated.raw_profile(b"\n\n\nzz")), 1);
    }
}
