//! What the writer of COGs has written is decoded again.

use super::decode_tile;
use crate::formats::cog_writer::{Band, Colours, Image, Reduce, encode};
use crate::formats::image::{DecodeLimits, Photometric};
use crate::vocabulary::geometry::Size;

fn image(size: (u32, u32), samples: Vec<u8>) -> Image<u8> {
    Image {
        size: Size::new(size.0, size.1),
        bands: vec![Band::default()],
        samples,
        nodata: None,
        reduce: Reduce::Mean,
        colours: Colours::Values,
        place: None,
        notes: Vec::new(),
    }
}

#[test]
fn what_is_written_is_read_again() {
    let samples: Vec<u8> = (0..700 * 300).map(|index| (index % 251) as u8).collect();
    let file = encode(&image((700, 300), samples.clone())).unwrap();
    let (header, chip) = decode_tile(&file, &DecodeLimits::default()).unwrap();
    assert_eq!((header.size, chip.samples.bytes()), (Size::new(700, 300), &samples[..]));
}

#[test]
fn a_picture_is_read_as_one() {
    let samples: Vec<u8> = (0..30 * 20 * 3).map(|index| (index % 251) as u8).collect();
    let bands = vec![Band::default(); 3];
    let picture = Image { bands, colours: Colours::Rgb, ..image((30, 20), samples.clone()) };
    let (header, chip) = decode_tile(&encode(&picture).unwrap(), &DecodeLimits::default()).unwrap();
    assert_eq!((header.photometric, chip.samples.bytes()), (Photometric::Rgb, &samples[..]));
    assert!(encode(&Image { bands: vec![Band::default(); 2], ..picture }).is_err());
}
