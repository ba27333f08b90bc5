#!/usr/bin/env python3
"""Makes tests/golden/cells.json: names of Major TOM's grid cells, by listing the grid's points.

    python3 scripts/golden/cells_golden.py

Written from the paper (Francis and Czerkawski 2024, arXiv 2402.12095, section 3) because no package of it is at
hand: all points of the grid are laid out, rows from pole to pole, columns around each row, and a place belongs
to the last row at or south of it and in it to the last point at or west of it. src/geo/cell.rs has formulas
instead of lists, so the two share nothing but the definition.
"""

import bisect
import json
import math
import pathlib
import random
from fractions import Fraction

RADIUS_KM = 6378.137


def divided(total, parts):
    """Multiples of total/parts within half of it either side of zero, as fractions, from the lowest."""
    return [Fraction(total * index, parts) for index in range(-(parts // 2), (parts + 1) // 2)]


def cell(longitude, latitude, spacing):
    rows = divided(180, math.ceil(math.pi * RADIUS_KM / spacing))
    # With an odd number of rows the southernmost begins half a row north of the pole: name what is left as a row.
    rows.insert(0, 2 * rows[0] - rows[1])
    row = bisect.bisect_right(rows, Fraction(latitude)) - 1
    circumference = 2 * math.pi * RADIUS_KM * math.cos(math.radians(float(rows[row])))
    columns = divided(360, max(1, math.ceil(circumference / spacing)))
    # West of the westernmost point is the cell of the easternmost, which continues beyond 180 degrees; at -1
    # Python's lists begin again at their end. And 180 is -180.
    turned = longitude - 360 if longitude == 180 and len(columns) % 2 == 0 else longitude
    column = columns[bisect.bisect_right(columns, Fraction(turned)) - 1] / Fraction(360, len(columns))
    north = rows[row] / (rows[1] - rows[0])
    return f"{abs(north)}{'U' if north >= 0 else 'D'}_{abs(column)}{'R' if column >= 0 else 'L'}"


def main():
    chance = random.Random(152)
    places = [(0.0, 0.0), (-1e-9, -1e-9), (179.999999, 10.0), (-179.999999, 10.0), (180.0, 10.0), (-180.0, 10.0),
              (13.4, 89.97), (13.4, -89.9), (-74.0, 40.7), (10.0, 53.55), (151.2, -33.87), (-0.05, 51.5)]
    places += [(chance.uniform(-180, 180), math.degrees(math.asin(chance.uniform(-0.9999, 0.9999)))) for _ in range(150)]
    spacings = [10.0, 100.0, 2.24, 1.0, 37.5]
    cases = [[x, y, spacing, cell(x, y, spacing)] for x, y in places for spacing in spacings]
    lines = ",\n".join(map(json.dumps, cases))
    target = pathlib.Path(__file__).parents[2] / "tests/golden/cells.json"
    target.write_text(f"[\n{lines}\n]\n")


main()
