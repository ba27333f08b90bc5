//! Puts `QuantizeLinear` and `DequantizeLinear` around the layers that compute in 8 bits.
//!
//! ```text
//! float graph:      x ─▶ Conv(w) ─▶ Relu ─▶ y
//! quantised:        x ─▶ Q ─▶ DQ ─▶ Conv(DQ(w)) ─▶ Relu ─▶ y ─▶ Q ─▶ DQ ─▶ …
//! ```
//!
//! A runtime that knows such pairs computes what lies between them in integers; one that does not gets the same
//! numbers in floats. Every tensor has one pair, which all that read it share.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::by_name;
use super::layers::{Layer, Layers};
use super::range::Range;
use super::weights::QuantisedWeights;
use crate::models::onnx::{AttributeProto, GraphProto, INT8, NodeProto, TensorProto, UINT8, ValueInfoProto};
use crate::vocabulary::contract::{Target, WeightRange};
use crate::vocabulary::error::{Error, Result};

/// Ranges by tensor.
pub type Ranges = HashMap<String, Range>;

/// What rounding takes from each channel of a layer's result in the mean, and its bias is to give back; by result.
///
/// # Reference
///
/// Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2;
/// the means are measured on tiles.
pub type Shifts = HashMap<String, Vec<f32>>;

/// How one tensor of activations becomes 8 bits: `q = round(x / scale) + zero_point`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Coding {
    scale: f32,
    zero_point: i16,
    elem_type: i32,
}

impl Coding {
    /// Covers a range as the target wants it: unsigned with any zero point for the CPU, signed around zero for
    /// `TensorRT`.
    fn of(range: Range, target: Target) -> Self {
        let (elem_type, scale, zero_point) = match target {
            Target::Cpu => {
                let scale = usable((range.max - range.min) / 255.0);
                (UINT8, scale, (-range.min / scale).round_ties_even().clamp(0.0, 255.0) as i16)
            }
            Target::Tensorrt => (INT8, usable(range.max.max(-range.min) / 127.0), 0),
        };
        Self { scale, zero_point, elem_type }
    }
}

/// A scale that can be divided by; a tensor of zeros has none.
fn usable(scale: f32) -> f32 {
    if scale.is_finite() && scale >= f32::MIN_POSITIVE { scale } else { 1.0 }
}

/// Rewrites a graph.
pub struct Rewriter<'g> {
    graph: &'g GraphProto,
    layers: &'g Layers,
    ranges: &'g Ranges,
    shifts: &'g Shifts,
    target: Target,
    weight_range: WeightRange,
    initializers: HashMap<&'g str, &'g TensorProto>,
    /// Every name in the graph, and what has been added.
    names: HashSet<String>,
    added: Vec<TensorProto>,
    /// Weights that already are integers: their scales, and what their dequantisation is called.
    done: HashMap<String, (Vec<f32>, String)>,
}

impl<'g> Rewriter<'g> {
    /// Prepares to rewrite a graph.
    pub fn new(
        graph: &'g GraphProto,
        layers: &'g Layers,
        ranges: &'g Ranges,
        shifts: &'g Shifts,
        target: Target,
        weight_range: WeightRange,
    ) -> Self {
        let tensors = graph.node.iter().flat_map(|node| node.output.iter().chain(&node.input));
        let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
        let constants = graph.initializer.iter().chain(sparse).map(TensorProto::name);
        let names = tensors.map(String::as_str).chain(constants).map(str::to_owned).collect();
        Self {
            graph,
            layers,
            ranges,
            shifts,
            target,
            weight_range,
            initializers: by_name(&graph.initializer),
            names,
            added: Vec::new(),
            done: HashMap::new(),
        }
    }

    /// Returns the graph with all layers but `float` in 8 bits.
    ///
    /// # Errors
    ///
    /// `Bug` if a range is missing.
    pub fn quantised(mut self, float: &BTreeSet<usize>) -> Result<GraphProto> {
        let tensors = self.layers.tensors(float);
        let layer_of: HashMap<usize, &Layer> = self
            .layers
            .layers
            .iter()
            .enumerate()
            .filter(|(at, _)| !float.contains(at))
            .map(|(_, layer)| (layer.node, layer))
            .collect();
        let mut nodes = Vec::with_capacity(2 * self.graph.node.len());
        let mut renamed = HashMap::new();
        for info in &self.graph.input {
            if let Some(source) = tensors.get(info.name()) {
                renamed.insert(info.name().to_owned(), self.pair(info.name(), source, &mut nodes)?);
            }
        }
        for (index, node) in self.graph.node.iter().enumerate() {
            let mut node = node.clone();
            for input in &mut node.input {
                if let Some(dequantised) = renamed.get(input) {
                    input.clone_from(dequantised);
                }
            }
            if let Some(layer) = layer_of.get(&index) {
                self.weights_of(layer, &mut node, &mut nodes)?;
            }
            let outputs = node.output.clone();
            nodes.push(node);
            for output in outputs {
                if let Some(source) = tensors.get(&output) {
                    let dequantised = self.pair(&output, source, &mut nodes)?;
                    renamed.insert(output, dequantised);
                }
            }
        }
        Ok(self.finish(nodes))
    }

    /// Returns the float graph with a second, quantised one of each layer beside it, and for each layer the
    /// tensors that hold its exact result and the quantised one's.
    ///
    /// Every layer gets the float graph's activations, so that what differs is its own doing.
    ///
    /// # Errors
    ///
    /// `Bug` if a range is missing.
    pub fn doubled(mut self) -> Result<(GraphProto, Vec<[String; 2]>)> {
        let mut nodes = self.graph.node.clone();
        let mut quantised: HashMap<String, String> = HashMap::new();
        let mut results = Vec::new();
        for layer in &self.layers.layers {
            let mut copy = self.graph.node[layer.node].clone();
            for input in layer.inputs.iter().collect::<BTreeSet<_>>() {
                if !quantised.contains_key(input) {
                    let source = self.layers.range_of(input);
                    let dequantised = self.pair(input, &source, &mut nodes)?;
                    quantised.insert(input.clone(), dequantised);
                }
            }
            for input in &mut copy.input {
                if let Some(dequantised) = quantised.get(input) {
                    input.clone_from(dequantised);
                }
            }
            self.weights_of(layer, &mut copy, &mut nodes)?;
            let exact = copy.output[0].clone();
            copy.output[0] = self.new_name(&exact, "_rounded");
            copy.name = Some(copy.output[0].clone());
            results.push([exact, copy.output[0].clone()]);
            nodes.push(copy);
        }
        Ok((self.finish(nodes), results))
    }

    fn finish(self, node: Vec<NodeProto>) -> GraphProto {
        let used: HashSet<&str> =
            node.iter().flat_map(|node| &node.input).map(String::as_str).chain(outputs(self.graph)).collect();
        let kept = self.graph.initializer.iter().filter(|tensor| used.contains(tensor.name())).cloned();
        let initializer = kept.chain(self.added).collect();
        // What is noted of intermediate tensors is left out: it may not hold any more, and runtimes infer it.
        GraphProto { node, initializer, value_info: Vec::new(), ..self.graph.clone() }
    }

    fn coding(&self, source: &str) -> Result<Coding> {
        let range = self.ranges.get(source).copied();
        let range = range
            .ok_or_else(|| Error::bug(format!("the range of the tensor `{source}` was not measured")))?;
        Ok(Coding::of(range, self.target))
    }

    /// Adds the pair of a tensor, and returns the name of what comes out of it.
    fn pair(&mut self, tensor: &str, source: &str, nodes: &mut Vec<NodeProto>) -> Result<String> {
        let coding = self.coding(source)?;
        let scale =
            self.constant(tensor, "_scale", |name| TensorProto::of_floats(name, &[], &[coding.scale]));
        let bytes = Bytes::copy_from_slice(&coding.zero_point.to_le_bytes()[..1]);
        let zero_point = self.constant(tensor, "_zero_point", |name| {
            TensorProto::new(name, coding.elem_type, &[], bytes.clone())
        });
        let integers = self.new_name(tensor, "_quantized");
        let dequantised = self.new_name(tensor, "_dequantized");
        nodes.push(NodeProto::new("QuantizeLinear", &[tensor, &scale, &zero_point], &integers, vec![]));
        nodes.push(NodeProto::new(
            "DequantizeLinear",
            &[&integers, &scale, &zero_point],
            &dequantised,
            vec![],
        ));
        Ok(dequantised)
    }

    /// Puts integers in the place of a layer's weights. The bias stays float: runtimes round it as they need.
    fn weights_of(&mut self, layer: &Layer, node: &mut NodeProto, nodes: &mut Vec<NodeProto>) -> Result<()> {
        let Some(weights) = &layer.weights else { return Ok(()) };
        let unreadable =
            |name: &str| Error::config(format!("the tensor `{name}` is damaged: its size is wrong"));
        let tensor = self.initializers[weights.name.as_str()];
        let floats = tensor.floats().ok_or_else(|| unreadable(&weights.name))?;
        let bias = weights
            .bias
            .as_ref()
            .map(|name| self.initializers[name.as_str()].floats().ok_or_else(|| unreadable(name)));
        let bias = self.shifted(bias.transpose()?, layer, node);
        let dims: Vec<usize> = tensor.dims.iter().map(|&dim| dim as usize).collect();
        let input_scale = self.coding(&self.layers.range_of(&layer.inputs[0]))?.scale;
        let (axis, range) = (weights.axis, self.weight_range);
        let quantised = QuantisedWeights::of(&floats, &dims, axis, bias.as_deref(), input_scale, range);
        if let Some((scales, dequantised)) = self.done.get(&weights.name)
            && *scales == quantised.scales
        {
            node.input[1].clone_from(dequantised);
            return Ok(());
        }
        let name = &weights.name;
        let integers =
            self.constant(name, "_quantized", |name| TensorProto::new(name, INT8, &dims, quantised.bytes()));
        let scales = &quantised.scales;
        let scale =
            self.constant(name, "_scale", |name| TensorProto::of_floats(name, &[scales.len()], scales));
        let zeros = Bytes::from(vec![0; scales.len()]);
        let zero_point = self.constant(name, "_zero_point", |name| {
            TensorProto::new(name, INT8, &[scales.len()], zeros.clone())
        });
        let dequantised = self.new_name(name, "_dequantized");
        let axis = vec![AttributeProto::int("axis", weights.axis as i64)];
        nodes.push(NodeProto::new("DequantizeLinear", &[&integers, &scale, &zero_point], &dequantised, axis));
        node.input[1].clone_from(&dequantised);
        self.done.insert(name.clone(), (quantised.scales, dequantised));
        Ok(())
    }

    /// Returns a layer's bias and what its rounding takes; puts it into the graph if that is anything.
    fn shifted(&mut self, bias: Option<Vec<f32>>, layer: &Layer, node: &mut NodeProto) -> Option<Vec<f32>> {
        let result = &self.graph.node[layer.node].output[0];
        let Some(shift) = self.shifts.get(result) else { return bias };
        let mut shifted = bias.unwrap_or_else(|| vec![0.0; shift.len()]);
        shifted.iter_mut().zip(shift).for_each(|(bias, shift)| *bias += shift);
        let name =
            self.constant(result, "_bias", |name| TensorProto::of_floats(name, &[shifted.len()], &shifted));
        node.input.truncate(2);
        node.input.push(name);
        Some(shifted)
    }

    fn constant(&mut self, tensor: &str, suffix: &str, make: impl Fn(&str) -> TensorProto) -> String {
        let name = self.new_name(tensor, suffix);
        self.added.push(make(&name));
        name
    }

    /// Returns a name that the graph does not have yet.
    fn new_name(&mut self, tensor: &str, suffix: &str) -> String {
        let mut name = format!("{tensor}{suffix}");
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        name
    }
}

fn outputs(graph: &GraphProto) -> impl Iterator<Item = &str> {
    graph.output.iter().map(ValueInfoProto::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rectified_range_begins_at_the_lowest_integer() {
        let range = Range { min: 0.0, max: 5.1 };
        let cpu = Coding::of(range, Target::Cpu);
        assert_eq!((cpu.zero_point, cpu.elem_type), (0, UINT8));
        assert!((cpu.scale - 0.02).abs() < 1e-6);
        let tensorrt = Coding::of(range, Target::Tensorrt);
        assert_eq!((tensorrt.zero_point, tensorrt.elem_type), (0, INT8));
        assert!((tensorrt.scale - 5.1 / 127.0).abs() < 1e-6);
    }

    #[test]
    fn zero_is_an_integer_exactly() {
        let coding = Coding::of(Range { min: -1.0, max: 3.0 }, Target::Cpu);
        assert_eq!(coding.zero_point, 64);
        let nothing = Coding::of(Range { min: 0.0, max: 0.0 }, Target::Cpu);
        assert_eq!(nothing.scale.to_bits(), 1.0_f32.to_bits());
    }
}
