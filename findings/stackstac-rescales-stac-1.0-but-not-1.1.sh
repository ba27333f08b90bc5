#!/usr/bin/env bash
# stackstac 0.5.1 applies the scale and the offset that a STAC item states for a band if they stand in `raster:bands`,
# as in STAC 1.0. STAC 1.1 moved them: `raster:scale` and `raster:offset` of the asset or of an entry of `bands`
# (raster extension 2.0). There stackstac does not look, and with rescale=True gives the stored numbers.
#
# Seen, for stored 0, 1000, 2000, 3000, scale 0.0001 and offset -0.1, both items in one stack:
#   item of STAC 1.0   -0.1, 0, 0.1, 0.2
#   item of STAC 1.1   0, 1000, 2000, 3000     (in `bands`, and on the asset alike)
# No error, no warning. pystac 1.15.2 reads the first item as 1.1 and leaves `raster:bands` in place, so the version
# that it states tells nothing.
#
# Why a good guess is wrong: rescale=True is a wish, and a file or an item without a scale is all that is thought to
# leave it unmet. Both items are valid, of one scene and one catalogue; a test on either era's items passes.
# Whom it bites: users of catalogues that went over to STAC 1.1 item by item or from a date on: a time series jumps by
# a factor of ten thousand, or, with Sentinel-2's offset, a network trained on reflectances sees digital numbers.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    stackstac==0.5.1 pystac==1.15.2 rasterio==1.4.4 xarray==2026.9.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os

import numpy as np
import pystac
import rasterio
import stackstac
from rasterio.transform import from_origin

west, south = 500000, 5000000
stored = np.array([[0, 1000], [2000, 3000]], np.uint16)
profile = {"driver": "GTiff", "width": 2, "height": 2, "count": 1, "dtype": "uint16", "crs": "EPSG:32632"}
with rasterio.open("red.tif", "w", transform=from_origin(west, south + 20, 10, 10), **profile) as file:
    file.write(stored, 1)


def item(name, version, raster, band):
    schemas = "https://stac-extensions.github.io"
    return pystac.Item.from_dict(
        {
            "type": "Feature",
            "stac_version": version,
            "stac_extensions": [
                f"{schemas}/raster/v{raster}/schema.json",
                f"{schemas}/projection/v{'1.1.0' if version == '1.0.0' else '2.0.0'}/schema.json",
            ],
            "id": name,
            "geometry": {"type": "Point", "coordinates": [9, 45.15]},
            "bbox": [8.9, 45.1, 9.1, 45.2],
            "properties": {
                "datetime": "2026-01-01T00:00:00Z",
                **({"proj:epsg": 32632} if version == "1.0.0" else {"proj:code": "EPSG:32632"}),
                "proj:shape": [2, 2],
                "proj:transform": [10, 0, west, 0, -10, south + 20],
            },
            "links": [],
            "assets": {
                "red": {
                    "href": os.path.abspath("red.tif"),
                    "type": "image/tiff; application=geotiff",
                    "roles": ["data"],
                    **band,
                }
            },
        }
    )


stated = {"raster:scale": 0.0001, "raster:offset": -0.1}
items = [
    item("1.0", "1.0.0", "1.1.0", {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}),
    item("1.1, band", "1.1.0", "2.0.0", {"bands": [{"name": "red", **stated}]}),
    item("1.1, asset", "1.1.0", "2.0.0", stated),
]
assert all(item.to_dict()["stac_version"] == "1.1.0" for item in items)
bounds = (west, south, west + 20, south + 20)
stack = stackstac.stack(items, assets=["red"], epsg=32632, resolution=10, bounds=bounds, rescale=True)
found = dict(zip(stack.id.values.tolist(), stack.values.reshape(len(items), -1)))
for name, values in found.items():
    print(name, values)
    right = stored.ravel() * 0.0001 - 0.1
    expected = right if name == "1.0" else stored.ravel()
    assert np.allclose(values, expected), "the behaviour has changed"
assert len(found) == 3
PYTHON
