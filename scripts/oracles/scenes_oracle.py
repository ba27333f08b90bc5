"""Writes GeoTIFFs of every layout that GDAL can write, and what GDAL reads of them.

    .venv/bin/python scripts/oracles/scenes_oracle.py FOLDER

FOLDER gets the files, and `golden.json` in the form of scripts/golden/scenes_golden.py.
"""

import itertools
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
from scenes_golden import describe  # noqa: E402

WIDTH, HEIGHT = 101, 83
TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
TILES = {"tiled": True, "blockxsize": 32, "blockysize": 48}
STRIPS = {"tiled": False, "blockysize": 7}


def pixels(dtype: str, count: int, bits: int | None = None) -> np.ndarray:
    """Returns [bands, height, width]: a gradient with noise, over the range of the type or of its bits."""
    chance = np.random.default_rng(len(dtype) + 7 * count)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    bands = [np.sin(x / (9 + band)) * np.cos(y / 13) + chance.normal(0, 0.02, x.shape) for band in range(count)]
    unit = np.clip((np.stack(bands) + 1.2) / 2.4, 0, 1)
    if dtype.startswith("float"):
        values = ((unit - 0.3) * 1e4).astype(dtype)
        values[:, 3, 5:9] = np.nan
        values[:, 4, 5] = np.inf
        return values
    info = np.iinfo(dtype)
    low, high = (0, 2**bits - 1) if bits else (info.min, info.max)
    return (low + unit * (float(high) - float(low)) * 0.999).astype(dtype)


def write(path: Path, samples: np.ndarray, nodata=None, mask=None, overviews=(), blocks=None, **options) -> None:
    """Writes a file; `blocks`: only these windows of it."""
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": len(samples)}
    profile |= {"dtype": samples.dtype.name, "nodata": nodata} | options
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as dataset:
        if blocks is None:
            dataset.write(samples)
        for x, y, width, height in blocks or []:
            dataset.write(samples[:, y : y + height, x : x + width], window=Window(x, y, width, height))
        if mask is not None:
            dataset.write_mask(mask)
        if overviews:
            dataset.build_overviews(overviews, Resampling.nearest)


def lossless(folder: Path) -> None:
    codecs = [("none", [1]), ("packbits", [1]), ("lzw", [1, 2, 3]), ("deflate", [1, 2, 3]), ("zstd", [1, 2, 3])]
    cases = itertools.product(codecs, TYPES, ["pixel", "band"], ["LITTLE", "BIG"], [1, 3, 5])
    for number, ((codec, predictors), dtype, interleave, order, count) in enumerate(cases):
        if count == 1 and interleave == "band":
            continue
        for predictor in predictors:
            if predictor == 3 and not dtype.startswith("float"):
                continue
            layout = [TILES, STRIPS][(number + predictor) % 2]
            options = layout | {"interleave": interleave, "ENDIANNESS": order}
            if codec != "none":
                options["compress"] = codec
            if predictor > 1:
                options["predictor"] = predictor
            if number % 5 == 0:
                options["BIGTIFF"] = "YES"
            kind = "tiles" if layout is TILES else "strips"
            name = f"{codec}{predictor}-{dtype}x{count}-{interleave}-{order.lower()}-{kind}.tif"
            write(folder / name, pixels(dtype, count), **options)


def lerc(folder: Path) -> None:
    cases = itertools.product(["lerc", "lerc_deflate", "lerc_zstd"], TYPES, ["pixel", "band"], [1, 3], [0, 0.01])
    for codec, dtype, interleave, count, error in cases:
        if dtype.endswith("64") and not dtype.startswith("float"):
            continue
        if (count == 1 and interleave == "band") or (error and not dtype.startswith("float")):
            continue
        samples = pixels(dtype, count)
        if count == 3:
            samples = np.nan_to_num(samples, posinf=0) if dtype.startswith("float") else samples
        name = f"{codec}-{dtype}x{count}-{interleave}-{error}.tif"
        write(folder / name, samples, **TILES, compress=codec, interleave=interleave, max_z_error=error)


def lossy(folder: Path) -> None:
    for count, interleave in [(1, "pixel"), (3, "pixel"), (3, "band"), (4, "pixel"), (5, "band")]:
        for kind, layout in [("tiles", TILES), ("strips", STRIPS | {"blockysize": 16})]:
            name = f"jpeg-{count}-{interleave}-{kind}.tif"
            write(folder / name, pixels("uint8", count), **layout, compress="jpeg", interleave=interleave)
    for kind, layout in [("tiles", TILES), ("strips", STRIPS | {"blockysize": 16})]:
        options = layout | {"compress": "jpeg", "photometric": "ycbcr"}
        write(folder / f"jpeg-ycbcr-{kind}.tif", pixels("uint8", 3), **options)
        write(folder / f"jpeg-rgb-{kind}.tif", pixels("uint8", 3), **(options | {"photometric": "rgb"}))
    for count in [3, 4]:
        for kind, layout in [("tiles", TILES), ("strips", STRIPS | {"blockysize": 16})]:
            options = layout | {"compress": "webp", "webp_lossless": True}
            write(folder / f"webp-{count}-{kind}.tif", pixels("uint8", count), **options)
    write(folder / "webp-lossy.tif", pixels("uint8", 3), **TILES, compress="webp", webp_level=80)


def bits(folder: Path) -> None:
    for bits, count in itertools.product([1, 2, 3, 4, 5, 6, 7, *range(9, 16), 17, 20, 23, 25, 31], [1, 3]):
        dtype = "uint8" if bits < 8 else "uint16" if bits < 16 else "uint32"
        for kind, layout in [("tiles", TILES), ("strips", STRIPS)]:
            for order in ["LITTLE", "BIG"]:
                options = layout | {"NBITS": bits, "ENDIANNESS": order}
                if count == 3:
                    options["interleave"] = "band" if kind == "tiles" else "pixel"
                name = f"bits{bits}x{count}-{kind}-{order.lower()}.tif"
                write(folder / name, pixels(dtype, count, bits), **options)
    for predictor, order in itertools.product([1, 2, 3], ["LITTLE", "BIG"]):
        options = TILES | {"NBITS": 16, "ENDIANNESS": order, "compress": "deflate", "predictor": predictor}
        write(folder / f"half{predictor}-{order.lower()}.tif", pixels("float32", 3), **options)


def validity(folder: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), "uint8")
    mask[20:60, 30:80] = 255
    write(folder / "mask.tif", pixels("uint16", 2), mask=mask, overviews=[2, 4], **TILES, compress="deflate")
    write(folder / "mask-strips.tif", pixels("uint8", 3), mask=mask, **STRIPS, compress="lzw")
    for dtype, count in itertools.product(["uint8", "uint16", "float32"], [2, 4]):
        samples = pixels(dtype, count)
        samples[-1, 40:60] = 0
        options = TILES | {"photometric": "rgb" if count == 4 else "minisblack", "ALPHA": "YES"}
        write(folder / f"alpha-{dtype}x{count}.tif", samples, **options)
    for dtype, nodata in [
        ("uint8", 255), ("int8", -128), ("uint16", 17), ("int16", -32768), ("uint32", 2**32 - 1), ("int32", -1),
        ("uint64", 200), ("int64", -300), ("float32", -9999), ("float32", np.nan), ("float64", 1e300),
        ("float32", 0.1),
    ]:  # fmt: skip
        samples = pixels(dtype, 3)
        samples[:, 30:60, 20:50] = nodata
        samples[1, 40, 20:50] = 1
        name = f"nodata-{dtype}-{nodata}.tif"
        blocks = [(0, 0, 32, 48), (32, 48, 32, 35)]
        write(folder / name, samples, nodata=nodata, overviews=[2], **TILES, compress="deflate")
        write(folder / f"sparse-{name}", samples, nodata, blocks=blocks, **TILES, SPARSE_OK=True, interleave="band")
    write(folder / "sparse.tif", pixels("int16", 3), blocks=[(64, 48, 32, 35)], **TILES, SPARSE_OK=True)


def main(folder: Path) -> None:
    warnings.filterwarnings("ignore")
    for group in (lossless, lerc, lossy, bits, validity):
        group(folder)
    golden = {path.name: describe(path, path.name) for path in sorted(folder.glob("*.tif"))}
    (folder / "golden.json").write_text(json.dumps(golden))
    print(len(golden))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
