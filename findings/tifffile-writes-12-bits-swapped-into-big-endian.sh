#!/usr/bin/env bash
# tifffile 2026.3.3 (with imagecodecs 2026.3.6) writes other numbers than it was given into a big-endian TIFF of 10, 12
# or 14 bits per sample: the low bits of each number with its two bytes exchanged. It packs the samples after they were
# put in the file's byte order; but bits of a row follow each other from the highest on, whatever the order of bytes is
# (TIFF 6.0, FillOrder and BitsPerSample), and little-endian files are written right.
#
# Seen, for 1, 300, 2625, 4095 by imwrite(…, bitspersample=12):
#   byteorder="<"   1, 300, 2625, 4095      by tifffile and by GDAL 3.10.3 (rasterio 1.4.4)
#   byteorder=">"   256, 3073, 266, 3855    by both: the reader is right, the file is wrong
# No error, no warning.
#
# Why a good guess is wrong: what a library wrote, the same library is thought to read back; 8 and 16 bits in either
# order and 12 bits in little-endian order do come back, and 1-bit masks as well. Where bits are packed, the two bytes
# at the start of a file are thought to concern its tags only, and in the reader they do.
# Whom it bites: whoever saves 10- to 14-bit camera or detector frames in packed form (a third smaller) for programs
# that expect big-endian files. The result is valid, opens everywhere, and looks like a noisy picture.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    tifffile==2026.3.3 imagecodecs==2026.3.6 rasterio==1.4.4 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import rasterio
import tifffile

warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)


def written(pixels, bits, order):
    packed = {} if bits in (8, 16) else {"bitspersample": bits}
    tifffile.imwrite("frame.tif", pixels, byteorder=order, photometric="minisblack", **packed)
    with tifffile.TiffFile("frame.tif") as tiff:
        assert tiff.byteorder == order and tiff.pages[0].bitspersample == bits
    found = tifffile.imread("frame.tif")
    with rasterio.open("frame.tif") as image:
        assert np.array_equal(image.read(1), found)
    return found


for bits in (8, 10, 12, 14, 16):
    greatest = 2**bits - 1
    numbers = [1, 300 % (greatest + 1), 2625 % (greatest + 1), greatest]
    pixels = np.tile(np.array(numbers, "u1" if bits == 8 else "u2"), (8, 8))
    assert np.array_equal(written(pixels, bits, "<"), pixels)
    found = written(pixels, bits, ">")
    print(bits, "bits: written", numbers, "little-endian right, big-endian", found[0, :4].tolist())
    expected = pixels.byteswap() & greatest if bits in (10, 12, 14) else pixels
    assert np.array_equal(found, expected), "the behaviour has changed"
PYTHON
