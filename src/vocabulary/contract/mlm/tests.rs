//! Items in the forms of the extension's examples.

use serde_json::{Value, json};

use super::*;
use crate::vocabulary::contract::{Contract, PerBand};
use crate::vocabulary::error::Kind;

fn item(input: Value, output: Value) -> String {
    let properties = json!({
        "mlm:name": "landcover", "mlm:architecture": "ResNet-18", "mlm:tasks": ["scene-classification"],
        "mlm:accelerator": "cuda", "mlm:input": [input], "mlm:output": [output],
        "bands": [
            {"name": "B04", "eo:common_name": "red", "data_type": "uint16"},
            {"name": "B08", "eo:common_name": "nir", "data_type": "uint16"},
        ],
    });
    json!({"type": "Feature", "stac_version": "1.1.0", "id": "m", "properties": properties, "assets": {}})
        .to_string()
}

fn two_bands(scaling: &Value) -> Value {
    json!({
        "name": "stack", "bands": ["B04", {"name": "B08"}], "value_scaling": scaling, "resize_type": "interpolation-linear",
        "input": {"shape": [-1, 2, 64, 64], "dim_order": ["batch", "channel", "height", "width"], "data_type": "float32"},
    })
}

fn parsed(scaling: &Value) -> Result<Mlm> {
    parse(&item(two_bands(scaling), json!({"name": "c", "tasks": ["classification"]})), None)
}

fn refused(input: Value, output: Value) -> String {
    let error = parse(&item(input, output), None).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    error.render()
}

#[test]
fn the_input_is_what_the_item_says() {
    let mlm = parsed(&Value::Null).unwrap();
    assert_eq!(
        (mlm.name.as_str(), mlm.input.bands.as_slice()),
        ("landcover", &["B04".to_owned(), "B08".to_owned()][..])
    );
    assert_eq!((mlm.input.layout, mlm.input.sample_type), (Layout::Nchw, SampleType::Float32));
    assert_eq!((mlm.input.width, mlm.input.height, mlm.input.unit.as_str()), (64, 64, "dn"));
    assert_eq!((&mlm.input.resize, &mlm.input.normalise), (&None, &None));
    assert_eq!(labels_of(&mlm), None);
}

#[test]
fn every_scaling_that_a_contract_can_say_is_said() {
    let normalise = |scaling: Value| parsed(&scaling).unwrap().input.normalise.unwrap();
    let both = normalise(
        json!([{"type": "min-max", "minimum": 10, "maximum": 30}, {"type": "z-score", "mean": 5, "stddev": 2}]),
    );
    assert_eq!((both.scale, both.clamp), (PerBand::All(1.0), None));
    assert_eq!((both.mean.as_slice(), both.std.as_slice()), (&[10.0, 5.0][..], &[20.0, 2.0][..]));
    let both = normalise(json!([{"type": "offset", "value": 7}, {"type": "scale", "value": 10000}]));
    assert_eq!((both.mean.as_slice(), both.std.as_slice()), (&[7.0, 0.0][..], &[1.0, 10_000.0][..]));
    let one = normalise(json!([{"type": "clip", "minimum": 0, "maximum": 255}]));
    assert_eq!((one.clamp, one.mean.as_slice()), (Some([0.0, 255.0]), &[0.0, 0.0][..]));
    let least = normalise(json!([{"type": "clip-min", "minimum": 0}])).clamp.unwrap();
    assert_eq!(least.map(|bound| (bound as f32).to_bits()), [0.0_f32, f32::MAX].map(f32::to_bits));
    assert!(normalise(json!([{"type": "clip-max", "maximum": 9}])).clamp.unwrap()[1] < 9.1);
    for nothing in [json!([]), json!([{"type": null}]), json!([null, null])] {
        assert_eq!(parsed(&nothing).unwrap().input.normalise, None, "{nothing}");
    }
    // Before version 1.3.
    let mut old = two_bands(&Value::Null);
    old["norm_type"] = "z-score".into();
    old["norm_by_channel"] = true.into();
    old["statistics"] = json!([{"mean": 1.0, "stddev": 2.0}, {"mean": 3.0, "stddev": 4.0}]);
    let normalise = parse(&item(old, json!({"name": "c"})), None).unwrap().input.normalise.unwrap();
    assert_eq!((normalise.mean.as_slice(), normalise.std.as_slice()), (&[1.0, 3.0][..], &[2.0, 4.0][..]));
}

#[test]
fn scaling_that_a_contract_cannot_say_is_named() {
    let scaled = |scaling: Value| refused(two_bands(&scaling), json!({"name": "c"}));
    let message = scaled(json!([{"type": "min-max", "minimum": 0, "maximum": 1},
                                {"type": "processing", "format": "gdal-calc", "expression": "A*2"}]));
    assert!(
        message.contains("band 2 cannot be expressed") && message.contains("(gdal-calc): \"A*2\""),
        "{message}"
    );
    let message =
        scaled(json!([{"type": "clip", "minimum": 0, "maximum": 1}, {"type": "scale", "value": 2}]));
    assert!(message.contains("clips only some bands"), "{message}");
    assert!(scaled(json!([{"type": "z-score", "mean": 1}])).contains("`z-score` has no `stddev`"));
    assert!(
        scaled(json!([{"type": "scale", "value": 0}])).contains("std holds a value that is not positive")
    );
    assert!(scaled(json!([{"type": "l2"}])).contains("`l2` is unknown"));
    assert!(scaled(json!([null, null, null])).contains("3 objects for 2 bands"));
}

/// Why a model's input is refused in which one key is changed.
fn changed(key: &str, value: Value) -> String {
    let mut input = two_bands(&Value::Null);
    input[key] = value;
    refused(input, json!({"name": "c"}))
}

#[test]
fn bands_that_a_contract_cannot_say_are_named() {
    let function = json!({"format": "python", "expression": "my_package:prepare"});
    assert!(
        changed("pre_processing_function", function)
            .contains("`pre_processing_function` cannot be expressed")
    );
    assert!(
        changed(
            "bands",
            json!(["B04", {"name": "NDVI", "format": "rio-calc", "expression": "(b1-b2)/(b1+b2)"}])
        )
        .contains("expression of band `NDVI`")
    );
    assert!(changed("bands", json!([])).contains("names no bands"));
    assert!(changed("norm_type", json!("l1")).contains("norm_type `l1`"));
}

#[test]
fn axes_that_a_contract_cannot_say_are_named() {
    let structure = |shape: Value, order: Value, data_type: &str| {
        changed("input", json!({"shape": shape, "dim_order": order, "data_type": data_type}))
    };
    let order = json!(["batch", "channel", "height", "width"]);
    assert!(
        structure(json!([-1, 3, 64, 64]), order.clone(), "float32")
            .contains("it has 3 channels and names 2 bands")
    );
    assert!(
        structure(json!([-1, 2, -1, -1]), order.clone(), "float32")
            .contains("neither it nor the graph gives")
    );
    assert!(
        structure(json!([-1, 2, 64, 64]), order.clone(), "float16")
            .contains("data_type `float16` is not supported")
    );
    assert!(
        structure(
            json!([1, 4, 2, 64, 64]),
            json!(["batch", "time", "channel", "height", "width"]),
            "float32"
        )
        .contains("the axis `time`")
    );
    assert!(
        structure(json!([2, 1, 64, 64]), json!(["channel", "batch", "height", "width"]), "float32")
            .contains("the axes are neither")
    );
}

#[test]
fn output_that_a_contract_cannot_say_is_named() {
    let output = json!({"name": "c", "classification:classes": [{"value": 1, "name": "a"}]});
    assert!(refused(two_bands(&Value::Null), output).contains("are not 0, 1, 2"));
    let output = json!({"name": "c", "classification:classes": [{"value": 0, "name": "a"}], "post_processing_function":
        {"format": "python", "expression": "my_package:prepare"}});
    assert!(
        refused(two_bands(&Value::Null), output).contains("`post_processing_function` cannot be expressed")
    );
    assert!(parse("{}", None).is_err() && parse("[", None).is_err());
}

#[test]
fn classes_are_labels_in_the_order_of_their_values() {
    let classes = json!([{"value": 1, "name": "land"}, {"value": 0, "name": "sea"}]);
    let output = json!({"name": "logits", "tasks": ["scene-classification"], "classification:classes": classes,
                        "post_processing_function": {"format": "python", "expression": "torch.nn.functional.sigmoid"}});
    let mlm = parse(&item(two_bands(&Value::Null), output), None).unwrap();
    let classes = mlm.classes(None).unwrap().unwrap();
    assert_eq!(
        (classes.output.as_str(), &classes.labels),
        ("logits", &Some(vec!["sea".to_owned(), "land".to_owned()]))
    );
    assert_eq!(classes.activation, Some(Activation::Sigmoid));
}

/// Every spelling that the extension's own reader takes, and lists that are plainer than the extension's.
#[test]
fn no_spelling_of_the_classes_loses_the_labels() {
    let classes = json!([{"value": 1, "name": "land"}, {"value": 0, "name": "sea"}]);
    let with = |key: &str, list: &Value| {
        let mut output = json!({"name": "c", "tasks": ["classification"]});
        output[key] = list.clone();
        parse(&item(two_bands(&Value::Null), output), None).map(|mlm| labels_of(&mlm))
    };
    let expected = Some(["sea", "land"].map(str::to_owned).to_vec());
    for key in ["classification:classes", "classification_classes", "classes"] {
        assert_eq!(with(key, &classes).unwrap(), expected, "{key}");
        for nothing in [Value::Null, json!([])] {
            assert_eq!(with(key, &nothing).unwrap(), None, "{key}");
        }
    }
    for list in [
        json!(["sea", "land"]),
        json!([{"value": "0", "name": "sea"}, {"value": "1", "name": "land"}]),
        json!([{"value": 1.0, "name": "land"}, {"value": 0.0, "name": "sea"}]),
        json!([{"value": 0, "name": null, "description": "sea"}, {"value": 1, "name": " ", "title": "land"}]),
    ] {
        assert_eq!(with("classes", &list).unwrap(), expected, "{list}");
    }
    assert_eq!(with("classes", &json!([10, 20])).unwrap(), Some(["10", "20"].map(str::to_owned).to_vec()));
    assert_eq!(
        with("classes", &json!([{"value": 0, "name": "ship"}])).unwrap(),
        Some(vec!["ship".to_owned()])
    );
    let wrong = |key: &str, list: Value| with(key, &list).unwrap_err().render();
    for (key, list, part) in [
        ("Classes", classes.clone(), "lists classes as `Classes`, which is not a key of the extension"),
        ("class_names", json!(["sea", "land"]), "lists classes as `class_names`"),
        ("labels", json!({"0": "sea"}), "lists classes as `labels`"),
        (
            "classes",
            json!({"0": "sea", "1": "land"}),
            "`classes` cannot be read\n  because: it is not a list",
        ),
        ("classes", json!([{"name": "sea"}]), "the `value` of class 1 is not a whole number"),
        ("classes", json!([{"value": -1, "name": "sea"}]), "the `value` of class 1 is not a whole number"),
        (
            "classes",
            json!(["sea", {"value": 1, "name": "land"}]),
            "the `value` of class 1 is not a whole number: \"sea\"",
        ),
        (
            "classification_classes",
            json!([{"value": 7, "name": "sea"}]),
            "`classification_classes` are not 0, 1, 2",
        ),
    ] {
        let message = wrong(key, list);
        assert!(message.contains(part) && message.contains("\n  hint: "), "{message}");
    }
    let both = json!({"name": "c", "classes": ["sea", "land"], "classification:classes": ["land", "sea"]});
    assert!(refused(two_bands(&Value::Null), both).contains("list different classes"));
}

/// One output without brackets, lists beside the outputs, and several outputs.
#[test]
fn labels_are_found_wherever_an_item_may_list_them() {
    let list = json!([{"value": 0, "name": "sea"}, {"value": 1, "name": "land"}]);
    let expected = Some(["sea", "land"].map(str::to_owned).to_vec());
    let changed = |change: &dyn Fn(&mut Value)| {
        let text = item(two_bands(&Value::Null), json!({"name": "c", "tasks": ["classification"]}));
        let mut item: Value = serde_json::from_str(&text).unwrap();
        change(&mut item);
        parse(&item.to_string(), None)
    };
    for place in ["input", "output"] {
        let mlm = changed(&|item| {
            item["properties"]["mlm:output"][0]["classes"] = list.clone();
            let key = format!("mlm:{place}");
            item["properties"][&key] = item["properties"][&key][0].take();
        });
        assert_eq!(labels_of(&mlm.unwrap()), expected, "mlm:{place} without brackets");
    }
    let beside = changed(&|item| item["properties"]["classification:classes"] = list.clone());
    assert_eq!(labels_of(&beside.unwrap()), expected);
    let asset = |roles: Value| {
        changed(&|item| {
            item["assets"]["a"] = json!({"href": "m.onnx", "roles": roles, "classification:classes": list});
        })
    };
    assert_eq!(labels_of(&asset(json!(["mlm:model", "data"])).unwrap()), expected);
    assert_eq!(labels_of(&asset(json!(["mlm:training-data"])).unwrap()), None, "what others mean by classes");
    let outputs = |outputs: Value| changed(&|item| item["properties"]["mlm:output"] = outputs.clone());
    let two = outputs(json!([
        {"name": "mask", "tasks": ["semantic-segmentation"], "classes": ["a", "b", "c"],
         "post_processing_function": {"format": "python", "expression": "numpy.argmax"}},
        {"name": "c", "tasks": ["classification"], "classes": list},
    ]));
    assert_eq!(labels_of(&two.unwrap()), expected, "classes of whole tiles come before those of pixels");
    let two = outputs(
        json!([{"name": "kind", "classes": list}, {"name": "crop", "classes": ["wheat", "rye", "oats"]}]),
    );
    let two = two.unwrap();
    let message = two.classes(None).unwrap_err().render();
    assert!(
        message.contains("several outputs list classes: kind, crop")
            && message.contains("--set model.logits="),
        "{message}"
    );
    assert_eq!(two.classes(Some("crop")).unwrap().unwrap().labels.as_ref().unwrap().len(), 3);
}

/// What an Item says of scores holds whether it lists classes or not.
#[test]
fn an_activation_does_not_need_classes() {
    let activation = |output: Value| {
        let mlm = parse(&item(two_bands(&Value::Null), output), None).unwrap();
        mlm.classes(None).unwrap().and_then(|classes| classes.activation)
    };
    let function = json!({"format": "python", "expression": "torch.nn.functional.sigmoid"});
    assert_eq!(
        activation(json!({"name": "c", "tasks": ["classification"], "post_processing_function": function})),
        Some(Activation::Sigmoid)
    );
    assert_eq!(activation(json!({"name": "height", "tasks": ["regression"]})), Some(Activation::None));
    assert_eq!(activation(json!({"name": "c", "tasks": ["classification"]})), None);
}

fn labels_of(mlm: &Mlm) -> Option<Vec<String>> {
    mlm.classes(None).unwrap().and_then(|classes| classes.labels.clone())
}

#[test]
fn units_come_from_the_bands() {
    let with = |bands: Value, names: Value| {
        let mut input = two_bands(&Value::Null);
        input["bands"] = names;
        input["input"]["shape"] = json!([-1, -1, 64, 64]);
        let mut item: Value = serde_json::from_str(&item(input, json!({"name": "c"}))).unwrap();
        item["properties"]["bands"] = bands;
        parse(&item.to_string(), None).unwrap().input
    };
    let reflectance = with(
        json!([{"name": "a", "unit": "reflectance"}, {"name": "b", "unit": "reflectance"}]),
        json!(["a", "b"]),
    );
    assert_eq!((reflectance.unit.as_str(), reflectance.units), ("reflectance", None));
    let mixed = with(json!([{"name": "a", "unit": "K"}]), json!(["a", "b"]));
    assert_eq!((mixed.unit_of(0), mixed.unit_of(1)), ("K", "dn"));
    let colours = json!([{"name": "red", "data_type": "uint8"}, {"name": "green", "data_type": "uint8"}, {"name": "blue", "data_type": "uint8"}]);
    assert_eq!(with(colours, json!(["red", "green", "blue"])).unit, "srgb8");
}

#[test]
fn the_item_is_found_beside_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("net.v2.onnx");
    assert_eq!(find(&model).unwrap(), None);
    std::fs::write(folder.path().join("net.v2.json"), r#"{"architectures": ["ResNet"]}"#).unwrap();
    assert_eq!(find(&model).unwrap(), None, "another tool's file");
    let text = item(two_bands(&Value::Null), json!({"name": "c"}));
    std::fs::write(folder.path().join("net.v2.json"), &text).unwrap();
    assert_eq!(find(&model).unwrap().unwrap().1, text);
    let without_input = r#"{"type": "Feature", "properties": {"mlm:name": "n", "mlm:output": []}}"#;
    std::fs::write(folder.path().join("net.v2.json"), without_input).unwrap();
    assert!(parse(&find(&model).unwrap().unwrap().1, None).is_err(), "an MLM Item is never passed over");
    std::fs::write(folder.path().join("net.v2.stac.json"), "no item").unwrap();
    let (path, text) = find(&model).unwrap().unwrap();
    assert!(path.ends_with("net.v2.stac.json") && parse(&text, None).is_err());
    assert_ne!(Contract::path_for(&model), path);
}

#[test]
fn a_contract_comes_back_from_the_item_that_describes_it() {
    let mut contract = Contract::from_toml(
        "contract = 1\nname = \"toy-1\"\n[input]\ntensor = \"input\"\nlayout = \"nchw\"\nsample_type = \"float32\"\n\
         bands = [\"red\", \"nir\"]\nunit = \"dn\"\nwidth = 32\nheight = 16\n[input.normalise]\nscale = 0.5\n\
         mean = [1, 2]\nstd = [4, 8]\n[input.accept]\ngrey = \"reject\"\nalpha = \"reject\"\n[output]\n\
         embedding = \"embedding\"\nembedding_length = 8\n[output.classifier]\nlogits = \"logits\"\nnum_classes = 2\n\
         activation = \"sigmoid\"\nlabels = [\"sea\", \"land\"]\n",
    )
    .unwrap();
    let described =
        |contract: &Contract| super::item(contract, "00ff", "toy.onnx", "2024-05-01T00:00:00Z").to_string();
    let mlm = parse(&described(&contract), None).unwrap();
    let normalise = contract.input.normalise.as_mut().unwrap();
    // The same function in other words.
    (normalise.scale, normalise.mean, normalise.std) = (PerBand::All(1.0), vec![2.0, 4.0], vec![8.0, 16.0]);
    assert_eq!(mlm.input, contract.input);
    contract.input.units = Some(vec!["tci8".to_owned(), "dn".to_owned()]);
    assert_eq!(parse(&described(&contract), None).unwrap().input.unit_of(0), "tci8");
    assert_eq!(mlm.features, ["embedding"]);
    let classes = mlm.classes(None).unwrap().unwrap();
    assert_eq!(
        (&classes.labels, classes.activation),
        (&Some(vec!["sea".to_owned(), "land".to_owned()]), Some(Activation::Sigmoid))
    );
    contract.input.normalise.as_mut().unwrap().clamp = Some([0.0, 1.0]);
    let message = parse(&described(&contract), None).unwrap_err().render();
    assert!(message.contains("numpy.clip(x * 1.0, 0.0, 1.0) - 2.0) / 8.0"), "{message}");
}
