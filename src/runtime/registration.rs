//! Registers execution providers, and tells which the loaded library has.

use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArenaExtendStrategy, CPU, CUDA, ExecutionProvider, ExecutionProviderDispatch, TensorRT};

use super::driver;
use super::engines::EngineCache;
use crate::runtime::Runtime;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::{ConvSearch, CudaOptions, Provider, ProviderOptions, TensorrtOptions};

/// What a provider is registered with.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// Number of the accelerator.
    pub device: u32,
    /// Precision of the network's arithmetic, by its name in `run.precision`.
    pub precision: &'static str,
    /// What the pipeline says.
    pub options: &'a ProviderOptions,
    /// Where `TensorRT` finds and leaves its engines; nowhere for a probe.
    pub engines: Option<&'a EngineCache>,
}

/// Returns whether the loaded library contains a provider. Whether it works is another question, which
/// [`super::probe::probe`] answers.
#[must_use]
pub fn is_compiled_in(provider: Provider, _runtime: &Runtime) -> bool {
    let available = match provider {
        Provider::Cpu => CPU::is_available(),
        Provider::Cuda => CUDA::is_available(),
        Provider::Tensorrt => TensorRT::is_available(),
    };
    available.unwrap_or(false)
}

/// Checks that the loaded library contains a provider.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if it does not.
pub fn require(provider: Provider, runtime: &Runtime) -> Result<()> {
    if is_compiled_in(provider, runtime) {
        return Ok(());
    }
    let library = runtime.located.path.display();
    // Said now: what the hint brings would take a while to find out the same.
    let driver = match driver::gpus() {
        Err(cause) => format!("; NVIDIA's driver is missing, too: {cause}"),
        Ok(_) => String::new(),
    };
    Err(Error::config(format!("the execution provider `{provider}` is not available"))
        .because(format!("ONNX Runtime {} at {library} was built without it{driver}", runtime.version))
        .hint("run `tilefleet runtime install --provider cuda`, or choose `cpu`"))
}

/// Returns a provider alone, to be registered or to fail; nothing for the CPU, which is always there.
pub(super) fn registration(provider: Provider, with: Registration<'_>) -> Option<ExecutionProviderDispatch> {
    match provider {
        Provider::Cpu => None,
        Provider::Cuda => Some(cuda(with, &with.options.cuda).build().error_on_failure()),
        Provider::Tensorrt => Some(tensorrt(with, &with.options.tensorrt).build().error_on_failure()),
    }
}

/// Returns what a session registers, in order of preference.
pub fn registrations(provider: Provider, with: Registration<'_>) -> Vec<ExecutionProviderDispatch> {
    let fallback = if provider == Provider::Tensorrt { registration(Provider::Cuda, with) } else { None };
    registration(provider, with).into_iter().chain(fallback).collect()
}

fn cuda(with: Registration<'_>, options: &CudaOptions) -> CUDA {
    let search = match options.conv_search {
        ConvSearch::Heuristic => ConvAlgorithmSearch::Heuristic,
        ConvSearch::Exhaustive => ConvAlgorithmSearch::Exhaustive,
        ConvSearch::Default => ConvAlgorithmSearch::Default,
    };
    let cuda = CUDA::default()
        .with_device_id(with.device.cast_signed())
        .with_conv_algorithm_search(search)
        .with_prefer_nhwc(options.prefer_nhwc)
        // Said always: ONNX Runtime's own default has changed before.
        .with_tf32(with.precision == "tf32")
        // Several sessions share a device: doubling what one holds would starve the others.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested);
    match options.memory_bytes {
        Some(limit) => cuda.with_memory_limit(usize::try_from(limit).unwrap_or(usize::MAX)),
        None => cuda,
    }
}

fn tensorrt(with: Registration<'_>, options: &TensorrtOptions) -> TensorRT {
    let mut tensorrt = TensorRT::default()
        .with_device_id(with.device.cast_signed())
        .with_fp16(with.precision == "fp16")
        .with_int8(with.precision == "int8")
        .with_builder_optimization_level(options.optimisation);
    if let Some(limit) = options.workspace_bytes {
        tensorrt = tensorrt.with_max_workspace_size(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let Some(engines) = with.engines else { return tensorrt };
    let folder = engines.folder.display();
    tensorrt
        .with_engine_cache(true)
        .with_engine_cache_path(folder)
        .with_engine_cache_prefix(&engines.prefix)
        .with_timing_cache(true)
        .with_timing_cache_path(engines.folder.display())
        .with_profile_min_shapes(&engines.profile)
        .with_profile_opt_shapes(&engines.profile)
        .with_profile_max_shapes(&engines.profile)
}
