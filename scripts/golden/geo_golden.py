#!/usr/bin/env python3
"""Makes tests/golden/geo.json: where rasterio and pyproj place the pixels of georeferenced files.

    .venv/bin/python scripts/golden/geo_golden.py ../shared/data/satellite/geotiff

Each georeferenced file of the folder, and synthetic ones that rasterio writes (rotated, south-up, pixel is
point, poles, antimeridian, other projections), gives its raw GeoTIFF tags, GDAL's geotransform, and for
windows at level 0 and at an overview of half the size: corners (upper left, lower left, lower right, upper
right), centre and points along the edges in longitude and latitude (OGC:CRS84), null where PROJ has none.
`places` is null where there is no transform or no CRS. src/geo/tests.rs compares. Tests need neither Python
nor the files.

Systems with an EPSG code are converted by pyproj, others, which pyproj only knows through rasterio, by rasterio. The
target is EPSG:4326, longitude first, as everyone writes it: towards OGC:CRS84, the same coordinates, PROJ takes
another realisation of NAD83, a metre away, for projections without a code.
"""

import json
import math
import pathlib
import struct
import sys
import tempfile
import warnings

import pyproj
import rasterio
import rasterio.warp
from rasterio.transform import Affine

warnings.simplefilter("ignore")
TAGS = {33550: "pixel_scale", 33922: "tiepoints", 34264: "transformation", 34735: "key_directory",
        34736: "doubles", 34737: "ascii"}
FORMATS = {1: "B", 2: "s", 3: "H", 4: "I", 12: "d", 16: "Q"}
# Not evenly spaced, so that no halving of ours meets them.
SHARES = [0.07, 0.23, 0.41, 0.58, 0.79, 0.93]


def raw_tags(path):
    """The GeoTIFF tags of the first directory, read without GDAL."""
    data = path.read_bytes()
    order = "<" if data[:2] == b"II" else ">"
    read = lambda form, at: struct.unpack_from(order + form, data, at)
    big = read("H", 2)[0] == 43
    offset = read("Q", 8)[0] if big else read("I", 4)[0]
    count, start, step = (read("Q", offset)[0], offset + 8, 20) if big else (read("H", offset)[0], offset + 2, 12)
    tags = {}
    for entry in range(start, start + count * step, step):
        tag, kind = read("HH", entry)
        if tag not in TAGS:
            continue
        number = read("Q", entry + 4)[0] if big else read("I", entry + 4)[0]
        inline, form = (8, "Q") if big else (4, "I")
        size = number * struct.calcsize(FORMATS[kind])
        at = entry + (12 if big else 8)
        at = at if size <= inline else read(form, at)[0]
        values = data[at : at + size]
        tags[TAGS[tag]] = (
            values.rstrip(b"\0").decode() if kind == 2 else list(struct.unpack(f"{order}{number}{FORMATS[kind]}", values))
        )
    return tags


def synthetic(folder):
    """Files that the data folder has no example of, as GDAL writes them."""
    def write(name, crs, transform, size=(2000, 1500), **options):
        path = folder / f"{name}.tif"
        with rasterio.open(path, "w", driver="GTiff", width=size[0], height=size[1], count=1, dtype="uint8",
                           sparse_ok=True, crs=crs, transform=transform, **options):
            pass
        return path

    turned = Affine.translation(500000, 6000000) * Affine.rotation(30) * Affine.scale(10, -10)
    sheared = Affine(10, 3, 400000, 2, -10, 5000000)
    north_up = lambda x, y, pixel: Affine(pixel, 0, x, 0, -pixel, y)
    yield write("rotated-utm33", "EPSG:32633", turned)
    yield write("sheared-utm33", "EPSG:32633", sheared)
    yield write("south-up-utm33", "EPSG:32633", Affine(10, 0, 500000, 0, 10, 6000000))
    yield write("east-left-utm33", "EPSG:32633", Affine(-10, 0, 500000, 0, -10, 6000000))
    with rasterio.Env(GTIFF_POINT_GEO_IGNORE=False):
        point = write("pixel-is-point", "EPSG:32633", north_up(500000, 6000000, 10))
        with rasterio.open(point, "r+") as dataset:
            dataset.update_tags(AREA_OR_POINT="Point")
        yield point
        point = write("pixel-is-point-rotated", "EPSG:32633", turned)
        with rasterio.open(point, "r+") as dataset:
            dataset.update_tags(AREA_OR_POINT="Point")
        yield point
    yield write("antimeridian-utm1", "EPSG:32601", north_up(200000, 7000000, 60))
    yield write("antimeridian-utm60-south", "EPSG:32760", north_up(780000, 8000000, 30))
    yield write("antimeridian-mercator", "EPSG:3857", north_up(20037508.34 - 50000, -1800000, 60))
    yield write("degrees-to-360", "EPSG:4326", north_up(175.0, 20.0, 0.01))
    yield write("degrees-east-of-180", "EPSG:4326", north_up(190.0, 20.0, 0.01))
    yield write("arctic", "EPSG:3413", north_up(-2000000, -500000, 500))
    yield write("arctic-across-180", "EPSG:3995", north_up(-500000, 2500000, 500))
    yield write("antarctic", "EPSG:3031", north_up(1000000, 2000000, 500))
    yield write("north-pole", "EPSG:3413", north_up(-500000, 400000, 500))
    yield write("etrs-laea", "EPSG:3035", north_up(4000000, 3500000, 100))
    yield write("etrs-utm32", "EPSG:25832", north_up(500000, 5900000, 10))
    yield write("conus-albers", "EPSG:5070", north_up(-1000000, 2000000, 300))
    yield write("australian-albers", "EPSG:3577", north_up(0, -3000000, 300))
    yield write("swiss", "EPSG:2056", north_up(2600000, 1200000, 10))
    yield write("nad83-geographic", "EPSG:4269", north_up(-100.0, 40.0, 0.001))
    yield write("california-feet", "EPSG:2225", north_up(6000000, 2200000, 30))
    yield write("ease-grid-2", "EPSG:6933", north_up(0, 5000000, 1000))
    yield write("modis-sinusoidal", "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m", north_up(0, 5559752.6, 463.3))
    yield write("utm33-by-parameters", "+proj=tmerc +lat_0=0 +lon_0=15 +k=0.9996 +x_0=500000 +y_0=0 +datum=WGS84 +units=m",
                north_up(500000, 6000000, 10))
    yield write("albers-by-parameters", "+proj=aea +lat_1=20 +lat_2=60 +lat_0=40 +lon_0=-96 +x_0=0 +y_0=0 +datum=NAD83 +units=m",
                north_up(-500000, 500000, 300))
    yield write("lambert-by-parameters", "+proj=lcc +lat_1=33 +lat_2=45 +lat_0=40 +lon_0=-97 +x_0=0 +y_0=0 +datum=WGS84 +units=m",
                north_up(-500000, 500000, 300))
    yield write("tokyo", "EPSG:30169", north_up(0, 0, 10))
    yield write("no-crs", None, north_up(0, 0, 10))
    control = [rasterio.control.GroundControlPoint(row, col, 500000 + 10 * col, 6000000 - 10 * row)
               for row in (0, 1500) for col in (0, 2000)]
    yield write("ground-control-points", "EPSG:32633", None, gcps=control)


def windows(width, height):
    """[level, x, y, width, height]: the whole, the last corner, one in the middle, one at half the size."""
    side = min(224, width, height)
    found = [[0, 0, 0, width, height], [0, width - side, height - side, side, side],
             [0, width // 3, height // 2, min(side, width - width // 3), min(side, height - height // 2)]]
    half = [-(-width // 2), -(-height // 2)]
    if min(half) >= 4:
        found.append([1, half[0] // 2, half[1] // 4, half[0] // 3, half[1] // 3])
    return found


def place(dataset, convert, window):
    level, x, y, width, height = window
    size = [dataset.width, dataset.height]
    level_size = size if level == 0 else [-(-edge // 2) for edge in size]
    across, down = size[0] / level_size[0], size[1] / level_size[1]
    left, top, right, bottom = x * across, y * down, (x + width) * across, (y + height) * down

    def lon_lat(column, row):
        point = convert(*(dataset.transform @ (column, row)))
        return [round(degrees, 10) for degrees in point] if all(map(math.isfinite, point)) else None

    corners = [(left, top), (left, bottom), (right, bottom), (right, top)]
    edges = [
        lon_lat(ax + share * (bx - ax), ay + share * (by - ay))
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1])
        for share in SHARES
    ]
    return {
        "level_size": level_size,
        "window": [x, y, width, height],
        "corners": [lon_lat(*corner) for corner in corners],
        "centre": lon_lat((left + right) / 2, (top + bottom) / 2),
        "edges": edges,
    }


def converter(crs):
    if crs.to_epsg():
        return pyproj.Transformer.from_crs(f"EPSG:{crs.to_epsg()}", "EPSG:4326", always_xy=True).transform

    def convert(x, y):
        try:
            (longitude,), (latitude,) = rasterio.warp.transform(crs, "EPSG:4326", [x], [y])
        except rasterio._err.CPLE_AppDefinedError:
            return math.inf, math.inf
        return longitude, latitude

    return convert


def case(name, path):
    with rasterio.open(path) as dataset:
        tags = raw_tags(path)
        if not tags:
            return None
        found = {"name": name, "size": [dataset.width, dataset.height], "tags": tags}
        placed = not dataset.transform.is_identity and dataset.crs is not None
        found["transform"] = None if dataset.transform.is_identity else list(dataset.transform.to_gdal())
        found["epsg"] = dataset.crs.to_epsg() if dataset.crs else None
        found["places"] = None
        if placed:
            convert = converter(dataset.crs)
            try:
                found["places"] = [place(dataset, convert, window) for window in windows(*found["size"])]
            except rasterio._err.CPLE_NotSupportedError:
                print(f"{name}: GDAL has no way to longitude and latitude", file=sys.stderr)
        return found


def without_twins(cases):
    """The bands of one scene lie in the same place: once is enough."""
    kept = {}
    for found in cases:
        kept.setdefault(json.dumps([found["size"], found["tags"]]), found)
    return list(kept.values())


def main():
    folder = pathlib.Path(sys.argv[1])
    cases = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".tif", ".tiff"):
            try:
                cases.append(case(str(path.relative_to(folder)), path))
            except rasterio.errors.RasterioIOError as error:
                print(f"{path.name}: {error}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        for path in synthetic(pathlib.Path(scratch)):
            cases.append(case(f"synthetic/{path.name}", path))
    cases = without_twins(found for found in cases if found)
    lines = ",\n".join(json.dumps(found) for found in cases)
    versions = f"rasterio {rasterio.__version__}, GDAL {rasterio.__gdal_version__}, pyproj {pyproj.__version__}, PROJ {pyproj.proj_version_str}"
    target = pathlib.Path(__file__).parents[2] / "tests/golden/geo.json"
    target.write_text(f'{{"made_by": "{versions}", "cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} cases by {versions}")


main()
