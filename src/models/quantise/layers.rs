//! Which nodes of a graph become 8-bit, and which tensors are quantised for it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::by_name;
use crate::models::onnx::{FLOAT, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use crate::vocabulary::contract::LeftFloat;
use crate::vocabulary::contract::Output;

/// A node that can compute in 8 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Position of the node in the graph.
    pub node: usize,
    /// What people call it: the node's name, else its weights', else its output's.
    pub name: String,
    /// Its activations.
    pub inputs: Vec<String>,
    /// Its result, behind the rectifier if one follows.
    pub output: String,
    /// Its weights.
    pub weights: Option<Weights>,
}

/// The constant operands of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// The initializer.
    pub name: String,
    /// Which of its axes has the output channels.
    pub axis: usize,
    /// The bias, an initializer as well.
    pub bias: Option<String>,
}

/// The layers of a graph that can compute in 8 bits.
#[derive(Clone, Debug)]
pub struct Layers {
    /// In the order of the graph.
    pub layers: Vec<Layer>,
    /// Results that have the range of another tensor: a maximum is one of the values it is chosen from.
    pub same_range: HashMap<String, String>,
}

impl Layers {
    /// Finds the layers of a graph; returns also which convolutions and products are none, with the reason.
    ///
    /// - `output`: what the model yields; these tensors stay float
    pub fn of(graph: &GraphProto, output: &Output) -> (Self, Vec<LeftFloat>) {
        let mut finder = Finder::new(graph, output);
        for (index, node) in graph.node.iter().enumerate() {
            finder.visit(index, node);
        }
        (Self { layers: finder.layers, same_range: finder.same_range }, finder.left)
    }

    /// Returns the layers that these names mean, and the names that mean none.
    pub fn named(&self, graph: &GraphProto, names: &[String]) -> (BTreeSet<usize>, Vec<String>) {
        let mut found = BTreeSet::new();
        let mut unknown = Vec::new();
        for name in names {
            let means = |layer: &Layer| {
                let node = &graph.node[layer.node];
                layer.name == *name || node.name() == name || node.output.contains(name)
            };
            let before = found.len();
            found.extend(self.layers.iter().enumerate().filter(|(_, layer)| means(layer)).map(|(at, _)| at));
            if found.len() == before {
                unknown.push(name.clone());
            }
        }
        (found, unknown)
    }

    /// Returns the tensors that are quantised if these layers stay float, each with the one whose range it has.
    pub fn tensors(&self, float: &BTreeSet<usize>) -> BTreeMap<String, String> {
        let quantised = self.layers.iter().enumerate().filter(|(at, _)| !float.contains(at));
        quantised
            .flat_map(|(_, layer)| layer.inputs.iter().chain([&layer.output]))
            .map(|tensor| (tensor.clone(), self.range_of(tensor)))
            .collect()
    }

    /// Returns the tensor whose range a quantised tensor has.
    pub fn range_of(&self, tensor: &str) -> String {
        let mut tensor = tensor;
        while let Some(source) = self.same_range.get(tensor) {
            tensor = source;
        }
        tensor.to_owned()
    }
}

struct Finder<'g> {
    initializers: HashMap<&'g str, &'g TensorProto>,
    consumers: HashMap<&'g str, Vec<&'g NodeProto>>,
    /// Tensors that stay float, whatever happens.
    yielded: HashSet<&'g str>,
    /// Results of layers, before and behind rectifiers.
    quantised: HashSet<String>,
    layers: Vec<Layer>,
    same_range: HashMap<String, String>,
    left: Vec<LeftFloat>,
}

impl<'g> Finder<'g> {
    fn new(graph: &'g GraphProto, output: &'g Output) -> Self {
        let mut consumers: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
        for node in &graph.node {
            for input in &node.input {
                consumers.entry(input).or_default().push(node);
            }
        }
        let outputs = graph.output.iter().map(ValueInfoProto::name);
        let classifier = output.classifier.as_ref().map(|classifier| classifier.logits.as_str());
        Self {
            initializers: by_name(&graph.initializer),
            consumers,
            yielded: outputs.chain([output.embedding.as_str()]).chain(classifier).collect(),
            quantised: HashSet::new(),
            layers: Vec::new(),
            same_range: HashMap::new(),
            left: Vec::new(),
        }
    }

    fn visit(&mut self, index: usize, node: &'g NodeProto) {
        let found = match node.op_type() {
            _ if !node.is(node.op_type()) => return,
            "Conv" => self.convolution(node),
            "Gemm" | "MatMul" => self.product(node),
            "Add" => match self.sum(node) {
                Some(inputs) => Ok((inputs, None)),
                None => return,
            },
            "MaxPool" if node.output.len() == 1 && self.quantised.contains(&node.input[0]) => {
                Ok((vec![node.input[0].clone()], None))
            }
            _ => return,
        };
        let name = name_of(node, found.as_ref().ok().and_then(|(_, weights)| weights.as_ref()));
        let output = self.behind_rectifier(&node.output[0]);
        let is_yielded = self.yielded.contains(output.as_str());
        let found =
            found.and_then(
                |found| if is_yielded { Err("its result is an output of the model") } else { Ok(found) },
            );
        match found {
            Ok((inputs, weights)) => {
                if node.op_type() == "MaxPool" && output == node.output[0] {
                    self.same_range.insert(output.clone(), inputs[0].clone());
                }
                self.quantised.extend([node.output[0].clone(), output.clone()]);
                self.layers.push(Layer { node: index, name, inputs, output, weights });
            }
            Err(reason) => self.left.push(LeftFloat { layer: name, reason: reason.to_owned() }),
        }
    }

    fn convolution(&self, node: &NodeProto) -> Found {
        let weights = self.weights(node, 0, |tensor| tensor.dims.len() == 4)?;
        Ok((vec![node.input[0].clone()], Some(weights)))
    }

    /// A fully connected layer inside of the network; the classifier stays float, as its input and result do.
    fn product(&self, node: &NodeProto) -> Found {
        if self.yielded.contains(node.input[0].as_str()) || self.is_classifier(node) {
            return Err("the classifier reads the float embedding");
        }
        let is_one = |factor: f32| (factor - 1.0).abs() < f32::EPSILON;
        let is_plain = |name: &str| node.attribute(name).and_then(|it| it.f).is_none_or(is_one);
        if !is_plain("alpha") || !is_plain("beta") || node.int_attribute("transA", 0) != 0 {
            return Err("it scales or transposes its operands");
        }
        let axis = usize::from(node.int_attribute("transB", 0) == 0);
        let weights = self.weights(node, axis, |tensor| tensor.dims.len() == 2)?;
        Ok((vec![node.input[0].clone()], Some(weights)))
    }

    /// Whether the node makes an output, perhaps through a bias.
    fn is_classifier(&self, node: &NodeProto) -> bool {
        let output = &node.output[0];
        let through_bias = self.consumers.get(output.as_str()).into_iter().flatten();
        self.yielded.contains(output.as_str())
            || through_bias
                .filter(|consumer| consumer.is("Add"))
                .any(|consumer| self.yielded.contains(consumer.output[0].as_str()))
    }

    fn weights(
        &self,
        node: &NodeProto,
        axis: usize,
        fits: impl Fn(&TensorProto) -> bool,
    ) -> Result<Weights, &'static str> {
        if self.initializers.contains_key(node.input[0].as_str()) {
            return Err("it reads a constant");
        }
        let name = node.input.get(1).ok_or("it has no weights")?;
        let tensor = self.initializers.get(name.as_str()).ok_or("its weights are computed")?;
        if tensor.data_type != Some(FLOAT) || !fits(tensor) {
            return Err("its weights are not float32 of the usual shape");
        }
        let bias = node.input.get(2).filter(|bias| !bias.is_empty());
        let channels = tensor.dims[axis];
        let is_constant = |bias: &String| {
            self.initializers
                .get(bias.as_str())
                .is_some_and(|bias| bias.data_type == Some(FLOAT) && bias.dims == [channels])
        };
        if bias.is_some_and(|bias| !is_constant(bias)) {
            return Err("its bias is computed, or does not have one value per channel");
        }
        Ok(Weights { name: name.clone(), axis, bias: bias.cloned() })
    }

    /// The two operands of a residual sum: of computed tensors, one of them by a layer.
    fn sum(&self, node: &NodeProto) -> Option<Vec<String>> {
        let [a, b] = &node.input[..] else { return None };
        let is_constant = |name: &String| self.initializers.contains_key(name.as_str());
        let is_residual =
            !is_constant(a) && !is_constant(b) && (self.quantised.contains(a) || self.quantised.contains(b));
        is_residual.then(|| vec![a.clone(), b.clone()])
    }

    /// Returns the output of the rectifier that alone takes this tensor; otherwise the tensor itself.
    ///
    /// Rectifying costs nothing where it comes before rounding: ONNX Runtime lets the lower end of the 8 bits
    /// do it.
    fn behind_rectifier(&self, tensor: &str) -> String {
        match self.consumers.get(tensor).map(Vec::as_slice) {
            Some([only]) if is_rectifier(only) && !self.yielded.contains(tensor) => only.output[0].clone(),
            _ => tensor.to_owned(),
        }
    }
}

/// Whether the node cuts values off; what it leaves is all that the 8 bits have to cover.
fn is_rectifier(node: &NodeProto) -> bool {
    node.is("Relu") || node.is("Clip")
}

type Found = Result<(Vec<String>, Option<Weights>), &'static str>;

fn name_of(node: &NodeProto, weights: Option<&Weights>) -> String {
    if !node.name().is_empty() {
        return node.name().to_owned();
    }
    let weights = weights.map(|weights| weights.name.as_str()).or(node.input.get(1).map(String::as_str));
    match weights.and_then(|weights| weights.strip_suffix(".weight")) {
        Some(layer) => layer.to_owned(),
        None => node.output[0].clone(),
    }
}
