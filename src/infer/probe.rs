//! A probe: runs a tiny model on a provider and compares with a stored output.
//!
//! ONNX Runtime says that a provider is there when it was compiled in, and CUDA loads cuDNN only at the
//! first convolution. Whether a provider works is therefore found out by running one.

use ort::session::Session;
use ort::value::TensorRef;

use super::provider::Provider;
use super::runtime::Runtime;
use super::session::{message_of, new_builder};
use crate::error::{Error, Result};

/// Convolution, rectifier and a fully connected layer; `scripts/make-probe` wrote it.
pub(super) const MODEL: &[u8] = include_bytes!("probe.onnx");

const INPUT_SHAPE: [usize; 4] = [1, 3, 8, 8];

/// What `scripts/make-probe` computed in plain Python.
const EXPECTED: [f32; 4] = [2.037_109_4, -1.892_578_1, -6.585_937_5, 7.480_468_8];

/// Room for TF32 and for fp16 accumulation, relative to the largest expected value.
const TOLERANCE: f32 = 1e-2;

/// Runs the probe on one provider, with nothing to fall back to.
///
/// # Errors
///
/// [`Kind::Config`](crate::error::Kind::Config) if the provider is not compiled in, cannot be registered
/// (its libraries are missing), fails to run, or computes something else.
pub fn probe(runtime: &Runtime, provider: Provider) -> Result<()> {
    provider.require(runtime)?;
    let output = run(runtime, provider).map_err(|cause| {
        Error::config(format!("the execution provider `{provider}` does not work"))
            .because(cause)
            .hint("`tilefleet runtime doctor` says what this machine can do; `cpu` always works")
    })?;
    if agrees(&output) {
        return Ok(());
    }
    Err(Error::config(format!("the execution provider `{provider}` computes wrong results"))
        .because(format!("the probe gave {output:?}, not {EXPECTED:?}"))
        .hint("check the driver and the library versions; `cpu` always works"))
}

fn run(runtime: &Runtime, provider: Provider) -> Result<Vec<f32>, String> {
    let mut session = open(runtime, provider).map_err(|error| message_of(&error))?;
    let input: Vec<f32> = (0..INPUT_SHAPE.iter().product()).map(input_at).collect();
    let tensor = TensorRef::from_array_view((INPUT_SHAPE, &*input)).map_err(|error| message_of(&error))?;
    let outputs = session.run(ort::inputs![tensor]).map_err(|error| message_of(&error))?;
    let (_, output) = outputs[0].try_extract_tensor::<f32>().map_err(|error| message_of(&error))?;
    Ok(output.to_vec())
}

fn open(runtime: &Runtime, provider: Provider) -> ort::Result<Session> {
    let mut builder = new_builder(runtime)?.with_intra_threads(1)?;
    if let Some(registration) = provider.registration() {
        builder = builder.with_disable_cpu_fallback()?.with_execution_providers([registration])?;
    }
    builder.commit_from_memory(MODEL)
}

/// The same numbers as `pattern` in `scripts/make-probe`.
pub(super) fn input_at(index: usize) -> f32 {
    let step = u8::try_from(index * 37 % 17).expect("a remainder of 17 fits");
    (f32::from(step) - 8.0) / 8.0
}

pub(super) fn agrees(output: &[f32]) -> bool {
    let largest = EXPECTED.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let near = |(found, expected): (&f32, &f32)| (found - expected).abs() <= TOLERANCE * largest;
    output.len() == EXPECTED.len() && output.iter().zip(&EXPECTED).all(near)
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
