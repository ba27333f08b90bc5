#!/usr/bin/env bash
# pydicom 3.0.2's apply_voi_lut() turns an image whose RescaleSlope is negative into its negative: what should be
# brightest comes out darkest. PS3.3 C.11.2.1.2 maps the window onto an output that rises with the modality value,
# whatever the slope; highdicom 0.28.2 does so. No error, no warning.
#
# Seen: Hounsfield-like values 1000, 500, -24, -1000 in a window of 2000 around 0 become -3095, -2072, -999, 1000.
# The same values stored with a slope of +1 become 3095, 2072, 1047, -1000.
#
# Why a good guess is wrong: values of the modality LUT are right, and the window's formula knows no slope. pydicom
# scales its output by the rescaled range of the stored values and takes the largest stored value for the upper end.
# Whom it bites: whoever feeds windowed films, PET or parametric maps with a negative slope to a network: a tumour is
# a hole. MONOCHROME2 says that high is bright, so that nothing later inverts it again.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 highdicom==0.28.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
from highdicom.pixels import apply_voi_window
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

# pydicom warns of floats as such: both images are floats.
warnings.simplefilter("ignore")


def windowed(slope, intercept, stored):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("image.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.Rows, image.Columns, image.SamplesPerPixel = 1, len(stored), 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.RescaleSlope, image.RescaleIntercept = slope, intercept
    image.WindowCenter, image.WindowWidth = 0, 2000
    image.PixelData = np.array(stored, "<u2").tobytes()
    image.save_as("image.dcm", enforce_file_format=True)
    image = dcmread("image.dcm")
    values = apply_modality_lut(image.pixel_array, image)
    return values[0], apply_voi_lut(values, image)[0]


values, falling = windowed(-1, 1000, [0, 500, 1024, 2000])
same_values, rising = windowed(1, -1000, [2000, 1500, 976, 0])
right = apply_voi_window(values, 0.0, 2000.0, output_range=(0, 255))
print("values  ", values)
print("slope -1", falling)
print("slope +1", rising)
print("highdicom", right)
assert np.array_equal(values, same_values) and list(values) == [1000, 500, -24, -1000]
assert np.all(np.diff(right) < 0) and np.all(np.diff(rising) < 0)
assert np.all(np.diff(falling) > 0), "the behaviour has changed"
assert falling[0] == -3095 and rising[0] == 3095
PYTHON
