//! Chips of medical images: a decoded frame in, what a preset makes of its values out.
//!
//! The order is that of PS3.3 C.11: stored values, padding, modality, window, presentation. What is padding (PS3.3
//! C.7.5.1.1.2) is black where a preset makes 8 bits.

use tilefleet_dicom::{
    FrameSpec, Function, Photometric, PixelKind, Samples as DicomSamples, Stored, Values, Window, display,
    modality, padding, recycle,
};

use crate::formats::dicom::{DicomFile, to_dicom};
use crate::scene::{Preset, ValueWindow};
use crate::stages::decode::blocks::Block;
use crate::vocabulary::chip::{Bands, Chip, Samples};
use crate::vocabulary::geometry::Size;
use crate::vocabulary::guard;
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::sample::SampleKind;

/// Stored values of an X-ray end at −1024 and 1024 (`TorchXRayVision`, `datasets.normalize`).
const XRAY_RANGE: f64 = 1024.0;

/// Returns what the bands of a frame's chip mean.
#[must_use]
pub fn bands(file: &DicomFile, preset: &Preset) -> Bands {
    match preset {
        Preset::CtWindow(windows) if windows.len() == 3 => Bands::Rgb,
        Preset::Display if is_colour(file) => Bands::Rgb,
        _ => Bands::Grey,
    }
}

fn is_colour(file: &DicomFile) -> bool {
    let frame = file.frame(0);
    frame.image().samples_per_pixel == 3 || frame.has_palette()
}

/// Returns the type of the samples of a frame's chip.
#[must_use]
pub fn kind(preset: &Preset) -> SampleKind {
    if preset.is_bytes() { SampleKind::U8 } else { SampleKind::F32 }
}

/// Checks that a preset is for such images.
///
/// # Errors
///
/// [`Reason::BandsMismatch`] for colours, which have no modality values, no window and no shades; for floats, which have no
/// largest stored value.
pub fn check(file: &DicomFile, preset: &Preset) -> Result<(), Rejection> {
    let image = file.frame(0).image();
    let wrong = match preset {
        Preset::Display => None,
        _ if is_colour(file) => Some("shades, and it is in colour"),
        Preset::XrayRaw if image.kind != PixelKind::Integer || image.signed => {
            Some("unsigned integers, and its pixels are not")
        }
        _ => None,
    };
    let name = preset.name();
    let rejection =
        |why| Rejection::new(Reason::BandsMismatch, format!("dicom.preset = \"{name}\" is for {why}"));
    wrong.map_or(Ok(()), |why| Err(rejection(why)))
}

/// Makes a chip of a frame.
///
/// - `block`: the frame's, as it was decoded
///
/// # Errors
///
/// [`Reason::Corrupt`] for tables and windows that cannot be read; [`Reason::DecoderCrash`] if one crashes.
pub fn render(file: &DicomFile, frame: u32, preset: &Preset, block: Block) -> Result<Chip, Rejection> {
    guard::catch_decoder_panic(|| {
        let (spec, stored) = (file.frame(frame), stored_of(block));
        let (bands, samples) = match preset {
            Preset::Display => shown(spec, &stored, None)?,
            Preset::CtWindow(windows) => through(spec, &stored, windows)?,
            Preset::Minmax => shown(spec, &stored, Some(whole_range(spec, &stored)?))?,
            Preset::XrayRaw => (Bands::Grey, Samples::F32(xray(spec, &stored))),
            Preset::Modality => (Bands::Grey, Samples::F32(floats(&modality(spec, &stored)?))),
        };
        let size = Size::new(stored.columns, stored.rows);
        recycle(stored.values);
        Ok(Chip { size, bands, samples })
    })
}

/// Returns the modality values of a frame, for people: `[rows, columns, samples]`.
///
/// # Errors
///
/// As [`render`].
pub fn modality_values(file: &DicomFile, frame: u32, block: Block) -> Result<Samples, Rejection> {
    guard::catch_decoder_panic(|| {
        Ok(match modality(file.frame(frame), &stored_of(block))? {
            Values::I32(values) => Samples::I32(values),
            Values::F64(values) => Samples::F64(values),
        })
    })
}

/// Returns a decoded frame as the crate has it.
fn stored_of(block: Block) -> Stored {
    let values = block.dicom.expect("blocks of DICOM files have it");
    let size = block.window.size();
    Stored {
        rows: size.height,
        columns: size.width,
        samples_per_pixel: values.samples_per_pixel,
        colours: values.colours,
        bits: values.bits,
        signed: values.signed,
        values: to_dicom(block.samples),
    }
}

/// Renders 8 bits, padding black.
fn shown(spec: &FrameSpec, stored: &Stored, window: Option<Window>) -> Result<(Bands, Samples), Rejection> {
    let mut picture = display::<u8>(spec, stored, window)?;
    let num_bands = usize::from(picture.samples_per_pixel);
    if let Some(padding) = padding(spec, stored).filter(|_| stored.samples_per_pixel == 1) {
        for (pixel, is_padding) in picture.values.chunks_exact_mut(num_bands).zip(padding) {
            if is_padding {
                pixel.fill(0);
            }
        }
    }
    let bands = if num_bands == 3 { Bands::Rgb } else { Bands::Grey };
    Ok((bands, Samples::U8(picture.values)))
}

/// Renders shades through one window, or through three that become the bands.
fn through(
    spec: &FrameSpec,
    stored: &Stored,
    windows: &[ValueWindow],
) -> Result<(Bands, Samples), Rejection> {
    let linear = |window: &ValueWindow| Window {
        center: window.centre,
        width: window.width,
        function: Function::Linear,
    };
    let [red, green, blue] = windows else {
        return shown(spec, stored, windows.first().map(linear));
    };
    let band = |window| match shown(spec, stored, Some(linear(window)))?.1 {
        Samples::U8(values) => Ok::<_, Rejection>(values),
        _ => unreachable!("it renders 8 bits"),
    };
    let (red, green, blue) = (band(red)?, band(green)?, band(blue)?);
    let pixels = red.into_iter().zip(green).zip(blue).flat_map(|((red, green), blue)| [red, green, blue]);
    Ok((Bands::Rgb, Samples::U8(pixels.collect())))
}

/// Returns the window from the smallest to the largest modality value that is no padding.
fn whole_range(spec: &FrameSpec, stored: &Stored) -> Result<Window, Rejection> {
    let distinct = distinct(stored);
    let stored = distinct.as_ref().unwrap_or(stored);
    let (low, high) = modality(spec, stored)?.range(padding(spec, stored).as_deref()).unwrap_or((0.0, 1.0));
    // Of a frame of one value all is black.
    Ok(Window::between(low, if high > low { high } else { low + 1.0 }))
}

/// Returns each stored value once, of at most 16 bits: what follows from a value alone need not be asked of each pixel.
fn distinct(stored: &Stored) -> Option<Stored> {
    let once = |found: &[bool]| -> Vec<u16> {
        (0..found.len()).filter(|value| found[*value]).map(|value| value as u16).collect()
    };
    let values = match &stored.values {
        DicomSamples::U16(values) => {
            let mut found = vec![false; 1 << 16];
            for value in values {
                found[usize::from(*value)] = true;
            }
            DicomSamples::U16(once(&found))
        }
        DicomSamples::I16(values) => {
            let mut found = vec![false; 1 << 16];
            for value in values {
                found[usize::from(*value as u16)] = true;
            }
            DicomSamples::I16(once(&found).into_iter().map(|value| value as i16).collect())
        }
        _ => return None,
    };
    let (rows, columns) = (1, values.len() as u32);
    let Stored { samples_per_pixel, colours, bits, signed, .. } = *stored;
    Some(Stored { rows, columns, samples_per_pixel, colours, bits, signed, values })
}

fn xray(spec: &FrameSpec, stored: &Stored) -> Vec<f32> {
    let image = spec.image();
    let max = ((1_u64 << stored.bits.min(32)) - 1) as f64;
    let is_inverted = image.photometric == Photometric::Monochrome1;
    let value = |stored: f64| {
        let shade = if is_inverted { max - stored } else { stored };
        ((2.0 * shade / max - 1.0) * XRAY_RANGE) as f32
    };
    stored.values.to_f64().into_iter().map(value).collect()
}

fn floats(values: &Values) -> Vec<f32> {
    match values {
        Values::I32(values) => values.iter().map(|&value| value as f32).collect(),
        Values::F64(values) => values.iter().map(|&value| value as f32).collect(),
    }
}
