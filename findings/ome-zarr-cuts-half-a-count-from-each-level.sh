#!/usr/bin/env bash
# ome-zarr 0.18.0 (0.21.0 does the same), by default and with method="local_mean", makes the levels of a pyramid of
# whole numbers by averages whose fraction is cut off, and each level out of the one before: every level is half a
# count darker than the last on average, whatever the range of the numbers. Dim images go out altogether.
#
# Seen, the mean of levels 0 to 4 of a 1024 x 1024 image by write_image():
#   random counts, mean 3    uint16    3.0, 2.5, 2.0, 1.5, 1.0
#   random counts, mean 0.9  uint16    0.9, 0.4, 0.0, 0, 0
#   random bytes             uint8     127.4, 126.9, 126.4, 125.9, 125.4
#   the counts as float32              3.0, 3.0, 3.0, 3.0, 3.0
#   random, -100 to 99       int16     -0.5, -0.5, -0.5, -0.5, -0.4 (towards 0)
# No error, no warning.
#
# Why a good guess is wrong: an average is thought to keep the mean, and a viewer, which stretches each level by its
# own contrast, shows nothing of it. Of 8-bit photos it takes 2 of 255, which is lost in noise.
# Whom it bites: photon counts, single molecules, dim stains and counts per spot, in 8 or 16 bits: a threshold found on
# level 0 finds less on each level, and a background search on level 4 sees an empty slide. Features of one network at
# several levels differ by brightness; and a mean over a region depends on the level it is read from.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    ome-zarr==0.18.0 zarr==3.1.6 scikit-image==0.26.0 dask==2026.8.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import zarr
from ome_zarr.scale import Methods
from ome_zarr.writer import write_image

warnings.simplefilter("ignore")

SIDE, LEVELS = 1024, 5
random = np.random.default_rng(0)
images = {
    "mean 3": random.poisson(3, (SIDE, SIDE)).astype("uint16"),
    "mean 0.9": random.poisson(0.9, (SIDE, SIDE)).astype("uint16"),
    "bytes": random.integers(0, 256, (SIDE, SIDE)).astype("uint8"),
    "signed": random.integers(-100, 100, (SIDE, SIDE)).astype("int16"),
}
images["mean 3, float"] = images["mean 3"].astype("float32")


def means(image, **options):
    write_image(image, zarr.open_group("image.zarr", mode="w"), axes="yx", **options)
    group = zarr.open_group("image.zarr", mode="r")
    levels = group.attrs["ome"]["multiscales"][0]["datasets"]
    assert len(levels) == LEVELS
    arrays = [group[level["path"]][:] for level in levels]
    assert all(array.dtype == image.dtype for array in arrays)
    assert np.array_equal(arrays[0], image)
    return [float(array.mean(dtype="float64")) for array in arrays]


expected = {
    "mean 3": [3, 2.5, 2, 1.5, 1],
    "mean 0.9": [0.9, 0.37, 0, 0, 0],
    "bytes": [127.4, 126.9, 126.4, 125.9, 125.4],
    "signed": [-0.5, -0.5, -0.5, -0.5, -0.4],
    "mean 3, float": [3] * LEVELS,
}
for name, image in images.items():
    found = means(image)
    print(f"{name:15}", [round(mean, 2) for mean in found])
    assert np.allclose(found, expected[name], atol=0.06), "the behaviour has changed"

found = means(images["mean 0.9"], method=Methods.LOCAL_MEAN)
print("mean 0.9, local_mean", [round(mean, 2) for mean in found])
assert found[2] < 0.2 and found[4] == 0, "the behaviour has changed"
PYTHON
