"""Writes what GDAL reads of every GeoTIFF of the test data: tests/golden/scenes.json.

    .venv/bin/python scripts/golden/scenes_golden.py DATA tests/golden/scenes.json

One line a file: the levels with sample type and shape, and for some windows of each level the first 16
hexadecimal digits of the SHA-256 of the samples (little-endian, [height, width, bands]) and of the mask
([height, width], `dataset_mask`). JPEG in YCbCr has two more values: the samples by Pillow, and how far GDAL's
are from those. The GDAL of rasterio's wheels decodes JPEG with IJG's libjpeg 9, which interpolates colour in
another way than libjpeg-turbo; Pillow brings libtiff with libjpeg-turbo, as most builds of GDAL do. Windows: all of it where that is small, the corners, across the edges of
blocks, the last row and column, one pixel, and some at random (seeded by the file's name).
"""

import hashlib
import json
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.windows import Window

SMALL_PIXELS = 1 << 21
NUM_RANDOM = 4
# Pillow reads no page that has a damaged block; this file is the other with one wrong offset.
WHOLE = {"corrupt.tif": "cogeo.tif"}
SUFFIXES = {".tif", ".tiff"}


def digest(array: np.ndarray) -> str:
    little = array.astype(array.dtype.newbyteorder("<"))
    return hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()[:16]


def windows(name: str, width: int, height: int, block: tuple[int, int]) -> list[list[int]]:
    """Returns distinct windows as x, y, width, height."""
    block_height, block_width = (min(block[0], height), min(block[1], width))
    side_x, side_y = min(width, 37), min(height, 29)
    found = []
    if width * height <= SMALL_PIXELS:
        found.append([0, 0, width, height])
    else:
        found.append([0, 0, min(width, 1024), min(height, 1024)])
    right, lower = width - side_x, height - side_y
    found += [[0, 0, side_x, side_y], [right, 0, side_x, side_y]]
    found += [[0, lower, side_x, side_y], [right, lower, side_x, side_y]]
    across, down = min(block_width // 2 + 1, width - 1), min(block_height // 2 + 1, height - 1)
    found.append([across, down, min(block_width, width - across), min(block_height, height - down)])
    found += [[0, height - 1, width, 1], [width - 1, 0, 1, height], [width // 2, height // 2, 1, 1]]
    chance = random.Random(f"{name} {width} {height}")
    for _ in range(NUM_RANDOM):
        x, y = chance.randrange(width), chance.randrange(height)
        found.append([x, y, chance.randint(1, min(width - x, 300)), chance.randint(1, min(height - y, 300))])
    return [list(window) for window in dict.fromkeys(map(tuple, found))]


def by_pillow(path: Path, width: int, height: int, window: list[int]) -> np.ndarray | None:
    """Returns a window of the page of this size, as libjpeg-turbo decodes it."""
    x, y, columns, rows = window
    whole = path.with_name(WHOLE.get(path.name, path.name))
    with Image.open(whole) as image:
        for page in range(32):
            try:
                image.seek(page)
                if image.size == (width, height) and image.mode == "RGB":
                    return np.asarray(image)[y : y + rows, x : x + columns]
            except EOFError:
                break
            except (OSError, SyntaxError):
                # A mask, or a page that is not whole.
                continue
    return None


def read(dataset, path: Path, window: list[int]) -> list:
    """Returns a window with the digests of its samples and of its mask, or with GDAL's error."""
    part = Window(*window)
    try:
        samples = dataset.read(window=part).transpose(1, 2, 0)
        told = [*window, digest(samples), digest(dataset.dataset_mask(window=part))]
    except rasterio.errors.RasterioError:
        return [*window, "error"]
    if dataset.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION") == "YCbCr JPEG":
        turbo = by_pillow(path, dataset.width, dataset.height, window)
        if turbo is not None:
            difference = np.abs(samples.astype(int) - turbo.astype(int)).max()
            told += [digest(turbo), int(difference)]
    return told


def level(path: Path, name: str, overview: int | None) -> dict:
    options = {} if overview is None else {"overview_level": overview}
    with rasterio.open(path, **options) as dataset:
        width, height, count = dataset.width, dataset.height, dataset.count
        told = {"dtype": dataset.dtypes[0], "shape": [height, width, count]}
        all_windows = windows(name, width, height, dataset.block_shapes[0])
        told["windows"] = [read(dataset, path, window) for window in all_windows]
        return told


def describe(path: Path, name: str) -> dict:
    try:
        with rasterio.open(path) as dataset:
            structure = dataset.tags(ns="IMAGE_STRUCTURE")
            num_overviews = len(dataset.overviews(1))
            bands = [
                [dataset.colorinterp[band].name, dataset.scales[band], dataset.offsets[band]]
                for band in range(dataset.count)
            ]
            nodata = dataset.nodata
            converted = structure.get("SOURCE_COLOR_SPACE") if structure.get("COMPRESSION") != "YCbCr JPEG" else None
    except rasterio.errors.RasterioError as error:
        return {"error": type(error).__name__}
    overviews = [None, *range(num_overviews)]
    told = {"bands": bands, "nodata": None if nodata is None else repr(nodata)}
    if converted:
        told["converted_from"] = converted
    told["levels"] = [level(path, name, overview) for overview in overviews]
    return told


def main(data: Path, out: Path) -> None:
    warnings.filterwarnings("ignore")
    folder = data / "satellite"
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    with out.open("w") as golden:
        golden.write("{\n")
        for number, path in enumerate(paths):
            name = path.relative_to(folder).as_posix()
            line = json.dumps(describe(path, name), separators=(",", ":"))
            golden.write(f"{json.dumps(name)}:{line}{',' if number + 1 < len(paths) else ''}\n")
        golden.write("}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
