#!/usr/bin/env bash
# Pillow 13.0.0 opens a TIFF of three 16-bit bands in planes (PlanarConfiguration 2) as mode RGB and yields
# the bytes of the samples, as if each were a pixel: no error, no warning. tifffile 2026.3.3 reads the samples.
#
# Seen: for planes of 1000, 2000 and 3000, pixels (232, 208, 184) and (3, 7, 11) in turns: low and high bytes.
#
# Why a good guess is wrong: Pillow refuses many 16-bit layouts ("cannot identify image file"), so one that opens
# seems to be understood; shape and mode are those of a sound picture, and half the columns even look like it.
# Whom it bites: satellite and microscopy pipelines that load bands through Pillow (torchvision's ImageFolder,
# Hugging Face datasets): GDAL writes INTERLEAVE=BAND just so. The right half of the image is not read at all.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.3.5

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import tifffile
from PIL import Image

planes = np.stack([np.full((8, 8), 1000 * band, np.uint16) for band in (1, 2, 3)])
tifffile.imwrite("planes.tif", planes, photometric="rgb", planarconfig="separate")
assert np.array_equal(tifffile.imread("planes.tif"), planes)

image = Image.open("planes.tif")
pixels = np.asarray(image)
print(image.mode, pixels.dtype, pixels[0].tolist())
assert image.mode == "RGB" and pixels.dtype == np.uint8
low_and_high = planes.astype("<u2").view(np.uint8)
assert np.array_equal(pixels, low_and_high[:, :, :8].transpose(1, 2, 0)), "the behaviour has changed"
PYTHON
