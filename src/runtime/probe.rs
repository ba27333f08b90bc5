//! A probe: runs a tiny model on a provider and compares with a stored output.
//!
//! ONNX Runtime says that a provider is there when it was compiled in, and CUDA loads cuDNN only at the
//! first convolution. Whether a provider works is therefore found out by running one.

use ort::session::Session;
use ort::value::TensorRef;

use super::failure::message_of;
use super::registration::{Registration, registration, require};
use super::{driver, libraries};
use crate::runtime::Runtime;
use crate::runtime::new_builder;
use crate::vocabulary::error::{Error, Result};
use crate::vocabulary::provider::Provider;
use crate::vocabulary::provider::ProviderOptions;

/// Convolution, rectifier and a fully connected layer; `scripts/make-probe` wrote it.
pub const MODEL: &[u8] = include_bytes!("probe.onnx");

const INPUT_SHAPE: [usize; 4] = [1, 3, 8, 8];

/// What `scripts/make-probe` computed in plain Python.
const EXPECTED: [f32; 4] = [2.037_109_4, -1.892_578_1, -6.585_937_5, 7.480_468_8];

/// Room for TF32 and for fp16 accumulation, relative to the largest expected value.
const TOLERANCE: f32 = 1e-2;

/// Finds out whether a provider works on a device: loads what it stands on, and runs the probe with nothing to
/// fall back to.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if the provider is not compiled in, a library or the
/// device is missing, it cannot be registered, fails to run, or computes something else.
pub fn probe(
    runtime: &Runtime,
    provider: Provider,
    device: u32,
    precision: &'static str,
    options: &ProviderOptions,
) -> Result<()> {
    require(provider, runtime)?;
    if provider.is_accelerator() {
        libraries::load(runtime, provider)?;
        require_device(provider, device)?;
    }
    let with = Registration { device, precision, options, engines: None };
    let output = run(runtime, provider, with).map_err(|cause| {
        Error::config(format!("the execution provider `{provider}` does not work here"))
            .because(message_of(&cause))
            .hint("`tilefleet runtime doctor` shows what works on this machine; `cpu` always does")
    })?;
    if agrees(&output) {
        return Ok(());
    }
    Err(Error::config(format!("the execution provider `{provider}` computes wrong results"))
        .because(format!("the probe gave {output:?}, not {EXPECTED:?}"))
        .hint("check the driver and the library versions; `cpu` always works"))
}

/// A device that is not there would be ONNX Runtime's to explain, in fewer words.
fn require_device(provider: Provider, device: u32) -> Result<()> {
    let refused = |cause: String| {
        Err(Error::config(format!("the execution provider `{provider}` does not work here"))
            .because(cause)
            .hint("`nvidia-smi` shows what the driver sees; choose others with `run.devices`, or `cpu`"))
    };
    match driver::gpus() {
        Err(cause) => refused(format!("NVIDIA's driver does not answer: {cause}")),
        Ok(gpus) if gpus.devices.is_empty() => refused("NVIDIA's driver sees no device".to_owned()),
        Ok(gpus) if gpus.devices.iter().all(|gpu| gpu.number != device) => {
            refused(format!("there is no device {device}: NVIDIA's driver sees {}", gpus.devices.len()))
        }
        Ok(_) => Ok(()),
    }
}

fn run(runtime: &Runtime, provider: Provider, with: Registration<'_>) -> ort::Result<Vec<f32>> {
    let mut session = open(runtime, provider, with)?;
    let input: Vec<f32> = (0..INPUT_SHAPE.iter().product()).map(input_at).collect();
    let tensor = TensorRef::from_array_view((INPUT_SHAPE, &*input))?;
    let outputs = session.run(ort::inputs![tensor])?;
    let (_, output) = outputs[0].try_extract_tensor::<f32>()?;
    Ok(output.to_vec())
}

fn open(runtime: &Runtime, provider: Provider, with: Registration<'_>) -> ort::Result<Session> {
    let mut builder = new_builder(runtime)?.with_intra_threads(1)?;
    if let Some(registration) = registration(provider, with) {
        builder = builder.with_disable_cpu_fallback()?.with_execution_providers([registration])?;
    }
    builder.commit_from_memory(MODEL)
}

/// The same numbers as `pattern` in `scripts/make-probe`.
pub fn input_at(index: usize) -> f32 {
    let step = u8::try_from(index * 37 % 17).expect("a remainder of 17 fits");
    (f32::from(step) - 8.0) / 8.0
}

/// Returns whether a device computed what the probe's model yields.
pub fn agrees(output: &[f32]) -> bool {
    let largest = EXPECTED.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let near = |(found, expected): (&f32, &f32)| (found - expected).abs() <= TOLERANCE * largest;
    output.len() == EXPECTED.len() && output.iter().zip(&EXPECTED).all(near)
}

/// The contract of the probe's model: its batch is fixed at 1.
pub fn contract() -> crate::vocabulary::contract::Contract {
    use crate::vocabulary::contract::{Accept, Contract, Input, Layout, Output, SampleType};
    Contract {
        version: 1,
        name: "probe".into(),
        model_digest: None,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_output_agrees() {
        assert!(agrees(&EXPECTED));
        assert!(!agrees(&EXPECTED[..3]));
        let mut wrong = EXPECTED;
        wrong.swap(0, 1);
        assert!(!agrees(&wrong));
        assert!(!agrees(&[f32::NAN; 4]));
    }
}
