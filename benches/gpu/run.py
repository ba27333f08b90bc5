#!/usr/bin/env python3
"""Measures tilefleet on an NVIDIA card beside PyTorch, and prints one table in Markdown.

    benches/gpu/run.py [--tilefleet FILE] [--runtime FOLDER] [--arch resnet152] [--batch N] [--tiles N] [--rounds N]

Needs the release binary, ONNX Runtime for GPUs (`tilefleet runtime install --provider cuda`, or a folder
with `libonnxruntime.so.*` and NVIDIA's libraries given as `--runtime`), and a Python with torch, torchvision,
numpy and Pillow. Nothing is fetched. Exit code 69 where there is no card, 70 where parity does not hold.

- parity: embeddings of fp16 on the card against fp32 on the CPU, the same tiles, decoded by tilefleet: cosine
- bare: the model by itself, on noise that lies in memory, with the sessions of a run, copies to the card included
- pipeline: from JPEG files to a committed table
- torch: the same architecture, fp16 in channels-last, eager and compiled, on a batch that lies on the card

What is compared runs in turns. torch's copies to the card are left out, which favours torch.
"""

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
NO_CARD, NO_PARITY = 69, 70
PARITY_TILES = 256
LEAST_COSINE = 0.999


def require_card():
    """Ends the process unless there is a card that torch can use; returns torch and the card's name."""
    seen = shutil.which("nvidia-smi") and subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True)
    if not seen or seen.returncode or "GPU 0" not in seen.stdout:
        print("no NVIDIA card here: nothing was measured", file=sys.stderr)
        sys.exit(NO_CARD)
    try:
        import torch
    except ImportError:
        sys.exit("this needs a Python with torch: there is none in " + sys.executable)
    if not torch.cuda.is_available():
        print("there is an NVIDIA card, but torch cannot use it: nothing was measured", file=sys.stderr)
        sys.exit(NO_CARD)
    return torch, torch.cuda.get_device_name(0)


class Tilefleet:
    """The binary, and where it works."""

    def __init__(self, arguments):
        self.binary, self.work, self.batch = arguments.tilefleet.resolve(), arguments.work, arguments.batch
        self.environment = dict(os.environ)
        if arguments.runtime:
            libraries = sorted(arguments.runtime.glob("libonnxruntime.so.*"))
            if not libraries:
                sys.exit(f"there is no libonnxruntime.so.* in {arguments.runtime}")
            self.environment["ORT_DYLIB_PATH"] = str(libraries[-1].resolve())

    def call(self, *words):
        done = subprocess.run(
            [str(word) for word in (self.binary, *words)], env=self.environment, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            sys.exit(f"{' '.join(map(str, words))} ended with {done.returncode}")
        return done.stdout

    def model(self, arch, precision):
        file = self.work / f"{arch}-{precision}.onnx"
        if not file.is_file():
            self.call("model", "build", "--arch", arch, "--seed", "0", "--precision", precision, "--out", file)
        return file

    def flags(self, model, images, output, provider, *settings):
        pipeline = ROOT / "pipelines" / "tiles.toml"
        words = [pipeline, "--input", images, "--output", output, "--model", model, "--provider", provider, "--json"]
        return words + [word for setting in settings for word in ("--set", setting)]

    def run(self, model, images, provider, *settings):
        """Runs the pipeline into a new folder; returns its tiles a second and the folder."""
        output = self.work / f"table-{provider}"
        shutil.rmtree(output, ignore_errors=True)
        report = json.loads(self.call("run", *self.flags(model, images, output, provider, *settings)))
        return report["this_process"]["tiles_per_second"], output

    def bare(self, model, images, provider, *settings):
        """Returns the chips a second of the model by itself."""
        flags = self.flags(model, images, self.work / "table-bare", provider, *settings)
        return json.loads(self.call("runtime", "bench", *flags))["chips_per_second"]

    def embeddings(self, output):
        rows = json.loads(self.call("query", output, "SELECT tile_id, embedding FROM tiles ORDER BY tile_id", "--json"))
        return {row["tile_id"]: row["embedding"] for row in rows}


def make_images(folder, count):
    """Makes JPEGs of 256 to 384 px with gradients, shapes and noise, the same each time."""
    import numpy
    from PIL import Image, ImageDraw

    if folder.is_dir():
        return folder
    stage = folder.with_suffix(".stage")
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    drawn = random.Random(0)
    for index in range(count):
        width, height = drawn.randrange(256, 385), drawn.randrange(256, 385)
        noise = numpy.random.default_rng(index).integers(0, 40, (height, width, 3), dtype=numpy.uint8)
        ramp = numpy.linspace(0, 180, width, dtype=numpy.uint8)[None, :, None]
        image = Image.fromarray(noise + ramp)
        draw = ImageDraw.Draw(image)
        for _ in range(6):
            x, y, size = drawn.randrange(width), drawn.randrange(height), drawn.randrange(20, 120)
            draw.ellipse((x, y, x + size, y + size), fill=tuple(drawn.randrange(256) for _ in range(3)))
        image.save(stage / f"{index:05}.jpg", quality=88)
    stage.rename(folder)
    return folder


def first(images, folder, count):
    """Returns a folder with the first images only."""
    if not folder.is_dir():
        folder.mkdir()
        for file in sorted(images.iterdir())[:count]:
            shutil.copy(file, folder)
    return folder


def cosines(torch, ours, theirs):
    """Returns the cosines between embeddings of the same tiles."""
    if set(ours) != set(theirs):
        sys.exit("the two runs have different tiles")
    pairs = [torch.tensor([side[tile] for tile in sorted(side)], dtype=torch.float64) for side in (ours, theirs)]
    return torch.nn.functional.cosine_similarity(*pairs).tolist()


def torch_rate(torch, network, batch, seconds=10.0):
    """Returns images a second of a network on a batch that lies on the card."""
    image = torch.randn(batch, 3, 224, 224, device="cuda", dtype=torch.half)
    image = image.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(10):
            network(image)
        torch.cuda.synchronize()
        started, runs = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            for _ in range(10):
                network(image)
            torch.cuda.synchronize()
            runs += 10
        return runs * batch / (time.perf_counter() - started)


def torch_networks(torch, arch):
    import torchvision

    network = getattr(torchvision.models, arch)(weights=None).eval().half().cuda()
    network = network.to(memory_format=torch.channels_last)
    return network, torch.compile(network, mode="max-autotune")


def measure(arguments, torch, card):
    ours = Tilefleet(arguments)
    images = make_images(arguments.work / f"images-{arguments.tiles}", arguments.tiles)
    few = first(images, arguments.work / f"images-{PARITY_TILES}", PARITY_TILES)
    fp32, fp16 = (ours.model(arguments.arch, precision) for precision in ("fp32", "fp16"))
    batch = f"run.batch={arguments.batch}"

    reference = ours.embeddings(ours.run(fp32, few, "cpu")[1])
    parity = min(cosines(torch, ours.embeddings(ours.run(fp16, few, "cuda", batch)[1]), reference))
    eager, compiled = torch_networks(torch, arguments.arch)
    out_of_the_box = (batch, "cuda.conv_search=exhaustive", "cuda.prefer_nhwc=false", "run.sessions=1", "run.precision=tf32")
    contestants = {
        "bare, fp16": lambda: ours.bare(fp16, images, "cuda", batch),
        "pipeline from JPEG, fp16": lambda: ours.run(fp16, images, "cuda", batch)[0],
        "bare, fp32 out of the box": lambda: ours.bare(fp32, images, "cuda", *out_of_the_box),
        "torch eager, fp16 channels-last": lambda: torch_rate(torch, eager, arguments.batch),
        "torch compiled, fp16 channels-last": lambda: torch_rate(torch, compiled, arguments.batch),
    }
    if arguments.tensorrt:
        contestants["bare, fp16, TensorRT"] = lambda: ours.bare(fp16, images, "tensorrt", batch)
    rates = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, contestant in contestants.items():
            rates[name].append(contestant())
            print(f"{name}: {rates[name][-1]:.1f} images/s", file=sys.stderr)
    report(arguments, torch, card, {name: statistics.median(values) for name, values in rates.items()}, rates, parity)
    return parity


def report(arguments, torch, card, medians, rates, parity):
    print(f"{card}, torch {torch.__version__}, {arguments.arch}, batch {arguments.batch}, {arguments.tiles} tiles,")
    print(f"{arguments.rounds} rounds in turns, {platform.system()} {platform.machine()}, {os.cpu_count()} CPU threads\n")
    print("| | images/s |\n| --- | --- |")
    for name, median in medians.items():
        print(f"| {name} | {median:,.0f} ({min(rates[name]):,.0f} to {max(rates[name]):,.0f}) |")
    bare = medians["bare, fp16"]
    ratios = [
        ("bare fp16 ÷ torch compiled", bare / medians["torch compiled, fp16 channels-last"], "≥ 0.9"),
        ("bare fp16 ÷ torch eager", bare / medians["torch eager, fp16 channels-last"], ""),
        ("pipeline ÷ its own bare session", medians["pipeline from JPEG, fp16"] / bare, "≥ 0.85"),
        ("bare fp16 ÷ fp32 out of the box", bare / medians["bare, fp32 out of the box"], "≥ 3"),
        (f"least cosine of {PARITY_TILES} embeddings, fp16 on the card and fp32 on the CPU", parity, f"≥ {LEAST_COSINE}"),
    ]
    print("\n| | seen | wanted |\n| --- | --- | --- |")
    for name, value, wanted in ratios:
        print(f"| {name} | {value:.4f} | {wanted} |")


def main():
    parser = argparse.ArgumentParser(prog="benches/gpu/run.py")
    parser.add_argument("--tilefleet", type=Path, default=ROOT / "target" / "release" / "tilefleet")
    parser.add_argument("--runtime", type=Path, help="folder with libonnxruntime.so.* and NVIDIA's libraries")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "bench" / "gpu")
    parser.add_argument("--arch", default="resnet152")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--tiles", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tensorrt", action="store_true", help="measure TensorRT, too")
    arguments = parser.parse_args()
    torch, card = require_card()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if measure(arguments, torch, card) < LEAST_COSINE:
        sys.exit(NO_PARITY)


if __name__ == "__main__":
    main()
