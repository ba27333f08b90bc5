"""Runs the same job in tilefleet and in its peers, in turns, and prints what was measured as Markdown.

    scripts/peers [--only free,resnet,…] [--rounds N]

- free: images/s with an almost-free model, so that the pipeline itself is measured; files written
- same: whether all arrive at the same embeddings
- long: images/s as in `free`, with 20,000 images, once
- resnet: images/s with ResNet-152 fp32, in one session and in a session a thread
- memory: peak memory of each with all its processes, almost-free model
- start: one image, from the start of the process to its end
- truncated: 40 images, one of them cut in half
- resume: killed with 90 % of the rows written, then started again; how much of the input is read

The clock of images/s runs from the start of the job (imports and a cluster's start are over) to the closed
table; loading the model is left out everywhere. Files are read once beforehand. The tables and every run
with its command are also in target/bench/peers.json.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import bench
import processes
from counting_store import CountingStore

HERE = Path(__file__).resolve().parent
WORK = bench.WORK / "peers"
TEMP = Path(tempfile.mkdtemp(prefix="peers-"))
TIMEOUT = 600
NUM_TRUNCATED, CUT = 40, 20
NUM_KILLED, ROWS_A_FILE, SLOW_SECONDS = 2000, 100, 10
# This process and plain Python run in the tests' environment: Daft holds pyarrow below 26, and pyarrow
# 25.0.1 cannot read a fixed-size list with nulls, such as a rejected tile's embedding.
PEERS_PYTHON = bench.ROOT / ".venv-peers" / "bin" / "python"
VERSIONS = """
from importlib.metadata import PackageNotFoundError, version
for package in ("ray", "daft", "onnxruntime", "pillow", "pyarrow", "numpy"):
    try:
        print(package, version(package), end="; ")
    except PackageNotFoundError:
        pass
"""
RUNS = []  # every run of this process, for the JSON


@dataclass
class Job:
    """One job of any contestant; `options` are those of the contestant's own."""

    images: Path
    model: Path
    threads: int
    batch: int = bench.BATCH
    endpoint: str = ""
    options: list = field(default_factory=list)


def tilefleet_command(job, out):
    command = [bench.TILEFLEET, "run", bench.ROOT / "pipelines" / "tiles.toml", "--json"]
    command += ["--model", job.model, "--output", out]
    command += ["--input", "s3://bench/images/" if job.endpoint else job.images]
    settings = [f"run.batch={job.batch}", f"run.threads={job.threads}"]
    if job.endpoint:
        settings += [f"storage.endpoint={job.endpoint}", "storage.allow_http=true", "storage.anonymous=true"]
        settings += ["storage.region=us-east-1"]
    return command + [flag for setting in settings for flag in ("--set", setting)] + job.options


def script(python, name, *own):
    def command(job, out):
        words = [python, HERE / name, job.images, job.model, out]
        words += ["--batch", job.batch, "--threads", job.threads, *own]
        return words + (["--endpoint", job.endpoint] if job.endpoint else []) + job.options

    return command


# What each is started with; what was tried beside it stands in the scripts.
CONTESTANTS = {
    "tilefleet": tilefleet_command,
    "plain Python": script(sys.executable, "plain_python.py"),
    "Daft": script(PEERS_PYTHON, "daft_job.py"),
    "Ray Data": script(PEERS_PYTHON, "ray_data.py", "--temp", TEMP / "ray"),
}


@dataclass
class Seen:
    """What one run of a job left: exit code, seconds from start to end, its own report, its files."""

    code: int
    wall: float
    report: dict
    files: list
    sizes: list = field(default_factory=list)

    def __post_init__(self):
        self.sizes = [file.stat().st_size for file in self.files]

    @property
    def rate(self):
        ours = "this_process" in self.report
        return bench.rate_of(self.report) if ours else self.report["images_per_second"]


def last_report(log):
    """Returns the JSON object in a program's output; Ray's daemons print beside it."""
    text = Path(f"{log}.out").read_text()
    return json.JSONDecoder().raw_decode(text[text.index("{") :])[0] if "{" in text else {}


def files_of(out):
    """Returns the files of a table; tilefleet's own records beside it are none of them."""
    if out.is_file():
        return [out]
    return sorted(path for path in out.rglob("*") if path.is_file() and "_tilefleet" not in path.parts)


def clear(out):
    shutil.rmtree(out, ignore_errors=True)
    for path in out.parent.glob(f"{out.name}*"):
        if path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)


def run(name, job, again=False, until=None):
    """Runs a contestant's job into `WORK/table`, a new one unless `again`."""
    out = WORK / "table"
    if not again:
        clear(out)
    log = WORK / "logs" / name.replace(" ", "-").lower()
    command = CONTESTANTS[name](job, out)
    code, wall = processes.run(command, log, TIMEOUT, until)
    seen = Seen(code, wall, last_report(log), files_of(out))
    words = [str(word) for word in command]
    RUNS.append({"command": words, "code": code, "seconds": wall, "report": seen.report})
    return seen


def run_well(name, job):
    seen = run(name, job)
    if seen.code:
        log = WORK / "logs" / name.replace(" ", "-").lower()
        sys.exit(f"error: {name} ended with {seen.code}\n  hint: its messages are in {log}.err")
    return seen


def names_of(table):
    """Returns the images' file names; some tables call their column `source`, some `path`."""
    column = "source" if "source" in table.column_names else "path"
    return [os.path.basename(source) for source in table[column].to_pylist()]


def rows_of(files):
    """Returns image → whether it has an embedding, the number of rows, and of unreadable files.

    Rows of one image more than once count in the number only.
    """
    rows, num_rows, num_unreadable = {}, 0, 0
    for file in files:
        try:
            table = pq.ParquetFile(file).read()
        except (pa.ArrowException, OSError):
            num_unreadable += 1
            continue
        names = names_of(table)
        rows.update(zip(names, table["embedding"].is_valid().to_pylist()))
        num_rows += len(names)
    return rows, num_rows, num_unreadable


def in_turns(job, rounds, options):
    """Runs all contestants `rounds` times in turns and returns what was seen of each."""
    seen = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name in CONTESTANTS:
            turn = run_well(name, Job(**{**vars(job), "options": options.get(name, [])}))
            print(f"  {name}: {turn.rate:.2f} images/s, {turn.wall:.2f} s in all", file=sys.stderr)
            seen[name].append(turn)
    return seen


def spread(values, digits):
    """Returns a median with its range."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def rate_rows(title, seen, digits):
    """Returns a row of rates and a row of tilefleet's over each peer's, by rounds."""
    rates = {name: [turn.rate for turn in turns] for name, turns in seen.items()}
    ours = rates["tilefleet"]
    ratios = [[our / their for our, their in zip(ours, theirs)] for theirs in rates.values()]
    return [
        [f"{title}, images/s", *(spread(values, digits) for values in rates.values())],
        ["— tilefleet ÷ it", "", *(spread(values, 2) for values in ratios[1:])],
    ]


def files_row(seen):
    cells = []
    for turns in seen.values():
        sizes = turns[-1].sizes
        cells.append(f"{len(sizes)} of {statistics.mean(sizes) / 1e6:.1f} MB")
    return ["— files written, mean size", *cells]


def free(arguments):
    inputs = bench.WORK / "inputs"
    seen = in_turns(Job(inputs / "images", inputs / "free.onnx", arguments.threads), arguments.rounds, {})
    return "side by side", [*rate_rows("almost-free model, 2,000 JPEGs", seen, 0), files_row(seen)]


def embeddings_of(files):
    """Returns the embeddings of a table, float32 [n, length], in the order of the images' names."""
    tables = [pq.ParquetFile(file).read() for file in files]
    names = [name for table in tables for name in names_of(table)]
    columns = [table["embedding"].combine_chunks().flatten().to_numpy() for table in tables]
    return np.concatenate(columns).reshape(len(names), -1)[np.argsort(names)]


def same(arguments):
    """Proves that all do the same job."""
    inputs = bench.WORK / "inputs"
    job = Job(inputs / "images", inputs / "free.onnx", arguments.threads)
    tables = [embeddings_of(run_well(name, job).files) for name in CONTESTANTS]
    ours = tables[0]
    cells = [f"{np.abs(theirs - ours).max():.1e}" for theirs in tables[1:]]
    return "side by side", [["— largest difference of an embedding's value from tilefleet's", "", *cells]]


def flat_folder(source, out):
    """Links all files of a tree into one folder; Ray's and Daft's jobs list a single one."""
    if not out.is_dir():
        out.mkdir()
        for path in source.rglob("*.jpg"):
            os.link(path, out / f"{path.parent.name}-{path.name}")
    return out


def long(arguments):
    inputs = bench.WORK / "inputs"
    images = flat_folder(inputs / "many", bench.WORK / "many-flat")
    seen = in_turns(Job(images, inputs / "free.onnx", arguments.threads), 1, {})
    return "side by side", [*rate_rows("almost-free model, 20,000 JPEGs", seen, 0), files_row(seen)]


def resnet_model():
    model = bench.WORK / "resnet152.onnx"
    if not model.is_file():
        command = [bench.TILEFLEET, "model", "build", "--arch", "resnet152", "--seed", "0", "--out", model]
        code, _ = processes.run(command, WORK / "logs" / "model-build", TIMEOUT)
        if code:
            sys.exit(f"error: building ResNet-152 ended with {code}")
    return model


def sessions(count):
    """Returns each contestant's options for so many sessions, which share the threads."""
    return {
        "tilefleet": ["--set", f"run.sessions={count}"],
        "plain Python": ["--sessions", count],
        "Daft": ["--sessions", count],
        "Ray Data": ["--actors", count],
    }


def resnet(arguments):
    threads, count = arguments.threads, arguments.resnet_images
    job = Job(bench.some_images(count), resnet_model(), threads)
    title, rows = f"ResNet-152 fp32, {count} JPEGs", []
    for form, number in ((f"one session of {threads} threads", 1), ("a session a thread", threads)):
        seen = in_turns(job, arguments.resnet_rounds, sessions(number))
        rows += rate_rows(f"{title}, {form}", seen, 2)
    return "side by side", rows


def memory(arguments):
    inputs = bench.WORK / "inputs"
    job = Job(inputs / "images", inputs / "free.onnx", arguments.threads)
    cells = []
    for name in CONTESTANTS:
        peaks = []
        for _ in range(arguments.few):
            with processes.Peak() as peak:
                run_well(name, job)
            peaks.append(peak.bytes / 2**20)
        cells.append(spread(peaks, 0))
    return "side by side", [["peak memory of all processes (PSS), 2,000 JPEGs, MiB", *cells]]


def start(arguments):
    job = Job(bench.some_images(1), bench.WORK / "inputs" / "free.onnx", arguments.threads)
    walls = {name: [] for name in CONTESTANTS}
    for _ in range(arguments.few):
        for name in CONTESTANTS:
            walls[name].append(run_well(name, job).wall)
    return "side by side", [["one image, process start to end, s", *(spread(w, 2) for w in walls.values())]]


def truncated_images():
    """Returns a folder of images, one of them cut in half, and the name of that one."""
    folder = WORK / "truncated"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = sorted(path.name for path in (bench.WORK / "inputs" / "images").iterdir())[:NUM_TRUNCATED]
    for number, name in enumerate(names):
        data = (bench.WORK / "inputs" / "images" / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2] if number == CUT else data)
    return folder, names[CUT]


def fate(rows, bad):
    """Says what became of the truncated image."""
    if bad not in rows:
        return "no row"
    return "**taken as whole**" if rows[bad] else "a row without embedding"


TRUNCATED = [
    ("tilefleet", "default", []),
    ("plain Python", "default", []),
    ("plain Python", "Pillow's `LOAD_TRUNCATED_IMAGES`", ["--tolerate"]),
    ("Daft", "default", []),
    ("Daft", '`on_error="log"`, batches', ["--tolerate"]),
    ("Daft", '`on_error="log"`, row by row', ["--tolerate", "--decoder", "rows"]),
    ("Daft", "its own `decode_image`, default", ["--decoder", "daft"]),
    ("Ray Data", "default", []),
    ("Ray Data", "`max_errored_blocks = -1`", ["--tolerate"]),
]


def truncated(arguments):
    folder, bad = truncated_images()
    table = []
    for name, how, options in TRUNCATED:
        job = Job(folder, bench.WORK / "inputs" / "free.onnx", arguments.threads, options=options)
        seen = run(name, job)
        rows, _, num_unreadable = rows_of(seen.files)
        good = sum(valid for row, valid in rows.items() if row != bad)
        readable = len(seen.files) - num_unreadable
        table.append([name, how, str(seen.code), f"{good} of {NUM_TRUNCATED - 1}", fate(rows, bad)])
        table[-1].append(f"{readable} whole, {num_unreadable} cut short")
        print("  " + ", ".join(table[-1]), file=sys.stderr)
    return "truncated", table


ROW_BYTES = 8200
CHECKPOINT = ["--checkpoint", WORK / "table.checkpoint"]
SMALL_FILES = {
    "tilefleet": ["--set", f"plan.shard_tiles={ROWS_A_FILE}"],
    "plain Python": [],
    "Daft": ["--file-bytes", ROWS_A_FILE * ROW_BYTES],
    "Ray Data": ["--blocks", NUM_KILLED // ROWS_A_FILE, "--block-bytes", ROWS_A_FILE * ROW_BYTES],
}
# Who, how, options of both runs, options of the second.
RESUME = [
    ("tilefleet", "the same command", [], []),
    ("plain Python", "none: starts again", [], []),
    ("Daft", "anti-join with the rows written", [], ["--resume"]),
    ("Ray Data", "`CheckpointConfig`, `read_binary_files`", CHECKPOINT, []),
    ("Ray Data", "`CheckpointConfig`, paths and `download()`", [*CHECKPOINT, "--source", "uris"], []),
]


class Progress:
    """Whether 90 % of the rows lie in whole files, or 90 % of the input was read where one file takes all."""

    def __init__(self, name, store):
        self.by_bytes, self.store, self.rows = name == "plain Python", store, {}

    def __call__(self):
        if self.by_bytes:
            return self.store.sent_bytes >= 0.9 * self.store.total_bytes
        for file in files_of(WORK / "table"):
            if file not in self.rows:
                try:
                    self.rows[file] = pq.read_metadata(file).num_rows
                except (pa.ArrowException, OSError):
                    continue
        return sum(self.rows.values()) >= 0.9 * NUM_KILLED


def whole(seen):
    """Says whether every image has exactly one row."""
    rows, num_rows, num_unreadable = rows_of(seen.files)
    faults = []
    if len(rows) < NUM_KILLED:
        faults.append(f"{NUM_KILLED - len(rows)} rows missing")
    if num_rows > len(rows):
        faults.append(f"{num_rows - len(rows)} rows twice")
    if num_unreadable:
        faults.append(f"{num_unreadable} unreadable files left")
    return "; ".join(faults) or "every row once"


def resume_one(store, name, how, options, more, arguments):
    """Kills a job at 90 % and starts it again; the store is slow at first, so that the moment can be met."""
    images, model = bench.WORK / "inputs" / "images", bench.WORK / "inputs" / "free.onnx"
    options = [*SMALL_FILES[name], *options]
    store.bytes_a_second = store.total_bytes / SLOW_SECONDS
    job = Job(images, model, arguments.threads, endpoint=store.endpoint, options=options)
    killed = run(name, job, until=Progress(name, store))
    kept = len(rows_of(killed.files)[0]) / NUM_KILLED
    store.bytes_a_second = None
    before = store.take_count() / store.total_bytes
    job.options = options + more
    again = run(name, job, again=name != "plain Python")
    share = store.take_count() / store.total_bytes
    ended = whole(again) if again.code == 0 else f"exit {again.code}"
    row = [name, how, f"{kept:.1%}", f"{before:.1%}", f"{share:.1%}", f"{again.wall:.1f}", ended]
    print("  " + ", ".join(row), file=sys.stderr)
    return row


def resume(arguments):
    store = CountingStore(bench.WORK / "inputs" / "images")
    try:
        return "resume", [resume_one(store, *variant, arguments) for variant in RESUME]
    finally:
        store.shutdown()
        store.server_close()


HEADINGS = {
    "side by side": ["", *CONTESTANTS],
    "truncated": ["one of 40 JPEGs cut in half", "settings", "exit", "good rows", "the bad image", "files"],
    "resume": [
        "killed at 90 %, 2,000 JPEGs in a bucket",
        "way to resume",
        "rows kept",
        "read before",
        "**read again**",
        "s, process start to end",
        "in the end",
    ],
}
MEASUREMENTS = [free, same, long, resnet, memory, start, truncated, resume]


def table_text(heading, rows):
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def answer(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip("; \n")


def described(threads):
    """Returns the machine and all versions as lines of text."""
    machine = f"{platform.system()} {platform.machine()}, {threads} threads"
    load = f"load {os.getloadavg()[0]:.1f} before the first run"
    return [
        f"{machine}, {load}; {answer(bench.TILEFLEET, '--version')}",
        f"plain Python: Python {platform.python_version()}; {answer(sys.executable, '-c', VERSIONS)}",
        f"Daft and Ray Data: {answer(PEERS_PYTHON, '-c', VERSIONS)}",
    ]


def main():
    parser = argparse.ArgumentParser(prog="scripts/peers")
    names = [measure.__name__ for measure in MEASUREMENTS]
    parser.add_argument("--only", default=",".join(names), help="such as free,resume")
    parser.add_argument("--rounds", type=int, default=5, help="of the almost-free model")
    parser.add_argument("--resnet-rounds", type=int, default=3)
    parser.add_argument("--resnet-images", type=int, default=160)
    parser.add_argument("--few", type=int, default=3, help="rounds of memory and start")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    processes.adopt_orphans()
    (WORK / "logs").mkdir(parents=True, exist_ok=True)
    bench.make_inputs()
    machine = described(arguments.threads)
    print("\n".join(f"- {line}" for line in machine) + "\n")
    tables = {name: [] for name in HEADINGS}
    for measure in MEASUREMENTS:
        if measure.__name__ in arguments.only.split(","):
            print(measure.__name__, file=sys.stderr)
            table, rows = measure(arguments)
            tables[table] += rows
    tables = {name: rows for name, rows in tables.items() if rows}
    print("\n\n".join(table_text(HEADINGS[name], rows) for name, rows in tables.items()))
    seen = {name: [dict(zip(HEADINGS[name], row)) for row in rows] for name, rows in tables.items()}
    (bench.WORK / "peers.json").write_text(json.dumps({"machine": machine, **seen, "runs": RUNS}, indent=2))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    finally:
        processes.end_all()
        clear(WORK / "table")
        shutil.rmtree(TEMP, ignore_errors=True)
