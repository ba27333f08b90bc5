#!/usr/bin/env bash
# GDAL 3.10.3 (rasterio 1.4.4; GDAL 3.12.2 does the same) takes the spelling "-nan" for the number 0, both as a pixel
# of an ASCII grid and as the nodata value of a GeoTIFF, a VRT or an ENVI header. C's printf() writes a NaN as "nan"
# or "-nan", whichever its sign bit says (C17 7.21.6.1), and strtod() reads either (7.22.1.3); numpy and tifffile
# 2026.3.3 do, too.
#
# Seen: a grid of 0, 1.5, -nan, nan reads as 0, 1.5, 0, nan. A GeoTIFF of 0, 1, nan with the nodata text "-nan" has
# its 0 masked, its NaN valid, and says nodata 0.0; with "nan" it is the other way round. No error, no warning.
#
# Why a good guess is wrong: "nan" is understood, and so are "inf" and Windows' "-1.#IND"; a text that is no number
# would be expected to be no nodata value at all. The sign of a NaN means nothing to anybody who computes with it.
# Whom it bites: grids and headers printed by C, C++ or Fortran, where 0/0 and inf - inf on x86-64 are "-nan". Holes
# of a terrain become sea level, and a class, a slope or a difference of 0 becomes a hole.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rasterio==1.4.4 tifffile==2026.3.3 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import ctypes
import math
import warnings

import numpy as np
import rasterio
import tifffile

warnings.filterwarnings("error", category=RuntimeWarning)
warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)

printed = ctypes.create_string_buffer(32)
ctypes.CDLL(None).snprintf(printed, 32, b"%g", ctypes.c_double(-math.nan))
minus_nan = printed.value.decode()
assert minus_nan == "-nan" and math.isnan(float(minus_nan))

cells = f"0 1.5 {minus_nan} nan"
head = "ncols 4\nnrows 1\nxllcorner 0\nyllcorner 0\ncellsize 1\nNODATA_value -9999\n"
with open("grid.asc", "w") as file:
    file.write(head + cells + "\n")
with rasterio.open("grid.asc") as grid:
    found = grid.read(1)[0]
print("cells  ", cells, "->", found)
assert np.array_equal(np.loadtxt([cells]), [0, 1.5, math.nan, math.nan], equal_nan=True)
assert np.array_equal(found, [0, 1.5, 0, math.nan], equal_nan=True), "the behaviour has changed"

for text, nodata, valid in (("nan", math.nan, [True, True, False]), (minus_nan, 0.0, [False, True, True])):
    pixels = np.array([[0, 1, math.nan]], np.float32)
    tag = (42113, "s", 0, text, True)
    tifffile.imwrite("holes.tif", pixels, photometric="minisblack", extratags=[tag])
    with tifffile.TiffFile("holes.tif") as tiff:
        assert math.isnan(tiff.pages[0].nodata)
    with rasterio.open("holes.tif") as holes:
        found = holes.nodata, (holes.read_masks(1)[0] > 0).tolist()
    print("nodata ", text, "->", *found)
    assert np.array_equal(found[0], nodata, equal_nan=True) and found[1] == valid, "the behaviour has changed"
PYTHON
