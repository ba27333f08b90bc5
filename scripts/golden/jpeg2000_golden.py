#!/usr/bin/env python3
"""Writes crates/jpeg2000/golden/streams.bin: small code streams of OpenJPEG and OpenJPH, and their samples.

Needs `opj_compress` and `opj_decompress` (Debian: libopenjp2-tools) and, from scripts/test-requirements.txt,
imagecodecs and numpy. Samples are those that OpenJPEG decodes; a reversible stream of which nothing was cut has to
give the source's samples, or the script stops.

Of irreversible streams samples may be 1 off; 2 where they have 16 bits, since OpenJPEG's factor for bands of high
frequency (1.625732422) is not 2 / K of T.800 table F.4 (1.625786132).

Format, little-endian: per case a u8 length and a name, a u8 tolerance, a u32 length and the stream, a u8 number of
components; per component u32 width, u32 height, and i32 samples if the tolerance's bit 7 is set, else i16 modulo 2^16.
"""

import subprocess
import tempfile
from pathlib import Path

import imagecodecs
import numpy as np

TARGET = Path(__file__).resolve().parents[2] / "crates/jpeg2000/golden/streams.bin"
WIDE = 0x80


def picture(width, height, components, bits, signed, seed=1):
    """Returns a smooth picture with an edge and noise: `[components, height, width]`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for index in range(components):
        wave = 0.5 + 0.35 * np.sin(x / 9.0 + index) * np.cos(y / 7.0 - index)
        wave = np.where((x - width / 2) ** 2 + (y - height / 3) ** 2 < (height / 4) ** 2, 0.9 - 0.2 * index, wave)
        planes.append(wave + rng.normal(size=x.shape) * 0.02)
    high = (1 << bits) - 1
    values = np.clip(np.round(np.array(planes) * high), 0, high).astype(np.int64)
    return values - (1 << (bits - 1)) if signed else values


def raw_bytes(planes, bits):
    """Returns planes as opj_compress reads them: big-endian, one after another."""
    kind = ">i1" if bits <= 8 else ">i2"
    return b"".join((plane & (0xFF if bits <= 8 else 0xFFFF)).astype(np.int64).astype(kind).tobytes() for plane in planes)


def read_pgx(path):
    """Returns the plane of a PGX file."""
    header, _, rest = path.read_bytes().partition(b"\n")
    _, order, *fields = header.decode().replace("+", "+ ").replace("-", "- ").split()
    sign, bits, width, height = fields
    bits, width, height = int(bits), int(width), int(height)
    size = 1 if bits <= 8 else 2 if bits <= 16 else 4
    kind = (">" if order == "ML" else "<") + ("i" if sign == "-" else "u") + str(size)
    return np.frombuffer(rest, kind).reshape(height, width).astype(np.int64)


def decoded(stream, folder, reduce=0):
    """Returns the planes that OpenJPEG decodes."""
    (folder / "in.j2k").write_bytes(stream)
    for old in folder.glob("out*.pgx"):
        old.unlink()
    command = ["opj_decompress", "-i", folder / "in.j2k", "-o", folder / "out.pgx"]
    subprocess.run(command + (["-r", str(reduce)] if reduce else []), check=True, capture_output=True)
    return [read_pgx(path) for path in sorted(folder.glob("out*.pgx"))]


def compressed(planes, bits, signed, options, folder, sampling=""):
    """Returns what opj_compress makes of planes; `options` are its own."""
    if bits < 8:
        # opj_compress reads no such samples.
        return imagecodecs.jpeg2k_encode(planes[0].astype("u1"), 0, codecformat="j2k", bitspersample=bits, reversible=True)
    height, width = planes[0].shape
    (folder / "in.raw").write_bytes(raw_bytes(planes, bits))
    form = f"{width},{height},{len(planes)},{bits},{'s' if signed else 'u'}{sampling}"
    command = ["opj_compress", "-i", folder / "in.raw", "-o", folder / "out.j2k", "-F", form, *options.split()]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "out.j2k").read_bytes()


def with_order(stream, volumes):
    """Returns a stream with POC in its main header; `volumes` are the segment's content."""
    start = stream.index(b"\xff\x90")
    return stream[:start] + b"\xff\x5f" + (len(volumes) + 2).to_bytes(2, "big") + volumes + stream[start:]


# name, width, height, components, bits, signed, options of opj_compress
CASES = [
    ("plain 8", 45, 37, 1, 8, False, "-n 4"),
    ("plain 12", 45, 37, 1, 12, False, "-n 4"),
    ("plain 16", 45, 37, 1, 16, False, "-n 6"),
    ("signed 16", 45, 37, 1, 16, True, "-n 4"),
    ("signed 8", 33, 20, 1, 8, True, "-n 3"),
    ("signed 12 colour", 33, 20, 3, 12, True, "-n 3 -mct 1"),
    ("1 bit", 45, 37, 1, 1, False, "-n 3"),
    ("3 bits", 45, 37, 1, 3, False, "-n 3"),
    ("10 bits", 45, 37, 1, 10, False, "-n 3"),
    ("one pixel", 1, 1, 1, 16, False, "-n 1"),
    ("one row", 40, 1, 1, 12, False, "-n 1"),
    ("one column", 1, 40, 1, 12, False, "-n 1"),
    ("tiles of one row and column", 45, 37, 1, 12, False, "-n 4 -t 44,36"),
    ("tiles of one odd row and column", 46, 38, 1, 12, False, "-n 2 -d 1,1 -T 1,1 -t 23,19"),
    ("no level", 20, 17, 1, 12, False, "-n 1"),
    ("two by two", 2, 2, 1, 8, False, "-n 2"),
    ("colour", 45, 37, 3, 8, False, "-n 4 -mct 1"),
    ("colour, no transform", 45, 37, 3, 8, False, "-n 4 -mct 0"),
    ("four components", 30, 27, 4, 8, False, "-n 3 -mct 0"),
    ("four components, transform", 30, 27, 4, 8, False, "-n 3 -mct 1"),
    ("two components", 30, 27, 2, 9, False, "-n 3 -mct 0"),
    ("LRCP", 45, 37, 3, 8, False, "-n 4 -p LRCP -r 9,4,1 -c [16,16],[16,16],[8,8]"),
    ("RLCP", 45, 37, 3, 8, False, "-n 4 -p RLCP -r 9,4,1 -c [16,16],[16,16],[8,8]"),
    ("RPCL", 45, 37, 3, 8, False, "-n 4 -p RPCL -r 9,4,1 -c [16,16],[16,16],[8,8]"),
    ("PCRL", 45, 37, 3, 8, False, "-n 4 -p PCRL -r 9,4,1 -c [16,16],[16,16],[8,8]"),
    ("CPRL", 45, 37, 3, 8, False, "-n 4 -p CPRL -r 9,4,1 -c [16,16],[16,16],[8,8]"),
    ("precincts", 61, 53, 1, 12, False, "-n 5 -c [32,16],[8,32] -b 16,8"),
    ("small blocks", 61, 53, 1, 12, False, "-n 3 -b 4,4"),
    ("wide blocks", 70, 20, 1, 12, False, "-n 2 -b 512,4"),
    ("high blocks", 20, 70, 1, 12, False, "-n 2 -b 4,512"),
    ("tiles", 61, 53, 1, 12, False, "-n 4 -t 23,19"),
    ("tiles, colour", 61, 53, 3, 8, False, "-n 4 -t 32,32 -mct 1 -p RPCL"),
    ("offsets", 45, 37, 1, 12, False, "-n 4 -d 7,5"),
    ("offsets and tiles", 45, 37, 1, 12, False, "-n 4 -d 13,11 -T 5,3 -t 17,21"),
    ("offsets, tiles, position", 45, 37, 3, 8, False, "-n 3 -d 13,11 -T 5,3 -t 29,21 -p PCRL -c [16,16],[8,8]"),
    ("offsets, tiles, component", 45, 37, 3, 8, False, "-n 3 -d 13,11 -T 5,3 -t 29,21 -p CPRL -c [16,16],[8,8]"),
    ("SOP and EPH", 45, 37, 3, 8, False, "-n 4 -SOP -EPH -r 9,1"),
    ("tile parts R", 45, 37, 1, 12, False, "-n 4 -t 30,30 -TP R -r 5,1"),
    ("tile parts L", 45, 37, 1, 12, False, "-n 4 -t 30,30 -TP L -r 5,3,1"),
    ("tile parts C", 45, 37, 3, 8, False, "-n 4 -t 30,30 -TP C -p CPRL"),
    ("POC", 45, 37, 3, 8, False, "-n 3 -r 6,1 -POC T1=0,0,2,1,3,CPRL/T1=1,0,2,3,3,LRCP"),
    ("POC of two tiles", 60, 30, 3, 8, False, "-n 3 -t 30,30 -POC T1=0,0,1,2,3,RLCP/T1=2,0,1,3,3,PCRL"),
    ("bypass", 45, 37, 1, 12, False, "-n 3 -M 1"),
    ("reset", 45, 37, 1, 12, False, "-n 3 -M 2"),
    ("terminate", 45, 37, 1, 12, False, "-n 3 -M 4"),
    ("causal", 45, 37, 1, 12, False, "-n 3 -M 8"),
    ("predictable", 45, 37, 1, 12, False, "-n 3 -M 20"),
    ("symbols", 45, 37, 1, 12, False, "-n 3 -M 32"),
    ("bypass and terminate", 45, 37, 1, 12, False, "-n 3 -M 5"),
    ("all styles", 45, 37, 1, 16, False, "-n 3 -M 63 -r 4,2,1"),
    ("all styles but bypass", 45, 37, 3, 8, False, "-n 3 -M 62 -r 9,1"),
    ("bypass, causal, layers", 45, 37, 1, 16, True, "-n 3 -M 9 -r 8,5,3,2,1"),
    ("region", 45, 37, 1, 8, False, "-n 3 -ROI c=0,U=7"),
    ("region of a component", 45, 37, 3, 8, False, "-n 3 -mct 0 -ROI c=1,U=9"),
    ("cut", 45, 37, 1, 12, False, "-n 4 -r 5"),
    ("cut, colour", 45, 37, 3, 8, False, "-n 4 -r 12 -mct 1"),
    ("cut, layers", 45, 37, 1, 16, False, "-n 4 -r 12,6"),
    ("irreversible", 45, 37, 1, 8, False, "-n 4 -I"),
    ("irreversible 12", 45, 37, 1, 12, False, "-n 4 -I -r 4"),
    ("irreversible 16", 45, 37, 1, 16, False, "-n 5 -I -r 6"),
    ("irreversible, signed", 45, 37, 1, 12, True, "-n 4 -I -r 4"),
    ("irreversible, colour", 45, 37, 3, 8, False, "-n 4 -I -mct 1 -r 10"),
    ("irreversible, offsets", 45, 37, 1, 8, False, "-n 4 -I -d 7,5 -T 3,1 -t 18,20"),
    ("irreversible, styles", 45, 37, 1, 12, False, "-n 3 -I -M 63 -r 6,3"),
    ("irreversible, region", 45, 37, 1, 8, False, "-n 3 -I -ROI c=0,U=6"),
]

# name, sampling as opj_compress writes it, sizes of components, options
SUBSAMPLED = [
    ("halved", "@1x1:2x2", [(46, 38), (23, 19)], "-n 3"),
    ("halved along rows, by position", "@1x1:2x1", [(46, 38), (23, 38)], "-n 3 -p PCRL -c [16,16],[8,8]"),
    ("halved, by resolution", "@1x1:2x2", [(46, 38), (23, 19)], "-n 3 -p RPCL -c [16,16],[8,8]"),
    ("halved, by component", "@1x1:2x2", [(46, 38), (23, 19)], "-n 3 -p CPRL -t 32,16 -c [16,16],[8,8]"),
]


def entry(name, tolerance, stream, planes):
    """Returns a case as it is written."""
    wide = any(plane.min() < -32768 or plane.max() > 65535 for plane in planes)
    out = bytes([len(name)]) + name.encode() + bytes([tolerance | (WIDE if wide else 0)])
    out += len(stream).to_bytes(4, "little") + stream + bytes([len(planes)])
    for plane in planes:
        height, width = plane.shape
        out += width.to_bytes(4, "little") + height.to_bytes(4, "little")
        out += plane.astype("<i4" if wide else "<i8").astype("<i4" if wide else "<u2").tobytes()
    return out


def from_openjpeg(folder):
    """Yields the cases of `CASES` and `SUBSAMPLED`."""
    for name, width, height, components, bits, signed, options in CASES:
        source = picture(width, height, components, bits, signed)
        stream = compressed(source, bits, signed, options, folder)
        planes = decoded(stream, folder)
        irreversible = "-I" in options.split()
        if not irreversible and not name.startswith("cut"):
            assert all((a == b).all() for a, b in zip(planes, source, strict=True)), name
        yield entry(name, int(irreversible), stream, planes)
        if name in ("plain 16", "offsets and tiles", "irreversible, colour"):
            yield entry(f"{name}, reduced 2", int(irreversible), stream, decoded(stream, folder, 2))
    for name, sampling, sizes, options in SUBSAMPLED:
        source = [picture(width, height, 1, 8, False, seed)[0] for seed, (width, height) in enumerate(sizes)]
        stream = compressed(source, 8, False, options, folder, sampling)
        planes = decoded(stream, folder)
        assert all((a == b).all() for a, b in zip(planes, source, strict=True)), name
        yield entry(name, 0, stream, planes)


# name, width, height, components, type, options of htj2k_encode
HIGH_THROUGHPUT = [
    ("HT 8", 45, 37, 1, "u1", {}),
    ("HT 16", 45, 37, 1, "u2", {}),
    ("HT signed 16", 45, 37, 1, "i2", {}),
    ("HT one pixel", 1, 1, 1, "u2", {}),
    ("HT one row", 40, 1, 1, "u2", {}),
    ("HT one column", 1, 40, 1, "u1", {}),
    ("HT three", 3, 3, 1, "u1", {}),
    ("HT colour", 45, 37, 3, "u1", {}),
    ("HT colour 16", 61, 70, 3, "u2", {}),
    ("HT tiles", 70, 61, 1, "u2", {"tile": (32, 16)}),
    ("HT many blocks", 150, 140, 1, "u2", {}),
    ("HT irreversible", 45, 37, 1, "u1", {"reversible": False}),
    ("HT irreversible 16", 45, 37, 1, "u2", {"reversible": False, "level": 0.001}),
    ("HT irreversible, colour", 61, 70, 3, "u1", {"reversible": False}),
]


def packets_of(tile_part):
    """Returns headers and bodies of the packets of a tile-part that has SOP and EPH."""
    for packet in tile_part.split(b"\xff\x91\x00\x04")[1:]:
        header, mark, body = packet[2:].partition(b"\xff\x92")
        yield header + mark, body


def with_packed_headers(stream, marker):
    """Returns a stream that has its packet headers in PPM (one segment per tile-part) or PPT (two per tile-part)."""
    start = stream.index(b"\xff\x90")
    main, parts, rest = stream[:start], [], stream[start:]
    while rest[:2] == b"\xff\x90":
        length = int.from_bytes(rest[6:10], "big")
        parts.append(rest[:length])
        rest = rest[length:]
    out = b""
    for index, part in enumerate(parts):
        data = part.index(b"\xff\x93") + 2
        packets = list(packets_of(part[data:]))
        headers, bodies = (b"".join(pieces) for pieces in zip(*packets))
        extra = b""
        if marker == b"\xff\x61":
            half = len(headers) // 2
            for number, piece in enumerate((headers[:half], headers[half:])):
                extra += marker + (len(piece) + 3).to_bytes(2, "big") + bytes([number]) + piece
        else:
            content = bytes([index]) + len(headers).to_bytes(4, "big") + headers
            main += marker + (len(content) + 2).to_bytes(2, "big") + content
        size = data + len(extra) + len(bodies)
        out += part[:6] + size.to_bytes(4, "big") + part[10 : data - 2] + extra + b"\xff\x93" + bodies
    return main + out + rest


class BitWriter:
    """Writes bits; `stuffs` tells from the byte before and the bits at hand whether a byte ends after 7."""

    def __init__(self, stuffs, before=0):
        self.bytes, self.bits, self.stuffs, self.before = bytearray(), [], stuffs, before

    def put(self, bit):
        self.bits.append(int(bit))
        if len(self.bits) == (7 if self.stuffs(self.before, self.bits[:7]) else 8):
            self.end()

    def end(self):
        """Ends a byte that has been begun."""
        if self.bits:
            self.before = sum(bit << index for index, bit in enumerate(self.bits))
            self.bytes.append(self.before)
            self.bits = []


def refinement(magnitudes, negative):
    """Returns the segment that refines what lacks the lowest bit of `magnitudes` (T.814 7.4 and 7.5)."""
    height, width = magnitudes.shape
    known = magnitudes >> 1 != 0
    forward = BitWriter(lambda before, bits: before == 0xFF and len(bits) == 7)
    found = np.pad(known, 1)
    for top in range(0, height, 4):
        for left in range(0, width, 4):
            new = []
            for x in range(left, min(left + 4, width)):
                for y in range(top, min(top + 4, height)):
                    if found[y + 1, x + 1] or not found[y : y + 3, x : x + 3].any():
                        continue
                    bit = magnitudes[y, x] & 1
                    forward.put(bit)
                    found[y + 1, x + 1] = bit
                    new += [(y, x)] if bit else []
            for place in new:
                forward.put(negative[place])
    forward.end()
    backward = BitWriter(lambda before, bits: before > 0x8F and bits == [1] * 7, before=0xFF)
    for top in range(0, height, 4):
        for x in range(width):
            for y in range(top, min(top + 4, height)):
                if known[y, x]:
                    backward.put(magnitudes[y, x] & 1)
    backward.end()
    return bytes(forward.bytes) + bytes(backward.bytes[::-1])


def stuffed(bits):
    """Returns bits as bytes of a packet header: after a byte of ones a bit is stuffed (T.800 B.10.1)."""
    out = bytearray()
    while bits:
        count = 7 if out[-1:] == b"\xff" else 8
        out.append(int(bits[:count].ljust(count, "0"), 2))
        bits = bits[count:]
    return bytes(out) + (b"\0" if out[-1:] == b"\xff" else b"")


def refined(source, folder):
    """Returns an HTJ2K stream of one code-block whose lowest plane is coded by the two passes of refinement.

    It is the lowest band of `source`, `[height, width]` of 8 bits, doubled; the other bands are empty.
    """
    rng = np.random.default_rng(2)
    stream = imagecodecs.htj2k_encode((source // 3 + 85).astype("u1"), reversible=True, resolutions=1)
    values = decoded(stream, folder, 1)[0] - 128
    magnitudes = 2 * abs(values) + rng.integers(0, 2, values.shape)
    negative = np.where(values == 0, rng.integers(0, 2, values.shape), values < 0)
    data = stream.index(b"\xff\x93") + 2
    body = stream[data:].removesuffix(b"\xff\xd9")
    bits = "".join(f"{byte:08b}" for byte in body[:8])
    # Not empty, included, zero planes, one pass, length.
    assert bits.startswith("11") and b"\xff" not in body[:8]
    zeros = bits[2:].index("1")
    rest = bits[2 + zeros + 1 :]
    assert rest[0] == "0"
    more = rest[1:].index("0")
    length = int(rest[2 + more : 2 + more + 3 + more], 2)
    header_bits = 2 + zeros + 1 + 1 + more + 1 + 3 + more
    cleanup = body[-(-header_bits // 8) :][:length]
    second = refinement(magnitudes, negative)
    bits = "11" + "0" * (zeros - 1) + "1" + "1100" + "1" * 10 + "0" + f"{length:013b}" + f"{len(second):014b}"
    packet = stuffed(bits) + cleanup + second + b"\0"
    start = stream.index(b"\xff\x90")
    size = data - start + len(packet)
    return stream[: start + 6] + size.to_bytes(4, "big") + stream[start + 10 : data] + packet + b"\xff\xd9"


def from_edited(folder):
    """Yields cases that no encoder here makes."""
    # The order of packets is said twice: the second time leaves out what came the first time.
    source = picture(45, 37, 3, 8, False)
    stream = compressed(source, 8, False, "-n 3 -p LRCP -r 9,4,1", folder)
    volumes = [bytes([0, 0, 0, 1, 3, 3, 0]), bytes([0, 0, 0, 2, 3, 3, 0]), bytes([0, 0, 0, 3, 3, 3, 0])]
    stream = with_order(stream, b"".join(volumes))
    planes = decoded(stream, folder)
    assert all((a == b).all() for a, b in zip(planes, source, strict=True))
    yield entry("POC by layer", 0, stream, planes)
    overlapping = bytearray(compressed(source, 8, False, "-n 3 -r 9,4,1 -POC T1=0,0,3,1,3,LRCP/T1=1,0,3,3,3,LRCP", folder))
    # The second volume begins with the resolution that the first one has already had.
    start = overlapping.index(b"\xff\x5f") + 4 + 7
    assert overlapping[start] == 1
    overlapping[start] = 0
    planes = decoded(bytes(overlapping), folder)
    assert all((a == b).all() for a, b in zip(planes, source, strict=True))
    yield entry("POC overlapping", 0, bytes(overlapping), planes)
    plain = compressed(source, 8, False, "-n 3 -r 9,1 -t 30,30 -SOP -EPH", folder)
    for name, marker in (("PPM", b"\xff\x60"), ("PPT", b"\xff\x61")):
        stream = with_packed_headers(plain, marker)
        planes = decoded(stream, folder)
        assert all((a == b).all() for a, b in zip(planes, source, strict=True)), name
        yield entry(name, 0, stream, planes)
    for name, width, height in (("HT refined", 90, 74), ("HT refined, small", 10, 6), ("HT refined, 64", 128, 128)):
        stream = refined(picture(width, height, 1, 8, False)[0], folder)
        yield entry(name, 0, stream, decoded(stream, folder))


def from_openjph():
    """Yields the cases of `HIGH_THROUGHPUT`."""
    for name, width, height, components, kind, options in HIGH_THROUGHPUT:
        kind = np.dtype(kind)
        source = picture(width, height, components, kind.itemsize * 8, kind.kind == "i").astype(kind)
        image = np.ascontiguousarray(np.moveaxis(source, 0, 2) if components > 1 else source[0])
        settings = {"reversible": True} | options
        stream = imagecodecs.htj2k_encode(image, rgb=True if components > 1 else None, **settings)
        planes = imagecodecs.jpeg2k_decode(stream)
        planes = np.moveaxis(planes, 2, 0) if components > 1 else planes.reshape(1, height, width)
        if settings["reversible"]:
            assert (planes == source).all(), name
        tolerance = 0 if settings["reversible"] else kind.itemsize
        yield entry(name, tolerance, stream, [plane.astype(np.int64) for plane in planes])


def main():
    with tempfile.TemporaryDirectory() as folder:
        cases = [*from_openjpeg(Path(folder)), *from_edited(Path(folder)), *from_openjph()]
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(b"".join(cases))
    print(f"{TARGET}: {len(cases)} cases, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
