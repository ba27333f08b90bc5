//! Whether a model gives a chip the same row whatever else is in its batch.
//!
//! It has to: which chips share a batch depends on machines and moments, and a row does not. A graph that was exported
//! in training mode, or works along axis 0 somewhere (a softmax, a mean, a reshape that takes the batch for features),
//! breaks it and still gives outputs of the right shape. So before any tile is read two synthetic chips go through the
//! first session: each alone, and both together in either order.

use std::num::NonZeroUsize;

use super::batch::{InputBatch, SamplesMut};
use super::outputs::Outputs;
use super::runner::{BatchRunner, SessionSlot};
use crate::runtime::failure::Failure;
use crate::vocabulary::contract::precision::Precision;
use crate::vocabulary::contract::{Contract, Input, Layout, Normalise};
use crate::vocabulary::error::{Error, Result};

/// How a session takes its batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batches {
    /// As many chips as there are.
    OfAnySize,
    /// Always as many as fit, the tail padded.
    Full,
}

/// Runs two synthetic chips in several batches and compares their rows.
///
/// On a processor that is 6 chips, elsewhere 4 batches; where a batch is one chip, the same chip twice.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if a chip's row depends on what else is in its batch, or differs from
/// one time to the next; else as [`BatchRunner::run`].
pub fn check(
    slot: &mut SessionSlot,
    contract: &Contract,
    precision: Precision,
    batches: Batches,
) -> Result<()> {
    loop {
        let capacity = slot.device.batch();
        let checked = RowCheck { runner: &mut *slot.runner, contract, precision, batches }.at(capacity);
        match checked {
            // As when a run begins: what does not fit is halved, for all sessions of the device.
            Err(Failure::OutOfMemory(error)) => {
                if slot.runner.static_batch().is_some() || slot.device.halve(capacity).is_none() {
                    return Err(error);
                }
                slot.runner.shrink(slot.device.batch())?;
            }
            checked => return Ok(checked?),
        }
    }
}

struct RowCheck<'a> {
    runner: &'a mut dyn BatchRunner,
    contract: &'a Contract,
    precision: Precision,
    batches: Batches,
}

/// The two chips; alone each has another row.
#[derive(Clone, Copy, PartialEq)]
enum Chip {
    Even,
    Striped,
}

impl RowCheck<'_> {
    fn at(&mut self, capacity: NonZeroUsize) -> Result<(), Failure> {
        let mut batch = self.runner.new_batch(capacity).map_err(Failure::Other)?;
        let is_full = self.batches == Batches::Full || self.runner.static_batch().is_some();
        let len = if is_full { capacity.get() } else { capacity.get().min(2) };
        // Where a batch is always full, a chip's only company are its like.
        let alone = |chip| vec![chip; if is_full { len } else { 1 }];
        let striped = self.run(&mut batch, &alone(Chip::Striped))?.row(0);
        if len == 1 {
            let again = self.run(&mut batch, &alone(Chip::Striped))?.row(0);
            return self.same(&striped, &again, changing);
        }
        let even = self.run(&mut batch, &alone(Chip::Even))?.row(0);
        let mut chips = vec![Chip::Even; len];
        chips[0] = Chip::Striped;
        let in_front = self.run(&mut batch, &chips)?;
        chips.rotate_left(1);
        let behind = self.run(&mut batch, &chips)?;
        let last = len - 1;
        let pairs = [
            (&striped, in_front.row(0)),
            (&striped, behind.row(last)),
            (&even, in_front.row(last)),
            (&even, behind.row(0)),
        ];
        let mixed = pairs.iter().try_for_each(|(alone, together)| self.same(alone, together, mixing));
        if mixed.is_err() {
            // A row that changes by itself says nothing of the batch.
            let again = self.run(&mut batch, &alone(Chip::Striped))?.row(0);
            self.same(&striped, &again, changing)?;
        }
        mixed
    }

    fn run(&mut self, batch: &mut InputBatch, chips: &[Chip]) -> Result<Rows, Failure> {
        for (slot, chip) in chips.iter().enumerate() {
            chip.write(&self.contract.input, batch, slot);
        }
        batch.set_len(chips.len());
        self.runner.run(batch).map(Rows)
    }

    /// Compares two rows that should be one.
    fn same(&self, one: &Row, two: &Row, differ: fn(String) -> Error) -> Result<(), Failure> {
        let most = tolerance(self.precision);
        for (what, one, two) in
            [("embedding", &one.embedding, &two.embedding), ("logits", &one.logits, &two.logits)]
        {
            let off = difference(one, two);
            if off > most {
                let cause = format!(
                    "the {what} of a synthetic chip differs by {:.2} %, {} % is allowed for rounding",
                    100.0 * off,
                    100.0 * most
                );
                return Err(Failure::Other(differ(cause)));
            }
        }
        Ok(())
    }
}

fn mixing(cause: String) -> Error {
    Error::config("a row of this model depends on the other chips in the batch").because(cause).hint(
        "export it in evaluation mode (in PyTorch, model.eval()), and check for operators along axis 0, such \
         as Softmax, ReduceMean or Reshape; `--set run.batch=1` runs each chip alone",
    )
}

fn changing(cause: String) -> Error {
    Error::config("this model gives a different row for the same chip each time").because(cause).hint(
        "export it in evaluation mode (in PyTorch, model.eval()): a dropout or a random number is left in the graph",
    )
}

/// Outputs of a batch, row by row.
struct Rows(Outputs);

/// What a chip gave.
struct Row {
    embedding: Vec<f32>,
    /// Empty for a headless model.
    logits: Vec<f32>,
}

impl Rows {
    fn row(&self, index: usize) -> Row {
        let Self(outputs) = self;
        let of = |values: &[f32]| {
            let length = values.len() / outputs.len();
            values[index * length..(index + 1) * length].to_vec()
        };
        Row { embedding: of(outputs.embeddings()), logits: outputs.logits().map(of).unwrap_or_default() }
    }
}

impl Chip {
    /// Lays the chip out as the model's input.
    fn write(self, input: &Input, batch: &mut InputBatch, slot: usize) {
        let range = slot * batch.chip_len()..(slot + 1) * batch.chip_len();
        let num_bands = input.bands.len();
        let band = |index: usize| match input.layout {
            Layout::Nhwc => index % num_bands,
            Layout::Nchw => index / (input.width as usize * input.height as usize),
        };
        match batch.samples_mut() {
            SamplesMut::U8(samples) => {
                let chip = samples[range].iter_mut().enumerate();
                chip.for_each(|(index, to)| *to = (255.0 * self.brightness(index)) as u8);
            }
            SamplesMut::F32(samples) => {
                let chip = samples[range].iter_mut().enumerate();
                chip.for_each(|(index, to)| *to = value(input, band(index), self.brightness(index)) as f32);
            }
        }
    }

    /// Returns how bright a sample is, from 0 to 1.
    fn brightness(self, index: usize) -> f64 {
        match self {
            Self::Even => 0.15 + 0.1 * (index % 7) as f64 / 6.0,
            Self::Striped => 0.4 + 0.6 * (index * 37 % 101) as f64 / 100.0,
        }
    }
}

/// Returns what the input tensor takes for a sample of this brightness.
fn value(input: &Input, band: usize, brightness: f64) -> f64 {
    let greatest = match input.unit_of(band) {
        "srgb8" | "tci8" => 255.0,
        "dn" => 10_000.0,
        _ => 1.0,
    };
    let sample = brightness * greatest;
    let Some(Normalise { scale, clamp, mean, std }) = &input.normalise else { return sample };
    let scaled = sample * scale.of(band);
    let clamped = clamp.map_or(scaled, |[least, greatest]| scaled.clamp(least, greatest));
    (clamped - mean[band]) / std[band]
}

/// Length of the difference of two rows over that of a row that is allowed.
///
/// A batch of another size adds in another order, which moves a row of 32-bit floats by some 10⁻⁶ of its length, and
/// of floats with 10 bits by some 10⁻³. In 8 bits such a difference can move a value a whole step, as much as between
/// processors (see [`super::known`]). Where rows are mixed, it is tens of percent.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => 1e-3,
        Precision::Tf32 | Precision::Fp16 => 2e-2,
        Precision::Int8 => 1e-1,
    }
}

/// Returns the length of the difference over that of the longer row; values that are not finite in both say nothing.
fn difference(one: &[f32], two: &[f32]) -> f64 {
    let (mut off, mut lengths) = (0.0, [0.0, 0.0]);
    for (&one, &two) in one.iter().zip(two) {
        if !one.is_finite() && !two.is_finite() {
            continue;
        }
        let (one, two) = (f64::from(one), f64::from(two));
        off += (one - two).powi(2);
        lengths[0] += one * one;
        lengths[1] += two * two;
    }
    if off == 0.0 {
        return 0.0;
    }
    let relative = (off / f64::max(lengths[0], lengths[1])).sqrt();
    // A value is finite in one row only.
    if relative.is_nan() { f64::INFINITY } else { relative }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::models::onnx::{
        AttributeProto, Dimension, FLOAT, GraphProto, INT64, ModelProto, NodeProto, OperatorSetIdProto,
        TensorProto, ValueInfoProto,
    };
    use crate::runtime;
    use crate::runtime::probe;
    use crate::stages::infer::runner::Device;
    use crate::stages::infer::{Session, SessionOptions};
    use crate::vocabulary::error::Kind;
    use crate::vocabulary::provider::Provider;

    fn size(number: usize) -> NonZeroUsize {
        NonZeroUsize::new(number).unwrap()
    }

    /// Pooled pixels, `[N, 3]`, and what is made of them; the last tensor is the embedding.
    fn model(batch: Dimension, nodes: Vec<NodeProto>) -> bytes::Bytes {
        let pooled = [
            NodeProto::new("GlobalAveragePool", &["input"], "pooled", vec![]),
            NodeProto::new("Flatten", &["pooled"], "rows", vec![]),
        ];
        let node: Vec<NodeProto> = pooled.into_iter().chain(nodes).collect();
        let numbers = |name: &str, values: &[i64]| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            TensorProto::new(name, INT64, &[values.len()], bytes)
        };
        let output = node.last().unwrap().output[0].clone();
        let pixels = vec![batch, Dimension::fixed(3), Dimension::fixed(8), Dimension::fixed(8)];
        let model = ModelProto {
            ir_version: Some(8),
            opset_import: vec![OperatorSetIdProto::onnx(17)],
            graph: Some(GraphProto {
                name: Some("g".to_owned()),
                node,
                initializer: vec![numbers("as_rows", &[-1, 3]), numbers("zero", &[0])],
                input: vec![ValueInfoProto::new("input", FLOAT, pixels)],
                output: vec![ValueInfoProto::untyped(&output)],
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        };
        model.encode_to_vec().into()
    }

    fn axis_0(op_type: &str, input: &str, output: &str) -> NodeProto {
        NodeProto::new(op_type, &[input], output, vec![AttributeProto::int("axis", 0)])
    }

    fn checked(batch: Dimension, nodes: Vec<NodeProto>, batches: Batches, capacity: usize) -> Result<()> {
        checked_with(1e-4, batch, nodes, batches, capacity)
    }

    /// - `scale`: of samples up to 10,000
    fn checked_with(
        scale: f64,
        batch: Dimension,
        nodes: Vec<NodeProto>,
        batches: Batches,
        capacity: usize,
    ) -> Result<()> {
        let mut contract = probe::contract();
        let (scale, mean, std) = (scale.into(), vec![0.5; 3], vec![0.25; 3]);
        contract.input.normalise = Some(Normalise { scale, clamp: None, mean, std });
        let output = nodes.last().map_or("rows", |node| node.output[0].as_str());
        (contract.output.embedding, contract.output.embedding_length) = (output.to_owned(), 3);
        let runtime = runtime::load()
            .or_else(|_| runtime::install(&runtime::InstallOptions::default()).and_then(|_| runtime::load()));
        let mut options = SessionOptions::new(Provider::Cpu, size(1));
        options.fixed_batch = (batches == Batches::Full).then(|| size(capacity));
        let session = Session::open(runtime.unwrap(), &model(batch, nodes), &contract, &options)?;
        let device = Device::new("cpu".to_owned(), size(capacity));
        let mut slot = SessionSlot { runner: Box::new(session), device };
        check(&mut slot, &contract, Precision::Fp32, batches)
    }

    fn refused(nodes: Vec<NodeProto>) -> String {
        let any = |nodes, batches, capacity| checked(Dimension::named("N"), nodes, batches, capacity);
        let messages = [
            any(nodes.clone(), Batches::OfAnySize, 16),
            any(nodes.clone(), Batches::Full, 4),
            checked(Dimension::fixed(3), nodes, Batches::OfAnySize, 3),
        ]
        .map(|checked| {
            let error = checked.unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            error.render()
        });
        messages.join("\n")
    }

    #[test]
    fn a_softmax_over_the_batch_is_found() {
        let message = refused(vec![axis_0("Softmax", "rows", "shares")]);
        let found = message.matches("a row of this model depends on the other chips in the batch").count();
        assert_eq!(found, 3, "{message}");
        // One chip takes all, with the other or without it; of the other nothing is left.
        let nodes = vec![axis_0("Softmax", "rows", "shares")];
        let winner = checked_with(1.0, Dimension::named("N"), nodes, Batches::OfAnySize, 16);
        assert!(winner.unwrap_err().render().contains("depends on the other chips"));
    }

    /// As in batch norm in training mode: the mean of all rows is taken off each.
    #[test]
    fn a_mean_over_the_batch_is_found() {
        let mean = NodeProto::new("ReduceMean", &["rows"], "mean", vec![AttributeProto::ints("axes", &[0])]);
        let message = refused(vec![mean, NodeProto::new("Sub", &["rows", "mean"], "centred", vec![])]);
        assert_eq!(message.matches("depends on the other chips in the batch").count(), 3, "{message}");
    }

    /// The right number of rows, and each has values of several chips.
    #[test]
    fn a_reshape_that_takes_the_batch_for_features_is_found() {
        let transposed = NodeProto::new("Transpose", &["rows"], "columns", vec![]);
        let message =
            refused(vec![transposed, NodeProto::new("Reshape", &["columns", "as_rows"], "mixed", vec![])]);
        assert_eq!(message.matches("depends on the other chips in the batch").count(), 3, "{message}");
    }

    /// A chip that sees those before it, or those behind it, only.
    #[test]
    fn a_running_sum_along_the_batch_is_found() {
        for reverse in [0, 1] {
            let reverse = AttributeProto::int("reverse", reverse);
            let message = refused(vec![NodeProto::new("CumSum", &["rows", "zero"], "sums", vec![reverse])]);
            assert_eq!(message.matches("depends on the other chips in the batch").count(), 3, "{message}");
        }
    }

    #[test]
    fn a_random_number_in_the_graph_is_not_taken_for_the_batch() {
        let noise = NodeProto::new("RandomUniformLike", &["rows"], "noise", vec![]);
        let nodes = vec![noise, NodeProto::new("Add", &["rows", "noise"], "noisy", vec![])];
        let message = refused(nodes.clone());
        assert_eq!(message.matches("a different row for the same chip each time").count(), 3, "{message}");
        let alone = checked(Dimension::fixed(1), nodes, Batches::OfAnySize, 1).unwrap_err().render();
        assert!(alone.contains("a different row for the same chip each time"), "{alone}");
    }

    #[test]
    fn a_sound_model_passes_whatever_its_batch() {
        let nodes = || {
            vec![
                axis_0("Flatten", "rows", "flat"),
                NodeProto::new("Reshape", &["flat", "as_rows"], "same", vec![]),
            ]
        };
        for (batch, batches, capacity) in [
            (Dimension::named("N"), Batches::OfAnySize, 16),
            (Dimension::named("N"), Batches::OfAnySize, 1),
            (Dimension::named("N"), Batches::Full, 4),
            (Dimension::fixed(1), Batches::OfAnySize, 1),
            (Dimension::fixed(5), Batches::OfAnySize, 5),
        ] {
            checked(batch, nodes(), batches, capacity).unwrap();
        }
        // Not a number for any chip, which says nothing.
        let undefined = vec![
            NodeProto::new("Neg", &["rows"], "negative", vec![]),
            NodeProto::new("Sqrt", &["negative"], "roots", vec![]),
        ];
        checked(Dimension::named("N"), undefined, Batches::OfAnySize, 16).unwrap();
    }

    /// Batches continue with fewer chips if several do not fit, as in a run.
    #[test]
    fn a_batch_that_does_not_fit_is_halved() {
        struct Small(Vec<usize>);
        impl BatchRunner for Small {
            fn static_batch(&self) -> Option<usize> {
                None
            }
            fn new_batch(&self, capacity: NonZeroUsize) -> Result<InputBatch> {
                Ok(InputBatch::new(&probe::contract().input, capacity))
            }
            fn run(&mut self, batch: &InputBatch) -> Result<Outputs, Failure> {
                if batch.len() > 4 {
                    return Err(Failure::OutOfMemory(Error::unavailable("too large")));
                }
                Ok(Outputs::new(vec![1.0; 4 * batch.len()], None, batch.len()))
            }
            fn shrink(&mut self, capacity: NonZeroUsize) -> Result<()> {
                self.0.push(capacity.get());
                Ok(())
            }
        }
        let device = Device::new("cuda:0".to_owned(), size(16));
        let mut slot = SessionSlot { runner: Box::new(Small(Vec::new())), device: device.clone() };
        check(&mut slot, &probe::contract(), Precision::Fp32, Batches::Full).unwrap();
        assert_eq!(device.batch(), size(4));
    }

    #[test]
    fn rows_differ_by_their_length_and_by_what_is_finite_in_one_only() {
        assert!(difference(&[0.0, 0.0], &[0.0, 0.0]).abs() < 1e-12);
        assert!((difference(&[3.0, 4.0], &[3.0, 4.5]) - 0.5 / 29.25_f64.sqrt()).abs() < 1e-9);
        assert!(difference(&[f32::NAN, 1.0], &[f32::NAN, 1.0]).abs() < 1e-12);
        for (one, two) in
            [([f32::NAN, 1.0], [2.0, 1.0]), ([0.0, 1.0], [f32::INFINITY, 1.0]), ([f32::NAN, 0.0], [0.0; 2])]
        {
            assert!(difference(&one, &two).is_infinite(), "{one:?} {two:?}");
        }
    }
}
