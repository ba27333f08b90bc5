"""Plans and proofs of runs of 10 million tiles, over pyarrow that writes or reads the same columns.

- photos: `tilefleet plan` over a bucket that exists only as a listing, whose listing alone (`plan --dry-run`, which lists and
  sorts, too) is measured and taken off
- windows: `tilefleet plan` over sparse scenes of a million windows each, of which only headers exist
- verify: `tilefleet verify` of the photos' run, committed without embeddings by `benches/fill.rs`

pyarrow reads the files of the plan into memory and writes them again with the compression they have, and reads them back; of
the table it reads `tile_id`. All files are in the page cache. Peaks are those of whole processes.
"""

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import fake_listing
import inputs
import numpy as np
import pyarrow.parquet as pq
import rasterio

PIPELINE = Path(__file__).resolve().parent.parent / "pipelines" / "tiles.toml"
TILES = 10_000_000
SCENES = 10
SIDE = 224


def make_scenes(folder):
    """Sparse scenes: a thousand windows in each direction, and no block stored."""
    if folder.is_dir():
        return
    stage = folder.with_name("scenes.stage")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    size = int(np.sqrt(TILES // SCENES)) * SIDE
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    profile |= {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "SPARSE_OK": "TRUE", "BIGTIFF": "YES"}
    for number in range(SCENES):
        origin = rasterio.transform.from_origin(300_000 + number * size * 10, 5_000_000, 10, 10)
        with rasterio.open(stage / f"{number}.tif", "w", crs="EPSG:32633", transform=origin, **profile):
            pass
    stage.rename(folder)


def timed(run, *command):
    started = time.monotonic()
    report, peak = run(*command)
    return time.monotonic() - started, peak, report


def plan(run, tilefleet, work, output, *more):
    shutil.rmtree(output, ignore_errors=True)
    command = [tilefleet, "plan", PIPELINE, "--json", "--output", output, "--model", work / "free.onnx", *more]
    return timed(run, *command)


def rewritten(output, work):
    """Seconds in which pyarrow writes the files of a plan, and reads them back; they are in memory before."""
    record = next(path.parent for path in output.glob("_tilefleet/*/run.json"))
    files = [record / "sources.parquet", *sorted((record / "plan").glob("*.parquet"))]
    again = work / "again.parquet"
    seconds = 0.0
    for file in files:
        found = pq.ParquetFile(file)
        rows = found.metadata.row_group(0).num_rows
        column = found.metadata.row_group(0).column(0)
        table = found.read()
        started = time.monotonic()
        pq.write_table(table, again, row_group_size=rows, compression=column.compression)
        pq.read_table(again)
        seconds += time.monotonic() - started
        del table
    again.unlink()
    return seconds


def report(title, ours, theirs, peak, limit):
    ours, theirs = statistics.median(ours), statistics.median(theirs)
    print(f"{title}: {ours:.1f} s, pyarrow {theirs:.1f} s, ratio {ours / theirs:.2f} (≤ {limit}); peak {peak / 2**20:.0f} MiB")


def measure(run, work, tilefleet, fill, rounds):
    work.mkdir(parents=True, exist_ok=True)
    (work / "free.onnx").write_bytes(inputs.free_model())
    (work / "free.contract.toml").write_text(inputs.CONTRACT)
    make_scenes(work / "scenes")
    windows = ["--input", work / "scenes", "--set=tiles.grid=regular", f"--set=tiles.size={SIDE}"]
    photos = ["--input", "s3://bench/tiles/", *fake_listing.start(TILES)]
    for title, more, alone in [("windows", windows, []), ("photos", photos, ["--dry-run", "--set=limits.max_reject_ratio=1"])]:
        output = work / title
        ours, theirs, listing, peaks = [], [], [], []
        for _ in range(rounds):
            if alone:
                listing.append(plan(run, tilefleet, work, output, *more, *alone)[0])
            seconds, peak, found = plan(run, tilefleet, work, output, *more)
            assert found["tiles"] == TILES, found["tiles"]
            ours.append(seconds - (listing[-1] if alone else 0))
            peaks.append(peak)
            theirs.append(rewritten(output, work))
        if listing:
            print(f"{title}: listing alone {statistics.median(listing):.1f} s, peak included above")
        report(f"plan of {TILES:,} {title}", ours, theirs, max(peaks), 1.2)
    verify(run, work / "photos", tilefleet, fill, rounds)


def verify(run, output, tilefleet, fill, rounds):
    subprocess.run([fill, "--no-embeddings", "--output", output], check=True, stdout=sys.stderr)
    files = sorted(output.glob("tiles/*/*.parquet"))
    ours, theirs, peaks = [], [], []
    for _ in range(rounds):
        seconds, peak, _ = timed(run, tilefleet, "verify", output, "--json")
        ours.append(seconds)
        peaks.append(peak)
        started = time.monotonic()
        rows = sum(pq.read_table(file, columns=["tile_id"]).num_rows for file in files)
        theirs.append(time.monotonic() - started)
        assert rows == TILES
    report(f"verify of {len(files):,} shards", ours, theirs, max(peaks), 3)
