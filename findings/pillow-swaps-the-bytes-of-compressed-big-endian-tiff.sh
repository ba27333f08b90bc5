#!/usr/bin/env bash
# Pillow 13.0.0 reads a compressed big-endian TIFF of signed 16-bit, signed 32-bit or 32-bit floating-point samples
# with the bytes of each sample in the wrong order. libtiff, which it hands such files to, gives numbers in the order of
# the machine, and Pillow turns them around once more. Uncompressed files, which it reads by itself, are right, and so
# are unsigned 8 and 16 bits and every little-endian file.
#
# Seen, for 1, 300, -2 (the same by LZW, Deflate and ZSTD, with a predictor or not, in strips and in tiles):
#                     uncompressed    compressed
#   signed 16 bits    1, 300, -2      256, 11265, -257
#   signed 32 bits    1, 300, -2      16777216, 738263040, -16777217
#   32-bit float      1, 300, -2      4.6e-41, 5.4e-41, 2.7e-43
#   unsigned 16 bits  1, 300, 65534   1, 300, 65534
# rasterio 1.4.4 (GDAL 3.10.3) and tifffile 2026.3.3 read all of them as 1, 300, -2. No error, no warning.
#
# Why a good guess is wrong: the byte order is in the first two bytes of the file and is libtiff's business; whoever
# tries a big-endian file tries an uncompressed one, or a photo. That it hangs on compression is what nobody expects.
# Whom it bites: readers of elevation, CT-like and float rasters from writers that are big-endian by custom (Java, as
# ImageJ and Bio-Formats; GDAL with ENDIANNESS=BIG). The picture still has the edges of the right one, so that a
# min-max stretch looks like a noisy scene rather than like a wrong one, and floats turn to nearly nothing.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pillow==13.0.0 rasterio==1.4.4 tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import rasterio
import tifffile
from PIL import Image

warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)

samples = {"int16": (1, 300, -2), "int32": (1, 300, -2), "float32": (1, 300, -2), "uint16": (1, 300, 65534)}
layouts = [{}, {"tiled": True, "blockxsize": 16, "blockysize": 16}]

for dtype, numbers in samples.items():
    pixels = np.tile(np.array(numbers, dtype), (32, 16))
    predictor = 3 if dtype == "float32" else 2
    compressions = [{}, {"compress": "lzw"}, {"compress": "deflate", "predictor": predictor}, {"compress": "zstd"}]
    for endian in ("LITTLE", "BIG"):
        for layout in layouts:
            for compression in compressions:
                profile = {"driver": "GTiff", "width": 48, "height": 32, "count": 1, "dtype": dtype}
                with rasterio.open("grid.tif", "w", endianness=endian, **profile, **layout, **compression) as out:
                    out.write(pixels, 1)
                with rasterio.open("grid.tif") as grid:
                    assert np.array_equal(grid.read(1), pixels)
                with tifffile.TiffFile("grid.tif") as tiff:
                    assert tiff.byteorder == {"LITTLE": "<", "BIG": ">"}[endian]
                    assert np.array_equal(tiff.asarray(), pixels)
                found = np.array(Image.open("grid.tif"))
                print(dtype, endian, compression or "uncompressed", "Pillow", found[0, :3])
                swapped = endian == "BIG" and compression and dtype != "uint16"
                expected = pixels.byteswap() if swapped else pixels
                assert np.array_equal(found, expected), "the behaviour has changed"
PYTHON
