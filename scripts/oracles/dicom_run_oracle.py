"""What pydicom says of the rows and chips of a run over DICOM objects, and the objects that the tests run over.

Usage: dicom_run_oracle.py expected FOLDER     prints a list: what the rows of each file in FOLDER hold, by pydicom
       dicom_run_oracle.py compare CHIPS.json  compares chips with pydicom and NumPy, and prints how many are equal
       dicom_run_oracle.py make KIND OUT …     makes objects in OUT

CHIPS.json is a list of `{"path", "frame", "stage", "chip"}`, `chip` being a .npy file; with `stage` "input" also `preset`
and `windows`. The values of frames are those of `dicom_oracle.py`; presets are written out here.
"""

import datetime
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pydicom
from dicom_oracle import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    RLE,
    base,
    even,
    native,
    picture,
    read,
    save,
    truths_of,
)
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.sequence import Sequence

MPEG4 = "1.2.840.10008.1.2.4.102"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"

# --- Rows --------------------------------------------------------------------------------------------------------------


def group_of(ds, frame, sequence):
    """Returns the functional group of a frame, else the shared one, else the data set itself (PS3.3, C.7.6.16)."""
    own = ds.get("PerFrameFunctionalGroupsSequence")
    if own and frame < len(own) and own[frame].get(sequence):
        return own[frame][sequence][0]
    shared = ds.get("SharedFunctionalGroupsSequence")
    if shared and shared[0].get(sequence):
        return shared[0][sequence][0]
    return ds


def numbers(item, name, count):
    value = item.get(name)
    return [float(number) for number in value] if value is not None and len(value) == count else None


def slice_position(ds, frame):
    """Returns the place along the normal of the plane: position · (row × column)."""
    position = numbers(group_of(ds, frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = numbers(group_of(ds, frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        return None
    return float(np.dot(position, np.cross(orientation[:3], orientation[3:])))


def spacing(ds):
    own = numbers(group_of(ds, 0, "PixelMeasuresSequence"), "PixelSpacing", 2)
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        own = own or numbers(ds, name, 2)
    return own


def text(value):
    """Returns a text without padding; null for a blank one."""
    return str(value).strip(" \0") or None if value is not None else None


def days(date):
    date = text(date)
    return date and (datetime.datetime.strptime(date, "%Y%m%d").date() - datetime.date(1970, 1, 1)).days


def row_of(ds, frame):
    laterality = group_of(ds, frame, "FrameAnatomySequence").get("FrameLaterality")
    return {
        "frame": frame,
        "width": ds.Columns,
        "height": ds.Rows,
        "modality": text(ds.get("Modality")),
        "sop_class": text(ds.SOPClassUID),
        "transfer_syntax": str(ds.file_meta.TransferSyntaxUID),
        "photometric": text(ds.PhotometricInterpretation),
        "bits_stored": ds.BitsStored,
        "pixel_spacing": spacing(ds),
        "orientation": numbers(group_of(ds, frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        "slice_position": slice_position(ds, frame),
        "laterality": text(laterality or ds.get("ImageLaterality") or ds.get("Laterality")),
        "view_position": text(ds.get("ViewPosition")),
        "patient_key": text(ds.get("PatientID")),
        "study_key": text(ds.get("StudyInstanceUID")),
        "series_key": text(ds.get("SeriesInstanceUID")),
        "instance_key": text(ds.get("SOPInstanceUID")),
        "study_date": days(ds.get("StudyDate")),
    }


def expected(folder):
    files = []
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        try:
            ds = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError:
            files.append({"file": path.name, "reason": "not_an_image", "rows": []})
            continue
        if "PixelData" not in ds or ds.SOPClassUID == SEGMENTATION:
            files.append({"file": path.name, "reason": "not_image", "rows": []})
            continue
        frames = range(int(ds.get("NumberOfFrames") or 1))
        files.append({"file": path.name, "reason": None, "rows": [row_of(ds, frame) for frame in frames]})
    print(json.dumps(files))


# --- Chips -------------------------------------------------------------------------------------------------------------


def is_inverted(ds):
    shape = ds.get("PresentationLUTShape")
    return shape == "INVERSE" or shape is None and ds.PhotometricInterpretation == "MONOCHROME1"


def shade(ds, truth):
    """Returns display values from 0 to 255, unrounded."""
    _, display, kind, low, high = truth
    share = np.clip((display - low) / (high - low), 0, 1) if high > low else np.zeros_like(display)
    return 255 * (1 - share if kind not in ("rgb", "palette") and is_inverted(ds) else share)


def window_of(values, centre, width):
    """LINEAR, from 0 to 255 (PS3.3, C.11.2.1.2.1)."""
    return 255 * np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def padding_of(ds, stored):
    """Returns which stored values are padding (PS3.3, C.7.5.1.1.2)."""
    if "PixelPaddingValue" not in ds:
        return np.zeros(stored.shape, bool)
    ends = [ds.PixelPaddingValue, ds.get("PixelPaddingRangeLimit", ds.PixelPaddingValue)]
    return (stored >= min(ends)) & (stored <= max(ends))


def preset_of(ds, stored, truth, preset, windows):
    """Returns what a preset makes of a frame, `[rows, columns, bands]`, and how far a chip may be away."""
    modality, grey = truth[0].astype("<f8"), ds.SamplesPerPixel == 1 and truth[2] != "palette"
    padding = padding_of(ds, stored)
    inverted = is_inverted(ds)
    if preset == "modality":
        return modality[..., None].astype("<f4"), 0
    if preset == "xray-raw":
        top = 2 ** ds.BitsStored - 1
        white = top - stored.astype("<f8") if ds.PhotometricInterpretation == "MONOCHROME1" else stored
        return ((2 * (white / top) - 1) * 1024)[..., None], 1e-3
    if preset == "display":
        shown = shade(ds, truth)
        shown = shown[..., None] if grey else shown
    elif preset == "minmax":
        low, high = modality[~padding].min(), modality[~padding].max()
        shown = 255 * np.clip((modality - low) / (high - low), 0, 1)[..., None]
        shown = 255 - shown if inverted else shown
    else:
        shown = np.stack([window_of(modality, *window) for window in windows], -1)
        shown = 255 - shown if inverted else shown
    if grey:
        shown[padding] = 0
    return shown, 0.5 + 1e-9


def wanted(entry, ds, stored, truth):
    if entry["stage"] == "stored":
        return stored, 0
    if entry["stage"] == "modality":
        return truth[0], 0
    shown, tolerance = preset_of(ds, stored, truth, entry.get("preset", "display"), entry.get("windows"))
    if entry["stage"] == "input" and shown.shape[-1] == 1 and entry["bands"] == 3:
        shown = np.repeat(shown, 3, -1)
    return shown, tolerance


def compare(index):
    entries, opened = json.loads(Path(index).read_text()), {}
    for entry in entries:
        path = entry["path"]
        if path not in opened:
            ds, stored, _ = read(path)
            opened[path] = ds, stored, truths_of(ds, stored)
        ds, stored, truths = opened[path]
        right, tolerance = wanted(entry, ds, stored[entry["frame"]], truths[entry["frame"]])
        found = np.load(entry["chip"])
        if entry["stage"] == "input" and found.shape != right.shape:
            # Planes, bands first.
            found = np.moveaxis(found, 0, -1)
        found = found.reshape(right.shape) if found.size == right.size else found
        what = f"{Path(path).name}, frame {entry['frame']}, {entry['stage']} {entry.get('preset', '')}"
        if found.shape != right.shape:
            sys.exit(f"{what}: {found.shape}, expected {right.shape}")
        away = np.abs(found.astype("<f8") - right).max()
        if not away <= tolerance:
            sys.exit(f"{what}: {away} away, at most {tolerance} expected")
    print(len(entries))


# --- Objects -----------------------------------------------------------------------------------------------------------


def grey(shape, bits=16, signed=False, seed=0, syntax=EXPLICIT, photometric="MONOCHROME2"):
    """Returns an object with frames of noise, and its values."""
    values = picture(shape, bits, signed, seed)
    allocated = 8 if bits <= 8 else 16
    ds = base(values, photometric, allocated, bits, signed, syntax)
    ds.add_new("PixelData", "OW" if allocated == 16 else "OB", native(ds, values, big=syntax == BIG))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.Modality, ds.StudyInstanceUID, ds.SeriesInstanceUID = "CT", "1.2.3.4", "1.2.3.4.5"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.5.{seed}"
    return ds, values


def write(ds, path, preamble=b"\0" * 128):
    save(ds, path)
    if preamble != b"\0" * 128:
        whole = path.read_bytes()
        path.write_bytes(preamble + whole[128:])


def small(out, seed=0, frames=1, **keywords):
    """One object with frames of 64 × 64 pixels."""
    ds, _ = grey((frames, 64, 64), seed=seed, **keywords)
    write(ds, out)


def volume(out, frames, side):
    """An explicit object of many frames of 16 bits, written frame by frame."""
    ds, _ = grey((1, 8, 8))
    ds.Rows = ds.Columns = int(side)
    ds.NumberOfFrames = int(frames)
    ds.PixelData = b""
    write(ds, Path(out))
    bytes_per_frame = int(side) ** 2 * 2
    # Where its 32-bit length is: the value is the last of the data set.
    noise = np.random.default_rng(1)
    with open(out, "r+b") as file:
        file.seek(-4, 2)
        file.write(struct.pack("<I", bytes_per_frame * int(frames)))
        for _ in range(int(frames)):
            file.write(noise.integers(0, 4096, int(side) ** 2, "<u2").tobytes())


def encapsulated_volumes(out, frames, side):
    """Objects of many RLE frames: with a basic offset table, an extended one, and none."""
    frames, side = int(frames), int(side)
    values = np.random.default_rng(2).integers(0, 65536, (2, side, side), "<u2")
    for table in ("basic", "extended", "none"):
        ds, _ = grey((1, 8, 8), syntax=RLE)
        ds.Rows = ds.Columns = side
        ds.NumberOfFrames = frames
        encode = lambda at: even(RLELosslessEncoder.encode(values[at], rows=side, columns=side, samples_per_pixel=1, number_of_frames=1, bits_allocated=16, bits_stored=16, pixel_representation=0, photometric_interpretation="MONOCHROME2"))
        two = [encode(0), encode(1)]
        streams = [two[frame % 2] for frame in range(frames)]
        if table == "extended":
            ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended(streams)
        else:
            ds.PixelData = encapsulate(streams, has_bot=table == "basic")
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        write(ds, Path(out) / f"{table}.dcm")
    print(len(two[0]))


def presets(out):
    """Frames that are as large as the model's input: signed with a rescale and padding, a mammogram's MONOCHROME1."""
    out = Path(out)
    ds, values = grey((2, 64, 64), bits=12, signed=True, seed=3)
    values = (values.astype(int) // 3).astype("<i2")
    values[:, :5] = -2000
    ds.PixelData = values.tobytes()
    ds.RescaleSlope, ds.RescaleIntercept, ds.PixelPaddingValue = "2", "-100", -2000
    ds["PixelPaddingValue"].VR = "SS"
    ds.WindowCenter, ds.WindowWidth = "40", "400"
    write(ds, out / "ct.dcm")
    ds, _ = grey((1, 64, 64), bits=12, seed=4, photometric="MONOCHROME1")
    ds.Modality = "MG"
    write(ds, out / "mammogram.dcm")


def looks(out):
    """Objects of every kind that chips are taken of."""
    out = Path(out)
    small(out / "plain.dcm", bits=12)
    small(out / "frames.dcm", frames=5, bits=10, signed=True)
    small(out / "inverse.dcm", bits=12, photometric="MONOCHROME1")
    small(out / "implicit.dcm", syntax=IMPLICIT, bits=16, signed=True)
    # One stream, of which each frame needs all before it: more than twice a frame.
    small(out / "deflated.dcm", frames=40, syntax="1.2.840.10008.1.2.1.99", bits=12)
    ds, _ = grey((2, 48, 80), bits=16, syntax=BIG, seed=9)
    ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-1024"
    write(ds, out / "big.dcm")
    ds, _ = grey((1, 64, 64), bits=12, signed=True, seed=5)
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", "-1024", "HU"
    ds.WindowCenter, ds.WindowWidth = ["-600", "40"], ["1500", "400"]
    write(ds, out / "window.dcm")
    ds, _ = grey((1, 64, 64), bits=8, seed=6)
    ds.PhotometricInterpretation = "PALETTE COLOR"
    for index, name in enumerate(("Red", "Green", "Blue")):
        entries = (np.arange(256) * (index + 3) * 77 % 65536).astype("<u2")
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        ds[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        ds.add_new(f"{name}PaletteColorLookupTableData", "OW", entries.tobytes())
    write(ds, out / "palette.dcm")


def bucket(out):
    """What lies in buckets of hospitals and archives beside images."""
    out = Path(out)
    small(out / "3f0c8a52-5c0b-4cf5-9a6b-0d6f5b1a7e11", seed=1)
    small(out / "IM000001", seed=2)
    tiff = b"II*\0\x08\0\0\0" + b"\0" * 120
    ds, _ = grey((1, 64, 64), seed=3)
    write(ds, out / "dual.tif", preamble=tiff)
    # Without preamble and prefix: the file meta information begins at once, or there is none.
    ds, _ = grey((1, 64, 64), seed=4)
    write(ds, out / "bare")
    (out / "bare").write_bytes((out / "bare").read_bytes()[132:])
    ds, _ = grey((1, 64, 64), seed=5, syntax=IMPLICIT)
    save(ds, out / "older")
    whole = pydicom.dcmread(out / "older")
    pydicom.dcmwrite(out / "older", Dataset({element.tag: element for element in whole}), implicit_vr=True, little_endian=True)
    # Orthanc keeps the part before the pixels beside the file.
    small(out / "7d1be0b5.dcm", seed=6)
    head = (out / "7d1be0b5.dcm").read_bytes()[:400]
    (out / "7d1be0b5.dcm.head").write_bytes(head)
    directory(out / "DICOMDIR")
    small(out / "film.dcm", seed=7)
    film = pydicom.dcmread(out / "film.dcm")
    film.file_meta.TransferSyntaxUID = MPEG4
    film.PixelData = encapsulate([b"\0\0\x01\xb3" * 64], has_bot=False)
    film["PixelData"].VR = "OB"
    film.save_as(out / "film.dcm", enforce_file_format=True)


def directory(path):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.FileSetID = "DISC"
    ds.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    ds.FileSetConsistencyFlag = 0
    ds.DirectoryRecordSequence = Sequence()
    ds.save_as(path, enforce_file_format=True)


def raw(ds, path, change):
    """Writes an object, then changes its bytes."""
    write(ds, path)
    path.write_bytes(change(path.read_bytes()))


def element(group, number, vr, value):
    return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value


def nested(depth):
    """A sequence in a sequence in …, of undefined length."""
    begin = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return begin * depth


def broken(out):
    """Objects that no reader can make an image of, each with one fault."""
    out = Path(out)
    ds, _ = grey((2, 64, 64), seed=1)
    raw(ds, out / "cut-in-frame-1.dcm", lambda whole: whole[:-4000])
    raw(ds, out / "cut-in-header.dcm", lambda whole: whole[:250])
    ds, _ = grey((1, 64, 64), seed=2)
    del ds.Rows
    write(ds, out / "no-rows.dcm")
    ds, _ = grey((1, 64, 64), seed=3)
    ds.Rows = ds.Columns = 65535
    write(ds, out / "absurd.dcm")
    ds, _ = grey((1, 64, 64), seed=4)
    ds.Rows = 0
    write(ds, out / "rows-0.dcm")
    ds, _ = grey((1, 64, 64), seed=5)
    write(ds, out / "deep.dcm")
    whole = (out / "deep.dcm").read_bytes()
    at = whole.rindex(struct.pack("<HH", 0x7FE0, 0x0010))
    (out / "deep.dcm").write_bytes(whole[:at] + nested(20000))
    offsets_outside(out)
    ds, _ = grey((2, 64, 64), seed=7)
    ds.NumberOfFrames = 5
    write(ds, out / "fewer-frames.dcm")
    ds, _ = grey((3, 64, 64), seed=8)
    ds.NumberOfFrames = 2
    write(ds, out / "more-frames.dcm")
    ds, _ = grey((1, 64, 64), seed=9)
    del ds.PixelData
    write(ds, out / "no-pixels.dcm")
    ds, _ = grey((1, 64, 64), seed=10)
    ds.NumberOfFrames = 0
    write(ds, out / "frames-0.dcm")
    ds, _ = grey((1, 64, 64), seed=11)
    ds.BitsStored = 40
    write(ds, out / "bits-40.dcm")
    ds, _ = grey((1, 64, 64), seed=12)
    raw(ds, out / "text.dcm", lambda whole: whole[:128] + b"DICM" + b"what is here is no data set at all" * 20)
    (out / "empty.dcm").write_bytes(b"")
    small(out / "sound.dcm", seed=13)


def offsets_outside(out):
    frame = np.zeros((64, 64), "<u2")
    stream = even(RLELosslessEncoder.encode(frame, rows=64, columns=64, samples_per_pixel=1, number_of_frames=1, bits_allocated=16, bits_stored=16, pixel_representation=0, photometric_interpretation="MONOCHROME2"))
    for name, table in (("basic-outside", "basic"), ("extended-outside", "extended"), ("rle-fewer", "none")):
        ds, _ = grey((1, 8, 8), syntax=RLE, seed=6)
        ds.Rows = ds.Columns = 64
        ds.NumberOfFrames = 3
        if table == "extended":
            ds.PixelData, offsets, lengths = encapsulate_extended([stream] * 3)
            ds.ExtendedOffsetTable = struct.pack("<3Q", 0, 2**40, 2**63)
            ds.ExtendedOffsetTableLengths = lengths
        else:
            ds.PixelData = encapsulate([stream] * (2 if table == "none" else 3), has_bot=table == "basic")
        if table == "basic":
            ds.PixelData = ds.PixelData[:12] + struct.pack("<2I", 2**31, 2**32 - 2) + ds.PixelData[20:]
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
        write(ds, out / f"{name}.dcm")
    ds, _ = grey((1, 8, 8), syntax=RLE, seed=6)
    ds.Rows = ds.Columns = 65535
    ds.PixelData = encapsulate([stream], has_bot=False)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    write(ds, out / "absurd-rle.dcm")


# Names, ids, dates and UIDs of people who do not exist; the test searches for them.
PEOPLE = [
    ("Quimby^Zoe", "MRN4711", "19530417", "20231109", "2.25.47110815"),
    ("Quimby^Zoe", "MRN4711 ", "19530417", "20231224", "2.25.47110816"),
    ("Hollerith^Max", "MRN0042", "19700229", "20231109", "2.25.47110817"),
    ("Nobody^Blank", "   ", "", "20231109", "2.25.47110818"),
]


def person(ds, index):
    name, patient, born, studied, uid = PEOPLE[index]
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.StudyDate = name, patient, born, studied
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = uid + ".1", uid + ".2", uid + f".3.{index}"
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.AccessionNumber, ds.InstitutionName, ds.StationName = "Wardsix-acc", "Wardsix Hospital", "Wardsix-CT"
    ds.StudyDescription = ds.SeriesDescription = ds.ImageComments = f"Quimby, MRN4711, {born}"
    ds.ReferringPhysicianName = "Hollerith^Doctor"
    ds.add_new(0x00091010, "LO", "Quimby private")
    ds.BurnedInAnnotation = "NO"


def people(out):
    """Objects full of names, good and broken, in a folder that is a name too."""
    out = Path(out) / "Wardsix" / "Quimby_Zoe"
    out.mkdir(parents=True)
    for index in range(len(PEOPLE)):
        ds, _ = grey((2, 64, 64), seed=20 + index)
        person(ds, index)
        write(ds, out / f"MRN4711_19530417-{index}")
    ds, _ = grey((2, 64, 64), seed=30)
    person(ds, 0)
    raw(ds, out / "Hollerith-cut.dcm", lambda whole: whole[:-4000])
    ds.Rows = 65535
    write(ds, out / "Hollerith-absurd.dcm")
    del ds.Rows
    write(ds, out / "Hollerith-no-rows.dcm")
    # Where numbers are to be there is a name.
    ds, _ = grey((1, 64, 64), seed=31)
    person(ds, 0)
    write(ds, out / "Hollerith-wrong.dcm")
    wrong = (out / "Hollerith-wrong.dcm").read_bytes()
    photometric = element(0x0028, 0x0004, "CS", b"MONOCHROME2 ")
    assert photometric in wrong
    (out / "Hollerith-wrong.dcm").write_bytes(wrong.replace(photometric, element(0x0028, 0x0004, "CS", b"QUIMBY ZOE12")))
    ds.file_meta.TransferSyntaxUID = "2.25.47110899"
    ds.save_as(out / "Hollerith-syntax.dcm", enforce_file_format=True, implicit_vr=False, little_endian=True)
    ds, _ = grey((1, 64, 64), seed=32)
    person(ds, 2)
    ds.RescaleSlope, ds.RescaleIntercept = "1", "0"
    write(ds, out / "Hollerith-slope.dcm")
    slope = (out / "Hollerith-slope.dcm").read_bytes()
    one = element(0x0028, 0x1053, "DS", b"1 ")
    (out / "Hollerith-slope.dcm").write_bytes(slope.replace(one, element(0x0028, 0x1053, "DS", b"Zoe Quimby")))
    ds, _ = grey((1, 64, 64), seed=33)
    person(ds, 2)
    ds.SOPClassUID = "2.25.47110888"
    del ds.PixelData
    write(ds, out / "Hollerith-report")
    ds, _ = grey((1, 64, 64), seed=34)
    person(ds, 2)
    ds.Modality, ds.Laterality, ds.ViewPosition = "MRN4711", "QUIMBY", "HOLLERITH"
    ds.SOPClassUID = "2.25.47110887"
    write(ds, out / "Hollerith-codes")


def tags(out):
    """Objects whose attributes hold what they are for, or names: as devices declare them, and as text."""
    out = Path(out) / "Wardsix" / "Quimby_Zoe"
    out.mkdir(parents=True)
    for index in range(len(PEOPLE)):
        ds, _ = grey((2, 64, 64), seed=40 + index)
        person(ds, index)
        if index == 0:
            ds.PatientAge, ds.PatientSex, ds.BodyPartExamined = "093Y", "F", "CHEST"
            ds.ImageType = ["ORIGINAL", "PRIMARY", "QUIMBY"]
            ds.KVP, ds.SliceThickness, ds.PixelSpacing = "120", "1.50", ["0.5", "0.25"]
        if index == 1:
            ds.PatientAge, ds.BodyPartExamined, ds.SliceThickness = "034Y", "QUIMBY", "1.25"
            ds.add_new(0x00100040, "LO", "Quimby^Zoe")
            ds.add_new(0x00180060, "LO", "Zoe Quimby")
            ds.add_new(0x00280030, "LO", "Zoe Quimby\\0.25")
            ds.add_new(0x00200032, "LO", "1\\Hollerith\\2")
            ds.add_new(0x00200037, "LO", "1\\0\\0\\0\\1\\MRN4711")
        if index == 2:
            ds.BodyPartExamined, ds.ImageType = "HOLLERITH MAX", ["MRN0042", "DERIVED"]
            ds.add_new(0x00101010, "LO", "MRN0042, born 19700229")
            ds.add_new(0x00180060, "FD", float("inf"))
        write(ds, out / f"MRN4711_19530417-{index}")
    for seed, name in enumerate(("burned", "report", "no-rows", "short")):
        ds, _ = grey((1, 64, 64), seed=50 + seed)
        person(ds, 0)
        if name == "burned":
            ds.BurnedInAnnotation = "YES"
        if name == "report":
            del ds.PixelData
        if name == "no-rows":
            del ds.Rows
        raw(ds, out / f"Hollerith-{name}", lambda whole: whole[:400] if name == "short" else whole)


def burned(out):
    """Objects that say, do not say, or deny that text is burned in."""
    out = Path(out)
    kinds = (("yes", "CT", "YES"), ("no", "US", "NO"), ("silent-us", "US", None), ("silent-ct", "CT", None))
    for seed, (name, modality, annotation) in enumerate(kinds):
        ds, _ = grey((1, 64, 64), seed=seed)
        ds.Modality = modality
        if annotation:
            ds.BurnedInAnnotation = annotation
        write(ds, out / f"{name}.dcm")


KINDS = {
    "small": lambda out: small(Path(out)),
    "volume": volume,
    "encapsulated": encapsulated_volumes,
    "presets": presets,
    "looks": looks,
    "bucket": bucket,
    "broken": broken,
    "people": people,
    "tags": tags,
    "burned": burned,
    "frames": lambda out, frames: small(Path(out), frames=int(frames)),
}


def make(kind, out, *more):
    KINDS[kind](out, *more)


if __name__ == "__main__":
    {"expected": expected, "compare": compare, "make": make}[sys.argv[1]](*sys.argv[2:])
