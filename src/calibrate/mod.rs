//! Makes an int8 model of an fp32 one: calibrates it on tiles, and compares both on others.
//!
//! Goes in: a model that fits its contract, and sources of the kind that it will see. Comes out: the int8 model
//! and a contract that says how it was made and how near it comes. `tilefleet model quantize` calls it. Nothing
//! here plans or writes; what is observed is what a run would give the model.
//!
//! ```text
//! tiles ─▶ fp32 graph, its activations looked at ─▶ ranges ─▶ each layer beside its 8-bit copy ─▶ biases
//!                                                                                                   │
//!                compare ◀─ near enough? ◀─ int8 graph ◀────────────────────────────────────────────┘
//!                                │ no            ▲
//!                                └─ worst layers ┘ float
//! ```

mod compare;
mod pool;
mod scenes;
mod shift;
mod tiles;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use bytes::Bytes;
use rayon::prelude::*;

pub use self::compare::Comparison;
pub use self::pool::LeftOut;
pub use self::tiles::{Reader, Split, TileSelection, Tiles, USUAL_CALIBRATION, USUAL_HELD_OUT};

use self::compare::Noise;
use self::shift::Shift;
use crate::models::quantise::{Histogram, Method, QuantisableGraph, Ranges, Shifts, with_contract};
use crate::models::{ContractOrigin, Model};
use crate::observe::stderr::{Level, say};
use crate::runtime::Runtime;
use crate::stages::infer::arithmetic::Products;
use crate::stages::infer::known;
use crate::stages::infer::known::Shade;
use crate::stages::infer::{InputBatch, IntermediateOutputs, Samples, Session, SessionOptions};
use crate::vocabulary::contract::{Contract, Quantisation, SampleType, StoredProbe};
use crate::vocabulary::contract::{LeftFloat, Target, WeightRange};
use crate::vocabulary::error::Result;
use crate::vocabulary::provider::Provider;
use crate::vocabulary::words::counted;

/// Chips a batch, where the model leaves it open: the activations of all of them are in memory at once.
const BATCH: NonZeroUsize = NonZeroUsize::new(4).expect("not zero");
/// Number of calibration tiles on which the mean rounding error of a channel is measured.
const SHIFT_TILES: usize = 64;
/// Number of calibration tiles on which the loss of each layer is measured.
const JUDGED_TILES: usize = 32;
/// A mean cosine of at least this is near enough for no layer to stay float.
const NEAR_ENOUGH: f64 = 0.99;
/// At most one layer in this many is kept in float automatically.
const LAYERS_A_FLOAT_ONE: usize = 8;

/// How a model is to be quantised.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is to run on.
    pub target: Target,
    /// Which integers weights become.
    pub weights: WeightRange,
    /// How ranges are chosen.
    pub method: Method,
    /// Layers that stay float.
    pub exclude: Vec<String>,
    /// How many more stay float, the noisiest first; `None`: as many as it takes.
    pub keep_worst: Option<usize>,
    /// Threads.
    pub threads: NonZeroUsize,
}

/// An int8 model and its contract.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The ONNX file.
    pub bytes: Bytes,
    /// What goes in and comes out, how it was made and how near it comes.
    pub contract: Contract,
}

/// An fp32 model to be quantised.
#[derive(Debug)]
pub struct Calibration<'a> {
    runtime: &'static Runtime,
    model: &'a Model,
    prepared: QuantisableGraph,
    settings: &'a Settings,
    /// Layers that stay float because somebody said so.
    named: BTreeSet<usize>,
}

impl<'a> Calibration<'a> {
    /// Checks whether a model can be quantised as wanted.
    ///
    /// # Errors
    ///
    /// `Config` if it cannot, `Usage` if it has no layer of a name that is to stay float.
    pub fn new(runtime: &'static Runtime, model: &'a Model, settings: &'a Settings) -> Result<Self> {
        let prepared = QuantisableGraph::of(
            model.bytes.clone(),
            &model.contract.output,
            settings.target,
            settings.weights,
        )?;
        let named = prepared.named(&settings.exclude)?;
        Ok(Self { runtime, model, prepared, settings, named })
    }

    /// Returns how many chips a batch must have.
    #[must_use]
    pub fn batch(model: &Model) -> NonZeroUsize {
        model.static_batch.and_then(NonZeroUsize::new).unwrap_or(BATCH)
    }

    /// Quantises the model.
    ///
    /// # Errors
    ///
    /// As [`Session`] and [`IntermediateOutputs`].
    pub fn quantise(&self, tiles: &Split) -> Result<Quantised> {
        say(Level::Info, &format!("calibrating on {}", counted(tiles.calibration.len() as u64, "tile")));
        let ranges = self.observe(&tiles.calibration)?;
        let shifts = self.shifts(&ranges, &tiles.calibration)?;
        let (int8, worst) = self.near_enough(&ranges, &shifts, &tiles.calibration)?;
        say(Level::Info, &format!("comparing on {}", counted(tiles.held_out.len() as u64, "other tile")));
        let comparison = self.compare(&int8, &tiles.held_out.batches)?;
        let probes = self.probes(&int8, &tiles.calibration)?;
        let contract = Contract {
            name: format!("{}-int8", self.model.contract.name),
            quantisation: Some(Quantisation { probes, ..self.record(tiles, &comparison, &worst) }),
            ..self.model.contract.clone()
        };
        Ok(Quantised { bytes: with_contract(int8, &contract)?, contract })
    }

    /// Runs the float graph and chooses a range for each tensor that will be 8-bit.
    fn observe(&self, tiles: &Tiles) -> Result<Ranges> {
        let tensors = self.prepared.observed();
        let mut histograms = vec![Histogram::default(); tensors.len()];
        let mut tap = self.tap(self.prepared.float(), tensors.clone())?;
        for batch in &tiles.batches {
            tap.run(batch, self.num_chips(batch), |values| {
                histograms.par_iter_mut().zip(values).for_each(|(histogram, values)| histogram.add(values));
            })?;
        }
        let is_symmetric = self.settings.target == Target::Tensorrt;
        let ranges = histograms.par_iter().map(|seen| seen.range(self.settings.method, is_symmetric));
        Ok(tensors.into_par_iter().zip(ranges).collect())
    }

    /// Measures what each layer's rounding takes from its channels in the mean.
    fn shifts(&self, ranges: &Ranges, tiles: &Tiles) -> Result<Shifts> {
        let (doubled, results) = self.prepared.doubled(ranges, &Shifts::new())?;
        let with_bias = results.into_iter().zip(self.prepared.biases());
        let (results, mut shifts): (Vec<_>, Vec<_>) = with_bias
            .filter_map(|(pair, num_channels)| Some((pair, Shift::of_channels(num_channels?))))
            .unzip();
        let mut tap = self.tap(doubled, results.iter().flatten().cloned().collect())?;
        for batch in &tiles.batches[..num_batches(tiles, SHIFT_TILES)] {
            tap.run(batch, self.num_chips(batch), |values| {
                let pairs = values.par_chunks_exact(2);
                shifts
                    .par_iter_mut()
                    .zip(pairs)
                    .for_each(|(shift, pair)| shift.add(batch.len(), pair[0], pair[1]));
            })?;
        }
        Ok(results.into_iter().map(|[exact, _]| exact).zip(shifts.iter().map(Shift::mean)).collect())
    }

    /// Returns the int8 graph, and which layers stay float in it for their noise, with their decibels.
    fn near_enough(
        &self,
        ranges: &Ranges,
        shifts: &Shifts,
        tiles: &Tiles,
    ) -> Result<(Bytes, Vec<(usize, f64)>)> {
        let batches = &tiles.batches[..num_batches(tiles, JUDGED_TILES)];
        let all = self.prepared.quantised(ranges, shifts, &self.named)?;
        let most = match self.settings.keep_worst {
            Some(0) => return Ok((all, Vec::new())),
            Some(number) => number,
            None if self.compare(&all, batches)?.cosine_mean() >= NEAR_ENOUGH => {
                return Ok((all, Vec::new()));
            }
            None => self.prepared.layers().len().div_ceil(LAYERS_A_FLOAT_ONE),
        };
        say(Level::Info, "measuring the loss of each layer");
        let mut worst = self.noise(ranges, shifts, batches)?.worst_first();
        worst.retain(|(layer, _)| !self.named.contains(layer));
        worst.truncate(most);
        let mut number = if self.settings.keep_worst.is_some() { most } else { 1 };
        loop {
            let kept = &worst[..number.min(worst.len())];
            let float = self.named.iter().copied().chain(kept.iter().map(|(layer, _)| *layer)).collect();
            let int8 = self.prepared.quantised(ranges, shifts, &float)?;
            if kept.len() == worst.len() || self.compare(&int8, batches)?.cosine_mean() >= NEAR_ENOUGH {
                return Ok((int8, kept.to_vec()));
            }
            number *= 2;
        }
    }

    /// Measures what each layer's rounding alone costs.
    fn noise(&self, ranges: &Ranges, shifts: &Shifts, batches: &[InputBatch]) -> Result<Noise> {
        let (doubled, results) = self.prepared.doubled(ranges, shifts)?;
        let mut noise = Noise::of_layers(results.len());
        let mut tap = self.tap(doubled, results.into_iter().flatten().collect())?;
        for batch in batches {
            tap.run(batch, self.num_chips(batch), |values| {
                for (layer, pair) in values.chunks_exact(2).enumerate() {
                    noise.add(layer, pair[0], pair[1]);
                }
            })?;
        }
        Ok(noise)
    }

    /// Runs both models on the same tiles.
    fn compare(&self, int8: &Bytes, batches: &[InputBatch]) -> Result<Comparison> {
        let output = &self.model.contract.output;
        let (mut exact, mut rounded) = (self.session(&self.model.bytes)?, self.session(int8)?);
        let mut comparison = Comparison::default();
        for batch in batches {
            let (exact, rounded) = (exact.run(batch)?, rounded.run(batch)?);
            comparison.add_embeddings(exact.embeddings(), rounded.embeddings(), output.embedding_length);
            if let (Some(exact), Some(rounded), Some(classifier)) =
                (exact.logits(), rounded.logits(), &output.classifier)
            {
                comparison.add_logits(exact, rounded, classifier.num_classes);
            }
        }
        Ok(comparison)
    }

    fn record(&self, tiles: &Split, comparison: &Comparison, worst: &[(usize, f64)]) -> Quantisation {
        let names: Vec<&str> = self.prepared.layers().collect();
        let left = |layer: usize, reason: String| LeftFloat { layer: names[layer].to_owned(), reason };
        let mut float_layers = self.prepared.left().to_vec();
        float_layers.extend(self.named.iter().map(|&layer| left(layer, "named by --exclude".to_owned())));
        float_layers.extend(worst.iter().map(|&(layer, decibels)| {
            left(layer, format!("its rounding loses most: signal to noise {decibels:.1} dB"))
        }));
        let has_classifier = self.model.contract.output.classifier.is_some();
        Quantisation {
            target: self.settings.target,
            weights: Some(self.settings.weights),
            method: self.settings.method.to_string(),
            source_digest: self.model.digest.clone(),
            assumed_contract: self.model.contract_origin == ContractOrigin::Assumed,
            calibration_tiles: tiles.calibration.len(),
            held_out_tiles: tiles.held_out.len(),
            cosine_mean: rounded(comparison.cosine_mean()),
            cosine_min: rounded(comparison.cosine_min()),
            top1_agreement: has_classifier.then(|| rounded(comparison.top1_agreement())),
            logits_error: has_classifier.then(|| rounded(comparison.logits_error())),
            int8_layers: names.len() - self.named.len() - worst.len(),
            float_layers,
            probes: Vec::new(),
        }
    }

    /// Returns what the int8 model gives for a dark and a bright chip; nothing where other processors would give
    /// something else.
    fn probes(&self, int8: &Bytes, tiles: &Tiles) -> Result<Vec<StoredProbe>> {
        if self.settings.weights == WeightRange::Full && Products::here() == Products::Saturating {
            return Ok(Vec::new());
        }
        let (contract, (low, high)) = (&self.model.contract, self.sample_range(tiles));
        let mut session = self.session(int8)?;
        let stored = Shade::ALL.map(|shade| known::store(&mut session, contract, shade, low, high));
        Ok(stored.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    /// Returns the darkest and the brightest sample that the model gets.
    fn sample_range(&self, tiles: &Tiles) -> (f32, f32) {
        if self.model.contract.input.sample_type == SampleType::Uint8 {
            return (0.0, 255.0);
        }
        let samples = tiles.batches.iter().flat_map(|batch| match batch.samples() {
            Samples::F32(samples) => &samples[..batch.len() * batch.chip_len()],
            Samples::U8(_) => &[],
        });
        let finite = samples.copied().filter(|sample| sample.is_finite());
        let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), sample| {
            (low.min(sample), high.max(sample))
        });
        if low <= high { (low, high) } else { (0.0, 1.0) }
    }

    fn session(&self, model: &Bytes) -> Result<Session> {
        let options = SessionOptions::new(Provider::Cpu, self.settings.threads);
        Session::open(self.runtime, model, &self.model.contract, &options)
    }

    fn tap(&self, model: Bytes, tensors: Vec<String>) -> Result<IntermediateOutputs> {
        IntermediateOutputs::open(self.runtime, model, tensors, self.settings.threads)
    }

    /// Returns how many chips are computed for a batch: a static model pads it.
    fn num_chips(&self, batch: &InputBatch) -> usize {
        self.model.static_batch.unwrap_or(batch.len())
    }
}

/// Returns how many batches have this many tiles, or all batches.
fn num_batches(tiles: &Tiles, num_tiles: usize) -> usize {
    let batch_len = tiles.batches.first().map_or(1, InputBatch::len);
    tiles.batches.len().min(num_tiles.div_ceil(batch_len))
}

/// Six digits are more than such a figure is worth.
fn rounded(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}
