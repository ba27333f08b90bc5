"""Writes the same items as an item collection and as a stac-geoparquet table, into tests/golden/stac.

The table is made by the Python package stac-geoparquet (0.8.3), so that what we read is what others write:

    python3 -m venv /tmp/stac && /tmp/stac/bin/pip install stac-geoparquet==0.8.3 pyarrow==26.0.1
    /tmp/stac/bin/python scripts/golden/stac_golden.py
"""

import copy
import json
from pathlib import Path

import stac_geoparquet.arrow

FOLDER = Path(__file__).parents[2] / "tests" / "golden" / "stac"

SCENE = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
    "id": "S2B_33UVP_20240501_0_L2A",
    "collection": "sentinel-2-l2a",
    "bbox": [12.0, 49.0, 13.5, 50.0],
    "geometry": {
        "type": "Polygon",
        "coordinates": [[[12.0, 49.0], [13.5, 49.0], [13.5, 50.0], [12.0, 50.0], [12.0, 49.0]]],
    },
    "links": [{"rel": "self", "href": "https://archive.example/items/S2B_33UVP_20240501_0_L2A"}],
    "properties": {
        "datetime": "2024-05-01T10:05:59.123456Z",
        "platform": "sentinel-2b",
        "constellation": "sentinel-2",
        "eo:cloud_cover": 12.5,
        "s2:processing_baseline": "05.10",
        "earthsearch:boa_offset_applied": True,
        "proj:epsg": 32633,
    },
    "assets": {
        "red": {
            "href": "https://archive.example/S2B/B04.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["data", "reflectance"],
            "eo:bands": [{"name": "red", "common_name": "red"}],
            "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}],
        },
        "visual": {
            "href": "https://archive.example/S2B/TCI.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "roles": ["visual"],
            "eo:bands": [{"name": name, "common_name": name} for name in ("red", "green", "blue")],
        },
        "thumbnail": {"href": "https://archive.example/S2B/preview.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
    },
}


def second() -> dict:
    """Another item: without clouds, flag and thumbnail, with a period instead of a time."""
    item = copy.deepcopy(SCENE)
    item["id"] = "composite"
    item["bbox"] = [177.0, -20.0, -178.0, -15.0]
    item["links"] = []
    for key in ("eo:cloud_cover", "earthsearch:boa_offset_applied"):
        del item["properties"][key]
    item["properties"] |= {
        "datetime": None,
        "start_datetime": "2024-06-01T00:00:00Z",
        "end_datetime": "2024-08-31T23:59:59Z",
    }
    del item["assets"]["thumbnail"]
    item["assets"]["red"]["href"] = "./composite/B04.tif"
    return item


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    items = [SCENE, second()]
    collection = {"type": "FeatureCollection", "features": items}
    (FOLDER / "items.json").write_text(json.dumps(collection, indent=1) + "\n")
    batches = stac_geoparquet.arrow.parse_stac_items_to_arrow(items)
    stac_geoparquet.arrow.to_parquet(batches, FOLDER / "items.parquet")


if __name__ == "__main__":
    main()
