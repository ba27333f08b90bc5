//! A model with what other tools write into theirs, for tests of those who rewrite models.

use super::generated::{DeviceConfigurationProto, NodeDeviceConfigurationProto};
use super::{
    FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TensorAnnotation, TensorProto, TrainingInfoProto,
};

fn entries(key: &str) -> Vec<StringStringEntryProto> {
    vec![StringStringEntryProto::new(key, "value".to_owned())]
}

/// Writes into a model, its graph, one of its nodes and its first input what nobody here asks for.
pub(in crate::models) fn annotate(model: &mut ModelProto, node: usize) {
    model.domain = Some("org.example".to_owned());
    model.model_version = Some(3);
    model.doc_string = Some("of a model".to_owned());
    model.functions = vec![FunctionProto {
        name: Some("twice".to_owned()),
        domain: Some("own".to_owned()),
        input: vec!["a".to_owned()],
        output: vec!["b".to_owned()],
        attribute: vec!["gain".to_owned()],
        node: vec![NodeProto::new("Add", &["a", "a"], "b", vec![])],
        opset_import: vec![OperatorSetIdProto::onnx(17)],
        overload: Some("first".to_owned()),
        doc_string: Some("of a function".to_owned()),
        metadata_props: entries("function"),
        ..FunctionProto::default()
    }];
    model.training_info = vec![TrainingInfoProto {
        algorithm: Some(GraphProto { name: Some("step".to_owned()), ..GraphProto::default() }),
        update_binding: entries("w"),
        ..TrainingInfoProto::default()
    }];
    model.configuration =
        vec![DeviceConfigurationProto { name: Some("two".to_owned()), ..Default::default() }];
    let graph = model.graph.as_mut().unwrap();
    graph.doc_string = Some("of a graph".to_owned());
    graph.metadata_props = entries("graph");
    graph.quantization_annotation = vec![TensorAnnotation {
        tensor_name: Some("x".to_owned()),
        quant_parameter_tensor_names: entries("SCALE_TENSOR"),
    }];
    graph.sparse_initializer = vec![SparseTensorProto {
        values: Some(TensorProto::of_floats("sparse", &[1], &[1.0])),
        indices: Some(TensorProto { int64_data: vec![2], dims: vec![1], ..TensorProto::default() }),
        dims: vec![4],
    }];
    let node = &mut graph.node[node];
    node.doc_string = Some("of a node".to_owned());
    node.metadata_props = entries("node");
    node.device_configurations =
        vec![NodeDeviceConfigurationProto { pipeline_stage: Some(1), ..Default::default() }];
    let input = &mut graph.input[0];
    input.doc_string = Some("of an input".to_owned());
    input.metadata_props = entries("input");
    input.r#type.as_mut().unwrap().denotation = Some("IMAGE".to_owned());
}

/// Compares what [`annotate`] wrote with what a rewritten model has.
pub(in crate::models) fn assert_kept(before: &ModelProto, after: &ModelProto) {
    let around = |model: &ModelProto| ModelProto { graph: None, metadata_props: vec![], ..model.clone() };
    assert_eq!(around(after), around(before));
    let [before, after] = [before, after].map(|model| model.graph.as_ref().unwrap());
    assert_eq!(after.doc_string, before.doc_string);
    assert_eq!(after.metadata_props, before.metadata_props);
    assert_eq!(after.quantization_annotation, before.quantization_annotation);
    assert_eq!(after.sparse_initializer, before.sparse_initializer);
    assert_eq!(after.input, before.input);
    let notes = |graph: &GraphProto| {
        let mut nodes = graph.node.iter().filter(|node| node.doc_string.is_some());
        nodes.next().map(|node| (node.metadata_props.clone(), node.device_configurations.clone()))
    };
    assert!(notes(before).is_some());
    assert_eq!(notes(after), notes(before));
}
