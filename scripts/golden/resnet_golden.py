#!/usr/bin/env python3
"""Makes tests/golden/resnet.*: what torchvision computes from our seeded weights.

For every case, tilefleet generates weights from a seed and writes them as safetensors; torchvision loads
them and evaluates fixed images in float64. tests/it/resnet.rs builds the same networks from the same
seeds, runs them in ONNX Runtime and compares. The tests need neither torch nor this script.

    python3 -m venv venv && venv/bin/pip install torch torchvision safetensors numpy
    venv/bin/python scripts/golden/resnet_golden.py --tilefleet target/debug/tilefleet

Each case gives one file: embeddings [images, features], then logits [images, classes], float32,
little-endian.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import torch
import torchvision
from safetensors.torch import load_file

NUM_IMAGES = 2
SIZE = 224
MEAN = [0.485, 0.456, 0.406]
STD = [0.229, 0.224, 0.225]

CASES = [
    {"name": "resnet18", "architecture": "resnet18", "seed": 18},
    {"name": "resnet34", "architecture": "resnet34", "seed": 34},
    {"name": "resnet50", "architecture": "resnet50", "seed": 50},
    {"name": "resnet101", "architecture": "resnet101", "seed": 101},
    {"name": "resnet152", "architecture": "resnet152", "seed": 152},
    {"name": "resnet18-9bands", "architecture": "resnet18", "seed": 9, "channels": 9, "classes": 10},
    {"name": "resnet50-headless", "architecture": "resnet50", "seed": 5, "input_type": "float32", "headless": True},
]
DEFAULTS = {"channels": 3, "classes": 1000, "headless": False}


def samples(channels):
    """Images [n, y, x, c] of uint8, by a formula in integers that tests/it/resnet.rs repeats."""
    n, y, x, c = np.meshgrid(
        np.arange(NUM_IMAGES), np.arange(SIZE), np.arange(SIZE), np.arange(channels), indexing="ij"
    )
    return ((x * (1 + n) + y * (2 + c) + ((x >> 4) ^ (y >> 4)) * (23 + 40 * n) + 60 * c) & 255).astype(np.uint8)


def tensor(case):
    """What goes into torchvision, [n, c, y, x] in float64, normalised as the case's contract says."""
    planar = torch.from_numpy(samples(case["channels"])).permute(0, 3, 1, 2).double()
    if case["input_type"] == "float32":
        return planar / 256 - 0.5
    channel = lambda values: torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
    return (planar / 255 - channel(MEAN)) / channel(STD)


def build(tilefleet, case, folder):
    weights = folder / "weights.safetensors"
    command = [tilefleet, "model", "build", "--arch", case["architecture"], "--seed", str(case["seed"])]
    command += ["--channels", str(case["channels"]), "--weights-out", weights, "--out", folder / "model.onnx", "--force"]
    command += ["--headless"] if case["headless"] else ["--classes", str(case["classes"])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return load_file(weights)


def network(case, state):
    net = getattr(torchvision.models, case["architecture"])(num_classes=case["classes"])
    stem = net.conv1
    net.conv1 = torch.nn.Conv2d(case["channels"], 64, stem.kernel_size, stem.stride, stem.padding, bias=False)
    if case["headless"]:
        net.fc = torch.nn.Identity()
    # Strict: every parameter and running statistic must be there, and no other.
    net.load_state_dict(state, strict=True)
    return net.double().eval()


def evaluate(case, net):
    pooled = []
    net.avgpool.register_forward_hook(lambda module, inputs, output: pooled.append(output.flatten(1)))
    with torch.inference_mode():
        logits = net(tensor(case))
    return pooled[0].float().numpy(), None if case["headless"] else logits.float().numpy()


def complete(case):
    case = {**DEFAULTS, **case}
    case.setdefault("input_type", "uint8" if case["channels"] == 3 else "float32")
    return case


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tilefleet", required=True, type=pathlib.Path, help="the binary")
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests" / "golden")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    cases = []
    for case in map(complete, CASES):
        with tempfile.TemporaryDirectory() as folder:
            state = build(args.tilefleet, case, pathlib.Path(folder))
        embedding, logits = evaluate(case, network(case, state))
        case["embedding_length"] = embedding.shape[1]
        parts = [embedding] if logits is None else [embedding, logits]
        (args.out / f"{case['name']}.bin").write_bytes(b"".join(part.astype("<f4").tobytes() for part in parts))
        cases.append(case)
        spread = "".join(f"  std {part.std():.2f}" for part in parts)
        print(f"{case['name']}: max {max(abs(part).max() for part in parts):.2f}{spread}", flush=True)
    versions = f"torchvision {torchvision.__version__}, torch {torch.__version__}, float64"
    index = {"reference": versions, "num_images": NUM_IMAGES, "size": SIZE, "cases": cases}
    (args.out / "resnet.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
