//! Decodes one window of a source, and lays it out as a model gets it.

use super::picture::{BANDS_LAST, Picture};
use super::rejected;
use crate::formats::image::{DecodeLimits, ImageHeader};
use crate::formats::reader::{TileGrid, can_be_cut, parse_picture};
use crate::input::storage::ObjectUri;
use crate::stages::decode::decode;
use crate::stages::preprocess::{InputSlotMut, Preprocess};
use crate::vocabulary::chip::{Chip, Samples, map_samples};
use crate::vocabulary::contract::{Input, SampleType};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::Rejection;

/// Which part of a source is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChipRequest {
    /// A window of the image as seen; `None`: all of it.
    pub window: Option<Window>,
    /// Level, 0 being full size.
    pub level: u32,
    /// Frame, from 0.
    pub frame: u32,
}

/// How far the values of a DICOM frame have come (PS3.3 C.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MedicalStage {
    /// In the unit of the modality, such as Hounsfield units.
    Modality,
    /// As a viewer shows them: 8 bits, 0 being black.
    Display,
}

/// Decodes the part of a picture that is wanted: `[height, width, bands]`, samples as stored, orientation
/// applied.
pub(super) fn decode_window(
    uri: &ObjectUri,
    bytes: &[u8],
    limits: &DecodeLimits,
    wanted: ChipRequest,
) -> Result<Chip> {
    let reject = |rejection| rejected(uri, TileGrid::Whole, rejection);
    let header = parse_picture(bytes).map_err(reject)?;
    check_whole(uri, &header, wanted)?;
    let size = header.oriented_size();
    let window = wanted.window.unwrap_or_else(|| Window::whole(size));
    check_window(uri, size, window)?;
    let chip = decode(&header, bytes, limits, window).map_err(reject)?;
    Ok(cropped(chip, window))
}

/// Refuses levels and frames that are not there; a picture has one of each.
pub(super) fn check_whole(uri: &ObjectUri, header: &ImageHeader, wanted: ChipRequest) -> Result<()> {
    let ChipRequest { level, frame, .. } = wanted;
    if level != 0 {
        let error = Error::usage(format!("{uri} has no level {level}, only level 0"));
        return Err(if can_be_cut(header.format) {
            error.hint("--set tiles.grid=regular gives access to overviews")
        } else {
            error
        });
    }
    if frame == 0 {
        return Ok(());
    }
    let error = Error::usage(format!("{uri} has no frame {frame}, only frame 0"));
    Err(match header.num_pages {
        0 | 1 => error,
        pages => error.hint(format!("only the first of its {pages} pages is decoded, as frame 0")),
    })
}

/// Refuses a window that no run has: with `tiles.grid = "whole"` an image is one tile.
pub(super) fn check_only_tile(uri: &ObjectUri, header: &ImageHeader, wanted: ChipRequest) -> Result<()> {
    let Some(window) = wanted.window.filter(|window| *window != Window::whole(header.oriented_size())) else {
        return Ok(());
    };
    let cut = if can_be_cut(header.format) { "--set tiles.grid=regular cuts it into windows; " } else { "" };
    Err(Error::usage(format!("the window {window} of {uri} is not a tile of a run"))
        .because("`tiles.grid` is \"whole\": the image is one tile")
        .hint(format!(
            "leave --window out; {cut}without `--stage input` any window can be written, with samples as \
             stored"
        )))
}

pub(super) fn check_window(uri: &ObjectUri, size: Size, window: Window) -> Result<()> {
    let ends = |start: u32, length: u32| u64::from(start) + u64::from(length);
    if window.width == 0 || window.height == 0 {
        return Err(Error::usage(format!("the window {window} has no pixels; {uri} is {size}")));
    }
    let inside = ends(window.x, window.width) <= u64::from(size.width)
        && ends(window.y, window.height) <= u64::from(size.height);
    if inside {
        return Ok(());
    }
    Err(Error::usage(format!("the window {window} is not inside {uri}, which is {size}"))
        .hint("a window is X,Y,WIDTH,HEIGHT, in pixels of the oriented image"))
}

pub(super) fn cropped(chip: Chip, window: Window) -> Chip {
    if window == Window::whole(chip.size) {
        return chip;
    }
    let num_bands = chip.bands.count();
    let columns = window.x as usize * num_bands..(window.x + window.width) as usize * num_bands;
    let rows = window.y as usize..(window.y + window.height) as usize;
    let cut = CutOptions { row_len: chip.size.width as usize * num_bands, columns, rows };
    let samples = map_samples!(chip.samples, samples => cut.of(&samples));
    Chip { size: Size::new(window.width, window.height), bands: chip.bands, samples }
}

/// A window, in samples.
struct CutOptions {
    row_len: usize,
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
}

impl CutOptions {
    fn of<T: Copy>(&self, samples: &[T]) -> Vec<T> {
        let rows = samples.chunks_exact(self.row_len).take(self.rows.end).skip(self.rows.start);
        rows.flat_map(|row| &row[self.columns.clone()]).copied().collect()
    }
}

/// Has samples laid out as the model of this contract gets them; axes in the contract's order, without the batch.
///
/// - `write`: fills the slot
pub(super) fn laid_out(
    input: &Input,
    how: &Preprocess,
    write: impl FnOnce(InputSlotMut<'_>) -> Result<(), Rejection>,
) -> Result<Picture, Rejection> {
    let samples = match input.sample_type {
        SampleType::Uint8 => {
            let mut samples = vec![0; how.slot_len()];
            write(InputSlotMut::U8(&mut samples))?;
            Samples::U8(samples)
        }
        SampleType::Float32 => {
            let mut samples = vec![0.0; how.slot_len()];
            write(InputSlotMut::F32(&mut samples))?;
            Samples::F32(samples)
        }
    };
    Ok(Picture::of_input(input, how.bands(), samples))
}

impl From<Chip> for Picture {
    fn from(chip: Chip) -> Self {
        let shape = [chip.size.height as usize, chip.size.width as usize, chip.bands.count()];
        Self { shape, axes: BANDS_LAST, bands: chip.bands, samples: chip.samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::chip::Bands;

    #[test]
    fn a_window_is_cut_out_with_its_bands() {
        // Samples are 10 × row + column, twice a pixel.
        let sample = |at: u16| 10 * (at / 8) + at % 8 / 2;
        let samples = Samples::U16((0..24).map(sample).collect());
        let chip = Chip { size: Size::new(4, 3), bands: Bands::GreyAlpha, samples };
        let cut = cropped(chip, Window { x: 1, y: 1, width: 2, height: 2 });
        assert_eq!(cut.size, Size::new(2, 2));
        assert_eq!(cut.samples, Samples::U16(vec![11, 11, 12, 12, 21, 21, 22, 22]));
    }

    #[test]
    fn a_window_must_be_inside() {
        let uri = ObjectUri::parse("s3://b/k").unwrap();
        let check = |x, y, width, height| {
            check_window(&uri, Size::new(10, 5), Window { x, y, width, height }).map_err(|e| e.to_string())
        };
        assert_eq!(check(0, 0, 10, 5), Ok(()));
        assert_eq!(check(9, 4, 1, 1), Ok(()));
        assert_eq!(
            check(9, 4, 2, 1).unwrap_err(),
            "the window 2×1 at (9, 4) is not inside s3://b/k, which is 10×5"
        );
        assert!(check(u32::MAX, 0, u32::MAX, 1).is_err());
        assert!(check(0, 0, 0, 5).unwrap_err().contains("has no pixels"));
    }
}
