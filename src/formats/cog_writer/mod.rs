//! Cloud-optimised `GeoTIFFs`: samples and their place in, the bytes of a file out.
//!
//! Exports and the demo call it. It does no I/O. Files are classic TIFF, tiled, deflated, with overviews
//! where the image is larger than a tile; directories come first, then the samples of the smallest overview,
//! those of full size last.
//!
//! # Reference
//!
//! OGC 21-026, "Cloud Optimized `GeoTIFF`"; OGC 19-008r4 for the keys.

mod directory;
mod sample;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use self::directory::{Directory, Value};
pub use self::sample::{Reduce, Sample};
use crate::geo::{Crs, GeoTags, GeoTransform};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::Size;

/// Width and height of a tile of the file, in pixels.
const TILE: u32 = 256;
/// Where the first directory begins.
const FIRST_DIRECTORY: usize = 8;

/// An image that becomes a file.
#[derive(Clone, Debug)]
pub struct Image<T> {
    /// Its size.
    pub size: Size,
    /// Its bands.
    pub bands: Vec<Band>,
    /// `[height, width, bands]`
    pub samples: Vec<T>,
    /// The sample that stands for no data.
    pub nodata: Option<T>,
    /// How overviews come about.
    pub reduce: Reduce,
    /// What its samples look like.
    pub colours: Colours,
    /// Where it lies.
    pub place: Option<Place>,
    /// What else is said of it, as names and texts in GDAL's metadata.
    pub notes: Vec<(String, String)>,
}

/// What samples look like.
#[derive(Clone, Debug)]
pub enum Colours {
    /// They are values, and dark where they are small.
    Values,
    /// They are red, green and blue.
    Rgb,
    /// They are numbers of these colours, from 0; for one band of 8 bits.
    Palette(Vec<[u8; 3]>),
}

impl Colours {
    /// Returns the value of the tag, and the bands that it covers.
    fn photometric(&self) -> (u16, usize) {
        match self {
            Self::Values => (MIN_IS_BLACK, 1),
            Self::Rgb => (RGB, 3),
            Self::Palette(_) => (PALETTE, 1),
        }
    }
}

/// What is said of a band.
#[derive(Clone, Debug, Default)]
pub struct Band {
    /// Its name.
    pub description: String,
    /// `value = sample × scale + offset`, where samples are not the values.
    pub scale: Option<(f64, f64)>,
}

/// Where an image lies.
#[derive(Clone, Debug)]
pub struct Place {
    /// From pixel corners to coordinates.
    pub transform: GeoTransform,
    /// The coordinate reference system.
    pub system: System,
}

/// A coordinate reference system, as a file names it.
#[derive(Clone, Debug)]
pub enum System {
    /// By its code.
    Epsg(u32),
    /// As another file describes it.
    Tags(Box<GeoTags>),
    /// Not at all.
    Unknown,
}

/// Returns the bytes of a file.
///
/// # Errors
///
/// `Config` if the image has no pixel or the file would be 4 GiB or more; `Bug` if there are not
/// `width × height × bands` samples, fewer bands than their colours need, or a palette for anything but one band of 8 bits.
pub fn encode<T: Sample>(image: &Image<T>) -> Result<Vec<u8>> {
    let bands = image.bands.len();
    if image.size.num_pixels() * bands as u64 != image.samples.len() as u64 {
        return Err(Error::bug("the number of samples does not match the image's size"));
    }
    if bands < image.colours.photometric().1 {
        return Err(Error::bug("the image has fewer bands than its colours"));
    }
    // TIFF 6.0, section 5: a colour map has an entry for each value of the one band; ours has 256.
    if matches!(image.colours, Colours::Palette(_)) && (bands, T::BYTES) != (1, 1) {
        return Err(Error::bug("a palette is for one band of 8 bits"));
    }
    if image.samples.is_empty() {
        return Err(Error::config("an image without pixels cannot be written"));
    }
    let mut levels = vec![Level::of(image.size, &image.samples, bands)];
    let (mut size, mut samples) = (image.size, None);
    while size.width.max(size.height) > TILE {
        let above = samples.as_ref().unwrap_or(&image.samples);
        let reduced = sample::halve(above, size, bands, image.reduce, image.nodata);
        size = Size::new(size.width.div_ceil(2), size.height.div_ceil(2));
        levels.push(Level::of(size, &reduced, bands));
        samples = Some(reduced);
    }
    assemble(image, &levels)
}

/// The tiles of one resolution, deflated.
struct Level {
    size: Size,
    tiles: Vec<Vec<u8>>,
}

impl Level {
    fn of<T: Sample>(size: Size, samples: &[T], bands: usize) -> Self {
        let (across, down) = (size.width.div_ceil(TILE), size.height.div_ceil(TILE));
        let corners = (0..down).flat_map(|row| (0..across).map(move |column| (column * TILE, row * TILE)));
        let tiles = corners.map(|corner| deflate(&tile(size, samples, bands, corner))).collect();
        Self { size, tiles }
    }

    fn num_bytes(&self) -> usize {
        self.tiles.iter().map(Vec::len).sum()
    }
}

/// Returns the samples of one tile, filled up with the last column and row.
fn tile<T: Sample>(size: Size, samples: &[T], bands: usize, (left, top): (u32, u32)) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TILE as usize * TILE as usize * bands * T::BYTES);
    for row in top..top + TILE {
        let row = row.min(size.height - 1) as usize * size.width as usize;
        for column in left..left + TILE {
            let pixel = (row + column.min(size.width - 1) as usize) * bands;
            samples[pixel..pixel + bands].iter().for_each(|sample| sample.append(&mut bytes));
        }
    }
    bytes
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("a vector takes all bytes")
}

/// Lays directories and tiles out one after the other.
fn assemble<T: Sample>(image: &Image<T>, levels: &[Level]) -> Result<Vec<u8>> {
    let directories: Vec<Directory> =
        levels.iter().enumerate().map(|(index, level)| describe(image, level, index > 0)).collect();
    let header: usize = directories.iter().map(Directory::num_bytes).sum();
    let total = FIRST_DIRECTORY + header + levels.iter().map(Level::num_bytes).sum::<usize>();
    if u32::try_from(total).is_err() {
        return Err(
            Error::config("the file would be 4 GiB or more").hint("export runs of fewer or smaller scenes")
        );
    }
    let mut at = FIRST_DIRECTORY + header;
    let mut offsets = vec![Vec::new(); levels.len()];
    for (level, offsets) in levels.iter().zip(&mut offsets).rev() {
        for tile in &level.tiles {
            offsets.push(at as u32);
            at += tile.len();
        }
    }
    let mut file = Vec::with_capacity(total);
    file.extend_from_slice(b"II*\0");
    file.extend_from_slice(&(FIRST_DIRECTORY as u32).to_le_bytes());
    let last = directories.len() - 1;
    for (index, (mut directory, offsets)) in directories.into_iter().zip(offsets).enumerate() {
        directory.set(tag::TILE_OFFSETS, Value::Long(offsets));
        directory.append(&mut file, index < last);
    }
    levels.iter().rev().flat_map(|level| &level.tiles).for_each(|tile| file.extend_from_slice(tile));
    debug_assert_eq!(file.len(), total);
    Ok(file)
}

/// Numbers of tags (TIFF 6.0; OGC 19-008r4; GDAL's own).
mod tag {
    /// `NewSubfileType`: whether it is an overview or a mask.
    pub const SUBFILE_TYPE: u16 = 254;
    /// `ImageWidth`: pixels per row.
    pub const WIDTH: u16 = 256;
    /// `ImageLength`: rows.
    pub const HEIGHT: u16 = 257;
    /// `BitsPerSample`: one number per band.
    pub const BITS_PER_SAMPLE: u16 = 258;
    /// `Compression`: the codec of the blocks.
    pub const COMPRESSION: u16 = 259;
    /// `PhotometricInterpretation`: what the samples of a pixel mean.
    pub const PHOTOMETRIC: u16 = 262;
    /// `SamplesPerPixel`: bands, with alpha and the like.
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    /// `PlanarConfiguration`: bands pixel by pixel, or in planes.
    pub const PLANAR: u16 = 284;
    /// `ColorMap`: the palette, all reds first, then greens and blues.
    pub const COLOUR_MAP: u16 = 320;
    /// `TileWidth`: pixels per row of a tile.
    pub const TILE_WIDTH: u16 = 322;
    /// `TileLength`: rows of a tile.
    pub const TILE_HEIGHT: u16 = 323;
    /// `TileOffsets`: where each tile begins.
    pub const TILE_OFFSETS: u16 = 324;
    /// `TileByteCounts`: bytes of each tile.
    pub const TILE_BYTES: u16 = 325;
    /// `ExtraSamples`: which bands are no colours, and which are alpha.
    pub const EXTRA_SAMPLES: u16 = 338;
    /// `SampleFormat`: unsigned, signed or float; one number per band.
    pub const SAMPLE_FORMAT: u16 = 339;
    /// `ModelPixelScaleTag`: size of a pixel.
    pub const PIXEL_SCALE: u16 = 33_550;
    /// `ModelTiepointTag`: which pixel lies where.
    pub const TIEPOINT: u16 = 33_922;
    /// `ModelTransformationTag`: from pixel to CRS.
    pub const TRANSFORMATION: u16 = 34_264;
    /// `GeoKeyDirectoryTag`: the keys.
    pub const KEY_DIRECTORY: u16 = 34_735;
    /// `GeoDoubleParamsTag`: values of keys that are doubles.
    pub const KEY_DOUBLES: u16 = 34_736;
    /// `GeoAsciiParamsTag`: values of keys that are text.
    pub const KEY_TEXTS: u16 = 34_737;
    /// GDAL's metadata, as XML.
    pub const GDAL_METADATA: u16 = 42_112;
    /// GDAL's nodata value, as text.
    pub const GDAL_NODATA: u16 = 42_113;
}

const REDUCED: u32 = 1;
const ADOBE_DEFLATE: u16 = 8;
const MIN_IS_BLACK: u16 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const CHUNKY: u16 = 1;

fn describe<T: Sample>(image: &Image<T>, level: &Level, is_overview: bool) -> Directory {
    let bands = image.bands.len();
    let (photometric, num_coloured) = image.colours.photometric();
    let mut directory = Directory::default();
    directory.set(tag::SUBFILE_TYPE, Value::Long(vec![if is_overview { REDUCED } else { 0 }]));
    directory.set(tag::WIDTH, Value::Long(vec![level.size.width]));
    directory.set(tag::HEIGHT, Value::Long(vec![level.size.height]));
    directory.set(tag::BITS_PER_SAMPLE, Value::Short(vec![8 * T::BYTES as u16; bands]));
    directory.set(tag::COMPRESSION, Value::Short(vec![ADOBE_DEFLATE]));
    directory.set(tag::PHOTOMETRIC, Value::Short(vec![photometric]));
    directory.set(tag::SAMPLES_PER_PIXEL, Value::Short(vec![bands as u16]));
    directory.set(tag::PLANAR, Value::Short(vec![CHUNKY]));
    if let Colours::Palette(colours) = &image.colours {
        directory.set(tag::COLOUR_MAP, Value::Short(colour_map(colours)));
    }
    directory.set(tag::TILE_WIDTH, Value::Long(vec![TILE]));
    directory.set(tag::TILE_HEIGHT, Value::Long(vec![TILE]));
    directory.set(tag::TILE_OFFSETS, Value::Long(vec![0; level.tiles.len()]));
    let lengths = level.tiles.iter().map(|tile| tile.len() as u32).collect();
    directory.set(tag::TILE_BYTES, Value::Long(lengths));
    if bands > num_coloured {
        directory.set(tag::EXTRA_SAMPLES, Value::Short(vec![0; bands - num_coloured]));
    }
    directory.set(tag::SAMPLE_FORMAT, Value::Short(vec![T::FORMAT; bands]));
    if let Some(nodata) = image.nodata {
        directory.set(tag::GDAL_NODATA, Value::Text(nodata.text()));
    }
    if !is_overview {
        directory.set(tag::GDAL_METADATA, Value::Text(metadata(image)));
        image.place.iter().for_each(|place| describe_place(place, &mut directory));
    }
    directory
}

/// Returns red, green and blue of 256 values, of 16 bits, one colour after the other.
fn colour_map(palette: &[[u8; 3]]) -> Vec<u16> {
    let colour = |channel: usize| {
        (0..256).map(move |value| palette.get(value).map_or(0, |rgb| u16::from(rgb[channel]) * 257))
    };
    (0..3).flat_map(colour).collect()
}

/// Returns GDAL's metadata: what is said of the image, and of its bands.
fn metadata<T>(image: &Image<T>) -> String {
    let item = |name: &str, attributes: &str, text: &str| {
        format!("<Item name=\"{}\"{attributes}>{}</Item>", escaped(name), escaped(text))
    };
    let of_image = image.notes.iter().map(|(name, text)| item(name, "", text));
    let of_bands = image.bands.iter().enumerate().flat_map(|(index, band)| {
        let role = |role: &str| format!(" sample=\"{index}\" role=\"{role}\"");
        let description = item("DESCRIPTION", &role("description"), &band.description);
        let scaling = band.scale.map(|(scale, offset)| {
            let scale = item("SCALE", &role("scale"), &scale.to_string());
            scale + &item("OFFSET", &role("offset"), &offset.to_string())
        });
        std::iter::once(description).chain(scaling)
    });
    let items: String = of_image.chain(of_bands).collect();
    format!("<GDALMetadata>{items}</GDALMetadata>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn describe_place(place: &Place, directory: &mut Directory) {
    let [x, across, skew_x, y, skew_y, down] = place.transform.0;
    let is_north_up = (skew_x, skew_y) == (0.0, 0.0) && across > 0.0 && down < 0.0;
    if is_north_up {
        directory.set(tag::PIXEL_SCALE, Value::Double(vec![across, -down, 0.0]));
        directory.set(tag::TIEPOINT, Value::Double(vec![0.0, 0.0, 0.0, x, y, 0.0]));
    } else {
        let rows = [[across, skew_x, 0.0, x], [skew_y, down, 0.0, y], [0.0; 4], [0.0, 0.0, 0.0, 1.0]];
        directory.set(tag::TRANSFORMATION, Value::Double(rows.concat()));
    }
    let tags = match &place.system {
        System::Epsg(code) => keys_of(*code),
        System::Tags(tags) if tags.key_directory.is_empty() => keys(&[]),
        System::Tags(tags) => with_pixel_is_area(GeoTags::clone(tags)),
        System::Unknown => keys(&[]),
    };
    directory.set(tag::KEY_DIRECTORY, Value::Short(tags.key_directory));
    if !tags.doubles.is_empty() {
        directory.set(tag::KEY_DOUBLES, Value::Double(tags.doubles));
    }
    if !tags.ascii.is_empty() {
        directory.set(tag::KEY_TEXTS, Value::Text(tags.ascii));
    }
}

const MODEL_TYPE: u16 = 1024;
const RASTER_TYPE: u16 = 1025;
const GEODETIC_CRS: u16 = 2048;
const PROJECTED_CRS: u16 = 3072;
const PIXEL_IS_AREA: u16 = 1;

/// Returns the keys that name a system by its code; of a system that has none of 16 bits, none.
fn keys_of(code: u32) -> GeoTags {
    let named = u16::try_from(code).ok().zip(Crs::from_epsg(code).ok());
    match named {
        Some((code, crs)) if crs.is_geographic() => keys(&[(MODEL_TYPE, 2), (GEODETIC_CRS, code)]),
        Some((code, _)) => keys(&[(MODEL_TYPE, 1), (PROJECTED_CRS, code)]),
        None => keys(&[]),
    }
}

fn keys(codes: &[(u16, u16)]) -> GeoTags {
    let mut codes = codes.to_vec();
    codes.push((RASTER_TYPE, PIXEL_IS_AREA));
    codes.sort_unstable();
    let mut key_directory = vec![1, 1, 0, codes.len() as u16];
    key_directory.extend(codes.iter().flat_map(|(key, value)| [*key, 0, 1, *value]));
    GeoTags { key_directory, ..GeoTags::default() }
}

/// Our transforms go by corners, whatever those of the file went by that the keys are from.
fn with_pixel_is_area(mut tags: GeoTags) -> GeoTags {
    let entries = tags.key_directory.get_mut(4..).into_iter().flat_map(|keys| keys.chunks_exact_mut(4));
    entries.filter(|entry| entry[0] == RASTER_TYPE).for_each(|entry| entry[3] = PIXEL_IS_AREA);
    tags
}

#[cfg(test)]
mod tests;
