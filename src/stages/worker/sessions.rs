//! Which sessions a process runs: provider, devices, how many side by side, how large their batches.
//!
//! Called by the worker before anything is planned or written. What does not work here ends the process
//! then, and says what is missing.

use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Serialize;

use super::tune::Trial;
use crate::config::Run;
use crate::input::storage::{Bucket, ObjectUri, Storage};
use crate::models::Model;
use crate::output::Output;
use crate::runtime;
use crate::runtime::Runtime;
use crate::runtime::driver;
use crate::runtime::driver::Gpu;
use crate::runtime::engines::{EngineCache, EngineKey, input_shape, tensorrt_version};
use crate::runtime::libraries;
use crate::runtime::registration::require;
use crate::stages::infer::known;
use crate::stages::infer::row_check;
use crate::stages::infer::row_check::Batches;
use crate::stages::infer::{BatchRunner, Device, Session, SessionOptions, SessionSlot};
use crate::vocabulary::error::{Error, Kind, Result};
use crate::vocabulary::provider::{Devices, Provider};

/// Maximum number of CPU sessions if the number is neither set nor measured.
const MAX_SESSIONS: usize = 4;
/// Maximum bytes of all their copies of the weights.
const MAX_WEIGHT_BYTES: usize = 1 << 30;
/// Sessions of one accelerator: one copies and scores while the other computes.
const SESSIONS_A_DEVICE: usize = 2;
/// Chips per session run on the CPU, and on an accelerator.
const CPU_BATCH: usize = 16;
const ACCELERATOR_BATCH: usize = 64;

/// What sessions are opened for.
#[derive(Clone, Copy)]
pub(super) struct SessionRequest<'a> {
    pub run: &'a Run,
    pub model: &'a Model,
    pub output: &'a Output,
    pub storage: &'a Storage,
}

/// How the model runs in this process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inference {
    /// The execution provider.
    pub provider: Provider,
    /// The devices, such as `cuda:0`, with what they are.
    pub devices: Vec<String>,
    /// Sessions side by side on each device.
    pub sessions: usize,
    /// CPU threads of each session.
    pub threads: usize,
    /// Whether idle threads of a session spin.
    pub spinning: bool,
    /// Chips per session run, as the process began.
    pub batch: usize,
    /// What was measured to choose sessions, spinning and batch; empty where nothing was.
    pub measured: Vec<Trial>,
}

/// Open sessions, ready for the pipeline.
pub struct Sessions {
    /// One a session.
    pub slots: Vec<SessionSlot>,
    /// How they run.
    pub inference: Inference,
}

impl SessionRequest<'_> {
    /// Opens all sessions.
    ///
    /// # Errors
    ///
    /// `Config` if the provider, a library or a device is missing or does not work, or the model does not
    /// fit; `Unavailable` if memory runs out.
    pub async fn open(&self) -> Result<Sessions> {
        let runtime = runtime::load_for(self.run.provider)?;
        let mut slots = if self.run.provider.is_accelerator() {
            self.open_devices(runtime).await?
        } else {
            let mut slots = self.open_cpu(runtime, self.cpu_shape())?;
            self.check_answers(&mut slots)?;
            slots
        };
        self.check_rows(&mut slots)?;
        Ok(slots)
    }

    /// Returns the CPU threads that sessions share.
    pub fn threads(&self) -> NonZeroUsize {
        self.run.threads.unwrap_or_else(super::num_cores)
    }

    /// Returns the name of the precision of the network's arithmetic.
    fn precision(&self) -> &'static str {
        self.model.precision.name()
    }

    fn batch(&self, default: usize) -> NonZeroUsize {
        let fixed = self.model.static_batch.and_then(NonZeroUsize::new).or(self.run.batch);
        fixed.or(NonZeroUsize::new(default)).unwrap_or(NonZeroUsize::MIN)
    }

    /// Returns how the CPU is used unless it is measured.
    pub fn cpu_shape(&self) -> CpuShape {
        let sessions = self
            .run
            .sessions
            .unwrap_or_else(|| sessions_that_fit(self.threads(), self.model.bytes.len(), MAX_SESSIONS));
        CpuShape { sessions, spinning: self.run.spinning.unwrap_or(false), batch: self.batch(CPU_BATCH) }
    }

    /// Opens sessions on the CPU.
    pub fn open_cpu(&self, runtime: &'static Runtime, shape: CpuShape) -> Result<Sessions> {
        let threads = shape.threads(self.threads());
        let options = SessionOptions {
            spinning: shape.spinning,
            precision: self.precision(),
            ..SessionOptions::new(Provider::Cpu, threads)
        };
        let device = Device::new("cpu".into(), shape.batch);
        let slots = (0..shape.sessions.get()).map(|_| self.slot(runtime, &options, &device));
        Ok(Sessions {
            slots: slots.collect::<Result<_>>()?,
            inference: Inference {
                provider: Provider::Cpu,
                devices: vec!["cpu".into()],
                sessions: shape.sessions.get(),
                threads: threads.get(),
                spinning: shape.spinning,
                batch: shape.batch.get(),
                measured: Vec::new(),
            },
        })
    }

    /// Compares with what the model gave where it was made, if its contract has that.
    fn check_answers(&self, slots: &mut Sessions) -> Result<()> {
        let Some(slot) = slots.slots.first_mut() else { return Ok(()) };
        let asked = self.run.probe_tolerance;
        match known::check(&mut *slot.runner, &self.model.contract, asked.unwrap_or(known::TOLERANCE)) {
            Err(error) if error.kind() == Kind::Config && self.run.allow_saturation && asked.is_none() => {
                tracing::warn!("continuing because of `run.allow_saturation`: {}", error.render());
                Ok(())
            }
            checked => checked,
        }
    }

    /// Checks that a chip's row does not depend on its batch, once a process.
    fn check_rows(&self, slots: &mut Sessions) -> Result<()> {
        let Some(slot) = slots.slots.first_mut() else { return Ok(()) };
        let is_padded = self.run.provider.is_accelerator();
        let batches = if is_padded { Batches::Full } else { Batches::OfAnySize };
        row_check::check(slot, &self.model.contract, self.model.precision, batches)
    }

    async fn open_devices(&self, runtime: &'static Runtime) -> Result<Sessions> {
        let provider = self.run.provider;
        require(provider, runtime)?;
        libraries::load(runtime, provider)?;
        self.refuse_unwanted_tf32()?;
        let gpus = self.gpus()?;
        let (batch, sessions) = (self.batch(ACCELERATOR_BATCH), self.run.sessions);
        let sessions = sessions.or(NonZeroUsize::new(SESSIONS_A_DEVICE)).unwrap_or(NonZeroUsize::MIN);
        let mut slots = Vec::new();
        for gpu in &gpus {
            slots.extend(self.open_device(runtime, gpu, batch, sessions).await?);
        }
        let inference = Inference {
            provider,
            devices: gpus.iter().map(|gpu| format!("{provider}:{} {}", gpu.number, gpu.name)).collect(),
            sessions: sessions.get(),
            threads: 1,
            spinning: false,
            batch: batch.get(),
            measured: Vec::new(),
        };
        Ok(Sessions { slots, inference })
    }

    async fn open_device(
        &self,
        runtime: &'static Runtime,
        gpu: &Gpu,
        batch: NonZeroUsize,
        sessions: NonZeroUsize,
    ) -> Result<Vec<SessionSlot>> {
        let engines = self.engines(runtime, gpu, batch)?;
        let shared = match &engines {
            Some(engines) => Some((engines, self.shared_engines()?)),
            None => None,
        };
        if let Some((engines, (bucket, folder))) = &shared {
            match engines.bring(bucket, folder).await {
                Ok(0) => {
                    tracing::info!(
                        engine = engines.digest(),
                        "there is no engine yet; building one can take minutes"
                    );
                }
                Ok(files) => tracing::info!(engine = engines.digest(), files, "an engine was downloaded"),
                Err(error) => {
                    tracing::warn!("no engine can be downloaded, so one is built: {}", error.render());
                }
            }
        }
        let options = SessionOptions {
            device: gpu.number,
            precision: self.precision(),
            fixed_batch: Some(batch),
            options: Arc::new(self.run.providers.clone()),
            engines: engines.clone(),
            ..SessionOptions::new(self.run.provider, NonZeroUsize::MIN)
        };
        let device = Device::new(format!("{}:{}", self.run.provider, gpu.number), batch);
        let slots: Vec<SessionSlot> =
            (0..sessions.get()).map(|_| self.slot(runtime, &options, &device)).collect::<Result<_>>()?;
        if let Some((engines, (bucket, folder))) = &shared
            && let Err(error) = engines.share(bucket, folder).await
        {
            tracing::warn!(
                "the engine cannot be uploaded, so other workers build their own: {}",
                error.render()
            );
        }
        Ok(slots)
    }

    fn slot(
        &self,
        runtime: &'static Runtime,
        options: &SessionOptions,
        device: &Arc<Device>,
    ) -> Result<SessionSlot> {
        let session = Session::open(runtime, &self.model.bytes, &self.model.contract, options)?;
        let runner: Box<dyn BatchRunner> = Box::new(session);
        Ok(SessionSlot { runner, device: device.clone() })
    }

    /// Returns the accelerators that are asked for, in that order.
    fn gpus(&self) -> Result<Vec<Gpu>> {
        let gpus = driver::gpus()
            .map_err(|cause| self.no_devices(format!("NVIDIA's driver does not answer: {cause}")))?;
        choose(&gpus.devices, &self.run.devices).map_err(|cause| self.no_devices(cause.to_string()))
    }

    fn no_devices(&self, cause: String) -> Error {
        Error::config(format!("the execution provider `{}` does not work here", self.run.provider))
            .because(cause)
            .hint("`nvidia-smi` shows what the driver sees; choose others with `run.devices`, or `cpu`")
    }

    /// `TensorRT` computes what is float32, also in an fp16 or int8 network, with TF32 unless the environment forbids it, and ONNX Runtime has no way to
    /// tell it otherwise.
    fn refuse_unwanted_tf32(&self) -> Result<()> {
        if self.run.provider != Provider::Tensorrt || self.precision() == "tf32" || tf32_off() {
            return Ok(());
        }
        Err(Error::config("`tensorrt` computes float32 with TF32, which rounds to 10 bits")
            .because("ONNX Runtime has no switch for it")
            .hint("set NVIDIA_TF32_OVERRIDE=0 in the environment; or choose `--precision tf32` for an fp32 model"))
    }

    fn engines(&self, runtime: &Runtime, gpu: &Gpu, batch: NonZeroUsize) -> Result<Option<EngineCache>> {
        if self.run.provider != Provider::Tensorrt {
            return Ok(None);
        }
        let tensorrt = tensorrt_version().unwrap_or_default();
        let key = EngineKey {
            model_digest: &self.model.digest,
            shape: input_shape(&self.model.contract.input, batch.get()),
            precision: self.precision(),
            tf32_off: tf32_off(),
            optimisation: self.run.providers.tensorrt.optimisation,
            gpu: &gpu.name,
            capability: gpu.capability,
            tensorrt: &tensorrt,
            onnx_runtime: &runtime.version,
        };
        let root = runtime::cache_dir()?.join("engines");
        EngineCache::new(&root, &key, &self.model.contract.input).map(Some)
    }

    /// Returns where engines are shared: the folder of all keys, with a slash at its end.
    ///
    /// By default that is in the output, the one place that all workers of a run share and can write to.
    fn shared_engines(&self) -> Result<(Bucket, String)> {
        let Some(cache) = &self.run.providers.tensorrt.cache else {
            let records = self.output.layout.records();
            return Ok((self.output.bucket.clone(), format!("{records}engines/")));
        };
        let uri = ObjectUri::parse(cache)?;
        let folder = uri.key().trim_end_matches('/').to_owned();
        let bucket = self.storage.bucket(&uri).with_staging(&format!("{folder}/.staging/"));
        Ok((bucket, if folder.is_empty() { folder } else { format!("{folder}/") }))
    }
}

/// How the CPU is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuShape {
    pub sessions: NonZeroUsize,
    pub spinning: bool,
    pub batch: NonZeroUsize,
}

impl CpuShape {
    /// Returns the threads of each session, out of `all`.
    pub fn threads(self, all: NonZeroUsize) -> NonZeroUsize {
        NonZeroUsize::new(all.get().div_ceil(self.sessions.get()))
            .expect("a quotient rounded up of a positive number")
    }
}

/// Returns how many sessions may share the threads: each keeps its own copy of the weights.
pub(super) fn sessions_that_fit(threads: NonZeroUsize, model_bytes: usize, most: usize) -> NonZeroUsize {
    let fitting = MAX_WEIGHT_BYTES / model_bytes.max(1);
    NonZeroUsize::new(fitting.min(most)).map_or(NonZeroUsize::MIN, |most| most.min(threads))
}

fn tf32_off() -> bool {
    std::env::var_os("NVIDIA_TF32_OVERRIDE").is_some_and(|value| value == "0")
}

/// A device that is asked for is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum NoDevice {
    #[error("NVIDIA's driver sees no device")]
    None,
    #[error("there is no device {number}: NVIDIA's driver sees {there}")]
    Absent { number: u32, there: String },
}

/// Chooses among the devices that there are.
fn choose(there: &[Gpu], request: &Devices) -> Result<Vec<Gpu>, NoDevice> {
    if there.is_empty() {
        return Err(NoDevice::None);
    }
    let Devices::These(numbers) = request else { return Ok(there.to_vec()) };
    let find = |number: &u32| {
        there.iter().find(|gpu| gpu.number == *number).cloned().ok_or_else(|| {
            let all: Vec<_> = there.iter().map(|gpu| format!("{} ({})", gpu.number, gpu.name)).collect();
            NoDevice::Absent { number: *number, there: all.join(", ") }
        })
    };
    numbers.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    #[test]
    fn sessions_share_threads_as_far_as_their_weights_fit() {
        let sessions =
            |threads, model_bytes| sessions_that_fit(size(threads), model_bytes, MAX_SESSIONS).get();
        assert_eq!(sessions(1, 1), 1);
        assert_eq!(sessions(2, 241 << 20), 2);
        assert_eq!(sessions(64, 241 << 20), 4);
        assert_eq!(sessions(64, 600 << 20), 1);
        assert_eq!(sessions(64, usize::MAX), 1);
        let shape = CpuShape { sessions: size(4), spinning: false, batch: size(1) };
        assert_eq!((shape.threads(size(10)).get(), shape.threads(size(2)).get()), (3, 1));
    }

    #[test]
    fn devices_are_chosen_in_the_order_asked_for() {
        let gpu = |number, name: &str| Gpu { number, name: name.into(), capability: (9, 0) };
        let there = [gpu(0, "A"), gpu(1, "B")];
        let chosen = |request: &Devices| {
            choose(&there, request).map(|gpus| gpus.iter().map(|gpu| gpu.number).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&Devices::All).unwrap(), [0, 1]);
        assert_eq!(chosen(&Devices::These(vec![1, 0])).unwrap(), [1, 0]);
        let error = chosen(&Devices::These(vec![0, 2])).unwrap_err();
        assert_eq!(error.to_string(), "there is no device 2: NVIDIA's driver sees 0 (A), 1 (B)");
        assert!(choose(&[], &Devices::All).is_err());
    }
}
