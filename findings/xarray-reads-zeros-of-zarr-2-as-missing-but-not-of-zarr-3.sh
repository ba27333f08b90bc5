#!/usr/bin/env bash
# xarray 2026.9.0 takes the `fill_value` of an array in Zarr format 2 for CF's `_FillValue`, and that of format 3 not.
# zarr-python 3.1.6 writes `"fill_value": 0` into both if nobody says another. So one program that writes 0, 1, 2 | 3, 0, 5
# as 16-bit counts is read back as
#   format 2:  float32, NaN, 1, 2 | 3, NaN, 5   mean 2.75
#   format 3:  int16,   0,   1, 2 | 3, 0,   5   mean 1.83
# The option that is there to decide, `use_zarr_fill_value_as_mask` of `open_zarr`, changes nothing here, True or False,
# in either format. A writer's `fill_value=None` or a reader's `mask_and_scale=False` does.
#
# Why a good guess is wrong: in both formats `fill_value` is what chunks that were never written hold (Zarr storage
# specification 2, "Arrays"; Zarr core specification 3, "Fill value"), nothing about missing data; here all chunks were
# written. zarr-python reads the zeros as zeros from both, and whoever tries the default once on format 3 sees none go.
# Whom it bites: means, counts and chips of reflectance, rain, snow, depth or land cover, where 0 is a value: zeros
# vanish, and whole numbers become floats, or come back, with the format of a store that looks the same otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    xarray==2026.9.0 zarr==3.1.6 numpy==2.4.6 numcodecs==0.16.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import xarray as xr
import zarr

warnings.simplefilter("ignore")
counts = np.array([[0, 1, 2], [3, 0, 5]], "int16")


def write(path, zarr_format, **more):
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    names = {"dimension_names": ("y", "x")} if zarr_format == 3 else {}
    array = group.create_array("rain", shape=counts.shape, chunks=(1, 3), dtype="int16", **names, **more)
    array[:] = counts
    if zarr_format == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = ["y", "x"]
    assert (zarr.open_array(f"{path}/rain", mode="r")[:] == counts).all()
    return array.fill_value


def read(path, zarr_format, **more):
    rain = xr.open_zarr(path, zarr_format=zarr_format, consolidated=False, **more)["rain"]
    return str(rain.dtype), round(float(rain.mean()), 2), int(rain.isnull().sum())


assert (write("two", 2), write("three", 3)) == (0, 0)
assert write("none", 2, fill_value=None) is None
masked, plain = ("float32", 2.75, 2), ("int16", 1.83, 0)
expected = {
    ("two", 2, None): masked,
    ("three", 3, None): plain,
    ("none", 2, None): plain,
    ("two", 2, "use_zarr_fill_value_as_mask=False"): masked,
    ("two", 2, "mask_and_scale=False"): plain,
    ("three", 3, "use_zarr_fill_value_as_mask=True"): plain,
}
for (path, zarr_format, option), wanted in expected.items():
    name, _, value = (option or "").partition("=")
    found = read(path, zarr_format, **({name: value == "True"} if option else {}))
    print(f"format {zarr_format}, {path}, {option}:", *found)
    assert found == wanted, "the behaviour has changed"
PYTHON
