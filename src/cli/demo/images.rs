//! The demo's images: varied, generated, the same each time, some broken on purpose.

use std::fs;
use std::path::Path;

use crate::formats::cog_writer;
use crate::formats::cog_writer::{Band, Colours, Image, Reduce};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::random::SplitMix64;

/// Sound images.
pub const NUM_SOUND: usize = 310;

/// Broken images: their name says what is wrong, the closure makes it so.
type Breakage = (&'static str, fn() -> Result<Vec<u8>>);

const BROKEN: [Breakage; 7] = [
    ("truncated-early.jpg", || Ok(start_of(jpeg(&picture(9001, 300, 200), 90, false)?, 0.05))),
    ("truncated-half.jpg", || Ok(start_of(jpeg(&picture(9002, 300, 200), 90, false)?, 0.5))),
    ("truncated.png", || Ok(start_of(png(&picture(9003, 256, 256), false)?, 0.7))),
    ("empty.jpg", || Ok(Vec::new())),
    ("notes.jpg", || Ok(b"these are no pixels\n".to_vec())),
    ("bomb.png", || bomb()),
    ("sixteen-bit.png", || png(&picture(9004, 224, 224), true)),
];

/// Number of broken images.
pub const NUM_BROKEN: usize = BROKEN.len();

/// An RGB picture, `[height, width, 3]`, 8-bit.
struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

/// Images that come in after the others.
pub const NUM_NEW: usize = 20;

/// Writes all images into `folder`; those already there are left as they are.
///
/// # Errors
///
/// `Unavailable` if the folder cannot be written.
pub fn write_all(folder: &Path) -> Result<()> {
    (0..NUM_SOUND).try_for_each(|index| write_sound(folder, index))?;
    for (name, make) in BROKEN {
        write_new(&folder.join("broken").join(name), make)?;
    }
    Ok(())
}

/// Writes images that are not among the others, of the same kinds.
///
/// # Errors
///
/// As [`write_all`].
pub fn write_more(folder: &Path) -> Result<()> {
    (NUM_SOUND..NUM_SOUND + NUM_NEW).try_for_each(|index| write_sound(folder, index))
}

fn write_sound(folder: &Path, index: usize) -> Result<()> {
    write_new(&folder.join(path_of(index)), || format_of(index).1(&sized_picture(index)))
}

/// The path of an image below its folder: the first part is its kind.
fn path_of(index: usize) -> String {
    let (kind, extension) = (KINDS[index % KINDS.len()], format_of(index).0);
    format!("{kind}/{kind}-{index:04}.{extension}")
}

/// Returns a table that says of which kind each sound image is, as CSV; `folder` stands before the paths.
pub fn labels(folder: &str) -> String {
    let line = |index| format!("{folder}/{},{}\n", path_of(index), KINDS[index % KINDS.len()]);
    std::iter::once("source,label\n".to_owned()).chain((0..NUM_SOUND).map(line)).collect()
}

type Encode = fn(&Picture) -> Result<Vec<u8>>;

/// Mostly JPEG, as in life; one has the wrong extension.
fn format_of(index: usize) -> (&'static str, Encode) {
    match index % 20 {
        _ if index == 42 => ("png", |picture| jpeg(picture, 90, false)),
        3 => ("png", |picture| png(picture, false)),
        7 => ("webp", webp),
        11 => ("tif", tiff),
        13 => ("jpg", |picture| jpeg(picture, 80, true)),
        _ => ("jpg", |picture| jpeg(picture, 88, false)),
    }
}

/// Writes a file; one that is there is left as it is.
///
/// # Errors
///
/// `Unavailable` if it cannot be written; as `make`.
pub(super) fn write_new(path: &Path, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let bytes = make()?;
    let failed = |error| Error::unavailable(format!("cannot write {}", path.display())).because(error);
    fs::create_dir_all(path.parent().expect("a file in a folder")).map_err(failed)?;
    fs::write(path, bytes).map_err(failed)
}

const KINDS: [&str; 5] = ["fields", "rings", "stripes", "cells", "dunes"];

/// Two colours of each kind, between which its pictures vary.
const PALETTES: [[[u8; 3]; 2]; 5] = [
    [[196, 178, 88], [70, 120, 50]],
    [[30, 60, 120], [150, 200, 220]],
    [[110, 110, 115], [225, 225, 220]],
    [[238, 225, 235], [120, 50, 130]],
    [[215, 170, 110], [150, 95, 55]],
];
/// Maximum difference of a picture's colours from those, per channel.
const COLOUR_SPREAD: f32 = 70.0;

fn sized_picture(index: usize) -> Picture {
    let mut random = SplitMix64(index as u64 + 1);
    let mut side = || 160 + (random.next_u64() % 320) as u32;
    let (width, height) = (side(), side());
    picture(index, width, height)
}

/// Draws a picture of the index's kind.
fn picture(index: usize, width: u32, height: u32) -> Picture {
    let mut random = SplitMix64(0x5EED ^ index as u64);
    let paint: Paint = [fields, rings, stripes, cells, dunes][index % KINDS.len()];
    let palette = PALETTES[index % KINDS.len()]
        .map(|colour| colour.map(|channel| f32::from(channel) + (random.unit() - 0.5) * COLOUR_SPREAD));
    let knobs: [f32; 4] = std::array::from_fn(|_| random.unit());
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let mix = paint(x as f32, y as f32, knobs).clamp(0.0, 1.0);
            let grain = (random.unit() - 0.5) * 18.0;
            for (from, to) in palette[0].into_iter().zip(palette[1]) {
                rgb.push((from + (to - from) * mix + grain).clamp(0.0, 255.0) as u8);
            }
        }
    }
    Picture { width, height, rgb }
}

/// Mixes two colours at a place: 0 is the first, 1 the second.
type Paint = fn(x: f32, y: f32, knobs: [f32; 4]) -> f32;

fn fields(x: f32, y: f32, knobs: [f32; 4]) -> f32 {
    let side = 20.0 + 50.0 * knobs[0];
    let cell = (x / side).floor() * 7.0 + (y / side).floor() * (3.0 + 9.0 * knobs[1]).floor();
    (cell * 0.37).fract()
}

fn rings(x: f32, y: f32, knobs: [f32; 4]) -> f32 {
    let (from_x, from_y) = (x - 300.0 * knobs[0], y - 300.0 * knobs[1]);
    0.5 + 0.5 * (from_x.hypot(from_y) / (4.0 + 12.0 * knobs[2])).sin()
}

fn stripes(x: f32, y: f32, knobs: [f32; 4]) -> f32 {
    let (sine, cosine) = (knobs[0] * std::f32::consts::PI).sin_cos();
    if ((x * cosine + y * sine) / (5.0 + 30.0 * knobs[1])).rem_euclid(2.0) < 1.0 { 0.0 } else { 1.0 }
}

fn cells(x: f32, y: f32, knobs: [f32; 4]) -> f32 {
    let pitch = 15.0 + 40.0 * knobs[0];
    let (dx, dy) = (x.rem_euclid(pitch) - pitch / 2.0, y.rem_euclid(pitch) - pitch / 2.0);
    if dx.hypot(dy) < pitch * (0.15 + 0.3 * knobs[1]) { 1.0 } else { 0.15 * knobs[2] }
}

fn dunes(x: f32, y: f32, knobs: [f32; 4]) -> f32 {
    let long = (x / (30.0 + 60.0 * knobs[0]) + 2.0 * (y / 90.0).sin()).sin();
    let short = (y / (9.0 + 20.0 * knobs[1]) + long).cos();
    0.5 + 0.3 * long + 0.2 * short
}

fn jpeg(picture: &Picture, quality: u8, grey: bool) -> Result<Vec<u8>> {
    use libjpeg_turbo_rs::{PixelFormat, Subsampling};
    let size = (picture.width as usize, picture.height as usize);
    let (samples, format, subsampling) = if grey {
        (picture.rgb.iter().skip(1).step_by(3).copied().collect(), PixelFormat::Grayscale, Subsampling::S444)
    } else {
        (picture.rgb.clone(), PixelFormat::Rgb, Subsampling::S420)
    };
    libjpeg_turbo_rs::compress(&samples, size.0, size.1, format, quality, subsampling)
        .map_err(|error| cannot_encode(error.to_string()))
}

fn png(picture: &Picture, sixteen_bit: bool) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    let samples = if sixteen_bit {
        encoder.set_depth(png::BitDepth::Sixteen);
        picture.rgb.iter().flat_map(|sample| [*sample, 0]).collect()
    } else {
        picture.rgb.clone()
    };
    let mut writer = encoder.write_header().map_err(cannot_encode)?;
    writer.write_image_data(&samples).map_err(cannot_encode)?;
    writer.finish().map_err(cannot_encode)?;
    Ok(bytes)
}

fn webp(picture: &Picture) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    image_webp::WebPEncoder::new(&mut bytes)
        .encode(&picture.rgb, picture.width, picture.height, image_webp::ColorType::Rgb8)
        .map_err(cannot_encode)?;
    Ok(bytes)
}

fn tiff(picture: &Picture) -> Result<Vec<u8>> {
    cog_writer::encode(&Image {
        size: Size::new(picture.width, picture.height),
        bands: vec![Band::default(); 3],
        samples: picture.rgb.clone(),
        nodata: None,
        reduce: Reduce::Mean,
        colours: Colours::Rgb,
        place: None,
        notes: Vec::new(),
    })
}

/// A PNG of a few bytes whose header announces 3.6 thousand million pixels.
fn bomb() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 60_000, 60_000);
    encoder.set_color(png::ColorType::Rgb);
    drop(encoder.write_header().map_err(cannot_encode)?);
    Ok(bytes)
}

fn start_of(mut bytes: Vec<u8>, share: f64) -> Vec<u8> {
    bytes.truncate((bytes.len() as f64 * share) as usize);
    bytes
}

fn cannot_encode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::bug("cannot encode a demo image").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::image::DecodeLimits;
    use crate::stages::decode::decode_tile;

    #[test]
    fn sound_images_decode_and_broken_ones_do_not() {
        let limits = DecodeLimits::default();
        for index in 0..20 {
            let bytes = format_of(index).1(&sized_picture(index)).unwrap();
            decode_tile(&bytes, &limits).unwrap_or_else(|rejection| panic!("image {index}: {rejection}"));
        }
        for (name, make) in BROKEN.iter().filter(|(name, _)| *name != "sixteen-bit.png") {
            assert!(decode_tile(&make().unwrap(), &limits).is_err(), "{name} was decoded");
        }
    }

    #[test]
    fn images_are_the_same_each_time() {
        assert_eq!(picture(5, 40, 30).rgb, picture(5, 40, 30).rgb);
        assert_ne!(picture(5, 40, 30).rgb, picture(10, 40, 30).rgb);
    }
}
