#!/usr/bin/env bash
# SimpleITK 2.5.7 (ITK 5.4) writes the position, orientation and PixelSpacing of an image into a DICOM file if the same
# process has read any DICOM file before, and leaves them out if not. That is so where nothing names the kind of image,
# when it writes a secondary capture, for which these are optional (PS3.3 A.8.1.3). No error, no warning.
#
# Seen, for three slices of one volume, written one by one: 0.5 x 0.7 mm, 3 mm apart from (10, -20, 30) on along -y:
#                              in a fresh process       after reading some DICOM file     as CT (0008|0060), either way
#   ImagePositionPatient       none                     (10, -20, 30), (10, -23, 30) ...  as in the middle
#   ImageOrientationPatient    none                     1, 0, 0, 0, 0, 1                  as in the middle
#   PixelSpacing               none                     0.7, 0.5                          0.7, 0.5
#   NominalScannedPixelSpacing 0.7, 0.5                 none                              none
#   origins read back          (0, 0, 0) for all        as written                        as written
#   distance read back         1                        3                                 1 fresh, 3 after reading
# What was read may be a CT of another patient, or only its header. Reading NIfTI, or writing DICOM, changes nothing.
# Position and orientation set as metadata (0020|0032, 0020|0037) are written either way, PixelSpacing as in the table.
#
# Why a good guess is wrong: the same call with the same image is expected to write the same file. Tests miss it: one
# that reads a series, changes it and writes it is always in the second column, and of one that writes, reads and
# compares, just the first file of the process is in the first.
# Whom it bites: batches that turn NIfTI, masks or arrays into DICOM, one process for each: all slices lie at the
# origin. In a notebook, where some series was loaded before, the same code was right.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 simpleitk==2.5.7

cd "$folder"
cat >write.py <<'PYTHON'
import sys

import numpy as np
import SimpleITK

before, modality = sys.argv[1:]
volume = SimpleITK.GetImageFromArray(np.arange(3 * 4 * 4, dtype=np.int16).reshape(3, 4, 4))
volume.SetSpacing((0.5, 0.7, 3))
volume.SetOrigin((10, -20, 30))
volume.SetDirection((1, 0, 0, 0, 0, -1, 0, 1, 0))  # columns run along z, slices along -y
if before.startswith("read"):
    SimpleITK.ReadImage(before.split()[1])
if before == "header":
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName("other.dcm")
    reader.ReadImageInformation()
if before == "write":
    SimpleITK.WriteImage(volume[:, :, :1], "another.dcm")
for index in range(3):
    slice = volume[:, :, index : index + 1]
    if modality == "CT":
        slice.SetMetaData("0008|0060", modality)
    if modality == "positions":
        slice.SetMetaData("0020|0032", f"10\\{-20 - 3 * index}\\30")
        slice.SetMetaData("0020|0037", "1\\0\\0\\0\\0\\1")
    SimpleITK.WriteImage(slice, f"slice{index}.dcm")
PYTHON
cat >test.py <<'PYTHON'
import subprocess
import sys

import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

meta = FileMetaDataset()
meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
meta.MediaStorageSOPInstanceUID = generate_uid()
other = FileDataset("other.dcm", {}, file_meta=meta, preamble=bytes(128))
other.SOPClassUID, other.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
other.set_pixel_data(np.zeros((2, 2), np.uint16), "MONOCHROME2", 16)
other.save_as("other.dcm", enforce_file_format=True)
SimpleITK.WriteImage(SimpleITK.Image([2, 2, 2], SimpleITK.sitkInt16), "other.nii")

positions = [(10, -20, 30), (10, -23, 30), (10, -26, 30)]
keywords = ["ImageOrientationPatient", "PixelSpacing", "NominalScannedPixelSpacing"]
columns = [1, 0, 0, 0, 0, 1]
left_out, there, half = (None, None, [0.7, 0.5]), (columns, [0.7, 0.5], None), (columns, None, [0.7, 0.5])
for before, modality, wanted in [
    ("nothing", "", left_out),
    ("read other.nii", "", left_out),
    ("write", "", left_out),
    ("read other.dcm", "", there),
    ("header", "", there),
    ("nothing", "CT", there),
    ("read other.dcm", "CT", there),
    ("nothing", "positions", half),
    ("read other.dcm", "positions", there),
]:
    subprocess.run([sys.executable, "write.py", before, modality], check=True)
    print(f"before: {before}; stated: {modality or 'nothing'}")
    distances = set()
    for index, position in enumerate(positions):
        written = dcmread(f"slice{index}.dcm")
        found = tuple(None if written.get(keyword) is None else list(written[keyword].value) for keyword in keywords)
        print("   ", written.get("ImagePositionPatient"), *found)
        assert written.SOPClassUID == (CTImageStorage if modality == "CT" else SecondaryCaptureImageStorage)
        assert found == wanted, "the behaviour has changed"
        stated = written.get("ImagePositionPatient")
        assert stated == (None if wanted == left_out else list(position)), "the behaviour has changed"
        image = SimpleITK.ReadImage(f"slice{index}.dcm")
        assert image.GetOrigin() == ((0, 0, 0) if wanted == left_out else position), "the behaviour has changed"
        distances.add(image.GetSpacing()[2])
    print("    distances read back", distances)
    assert distances == ({3} if before in ("read other.dcm", "header") else {1}), "the behaviour has changed"
PYTHON
venv/bin/python test.py
