//! Lays a chip out as the model's input: bands, resize, centre crop, normalisation.
//!
//! In goes a [`Chip`], out comes one image's share of the input tensor, written in place. The size
//! rules are torchvision's (`Resize` of the short side, `CenterCrop` with black where the image is
//! smaller), the pixels are Pillow's: 8-bit chips equal `PIL.Image.resize` bit for bit
//! (`tests/it/pixels.rs` compares them with Pillow itself). Only the rows
//! and columns that the crop keeps are computed. One call is one thread; the caller spreads tiles.

mod axis;
mod bands;
mod fixed;
mod float;
mod frames;
mod normalise;
mod resize_plan;
mod whole;

use std::cell::RefCell;

use crate::stages::compose::DirectLayout;
use crate::vocabulary::chip::{Bands, Chip, Samples};
use crate::vocabulary::contract::{AcceptSixteenBit, Input, Interpolation, Layout, Resize, SampleType};
use crate::vocabulary::error::Error;
use crate::vocabulary::geometry::{Size, Window};
use crate::vocabulary::reason::{Reason, Rejection};
use crate::vocabulary::sample::SampleKind;
use axis::Axis;
use bands::{BandRules, Selection};
use normalise::Normaliser;
use resize_plan::ResizePlan;

pub use whole::WholeImage;

/// The unit of 8-bit display values.
const DISPLAY_UNIT: &str = "srgb8";

/// One image's share of the input tensor, in the contract's layout, without the batch axis.
#[derive(Debug)]
pub enum InputSlotMut<'a> {
    /// `height × width × bands` unsigned 8-bit elements.
    U8(&'a mut [u8]),
    /// `height × width × bands` 32-bit floats.
    F32(&'a mut [f32]),
}

impl InputSlotMut<'_> {
    fn len(&self) -> usize {
        match self {
            Self::U8(slot) => slot.len(),
            Self::F32(slot) => slot.len(),
        }
    }
}

/// How chips become the input of one model.
#[derive(Debug)]
pub struct Preprocess {
    size: Size,
    layout: Layout,
    sample_type: SampleType,
    display: bool,
    resize: Option<Resize>,
    sixteen_bit: AcceptSixteenBit,
    bands: BandRules,
    normaliser: Normaliser,
}

impl Preprocess {
    /// Prepares the preprocessing that a contract describes.
    ///
    /// # Errors
    ///
    /// [`crate::vocabulary::error::Kind::Config`] if the contract contradicts itself.
    pub fn new(input: &Input) -> Result<Self, Error> {
        check(input)?;
        Ok(Self {
            size: Size::new(input.width, input.height),
            layout: input.layout,
            sample_type: input.sample_type,
            display: input.unit == DISPLAY_UNIT,
            resize: input.resize,
            sixteen_bit: input.accept.sixteen_bit,
            bands: BandRules::new(input),
            normaliser: Normaliser::new(input.normalise.as_ref(), input.bands.len()),
        })
    }

    /// Returns the number of elements of one image's slot.
    #[must_use]
    pub fn slot_len(&self) -> usize {
        self.size.width as usize * self.size.height as usize * self.bands.count()
    }

    /// Returns what the bands of the input mean.
    #[must_use]
    pub fn bands(&self) -> Bands {
        self.bands.meaning()
    }

    /// Returns the pixels of a chip of this size that [`Self::apply`] looks at.
    #[must_use]
    pub fn needed(&self, size: Size) -> Window {
        let Ok(fit) = self.fit(size) else { return Window::whole(size) };
        with_scratch(|scratch| {
            let (across, down) = scratch.axes.of(size, &fit, self.interpolation());
            let samples = |(first, end): (usize, usize)| (first as u32, (end - first) as u32);
            let ((x, width), (y, height)) = (samples(across.needed()), samples(down.needed()));
            Window { x, y, width, height }
        })
    }

    /// Returns how values become elements of the slot if a chip of floats of this size goes in as it is: neither
    /// resized nor cropped, its bands those of the input.
    #[must_use]
    pub fn direct(&self, size: Size) -> Option<Direct<'_>> {
        let selection = self.bands.select(self.bands()).ok()?;
        let fit = self.fit(size).ok()?;
        let is_whole = fit.resized == size && fit.covers(self.size) && size == self.size;
        let is_plain = selection.is_identity(self.bands.count()) && selection.replicate() == 1;
        let takes_floats = self.sample_type == SampleType::Float32 && !self.display;
        (is_whole && is_plain && takes_floats).then_some(Direct { preprocess: self })
    }

    /// Tells whether the contract takes a chip before there is one: what [`Self::apply`] would reject.
    ///
    /// # Errors
    ///
    /// [`Reason::BandsMismatch`], [`Reason::SizeMismatch`] and [`Reason::BitDepthMismatch`].
    pub fn check(&self, bands: Bands, kind: SampleKind, size: Size) -> Result<(), Rejection> {
        self.bands.select(bands)?;
        self.fit(size)?;
        self.check_kind(kind)
    }

    fn check_kind(&self, kind: SampleKind) -> Result<(), Rejection> {
        let found = match kind {
            SampleKind::U8 => return Ok(()),
            SampleKind::U16 if self.scales_sixteen_bits() => return Ok(()),
            _ if !self.display && self.sample_type == SampleType::Float32 => return Ok(()),
            SampleKind::U16 => "16-bit",
            SampleKind::F32 => "float",
            other => other.name(),
        };
        Err(bit_depth(&format!("{found} samples, but the model takes 8-bit samples")))
    }

    /// Tells whether 16 bits become 8.
    fn scales_sixteen_bits(&self) -> bool {
        self.display && self.sixteen_bit == AcceptSixteenBit::Scale
    }

    /// Writes one chip into its slot of the input tensor.
    ///
    /// - `chip`: `[height, width, bands]`, 8 or 16 bits or float
    /// - `slot`: [`Self::slot_len`] elements of the contract's type; every one is written
    ///
    /// 8-bit samples are resampled in 8 bits as Pillow does, others in floating point. Outside of an
    /// image that is smaller than the crop, the stored sample is 0, before normalisation.
    ///
    /// # Errors
    ///
    /// [`Reason::BandsMismatch`], [`Reason::BitDepthMismatch`] and [`Reason::SizeMismatch`] where the
    /// contract does not take such a chip; the slot's content is then unspecified.
    ///
    /// # Panics
    ///
    /// If the slot has another type or length than the contract says.
    pub fn apply(&self, chip: &Chip, slot: InputSlotMut<'_>) -> Result<(), Rejection> {
        assert_eq!(slot.len(), self.slot_len(), "the slot has the contract's size");
        let selection = self.bands.select(chip.bands)?;
        let fit = self.fit(chip.size)?;
        self.check_kind(chip.samples.kind())?;
        let mut sink = Sink { layout: self.layout, size: self.size, replicate: selection.replicate(), slot };
        match &chip.samples {
            Samples::U8(samples) => self.eight_bit(chip, samples, &selection, &fit, &mut sink),
            Samples::U16(samples) if self.scales_sixteen_bits() => {
                let scaled: Vec<u8> = samples.iter().map(|&sample| eight_bit_sample(sample)).collect();
                self.eight_bit(chip, &scaled, &selection, &fit, &mut sink);
            }
            // 64-bit integers lose what a model's float32 would not hold either.
            Samples::U64(samples) => {
                let samples: Vec<f64> = samples.iter().map(|&sample| sample as f64).collect();
                self.float(chip, &samples, &selection, &fit, &mut sink);
            }
            Samples::I64(samples) => {
                let samples: Vec<f64> = samples.iter().map(|&sample| sample as f64).collect();
                self.float(chip, &samples, &selection, &fit, &mut sink);
            }
            Samples::I8(samples) => self.float(chip, samples, &selection, &fit, &mut sink),
            Samples::U16(samples) => self.float(chip, samples, &selection, &fit, &mut sink),
            Samples::I16(samples) => self.float(chip, samples, &selection, &fit, &mut sink),
            Samples::U32(samples) => self.float(chip, samples, &selection, &fit, &mut sink),
            Samples::I32(samples) => self.float(chip, samples, &selection, &fit, &mut sink),
            Samples::F32(samples) => self.float(chip, samples, &selection, &fit, &mut sink),
            Samples::F64(samples) => self.float(chip, samples, &selection, &fit, &mut sink),
        }
        Ok(())
    }

    /// Decides how a chip of this size becomes one of the input's size.
    fn fit(&self, size: Size) -> Result<ResizePlan, Rejection> {
        match self.resize {
            Some(resize) if !(resize.keep_exact && size == self.size) => {
                Ok(ResizePlan::resized(size, resize.short_side, self.size))
            }
            _ if size == self.size => Ok(ResizePlan::unchanged(size)),
            _ => Err(Rejection::new(
                Reason::SizeMismatch,
                format!(
                    "the tile is {size}, but the model takes {} and the contract allows no resize",
                    self.size
                ),
            )),
        }
    }

    fn interpolation(&self) -> Interpolation {
        self.resize.map_or(Interpolation::Bilinear, |resize| resize.interpolation)
    }

    fn eight_bit(
        &self,
        chip: &Chip,
        samples: &[u8],
        selection: &Selection,
        fit: &ResizePlan,
        sink: &mut Sink<'_>,
    ) {
        let num_bands = chip.bands.count();
        with_scratch(|scratch| {
            let (across, down) = scratch.axes.of(chip.size, fit, self.interpolation());
            let image = fixed::Image { samples, size: chip.size, num_bands };
            sink.blank(fit, &self.normaliser);
            let mut target = EightBit { sink, fit, normaliser: &self.normaliser };
            fixed::resample(&image, selection, across, down, &mut scratch.bytes, &mut target);
        });
    }

    fn float<T: Copy + Into<f64>>(
        &self,
        chip: &Chip,
        samples: &[T],
        selection: &Selection,
        fit: &ResizePlan,
        sink: &mut Sink<'_>,
    ) {
        let num_bands = chip.bands.count();
        with_scratch(|scratch| {
            let (across, down) = scratch.axes.of(chip.size, fit, self.interpolation());
            let image = float::Image { samples, size: chip.size, num_bands };
            sink.blank(fit, &self.normaliser);
            float::resample(&image, selection, across, down, &mut scratch.floats, |y, row| {
                sink.row_f64(fit, y, row, &self.normaliser);
            });
        });
    }
}

/// How single values become elements of a slot of floats, see [`Preprocess::direct`].
#[derive(Clone, Copy, Debug)]
pub struct Direct<'a> {
    preprocess: &'a Preprocess,
}

impl DirectLayout for Direct<'_> {
    fn place(&self, band: usize) -> (usize, usize) {
        let Preprocess { layout, size, bands, .. } = self.preprocess;
        match layout {
            Layout::Nhwc => (band, bands.count()),
            Layout::Nchw => (band * size.num_pixels() as usize, 1),
        }
    }

    #[inline]
    fn element(&self, band: usize, value: f32) -> f32 {
        self.preprocess.normaliser.of_f64(band, f64::from(value))
    }

    fn is_plain(&self, band: usize) -> bool {
        self.preprocess.normaliser.is_plain(band)
    }
}

fn check(input: &Input) -> Result<(), Error> {
    let num_bands = input.bands.len();
    if input.width == 0 || input.height == 0 || num_bands == 0 {
        return Err(Error::config("the contract's input has no pixels or no bands"));
    }
    if input.resize.is_some_and(|resize| resize.short_side == 0) {
        return Err(Error::config("the contract's input is resized to a short side of 0"));
    }
    let Some(normalise) = &input.normalise else { return Ok(()) };
    if input.sample_type == SampleType::Uint8 {
        return Err(Error::config("the contract normalises an input of type uint8")
            .hint("leave out [input.normalise]: the graph normalises by itself"));
    }
    normalise.validate(num_bands)
}

fn bit_depth(detail: &str) -> Rejection {
    Rejection::new(Reason::BitDepthMismatch, detail)
}

/// Scales 0..=65535 to 0..=255, rounded to nearest: 65535 = 255 × 257.
fn eight_bit_sample(sample: u16) -> u8 {
    ((u32::from(sample) + 128) / 257) as u8
}

/// Buffers that a thread uses again for the next tile.
#[derive(Default)]
struct Scratch {
    axes: axis::Cache,
    bytes: fixed::Buffers,
    floats: float::Buffers,
}

fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    SCRATCH.with_borrow_mut(work)
}

/// Where finished rows of 8-bit samples go.
struct EightBit<'a, 'b> {
    sink: &'a mut Sink<'b>,
    fit: &'a ResizePlan,
    normaliser: &'a Normaliser,
}

impl fixed::Target for EightBit<'_, '_> {
    fn row_mut(&mut self, y: usize, len: usize) -> Option<&mut [u8]> {
        let place = self.sink.place(self.fit, y, len);
        match &mut self.sink.slot {
            InputSlotMut::U8(slot) if place.is_packed() => Some(&mut slot[place.first..place.first + len]),
            _ => None,
        }
    }

    fn put(&mut self, y: usize, row: &[u8]) {
        self.sink.row_u8(self.fit, y, row, self.normaliser);
    }
}

/// Where finished rows go.
struct Sink<'a> {
    layout: Layout,
    size: Size,
    /// How often each band is written.
    replicate: usize,
    slot: InputSlotMut<'a>,
}

impl Sink<'_> {
    /// Writes the sample 0 where the image does not reach.
    fn blank(&mut self, fit: &ResizePlan, normaliser: &Normaliser) {
        if fit.covers(self.size) {
            return;
        }
        match &mut self.slot {
            InputSlotMut::U8(slot) => slot.fill(0),
            InputSlotMut::F32(slot) => {
                let num_bands = slot.len() / (self.size.width as usize * self.size.height as usize);
                let plane = slot.len() / num_bands;
                for (at, value) in slot.iter_mut().enumerate() {
                    let band = if self.layout == Layout::Nchw { at / plane } else { at % num_bands };
                    *value = normaliser.of_u8(band, 0);
                }
            }
        }
    }

    /// Writes row `y` of the crop, `[width, bands]` of 8-bit samples.
    fn row_u8(&mut self, fit: &ResizePlan, y: usize, row: &[u8], normaliser: &Normaliser) {
        let place = self.place(fit, y, row.len());
        match &mut self.slot {
            InputSlotMut::U8(slot) if place.is_packed() => {
                slot[place.first..place.first + row.len()].copy_from_slice(row);
            }
            InputSlotMut::U8(slot) if place.is_grey_as_rgb() => {
                fixed::triple(row, &mut slot[place.first..place.first + 3 * row.len()]);
            }
            InputSlotMut::U8(slot) => place.write(slot, row, |_, sample| sample),
            InputSlotMut::F32(slot) => {
                place.write(slot, row, |band, sample| normaliser.of_u8(band, sample));
            }
        }
    }

    /// Writes row `y` of the crop, `[width, bands]` of float samples.
    fn row_f64(&mut self, fit: &ResizePlan, y: usize, row: &[f64], normaliser: &Normaliser) {
        let place = self.place(fit, y, row.len());
        match &mut self.slot {
            InputSlotMut::U8(_) => unreachable!("float samples for a uint8 model are rejected before"),
            InputSlotMut::F32(slot) => place.write(slot, row, |band, sample| normaliser.of_f64(band, sample)),
        }
    }

    fn place(&self, fit: &ResizePlan, y: usize, row_len: usize) -> Place {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let pixel = (fit.down.pad + y) * width + fit.across.pad;
        let stored_bands = row_len / fit.across.count;
        let num_bands = stored_bands * self.replicate;
        match self.layout {
            Layout::Nhwc => Place {
                first: pixel * num_bands,
                pixel_step: num_bands,
                band_step: 1,
                stored_bands,
                num_bands,
            },
            Layout::Nchw => {
                Place { first: pixel, pixel_step: 1, band_step: width * height, stored_bands, num_bands }
            }
        }
    }
}

/// Where one row lies in the slot.
struct Place {
    first: usize,
    pixel_step: usize,
    band_step: usize,
    stored_bands: usize,
    num_bands: usize,
}

impl Place {
    /// Tells whether the row is stored as it comes.
    fn is_packed(&self) -> bool {
        self.stored_bands == self.num_bands && self.pixel_step == self.num_bands
    }

    /// Tells whether each sample is stored three times.
    fn is_grey_as_rgb(&self) -> bool {
        (self.stored_bands, self.num_bands, self.pixel_step, self.band_step) == (1, 3, 3, 1)
    }

    #[inline]
    fn write<S: Copy, V>(&self, slot: &mut [V], row: &[S], value: impl Fn(usize, S) -> V) {
        if self.stored_bands == 1 && self.pixel_step == self.num_bands && self.band_step == 1 {
            let pixels = slot[self.first..].chunks_exact_mut(self.num_bands);
            for (pixel, &sample) in pixels.zip(row) {
                pixel.iter_mut().enumerate().for_each(|(band, place)| *place = value(band, sample));
            }
            return;
        }
        for band in 0..self.num_bands {
            let samples = row.iter().skip(band % self.stored_bands).step_by(self.stored_bands);
            let places = slot[self.first + band * self.band_step..].iter_mut().step_by(self.pixel_step);
            for (place, &sample) in places.zip(samples) {
                *place = value(band, sample);
            }
        }
    }
}

/// The horizontal and vertical weights of one chip.
type Axes<'a> = (&'a Axis, &'a Axis);

#[cfg(test)]
mod tests;
