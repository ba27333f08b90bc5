"""Validates the STAC documents below a folder; prints how many there are of each type.

Core fields are held against the schemas that pystac brings (STAC 1.1, after pystac's own migration), links against
the files that they lead to. The extensions' schemas are on the web, so what they require is written down here:
Embedding proposal 0.0.1 and MLM 1.4.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import pystac
from pystac.validation.stac_validator import JsonSchemaSTACValidator

EMBEDDINGS = "https://stac-extensions.github.io/embeddings/v0.0.1/schema.json"
MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
COLLECTION_FIELDS = {
    "emb:type", "emb:dimensions", "emb:chip_layout", "emb:temporal_resolution", "emb:fit_for_use", "emb:uncertainty",
}
ITEM_FIELDS = {
    "emb:runtime_parameters", "emb:preprocessing", "emb:postprocessing", "emb:fit_for_use", "emb:spatial_coverage",
    "emb:uncertainty", "emb:quantization", "emb:energy",
}


def check_embeddings(document: dict) -> None:
    """What the schema of the Embedding proposal requires beyond the core."""
    if document["type"] == "Collection":
        assert document["emb:type"] == "chip"
        assert isinstance(document["emb:dimensions"], int) and document["emb:dimensions"] > 0
        assert document["data_type"] in {"float16", "float32"}
        relations = {link["rel"] for link in document["links"]}
        assert {"emb:model", "emb:source-data"} <= relations, relations
        fields, known = document, COLLECTION_FIELDS
    else:
        assert "embeddings" in document["assets"]
        fields, known = document["properties"], ITEM_FIELDS
    assert {key for key in fields if key.startswith("emb:")} <= known
    assert document["stac_version"] == "1.0.0", "the proposal's schema is bound to it"


def check_mlm(document: dict) -> None:
    """What the schema of MLM requires of an Item."""
    properties = document["properties"]
    for key in ("mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"):
        assert properties[key], key
    described = {band["name"] for band in properties["raster:bands"]}
    for model_input in properties["mlm:input"]:
        assert {"name", "bands", "input"} <= model_input.keys()
        assert set(model_input["bands"]) <= described
        shape, order = model_input["input"]["shape"], model_input["input"]["dim_order"]
        assert len(shape) == len(order) == 4 and len(set(order)) == 4
        scaling = model_input["value_scaling"]
        assert scaling is None or len(scaling) in (1, len(model_input["bands"]))
    assert any("mlm:model" in asset["roles"] and asset["mlm:artifact_type"] for asset in document["assets"].values())


def check(path: Path, validator: JsonSchemaSTACValidator) -> str:
    """Validates one document and returns its type."""
    document = json.loads(path.read_text())
    is_collection = document["type"] == "Collection"
    kind = pystac.Collection if is_collection else pystac.Item
    stac_object = kind.from_dict(document, migrate=True)
    object_type = pystac.STACObjectType.COLLECTION if is_collection else pystac.STACObjectType.ITEM
    migrated = stac_object.to_dict(include_self_link=False)
    schema = validator.validate_core(migrated, object_type, migrated["stac_version"])
    assert schema and "v1.1.0" in schema, schema
    for extension, rules in ((EMBEDDINGS, check_embeddings), (MLM, check_mlm)):
        if extension in document["stac_extensions"]:
            rules(document)
    for link in document["links"]:
        if link["href"].startswith("."):
            target = path.parent / link["href"]
            assert target.is_file() or target.suffix == ".parquet", f"{path}: {link}"
    return "model" if MLM in document["stac_extensions"] else document["type"]


def main() -> None:
    validator = JsonSchemaSTACValidator()
    counts = Counter(check(path, validator) for path in sorted(Path(sys.argv[1]).rglob("*.json")))
    print(", ".join(f"{counts[kind]} {kind}" for kind in sorted(counts)))


if __name__ == "__main__":
    main()
