#!/usr/bin/env bash
# GeoPandas 1.2.0 takes a box over the antimeridian, whose west edge is the greater number (RFC 7946, 5.2), for a box
# that it isn't: read_file() swaps the edges and reads all the rest of that band of latitude (pyogrio 0.13.0), while
# read_parquet() compares each edge as it stands and reads nothing.
#
# Seen for (177, -20, -178, -10), with places in Fiji at 179.5 E and 179.5 W, in Samoa at 172 W, and at 0 and 130 E:
#   read_file, GeoPackage, FlatGeobuf or GeoJSON   Samoa, 0 and 130 E: each place but the two that lie in the box
#   read_parquet, GeoParquet 1.1 with `bbox`       no row
# Asked in two, to 180 and from -180 on, all read the two places in Fiji. No error, no warning.
#
# Why a good guess is wrong: GeoJSON, STAC and the `bbox` of GeoParquet's metadata write such a box in just this way,
# so that one from a catalogue is passed on as it is. That a file is opened without an error, in longitude and
# latitude, with rows of the right latitude, looks like an answer; and of two readers of one library, one seems right.
# Whom it bites: whoever picks labels or scenes around Fiji, Chukotka or the Aleutians: a model is trained or graded
# on Mali and Australia instead, or a run over an archive in GeoParquet ends with nothing and without complaint.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    geopandas==1.2.0 pyogrio==0.13.0 shapely==2.2.0 pyarrow==26.0.1 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import geopandas
import shapely

places = {"Fiji, west": (179.5, -17), "Fiji, east": (-179.5, -17), "Samoa": (-172, -14)}
places |= {"0": (0, -15), "130": (130, -15)}
shapes = [shapely.Point(place).buffer(0.2) for place in places.values()]
frame = geopandas.GeoDataFrame({"name": list(places)}, geometry=shapes, crs="OGC:CRS84")
frame.to_parquet("places.parquet", write_covering_bbox=True)
readers = {"places.parquet": geopandas.read_parquet}
for name in ("places.gpkg", "places.fgb", "places.geojson"):
    frame.to_file(name)
    readers[name] = geopandas.read_file

fiji = {"Fiji, west", "Fiji, east"}
warnings.simplefilter("error")
for name, read in readers.items():
    whole = set(read(name, bbox=(177, -20, -178, -10))["name"])
    halves = [set(read(name, bbox=half)["name"]) for half in ((177, -20, 180, -10), (-180, -20, -178, -10))]
    print(name, "whole:", sorted(whole), "in two:", sorted(set.union(*halves)))
    assert set.union(*halves) == fiji
    expected = set() if read is geopandas.read_parquet else set(places) - fiji
    assert whole == expected, "the behaviour has changed"
PYTHON
