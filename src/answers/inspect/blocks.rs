//! Samples of a part of a scene as they are stored: of the object, nothing is read but what the part needs.

use super::chip::{ChipRequest, MedicalStage, check_window, cropped};
use crate::formats::dicom::DicomFile;
use crate::formats::image::DecodeLimits;
use crate::formats::raster::{BlockGrid, GridId, Part, RasterFile};
use crate::input::open::OpenRaster;
use crate::input::storage::ObjectUri;
use crate::scene::Preset;
use crate::stages::compose::frame;
use crate::stages::decode::blocks::read_window;
use crate::stages::single_window::{decoded, stored};
use crate::vocabulary::chip::{Bands, Chip};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::geometry::Window;
use crate::vocabulary::reason::{Reason, Rejection};

/// Reads what is wanted of a scene: `[height, width, bands]`, all bands, samples as stored.
///
/// # Errors
///
/// As [`super::decode_window`].
pub(super) async fn read_scene(
    object: &OpenRaster,
    limits: &DecodeLimits,
    wanted: ChipRequest,
) -> Result<Chip> {
    let (uri, file) = (object.uri(), object.file());
    let (frame, level) = check_part(uri, file, wanted)?;
    let grid = file.pixels(frame, level);
    let window = wanted.window.unwrap_or_else(|| Window::whole(grid.size));
    check_window(uri, grid.size, window)?;
    check_limits(grid, window, limits).map_err(|rejection| {
        undecoded(uri, rejection)
            .hint("choose less with --window or --level, or allow more with --set limits.max_pixels=NUMBER")
    })?;
    let bands: Vec<u16> = (0..grid.num_bands).collect();
    let (pixels, masks) = file.blocks_for(frame, level, window, &bands);
    let of = |part| move |id| (GridId { frame, level, part }, id);
    let needed = pixels.into_iter().map(of(Part::Pixels)).chain(masks.into_iter().map(of(Part::Mask)));
    let stored = stored(object, needed).await;
    let stored = stored.map_err(|error| error.at(uri).into_error(|rejection| undecoded(uri, rejection)))?;
    let blocks = decoded(object, &stored);
    let block = |part, id| blocks[&(GridId { frame, level, part }, id)].as_ref().map_err(Clone::clone);
    let read = read_window(file, frame, level, window, &bands, block);
    let read = read.map_err(|rejection| undecoded(uri, rejection))?;
    Ok(Chip { size: read.size, bands: meaning(file), samples: read.samples })
}

/// Reads a frame of a DICOM object as far as modality values, or as a viewer shows it: `[rows, columns, bands]`.
///
/// # Errors
///
/// As [`read_scene`].
pub(super) async fn read_frame(
    object: &OpenRaster,
    file: &DicomFile,
    limits: &DecodeLimits,
    (wanted, stage): (ChipRequest, MedicalStage),
) -> Result<Chip> {
    let uri = object.uri();
    let (frame, _) = check_part(uri, file, wanted)?;
    let size = file.size(0);
    let window = wanted.window.unwrap_or_else(|| Window::whole(size));
    check_window(uri, size, window)?;
    let undecoded = |rejection| undecoded(uri, rejection);
    check_limits(file.pixels(frame, 0), Window::whole(size), limits).map_err(undecoded)?;
    let place = DicomFile::block(frame);
    let stored = stored(object, [place]).await;
    let stored = stored.map_err(|error| error.at(uri).into_error(undecoded))?;
    let block = decoded(object, &stored).remove(&place).expect("it was asked for");
    let chip = block.and_then(|block| match stage {
        MedicalStage::Modality => {
            Ok(Chip { size, bands: meaning(file), samples: frame::modality_values(file, frame, block)? })
        }
        MedicalStage::Display => frame::render(file, frame, &Preset::Display, block),
    });
    Ok(cropped(chip.map_err(undecoded)?, window))
}

/// Says of a part of a scene that it cannot be decoded; a run may well decode other parts.
fn undecoded(uri: &ObjectUri, rejection: Rejection) -> Error {
    Error::new(Kind::Rejected, format!("cannot decode this part of {uri}")).because(rejection)
}

/// Returns the frame and the level that are wanted, if they are there.
fn check_part(uri: &ObjectUri, file: &dyn RasterFile, wanted: ChipRequest) -> Result<(u32, usize)> {
    let ChipRequest { level, frame, .. } = wanted;
    let there = |what: &str, last: u64| match last {
        0 => format!("only {what} 0"),
        last => format!("only {what}s 0 to {last}"),
    };
    let (last_level, last_frame) = (file.num_levels() as u64 - 1, file.num_frames() - 1);
    if u64::from(level) > last_level {
        return Err(Error::usage(format!("{uri} has no level {level}, {}", there("level", last_level))));
    }
    if frame > last_frame {
        let there = there("frame", last_frame.into());
        return Err(Error::usage(format!("{uri} has no frame {frame}, {there}")));
    }
    Ok((frame, level as usize))
}

fn check_limits(grid: &BlockGrid, window: Window, limits: &DecodeLimits) -> Result<(), Rejection> {
    let pixels = u64::from(window.width) * u64::from(window.height);
    let bytes = pixels.saturating_mul(u64::from(grid.num_bands) * grid.stored.kind.num_bytes());
    if pixels > limits.max_pixels || bytes > limits.max_decoded_bytes {
        let limit = limits.max_pixels;
        let detail = format!("{window} has {pixels} pixels, {bytes} bytes; the limit is {limit} pixels");
        return Err(Rejection::new(Reason::TooLarge, detail));
    }
    Ok(())
}

/// Returns what the bands mean, as far as a picture can show it.
fn meaning(file: &dyn RasterFile) -> Bands {
    let colours: Vec<&str> = file.bands(0).iter().map(|band| band.colour.as_str()).collect();
    match colours.as_slice() {
        ["gray"] => Bands::Grey,
        ["gray", "alpha"] => Bands::GreyAlpha,
        ["red", "green", "blue"] => Bands::Rgb,
        ["red", "green", "blue", "alpha"] => Bands::Rgba,
        colours => Bands::Many(colours.len() as u16),
    }
}
