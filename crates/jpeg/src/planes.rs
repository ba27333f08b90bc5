//! Components as they are stored, and what becomes of them: full size, then colours.
//!
//! This is the way of files that neither [`super::baseline`] nor the crate decodes: sequential frames in several
//! scans of any grouping, and chroma that is finer than luma. The samples are those of libjpeg.

use libjpeg_turbo_rs::ColorSpace;
use tilefleet_codec::{Error, Sample, Size, corrupt};

use super::audit::{BlockPlace, Unit};
use super::bits::BitReader;
use super::coefficients::ZIGZAG;
use super::huffman::extend;
use super::kernels::Kernels;
use super::upsample::Row;
use crate::frame::{Component, Frame};

/// Narrower components are not interpolated across.
const MIN_INTERPOLATED_WIDTH: usize = 3;

/// A sample of a transformed block, and what is done to many of them.
pub(super) trait TransformedSample: Sample {
    const PRECISION: u8;
    /// A row of twice the width.
    type Row: Default;

    /// Dequantises and transforms one block; all in natural order.
    fn transform(block: &[i16; 64], quantisation: &[u16; 64]) -> [Self; 64];

    /// Interpolates at least three samples across (4:2:2).
    fn stretch<'a>(stored: &[Self], row: &'a mut Self::Row) -> &'a [Self];

    /// Interpolates between a row of at least three samples and its neighbour, then across (4:2:0).
    fn blend<'a>(stored: &[Self], neighbour: &[Self], row: &'a mut Self::Row) -> &'a [Self];
}

impl TransformedSample for u8 {
    const PRECISION: u8 = 8;
    type Row = Row;

    fn transform(block: &[i16; 64], quantisation: &[u16; 64]) -> [Self; 64] {
        Kernels::of_this_machine().transform_one(block, quantisation)
    }

    fn stretch<'a>(stored: &[Self], row: &'a mut Row) -> &'a [Self] {
        row.stretch(stored, Kernels::of_this_machine());
        row.samples()
    }

    fn blend<'a>(stored: &[Self], neighbour: &[Self], row: &'a mut Row) -> &'a [Self] {
        row.blend(stored, neighbour, Kernels::of_this_machine());
        row.samples()
    }
}

/// The samples of one component, in rows of whole MCUs.
#[derive(Default)]
pub(super) struct Plane<S> {
    pub(super) stride: usize,
    pub(super) samples: Vec<S>,
}

/// Reads the blocks of a sequential frame and transforms them into planes.
pub(super) struct Transformer<S> {
    tables: [Option<[u16; 64]>; 4],
    parts: Vec<Part<S>>,
}

/// One component on its way.
struct Part<S> {
    /// Destination of its quantisation table.
    destination: u8,
    /// The table that stood there when its scan began (libjpeg, `latch_quant_tables`).
    quantisation: [u16; 64],
    prediction: i32,
    plane: Plane<S>,
}

impl<S> Default for Transformer<S> {
    fn default() -> Self {
        Self { tables: [None; 4], parts: Vec::new() }
    }
}

impl<S: TransformedSample> Transformer<S> {
    /// Enters quantisation tables of 8 or 16 bits (T.81, B.2.4.1).
    pub(super) fn define_quantisation(&mut self, mut body: &[u8]) -> Result<(), Error> {
        let cut_off = || corrupt("a quantisation table is cut off");
        while let Some((&target, rest)) = body.split_first() {
            let (width, destination) = (1 + usize::from(target >> 4 & 1), usize::from(target & 15));
            let values = rest.get(..64 * width).ok_or_else(cut_off)?;
            let mut table = [0; 64];
            for (&place, value) in ZIGZAG.iter().zip(values.chunks_exact(width)) {
                table[usize::from(place)] = value.iter().fold(0, |sum, &byte| sum << 8 | u16::from(byte));
            }
            *self.tables.get_mut(destination).ok_or_else(cut_off)? = Some(table);
            body = &rest[values.len()..];
        }
        Ok(())
    }

    /// - `body`: the frame header that `frame` was read from
    pub(super) fn begin_frame(&mut self, frame: &Frame, body: &[u8]) {
        let (h_max, v_max) = frame.max_sampling();
        let mcus_x = frame.size.width.div_ceil(8 * h_max) as usize;
        let mcus_y = frame.size.height.div_ceil(8 * v_max) as usize;
        let destinations = body[6..].chunks_exact(3).map(|component| component[2]);
        let part = |(component, destination): (&Component, u8)| {
            let stride = mcus_x * usize::from(component.h) * 8;
            let samples = vec![S::default(); stride * mcus_y * usize::from(component.v) * 8];
            let plane = Plane { stride, samples };
            Part { destination, quantisation: [0; 64], prediction: 0, plane }
        };
        self.parts = frame.components.iter().zip(destinations).map(part).collect();
    }

    /// Takes the quantisation tables of these components as they stand now.
    pub(super) fn begin_scan(&mut self, components: impl Iterator<Item = usize>) -> Result<(), Error> {
        for component in components {
            let part = &mut self.parts[component];
            let table = self.tables.get(usize::from(part.destination)).copied().flatten();
            part.quantisation =
                table.ok_or_else(|| corrupt("a scan refers to a quantisation table that is not there"))?;
        }
        Ok(())
    }

    /// Reads one block and puts its samples into their plane.
    pub(super) fn block(
        &mut self,
        reader: &mut BitReader<'_>,
        unit: &Unit<'_>,
        place: BlockPlace,
    ) -> Result<(), Error> {
        let part = &mut self.parts[unit.component];
        if place.starts_segment {
            part.prediction = 0;
        }
        let block = read_block(reader, unit, &mut part.prediction)?;
        let samples = S::transform(&block, &part.quantisation);
        let first = (place.row as usize * part.plane.stride + place.column as usize) * 8;
        for (row, samples) in samples.as_chunks::<8>().0.iter().enumerate() {
            part.plane.samples[first + row * part.plane.stride..][..8].copy_from_slice(samples);
        }
        Ok(())
    }

    /// Returns the samples of each component.
    pub(super) fn into_planes(self) -> Vec<Plane<S>> {
        self.parts.into_iter().map(|part| part.plane).collect()
    }
}

/// Reads the coefficients of a block in natural order (T.81, F.2.2).
fn read_block(reader: &mut BitReader<'_>, unit: &Unit<'_>, prediction: &mut i32) -> Result<[i16; 64], Error> {
    let mut block = [0; 64];
    let count = u32::from(unit.dc.take_symbol(reader)?);
    *prediction = prediction.wrapping_add(value(reader, count)?);
    block[0] = *prediction as i16;
    let mut at = 1;
    while at < 64 {
        let symbol = unit.ac.take_symbol(reader)?;
        let (run, count) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        if (run, count) == (15, 0) {
            at += 16;
            continue;
        }
        if count == 0 {
            return Ok(block);
        }
        let place = ZIGZAG.get(at + run).ok_or_else(too_many)?;
        block[usize::from(*place)] = value(reader, count)? as i16;
        at += run + 1;
    }
    if at > 64 { Err(too_many()) } else { Ok(block) }
}

fn too_many() -> Error {
    corrupt("a block has more than 64 coefficients")
}

fn value(reader: &mut BitReader<'_>, count: u32) -> Result<i32, Error> {
    match count {
        0 => Ok(0),
        1..=15 => Ok(extend(reader.take(count) as i32, count)),
        _ => Err(corrupt(format!("a value of {count} bits"))),
    }
}

/// Brings all components to full size and converts their colours.
///
/// - `out`: `[height, width, components]`
/// - `convert`: makes a row of `out` of a row of each component
pub(super) fn finish<S: TransformedSample>(
    frame: &Frame,
    planes: &[Plane<S>],
    out: &mut [S],
    convert: impl Fn(&[&[S]], &mut [S]),
) {
    let num_bands = frame.components.len();
    let width = frame.size.width as usize;
    let mut components: Vec<_> =
        planes.iter().enumerate().map(|(index, plane)| Full::new(frame, index, plane)).collect();
    for (y, out) in out.chunks_exact_mut(width * num_bands).enumerate() {
        let rows: Vec<&[S]> = components.iter_mut().map(|component| &component.row(y)[..width]).collect();
        convert(&rows, out);
    }
}

/// A component at full size, row by row.
struct Full<'a, S: TransformedSample> {
    plane: &'a Plane<S>,
    /// Samples that mean something.
    size: Size,
    /// How many times the component is enlarged across and down.
    factors: (usize, usize),
    blended: S::Row,
    repeated: Vec<S>,
}

impl<'a, S: TransformedSample> Full<'a, S> {
    fn new(frame: &Frame, index: usize, plane: &'a Plane<S>) -> Self {
        let (h_max, v_max) = frame.max_sampling();
        let component = frame.components[index];
        let (h, v) = (u32::from(component.h), u32::from(component.v));
        let size = Size::new((frame.size.width * h).div_ceil(h_max), (frame.size.height * v).div_ceil(v_max));
        let factors = ((h_max / h) as usize, (v_max / v) as usize);
        Self { plane, size, factors, blended: S::Row::default(), repeated: Vec::new() }
    }

    fn stored(&self, row: usize) -> &'a [S] {
        &self.plane.samples[row * self.plane.stride..][..self.size.width as usize]
    }

    /// Returns at least as many samples as the image is wide (libjpeg, `jinit_upsampler`).
    fn row(&mut self, y: usize) -> &[S] {
        let stored = self.stored(y / self.factors.1);
        let interpolates = stored.len() >= MIN_INTERPOLATED_WIDTH;
        match self.factors {
            (1, 1) => stored,
            (2, 1) if interpolates => S::stretch(stored, &mut self.blended),
            (2, 2) if interpolates => S::blend(stored, self.neighbour(y), &mut self.blended),
            (1, 2) => {
                let bias = 1 + (y % 2) as u32;
                let pairs = stored.iter().zip(self.neighbour(y));
                let blended = pairs.map(|(&near, &far)| (3 * near.into() + far.into() + bias) >> 2);
                self.repeated.clear();
                self.repeated.extend(blended.map(S::of));
                &self.repeated
            }
            (across, _) => {
                self.repeated.clear();
                self.repeated.extend(stored.iter().flat_map(|&sample| std::iter::repeat_n(sample, across)));
                &self.repeated
            }
        }
    }

    /// Returns the row next to that of `y`, at twice its height, on the nearer side.
    fn neighbour(&self, y: usize) -> &'a [S] {
        let (row, last) = (y / 2, self.size.height as usize - 1);
        self.stored(if y.is_multiple_of(2) { row.saturating_sub(1) } else { last.min(row + 1) })
    }
}

/// Converts one row: YCbCr becomes RGB, YCCK becomes CMYK.
///
/// - `colours`: what the components are
pub(super) fn convert(rows: &[&[u8]], colours: ColorSpace, out: &mut [u8]) {
    match (rows, colours) {
        (&[y, cb, cr], ColorSpace::YCbCr) => Kernels::of_this_machine().rgb(y, cb, cr, out),
        (&[y, cb, cr, black], ColorSpace::Ycck) => {
            let mut inverse = vec![0; 3 * y.len()];
            Kernels::of_this_machine().rgb(y, cb, cr, &mut inverse);
            let pixels = inverse.as_chunks::<3>().0.iter().zip(black);
            for (out, ([red, green, blue], &black)) in out.as_chunks_mut::<4>().0.iter_mut().zip(pixels) {
                *out = [!red, !green, !blue, black];
            }
        }
        _ => interleave(rows, out),
    }
}

/// Puts the components of one row together, pixel by pixel.
pub(super) fn interleave<S: Copy>(rows: &[&[S]], out: &mut [S]) {
    for (band, row) in rows.iter().enumerate() {
        out.iter_mut().skip(band).step_by(rows.len()).zip(*row).for_each(|(out, &own)| *out = own);
    }
}
