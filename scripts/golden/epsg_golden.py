#!/usr/bin/env python3
"""Holds EPSG codes against PROJ: makes the table in src/geo/epsg.rs, and tests/golden/epsg.bin that proves it.

    .venv/bin/python scripts/golden/epsg_golden.py sweep /tmp/sweep.bin        # 5 minutes
    TILEFLEET_EPSG_SWEEP=/tmp/sweep.bin cargo test --lib prints_the_table -- --ignored --nocapture
    .venv/bin/python scripts/golden/epsg_golden.py golden                      # for the codes of the new table

A record is the code (uint16) and, as float64, x and y in units of the system and longitude and latitude by
pyproj; little-endian. `sweep` takes 12 places in the area of use of every projected and geographic system,
`golden` 2 others for each code of the table. pyproj chooses the datum shift, among those without grid files;
systems where it chooses between several by place are left out of the sweep, and so of the table. What the places
of `golden` refute is taken out of the table as well: EPSG:4421 and 26901, NAD83 in the Aleutian Islands.
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
SWEEP = list(itertools.product((0.1, 0.37, 0.5, 0.9), (0.1, 0.5, 0.85)))
GOLDEN = [(0.23, 0.71), (0.66, 0.31)]


def records(code, area, shares):
    """Places at shares of an area of use that PROJ can convert both ways."""
    try:
        transformer = pyproj.Transformer.from_crs(f"EPSG:{code}", "EPSG:4326", always_xy=True)
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


def is_ambiguous(code, area):
    """Whether PROJ has several datum shifts that differ, and chooses by place: no one definition can follow.

    NAD83 and GDA94 are excepted. They are taken as WGS 84, as PROJ does but for a few islands.
    """
    if (geodetic := pyproj.CRS(code).geodetic_crs) and geodetic.to_epsg() in (4269, 4283):
        return False
    try:
        group = TransformerGroup(f"EPSG:{code}", "EPSG:4326", always_xy=True).transformers
    except IndexError:  # pyproj, where there is none at all
        return True
    places = [struct.unpack("<H4d", record) for record in records(code, area, SWEEP[:1])] if len(group) > 1 else []
    for _, x, y, longitude, latitude in places:
        others = (one.transform(x, y) for one in group)
        if any(max(abs(to[0] - longitude), abs(to[1] - latitude)) > 1e-7 for to in others):
            return True
    return False


def systems():
    kinds = [PJType.PROJECTED_CRS, PJType.GEOGRAPHIC_2D_CRS]
    for info in query_crs_info("EPSG", kinds, allow_deprecated=True):
        if info.area_of_use and int(info.code) < 65536:
            yield int(info.code), info.area_of_use


def in_table():
    text = (ROOT / "src/geo/epsg.rs").read_text().split("AGREEING: &[(u16, u16)]")[1].split("];")[0]
    ranges = [tuple(map(int, pair)) for pair in re.findall(r"\((\d+), (\d+)\)", text)]
    return lambda code: any(first <= code <= last for first, last in ranges)


def main():
    if sys.argv[1:] == ["golden"]:
        wanted, shares, target = in_table(), GOLDEN, ROOT / "tests/golden/epsg.bin"
    else:
        wanted, shares, target = lambda code: True, SWEEP, pathlib.Path(sys.argv[2])
    chosen = [(code, area) for code, area in systems() if wanted(code)]
    if sys.argv[1] == "sweep":
        chosen = [(code, area) for code, area in chosen if not is_ambiguous(code, area)]
    found = [record for code, area in chosen for record in records(code, area, shares)]
    target.write_bytes(b"".join(found))
    print(f"{len(found)} places by pyproj {pyproj.__version__}, PROJ {pyproj.proj_version_str}")


main()
