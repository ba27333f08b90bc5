"""Samples of JPEG-LS files, by CharLS (in pyjpegls) and by pylibjpeg-libjpeg.

Usage: jpegls_oracle.py make OUT [DICOM]  writes files NAME.jls, and NAME.raw with what CharLS decodes
       jpegls_oracle.py check FOLDER      decodes each NAME.jls by both and compares with NAME.raw
       jpegls_oracle.py time OUT          writes larger files, and prints a line for each: its name, and how many milliseconds
                                          CharLS and pylibjpeg take at best

A .raw holds width, height and number of components (16 bits each, little endian), then the samples, pixel by pixel,
likewise. CharLS writes every precision, interleave mode and NEAR, but no restart markers and only the standard's
parameters: files with others come from the tests' own encoder, and are checked: by CharLS if they have the standard's parameters, as it
has others wrong (a MAXVAL, thresholds of samples that take turns), and does not decode two components that take turns.
pylibjpeg-libjpeg has all of them right, and MR1_JLSL of NEMA's set, where a zero byte stands before the end marker; but zeros
in a segment of parameters do not mean the standard's own to it, as they should (T.87, C.2.4.1.1).
"""

import sys
import time
from pathlib import Path

import jpeg_ls
import libjpeg
import numpy as np
import pydicom
from pydicom.encaps import generate_frames


def charls(file):
    data, info = jpeg_ls.decode_buffer(file)
    kind = "u1" if info["bits_per_sample"] <= 8 else "<u2"
    height, width, bands = info["height"], info["width"], info["components"]
    samples = np.frombuffer(data, kind)
    if info["interleave_mode"] == 0:
        return samples.reshape(bands, height, width).transpose(1, 2, 0)
    return samples.reshape(height, width, bands)


def encode(samples, bits, near, mode):
    height, width, bands = samples.shape
    # For mode 1, too, CharLS has them pixel by pixel, whatever pyjpegls says.
    ordered = np.ascontiguousarray(samples.transpose((2, 0, 1)) if mode == 0 else samples)
    ordered = ordered.astype("u1" if bits <= 8 else "<u2")
    return bytes(jpeg_ls.encode_buffer(ordered.tobytes(), rows=height, columns=width, samples_per_pixel=bands,
                                       bits_stored=bits, lossy_error=near, interleave_mode=mode))


def thor(file):
    samples = libjpeg.decode(file)
    return samples.reshape(*samples.shape[:2], -1)


def write(folder, name, file, samples):
    height, width, bands = samples.shape
    (folder / f"{name}.jls").write_bytes(file)
    head = np.array([width, height, bands], "<u2")
    (folder / f"{name}.raw").write_bytes(head.tobytes() + samples.astype("<u2").tobytes())


def picture(random, bits, bands):
    """Waves, noise or none, and flat parts, in which runs begin and end."""
    width, height = random.integers(1, 70, 2)
    y, x, band = np.mgrid[0:height, 0:width, 0:bands]
    top = 2 ** bits - 1
    samples = top / 2 * (1 + np.sin(x / 9 + band) * np.cos(y / 7)) + random.normal(0, 1, x.shape) * top / random.choice(
        [2, 30, 1000, 1e9])
    flat = np.sin(x / 4 + y / 3) > random.uniform(-1.2, 1.2)
    samples[flat] = top * random.uniform()
    if random.integers(3) == 0:
        samples = np.where(random.uniform(size=x.shape) < 0.02, top * random.integers(0, 2, x.shape), samples)
    return np.clip(samples, 0, top).round().astype("u2")


def encoded(random, bits, bands, near, mode):
    while True:
        samples = picture(random, bits, bands)
        try:
            return samples, encode(samples, bits, near, mode)
        except RuntimeError as error:
            # pyjpegls has no room for noise that grows by being encoded.
            assert "too small" in str(error)


def make(folder, *dicom):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(11)
    for bits in range(2, 17):
        for case in range(24):
            bands = (1, 3, 3, 3, 1, 4)[case % 6]
            mode = 0 if bands == 1 else case % 3
            near = 0 if case < 12 else int(random.integers(0, min(256, 2 ** (bits - 1))))
            samples, file = encoded(random, bits, bands, near, mode)
            decoded = charls(file)
            assert np.abs(decoded.astype(int) - samples).max() <= near
            write(folder, f"{bits}-{near}-{mode}-{case}", file, decoded)
    for path in sorted((Path(pydicom.__file__).parent / "data/test_files").glob("*.dcm")):
        of_dicom(folder, path)
    for path in sorted(path for root in dicom for path in root.glob("JLS*/*")):
        of_dicom(folder, path)


def of_dicom(folder, path):
    dataset = pydicom.dcmread(path, force=True)
    meta = getattr(dataset, "file_meta", {})
    if meta and meta.get("TransferSyntaxUID", "") in pydicom.uid.JPEGLSTransferSyntaxes and "PixelData" in dataset:
        file = next(generate_frames(dataset.PixelData, number_of_frames=1))
        write(folder, path.stem, file, thor(file) if path.stem == "MR1_JLSL" else charls(file))


def check(folder):
    paths = sorted(folder.glob("*.jls"))
    for path in paths:
        raw = np.frombuffer(path.with_suffix(".raw").read_bytes(), "<u2")
        width, height, bands = raw[:3]
        expected = raw[3:].reshape(height, width, bands)
        file = path.read_bytes()
        assert np.array_equal(thor(file), expected), f"pylibjpeg decodes {path.name} to other samples"
        header = file[:file.index(b"\xFF\xDA")]
        interleaved = file[len(header) + 4] > 1
        if b"\xFF\xF8" not in header and not (bands == 2 and interleaved):
            assert np.array_equal(charls(file), expected), f"CharLS decodes {path.name} to other samples"
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
    for side, noise, near, bands in ((512, 8, 0, 1), (512, 60, 0, 1), (2048, 8, 0, 1), (2048, 60, 0, 1), (2048, 60, 3, 1),
                                     (1024, 60, 0, 3)):
        y, x, band = np.mgrid[0:side, 0:side, 0:bands]
        smooth = 20000 + 15000 * np.sin(x / 97 + band) * np.cos(y / 61)
        samples = (smooth + random.normal(0, noise, smooth.shape)).astype("u2")
        file = encode(samples, 16, near, 2)
        name = f"{side}-noise-{noise}-near-{near}-components-{bands}.jls"
        (folder / name).write_bytes(file)
        print(name, best_milliseconds(jpeg_ls.decode_buffer, file), best_milliseconds(libjpeg.decode, file))


if __name__ == "__main__":
    {"make": make, "check": check, "time": time_both}[sys.argv[1]](*map(Path, sys.argv[2:]))
