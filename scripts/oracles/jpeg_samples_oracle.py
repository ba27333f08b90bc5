"""Samples of JPEG files as they are stored, by libjpeg-turbo (in imagecodecs) and by pylibjpeg-libjpeg.

Usage: jpeg_samples_oracle.py make OUT [DICOM]  writes files NAME.jpg, and NAME.raw with what libjpeg-turbo decodes
       jpeg_samples_oracle.py check FOLDER      decodes each NAME.jpg by both and compares with NAME.raw
       jpeg_samples_oracle.py time OUT          writes larger lossless files, and prints a line for each: its name, and how
                                                many milliseconds pylibjpeg and libjpeg-turbo take at best

A .raw holds width, height and number of components (16 bits each, little endian), then the samples, pixel by pixel,
likewise. Files are made with every predictor and precision, with 8 and 12 bits and
every usual subsampling, and taken from pydicom's test files and those of the folder DICOM; restart intervals and point
transforms, which libjpeg-turbo's interface does not offer here, come from the tests' own encoder, and are checked.

pylibjpeg-libjpeg 2.5.0 gives the largest sample everywhere where there is a point transform, and 12-bit samples that
are up to 2 away from libjpeg-turbo's, whose transform is within 1 of the definition.
"""

import sys
import time
from pathlib import Path

import imagecodecs
import libjpeg
import numpy as np
import pydicom
from pydicom.encaps import generate_frames

STORED = {1: "GRAYSCALE", 3: "YCBCR", 4: "CMYK"}


def turbo(file, num_components):
    """Decodes without a conversion of colours; `None` where the interface cannot be told so."""
    space = STORED.get(num_components)
    samples = imagecodecs.jpeg8_decode(file, colorspace=space, outcolorspace=space)
    return samples.reshape(*samples.shape[:2], -1).astype("<u2")


def thor(file):
    samples = libjpeg.decode(file)
    return samples.reshape(*samples.shape[:2], -1).astype("<u2")


def write(folder, name, file, samples):
    height, width, num_components = samples.shape
    head = np.array([width, height, num_components], "<u2")
    (folder / f"{name}.jpg").write_bytes(file)
    (folder / f"{name}.raw").write_bytes(head.tobytes() + samples.astype("<u2").tobytes())


def picture(random, bits, num_components):
    width, height = random.integers(1, 60, 2)
    y, x, band = np.mgrid[0:height, 0:width, 0:num_components]
    top = 2 ** bits - 1
    smooth = top / 2 * (1 + np.sin(x / 9 + band) * np.cos(y / 7))
    noise = random.normal(0, top / random.choice([3, 30, 300]), smooth.shape)
    return np.clip(smooth + noise, 0, top).astype("u1" if bits <= 8 else "u2")


def lossless(folder, random):
    for bits in range(2, 17):
        for predictor in range(1, 8):
            for num_components in (1, 3):
                samples = picture(random, bits, num_components)
                space = "RGB" if num_components == 3 else "GRAYSCALE"
                file = imagecodecs.jpeg8_encode(samples.squeeze(2) if num_components == 1 else samples, lossless=True,
                                                predictor=predictor, bitspersample=bits, colorspace=space,
                                                outcolorspace=space)
                assert np.array_equal(thor(file), samples), (bits, predictor)
                write(folder, f"lossless-{bits}-{predictor}-{num_components}", file, samples)


def lossy(folder, random):
    for bits in (8, 12):
        for case in range(60):
            num_components = (1, 3, 4)[case % 3]
            samples = picture(random, bits, num_components)
            space = STORED[num_components]
            subsampling = ("444", "422", "420", "440")[case // 3 % 4] if num_components == 3 else None
            file = imagecodecs.jpeg8_encode(samples.squeeze(2) if num_components == 1 else samples,
                                            level=int(random.integers(20, 100)), subsampling=subsampling,
                                            optimize=True if bits == 12 else bool(case % 2), bitspersample=bits,
                                            colorspace=space, outcolorspace=space)
            expected = turbo(file, num_components)
            if num_components == 1:
                assert np.abs(thor(file).astype(int) - expected).max() <= (1 if bits == 8 else 2)
            write(folder, f"lossy-{bits}-{case}", file, expected)


def of_dicom(folder, sources):
    for path in sources:
        dataset = pydicom.dcmread(path, force=True)
        meta = getattr(dataset, "file_meta", {})
        syntax = meta.get("TransferSyntaxUID", "") if meta else ""
        if syntax not in pydicom.uid.JPEGTransferSyntaxes or "PixelData" not in dataset:
            continue
        try:
            file = next(generate_frames(dataset.PixelData, number_of_frames=1))
        except ValueError:
            continue
        write(folder, path.stem, file, turbo(file, dataset.SamplesPerPixel))


def make(folder, *dicom):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(7)
    lossless(folder, random)
    lossy(folder, random)
    of_dicom(folder, sorted((Path(pydicom.__file__).parent / "data/test_files").glob("*.dcm")))
    of_dicom(folder, sorted(path for root in dicom for path in root.glob("JPL*/*")))


def check(folder):
    paths = sorted(folder.glob("*.jpg"))
    for path in paths:
        raw = np.frombuffer(path.with_suffix(".raw").read_bytes(), "<u2")
        width, height, num_components = raw[:3]
        expected = raw[3:].reshape(height, width, num_components)
        file = path.read_bytes()
        assert np.array_equal(turbo(file, int(num_components)), expected), f"libjpeg-turbo: {path.name}"
        point_transform = file[file.index(b"\xFF\xDA") + 7 + 2 * file[file.index(b"\xFF\xDA") + 4]] % 16
        assert point_transform or np.array_equal(thor(file), expected), f"pylibjpeg: {path.name}"
    print(len(paths))


def best_milliseconds(decode, file):
    times, end = [], time.monotonic() + 2
    while time.monotonic() < end:
        start = time.perf_counter()
        decode(file)
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def time_both(folder):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(3)
    for side in (512, 2048):
        for noise in (8, 60, 400):
            y, x = np.mgrid[0:side, 0:side]
            smooth = 20000 + 15000 * np.sin(x / 97) * np.cos(y / 61)
            samples = (smooth + random.normal(0, noise, smooth.shape)).astype("u2")
            file = imagecodecs.jpeg8_encode(samples, lossless=True, predictor=1, bitspersample=16)
            name = f"{side}-noise-{noise}.jpg"
            (folder / name).write_bytes(file)
            print(name, best_milliseconds(libjpeg.decode, file), best_milliseconds(imagecodecs.jpeg8_decode, file))


if __name__ == "__main__":
    {"make": make, "check": check, "time": time_both}[sys.argv[1]](*map(Path, sys.argv[2:]))
