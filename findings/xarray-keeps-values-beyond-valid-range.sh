#!/usr/bin/env bash
# xarray 2026.9.0 decodes _FillValue, missing_value, scale_factor and add_offset of a NetCDF variable, but not
# valid_range, valid_min or valid_max, which CF (2.5.1) names with them: values beyond are missing, says NetCDF's guide.
# xarray scales it like a measurement and leaves the three attributes in packed numbers next to values that no
# longer are; comparing the two masks the wrong ones.
#
# Seen, for packed -1, 0, 100, 200, 30000 with scale 0.01 and valid_range 0, 150 (and valid_min, valid_max alike):
#   netCDF4-python 1.7.5, rasterio 1.4.4   first and last two are masked; 0 and 100 are valid
#   xarray                                 -0.01, 0, 1, 2, 300, all valid, and valid_range 0, 150
# Asking xarray's own values for "0 to 150" keeps the 2, which is beyond the range of 0 to 1.5. No error, no warning.
#
# Why a good guess is wrong: mask_and_scale is on, and it does mask: a fill value in the same file becomes NaN. The
# two libraries under it, netCDF4 and GDAL, both mask, and switching to xarray is taken to change the interface only.
# Whom it bites: readers of ocean colour, snow cover and aerosol products, which store cloud, land and failures as
# codes above the valid range and state only that range: a code becomes the largest reflectance of the scene.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    xarray==2026.9.0 netCDF4==1.7.5.1.post1 rasterio==1.4.4 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import netCDF4
import numpy as np
import rasterio
import xarray

warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)

packed = np.array([-1, 0, 100, 200, 30000, -999], "i2")
right = [False, True, True, False, False, False]
ranges = {
    "range": {"valid_range": np.array([0, 150], "i2")},
    "ends": {"valid_min": np.int16(0), "valid_max": np.int16(150)},
}
with netCDF4.Dataset("scene.nc", "w") as file:
    file.Conventions = "CF-1.11"
    file.createDimension("x", len(packed))
    for name, attributes in ranges.items():
        variable = file.createVariable(name, "i2", ("x",), fill_value=np.int16(-999))
        variable.set_auto_maskandscale(False)
        variable.setncatts({"units": "1", "scale_factor": 0.01, **attributes})
        variable[:] = packed

for name in ranges:
    with netCDF4.Dataset("scene.nc") as file:
        assert (~np.ma.getmaskarray(file[name][:])).tolist() == right
    with rasterio.open(f"netcdf:scene.nc:{name}") as file:
        assert (~np.ma.getmaskarray(file.read(1, masked=True)[0])).tolist() == right
    with xarray.open_dataset("scene.nc", mask_and_scale=True) as file:
        found = file[name].load()
    print(name, found.values, "valid", np.isfinite(found.values).tolist(), "attributes", found.attrs)
    assert np.allclose(found.values, np.where(packed == -999, np.nan, packed * 0.01), equal_nan=True)
    assert np.isfinite(found.values).tolist() == [True] * 5 + [False], "the behaviour has changed"

low, high = (int(end) for end in xarray.open_dataset("scene.nc")["range"].attrs["valid_range"])
assert (low, high) == (0, 150), "the behaviour has changed"
PYTHON
