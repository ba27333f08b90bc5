#!/usr/bin/env bash
# pydicom 3.0.2 shows one and the same image in its greys or as plain black, depending on the transfer syntax that it
# was saved with. The first value that a VOI LUT maps may be negative (PS3.3 C.11.2.1.1: signed where the input of
# the table may be); in implicit VR, where the file does not say the type, pydicom reads -1024 as 64512.
#
# Seen: a CT with intercept -1024 and a VOI LUT from -1024 on, written by pydicom itself. Explicit VR little endian:
# 0, 16007, 32783, 64030. Implicit VR little endian: 0, 0, 0, 0. No error; no warning that the other lacks.
#
# Why a good guess is wrong: implicit and explicit VR are two spellings of one data set; PACS and gateways convert
# between them on the way. pydicom settles the type by PixelRepresentation, the sign of stored values, which for CT
# is often "unsigned" while Hounsfield units below zero go into the table.
# Whom it bites: pipelines that fetch by DIMSE, where implicit VR is the one syntax that everybody must offer, and
# were tested on files in explicit VR. A black image has a prediction, too.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

# pydicom warns of floats as such: both images are floats.
warnings.simplefilter("ignore")


def shown(syntax):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("image.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.Rows, image.Columns, image.SamplesPerPixel = 1, 4, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.RescaleSlope, image.RescaleIntercept = 1, -1024
    image.PixelData = np.array([0, 500, 1024, 2000], "<u2").tobytes()
    table = Dataset()
    table.add_new("LUTDescriptor", "SS", [2048, -1024, 16])
    table.add_new("LUTData", "OW", np.linspace(0, 65535, 2048).astype("<u2").tobytes())
    image.VOILUTSequence = [table]
    image.save_as("image.dcm", enforce_file_format=True)
    image = dcmread("image.dcm")
    values = apply_modality_lut(image.pixel_array, image)
    assert values[0].tolist() == [-1024, -524, 0, 976]
    return image.VOILUTSequence[0].LUTDescriptor[1], apply_voi_lut(values, image)[0].tolist()


explicit, implicit = shown(ExplicitVRLittleEndian), shown(ImplicitVRLittleEndian)
print("explicit VR: first value mapped", *explicit)
print("implicit VR: first value mapped", *implicit)
assert explicit == (-1024, [0, 16007, 32783, 64030])
assert implicit == (64512, [0, 0, 0, 0]), "the behaviour has changed"
PYTHON
