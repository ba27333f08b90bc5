"""Plans and proofs of runs of 10 million tiles, over pyarrow that writes or reads the same columns.

- windows: `tilefleet plan` over sparse scenes of a million windows each, of which only headers exist
- photos: `tilefleet plan` over a bucket that exists only as a listing, from the end of the listing, which takes much longer; and,
  less precisely, less the seconds of `plan --dry-run`, which lists and sorts, too
- verify: `tilefleet verify` of the photos' run, committed without embeddings by `benches/fill.rs`
- joining: a worker that joins such a run, over one that joins 10,000 photos (`benches/joining.py`)

pyarrow reads the files of the plan into memory and writes them again with the compression they have, and reads them back; of
the table it reads `tile_id`. All files are in the page cache. Peaks are those of whole processes.
"""

import datetime
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

PIPELINE = Path(__file__).resolve().parent.parent / "pipelines" / "tiles.toml"
TILES = 10_000_000
SCENES = 10
SIDE = 224


def make_scenes(folder, tiles):
    """Sparse scenes: with 10 million a thousand windows in each direction, and no block stored."""
    if folder.is_dir():
        return
    import rasterio

    stage = folder.with_name(f"{folder.name}.stage")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    size = math.isqrt(tiles // SCENES) * SIDE
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "photometric": "RGB"}
    profile |= {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "SPARSE_OK": "TRUE", "BIGTIFF": "YES"}
    for number in range(SCENES):
        origin = rasterio.transform.from_origin(300_000 + number * size * 10, 5_000_000, 10, 10)
        with rasterio.open(stage / f"{number}.tif", "w", crs="EPSG:32633", transform=origin, **profile):
            pass
    stage.rename(folder)


def timed(*command, stderr=None):
    """Runs a program; returns its seconds, its peak memory in bytes and what it printed."""
    started = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=stderr)
    printed = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:2]} ended with {process.returncode}")
    return time.monotonic() - started, usage.ru_maxrss * 1024, printed


def end_of_listing(log):
    """When a planner has said how many sources it has found, in seconds since 1970."""
    found = [line for line in map(json.loads, log) if " sources with " in line["message"]]
    return datetime.datetime.fromisoformat(found[-1]["timestamp"]).timestamp()


def in_pyarrow(what, *files):
    """Seconds of pyarrow, in a process of its own: one that we start begins with our own peak memory."""
    return float(timed(sys.executable, __file__, what, *files)[2])


def rewritten(output):
    """Seconds in which pyarrow writes the files of a plan, and reads them back; they are in memory before."""
    record = next(path.parent for path in output.glob("_tilefleet/*/run.json"))
    return in_pyarrow("rewrite", record / "sources.parquet", *sorted((record / "plan").glob("*.parquet")))


def rewrite(files):
    import pyarrow.parquet as pq

    seconds = 0.0
    for file in files:
        found = pq.ParquetFile(file)
        first = found.metadata.row_group(0)
        table = found.read()
        again = f"{file}.again"
        started = time.monotonic()
        pq.write_table(table, again, row_group_size=first.num_rows, compression=first.column(0).compression)
        pq.read_table(again)
        seconds += time.monotonic() - started
        os.unlink(again)
    return seconds


def read_ids(words):
    """Reads the ids of so many tiles from these files."""
    import pyarrow.parquet as pq

    tiles, *files = words
    started = time.monotonic()
    rows = sum(pq.read_table(file, columns=["tile_id"]).num_rows for file in files)
    assert rows == int(tiles), rows
    return time.monotonic() - started


def report(title, ours, theirs, peak, limit):
    ratio = statistics.median(ours) / statistics.median(theirs)
    spread = [f"{statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f})" for found in (ours, theirs)]
    print(f"{title}: {spread[0]} s, pyarrow {spread[1]} s, ratio {ratio:.2f} (≤ {limit}); peak {peak / 2**20:.0f} MiB")


class Many:
    """The measurements, each alone; inputs and outputs are in one folder."""

    def __init__(self, work, tilefleet, build, weed, rounds, tiles=None):
        """`build(name)`: builds a program of the benchmarks; `tiles`: fewer of them, to try it out."""
        self.work, self.tilefleet, self.build, self.weed = work, tilefleet, build, weed
        # Those of a plan take minutes, those of a worker that joins seconds.
        self.rounds, self.short_rounds, self.tiles = min(rounds, 3), rounds, tiles or TILES
        # Not above: they are large, and this process is small where it starts others.
        import inputs

        work.mkdir(parents=True, exist_ok=True)
        (work / "free.onnx").write_bytes(inputs.free_model())
        (work / "free.contract.toml").write_text(inputs.CONTRACT)

    def plan(self, output, *more, stderr=None):
        shutil.rmtree(output, ignore_errors=True)
        command = [self.tilefleet, "plan", PIPELINE, "--json", "--output", output, "--model", self.work / "free.onnx"]
        return timed(*command, *more, stderr=stderr)

    def of_listing(self, num):
        import fake_listing

        return ["--input", "s3://bench/tiles/", *fake_listing.start(num)]

    def windows(self):
        scenes, output = self.work / f"scenes-{self.tiles}", self.work / "windows"
        make_scenes(scenes, self.tiles)
        ours, theirs, peaks = [], [], []
        for _ in range(self.rounds):
            settings = ["--set=tiles.grid=regular", f"--set=tiles.size={SIDE}"]
            seconds, peak, found = self.plan(output, "--input", scenes, *settings)
            assert json.loads(found)["tiles"] == self.tiles, found
            ours.append(seconds)
            peaks.append(peak)
            theirs.append(rewritten(output))
        report(f"plan of {self.tiles:,} windows", ours, theirs, max(peaks), 1.2)

    def photos(self):
        output, more = self.work / "photos", self.of_listing(self.tiles)
        after, less, theirs, peaks = [], [], [], []
        for _ in range(self.rounds):
            listing = self.plan(self.work / "listed", *more, "--dry-run", "--set=limits.max_reject_ratio=1")[0]
            with open(self.work / "log", "w+") as log:
                seconds, peak, found = self.plan(output, *more, "-v", "--log-format=json", stderr=log)
                ended = time.time()
                log.seek(0)
                after.append(ended - end_of_listing(log))
            assert json.loads(found)["tiles"] == self.tiles, found
            less.append(seconds - listing)
            peaks.append(peak)
            theirs.append(rewritten(output))
        report(f"plan of {self.tiles:,} photos, from the end of the listing", after, theirs, max(peaks), 1.2)
        report(f"plan of {self.tiles:,} photos, less a listing alone", less, theirs, max(peaks), 1.2)

    def verify(self):
        output = self.work / "verified"
        self.plan(output, *self.of_listing(self.tiles))
        subprocess.run([self.build("fill"), "--no-embeddings", "--output", output], check=True, stdout=sys.stderr)
        files = sorted(output.glob("tiles/*/*.parquet"))
        ours, theirs, peaks = [], [], []
        for _ in range(self.rounds):
            seconds, peak, _ = timed(self.tilefleet, "verify", output)
            ours.append(seconds)
            peaks.append(peak)
            theirs.append(in_pyarrow("read", self.tiles, *files))
        report(f"verify of {len(files):,} shards", ours, theirs, max(peaks), 3)

    def joining(self):
        import joining

        def plan(output, num):
            return json.loads(self.plan(output, *self.of_listing(num))[2])

        joining.measure(self.work, self.tilefleet, PIPELINE, self.weed, plan, self.short_rounds, self.tiles)


if __name__ == "__main__":
    print({"rewrite": rewrite, "read": read_ids}[sys.argv[1]](sys.argv[2:]))
