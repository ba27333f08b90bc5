#!/usr/bin/env bash
# large_image 1.35.6 gives, for a path that it opened before in the same process, the size and the pixels of the slide
# that lay there then. open() looks the path up in a cache of sources, and does not look whether the file is another by
# now: not at its size, nor its time, nor whether it was deleted in between. Closing is no remedy: the last reference
# may be gone. open(…, noCache=True) reads the file that is there; so does any open() after cachesClear().
#
# Seen, for three slides put at one path in turn, each read and removed before the next:
#   slide                  512 pixels, all 10    512 pixels, all 200    768 pixels, all 99
#   large_image            512 pixels, all 10    512 pixels, all 10     512 pixels, all 10
#   noCache, OpenSlide     512 pixels, all 10    512 pixels, all 200    768 pixels, all 99
# Tiles, regions and metadata alike. No error, no warning.
#
# Why a good guess is wrong: that tiles are cached is documented and wished for, but open() sounds like the end of what
# was known of a file, as it is with OpenSlide, tifffile, GDAL and pydicom.
# Whom it bites: workers that fetch slide after slide from a bucket to one name on a scratch disk, as it has room for
# one, and tests that write their image anew: every slide is tiled, and saved under its own name, as the first one.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    large-image==1.35.6 large-image-source-tiff==1.35.6 openslide-python==1.4.7 openslide-bin==4.0.1.2 \
    tifffile==2026.3.3 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import gc
import os

import large_image
import numpy as np
import openslide
import tifffile


def with_large_image(**options):
    source = large_image.open("slide.tif", **options)
    metadata = source.getMetadata()
    region, _ = source.getRegion(format=large_image.constants.TILE_FORMAT_NUMPY)
    tile = source.getTile(0, 0, source.levels - 1, numpyAllowed="always")
    assert tile[0, 0].tolist() == region[0, 0].tolist() == region[-1, -1].tolist()
    assert metadata["sizeX"] == region.shape[1]
    return metadata["sizeX"], int(tile[0, 0, 0])


def with_openslide():
    with openslide.OpenSlide("slide.tif") as slide:
        return slide.dimensions[0], slide.read_region((0, 0), 0, (1, 1)).getpixel((0, 0))[0]


slides = [(512, 10), (512, 200), (768, 99)]
for side, shade in slides:
    pixels = np.full((side, side, 3), shade, "uint8")
    tifffile.imwrite("slide.tif", pixels, tile=(256, 256), photometric="rgb")
    found = with_large_image()
    gc.collect()
    print("slide", (side, shade), "large_image", found, "anew", with_large_image(noCache=True), with_openslide())
    assert with_large_image(noCache=True) == with_openslide() == (side, shade)
    assert found == slides[0], "the behaviour has changed"
    os.remove("slide.tif")

tifffile.imwrite("slide.tif", pixels, tile=(256, 256), photometric="rgb")
large_image.cache_util.cachesClear()
assert with_large_image() == slides[-1]
PYTHON
