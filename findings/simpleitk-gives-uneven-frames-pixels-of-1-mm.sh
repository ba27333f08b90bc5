#!/usr/bin/env bash
# SimpleITK 2.5.7 gives an enhanced multi-frame image pixels of 1 mm, along all three axes, if its frames do not lie
# at even distances, although each states its PixelSpacing and position (PS3.3 C.7.6.16.2.1 and .3). And where two
# points of time share the same positions, it stacks the second on top of the first, where nothing was ever measured.
#
# Seen, for 4 mm pixels in slices at the positions below (a legacy converted enhanced PET image):
#   stated          spacing it gives     where it puts the frames
#   6, 4, 2, 0      4, 4, 2              6, 4, 2, 0
#   0, 2, 4, 20     1, 1, 1              0, 1, 2, 3
#   0, 2, 0, 2      4, 4, 2              0, 2, 4, 6
# highdicom 0.28.2 makes the first a volume, and says of the others that they are not one. SimpleITK says nothing.
#
# Why a good guess is wrong: for a series of single slices SimpleITK keeps the spacing in the plane and warns of uneven
# sampling between them. At worst the third axis would be expected to be off; the first two are no matter of distance.
# Whom it bites: localizers in three directions, CT with thin slices in one part, and perfusion or cine as one object.
# Resampled to a network's 1 mm the first kind isn't resampled at all, and volumes of lesions are 32 times too small.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    simpleitk==2.5.7 pydicom==3.0.2 highdicom==0.28.2 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import highdicom
import numpy as np
import SimpleITK
from highdicom.legacy import LegacyConvertedEnhancedPETImage
from pydicom import dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

study, series, reference = generate_uid(), generate_uid(), generate_uid()


def pet_slice(number, height):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = PositronEmissionTomographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("slice.dcm", {}, file_meta=meta, preamble=bytes(128))
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, reference
    image.PatientID = image.PatientName = image.PatientBirthDate = image.PatientSex = ""
    image.StudyID = image.AccessionNumber = image.ReferringPhysicianName = image.Manufacturer = ""
    image.PositionReferenceIndicator = ""
    for what in ("Study", "Content", "Acquisition"):
        setattr(image, f"{what}Date", "20260101")
        setattr(image, f"{what}Time", "120000")
    image.Modality, image.ImageType, image.Units = "PT", ["ORIGINAL", "PRIMARY"], "BQML"
    image.SeriesNumber, image.InstanceNumber = 1, number + 1
    image.PixelSpacing, image.SliceThickness = [4, 4], 2
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, height], [1, 0, 0, 0, 1, 0]
    image.Rows, image.Columns, image.SamplesPerPixel = 4, 4, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 1
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.RescaleSlope, image.RescaleIntercept = 1, 0
    image.PixelData = np.full((4, 4), height, "<i2").tobytes()
    return image


def enhanced(heights):
    """Writes one multi-frame image; returns the spacing and the frames' positions, and highdicom's judgement."""
    slices = [pet_slice(number, height) for number, height in enumerate(heights)]
    LegacyConvertedEnhancedPETImage(
        slices, series_instance_uid=generate_uid(), series_number=2, sop_instance_uid=generate_uid(), instance_number=1
    ).save_as("enhanced.dcm")
    frames = dcmread("enhanced.dcm").PerFrameFunctionalGroupsSequence
    stated = [float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in frames]
    try:
        highdicom.imread("enhanced.dcm").get_volume()
        judgement = "a volume"
    except (RuntimeError, ValueError) as error:
        judgement = str(error)
    volume = SimpleITK.ReadImage("enhanced.dcm")
    # The pixels carry their stated height as their value.
    assert SimpleITK.GetArrayFromImage(volume)[:, 0, 0].tolist() == stated
    placed = [volume.TransformIndexToPhysicalPoint((0, 0, index))[2] for index in range(volume.GetDepth())]
    print("stated", stated, "spacing", volume.GetSpacing(), "placed", placed, "highdicom:", judgement)
    return stated, volume.GetSpacing(), placed, judgement


stated, spacing, placed, judgement = enhanced([0, 2, 4, 6])
assert (spacing, placed, judgement) == ((4, 4, 2), stated, "a volume")

names = []
for number, height in enumerate([0, 2, 4, 20]):
    names.append(f"slice-{number}.dcm")
    pet_slice(number, height).save_as(names[-1], enforce_file_format=True)
assert SimpleITK.ReadImage(names).GetSpacing()[:2] == (4, 4)
stated, spacing, placed, judgement = enhanced([0, 2, 4, 20])
assert sorted(stated) == [0, 2, 4, 20] and judgement != "a volume"
assert spacing == (1, 1, 1) and placed == [0, 1, 2, 3], "the behaviour has changed"
stated, spacing, placed, judgement = enhanced([0, 2, 0, 2])
assert sorted(stated) == [0, 0, 2, 2] and judgement != "a volume"
assert spacing == (4, 4, 2) and placed == [0, 2, 4, 6], "the behaviour has changed"
PYTHON
