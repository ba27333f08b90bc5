//! The samples of one chip as the model wants them, in buffers that go round.

use std::sync::Mutex;

use crate::stages::preprocess::InputSlotMut;
use crate::vocabulary::contract::SampleType;

/// The samples of one chip in the contract's layout and type.
pub enum Tensor {
    /// Contract `uint8`.
    U8(Vec<u8>),
    /// Contract `float32`.
    F32(Vec<f32>),
}

impl Tensor {
    /// Returns where preprocessing writes.
    pub(super) fn slot(&mut self) -> InputSlotMut<'_> {
        match self {
            Self::U8(samples) => InputSlotMut::U8(samples),
            Self::F32(samples) => InputSlotMut::F32(samples),
        }
    }
}

/// Buffers that were used before: fresh ones of this size come from the kernel page by page, each
/// zeroed first.
pub struct SpareTensors {
    sample_type: SampleType,
    len: usize,
    spare: Mutex<Vec<Tensor>>,
}

impl SpareTensors {
    /// Creates an empty store of buffers with `len` samples each.
    #[must_use]
    pub fn new(sample_type: SampleType, len: usize) -> Self {
        Self { sample_type, len, spare: Mutex::default() }
    }

    /// Takes a buffer; its samples are those of some earlier chip, or zero.
    #[must_use]
    pub fn take(&self) -> Tensor {
        let spare = self.spare.lock().expect("no holder of this lock panics").pop();
        spare.unwrap_or_else(|| match self.sample_type {
            SampleType::Uint8 => Tensor::U8(vec![0; self.len]),
            SampleType::Float32 => Tensor::F32(vec![0.0; self.len]),
        })
    }

    /// Gives a buffer back. There are never more than the queue of chips admits.
    pub fn give_back(&self, tensor: Tensor) {
        self.spare.lock().expect("no holder of this lock panics").push(tensor);
    }
}
