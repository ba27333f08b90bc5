//! Cuts a network off behind one of its tensors, without decoding and encoding what stays.
//!
//! Whatever this build does not know of a file, such as fields of a newer schema, is copied as it is.

use std::collections::{HashMap, HashSet};

use prost::encode_length_delimiter;

use super::onnx::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::wire::Field;
use crate::vocabulary::contract::METADATA_KEY;

/// Numbers of fields of `ModelProto`.
const GRAPH: usize = 7;
const METADATA: usize = 14;
/// Numbers of fields of `GraphProto`.
const NODE: usize = 1;
const INITIALIZER: usize = 5;
const INPUT: usize = 11;
const OUTPUT: usize = 12;
const VALUE_INFO: usize = 13;

/// A network that ends in one tensor.
#[derive(Debug)]
pub(super) struct Pruned<'m> {
    /// The encoded model; the tensor is its only output, or it has none yet.
    pub(super) bytes: Vec<u8>,
    /// Whether the tensor is an output.
    pub(super) is_output: bool,
    /// Names of all tensors that are left.
    pub(super) names: HashSet<&'m str>,
}

/// Takes out whatever `tensor` does not depend on, all other outputs, and our own contract.
///
/// - `bytes`: an encoded model; `model`: the same, decoded
/// - returns: `None` if nothing computes the tensor, or the bytes hold what protobuf gave up long ago
pub(super) fn prune<'m>(bytes: &[u8], model: &'m ModelProto, tensor: &'m str) -> Option<Pruned<'m>> {
    let graph = model.graph.as_ref()?;
    let names = ancestors(graph, tensor)?;
    let has = |name: &str| names.contains(name);
    let constants: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let mut kept = Kept {
        node: places(graph.node.iter().map(|node| node.output.iter().any(|name| has(name)))),
        initializer: places(graph.initializer.iter().map(|constant| has(constant.name()))),
        // Old files list constants among the inputs, too.
        input: places(graph.input.iter().map(|input| !constants.contains(input.name()) || has(input.name()))),
        output: places(graph.output.iter().map(|output| output.name() == tensor)),
        value_info: places(graph.value_info.iter().map(|info| has(info.name()))),
        metadata: places(model.metadata_props.iter().map(|entry| entry.key() != METADATA_KEY)),
    };
    let is_output = graph.output.iter().any(|output| output.name() == tensor);
    Some(Pruned { bytes: kept.copy_model(bytes)?, is_output, names })
}

/// Names all tensors that a tensor depends on, and what else the same nodes make; `None` if no node makes it.
fn ancestors<'m>(graph: &'m GraphProto, tensor: &'m str) -> Option<HashSet<&'m str>> {
    let producers: HashMap<&str, &NodeProto> = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node)))
        .collect();
    producers.get(tensor)?;
    let mut names = HashSet::from([tensor]);
    let mut open = vec![tensor];
    while let Some(name) = open.pop() {
        let Some(node) = producers.get(name) else { continue };
        let mut inputs = Vec::new();
        push_inputs(node, &mut inputs);
        open.extend(inputs.into_iter().filter(|input| names.insert(input)));
        names.extend(node.output.iter().map(String::as_str));
    }
    Some(names)
}

/// Names what a node reads; the graphs in it, such as branches, may read any tensor around them.
fn push_inputs<'m>(node: &'m NodeProto, inputs: &mut Vec<&'m str>) {
    inputs.extend(node.input.iter().map(String::as_str));
    for attribute in &node.attribute {
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            graph.node.iter().for_each(|node| push_inputs(node, inputs));
            inputs.extend(graph.output.iter().map(ValueInfoProto::name));
        }
    }
}

type Places = std::vec::IntoIter<bool>;

fn places(kept: impl Iterator<Item = bool>) -> Places {
    kept.collect::<Vec<_>>().into_iter()
}

/// Of each repeated field, whether the next one stays: fields stand in the file as in the decoded lists.
struct Kept {
    node: Places,
    initializer: Places,
    input: Places,
    output: Places,
    value_info: Places,
    metadata: Places,
}

impl Kept {
    fn copy_model(&mut self, mut model: &[u8]) -> Option<Vec<u8>> {
        let mut copy = Vec::with_capacity(model.len());
        while !model.is_empty() {
            let field = Field::take(&mut model)?;
            match field.number {
                GRAPH => {
                    let graph = self.copy_graph(field.value)?;
                    // A head that was put there before leaves nothing of its part.
                    if graph.is_empty() {
                        continue;
                    }
                    // The tag of a number below 16 is one byte.
                    copy.push(field.whole[0]);
                    encode_length_delimiter(graph.len(), &mut copy).ok()?;
                    copy.extend(graph);
                }
                METADATA if !self.metadata.next()? => {}
                _ => copy.extend_from_slice(field.whole),
            }
        }
        Some(copy)
    }

    fn copy_graph(&mut self, mut graph: &[u8]) -> Option<Vec<u8>> {
        let mut copy = Vec::with_capacity(graph.len());
        while !graph.is_empty() {
            let field = Field::take(&mut graph)?;
            let places = match field.number {
                NODE => Some(&mut self.node),
                INITIALIZER => Some(&mut self.initializer),
                INPUT => Some(&mut self.input),
                OUTPUT => Some(&mut self.output),
                VALUE_INFO => Some(&mut self.value_info),
                _ => None,
            };
            if places.map_or(Some(true), Iterator::next)? {
                copy.extend_from_slice(field.whole);
            }
        }
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::*;
    use crate::models::onnx::{AttributeProto, Dimension, FLOAT, StringStringEntryProto};

    fn info(name: &str) -> ValueInfoProto {
        ValueInfoProto::new(name, FLOAT, vec![Dimension::fixed(2)])
    }

    /// A trunk with a branch that reads `w` from outside, then a classifier and an auxiliary output.
    fn network() -> ModelProto {
        let inner = GraphProto {
            node: vec![NodeProto::new("Mul", &["x", "w"], "scaled", vec![])],
            output: vec![info("scaled")],
            ..GraphProto::default()
        };
        let branch = AttributeProto {
            name: Some("then_branch".to_owned()),
            g: Some(inner),
            ..AttributeProto::default()
        };
        let constant = |name: &str| TensorProto::float(name, &[2], Bytes::from_static(&[0; 8]));
        let entry = |key: &str| StringStringEntryProto::new(key, "{}".to_owned());
        ModelProto {
            ir_version: Some(3),
            graph: Some(GraphProto {
                node: vec![
                    NodeProto::new("If", &["flag"], "features", vec![branch]),
                    NodeProto::new("Gemm", &["features", "fc", "b"], "logits", vec![]),
                    NodeProto::new("Relu", &["features"], "other", vec![]),
                ],
                initializer: ["w", "fc", "b", "flag"].map(constant).to_vec(),
                input: ["x", "w", "fc"].map(info).to_vec(),
                output: ["logits", "other"].map(info).to_vec(),
                value_info: ["features", "scaled"].map(info).to_vec(),
                ..GraphProto::default()
            }),
            metadata_props: vec![entry("author"), entry(METADATA_KEY)],
            ..ModelProto::default()
        }
    }

    /// Field 100 of a model and of a graph, which the schema does not know.
    const UNKNOWN_OF_MODEL: &[u8] = b"\xa2\x06\x04hand";
    const UNKNOWN_OF_GRAPH: &[u8] = b"\x3a\x08\xa2\x06\x05notes";

    #[test]
    fn what_the_tensor_depends_on_stays_and_with_it_what_is_not_known() {
        let mut bytes = network().encode_to_vec();
        bytes.extend_from_slice(UNKNOWN_OF_MODEL);
        // A second graph is merged with the first.
        bytes.extend_from_slice(UNKNOWN_OF_GRAPH);
        let model = ModelProto::decode(&bytes[..]).unwrap();
        let pruned = prune(&bytes, &model, "features").unwrap();
        assert!(!pruned.is_output && pruned.names.contains("features") && !pruned.names.contains("logits"));
        for unknown in [UNKNOWN_OF_MODEL, UNKNOWN_OF_GRAPH] {
            assert!(pruned.bytes.windows(unknown.len()).any(|part| part == unknown));
        }
        let left = ModelProto::decode(&pruned.bytes[..]).unwrap();
        let graph = left.graph.unwrap();
        let names =
            |infos: &[ValueInfoProto]| infos.iter().map(|info| info.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(graph.node, network().graph.unwrap().node[..1]);
        assert_eq!(graph.initializer.iter().map(TensorProto::name).collect::<Vec<_>>(), ["w", "flag"]);
        assert_eq!((names(&graph.input), names(&graph.output)), (vec!["x".into(), "w".into()], vec![]));
        assert_eq!(names(&graph.value_info), ["features", "scaled"]);
        assert_eq!(
            left.metadata_props.iter().map(StringStringEntryProto::key).collect::<Vec<_>>(),
            ["author"]
        );
    }

    #[test]
    fn an_output_stays_one() {
        let model = network();
        let pruned = prune(&model.encode_to_vec(), &model, "other").unwrap();
        assert!(pruned.is_output);
        let graph = ModelProto::decode(&pruned.bytes[..]).unwrap().graph.unwrap();
        assert_eq!((graph.output.len(), graph.node.len()), (1, 2));
    }

    #[test]
    fn a_tensor_that_nothing_makes_is_refused() {
        let model = network();
        for name in ["x", "nowhere"] {
            assert!(prune(&model.encode_to_vec(), &model, name).is_none());
        }
    }
}
