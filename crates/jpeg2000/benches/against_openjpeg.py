#!/usr/bin/env python3
"""Compares the decoder with pylibjpeg-openjpeg, one thread each, on a generated image like a mammogram.

usage: against_openjpeg.py [ROUNDS]

Builds the example `decode`, and prints the least processor time of both per image, in seconds, and their ratio: 2048 by
2048 samples of 16 bits (14 used, and 16 with a noisier one), lossless JPEG 2000 and HTJ2K, and lossy JPEG 2000. Ours
includes the start of the process. Rounds alternate, since other work on the machine slows both down. Needs imagecodecs, numpy, Pillow and pylibjpeg-openjpeg.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imagecodecs
import numpy as np
import openjpeg
from PIL import Image

PROJECT = Path(__file__).resolve().parents[3]
SIDE = 2048
# Images per measurement.
TIMES = 5


def mammogram():
    """Returns a bright breast of smooth structures and noise before a dark background, 14 bits used."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    distance = (x / 0.75) ** 2 + ((y - 0.5) / 0.45) ** 2
    structures = np.zeros((SIDE, SIDE))
    for octave in range(1, 8):
        coarse = rng.normal(size=(2**octave + 3, 2**octave + 3)).astype(np.float32)
        structures += np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.BICUBIC)) / 1.6**octave
    breast = 9000 * np.clip(1 - distance, 0, 1) ** 0.3 + 2500 * structures + 3000
    image = np.where(distance < 1, breast, 120)
    image += rng.normal(size=image.shape) * np.where(distance < 1, 60, 4)
    return np.clip(image, 0, 16383).astype(np.uint16)


def streams():
    """Yields names and code streams."""
    image = mammogram()
    noise = np.random.default_rng(2).integers(0, 256, image.shape)
    noisy = np.clip(image.astype(int) * 4 + noise, 0, 65535).astype(np.uint16)
    for name, picture in (("mammogram", image), ("noisy mammogram", noisy)):
        yield f"{name}, JPEG 2000 lossless", imagecodecs.jpeg2k_encode(picture, 0, codecformat="j2k", reversible=True)
        yield f"{name}, HTJ2K lossless", imagecodecs.htj2k_encode(picture, reversible=True)
    yield "noisy mammogram, JPEG 2000 lossy", imagecodecs.jpeg2k_encode(noisy, 60, codecformat="j2k", reversible=False)


def our_time(example, path):
    process = subprocess.Popen([example, path, str(TIMES)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return (usage.ru_utime + usage.ru_stime) / TIMES


def peer_time(stream):
    start = time.process_time()
    for _ in range(TIMES):
        openjpeg.decode(stream)
    return (time.process_time() - start) / TIMES


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    build = ["cargo", "build", "--release", "-p", "tilefleet-jpeg2000", "--example", "decode"]
    subprocess.run(build, cwd=PROJECT, check=True)
    example = PROJECT / "target/release/examples/decode"
    with tempfile.TemporaryDirectory() as folder:
        for name, stream in streams():
            path, raw = Path(folder) / "stream", Path(folder) / "samples"
            path.write_bytes(stream)
            subprocess.run([example, path, "1", raw], check=True, capture_output=True)
            pixels = openjpeg.decode(stream).astype(np.int64)
            off = abs(np.fromfile(raw, "<i4").reshape(pixels.shape) - pixels).max()
            ours = peer = float("inf")
            for _ in range(rounds):
                ours, peer = min(ours, our_time(example, path)), min(peer, peer_time(stream))
            print(f"{name} ({len(stream)} bytes, at most {off} off): {ours:.4f} s, OpenJPEG {peer:.4f} s: {peer / ours:.2f}")


if __name__ == "__main__":
    main()
