"""DICOM frames: tilefleet over two processes of pydicom, syntax by syntax, end to end with an almost-free model.

    .venv/bin/python benches/radiology.py [--tilefleet BINARY] [--rounds N] [--only raw,minmax,rle,jpll,j2k,htj2k,jls]

Each job reads distinct instances of 512 × 512 and of 2048 × 2048 pixels, 12 bits of 16, with a rescale and a window. The
peer does what a careful script does: `dcmread`, `pixel_array` with its fastest plug-in, `apply_modality_lut`,
`apply_voi_lut`, 8 bits, Pillow's resize and crop, ONNX Runtime, Parquet by pyarrow. `minmax` leaves the window out on
both sides. Both have two threads or processes, files are in the page cache, the contestants take turns, and loading the
model is left out on both sides.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import inputs

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "bench" / "radiology"
SIDES = {512: "512", 2048: "2k"}
# Instances of 512 and of 2048 pixels a side; slow codecs have fewer.
COUNTS = {"raw": (1000, 60), "rle": (400, 40), "jpll": (200, 24), "j2k": (100, 16), "htj2k": (200, 24), "jls": (200, 24)}
SYNTAX = {
    "raw": "1.2.840.10008.1.2.1",
    "rle": "1.2.840.10008.1.2.5",
    "jpll": "1.2.840.10008.1.2.4.70",
    "j2k": "1.2.840.10008.1.2.4.90",
    "htj2k": "1.2.840.10008.1.2.4.201",
    "jls": "1.2.840.10008.1.2.4.80",
}
PROCESSES = 2
BATCH = 16


def pixels(number, side):
    """A slice that looks like a radiograph: smooth shapes, an edge, and noise of about four bits."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 2600, (9, 9)).astype(np.float32)
    from PIL import Image

    smooth = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    y, x = np.ogrid[:side, :side]
    body = (x - side / 2) ** 2 + (y - side / 2) ** 2 < (side * 0.46) ** 2
    noise = random.normal(0, 8, (side, side))
    return np.where(body, np.clip(smooth + noise + 400, 0, 4095), 20 + np.abs(noise)).astype(np.uint16)


def encoded(kind, image):
    """Returns the code stream of one frame."""
    import imagecodecs

    if kind == "jpll":
        return imagecodecs.ljpeg_encode(image, bitspersample=16)
    if kind == "j2k":
        return imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k", reversible=True)
    if kind == "htj2k":
        return imagecodecs.htj2k_encode(image, reversible=True)
    return imagecodecs.jpegls_encode(image)


def write(job):
    """Writes one instance."""
    kind, side, number, path = job
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, ExplicitVRLittleEndian, RLELossless

    image = pixels(number, side)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{side}.{number + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
    ds.PatientID, ds.Modality, ds.BurnedInAnnotation = f"P{number % 50}", "DX", "NO"
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = side, side, 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleSlope, ds.RescaleIntercept, ds.WindowCenter, ds.WindowWidth = "1", "-1024", "600", "2500"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData = image.tobytes()
    if kind == "rle":
        ds.compress(RLELossless)
    elif kind != "raw":
        ds.PixelData = encapsulate([encoded(kind, image)])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = UID(SYNTAX[kind])
    ds.save_as(path, enforce_file_format=True)


def instances(kind, side):
    """Returns the folder of a job's instances, made once."""
    count = COUNTS[kind][0 if side == 512 else 1]
    folder = WORK / f"{kind}-{side}-{count}"
    if not folder.is_dir():
        partial = folder.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        jobs = [(kind, side, number, partial / f"{number:05}.dcm") for number in range(count)]
        with ProcessPoolExecutor(PROCESSES) as pool:
            list(pool.map(write, jobs))
        partial.rename(folder)
    for path in folder.iterdir():
        path.read_bytes()
    return folder


def peer(files, model, preset, barrier, out, answers):
    """What a careful script does with its half of the files."""
    import onnxruntime
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image
    from pydicom import dcmread
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    barrier.wait()
    began = time.perf_counter()
    rows, batch = [], []

    def flush():
        if batch:
            embeddings = session.run(None, {name: np.stack(batch)})[0]
            rows.extend(embeddings)
            batch.clear()

    for path in files:
        ds = dcmread(path)
        if ds.file_meta.TransferSyntaxUID == SYNTAX["jls"]:
            ds.pixel_array_options(decoding_plugin="pyjpegls")
        values = apply_modality_lut(ds.pixel_array, ds)
        if preset == "display":
            values = apply_voi_lut(values, ds, prefer_lut=True)
        low, high = values.min(), values.max()
        grey = ((values - low) * (255.0 / max(high - low, 1))).astype(np.uint8)
        image = Image.fromarray(grey)
        scale = 256 / min(image.size)
        image = image.resize([round(scale * length) for length in image.size], Image.Resampling.BILINEAR)
        left, top = (image.width - 224) // 2, (image.height - 224) // 2
        chip = np.asarray(image.crop((left, top, left + 224, top + 224)))
        batch.append(np.repeat(chip[..., None], 3, axis=2))
        if len(batch) == BATCH:
            flush()
    flush()
    embeddings = pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(rows)), len(rows[0]))
    pq.write_table(pa.table({"source": [str(path) for path in files], "embedding": embeddings}), out)
    answers.put((began, time.perf_counter()))


def peer_rate(folder, model, preset):
    """Instances per second of two processes, from when both are ready."""
    files = sorted(folder.iterdir())
    context = get_context("spawn")
    barrier, answers = context.Barrier(PROCESSES), context.Queue()
    halves = [files[number::PROCESSES] for number in range(PROCESSES)]
    processes = [
        context.Process(target=peer, args=(half, model, preset, barrier, WORK / f"peer-{number}.parquet", answers))
        for number, half in enumerate(halves)
    ]
    for process in processes:
        process.start()
    times = [answers.get(timeout=3600) for _ in processes]
    for process in processes:
        process.join()
    return len(files) / (max(end for _, end in times) - min(began for began, _ in times))


def tilefleet_rate(binary, folder, model, preset):
    """Instances per second of a run, from the listing of its input on."""
    output = WORK / "table"
    shutil.rmtree(output, ignore_errors=True)
    settings = ["tiles.grid=frames", "privacy.policy=none", "tiles.grey=replicate", f"dicom.preset={preset}"]
    settings += [f"run.batch={BATCH}"]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    command = [binary, "run", "--input", folder, "--output", output, "--model", model, "--json", *flags]
    text = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout
    report = json.loads(text[text.index("{") :])
    ours = report["this_process"]
    assert report["summary"]["rejected"] == 0, report
    return ours["settled"] / (ours["planning_seconds"] + ours["seconds"])


def measure(binary, model, name, side, rounds):
    """Prints the medians of both and of the ratios of turns."""
    kind, preset = ("raw", "minmax") if name == "minmax" else (name, "display")
    folder = instances(kind, side)
    pairs = []
    for _ in range(rounds):
        pairs.append((tilefleet_rate(binary, folder, model, preset), peer_rate(folder, model, preset)))
    ratios = [ours / theirs for ours, theirs in pairs]
    ours, theirs = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    row = f"{name:7} {SIDES[side]:>4}  tilefleet {ours:8.1f}/s  pydicom {theirs:7.1f}/s"
    print(f"{row}  ratio {statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tilefleet", type=Path, default=ROOT / "target" / "release" / "tilefleet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="raw,minmax,rle,jpll,j2k,htj2k,jls")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    model = WORK / "free.onnx"
    model.write_bytes(inputs.free_model())
    (WORK / "free.contract.toml").write_text(inputs.CONTRACT)
    for name in arguments.only.split(","):
        for side in SIDES:
            measure(arguments.tilefleet, model, name, side, arguments.rounds)


if __name__ == "__main__":
    main()
