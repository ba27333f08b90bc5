//! Components as they are stored, and what becomes of them: full size, then colours.
//!
//! This is the way of files that neither [`super::baseline`] nor the crate decodes: sequential frames in several
//! scans of any grouping, and chroma that is finer than luma. The samples are those of libjpeg.

use libjpeg_turbo_rs::ColorSpace;

use super::audit::{BlockPlace, Unit};
use super::bits::BitReader;
use super::coefficients::ZIGZAG;
use super::huffman::extend;
use super::kernels::Kernels;
use super::upsample::Row;
use crate::error::{Error, corrupt};
use crate::frame::{Component, Frame};
use crate::geometry::Size;

/// Narrower components are not interpolated across.
const MIN_INTERPOLATED_WIDTH: usize = 3;

/// The samples of one component, in rows of whole MCUs.
#[derive(Default)]
pub(super) struct Plane {
    pub(super) stride: usize,
    pub(super) samples: Vec<u8>,
}

/// Reads the blocks of a sequential frame and transforms them into planes.
#[derive(Default)]
pub(super) struct Transformer {
    tables: [Option<[u16; 64]>; 4],
    parts: Vec<Part>,
}

/// One component on its way.
struct Part {
    /// Destination of its quantisation table.
    destination: u8,
    /// The table that stood there when its scan began (libjpeg, `latch_quant_tables`).
    quantisation: [u16; 64],
    prediction: i32,
    plane: Plane,
}

impl Transformer {
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
            let samples = vec![0; stride * mcus_y * usize::from(component.v) * 8];
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
        let samples = Kernels::of_this_machine().transform_one(&block, &part.quantisation);
        let first = (place.row as usize * part.plane.stride + place.column as usize) * 8;
        for (row, samples) in samples.as_chunks::<8>().0.iter().enumerate() {
            part.plane.samples[first + row * part.plane.stride..][..8].copy_from_slice(samples);
        }
        Ok(())
    }

    /// Returns the samples of each component.
    pub(super) fn into_planes(self) -> Vec<Plane> {
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
/// - `colours`: what the components are
/// - `out`: `[height, width, components]`; YCbCr becomes RGB, YCCK becomes CMYK
pub(super) fn finish(frame: &Frame, planes: &[Plane], colours: ColorSpace, out: &mut [u8]) {
    let num_bands = frame.components.len();
    let width = frame.size.width as usize;
    let mut components: Vec<_> =
        planes.iter().enumerate().map(|(index, plane)| Full::new(frame, index, plane)).collect();
    for (y, out) in out.chunks_exact_mut(width * num_bands).enumerate() {
        let rows: Vec<&[u8]> = components.iter_mut().map(|component| &component.row(y)[..width]).collect();
        convert(&rows, colours, out);
    }
}

/// A component at full size, row by row.
struct Full<'a> {
    plane: &'a Plane,
    /// Samples that mean something.
    size: Size,
    /// How many times the component is enlarged across and down.
    factors: (usize, usize),
    blended: Row,
    repeated: Vec<u8>,
}

impl<'a> Full<'a> {
    fn new(frame: &Frame, index: usize, plane: &'a Plane) -> Self {
        let (h_max, v_max) = frame.max_sampling();
        let component = frame.components[index];
        let (h, v) = (u32::from(component.h), u32::from(component.v));
        let size = Size::new((frame.size.width * h).div_ceil(h_max), (frame.size.height * v).div_ceil(v_max));
        let factors = ((h_max / h) as usize, (v_max / v) as usize);
        Self { plane, size, factors, blended: Row::default(), repeated: Vec::new() }
    }

    fn stored(&self, row: usize) -> &'a [u8] {
        &self.plane.samples[row * self.plane.stride..][..self.size.width as usize]
    }

    /// Returns at least as many samples as the image is wide (libjpeg, `jinit_upsampler`).
    fn row(&mut self, y: usize) -> &[u8] {
        let kernels = Kernels::of_this_machine();
        let stored = self.stored(y / self.factors.1);
        let interpolates = stored.len() >= MIN_INTERPOLATED_WIDTH;
        match self.factors {
            (1, 1) => stored,
            (2, 1) if interpolates => {
                self.blended.stretch(stored, kernels);
                self.blended.samples()
            }
            (2, 2) if interpolates => {
                self.blended.blend(stored, self.neighbour(y), kernels);
                self.blended.samples()
            }
            (1, 2) => {
                let bias = 1 + (y % 2) as u16;
                let pairs = stored.iter().zip(self.neighbour(y));
                let blended = pairs.map(|(&near, &far)| (3 * u16::from(near) + u16::from(far) + bias) >> 2);
                self.repeated.clear();
                self.repeated.extend(blended.map(|sample| sample as u8));
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
    fn neighbour(&self, y: usize) -> &'a [u8] {
        let (row, last) = (y / 2, self.size.height as usize - 1);
        self.stored(if y.is_multiple_of(2) { row.saturating_sub(1) } else { last.min(row + 1) })
    }
}

/// Converts one row.
fn convert(rows: &[&[u8]], colours: ColorSpace, out: &mut [u8]) {
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
        _ => {
            for (band, row) in rows.iter().enumerate() {
                out.iter_mut().skip(band).step_by(rows.len()).zip(*row).for_each(|(out, &own)| *out = own);
            }
        }
    }
}
