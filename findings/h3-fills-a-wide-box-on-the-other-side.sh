#!/usr/bin/env bash
# H3 4.5.0 (the Python package, with H3's C library in it) fills a box that is wider than 180 degrees with the cells
# beside it: those between its east and its west edge, the short way round. A box around the whole Earth has none.
# A ring's longitudes decide it: two neighbouring corners that are more than 180 degrees apart are taken to be joined
# across the antimeridian.
#
# Seen, at resolution 2, between 10 S and 10 N, from 100 W to
#    70 E (170 wide)   491 cells, all within the box
#   100 E (200 wide)   469 cells, none of them within the box
#   100 E, with one more corner on the long edges, at 0   569 cells, all within the box
# and from 180 W to 180 E, 80 S to 80 N: 0 cells. Shapely polygons go the same way. No error, no warning.
#
# Why a good guess is wrong: RFC 7946 (3.1.6 and 3.1.9) wants outer rings counter-clockwise and those over the
# antimeridian cut in two, so that a ring from -100 to 100 has one reading; H3 heeds neither the winding nor that.
# A box of 170 degrees works, and so does a country's outline of any width, since its corners are near each other.
# Whom it bites: whoever shares out a global catalogue among workers by cells: the bounding box of "all land but the
# Pacific" makes a fleet work on the Pacific, and that of the whole Earth makes a run of nothing that ends well.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check h3==4.5.0 shapely==2.2.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import h3
import shapely


def within(cell, west, south, east, north):
    latitude, longitude = h3.cell_to_latlng(cell)
    return west <= longitude <= east and south <= latitude <= north


def filled(west, south, east, north, middle=False):
    """Counts the cells of the box, and those of them whose middle is within the box."""
    longitudes = [west, 0, east] if middle else [west, east]
    ring = [(x, south) for x in longitudes] + [(x, north) for x in reversed(longitudes)]
    polygon = shapely.Polygon(ring)
    assert polygon.exterior.is_ccw and polygon.bounds == (west, south, east, north)
    cells = h3.polygon_to_cells(h3.LatLngPoly([(y, x) for x, y in ring]), 2)
    assert set(h3.geo_to_cells(polygon, 2)) == set(cells)
    found = len(cells), sum(within(cell, west, south, east, north) for cell in cells)
    print((west, south, east, north), "middle" * middle, "cells, and those within:", *found)
    return found


everywhere = [cell for top in h3.get_res0_cells() for cell in h3.cell_to_children(top, 2)]
for east in (70, 79):
    right = sum(within(cell, -100, -10, east, 10) for cell in everywhere)
    assert filled(-100, -10, east, 10) == (right, right)
right = sum(within(cell, -100, -10, 100, 10) for cell in everywhere)
assert filled(-100, -10, 100, 10, middle=True) == (right, right)
count, inside = filled(-100, -10, 100, 10)
assert count > 400 and inside == 0, "the behaviour has changed"
assert filled(-180, -80, 180, 80) == (0, 0), "the behaviour has changed"
PYTHON
