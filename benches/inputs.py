"""The benchmarks' inputs: seeded JPEG files and an almost-free model, the same on every run.

python benches/inputs.py FOLDER makes

- FOLDER/images/NNNN.jpg: 2,000 images, 256 to 384 pixels a side, quality 85 to 92, 4:2:0; gradients,
  several octaves of texture, and shapes, about 1.5 bits a pixel as in photographs
- FOLDER/many/CC/NNNN.jpg: the same files ten times over, as hard links
- FOLDER/free.onnx and its contract: uint8 [n, 224, 224, 3] in, [n, 2048] float32 out, for next to nothing
"""

import hashlib
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
import onnx_bytes as onnx

NUM_IMAGES = 2000
COPIES = 10
SIDE, STEP, EMBEDDING = 224, 16, 2048
FREE_SHA256 = "0d86333fe40ae4f4358fcc9667226e7b1f4f39f780b16704e2c8eb3d05e51444"

CONTRACT = """\
contract = 1
name = "almost-free"

[input]
tensor = "input"
layout = "nhwc"
sample_type = "uint8"
bands = ["red", "green", "blue"]
unit = "srgb8"
width = 224
height = 224

[input.resize]
short_side = 256
interpolation = "bilinear"

[output]
embedding = "embedding"
embedding_length = 2048
"""


def texture(random, width, height):
    """Noise at several scales, coarse ones stronger, as in photographs."""
    total = np.zeros((height, width, 3), np.float32)
    for cells, strength in ((4, 60), (12, 30), (40, 16), (120, 8)):
        noise = random.integers(0, 256, (cells, cells, 3), np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(layer, np.float32) - 128) * (strength / 128)
    return total


def image(number):
    random = np.random.default_rng(number)
    width, height = (int(side) for side in random.integers(256, 385, 2))
    ramp = np.linspace(0, 1, width)[None, :, None] * random.uniform(-80, 80, 3)
    ramp = ramp + np.linspace(0, 1, height)[:, None, None] * random.uniform(-80, 80, 3)
    pixels = random.uniform(80, 176, 3) + ramp + texture(random, width, height)
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(int(random.integers(2, 8))):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        size = int(random.integers(10, 120))
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        shape = draw.ellipse if random.integers(2) else draw.rectangle
        shape((x, y, x + size, y + size), outline=colour, width=int(random.integers(1, 6)))
    return picture, int(random.integers(85, 93))


def save_image(folder, number):
    picture, quality = image(number)
    picture.save(folder / f"{number:04}.jpg", quality=quality, subsampling="4:2:0")


def make_images(folder):
    folder.mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(save_image, [folder] * NUM_IMAGES, range(NUM_IMAGES), chunksize=50))


def make_many(images, folder):
    for copy in range(COPIES):
        place = folder / f"{copy:02}"
        place.mkdir(parents=True)
        for file in images.iterdir():
            os.link(file, place / file.name)


def free_model():
    """Every 16th pixel of every 16th row, one matrix multiplication."""
    width = (SIDE // STEP) ** 2 * 3
    state = np.arange(width * EMBEDDING, dtype=np.uint64) * np.uint64(2654435761) % np.uint64(2**32)
    weights = (state.astype(np.float64) / 2**32 - 0.5).astype(np.float32) / (255 * 16)
    integers = {"starts": [0, 0], "ends": [SIDE, SIDE], "axes": [1, 2], "steps": [STEP, STEP]}
    return onnx.model(
        "free",
        onnx.node("Slice", ["input", *integers], "pixels"),
        onnx.node("Flatten", ["pixels"], "flat", axis=1),
        onnx.node("Cast", ["flat"], "values", to=onnx.FLOAT),
        onnx.node("MatMul", ["values", "weight"], "embedding"),
        *(onnx.initializer(name, [2], values, onnx.INT64) for name, values in integers.items()),
        onnx.initializer("weight", [width, EMBEDDING], weights.tolist()),
        onnx.graph_input("input", ["n", SIDE, SIDE, 3], onnx.UINT8),
        onnx.graph_output("embedding", ["n", EMBEDDING]),
    )


def main(folder):
    images = folder / "images"
    make_images(images)
    make_many(images, folder / "many")
    model = free_model()
    assert hashlib.sha256(model).hexdigest() == FREE_SHA256, "the almost-free model has changed"
    (folder / "free.onnx").write_bytes(model)
    (folder / "free.contract.toml").write_text(CONTRACT)
    sizes = [file.stat().st_size for file in images.iterdir()]
    print(f"{len(sizes)} JPEG files, {sum(sizes) // len(sizes)} bytes on average, in {images}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
