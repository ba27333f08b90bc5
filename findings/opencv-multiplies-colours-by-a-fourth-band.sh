#!/usr/bin/env bash
# OpenCV 5.0.0's imread() multiplies red, green and blue of an 8-bit TIFF by the fourth band, divided by 255, if that
# band is tagged as unassociated alpha. GDAL 3.10.3 (rasterio 1.4.4) tags it so in every 8-bit file of four bands that
# it writes, unless told otherwise: near infrared, too. IMREAD_UNCHANGED does it like IMREAD_COLOR, which then drops
# the fourth band, and imreadmulti() alike.
#
# Seen, for red, green, blue, infrared = 200, 100, 50, 51 by rasterio.open(…, count=4, dtype="uint8"):
#   rasterio, tifffile, Pillow            200, 100, 50, 51
#   OpenCV, IMREAD_UNCHANGED              40, 20, 10, 51
#   OpenCV, IMREAD_COLOR                  40, 20, 10
#   OpenCV of the same in 16 bits, in PNG, or with photometric="rgb" (no alpha tag)    200, 100, 50, 51
# No error, no warning of it, and the colours cannot be had back: where infrared is 0, as on water, so are they.
#
# Why a good guess is wrong: "unchanged" is what the flag says, and in a PNG even a real alpha is left alone. TIFF knows
# associated alpha (already multiplied) and this one, which says that nothing was. 16-bit tests pass.
# Whom it bites: models of red, green, blue and infrared on 8-bit aerial images (NAIP-like), trained through rasterio
# and run through OpenCV, or the other way round: vegetation, bright in infrared, stays nearly as it is, roads
# turn dark and water black. And orthophotos with a real alpha, whose soft edges darken.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    opencv-python-headless==5.0.0.93 rasterio==1.4.4 tifffile==2026.3.3 pillow==13.0.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import cv2
import numpy as np
import rasterio
import tifffile
from PIL import Image

warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)

RIGHT = [200, 100, 50, 51]
MULTIPLIED = [40, 20, 10, 51]


def write(path, driver="GTiff", dtype="uint8", **options):
    bands = np.tile(np.array(RIGHT, dtype)[:, None, None], (1, 64, 64))
    with rasterio.open(path, "w", driver=driver, width=64, height=64, count=4, dtype=dtype, **options) as out:
        out.write(bands)
    with rasterio.open(path) as image:
        assert np.array_equal(image.read(), bands)


def pixel(image, order):
    assert (image == image[0, 0]).all()
    return image[0, 0][order].tolist()


def with_opencv(path, flag):
    order = [2, 1, 0, 3] if flag == cv2.IMREAD_UNCHANGED else [2, 1, 0]
    return pixel(cv2.imread(path, flag), order)


tiled = {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}
for options in ({}, tiled, {"driver": "COG", "compress": "deflate"}):
    write("scene.tif", **options)
    with tifffile.TiffFile("scene.tif") as tiff:
        assert tiff.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
        assert pixel(tiff.asarray(), [0, 1, 2, 3]) == RIGHT
    assert pixel(np.array(Image.open("scene.tif")), [0, 1, 2, 3]) == RIGHT
    found = with_opencv("scene.tif", cv2.IMREAD_UNCHANGED)
    print(options, "written", RIGHT, "OpenCV", found, with_opencv("scene.tif", cv2.IMREAD_COLOR))
    assert found == MULTIPLIED, "the behaviour has changed"
    assert with_opencv("scene.tif", cv2.IMREAD_COLOR) == MULTIPLIED[:3], "the behaviour has changed"
    done, pages = cv2.imreadmulti("scene.tif", flags=cv2.IMREAD_UNCHANGED)
    assert done and pixel(pages[0], [2, 1, 0, 3]) == MULTIPLIED, "the behaviour has changed"

write("scene.png", driver="PNG")
write("sixteen.tif", dtype="uint16", photometric="rgb", alpha="yes")
write("plain.tif", photometric="rgb")
for path in ("scene.png", "sixteen.tif", "plain.tif"):
    assert with_opencv(path, cv2.IMREAD_UNCHANGED) == RIGHT, "the behaviour has changed"
with tifffile.TiffFile("sixteen.tif") as tiff:
    assert tiff.pages[0].extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
PYTHON
