#!/usr/bin/env bash
# DuckDB 2.0.1 finds no NaN in a Parquet file that pyarrow, Polars or Rust wrote, not even `WHERE isnan(x)`, where
# any other number stands in the same row group; in a table of the same rows, and in a Parquet file of its own, it
# does. Both DuckDB and DataFusion 55.0.0 order NaN above all numbers; the statistics of a Parquet column leave NaN
# out (parquet-format, `Statistics`), and both take the greatest value stated there for the greatest there is.
#
# Seen, for 1, 2, 3 | 1, NaN, 3 in two row groups:
#                    DuckDB table   from Parquet     DataFusion table   from Parquet
#   isnan(x)         the row        no row           the row            the row
#   x = NaN          the row        no row           the row            no row
#   x > 5            the row        no row           the row            no row
#   x < 5            5 rows         6 (NaN, too)     5 rows             5 rows
#   max(x)           NaN            3                NaN                3
#   greatest first   NaN            3                NaN                NaN
# Polars 2.1.0 finds the same rows either way; pyarrow 26.0.1 finds none for "not x <= 3" in a dataset, and the row
# in a table.
#
# Why a good guess is wrong: pruning is taken to leave the answer alone, and `SELECT isnan(x)` without WHERE is true
# for the row. `NOT isfinite(x)` finds it.
# Whom it bites: whoever looks for broken scores, losses or reflectances to see whether there are any, and is told
# that there are none.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    datafusion==55.0.0 pyarrow==26.0.1 duckdb==2.0.1 polars==2.1.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import math

import datafusion
import duckdb
import polars
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq

rows = pa.table({"id": range(6), "x": [1.0, 2.0, 3.0, 1.0, math.nan, 3.0]})
pq.write_table(rows, "rows.parquet", row_group_size=3)

duck = duckdb.connect()
duck.execute("CREATE TABLE stored AS SELECT * FROM 'rows.parquet'")
fusion = datafusion.SessionContext()
fusion.register_parquet("file", "rows.parquet")
fusion.register_record_batches("stored", [rows.to_batches()])


def by_duckdb(what, table, rest):
    table = {"file": "'rows.parquet'"}.get(table, table)
    return [value for (value,) in duck.sql(f"SELECT {what} FROM {table} {rest}").fetchall()]


def by_datafusion(what, table, rest):
    return fusion.sql(f"SELECT {what} AS it FROM {table} {rest}").to_pydict()["it"]


nan = "CAST('NaN' AS DOUBLE)"
expected = {
    # question: (DuckDB table, file; DataFusion table, file), ids in order
    ("id", f"WHERE x = {nan}"): ([4], [], [4], []),
    ("id", "WHERE x > 5"): ([4], [], [4], []),
    ("id", "WHERE x < 5"): ([0, 1, 2, 3, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 5], [0, 1, 2, 3, 5]),
    ("id", "WHERE isnan(x)"): ([4], [], [4], [4]),
    ("max(x)", ""): (["nan"], [3.0], ["nan"], [3.0]),
    ("x", "ORDER BY x DESC LIMIT 1"): (["nan"], [3.0], ["nan"], ["nan"]),
}
for (what, rest), wanted in expected.items():
    found = [ask(what, table, rest) for ask in (by_duckdb, by_datafusion) for table in ("stored", "file")]
    found = tuple(sorted("nan" if value != value else value for value in values) for values in found)
    print(f"SELECT {what} {rest}:", *found)
    assert found == wanted, "the behaviour has changed"

assert by_duckdb("id", "file", "WHERE NOT isfinite(x)") == [4]
duck.execute("COPY stored TO 'own.parquet'")
assert by_duckdb("id", "'own.parquet'", "WHERE isnan(x)") == [4]

beyond = polars.col("x") > 5
assert polars.scan_parquet("rows.parquet").filter(beyond).collect()["id"].to_list() == [4]
not_below = ~(pc.field("x") <= 3)
found = pyarrow.dataset.dataset("rows.parquet").to_table(filter=not_below)["id"].to_pylist()
assert (found, rows.filter(not_below)["id"].to_pylist()) == ([], [4]), "the behaviour has changed"
PYTHON
