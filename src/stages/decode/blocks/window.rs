//! Cuts a window out of decoded blocks.

use std::borrow::Borrow;

use super::Block;
use super::validity;
use crate::formats::raster::{BlockGrid, BlockId, Part, RasterFile, Validity};
use crate::vocabulary::chip::Samples;
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::Rejection;

/// The samples of a window, as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSamples {
    /// Width and height.
    pub size: Size,
    /// Number of bands.
    pub num_bands: u16,
    /// `[height, width, bands]`, row-major.
    pub samples: Samples,
    /// `[height, width]`: 0 where a pixel is not valid, else 255 or its alpha; `None` where all are valid
    /// because the scene has neither mask nor alpha nor nodata.
    pub valid: Option<Vec<u8>>,
}

/// Puts the samples of a window together.
///
/// - `frame`, `level`: of `file`, from 0
/// - `window`: pixels of the level, inside of it
/// - `bands`: counted from 0, in the order wanted
/// - `block`: returns decoded blocks; asked for those of [`RasterFile::blocks_for`], and each once for
///   every band
///
/// # Errors
///
/// Those of `block`.
///
/// # Reference
///
/// `rasterio.DatasetReader.read` and `dataset_mask`; with bands selected, a pixel is valid by nodata if it is
/// in any of these.
pub fn read_window<'a>(
    file: &dyn RasterFile,
    frame: u32,
    level: usize,
    window: Window,
    bands: &[u16],
    mut block: impl FnMut(Part, BlockId) -> Result<&'a Block, Rejection>,
) -> Result<WindowSamples, Rejection> {
    let found = read_samples(file, frame, level, window, bands, |id| block(Part::Pixels, id))?;
    let pixels = |band: u16, block: &mut dyn FnMut(Part, BlockId) -> Result<&'a Block, Rejection>| {
        gather(file.pixels(frame, level), window, &[band], &mut |id| block(Part::Pixels, id))
    };
    let valid = match file.validity(frame, level) {
        Validity::All => None,
        Validity::Mask => {
            let mask = file.mask(frame, level).expect("validity has seen it");
            let stored = gather(mask, window, &[0], &mut |id| block(Part::Mask, id))?;
            Some(validity::of_mask(&stored, mask.stored.stored_bits))
        }
        Validity::Alpha(band) => Some(validity::of_alpha(&pixels(band, &mut block)?)),
        Validity::Nodata(nodata, Some(band)) => {
            Some(validity::of_nodata(&pixels(band, &mut block)?, 1, nodata))
        }
        Validity::Nodata(nodata, None) => Some(validity::of_nodata(&found.samples, bands.len(), nodata)),
    };
    Ok(WindowSamples { valid, ..found })
}

/// Puts the samples of a window together, as [`read_window`] does, and does not ask which of them are valid.
///
/// # Errors
///
/// Those of `block`.
pub fn read_samples<'a>(
    file: &dyn RasterFile,
    frame: u32,
    level: usize,
    window: Window,
    bands: &[u16],
    mut block: impl FnMut(BlockId) -> Result<&'a Block, Rejection>,
) -> Result<WindowSamples, Rejection> {
    let samples = gather(file.pixels(frame, level), window, bands, &mut block)?;
    let size = Size::new(window.width, window.height);
    Ok(WindowSamples { size, num_bands: bands.len() as u16, samples, valid: None })
}

/// Puts all samples of an image together, a block at a time.
///
/// # Errors
///
/// Those of `block`.
pub(in crate::stages::decode) fn read_all(
    grid: &BlockGrid,
    mut block: impl FnMut(BlockId) -> Result<Block, Rejection>,
) -> Result<Samples, Rejection> {
    let bands: Vec<u16> = (0..grid.num_bands).collect();
    gather(grid, Window::whole(grid.size), &bands, &mut block)
}

/// Copies the bands of a window out of the blocks of an image.
fn gather<B: Borrow<Block>>(
    grid: &BlockGrid,
    window: Window,
    bands: &[u16],
    block: &mut dyn FnMut(BlockId) -> Result<B, Rejection>,
) -> Result<Samples, Rejection> {
    let len = window.width as usize * window.height as usize * bands.len();
    let mut samples = Samples::zeroed(grid.stored.kind, len);
    let (columns, rows) = grid.grid_of(window);
    let runs = runs(bands, grid.separate);
    for row in rows {
        for column in columns.clone() {
            for &run in &runs {
                let block = block(grid.block_at(column, row, run.from as u16))?;
                let from = if grid.separate { 0 } else { run.from };
                let run = Run { from, ..run };
                copy(block.borrow(), grid.block_bands().into(), window, &mut samples, bands.len(), run);
            }
        }
    }
    Ok(samples)
}

/// Neighbouring bands of a pixel that are copied together: where they begin in the block and in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    from: usize,
    to: usize,
    length: usize,
}

/// Groups bands that follow each other, if they are stored together.
fn runs(bands: &[u16], separate: bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (to, from) in bands.iter().map(|&band| usize::from(band)).enumerate() {
        match runs.last_mut() {
            Some(last) if !separate && last.from + last.length == from => last.length += 1,
            _ => runs.push(Run { from, to, length: 1 }),
        }
    }
    runs
}

/// Copies what a block has of a window.
fn copy(
    block: &Block,
    block_bands: usize,
    window: Window,
    samples: &mut Samples,
    window_bands: usize,
    run: Run,
) {
    let shared = Shared::of(block.window, window);
    macro_rules! copied {
        ($($kind:ident)+) => {
            match (&block.samples, samples) {
                $((Samples::$kind(from), Samples::$kind(to)) => {
                    shared.copy(from, block_bands, to, window_bands, run);
                })+
                _ => unreachable!("a grid's blocks have its type"),
            }
        };
    }
    copied!(U8 I8 U16 I16 U32 I32 U64 I64 F32 F64);
}

/// The pixels that a block and a window share.
struct Shared {
    width: usize,
    height: usize,
    /// First column and row in the block.
    from: (usize, usize),
    /// First column and row in the window.
    to: (usize, usize),
    block_width: usize,
    window_width: usize,
}

impl Shared {
    fn of(block: Window, window: Window) -> Self {
        let (x, y) = (block.x.max(window.x), block.y.max(window.y));
        let end = |a: u32, a_length: u32, b: u32, b_length: u32| {
            (u64::from(a) + u64::from(a_length)).min(u64::from(b) + u64::from(b_length))
        };
        let right = end(block.x, block.width, window.x, window.width);
        let lower = end(block.y, block.height, window.y, window.height);
        Self {
            width: right.saturating_sub(x.into()) as usize,
            height: lower.saturating_sub(y.into()) as usize,
            from: ((x - block.x) as usize, (y - block.y) as usize),
            to: ((x - window.x) as usize, (y - window.y) as usize),
            block_width: block.width as usize,
            window_width: window.width as usize,
        }
    }

    fn copy<T: Copy>(&self, from: &[T], from_bands: usize, to: &mut [T], to_bands: usize, run: Run) {
        for row in 0..self.height {
            let first = ((self.from.1 + row) * self.block_width + self.from.0) * from_bands;
            let source = &from[first..][..self.width * from_bands];
            let first = ((self.to.1 + row) * self.window_width + self.to.0) * to_bands;
            let target = &mut to[first..][..self.width * to_bands];
            if run.length == from_bands && run.length == to_bands {
                target.copy_from_slice(source);
                continue;
            }
            let pixels = source.chunks_exact(from_bands).zip(target.chunks_exact_mut(to_bands));
            if run.length == 1 {
                pixels.for_each(|(source, target)| target[run.to] = source[run.from]);
            } else {
                pixels.for_each(|(source, target)| {
                    target[run.to..][..run.length].copy_from_slice(&source[run.from..][..run.length]);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_that_follow_each_other_are_copied_together() {
        let lengths = |bands: &[u16], separate| -> Vec<(usize, usize, usize)> {
            runs(bands, separate).iter().map(|run| (run.from, run.to, run.length)).collect()
        };
        assert_eq!(lengths(&[0, 1, 2], false), [(0, 0, 3)]);
        assert_eq!(lengths(&[3, 4, 0, 0], false), [(3, 0, 2), (0, 2, 1), (0, 3, 1)]);
        assert_eq!(lengths(&[0, 1], true), [(0, 0, 1), (1, 1, 1)]);
    }

    #[test]
    fn a_window_takes_the_bands_that_are_wanted() {
        // 3×2 pixels of three bands: 100 × row + 10 × column + band.
        let sample = |at: u16| 100 * (at / 9) + 10 * (at % 9 / 3) + at % 3;
        let whole = Window { x: 0, y: 0, width: 3, height: 2 };
        let block =
            Block { window: whole, samples: Samples::U16((0..18).map(sample).collect()), dicom: None };
        let window = Window { x: 1, y: 0, width: 2, height: 2 };
        let mut samples = Samples::zeroed(block.samples.kind(), 8);
        for run in runs(&[2, 0], false) {
            copy(&block, 3, window, &mut samples, 2, run);
        }
        assert_eq!(samples, Samples::U16(vec![12, 10, 22, 20, 112, 110, 122, 120]));
    }
}
