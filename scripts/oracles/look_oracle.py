"""What Pillow and NumPy see of images: the reference for `tests/it/look.rs`.

Usage: look_oracle.py make OUT [DATA]
       look_oracle.py compare OUT FOUND

`make` generates images into OUT/images and OUT/broken, takes some of the JPEG files below DATA with the
former, saves what Pillow makes of them to OUT/expected, and prints what it says of each, as JSON: path,
name, width, height, bands, sample_type, whether upright, a window, and the file that a model's input is
in, if any. `compare` loads every file of FOUND with NumPy (`.npy`) or Pillow (`.png`) and compares
it with the array of the same name in OUT/expected: type, shape and every value. The model is one of
64×64 RGB, short side 72, bilinear. Needs Pillow and NumPy only.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from pil_oracle import MEAN, STD, decoded, fitted, generate, photo, tiff

# Images of one odd size and one larger one stand for the others, which `tests/it/pixels.rs` decodes.
PREFIXES = ("37x61-", "257x383-rgb", "1x1-rgb.", "1x1-grey16.", "orientation")
SIDE, SHORT_SIDE = 64, 72


def three_axes(samples):
    samples = samples if samples.ndim == 3 else samples[..., None]
    return np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder("<")))


def model_input(image):
    """Returns what the model gets, `[height, width, bands]` uint8: as in torchvision."""
    image = image.convert({"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode))
    size, left, top = fitted(image.size, SHORT_SIDE, SIDE, SIDE)
    resized = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized.convert("RGB").crop((left, top, left + SIDE, top + SIDE)))


def expect(out, path, known):
    """Saves the arrays of one image; returns what is said of it."""
    stored = Image.open(path) if path.name not in known else None
    image = None if stored is None else decoded(path)
    samples = three_axes(known[path.name] if image is None else np.asarray(image))
    height, width, bands = samples.shape
    name = f"{path.parent.name}-{path.name}"
    save = lambda suffix, array: np.save(out / "expected" / f"{name}{suffix}.npy", three_axes(array))
    save("", samples)
    x, y, w, h = window = [width // 3, height // 4, max(width // 2, 1), max(height // 3, 1)]
    save(".window", samples[y : y + h, x : x + w])
    takes = samples.dtype == np.uint8 and image is not None
    if takes:
        kept = model_input(image)
        save(".input", kept)
        save(".float", ((kept * (1 / 255) - MEAN) / STD).astype(np.float32).transpose(2, 0, 1))
    return {
        "path": str(path), "name": name, "width": width, "height": height, "bands": bands,
        "sample_type": samples.dtype.name, "window": window, "input": takes,
        "upright": stored is None or stored.getexif().get(0x0112, 1) == 1,
        "stored": None if stored is None else stored_size(stored),
        "format": None if stored is None else stored.format,
        "progressive": bool(stored is not None and stored.info.get("progressive")),
        "interlaced": bool(stored is not None and stored.info.get("interlace")),
        "icc_profile": bool(stored is not None and stored.info.get("icc_profile")),
    }


def stored_size(image):
    """Returns width and height before the orientation is applied; Pillow applies that of TIFF unasked."""
    return [image.tag_v2[256], image.tag_v2[257]] if image.format == "TIFF" else list(image.size)


def break_some(folder):
    """Writes files that a run would reject."""
    folder.mkdir()
    picture = Image.fromarray(photo(90, 70, 3))
    picture.save(folder / "whole.jpg", quality=90)
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "head.jpg").write_bytes(whole[:100])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no image")
    (folder / "jpeg.png").write_bytes(whole)
    picture.convert("CMYK").save(folder / "cmyk.tif")
    picture.save(folder / "picture.gif")
    picture.convert("1").save(folder / "fax.tif", compression="group4")
    picture.save(folder / "half.png")
    png = (folder / "half.png").read_bytes()
    (folder / "half.png").write_bytes(png[: len(png) // 2])
    frames = [picture, picture.rotate(90)]
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "animated.webp", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "animated.png", save_all=True, append_images=frames[1:])


def colour_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def make(out, data):
    (out / "expected").mkdir()
    known = generate(out / "images")
    profile = colour_profile()
    for suffix in ("jpg", "png", "webp", "tif"):
        name = f"orientation-profile.{suffix}"
        Image.fromarray(photo(40, 30, 5)).save(out / "images" / name, icc_profile=profile)
    # Headers that lie at the very end of large files.
    large = photo(1500, 1400, 9)
    tiff(out / "images" / "orientation-large.tif", large)
    known["orientation-large.tif"] = large
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(large).save(out / "images" / "orientation-large.webp", lossless=True, method=0, exif=exif)
    break_some(out / "broken")
    paths = [p for p in sorted((out / "images").iterdir()) if p.name.startswith(PREFIXES)]
    if data:
        photos = sorted(data.glob("medical/mednist/*/*.jpeg")) + sorted(data.glob("photos/cifar10/*/*.jp*g"))
        paths += photos[::24]
    print(json.dumps([expect(out, path, known) for path in paths]))


def compare(out, found_in):
    compared = 0
    for path in sorted(found_in.iterdir()):
        expected = np.load(out / "expected" / f"{path.stem}.npy")
        found = np.load(path) if path.suffix == ".npy" else three_axes(np.asarray(Image.open(path)))
        assert found.dtype == expected.dtype, f"{path.name}: {found.dtype} instead of {expected.dtype}"
        assert found.shape == expected.shape, f"{path.name}: {found.shape} instead of {expected.shape}"
        assert found.flags.c_contiguous
        apart = np.abs(found.astype(np.float64) - expected).max()
        assert apart == 0, f"{path.name}: {apart} apart"
        compared += 1
    print(compared)


if sys.argv[1] == "make":
    make(Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
else:
    compare(Path(sys.argv[2]), Path(sys.argv[3]))
