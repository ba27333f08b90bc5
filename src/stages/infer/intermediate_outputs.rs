//! A tap: a session that yields tensors from within a model.

use std::num::NonZeroUsize;

use ort::session::{Session as OrtSession, SessionInputValue, SessionOutputs};
use ort::value::TensorRef;

use super::batch::{InputBatch, Samples};
use crate::models::onnx::exposing_outputs;
use crate::runtime::Runtime;
use crate::runtime::failure::message_of;
use crate::runtime::new_builder;
use crate::vocabulary::error::{Error, Result};

/// A model on the CPU of which some tensors are looked at.
#[derive(Debug)]
pub struct IntermediateOutputs {
    session: OrtSession,
    tensors: Vec<String>,
}

impl IntermediateOutputs {
    /// Loads a model.
    ///
    /// - `model`: the bytes of an ONNX file; its input is the one that its contract names
    /// - `tensors`: float tensors that it computes, each once
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if ONNX Runtime cannot load it.
    pub fn open(
        runtime: &Runtime,
        model: bytes::Bytes,
        tensors: Vec<String>,
        threads: NonZeroUsize,
    ) -> Result<Self> {
        let names: Vec<&str> = tensors.iter().map(String::as_str).collect();
        let model = exposing_outputs(model, &names);
        let cannot = |message: String| Error::config("ONNX Runtime cannot load the model").because(message);
        let builder = new_builder(runtime).map_err(|error| cannot(message_of(&error)))?;
        let session = builder
            .with_intra_threads(threads.get())
            .map_err(|error| cannot(message_of(&error)))?
            .commit_from_memory(&model)
            .map_err(|error| cannot(message_of(&error)))?;
        Ok(Self { session, tensors })
    }

    /// Runs the model on the chips of a batch and hands out the tensors, in the order in which they were named:
    /// row-major, the first axis being that of the chips.
    ///
    /// # Errors
    ///
    /// [`Kind::Unavailable`](crate::vocabulary::error::Kind::Unavailable) if memory runs out,
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) for whatever else goes wrong.
    pub fn run<T>(
        &mut self,
        batch: &InputBatch,
        num_chips: usize,
        look: impl FnOnce(&[&[f32]]) -> T,
    ) -> Result<T> {
        let len = batch.len();
        let Self { session, tensors: names } = self;
        let yielded = infer(session, batch, num_chips).map_err(|error| failed(&error))?;
        let mut tensors = Vec::with_capacity(names.len());
        for name in names {
            let values = yielded[name.as_str()].try_extract_tensor::<f32>();
            let (_, values) = values.map_err(|error| failed(&error))?;
            tensors.push(&values[..values.len() / num_chips * len]);
        }
        Ok(look(&tensors))
    }
}

fn infer<'s>(
    session: &'s mut OrtSession,
    batch: &InputBatch,
    num_chips: usize,
) -> ort::Result<SessionOutputs<'s>> {
    let (shape, num_samples) = (batch.shape(num_chips), num_chips * batch.chip_len());
    let tensor: SessionInputValue<'_> = match batch.samples() {
        Samples::U8(samples) => TensorRef::from_array_view((shape, &samples[..num_samples]))?.into(),
        Samples::F32(samples) => TensorRef::from_array_view((shape, &samples[..num_samples]))?.into(),
    };
    session.run([tensor])
}

fn failed(error: &ort::Error) -> Error {
    let cause = message_of(error);
    let message = "the model failed while its activations were measured";
    if cause.contains("allocate") || cause.contains("bad_alloc") {
        return Error::unavailable(message).because(cause).hint("free memory, then try again");
    }
    Error::config(message).because(cause).hint("`tilefleet model inspect` shows the model's input")
}
