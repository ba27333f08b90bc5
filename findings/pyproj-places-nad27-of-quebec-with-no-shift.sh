#!/usr/bin/env bash
# pyproj 3.7.2 (PROJ 9.5.1, from the Python wheel) converts NAD27(CGQ77), EPSG:4609, to WGS 84 by changing nothing,
# and so does it with NAD27(76), EPSG:4608, and every projection over them (MTM and UTM of Quebec and Ontario).
# The wheel brings no grids of datum shifts, and these two datums have no shift without one: PROJ takes a
# "ballpark" offset of zero. For NAD27 itself, EPSG:4267, it has approximate shifts, of about 30 m there.
#
# Seen: (-72, 48) stays (-72, 48) from EPSG:4609; from EPSG:4267 it becomes (-71.99962, 48.00008).
# Accuracy is reported as -1, and no warning is given.
#
# Why a good guess is wrong: a transformer that is made without an error is taken to transform; the sibling code
# EPSG:4267 does shift, and the only signs are the accuracy of -1 and the word "Ballpark" in the description.
# Whom it bites: whoever places Canadian forest and survey rasters with rasterio or GeoPandas from wheels: they are
# tens of metres off, which is several pixels of Sentinel-2.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyproj==3.7.2

cd "$folder"
PROJ_NETWORK=OFF "$folder/venv/bin/python" - <<'PYTHON'
import warnings

import pyproj

warnings.simplefilter("error")
for code, place in ((4609, (-72.0, 48.0)), (4608, (-80.0, 50.0))):
    transformer = pyproj.Transformer.from_crs(code, 4326, always_xy=True)
    print(code, transformer.transform(*place), transformer.accuracy, transformer.description)
    assert transformer.transform(*place) == place, "the behaviour has changed"
    assert transformer.accuracy == -1 and "Ballpark" in transformer.description
nad27 = pyproj.Transformer.from_crs(4267, 4326, always_xy=True).transform(-72.0, 48.0)
print(4267, nad27)
assert abs(nad27[0] + 72) > 3e-4
PYTHON
