"""Writes golden 12-bit JPEG files and their samples, by libjpeg-turbo (in imagecodecs).

Usage: jpeg_golden.py crates/jpeg/golden

NAME.jpg is the file; NAME.raw has its samples as they are stored, YCbCr or grey, pixel by pixel, 16 bits each, little
endian. Sizes are odd, so that blocks and subsampled components end beyond the picture.
"""

import sys
from pathlib import Path

import imagecodecs
import numpy as np

WIDTH, HEIGHT = 37, 21


def picture():
    y, x, band = np.mgrid[0:HEIGHT, 0:WIDTH, 0:3]
    noise = np.random.default_rng(1).normal(0, 60, x.shape)
    smooth = 2048 + 2400 * np.sin(x / 6 + band) * np.cos(y / 5)
    return np.clip(smooth + noise, 0, 4095).astype("u2")


def main(folder):
    folder.mkdir(exist_ok=True)
    for name in ("grey", "444", "422", "420", "440"):
        space, subsampling = ("GRAYSCALE", None) if name == "grey" else ("YCBCR", name)
        samples = np.ascontiguousarray(picture()[..., 0]) if name == "grey" else picture()
        file = imagecodecs.jpeg8_encode(samples, level=85, subsampling=subsampling, optimize=True, bitspersample=12,
                                        colorspace=space, outcolorspace=space)
        decoded = imagecodecs.jpeg8_decode(file, colorspace=space, outcolorspace=space)
        (folder / f"extended-{name}.jpg").write_bytes(file)
        (folder / f"extended-{name}.raw").write_bytes(decoded.astype("<u2").tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
