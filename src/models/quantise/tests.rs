//! Small graphs before and after.

use bytes::Bytes;
use prost::Message;

use super::*;
use crate::models::onnx::{
    AttributeProto, Dimension, FLOAT, INT8, NodeProto, OperatorSetIdProto, UINT8, ValueInfoProto,
    annotated::{annotate, assert_kept},
};
use crate::vocabulary::contract::{Activation, Classifier};

fn node(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto { name: None, ..NodeProto::new(op_type, inputs, output, vec![]) }
}

/// Two convolutions, the second in a residual branch; pooled and classified.
fn residual() -> GraphProto {
    let weights = |name: &str| TensorProto::of_floats(name, &[2, 2, 1, 1], &[1.0, -0.5, 0.25, 2.0]);
    let axis = Dimension::fixed;
    GraphProto {
        node: vec![
            node("Conv", &["x", "stem.weight", "stem.bias"], "stem"),
            node("Relu", &["stem"], "rectified"),
            node("MaxPool", &["rectified"], "pooled"),
            node("Conv", &["pooled", "branch.weight"], "branch"),
            node("Add", &["branch", "pooled"], "sum"),
            node("Relu", &["sum"], "last"),
            node("GlobalAveragePool", &["last"], "mean"),
            node("Flatten", &["mean"], "features"),
            node("Gemm", &["features", "fc.weight"], "scores"),
        ],
        initializer: vec![
            weights("stem.weight"),
            TensorProto::of_floats("stem.bias", &[2], &[0.5, -0.5]),
            weights("branch.weight"),
            TensorProto::of_floats("fc.weight", &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
        ],
        input: vec![ValueInfoProto::new("x", FLOAT, vec![axis(1), axis(2), axis(8), axis(8)])],
        output: vec![ValueInfoProto::new("scores", FLOAT, vec![axis(1), axis(2)])],
        ..GraphProto::default()
    }
}

fn output() -> Output {
    let classifier = Classifier {
        logits: "scores".to_owned(),
        num_classes: 2,
        activation: Activation::Softmax,
        labels: None,
        fitted: None,
    };
    Output { embedding: "features".to_owned(), embedding_length: 2, classifier: Some(classifier) }
}

fn model(graph: GraphProto, opset: i64) -> Bytes {
    let opset_import = vec![OperatorSetIdProto::onnx(opset)];
    let model = ModelProto { graph: Some(graph), opset_import, ..ModelProto::default() };
    model.encode_to_vec().into()
}

fn prepared(graph: GraphProto, target: Target) -> QuantisableGraph {
    QuantisableGraph::of(model(graph, 17), &output(), target, WeightRange::usual(target)).unwrap()
}

fn ranges(prepared: &QuantisableGraph) -> Ranges {
    prepared.observed().into_iter().map(|tensor| (tensor, Range { min: -1.0, max: 3.0 })).collect()
}

fn graph_of(bytes: Bytes) -> GraphProto {
    ModelProto::decode(bytes).unwrap().graph.unwrap()
}

fn count(graph: &GraphProto, op_type: &str) -> usize {
    graph.node.iter().filter(|node| node.op_type() == op_type).count()
}

fn producer<'g>(graph: &'g GraphProto, tensor: &str) -> &'g NodeProto {
    graph.node.iter().find(|node| node.output.iter().any(|output| output == tensor)).expect("it is computed")
}

#[test]
fn convolutions_sums_and_maxima_become_8_bit_and_the_rest_stays_float() {
    let prepared = prepared(residual(), Target::Cpu);
    assert_eq!(prepared.layers().collect::<Vec<_>>(), ["stem", "pooled", "branch", "sum"]);
    let left: Vec<_> = prepared.left().iter().map(|left| left.layer.as_str()).collect();
    assert_eq!(left, ["fc"], "the classifier");
    // The maximum has the range of what it is chosen from.
    assert_eq!(prepared.observed(), ["branch", "last", "rectified", "x"]);
    let graph = graph_of(prepared.quantised(&ranges(&prepared), &Shifts::new(), &BTreeSet::new()).unwrap());
    assert_eq!((count(&graph, "QuantizeLinear"), count(&graph, "DequantizeLinear")), (5, 7));
    let conv = producer(&graph, "stem");
    assert_eq!(conv.input[2], "stem.bias", "the bias stays float");
    assert_eq!(producer(&graph, &conv.input[1]).int_attribute("axis", -1), 0);
    // Rounding comes behind the rectifier, and both operands of the sum have been rounded.
    assert_eq!(producer(&graph, "rectified").input, ["stem"]);
    for operand in &producer(&graph, "sum").input {
        assert_eq!(producer(&graph, operand).op_type(), "DequantizeLinear");
    }
    assert_eq!(producer(&graph, "scores").input, ["features", "fc.weight"]);
}

#[test]
fn each_target_has_its_integers() {
    for (target, elem_type) in [(Target::Cpu, UINT8), (Target::Tensorrt, INT8)] {
        let prepared = prepared(residual(), target);
        let graph =
            graph_of(prepared.quantised(&ranges(&prepared), &Shifts::new(), &BTreeSet::new()).unwrap());
        let constant = |name: &str| graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap();
        assert_eq!(constant("x_zero_point").data_type, Some(elem_type));
        assert_eq!(constant("stem.weight_quantized").data_type, Some(INT8));
        assert_eq!(constant("stem.weight_scale").dims, [2]);
        if target == Target::Tensorrt {
            let zero = |tensor: &&TensorProto| tensor.name().ends_with("_zero_point");
            let bytes = graph.initializer.iter().filter(zero).flat_map(|it| it.raw_data.clone().unwrap());
            assert!(bytes.into_iter().all(|byte| byte == 0));
        }
    }
}

#[test]
fn a_layer_is_left_float_by_any_of_its_names() {
    let prepared = prepared(residual(), Target::Cpu);
    for name in ["branch", "stem"] {
        let float = prepared.named(&[name.to_owned()]).unwrap();
        let graph = graph_of(prepared.quantised(&ranges(&prepared), &Shifts::new(), &float).unwrap());
        assert_eq!(producer(&graph, name).input[1], format!("{name}.weight"));
    }
    let error = prepared.named(&["nothing".to_owned()]).unwrap_err();
    assert_eq!(error.kind().exit_code(), 64);
    assert!(error.render().contains("named like stem, pooled, branch, sum"), "{}", error.render());
}

#[test]
fn the_doubled_graph_has_both_results_of_each_layer() {
    let prepared = prepared(residual(), Target::Cpu);
    let (bytes, results) = prepared.doubled(&ranges(&prepared), &Shifts::new()).unwrap();
    let graph = graph_of(bytes);
    assert_eq!(results.len(), 4);
    for [exact, rounded] in &results {
        let (exact, rounded) = (producer(&graph, exact), producer(&graph, rounded));
        assert_eq!(exact.op_type(), rounded.op_type());
        assert_eq!(producer(&graph, &rounded.input[0]).op_type(), "DequantizeLinear");
        assert_ne!(exact.input[0], rounded.input[0]);
    }
}

#[test]
fn a_bias_gives_back_what_rounding_takes() {
    let prepared = prepared(residual(), Target::Cpu);
    assert_eq!(prepared.biases().collect::<Vec<_>>(), [Some(2), None, Some(2), None]);
    let shifts =
        [("stem", vec![0.25, -0.5]), ("branch", vec![1.0, 2.0])].map(|(name, it)| (name.to_owned(), it));
    let graph = graph_of(prepared.quantised(&ranges(&prepared), &shifts.into(), &BTreeSet::new()).unwrap());
    let bias = |layer: &str| {
        let name = &producer(&graph, layer).input[2];
        graph.initializer.iter().find(|tensor| tensor.name() == name).unwrap().floats().unwrap()
    };
    assert_eq!((bias("stem"), bias("branch")), (vec![0.75, -1.0], vec![1.0, 2.0]));
    assert!(graph.initializer.iter().all(|tensor| tensor.name() != "stem.bias"), "nobody reads it any more");
}

/// y = γ (W x + b − μ) / √(σ² + ε) + β, in two channels.
#[test]
fn a_batch_norm_is_folded_into_the_convolution_before_it() {
    let mut graph = residual();
    let norm = NodeProto {
        attribute: vec![AttributeProto {
            name: Some("epsilon".to_owned()),
            f: Some(0.0),
            ..AttributeProto::default()
        }],
        ..node("BatchNormalization", &["stem_raw", "gamma", "beta", "mu", "var"], "stem")
    };
    graph.node[0].output[0] = "stem_raw".to_owned();
    graph.node.insert(1, norm);
    for (name, values) in
        [("gamma", [2.0, 1.0]), ("beta", [0.25, 0.0]), ("mu", [1.0, 2.0]), ("var", [4.0, 0.25])]
    {
        graph.initializer.push(TensorProto::of_floats(name, &[2], &values));
    }
    let prepared = prepared(graph, Target::Cpu);
    let graph = graph_of(prepared.float());
    assert_eq!(count(&graph, "BatchNormalization"), 0);
    let conv = producer(&graph, "stem");
    let constant = |name: &str| {
        graph.initializer.iter().find(|tensor| tensor.name() == name).and_then(TensorProto::floats).unwrap()
    };
    assert_eq!(constant(&conv.input[1]), [1.0, -0.5, 0.5, 4.0]);
    assert_eq!(constant(&conv.input[2]), [-0.25, -5.0]);
    assert_eq!(prepared.layers().next(), Some("stem"), "it is still called as before");
}

#[test]
fn a_batch_norm_on_its_own_stays_float_and_is_named() {
    let mut graph = residual();
    let norm =
        node("BatchNormalization", &["rectified", "fc.bias", "fc.bias", "fc.bias", "fc.bias"], "normed");
    graph.node.insert(2, norm);
    graph.node[3].input[0] = "normed".to_owned();
    let prepared = prepared(graph, Target::Cpu);
    let reason = &prepared.left()[0];
    assert_eq!((reason.layer.as_str(), reason.reason.contains("without a convolution")), ("normed", true));
}

#[test]
fn constants_may_be_nodes() {
    let mut graph = residual();
    let weights = graph.initializer.remove(0);
    let value = AttributeProto {
        name: Some("value".to_owned()),
        t: Some(TensorProto { name: None, ..weights }),
        ..AttributeProto::default()
    };
    let constant = NodeProto::new("Constant", &[], "made", vec![value]);
    graph.node.splice(0..0, [constant, node("Identity", &["made"], "stem.weight")]);
    let prepared = prepared(graph, Target::Cpu);
    assert_eq!(prepared.layers().count(), 4);
}

#[test]
fn what_other_tools_wrote_stays() {
    let mut annotated = ModelProto::decode(model(residual(), 17)).unwrap();
    annotate(&mut annotated, 3);
    let prepared =
        QuantisableGraph::of(annotated.encode_to_vec().into(), &output(), Target::Cpu, WeightRange::Reduced)
            .unwrap();
    let int8 = prepared.quantised(&ranges(&prepared), &Shifts::new(), &BTreeSet::new()).unwrap();
    let int8 = ModelProto::decode(int8).unwrap();
    assert!(count(int8.graph.as_ref().unwrap(), "QuantizeLinear") > 0);
    assert_kept(&annotated, &int8);
}

#[test]
fn what_would_be_damaged_is_refused() {
    let refused = |bytes: Bytes| {
        let error = QuantisableGraph::of(bytes, &output(), Target::Cpu, WeightRange::Reduced).unwrap_err();
        assert_eq!(error.kind().exit_code(), 78);
        assert!(!error.hints().is_empty());
        error.render()
    };
    assert!(refused(model(residual(), 12)).contains("opset 12, older than 13"));
    let prepared = prepared(residual(), Target::Cpu);
    let int8 = prepared.quantised(&ranges(&prepared), &Shifts::new(), &BTreeSet::new()).unwrap();
    assert!(refused(int8).contains("already quantised"));
    let mut branching = residual();
    branching.node[1].attribute.push(AttributeProto {
        name: Some("then_branch".to_owned()),
        g: Some(GraphProto::default()),
        ..AttributeProto::default()
    });
    assert!(refused(model(branching, 17)).contains("contains a graph"));
    let mut calling = residual();
    let call = NodeProto::new("Add", &[], "of_a_function", vec![]);
    calling.node.push(NodeProto { domain: Some("my.functions".to_owned()), ..call });
    let bytes = model(calling.clone(), 17);
    QuantisableGraph::of(bytes, &output(), Target::Cpu, WeightRange::Reduced).unwrap();
    calling.node.last_mut().unwrap().domain = None;
    assert!(refused(model(calling, 17)).contains("(Add) lacks inputs or outputs"));
    let mut empty = residual();
    empty.node.drain(..6);
    assert!(refused(model(empty, 17)).contains("no layer that can be quantised"));
}

#[test]
fn the_contract_replaces_the_one_in_the_metadata() {
    let contract = crate::models::build::build(
        &crate::models::weights::Weights::from_seed(
            1,
            crate::models::resnet::Architecture::Resnet18,
            3,
            Some(2),
        ),
        &crate::models::build::BuildOptions::new(crate::models::resnet::Architecture::Resnet18, "toy", 3),
    )
    .unwrap();
    let renamed = Contract { name: "other".to_owned(), ..contract.contract.clone() };
    let model = ModelProto::decode(with_contract(contract.bytes, &renamed).unwrap()).unwrap();
    let entries: Vec<_> = model.metadata_props.iter().filter(|entry| entry.key() == METADATA_KEY).collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(Contract::from_json(entries[0].value()).unwrap(), renamed);
}
