#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3) draws whole numbers of 64 bits through a double: rasterize() into int64 or uint64
# gives pixels that differ from the value asked for as soon as that is beyond 2**53. Pixels of these types that
# are written and read are exact.
#
# Seen: the H3 cell 617548160289996799, burned into int64, reads as 617548160289996800, which is no cell at all; so
# do 2**53 + 1 and 2**62 + 1, each less 1. Two neighbouring keys 2**60 + 1 and 2**60 + 2 become one. No error, no
# warning.
#
# Why a good guess is wrong: the type is asked for by name and comes back by name, and a value that does not fit into
# a smaller type is an error. Ids that are counted from 1, as in any test, pass.
# Whom it bites: masks and labels whose ids are H3 cells, hashes or database keys: joined to their table again, most
# or all rows are lost, and parcels whose keys are near each other merge.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    rasterio==1.4.4 numpy==2.4.6 h3==4.5.0 shapely==2.2.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import h3
import numpy as np
import rasterio.features
import shapely

warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)

cell = h3.str_to_int(h3.latlng_to_cell(48, 10, 9))
square = shapely.box(0, 0, 4, 4)
for value in (7, cell, 2**53 + 1, 2**62 + 1):
    for kind in ("int64", "uint64"):
        found = rasterio.features.rasterize([(square, value)], out_shape=(4, 4), dtype=kind)
        assert found.dtype == kind and len(np.unique(found)) == 1
        print(kind, value, "->", found[0, 0])
        assert int(found[0, 0]) == int(float(value)), "the behaviour has changed"
        assert value == 7 or int(found[0, 0]) != value
assert h3.is_valid_cell(h3.int_to_str(cell)) and not h3.is_valid_cell(h3.int_to_str(int(float(cell))))

keys = [2**60 + 1, 2**60 + 2]
found = rasterio.features.rasterize(
    [(shapely.box(0, 0, 2, 4), keys[0]), (shapely.box(2, 0, 4, 4), keys[1])], out_shape=(4, 4), dtype="int64"
)
print("two keys", keys, "->", np.unique(found))
assert np.unique(found).tolist() == [2**60], "the behaviour has changed"
exact = np.array([keys], "int64")
with rasterio.open("keys.tif", "w", driver="GTiff", width=2, height=1, count=1, dtype="int64") as file:
    file.write(exact, 1)
with rasterio.open("keys.tif") as file:
    assert np.array_equal(file.read(1), exact)
PYTHON
