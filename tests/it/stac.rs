//! STAC as others write and validate it: catalogues that `pystac` accepts, contracts that models fit, items beside
//! models.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tilefleet::input::stac::{Bbox, ChipLayout, Column, RunDescription, Shard, Source, describe, time};
use tilefleet::vocabulary::contract::Contract;

use crate::support;

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn contract_file(name: &str) -> PathBuf {
    project().join(format!("contracts/satlas-sentinel2-resnet152-{name}.contract.toml"))
}

fn described(bands: &str) -> RunDescription {
    let may = time::parse("2024-05-01T10:00:00Z").unwrap();
    let shard = |number: usize, bbox: Option<[f64; 4]>, times| Shard {
        name: format!("shard-{number:08}"),
        href: format!("../../tiles/run=s2-0a1b2c3d-0001/shard-{number:08}.parquet"),
        num_rows: 4096,
        num_bytes: 34_000_000,
        bbox: bbox.map(|numbers| Bbox::of(&numbers).unwrap()),
        times,
    };
    RunDescription {
        run: "s2-0a1b2c3d-0001".to_owned(),
        description: "Embeddings of Sentinel-2".to_owned(),
        license: "other".to_owned(),
        created: may + 86_400_000_000,
        tool_version: "0.1.0".to_owned(),
        contract: Contract::load(&contract_file(bands)).unwrap(),
        model_digest: "00ff".to_owned(),
        model_href: "satlas.onnx".to_owned(),
        data_type: "float32".to_owned(),
        columns: vec![
            Column { name: "tile_id".to_owned(), data_type: "Utf8".to_owned() },
            Column { name: "geometry".to_owned(), data_type: "Binary".to_owned() },
        ],
        sources: vec![Source {
            href: "../_tilefleet/s2-0a1b2c3d-0001/sources.parquet".to_owned(),
            media_type: "application/vnd.apache.parquet".to_owned(),
            title: "Sources of the run".to_owned(),
        }],
        gsd: Some(10.0),
        layout: Some(ChipLayout { size: [512, 512], stride: [512, 512], grid: None }),
        shards: vec![
            shard(0, Some([9.0, 49.0, 10.0, 50.0]), Some((may, may))),
            shard(1, Some([179.0, 48.0, -179.0, 49.5]), Some((may, may + 5_000_000))),
            shard(2, None, None),
        ],
    }
}

fn write(folder: &Path, run: &RunDescription) {
    for document in describe(run).unwrap() {
        let path = folder.join(document.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, document.json.to_string()).unwrap();
    }
}

#[test]
fn a_catalogue_of_a_run_is_valid() {
    let Some(python) = support::python() else { return };
    let oracle = project().join("scripts/oracles/stac_oracle.py");
    let folder = tempfile::tempdir().unwrap();
    for bands in ["si-rgb", "mi-ms"] {
        write(folder.path(), &described(bands));
        let said = support::stdout_of(std::process::Command::new(&python).arg(&oracle).arg(folder.path()));
        assert_eq!(said, "1 Collection, 3 Feature, 1 model\n");
    }
    // The validator sees what is wrong.
    let path = folder.path().join("collection.json");
    let mut collection: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    collection.as_object_mut().unwrap().remove("license");
    fs::write(&path, collection.to_string()).unwrap();
    let output = std::process::Command::new(&python).arg(&oracle).arg(folder.path()).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("license"));
}

#[test]
fn models_are_built_for_the_contracts_that_ship() {
    let folder = tempfile::tempdir().unwrap();
    for (bands, channels) in [("si-rgb", 3), ("mi-ms", 9)] {
        let model = folder.path().join(format!("{bands}.onnx"));
        let contract = contract_file(bands);
        let mut build = support::tilefleet();
        build.args(["model", "build", "--arch", "resnet152", "--seed", "1", "--contract"]).arg(&contract);
        support::stdout_of(build.arg("--out").arg(&model));
        let mut built = Contract::load(&Contract::path_for(&model)).unwrap();
        assert!(built.model_digest.take().is_some());
        assert_eq!(built, Contract::load(&contract).unwrap());
        let said = support::stdout_of(support::tilefleet().args(["model", "inspect"]).arg(&model));
        assert!(said.contains(&format!("input: float32 [N, {channels}, 512, 512]")), "{said}");
        assert!(said.contains("tci_red in tci8, tci_green") == (channels == 9), "{said}");
    }
    let mut build = support::tilefleet();
    build.args(["model", "build", "--arch", "resnet34", "--seed", "1", "--contract"]);
    build.arg(contract_file("si-rgb")).arg("--out").arg(folder.path().join("small.onnx"));
    let output = build.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("its output.embedding_length is 2048, the model's is 512"), "{said}");
}

#[test]
fn an_mlm_item_beside_a_model_is_its_contract() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("net.onnx");
    let mut build = support::tilefleet();
    build.args(["model", "build", "--arch", "resnet18", "--seed", "1", "--channels", "2", "--classes", "2"]);
    support::stdout_of(build.args(["--size", "64", "--out"]).arg(&model));
    // Somebody else's model has neither our file nor our metadata.
    fs::remove_file(Contract::path_for(&model)).unwrap();
    let bytes = fs::read(&model).unwrap();
    let key = b"tilefleet.contract";
    let at = bytes.windows(key.len()).position(|piece| piece == key).unwrap();
    let mut foreign = bytes.clone();
    foreign[at..at + key.len()].copy_from_slice(b"somebody.elses_key");
    fs::write(&model, foreign).unwrap();
    let item = json!({
        "type": "Feature", "stac_version": "1.1.0", "id": "net", "assets": {}, "links": [],
        "properties": {
            "mlm:name": "landcover",
            "bands": [{"name": "B04", "unit": "reflectance"}, {"name": "B08", "unit": "reflectance"}],
            "mlm:input": [{
                "name": "two bands", "bands": ["B04", "B08"], "resize_type": null,
                "input": {"shape": [-1, 2, 64, 64], "dim_order": ["batch", "channel", "height", "width"], "data_type": "float32"},
                "value_scaling": [{"type": "z-score", "mean": 0.1, "stddev": 0.05}, {"type": "z-score", "mean": 0.3, "stddev": 0.1}],
            }],
            "mlm:output": [{"name": "logits", "tasks": ["classification"],
                            "classification:classes": [{"value": 0, "name": "sea"}, {"value": 1, "name": "land"}]}],
        },
    });
    fs::write(folder.path().join("net.stac.json"), item.to_string()).unwrap();
    let said = support::stdout_of(support::tilefleet().args(["model", "inspect"]).arg(&model));
    for part in [
        "contract    landcover, from the STAC Item beside the model",
        "bands     B04, B08 in reflectance",
        "normalise (sample × 1 − [0.1, 0.3]) / [0.05, 0.1]",
        "logits    logits, 2 classes with labels, activation softmax",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}
