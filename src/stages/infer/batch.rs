//! The input of one session run.

use std::num::NonZeroUsize;

use ort::memory::Allocator;
use ort::value::Tensor;

use crate::runtime::engines::input_shape;
use crate::vocabulary::contract::{Input, SampleType};

/// A reusable input tensor, in the layout and element type that the model contract asks for.
///
/// The buffer is allocated once and handed to ONNX Runtime by reference; for an accelerator it lies in pinned
/// memory, from which the device copies by itself. Slots beyond [`Self::len`]
/// keep whatever they held: rows of a batch do not influence each other.
#[derive(Debug)]
pub struct InputBatch {
    buffer: Buffer,
    chip_shape: [usize; 3],
    capacity: usize,
    len: usize,
}

/// Where the input of a batch lies: in memory of ours, or bound to a session.
#[derive(Debug)]
pub(super) enum Buffer {
    U8(Vec<u8>),
    F32(Vec<f32>),
    BoundU8(Tensor<u8>),
    BoundF32(Tensor<f32>),
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

/// The whole buffer of an [`InputBatch`], for reading; slots as in [`SamplesMut`].
#[derive(Debug)]
pub enum Samples<'a> {
    /// Contract `uint8`.
    U8(&'a [u8]),
    /// Contract `float32`.
    F32(&'a [f32]),
}

impl InputBatch {
    /// Allocates room for `capacity` chips, and starts empty.
    #[must_use]
    pub fn new(input: &Input, capacity: NonZeroUsize) -> Self {
        let num_samples = input_shape(input, capacity.get()).iter().product();
        let buffer = match input.sample_type {
            SampleType::Uint8 => Buffer::U8(vec![0; num_samples]),
            SampleType::Float32 => Buffer::F32(vec![0.0; num_samples]),
        };
        Self::over(buffer, input, capacity)
    }

    /// Allocates the same in the memory of an allocator; samples are zero.
    pub(super) fn bound(input: &Input, capacity: NonZeroUsize, memory: &Allocator) -> ort::Result<Self> {
        let shape = input_shape(input, capacity.get());
        let buffer = match input.sample_type {
            SampleType::Uint8 => Buffer::BoundU8(Tensor::new(memory, shape)?),
            SampleType::Float32 => Buffer::BoundF32(Tensor::new(memory, shape)?),
        };
        let mut batch = Self::over(buffer, input, capacity);
        match batch.samples_mut() {
            SamplesMut::U8(samples) => samples.fill(0),
            SamplesMut::F32(samples) => samples.fill(0.0),
        }
        Ok(batch)
    }

    fn over(buffer: Buffer, input: &Input, capacity: NonZeroUsize) -> Self {
        Self { buffer, chip_shape: chip_shape(input), capacity: capacity.get(), len: 0 }
    }

    /// Returns a copy in ordinary memory, which outlives whatever this batch was allocated for.
    #[must_use]
    pub fn in_ordinary_memory(&self) -> Self {
        let buffer = match self.samples() {
            Samples::U8(samples) => Buffer::U8(samples.to_vec()),
            Samples::F32(samples) => Buffer::F32(samples.to_vec()),
        };
        Self { buffer, chip_shape: self.chip_shape, capacity: self.capacity, len: self.len }
    }

    /// Copies chips of another batch into the first slots, and counts these.
    ///
    /// # Panics
    ///
    /// If they do not fit, or the other batch was laid out for another model.
    pub fn copy_from(&mut self, other: &Self, chips: std::ops::Range<usize>) {
        let (len, chip_len) = (chips.len(), self.chip_len());
        let from = chips.start * chip_len..chips.end * chip_len;
        match (self.samples_mut(), other.samples()) {
            (SamplesMut::U8(to), Samples::U8(samples)) => {
                to[..len * chip_len].copy_from_slice(&samples[from]);
            }
            (SamplesMut::F32(to), Samples::F32(samples)) => {
                to[..len * chip_len].copy_from_slice(&samples[from]);
            }
            _ => panic!("the other batch is laid out for another model"),
        }
        self.set_len(len);
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
        let num_samples = self.capacity * self.chip_len();
        match &self.buffer {
            Buffer::U8(_) | Buffer::BoundU8(_) => num_samples,
            Buffer::F32(_) | Buffer::BoundF32(_) => 4 * num_samples,
        }
    }

    /// Returns the buffer for reading, all slots of it.
    #[must_use]
    pub fn samples(&self) -> Samples<'_> {
        match &self.buffer {
            Buffer::U8(samples) => Samples::U8(samples),
            Buffer::F32(samples) => Samples::F32(samples),
            Buffer::BoundU8(tensor) => Samples::U8(tensor.extract_tensor().1),
            Buffer::BoundF32(tensor) => Samples::F32(tensor.extract_tensor().1),
        }
    }

    /// Returns the buffer for writing, all slots of it.
    pub fn samples_mut(&mut self) -> SamplesMut<'_> {
        match &mut self.buffer {
            Buffer::U8(samples) => SamplesMut::U8(samples),
            Buffer::F32(samples) => SamplesMut::F32(samples),
            Buffer::BoundU8(tensor) => SamplesMut::U8(tensor.extract_tensor_mut().1),
            Buffer::BoundF32(tensor) => SamplesMut::F32(tensor.extract_tensor_mut().1),
        }
    }

    /// Returns whether this batch is laid out for such an input.
    pub(super) fn fits(&self, input: &Input) -> bool {
        let same_type = match &self.buffer {
            Buffer::U8(_) | Buffer::BoundU8(_) => input.sample_type == SampleType::Uint8,
            Buffer::F32(_) | Buffer::BoundF32(_) => input.sample_type == SampleType::Float32,
        };
        same_type && self.chip_shape == chip_shape(input)
    }

    /// Returns where the input lies.
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
    let [_, first, second, third] = input_shape(input, 1);
    [first, second, third]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::probe;

    #[test]
    fn chips_keep_their_order_when_a_batch_is_split() {
        let input = probe::contract().input;
        let size = |number| NonZeroUsize::new(number).unwrap();
        let mut whole = InputBatch::new(&input, size(4));
        let chip_len = whole.chip_len();
        let SamplesMut::F32(samples) = whole.samples_mut() else { panic!("the contract says float32") };
        samples.iter_mut().enumerate().for_each(|(at, sample)| *sample = (at / chip_len) as f32);
        whole.set_len(3);
        let mut half = InputBatch::new(&input, size(2));
        half.copy_from(&whole.in_ordinary_memory(), 1..3);
        assert_eq!((half.len(), half.capacity(), half.num_bytes()), (2, 2, 2 * chip_len * 4));
        let SamplesMut::F32(samples) = half.samples_mut() else { panic!("the contract says float32") };
        assert!(samples[..chip_len].iter().all(|sample| sample.to_bits() == 1.0_f32.to_bits()));
        assert!(samples[chip_len..].iter().all(|sample| sample.to_bits() == 2.0_f32.to_bits()));
    }
}
