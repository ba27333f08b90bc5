#!/usr/bin/env bash
# pyarrow 26.0.1 holds 0.0 and -0.0 for equal where it compares, and for two numbers where it looks up: join(),
# group_by(), is_in, index_in, unique, count_distinct, and so the filter `in` of read_table() and of pandas'
# read_parquet(), of which `in [0.0]` finds no row that `= 0.0` finds.
#
# Seen, for tiles at -0.0 and 1.0 (longitudes) and places at 0.0 and 1.0:
#                                              pyarrow       DuckDB 2.0.1, Polars 2.1.0, DataFusion 55.0.0
#   tiles joined with places                   1 row         2 rows
#   filters=[("lon", "in", [0.0])]             no row        1 row
#   filters=[("lon", "=", 0.0)]                1 row         1 row
#   groups of 0.0, -0.0                        2             1
# No error, no warning. pandas 3.1.1 by itself counts one zero, and on a column of ArrowDtype two.
#
# Why a good guess is wrong: IEEE 754 and SQL have one zero, and so has this library, if asked by `=`; `in` with one
# element is read as `=`. Printed, the two differ by a sign that rounding to whole degrees or a CSV drops.
# Whom it bites: whoever joins tiles by coordinates: round(-0.04, 1), a flipped axis and 0 * -1 are minus zero, so the
# tiles along Greenwich and the equator, or those at pixel 0 of a mirrored scene, lose their labels, and those alone.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    pyarrow==26.0.1 duckdb==2.0.1 polars==2.1.0 datafusion==55.0.0 pandas==3.1.1

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import datafusion
import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

tiles = pa.table({"lon": [round(-0.04, 1), 1.0], "tile": ["west", "east"]})
places = pa.table({"lon": [0.0, 1.0], "place": ["Greenwich", "Cambridge"]})
zeros = pa.table({"x": [0.0, -0.0]})
pq.write_table(tiles, "tiles.parquet")
context = datafusion.SessionContext()
tables = {"tiles": tiles, "places": places, "zeros": zeros}
for name, table in tables.items():
    context.register_record_batches(name, [table.to_batches()])


def rows(sql):
    frames = polars.SQLContext({name: polars.from_arrow(table) for name, table in tables.items()})
    counts = {len(duckdb.sql(sql).fetchall()), frames.execute(sql, eager=True).height}
    counts.add(sum(batch.num_rows for batch in context.sql(sql).collect()))
    (count,) = counts
    return count


assert rows("SELECT tile, place FROM tiles JOIN places ON tiles.lon = places.lon") == 2
assert rows("SELECT tile FROM tiles WHERE lon IN (0.0)") == 1
assert rows("SELECT x FROM zeros GROUP BY x") == 1

found = {
    "join": tiles.join(places, "lon", join_type="inner").num_rows,
    "in": pq.read_table("tiles.parquet", filters=[("lon", "in", [0.0])]).num_rows,
    "in, pandas": len(pandas.read_parquet("tiles.parquet", filters=[("lon", "in", [0.0])])),
    "=": pq.read_table("tiles.parquet", filters=[("lon", "=", 0.0)]).num_rows,
    "groups": zeros.group_by("x").aggregate([]).num_rows,
    "distinct": pc.count_distinct(zeros["x"]).as_py(),
    "distinct, ArrowDtype": pandas.Series([0.0, -0.0], dtype="double[pyarrow]").nunique(),
}
print(found, "is_in", pc.is_in(tiles["lon"], places["lon"]).to_pylist(), "equal", pc.equal(0.0, -0.0))
expected = dict(zip(found, (1, 0, 0, 1, 2, 2, 2)))
assert found == expected, "the behaviour has changed"
assert pc.is_in(tiles["lon"], places["lon"]).to_pylist() == [False, True], "the behaviour has changed"
assert pc.equal(0.0, -0.0).as_py() and pandas.Series([0.0, -0.0]).nunique() == 1
PYTHON
