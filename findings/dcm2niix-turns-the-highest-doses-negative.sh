#!/usr/bin/env bash
# dcm2niix 1.0.20260724 writes 32-bit unsigned pixels as NIfTI's signed 32 bits: whatever is 2,147,483,648 or more
# comes out 4,294,967,296 too low, negative. NIfTI has a type for unsigned 32 bits (768). 16-bit pixels are safe.
#
# Seen, for an RT Dose of 0, 1,000,000,000, 2,147,483,647, 2,147,483,648, 4,294,967,295 (Dose Grid Scaling 0.00000002,
# so 0 to 86 Gy):
#   SimpleITK 2.5.7, pydicom 3.0.2   the numbers as they are
#   dcm2niix, datatype 8 (int32)     0, 1,000,000,000, 2,147,483,647, -2,147,483,648, -1
# No error, and no warning of it.
#
# Why a good guess is wrong: dcm2niix is known for its care with numbers: unsigned 16 bits, 12-bit signs and slopes that
# change from slice to slice are all right. Nearly every image has 16 bits, so nobody looks; and a dose of the middle
# of the range is right, in the same file.
# Whom it bites: RT Dose, the one common image with 32 unsigned bits (PS3.3 C.8.8.3 allows 16 or 32), where the
# planning system spans them. Just the voxels of the target, with the highest dose, turn into the lowest, so that means
# and dose-volume histograms, or a network that learns doses, go wrong while the edge of the field looks as it should.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    dcm2niix==1.0.20260724 nibabel==5.4.2 pydicom==3.0.2 simpleitk==2.5.7 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys

import nibabel
import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTDoseStorage, RTPlanStorage, generate_uid

ROWS = 4
stored = [0, 1_000_000_000, 2_147_483_647, 2_147_483_648, 4_294_967_295]


def write(bits, row):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTDoseStorage, generate_uid()
    dose = FileDataset("dose.dcm", {}, file_meta=meta, preamble=bytes(128))
    dose.SOPClassUID, dose.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dose.StudyInstanceUID, dose.SeriesInstanceUID = generate_uid(), generate_uid()
    dose.FrameOfReferenceUID, dose.PositionReferenceIndicator = generate_uid(), ""
    dose.PatientID = dose.PatientName = dose.PatientBirthDate = dose.PatientSex = ""
    dose.StudyID = dose.StudyDate = dose.StudyTime = dose.AccessionNumber = dose.ReferringPhysicianName = ""
    dose.OperatorsName = dose.Manufacturer = ""
    dose.Modality, dose.SeriesNumber, dose.InstanceNumber = "RTDOSE", 1, 1
    dose.DoseUnits, dose.DoseType, dose.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    dose.DoseGridScaling = "0.00000002"
    plan = Dataset()
    plan.ReferencedSOPClassUID, plan.ReferencedSOPInstanceUID = RTPlanStorage, generate_uid()
    dose.ReferencedRTPlanSequence = [plan]
    dose.ImagePositionPatient, dose.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    dose.PixelSpacing, dose.SliceThickness = [2, 2], 3
    dose.NumberOfFrames, dose.FrameIncrementPointer, dose.GridFrameOffsetVector = 2, 0x3004000C, [0, 3]
    dose.Rows, dose.Columns, dose.SamplesPerPixel = ROWS, len(row), 1
    dose.PhotometricInterpretation, dose.PixelRepresentation = "MONOCHROME2", 0
    dose.BitsAllocated, dose.BitsStored, dose.HighBit = bits, bits, bits - 1
    dose.PixelData = np.tile(np.array(row, f"<u{bits // 8}"), (2, ROWS, 1)).tobytes()
    os.makedirs(f"dose{bits}", exist_ok=True)
    dose.save_as(f"dose{bits}/dose.dcm", enforce_file_format=True)


def check(bits, row, expected, datatype):
    write(bits, row)
    assert dcmread(f"dose{bits}/dose.dcm").pixel_array[0, 0].tolist() == row
    image = SimpleITK.ReadImage(f"dose{bits}/dose.dcm")
    assert SimpleITK.GetArrayFromImage(image)[0, 0].tolist() == row
    program = os.path.join(sys.prefix, "bin", "dcm2niix")
    command = [program, "-b", "n", "-f", f"nifti{bits}", "-o", ".", f"dose{bits}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert not any(word in said.lower() for word in ("signed", "int32", "overflow", "range"))
    nifti = nibabel.load(f"nifti{bits}.nii")
    found = np.asanyarray(nifti.dataobj)[:, 0, 0].tolist()
    print(bits, "bits: stored", row, "dcm2niix", found, "datatype", int(nifti.header["datatype"]))
    assert (found, int(nifti.header["datatype"])) == (expected, datatype), "the behaviour has changed"


check(16, [0, 32_767, 32_768, 65_535], [0, 32_767, 32_768, 65_535], 512)
check(32, stored, [value - 2**32 if value >= 2**31 else value for value in stored], 8)
PYTHON
