//! From windows of the files of a scene to one chip: bands stacked on one grid, values in the model's unit.
//!
//! In go the samples of each file that the chip touches, as stored; out comes a [`SceneChip`], with the share of
//! its pixels that are valid in all bands. Where a band has no data its value is 0. Nothing is fetched or
//! decoded here, and whether so few valid pixels are enough is decided elsewhere.

use super::area::{AreaAxis, Stored};
use super::blocks::WindowSamples;
use super::chip::{Bands, Chip, Samples, with_samples};
use crate::config::Clouds;
use crate::format::tiff::{TiffHeader, Validity};
use crate::geometry::Size;
use crate::scene::{Cut, Scene, SceneBand};

/// What was read of one file for a chip.
pub struct Piece {
    /// Where the chip lies in it.
    pub cut: Cut,
    /// `[height, width, bands]` of `cut.pixels` and `cut.bands`; `None` if the chip does not touch the file.
    pub samples: Option<WindowSamples>,
    /// Whether `samples.valid` comes from a mask or an alpha band. By nodata alone, pixels are judged band by band here.
    pub masked: bool,
}

impl Piece {
    /// Tells whether a level says by a mask or an alpha band which pixels are valid.
    #[must_use]
    pub fn is_masked(header: &TiffHeader, level: usize) -> bool {
        use Validity::{Alpha, Mask, Nodata};
        matches!(header.validity(level), Mask | Alpha(_) | Nodata(_, Some(_)))
    }
}

/// A chip and how much of it there is.
pub struct SceneChip {
    /// `[side, side, bands]`: 8 bits if all files are and nothing is converted, else 32-bit float.
    pub chip: Chip,
    /// Share of pixels that are valid in all bands.
    pub valid_fraction: f32,
    /// Share of pixels that are clouds, if the scene says where they are.
    pub cloud_fraction: Option<f32>,
}

/// Stacks the bands of a chip.
///
/// - `meaning`: of the bands, in the order of the scene's
/// - `side`: width and height of the chip, in pixels
/// - `pieces`: one for each [`Scene::cuts`]
#[must_use]
pub fn stack(
    scene: &Scene,
    clouds: Option<&Clouds>,
    meaning: Bands,
    side: u32,
    pieces: &[Piece],
) -> SceneChip {
    let size = Size::new(side, side);
    let num_pixels = size.num_pixels() as usize;
    let mut canvas = Canvas {
        values: vec![0.0; num_pixels * scene.bands.len()],
        num_bands: scene.bands.len(),
        valid: vec![true; num_pixels],
    };
    let axes: Vec<(AreaAxis, AreaAxis)> = pieces.iter().map(|piece| axes(&piece.cut, side)).collect();
    for (place, band) in scene.bands.iter().enumerate() {
        let found = pieces.iter().zip(&axes).find(|(piece, _)| piece.cut.object == band.object);
        match found.and_then(|(piece, axes)| piece.samples.as_ref().map(|samples| (piece, samples, axes))) {
            Some((piece, samples, axes)) => canvas.draw(place, band, piece, samples, axes),
            None => canvas.valid.fill(false),
        }
    }
    let clouds = clouds.zip(scene.clouds.as_ref());
    let cloud_fraction = clouds.and_then(|(clouds, band)| {
        let (piece, axes) = pieces.iter().zip(&axes).find(|(piece, _)| piece.cut.object == band.object)?;
        share(clouds, band, piece, axes, &canvas.valid)
    });
    let num_valid = canvas.valid.iter().filter(|valid| **valid).count();
    let as_bytes = scene.bands.iter().all(|band| band.is_stored() && is_bytes(band, pieces));
    let samples = if as_bytes {
        Samples::U8(canvas.values.iter().map(|value| value.round() as u8).collect())
    } else {
        Samples::F32(canvas.values)
    };
    SceneChip {
        chip: Chip { size, bands: meaning, samples },
        valid_fraction: num_valid as f32 / num_pixels as f32,
        cloud_fraction,
    }
}

fn axes(cut: &Cut, side: u32) -> (AreaAxis, AreaAxis) {
    let (pixels, rect) = (cut.pixels, cut.rect);
    (
        AreaAxis::new(rect.x - f64::from(pixels.x), rect.width, pixels.width, side),
        AreaAxis::new(rect.y - f64::from(pixels.y), rect.height, pixels.height, side),
    )
}

fn is_bytes(band: &SceneBand, pieces: &[Piece]) -> bool {
    let piece = pieces.iter().find(|piece| piece.cut.object == band.object);
    let samples = piece.and_then(|piece| piece.samples.as_ref());
    samples.is_none_or(|samples| matches!(samples.samples, Samples::U8(_)))
}

/// The pixels of a chip as they come together.
struct Canvas {
    /// `[side, side, bands]`; 0 where there is no data
    values: Vec<f32>,
    num_bands: usize,
    /// `[side, side]`
    valid: Vec<bool>,
}

impl Canvas {
    #[expect(clippy::unnecessary_cast, reason = "of all sample types only one is f64")]
    fn draw(
        &mut self,
        place: usize,
        band: &SceneBand,
        piece: &Piece,
        samples: &WindowSamples,
        axes: &(AreaAxis, AreaAxis),
    ) {
        let index = piece.cut.bands.iter().position(|number| *number == band.band);
        let index = index.expect("a cut has all bands of its object");
        let num_bands = usize::from(samples.num_bands);
        let mask = samples.valid.as_deref().filter(|_| piece.masked);
        let (across, down) = (&axes.0, &axes.1);
        with_samples!(&samples.samples, stored => {
            let value = |pixel: usize| stored[pixel * num_bands + index] as f64;
            let valid = |pixel: usize| {
                mask.is_none_or(|mask| mask[pixel] != 0) && !band.is_nodata(value(pixel))
            };
            let stored = Stored { size: samples.size, value, valid, axes: (across, down) };
            stored.resample(|pixel, value| match value {
                Some(value) => {
                    self.values[pixel * self.num_bands + place] = (value * band.scale + band.offset) as f32;
                }
                None => self.valid[pixel] = false,
            });
        });
    }
}

/// Returns which share of a chip's valid pixels are clouds; `None` if that is not said of half of them.
#[expect(clippy::unnecessary_cast, reason = "of all sample types only one is f64")]
fn share(
    clouds: &Clouds,
    band: &SceneBand,
    piece: &Piece,
    axes: &(AreaAxis, AreaAxis),
    valid: &[bool],
) -> Option<f32> {
    let samples = piece.samples.as_ref()?;
    let index = piece.cut.bands.iter().position(|number| *number == band.band).unwrap_or(0);
    let num_bands = usize::from(samples.num_bands);
    let is_cloud = |value: f64| {
        let value = value as u32;
        clouds.values.contains(&value) || clouds.bits.iter().any(|bit| value >> bit & 1 == 1)
    };
    let (mut cloudy, mut known) = (0.0, 0_u32);
    with_samples!(&samples.samples, stored => {
        let value = |pixel: usize| f64::from(u8::from(is_cloud(stored[pixel * num_bands + index] as f64)));
        let stored = Stored { size: samples.size, value, valid: |_| true, axes: (&axes.0, &axes.1) };
        stored.resample(|pixel, share| {
            if let Some(share) = share.filter(|_| valid[pixel]) {
                cloudy += share;
                known += 1;
            }
        });
    });
    let num_valid = valid.iter().filter(|valid| **valid).count();
    (known > 0 && 2 * known as usize >= num_valid).then(|| (cloudy / f64::from(known)) as f32)
}
