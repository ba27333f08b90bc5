//! What the fuzz targets do with any bytes. `cargo test --test it mutated` does the same with mutated real files,
//! so that what is found stays found without nightly. Those of decoders need nothing of the package, so that the tests of
//! a decoder may use them too.

#[path = "bodies/dicom.rs"]
mod dicom;
#[path = "bodies/dicom_pixels.rs"]
mod dicom_pixels;
#[path = "bodies/jpeg.rs"]
mod jpeg;
#[path = "bodies/jpeg2000.rs"]
mod jpeg2000;

use tilefleet::formats::image;
use tilefleet::formats::image::DecodeLimits;
use tilefleet::formats::partial::{Parsed, Partial};
use tilefleet::formats::raster::{BlockId, GridId, Part, RasterFile};
use tilefleet::formats::tiff::{parse_header, parse_partial};
use tilefleet::stages::decode::blocks::{decode_block, read_window};
use tilefleet::stages::decode::{decode, working_bytes};
use tilefleet::vocabulary::geometry::Window;
use tilefleet::vocabulary::reason::{Reason, Rejection};

pub use self::dicom::dicom;
pub use self::dicom_pixels::dicom_pixels;
pub use self::jpeg::{jpeg, jpeg_samples, jpegls};
pub use self::jpeg2000::jpeg2000;

/// Larger blocks are left out: what is looked for is found in small ones.
const MAX_BLOCK_BYTES: u64 = 1 << 24;
/// So many blocks of a page are decoded.
const NUM_BLOCKS: u64 = 4;
/// So many levels are looked at.
const NUM_LEVELS: usize = 3;

/// Parses anything as the header of a scene, as a whole and in parts: both say the same.
///
/// # Panics
///
/// If they do not, if a parser asks for what it has, or if one crashes.
pub fn header(bytes: &[u8]) {
    let whole = parse_header(bytes);
    let mut object = Partial::new(bytes.len());
    let in_parts = complete(bytes, &mut object, parse_partial);
    // Compared as text, since NaN is equal to nothing.
    assert_eq!(format!("{whole:?}"), format!("{in_parts:?}"));
}

/// Parses anything as the header of an image, as a whole and in parts, and decodes it.
///
/// # Panics
///
/// If the whole and the parts do not say the same, or a decoder crashes.
pub fn image(bytes: &[u8]) {
    let whole = image::parse_header(bytes);
    let mut object = Partial::new(bytes.len());
    assert_eq!(whole, complete(bytes, &mut object, image::parse_partial));
    let limits = DecodeLimits::of_pixels(MAX_BLOCK_BYTES / 16);
    let Ok(header) = whole else { return };
    if limits.check(&header).is_err() {
        return;
    }
    assert!(working_bytes(&header, bytes) >= header.decoded_bytes());
    if let Err(rejection) = decode(&header, bytes, &limits, Window::whole(header.oriented_size())) {
        assert_ne!(rejection.reason, Reason::DecoderCrash, "{rejection}");
    }
}

/// Decodes blocks of anything that has the header of a scene, and cuts windows out of them.
///
/// # Panics
///
/// If a decoder crashes, or yields a block of another size than its header says.
pub fn blocks(bytes: &[u8]) {
    let Ok(header) = parse_header(bytes) else { return };
    for level in (0..header.num_levels()).take(NUM_LEVELS) {
        for part in [Part::Pixels, Part::Mask] {
            let place = GridId { frame: 0, level, part };
            let Some(grid) = header.grid(place) else { continue };
            let last = grid.num_blocks() - 1;
            (0..NUM_BLOCKS.min(last + 1)).for_each(|step| {
                drop(block(bytes, &header, place, BlockId((last * step / NUM_BLOCKS) as u32)));
            });
        }
        window(bytes, &header, level);
    }
}

/// Reads a window across the corner of a block.
fn window(bytes: &[u8], file: &dyn RasterFile, level: usize) {
    let grid = file.pixels(0, level);
    let (x, y) =
        (grid.block.width.min(grid.size.width - 1) / 2, grid.block.height.min(grid.size.height - 1) / 2);
    let window =
        Window { x, y, width: (grid.size.width - x).min(40), height: (grid.size.height - y).min(40) };
    let bands: Vec<u16> = (0..grid.num_bands.min(4)).rev().collect();
    let (pixels, masks) = file.blocks_for(0, level, window, &bands);
    if pixels.len() + masks.len() > 200 || grid.max_block_bytes() > MAX_BLOCK_BYTES {
        return;
    }
    let decoded = |part, ids: &[BlockId]| -> Result<Vec<_>, Rejection> {
        let place = GridId { frame: 0, level, part };
        ids.iter().map(|&id| block(bytes, file, place, id).map(|block| (id, block))).collect()
    };
    let (Ok(pixels), Ok(masks)) = (decoded(Part::Pixels, &pixels), decoded(Part::Mask, &masks)) else {
        return;
    };
    let read = read_window(file, 0, level, window, &bands, |part, id| {
        let blocks = if part == Part::Pixels { &pixels } else { &masks };
        Ok(&blocks.iter().find(|(found, _)| *found == id).expect("blocks_for names every block").1)
    });
    let read = read.expect("every block is there");
    let num_pixels = read.size.num_pixels() as usize;
    assert_eq!(read.samples.len(), num_pixels * bands.len());
    assert!(read.valid.is_none_or(|valid| valid.len() == num_pixels));
}

fn block(
    bytes: &[u8],
    file: &dyn RasterFile,
    place: GridId,
    id: BlockId,
) -> Result<tilefleet::stages::decode::blocks::Block, Rejection> {
    let grid = file.grid(place).expect("it is one of the file's");
    if grid.block_bytes(id) > MAX_BLOCK_BYTES {
        return Err(Rejection::new(Reason::TooLarge, "left out"));
    }
    let mut object = Partial::new(bytes.len());
    let table = complete(bytes, &mut object, |object| file.locate(object, place, &[id]))?;
    let stored = table.range(id)?.map(|range| &bytes[range.start as usize..range.end as usize]);
    let decoded = decode_block(&grid.spec(id), stored);
    if let Err(rejection) = &decoded {
        assert_ne!(rejection.reason, Reason::DecoderCrash, "{rejection}");
    }
    let decoded = decoded?;
    assert_eq!(decoded.samples.num_bytes() as u64, grid.block_bytes(id), "{grid:?}");
    Ok(decoded)
}

/// Brings what a parser asks for.
fn complete<T>(
    bytes: &[u8],
    object: &mut Partial,
    parse: impl Fn(&Partial) -> Parsed<T>,
) -> Result<T, Rejection> {
    loop {
        match parse(object) {
            Parsed::Done(answer) => return answer,
            Parsed::Needs(range) => {
                assert!(!range.is_empty(), "a parser asks for what it has");
                object.add(range.start, &bytes[range]);
            }
        }
    }
}
