//! Stored values become what a display shows: modality, window, presentation, colours, in the standard's order (PS3.3,
//! C.11; PS3.4, N.2).
//!
//! Values of at most 16 bits go through one table per frame, which holds all of these steps.

use std::sync::Arc;

use crate::error::{Error, corrupt, unsupported};
use crate::lut::Lut;
use crate::palette::Palette;
use crate::spec::{FrameSpec, Modality, Presentation, range_of};
use crate::stored::{Colours, Samples, Stored};
use crate::voi::{Voi, Window};

/// A shade or the part of a colour, between none and full.
pub trait Shade: Copy + Send {
    /// Returns the shade of a share from 0.0 to 1.0.
    fn of(share: f64) -> Self;
}

impl Shade for f64 {
    fn of(share: f64) -> Self {
        share
    }
}

impl Shade for f32 {
    fn of(share: f64) -> Self {
        share as Self
    }
}

impl Shade for u8 {
    fn of(share: f64) -> Self {
        (share * 255.0 + 0.5) as Self
    }
}

/// What a display shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture<T> {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub columns: u32,
    /// 1: shades, the least black. 3: red, green, blue.
    pub samples_per_pixel: u16,
    /// `[rows, columns, samples]`, row-major; floats from 0 to 1.
    pub values: Vec<T>,
}

/// Renders a frame as the standard says it is displayed.
///
/// - `window`: instead of the VOI LUT or window of the object; colours have none
/// - returns: shades, or RGB for colours and palettes
///
/// Without any window, shades span what the modality can yield of Bits Stored bits, those of floats what the frame
/// holds.
///
/// # Errors
///
/// `Corrupt` for tables and windows that cannot be read; `Unsupported` for colours that are neither RGB nor YBR.
///
/// # Reference
///
/// PS3.3, C.11.1 (modality), C.11.2 (VOI), C.11.6 (presentation), C.7.6.3.1.2 (`MONOCHROME1`, colours), C.7.6.19
/// (supplemental palettes).
pub fn display<T: Shade>(
    spec: &FrameSpec,
    stored: &Stored,
    window: Option<Window>,
) -> Result<Picture<T>, Error> {
    let (samples_per_pixel, values) = match (stored.colours, spec.palette()?) {
        (Colours::Rgb, _) => (3, rgb(spec, stored)?),
        (Colours::YbrFull, _) => (3, ybr(spec, stored)?),
        (Colours::Single, None) => (1, shades(spec, stored, window)?),
        (Colours::Single, Some(palette)) => (3, palette_colours(spec, palette, stored, window)?),
    };
    Ok(Picture { rows: stored.rows, columns: stored.columns, samples_per_pixel, values })
}

/// Makes shades of stored values, one by one.
struct Shader<'a> {
    modality: &'a Modality,
    voi: Interest<'a>,
    presentation: &'a Presentation,
}

enum Interest<'a> {
    Window(Window),
    Lut(&'a Arc<Lut>),
    /// All between two values.
    Range(f64, f64),
}

impl<'a> Shader<'a> {
    fn new(spec: &'a FrameSpec, values: &Samples, window: Option<Window>) -> Result<Self, Error> {
        let modality = spec.modality()?;
        let voi = match (window, window.map_or_else(|| spec.voi(), |_| Ok(&Voi::None))?) {
            (Some(window), _) => Interest::Window(window.check()?),
            (None, Voi::Window(window)) => Interest::Window(*window),
            (None, Voi::Lut(lut)) => Interest::Lut(lut),
            (None, Voi::None) => {
                let (low, high) = full_range(spec, modality, values);
                if high > low && !(high - low).is_finite() {
                    return Err(corrupt("values of the modality span more than a number can hold"));
                }
                Interest::Range(low, high)
            }
        };
        Ok(Self { modality, voi, presentation: spec.presentation()? })
    }

    /// Turns stored values into shares, step by step, so that each step becomes vector instructions.
    fn shade(&self, values: &mut [f64]) {
        match self.modality {
            Modality::Identity => {}
            Modality::Rescale { slope, intercept } => each(values, |value| value * slope + intercept),
            Modality::Lut(lut) => each(values, |value| f64::from(lut.at(value as i64))),
        }
        match &self.voi {
            Interest::Window(window) => window.shade_all(values),
            // Entries are for whole values: the nearest one.
            Interest::Lut(lut) => each(values, |value| lut.share((value + 0.5).floor() as i64)),
            Interest::Range(low, high) if high > low => {
                each(values, |value| ((value - low) / (high - low)).clamp(0.0, 1.0));
            }
            Interest::Range(..) => values.fill(0.0),
        }
        match self.presentation {
            Presentation::Identity => {}
            Presentation::Inverse => each(values, |share| 1.0 - share),
            Presentation::Lut(lut) => {
                let last = (lut.entries.len() - 1) as f64;
                each(values, |share| lut.share(lut.first.saturating_add((share * last + 0.5) as i64)));
            }
        }
    }
}

/// Returns what shades span without a window.
fn full_range(spec: &FrameSpec, modality: &Modality, values: &Samples) -> (f64, f64) {
    match values {
        Samples::F32(_) | Samples::F64(_) => {
            let finite = values.to_f64().into_iter().filter(|value| value.is_finite());
            let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
            let ends = match modality {
                Modality::Rescale { slope, intercept } => [low, high].map(|value| value * slope + intercept),
                _ => [low, high],
            };
            (ends[0].min(ends[1]), ends[0].max(ends[1]))
        }
        _ => range_of(modality, &spec.image),
    }
}

fn shades<T: Shade>(spec: &FrameSpec, stored: &Stored, window: Option<Window>) -> Result<Vec<T>, Error> {
    let shader = Shader::new(spec, &stored.values, window)?;
    Ok(mapped(stored, |values, out| {
        shader.shade(values);
        out.extend(values.iter().map(|&share| T::of(share)));
    }))
}

/// Values that are mapped at once: few enough to stay in the fastest cache.
const CHUNK: usize = 1024;

/// Maps all values; those of at most 16 bits by a table of all from the least to the greatest of the frame.
///
/// - `map`: appends what a chunk of stored values becomes, and may write over the chunk
fn mapped<T: Copy>(stored: &Stored, map: impl Fn(&mut [f64], &mut Vec<T>)) -> Vec<T> {
    match &stored.values {
        Samples::U8(values) => look_up::<256, _, _>(values, usize::from, map),
        Samples::I8(values) => look_up::<256, _, _>(values, |value| usize::from(value as u8), map),
        Samples::U16(values) => look_up::<65536, _, _>(values, usize::from, map),
        Samples::I16(values) => look_up::<65536, _, _>(values, |value| usize::from(value as u16), map),
        Samples::U32(values) => in_chunks(values.iter().map(|&value| value.into()), map),
        Samples::I32(values) => in_chunks(values.iter().map(|&value| value.into()), map),
        Samples::F32(values) => in_chunks(values.iter().map(|&value| value.into()), map),
        Samples::F64(values) => in_chunks(values.iter().copied(), map),
    }
}

/// Looks values up in a table of all `N` that the type has, of which those are filled in that the frame may have.
///
/// - `index`: the bits of a value, so that the table needs no check of its bounds
fn look_up<const N: usize, V: Copy + Ord + Into<i32>, T: Copy>(
    values: &[V],
    index: impl Fn(V) -> usize,
    map: impl Fn(&mut [f64], &mut Vec<T>),
) -> Vec<T> {
    let (Some(low), Some(high)) = (values.iter().copied().min(), values.iter().copied().max()) else {
        return Vec::new();
    };
    let (low, high): (i32, i32) = (low.into(), high.into());
    let num = (high - low) as usize + 1;
    if num > values.len() {
        return in_chunks(values.iter().map(|&value| value.into().into()), map);
    }
    let shades = in_chunks((low..=high).map(f64::from).collect::<Vec<_>>().into_iter(), map);
    let mut table = vec![shades[0]; N];
    for (value, shade) in (low..=high).zip(shades) {
        table[value as usize % N] = shade;
    }
    let table = table.first_chunk::<N>().expect("it was made of N entries");
    values.iter().map(|&value| table[index(value)]).collect()
}

fn in_chunks<T>(
    mut values: impl ExactSizeIterator<Item = f64>,
    map: impl Fn(&mut [f64], &mut Vec<T>),
) -> Vec<T> {
    let mut out = Vec::with_capacity(values.len());
    let mut chunk = [0.0; CHUNK];
    loop {
        let len = values.len().min(CHUNK);
        if len == 0 {
            return out;
        }
        chunk[..len].iter_mut().zip(&mut values).for_each(|(place, value)| *place = value);
        map(&mut chunk[..len], &mut out);
    }
}

/// Replaces each value.
pub(crate) fn each(values: &mut [f64], map: impl Fn(f64) -> f64) {
    for value in values {
        *value = map(*value);
    }
}

/// Colours of a palette; of a supplemental one only from its first value on, those below are shades (C.7.6.19).
fn palette_colours<T: Shade>(
    spec: &FrameSpec,
    palette: &Palette,
    stored: &Stored,
    window: Option<Window>,
) -> Result<Vec<T>, Error> {
    let supplemental = spec.image.photometric != crate::image::Photometric::PaletteColor;
    let shader = if supplemental { Some(Shader::new(spec, &stored.values, window)?) } else { None };
    let colours = |values: &mut [f64], out: &mut Vec<[T; 3]>| {
        let start = out.len();
        out.extend(values.iter().map(|&value| palette.at(value as i64).map(T::of)));
        let Some(shader) = &shader else { return };
        let stored: Vec<f64> = values.to_vec();
        shader.shade(values);
        for ((place, &share), &value) in out[start..].iter_mut().zip(values.iter()).zip(&stored) {
            if (value as i64) < palette.first() {
                *place = [T::of(share); 3];
            }
        }
    };
    Ok(mapped(stored, colours).into_flattened())
}

fn rgb<T: Shade>(spec: &FrameSpec, stored: &Stored) -> Result<Vec<T>, Error> {
    let max = max_of(spec)?;
    Ok(mapped(stored, |values, out| {
        out.extend(values.iter().map(|&value| T::of((value / max).clamp(0.0, 1.0))));
    }))
}

fn max_of(spec: &FrameSpec) -> Result<f64, Error> {
    let image = &spec.image;
    if image.signed || image.kind != crate::image::PixelKind::Integer {
        return Err(unsupported("colours that are signed or floats"));
    }
    Ok(image.stored_range().1 as f64)
}

/// Luminance and differences become RGB (PS3.3, C.7.6.3.1.2: the inverse of CCIR 601-2 at full range).
fn ybr<T: Shade>(spec: &FrameSpec, stored: &Stored) -> Result<Vec<T>, Error> {
    let max = max_of(spec)?;
    let half = f64::midpoint(max, 1.0);
    let rgb = |y: f64, blue: f64, red: f64| {
        let (blue, red) = (blue - half, red - half);
        [y + 1.402 * red, y - 0.344_136 * blue - 0.714_136 * red, y + 1.772 * blue]
            .map(|value| T::of((value / max).clamp(0.0, 1.0)))
    };
    Ok(match &stored.values {
        Samples::U8(values) => pixels(values, rgb),
        Samples::U16(values) => pixels(values, rgb),
        Samples::U32(values) => pixels(values, rgb),
        _ => return Err(unsupported("colours that are signed or floats")),
    })
}

fn pixels<V: Copy + Into<f64>, T>(values: &[V], rgb: impl Fn(f64, f64, f64) -> [T; 3]) -> Vec<T> {
    let (pixels, _) = values.as_chunks::<3>();
    let colours = pixels.iter().map(|pixel| rgb(pixel[0].into(), pixel[1].into(), pixel[2].into()));
    colours.collect::<Vec<_>>().into_flattened()
}
