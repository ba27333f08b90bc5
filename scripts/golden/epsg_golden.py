#!/usr/bin/env python3
"""Holds EPSG codes against PROJ: makes the tables of src/geo/epsg.rs, and tests/golden/epsg.bin that proves them.

    mkdir /tmp/epsg && .venv/bin/python scripts/golden/epsg_golden.py sweep /tmp/epsg        # 17 minutes
    TILEFLEET_EPSG_SWEEP=/tmp/epsg cargo test --lib prints_the_tables -- --ignored --nocapture
    .venv/bin/python scripts/golden/epsg_golden.py golden                      # for the codes of the new tables
    cat tests/golden/epsg.bin >> /tmp/epsg/places.bin     # and both once more: what these places refute goes

What it prints goes into src/geo/epsg.rs, and the lines of definitions into src/geo/epsg_more.txt.

`sweep` writes three files about every projected and geographic system. places.bin: a record is the code (uint16)
and, as float64, x and y in units of the system and longitude and latitude by pyproj, little-endian, at 40 places
of the area of use. candidates.txt: a definition that PROJ derives, with each datum shift that it chooses there.
grids.txt: codes for which PROJ would choose a grid of datum shifts, were it installed. `golden` takes 2 other
places for each code of the tables.

pyproj runs with the network off and without grids. NAD83 and GDA94 are taken as WGS 84, as PROJ does but for a few
islands, though it has grids for them.
"""

import itertools
import math
import pathlib
import re
import struct
import sys
import warnings

import pyproj
from pyproj.database import query_crs_info
from pyproj.enums import PJType
from pyproj.transformer import TransformerGroup

warnings.simplefilter("ignore")
ROOT = pathlib.Path(__file__).parents[2]
SWEEP = list(itertools.product((0.03, 0.1, 0.25, 0.37, 0.5, 0.63, 0.77, 0.9), (0.05, 0.25, 0.5, 0.7, 0.93)))
GOLDEN = [(0.23, 0.71), (0.66, 0.31)]
TAKEN_AS_WGS84 = (4269, 4283)


def geodetic_code(crs):
    return crs.geodetic_crs.to_epsg() if crs.geodetic_crs else None


def records(code, area, shares):
    """Places at shares of an area of use that PROJ can convert both ways."""
    crs = pyproj.CRS(code)
    own = geodetic_code(crs)
    target = own if own in TAKEN_AS_WGS84 else 4326
    try:
        transformer = pyproj.Transformer.from_crs(crs, f"EPSG:{target}", always_xy=True)
    except pyproj.exceptions.ProjError:
        return
    width = (area.east - area.west) % 360 or 360
    for across, up in shares:
        longitude = (area.west + width * across + 180) % 360 - 180
        latitude = area.south + (area.north - area.south) * up
        x, y = transformer.transform(longitude, latitude, direction="INVERSE")
        place = transformer.transform(x, y)
        if all(map(math.isfinite, (x, y, *place))):
            yield struct.pack("<H4d", code, x, y, *place)


def shift_of(operation):
    """The datum shift of an operation as PROJ's `+towgs84`: none, three or seven numbers."""
    helmert = re.search(r"proj=helmert ([^|]*?)(?: step|$)", operation.definition)
    if not helmert:
        return "0,0,0"
    terms = dict(term.split("=") for term in helmert.group(1).split() if "=" in term)
    numbers = [terms.get(name, "0") for name in ("x", "y", "z", "rx", "ry", "rz", "s")]
    if terms.get("convention") == "coordinate_frame":
        numbers[3:6] = [repr(-float(number)) for number in numbers[3:6]]
    return ",".join(numbers)


def candidates(code, operations):
    try:
        definition = pyproj.CRS(code).to_proj4()
    except pyproj.exceptions.CRSError:
        return
    definition = re.sub(r" ?\+type=crs", "", definition).strip()
    for shift in dict.fromkeys(map(shift_of, operations[:4])) or ["0,0,0"]:
        yield f"{code}\t{definition} +towgs84={shift}\n"


def systems():
    kinds = [PJType.PROJECTED_CRS, PJType.GEOGRAPHIC_2D_CRS]
    for info in query_crs_info("EPSG", kinds, allow_deprecated=True):
        if info.area_of_use and int(info.code) < 65536:
            yield int(info.code), info.area_of_use


def in_tables():
    text = (ROOT / "src/geo/epsg.rs").read_text().split("AGREEING: &[(u16, u16)]")[1].split("];")[0]
    ranges = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+), (\d+)\)", text)]
    more = {int(line.split()[0]) for line in (ROOT / "src/geo/epsg_more.txt").read_text().splitlines()}
    return lambda code: code in more or any(first <= code <= last for first, last in ranges)


def sweep(folder):
    places, grids = (folder / "places.bin").open("wb"), (folder / "grids.txt").open("w")
    definitions = (folder / "candidates.txt").open("w")
    for code, area in systems():
        try:
            group = TransformerGroup(pyproj.CRS(code), "EPSG:4326", always_xy=True)
        except (IndexError, pyproj.exceptions.ProjError):  # where there is none at all
            continue
        if not group.best_available and geodetic_code(pyproj.CRS(code)) not in TAKEN_AS_WGS84:
            grids.write(f"{code}\n")
        places.write(b"".join(records(code, area, SWEEP)))
        definitions.writelines(candidates(code, group.transformers))


def golden():
    wanted = in_tables()
    found = [record for code, area in systems() if wanted(code) for record in records(code, area, GOLDEN)]
    (ROOT / "tests/golden/epsg.bin").write_bytes(b"".join(found))
    print(f"{len(found)} places by pyproj {pyproj.__version__}, PROJ {pyproj.proj_version_str}")


golden() if sys.argv[1:] == ["golden"] else sweep(pathlib.Path(sys.argv[2]))
