"""What pydicom reads of DICOM files: stored, modality and display values of all frames.

Usage: dicom_oracle.py compare OUT DATA  writes OUT/index.tsv, and the values of each file beside it
       dicom_oracle.py make OUT          only makes the files in OUT/made

Files are those of pydicom's own tests, those of DATA (folders WG04 and highdicom), and files that are made here in
OUT/made, for each syntax, number of bits, sign and photometric interpretation that the others lack.

A line of the index has: file, group, path, status (`ok`, `none` for objects without pixels, else what pydicom raises),
oracle, shape (frames, rows, columns, samples), type of the stored values, tolerance of them, kind of display, least and
greatest display value, whether display values are inverted, and where the standard is not what pydicom does: why.
The values are little-endian raw: N.stored; N.modality (float64) unless it is what is stored; N.display (float64)
unless it is the modality's.

Where pydicom cannot read a syntax, or is wrong by the standard, the oracle is what the file was made of, with the
formulas of the standard written out here; the script then fails if pydicom agrees after all.
"""

import copy
import sys
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.pixels.processing import apply_color_lut
from pydicom.sequence import Sequence
from pydicom.uid import UID

warnings.simplefilter("ignore")

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, ENCAPSULATED = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1.98"
DEFLATED_FRAME, RLE = "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.5"
JPEG = "1.2.840.10008.1.2.4."
BASELINE, EXTENDED, LOSSLESS, LOSSLESS_1 = JPEG + "50", JPEG + "51", JPEG + "57", JPEG + "70"
LS, LS_NEAR, J2K, J2K_LOSSY = JPEG + "80", JPEG + "81", JPEG + "90", JPEG + "91"
HT, HT_RPCL, HT_LOSSY = JPEG + "201", JPEG + "202", JPEG + "203"
XL, XL_JPEG, XL_LOSSY = JPEG + "110", JPEG + "111", JPEG + "112"

GREY = ("MONOCHROME1", "MONOCHROME2")


# --- What pydicom says -------------------------------------------------------------------------------------------------


def full_range(ds):
    """Returns the least and greatest value that the modality can yield, as pydicom's windows span it."""
    if ds.get("ModalityLUTSequence"):
        return 0.0, float(2 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1)
    bits = ds.BitsStored
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if ds.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = ds.get("RescaleSlope"), ds.get("RescaleIntercept")
    if slope is not None and intercept is not None:
        low, high = low * float(slope) + float(intercept), high * float(slope) + float(intercept)
    return float(min(low, high)), float(max(low, high))


def of_frame(ds, frame):
    """Returns a data set whose top level has what the functional groups say of a frame (PS3.3, C.7.6.16)."""
    own = copy.copy(ds)
    groups = [ds.get("SharedFunctionalGroupsSequence"), ds.get("PerFrameFunctionalGroupsSequence")]
    items = [groups[0][0]] if groups[0] else []
    items += [groups[1][frame]] if groups[1] else []
    for item in items:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for element in item[name][0] if item.get(name) else []:
                own[element.tag] = element
    return own


def rendered(ds, stored):
    """Returns modality and display values of a frame, kind of display, least and greatest value."""
    photometric = ds.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        top = 2 ** ds.RedPaletteColorLookupTableDescriptor[2] - 1
        return stored, apply_color_lut(stored, ds).astype("<f8"), "palette", 0.0, float(top)
    if photometric not in GREY:
        return stored, None, "rgb", 0.0, float(2**ds.BitsStored - 1)
    modality = apply_modality_lut(stored, ds)
    if np.issubdtype(stored.dtype, np.floating):
        return modality, modality, "identity", float(modality.min()), float(modality.max())
    low, high = full_range(ds)
    if ds.get("VOILUTSequence"):
        values = (
            modality if np.issubdtype(modality.dtype, np.integer) else np.floor(modality + 0.5).astype(int)
        )
        top = 2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1
        return modality, apply_voi_lut(values, ds).astype("<f8"), "table", 0.0, float(top)
    if "WindowCenter" in ds and ds.WindowCenter is not None:
        return modality, apply_voi_lut(modality, ds), "window", low, high
    return modality, modality, "identity", low, high


def libjpeg_turbo(ds):
    """Returns the samples of JPEG as they are stored.

    What pydicom says of 8 bits depends on who decodes; with 12 bits, its decoder is up to 2 away, and refuses NEMA's.
    """
    space = {1: "GRAYSCALE", 3: "YCBCR"}[ds.SamplesPerPixel]
    frames = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))
    return np.stack(
        [imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space) for frame in frames]
    )


def read(path):
    ds = pydicom.dcmread(path, force=True)
    if not any(name in ds for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        return ds, None, None
    if "TransferSyntaxUID" not in ds.file_meta:
        ds.file_meta.TransferSyntaxUID = IMPLICIT if ds.original_encoding[0] else EXPLICIT
    if ds.file_meta.TransferSyntaxUID in (BASELINE, EXTENDED):
        stored, oracle = libjpeg_turbo(ds), "libjpeg-turbo"
    else:
        stored, oracle = pixel_array(ds, raw=True), "pydicom"
    if ds.SamplesPerPixel == 1 and stored.ndim == 2 or ds.SamplesPerPixel == 3 and stored.ndim == 3:
        stored = stored[None]
    return ds, stored, oracle


def colours(ds, stored):
    """Returns RGB by the standard's formula, in float64 (PS3.3, C.7.6.3.1.2), of what is stored."""
    syntax, photometric = ds.file_meta.TransferSyntaxUID, ds.PhotometricInterpretation
    if photometric in ("RGB", "YBR_RCT", "YBR_ICT") or syntax in (XL, XL_JPEG, XL_LOSSY):
        return stored.astype("<f8")
    top = 2**ds.BitsStored - 1
    y, blue, red = (stored[..., index].astype("<f8") for index in range(3))
    blue, red = blue - (top + 1) / 2, red - (top + 1) / 2
    rgb = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], -1)
    return np.clip(rgb, 0, top)


def check_pydicoms_colours(ds, rgb):
    """pydicom rounds to bytes, with coefficients of 32 bits."""
    if ds.BitsAllocated != 8 or ds.file_meta.TransferSyntaxUID in (BASELINE, XL, XL_JPEG, XL_LOSSY):
        return
    theirs = pixel_array(ds)
    away = np.abs(theirs.reshape(rgb.shape).astype(float) - rgb).max()
    assert away < 0.51, away


# --- Files that are made here ------------------------------------------------------------------------------------------


def picture(shape, bits, signed, seed):
    """Smooth and noisy, with both ends of the range."""
    random = np.random.default_rng(seed)
    grid = np.indices(shape).sum(0) * 1.0
    top = 2**bits - 1
    values = top / 2 * (1 + np.sin(grid / 9)) + random.normal(0, max(top / 100, 0.4), shape)
    values = np.clip(np.round(values), 0, top).astype(np.int64)
    values.flat[0], values.flat[1] = 0, top
    return values - 2 ** (bits - 1) if signed else values


def base(values, photometric, allocated, stored, signed, syntax):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7.4"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    ds.PatientID, ds.Modality = "made", "CT"
    ds.NumberOfFrames, ds.Rows, ds.Columns = values.shape[:3]
    ds.SamplesPerPixel = 1 if values.ndim == 3 else 3
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = photometric
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = allocated, stored, stored - 1
    ds.PixelRepresentation = int(signed)
    if photometric == "PALETTE COLOR":
        for index, colour in enumerate(("Red", "Green", "Blue")):
            setattr(ds, colour + "PaletteColorLookupTableDescriptor", [256, 0, 16])
            table = (np.arange(256) * (index + 1) * 77 % 65536).astype("<u2")
            table = table.astype(">u2") if syntax == BIG else table
            setattr(ds, colour + "PaletteColorLookupTableData", table.tobytes())
    return ds


def cells(values, allocated):
    return (values & (2**allocated - 1)).astype(f"u{allocated // 8}")


def native(ds, values, big=False, planar=False, vr=None):
    """Returns the bytes of Pixel Data, with frames one after the other."""
    if planar:
        ds.PlanarConfiguration = 1
        values = np.moveaxis(values, -1, 1)
    if ds.PhotometricInterpretation == "YBR_FULL_422":
        left, right = values[..., 0::2, :], values[..., 1::2, :]
        values = np.stack([left[..., 0], right[..., 0], left[..., 1], left[..., 2]], -1)
    if ds.BitsAllocated == 1:
        data = np.packbits(values.astype("u1").ravel(), bitorder="little").tobytes()
    else:
        data = (
            cells(values, ds.BitsAllocated)
            .astype((">" if big else "<") + f"u{ds.BitsAllocated // 8}")
            .tobytes()
        )
    data += b"\0" * (len(data) % 2)
    if big and ds.BitsAllocated <= 8 and vr == "OW":
        data = np.frombuffer(data, "u2").byteswap().tobytes()
    return data


def save(ds, path):
    syntax = ds.file_meta.TransferSyntaxUID
    ds.file_meta.FileMetaInformationVersion = b"\0\1"
    little, implicit = syntax != BIG, syntax == IMPLICIT
    buffer = BytesIO()
    plain = copy.copy(ds)
    del plain.file_meta
    pydicom.dcmwrite(buffer, plain, implicit_vr=implicit, little_endian=little)
    body = buffer.getvalue()
    if syntax == DEFLATED:
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = deflate.compress(body) + deflate.flush()
        body += b"\0" * (len(body) % 2)
    head = BytesIO()
    meta = Dataset()
    meta.file_meta = ds.file_meta
    pydicom.filewriter.write_file_meta_info(head, ds.file_meta, enforce_standard=False)
    path.write_bytes(b"\0" * 128 + b"DICM" + head.getvalue() + body)


def encapsulated(ds, streams, table="basic"):
    if table == "extended":
        data, offsets, lengths = encapsulate_extended(streams)
        ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = offsets, lengths
    elif table == "fragments":
        data = encapsulate(streams, fragments_per_frame=2, has_bot=True)
    else:
        data = encapsulate(streams, has_bot=table == "basic")
    ds.PixelData = data
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"


class Maker:
    """Makes files, and keeps what they were made of."""

    def __init__(self, folder):
        self.folder = folder
        self.made = []
        folder.mkdir(parents=True)

    def add(self, name, ds, values, oracle="pydicom", tolerance=0.0, why="", truth=None):
        path = self.folder / f"{name}.dcm"
        save(ds, path)
        self.made.append((path, values, oracle, tolerance, why, truth))

    def uncompressed(self):
        cases = [(8, 8), (8, 5), (16, 8), (16, 10), (16, 12), (16, 16), (32, 32), (32, 20)]
        for syntax, label in (
            (IMPLICIT, "implicit"),
            (EXPLICIT, "explicit"),
            (BIG, "big"),
            (DEFLATED, "deflated"),
        ):
            for allocated, bits in cases:
                for signed in (False, True):
                    for photometric in GREY:
                        values = picture((3, 5, 7), bits, signed, allocated + bits)
                        ds = base(values, photometric, allocated, bits, signed, syntax)
                        ds.PixelData = native(ds, values, syntax == BIG, vr="OW")
                        ds["PixelData"].VR = "OW"
                        sign = "s" if signed else "u"
                        self.add(f"{label}-{allocated}-{bits}{sign}-{photometric}", ds, values)
            for photometric in ("RGB", "YBR_FULL", "YBR_FULL_422"):
                for allocated in (8, 16):
                    for planar in (False, True):
                        if photometric == "YBR_FULL_422" and (planar or allocated == 16):
                            continue
                        values = picture((2, 5, 6, 3), allocated, False, 3)
                        ds = base(values, photometric, allocated, allocated, False, syntax)
                        ds.PixelData = native(ds, values, syntax == BIG, planar, "OW")
                        ds["PixelData"].VR = "OW"
                        if photometric == "YBR_FULL_422":
                            values[..., 1::2, 1:] = values[..., 0::2, 1:]
                        self.add(
                            f"{label}-{allocated}-{photometric}-{'planes' if planar else 'pixels'}",
                            ds,
                            values,
                        )
            values = picture((3, 5, 7), 8, False, 5)
            ds = base(values, "PALETTE COLOR", 8, 8, False, syntax)
            ds.PixelData = native(ds, values, syntax == BIG, vr="OW")
            ds["PixelData"].VR = "OW"
            if syntax == BIG:
                tables = [np.arange(256) * (index + 1) * 77 % 65536 for index in range(3)]
                display = np.stack([table[values] for table in tables], -1)
                why = "PS3.5 7.3: words of a palette are big endian too; pydicom takes them as little endian"
                self.add(
                    "big-8-palette",
                    ds,
                    values,
                    "the formula",
                    why=why,
                    truth=(values, display, "palette", 0.0, 65535.0),
                )
            else:
                self.add(f"{label}-8-palette", ds, values)
            values = picture((3, 3, 3), 1, False, 6)
            ds = base(values, "MONOCHROME2", 1, 1, False, syntax)
            ds.PixelData = native(ds, values, False, vr="OB")
            ds["PixelData"].VR = "OW" if syntax == IMPLICIT else "OB"
            self.add(f"{label}-1-bit", ds, values)
        values = picture((3, 3, 3), 8, False, 7)
        ds = base(values, "MONOCHROME2", 8, 8, False, BIG)
        ds.PixelData = native(ds, values, True, vr="OB")
        ds["PixelData"].VR = "OB"
        self.add("big-8-bytes", ds, values)

    def floats(self):
        for name, kind, allocated in (("FloatPixelData", "f4", 32), ("DoubleFloatPixelData", "f8", 64)):
            for syntax, label in ((IMPLICIT, "implicit"), (EXPLICIT, "explicit"), (BIG, "big")):
                values = (picture((2, 5, 7), 16, True, 9) / 7.0).astype(kind)
                ds = base(values, "MONOCHROME2", allocated, allocated, False, syntax)
                del ds.BitsStored, ds.HighBit, ds.PixelRepresentation
                setattr(ds, name, values.astype((">" if syntax == BIG else "<") + kind).tobytes())
                self.add(f"{label}-{kind}", ds, values)

    def lossless_of_pydicom(self):
        for syntax, label in ((RLE, "rle"), (LS, "jpegls"), (J2K, "j2k")):
            for allocated, bits in ((8, 8), (8, 5), (16, 8), (16, 10), (16, 12), (16, 16)):
                # pydicom writes 8 bits of 16 as bytes, which its own decoders refuse.
                if syntax == RLE and (allocated, bits) == (16, 8):
                    continue
                for signed in (False, True):
                    for photometric in GREY:
                        values = picture((3, 35, 41), bits, signed, 11 + bits)
                        ds = base(values, photometric, allocated, bits, signed, EXPLICIT)
                        data = values.astype(f"{'i' if signed else 'u'}{allocated // 8}")
                        ds.compress(UID(syntax), data, generate_instance_uid=False)
                        sign = "s" if signed else "u"
                        self.add(f"{label}-{allocated}-{bits}{sign}-{photometric}", ds, values)
            for photometric in ("RGB", "YBR_FULL", "YBR_RCT", "PALETTE COLOR"):
                if (photometric == "YBR_RCT") != (syntax == J2K) and photometric == "YBR_RCT":
                    continue
                shape = (2, 35, 41) if photometric == "PALETTE COLOR" else (2, 35, 41, 3)
                values = picture(shape, 8, False, 13)
                ds = base(values, photometric, 8, 8, False, EXPLICIT)
                ds.compress(UID(syntax), values.astype("u1"), generate_instance_uid=False)
                self.add(f"{label}-8-{photometric}", ds, values)
            values = picture((2, 35, 41, 3), 16, False, 14)
            ds = base(values, "RGB", 16, 16, False, EXPLICIT)
            ds.compress(UID(syntax), values.astype("u2"), generate_instance_uid=False)
            self.add(f"{label}-16-RGB", ds, values)

    def by_streams(self):
        """Syntaxes whose streams are made by other encoders."""
        for allocated, bits in ((8, 8), (16, 12), (16, 16)):
            for signed in (False, True):
                values = picture((3, 35, 41), bits, signed, 15 + bits)
                kind = f"{'i' if signed else 'u'}{allocated // 8}"
                sign, pattern = "s" if signed else "u", cells(values, allocated) & (2**bits - 1)
                made = [
                    (
                        LOSSLESS_1,
                        "ljpeg",
                        lambda frame, bits=bits: imagecodecs.ljpeg_encode(frame, bitspersample=bits),
                        "pydicom",
                    ),
                    (
                        XL,
                        "jxl",
                        lambda frame, bits=bits: imagecodecs.jpegxl_encode(
                            frame, lossless=True, bitspersample=bits
                        ),
                        "the source",
                    ),
                    (DEFLATED_FRAME, "deflated-frame", raw_deflate, "the source"),
                    (ENCAPSULATED, "encapsulated", lambda frame: even(frame.tobytes()), "the source"),
                ]
                for syntax, label, encode, oracle in made:
                    ds = base(values, "MONOCHROME2", allocated, bits, signed, syntax)
                    encapsulated(
                        ds, [encode(frame) for frame in pattern], "none" if label == "jxl" else "basic"
                    )
                    self.add(f"{label}-{allocated}-{bits}{sign}", ds, values, oracle)
                for syntax, label in ((HT, "htj2k"), (HT_RPCL, "htj2k-rpcl")):
                    ds = base(values, "MONOCHROME2", allocated, bits, signed, syntax)
                    encapsulated(
                        ds,
                        [imagecodecs.htj2k_encode(frame, reversible=True) for frame in values.astype(kind)],
                    )
                    self.add(f"{label}-{allocated}-{bits}{sign}", ds, values)
        values = picture((2, 19, 22, 3), 8, False, 17)
        for predictor in range(1, 8):
            ds = base(values, "RGB", 8, 8, False, LOSSLESS)
            encode = lambda frame: imagecodecs.jpeg8_encode(
                frame, lossless=True, predictor=predictor, colorspace="RGB", outcolorspace="RGB"
            )
            encapsulated(ds, [encode(frame) for frame in values.astype("u1")], "extended")
            self.add(f"ljpeg-8-RGB-{predictor}", ds, values)
        ds = base(values, "RGB", 8, 8, False, XL)
        encapsulated(ds, [imagecodecs.jpegxl_encode(frame, lossless=True) for frame in values.astype("u1")])
        self.add("jxl-8-RGB", ds, values, "the source")
        ds = base(values, "YBR_RCT", 8, 8, False, HT)
        encapsulated(
            ds, [imagecodecs.htj2k_encode(frame, reversible=True, rgb=True) for frame in values.astype("u1")]
        )
        self.add("htj2k-8-YBR_RCT", ds, values)

    def disagreeing(self):
        """Code stream and header that disagree about bits and sign, where pydicom does as we do."""
        for signed in (False, True):
            values = picture((1, 35, 41), 12, signed, 61)
            pattern, sign = cells(values, 16)[0] & 4095, "s" if signed else "u"
            # The header says the sign; the stream has none, or another.
            other = pattern if signed else (pattern.astype("i2") << 4) >> 4
            own = values[0].astype("i2" if signed else "u2")
            above = 0 if signed else 0xA000
            j2k = {"reversible": True, "codecformat": "J2K", "resolutions": 2}
            streams = {
                "j2k-sign": (J2K, imagecodecs.jpeg2k_encode(other, bitspersample=12, **j2k)),
                "j2k-16-bits": (J2K, imagecodecs.jpeg2k_encode(own, **j2k)),
                "ljpeg-16-bits": (
                    LOSSLESS_1,
                    imagecodecs.ljpeg_encode(cells(values, 16)[0] | above, bitspersample=16),
                ),
            }
            for name, (syntax, stream) in streams.items():
                ds = base(values, "MONOCHROME2", 16, 12, signed, syntax)
                encapsulated(ds, [stream])
                self.add(f"{name}-{sign}", ds, values)

    def contradicting(self):
        """Code streams of another size, or with other samples than the header says: nobody reads them."""
        values = picture((1, 35, 41), 8, False, 63)
        grey = values[0].astype("u1")
        streams = {
            "j2k": (J2K, imagecodecs.jpeg2k_encode(grey, reversible=True, codecformat="J2K", resolutions=2)),
            "ljpeg": (LOSSLESS_1, imagecodecs.ljpeg_encode(grey, bitspersample=8)),
            "jpeg": (BASELINE, imagecodecs.jpeg8_encode(grey)),
            "jpegls": (LS, imagecodecs.jpegls_encode(grey)),
            "jxl": (XL, imagecodecs.jpegxl_encode(grey, lossless=True)),
        }
        for name, (syntax, stream) in streams.items():
            ds = base(values, "MONOCHROME2", 8, 8, False, syntax)
            ds.Rows += 1
            encapsulated(ds, [stream])
            self.add(f"{name}-other-rows", ds, None, "nobody")
            ds = base(values[..., None].repeat(3, -1), "RGB", 8, 8, False, syntax)
            encapsulated(ds, [stream])
            self.add(f"{name}-one-sample-of-three", ds, None, "nobody")

    def lossy(self):
        for bits, level in ((8, 90), (12, 95)):
            for table in ("basic", "none", "extended", "fragments"):
                values = picture((3, 32, 40), bits, False, 19)
                ds = base(
                    values,
                    "MONOCHROME2",
                    8 if bits == 8 else 16,
                    bits,
                    False,
                    BASELINE if bits == 8 else EXTENDED,
                )
                data = values.astype("u1" if bits == 8 else "u2")
                encode = lambda frame: imagecodecs.jpeg8_encode(frame, level=level, bitspersample=bits)
                encapsulated(ds, [encode(frame) for frame in data], table)
                self.add(f"jpeg-{bits}-{table}", ds, None)
        values = picture((2, 32, 40, 3), 8, False, 21)
        for sampling in ("444", "422", "420"):
            for photometric in ("YBR_FULL", "YBR_FULL_422"):
                ds = base(values, photometric, 8, 8, False, BASELINE)
                encode = lambda frame: imagecodecs.jpeg8_encode(
                    frame, level=90, colorspace="RGB", outcolorspace="YCBCR", subsampling=sampling
                )
                encapsulated(ds, [encode(frame) for frame in values.astype("u1")])
                self.add(f"jpeg-8-{photometric}-{sampling}", ds, None)
        for signed in (False, True):
            values = picture((2, 64, 40), 12, signed, 23)
            kind = "i2" if signed else "u2"
            for syntax, label, options in (
                (J2K_LOSSY, "j2k-lossy", {"j2k_cr": [5]}),
                (LS_NEAR, "jpegls-near", {"jls_error": 3}),
            ):
                if signed and syntax == LS_NEAR:
                    continue
                ds = base(values, "MONOCHROME2", 16, 12, signed, EXPLICIT)
                ds.compress(UID(syntax), values.astype(kind), generate_instance_uid=False, **options)
                # The irreversible transform: within 1 of OpenJPEG.
                self.add(
                    f"{label}-12{'s' if signed else 'u'}", ds, None, tolerance=1 if syntax == J2K_LOSSY else 0
                )
            ds = base(values, "MONOCHROME2", 16, 12, signed, HT_LOSSY)
            streams = [
                imagecodecs.htj2k_encode(frame, level=0.002, reversible=False)
                for frame in values.astype(kind)
            ]
            encapsulated(ds, streams)
            self.add(f"htj2k-lossy-12{'s' if signed else 'u'}", ds, None, tolerance=1)
        values = picture((2, 64, 40, 3), 8, False, 25)
        grey = values[..., 0].astype("u1")
        jpeg = [imagecodecs.jpeg8_encode(frame, level=95, subsampling="420") for frame in values.astype("u1")]
        for label, syntax, photometric, streams in (
            (
                "jxl-lossy-8",
                XL_LOSSY,
                "MONOCHROME2",
                [imagecodecs.jpegxl_encode(frame, distance=1.0) for frame in grey],
            ),
            (
                "jxl-lossy-8-XYB",
                XL_LOSSY,
                "XYB",
                [imagecodecs.jpegxl_encode(frame, distance=1.0) for frame in values.astype("u1")],
            ),
            (
                "jxl-of-jpeg",
                XL_JPEG,
                "YBR_FULL_422",
                [imagecodecs.jpegxl_encode_jpeg(frame) for frame in jpeg],
            ),
        ):
            ds = base(
                values if "MONO" not in photometric else values[..., 0], photometric, 8, 8, False, syntax
            )
            encapsulated(ds, streams)
            stored = np.stack([imagecodecs.jpegxl_decode(stream) for stream in streams]).astype(np.int64)
            self.add(label, ds, stored, "libjxl", tolerance=1)
        ds = base(values, "YBR_ICT", 8, 8, False, EXPLICIT)
        ds.PhotometricInterpretation = "YBR_ICT"
        ds.compress(UID(J2K_LOSSY), values.astype("u1"), j2k_cr=[5], generate_instance_uid=False)
        self.add("j2k-lossy-8-YBR_ICT", ds, None, tolerance=1)

    def rendered(self):
        """Windows, tables, presentation, rescale: where pydicom follows the standard."""
        for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            for syntax in (IMPLICIT, BIG):
                values = picture((1, 16, 16), 12, True, 31)
                ds = base(values, "MONOCHROME2", 16, 12, True, syntax)
                ds.RescaleSlope, ds.RescaleIntercept = "1.5", "-1000"
                ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = [40, 1], [400.5, 2], function
                ds.PixelData = native(ds, values, syntax == BIG)
                ds["PixelData"].VR = "OW"
                self.add(f"window-{function}-{'big' if syntax == BIG else 'implicit'}", ds, values)
        values = picture((1, 16, 16), 8, False, 33)
        ds = base(values, "MONOCHROME1", 8, 8, False, EXPLICIT)
        ds.PresentationLUTShape = "INVERSE"
        ds.WindowCenter, ds.WindowWidth = 100, 1
        ds.PixelData = native(ds, values)
        ds["PixelData"].VR = "OW"
        self.add("inverse-once", ds, values)
        for bits in (8, 12, 16):
            values = picture((1, 16, 16), 12, False, 35)
            ds = base(values, "MONOCHROME2", 16, 12, False, EXPLICIT)
            item = table_item(4000, 50, bits, False)
            ds.ModalityLUTSequence = Sequence([item])
            ds.PixelData = native(ds, values)
            ds["PixelData"].VR = "OW"
            if bits == 12:
                modality = np.array(item.LUTData)[np.clip(values - 50, 0, 3999)]
                self.add(
                    "modality-table-12",
                    ds,
                    values,
                    "the formula",
                    why="PS3.3 C.11.1.1: pydicom refuses entries of other than 8 or 16 bits",
                    truth=(modality, modality, "identity", 0.0, 4095.0),
                )
            else:
                self.add(f"modality-table-{bits}", ds, values)
        for bits, count in ((10, 1000), (16, 4096), (16, 65536)):
            values = picture((1, 16, 16), 12, False, 37)
            ds = base(values, "MONOCHROME2", 16, 12, False, EXPLICIT)
            ds.VOILUTSequence = Sequence([table_item(count, 100 if count < 65536 else 0, bits, False)])
            ds.WindowCenter, ds.WindowWidth = 1, 1
            ds.PixelData = native(ds, values)
            ds["PixelData"].VR = "OW"
            self.add(f"voi-table-{bits}-{count}", ds, values)
        for bits in (8, 16):
            values = picture((1, 16, 16), 8, False, 39)
            ds = base(values, "PALETTE COLOR", 8, 8, False, EXPLICIT)
            for colour in ("Red", "Green", "Blue"):
                delattr(ds, colour + "PaletteColorLookupTableData")
                setattr(ds, colour + "PaletteColorLookupTableDescriptor", [256, 0, bits])
                setattr(ds, "Segmented" + colour + "PaletteColorLookupTableData", segments(bits))
            ds.PixelData = native(ds, values)
            ds["PixelData"].VR = "OW"
            self.add(f"palette-segments-{bits}", ds, values)
        for count, first, bits in ((100, 20, 16), (256, 0, 8)):
            values = picture((1, 16, 16), 8, False, 41)
            ds = base(values, "PALETTE COLOR", 8, 8, False, EXPLICIT)
            for index, colour in enumerate(("Red", "Green", "Blue")):
                setattr(ds, colour + "PaletteColorLookupTableDescriptor", [count, first, bits])
                table = (np.arange(count) * (3 + index) % 256).astype("u1" if bits == 8 else "<u2")
                setattr(ds, colour + "PaletteColorLookupTableData", table.tobytes())
            ds.PixelData = native(ds, values)
            ds["PixelData"].VR = "OW"
            self.add(f"palette-{count}-{bits}", ds, values)
        values = picture((3, 16, 16), 12, False, 43)
        ds = base(values, "MONOCHROME2", 16, 12, False, EXPLICIT)
        ds.RescaleSlope, ds.RescaleIntercept = "9", "9"
        ds.SharedFunctionalGroupsSequence = Sequence([groups(2, 5, 500, 400)])
        ds.PerFrameFunctionalGroupsSequence = Sequence(
            [groups(3, -7, None, None), groups(None, None, 90, 30), groups(4, 1, 900, 70)]
        )
        ds.PixelData = native(ds, values)
        ds["PixelData"].VR = "OW"
        self.add(
            "functional-groups",
            ds,
            values,
            why="PS3.3 C.7.6.16.2.9: pydicom applies no functional group; its functions get those of each frame",
        )

    def beyond_pydicom(self):
        """Where the standard says something else than pydicom."""
        values = picture((3, 3, 3), 1, False, 6)
        ds = base(values, "MONOCHROME2", 1, 1, False, BIG)
        ds.PixelData = native(ds, values, True, vr="OW")
        ds["PixelData"].VR = "OW"
        why = "PS3.5 8.1.1 and 7.3: single bits fill words from the lowest bit; pydicom takes the bytes of big-endian words as they are"
        self.add("big-1-bit-words", ds, values, "the source", why=why)

        values = picture((1, 16, 16), 12, False, 51)
        ds = base(values, "MONOCHROME2", 16, 12, False, EXPLICIT)
        ds.HighBit = 15
        noise = np.random.default_rng(1).integers(0, 16, values.shape)
        ds.PixelData = ((values << 4) | noise).astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        self.add(
            "high-bit-15",
            ds,
            values,
            "the source",
            why="PS3.5 8.1.1: High Bit says where the sample lies; pydicom ignores it",
        )

        ds = base(values, "MONOCHROME2", 16, 12, False, EXPLICIT)
        item = table_item(4096, 0, 8, False)
        ds.VOILUTSequence = Sequence([item])
        ds.PixelData = native(ds, values)
        ds["PixelData"].VR = "OW"
        display = np.array(item.LUTData)[values].astype("<f8")
        self.add(
            "voi-table-of-bytes",
            ds,
            values,
            "the formula",
            why="PS3.3 C.11.2.1.1: entries of 8 bits are found by the whole value; pydicom takes it modulo 256",
            truth=(values, display, "table", 0.0, 255.0),
        )

        for syntax, label in ((IMPLICIT, "implicit"), (EXPLICIT, "explicit")):
            ds = base(values, "MONOCHROME2", 16, 12, False, syntax)
            ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
            item = table_item(4096, 64512, 12, False)
            ds.VOILUTSequence = Sequence([item])
            ds.PixelData = native(ds, values)
            ds["PixelData"].VR = "OW"
            display = np.array(item.LUTData)[values].astype("<f8")
            self.add(
                f"first-value-signed-{label}",
                ds,
                values,
                "the formula",
                why="PS3.3 C.11.2.1.1: the first value mapped is signed where values may be; pydicom reads -1024 as 64512",
                truth=(values - 1024.0, display, "table", 0.0, 4095.0),
            )

        ds = base(values, "MONOCHROME2", 16, 12, False, EXPLICIT)
        ds.RescaleSlope, ds.RescaleIntercept, ds.WindowCenter, ds.WindowWidth = "-1", "4095", 2000, 1000
        ds.PixelData = native(ds, values)
        ds["PixelData"].VR = "OW"
        modality = 4095.0 - values
        display = np.clip((modality - 1999.5) / 999 + 0.5, 0, 1)
        self.add(
            "negative-slope",
            ds,
            values,
            "the formula",
            why="PS3.3 C.11.2.1.2.1: shades rise with the modality's values; pydicom's fall with a negative slope",
            truth=(modality, display, "window", 0.0, 1.0),
        )

        rgb = picture((1, 35, 41, 3), 8, False, 55)
        plain = base(rgb, "RGB", 8, 8, False, EXPLICIT)
        plain.compress(UID(J2K), rgb[0].astype("u1"), generate_instance_uid=False)
        plain.PlanarConfiguration = 1
        self.add(
            "j2k-planar-ignored",
            plain,
            rgb,
            "the source",
            why="PS3.5 8.2.4: Planar Configuration says nothing of a code stream; pydicom takes pixels for planes",
        )

        grey = picture((1, 16, 16), 16, False, 57) % 1024 + 512
        ds = base(grey, "MONOCHROME2", 16, 16, False, EXPLICIT)
        ds.PixelPresentation = "COLOR"
        for index, colour in enumerate(("Red", "Green", "Blue")):
            setattr(ds, colour + "PaletteColorLookupTableDescriptor", [512, 1024, 16])
            setattr(
                ds,
                colour + "PaletteColorLookupTableData",
                (np.arange(512) * (50 + index)).astype("<u2").tobytes(),
            )
        ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 800, 500, "LINEAR_EXACT"
        ds.PixelData = native(ds, grey)
        ds["PixelData"].VR = "OW"
        shade = np.clip((grey - 800.0) / 500 + 0.5, 0, 1)[..., None].repeat(3, -1)
        table = np.stack([np.arange(512) * (50 + index) / 65535 for index in range(3)], -1)
        display = np.where((grey < 1024)[..., None], shade, table[np.clip(grey - 1024, 0, 511)])
        self.add(
            "palette-supplemental",
            ds,
            grey,
            "the formula",
            why="PS3.3 C.7.6.19: values below the palette are shades; pydicom gives all of them as shades",
            truth=(grey, display, "palette", 0.0, 1.0),
        )

        for transform, photometric, meant in ((0, "YBR_FULL_422", "rgb"), (1, "RGB", "ybr")):
            made = imagecodecs.jpeg8_encode(
                rgb[0].astype("u1"),
                level=95,
                colorspace="RGB",
                outcolorspace="YCBCR" if transform else "RGB",
                subsampling="444",
            )
            made = with_adobe(made, transform)
            ds = base(rgb, photometric, 8, 8, False, BASELINE)
            encapsulated(ds, [made])
            stored = imagecodecs.jpeg8_decode(
                without_markers(made), colorspace="YCBCR", outcolorspace="YCBCR"
            )[None]
            ds.BitsStored = 8
            display = colours_of(stored, meant)
            self.add(
                f"jpeg-adobe-{transform}",
                ds,
                stored,
                "libjpeg-turbo",
                why="PS3.5 8.2.1: Adobe's marker in the stream says what the components are; pydicom goes by Photometric Interpretation",
                truth=(stored, display, "rgb", 0.0, 255.0),
            )


def colours_of(stored, meant):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = BASELINE
    ds.PhotometricInterpretation, ds.BitsStored = "RGB" if meant == "rgb" else "YBR_FULL", 8
    return colours(ds, stored)


def segments_of(jpeg):
    """Yields marker and bytes of each segment before the scan, then the rest."""
    at = 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        yield jpeg[at + 1], jpeg[at:end]
        at = end
    yield 0xDA, jpeg[at:]


def without_markers(jpeg):
    """Drops what applications say, so that nobody converts colours; components are called 1, 2, 3."""
    kept = b""
    for marker, segment in segments_of(jpeg):
        if marker & 0xF0 == 0xE0:
            continue
        kept += segment
    return jpeg[:2] + kept


def with_adobe(jpeg, transform):
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
    renamed = bytearray(without_markers(jpeg))
    # Components called R, G, B would say what Adobe's marker does.
    at = renamed.index(b"\xff\xc0")
    scan = renamed.index(b"\xff\xda")
    for index in range(3):
        renamed[at + 10 + 3 * index] = renamed[scan + 5 + 2 * index] = index + 1
    return bytes(renamed[:2]) + adobe + bytes(renamed[2:])


def even(data):
    return data + b"\0" * (len(data) % 2)


def raw_deflate(frame):
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return even(deflate.compress(frame.tobytes()) + deflate.flush())


def table_item(count, first, bits, signed):
    item = Dataset()
    top = 2**bits - 1
    item.LUTDescriptor = [count % 65536, first, bits]
    item["LUTDescriptor"].VR = "SS" if signed else "US"
    item.LUTData = [int(value) for value in np.linspace(top, 0, count).round()]
    item["LUTData"].VR = "US"
    if count > 32767:
        # Too long for a length of 16 bits.
        data = np.array(item.LUTData, "<u2").tobytes()
        del item.LUTData
        item.add_new("LUTData", "OW", data)
    return item


def segments(bits):
    """Discrete and linear segments (PS3.3, C.7.9.2), without indirect ones: pydicom counts words there, not bytes."""
    top = 2**bits - 1
    words = [0, 4, 5, 9, 13, top // 3, 1, 60, top, 1, 64, 3, 0, 2, 7, 8, 1, 126, top // 2]
    return even(np.array(words, "u1" if bits == 8 else "<u2").tobytes())


def groups(slope, intercept, center, width):
    item = Dataset()
    if slope is not None:
        inner = Dataset()
        inner.RescaleSlope, inner.RescaleIntercept, inner.RescaleType = str(slope), str(intercept), "US"
        item.PixelValueTransformationSequence = Sequence([inner])
    if center is not None:
        inner = Dataset()
        inner.WindowCenter, inner.WindowWidth = center, width
        item.FrameVOILUTSequence = Sequence([inner])
    return item


# --- The index ---------------------------------------------------------------------------------------------------------


class Index:
    def __init__(self, out):
        self.out, self.lines = out, []

    def line(self, *fields):
        self.lines.append("\t".join(str(field) for field in fields))

    def failed(self, group, name, path, status):
        self.line(name, group, path, status, "", "", "", "", "", "", "", "", "", "", "")

    def values(self, group, name, path, ds, stored, oracle, tolerance, truths, why):
        number = len(self.lines)
        integer = np.issubdtype(stored.dtype, np.integer)
        (self.out / f"{number}.stored").write_bytes(stored.astype("<i8" if integer else "<f8").tobytes())
        modality = np.stack([truth[0] for truth in truths])
        if not np.array_equal(modality, stored):
            (self.out / f"{number}.modality").write_bytes(modality.astype("<f8").tobytes())
        display = np.stack([truth[1] for truth in truths])
        if not np.array_equal(display, modality):
            (self.out / f"{number}.display").write_bytes(display.astype("<f8").tobytes())
        shape = ",".join(map(str, stored.shape if stored.ndim == 4 else (*stored.shape, 1)))
        kind, low, high = truths[0][2:]
        shape_of_lut = ds.get("PresentationLUTShape")
        inverted = (
            shape_of_lut == "INVERSE"
            or shape_of_lut is None
            and ds.PhotometricInterpretation == "MONOCHROME1"
        )
        bits = (
            f"{ds.BitsAllocated}/{ds.get('BitsStored', '-')}{'s' if ds.get('PixelRepresentation') else 'u'}"
        )
        ranges = ";".join(f"{truth[3]!r},{truth[4]!r}" for truth in truths)
        self.line(
            name,
            group,
            path,
            "ok",
            oracle,
            shape,
            "int" if integer else "float",
            tolerance,
            kind,
            ranges,
            int(inverted),
            why,
            ds.file_meta.TransferSyntaxUID,
            ds.PhotometricInterpretation,
            bits,
        )

    def found(self, group, name, path):
        try:
            ds, stored, oracle = read(path)
        except Exception as error:
            self.failed(group, name, path, f"{type(error).__name__}")
            return
        if stored is None:
            self.failed(group, name, path, "none")
            return
        truths = truths_of(ds, stored)
        self.values(group, name, path, ds, stored, oracle, tolerance_of(ds), truths, "")

    def made(self, path, values, oracle, tolerance, why, truth):
        if oracle == "nobody":
            self.contradiction(path)
            return
        ds = pydicom.dcmread(path)
        if values is None:
            ds, stored, oracle = read(path)
        else:
            stored = values
        if truth is not None:
            truths = [
                tuple(part[index] if isinstance(part, np.ndarray) else part for part in truth)
                for index in range(len(stored))
            ]
            self.check_differs(path, stored, truths, why)
        else:
            truths = truths_of(ds, stored)
            if oracle == "pydicom":
                assert np.array_equal(
                    read(path)[1].reshape(stored.shape), stored
                ), f"{path.name} is not what pydicom reads"
            elif why:
                assert not np.array_equal(pixel_array(ds, raw=True).reshape(stored.shape), stored), path.name
        self.values("made", path.stem, path, ds, np.asarray(stored), oracle, tolerance, truths, why)

    def contradiction(self, path):
        ds = pydicom.dcmread(path)
        try:
            status = f"reads {pixel_array(ds, raw=True).shape}"
        except Exception as error:
            status = type(error).__name__
        self.failed("made", path.stem, path, status)

    def check_differs(self, path, stored, truths, why):
        """What is listed as a difference from pydicom has to be one."""
        try:
            ds, theirs, _ = read(path)
            if truths[0][2] == "rgb":
                assert not np.allclose(pixel_array(ds).astype(float), truths[0][1], atol=8), path.name
                return
            _, display, _, low, high = rendered(ds, theirs[0])
        except (ValueError, NotImplementedError, TypeError):
            return
        share = (display - low) / (high - low)
        ours = (truths[0][1] - truths[0][3]) / (truths[0][4] - truths[0][3])
        assert share.shape != ours.shape or not np.allclose(
            share, ours, atol=1e-6
        ), f"{path.name}: pydicom agrees: {why}"


def truths_of(ds, stored):
    truths = []
    for frame, values in enumerate(stored):
        own = of_frame(ds, frame)
        typed = (
            values
            if values.dtype.kind == "f"
            else values.astype(np.int64 if ds.BitsAllocated > 16 else np.int32)
        )
        modality, display, kind, low, high = rendered(own, typed)
        if kind == "rgb":
            display = colours(ds, values)
        truths.append((modality, display, kind, low, high))
    if truths[0][2] == "rgb" and len(stored) == 1 and ds.PhotometricInterpretation.startswith("YBR_FULL"):
        check_pydicoms_colours(ds, truths[0][1])
    return truths


def tolerance_of(ds):
    """The irreversible transform of JPEG 2000 is not defined to the bit."""
    return {J2K_LOSSY: 1, HT_LOSSY: 1}.get(ds.file_meta.TransferSyntaxUID, 0)


def make(out):
    maker = Maker(out / "made")
    for part in (
        maker.uncompressed,
        maker.floats,
        maker.lossless_of_pydicom,
        maker.by_streams,
        maker.disagreeing,
        maker.contradicting,
        maker.lossy,
        maker.rendered,
        maker.beyond_pydicom,
    ):
        part()
    return maker.made


def compare(out, data):
    index = Index(out)
    tests = Path(pydicom.__file__).parent / "data/test_files"
    for path in sorted(tests.rglob("*")):
        if path.is_file() and path.suffix in (".dcm", "") and path.name != "DICOMDIR":
            index.found("pydicom", str(path.relative_to(tests)), path)
    for folder in ("WG04", "highdicom"):
        for path in sorted((data / folder).rglob("*")):
            if path.is_file() and path.name != "LICENSE":
                index.found(folder, str(path.relative_to(data / folder)), path)
    for made in make(out):
        index.made(*made)
    (out / "index.tsv").write_text("\n".join(index.lines) + "\n")


if __name__ == "__main__":
    {"compare": compare, "make": make}[sys.argv[1]](*map(Path, sys.argv[2:]))
