//! Tile by tile, from code-blocks to samples.

use tilefleet_codec::{Result, corrupt, too_large, unsupported};

use crate::block::BlockDecoder;
use crate::bytes::Bytes;
use crate::coding::{Coding, style};
use crate::cpu::{self, Instructions, Work};
use crate::ht::HighThroughputDecoder;
use crate::samples::{self, Range, Transform};
use crate::size::{Rect, Size};
use crate::stream::{MainHeader, TileParts, main_header, tile_parts};
use crate::tile::{Budget, Tile, TileComponent};
use crate::wavelet::{Bands, Halves, synthesise};
use crate::{Image, Options, Plane, boxes, packets};

/// Decodes streams one after another, and keeps its buffers between them.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    block: BlockDecoder,
    high_throughput: HighThroughputDecoder,
    row: Vec<u32>,
    /// Coefficients of a component, band by band.
    coefficients: Vec<i32>,
    /// The resolution below the one that is being made.
    lower: Vec<i32>,
    /// Samples of images that came back.
    spare: Vec<Vec<i32>>,
    integers: Halves<i32>,
    floats: Halves<f32>,
    pub(crate) instructions: Instructions,
}

/// Decodes a component of a tile up to resolution `last`.
struct ComponentWork<'w> {
    decoder: &'w mut Decoder,
    tile: &'w Tile<'w>,
    component: &'w TileComponent,
    last: usize,
}

impl Work for ComponentWork<'_> {
    type Output = Result<Vec<i32>>;

    #[inline(always)]
    fn run(self) -> Result<Vec<i32>> {
        self.decoder.component(self.tile, self.component, self.last)
    }
}

/// Makes samples of the components of a tile.
struct FinishWork<'w> {
    size: &'w Size,
    coding: &'w Coding,
    decoded: &'w mut [(Rect, Vec<i32>)],
}

impl Work for FinishWork<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run(self) -> Result<()> {
        finish(self.size, self.coding, self.decoded)
    }
}

impl Decoder {
    /// Makes a decoder without buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes back an image that is no longer needed: its memory serves the next one.
    pub fn recycle(&mut self, image: Image) {
        self.spare.clear();
        self.spare.extend(image.planes.into_iter().map(|plane| plane.samples));
    }

    /// Decodes a stream, as [`crate::decode()`] does.
    ///
    /// # Errors
    ///
    /// Those of [`crate::decode()`].
    pub fn decode(&mut self, data: &[u8], options: &Options) -> Result<Image> {
        let mut bytes = Bytes::new(boxes::code_stream(data)?, "the code stream");
        let header = main_header(&mut bytes)?;
        let pixels = header.size.image.area();
        if pixels > options.limits.max_pixels {
            return Err(too_large(format!("{pixels} pixels")));
        }
        let mut budget = Budget(options.limits.max_decoded_bytes);
        let areas: Vec<Rect> = (0..header.size.components.len())
            .map(|index| reduced(&header.size.component(index), options.skipped_levels))
            .collect();
        let num_samples: u64 = areas.iter().map(Rect::area).sum();
        budget.take(4 * num_samples + (areas.len() * size_of::<Plane>()) as u64)?;
        let (columns, rows) = header.size.num_tiles();
        budget
            .take((u64::from(columns) * u64::from(rows)).saturating_mul(size_of::<TileParts<'_>>() as u64))?;
        let tiles = tile_parts(&header, &mut bytes)?;
        let mut planes = Vec::new();
        for (index, parts) in tiles.iter().enumerate() {
            let coding = parts.coding(&header.coding)?;
            let decoded = self.tile(&header, &coding, index as u32, parts, options, budget)?;
            if planes.is_empty() {
                planes = areas.iter().map(|_| Vec::new()).collect();
            }
            for ((plane, area), (tile, samples)) in planes.iter_mut().zip(&areas).zip(decoded) {
                place(plane, area, &tile, samples);
            }
        }
        Ok(Image { planes: image_planes(&header, &areas, planes) })
    }

    /// Decodes a tile.
    ///
    /// - returns: the area and samples of each component
    fn tile(
        &mut self,
        header: &MainHeader<'_>,
        coding: &Coding,
        index: u32,
        parts: &TileParts<'_>,
        options: &Options,
        mut budget: Budget,
    ) -> Result<Vec<(Rect, Vec<i32>)>> {
        let mut tile = Tile::new(&header.size, coding, index, &mut budget)?;
        budget.take(working_bytes(&tile, options.skipped_levels.into()))?;
        packets::read(&mut tile, coding, parts, options.strict, &mut budget)?;
        let mut decoded = Vec::new();
        for component in &tile.components {
            let last = component.coding.num_levels.checked_sub(options.skipped_levels);
            let last = last.ok_or_else(|| unsupported("fewer decompositions than are to be left out"))?;
            let work = ComponentWork { decoder: self, tile: &tile, component, last: last.into() };
            let samples = cpu::run(work.decoder.instructions, work)?;
            decoded.push((component.resolutions[usize::from(last)].rect, samples));
        }
        cpu::run(self.instructions, FinishWork { size: &header.size, coding, decoded: &mut decoded })?;
        Ok(decoded)
    }

    /// Decodes a component up to resolution `last`: bits of `f32` where the transform is irreversible.
    #[inline(always)]
    fn component(&mut self, tile: &Tile<'_>, component: &TileComponent, last: usize) -> Result<Vec<i32>> {
        self.coefficients.clear();
        self.coefficients.resize(component.num_coefficients(last), 0);
        for resolution in &component.resolutions[..=last] {
            for band in &resolution.bands {
                self.band(tile, component, band)?;
            }
        }
        Ok(self.resolutions(component, last))
    }

    /// Decodes the code-blocks of a band.
    #[inline(always)]
    fn band(&mut self, tile: &Tile<'_>, component: &TileComponent, band: &crate::tile::Band) -> Result<()> {
        let coding = &component.coding;
        let step = (!coding.reversible).then_some(band.step);
        let stride = band.rect.width() as usize;
        for block in tile.blocks[band.blocks.clone()].iter().filter(|block| block.num_passes > 0) {
            let high_throughput = coding.style & style::HIGH_THROUGHPUT != 0;
            if high_throughput {
                self.high_throughput.decode(block, &tile.chunks, band.num_planes, coding.style)?;
            } else {
                self.block.decode(block, &tile.chunks, band.kind, band.num_planes, coding.style)?;
            }
            let (width, height) = (usize::from(block.width), usize::from(block.height));
            self.row.resize(width, 0);
            let first = band.offset + block.y as usize * stride + block.x as usize;
            for row in 0..height {
                let out = &mut self.coefficients[first + row * stride..][..width];
                if high_throughput {
                    samples::coefficients(self.high_throughput.row(row), coding.roi_shift, step, out);
                } else {
                    self.block.row(row, &mut self.row);
                    samples::coefficients(&self.row, coding.roi_shift, step, out);
                }
            }
        }
        Ok(())
    }

    /// Makes resolution `last` of all coefficients.
    #[inline(always)]
    fn resolutions(&mut self, component: &TileComponent, last: usize) -> Vec<i32> {
        let areas: Vec<usize> =
            component.resolutions.iter().map(|resolution| resolution.rect.area() as usize).collect();
        let mut largest = fitting(self.spare.pop().unwrap_or_default(), areas[last]);
        let lower = fitting(std::mem::take(&mut self.lower), areas[last.saturating_sub(1)]);
        let (mut below, mut made) = if last.is_multiple_of(2) { (largest, lower) } else { (lower, largest) };
        below[..areas[0]].copy_from_slice(&self.coefficients[..areas[0]]);
        for (index, resolution) in component.resolutions.iter().enumerate().take(last + 1).skip(1) {
            let [hl, lh, hh] = [0, 1, 2].map(|index| {
                let band = &resolution.bands[index];
                &self.coefficients[band.offset..][..band.rect.area() as usize]
            });
            let bands = Bands { ll: &below[..areas[index - 1]], hl, lh, hh };
            let out = &mut made[..areas[index]];
            if component.coding.reversible {
                synthesise(&resolution.rect, bands, &mut self.integers, out);
            } else {
                let [ll, hl, lh, hh] = [bands.ll, bands.hl, bands.lh, bands.hh].map(bytemuck::cast_slice);
                let bands = Bands { ll, hl, lh, hh };
                synthesise(&resolution.rect, bands, &mut self.floats, bytemuck::cast_slice_mut(out));
            }
            std::mem::swap(&mut below, &mut made);
        }
        // The largest resolution is handed out, the one below it is kept as a buffer.
        (largest, self.lower) = (below, made);
        largest.truncate(areas[last]);
        largest
    }
}

/// Returns a buffer of at least `len` samples: `buffer`, or one that takes no memory before it is written to.
fn fitting(buffer: Vec<i32>, len: usize) -> Vec<i32> {
    if buffer.len() < len { vec![0; len] } else { buffer }
}

/// Returns an area at a lower resolution.
fn reduced(area: &Rect, skipped_levels: u8) -> Rect {
    let edge = |at: u32| (u64::from(at)).div_ceil(1 << skipped_levels.min(32)) as u32;
    Rect { x0: edge(area.x0), y0: edge(area.y0), x1: edge(area.x1), y1: edge(area.y1) }
}

/// Returns an upper limit of what decoding a tile takes beside its tables.
fn working_bytes(tile: &Tile<'_>, skipped_levels: usize) -> u64 {
    let largest = |component: &TileComponent| {
        component.resolutions.iter().rev().nth(skipped_levels).map_or(0, |resolution| resolution.rect.area())
    };
    let areas = tile.components.iter().map(largest);
    // Samples of all components; coefficients and lower resolutions of one.
    4 * (areas.clone().sum::<u64>() + 2 * areas.max().unwrap_or(0))
}

/// Undoes the transform of components, and brings samples into their range.
#[inline(always)]
fn finish(size: &Size, coding: &Coding, decoded: &mut [(Rect, Vec<i32>)]) -> Result<()> {
    if coding.component_transform {
        let [(_, first), (_, second), (_, third), ..] = decoded else {
            return Err(corrupt("a transform of three components where there are fewer"));
        };
        let reversible = coding.components[0].reversible;
        if coding.components[..3].iter().any(|component| component.reversible != reversible)
            || first.len() != second.len()
            || first.len() != third.len()
        {
            return Err(corrupt("a transform of three components that differ"));
        }
        let transform = if reversible { Transform::Reversible } else { Transform::Irreversible };
        samples::undo(transform, [first, second, third]);
    }
    for (index, (_, samples)) in decoded.iter_mut().enumerate() {
        let component = &size.components[index];
        let range = Range::new(component.bits, component.signed);
        samples::finish(samples, range, coding.components[index].reversible);
    }
    Ok(())
}

/// Puts samples of a tile into their plane, which begins empty.
fn place(plane: &mut Vec<i32>, area: &Rect, tile: &Rect, samples: Vec<i32>) {
    if tile == area {
        *plane = samples;
        return;
    }
    plane.resize(area.area() as usize, 0);
    let (width, stride) = (tile.width() as usize, area.width() as usize);
    if width == 0 {
        return;
    }
    let first = (tile.y0 - area.y0) as usize * stride + (tile.x0 - area.x0) as usize;
    for (row, samples) in samples.chunks_exact(width).enumerate() {
        plane[first + row * stride..][..width].copy_from_slice(samples);
    }
}

fn image_planes(header: &MainHeader<'_>, areas: &[Rect], planes: Vec<Vec<i32>>) -> Vec<Plane> {
    let sizes = header.size.components.iter().zip(areas);
    let plane = |(samples, (size, area)): (Vec<i32>, (&crate::size::ComponentSize, &Rect))| Plane {
        width: area.width(),
        height: area.height(),
        bits: size.bits,
        signed: size.signed,
        sampling: (size.dx, size.dy),
        samples,
    };
    planes.into_iter().zip(sizes).map(plane).collect()
}
