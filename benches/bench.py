"""Measures tilefleet side by side with its peers, in alternation, and prints medians and ratios.

    scripts/bench [--only a,b,c,d,int8,quantised,auto,windows,scenes,nearest,micro,many,fleet] [--rounds N]
    scripts/bench --before OLD/tilefleet [--only b,windows,nearest]

- a: ResNet-152 fp32, end to end, over a bare session on resident tensors with as many threads
- b: an almost-free model, so that the pipeline itself is measured, over plain Python
- c: peak memory at 2,000 and at 20,000 tiles
- d: peak memory while planning a million keys
- int8: ResNet-152 by `model quantize` over fp32, both end to end
- quantised: our int8 models over those of ONNX Runtime's Python quantizer, in speed and accuracy
- auto: the CPU as tilefleet uses it by itself, over the best of several fixed settings, for two networks
- windows: windows of a COG over the same job by rasterio and over its reading alone, local and from S3 20 ms away
- scenes: peak memory of scenes of 4,000 and of 40,000 pixels a side
- nearest: the nearest neighbours of a tile among 100,000, over pyarrow and NumPy
- many: planning 10 million windows and 10 million photos, and verifying 2,442 shards, over pyarrow; joining a run of 10
  million over joining one of 10,000. One of these alone: many-windows, many-photos, many-verify, many-joining; with `--tiles`
  fewer tiles, to try them out
- fleet: 32 workers with shares and 64 on a queue, whose devices sleep, over the ideal, and their requests per shard
- micro: decode, resize, encode, commit and compare, each alone

With `--before`, the jobs of b, windows and nearest are run by this build and by an earlier one instead of a peer.

What is compared runs in turns, so that a machine that slows down slows all of it. Files are read once
beforehand, so that all find them in the page cache. Loading the model is left out everywhere.
"""

import argparse
import functools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import fake_listing
import windows

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
WORK = TARGET / "bench"
TILEFLEET = TARGET / "release" / "tilefleet"
BATCH = 16
RESNET_IMAGES = 320
INT8_IMAGES = 640


def last_json(text):
    """Returns the last JSON object of a program's output."""
    return json.loads(text[text.index("{") :])


def run(*command):
    """Runs a program and returns its answer and its peak memory in bytes."""
    out = WORK / "stdout"
    with out.open("wb") as stdout:
        process = subprocess.Popen([str(word) for word in command], stdout=stdout)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {process.returncode}")
    # Linux counts in KiB, macOS in bytes.
    return last_json(out.read_text()), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def tilefleet(images, model, *settings, build=TILEFLEET, pipeline=ROOT / "pipelines" / "tiles.toml"):
    """Runs the pipeline into a new folder and returns its report and its peak memory."""
    output = WORK / "table"
    shutil.rmtree(output, ignore_errors=True)
    flags = [flag for setting in (f"run.batch={BATCH}", *settings) for flag in ("--set", setting)]
    return run(
        build, "run", pipeline, "--input", images, "--output", output, "--model", model, "--json", *flags
    )


def rate_of(report):
    """Returns the images a second of a run from the listing of its input on; loading the model is left out."""
    ours = report["this_process"]
    return ours["settled"] / (ours["planning_seconds"] + ours["seconds"])


def tilefleet_rate(images, model, *settings):
    return rate_of(tilefleet(images, model, *settings)[0])


def alternate(title, rounds, unit="images/s", **contestants):
    """Runs the contestants in turns; prints medians of their rates, and the first over the second as a ratio."""
    rates = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            rates[name].append(measure())
            print(f"  {name}: {rates[name][-1]:.2f} {unit}", file=sys.stderr)
    ours, theirs = rates.values()
    ratios = [our / their for our, their in zip(ours, theirs)]
    print(f"{title}, {rounds} rounds in turns")
    for name, values in rates.items():
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"  {name.replace('_', ' '):<14} {statistics.median(values):8.1f} {unit}  ({spread})")
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"  ratio          {statistics.median(ratios):8.3f}           ({spread})")


def some_images(count):
    """Returns a folder with the first images."""
    folder = WORK / f"first-{count}"
    if not folder.is_dir():
        folder.mkdir()
        for file in sorted((WORK / "inputs" / "images").iterdir())[:count]:
            os.link(file, folder / file.name)
    return folder


def seeded(arch):
    """Returns a network with weights from a seed."""
    model = WORK / f"{arch}.onnx"
    if not model.is_file():
        command = [TILEFLEET, "model", "build", "--arch", arch, "--seed", "0", "--out", model]
        subprocess.run(command, check=True, stdout=sys.stderr)
    return model


def resnet_over_bare_session(rounds, threads):
    model, images = seeded("resnet152"), some_images(RESNET_IMAGES)
    bare = [bench_program("bare_session"), "--model", model, "--batch", BATCH, "--threads", threads]
    alternate(
        f"(a) ResNet-152 fp32, {RESNET_IMAGES} JPEG files, batch {BATCH}, one session of {threads} threads",
        rounds,
        tilefleet=lambda: tilefleet_rate(images, model, f"run.threads={threads}", "run.sessions=1"),
        bare_session=lambda: run(*bare, "--runs", RESNET_IMAGES // BATCH)[0]["images_per_second"],
    )


def int8_over_fp32(rounds, threads):
    fp32, int8, images = seeded("resnet152"), WORK / "resnet152-int8.onnx", some_images(INT8_IMAGES)
    command = [TILEFLEET, "model", "quantize", fp32, "--calibration", WORK / "inputs" / "images"]
    command += ["--calibration-tiles", "64", "--held-out-tiles", "32", "--out", int8, "--force"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    alternate(
        f"(int8) ResNet-152, {INT8_IMAGES} JPEG files end to end, batch {BATCH}, {threads} threads",
        rounds,
        int8=lambda: tilefleet_rate(images, int8, f"run.threads={threads}"),
        fp32=lambda: tilefleet_rate(images, fp32, f"run.threads={threads}"),
    )


def int8_over_onnxruntimes(rounds, threads):
    import quantised

    quantised.measure(WORK, TILEFLEET, seeded("resnet152"), rounds, threads)


def pipeline_over_python(rounds, threads):
    inputs = WORK / "inputs"
    peer = [sys.executable, ROOT / "benches" / "peers" / "plain_python.py", inputs / "images", inputs / "free.onnx"]
    peer += [WORK / "peer.parquet", "--batch", BATCH, "--threads", threads]
    alternate(
        f"(b) almost-free model, 2,000 JPEG files, batch {BATCH}, {threads} threads",
        rounds,
        tilefleet=lambda: tilefleet_rate(inputs / "images", inputs / "free.onnx", f"run.threads={threads}"),
        plain_Python=lambda: run(*peer)[0]["images_per_second"],
    )


def both_builds(before):
    """Returns two ways of running the pipeline: by this build and by an earlier one, each with its own defaults."""
    pipeline = WORK / "both.toml"
    pipeline.write_text('name = "tiles"\n')

    def by(build):
        return lambda *arguments: tilefleet(*arguments, build=build, pipeline=pipeline)

    return by(TILEFLEET), by(before)


def pipeline_over_before(rounds, threads, before):
    inputs, (now, earlier) = WORK / "inputs", both_builds(before)

    def rate(build):
        return rate_of(build(inputs / "images", inputs / "free.onnx", f"run.threads={threads}")[0])

    alternate(
        f"(b) almost-free model, 2,000 JPEG files, batch {BATCH}, {threads} threads, this build and an earlier one",
        rounds,
        now=lambda: rate(now),
        before=lambda: rate(earlier),
    )


def windows_over_before(rounds, threads, before):
    windows.measure_before(WORK, ROOT / ".venv" / "bin" / "weed", *both_builds(before), alternate, rounds, threads)


def peak_memory(_rounds, _threads):
    inputs = WORK / "inputs"
    print("(c) peak memory, almost-free model, plan.shard_tiles 500, run.memory 128MiB")
    peaks = []
    for folder in ("images", "many"):
        report, peak = tilefleet(inputs / folder, inputs / "free.onnx", "plan.shard_tiles=500", "run.memory=128MiB")
        peaks.append(peak)
        print(f"  {report['summary']['tiles']:>6} tiles   {peak / 2**20:8.1f} MiB")
    print(f"  ratio          {peaks[1] / peaks[0]:8.3f}")


def fixed_settings(threads):
    """Returns ways of using the CPU that somebody might have written into a pipeline."""
    ways = [(1, batch, spinning) for batch in (4, BATCH) for spinning in (False, True)]
    ways += [(threads, batch, False) for batch in (1, 4, BATCH)]
    return {
        f"{sessions} sessions, batch {batch}{', spinning' * spinning}": (
            f"run.sessions={sessions}",
            f"run.batch={batch}",
            f"run.spinning={str(spinning).lower()}",
        )
        for sessions, batch, spinning in ways
    }


def automatic(rounds, threads):
    everything = WORK / "inputs" / "many"
    for arch in ("resnet152", "resnet18"):
        best = automatic_over_fixed(arch, some_images(RESNET_IMAGES), rounds, threads, fixed_settings(threads))
    # Long enough that the process measures, which costs part of the time.
    automatic_over_fixed("resnet18", everything, 1, threads, best)


def automatic_over_fixed(arch, images, rounds, threads, fixed):
    """Runs the CPU as chosen and as fixed in turns; returns the best fixed settings."""
    model, rates, chosen = seeded(arch), {}, None
    for _ in range(rounds):
        for name, settings in {"auto": ("run.batch=auto",), **fixed}.items():
            report, _ = tilefleet(images, model, f"run.threads={threads}", *settings)
            rates.setdefault(name, []).append(rate_of(report))
            chosen = report["inference"] if name == "auto" else chosen
            print(f"  {name}: {rates[name][-1]:.2f} {unit}", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    best = max(fixed, key=medians.get)
    how = {key: chosen[key] for key in ("sessions", "threads", "spinning", "batch")}
    print(f"(auto) {arch}, {report['summary']['tiles']:,} JPEG files, {threads} threads, {rounds} rounds in turns")
    print(f"  chosen, after {len(chosen['measured'])} trials: {how}")
    for name, median in medians.items():
        print(f"  {name:<34} {median:8.1f} images/s  ({min(rates[name]):.1f} to {max(rates[name]):.1f})")
    print(f"  auto over the best fixed ({best})  {medians['auto'] / medians[best]:.3f}")
    return {best: fixed[best]}


def planning_memory(_rounds, _threads):
    output = WORK / "plan"
    shutil.rmtree(output, ignore_errors=True)
    command = [TILEFLEET, "plan", ROOT / "pipelines" / "tiles.toml", "--json", "--input", "s3://bench/tiles/"]
    command += ["--output", output, "--model", WORK / "inputs" / "free.onnx"]
    report, peak = run(*command, *fake_listing.start(1_000_000))
    print(f"(d) planning {report['tiles']:,} keys of a listing: peak {peak / 2**20:.1f} MiB")


def bench_program(name):
    """Builds a benchmark as the binary is built and returns its path, which cargo names by a hash."""
    command = ["cargo", "build", "--locked", "--release", "--bench", name]
    messages = subprocess.run(
        [*command, "--message-format", "json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    artifacts = map(json.loads, messages.splitlines())
    return next(
        artifact["executable"]
        for artifact in artifacts
        if artifact.get("target", {}).get("name") == name and artifact.get("executable")
    )


def nearest_neighbours(rounds, threads):
    # Not above: its libraries are large, and a process that we start begins with our own peak memory.
    import nearest

    nearest.measure(WORK, TILEFLEET, bench_program("fill"), rounds, threads)


def nearest_over_before(rounds, _threads, before):
    import nearest

    nearest.measure_before(WORK, TILEFLEET, before, bench_program("fill"), alternate, rounds)


def micro(_rounds, _threads):
    subprocess.run(["cargo", "bench", "--locked", "--bench", "micro"], cwd=ROOT, check=True)


def make_inputs():
    """Makes the images and the model of the measurements a to c."""
    inputs = WORK / "inputs"
    if not inputs.is_dir():
        stage = WORK / "stage"
        shutil.rmtree(stage, ignore_errors=True)
        subprocess.run([sys.executable, ROOT / "benches" / "inputs.py", stage], check=True, stdout=sys.stderr)
        stage.rename(inputs)
    for file in (inputs / "images").iterdir():
        file.read_bytes()


def windows_over_rasterio(rounds, threads):
    weed = ROOT / ".venv" / "bin" / "weed"
    windows.measure(WORK, weed, tilefleet, alternate, rounds, threads)


def scene_memory(rounds, _threads):
    windows.memory(WORK, tilefleet, rounds)


def ten_million(rounds, _threads, tiles, parts):
    # Not above, as in nearest_neighbours.
    import many

    measured = many.Many(WORK / "many", TILEFLEET, bench_program, ROOT / ".venv" / "bin" / "weed", rounds, tiles)
    for part in parts:
        getattr(measured, part)()


def workers_that_sleep(_rounds, _threads):
    import fleet

    programs = ROOT / ".venv" / "bin"
    fleet.measure(WORK / "fleet", programs / "weed", programs / "nats-server", bench_program("fleet"), TILEFLEET)


MEASUREMENTS = {
    "a": resnet_over_bare_session,
    "b": pipeline_over_python,
    "c": peak_memory,
    "d": planning_memory,
    "int8": int8_over_fp32,
    "quantised": int8_over_onnxruntimes,
    "auto": automatic,
    "windows": windows_over_rasterio,
    "scenes": scene_memory,
    "nearest": nearest_neighbours,
    "micro": micro,
    "fleet": workers_that_sleep,
}


def of_many(tiles):
    """The measurements of ten million tiles: all of them, and each alone."""
    parts = ("windows", "photos", "verify", "joining")
    alone = {f"many-{part}": functools.partial(ten_million, tiles=tiles, parts=[part]) for part in parts}
    return alone | {"many": functools.partial(ten_million, tiles=tiles, parts=parts)}


OVER_BEFORE = {"b": pipeline_over_before, "windows": windows_over_before, "nearest": nearest_over_before}


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--only", help="such as a,c [default: all]")
    parser.add_argument("--before", type=Path, metavar="TILEFLEET", help="the binary of an earlier build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--tiles", type=int, help="tiles of `many` [default: 10,000,000]")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    measurements = OVER_BEFORE if arguments.before else MEASUREMENTS | of_many(arguments.tiles)
    alone = [name for name in measurements if not name.startswith("many-")]
    names = arguments.only.split(",") if arguments.only else alone
    if set(names) & {*"abcd", "int8", "auto"}:
        make_inputs()
    print(f"{platform.system()} {platform.machine()}, {arguments.threads} threads")
    more = [arguments.before.resolve()] if arguments.before else []
    for name in names:
        measurements[name](arguments.rounds, arguments.threads, *more)


if __name__ == "__main__":
    main()
