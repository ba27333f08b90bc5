#!/usr/bin/env bash
# GDAL 3.10.3 (in rasterio 1.4.4) makes overviews of a class map that has a colour table by mixing the colours: with
# `average`, `rms` and `gauss` the mean of the colours is looked for in the table, and the class with the nearest colour
# is stored. The same pixels without a table give the mean of the numbers. `bilinear` and `cubic` mix the numbers, table
# or not. Reading at another size (`out_shape`, as web maps do) without any overview in the file mixes the colours, too,
# for `average` and `rms`; for `bilinear` and `cubic` it takes one of the pixels where there is a table.
#
# Seen, for columns of class 1 (red) and 3 (blue) in turn, where class 2 is green and class 7 purple:
#                              no colour table    colour table
#   average, rms                      2                 7
#   gauss (overview only)             2                 7
#   bilinear, cubic, overview         2                 2
#   bilinear, cubic, out_shape        2                 3
#   nearest, mode                  1 or 3            1 or 3 (one of the pixels)
#
# Why a good guess is wrong: a colour table is taken to matter when a map is drawn, not when its numbers are read; and
# who knows that averages of classes are nonsense expects a number between the two, or a refusal, not a distant class
# that stands in no pixel, chosen by whoever picked the colours. Adding or changing a colour table changes the numbers.
# Whom it bites: whoever reads a reduced land-cover, cloud or prediction map (these come with colour tables) and counts
# pixels by class: forest may become water by way of its colour. `mode` and `nearest` keep to classes that are there.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rasterio==1.4.4 numpy==2.2.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import rasterio
from rasterio.enums import Resampling

warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)

SIDE = 512
COLOURS = {
    0: (0, 0, 0, 255),
    1: (255, 0, 0, 255),
    2: (10, 200, 10, 255),
    3: (0, 0, 255, 255),
    7: (128, 0, 128, 255),
}
classes = np.ones((SIDE, SIDE), "uint8")
classes[:, 1::2] = 3


def write(colours):
    with rasterio.open("map.tif", "w", driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="uint8") as out:
        out.write(classes, 1)
        if colours:
            out.write_colormap(1, colours)


def overview(method, colours):
    write(colours)
    with rasterio.open("map.tif", "r+") as file:
        file.build_overviews([2], method)
    with rasterio.open("map.tif", overview_level=0) as file:
        return np.unique(file.read(1)).tolist()


def reduced(method, colours):
    write(colours)
    with rasterio.open("map.tif") as file:
        return np.unique(file.read(1, out_shape=(SIDE // 2, SIDE // 2), resampling=method)).tolist()


expected = {
    ("average", "rms"): {overview: (2, 7), reduced: (2, 7)},
    ("gauss",): {overview: (2, 7)},
    ("bilinear", "cubic"): {overview: (2, 2), reduced: (2, 3)},
}
for names, ways in expected.items():
    for name in names:
        for way, wanted in ways.items():
            found = [way(Resampling[name], colours) for colours in (None, COLOURS)]
            print(f"{name:9}{way.__name__:9} no table {found[0]}  table {found[1]}")
            assert found == [[number] for number in wanted], "the behaviour has changed"
for name in ("nearest", "mode"):
    for way in (overview, reduced):
        found = [way(Resampling[name], colours) for colours in (None, COLOURS)]
        print(f"{name:9}{way.__name__:9} no table {found[0]}  table {found[1]}")
        assert all(classes in ([1], [3]) for classes in found), "the behaviour has changed"
PYTHON
