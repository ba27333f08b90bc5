"""What Pillow makes of images: the reference for `tests/it/pixels.rs`.

Usage: pil_oracle.py OUT [DATA]

Generates images into OUT/images, takes the JPEG and PNG files below DATA with them, and writes what
Pillow decodes and resizes to OUT/arrays.bin, described line by line in OUT/manifest.tsv:

    path, step, filter, short_side, crop_width, crop_height, dtype, height, width, bands, offset

`step` is `decode` (orientation applied), `resize` (8 bits, Pillow's own resampling), `float` (a
double-precision reference of the same weights) or `normalise` (ImageNet's, in double precision,
rounded once to float32). The size rules are torchvision's. Needs Pillow and numpy only.
"""

import math
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from jpeg_writer import odd_files
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
ImageFile.MAXBLOCK = 1 << 22  # Pillow fails to write some small JPEG files with less
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
# Short side and crop: small up and down for every file, those of the usual models for the larger ones.
SMALL = [(48, 41, 41), (23, 22, 19)]
USUAL = [(256, 224, 224), (232, 224, 224), (100, 64, 96), (400, 384, 380)]


def photo(width, height, seed):
    """Returns an image with gradients, edges, texture and saturated spots, `[height, width, 3]`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    bands = []
    for _ in range(3):
        fx, fy, phase = rng.uniform(0.01, 0.3, 2).tolist() + [rng.uniform(0, 6)]
        band = 128 + 70 * np.sin(fx * x + phase) * np.cos(fy * y) + 60 * ((x // 17 + y // 23) % 2 - 0.5)
        bands.append(band + rng.normal(0, 14, (height, width)))
    picture = np.stack(bands, -1)
    picture[rng.random((height, width)) < 0.01] = 255
    picture[rng.random((height, width)) < 0.01] = 0
    return np.clip(picture, 0, 255).astype(np.uint8)


def png(path, samples, colour, extra=b""):
    """Writes 16-bit samples, which Pillow cannot for more than one band."""
    height, width = samples.shape[:2]

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = samples.astype(">u2").reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    ihdr = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", ihdr), extra, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def packed(samples, bits):
    """Packs samples of less than 8 bits, the first in the highest bits; rows are filled up to whole bytes."""
    height = samples.shape[0]
    digits = (samples.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1)


def tiff(path, samples, order="<", alpha=0, photometric=None, planar=False, bits=None, palette=None):
    """Writes an uncompressed TIFF of any type and number of bands; `alpha` is 2, or 1 if it is premultiplied."""
    height, width, bands = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    stored = samples.astype(samples.dtype.newbyteorder(order))
    planes = np.moveaxis(stored, -1, 0) if planar else [stored]
    planes = [plane.tobytes() if bits is None else packed(plane, bits).tobytes() for plane in planes]
    data = b"".join(planes)
    bits = bits or samples.dtype.itemsize * 8
    if photometric is None:
        photometric = 3 if palette is not None else 2 if bands in (3, 4) else 1
    offsets = [8 + sum(map(len, planes[:at])) for at in range(len(planes))]
    tags = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * bands), 259: (3, [1]),
        262: (3, [photometric]), 273: (4, offsets), 277: (3, [bands]), 278: (4, [height]),
        279: (4, [len(plane) for plane in planes]), 284: (3, [2 if planar else 1]), 339: (3, [kind] * bands),
    }
    if alpha:
        tags[338] = (3, [alpha])
    if palette is not None:
        tags[320] = (3, palette.T.flatten().tolist())
    body, late = b"", b""
    base = 8 + len(data)
    late_at = base + 2 + 12 * len(tags) + 4
    for tag, (code, values) in sorted(tags.items()):
        raw = struct.pack(order + {3: "H", 4: "I"}[code] * len(values), *values)
        if len(raw) > 4:
            field = struct.pack(order + "I", late_at + len(late))
            late += raw
        else:
            field = raw.ljust(4, b"\0")
        body += struct.pack(order + "HHI", tag, code, len(values)) + field
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", base)
    path.write_bytes(head + data + struct.pack(order + "H", len(tags)) + body + bytes(4) + late)


def layouts(folder, stem, picture, deep):
    """Writes TIFFs as GIS and old scanners store them; returns those that Pillow cannot read or reads otherwise."""
    colours, grey = np.asarray(picture), picture.convert("L")
    for name, image in [("1bit", grey.convert("1")), ("palette", picture.quantize(200))]:
        for compression in ("raw", "packbits", "zstd"):
            image.save(folder / f"{stem}-{name}-{compression}.tif", compression=compression)
    for name, image in [("rgb", picture), ("grey", grey)]:
        image.save(folder / f"{stem}-{name}-jpeg.tif", compression="jpeg", quality=88)
        image.save(folder / f"{stem}-{name}-zstd.tif", compression="zstd")
    levels = np.asarray(grey)[..., None]
    for bits in (1, 2, 4):
        tiff(folder / f"{stem}-grey-{bits}bit.tif", levels >> (8 - bits), bits=bits)
        tiff(folder / f"{stem}-white-{bits}bit.tif", levels >> (8 - bits), bits=bits, photometric=0)
        few = np.arange(3 << bits).reshape(-1, 3) * 31_337 % 65_536
        tiff(folder / f"{stem}-palette-{bits}bit.tif", levels >> (8 - bits), bits=bits, palette=few)
    tiff(folder / f"{stem}-white.tif", levels, photometric=0)
    tiff(folder / f"{stem}-rgb-planar.tif", colours, planar=True)
    alpha = np.where(levels < 90, 0, np.maximum(levels, colours.max(-1, keepdims=True)))
    tiff(folder / f"{stem}-rgba-premultiplied.tif", np.concatenate([colours, alpha], -1), alpha=1)
    signed = (deep.astype(np.int32) - 32_768).astype(np.int16)
    known = {}
    for name, samples, expected, options in [
        # By TIFF 6.0 white is 0; Pillow leaves 16 bits as they are.
        ("white16.tif", deep[..., :1], 65_535 - deep[..., :1], {"photometric": 0}),
        ("rgb16-planar.tif", deep, deep, {"planar": True}),
        ("i16.tif", signed[..., :1], signed[..., :1], {}),
        ("rgb-i16.tif", signed, signed, {"planar": True}),
        ("rgb-i8.tif", colours.astype(np.int8), colours.astype(np.int8), {}),
        ("u32.tif", deep[..., :1].astype(np.uint32) << 9, deep[..., :1].astype(np.uint32) << 9, {}),
        ("white-f32.tif", deep[..., :1].astype(np.float32) / 7, deep[..., :1].astype(np.float32) / 7, {"photometric": 0}),
    ]:
        tiff(folder / f"{stem}-{name}", samples, **options)
        known[f"{stem}-{name}"] = expected
    # A palette of 8-bit values, which libtiff and GDAL take as such.
    small = np.arange(768).reshape(-1, 3) * 37 % 256
    tiff(folder / f"{stem}-palette-small.tif", levels, palette=small)
    known[f"{stem}-palette-small.tif"] = small[levels[..., 0]].astype(np.uint8)
    return known


def generate(folder):
    """Writes images of every supported kind; returns those that Pillow cannot read, with samples."""
    folder.mkdir(parents=True)
    known = {}
    sizes = [(320, 240), (257, 383), (384, 256), (37, 61), (1, 1), (8, 9), (17, 200), (333, 16), (500, 375)]
    for index, (width, height) in enumerate(sizes):
        picture = Image.fromarray(photo(width, height, index))
        grey = picture.convert("L")
        stem = f"{width}x{height}"
        for name, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
            for quality in (30, 85, 97):
                picture.save(folder / f"{stem}-{name}-q{quality}.jpg", quality=quality, subsampling=subsampling)
            picture.save(folder / f"{stem}-{name}-progressive.jpg", progressive=True, quality=80,
                         subsampling=subsampling)
            picture.save(folder / f"{stem}-{name}-restart.jpg", quality=90, subsampling=subsampling,
                         restart_marker_blocks=3, optimize=True)
        picture.save(folder / f"{stem}-rgb.jpg", quality=90, keep_rgb=True)
        grey.save(folder / f"{stem}-grey.jpg", quality=88)
        grey.save(folder / f"{stem}-grey-progressive.jpg", quality=88, progressive=True)
        alpha = photo(width, height, 90 + index)[..., :1]
        rgba = Image.fromarray(np.concatenate([np.asarray(picture), alpha], -1))
        picture.save(folder / f"{stem}-rgb.png")
        rgba.save(folder / f"{stem}-rgba.png")
        grey.save(folder / f"{stem}-grey.png")
        Image.merge("LA", [grey, rgba.getchannel("A")]).save(folder / f"{stem}-la.png")
        grey.convert("1").save(folder / f"{stem}-1bit.png")
        for bits in (1, 2, 4, 8):
            picture.quantize(2**bits).save(folder / f"{stem}-palette{bits}.png", bits=bits)
        picture.quantize(16).save(folder / f"{stem}-palette-trns.png", transparency=3)
        grey.save(folder / f"{stem}-grey-trns.png", transparency=int(np.asarray(grey)[0, 0]))
        for mode, image in [("rgb", picture), ("rgba", rgba)]:
            image.save(folder / f"{stem}-{mode}-lossless.webp", lossless=True, exact=True)
            image.save(folder / f"{stem}-{mode}-lossy.webp", quality=80)
        for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            for mode, image in [("grey", grey), ("rgb", picture), ("rgba", rgba)]:
                image.save(folder / f"{stem}-{mode}-{compression}.tif", compression=compression)
        deep = (np.asarray(picture).astype(np.uint16) * 257) ^ (np.arange(width) % 251).astype(np.uint16)[None, :, None]
        Image.fromarray(deep[..., 0].copy()).save(folder / f"{stem}-grey16.png")
        Image.fromarray(deep[..., 0].copy()).save(folder / f"{stem}-grey16.tif", compression="tiff_lzw")
        real = (deep[..., 0] / np.float32(3000)).astype(np.float32)
        Image.fromarray(real).save(folder / f"{stem}-f32.tif", compression="tiff_adobe_deflate")
        for name, samples, write in [
            ("rgb16.png", deep, lambda path, s: png(path, s, 2)),
            ("rgba16.png", np.concatenate([deep, deep[..., :1]], -1), lambda path, s: png(path, s, 6)),
            ("rgb16.tif", deep, tiff),
            ("rgb16-big.tif", deep, lambda path, s: tiff(path, s, ">")),
            ("rgb-f32.tif", np.stack([real, -real, real / 7], -1), tiff),
            ("rgba16.tif", np.concatenate([deep, deep[..., :1]], -1), lambda path, s: tiff(path, s, alpha=2)),
            ("many16.tif", np.concatenate([deep, deep[..., ::-1]], -1), tiff),
        ]:
            write(folder / f"{stem}-{name}", samples)
            known[f"{stem}-{name}"] = samples
        if (width, height) in ((320, 240), (37, 61)):
            known |= layouts(folder, stem, picture, deep)
    for code in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = code
        picture = Image.fromarray(photo(45, 30, 40 + code))
        for suffix, options in [("jpg", {"quality": 90}), ("png", {}), ("webp", {"lossless": True}), ("tif", {})]:
            picture.save(folder / f"orientation{code}.{suffix}", exif=exif, **options)
    return known


def webp_chunk(kind, body):
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def animated_webp(still, canvas, corner, flags):
    """Returns an animation whose first frame is a still image somewhere on its canvas, and whose second is broken."""
    def three(number):
        return struct.pack("<I", number)[:3]

    chunks, at, sides = [], 12, Image.open(still).size
    data = still.read_bytes()
    while at < len(data):
        length = struct.unpack("<I", data[at + 4:at + 8])[0]
        if data[at:at + 4] in (b"ALPH", b"VP8 ", b"VP8L"):
            chunks.append(webp_chunk(data[at:at + 4], data[at + 8:at + 8 + length]))
        at += 8 + length + length % 2

    def frame(body):
        place = b"".join(three(number) for number in (corner[0] // 2, corner[1] // 2, sides[0] - 1, sides[1] - 1, 40))
        return webp_chunk(b"ANMF", place + b"\0" + body)

    broken = chunks[-1][:8] + chunks[-1][8:20].ljust(len(chunks[-1]) - 8, b"\x55")
    body = webp_chunk(b"VP8X", bytes([2 | flags, 0, 0, 0]) + three(canvas[0] - 1) + three(canvas[1] - 1))
    body += webp_chunk(b"ANIM", bytes([9, 99, 199, 255, 0, 0])) + frame(b"".join(chunks))
    body += frame(b"".join(chunks[:-1]) + broken)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def generate_animations(folder):
    """Writes animations, with broken later frames, too: their first frame counts."""
    frames = [Image.fromarray(photo(60, 44, seed)) for seed in (1, 2)]
    alpha = Image.fromarray(photo(60, 44, 3)[..., 0])
    clear = [Image.merge("RGBA", [*frame.split(), alpha]) for frame in frames]
    for name, images in {"rgb": frames, "rgba": clear}.items():
        images[0].save(folder / f"animated-{name}.png", save_all=True, append_images=images[1:])
        whole = (folder / f"animated-{name}.png").read_bytes()
        images[0].save(folder / f"default-{name}.png", save_all=True, append_images=images, default_image=True)
        second = whole.rindex(b"fcTL")
        for at, what in [(second + 5, "sequence"), (second + 10, "size"), (whole.rindex(b"fdAT") + 60, "data")]:
            broken = whole[:at] + bytes([whole[at] ^ 0x5A]) + whole[at + 1:]
            (folder / f"animated-{name}-{what}.png").write_bytes(broken)
        images[0].save(folder / f"animated-{name}-lossless.webp", save_all=True, append_images=images[1:],
                       lossless=True, exact=True)
        images[0].save(folder / f"animated-{name}-lossy.webp", save_all=True, append_images=images[1:])
        for kind, options in {"lossless": {"lossless": True, "exact": True}, "lossy": {"quality": 80}}.items():
            still = folder / f"{name}-still-{kind}.webp"
            images[0].save(still, **options)
            for flags in (0, 0x10):
                data = animated_webp(still, (75, 50), (12, 4), flags)
                (folder / f"animated-{name}-part{flags}-{kind}.webp").write_bytes(data)


def generate_turned(folder):
    """Writes images that state their orientation outside of Exif, or several times."""
    for code in range(10):
        picture = Image.fromarray(photo(45, 30, 60 + code))
        attribute = f'<x:xmpmeta><rdf:Description tiff:Orientation="{code}"/></x:xmpmeta>'
        element = f"<x:xmpmeta><tiff:Orientation>{code}</tiff:Orientation></x:xmpmeta>"
        exif = Image.Exif()
        exif[0x0112] = (code + 3) % 8 + 1
        block, other = exif.tobytes(), Image.Exif()
        other[0x010E] = "no orientation"
        profile = f"\nexif\n{len(block):8}\n{block.hex()[:60]}\n{block.hex()[60:]}\n"
        for packet, kind in [(attribute, "attribute"), (element, "element")]:
            stem = f"xmp{code}-{kind}"
            picture.save(folder / f"{stem}.jpg", quality=90, xmp=packet.encode())
            picture.save(folder / f"{stem}-exif.jpg", quality=90, xmp=packet.encode(), exif=exif)
            picture.save(folder / f"{stem}-other.jpg", quality=90, xmp=packet.encode(), exif=other)
            picture.save(folder / f"{stem}-lossless.webp", lossless=True, xmp=packet.encode())
            for tagged in (False, True):
                tags = {700: packet.encode()} | ({0x0112: exif[0x0112]} if tagged else {})
                picture.save(folder / f"{stem}-tag{tagged}.tif", tiffinfo=tags)
            for zipped in (False, True):
                for add in ("add_itxt", "add_text"):
                    texts = PngImagePlugin.PngInfo()
                    getattr(texts, add)("XML:com.adobe.xmp", packet, zip=zipped)
                    picture.save(folder / f"{stem}-{add}-{zipped}.png", pnginfo=texts)
                    picture.save(folder / f"{stem}-{add}-{zipped}-exif.png", pnginfo=texts, exif=exif)
                    getattr(texts, add)("Raw profile type exif", profile, zip=zipped)
                    picture.save(folder / f"{stem}-{add}-{zipped}-profile.png", pnginfo=texts)
                    picture.save(folder / f"{stem}-{add}-{zipped}-both.png", pnginfo=texts, exif=other)


# Types of TIFF with a 6 of each (TIFF 6.0, section 2), and one that is none.
SIX = {
    1: b"\6",
    2: b"6\0",
    3: struct.pack("<H", 6),
    4: struct.pack("<I", 6),
    5: struct.pack("<II", 12, 2),
    6: b"\6",
    7: b"\6",
    8: struct.pack("<h", 6),
    9: struct.pack("<i", 6),
    10: struct.pack("<ii", -12, -2),
    11: struct.pack("<f", 6),
    12: struct.pack("<d", 6),
    13: struct.pack("<I", 6),
    16: struct.pack("<Q", 6),
    17: struct.pack("<q", 6),
    99: struct.pack("<I", 6),
}


def generate_types(folder):
    """Writes images whose orientation has other types than SHORT."""
    picture = Image.fromarray(photo(45, 30, 80))
    for kind, value in SIX.items():
        count = len(value) if kind in (1, 2, 7) else 1
        outside = len(value) > 4
        field = struct.pack("<I", 26) if outside else value.ljust(4, b"\0")
        block = struct.pack("<2sHIHHHI", b"II", 42, 8, 1, 0x0112, kind, count) + field + bytes(4) + (value if outside else b"")
        for suffix, more in (("jpg", {"quality": 90}), ("png", {}), ("webp", {"lossless": True})):
            picture.save(folder / f"type{kind}-lossless.{suffix}", exif=b"Exif\0\0" + block, **more)


def indexed(path, colours, alphas):
    """Writes a picture of 16 indices with so many colours and alphas."""
    rng = np.random.default_rng(colours + alphas)
    head = struct.pack(">IIBBBBB", 13, 9, 8, 3, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + bytes(rng.integers(0, 16, 13).tolist()) for _ in range(9)))
    chunks = [(b"IHDR", head), (b"PLTE", rng.bytes(3 * colours)), (b"tRNS", rng.bytes(alphas)), (b"IDAT", rows), (b"IEND", b"")]
    parts = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def generate_odd(folder):
    """Writes images that are rare: kinds of JPEG, CMYK, animations, orientations stated outside of Exif."""
    for width, height in [(45, 37), (5, 3), (1, 1), (64, 50)]:
        for name, data in odd_files(width, height):
            (folder / f"odd{width}x{height}-{name}").write_bytes(data)
        picture = Image.fromarray(photo(width, height, 5)).convert("CMYK")
        picture.save(folder / f"{width}x{height}-cmyk.jpg", quality=90)
        picture.save(folder / f"{width}x{height}-cmyk-progressive.jpg", quality=90, progressive=True)
    generate_animations(folder)
    generate_turned(folder)
    generate_types(folder)
    for colours, alphas in [(16, 8), (16, 256), (16, 17), (9, 12), (9, 256)]:
        indexed(folder / f"alphas{alphas}of{colours}.png", colours, alphas)


def decoded(path):
    """Opens an image upright, as 8-bit, 16-bit or float samples; palettes and CMYK become colours."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode == "CMYK":
        return image.convert("RGB")
    if "transparency" in image.info and image.mode in ("P", "L", "RGB"):
        return image.convert("LA" if image.mode == "L" else "RGBA")
    if image.mode == "P":
        return image.convert("RGB")
    return image.convert("L") if image.mode == "1" else image


def fitted(size, short_side, crop_width, crop_height):
    """Returns the size after torchvision's Resize, and the corner of its CenterCrop."""
    width, height = size
    short, long = min(size), max(size)
    other = int(short_side * long / short)
    resized = (short_side, other) if width <= height else (other, short_side)
    left = int(round((resized[0] - crop_width) / 2.0))
    top = int(round((resized[1] - crop_height) / 2.0))
    return resized, left, top


def weights(length, resized, name):
    """Returns Pillow's weights as a matrix, `[resized, length]`."""
    def bilinear(x):
        return max(0.0, 1.0 - abs(x))

    def bicubic(x):
        x = abs(x)
        if x < 1:
            return (1.5 * x - 2.5) * x * x + 1
        return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2 else 0.0

    value, support = (bilinear, 1.0) if name == "bilinear" else (bicubic, 2.0)
    scale = length / resized
    filter_scale = max(scale, 1.0)
    matrix = np.zeros((resized, length))
    for index in range(resized):
        centre = (index + 0.5) * scale
        first = max(0, int(centre - support * filter_scale + 0.5))
        end = min(length, int(centre + support * filter_scale + 0.5))
        row = [value((at - centre + 0.5) / filter_scale) for at in range(first, end)]
        matrix[index, first:end] = np.array(row) / math.fsum(row)
    return matrix


class Writer:
    def __init__(self, folder):
        self.manifest = (folder / "manifest.tsv").open("w")
        self.arrays = (folder / "arrays.bin").open("wb")

    def add(self, path, step, array, name="-", short_side=0, crop=(0, 0)):
        array = array if array.ndim == 3 else array[..., None]
        dtype = array.dtype.newbyteorder("=").name
        fields = [path, step, name, short_side, *crop, dtype, *array.shape, self.arrays.tell()]
        print(*fields, sep="\t", file=self.manifest)
        self.arrays.write(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes())


def add_resized(writer, path, image, configurations):
    """Adds what Pillow makes of an 8-bit image; alpha is dropped, as `convert("RGB")` does."""
    image = image.convert({"LA": "L", "RGBA": "RGB"}.get(image.mode, image.mode))
    for name, method in FILTERS.items():
        for short_side, *crop in configurations:
            size, left, top = fitted(image.size, short_side, *crop)
            # torchvision resizes the whole image; for extreme ratios that is out of reach in memory.
            if size[0] * size[1] > 20_000_000:
                continue
            whole = image if size == image.size else image.resize(size, method)
            padded = ImageOps.expand(whole, 0)
            box = (left, top, left + crop[0], top + crop[1])
            if crop[0] > size[0] or crop[1] > size[1]:
                continue
            kept = np.asarray(padded.crop(box))
            writer.add(path, "resize", kept, name, short_side, crop)
            if image.mode == "RGB" and short_side == configurations[0][0]:
                scaled = (kept * (1 / 255) - MEAN) / STD
                writer.add(path, "normalise", scaled.astype(np.float32), name, short_side, crop)


def add_float(writer, path, samples, configurations):
    """Adds a double-precision reference."""
    samples = samples.astype(np.float64)
    samples = samples if samples.ndim == 3 else samples[..., None]
    height, width = samples.shape[:2]
    for name in FILTERS:
        for short_side, *crop in configurations:
            size, left, top = fitted((width, height), short_side, *crop)
            if crop[0] > size[0] or crop[1] > size[1] or max(size) > 10_000:
                continue
            across = weights(width, size[0], name)[left:left + crop[0]]
            down = weights(height, size[1], name)[top:top + crop[1]]
            kept = np.einsum("yh,hwb,xw->yxb", down, samples, across, optimize=True)
            writer.add(path, "float", kept, name, short_side, crop)


def main():
    out = Path(sys.argv[1])
    known = generate(out / "images")
    generate_odd(out / "images")
    paths = sorted((out / "images").iterdir())
    if len(sys.argv) > 2:
        data = Path(sys.argv[2])
        paths += sorted(p for p in data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    writer = Writer(out)
    for path in paths:
        generated = path.parent == out / "images"
        large = generated and path.name.startswith(("320x", "257x", "384x", "500x"))
        configurations = SMALL + (USUAL if large and path.suffix in (".jpg", ".png") else [])
        if path.name in known:
            samples = known[path.name]
            if samples.dtype == np.uint8:
                image = Image.fromarray(samples if samples.shape[-1] > 1 else samples[..., 0])
        else:
            image = decoded(path)
            samples = np.asarray(image)
        writer.add(path, "decode", samples)
        if samples.dtype != np.uint8:
            add_float(writer, path, samples, SMALL + (USUAL[:1] if large else []))
        elif path.suffix != ".webp" or "lossless" in path.name:
            add_resized(writer, path, image, configurations)


if __name__ == "__main__":
    main()
