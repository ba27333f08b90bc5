//! Stored values become what a display shows: modality, window, presentation, colours, in the standard's order (PS3.3,
//! C.11; PS3.4, N.2).
//!
//! Values of at most 16 bits go through one table per frame, which holds all of these steps.

use std::ops::{BitOr, BitXor, Shr};
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

    /// Returns an empty buffer for shades.
    #[must_use]
    fn buffer() -> Vec<Self> {
        Vec::new()
    }
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

    /// That of a picture which this thread is done with, see [`tilefleet_jpeg::recycle`].
    fn buffer() -> Vec<Self> {
        tilefleet_jpeg::spare(0)
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
    let shade = |values: &mut [f64], out: &mut Vec<T>| {
        shader.shade(values);
        out.extend(values.iter().map(|&share| T::of(share)));
    };
    Ok(mapped(stored, shade, T::buffer()))
}

/// Values that are mapped at once: few enough to stay in the fastest cache.
const CHUNK: usize = 1024;

/// Maps all values; those of at most 16 bits by a table of all that the frame may have.
///
/// - `map`: appends what a chunk of stored values becomes, and may write over the chunk
/// - `out`: an empty buffer for what they become
fn mapped<T: Copy>(stored: &Stored, map: impl Fn(&mut [f64], &mut Vec<T>), out: Vec<T>) -> Vec<T> {
    match &stored.values {
        Samples::U8(values) => look_up(values, map, out),
        Samples::I8(values) => look_up(values, map, out),
        Samples::U16(values) => look_up(values, map, out),
        Samples::I16(values) => look_up(values, map, out),
        Samples::U32(values) => in_chunks(values.iter().map(|&value| value.into()), map, out),
        Samples::I32(values) => in_chunks(values.iter().map(|&value| value.into()), map, out),
        Samples::F32(values) => in_chunks(values.iter().map(|&value| value.into()), map, out),
        Samples::F64(values) => in_chunks(values.iter().copied(), map, out),
    }
}

/// An integer of at most 16 bits.
trait Whole: Copy + Into<i32> + BitOr<Output = Self> + BitXor<Output = Self> + Shr<u32, Output = Self> {
    const ZERO: Self;
    const BITS: u32;
    const IS_SIGNED: bool;
}

macro_rules! whole {
    ($($type:ty),+) => {
        $(impl Whole for $type {
            const ZERO: Self = 0;
            const BITS: u32 = Self::BITS;
            const IS_SIGNED: bool = Self::MIN != 0;
        })+
    };
}

whole!(u8, i8, u16, i16);

/// Returns how many bits the values need, with their sign. That is one pass of instructions that all processors have for
/// vectors, other than to find the least and the greatest.
fn bits_of<V: Whole>(values: &[V]) -> u32 {
    // All bits but those that repeat the sign.
    let all = values.iter().fold(V::ZERO, |all, &value| all | (value ^ (value >> (V::BITS - 1))));
    i32::BITS - all.into().leading_zeros() + u32::from(V::IS_SIGNED)
}

/// Looks values up in a table of all that have as many bits, unless that takes longer.
fn look_up<V: Whole, T: Copy>(values: &[V], map: impl Fn(&mut [f64], &mut Vec<T>), out: Vec<T>) -> Vec<T> {
    // Tables of few sizes, so that looking up needs no check of bounds.
    match bits_of(values) {
        ..=8 => look_up_among::<256, _, _>(values, map, out),
        9..=12 => look_up_among::<4096, _, _>(values, map, out),
        13..=14 => look_up_among::<16384, _, _>(values, map, out),
        _ => look_up_among::<65536, _, _>(values, map, out),
    }
}

/// Looks values up in a table of `N`, by their lowest bits.
fn look_up_among<const N: usize, V: Whole, T: Copy>(
    values: &[V],
    map: impl Fn(&mut [f64], &mut Vec<T>),
    mut out: Vec<T>,
) -> Vec<T> {
    if values.len() < N {
        return in_chunks(values.iter().map(|&value| value.into().into()), map, out);
    }
    let below_zero = if V::IS_SIGNED { N / 2 } else { N };
    let value = |index: usize| index as f64 - if index < below_zero { 0.0 } else { N as f64 };
    let table = in_chunks((0..N).map(value), map, Vec::new());
    let table = table.first_chunk::<N>().expect("it was made of N values");
    out.extend(values.iter().map(|&value| table[value.into() as usize % N]));
    out
}

fn in_chunks<T>(
    mut values: impl ExactSizeIterator<Item = f64>,
    map: impl Fn(&mut [f64], &mut Vec<T>),
    mut out: Vec<T>,
) -> Vec<T> {
    out.reserve(values.len());
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
    Ok(mapped(stored, colours, Vec::new()).into_flattened())
}

fn rgb<T: Shade>(spec: &FrameSpec, stored: &Stored) -> Result<Vec<T>, Error> {
    let max = max_of(spec)?;
    let shade = |values: &mut [f64], out: &mut Vec<T>| {
        out.extend(values.iter().map(|&value| T::of((value / max).clamp(0.0, 1.0))));
    };
    Ok(mapped(stored, shade, T::buffer()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_that_values_need() {
        assert_eq!(bits_of::<u16>(&[]), 0);
        assert_eq!(bits_of(&[3_u16, 8, 1]), 4);
        assert_eq!(bits_of(&[u16::MAX]), 16);
        assert_eq!(bits_of(&[127_u8]), 7);
        assert_eq!(bits_of(&[0_i16, -1]), 1);
        assert_eq!(bits_of(&[-1024_i16, 3071]), 13);
        assert_eq!(bits_of(&[i16::MIN]), 16);
        assert_eq!(bits_of(&[i8::MIN, i8::MAX]), 8);
    }

    fn repeated<V: Copy>(values: &[V]) -> Vec<V> {
        values.iter().copied().cycle().take(70_000).collect()
    }

    /// Few values are mapped one by one, many by tables of all sizes.
    #[test]
    fn a_table_gives_what_each_value_gives() {
        let map = |values: &mut [f64], out: &mut Vec<f64>| out.extend(values.iter().map(|value| value * 3.0));
        for reach in [100, 2000, 8000, 30_000_i16] {
            let signed = [-reach - 1, -reach, -1, 0, 1, 77, reach];
            let found = look_up(&repeated(&signed), map, Vec::new());
            assert_eq!(found[..7], signed.map(|value| f64::from(value) * 3.0));
            assert_eq!(look_up(&signed, map, Vec::new()), found[..7]);
            let unsigned = signed.map(|value| value as u16);
            let found = look_up(&repeated(&unsigned), map, Vec::new());
            assert_eq!(found[..7], unsigned.map(|value| f64::from(value) * 3.0));
        }
        let bytes = repeated(&[-128_i8, -1, 0, 127]);
        assert_eq!(look_up(&bytes, map, Vec::new())[..4], [-384.0, -3.0, 0.0, 381.0]);
    }
}
