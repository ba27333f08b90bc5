#!/usr/bin/env bash
# pydicom 3.0.2 turns red into green where Pillow is its JPEG decoder and the JPEG says of itself that it is YCbCr, by
# the transform 1 in Adobe's APP14 marker (ITU-T T.872 6.5.3): Pillow converts to RGB because of the marker, pydicom
# converts the result once more because PhotometricInterpretation is YBR_FULL_422, which is right. No error, no warning.
#
# Seen, for an image of red 200, green 100, blue 50 throughout, JPEG baseline, 4:2:2, PhotometricInterpretation
# YBR_FULL_422; of the bytes of the file, only the marker of 16 differs:
#                                                  no APP14         APP14, transform 1
#   pydicom or highdicom 0.28.2 with Pillow 13.0.0  200, 100, 50     91, 255, 150
#   the same after installing python-gdcm 3.2.6     200, 100, 50     200, 100, 50
#   the same with pylibjpeg-libjpeg 2.5.0           200, 100, 50     200, 100, 50
#   SimpleITK 2.5.7, and Pillow itself              200, 100, 50     200, 100, 50
# A JFIF marker, or one next to Adobe's, changes nothing. raw=True gives 124, 86, 182, which is YCbCr as documented,
# without the marker, and 200, 100, 50 with it.
#
# Why a good guess is wrong: a marker that states what is true should help, and pydicom does look at it. It was taught
# to for files of RGB with a transform of 0, and its own such file passes. Pillow reads the JPEG itself correctly.
# Whom it bites: whoever puts photographs of skin or of the operating theatre into DICOM as Photoshop saved them, with
# no further loss. `pip install highdicom` brings Pillow and no other decoder for JPEG baseline.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
install() { "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
install pydicom==3.0.2 highdicom==0.28.2 pillow==13.0.0 numpy==2.4.6 simpleitk==2.5.7

cat >"$folder/colours.py" <<'PYTHON'
import io
import struct
import sys
import warnings

import highdicom
import numpy as np
import SimpleITK
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import JPEGBaseline8Bit, VLPhotographicImageStorage, generate_uid

warnings.simplefilter("error")
side = 16
right, twice, ycbcr = [200, 100, 50], [91, 255, 150], [124, 86, 182]


def encode():
    out = io.BytesIO()
    Image.new("RGB", (side, side), tuple(right)).save(out, "JPEG", quality=95, subsampling="4:2:2")
    return out.getvalue()


def write(jpeg):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = JPEGBaseline8Bit, VLPhotographicImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("image.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.Rows, image.Columns, image.SamplesPerPixel = side, side, 3
    image.PhotometricInterpretation, image.PlanarConfiguration, image.PixelRepresentation = "YBR_FULL_422", 0, 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PixelData = encapsulate([jpeg])
    image.save_as("image.dcm", enforce_file_format=True)


def colour(pixels):
    found = np.unique(np.reshape(pixels, (-1, 3)), axis=0).tolist()
    assert len(found) == 1, found
    return found[0]


def check(name, found, wanted):
    print(f"{name:35}", found)
    assert found == wanted, "the behaviour has changed"


jfif = encode()
length = struct.unpack(">H", jfif[4:6])[0] + 2  # of the JFIF marker, which comes first
adobe = struct.pack(">HH5sHHHB", 0xFFEE, 14, b"Adobe", 100, 0, 0, 1)
soi, marker, rest = jfif[:2], jfif[2 : 2 + length], jfif[2 + length :]
pillow_alone = sys.argv[1] == "alone"
for name, jpeg, marked in [
    ("no marker", soi + rest, False),
    ("JFIF", jfif, False),
    ("APP14", soi + adobe + rest, True),
    ("JFIF, APP14", soi + marker + adobe + rest, True),
]:
    write(jpeg)
    image = dcmread("image.dcm")
    wrong = twice if marked else right
    ours = wrong if pillow_alone else right
    check(f"{name}: pydicom", colour(image.pixel_array), ours)
    check(f"{name}: highdicom", colour(highdicom.imread("image.dcm").get_frame(1)), ours)
    check(f"{name}: pydicom and Pillow", colour(pixel_array("image.dcm", decoding_plugin="pillow")), wrong)
    raw = colour(pixel_array("image.dcm", decoding_plugin="pillow", raw=True))
    check(f"{name}: the same, raw", raw, right if marked else ycbcr)
    check(f"{name}: SimpleITK", colour(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("image.dcm"))), right)
    check(f"{name}: Pillow", colour(Image.open(io.BytesIO(jpeg))), right)
    if not pillow_alone:
        for plugin in ("gdcm", "pylibjpeg"):
            check(f"{name}: {plugin}", colour(pixel_array("image.dcm", decoding_plugin=plugin)), right)
PYTHON

cd "$folder"
venv/bin/python colours.py alone
install pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0 python-gdcm==3.2.6
venv/bin/python colours.py "among others"
