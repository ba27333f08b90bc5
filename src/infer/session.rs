//! A session: one model on one execution provider, used by one thread.
//!
//! One session per thread: `run` takes `&mut self` because parts of ONNX Runtime are not thread-safe. A
//! shared session would only queue its callers behind a lock.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use ort::session::builder::{AutoDevicePolicy, SessionBuilder};
use ort::session::{Session as OrtSession, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType, TensorRef, TensorValueType, ValueType};

use super::batch::{Buffer, InputBatch};
use super::probe;
use super::provider::Provider;
use super::runtime::Runtime;
use crate::error::{Error, Result};
use crate::model::contract::{Contract, Input, Layout, Output, SampleType};

/// How a session runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// The execution provider; one that is not there is an error, never replaced.
    pub provider: Provider,
    /// Threads within an operator, the calling one included.
    pub threads: NonZeroUsize,
    /// Whether idle threads spin instead of sleeping. Spinning threads starve the decoders that share
    /// their cores.
    pub spinning: bool,
    /// Whether every run has the batch's full capacity, its tail padded. Accelerators plan and tune for
    /// each shape anew; a processor would compute the padding for nothing.
    pub fixed_batch: bool,
}

impl SessionOptions {
    /// Returns the defaults for a provider.
    #[must_use]
    pub fn new(provider: Provider, threads: NonZeroUsize) -> Self {
        Self { provider, threads, spinning: false, fixed_batch: provider != Provider::Cpu }
    }
}

/// A model, loaded and checked against its contract.
#[derive(Debug)]
pub struct Session {
    model: OrtSession,
    input: Input,
    output: Output,
    static_batch: Option<usize>,
    fixed_batch: bool,
    /// Batch sizes that have run: what fails later at such a size is not the model's fault.
    proven: BTreeSet<usize>,
}

impl Session {
    /// Loads a model. A provider other than the CPU is proven by a probe first.
    ///
    /// - `model`: the bytes of an ONNX file without external data
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::error::Kind::Config) if the provider is not there or does not work, if ONNX
    /// Runtime cannot load the model, or if the model is not what its contract says;
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if memory runs out.
    pub fn open(
        runtime: &Runtime,
        model: &[u8],
        contract: &Contract,
        options: &SessionOptions,
    ) -> Result<Self> {
        if options.provider == Provider::Cpu {
            options.provider.require(runtime)?;
        } else {
            probe::probe(runtime, options.provider)?;
        }
        let session = commit(runtime, model, options).map_err(|error| load_error(&error))?;
        check_input(&session, &contract.input)?;
        check_outputs(&session, &contract.output)?;
        let static_batch = find(session.inputs(), &contract.input.tensor)
            .and_then(|outlet| tensor_type(outlet.dtype()))
            .and_then(|(_, shape)| usize::try_from(*shape.first()?).ok());
        Ok(Self {
            model: session,
            input: contract.input.clone(),
            output: contract.output.clone(),
            static_batch,
            fixed_batch: options.fixed_batch,
            proven: BTreeSet::new(),
        })
    }

    /// Returns the only batch size that the model takes; `None` if it takes any.
    #[must_use]
    pub fn static_batch(&self) -> Option<usize> {
        self.static_batch
    }

    /// Runs the model on the chips of a batch.
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::error::Kind::Config) if the model cannot run at this batch size at all;
    /// [`Kind::Unavailable`](crate::error::Kind::Unavailable) if memory runs out or the device is lost, and
    /// for any failure at a batch size that has run before; [`Kind::Bug`](crate::error::Kind::Bug) if the
    /// batch is empty or was laid out for another model.
    pub fn run(&mut self, batch: &InputBatch) -> Result<Outputs> {
        let num_chips = self.num_chips_to_run(batch)?;
        let values = self.infer(batch, num_chips).map_err(|error| self.run_error(&error, num_chips))?;
        let outputs = Outputs {
            embeddings: values.0,
            logits: values.1,
            embedding_length: self.output.embedding_length,
            num_classes: self.output.classifier.as_ref().map_or(0, |classifier| classifier.num_classes),
            len: batch.len(),
        };
        outputs.check_sizes(num_chips)?;
        self.proven.insert(num_chips);
        Ok(outputs)
    }

    fn num_chips_to_run(&self, batch: &InputBatch) -> Result<usize> {
        if batch.is_empty() {
            return Err(Error::bug("a session was given an empty batch"));
        }
        if !batch.fits(&self.input) {
            return Err(Error::bug("a session was given a batch that was laid out for another model"));
        }
        match self.static_batch {
            Some(size) if size != batch.capacity() => Err(Error::bug(format!(
                "a session was given a batch for {} chips, and its model takes {size}",
                batch.capacity()
            ))),
            Some(size) => Ok(size),
            None if self.fixed_batch => Ok(batch.capacity()),
            None => Ok(batch.len()),
        }
    }

    fn infer(&mut self, batch: &InputBatch, num_chips: usize) -> ort::Result<Values> {
        let (shape, num_samples) = (batch.shape(num_chips), num_chips * batch.chip_len());
        let tensor: SessionInputValue<'_> = match batch.buffer() {
            Buffer::U8(samples) => TensorRef::from_array_view((shape, &samples[..num_samples]))?.into(),
            Buffer::F32(samples) => TensorRef::from_array_view((shape, &samples[..num_samples]))?.into(),
        };
        // By position: `open` has checked that there is this one input.
        let mut values = self.model.run([tensor])?;
        let mut take = |name: &str| {
            let value = values.remove(name).ok_or_else(|| ort::Error::new(format!("no output `{name}`")))?;
            value.downcast::<TensorValueType<f32>>()
        };
        let embeddings = take(&self.output.embedding)?;
        let logits =
            self.output.classifier.as_ref().map(|classifier| take(&classifier.logits)).transpose()?;
        Ok((embeddings, logits))
    }

    fn run_error(&self, error: &ort::Error, num_chips: usize) -> Error {
        let message = format!("the model failed on a batch of {num_chips}");
        let cause = message_of(error);
        if is_out_of_memory(&cause) {
            return Error::unavailable(message).because(cause).hint("lower `run.batch`, or free memory");
        }
        // What has run once at this size fails for the machine's reasons: shapes do not depend on pixels.
        if self.proven.contains(&num_chips) || is_device_trouble(error) {
            return Error::unavailable(message).because(cause).hint("check the device, then run again");
        }
        Error::config(message).because(cause).hint("see `tilefleet model inspect` for what the model takes")
    }
}

type Values = (Tensor<f32>, Option<Tensor<f32>>);

/// What a session yields for one batch; the memory is ONNX Runtime's and is not copied.
#[derive(Debug)]
pub struct Outputs {
    embeddings: Tensor<f32>,
    logits: Option<Tensor<f32>>,
    embedding_length: usize,
    num_classes: usize,
    len: usize,
}

impl Outputs {
    /// Returns the number of chips, the padding left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is nothing; a session never yields that.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the pooled features, `[len, embedding_length]`, row-major.
    #[must_use]
    pub fn embeddings(&self) -> &[f32] {
        &self.embeddings.extract_tensor().1[..self.len * self.embedding_length]
    }

    /// Returns the raw classifier outputs, `[len, num_classes]`, row-major; `None` for a headless model.
    #[must_use]
    pub fn logits(&self) -> Option<&[f32]> {
        let logits = self.logits.as_ref()?;
        Some(&logits.extract_tensor().1[..self.len * self.num_classes])
    }

    /// Dynamic dimensions are only known now.
    fn check_sizes(&self, num_chips: usize) -> Result<()> {
        check_size("embedding", &self.embeddings, num_chips, self.embedding_length)?;
        self.logits
            .as_ref()
            .map_or(Ok(()), |logits| check_size("logits", logits, num_chips, self.num_classes))
    }
}

fn check_size(what: &str, tensor: &Tensor<f32>, num_chips: usize, length: usize) -> Result<()> {
    let (shape, values) = tensor.extract_tensor();
    if values.len() == num_chips * length {
        return Ok(());
    }
    Err(mismatch(format!(
        "a batch of {num_chips} gave {what} of shape {shape:?}, not [{num_chips}, {length}]"
    )))
}

pub(super) fn new_builder(runtime: &Runtime) -> ort::Result<SessionBuilder> {
    // `ort` asks for the most efficient device by default, which may be another than the one requested.
    Ok(OrtSession::builder(&runtime.environment)?.with_auto_device(AutoDevicePolicy::PreferCPU)?)
}

fn commit(runtime: &Runtime, model: &[u8], options: &SessionOptions) -> ort::Result<OrtSession> {
    new_builder(runtime)?
        .with_intra_threads(options.threads.get())?
        .with_inter_threads(1)?
        .with_intra_op_spinning(options.spinning)?
        .with_execution_providers(options.provider.registrations())?
        .commit_from_memory(model)
}

fn check_input(session: &OrtSession, input: &Input) -> Result<()> {
    let name = &input.tensor;
    if let Some(other) = session.inputs().iter().find(|outlet| outlet.name() != name) {
        return Err(mismatch(format!("the model also has the input `{}`", other.name())));
    }
    let outlet =
        find(session.inputs(), name).ok_or_else(|| mismatch(format!("the model has no input `{name}`")))?;
    let (found_type, found_shape) =
        tensor_type(outlet.dtype()).ok_or_else(|| mismatch(format!("the input `{name}` is no tensor")))?;
    let expected_type = match input.sample_type {
        SampleType::Uint8 => TensorElementType::Uint8,
        SampleType::Float32 => TensorElementType::Float32,
    };
    if found_type != expected_type {
        return Err(mismatch(format!("the input `{name}` is {found_type}, not {expected_type}")));
    }
    let (bands, height, width) = (input.bands.len() as i64, i64::from(input.height), i64::from(input.width));
    let expected_shape = match input.layout {
        Layout::Nhwc => [-1, height, width, bands],
        Layout::Nchw => [-1, bands, height, width],
    };
    if !fits(found_shape, &expected_shape) {
        return Err(mismatch(format!(
            "the input `{name}` has shape {found_shape:?}, not {expected_shape:?} (−1 is any)"
        )));
    }
    Ok(())
}

fn check_outputs(session: &OrtSession, output: &Output) -> Result<()> {
    check_output(session, &output.embedding, output.embedding_length)?;
    output
        .classifier
        .as_ref()
        .map_or(Ok(()), |classifier| check_output(session, &classifier.logits, classifier.num_classes))
}

fn check_output(session: &OrtSession, name: &str, length: usize) -> Result<()> {
    let outlet =
        find(session.outputs(), name).ok_or_else(|| mismatch(format!("the model has no output `{name}`")))?;
    let (found_type, shape) =
        tensor_type(outlet.dtype()).ok_or_else(|| mismatch(format!("the output `{name}` is no tensor")))?;
    if found_type != TensorElementType::Float32 {
        return Err(mismatch(format!("the output `{name}` is {found_type}, not float32")));
    }
    let row = shape.get(1..).unwrap_or_default();
    // A pooled feature map may keep its axes of length 1: [n, 2048, 1, 1].
    if row.iter().all(|size| *size > 0) && row.iter().product::<i64>() != length as i64 {
        return Err(mismatch(format!("the output `{name}` has shape {shape:?}, not [−1, {length}]")));
    }
    Ok(())
}

fn find<'s>(outlets: &'s [Outlet], name: &str) -> Option<&'s Outlet> {
    outlets.iter().find(|outlet| outlet.name() == name)
}

fn tensor_type(value_type: &ValueType) -> Option<(TensorElementType, &[i64])> {
    match value_type {
        ValueType::Tensor { ty, shape, .. } => Some((*ty, shape)),
        _ => None,
    }
}

/// Returns whether a shape may be the expected one; negative sizes are known only at run time.
fn fits(found: &[i64], expected: &[i64]) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| *found < 0 || *expected < 0 || found == expected)
}

fn mismatch(cause: String) -> Error {
    Error::config("the model does not match its contract")
        .because(cause)
        .hint("compare the contract with `tilefleet model inspect`")
}

fn load_error(error: &ort::Error) -> Error {
    let cause = message_of(error);
    if is_out_of_memory(&cause) {
        return Error::unavailable("there is not enough memory to load the model").because(cause);
    }
    Error::config("ONNX Runtime cannot load the model").because(cause)
}

fn is_out_of_memory(message: &str) -> bool {
    let signs = ["Failed to allocate memory", "bad_alloc", "out of memory", "bad allocation"];
    signs.iter().any(|sign| message.contains(sign))
}

fn is_device_trouble(error: &ort::Error) -> bool {
    error.code() == ort::ErrorCode::DeviceReset || error.message().contains("CUDA failure")
}

/// Returns ONNX Runtime's message on one line. Its errors from builders are not `Send + Sync`, and so
/// cannot be a cause themselves.
pub(super) fn message_of<R>(error: &ort::Error<R>) -> String {
    let lines = error.message().lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::infer::batch::SamplesMut;
    use crate::infer::probe;
    use crate::infer::runtime::{InstallOptions, install, load};
    use crate::model::contract::{Accept, Activation, Classifier};

    fn runtime() -> &'static Runtime {
        load().or_else(|_| install(&InstallOptions::default()).and_then(|_| load())).unwrap()
    }

    fn options() -> SessionOptions {
        SessionOptions::new(Provider::Cpu, NonZeroUsize::MIN)
    }

    /// The contract of the probe's model: its batch is fixed at 1.
    fn contract() -> Contract {
        Contract {
            version: 1,
            name: "probe".into(),
            input: Input {
                tensor: "input".into(),
                layout: Layout::Nchw,
                sample_type: SampleType::Float32,
                bands: vec!["red".into(), "green".into(), "blue".into()],
                unit: "dn".into(),
                units: None,
                width: 8,
                height: 8,
                resize: None,
                normalise: None,
                accept: Accept::default(),
            },
            output: Output { embedding: "output".into(), embedding_length: 4, classifier: None },
            quantisation: None,
        }
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
        let mut session = Session::open(runtime(), probe::MODEL, &contract, &options()).unwrap();
        let batch = filled_batch(&contract);
        for _ in 0..2 {
            let outputs = session.run(&batch).unwrap();
            assert_eq!((outputs.len(), outputs.logits()), (1, None));
            assert!(probe::agrees(outputs.embeddings()));
        }
        assert_eq!(session.static_batch(), Some(1));
    }

    #[test]
    fn outputs_outlive_their_session() {
        let contract = contract();
        let outputs = {
            let mut session = Session::open(runtime(), probe::MODEL, &contract, &options()).unwrap();
            session.run(&filled_batch(&contract)).unwrap()
        };
        assert!(probe::agrees(outputs.embeddings()));
    }

    #[test]
    fn an_empty_or_foreign_batch_is_our_fault() {
        let contract = contract();
        let mut session = Session::open(runtime(), probe::MODEL, &contract, &options()).unwrap();
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
            let error = Session::open(runtime(), probe::MODEL, &contract, &options()).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            error.render()
        };
        assert!(refused(|c| c.input.tensor = "image".into()).contains("also has the input `input`"));
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
        let error = Session::open(runtime(), b"not a model", &contract(), &options()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
    }

    #[test]
    fn a_provider_that_is_not_there_is_an_error_before_anything_runs() {
        for provider in [Provider::Cuda, Provider::Tensorrt] {
            if provider.is_compiled_in(runtime()) {
                eprintln!("SKIPPED: this ONNX Runtime has {provider}");
                continue;
            }
            let options = SessionOptions::new(provider, NonZeroUsize::MIN);
            let error = Session::open(runtime(), probe::MODEL, &contract(), &options).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains(provider.name()));
        }
    }

    #[test]
    fn the_cpu_passes_the_probe() {
        probe::probe(runtime(), Provider::Cpu).unwrap();
    }

    #[test]
    fn a_failure_after_success_is_the_machines() {
        let contract = contract();
        let mut session = Session::open(runtime(), probe::MODEL, &contract, &options()).unwrap();
        let failure = ort::Error::new("some operator failed");
        assert_eq!(session.run_error(&failure, 1).kind(), Kind::Config);
        session.run(&filled_batch(&contract)).unwrap();
        assert_eq!(session.run_error(&failure, 1).kind(), Kind::Unavailable);
        let memory = ort::Error::new("Failed to allocate memory for requested buffer of size 9");
        assert_eq!(session.run_error(&memory, 7).kind(), Kind::Unavailable);
    }
}
