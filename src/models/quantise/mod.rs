//! Quantises a float graph: from ranges of its activations to an int8 graph.
//!
//! Goes in: an fp32 model that fits its contract. [`QuantisableGraph`] says which tensors have to be observed; once there
//! are ranges for them, out comes the model with pairs of `QuantizeLinear` and `DequantizeLinear` around
//! convolutions, hidden fully connected layers, residual sums and maximum pools. Weights are signed with a scale
//! for each output channel. Biases stay float, and give back what rounding takes from a channel in the mean; the
//! embedding, what pools it, and the classifier stay as they are.
//! `calibrate` calls it; nothing here runs a model.

mod layers;
mod prepare;
mod range;
mod rewrite;
mod weights;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use prost::Message;

pub use self::range::{Histogram, Method, Range};
pub use self::rewrite::{Ranges, Shifts};

use self::layers::Layers;
use self::rewrite::Rewriter;
use super::onnx::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};
use crate::vocabulary::contract::{Contract, LeftFloat, METADATA_KEY, Output, Target, WeightRange};
use crate::vocabulary::error::{Error, Result};

/// A float model that can be quantised.
#[derive(Debug)]
pub struct QuantisableGraph {
    model: ModelProto,
    layers: Layers,
    left: Vec<LeftFloat>,
    target: Target,
    weight_range: WeightRange,
}

impl QuantisableGraph {
    /// Reads a model, folds its batch norms and finds its layers.
    ///
    /// - `bytes`: an fp32 ONNX file
    /// - `output`: what it yields, which stays float
    ///
    /// # Errors
    ///
    /// [`Kind::Config`](crate::vocabulary::error::Kind::Config) if it cannot be quantised.
    pub fn of(bytes: Bytes, output: &Output, target: Target, weight_range: WeightRange) -> Result<Self> {
        let undecodable = |cause| Error::config("the model is not an ONNX model").because(cause);
        let mut model = ModelProto::decode(bytes).map_err(undecodable)?;
        let mut graph = model.graph.take().unwrap_or_default();
        prepare::check(&model, &graph)?;
        prepare::hoist_constants(&mut graph);
        let mut left = prepare::fold_batch_norms(&mut graph);
        prepare::flatten_input_stage(&mut graph, target);
        let (layers, unfit) = Layers::of(&graph, output);
        left.extend(unfit);
        if layers.layers.is_empty() {
            return Err(Error::config("the model has no layer that can be quantised")
                .because(
                    "only convolutions with constant float32 weights, and what lies between them, are \
                     quantised",
                )
                .hint("`tilefleet model inspect` lists its operators"));
        }
        model.graph = Some(graph);
        Ok(Self { model, layers, left, target, weight_range })
    }

    /// Returns the names of the layers that can be quantised.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = &str> {
        self.layers.layers.iter().map(|layer| layer.name.as_str())
    }

    /// Returns what stays float whatever is asked for.
    pub fn left(&self) -> &[LeftFloat] {
        &self.left
    }

    /// Returns the layers that people mean by these names.
    ///
    /// # Errors
    ///
    /// [`Kind::Usage`](crate::vocabulary::error::Kind::Usage) if a name means none.
    pub fn named(&self, names: &[String]) -> Result<BTreeSet<usize>> {
        let (found, unknown) = self.layers.named(self.graph(), names);
        if unknown.is_empty() {
            return Ok(found);
        }
        let some: Vec<&str> = self.layers().take(4).collect();
        Err(Error::usage(format!("the model has no layer {}", unknown.join(", ")))
            .hint(format!("its layers are named like {}", some.join(", "))))
    }

    /// Returns the float model.
    pub fn float(&self) -> Bytes {
        self.with_graph(self.graph().clone())
    }

    /// Returns the tensors whose ranges have to be known.
    pub fn observed(&self) -> Vec<String> {
        let sources: BTreeSet<String> = self.layers.tensors(&BTreeSet::new()).into_values().collect();
        sources.into_iter().collect()
    }

    /// Returns the int8 model.
    ///
    /// - `float`: layers that stay float
    ///
    /// # Errors
    ///
    /// [`Kind::Bug`](crate::vocabulary::error::Kind::Bug) if a range is missing.
    pub fn quantised(&self, ranges: &Ranges, shifts: &Shifts, float: &BTreeSet<usize>) -> Result<Bytes> {
        Ok(self.with_graph(self.rewriter(ranges, shifts).quantised(float)?))
    }

    /// Returns the float model with a quantised copy of each layer beside it, and for each layer the tensors that
    /// hold its exact result and its copy's.
    ///
    /// # Errors
    ///
    /// As [`Self::quantised`].
    pub fn doubled(&self, ranges: &Ranges, shifts: &Shifts) -> Result<(Bytes, Vec<[String; 2]>)> {
        let (graph, results) = self.rewriter(ranges, shifts).doubled()?;
        Ok((self.with_graph(graph), results))
    }

    /// Returns for each layer how many channels its bias has, or can be given; `None` if it adds no bias.
    pub fn biases(&self) -> impl Iterator<Item = Option<usize>> {
        let initializers = by_name(&self.graph().initializer);
        self.layers.layers.iter().map(move |layer| {
            let weights = layer.weights.as_ref().filter(|_| !self.graph().node[layer.node].is("MatMul"))?;
            Some(initializers[weights.name.as_str()].dims[weights.axis] as usize)
        })
    }

    fn rewriter<'a>(&'a self, ranges: &'a Ranges, shifts: &'a Shifts) -> Rewriter<'a> {
        Rewriter::new(self.graph(), &self.layers, ranges, shifts, self.target, self.weight_range)
    }

    fn graph(&self) -> &GraphProto {
        self.model.graph.as_ref().expect("set when prepared")
    }

    fn with_graph(&self, graph: GraphProto) -> Bytes {
        let model = ModelProto { graph: Some(graph), ..self.model.clone() };
        model.encode_to_vec().into()
    }
}

/// Returns the model with this contract in its metadata.
///
/// # Errors
///
/// [`Kind::Bug`](crate::vocabulary::error::Kind::Bug) if it cannot be written.
pub fn with_contract(model: Bytes, contract: &Contract) -> Result<Bytes> {
    let undecodable = |cause| Error::bug("a model that was written cannot be read").because(cause);
    let mut model = ModelProto::decode(model).map_err(undecodable)?;
    model.metadata_props.retain(|entry| entry.key() != METADATA_KEY);
    model.metadata_props.push(StringStringEntryProto::new(METADATA_KEY, contract.to_canonical_json()?));
    Ok(model.encode_to_vec().into())
}

fn by_name(tensors: &[TensorProto]) -> HashMap<&str, &TensorProto> {
    tensors.iter().map(|tensor| (tensor.name(), tensor)).collect()
}
