#!/usr/bin/env bash
# numcodecs' filter BitRound (0.16.6; 0.17.1 does the same), by itself and in Zarr 2 and 3, turns a NaN into a number if
# the bits that it cuts off are large: it adds half a step to the bits of whatever is there. The carry of a NaN of all
# ones runs through into the sign; of a NaN that has low bits only, none are left, and that is the spelling of infinity.
# Only numpy's own NaN comes through.
#
# Seen, for keepbits=7, Zarr 2 and 3 alike:
#                                                            BitRound    netCDF-C, GDAL
#   0x7fc00000, numpy.nan                                    NaN         NaN
#   0x7fffffff, the NaN that NVIDIA GPUs make (PTX ISA)      -0.0        NaN
#   0xffffffff, memory filled with 0xff                      0.0         NaN
#   0x7ff00000000007a2, R's NA                               infinity    NaN
# (netCDF4-python 1.7.5 with quantize_mode="BitRound", rasterio 1.4.4 with discard_lsb.) No error, no warning.
#
# Why a good guess is wrong: a test with numpy.nan passes, in 16, 32 and 64 bits, and so do both infinities; isnan() is
# true of all of these before, and nobody looks at the bits of a NaN.
# Whom it bites: whoever stores what was computed on a GPU, or came from R, with this filter (the usual one for weather
# and reflectances in Zarr): gaps become sea level, 0 mm of rain, a reflectance of nothing; NA becomes a maximum.
# A chunk without any number in it is not written at all and comes back right, which hides it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    numcodecs==0.16.6 zarr==3.1.6 netCDF4==1.7.5.1.post1 rasterio==1.4.4 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import math
import warnings

import netCDF4
import numpy as np
import rasterio
import zarr
from numcodecs import BitRound
from zarr.codecs import numcodecs as filters_of_zarr_3

warnings.simplefilter("ignore")

KEEP = 7
cases = {
    "float32": {0x7FC00000: math.nan, 0x7FFFFFFF: -0.0, 0xFFFFFFFF: 0.0},
    "float64": {0x7FF8000000000000: math.nan, 2**63 - 1: -0.0, 2**64 - 1: 0.0, 0x7FF00000000007A2: math.inf},
}


def same(found, wanted):
    equal = np.array_equal(found, wanted, equal_nan=True)
    return equal and np.array_equal(np.signbit(found[wanted == 0]), np.signbit(wanted[wanted == 0]))


def through_zarr(values, version, bit_round):
    store = f"values{values.itemsize}.{version}"
    options = {"shape": values.shape, "chunks": values.shape, "fill_value": math.nan, "zarr_format": version}
    array = zarr.create_array(store, dtype=values.dtype, filters=[bit_round(keepbits=KEEP)], **options)
    array[:] = values
    return zarr.open_array(store, mode="r")[:]


for dtype, bits in cases.items():
    integers = np.array(list(bits), dtype.replace("float", "uint"))
    values = np.append(integers.view(dtype), np.array([1.5], dtype))
    assert np.isnan(values[:-1]).all()
    expected = np.array([*bits.values(), 1.5], dtype)

    codec = BitRound(keepbits=KEEP)
    found = codec.decode(codec.encode(values)).view(dtype)
    print(dtype, [hex(number) for number in integers], "BitRound", found[:-1])
    assert same(found, expected), "the behaviour has changed"
    for version, bit_round in ((2, BitRound), (3, filters_of_zarr_3.BitRound)):
        assert same(through_zarr(values, version, bit_round), expected), "the behaviour has changed"

    with netCDF4.Dataset("values.nc", "w") as file:
        file.createDimension("x", values.size)
        options = {"zlib": True, "quantize_mode": "BitRound", "significant_digits": KEEP}
        file.createVariable("v", dtype, ("x",), **options)[:] = values
    with netCDF4.Dataset("values.nc") as file:
        file.set_auto_maskandscale(False)
        assert np.isnan(file["v"][:-1]).all()
    profile = {"driver": "GTiff", "width": values.size, "height": 1, "count": 1, "dtype": dtype}
    with rasterio.open("values.tif", "w", compress="deflate", discard_lsb=16, **profile) as file:
        file.write(values[None], 1)
    with rasterio.open("values.tif") as file:
        assert np.isnan(file.read(1)[0, :-1]).all()
PYTHON
