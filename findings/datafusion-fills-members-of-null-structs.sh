#!/usr/bin/env bash
# DataFusion 55.0.0 (the Python wheel; 55.2.0 of the Rust crate has the same code) gives a value for a member of a
# struct that is null, if the member itself is declared as never null: `bbox['xmin']` of a row without a box. From
# Parquet the value is that of another row. IS NULL, WHERE, avg and every other use go by it.
#
# Seen: for boxes that begin at 7, null and -3, DataFusion yields 7, -3, -3, their mean 0.33, and no row whose
# edge is null; pyarrow 26.0.1, DuckDB 2.0.1 and Polars 2.1.0 yield 7, null, -3, a mean of 2, and one such row.
#
# Why a good guess is wrong: SQL's null is contagious, and the schema of the answer says "nullable". `bbox IS NULL`
# of the same row is true. A look at the column `bbox` shows a null.
# Whom it bites: GeoParquet 1.1 recommends just such a struct, `bbox`, and required edges within an optional box
# are what a careful writer declares. Rows without a geometry get the box of a neighbour, and are found in its area.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    datafusion==55.0.0 pyarrow==26.0.1 duckdb==2.0.1 polars==2.1.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import datafusion
import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

edge = pa.field("xmin", pa.float64(), nullable=False)
boxes = pa.StructArray.from_arrays([pa.array([7.0, 0.0, -3.0])], fields=[edge], mask=pa.array([False, True, False]))
pq.write_table(pa.table({"bbox": boxes}), "boxes.parquet")

right = [7.0, None, -3.0]
assert pq.read_table("boxes.parquet", columns=["bbox.xmin"])["xmin"].to_pylist() == right
assert duckdb.sql("SELECT bbox.xmin FROM 'boxes.parquet'").fetchall() == [(value,) for value in right]
frame = polars.read_parquet("boxes.parquet")
assert frame.select(polars.col("bbox").struct.field("xmin")).to_series().to_list() == right

context = datafusion.SessionContext()
context.register_parquet("t", "boxes.parquet")
for sql, expected in {
    "SELECT bbox['xmin'] AS it FROM t": [7.0, -3.0, -3.0],
    "SELECT bbox IS NULL AS it FROM t": [False, True, False],
    "SELECT count(*) AS it FROM t WHERE bbox['xmin'] IS NULL": [0],
    "SELECT count(*) AS it FROM t WHERE bbox['xmin'] < 0": [2],
    "SELECT round(avg(bbox['xmin']), 2) AS it FROM t": [0.33],
}.items():
    found = context.sql(sql).to_pydict()["it"]
    print(f"{sql}: {found}")
    assert found == expected, "the behaviour has changed"
PYTHON
