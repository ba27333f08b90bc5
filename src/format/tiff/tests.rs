//! Directories that no writer writes: each is refused with a reason, before memory is taken for it.

use super::*;
use crate::format::sample::SampleKind;
use crate::geometry::{Size, Window};
use crate::reason::Reason;

/// Tags of a directory: code, type, values.
type Tags = Vec<(u16, u16, Vec<u32>)>;

/// Tags instead of those of [`grey`]; one without values goes away.
type Changes<'a> = &'a [(u16, u16, &'a [u32])];

const SHORT: u16 = 3;
const LONG: u16 = 4;

/// A grey 8-bit image of 20×10 in tiles of 16×16, both stored at byte 8.
fn grey() -> Tags {
    vec![
        (256, SHORT, vec![20]),
        (257, SHORT, vec![10]),
        (258, SHORT, vec![8]),
        (259, SHORT, vec![1]),
        (262, SHORT, vec![1]),
        (322, SHORT, vec![16]),
        (323, SHORT, vec![16]),
        (324, LONG, vec![8, 8]),
        (325, LONG, vec![256, 256]),
    ]
}

fn with(changes: Changes<'_>) -> Tags {
    let mut tags = grey();
    for &(code, kind, values) in changes {
        tags.retain(|tag| tag.0 != code);
        if !values.is_empty() {
            tags.push((code, kind, values.to_vec()));
        }
    }
    tags.sort_by_key(|tag| tag.0);
    tags
}

/// Writes 256 bytes of samples, then directories one after another; the last points to `next`.
fn file(directories: &[Tags], next: u32) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    file.extend((0..=255).map(|sample| sample as u8));
    let mut link = 4;
    for tags in directories {
        let start = file.len();
        file[link..link + 4].copy_from_slice(&(start as u32).to_le_bytes());
        let mut values_at = start + 2 + 12 * tags.len() + 4;
        let mut outside = Vec::new();
        file.extend((tags.len() as u16).to_le_bytes());
        for (code, kind, values) in tags {
            file.extend(code.to_le_bytes());
            file.extend(kind.to_le_bytes());
            file.extend((values.len() as u32).to_le_bytes());
            let width = if *kind == SHORT { 2 } else { 4 };
            let bytes: Vec<u8> =
                values.iter().flat_map(|value| value.to_le_bytes()[..width].to_vec()).collect();
            if bytes.len() <= 4 {
                file.extend(&bytes);
                file.extend(vec![0; 4 - bytes.len()]);
            } else {
                file.extend((values_at as u32).to_le_bytes());
                values_at += bytes.len();
                outside.extend(bytes);
            }
        }
        link = file.len();
        file.extend(next.to_le_bytes());
        file.extend(outside);
    }
    file
}

fn reason(tags: Tags) -> Reason {
    parse_header(&file(&[tags], 0)).unwrap_err().reason
}

/// Reads the table with nothing but what it asks for.
fn table(file: &[u8], page: &Page, ids: &[BlockId]) -> BlockTable {
    let mut object = Partial::new(file.len());
    loop {
        match parse_blocks(&object, page, ids) {
            Parsed::Done(table) => return table.unwrap(),
            Parsed::Needs(range) => object.add(range.start, &file[range]),
        }
    }
}

#[test]
fn a_page_has_blocks() {
    let file = file(&[grey()], 0);
    let header = parse_header(&file).unwrap();
    let page = &header.levels[0].pixels;
    assert_eq!((page.size, page.block, page.kind), (Size::new(20, 10), Size::new(16, 16), SampleKind::U8));
    let across = Window { x: 15, y: 0, width: 2, height: 10 };
    assert_eq!(page.blocks_for(across, &[0]), [BlockId(0), BlockId(1)]);
    assert_eq!(page.blocks_for(Window { width: 1, ..across }, &[0]), [BlockId(0)]);
    let table = table(&file, page, &[BlockId(1)]);
    assert_eq!(table.range(BlockId(1)), Ok(Some(8..264)));
    assert!(!header.is_scene());
}

#[test]
fn a_header_that_ends_early_is_truncated() {
    let whole = file(&[grey()], 0);
    let needed = whole.len() - 16;
    for len in 4..needed {
        assert_eq!(parse_header(&whole[..len]).unwrap_err().reason, Reason::Truncated, "{len}");
    }
}

#[test]
fn directories_in_a_circle_are_corrupt() {
    let start = 264;
    let circle = file(&[grey(), with(&[(254, LONG, &[1])])], start);
    assert_eq!(parse_header(&circle).unwrap_err().reason, Reason::Corrupt);
    let beyond = file(&[grey()], 1_000_000);
    assert_eq!(parse_header(&beyond).unwrap_err().reason, Reason::Truncated);
}

#[test]
fn absurd_sizes_are_refused_by_the_header() {
    let absurd: &[(Changes<'_>, Reason)] = &[
        (&[(256, LONG, &[0])], Reason::Corrupt),
        (&[(256, LONG, &[u32::MAX])], Reason::TooLarge),
        (&[(322, LONG, &[1 << 30]), (323, LONG, &[1 << 30])], Reason::TooLarge),
        (&[(256, LONG, &[1 << 30]), (257, LONG, &[1 << 30])], Reason::Corrupt),
        (&[(256, LONG, &[1 << 30]), (322, LONG, &[1]), (323, LONG, &[1])], Reason::Corrupt),
        (&[(277, SHORT, &[0])], Reason::Corrupt),
        (&[(324, LONG, &[8])], Reason::Corrupt),
        (&[(324, LONG, &[])], Reason::Corrupt),
        (&[(258, SHORT, &[0])], Reason::Corrupt),
        (&[(258, SHORT, &[24])], Reason::Unsupported),
        (&[(258, SHORT, &[16]), (339, SHORT, &[5])], Reason::Unsupported),
        (&[(259, SHORT, &[34_712])], Reason::Unsupported),
        (&[(259, SHORT, &[999])], Reason::Unsupported),
        (&[(262, SHORT, &[6])], Reason::Unsupported),
        (&[(259, SHORT, &[8]), (317, SHORT, &[3])], Reason::Corrupt),
        (&[(258, SHORT, &[12]), (259, SHORT, &[8]), (317, SHORT, &[2])], Reason::Unsupported),
    ];
    for (changes, expected) in absurd {
        assert_eq!(reason(with(changes)), *expected, "{changes:?}");
    }
}

#[test]
fn a_block_table_beyond_the_file_is_truncated() {
    let mut file =
        file(&[with(&[(256, LONG, &[16 * 3000]), (324, LONG, &[8; 3000]), (325, LONG, &[1; 3000])])], 0);
    assert!(parse_header(&file).is_ok());
    file.truncate(file.len() - 1);
    assert_eq!(parse_header(&file).unwrap_err().reason, Reason::Truncated);
}

#[test]
fn overviews_and_masks_are_sorted_by_size() {
    let overview = |side: u32| with(&[(254, LONG, &[1]), (256, SHORT, &[side]), (257, SHORT, &[side])]);
    let mask = |kind: u32, changes: Changes<'_>| {
        with(&[&[(254, LONG, &[kind][..]), (258, SHORT, &[1][..]), (262, SHORT, &[4][..])], changes].concat())
    };
    let small_mask = mask(5, &[(256, SHORT, &[5]), (257, SHORT, &[5])]);
    let other = with(&[(256, SHORT, &[3])]);
    let wide = with(&[(254, LONG, &[1]), (256, SHORT, &[9]), (258, SHORT, &[16])]);
    let header =
        parse_header(&file(&[grey(), small_mask, overview(5), overview(10), mask(4, &[]), other, wide], 0))
            .unwrap();
    let sizes: Vec<u32> = header.levels.iter().map(|level| level.pixels.size.width).collect();
    assert_eq!(sizes, [20, 10, 5]);
    let masked: Vec<bool> = header.levels.iter().map(|level| level.mask.is_some()).collect();
    assert_eq!(masked, [true, false, true]);
    assert_eq!(header.notes.len(), 3, "{:?}", header.notes);
    assert_eq!(
        (header.num_pages, header.validity(0), header.validity(1)),
        (7, Validity::Mask, Validity::All)
    );
}

#[test]
fn overviews_may_hang_below_the_first_page() {
    let overview = with(&[(254, LONG, &[1]), (256, SHORT, &[10]), (257, SHORT, &[5])]);
    let mut file = file(&[with(&[(330, LONG, &[0])]), overview], 0);
    let link = 264 + 2 + 12 * 10;
    let second: [u8; 4] = file[link..link + 4].try_into().unwrap();
    file[link..link + 4].fill(0);
    let sub_directories = file.windows(4).position(|entry| entry == [0x4A, 1, 4, 0]).unwrap();
    file[sub_directories + 8..sub_directories + 12].copy_from_slice(&second);
    let header = parse_header(&file).unwrap();
    assert_eq!(header.levels[1].pixels.size, Size::new(10, 5));
    assert!(header.is_scene());
}

#[test]
fn one_large_strip_is_cut_into_pieces() {
    let strip = with(&[
        (256, SHORT, &[1000]),
        (257, SHORT, &[1000]),
        (273, LONG, &[8]),
        (278, LONG, &[u32::MAX]),
        (279, LONG, &[1_000_000]),
        (322, SHORT, &[]),
        (323, SHORT, &[]),
        (324, LONG, &[]),
        (325, LONG, &[]),
    ]);
    let file = file(&[strip], 0);
    let header = parse_header(&file).unwrap();
    let page = &header.levels[0].pixels;
    assert_eq!((page.block, page.num_blocks()), (Size::new(1000, 262), 4));
    let table = table(&file, page, &[BlockId(0), BlockId(3)]);
    assert_eq!(table.range(BlockId(0)).unwrap_err().reason, Reason::Truncated, "the file is shorter");
    let mut object = Partial::new(2_000_000);
    object.add(0, &file);
    let Parsed::Done(Ok(table)) = parse_blocks(&object, page, &[BlockId(3)]) else {
        panic!("it is all there")
    };
    assert_eq!(table.range(BlockId(3)), Ok(Some(8 + 786_000..8 + 1_000_000)));
}
