#!/usr/bin/env bash
# deltalake 1.6.6 (Python) finds no row in a Delta file whose column holds an infinity, whatever is asked of that
# column, where a table is read through pyarrow: to_pyarrow_dataset(), to_pandas(filters=…),
# to_pyarrow_table(filters=…), and Polars 2.1.0 by scan_delta(use_pyarrow=True). JSON has no infinity, so
# write_deltalake() states "maxValues": {"x": null} in the log, and the reader makes of that the promise that each x of
# the file is <= null, which no filter meets. A missing statistic would have meant "not known".
#
# Seen, for infinity, 1, 2, 3 in one file:
#                                  to_pyarrow_dataset, to_pandas   SQL (QueryBuilder), Polars by itself
#   x > 1.5                        no row                          infinity, 2, 3
#   x == 2, x < 2.5, x != 1        no row                          2 and others, as they should
#   y > 1, another column          all three                       all three
#   no filter; x >= -100           all four                        all four
# Minus infinity does the same by "minValues". No error, no warning; a second file without an infinity is read right.
#
# Why a good guess is wrong: a lost infinity would surprise nobody, nor would `x > 1e300`; but the finite neighbours go
# with it, from the whole file, and both writer and reader are the same library. A filter that keeps everything finds
# them, and so does the same filter a step later, on the table in memory.
# Whom it bites: tables of log-likelihoods, logits and decibels (zero is minus infinity), of ratios and distances: one
# such tile hides all tiles that were written along with it.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    deltalake==1.6.6 pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import math

import polars
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, QueryBuilder, write_deltalake

x = pc.field("x")
tests = {
    "x > 1.5": x > 1.5,
    "x = 2": x == 2,
    "x < 2.5": x < 2.5,
    "x != 1": x != 1,
    "y > 1": pc.field("y") > 1,
    "x >= -100": x >= -100,
}
for infinity in (math.inf, -math.inf):
    rows = pa.table({"x": [infinity, 1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0, 4.0]})
    path = "plus" if infinity > 0 else "minus"
    write_deltalake(path, rows)
    table = DeltaTable(path)
    dataset = table.to_pyarrow_dataset()
    assert dataset.to_table().equals(rows)
    for sql, test in tests.items():
        right = rows.filter(test)["x"].to_pylist()
        query = QueryBuilder().register("t", table).execute(f"SELECT x FROM t WHERE {sql}")
        assert pa.table(query.read_all())["x"].to_pylist() == right
        predicate = polars.sql_expr(sql)
        assert polars.scan_delta(path).filter(predicate).collect()["x"].to_list() == right
        found = dataset.to_table(filter=test)["x"].to_pylist()
        print(f"{infinity}: {sql:10}", "by pyarrow", found, "by SQL", right)
        keeps_all = sql == "x >= -100" and infinity > 0
        assert found == (right if keeps_all or sql == "y > 1" else []), "the behaviour has changed"
        assert table.to_pandas(filters=test)["x"].tolist() == found
        assert table.to_pyarrow_table(filters=test)["x"].to_pylist() == found
        lazy = polars.scan_delta(path, use_pyarrow=True).filter(predicate)
        assert lazy.collect()["x"].to_list() == found
PYTHON
