"""Writes TIFFs that no writer should write, and what GDAL and Pillow read of them: for `tests/it/tiff_faults.rs`.

Usage: tiff_oracle.py sizes FOLDER
       tiff_oracle.py places FOLDER
       tiff_oracle.py grey FOLDER
       tiff_oracle.py nodata FOLDER
       tiff_oracle.py items FOLDER
       tiff_oracle.py keys FOLDER
       tiff_oracle.py digest FILE...

`sizes` writes blocks whose offsets and byte counts contradict the file, with and without a place on the Earth, and
prints for each file who reads the samples that were written: `gdal`, `pillow`, or neither. `places` writes scenes with
numbers that are not finite in what places or scales them. `grey` writes files without PhotometricInterpretation, and
prints the digest of what GDAL reads and what Pillow does. `nodata` writes scenes whose nodata is written in every way, some
with a block that is not stored, and prints of each the digest of what GDAL reads. `items` writes scenes whose metadata of
GDAL are written in every way, and prints scale, offset, unit and description as GDAL reads them. `keys` writes scenes with
keys that agree or contradict each other, and prints where GDAL has their middle. `digest` prints the first 16 digits of the SHA-256 of the
samples that GDAL reads, `[height, width, bands]`. Needs rasterio and Pillow.
"""

import hashlib
import json
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

WIDTH, HEIGHT, SIDE = 48, 40, 16
SHORT, LONG, DOUBLE, LONG8 = 3, 4, 12, 16
FORMATS = {2: "B", SHORT: "H", LONG: "I", DOUBLE: "d", LONG8: "Q"}
# UTM zone 32 north, pixels are areas.
KEYS = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632]
PLACE = {
    33550: (DOUBLE, [10.0, 10.0, 0.0]),
    33922: (DOUBLE, [0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0]),
    34735: (SHORT, KEYS),
}


def text(value):
    return (2, [*value.encode(), 0])


def pixels(dtype="uint8", bands=1):
    shape = (HEIGHT, WIDTH) if bands == 1 else (HEIGHT, WIDTH, bands)
    return np.random.default_rng(1).integers(1, 250, shape).astype(dtype)


def tags_of(samples):
    bands = 1 if samples.ndim == 2 else samples.shape[2]
    bits = [8 * samples.dtype.itemsize] * bands
    size = {256: (LONG, [samples.shape[1]]), 257: (LONG, [samples.shape[0]])}
    return size | {258: (SHORT, bits), 259: (SHORT, [1]), 262: (SHORT, [1]), 277: (SHORT, [bands])}


def write(path, tags, blocks=(), big=False):
    """Writes blocks, then one directory. A tag's values may be a function of the offsets and sizes of the blocks."""
    body = bytearray(16 if big else 8)
    offsets, sizes = [], []
    for block in blocks:
        offsets.append(len(body))
        sizes.append(len(block))
        body += block + b"\0" * (len(block) % 2)
    start, field = len(body), 8 if big else 4
    entries, outside = bytearray(), bytearray()
    outside_at = start + (8 if big else 2) + len(tags) * (20 if big else 12) + field
    for code, (kind, values) in sorted(tags.items()):
        values = values(offsets, sizes) if callable(values) else values
        data = struct.pack(f"<{len(values)}{FORMATS[kind]}", *values)
        entries += struct.pack("<HHQ" if big else "<HHI", code, kind, len(values))
        if len(data) <= field:
            entries += data.ljust(field, b"\0")
        else:
            entries += struct.pack("<Q" if big else "<I", outside_at + len(outside))
            outside += data + b"\0" * (len(data) % 2)
    body += struct.pack("<Q" if big else "<H", len(tags)) + entries + b"\0" * field + outside
    body[: 16 if big else 8] = struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if big else struct.pack("<2sHI", b"II", 42, start)
    path.write_bytes(body)


def equal(read, samples):
    try:
        found = read()
    except Exception:
        return False
    return found.shape == samples.shape and bool((found == samples).all())


def by_gdal(path):
    with rasterio.open(path) as file:
        samples = file.read()
    return samples[0] if len(samples) == 1 else samples.transpose(1, 2, 0)


def digest(samples):
    return hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest()[:16]


# What is written over the sizes or the offsets of the blocks.
def first(number):
    return lambda found: [number, *found[1:]]


def second(number):
    return lambda found: [found[0], number, *found[2:]]


def every(number):
    return lambda found: [number] * len(found)


SIZES = {
    "sound": {},
    "no_size": {"sizes": first(0)},
    "second_no_size": {"sizes": second(0)},
    "no_sizes": {"sizes": every(0)},
    "small": {"sizes": first(100)},
    "second_small": {"sizes": second(100)},
    "large": {"sizes": first(1 << 20)},
    "all_large": {"sizes": every(1 << 20)},
    "no_tag": {"sizes": None},
    "in_header": {"offsets": first(0)},
    "beyond": {"offsets": first(1 << 20)},
    "not_stored": {"offsets": second(0), "sizes": second(0)},
    "few_sizes": {"sizes": lambda found: found[:1]},
}


def sizes(folder):
    samples = pixels()
    padded = np.pad(samples, ((0, -HEIGHT % SIDE), (0, 0)))
    strips = [samples[row : row + SIDE].tobytes() for row in range(0, HEIGHT, SIDE)]
    corners = [(row, column) for row in range(0, HEIGHT, SIDE) for column in range(0, WIDTH, SIDE)]
    tiles = [padded[row : row + SIDE, column : column + SIDE].tobytes() for row, column in corners]
    layouts = {
        "strip": ([samples.tobytes()], {278: (LONG, [HEIGHT])}),
        "strips": (strips, {278: (LONG, [SIDE])}),
        "tile": ([padded.tobytes()], {322: (SHORT, [WIDTH]), 323: (SHORT, [len(padded)])}),
        "tiles": (tiles, {322: (SHORT, [SIDE]), 323: (SHORT, [SIDE])}),
    }
    said = {}
    for layout, (blocks, layout_tags) in layouts.items():
        places = (324, 325) if layout.startswith("tile") else (273, 279)
        for codec, code in (("none", 1), ("deflate", 8)):
            stored = [zlib.compress(block) for block in blocks] if code == 8 else blocks
            for wrong, changes in SIZES.items():
                if len(blocks) == 1 and (wrong.startswith("second") or wrong in ("not_stored", "few_sizes")):
                    continue
                for big in (False, True):
                    kind = LONG8 if big else LONG
                    change = {"offsets": list, "sizes": list} | changes
                    tags = tags_of(samples) | layout_tags | {259: (SHORT, [code])}
                    tags[places[0]] = (kind, lambda offsets, _, edit=change["offsets"]: edit(offsets))
                    if change["sizes"]:
                        tags[places[1]] = (kind, lambda _, sizes, edit=change["sizes"]: edit(sizes))
                    name = f"{layout}-{codec}-{wrong}{'-big' if big else ''}.tif"
                    write(folder / "plain" / name, tags, stored, big)
                    path = folder / "scene" / name
                    write(path, tags | PLACE, stored, big)
                    readers = {"gdal": lambda: by_gdal(path), "pillow": lambda: np.asarray(Image.open(path))}
                    said[name] = [reader for reader, read in readers.items() if equal(read, samples)]
    print(json.dumps({"digest": digest(samples), "readers": said}))


def places(folder):
    samples = pixels()
    strip = {273: (LONG, lambda offsets, _: offsets), 278: (LONG, [HEIGHT]), 279: (LONG, lambda _, sizes: sizes)}
    tags = tags_of(samples) | strip
    nan, inf = float("nan"), float("inf")
    no_code = {34735: (SHORT, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32767])}
    radius = {34735: (SHORT, [*no_code[34735][1][:3], 4, *no_code[34735][1][4:], 2057, 34736, 1, 0]), 34736: (DOUBLE, [inf])}
    matrix = [10.0, 0.0, 0.0, 500_000.0, 0.0, -10.0, 0.0, 5_000_000.0, *[0.0] * 7, 1.0]
    by_matrix = {code: value for code, value in PLACE.items() if code == 34735}

    def gdal(scale, offset):
        items = f'<Item name="SCALE" sample="0" role="scale">{scale}</Item>'
        items += f'<Item name="OFFSET" sample="0" role="offset">{offset}</Item>'
        return {42112: text(f"<GDALMetadata>{items}</GDALMetadata>")}

    sound = gdal("0.01", "0.5")
    files = {
        "good.tif": PLACE | sound,
        "height_nan.tif": PLACE | sound | {33550: (DOUBLE, [10.0, 10.0, nan])},
        "no_code_height_nan.tif": PLACE | sound | no_code | {33550: (DOUBLE, [10.0, 10.0, nan])},
        "width_nan.tif": PLACE | sound | {33550: (DOUBLE, [nan, 10.0, 0.0])},
        "width_inf.tif": PLACE | sound | {33550: (DOUBLE, [inf, 10.0, 0.0])},
        "tie_nan.tif": PLACE | sound | {33922: (DOUBLE, [0.0, 0.0, 0.0, nan, 5_000_000.0, 0.0])},
        "tie_overflows.tif": PLACE | sound | {33922: (DOUBLE, [1e300, 0.0, 0.0, 1.0, 1.0, 0.0]), 33550: (DOUBLE, [1e300, 1.0, 0.0])},
        "matrix_nan.tif": by_matrix | sound | {34264: (DOUBLE, [nan, *matrix[1:]])},
        "no_code_matrix_inf.tif": no_code | sound | {34264: (DOUBLE, [*matrix[:11], inf, *matrix[12:]])},
        "radius_inf.tif": PLACE | sound | radius,
        "tiny.tif": PLACE | sound | {33550: (DOUBLE, [1e-310, 1e-310, 0.0])},
        "thin.tif": PLACE | sound | {33550: (DOUBLE, [1e-310, 1e10, 0.0])},
        "huge.tif": PLACE | sound | {33550: (DOUBLE, [1e200, 1e200, 0.0])},
        "nodata_nan.tif": PLACE | sound | {42113: text("nan")},
        "nodata_inf.tif": PLACE | sound | {42113: text("inf")},
        "scale_0.tif": PLACE | gdal("0", "10"),
        "scale_minus_0.tif": PLACE | gdal("-0.0", "10"),
        "scale_nan.tif": PLACE | gdal("nan", "0"),
        "scale_inf.tif": PLACE | gdal("inf", "0"),
        "scale_1e-60.tif": PLACE | gdal("1e-60", "0"),
        "scale_comma.tif": PLACE | gdal("0,01", "0"),
        "scale_text.tif": PLACE | gdal("one", "0"),
        "offset_nan.tif": PLACE | gdal("0.01", "nan"),
        "offset_inf.tif": PLACE | gdal("0.01", "-inf"),
    }
    for name, more in files.items():
        write(folder / name, tags | more, [samples.tobytes()])


def grey(folder):
    said = {}
    for name, samples in {
        "u8.tif": pixels(),
        "u16.tif": pixels("uint16"),
        "f32.tif": pixels("float32"),
        "u8x3.tif": pixels(bands=3),
    }.items():
        strip = {273: (LONG, lambda offsets, _: offsets), 278: (LONG, [HEIGHT]), 279: (LONG, lambda _, sizes: sizes)}
        tags = tags_of(samples) | strip | {339: (SHORT, [3 if samples.dtype.kind == "f" else 1])}
        del tags[262]
        write(folder / "plain" / name, tags, [samples.tobytes()])
        write(folder / "scene" / name, tags | PLACE, [samples.tobytes()])
        path = folder / "plain" / name
        said[name] = {"gdal": digest(by_gdal(path)), "pillow": equal(lambda: np.asarray(Image.open(path)), samples)}
    print(json.dumps(said))


LARGEST = float(np.finfo("float32").max)
NODATA = {
    "uint8": ["0", "0 0 0", "0,0,0", "1,2", "1 m", "m1", "1.5", "2.9", "-0.5", "255.5", "300", "-1", "1e", "0x1", "nothing", " ", "\n2"],
    "int8": ["-128.5", "127.9", "200"],
    "uint16": ["65535.9", "-3", "3;4"],
    "int16": ["-1.9", "40000", "1,9"],
    "int32": ["2.9", "2147483648"],
    "int64": ["1.9", "-1 m", "9223372036854775808"],
    "uint64": ["18446744073709551616", "1e3", "abc"],
    "float32": ["-3.40282e+38", "-3.4e+38", "-3.4028236e+38", "-1.7976931348623157e+308", "3.4e38", "1,5", "1.0000003", "-inf", "infinity"],
    "float64": ["1", "-1.79769e+308", "-1.8e308", "-3.4e+38"],
}


def strips_of(samples, rows):
    blocks = [samples[row : row + rows].tobytes() for row in range(0, len(samples), rows)]
    strip = {273: (LONG, lambda offsets, _: offsets), 278: (LONG, [rows]), 279: (LONG, lambda _, sizes: sizes)}
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    return tags_of(samples) | strip | {339: (SHORT, [kind])} | PLACE, blocks


def nodata(folder):
    said = {}
    for dtype, texts in NODATA.items():
        samples = np.arange(64 * 64).reshape(64, 64) % 5
        samples = samples.astype(dtype)
        if dtype.startswith("f"):
            samples[0, :6] = -LARGEST, LARGEST, np.float32(-3.4e38), 1.5, 1 + 4.7e-7, 1 + 4.8e-7
        else:
            samples[0, :2] = np.iinfo(dtype).min, np.iinfo(dtype).max
        tags, blocks = strips_of(samples, 32)
        for number, written in enumerate(texts):
            for sparse in (False, True):
                name = f"{dtype}-{number}{'-sparse' if sparse else ''}.tif"
                change = {273: (LONG, lambda offsets, _: second(0)(offsets)), 279: (LONG, lambda _, sizes: second(0)(sizes))}
                write(folder / "scene" / name, tags | {42113: text(written)} | (change if sparse else {}), blocks)
                said[name] = digest(by_gdal(folder / "scene" / name))
    print(json.dumps(said))


def items(folder):
    def item(value, role="scale", name='name="SCALE"', sample='sample="0"'):
        return f'<Item {name} {sample} role="{role}">{value}</Item>'

    good = item("0.5") + item("-0.1", "offset")
    inside = {
        "plain": good,
        "single": good.replace('"', "'"),
        "role": item("0.5", "SCALE") + item("-0.1", "Offset"),
        "tag": good.replace("Item", "ITEM"),
        "attribute": good.replace("role=", "ROLE=").replace("sample=", "Sample ="),
        "cdata": item("0.5") + item("<![CDATA[-0.1]]>", "offset"),
        "entity": item("&#48;.5") + item("&#x2d;0.1", "offset"),
        "attribute_entity": item("0.5", "sc&#97;le"),
        "mixed": item("0<!-- x -->.5"),
        "nested": item("<b>0.5</b>"),
        "wrapped": f"<Group>{good}</Group>",
        "comment": f"<!-- {item('9')} -->{good}",
        "twice": item("9") + good,
        "rest": item("0,5 m") + item("-0.1x", "offset"),
        "no_number": item("one"),
        "nan": item("0.5") + item("nan", "offset"),
        "other_band": item("9", sample='sample="1"') + good,
        "no_band": item("9", sample="") + good,
        "letter_band": item("0.5", sample='sample="x"'),
        "no_name": item("9", name=""),
        "unquoted": good.replace('"', ""),
        "ampersand": item("0.5&"),
        "texts": item("m&amp;lt;2", "UnitType") + item(" a &amp;quot;b&amp;quot;", "DESCRIPTION"),
        "no_end_tag": '<Item name="SCALE" sample="0" role="scale">0.5',
        "wrong_end_tag": '<Item name="SCALE" sample="0" role="scale">0.5</Itm>',
    }
    whole = {
        "declared": f'<?xml version="1.0"?>\n<!-- x --><!DOCTYPE GDALMetadata><GDALMetadata>{good}</GDALMetadata>',
        "small_root": f"<gdalmetadata>{good}</gdalmetadata>",
        "other_root": f"<Metadata>{good}</Metadata>",
        "two_roots": f"<GDALMetadata>{good}</GDALMetadata><GDALMetadata>{item('9')}</GDALMetadata>",
        "no_root": good,
        "no_end": f"<GDALMetadata>{good}",
        "no_xml": "scale=0.5",
    }
    samples = pixels()
    tags, blocks = strips_of(samples, HEIGHT)
    said = {}
    for name, xml in whole.items() | {(name, f"<GDALMetadata>{xml}</GDALMetadata>") for name, xml in inside.items()}:
        path = folder / "scene" / f"{name}.tif"
        write(path, tags | {42112: text(xml)}, blocks)
        with rasterio.open(path) as file:
            said[path.name] = [file.scales[0], file.offsets[0], file.units[0], file.descriptions[0]]
    print(json.dumps(said).replace("NaN", "null"))


def keys(folder):
    from pyproj import CRS, Transformer

    def projected(code, *more, model=1):
        return [(1024, 0, 1, model), *more, (3072, 0, 1, code)]

    def beside(code, crs):
        return projected(code, (2048, 0, 1, crs))

    cases = {
        "alone": projected(32632),
        "same": beside(32632, 4326),
        "etrs89": beside(32632, 4258),
        "nad83": beside(26910, 4269),
        "nad83_by_wgs84": beside(26910, 4326),
        "rgf93": beside(2154, 4171),
        "gda94": beside(28355, 4283),
        "mercator": beside(3857, 4326),
        "mercator_sphere": beside(3857, 4055),
        "belgian": beside(31370, 4313),
        "swiss": beside(2056, 4150),
        "user_defined": beside(32632, 32767),
        "datum": projected(32632, (2050, 0, 1, 6326)),
        "ellipsoid": projected(32632, (2056, 0, 1, 7030)),
        "no_model": projected(32632)[1:],
        "model_of_its_own": projected(32632, model=32767),
        "other_nad27": beside(32632, 4267),
        "other_wgs84": beside(31370, 4326),
        "other_datum": projected(32632, (2050, 0, 1, 6267)),
        "other_ellipsoid": projected(32632, (2056, 0, 1, 7008)),
        "other_model": projected(32632, model=2),
        "other_model_and_code": projected(32632, (2048, 0, 1, 4326), model=2),
        "other_model_0": projected(32632, model=0),
    }
    tags, blocks = strips_of(pixels(), HEIGHT)
    said = {}
    for name, entries in cases.items():
        path = folder / "scene" / f"{name}.tif"
        directory = [1, 1, 0, len(entries), *(number for entry in entries for number in entry)]
        write(path, tags | {34735: (SHORT, directory)}, blocks)
        with rasterio.open(path) as file:
            middle = file.transform * (file.width / 2, file.height / 2)
            place = None
            if file.crs and name != "other_model_0":
                crs = CRS.from_wkt(file.crs.to_wkt())
                place = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(*middle)
        said[path.name] = place
    print(json.dumps(said))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    command, *arguments = sys.argv[1:]
    if command == "digest":
        print(json.dumps([digest(by_gdal(name)) for name in arguments]))
    elif command in ("sizes", "places", "grey", "nodata", "items", "keys"):
        out = Path(arguments[0])
        for name in ("plain", "scene"):
            (out / name).mkdir(exist_ok=True)
        globals()[command](out)
    else:
        sys.exit(__doc__)
