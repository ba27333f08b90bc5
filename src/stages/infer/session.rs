//! A session: one model on one device, used by one thread.
//!
//! One session per thread: `run` takes `&mut self` because parts of ONNX Runtime are not thread-safe. A
//! shared session would only queue its callers behind a lock.
//!
//! An accelerator copies its batches from pinned memory, and works on its session's own stream: with two
//! sessions per device, one copies and scores while the other computes.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, Session as OrtSession, SessionInputValue, SessionOutputs};
use ort::value::{Tensor, TensorRef, TensorValueType};

use super::batch::{Buffer, InputBatch};
use super::contract_check;
use super::outputs::{Floats, Outputs};
use super::runner::BatchRunner;
use crate::models::onnx::renaming_graph;
use crate::runtime::Runtime;
use crate::runtime::engines::EngineCache;
use crate::runtime::failure::{Failure, judge, load_error};
use crate::runtime::new_builder;
use crate::runtime::probe;
use crate::runtime::registration::{Registration, registrations, require};
use crate::vocabulary::contract::{Contract, Output};
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::Provider;
use crate::vocabulary::provider::ProviderOptions;

/// How a session runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// The execution provider; one that is not there is an error, never replaced.
    pub provider: Provider,
    /// Number of the accelerator; the CPU is always 0.
    pub device: u32,
    /// Precision of the network's arithmetic, by its name in `run.precision`.
    pub precision: &'static str,
    /// Threads within an operator, the calling one included.
    pub threads: NonZeroUsize,
    /// Whether idle threads spin instead of sleeping. Spinning threads starve the decoders that share
    /// their cores.
    pub spinning: bool,
    /// Chips of every run, its tail padded: accelerators plan and tune for each shape anew. `None`: as many
    /// as there are, since a processor would compute the padding for nothing.
    pub fixed_batch: Option<NonZeroUsize>,
    /// What the pipeline says about execution providers.
    pub options: Arc<ProviderOptions>,
    /// Where `TensorRT` finds and leaves its engines.
    pub engines: Option<EngineCache>,
}

impl SessionOptions {
    /// Returns the defaults for a provider.
    #[must_use]
    pub fn new(provider: Provider, threads: NonZeroUsize) -> Self {
        Self {
            provider,
            device: 0,
            precision: "fp32",
            threads,
            spinning: false,
            fixed_batch: None,
            options: Arc::default(),
            engines: None,
        }
    }
}

/// A model, loaded and checked against its contract.
#[derive(Debug)]
pub struct Session {
    /// `None` while it is loaded again, and after that failed.
    loaded: Option<Loaded>,
    static_batch: Option<usize>,
    /// Batch sizes that have run: what fails later at such a size is not the model's fault.
    proven: BTreeSet<usize>,
    /// What it takes to load the model again.
    runtime: &'static Runtime,
    bytes: Bytes,
    contract: Contract,
    options: SessionOptions,
}

/// A model in a device's memory.
#[derive(Debug)]
struct Loaded {
    // Before the session: fields are dropped in this order.
    binding: Option<IoBinding>,
    model: OrtSession,
}

impl Session {
    /// Loads a model. A provider other than the CPU is proven by a probe first.
    ///
    /// - `model`: the bytes of an ONNX file without external data
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if the provider is not there or does not work, if ONNX
    /// Runtime cannot load the model, or if the model is not what its contract says;
    /// [`Kind::Unavailable`](crate::vocabulary::error::Kind::Unavailable) if memory runs out.
    pub fn open(
        runtime: &'static Runtime,
        model: &Bytes,
        contract: &Contract,
        options: &SessionOptions,
    ) -> Result<Self> {
        let SessionOptions { provider, device, precision, .. } = *options;
        if provider.is_accelerator() {
            probe::probe(runtime, provider, device, precision, &options.options)?;
        } else {
            require(provider, runtime)?;
        }
        let loaded = Loaded::open(runtime, model, options).map_err(|error| load_error(&error))?;
        let static_batch = contract_check::check(&loaded.model, contract)?;
        let (bytes, contract, options) = (model.clone(), contract.clone(), options.clone());
        Ok(Self {
            loaded: Some(loaded),
            static_batch,
            proven: BTreeSet::new(),
            runtime,
            bytes,
            contract,
            options,
        })
    }

    /// Runs the model on the chips of a batch.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if the model cannot run at this batch size at all;
    /// [`Kind::Unavailable`](crate::vocabulary::error::Kind::Unavailable) if memory runs out or the device is lost, and
    /// for any failure at a batch size that has run before; [`Kind::Bug`](crate::vocabulary::error::Kind::Bug) if the
    /// batch is empty or was laid out for another model.
    pub fn run(&mut self, batch: &InputBatch) -> Result<Outputs> {
        Ok(BatchRunner::run(self, batch)?)
    }

    fn num_chips_to_run(&self, batch: &InputBatch) -> Result<usize> {
        if batch.is_empty() {
            return Err(Error::bug("a session was given an empty batch"));
        }
        if !batch.fits(&self.contract.input) {
            return Err(Error::bug("a session was given a batch that was laid out for another model"));
        }
        match self.static_batch.or(self.options.fixed_batch.map(NonZeroUsize::get)) {
            Some(size) if size != batch.capacity() => Err(Error::bug(format!(
                "a session was given a batch for {} chips, and it takes {size}",
                batch.capacity()
            ))),
            Some(size) => Ok(size),
            None => Ok(batch.len()),
        }
    }
}

impl BatchRunner for Session {
    fn static_batch(&self) -> Option<usize> {
        self.static_batch
    }

    fn new_batch(&self, capacity: NonZeroUsize) -> Result<InputBatch> {
        let input = &self.contract.input;
        let Some(memory) = pinned(self.options.provider, self.options.device) else {
            return Ok(InputBatch::new(input, capacity));
        };
        let loaded = self.loaded.as_ref().ok_or_else(unloaded)?;
        let batch = memory
            .and_then(|memory| Allocator::new(&loaded.model, memory))
            .and_then(|memory| InputBatch::bound(input, capacity, &memory));
        batch.map_err(|error| Error::from(judge(&error, capacity.get(), true)))
    }

    fn run(&mut self, batch: &InputBatch) -> Result<Outputs, Failure> {
        let num_chips = self.num_chips_to_run(batch).map_err(Failure::Other)?;
        let loaded = self.loaded.as_mut().ok_or_else(|| Failure::Other(unloaded()))?;
        let values = loaded.infer(batch, num_chips, &self.contract);
        let values = values.map_err(|error| judge(&error, num_chips, self.proven.contains(&num_chips)))?;
        let outputs = Outputs::of(values, &self.contract.output, num_chips, batch.len());
        let outputs = outputs.map_err(Failure::Other)?;
        self.proven.insert(num_chips);
        Ok(outputs)
    }

    fn shrink(&mut self, capacity: NonZeroUsize) -> Result<()> {
        if self.options.fixed_batch.is_none() {
            return Ok(());
        }
        self.options.fixed_batch = Some(capacity);
        // An engine of the cache is for another shape; this one is built again where it is needed.
        self.options.engines = None;
        // The device's memory goes back with the session that holds it, so that one goes first.
        self.loaded = None;
        let loaded =
            Loaded::open(self.runtime, &self.bytes, &self.options).map_err(|error| load_error(&error))?;
        self.loaded = Some(loaded);
        Ok(())
    }
}

fn unloaded() -> Error {
    Error::unavailable("the model could not be loaded again for a smaller batch")
        .hint("free memory, then try again")
}

/// Embeddings, and logits of a model that has a classifier.
type Values = (Floats, Option<Floats>);

impl Loaded {
    fn open(runtime: &Runtime, model: &Bytes, options: &SessionOptions) -> ort::Result<Self> {
        let provider = options.provider;
        let with = Registration {
            device: options.device,
            precision: options.precision,
            options: &options.options,
            engines: options.engines.as_ref(),
        };
        let mut builder = new_builder(runtime)?
            .with_intra_threads(options.threads.get())?
            .with_inter_threads(1)?
            .with_intra_op_spinning(options.spinning)?
            .with_execution_providers(registrations(provider, with))?;
        if provider.is_accelerator() && !options.options.cpu_fallback {
            builder = builder.with_disable_cpu_fallback()?;
        }
        let model = match &options.engines {
            Some(engines) => builder.commit_from_memory(&renaming_graph(model.clone(), &engines.prefix))?,
            None => builder.commit_from_memory(model)?,
        };
        Self::bound(model, options)
    }

    /// Binds the outputs of a session on an accelerator; its inputs are bound batch by batch.
    fn bound(model: OrtSession, options: &SessionOptions) -> ort::Result<Self> {
        if !options.provider.is_accelerator() {
            return Ok(Self { binding: None, model });
        }
        // Ordinary memory: a copy into it is complete when the run returns.
        let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput)?;
        let mut binding = model.create_binding()?;
        for output in model.outputs() {
            binding.bind_output_to_device(output.name(), &memory)?;
        }
        Ok(Self { binding: Some(binding), model })
    }

    fn infer(&mut self, batch: &InputBatch, num_chips: usize, contract: &Contract) -> ort::Result<Values> {
        if let Some(binding) = &mut self.binding {
            bind(binding, &contract.input.tensor, batch)?;
            let tensors = take(&mut self.model.run_binding(binding)?, &contract.output)?;
            // The next run writes into the same memory.
            return Ok((Floats::copied(&tensors.0), tensors.1.as_ref().map(Floats::copied)));
        }
        // By position: it was checked that there is this one input.
        let tensors = take(&mut self.model.run([view(batch, num_chips)?])?, &contract.output)?;
        Ok((Floats::Tensor(tensors.0), tensors.1.map(Floats::Tensor)))
    }
}

fn take(
    values: &mut SessionOutputs<'_>,
    contract: &Output,
) -> ort::Result<(Tensor<f32>, Option<Tensor<f32>>)> {
    let mut tensor = |name: &str| {
        let value = values.remove(name).ok_or_else(|| ort::Error::new(format!("no output `{name}`")))?;
        value.downcast::<TensorValueType<f32>>()
    };
    let embeddings = tensor(&contract.embedding)?;
    let logits = contract.classifier.as_ref().map(|classifier| tensor(&classifier.logits)).transpose()?;
    Ok((embeddings, logits))
}

/// Returns the memory that an accelerator copies from by itself; `None` for the CPU.
fn pinned(provider: Provider, device: u32) -> Option<ort::Result<MemoryInfo<'static>>> {
    let device = device.cast_signed();
    provider.is_accelerator().then(|| {
        MemoryInfo::new(AllocationDevice::CUDA_PINNED, device, AllocatorType::Device, MemoryType::CPUInput)
    })
}

/// Hands a whole batch to the device, which has copied it when this returns.
fn bind(binding: &mut IoBinding, input: &str, batch: &InputBatch) -> ort::Result<()> {
    match batch.buffer() {
        Buffer::BoundU8(tensor) => binding.bind_input(input, tensor),
        Buffer::BoundF32(tensor) => binding.bind_input(input, tensor),
        Buffer::U8(_) | Buffer::F32(_) => Err(ort::Error::new("the batch is not in the device's memory")),
    }
}

/// Shows the first chips of a batch without copying them.
fn view(batch: &InputBatch, num_chips: usize) -> ort::Result<SessionInputValue<'_>> {
    let (shape, num_samples) = (batch.shape(num_chips), num_chips * batch.chip_len());
    Ok(match batch.buffer() {
        Buffer::U8(samples) => TensorRef::from_array_view((shape, &samples[..num_samples]))?.into(),
        Buffer::F32(samples) => TensorRef::from_array_view((shape, &samples[..num_samples]))?.into(),
        Buffer::BoundU8(tensor) => tensor.view().into(),
        Buffer::BoundF32(tensor) => tensor.view().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::probe::contract;
    use crate::runtime::registration::is_compiled_in;
    use crate::runtime::{InstallOptions, install, load};
    use crate::stages::infer::batch::SamplesMut;
    use crate::vocabulary::contract::{Activation, Classifier, Layout, SampleType};
    use crate::vocabulary::error::Kind;
    use tilefleet_testing::skipped;

    fn runtime() -> &'static Runtime {
        load().or_else(|_| install(&InstallOptions::default()).and_then(|_| load())).unwrap()
    }

    fn model() -> Bytes {
        Bytes::from_static(probe::MODEL)
    }

    fn options() -> SessionOptions {
        SessionOptions::new(Provider::Cpu, NonZeroUsize::MIN)
    }

    fn filled_batch(contract: &Contract) -> InputBatch {
        let mut batch = InputBatch::new(&contract.input, NonZeroUsize::MIN);
        let SamplesMut::F32(samples) = batch.samples_mut() else { panic!("the contract says float32") };
        samples.iter_mut().enumerate().for_each(|(index, sample)| *sample = probe::input_at(index));
        batch.set_len(1);
        batch
    }

    #[test]
    fn a_session_yields_the_stored_output_each_time() {
        let contract = contract();
        let mut session = Session::open(runtime(), &model(), &contract, &options()).unwrap();
        let batch = filled_batch(&contract);
        for _ in 0..2 {
            let outputs = session.run(&batch).unwrap();
            assert_eq!((outputs.len(), outputs.logits()), (1, None));
            assert!(probe::agrees(outputs.embeddings()));
        }
        assert_eq!(BatchRunner::static_batch(&session), Some(1));
    }

    #[test]
    fn outputs_outlive_their_session() {
        let contract = contract();
        let outputs = {
            let mut session = Session::open(runtime(), &model(), &contract, &options()).unwrap();
            session.run(&filled_batch(&contract)).unwrap()
        };
        assert!(probe::agrees(outputs.embeddings()));
    }

    #[test]
    fn an_empty_or_foreign_batch_is_our_fault() {
        let contract = contract();
        let mut session = Session::open(runtime(), &model(), &contract, &options()).unwrap();
        let mut batch = InputBatch::new(&contract.input, NonZeroUsize::new(2).unwrap());
        assert_eq!(session.run(&batch).unwrap_err().kind(), Kind::Bug);
        batch.set_len(2);
        assert_eq!(session.run(&batch).unwrap_err().kind(), Kind::Bug);
        let mut other = contract.clone();
        other.input.layout = Layout::Nhwc;
        assert_eq!(session.run(&filled_batch(&other)).unwrap_err().kind(), Kind::Bug);
    }

    #[test]
    fn a_contract_that_differs_from_the_model_is_refused() {
        let refused = |change: fn(&mut Contract)| {
            let mut contract = contract();
            change(&mut contract);
            let error = Session::open(runtime(), &model(), &contract, &options()).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            error.render()
        };
        assert!(refused(|c| c.input.tensor = "image".into()).contains("has another input, `input`"));
        assert!(refused(|c| c.input.width = 224).contains("[1, 3, 8, 8]"));
        assert!(refused(|c| c.input.sample_type = SampleType::Uint8).contains("not u8"));
        assert!(refused(|c| c.output.embedding = "pooled".into()).contains("no output `pooled`"));
        assert!(refused(|c| c.output.embedding_length = 2048).contains("[1, 4]"));
        assert!(
            refused(|c| {
                c.output.classifier = Some(Classifier {
                    logits: "logits".into(),
                    num_classes: 10,
                    activation: Activation::Softmax,
                    labels: None,
                    fitted: None,
                });
            })
            .contains("no output `logits`")
        );
    }

    #[test]
    fn bytes_that_are_no_model_are_refused() {
        let error = Session::open(runtime(), &Bytes::from_static(b"not a model"), &contract(), &options())
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
    }

    #[test]
    fn a_provider_that_is_not_there_is_an_error_before_anything_runs() {
        for provider in [Provider::Cuda, Provider::Tensorrt] {
            if is_compiled_in(provider, runtime()) {
                skipped::not_on_this_machine(&format!("its ONNX Runtime has {provider}"));
                continue;
            }
            let options = SessionOptions::new(provider, NonZeroUsize::MIN);
            let error = Session::open(runtime(), &model(), &contract(), &options).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains(provider.name()));
        }
    }

    #[test]
    fn the_cpu_passes_the_probe() {
        probe::probe(runtime(), Provider::Cpu, 0, "fp32", &ProviderOptions::default()).unwrap();
    }

    /// The way of an accelerator, with ordinary memory in place of pinned.
    #[test]
    fn bound_inputs_and_outputs_yield_the_same() {
        let contract = contract();
        let mut session = Session::open(runtime(), &model(), &contract, &options()).unwrap();
        let memory =
            || MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default).unwrap();
        let loaded = session.loaded.as_mut().unwrap();
        let mut binding = loaded.model.create_binding().unwrap();
        binding.bind_output_to_device("output", &memory()).unwrap();
        loaded.binding = Some(binding);
        let allocator = Allocator::new(&loaded.model, memory()).unwrap();
        let mut batch = InputBatch::bound(&contract.input, NonZeroUsize::MIN, &allocator).unwrap();
        batch.set_len(1);
        let of_zeros = session.run(&batch).unwrap().embeddings().to_vec();
        assert!(!probe::agrees(&of_zeros));
        batch.copy_from(&filled_batch(&contract), 0..1);
        assert!(probe::agrees(session.run(&batch).unwrap().embeddings()));
        // A batch in other memory than the device's is none that it takes.
        assert!(session.run(&filled_batch(&contract)).is_err());
    }
}
