//! The input of one session run.

use std::num::NonZeroUsize;

use crate::model::contract::{Input, Layout, SampleType};

/// A reusable input tensor, in the layout and element type that the model contract asks for.
///
/// The buffer is allocated once and handed to ONNX Runtime by reference. Slots beyond [`Self::len`]
/// keep whatever they held: rows of a batch do not influence each other.
#[derive(Debug)]
pub struct InputBatch {
    buffer: Buffer,
    chip_shape: [usize; 3],
    capacity: usize,
    len: usize,
}

#[derive(Debug)]
pub(super) enum Buffer {
    U8(Vec<u8>),
    F32(Vec<f32>),
}

/// The whole buffer of an [`InputBatch`], for writing; slot `i` is the `i`-th part of
/// [`InputBatch::chip_len`] elements.
#[derive(Debug)]
pub enum SamplesMut<'a> {
    /// Contract `uint8`.
    U8(&'a mut [u8]),
    /// Contract `float32`.
    F32(&'a mut [f32]),
}

impl InputBatch {
    /// Allocates room for `capacity` chips, and starts empty.
    #[must_use]
    pub fn new(input: &Input, capacity: NonZeroUsize) -> Self {
        let chip_shape = chip_shape(input);
        let num_samples = capacity.get() * chip_shape.iter().product::<usize>();
        let buffer = match input.sample_type {
            SampleType::Uint8 => Buffer::U8(vec![0; num_samples]),
            SampleType::Float32 => Buffer::F32(vec![0.0; num_samples]),
        };
        Self { buffer, chip_shape, capacity: capacity.get(), len: 0 }
    }

    /// Returns the number of chips that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the number of chips that count.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no chip counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets how many slots, from the first on, hold chips.
    ///
    /// # Panics
    ///
    /// If `len` is above the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "{len} chips in a batch of {}", self.capacity);
        self.len = len;
    }

    /// Returns the number of elements of one chip.
    #[must_use]
    pub fn chip_len(&self) -> usize {
        self.chip_shape.iter().product()
    }

    /// Returns the size of the buffer in memory.
    #[must_use]
    pub fn num_bytes(&self) -> usize {
        match &self.buffer {
            Buffer::U8(samples) => samples.len(),
            Buffer::F32(samples) => 4 * samples.len(),
        }
    }

    /// Returns the buffer for writing, all slots of it.
    pub fn samples_mut(&mut self) -> SamplesMut<'_> {
        match &mut self.buffer {
            Buffer::U8(samples) => SamplesMut::U8(samples),
            Buffer::F32(samples) => SamplesMut::F32(samples),
        }
    }

    /// Returns whether this batch is laid out for such an input.
    pub(super) fn fits(&self, input: &Input) -> bool {
        let same_type = match &self.buffer {
            Buffer::U8(_) => input.sample_type == SampleType::Uint8,
            Buffer::F32(_) => input.sample_type == SampleType::Float32,
        };
        same_type && self.chip_shape == chip_shape(input)
    }

    pub(super) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Returns the shape of the first `num_chips` slots.
    pub(super) fn shape(&self, num_chips: usize) -> [usize; 4] {
        let [first, second, third] = self.chip_shape;
        [num_chips, first, second, third]
    }
}

/// Returns the shape of one chip in the input tensor, in elements.
fn chip_shape(input: &Input) -> [usize; 3] {
    let (width, height) = (input.width as usize, input.height as usize);
    match input.layout {
        Layout::Nhwc => [height, width, input.bands.len()],
        Layout::Nchw => [input.bands.len(), height, width],
    }
}
