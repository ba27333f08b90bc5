//! Pixel data of DICOM files with one frame, for tests of codecs. No parser: a test knows its files.

use std::fs;

use crate::skipped::test_data;

/// Tag (7FE0,0010) in little endian.
const PIXEL_DATA: [u8; 4] = [0xE0, 0x7F, 0x10, 0];
/// Tags of an item and of the end of a sequence (PS3.5, 7.5.1).
const ITEM: [u8; 4] = [0xFE, 0xFF, 0, 0xE0];
/// An element's tag, its two letters of value representation, two zero bytes, and its length in four.
const HEADER_BYTES: usize = 12;

/// Returns an image of NEMA's compression set, such as `CT1`, in several codings; `None`, said aloud, without test data.
///
/// - `codings`: such as `JLSL`; `REF` for the uncompressed file
///
/// # Panics
///
/// If there is no such file.
#[must_use]
pub fn wg04<const N: usize>(name: &str, codings: [&str; N]) -> Option<[Vec<u8>; N]> {
    let folder = test_data()?.join("medical/dicom/WG04");
    Some(codings.map(|coding| {
        let suffix = if coding == "REF" { "UNC" } else { coding };
        fs::read(folder.join(coding).join(format!("{name}_{suffix}"))).expect("the set is whole")
    }))
}

/// Returns the encapsulated frame of a file: its fragments joined, without the offset table.
///
/// # Panics
///
/// If the file has none.
#[must_use]
pub fn encapsulated(file: &[u8]) -> Vec<u8> {
    let mut rest =
        &file[places(file).rfind(|&at| items(&file[at..]).is_some()).expect("pixel data in items")..];
    rest = items(rest).expect("the place was found by its items");
    let mut frame = Vec::new();
    let mut is_table = true;
    while let Some(item) = rest.strip_prefix(&ITEM) {
        let (len, value) = item.split_first_chunk::<4>().expect("a length");
        let (fragment, behind) = value.split_at(u32::from_le_bytes(*len) as usize);
        if !std::mem::replace(&mut is_table, false) {
            frame.extend_from_slice(fragment);
        }
        rest = behind;
    }
    frame
}

/// Returns the samples of an uncompressed file in explicit VR, as they are stored.
///
/// # Panics
///
/// If the file has none.
#[must_use]
pub fn uncompressed(file: &[u8]) -> &[u8] {
    let value = |at: usize| {
        let (header, rest) = file[at..].split_first_chunk::<HEADER_BYTES>()?;
        let [.., l0, l1, l2, l3] = *header;
        rest.get(..u32::from_le_bytes([l0, l1, l2, l3]) as usize)
            .filter(|_| matches!(&header[4..6], b"OW" | b"OB"))
    };
    places(file).find_map(value).expect("uncompressed pixel data")
}

/// Finds what may be the beginning of pixel data.
fn places(file: &[u8]) -> impl DoubleEndedIterator<Item = usize> {
    file.windows(4).enumerate().filter(|(_, bytes)| *bytes == PIXEL_DATA).map(|(at, _)| at)
}

/// Returns the first item and all behind it, if pixel data of undefined length begin here.
fn items(element: &[u8]) -> Option<&[u8]> {
    let (header, items) = element.split_at_checked(HEADER_BYTES)?;
    (header[8..] == [0xFF; 4] && items.starts_with(&ITEM)).then_some(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixel_data_are_found() {
        let header = |len: [u8; 4]| [&PIXEL_DATA, &b"OW\0\0"[..], &len].concat();
        let native = [&b"before"[..], &header([3, 0, 0, 0]), b"abc"].concat();
        assert_eq!(uncompressed(&native), b"abc");
        let item = |value: &[u8]| [&ITEM, &[value.len() as u8, 0, 0, 0], value].concat();
        let end = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
        let items = [item(&[0; 4]), item(b"ab"), item(b"cd"), end.to_vec()].concat();
        assert_eq!(encapsulated(&[&header([0xFF; 4])[..], &items].concat()), b"abcd");
    }
}
