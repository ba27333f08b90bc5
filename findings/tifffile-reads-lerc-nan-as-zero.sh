#!/usr/bin/env bash
# tifffile 2026.3.3 reads a NaN of a LERC-compressed TIFF as 0, even one that it has just written itself, losslessly.
# LERC holds no NaN among its values: an encoder takes such pixels out and marks them in the blob's own mask of valid
# pixels. tifffile asks its decoder (imagecodecs 2026.3.6) for the values and not for that mask. GDAL 3.10.3 (rasterio
# 1.4.4) and Esri's own decoder (lerc 4.0.1, `decode_ma`) heed the mask.
#
# Seen: an image with 100 NaNs, written by tifffile or by GDAL with compression LERC: tifffile finds 0 NaNs and 100
# zeros; GDAL finds 100 NaNs; Esri's decoder masks 100 pixels. With deflate all find 100 NaNs. No error, no warning.
#
# Why a good guess is wrong: LERC with a largest error of 0 is a lossless codec, and lossless codecs give the bits
# back. The mask that TIFF knows (a page of its own, or alpha) isn't there, and no nodata value is declared either.
# Whom it bites: terrain, bathymetry and canopy heights are published as LERC for its size, with NaN where nothing was
# measured. Zero is sea level or bare ground, and a network takes it for that. zarr over tifffile does the same.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tifffile==2026.3.3 imagecodecs==2026.3.6 rasterio==1.4.4 lerc==4.0.1 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import lerc
import numpy as np
import rasterio
import tifffile

warnings.filterwarnings("error", category=RuntimeWarning)
warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)

heights = np.random.default_rng(0).uniform(100, 900, (64, 64)).astype(np.float32)
heights[10:20, 10:20] = np.nan


def by_tifffile(name, compression):
    tifffile.imwrite(name, heights, photometric="minisblack", compression=compression, rowsperstrip=64)


def by_gdal(name, compression):
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "float32"}
    with rasterio.open(name, "w", compress=compression, blockysize=64, **profile) as file:
        file.write(heights, 1)


for writer in (by_tifffile, by_gdal):
    for compression in ("deflate", "lerc"):
        writer("heights.tif", compression)
        with rasterio.open("heights.tif") as file:
            assert np.array_equal(file.read(1), heights, equal_nan=True)
        found = tifffile.imread("heights.tif")
        print(writer.__name__, compression, "NaNs:", np.isnan(found).sum(), "zeros:", (found == 0).sum())
        lost = 0.0 if compression == "lerc" else np.nan
        right = np.where(np.isnan(heights), np.float32(lost), heights)
        assert np.array_equal(found, right, equal_nan=True), "the behaviour has changed"
    with tifffile.TiffFile("heights.tif") as tiff:
        page = tiff.pages[0]
        assert len(page.dataoffsets) == 1
        tiff.filehandle.seek(page.dataoffsets[0])
        blob = tiff.filehandle.read(page.databytecounts[0])
    _, decoded = lerc.decode_ma(blob)[:2]
    assert np.array_equal(np.ma.getmaskarray(decoded).reshape(64, 64), np.isnan(heights))
PYTHON
