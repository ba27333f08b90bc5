//! Directories that no writer writes: each is refused with a reason, before memory is taken for it.

use super::*;
use crate::formats::raster::{Photometric, RasterFile, Validity};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::Reason;
use crate::vocabulary::sample::SampleKind;

/// Tags of a directory: code, type, values.
type Tags = Vec<(u16, u16, Vec<u32>)>;

/// Tags instead of those of [`grey`]; one without values goes away.
type Changes<'a> = &'a [(u16, u16, &'a [u32])];

const ASCII: u16 = 2;
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
            let width = match *kind {
                ASCII => 1,
                SHORT => 2,
                _ => 4,
            };
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
    let page = &header.levels[0].pixels.grid;
    assert_eq!(
        (page.size, page.block, page.stored.kind),
        (Size::new(20, 10), Size::new(16, 16), SampleKind::U8)
    );
    let across = Window { x: 15, y: 0, width: 2, height: 10 };
    assert_eq!(page.blocks_for(across, &[0]), [BlockId(0), BlockId(1)]);
    assert_eq!(page.blocks_for(Window { width: 1, ..across }, &[0]), [BlockId(0)]);
    let table = table(&file, &header.levels[0].pixels, &[BlockId(1)]);
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
fn directories_in_a_circle_are_looked_at_once() {
    let start = 264;
    let circle = parse_header(&file(&[grey(), with(&[(254, LONG, &[1])])], start)).unwrap();
    assert_eq!((circle.num_pages, circle.levels.len()), (2, 1));
    assert!(circle.notes.iter().any(|note| note.contains("form a loop")), "{:?}", circle.notes);
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
    let overview =
        |side: u32| with(&[(254, LONG, &[1]), (256, SHORT, &[side]), (257, SHORT, &[side.div_ceil(2)])]);
    let mask = |kind: u32, changes: Changes<'_>| {
        with(&[&[(254, LONG, &[kind][..]), (258, SHORT, &[1][..]), (262, SHORT, &[4][..])], changes].concat())
    };
    let small_mask = mask(5, &[(256, SHORT, &[5]), (257, SHORT, &[3])]);
    let other = with(&[(256, SHORT, &[3])]);
    let wide = with(&[(254, LONG, &[1]), (256, SHORT, &[9]), (258, SHORT, &[16])]);
    let header =
        parse_header(&file(&[grey(), small_mask, overview(5), overview(10), mask(4, &[]), other, wide], 0))
            .unwrap();
    let sizes: Vec<u32> = header.levels.iter().map(|level| level.pixels.grid.size.width).collect();
    assert_eq!(sizes, [20, 10, 5]);
    let masked: Vec<bool> = header.levels.iter().map(|level| level.mask.is_some()).collect();
    assert_eq!(masked, [true, false, true]);
    assert_eq!(header.notes.len(), 3, "{:?}", header.notes);
    assert_eq!(
        (header.num_pages, header.validity(0, 0), header.validity(0, 1)),
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
    assert_eq!(header.levels[1].pixels.grid.size, Size::new(10, 5));
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
    let page = &header.levels[0].pixels.grid;
    assert_eq!((page.block, page.num_blocks()), (Size::new(1000, 262), 4));
    let table = table(&file, &header.levels[0].pixels, &[BlockId(0), BlockId(3)]);
    assert_eq!(table.range(BlockId(0)).unwrap_err().reason, Reason::Truncated, "the file is shorter");
    let mut object = Partial::new(2_000_000);
    object.add(0, &file);
    let Parsed::Done(Ok(table)) = parse_blocks(&object, &header.levels[0].pixels, &[BlockId(3)]) else {
        panic!("it is all there")
    };
    assert_eq!(table.range(BlockId(3)), Ok(Some(8 + 786_000..8 + 1_000_000)));
}

/// Where the first block of an image of two lies if the tables of offsets and sizes are these.
fn first_block(changes: Changes<'_>) -> Result<Option<std::ops::Range<u64>>, Rejection> {
    let file = file(&[with(changes)], 0);
    let header = parse_header(&file).unwrap();
    table(&file, &header.levels[0].pixels, &[BlockId(0), BlockId(1)]).range(BlockId(0))
}

/// libtiff and Pillow read as many bytes as the samples take.
#[test]
fn samples_stored_as_they_are_need_no_size() {
    for sizes in [&[0, 256], &[0, 0], &[100, 256], &[1 << 20, 256], &[u32::MAX, u32::MAX]] {
        assert_eq!(first_block(&[(325, LONG, sizes)]), Ok(Some(8..264)), "{sizes:?}");
    }
    assert_eq!(first_block(&[(325, LONG, &[])]), Ok(Some(8..264)), "the tag is missing");
    assert_eq!(first_block(&[(324, LONG, &[0, 8]), (325, LONG, &[0, 256])]), Ok(None), "not stored");
}

#[test]
fn a_compressed_block_without_an_end_is_corrupt_and_one_with_a_late_end_is_read() {
    let deflate: (u16, u16, &[u32]) = (259, SHORT, &[8]);
    let reason = |changes: Changes<'_>| first_block(changes).unwrap_err().reason;
    assert_eq!(reason(&[deflate, (325, LONG, &[0, 256])]), Reason::Corrupt);
    assert_eq!(reason(&[deflate, (325, LONG, &[])]), Reason::Corrupt);
    // What ends too early is damaged in no other way.
    let lerc: (u16, u16, &[u32]) = (259, SHORT, &[34_887]);
    assert_eq!(reason(&[lerc, (325, LONG, &[1 << 20, 256])]), Reason::Truncated);
    let one: Changes<'_> = &[deflate, (256, SHORT, &[16]), (324, LONG, &[8])];
    let alone = |sizes: &[u32]| {
        let file = file(&[with(&[one, &[(325, LONG, sizes)]].concat())], 0);
        let header = parse_header(&file).unwrap();
        let range = table(&file, &header.levels[0].pixels, &[BlockId(0)]).range(BlockId(0));
        assert_eq!(range, Ok(Some(8..file.len() as u64)), "{sizes:?}");
    };
    [&[0][..], &[], &[1 << 20]].into_iter().for_each(alone);
    assert_eq!(first_block(&[deflate, (325, LONG, &[100, 256])]), Ok(Some(8..108)));
}

#[test]
fn a_block_lies_neither_in_the_header_nor_beyond_the_file() {
    for codec in [1, 8] {
        let reason = |offset| {
            let changes: Changes<'_> = &[(259, SHORT, &[codec]), (324, LONG, &[offset, 8])];
            first_block(changes).unwrap_err().reason
        };
        assert_eq!((reason(0), reason(7)), (Reason::Corrupt, Reason::Corrupt));
        assert_eq!((reason(1 << 20), reason(u32::MAX)), (Reason::Truncated, Reason::Truncated));
    }
}

#[test]
fn black_is_zero_where_nothing_is_said() {
    let header = parse_header(&file(&[with(&[(262, SHORT, &[])])], 0)).unwrap();
    assert_eq!(header.levels[0].pixels.grid.stored.photometric, Photometric::MinIsBlack);
    assert!(header.notes[0].contains("0 is assumed to be black"), "{:?}", header.notes);
    let plain = crate::formats::image::parse_header(&file(&[with(&[(262, SHORT, &[])])], 0)).unwrap();
    assert_eq!(plain.photometric, crate::formats::image::Photometric::Grey);
}

#[test]
fn levels_have_the_proportions_of_full_size() {
    let num_levels = |[full_width, full_height]: [u32; 2], kind: u32, [width, height]: [u32; 2]| {
        let page = |kind: u32, width: u32, height: u32| {
            let side = width.max(height);
            with(&[
                (254, LONG, &[kind]),
                (256, LONG, &[width]),
                (257, LONG, &[height]),
                (322, LONG, &[side]),
                (323, LONG, &[side]),
                (324, LONG, &[8]),
                (325, LONG, &[256]),
            ])
        };
        let file = file(&[page(0, full_width, full_height), page(kind, width, height)], 0);
        parse_header(&file).unwrap().levels.len()
    };
    let full = [2220, 2967];
    for level in [[1110, 1483], [555, 742], [278, 370], [138, 185], [1, 2], [1, 1], [740, 989]] {
        assert_eq!(num_levels(full, 1, level), 2, "{level:?}");
        assert_eq!(num_levels(full, 3, level), 2, "{level:?}, a page");
        assert_eq!(num_levels(full, 9, level), 1, "{level:?}, a bit that is a vendor's");
    }
    for other in [[387, 463], [1280, 431], [1110, 1490], [1112, 1483]] {
        assert_eq!(num_levels(full, 1, other), 1, "{other:?}");
    }
    assert_eq!(num_levels([1, 4000], 1, [1, 1000]), 2);
    assert_eq!(num_levels([4000, 3], 1, [500, 1]), 2);
}

/// Full size decides how pixels are valid.
#[test]
fn a_mask_of_an_overview_alone_is_not_used() {
    let overview = with(&[(254, LONG, &[1]), (256, SHORT, &[10]), (257, SHORT, &[5])]);
    let mask = with(&[
        (254, LONG, &[5]),
        (256, SHORT, &[10]),
        (257, SHORT, &[5]),
        (258, SHORT, &[1]),
        (262, SHORT, &[4]),
    ]);
    let header = parse_header(&file(&[grey(), overview, mask], 0)).unwrap();
    assert_eq!((header.levels.len(), header.validity(0, 1)), (2, Validity::All));
    assert!(header.notes[0].contains("level 0 has none"), "{:?}", header.notes);
}

#[test]
fn slides_are_refused_by_what_their_writers_sign() {
    let signed = |tag: u16, text: &str, more: Changes<'_>| {
        let text: Vec<u32> = text.bytes().map(u32::from).collect();
        file(&[with(&[&[(tag, ASCII, &text[..])], more].concat())], 0)
    };
    let sub_directory: Changes<'_> = &[(330, LONG, &[264])];
    let ome = "<?xml version=\"1.0\"?><OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\">";
    let slides = [
        signed(270, "Aperio Image Library v11.2.1 \r\n46000x32914", &[]),
        signed(270, "<?xml version=\"1.0\" ?><DataObject ObjectType=\"DPUfsImport\">", &[]),
        signed(270, "<scn xmlns=\"http://www.leica-microsystems.com/scn/2010/10/01\">", &[]),
        signed(270, ome, sub_directory),
        signed(305, "MedScan 1.0", &[]),
        signed(700, "<iScan Magnification=\"40\">", &[]),
        signed(305, "NDP.scan", &[(65_420, LONG, &[1])]),
    ];
    for slide in &slides {
        let refused =
            [parse_header(slide).unwrap_err(), crate::formats::image::parse_header(slide).unwrap_err()];
        for rejection in refused {
            assert_eq!(rejection.reason, Reason::Unsupported);
            assert!(rejection.detail.contains("slides are not read yet"), "{rejection}");
        }
    }
    let others = [signed(270, "a field near Aperio Road", sub_directory), signed(270, ome, &[])];
    assert!(others.iter().all(|file| parse_header(file).is_ok()));
}
