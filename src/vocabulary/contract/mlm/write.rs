//! A contract as an MLM Item, for catalogues that describe what a model has made.

use serde_json::{Value, json};

use crate::vocabulary::contract::{Activation, Contract, Layout, Normalise, SampleType};

/// Schema of the extension.
const SCHEMA: &str = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json";
const RASTER_SCHEMA: &str = "https://stac-extensions.github.io/raster/v1.1.0/schema.json";
const CLASSES_SCHEMA: &str = "https://stac-extensions.github.io/classification/v2.0.0/schema.json";

/// Describes a model; the Item has no place on Earth.
///
/// - `created`: RFC 3339
/// - `href`: where the ONNX file is to be had
///
/// What its readers cannot compute from the extension's words, because a contract clamps between scaling and
/// mean, is said as a `processing` expression.
pub fn item(contract: &Contract, model_digest: &str, href: &str, created: &str) -> Value {
    let classifier = contract.output.classifier.as_ref();
    let mut outputs = vec![json!({
        "name": contract.output.embedding, "tasks": ["similarity-search"],
        "result": {"shape": [-1, contract.output.embedding_length], "dim_order": ["batch", "feature"], "data_type": "float32"},
    })];
    if let Some(classifier) = classifier {
        let mut output = json!({
            "name": classifier.logits, "tasks": ["scene-classification"],
            "result": {"shape": [-1, classifier.num_classes], "dim_order": ["batch", "class"], "data_type": "float32"},
        });
        if let Some(labels) = &classifier.labels {
            output["classification:classes"] = labels
                .iter()
                .enumerate()
                .map(|(value, name)| json!({"value": value, "name": name}))
                .collect();
        }
        if classifier.activation != Activation::None {
            output["post_processing_function"] =
                json!({"format": "tilefleet", "expression": classifier.activation.to_string()});
        }
        outputs.push(output);
    }
    let (names, unit) = (&contract.input.bands, |band| contract.input.unit_of(band));
    let bands: Vec<Value> =
        names.iter().enumerate().map(|(band, name)| json!({"name": name, "unit": unit(band)})).collect();
    let tasks: Vec<&Value> = outputs.iter().map(|output| &output["tasks"][0]).collect();
    json!({
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [SCHEMA, RASTER_SCHEMA, CLASSES_SCHEMA], "id": contract.name,
        "geometry": null, "links": [],
        "properties": {
            "datetime": created, "description": format!("The model {}, as its contract describes it.", contract.name),
            "mlm:name": contract.name, "mlm:architecture": "unknown", "mlm:framework": "ONNX", "mlm:tasks": tasks,
            "raster:bands": bands, "mlm:input": [input(contract)], "mlm:output": outputs, "tilefleet:model_digest": model_digest,
            "tilefleet:contract": contract,
        },
        "assets": {"model": {
            "href": href, "type": "application/octet-stream; application=onnx", "roles": ["mlm:model", "data"], "title": "ONNX file",
            "mlm:artifact_type": "onnx",
        }},
    })
}

fn input(contract: &Contract) -> Value {
    let input = &contract.input;
    let (bands, height, width) = (input.bands.len(), input.height, input.width);
    let (shape, order) = match input.layout {
        Layout::Nchw => (json!([-1, bands, height, width]), ["batch", "channel", "height", "width"]),
        Layout::Nhwc => (json!([-1, height, width, bands]), ["batch", "height", "width", "channel"]),
    };
    let data_type = match input.sample_type {
        SampleType::Uint8 => "uint8",
        SampleType::Float32 => "float32",
    };
    json!({
        "name": input.tensor, "bands": input.bands, "resize_type": null,
        "input": {"shape": shape, "dim_order": order, "data_type": data_type},
        "value_scaling": input.normalise.as_ref().map(|normalise| scaling(normalise, bands)),
    })
}

/// `(x × scale − mean) / std` is a z-score of mean / scale and std / scale.
fn scaling(normalise: &Normalise, num_bands: usize) -> Vec<Value> {
    let band = |band: usize| {
        let (scale, mean, std) = (normalise.scale.of(band), normalise.mean[band], normalise.std[band]);
        match normalise.clamp {
            None => json!({"type": "z-score", "mean": mean / scale, "stddev": std / scale}),
            Some([least, greatest]) => json!({
                "type": "processing", "format": "python",
                "expression": format!("(numpy.clip(x * {scale:?}, {least:?}, {greatest:?}) - {mean:?}) / {std:?}"),
            }),
        }
    };
    (0..num_bands).map(band).collect()
}
