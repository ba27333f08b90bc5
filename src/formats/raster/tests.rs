//! The suite that every [`RasterFile`] passes.

use std::ops::Range;

use super::fixtures::{cog, complete, range_of};
use super::{
    BlockGrid, BlockId, GridId, NodataValue, Part, RasterFile, RasterParser, Validity, ValueMapping, raw,
};
use crate::formats::partial::{Parsed, Partial};
use crate::formats::{dicom, tiff};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::Reason;
use crate::vocabulary::sample::{SampleKind, converts};

/// Checks all that a file has to hold, whatever its format.
pub(super) fn holds_contract(bytes: &[u8], parse: RasterParser) {
    let file = complete(bytes, &mut Partial::new(bytes.len()), parse).unwrap();
    says_the_same_as_a_whole(bytes, &*file, parse);
    survives_being_cut(bytes, parse);
    has_levels_and_frames(&*file);
    says_what_samples_mean(&*file);
    for grid in grids_of(&*file) {
        covers_each_pixel_once(file.grid(grid).unwrap());
        locates_its_blocks(bytes, &*file, grid);
    }
    keeps_frames_apart(bytes, &*file);
}

fn grids_of(file: &dyn RasterFile) -> Vec<GridId> {
    let of_level = |frame, level| [Part::Pixels, Part::Mask].map(|part| GridId { frame, level, part });
    let frames = (0..file.num_frames())
        .flat_map(|frame| (0..file.num_levels()).flat_map(move |level| of_level(frame, level)));
    frames.filter(|grid| file.grid(*grid).is_some()).collect()
}

fn says_the_same_as_a_whole(bytes: &[u8], in_parts: &dyn RasterFile, parse: RasterParser) {
    let mut object = Partial::new(bytes.len());
    object.add(0, bytes);
    let Parsed::Done(whole) = parse(&object) else { panic!("all of it is there") };
    assert_eq!(format!("{:?}", whole.unwrap()), format!("{in_parts:?}"));
}

fn survives_being_cut(bytes: &[u8], parse: RasterParser) {
    for len in
        [0, 1, 5, 16, 40, bytes.len() / 2, bytes.len() - 1].into_iter().filter(|len| *len < bytes.len())
    {
        let cut = &bytes[..len];
        if let Err(rejection) = complete(cut, &mut Partial::new(len), parse) {
            // Cut before its pixels, a DICOM object is one without.
            let may_be =
                [Reason::Empty, Reason::NotAnImage, Reason::NotImage, Reason::Truncated, Reason::Corrupt];
            assert!(may_be.contains(&rejection.reason), "cut to {len} bytes: {rejection}");
        }
    }
}

fn has_levels_and_frames(file: &dyn RasterFile) {
    let (num_frames, num_levels) = (file.num_frames(), file.num_levels());
    assert!(num_frames > 0 && num_levels > 0);
    for beyond in [(num_frames, 0), (0, num_levels)] {
        let (frame, level) = beyond;
        assert_eq!(file.grid(GridId { frame, level, part: Part::Pixels }), None, "{beyond:?}");
    }
    let sizes = file.sizes();
    assert!(sizes.is_sorted_by_key(|size| std::cmp::Reverse(size.num_pixels())), "{sizes:?}");
    for level in 0..num_levels {
        let (pixels, mask) = (file.pixels(0, level), file.mask(0, level));
        assert_eq!(pixels.stored.kind, file.pixels(0, 0).stored.kind, "levels have one type");
        if let Some(mask) = mask {
            assert_eq!((mask.size, mask.num_bands, mask.stored.kind), (pixels.size, 1, SampleKind::U8));
        }
        for frame in 0..num_frames {
            assert_eq!(file.pixels(frame, level), pixels, "frames are of one kind");
            assert_eq!(file.mask(frame, level), mask);
            assert_eq!(usize::from(pixels.num_bands), file.bands(frame).len(), "bands are those of the file");
        }
    }
}

/// Samples become finite numbers that still differ, and the sample that means no data is one that can be stored.
fn says_what_samples_mean(file: &dyn RasterFile) {
    let pixels = file.pixels(0, 0);
    for frame in 0..file.num_frames() {
        for band in 0..pixels.num_bands {
            let ValueMapping { scale, offset, .. } = file.values(frame, band);
            assert!(converts(*scale, *offset), "frame {frame}, band {band}: × {scale} + {offset}");
        }
        if let Some(nodata) = file.nodata(frame) {
            assert_eq!(nodata.of_kind(pixels.stored.kind), Some(nodata), "frame {frame}");
        }
    }
}

/// Each pixel of each band lies in one block; a window needs no others than those that it touches.
fn covers_each_pixel_once(grid: &BlockGrid) {
    let bands: Vec<u16> = (0..grid.num_bands).collect();
    let ids = grid.blocks_for(Window::whole(grid.size), &bands);
    assert_eq!(ids.len() as u64, grid.num_blocks());
    assert!(ids.is_sorted() && ids.iter().all(|id| u64::from(id.0) < grid.num_blocks()));
    let shared = |id: &BlockId| {
        let Window { x, y, width, height } = grid.block_window(*id);
        u64::from(width.min(grid.size.width - x)) * u64::from(height.min(grid.size.height - y))
    };
    let covered: u64 = ids.iter().map(shared).sum();
    let planes = if grid.separate { u64::from(grid.num_bands) } else { 1 };
    assert_eq!(covered, planes * grid.size.num_pixels());
    let corner = Window { x: grid.size.width - 1, y: grid.size.height - 1, width: 1, height: 1 };
    let found = grid.blocks_for(corner, &[0]);
    assert_eq!(found, [grid.block_at(grid.num_across() - 1, grid.num_down() - 1, 0)]);
    for id in ids {
        let spec = grid.spec(id);
        assert_eq!((spec.window, spec.num_bands), (grid.block_window(id), grid.block_bands()));
        assert_eq!(spec.num_samples() as u64 * spec.stored.kind.num_bytes(), grid.block_bytes(id));
        assert!(grid.block_bytes(id) <= grid.max_block_bytes());
    }
}

fn locates_its_blocks(bytes: &[u8], file: &dyn RasterFile, id: GridId) {
    let grid = file.grid(id).unwrap();
    let ids: Vec<BlockId> = (0..grid.num_blocks() as u32).map(BlockId).collect();
    let mut object = Partial::new(bytes.len());
    let table = complete(bytes, &mut object, |object| file.locate(object, id, &ids)).unwrap();
    for block in ids {
        let range = table.range(block).unwrap();
        assert_eq!(range, range_of(bytes, file, id, block).unwrap(), "alone as among others");
        if let Some(range) = range {
            assert!(range.start < range.end && range.end <= bytes.len() as u64, "{range:?}");
        }
    }
}

/// No block of a frame lies where one of another does.
fn keeps_frames_apart(bytes: &[u8], file: &dyn RasterFile) {
    let place = |frame| {
        let grid = GridId { frame, level: 0, part: Part::Pixels };
        range_of(bytes, file, grid, BlockId(0)).unwrap()
    };
    let mut places: Vec<Range<u64>> = (0..file.num_frames()).filter_map(place).collect();
    places.sort_by_key(|range| range.start);
    assert!(places.windows(2).all(|pair| pair[0].end <= pair[1].start), "{places:?}");
}

#[test]
fn tiff_holds_the_contract() {
    holds_contract(&cog(Size::new(700, 300), 3, |x, y, band| (x ^ y) as u16 + band), tiff::parse_raster);
    holds_contract(&cog(Size::new(31, 17), 1, |x, y, _| (x * y) as u16), tiff::parse_raster);
}

#[test]
fn dicom_holds_the_contract() {
    for (size, num_frames) in [(Size::new(20, 12), 4), (Size::new(1, 1), 1)] {
        holds_contract(&dicom_object(size, num_frames), dicom::parse_raster);
    }
}

/// A DICOM object of 16 bits, explicit little endian (PS3.10, 7; PS3.5, 7.1.2).
fn dicom_object(size: Size, num_frames: u32) -> Vec<u8> {
    let short = |number: u32| (number as u16).to_le_bytes().to_vec();
    let element = |group: u16, number: u16, kind: &[u8; 2], value: &[u8]| {
        let padded = [value, &b" "[..value.len() % 2]].concat();
        let head = [group.to_le_bytes(), number.to_le_bytes(), *kind].concat();
        let len = padded.len() as u32;
        match kind {
            b"OW" => [head, vec![0, 0], len.to_le_bytes().to_vec(), padded].concat(),
            _ => [head, short(len), padded].concat(),
        }
    };
    let meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0");
    let samples = (0..size.num_pixels() * u64::from(num_frames)).flat_map(|sample| short(sample as u32 * 7));
    let elements = [
        element(2, 0, b"UL", &(meta.len() as u32).to_le_bytes()),
        meta,
        element(8, 0x16, b"UI", b"1.2.840.10008.5.1.4.1.1.7.3\0"),
        element(0x28, 2, b"US", &short(1)),
        element(0x28, 4, b"CS", b"MONOCHROME2"),
        element(0x28, 8, b"IS", num_frames.to_string().as_bytes()),
        element(0x28, 0x10, b"US", &short(size.height)),
        element(0x28, 0x11, b"US", &short(size.width)),
        element(0x28, 0x100, b"US", &short(16)),
        element(0x28, 0x101, b"US", &short(16)),
        element(0x28, 0x102, b"US", &short(15)),
        element(0x28, 0x103, b"US", &short(0)),
        element(0x7FE0, 0x10, b"OW", &samples.collect::<Vec<u8>>()),
    ];
    [vec![0; 128], b"DICM".to_vec(), elements.concat()].concat()
}

#[test]
fn raw_rasters_hold_the_contract() {
    for (size, num_bands, num_frames) in [(Size::new(20, 12), 3, 4), (Size::new(1, 1), 1, 1)] {
        let file = raw::file(size, num_bands, num_frames, |frame, x, y, _| (frame + x + y) as u16);
        holds_contract(&file, raw::parse_partial);
        holds_contract(&raw::saying("step=100 nodata=7 microns=0.25", &file), raw::parse_partial);
    }
}

/// Each frame has its own mapping and its own value of pixels without data.
#[test]
fn frames_of_one_file_differ_in_what_samples_mean() {
    let file =
        raw::saying("step=100 nodata=7 microns=0.25", &raw::file(Size::new(2, 1), 1, 2, |_, _, _, _| 7));
    let file = complete(&file, &mut Partial::new(file.len()), raw::parse_partial).unwrap();
    assert_eq!(file.microns(), Some([0.25; 2]));
    let said = |frame| (file.values(frame, 0).offset, file.nodata(frame).map(|nodata| nodata.value));
    assert_eq!((said(0), said(1)), ((100.0, Some(7.0)), (200.0, Some(14.0))));
    let validity = [0, 1].map(|frame| file.validity(frame, 0));
    assert_eq!(validity, [7.0, 14.0].map(|value| Validity::Nodata(NodataValue::of(value), None)));
}
