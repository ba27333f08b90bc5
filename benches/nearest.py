"""Nearest neighbours among 100,000 × 2048 floats: one query, whole process, over what must be read anyway.

The table is planned by tilefleet over a listing that exists only as such, and filled by `benches/fill.rs`
with seeded floats through the sink: 25 files, 820 MB, in the page cache for all.

- tilefleet: `tilefleet query TABLE "SELECT … FROM nearest('ID', 10)"`, from start to end of the process
- pyarrow: the columns tile_id and embedding into memory, by a dataset with its own threads; imports left out
- NumPy: `matrix @ vector` over the same embeddings in memory; nothing is read

The first answer is held against NumPy's.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset

import fake_listing
import inputs

NUM_TILES, WIDTH, NEIGHBOURS = 100_000, 2048, 10


def make_table(folder, tilefleet, fill):
    """Plans a run over keys that nobody reads, and fills it."""
    if folder.is_dir():
        return
    stage = folder.with_name("nearest.stage")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    (stage / "free.onnx").write_bytes(inputs.free_model())
    (stage / "free.contract.toml").write_text(inputs.CONTRACT)
    pipeline = Path(__file__).resolve().parent.parent / "pipelines" / "tiles.toml"
    command = [tilefleet, "plan", pipeline, "--input", "s3://bench/tiles/", "--output", stage / "table"]
    command += ["--model", stage / "free.onnx", *fake_listing.start(NUM_TILES)]
    subprocess.run(command, check=True, stdout=sys.stderr)
    subprocess.run([fill, "--output", stage / "table"], check=True, stdout=sys.stderr)
    subprocess.run([tilefleet, "verify", stage / "table"], check=True, stdout=sys.stderr)
    stage.rename(folder)


def read(table):
    data = pyarrow.dataset.dataset(table / "tiles", partitioning="hive")
    return data.to_table(columns=["tile_id", "embedding"])


def command(tilefleet, table, tile_id):
    sql = f"SELECT tile_id, source, similarity FROM nearest('{tile_id}', {NEIGHBOURS})"
    return [tilefleet, "query", table, sql, "--json"]


def query(*place):
    """Returns the answer and the seconds of processor time."""
    process = subprocess.Popen(command(*place), stdout=subprocess.PIPE)
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the query ended with {process.returncode}")
    return json.loads(answer), usage.ru_utime + usage.ru_stime


def peak_memory(*place):
    """Returns bytes. A process starts with the peak of the one that made it, so a small one makes it."""
    program = "import resource as r, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr);"
    program += "print(r.getrusage(r.RUSAGE_CHILDREN).ru_maxrss)"
    small = [sys.executable, "-S", "-c", program, *command(*place)]
    peak = subprocess.run(small, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    # Linux counts in KiB, macOS in bytes.
    return int(peak) * (1 if sys.platform == "darwin" else 1024)


def check(answer, ids, matrix, vector, asked):
    """Compares with the textbook, in single precision."""
    similarity = (matrix @ vector) / np.linalg.norm(matrix, axis=1) / np.linalg.norm(vector)
    similarity[asked] = -2
    expected = np.argsort(-similarity)[:NEIGHBOURS]
    found = [row["tile_id"] for row in answer]
    assert found == [ids[row] for row in expected], "the neighbours are not those of NumPy"
    assert np.allclose([row["similarity"] for row in answer], similarity[expected], atol=1e-6)


def seconds(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(work, tilefleet, fill, rounds, threads):
    folder = work / "nearest"
    make_table(folder, tilefleet, fill)
    pyarrow.set_cpu_count(threads)
    table = read(folder / "table")
    table = table.filter(table["embedding"].is_valid())
    ids = table["tile_id"].to_pylist()
    matrix = table["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, WIDTH)
    asked = len(ids) // 2
    vector = matrix[asked].copy()
    place = (tilefleet, folder / "table", ids[asked])
    check(query(*place)[0], ids, matrix, vector, asked)
    del table
    times = {"tilefleet": [], "pyarrow": [], "NumPy": []}
    processor = []
    for _ in range(rounds):
        took, (_, busy) = seconds(lambda: query(*place))
        times["tilefleet"].append(took)
        processor.append(busy)
        times["pyarrow"].append(seconds(lambda: read(folder / "table"))[0])
        times["NumPy"].append(seconds(lambda: matrix @ vector)[0])
    print(f"(nearest) {NEIGHBOURS} of {NUM_TILES:,} × {WIDTH} float32, {rounds} rounds in turns, {threads} threads")
    for name, took in times.items():
        spread = f"{min(took) * 1000:.0f} to {max(took) * 1000:.0f}"
        print(f"  {name:<14} {statistics.median(took) * 1000:8.0f} ms  ({spread})")
    for name in ("pyarrow", "NumPy"):
        ratios = [ours / theirs for ours, theirs in zip(times["tilefleet"], times[name])]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(f"  ÷ {name:<12} {statistics.median(ratios):8.3f}     ({spread})")
    rate = len(ids) / statistics.median(processor) / 1e6
    print(f"  {rate:.2f} million rows a second and core; peak memory {peak_memory(*place) / 2**20:.0f} MiB")


def measure_before(work, tilefleet, earlier, fill, alternate, rounds):
    """Prints the ratio over an earlier build."""
    folder = work / "nearest"
    make_table(folder, tilefleet, fill)
    tile_ids = pyarrow.dataset.dataset(folder / "table" / "tiles", partitioning="hive").head(1, columns=["tile_id"])
    asked = tile_ids["tile_id"][0].as_py()
    now, before = ((build, folder / "table", asked) for build in (tilefleet, earlier))
    assert query(*now)[0] == query(*before)[0], "the two builds find other neighbours"
    alternate(
        f"(nearest) {NEIGHBOURS} of {NUM_TILES:,} × {WIDTH} float32, this build and an earlier one",
        rounds,
        "queries/s",
        now=lambda: 1 / seconds(lambda: query(*now))[0],
        before=lambda: 1 / seconds(lambda: query(*before))[0],
    )
