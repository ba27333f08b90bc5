//! Chips whose embeddings are known: the contract of an int8 model has them from where the model was made.
//!
//! One is dark and one is bright. Integer arithmetic that saturates goes wrong on bright ones alone, so that a single
//! chip, or an average over many, would not show it.

use std::num::NonZeroUsize;

use super::batch::{InputBatch, SamplesMut};
use super::runner::BatchRunner;
use crate::vocabulary::contract::{Contract, Input, StoredProbe};
use crate::vocabulary::error::{Error, Result};

/// Values of an embedding that are kept.
const MAX_VALUES: usize = 64;

/// Length of the difference over that of the stored embedding. Another order of additions moves a rounding step here
/// and there, far less than this; saturation moves the bright chip by a third and more.
pub const TOLERANCE: f64 = 0.1;

/// How bright a chip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shade {
    /// Samples from the lowest tenth of the range.
    Dark,
    /// Samples from the highest tenth.
    Bright,
}

impl Shade {
    /// Every shade.
    pub const ALL: [Self; 2] = [Self::Dark, Self::Bright];

    fn name(self) -> &'static str {
        match self {
            Self::Dark => "dark",
            Self::Bright => "bright",
        }
    }

    /// Returns the tenth of the range that its samples are from.
    fn of(self, low: f32, high: f32) -> (f32, f32) {
        let tenth = (high - low) / 10.0;
        match self {
            Self::Dark => (low, low + tenth),
            Self::Bright => (high - tenth, high),
        }
    }
}

/// Runs a model on a synthetic chip and returns what a contract keeps of it; `None` if that says nothing.
///
/// - `low`, `high`: the darkest and the brightest sample that the input tensor takes
///
/// # Errors
///
/// As [`BatchRunner::run`].
pub fn store(
    runner: &mut dyn BatchRunner,
    contract: &Contract,
    shade: Shade,
    low: f32,
    high: f32,
) -> Result<Option<StoredProbe>> {
    let (low, high) = shade.of(low, high);
    let (low, high) = (f64::from(low), f64::from(high));
    let embedding = answer(runner, &contract.input, low, high)?;
    let says_something = embedding.iter().all(|value| value.is_finite()) && length(&embedding) > 0.0;
    let embedding = embedding.into_iter().map(rounded).collect();
    let (chip, tensor) = (shade.name().to_owned(), contract.output.embedding.clone());
    Ok(says_something.then_some(StoredProbe { chip, low, high, tensor, embedding }))
}

/// Compares what a model gives here with what its contract keeps; of a contract that keeps nothing, or of another
/// tensor, nothing is known.
///
/// - `tolerance`: the largest difference, as a share of the stored embedding's length
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if an embedding is another; else as [`BatchRunner::run`].
pub fn check(runner: &mut dyn BatchRunner, contract: &Contract, tolerance: f64) -> Result<()> {
    let stored = contract.quantisation.iter().flat_map(|record| &record.probes);
    for probe in stored.filter(|probe| probe.tensor == contract.output.embedding) {
        let found = answer(runner, &contract.input, probe.low, probe.high)?;
        let off = difference(&probe.embedding, &found);
        if off.is_nan() || off > tolerance {
            return Err(differs(&probe.chip, off, tolerance));
        }
    }
    Ok(())
}

fn differs(chip: &str, off: f64, tolerance: f64) -> Error {
    let percent = |share: f64| (1000.0 * share).round() / 10.0;
    let (off, tolerance) = (percent(off), percent(tolerance));
    Error::config("with this int8 model this processor computes other rows than the one that made it")
        .because(format!("the embedding of the {chip} probe differs by {off} %, {tolerance} % is allowed"))
        .hint(
            "let processors that compute the same do the run; if all differ, quantise the fp32 model again with this \
             version's `tilefleet model quantize`, and if the error stays, report it; `--set run.probe_tolerance=SHARE` \
             accepts rows that differ by more",
        )
}

/// Returns some values of the embedding of a chip.
fn answer(runner: &mut dyn BatchRunner, input: &Input, low: f64, high: f64) -> Result<Vec<f64>> {
    let capacity = runner.static_batch().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN);
    let mut batch = InputBatch::new(input, capacity);
    let sample = |index: usize| low + (high - low) * (index * 37 % 101) as f64 / 100.0;
    match batch.samples_mut() {
        SamplesMut::U8(samples) => {
            samples.iter_mut().enumerate().for_each(|(index, to)| *to = sample(index).round() as u8);
        }
        SamplesMut::F32(samples) => {
            samples.iter_mut().enumerate().for_each(|(index, to)| *to = sample(index) as f32);
        }
    }
    batch.set_len(1);
    let outputs = runner.run(&batch)?;
    let embedding = outputs.embeddings();
    let step = embedding.len().div_ceil(MAX_VALUES).max(1);
    Ok(embedding.iter().step_by(step).map(|value| f64::from(*value)).collect())
}

/// Returns the length of the difference over that of what is stored; NaN if there is another number of values.
fn difference(stored: &[f64], found: &[f64]) -> f64 {
    if stored.len() != found.len() {
        return f64::NAN;
    }
    let difference: Vec<f64> = stored.iter().zip(found).map(|(stored, found)| stored - found).collect();
    length(&difference) / length(stored)
}

fn length(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// Six digits after the point or six in all, whichever is more.
fn rounded(value: f64) -> f64 {
    let digits = if value == 0.0 { 0 } else { 5 - (value.abs().log10().floor() as i32).min(0) };
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_length_is_the_most_that_may_be_off() {
        assert!(difference(&[3.0, 4.0], &[3.0, 4.4]) < TOLERANCE);
        assert!(difference(&[3.0, 4.0], &[3.0, 4.6]) > TOLERANCE);
        for strange in [&[3.0][..], &[f64::NAN, 4.0]] {
            assert!(difference(&[3.0, 4.0], strange).is_nan());
        }
    }

    #[test]
    fn shades_are_the_ends_of_the_range() {
        assert_eq!((Shade::Dark.of(0.0, 255.0), Shade::Bright.of(0.0, 255.0)), ((0.0, 25.5), (229.5, 255.0)));
    }

    #[test]
    fn stored_values_have_six_digits() {
        assert_eq!(rounded(0.000_123_456_78).to_string(), "0.000123457");
        assert_eq!(rounded(-12.345_678_9).to_string(), "-12.34568");
        assert_eq!(rounded(0.0).to_string(), "0");
    }
}
