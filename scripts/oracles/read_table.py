"""Reads a table with pyarrow, DuckDB, Polars and pandas and compares every value with what was written.

usage: read_table.py TABLE EXPECTED.json

TABLE is a folder of `run=…/shard-….parquet`. EXPECTED.json holds `embedding_type` ("float" or
"halffloat"), `embedding_length` and `rows`, each a dict of the columns to compare, with `run`.
Prints one line and exits 0, or says what differs.
"""

import json
import pathlib
import sys

import duckdb
import pandas
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet


def same(reader, what, found, expected):
    if found != expected:
        sys.exit(f"{reader}: {what} is {found!r}, expected {expected!r}")


def compare_rows(reader, rows, expected):
    same(reader, "number of rows", len(rows), len(expected))
    for found, wanted in zip(rows, expected):
        for column, value in wanted.items():
            same(reader, f"{column} of {wanted['tile_id']}", found[column], value)


def read_with_pyarrow(table, expected):
    data = pyarrow.dataset.dataset(table, partitioning="hive")
    element = pa.field("element", {"float": pa.float32(), "halffloat": pa.float16()}[expected["embedding_type"]], False)
    embedding = pa.list_(element, expected["embedding_length"])
    same("pyarrow", "type of embedding", data.schema.field("embedding").type, embedding)
    same("pyarrow", "type of run", data.schema.field("run").type, pa.string())
    rows = data.to_table().sort_by([("run", "ascending"), ("tile_id", "ascending")]).to_pylist()
    compare_rows("pyarrow", rows, expected["rows"])
    rejects = data.to_table(filter=pyarrow.dataset.field("status") == "rejected")
    same("pyarrow", "number of rejects", rejects.num_rows, sum(row["status"] == "rejected" for row in expected["rows"]))


def read_with_duckdb(table, expected):
    query = f"from read_parquet('{table}/*/*.parquet', hive_partitioning = true)"
    types = {name: kind for name, kind, *_ in duckdb.sql(f"describe {query}").fetchall()}
    same("DuckDB", "type of embedding", types["embedding"], "FLOAT[]")
    same("DuckDB", "type of shard", types["shard"], "INTEGER")
    same("DuckDB", "type of top_k", types["top_k"], "STRUCT(class_id INTEGER, \"label\" VARCHAR, score FLOAT)[]")
    cursor = duckdb.execute(f"{query} order by run, tile_id")
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row)) for row in cursor.fetchall()]
    compare_rows("DuckDB", rows, expected["rows"])


def read_with_polars(table, expected):
    data = polars.scan_parquet(table, hive_partitioning=True).collect()
    numbers = {"float": polars.Float32, "halffloat": polars.Float16}[expected["embedding_type"]]
    same("Polars", "type of embedding", data.schema["embedding"], polars.Array(numbers, expected["embedding_length"]))
    same("Polars", "type of run", data.schema["run"], polars.String)
    compare_rows("Polars", data.sort("run", "tile_id").to_dicts(), expected["rows"])
    rejects = polars.scan_parquet(table, hive_partitioning=True).filter(polars.col("status") == "rejected").collect()
    same("Polars", "number of rejects", rejects.height, sum(row["status"] == "rejected" for row in expected["rows"]))


def read_with_pandas(table, expected):
    """Compares what pandas has types for: it turns integers with nulls into floats."""
    data = pandas.read_parquet(table, filters=[("status", "==", "ok")], columns=["tile_id", "label", "embedding"])
    found = {row.tile_id: (row.label, row.embedding.tolist()) for row in data.itertuples()}
    wanted = [row for row in expected["rows"] if row["status"] == "ok"]
    same("pandas", "number of ok rows", len(data), len(wanted))
    for row in wanted:
        same("pandas", f"row {row['tile_id']}", found[row["tile_id"]], (row["label"], row["embedding"]))


def check_metadata(file):
    metadata = pyarrow.parquet.ParquetFile(file).metadata
    same("pyarrow", "prefix of created_by", metadata.created_by.split()[0], "tilefleet")
    group = metadata.row_group(0)
    chunks = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    for name in ["status", "reason", "class_id"]:
        same("pyarrow", f"{name} has statistics", chunks[name].is_stats_set, True)
        same("pyarrow", f"{name} has a page index", chunks[name].has_column_index and chunks[name].has_offset_index, True)
    embedding = chunks["embedding.list.element"]
    same("pyarrow", "embedding has a range", embedding.statistics.has_min_max, False)
    same("pyarrow", "embedding counts its nulls", embedding.statistics.has_null_count, True)
    same("pyarrow", "embedding has a dictionary", embedding.has_dictionary_page, False)
    same("pyarrow", "embedding has an offset index", embedding.has_offset_index, True)


def check_bloom_filter(file, tile_id):
    def excluded(value):
        probe = duckdb.execute(f"select bloom_filter_excludes from parquet_bloom_probe('{file}', 'tile_id', ?)", [value])
        return [row[0] for row in probe.fetchall()]

    same("DuckDB", "the Bloom filter excludes an id that is there", any(excluded(tile_id)), False)
    absent = sum(all(excluded(f"{number:032x}")) for number in range(100))
    if absent < 90:
        sys.exit(f"DuckDB: the Bloom filter excludes {absent} of 100 ids that are not there")


def main():
    table, expected = sys.argv[1], json.loads(pathlib.Path(sys.argv[2]).read_text())
    read_with_pyarrow(table, expected)
    read_with_duckdb(table, expected)
    read_with_polars(table, expected)
    read_with_pandas(table, expected)
    for file in sorted(pathlib.Path(table).glob("*/*.parquet")):
        check_metadata(file)
        check_bloom_filter(file, pyarrow.parquet.read_table(file, columns=["tile_id"])["tile_id"][0].as_py())
    readers = f"pyarrow {pa.__version__}, DuckDB {duckdb.__version__}, Polars {polars.__version__}"
    print(f"{readers} and pandas {pandas.__version__} agree on {len(expected['rows'])} rows")


main()
