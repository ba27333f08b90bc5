"""What GDAL and Pillow read of images, for `tests/it/faults.rs`.

Usage: faults_oracle.py FOLDER OUT FILE...

Writes for each FILE of FOLDER OUT/FILE.npy, `[height, width, bands]`, float32: TIFFs as GDAL reads them, other images as
Pillow does. Beside it, OUT/FILE.half.npy: TIFFs at twice the pixel size, averaged by GDAL; OUT/FILE.valid.npy: GDAL's
mask, `[height, width, 1]`, 0 or 1, by the alpha band where there is one; OUT/FILE.seen.npy: TIFFs that are to be turned, as
Pillow shows them; OUT/FILE.input.npy: other images resized to a
short side of 20 and cropped to 20 by 20 as torchvision does, by Pillow. Models (.onnx): what ONNX Runtime gives for
OUT/photo.png, 32 by 32 and normalised as ImageNet's networks want it; nothing if it does not load them as they are said
to be. Needs rasterio, Pillow, onnxruntime and numpy.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import rasterio
from PIL import Image
from rasterio.enums import ColorInterp, Resampling

SIDE = 20
ORIENTATION = 0x0112


def read_tiff(path):
    with rasterio.open(path) as file:
        half = (file.count, file.height // 2, file.width // 2)
        is_alpha = [colour == ColorInterp.alpha for colour in file.colorinterp]
        mask = file.read(1 + is_alpha.index(True)) if any(is_alpha) else file.dataset_mask()
        samples = {
            "": file.read().transpose(1, 2, 0),
            ".half": file.read(out_shape=half, resampling=Resampling.average).transpose(1, 2, 0),
            ".valid": (mask > 0)[..., None],
        }
    with Image.open(path) as image:
        if image.getexif().get(ORIENTATION, 1) != 1:
            samples[".seen"] = np.asarray(image)
    return samples


def read_picture(path):
    image = Image.open(path).convert("RGB")
    width, height = image.size
    short = min(width, height)
    small = image.resize((SIDE * width // short, SIDE * height // short), Image.Resampling.BILINEAR)
    left, top = round((small.width - SIDE) / 2), round((small.height - SIDE) / 2)
    return {"": np.asarray(image), ".input": np.asarray(small.crop((left, top, left + SIDE, top + SIDE)))}


def photo():
    y, x = np.mgrid[0:32, 0:32]
    return np.stack([x * 8, y * 8, (x * y) % 256], -1).astype(np.uint8)


def read_model(path):
    if path.stem in ("transposed", "batch_zero"):
        return {}
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    chip = ((photo() / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return {"": session.run(None, {"input": chip})[0].reshape(1, 1, -1)}


READERS = {".tif": read_tiff, ".onnx": read_model}

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    folder, out, *names = sys.argv[1:]
    Image.fromarray(photo()).save(Path(out, "photo.png"))
    for name in names:
        read = READERS.get(Path(name).suffix, read_picture)
        for kind, samples in read(Path(folder, name)).items():
            target = Path(out, f"{name}{kind}.npy")
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, np.ascontiguousarray(samples, dtype="<f4"))
