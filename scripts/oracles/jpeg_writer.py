"""Writes JPEG files of kinds that Pillow reads and cannot write: any sampling factors, any grouping of components
into scans, no Huffman tables, other quantisation for later scans, bytes between segments, equal component ids.

Usage: jpeg_writer.py OUT [SIDE]

Needs Pillow (for its standard tables) and numpy only.
"""

import io
import struct
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ZIGZAG = sorted(range(64), key=lambda at: (at // 8 + at % 8, at // 8 if (at // 8 + at % 8) % 2 else at % 8))
DCT = np.array([[np.cos((2 * x + 1) * u * np.pi / 16) * (0.5 if u else 0.5 / np.sqrt(2)) for x in range(8)]
                for u in range(8)])


def segment(marker, body=b""):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def standard_tables():
    """Returns the DHT bodies of ITU T.81, annex K.3, as libjpeg writes them."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=75)
    data, at, bodies = file.getvalue(), 2, {}
    while data[at + 1] != 0xDA:
        length = struct.unpack(">H", data[at + 2:at + 4])[0]
        if data[at + 1] == 0xC4:
            body = data[at + 4:at + 2 + length]
            while body:
                count = 17 + sum(body[1:17])
                bodies[body[0]] = body[:count]
                body = body[count:]
        at += 2 + length
    return bodies


TABLES = standard_tables()


def codes(body):
    """Returns the code and its length for each symbol of a DHT body."""
    code, at, found = 0, 17, {}
    for length, count in enumerate(body[1:17], 1):
        for _ in range(count):
            found[body[at]] = (code, length)
            code, at = code + 1, at + 1
        code <<= 1
    return found


CODES = {key: codes(body) for key, body in TABLES.items()}


class Bits:
    def __init__(self):
        self.value, self.count, self.out = 0, 0, bytearray()

    def put(self, value, count):
        self.value, self.count = self.value << count | value, self.count + count
        while self.count >= 8:
            byte = self.value >> (self.count - 8) & 255
            self.out += bytes([byte, 0]) if byte == 255 else bytes([byte])
            self.count -= 8
        self.value &= (1 << self.count) - 1

    def signed(self, value, size):
        self.put(value if value > 0 else value + (1 << size) - 1, size)

    def flush(self):
        if self.count:
            self.put((1 << (8 - self.count)) - 1, 8 - self.count)
        out, self.out = bytes(self.out), bytearray()
        return out


def put_block(bits, block, prediction, band, dc, ac):
    """Writes the coefficients `band` of a block; returns the next prediction."""
    first, last = band
    if first == 0:
        difference = block[0] - prediction
        size = int(abs(difference)).bit_length()
        bits.put(*CODES[dc][size])
        if size:
            bits.signed(difference, size)
        prediction, first = block[0], 1
    run = 0
    for value in block[first:last + 1]:
        if value == 0:
            run += 1
            continue
        while run > 15:
            bits.put(*CODES[ac][0xF0])
            run -= 16
        size = int(abs(value)).bit_length()
        bits.put(*CODES[ac][run << 4 | size])
        bits.signed(value, size)
        run = 0
    if run and last >= first:
        bits.put(*CODES[ac][0])
    return prediction


def quantised(plane, columns, rows, table):
    """Returns the blocks of a plane in zigzag order, `[rows, columns, 64]`."""
    height, width = plane.shape
    padded = np.pad(plane.astype(float), ((0, rows * 8 - height), (0, columns * 8 - width)), "edge") - 128
    blocks = padded.reshape(rows, 8, columns, 8).transpose(0, 2, 1, 3)
    spectrum = np.einsum("uy,rcyx,vx->rcuv", DCT, blocks, DCT).reshape(rows, columns, 64)[..., ZIGZAG]
    return np.round(spectrum / table).astype(int)


def jpeg(picture, factors, scans=None, restart=0, tables=True, ids=None, progressive=False, before_frame=b"",
         step=6, requantise=False):
    """Returns a JPEG file.

    picture: `[height, width, components]`; factors: (h, v) of each; scans: lists of components, all in one
    if there are none; progressive: each scan is a DC scan, followed by two AC scans of each component;
    requantise: another quantisation table stands before each scan but the first.
    """
    height, width, count = picture.shape
    ids = ids or list(range(1, count + 1))
    h_max, v_max = max(h for h, _ in factors), max(v for _, v in factors)
    mcus = -(-width // (8 * h_max)), -(-height // (8 * v_max))
    table = np.clip(np.arange(64) // 3 + step, 1, 255)
    parts = []
    for index, (h, v) in enumerate(factors):
        own = -(-width * h // h_max), -(-height * v // v_max)
        x = np.minimum(np.arange(own[0]) * h_max // h, width - 1)
        y = np.minimum(np.arange(own[1]) * v_max // v, height - 1)
        plane = picture[..., index][np.ix_(y, x)]
        parts.append((quantised(plane, mcus[0] * h, mcus[1] * v, table), -(-own[0] // 8), -(-own[1] // 8)))
    out = [b"\xff\xd8", before_frame, segment(0xDB, b"\0" + bytes(table.tolist()))]
    frame = struct.pack(">BHHB", 8, height, width, count)
    frame += b"".join(bytes([id, h << 4 | v, 0]) for id, (h, v) in zip(ids, factors))
    out.append(segment(0xC2 if progressive else 0xC0, frame))
    if tables:
        out += [segment(0xC4, body) for body in TABLES.values()]
    if restart:
        out.append(segment(0xDD, struct.pack(">H", restart)))

    def scan(members, band):
        header = bytes([len(members)]) + b"".join(
            bytes([ids[m], 0 if m == 0 else 0x11]) for m in members) + bytes([band[0], band[1], 0])
        bits, data, predictions = Bits(), [segment(0xDA, header)], [0] * count
        if len(members) == 1:
            blocks, columns, rows = parts[members[0]]
            units = [[(members[0], blocks[y, x])] for y in range(rows) for x in range(columns)]
        else:
            units = [[(m, parts[m][0][my * factors[m][1] + v, mx * factors[m][0] + h])
                      for m in members for v in range(factors[m][1]) for h in range(factors[m][0])]
                     for my in range(mcus[1]) for mx in range(mcus[0])]
        for index, unit in enumerate(units):
            if restart and index and index % restart == 0:
                data += [bits.flush(), bytes([0xFF, 0xD0 + (index // restart - 1) % 8])]
                predictions = [0] * count
            for m, block in unit:
                dc, ac = (0x00, 0x10) if m == 0 else (0x01, 0x11)
                predictions[m] = put_block(bits, block, predictions[m], band, dc, ac)
        return b"".join(data) + bits.flush()

    for index, members in enumerate(scans or [list(range(count))]):
        bands = [(members, (0, 0))] + [([m], band) for m in members for band in [(1, 5), (6, 63)]]
        for part, band in bands if progressive else [(members, (0, 63))]:
            if requantise and index:
                out.append(segment(0xDB, b"\0" + bytes((table + 5).tolist())))
            out.append(scan(part, band))
    return b"".join(out) + b"\xff\xd9"


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


def odd_files(width, height):
    """Yields the name and the bytes of a file of each kind."""
    rng = np.random.default_rng(width * height)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    bands = [128 + 90 * np.sin(x / (3 + band) + band) * np.cos(y / 7) + rng.normal(0, 12, y.shape) for band in range(4)]
    four = np.clip(np.stack(bands, -1), 0, 255).astype(np.uint8)
    three, usual = four[..., :3], [(2, 2), (1, 1), (1, 1)]
    finer = {"wide": (2, 1), "high": (1, 2), "large": (2, 2), "widest": (4, 1)}
    groups = {"one": [[0], [1], [2]], "two": [[0], [1, 2]], "two-first": [[0, 1], [2]], "turned": [[2, 1], [0]]}
    for name, (h, v) in {"444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1), "311": (3, 1),
                         "113": (1, 3), "410": (4, 2)}.items():
        factors = [(h, v), (1, 1), (1, 1)]
        for group, scans in groups.items():
            yield f"{name}-{group}.jpg", jpeg(three, factors, scans)
        yield f"{name}-restarts.jpg", jpeg(three, factors, groups["two"], restart=3)
        yield f"{name}-motion.jpg", jpeg(three, factors, groups["two"], tables=False)
        yield f"{name}-requantised.jpg", jpeg(three, factors, groups["two"], requantise=True)
        yield f"{name}-junk.jpg", jpeg(three, factors, before_frame=segment(0xFE) + b"\0junk\xff\0\xff\xff\0")
    yield "motion.jpg", jpeg(three, usual, tables=False)
    yield "grey-motion.jpg", jpeg(four[..., :1], [(2, 2)], tables=False)
    for name, (h, v) in finer.items():
        for progressive in (False, True):
            stem = f"chroma-{name}-" + ("progressive" if progressive else "sequential")
            yield f"{stem}.jpg", jpeg(three, [(1, 1), (h, v), (h, v)], groups["one"], progressive=progressive)
            yield f"{stem}-one.jpg", jpeg(three, [(1, 1), (h, v), (1, 1)], progressive=progressive)
            yield f"{stem}-rgb.jpg", jpeg(three, [(1, 1), (h, v), (1, 1)], ids=[82, 71, 66], progressive=progressive)
    for ids in ([1, 1, 1], [0, 0, 0], [2, 1, 1], [1, 2, 2], [255, 255, 255]):
        stem = "ids-" + "-".join(map(str, ids))
        yield f"{stem}.jpg", jpeg(three, usual, ids=ids)
        yield f"{stem}-restarts.jpg", jpeg(three, [(2, 1), (1, 1), (1, 1)], ids=ids, restart=3)
    yield "ids-cmyk.jpg", jpeg(four, [(1, 1)] * 4, ids=[1, 1, 2, 2])
    alike, black = [(1, 1)] * 4, [(1, 1)] * 3 + [(2, 2)]
    for transform in (None, 0, 1, 2):
        head = b"" if transform is None else adobe(transform)
        for name, factors in {"alike": alike, "black": black, "luma": [(2, 2), (1, 1), (1, 1), (2, 2)],
                              "cyan": [(2, 1)] + [(1, 1)] * 3}.items():
            yield f"cmyk-{name}-{transform}.jpg", jpeg(four, factors, before_frame=head)
            yield f"cmyk-{name}-{transform}-scans.jpg", jpeg(four, factors, [[0, 3], [1, 2]], before_frame=head)
            yield f"cmyk-{name}-{transform}-progressive.jpg", jpeg(four, factors, before_frame=head, progressive=True)


def main():
    out, side = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 37
    out.mkdir(exist_ok=True)
    for name, data in odd_files(side, side + 6):
        (out / name).write_bytes(data)


if __name__ == "__main__":
    main()
