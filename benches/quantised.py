"""Our int8 models beside those of ONNX Runtime's own Python quantizer: speed and accuracy.

"tilefleet" has weights of 7 bits, the default; "full range" is ours with 8 (`--weights full`). 7 bits ÷ full range is to
be 0.98 at least: the same rows on every processor must not cost speed. All get the same fp32 file, the same images to calibrate with, minimum and maximum as ranges, unsigned 8-bit
activations and signed weights with a scale for each output channel. Samples come from `tilefleet chip --stage
input`, so that both see the same. Accuracy is measured on other images, against the fp32 file, in Python; speed with
one session each, in turns, on resident samples. What is quantised: a seeded ResNet-152 on MedNIST images, and the
trained ResNet-56 on photos of CIFAR-10.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

BATCH = 16
TURNS_A_ROUND = 5
TURN_SECONDS = 0.2
DATA = Path(os.environ.get("TILEFLEET_TEST_DATA", Path(__file__).resolve().parent.parent.parent / "shared/data"))


def measure(work, tilefleet, resnet152, rounds, threads):
    if not DATA.is_dir():
        print(f"SKIPPED: no test data in {DATA}")
        return
    work = work / "quantised"
    work.mkdir(exist_ok=True)
    mednist = sorted((DATA / "medical/mednist").glob("*/*"))
    photos = sorted((DATA / "photos/cifar10").glob("*/*"))
    for name, model, images, count in [
        ("ResNet-152, seeded, MedNIST", resnet152, mednist, 60),
        ("ResNet-56, trained, CIFAR-10", DATA / "models/resnet56_cifar10.onnx", photos, 250),
    ]:
        compare(work, tilefleet, name, model, images, count, rounds, threads)


def compare(work, tilefleet, name, model, images, count, rounds, threads):
    """Quantises a model by both, and prints what they lose and how fast they are."""
    step = max(1, len(images) // (2 * count))
    chosen = images[::step][: 2 * count]
    folders = [link(work / f"{model.stem}-{kind}", chosen[first::2]) for first, kind in enumerate(["given", "held-out"])]
    given, held_out = (samples(tilefleet, model, folder) for folder in folders)
    files = {
        "fp32": model,
        "tilefleet": work / f"{model.stem}-ours.onnx",
        "full range": work / f"{model.stem}-full.onnx",
        "ONNX Runtime": work / f"{model.stem}-ort.onnx",
    }
    command = [tilefleet, "model", "quantize", model, "--calibration", folders[0], "--held-out", folders[1]]
    command += ["--calibration-tiles", str(len(given)), "--held-out-tiles", str(len(held_out))]
    command += ["--method", "minmax", "--keep-worst", "0", "--force"]
    subprocess.run([*command, "--out", files["tilefleet"]], check=True, stdout=subprocess.DEVNULL)
    full = [*command, "--weights", "full", "--out", files["full range"]]
    # 78: nothing but VNNI computes what such a model means, so that nothing else may measure it.
    is_refused = subprocess.run(full, stdout=subprocess.DEVNULL).returncode == 78
    if is_refused:
        stretch(files["tilefleet"], files["full range"])
    by_onnxruntime(model, files["ONNX Runtime"], given)
    embedding = embedding_of(files["tilefleet"])
    print(f"{name}: {len(given)} images to calibrate with, {len(held_out)} others to compare on, {threads} threads")
    if is_refused:
        print("  a processor without VNNI: the full range is the reduced one stretched, and its figures saturate")
    exact = outputs(model, held_out, embedding)
    for kind in ("tilefleet", "full range", "ONNX Runtime"):
        cosines, same = nearness(exact, outputs(files[kind], held_out, embedding))
        print(f"  {kind:<14} cosine {cosines.mean():.5f} ({cosines.min():.5f} at least), same class {100 * same:.1f} %")
    speed(files, given, rounds, threads)


def speed(files, given, rounds, threads):
    rates = {kind: [] for kind in files}
    opened = {kind: session(file, threads) for kind, file in files.items()}
    feed = {next(iter(opened.values())).get_inputs()[0].name: np.concatenate((given * BATCH)[:BATCH])}
    for of_kind in opened.values():
        of_kind.run(None, feed)
    # Many short turns: what disturbs one round disturbs all in it alike.
    for _ in range(TURNS_A_ROUND * rounds):
        for kind, of_kind in opened.items():
            start, runs = time.perf_counter(), 0
            while time.perf_counter() - start < TURN_SECONDS:
                of_kind.run(None, feed)
                runs += 1
            rates[kind].append(runs * BATCH / (time.perf_counter() - start))
    for kind, values in rates.items():
        print(f"  {kind:<14} {statistics.median(values):8.1f} images/s  ({min(values):.1f} to {max(values):.1f})")
    for other in ("full range", "ONNX Runtime", "fp32"):
        ratios = [our / their for our, their in zip(rates["tilefleet"], rates[other])]
        print(f"  ÷ {other:<12} {statistics.median(ratios):8.3f}           ({min(ratios):.3f} to {max(ratios):.3f})")


def stretch(reduced, full):
    """Spreads 7-bit weights over 8 bits: as much work, on a processor that makes no full range itself."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(reduced)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in tensors:
            continue
        weights, scales = (tensors[name] for name in node.input[:2])
        spread = np.round(numpy_helper.to_array(weights) * (127 / 64)).astype(np.int8)
        weights.CopyFrom(numpy_helper.from_array(spread, weights.name))
        narrowed = numpy_helper.to_array(scales) * np.float32(64 / 127)
        scales.CopyFrom(numpy_helper.from_array(narrowed, scales.name))
    onnx.save(model, full)


def link(folder, images):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for image in images:
        shutil.copy(image, folder / f"{image.parent.name}-{image.name}")
    return folder


def samples(tilefleet, model, folder):
    """Returns what the model gets of each image, as batches of one."""
    out = folder.with_suffix(".npy")
    batches = []
    for image in sorted(folder.iterdir()):
        command = [tilefleet, "chip", image, "--stage", "input", "--model", model, "--out", out, "--force"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        batches.append(np.load(out)[None])
    return batches


def by_onnxruntime(model, out, given):
    # Not above: only this needs the package onnx.
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.name = session(model, 1).get_inputs()[0].name
            self.left = iter(given)

        def get_next(self):
            sample = next(self.left, None)
            return None if sample is None else {self.name: sample}

    quantization.quantize_static(
        model,
        out,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        calibrate_method=quantization.CalibrationMethod.MinMax,
    )


def session(model, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def embedding_of(model):
    contract = model.with_name(model.stem + ".contract.toml").read_text()
    return next(line.split('"')[1] for line in contract.splitlines() if line.startswith("embedding ="))


def outputs(model, batches, embedding):
    """Returns the embeddings and logits of a model that may not yield its embedding yet."""
    import onnx

    loaded = onnx.load(model)
    logits = next(output.name for output in loaded.graph.output if output.name != embedding)
    if all(output.name != embedding for output in loaded.graph.output):
        loaded.graph.output.append(onnx.ValueInfoProto(name=embedding))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    opened = ort.InferenceSession(loaded.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = opened.get_inputs()[0].name
    rows = [opened.run([embedding, logits], {name: batch}) for batch in batches]
    return [np.concatenate(column).reshape(len(batches), -1) for column in zip(*rows)]


def nearness(exact, rounded):
    (a, a_logits), (b, b_logits) = exact, rounded
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return cosines, (a_logits.argmax(1) == b_logits.argmax(1)).mean()
